//! Reads what is at the top of a component before anything is rewritten.
//!
//! What it costs grows with the number of items and no faster: a deployed
//! component may have many on purpose.

use std::collections::{BTreeMap, HashMap, HashSet};

use wasmparser::component_types::{ComponentAnyTypeId, ResourceId};
use wasmparser::types::Types;
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind,
    ComponentType, ComponentTypeRef, Instance, Payload,
};

use super::module::Module;
use super::refuse::Refusal;
use super::spaces::Spaces;
use super::stdio::{self, Singleton};
use super::{COMPONENT_PREFIX, Failure, walk};

/// What the rewriting needs to know.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The core modules, in order.
    pub(crate) modules: Vec<Module>,
    /// For each core module, the core instances of it.
    pub(crate) instances: Vec<Vec<u32>>,
    /// Which core module defines the memory.
    pub(crate) memory: u32,
    /// How the standard streams are used.
    pub(crate) stdio: Stdio,
    /// The index spaces at the end.
    pub(crate) end: Spaces,
}

/// How a component uses the standard streams.
#[derive(Debug, Default)]
pub(crate) struct Stdio {
    /// Which streams it takes, and the component instance each is imported as.
    pub(crate) taken: Vec<(Singleton, u32)>,
    /// Core functions that take one, and which.
    pub(crate) takes: BTreeMap<u32, Singleton>,
    /// Core functions that drop a handle of one, and its resource.
    pub(crate) drops: BTreeMap<u32, ResourceId>,
}

/// Surveys the valid component `bytes`.
pub(crate) fn survey(bytes: &[u8], types: &Types) -> Result<Survey, Failure> {
    let mut survey = Survey::default();
    let mut reader = Reader {
        types,
        imported: HashMap::new(),
        functions: HashMap::new(),
        drops: BTreeMap::new(),
        components: 0,
    };
    let mut spaces = Spaces::default();
    for piece in walk::pieces(bytes)? {
        reader.piece(bytes, &piece, spaces, &mut survey)?;
        spaces.add(&piece.payload)?;
    }
    survey.end = spaces;
    survey.memory = check_state(&survey)?;
    reader.streams(&mut survey);
    Ok(survey)
}

struct Reader<'a> {
    types: &'a Types,
    /// Component instances that are imported, by index, and their names.
    imported: HashMap<u32, String>,
    /// Functions that take a stream, by index: which, and the instance it comes from.
    functions: HashMap<u32, (Singleton, u32)>,
    /// Every `resource.drop`: core function and resource.
    drops: BTreeMap<u32, ResourceId>,
    components: u32,
}

impl Reader<'_> {
    fn piece(
        &mut self,
        bytes: &[u8],
        piece: &walk::Piece<'_>,
        spaces: Spaces,
        survey: &mut Survey,
    ) -> Result<(), Failure> {
        let mut at = spaces;
        match &piece.payload {
            Payload::ModuleSection {
                unchecked_range, ..
            } => {
                let module = walk::slice(bytes, unchecked_range.clone());
                survey
                    .modules
                    .push(Module::survey(module, at.modules, unchecked_range.start)?);
                survey.instances.push(Vec::new());
            }
            Payload::ComponentSection { .. } => {
                let (_, nested) = piece.raw.unwrap_or_default();
                check_nested(nested, self.components)?;
                self.components += 1;
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        // Every module index is a module defined here: all else is refused.
                        let of = survey.instances.get_mut(module_index as usize);
                        of.ok_or_else(|| unknown_module(module_index))?
                            .push(at.core_instances);
                    }
                    at.core_instances += 1;
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let import = import?;
                    self.import(import.name.name, import.ty, at)?;
                    at.external(import.ty.kind());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    reserved(export.name.name)?;
                    if export.kind == ComponentExternalKind::Module {
                        return Err(Refusal::ModuleAgain {
                            module: export.index,
                            how: format!("the export `{}`", export.name.name),
                        }
                        .into());
                    }
                }
            }
            Payload::ComponentTypeSection(section) => {
                for (index, ty) in (at.types..).zip(section.clone()) {
                    if let ComponentType::Resource { .. } = ty? {
                        return Err(Refusal::OwnResource {
                            item: format!("type {index}"),
                        }
                        .into());
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    let alias = alias?;
                    self.alias(&alias, at)?;
                    at.alias(&alias);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    let function = function?;
                    self.canonical(&function, at, survey)?;
                    at.canonical(&function);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, name: &str, ty: ComponentTypeRef, at: Spaces) -> Result<(), Failure> {
        reserved(name)?;
        match ty {
            ComponentTypeRef::Module(_) => {
                return Err(Refusal::OutsideModule {
                    name: name.to_owned(),
                }
                .into());
            }
            ComponentTypeRef::Instance(_) => {
                self.imported.insert(at.instances, name.to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>, at: Spaces) -> Result<(), Refusal> {
        match alias {
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Module,
                name,
                ..
            } => Err(Refusal::OutsideModule {
                name: (*name).to_owned(),
            }),
            ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::CoreModule,
                count,
                index,
            } => Err(Refusal::ModuleAgain {
                module: *index,
                how: format!("`alias outer {count} {index}`"),
            }),
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Func,
                instance_index,
                name,
            } => {
                if let Some(interface) = self.imported.get(instance_index)
                    && let Some(singleton) = stdio::singleton(interface, name)
                {
                    let from = (singleton, *instance_index);
                    self.functions.insert(at.funcs, from);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn canonical(
        &mut self,
        function: &CanonicalFunction,
        at: Spaces,
        survey: &mut Survey,
    ) -> Result<(), Refusal> {
        match function {
            CanonicalFunction::Lower { func_index, .. } => {
                if let Some((singleton, instance)) = self.functions.get(func_index) {
                    let stdio = &mut survey.stdio;
                    stdio.takes.insert(at.core_funcs, *singleton);
                    if !stdio.taken.iter().any(|(s, _)| s == singleton) {
                        stdio.taken.push((*singleton, *instance));
                    }
                }
            }
            CanonicalFunction::ResourceDrop { resource } => {
                if let Some(resource) = self.resource(*resource) {
                    self.drops.insert(at.core_funcs, resource);
                }
            }
            CanonicalFunction::ResourceNew { .. } => {
                return Err(Refusal::OwnResource {
                    item: "canon resource.new".to_owned(),
                });
            }
            CanonicalFunction::ResourceRep { .. } => {
                return Err(Refusal::OwnResource {
                    item: "canon resource.rep".to_owned(),
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn resource(&self, ty: u32) -> Option<ResourceId> {
        resource(self.types, ty)
    }

    /// Keeps those drops that are of a stream's resource, and puts the streams in their fixed order.
    fn streams(self, survey: &mut Survey) {
        let stdio = &mut survey.stdio;
        stdio.taken.sort_by_key(|(singleton, _)| *singleton);
        // There are four singletons at most.
        let results: HashSet<_> = self
            .functions
            .iter()
            .filter(|(_, (singleton, _))| stdio.taken.iter().any(|(s, _)| s == singleton))
            .filter_map(|(function, _)| stdio::result(self.types, *function))
            .collect();
        stdio.drops = self
            .drops
            .into_iter()
            .filter(|(_, resource)| results.contains(resource))
            .collect();
    }
}

fn unknown_module(index: u32) -> Failure {
    Failure::Broken(format!(
        "core module {index} is not one the survey has seen"
    ))
}

/// The resource that the type with this index is.
pub(crate) fn resource(types: &Types, ty: u32) -> Option<ResourceId> {
    match types.as_ref().component_any_type_at(ty) {
        ComponentAnyTypeId::Resource(id) => Some(id.resource()),
        _ => None,
    }
}

fn reserved(name: &str) -> Result<(), Refusal> {
    if name.starts_with(COMPONENT_PREFIX) {
        return Err(Refusal::ReservedName {
            name: name.to_owned(),
            prefix: COMPONENT_PREFIX,
        });
    }
    Ok(())
}

/// One memory, and no state in two places. Gives the module that has the memory.
fn check_state(survey: &Survey) -> Result<u32, Refusal> {
    let mut memory = None;
    for ((number, module), instances) in (0u32..).zip(&survey.modules).zip(&survey.instances) {
        if module.memory.is_some()
            && !instances.is_empty()
            && let Some(first) = memory.replace(number)
        {
            return Err(Refusal::SecondMemory {
                module: number,
                first,
            });
        }
        if let Some(state) = module.state()
            && instances.len() > 1
        {
            return Err(Refusal::InstantiatedTwice {
                module: number,
                state,
                times: u32::try_from(instances.len()).unwrap_or(u32::MAX),
            });
        }
    }
    memory.ok_or(Refusal::NoMemory)
}

/// Nested components may rename and regroup, as those of wit-component do; core code they may not have.
fn check_nested(bytes: &[u8], component: u32) -> Result<(), Failure> {
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        let item = match payload? {
            Payload::ModuleSection { .. } => "a core module",
            Payload::InstanceSection(section) if section.count() > 0 => "a core instance",
            Payload::ComponentCanonicalSection(section) if section.count() > 0 => {
                "a canonical function"
            }
            Payload::ComponentAliasSection(section) => {
                let mut found = false;
                for alias in section {
                    found |= matches!(
                        alias?,
                        ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::CoreModule,
                            ..
                        }
                    );
                }
                if !found {
                    continue;
                }
                "an alias of a core module"
            }
            Payload::ComponentTypeSection(section) => {
                for ty in section {
                    if let ComponentType::Resource { .. } = ty? {
                        return Err(Refusal::OwnResource {
                            item: format!("in nested component {component}"),
                        }
                        .into());
                    }
                }
                continue;
            }
            _ => continue,
        };
        return Err(Refusal::Nested { component, item }.into());
    }
    Ok(())
}
