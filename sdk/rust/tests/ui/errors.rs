//! Errors that cannot be.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

#[derive(Debug, AgentError)]
enum Silent {
    Missing,
    #[error("{0} {1}")]
    Pair(u8, u8),
    #[error("the {who}", who = "x")]
    Arguments,
    #[error(transparent)]
    Hollow,
    #[error("two")]
    Two(#[from] AskError, u8),
}

#[derive(Debug, AgentError)]
#[error("generic")]
struct Generic<T>(T);

#[derive(Debug, AgentError)]
union Either {
    a: u8,
    b: u8,
}

fn main() {}
