//! The generated module through which memory and globals are read and written.
//!
//! - `save()` shows the host all globals, [`GLOBALS_PER_CALL`] at a time, and
//!   then the memory, as lists lent for the length of a call: the host reads
//!   guest memory in place.
//! - `load-N(pages, seek, g…)` sets the Nth group of globals, grows the memory
//!   to `pages` and sets where the next `write` goes; its result is that of
//!   `memory.grow`.
//! - `write(next, bytes)` puts bytes where the last call said: the lift's
//!   `realloc` gives that address, so the canonical ABI copies the host's bytes
//!   straight into place. `next` says where the write after it goes.
//! - `wipe(at, length)` zeroes memory.

use wasm_encoder::{self as we, ValType};
use wasmparser::ValType as Ty;

use super::module::{self, MutableGlobal};
use super::{ACCESSOR, CORE_MEMORY, TAKE_GLOBALS, TAKE_MEMORY};

/// Globals in one call: with two numbers before them they are as many as the
/// canonical ABI passes flat.
pub(crate) const GLOBALS_PER_CALL: usize = 14;

/// Bytes of memory shown at a time. Below the largest list the canonical ABI allows.
const VIEW_BYTES: i32 = 64 << 20;

/// A global to be saved: the core instance it is in, its name there, and its type.
#[derive(Clone, Debug)]
pub(crate) struct SavedGlobal {
    pub(crate) instance: u32,
    pub(crate) name: String,
    pub(crate) ty: wasmparser::GlobalType,
}

impl SavedGlobal {
    pub(crate) fn of(instance: u32, global: &MutableGlobal) -> Self {
        Self {
            instance,
            name: module::global_name(global.index),
            ty: global.ty,
        }
    }
}

/// The index spaces where the accessor is put in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) types: u32,
    pub(crate) funcs: u32,
    pub(crate) instances: u32,
    pub(crate) core_funcs: u32,
    pub(crate) core_memories: u32,
    pub(crate) core_instances: u32,
    pub(crate) modules: u32,
}

/// Appends the accessor to a component whose memory is that of core instance `memory`.
pub(crate) fn append(out: &mut we::Component, ends: Ends, memory: u32, globals: &[SavedGlobal]) {
    let groups = u32::try_from(globals.len().div_ceil(GLOBALS_PER_CALL).max(1)).unwrap_or(1);
    let types = component_types(out, ends.types);

    let mut imports = we::ComponentImportSection::new();
    imports.import(TAKE_GLOBALS, we::ComponentTypeRef::Func(types.take_globals));
    imports.import(TAKE_MEMORY, we::ComponentTypeRef::Func(types.bytes));
    out.section(&imports);

    let mut aliases = we::ComponentAliasSection::new();
    aliases.alias(we::Alias::CoreInstanceExport {
        instance: memory,
        kind: we::ExportKind::Memory,
        name: CORE_MEMORY,
    });
    out.section(&aliases);

    let memory_option = we::CanonicalOption::Memory(ends.core_memories);
    let mut lowered = we::CanonicalFunctionSection::new();
    lowered.lower(ends.funcs, []);
    lowered.lower(ends.funcs + 1, [memory_option]);
    out.section(&lowered);
    out.section(&we::ModuleSection(&core_module(globals, groups)));

    let mut instances = we::InstanceSection::new();
    instances.export_items([
        ("globals", we::ExportKind::Func, ends.core_funcs),
        ("memory", we::ExportKind::Func, ends.core_funcs + 1),
    ]);
    let mut arguments = vec![
        (
            "host".to_owned(),
            we::ModuleArg::Instance(ends.core_instances),
        ),
        ("main".to_owned(), we::ModuleArg::Instance(memory)),
    ];
    let mut named: Vec<u32> = globals.iter().map(|g| g.instance).collect();
    named.sort_unstable();
    named.dedup();
    for instance in named {
        arguments.push((format!("of-{instance}"), we::ModuleArg::Instance(instance)));
    }
    instances.instantiate(ends.modules, arguments);
    out.section(&instances);

    lift(out, ends, types, groups, memory_option);
}

/// Indices of the component types the accessor adds.
#[derive(Clone, Copy)]
struct AddedTypes {
    take_globals: u32,
    bytes: u32,
    save: u32,
    load: u32,
    write: u32,
    wipe: u32,
}

fn component_types(out: &mut we::Component, first: u32) -> AddedTypes {
    let u8 = we::ComponentValType::Primitive(we::PrimitiveValType::U8);
    let u32 = we::ComponentValType::Primitive(we::PrimitiveValType::U32);
    let u64 = we::ComponentValType::Primitive(we::PrimitiveValType::U64);
    let list = we::ComponentValType::Type(first);
    let group = |a: &'static str, b: &'static str| {
        let numbers = [(a.to_owned(), u32), (b.to_owned(), u32)];
        let globals = (0..GLOBALS_PER_CALL).map(|i| (format!("g{i}"), u64));
        numbers.into_iter().chain(globals).collect::<Vec<_>>()
    };
    let named = |list: &[(String, we::ComponentValType)]| list.to_vec();
    let mut types = we::ComponentTypeSection::new();
    types.defined_type().list(u8);
    types
        .function()
        .params(borrowed(&named(&group("group", "pages"))))
        .result(None);
    types.function().params([("bytes", list)]).result(None);
    types
        .function()
        .params([] as [(&str, we::ComponentValType); 0])
        .result(None);
    types
        .function()
        .params(borrowed(&named(&group("pages", "seek"))))
        .result(Some(u32));
    types
        .function()
        .params([("next", u32), ("bytes", list)])
        .result(None);
    types
        .function()
        .params([("at", u32), ("length", u32)])
        .result(None);
    out.section(&types);
    AddedTypes {
        take_globals: first + 1,
        bytes: first + 2,
        save: first + 3,
        load: first + 4,
        write: first + 5,
        wipe: first + 6,
    }
}

fn borrowed(params: &[(String, we::ComponentValType)]) -> Vec<(&str, we::ComponentValType)> {
    params
        .iter()
        .map(|(name, ty)| (name.as_str(), *ty))
        .collect()
}

fn lift(
    out: &mut we::Component,
    ends: Ends,
    types: AddedTypes,
    groups: u32,
    memory: we::CanonicalOption,
) {
    let instance = ends.core_instances + 1;
    let mut functions = vec![
        ("save".to_owned(), types.save),
        ("write".to_owned(), types.write),
        ("wipe".to_owned(), types.wipe),
    ];
    functions.extend((0..groups).map(|group| (format!("load-{group}"), types.load)));

    let mut aliases = we::ComponentAliasSection::new();
    let realloc = ("realloc".to_owned(), 0);
    for (name, _) in functions.iter().chain([&realloc]) {
        aliases.alias(we::Alias::CoreInstanceExport {
            instance,
            kind: we::ExportKind::Func,
            name,
        });
    }
    out.section(&aliases);

    let first = ends.core_funcs + 2;
    let count = u32::try_from(functions.len()).unwrap_or(u32::MAX);
    let mut lifted = we::CanonicalFunctionSection::new();
    for (core, (name, ty)) in (first..).zip(&functions) {
        let options = if name == "write" {
            vec![memory, we::CanonicalOption::Realloc(first + count)]
        } else {
            Vec::new()
        };
        lifted.lift(core, *ty, options);
    }
    out.section(&lifted);

    let mut instances = we::ComponentInstanceSection::new();
    instances.export_items(
        functions
            .iter()
            .zip(ends.funcs + 2..)
            .map(|((name, _), func)| (name.as_str(), we::ComponentExportKind::Func, func))
            .collect::<Vec<_>>(),
    );
    out.section(&instances);
    let mut exports = we::ComponentExportSection::new();
    exports.export(
        ACCESSOR,
        we::ComponentExportKind::Instance,
        ends.instances,
        None,
    );
    out.section(&exports);
}

/// Indices in the core module: two imported functions, the saved globals, and the seek address.
fn core_module(globals: &[SavedGlobal], groups: u32) -> we::Module {
    use ValType::{I32, I64};
    let (take_globals, take_memory, save, load, write, realloc) = (0, 1, 2, 3, 4, 5);
    let mut types = we::TypeSection::new();
    let group = || [I32, I32].into_iter().chain([I64; GLOBALS_PER_CALL]);
    types.ty().function(group().collect::<Vec<_>>(), []);
    types.ty().function([I32, I32], []);
    types.ty().function([], []);
    types.ty().function(group().collect::<Vec<_>>(), [I32]);
    types.ty().function([I32, I32, I32], []);
    types.ty().function([I32; 4], [I32]);

    let mut imports = we::ImportSection::new();
    imports.import("host", "globals", we::EntityType::Function(take_globals));
    imports.import("host", "memory", we::EntityType::Function(take_memory));
    imports.import("main", CORE_MEMORY, any_memory());
    for global in globals {
        let ty = we::GlobalType {
            val_type: core_type(global.ty.content_type),
            mutable: true,
            shared: false,
        };
        imports.import(
            &format!("of-{}", global.instance),
            &global.name,
            we::EntityType::Global(ty),
        );
    }

    let seek = u32::try_from(globals.len()).unwrap_or(u32::MAX);
    let mut functions = we::FunctionSection::new();
    let mut code = we::CodeSection::new();
    let mut exports = we::ExportSection::new();
    let mut add = |name: &str, ty: u32, body: we::Function| {
        exports.export(name, we::ExportKind::Func, 2 + functions.len());
        functions.function(ty);
        code.function(&body);
    };
    add("save", save, save_body(globals));
    add("write", write, {
        let mut body = we::Function::new([]);
        body.instructions().local_get(0).global_set(seek).end();
        body
    });
    add("wipe", take_memory, {
        let mut body = we::Function::new([]);
        body.instructions()
            .local_get(0)
            .i32_const(0)
            .local_get(1)
            .memory_fill(0)
            .end();
        body
    });
    for (number, group) in (0..groups).zip(groups_of(globals)) {
        add(
            &format!("load-{number}"),
            load,
            load_body(number, group, seek),
        );
    }
    add("realloc", realloc, {
        let mut body = we::Function::new([]);
        body.instructions().global_get(seek).end();
        body
    });

    let mut own = we::GlobalSection::new();
    own.global(
        we::GlobalType {
            val_type: I32,
            mutable: true,
            shared: false,
        },
        &we::ConstExpr::i32_const(0),
    );
    let mut module = we::Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&own)
        .section(&exports)
        .section(&code);
    module
}

/// The globals in groups as calls carry them; at least one group, so that the
/// number of pages is always told.
fn groups_of(globals: &[SavedGlobal]) -> Vec<&[SavedGlobal]> {
    if globals.is_empty() {
        vec![&[]]
    } else {
        globals.chunks(GLOBALS_PER_CALL).collect()
    }
}

fn save_body(globals: &[SavedGlobal]) -> we::Function {
    // Locals: where the next view begins, where memory ends (both 64 bits wide,
    // since 4 GiB do not fit 32), and the view's length.
    let mut body = we::Function::new([(2, ValType::I64), (1, ValType::I32)]);
    let mut code = body.instructions();
    let (at, end, length) = (0, 1, 2);
    for (number, group) in (0..).zip(groups_of(globals)) {
        code.i32_const(number).memory_size(0);
        let first = u32::try_from(number).unwrap_or(0) * 14;
        for (global, saved) in (first..).zip(group) {
            code.global_get(global);
            match saved.ty.content_type {
                Ty::I32 => code.i64_extend_i32_u(),
                Ty::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
                Ty::F64 => code.i64_reinterpret_f64(),
                _ => &mut code,
            };
        }
        for _ in group.len()..GLOBALS_PER_CALL {
            code.i64_const(0);
        }
        code.call(0);
    }
    code.memory_size(0)
        .i64_extend_i32_u()
        .i64_const(16)
        .i64_shl()
        .local_set(end);
    code.loop_(we::BlockType::Empty);
    // length = min(end - at, VIEW_BYTES)
    code.local_get(end)
        .local_get(at)
        .i64_sub()
        .i32_wrap_i64()
        .i32_const(VIEW_BYTES)
        .local_get(end)
        .local_get(at)
        .i64_sub()
        .i64_const(i64::from(VIEW_BYTES))
        .i64_lt_u()
        .select()
        .local_set(length);
    code.local_get(at)
        .i32_wrap_i64()
        .local_get(length)
        .call(1)
        .local_get(at)
        .local_get(length)
        .i64_extend_i32_u()
        .i64_add()
        .local_tee(at)
        .local_get(end)
        .i64_lt_u()
        .br_if(0)
        .end()
        .end();
    body
}

fn load_body(number: u32, group: &[SavedGlobal], seek: u32) -> we::Function {
    let mut body = we::Function::new([]);
    let mut code = body.instructions();
    let first = number * 14;
    for ((global, saved), param) in (first..).zip(group).zip(2..) {
        code.local_get(param);
        match saved.ty.content_type {
            Ty::I32 => code.i32_wrap_i64(),
            Ty::F32 => code.i32_wrap_i64().f32_reinterpret_i32(),
            Ty::F64 => code.f64_reinterpret_i64(),
            _ => &mut code,
        };
        code.global_set(global);
    }
    code.local_get(1)
        .global_set(seek)
        .local_get(0)
        .memory_size(0)
        .i32_sub()
        .memory_grow(0)
        .end();
    body
}

fn any_memory() -> we::EntityType {
    we::EntityType::Memory(we::MemoryType {
        minimum: 0,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    })
}

fn core_type(ty: Ty) -> ValType {
    match ty {
        Ty::I64 => ValType::I64,
        Ty::F32 => ValType::F32,
        Ty::F64 => ValType::F64,
        // The survey lets no other through.
        _ => ValType::I32,
    }
}
