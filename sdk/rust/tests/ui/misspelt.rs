//! A field that is not there.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

#[derive(Debug, AgentError)]
enum Misspelt {
    #[error("there is no {nmae}")]
    Missing { name: String },
}

fn main() {}
