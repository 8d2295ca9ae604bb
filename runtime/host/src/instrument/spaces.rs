//! The index spaces of a component, and how they shift where something is put in.

use wasm_encoder::reencode::{Reencode, ReencodeComponent};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind,
    ExternalKind, Payload,
};

/// How many items each index space has so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spaces {
    pub(crate) core_funcs: u32,
    pub(crate) core_memories: u32,
    pub(crate) core_instances: u32,
    pub(crate) modules: u32,
    pub(crate) types: u32,
    pub(crate) funcs: u32,
    pub(crate) instances: u32,
}

impl Spaces {
    /// Counts what a section adds.
    pub(crate) fn add(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::ModuleSection { .. } => self.modules += 1,
            Payload::InstanceSection(section) => self.core_instances += section.count(),
            Payload::ComponentTypeSection(section) => self.types += section.count(),
            Payload::ComponentInstanceSection(section) => self.instances += section.count(),
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.external(import?.ty.kind());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.external(export?.kind);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias?);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    self.canonical(&function?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn external(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Module => self.modules += 1,
            ComponentExternalKind::Func => self.funcs += 1,
            ComponentExternalKind::Type => self.types += 1,
            ComponentExternalKind::Instance => self.instances += 1,
            ComponentExternalKind::Value | ComponentExternalKind::Component => {}
        }
    }

    pub(crate) fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport { kind, .. } => self.external(*kind),
            ComponentAlias::CoreInstanceExport { kind, .. } => match kind {
                ExternalKind::Func => self.core_funcs += 1,
                ExternalKind::Memory => self.core_memories += 1,
                _ => {}
            },
            ComponentAlias::Outer { kind, .. } => match kind {
                ComponentOuterAliasKind::CoreModule => self.modules += 1,
                ComponentOuterAliasKind::Type => self.types += 1,
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Component => {}
            },
        }
    }

    pub(crate) fn canonical(&mut self, function: &CanonicalFunction) {
        match function {
            CanonicalFunction::Lift { .. } => self.funcs += 1,
            _ => self.core_funcs += 1,
        }
    }
}

/// Moves indices past the one place where items were put in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shift {
    /// The spaces where it happened.
    pub(crate) at: Spaces,
    /// How many items of each were put in.
    pub(crate) by: Spaces,
}

impl Shift {
    fn moved(index: u32, at: u32, by: u32) -> u32 {
        if index >= at { index + by } else { index }
    }

    pub(crate) fn core_func(&self, index: u32) -> u32 {
        Self::moved(index, self.at.core_funcs, self.by.core_funcs)
    }

    pub(crate) fn core_instance(&self, index: u32) -> u32 {
        Self::moved(index, self.at.core_instances, self.by.core_instances)
    }

    pub(crate) fn func(&self, index: u32) -> u32 {
        Self::moved(index, self.at.funcs, self.by.funcs)
    }

    pub(crate) fn module(&self, index: u32) -> u32 {
        Self::moved(index, self.at.modules, self.by.modules)
    }
}

impl Reencode for Shift {
    type Error = std::convert::Infallible;

    fn function_index(
        &mut self,
        func: u32,
    ) -> Result<u32, wasm_encoder::reencode::Error<Self::Error>> {
        Ok(self.core_func(func))
    }
}

impl ReencodeComponent for Shift {
    fn component_func_index(&mut self, func: u32) -> u32 {
        self.func(func)
    }

    fn instance_index(&mut self, instance: u32) -> u32 {
        self.core_instance(instance)
    }

    fn module_index(&mut self, module: u32) -> u32 {
        self.module(module)
    }
}
