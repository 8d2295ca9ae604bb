//! The generated module that holds the standard streams' handles.
//!
//! wasi-libc keeps the handle of stdout from the first `println!` on, in guest
//! memory. Restored into a fresh instance, whose handle table is empty, the next
//! `println!` would trap. So a component that takes such a handle gets a module
//! whose start function takes all of them, in a fixed order, before any of the
//! user's code runs: every instance has the same handles under the same
//! numbers. Where the component would take a handle it gets that number; where
//! it would drop one of these, nothing happens.

use std::collections::HashMap;

use wasm_encoder::{self as we, ValType::I32};
use wasmparser::Payload;
use wasmparser::component_types::{ComponentDefinedType, ComponentValType, ResourceId};
use wasmparser::types::Types;

use super::spaces::{Shift, Spaces};
use super::survey::{self, Survey};
use super::{Failure, Refusal, walk};

/// A function of the host that gives the same thing whenever it is called, in
/// the order in which instances take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Singleton {
    Stdin,
    Stdout,
    Stderr,
    Network,
}

impl Singleton {
    const ALL: [Self; 4] = [Self::Stdin, Self::Stdout, Self::Stderr, Self::Network];

    fn interface(self) -> &'static str {
        match self {
            Self::Stdin => "wasi:cli/stdin",
            Self::Stdout => "wasi:cli/stdout",
            Self::Stderr => "wasi:cli/stderr",
            Self::Network => "wasi:sockets/instance-network",
        }
    }

    fn function(self) -> &'static str {
        match self {
            Self::Stdin => "get-stdin",
            Self::Stdout => "get-stdout",
            Self::Stderr => "get-stderr",
            Self::Network => "instance-network",
        }
    }
}

/// Which singleton the function `name` of `interface` gives.
pub(crate) fn singleton(interface: &str, name: &str) -> Option<Singleton> {
    let (interface, version) = interface.split_once('@')?;
    let known = version.starts_with("0.2.");
    Singleton::ALL
        .into_iter()
        .find(|s| known && s.interface() == interface && s.function() == name)
}

/// The resource that the component function with this index gives.
pub(crate) fn result(types: &Types, function: u32) -> Option<ResourceId> {
    let types = types.as_ref();
    let function = types.get(types.component_function_at(function))?;
    let ComponentValType::Type(ty) = function.result? else {
        return None;
    };
    match types.get(ty)? {
        ComponentDefinedType::Own(resource) => Some(resource.resource()),
        _ => None,
    }
}

/// Where the stdio module goes, and what it is put together from.
#[derive(Debug)]
pub(crate) struct Block {
    /// The index spaces before it.
    pub(crate) at: Spaces,
    /// The streams it takes, with the component instance each comes from.
    taken: Vec<(Singleton, u32)>,
    /// The type indices of the resources whose drops it wraps.
    wrapped: Vec<u32>,
    /// The place of each resource among those.
    places: HashMap<ResourceId, usize>,
}

impl Block {
    /// Plans the block; `None` if the component takes no stream.
    pub(crate) fn plan(
        bytes: &[u8],
        survey: &Survey,
        types: &Types,
    ) -> Result<Option<Self>, Failure> {
        if survey.stdio.taken.is_empty() {
            return Ok(None);
        }
        let at = first_use(bytes, survey)?;
        for (singleton, instance) in &survey.stdio.taken {
            if *instance >= at.instances {
                return Err(Refusal::Order {
                    item: singleton.interface().to_owned(),
                }
                .into());
            }
        }
        let mut known: HashMap<ResourceId, u32> = HashMap::new();
        for ty in 0..at.types {
            if let Some(resource) = survey::resource(types, ty) {
                known.entry(resource).or_insert(ty);
            }
        }
        let (mut wrapped, mut places) = (Vec::new(), HashMap::new());
        for resource in survey.stdio.drops.values() {
            if places.contains_key(resource) {
                continue;
            }
            let ty = known.get(resource).ok_or_else(|| Refusal::Order {
                item: "the type of a standard stream".to_owned(),
            })?;
            places.insert(*resource, wrapped.len());
            wrapped.push(*ty);
        }
        Ok(Some(Self {
            at,
            taken: survey.stdio.taken.clone(),
            wrapped,
            places,
        }))
    }

    /// How indices move past the block.
    pub(crate) fn shift(&self) -> Shift {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Shift {
            at: self.at,
            by: Spaces {
                core_funcs: count(self.taken.len() + self.wrapped.len()),
                core_instances: 2,
                modules: 1,
                funcs: count(self.taken.len()),
                ..Spaces::default()
            },
        }
    }

    /// Writes the block.
    pub(crate) fn write(&self, out: &mut we::Component) {
        let mut aliases = we::ComponentAliasSection::new();
        for (singleton, instance) in &self.taken {
            aliases.alias(we::Alias::InstanceExport {
                instance: *instance,
                kind: we::ComponentExportKind::Func,
                name: singleton.function(),
            });
        }
        out.section(&aliases);

        let mut canonical = we::CanonicalFunctionSection::new();
        let mut exports = Vec::new();
        for (function, (singleton, _)) in (self.at.funcs..).zip(&self.taken) {
            canonical.lower(function, []);
            exports.push(singleton.function().to_owned());
        }
        for (place, ty) in self.wrapped.iter().enumerate() {
            canonical.resource_drop(*ty);
            exports.push(format!("drop-{place}"));
        }
        out.section(&canonical);
        out.section(&we::ModuleSection(&self.module()));

        let mut instances = we::InstanceSection::new();
        instances.export_items(
            exports
                .iter()
                .zip(self.at.core_funcs..)
                .map(|(name, function)| (name.as_str(), we::ExportKind::Func, function))
                .collect::<Vec<_>>(),
        );
        instances.instantiate(
            self.at.modules,
            [("host", we::ModuleArg::Instance(self.at.core_instances))],
        );
        out.section(&instances);
    }

    /// What stands for the core function `function` of the original, if that
    /// takes a stream or drops a handle: an alias of the module's wrapper.
    pub(crate) fn wrapper(&self, function: u32, survey: &Survey) -> Option<String> {
        let stdio = &survey.stdio;
        if let Some(singleton) = stdio.takes.get(&function) {
            return Some(singleton.function().to_owned());
        }
        let place = self.places.get(stdio.drops.get(&function)?)?;
        Some(format!("drop-{place}"))
    }

    /// The core instance that exports the wrappers.
    pub(crate) fn instance(&self) -> u32 {
        self.at.core_instances + 1
    }

    /// The module: a mutable global a stream, which the start function fills,
    /// so that the accessor saves and checks them like all others.
    fn module(&self) -> we::Module {
        let streams = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
        let drops = u32::try_from(self.wrapped.len()).unwrap_or(u32::MAX);
        let (take, drop, start) = (0, 1, 2);
        let mut types = we::TypeSection::new();
        types.ty().function([], [I32]);
        types.ty().function([I32], []);
        types.ty().function([], []);

        let mut imports = we::ImportSection::new();
        let mut functions = we::FunctionSection::new();
        let mut exports = we::ExportSection::new();
        let mut globals = we::GlobalSection::new();
        let mut code = we::CodeSection::new();
        for (singleton, _) in &self.taken {
            imports.import("host", singleton.function(), we::EntityType::Function(take));
        }
        for place in 0..drops {
            let name = format!("drop-{place}");
            imports.import("host", &name, we::EntityType::Function(drop));
        }
        let imported = streams + drops;
        for (stream, (singleton, _)) in (0..).zip(&self.taken) {
            functions.function(take);
            globals.global(mutable_i32(), &we::ConstExpr::i32_const(0));
            exports.export(
                singleton.function(),
                we::ExportKind::Func,
                imported + stream,
            );
            exports.export(
                &super::module::global_name(stream),
                we::ExportKind::Global,
                stream,
            );
            let mut body = we::Function::new([]);
            body.instructions().global_get(stream).end();
            code.function(&body);
        }
        for place in 0..drops {
            functions.function(drop);
            let name = format!("drop-{place}");
            exports.export(&name, we::ExportKind::Func, imported + streams + place);
            code.function(&keeping_drop(streams, streams + place));
        }
        functions.function(start);
        let mut body = we::Function::new([]);
        for stream in 0..streams {
            body.instructions().call(stream).global_set(stream);
        }
        body.instructions().end();
        code.function(&body);

        let mut module = we::Module::new();
        module
            .section(&types)
            .section(&imports)
            .section(&functions)
            .section(&globals)
            .section(&exports)
            .section(&we::StartSection {
                function_index: imported + streams + drops,
            })
            .section(&code);
        module
    }

    /// How many globals the module has for the accessor to save.
    pub(crate) fn globals(&self) -> u32 {
        u32::try_from(self.taken.len()).unwrap_or(u32::MAX)
    }
}

fn mutable_i32() -> we::GlobalType {
    we::GlobalType {
        val_type: I32,
        mutable: true,
        shared: false,
    }
}

/// Drops its handle through `host`, unless it is one of the streams' handles.
fn keeping_drop(streams: u32, host: u32) -> we::Function {
    let mut body = we::Function::new([]);
    let mut code = body.instructions();
    for stream in 0..streams {
        code.local_get(0)
            .global_get(stream)
            .i32_eq()
            .if_(we::BlockType::Empty)
            .return_()
            .end();
    }
    code.local_get(0).call(host).end();
    body
}

/// The index spaces at the first canonical section that takes a stream or drops one's handle.
fn first_use(bytes: &[u8], survey: &Survey) -> Result<Spaces, Failure> {
    let stdio = &survey.stdio;
    let takes = stdio.takes.keys().next();
    let drops = stdio.drops.keys().next();
    let first = takes.into_iter().chain(drops).min();
    let mut spaces = Spaces::default();
    for piece in walk::pieces(bytes)? {
        let before = spaces;
        spaces.add(&piece.payload)?;
        let within = before.core_funcs..spaces.core_funcs;
        if matches!(piece.payload, Payload::ComponentCanonicalSection(_))
            && first.is_some_and(|function| within.contains(function))
        {
            return Ok(before);
        }
    }
    Ok(spaces)
}
