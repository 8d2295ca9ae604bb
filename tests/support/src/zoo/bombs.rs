//! Components that cost more to admit than they are worth.

use wasm_encoder::{
    BlockType, CodeSection, Component, Function, FunctionSection, Instruction, Module,
    ModuleSection, TypeSection, ValType,
};

use crate::zoo::framed::{Framed, framed};

/// As an argument of [`slow_to_compile`], far more than any limit a test sets: the time grows
/// with the square of it.
pub const SLOW: usize = 8_000;

/// A plain agent with a custom section that makes it longer than `limit` bytes.
pub fn oversized(limit: usize) -> Vec<u8> {
    let mut bytes = framed();
    let padding = vec![0; limit.saturating_sub(bytes.len()) + 1];
    append(
        &mut bytes,
        &wasm_encoder::CustomSection {
            name: "padding".into(),
            data: padding.into(),
        },
    );
    bytes
}

/// A plain agent with a second core module, valid and of a few megabytes,
/// whose one function keeps an optimising compiler busy for long: `branches`
/// diamonds over `LOCALS` variables that are all alive throughout.
pub fn slow_to_compile(branches: usize) -> Vec<u8> {
    const LOCALS: u32 = 400;
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I64]);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut body = Function::new([(LOCALS, ValType::I64)]);
    for branch in 0..branches {
        let variable = |offset: usize| {
            1 + u32::try_from((branch * 7 + offset * 13) % LOCALS as usize)
                .expect("it is below 400")
        };
        body.instructions()
            .loop_(BlockType::Empty)
            .local_get(0)
            .i32_eqz()
            .if_(BlockType::Empty);
        for offset in 0..8 {
            body.instructions()
                .local_get(variable(offset))
                .local_get(variable(offset + 1))
                .i64_mul()
                .local_set(variable(offset + 2));
        }
        body.instructions()
            .else_()
            .local_get(0)
            .i32_const(1)
            .i32_sub()
            .local_set(0)
            .br(1)
            .end()
            .end();
    }
    body.instruction(&Instruction::I64Const(0));
    for local in 1..=LOCALS {
        body.instructions().local_get(local).i64_add();
    }
    body.instruction(&Instruction::End);
    let mut code = CodeSection::new();
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    let mut bytes = framed();
    append(&mut bytes, &ModuleSection(&module));
    bytes
}

/// Agents with more of an item than any tool emits, some for each, and the name
/// of the item that their refusal must contain. What validating or
/// instrumenting one costs grows with it.
pub fn too_many() -> Vec<(&'static str, Vec<u8>)> {
    let after = |item: &str, count: usize| {
        let after = item.repeat(count);
        Framed {
            after: &after,
            ..Framed::default()
        }
        .component()
    };
    let module = |item: &str, count: usize| {
        let module = item.repeat(count);
        Framed {
            module: &module,
            ..Framed::default()
        }
        .component()
    };
    let imports = (0..6_000).map(|n| format!("(import \"i{n}\" (func))"));
    let imports = Framed {
        before: &imports.collect::<String>(),
        ..Framed::default()
    }
    .component();
    // One section each, since that is how those are written.
    let mut sections = framed();
    let custom = wasm_encoder::CustomSection {
        name: "".into(),
        data: (&[][..]).into(),
    };
    for _ in 0..20_001 {
        append(&mut sections, &custom);
    }
    let alias = "(alias core export $core \"realloc\" (core func))";
    let lower = "(core func (canon lower (func $turns) (memory $memory) (realloc $realloc)))";
    vec![
        ("sections", sections),
        ("core modules", after("(core module)", 300)),
        (
            "core instances",
            after("(core instance (export \"m\" (memory $memory)))", 1_100),
        ),
        ("nested components", after("(component)", 600)),
        ("component instances", after("(instance)", 2_500)),
        ("types", after("(type (func))", 51_000)),
        ("aliases", after(alias, 51_000)),
        ("canonical functions", after(lower, 21_000)),
        ("imports", imports),
        ("globals", module("(global i32 (i32.const 0))", 11_000)),
        ("core functions", module("(func)", 501_000)),
    ]
}

/// Adds a section to a component.
fn append(component: &mut Vec<u8>, section: &impl wasm_encoder::ComponentSection) {
    let header = Component::new().finish().len();
    let mut alone = Component::new();
    alone.section(section);
    component.extend_from_slice(&alone.finish()[header..]);
}
