//! Turns a crate into an agent's component, and says what is wrong when it can't.
//!
//! Three callers share it: `phoenix build`, the build script that puts the
//! sample agents into the `phoenix` binary (see [`embed`]), and the tests,
//! which build their guests when they first need one. All of them run
//! `cargo build` for `wasm32-wasip2`, so agents need nothing but rustup.
//!
//! Start with [`Build`]; [`scaffold`] is what `phoenix new` does.
//!
//! This crate does not know what a component does when it runs: it looks at
//! the exports, to tell an author at once that `#[agent]` is missing, and
//! leaves every other judgement to the node that admits the component.

mod build;
mod contract;
mod embed;
mod environment;
mod error;
mod metadata;
mod scaffold;
mod target_dir;

pub use build::{Artifact, Build};
pub use contract::{Misfit, World};
pub use embed::{Report, embed};
pub use error::BuildError;
pub use scaffold::{SCAFFOLD_NAME_MAX, Scaffold, ScaffoldError, scaffold};
pub use target_dir::{shared_target_dir, shared_target_dir_of};

/// The target agents are compiled for. Its output is a component as it stands.
pub const TARGET: &str = "wasm32-wasip2";

/// The cargo profile agents are built with unless the caller names another one.
pub const PROFILE: &str = "agent";
