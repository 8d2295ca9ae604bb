//! What an agent says about itself at deployment.

use serde::Serialize;

use crate::runtime::Handler;

/// The payload of a `describe` turn; the contract's WIT file defines it.
#[derive(Serialize)]
struct Description<'a> {
    handlers: Vec<Entry<'a>>,
    #[serde(flatten)]
    stack: Option<Stack>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    interleave: bool,
}

/// Where the shadow stack lies, as addresses in linear memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stack {
    /// Its lowest address.
    pub(crate) stack_low: u64,
    /// The address it starts from, growing down.
    pub(crate) stack_high: u64,
}

pub(crate) fn of(handlers: &[Handler]) -> Vec<u8> {
    let description = Description {
        handlers: handlers
            .iter()
            .map(|handler| Entry {
                name: handler.name,
                interleave: handler.interleave,
            })
            .collect(),
        stack: stack(),
    };
    // Texts, bools and numbers always encode.
    rmp_serde::to_vec_named(&description).unwrap_or_default()
}

#[cfg(target_family = "wasm")]
fn stack() -> Option<Stack> {
    Some(crate::guest::stack())
}

#[cfg(not(target_family = "wasm"))]
fn stack() -> Option<Stack> {
    None
}
