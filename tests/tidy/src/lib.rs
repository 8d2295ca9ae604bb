//! Rules of the tree that neither rustc nor clippy can check: which room may
//! depend on which, where vendor crates live, how long a file may get, that
//! every silenced lint has a reason, that documents point at what is there.
//!
//! Every check is a function from text to [`Fault`]s, so that it can be tried
//! on made-up bad input; `tests/tree.rs` runs them all over the real tree.
//!
//! Start with [`Tree`], then [`edges`], which holds the table of rooms.

pub mod edges;
pub mod links;
pub mod manifest;
pub mod rust_text;
pub mod source;
mod tree;

use std::fmt;

pub use tree::{Dependency, DependencyKind, Package, Tree, TreeError};

/// One broken rule: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Path from the root of the tree.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Fault {
    /// A fault at `line` of `file`.
    pub fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}
