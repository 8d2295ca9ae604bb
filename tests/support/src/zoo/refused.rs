//! What a node refuses at deployment.

use crate::zoo::framed::{Framed, framed};

/// A component that must be refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What a test calls it.
    pub name: &'static str,
    /// The bytes to deploy.
    pub bytes: Vec<u8>,
    /// Words the refusal must contain, whatever their case: the item by name.
    pub says: &'static str,
    /// Whether it may still be deployed as unmovable.
    pub unmovable: bool,
}

/// Every component that must be refused whatever the node's limits are. See
/// [`crate::zoo::oversized`] and [`crate::zoo::slow_to_compile`] for those that
/// depend on them, [`with_core_export`] and [`with_export`] for reserved names.
pub fn refused() -> Vec<Refused> {
    let mut all = not_agents();
    all.extend(not_enabled());
    all.extend(not_movable());
    all
}

/// An agent whose core module exports its memory under another name too.
pub fn with_core_export(name: &str) -> Vec<u8> {
    let export = format!(r#"(export "{name}" (memory $memory))"#);
    Framed {
        module: &export,
        ..Framed::default()
    }
    .component()
}

/// An agent that exports an empty instance of this name too.
pub fn with_export(name: &str) -> Vec<u8> {
    let export = format!(r#"(instance $empty) (export "{name}" (instance $empty))"#);
    Framed {
        after: &export,
        ..Framed::default()
    }
    .component()
}

fn never(name: &'static str, bytes: Vec<u8>, says: &'static str) -> Refused {
    Refused {
        name,
        bytes,
        says,
        unmovable: false,
    }
}

/// Refused if agents of the kind are to sleep and move.
fn fixed(name: &'static str, says: &'static str, component: Framed<'_>) -> Refused {
    Refused {
        name,
        bytes: component.component(),
        says,
        unmovable: true,
    }
}

fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// No agents at all.
fn not_agents() -> Vec<Refused> {
    let plain = framed();
    let truncated = plain[..plain.len() * 3 / 5].to_vec();
    let mut garbled = plain.clone();
    let middle = plain.len() / 2;
    garbled[middle..middle + 64].fill(0xff);
    vec![
        never("empty", Vec::new(), "not WebAssembly"),
        never(
            "not Wasm",
            b"#!/bin/sh\necho hello\n".to_vec(),
            "not WebAssembly",
        ),
        never("only a header", b"\0asm\x0d\0\x01\0".to_vec(), "turns"),
        never(
            "a core module",
            parse(r#"(module (func (export "turns")))"#),
            "core module",
        ),
        never("truncated", truncated, "truncated"),
        never("garbled", garbled, "offset"),
        never(
            "another world",
            parse(
                r#"(component
                    (core module $m (func (export "run")))
                    (core instance $i (instantiate $m))
                    (func (export "run") (canon lift (core func $i "run"))))"#,
            ),
            "turns",
        ),
        never(
            "another version",
            parse(
                r#"(component
                    (instance $i)
                    (export "phoenix:agent/handler@9.0.0" (instance $i)))"#,
            ),
            "phoenix:agent/handler",
        ),
        never(
            "turns of another type",
            Framed {
                list: "string",
                ..Framed::default()
            }
            .component(),
            "turns",
        ),
        never(
            "an empty handler",
            parse(
                r#"(component
                    (core module $m (memory 1))
                    (core instance (instantiate $m))
                    (instance $i)
                    (export "phoenix:agent/handler@0.1.0" (instance $i)))"#,
            ),
            "handler",
        ),
        never(
            "an import nobody has",
            Framed {
                before: r#"(import "acme:vault/secrets@1.0.0"
                    (instance (export "read" (func (result string)))))"#,
                ..Framed::default()
            }
            .component(),
            "acme:vault/secrets",
        ),
    ]
}

/// Proposals that agents do not need.
fn not_enabled() -> Vec<Refused> {
    let module = |name, says, module| {
        let component = Framed {
            module,
            ..Framed::default()
        };
        never(name, component.component(), says)
    };
    vec![
        never(
            "shared memory",
            Framed {
                before: "(core module $shared (memory 1 16 shared))
                    (core instance (instantiate $shared))",
                ..Framed::default()
            }
            .component(),
            "shared",
        ),
        module(
            "atomics",
            "threads",
            "(func (drop (i32.atomic.load (i32.const 0))))",
        ),
        module("garbage collection", "gc", "(type (struct (field i32)))"),
        module(
            "function references",
            "function references",
            "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
        ),
        never(
            "64-bit memory",
            Framed {
                before: "(core module $wide (memory i64 1)) (core instance (instantiate $wide))",
                ..Framed::default()
            }
            .component(),
            "memory64",
        ),
        never(
            "a page size of its own",
            Framed {
                before: "(core module $fine (memory 1 (pagesize 1)))
                    (core instance (instantiate $fine))",
                ..Framed::default()
            }
            .component(),
            "page size",
        ),
    ]
}

/// In order, but not to be put to sleep and moved.
fn not_movable() -> Vec<Refused> {
    let mut all = instructions();
    all.extend(state());
    all.extend(structure());
    all
}

/// Instructions that change what a snapshot does not hold.
fn instructions() -> Vec<Refused> {
    const TABLES: &str = "(table $t 4 8 funcref) (elem $e func $alloc) (data $d \"data\")";
    [
        ("table.set", "(table.set $t (i32.const 0) (ref.null func))"),
        (
            "table.grow",
            "(drop (table.grow $t (ref.null func) (i32.const 1)))",
        ),
        (
            "table.copy",
            "(table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 1))",
        ),
        (
            "table.fill",
            "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))",
        ),
        (
            "table.init",
            "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))",
        ),
        ("elem.drop", "(elem.drop $e)"),
        ("data.drop", "(data.drop $d)"),
        (
            "memory.init",
            "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))",
        ),
    ]
    .into_iter()
    .map(|(name, instruction)| {
        let module = format!("{TABLES} (func $misdeed {instruction})");
        let component = Framed {
            module: &module,
            ..Framed::default()
        };
        fixed(name, name, component)
    })
    .collect()
}

/// State that a snapshot does not hold.
fn state() -> Vec<Refused> {
    vec![
        fixed(
            "a mutable global of a reference type",
            "global 1 of core module 0",
            Framed {
                module: "(global $handler (mut funcref) (ref.null func))",
                ..Framed::default()
            },
        ),
        fixed(
            "a mutable v128 global",
            "v128",
            Framed {
                module: "(global $vector (mut v128) (v128.const i64x2 0 0))",
                ..Framed::default()
            },
        ),
        never(
            "two memories in one module",
            Framed {
                module: "(memory $second 1)",
                ..Framed::default()
            }
            .component(),
            "second memory",
        ),
        fixed(
            "two modules with a memory each",
            "second memory",
            Framed {
                after: "(core module $other (memory 1)) (core instance (instantiate $other))",
                ..Framed::default()
            },
        ),
        fixed(
            "a module instantiated twice",
            "core module 1",
            Framed {
                after: "(core module $twin
                      (global $state (mut i32) (i32.const 0))
                      (func (global.set $state (i32.const 1))))
                    (core instance (instantiate $twin))
                    (core instance (instantiate $twin))",
                ..Framed::default()
            },
        ),
        fixed(
            "a module instantiated twice, by an alias of it",
            "`alias outer 0 1` gives core module 1 a second index",
            Framed {
                after: "(core module $twin
                      (global $state (mut i32) (i32.const 0))
                      (func (global.set $state (i32.const 1))))
                    (core instance (instantiate $twin))
                    (alias outer $agent $twin (core module $again))
                    (core instance (instantiate $again))",
                ..Framed::default()
            },
        ),
        fixed(
            "an alias of a module that nobody instantiates",
            "`alias outer 0 0` gives core module 0 a second index",
            Framed {
                after: "(alias outer $agent $main (core module $again))
                    (core module $other)
                    (core instance (instantiate $other))",
                ..Framed::default()
            },
        ),
        fixed(
            "a module instantiated twice, by its export",
            "the export `twin` gives core module 1 a second index",
            Framed {
                after: "(core module $twin
                      (global $state (mut i32) (i32.const 0))
                      (func (global.set $state (i32.const 1))))
                    (core instance (instantiate $twin))
                    (export $again \"twin\" (core module $twin))
                    (core instance (instantiate $again))",
                ..Framed::default()
            },
        ),
    ]
}

/// Parts that the accessor cannot reach.
fn structure() -> Vec<Refused> {
    vec![
        Refused {
            name: "a name of the runtime's on a core export",
            bytes: with_core_export("phoenix:memory"),
            says: "`phoenix:memory` is reserved",
            unmovable: true,
        },
        Refused {
            name: "a name of the runtime's on an export",
            bytes: with_export("phoenix-runtime"),
            says: "`phoenix-runtime` is reserved",
            unmovable: true,
        },
        never(
            "a memory from outside",
            Framed {
                before: r#"(import "outside-memory" (core module $o (export "memory" (memory 1))))
                    (core instance $o (instantiate $o))"#,
                memory: r#"(import "o" "memory" (memory $memory 1))
                    (export "memory" (memory $memory))"#,
                with: r#"(with "o" (instance $o))"#,
                ..Framed::default()
            }
            .component(),
            "outside-memory",
        ),
        never(
            "a table from outside",
            Framed {
                before: r#"(import "outside-table"
                      (core module $o (export "table" (table 1 funcref))))
                    (core instance $o (instantiate $o))"#,
                memory: r#"(import "o" "table" (table $table 1 funcref))
                    (memory $memory (export "memory") 1)"#,
                with: r#"(with "o" (instance $o))"#,
                ..Framed::default()
            }
            .component(),
            "outside-table",
        ),
        fixed(
            "a core module in a nested component",
            "nested component",
            Framed {
                after: "(component $inner
                      (core module $hidden (memory 1))
                      (core instance (instantiate $hidden)))
                    (instance (instantiate $inner))",
                ..Framed::default()
            },
        ),
        fixed(
            "a resource of its own",
            "resource of its own",
            Framed {
                after: "(type $ticket (resource (rep i32)))
                    (core func $new (canon resource.new $ticket))",
                ..Framed::default()
            },
        ),
    ]
}
