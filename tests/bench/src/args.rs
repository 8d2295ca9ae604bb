//! The command line.

use anyhow::bail;
use clap::Parser;

use crate::measure::Row;
use crate::rows::million;

/// Runs Phoenix and its peers side by side and prints both.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub(crate) struct Args {
    /// Rows to run [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print one JSON array of objects instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the rows' names and what they measure, and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Samples of each side; the median is printed
    #[arg(long, value_name = "N", default_value_t = 7,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,
    /// Hibernate so many agents and print what they take: the row `idle_memory`
    /// runs this in a process of its own
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) idle_child: Option<u32>,
    /// Agents asleep in the rows that have a million of them
    #[arg(long, value_name = "N", default_value_t = million::AGENTS,
          value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub(crate) agents: u32,
    /// Put `--agents` to sleep there and print what was found: the rows that have a
    /// million of them run this in a process of its own
    #[arg(long, hide = true, value_name = "TIER")]
    pub(crate) million_child: Option<million::Tier>,
}

impl Args {
    /// Reads the process's arguments; ends it with a message if they are wrong.
    pub(crate) fn read() -> Self {
        Self::parse()
    }

    /// The rows asked for, in the order of the table.
    pub(crate) fn choose<'a>(&self, rows: &'a [Row]) -> anyhow::Result<Vec<&'a Row>> {
        let unknown: Vec<_> = self
            .names
            .iter()
            .filter(|name| rows.iter().all(|row| row.name != **name))
            .map(String::as_str)
            .collect();
        if !unknown.is_empty() {
            let known: Vec<_> = rows.iter().map(|row| row.name).collect();
            bail!(
                "no row is called {}; the rows are {}",
                unknown.join(", "),
                known.join(", ")
            );
        }
        Ok(rows
            .iter()
            .filter(|row| self.names.is_empty() || self.names.iter().any(|name| name == row.name))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_name_and_unknown_ones_name_the_known() {
        let rows = crate::rows::all();
        let args = |words: &[&str]| Args::parse_from([&["bench"], words].concat());
        assert_eq!(args(&[]).choose(&rows).unwrap().len(), rows.len());
        let wake = args(&["--json", "wake"]).choose(&rows).unwrap();
        assert_eq!(wake[0].name, "wake");
        let error = args(&["wake", "sleep"])
            .choose(&rows)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sleep") && error.contains("one_way_bare"),
            "{error}"
        );
    }
}
