//! How many items a component may have, counted before anything is done with them.
//!
//! Sections say how many items follow, so that counting costs next to nothing;
//! what validating and instrumenting cost grows with these numbers.

use wasmparser::{Parser, Payload};

use crate::prepare::PrepareError;

/// What is counted, over all levels of nesting, and how many are admitted.
/// The usual tools stay far below: componentize-py's components, the largest
/// known, have 14 core modules, some hundred core instances and 500 globals.
#[derive(Clone, Copy, Debug)]
enum Item {
    Section,
    CoreModule,
    CoreInstance,
    Component,
    Instance,
    Type,
    Alias,
    Canonical,
    Import,
    Export,
    CoreType,
    CoreImport,
    CoreExport,
    Function,
    Global,
    Table,
    Memory,
    Segment,
}

impl Item {
    const COUNT: usize = Self::Segment as usize + 1;

    /// What it is called, and its bound.
    fn bound(self) -> (&'static str, u64) {
        match self {
            Self::Section => ("sections", 20_000),
            Self::CoreModule => ("core modules", 256),
            Self::CoreInstance => ("core instances", 1_000),
            Self::Component => ("nested components", 500),
            Self::Instance => ("component instances", 2_000),
            Self::Type => ("types", 50_000),
            Self::Alias => ("aliases", 50_000),
            Self::Canonical => ("canonical functions", 20_000),
            Self::Import => ("imports", 5_000),
            Self::Export => ("exports", 5_000),
            Self::CoreType => ("types of core modules", 200_000),
            Self::CoreImport => ("imports of core modules", 200_000),
            Self::CoreExport => ("exports of core modules", 200_000),
            Self::Function => ("core functions", 500_000),
            Self::Global => ("globals", 10_000),
            Self::Table => ("tables", 1_000),
            Self::Memory => ("memories", 1_000),
            Self::Segment => ("segments", 200_000),
        }
    }
}

#[derive(Default)]
struct Counts([u64; Item::COUNT]);

impl Counts {
    fn add(&mut self, item: Item, count: u32) -> Result<(), PrepareError> {
        let (what, limit) = item.bound();
        let Some(found) = self.0.get_mut(item as usize) else {
            return Ok(());
        };
        *found += u64::from(count);
        if *found > limit {
            return Err(PrepareError::TooMany {
                what: what.to_owned(),
                found: *found,
                limit,
            });
        }
        Ok(())
    }
}

/// Refuses a component with more of something than is admitted, by its name.
pub(crate) fn check(bytes: &[u8]) -> Result<(), PrepareError> {
    let mut counts = Counts::default();
    for payload in Parser::new(0).parse_all(bytes) {
        // What cannot be read is the validator's to name.
        let Ok(payload) = payload else {
            return Ok(());
        };
        if !matches!(payload, Payload::CodeSectionEntry(_)) {
            counts.add(Item::Section, 1)?;
        }
        if let Some((item, count)) = counted(&payload) {
            counts.add(item, count)?;
        }
    }
    Ok(())
}

fn counted(payload: &Payload<'_>) -> Option<(Item, u32)> {
    Some(match payload {
        Payload::ModuleSection { .. } => (Item::CoreModule, 1),
        Payload::InstanceSection(section) => (Item::CoreInstance, section.count()),
        Payload::ComponentSection { .. } => (Item::Component, 1),
        Payload::ComponentInstanceSection(section) => (Item::Instance, section.count()),
        Payload::ComponentTypeSection(section) => (Item::Type, section.count()),
        Payload::CoreTypeSection(section) => (Item::Type, section.count()),
        Payload::ComponentAliasSection(section) => (Item::Alias, section.count()),
        Payload::ComponentCanonicalSection(section) => (Item::Canonical, section.count()),
        Payload::ComponentImportSection(section) => (Item::Import, section.count()),
        Payload::ComponentExportSection(section) => (Item::Export, section.count()),
        Payload::TypeSection(section) => (Item::CoreType, section.count()),
        Payload::ImportSection(section) => (Item::CoreImport, section.count()),
        Payload::ExportSection(section) => (Item::CoreExport, section.count()),
        Payload::FunctionSection(section) => (Item::Function, section.count()),
        Payload::GlobalSection(section) => (Item::Global, section.count()),
        Payload::TableSection(section) => (Item::Table, section.count()),
        Payload::MemorySection(section) => (Item::Memory, section.count()),
        Payload::ElementSection(section) => (Item::Segment, section.count()),
        Payload::DataSection(section) => (Item::Segment, section.count()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(), PrepareError> {
        check(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn items_are_counted_over_all_sections_and_levels() {
        let pair = "(core module) (component (core module))".repeat(128);
        of(&format!("(component {pair})")).unwrap();
        let error = of(&format!("(component {pair} (core module))")).unwrap_err();
        let too_many = PrepareError::TooMany {
            what: "core modules".to_owned(),
            found: 257,
            limit: 256,
        };
        assert_eq!(error, too_many);
    }

    #[test]
    fn what_cannot_be_read_is_left_to_the_validator() {
        let mut bytes = wat::parse_str("(component (core module))").unwrap();
        bytes.truncate(bytes.len() - 1);
        check(&bytes).unwrap();
        check(b"no Wasm at all").unwrap();
    }
}
