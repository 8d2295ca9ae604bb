//! One core module: what state it has, and its rewriting.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{self as we};
use wasmparser::{FunctionBody, GlobalType, Name, Operator, Parser, Payload, TypeRef, ValType};

use super::refuse::Refusal;
use super::{CORE_GLOBAL, CORE_MEMORY, Failure};

/// A mutable global that a module defines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MutableGlobal {
    /// Its index in the module, imports counted.
    pub(crate) index: u32,
    /// Its type.
    pub(crate) ty: GlobalType,
    /// Whether the name section calls it `__stack_pointer`.
    pub(crate) stack_pointer: bool,
}

/// What state a core module has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Module {
    /// The index of the memory it defines.
    pub(crate) memory: Option<u32>,
    /// The mutable globals it defines.
    pub(crate) globals: Vec<MutableGlobal>,
}

impl Module {
    /// Whether two instances of it could differ, and in what.
    pub(crate) fn state(&self) -> Option<&'static str> {
        if self.memory.is_some() {
            Some("a memory")
        } else if self.globals.is_empty() {
            None
        } else {
            Some("mutable globals")
        }
    }

    /// Reads the module `bytes`, the `number`th of its component, which begins
    /// at `start` in the file, and refuses what cannot be saved.
    pub(crate) fn survey(bytes: &[u8], number: u32, start: u64) -> Result<Self, Failure> {
        let mut module = Self::default();
        let (mut functions, mut globals, mut memories) = (0, 0, 0);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) => functions += 1,
                            TypeRef::Global(_) => globals += 1,
                            TypeRef::Memory(ty) => {
                                unshared(ty.shared, number, memories)?;
                                memories += 1;
                            }
                            _ => {}
                        }
                    }
                }
                Payload::MemorySection(section) => {
                    for ty in section {
                        unshared(ty?.shared, number, memories)?;
                        if module.memory.replace(memories).is_some() {
                            return Err(Refusal::SecondMemory {
                                module: number,
                                first: number,
                            }
                            .into());
                        }
                        memories += 1;
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        module.global(global?.ty, globals, number)?;
                        globals += 1;
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        free(export?.name)?;
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    code(&body, number, functions, start)?;
                    functions += 1;
                }
                Payload::CustomSection(section) if section.name() == "name" => {
                    module.names(&section);
                }
                _ => {}
            }
        }
        Ok(module)
    }

    fn global(&mut self, ty: GlobalType, index: u32, number: u32) -> Result<(), Refusal> {
        if !ty.mutable {
            return Ok(());
        }
        match ty.content_type {
            ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 => {
                self.globals.push(MutableGlobal {
                    index,
                    ty,
                    stack_pointer: false,
                });
                Ok(())
            }
            ValType::V128 => Err(Refusal::VectorGlobal {
                module: number,
                global: index,
            }),
            ValType::Ref(_) => Err(Refusal::ReferenceGlobal {
                module: number,
                global: index,
            }),
        }
    }

    /// Looks for the stack pointer's name. Names are for people: one that cannot be read is passed over.
    fn names(&mut self, section: &wasmparser::CustomSectionReader<'_>) {
        let wasmparser::KnownCustom::Name(names) = section.as_known() else {
            return;
        };
        for name in names.into_iter().flatten() {
            let Name::Global(map) = name else { continue };
            for naming in map.into_iter().flatten() {
                if naming.name != "__stack_pointer" {
                    continue;
                }
                // They are in order, and there may be as many names as somebody likes.
                let place = self
                    .globals
                    .binary_search_by_key(&naming.index, |g| g.index);
                if let Some(global) = place.ok().and_then(|at| self.globals.get_mut(at)) {
                    global.stack_pointer = true;
                }
            }
        }
    }

    /// The module `bytes` with its memory and mutable globals exported.
    pub(crate) fn rewrite(&self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut out = we::Module::new();
        let mut exported = false;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            if let Payload::ExportSection(section) = payload {
                self.exports(&mut out, Some(section))?;
                exported = true;
                continue;
            }
            let Some((id, range)) = payload.as_section() else {
                if matches!(payload, Payload::End(_)) && !exported {
                    self.exports(&mut out, None)?;
                    exported = true;
                }
                continue;
            };
            if !exported && follows_exports(id) {
                self.exports(&mut out, None)?;
                exported = true;
            }
            let data = super::walk::slice(bytes, range);
            out.section(&we::RawSection { id, data });
        }
        Ok(out.finish())
    }

    fn exports(
        &self,
        out: &mut we::Module,
        present: Option<wasmparser::ExportSectionReader<'_>>,
    ) -> Result<(), Failure> {
        let mut section = we::ExportSection::new();
        for export in present.into_iter().flatten() {
            let export = export?;
            let kind = RoundtripReencoder.export_kind(export.kind)?;
            section.export(export.name, kind, export.index);
        }
        if let Some(memory) = self.memory {
            section.export(CORE_MEMORY, we::ExportKind::Memory, memory);
        }
        for global in &self.globals {
            let name = global_name(global.index);
            section.export(&name, we::ExportKind::Global, global.index);
        }
        out.section(&section);
        Ok(())
    }
}

/// The name under which a module's global is exported.
pub(crate) fn global_name(index: u32) -> String {
    format!("{CORE_GLOBAL}{index}")
}

/// Whether a section with this id stands after the exports. Custom sections (0) stand anywhere.
fn follows_exports(id: u8) -> bool {
    [
        we::SectionId::Start,
        we::SectionId::Element,
        we::SectionId::DataCount,
        we::SectionId::Code,
        we::SectionId::Data,
    ]
    .iter()
    .any(|section| *section as u8 == id)
}

fn unshared(shared: bool, module: u32, memory: u32) -> Result<(), Refusal> {
    if shared {
        Err(Refusal::SharedMemory { module, memory })
    } else {
        Ok(())
    }
}

fn free(name: &str) -> Result<(), Refusal> {
    let prefix = [CORE_MEMORY, CORE_GLOBAL]
        .into_iter()
        .find(|prefix| name.starts_with(prefix));
    match prefix {
        Some(prefix) => Err(Refusal::ReservedName {
            name: name.to_owned(),
            prefix,
        }),
        None => Ok(()),
    }
}

fn code(body: &FunctionBody<'_>, module: u32, function: u32, start: u64) -> Result<(), Failure> {
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let (operator, offset) = reader.read_with_offset()?;
        let instruction = match operator {
            Operator::TableSet { .. } => "table.set",
            Operator::TableGrow { .. } => "table.grow",
            Operator::TableCopy { .. } => "table.copy",
            Operator::TableFill { .. } => "table.fill",
            Operator::TableInit { .. } => "table.init",
            Operator::ElemDrop { .. } => "elem.drop",
            Operator::DataDrop { .. } => "data.drop",
            Operator::MemoryInit { .. } => "memory.init",
            _ => continue,
        };
        return Err(Refusal::Instruction {
            module,
            function,
            instruction,
            offset: start + offset,
        }
        .into());
    }
    Ok(())
}
