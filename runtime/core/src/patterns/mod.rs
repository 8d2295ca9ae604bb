//! Patterns of messages that are agents of their own: pipelines and sagas.
//!
//! Each is a [`BuiltIn`](crate::program::BuiltIn) kind, so that it has a name, a mailbox,
//! and a place; where the node has a journal, how far it has come outlives the node.
//!
//! ```text
//!   source ── push ──▶ pipeline/orders ── ask ──▶ stage 1, stage 2, … in turn
//!   asker ── start ──▶ saga/order-7    ── ask ──▶ step 1, step 2, ✗ ──▶ compensations
//! ```
//!
//! They know other agents by their addresses alone, and ask them as any agent would.

mod declaration;
mod held;
pub mod pipeline;
mod request;
pub mod saga;
mod saved;
mod timer;

pub use declaration::{BadDeclaration, MAX_ATTEMPTS, MAX_METHOD, MAX_NAME, Retry};
