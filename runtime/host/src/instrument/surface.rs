//! The names a component imports and exports.

use wasmparser::Payload;

use super::walk;

/// What a component shows to the outside, by name.
#[derive(Debug, Default)]
pub(crate) struct Surface {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

impl Surface {
    /// Reads it.
    pub(crate) fn of(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut surface = Self::default();
        for piece in walk::pieces(bytes)? {
            match piece.payload {
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        surface.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        surface.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(surface)
    }
}
