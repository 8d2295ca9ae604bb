//! What the nodes of a cluster decide together, without touching the world:
//! who owns which agent, and how an agent moves from one node to another.
//!
//! **Invariant**: nothing here knows tokio, a socket, a file, a clock or ambient
//! randomness. Events and `now` go in, actions come out. CI builds this crate
//! for `wasm32-unknown-unknown` to prove it.
//!
//! Start with [`DirectoryState`], the state machine behind
//! [`phoenix_core::Directory`], then [`Migrations`], a node's side of all
//! migrations it takes part in, made of one [`SourceMigration`] or
//! [`TargetMigration`] each. [`Whereabouts`] is what it knows of agents elsewhere.

pub mod directory;
pub mod migration;
mod whereabouts;

pub use directory::{DirectoryLimits, DirectoryState, Origin, Record};
pub use migration::{MigrationLimits, Migrations, SourceMigration, TargetMigration};
pub use whereabouts::{PASS_ON_WITHIN, Whereabouts};
