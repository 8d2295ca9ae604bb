//! Puts the instrumented component together.

use wasm_encoder as we;
use wasm_encoder::reencode::ReencodeComponent;
use wasmparser::Payload;
use wasmparser::types::Types;

use super::accessor::{self, Ends, SavedGlobal};
use super::spaces::Shift;
use super::stdio::Block;
use super::survey::Survey;
use super::{Failure, Instrumented, Plan, walk};

/// Rewrites the surveyed component `bytes`.
pub(crate) fn rewrite(
    bytes: &[u8],
    survey: &Survey,
    types: &Types,
) -> Result<Instrumented, Failure> {
    let block = Block::plan(bytes, survey, types)?;
    let mut shift = block.as_ref().map(Block::shift).unwrap_or_default();
    let mut out = we::Component::new();
    let mut spaces = super::spaces::Spaces::default();
    let mut pending = block.as_ref();
    for piece in walk::pieces(bytes)? {
        if let Some(block) = pending
            && spaces == block.at
            && matches!(piece.payload, Payload::ComponentCanonicalSection(_))
        {
            block.write(&mut out);
            pending = None;
        }
        let first_core_func = spaces.core_funcs;
        let module = spaces.modules;
        spaces.add(&piece.payload)?;
        if let Payload::ModuleSection { .. } = piece.payload {
            let (_, original) = piece.raw.unwrap_or_default();
            let data = match survey.modules.get(module as usize) {
                Some(module) if module.state().is_some() => module.rewrite(original)?,
                _ => original.to_vec(),
            };
            out.section(&we::RawSection {
                id: we::ComponentSectionId::CoreModule as u8,
                data: &data,
            });
        } else if let Payload::ComponentCanonicalSection(section) = piece.payload {
            canonical(
                &mut out,
                section,
                first_core_func,
                block.as_ref(),
                survey,
                &mut shift,
            )?;
        } else {
            copy(&mut out, piece, &mut shift)?;
        }
    }
    let (globals, plan) = plan(survey, block.as_ref(), shift);
    let ends = Ends {
        types: survey.end.types,
        funcs: shift.func(survey.end.funcs),
        instances: survey.end.instances,
        core_funcs: shift.core_func(survey.end.core_funcs),
        core_memories: survey.end.core_memories,
        core_instances: shift.core_instance(survey.end.core_instances),
        modules: shift.module(survey.end.modules),
    };
    let memory = instance_of(survey, survey.memory, shift);
    accessor::append(&mut out, ends, memory, &globals);
    Ok(Instrumented {
        bytes: out.finish(),
        plan,
    })
}

/// Copies a section, its indices moved past the stdio block.
fn copy(out: &mut we::Component, piece: walk::Piece<'_>, shift: &mut Shift) -> Result<(), Failure> {
    match piece.payload {
        Payload::ComponentAliasSection(section) => {
            let mut to = we::ComponentAliasSection::new();
            shift.parse_component_alias_section(&mut to, section)?;
            out.section(&to);
        }
        Payload::InstanceSection(section) => {
            let mut to = we::InstanceSection::new();
            shift.parse_instance_section(&mut to, section)?;
            out.section(&to);
        }
        Payload::ComponentInstanceSection(section) => {
            let mut to = we::ComponentInstanceSection::new();
            shift.parse_component_instance_section(&mut to, section)?;
            out.section(&to);
        }
        Payload::ComponentExportSection(section) => {
            let mut to = we::ComponentExportSection::new();
            shift.parse_component_export_section(&mut to, section)?;
            out.section(&to);
        }
        // Names by index would name the wrong items now; nothing reads them.
        Payload::CustomSection(section) if section.name() == "component-name" => {}
        _ => {
            if let Some((id, data)) = piece.raw {
                out.section(&we::RawSection { id, data });
            }
        }
    }
    Ok(())
}

/// Copies a canonical section. Functions that take a stream, or drop the handle
/// of one, become aliases of the stdio module's; indices stay as they are.
fn canonical(
    out: &mut we::Component,
    section: wasmparser::ComponentCanonicalSectionReader<'_>,
    first_core_func: u32,
    block: Option<&Block>,
    survey: &Survey,
    shift: &mut Shift,
) -> Result<(), Failure> {
    let mut to = we::CanonicalFunctionSection::new();
    let mut core_func = first_core_func;
    for function in section {
        let function = function?;
        let is_lift = matches!(function, wasmparser::CanonicalFunction::Lift { .. });
        let wrapper = block
            .filter(|_| !is_lift)
            .and_then(|block| Some((block.instance(), block.wrapper(core_func, survey)?)));
        core_func += u32::from(!is_lift);
        let Some((instance, name)) = wrapper else {
            shift.parse_component_canonical(&mut to, function)?;
            continue;
        };
        if !to.is_empty() {
            out.section(&std::mem::take(&mut to));
        }
        let mut alias = we::ComponentAliasSection::new();
        alias.alias(we::Alias::CoreInstanceExport {
            instance,
            kind: we::ExportKind::Func,
            name: &name,
        });
        out.section(&alias);
    }
    if !to.is_empty() {
        out.section(&to);
    }
    Ok(())
}

/// The globals to save, in order: those of each core module, then the stdio module's.
fn plan(survey: &Survey, block: Option<&Block>, shift: Shift) -> (Vec<SavedGlobal>, Plan) {
    let mut globals = Vec::new();
    let mut candidates = Vec::new();
    let mut named = Vec::new();
    for (number, module) in (0u32..).zip(&survey.modules) {
        let instantiated = survey
            .instances
            .get(number as usize)
            .is_some_and(|of| !of.is_empty());
        if !instantiated {
            continue;
        }
        let instance = instance_of(survey, number, shift);
        for global in &module.globals {
            if global.stack_pointer {
                named.push(globals.len());
            }
            if number == survey.memory && global.ty.content_type == wasmparser::ValType::I32 {
                candidates.push(globals.len());
            }
            globals.push(SavedGlobal::of(instance, global));
        }
    }
    if let Some(block) = block {
        for stream in 0..block.globals() {
            globals.push(SavedGlobal {
                instance: block.instance(),
                name: super::module::global_name(stream),
                ty: wasmparser::GlobalType {
                    content_type: wasmparser::ValType::I32,
                    mutable: true,
                    shared: false,
                },
            });
        }
    }
    let plan = Plan {
        globals: globals.len(),
        stack_pointers: if named.len() == 1 { named } else { candidates },
    };
    (globals, plan)
}

/// The one core instance of a module, moved past the stdio block.
fn instance_of(survey: &Survey, module: u32, shift: Shift) -> u32 {
    survey
        .instances
        .get(module as usize)
        .and_then(|of| of.first())
        .map_or(u32::MAX, |instance| shift.core_instance(*instance))
}
