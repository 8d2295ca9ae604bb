//! What is done with a component's bytes before they are compiled: parse,
//! count, validate, instrument.

use serde::{Deserialize, Serialize};
use wasmparser::component_types::{ComponentDefinedType, ComponentEntityType, ComponentValType};
use wasmparser::types::{Types, TypesRef};
use wasmparser::{Encoding, Parser, Payload, PrimitiveValType};

use crate::counts;
use crate::error::AdmitError;
use crate::instrument::{self, Failure, Instrumented, Plan, Surface};
use crate::wasi::denied;

/// The interfaces agents may import, besides files and sockets, which are denied.
const INTERFACES: [&str; 24] = [
    "phoenix:agent/types",
    "phoenix:agent/messaging",
    "phoenix:agent/pubsub",
    "phoenix:agent/timers",
    "phoenix:agent/context",
    "phoenix:agent/log",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// A component that has passed every check before compiling.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The bytes to compile.
    pub(crate) bytes: Vec<u8>,
    /// What is saved of it, or why it is not instrumented.
    pub(crate) plan: Result<Plan, String>,
    /// Whether it exports `agent-framed`, not `agent`.
    pub(crate) framed: bool,
}

/// Why a component is not worth compiling. As [`AdmitError`], in a form that
/// travels from a compiler process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PrepareError {
    NotWasm {
        found: String,
    },
    CoreModule,
    Truncated {
        at: u64,
        reason: String,
    },
    Invalid(String),
    World {
        found: String,
        problem: String,
    },
    Import {
        name: String,
    },
    Refused(String),
    TooMany {
        what: String,
        found: u64,
        limit: u64,
    },
}

impl From<PrepareError> for AdmitError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::NotWasm { found } => Self::NotWasm { found },
            PrepareError::CoreModule => Self::CoreModule,
            PrepareError::Truncated { at, reason } => Self::Truncated { at, reason },
            PrepareError::Invalid(reason) => Self::Invalid(reason),
            PrepareError::World { found, problem } => Self::World { found, problem },
            PrepareError::Import { name } => Self::Import { name },
            PrepareError::Refused(refusal) => Self::Refused(refusal),
            PrepareError::TooMany { what, found, limit } => Self::TooMany { what, found, limit },
        }
    }
}

/// Checks and instruments a component. What it costs is bounded by the
/// component's size and by [`counts`], and where a compiler process is
/// configured it is done there.
pub(crate) fn prepare(bytes: &[u8], movable: bool) -> Result<Prepared, PrepareError> {
    check_header(bytes)?;
    counts::check(bytes)?;
    let types = instrument::validate(bytes).map_err(|error| invalid(bytes, &error))?;
    let surface = Surface::of(bytes).map_err(|error| invalid(bytes, &error))?;
    check_imports(&surface)?;
    let framed = check_world(&surface, &types)?;
    let instrumented = match instrument::instrument(bytes, &types) {
        Ok(instrumented) => Ok(instrumented),
        Err(Failure::Broken(reason)) => return Err(PrepareError::Invalid(reason)),
        Err(Failure::Refused(refusal)) if movable => {
            return Err(PrepareError::Refused(refusal.to_string()));
        }
        Err(Failure::Refused(refusal)) => Err(refusal.to_string()),
    };
    Ok(match instrumented {
        Ok(Instrumented { bytes, plan }) if movable => Prepared {
            bytes,
            plan: Ok(plan),
            framed,
        },
        Ok(_) => Prepared {
            bytes: bytes.to_vec(),
            plan: Err("its kind is deployed with movable = false".to_owned()),
            framed,
        },
        Err(reason) => Prepared {
            bytes: bytes.to_vec(),
            plan: Err(reason),
            framed,
        },
    })
}

fn check_header(bytes: &[u8]) -> Result<(), PrepareError> {
    if !bytes.starts_with(b"\0asm") {
        let found = bytes
            .iter()
            .take(8)
            .flat_map(|byte| std::ascii::escape_default(*byte))
            .map(char::from)
            .collect::<String>();
        return Err(PrepareError::NotWasm {
            found: if found.is_empty() {
                "nothing".to_owned()
            } else {
                found
            },
        });
    }
    match Parser::new(0).parse_all(bytes).next() {
        Some(Ok(Payload::Version {
            encoding: Encoding::Module,
            ..
        })) => Err(PrepareError::CoreModule),
        Some(Err(error)) => Err(invalid(bytes, &error)),
        _ => Ok(()),
    }
}

/// A component that ends too early fails at its very end, or says so.
fn invalid(bytes: &[u8], error: &wasmparser::BinaryReaderError) -> PrepareError {
    let end = bytes.len() as u64;
    if error.offset() >= end || error.message().contains("unexpected end") {
        return PrepareError::Truncated {
            at: end,
            reason: error.message().to_owned(),
        };
    }
    PrepareError::Invalid(error.to_string())
}

fn check_imports(surface: &Surface) -> Result<(), PrepareError> {
    let known = |name: &str| {
        let interface = name
            .split_once('@')
            .map_or(name, |(interface, _)| interface);
        INTERFACES.contains(&interface) || denied::is_denied(name)
    };
    match surface.imports.iter().find(|name| !known(name)) {
        // Reserved names are refused by the instrumentation, which knows why.
        Some(name) if !name.starts_with(instrument::COMPONENT_PREFIX) => {
            Err(PrepareError::Import { name: name.clone() })
        }
        _ => Ok(()),
    }
}

/// Whether the component exports `agent-framed`; otherwise it exports `agent`.
fn check_world(surface: &Surface, types: &Types) -> Result<bool, PrepareError> {
    let types = types.as_ref();
    let wrong = |problem: &str| PrepareError::World {
        found: if surface.exports.is_empty() {
            "none".to_owned()
        } else {
            named(&surface.exports)
        },
        problem: problem.to_owned(),
    };
    if let Some(item) = types.component_item_for_export("turns") {
        return if is_turns(types, item.ty) {
            Ok(true)
        } else {
            Err(wrong("its `turns` is of another type; "))
        };
    }
    let is_handler = |name: &&String| name.starts_with("phoenix:agent/handler@0.1.");
    if let Some(name) = surface.exports.iter().find(is_handler) {
        let item = types.component_item_for_export(name);
        let instance = match item.map(|item| item.ty) {
            Some(ComponentEntityType::Instance(id)) => types.get(id),
            _ => return Err(wrong("its `handler` is no instance; ")),
        };
        let has = |name| {
            let item = instance.and_then(|instance| instance.exports.get(name));
            matches!(item.map(|item| item.ty), Some(ComponentEntityType::Func(_)))
        };
        // Their types are checked when they are linked.
        return match (has("init"), has("handle")) {
            (true, true) => Ok(false),
            (false, _) => Err(wrong("its `handler` has no function `init`; ")),
            (true, false) => Err(wrong("its `handler` has no function `handle`; ")),
        };
    }
    Err(wrong(""))
}

/// The first of these names, and how many more there are.
fn named(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn is_turns(types: TypesRef<'_>, item: ComponentEntityType) -> bool {
    let ComponentEntityType::Func(id) = item else {
        return false;
    };
    let Some(function) = types.get(id) else {
        return false;
    };
    let is_bytes = |ty: &ComponentValType| {
        let ComponentValType::Type(id) = ty else {
            return false;
        };
        matches!(
            types.get(*id),
            Some(ComponentDefinedType::List {
                element: ComponentValType::Primitive(PrimitiveValType::U8),
                ..
            })
        )
    };
    match (&*function.params, &function.result) {
        ([(_, param)], Some(result)) => is_bytes(param) && is_bytes(result),
        _ => false,
    }
}
