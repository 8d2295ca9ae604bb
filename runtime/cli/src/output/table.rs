//! Tables for people.

use comfy_table::{CellAlignment, ContentArrangement, presets};

use super::escape::escape;

/// A table without lines; numbers stand to the right.
pub(crate) struct Table {
    table: comfy_table::Table,
    rows: usize,
}

impl Table {
    /// A table with these columns; a name that begins with `>` is a column of numbers.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(columns.iter().map(|name| name.trim_start_matches('>')));
        for (column, name) in table.column_iter_mut().zip(columns) {
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table, rows: 0 }
    }

    /// A table without a header.
    pub(crate) fn plain() -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        Self { table, rows: 0 }
    }

    /// Adds a row. The texts may come from anywhere.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells
            .into_iter()
            .map(|cell| escape(cell.as_ref()).into_owned());
        self.table.add_row(cells);
        self.rows += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(crate) fn render(&self) -> String {
        let text = self.table.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        // Every cell is padded by one space, the first column's too.
        let indented = lines.iter().all(|line| line.starts_with(' '));
        let start = usize::from(indented);
        lines
            .iter()
            .map(|line| line.get(start..).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["NAME", ">SIZE"]);
        table.row(["a", "1"]);
        table.row(["b\u{1b}c", "1000"]);
        assert_eq!(
            table.render(),
            "NAME      SIZE\na            1\nb\\u{1b}c  1000"
        );
    }
}
