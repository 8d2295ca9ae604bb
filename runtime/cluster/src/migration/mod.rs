//! Moving an agent from node to node, as two state machines and a node's table of them.
//!
//! ```text
//!   source                          target                       directory
//!   Prepare  ────────────────────►  fetch, compile
//!            ◄────────────────────  Ready | Refused
//!   freeze
//!   Ship…    ────────────────────►  verify, restore
//!            ◄────────────────────  Staged | Refused
//!   Move     ──────────────────────────────────────────────────►  compare and swap
//!   Activate ────────────────────►
//!            ◄────────────────────  Activated
//!   let go
//!   Released ────────────────────►  run
//!   Settle   ──────────────────────────────────────────────────►
//! ```
//!
//! Whatever goes wrong is decided by the directory: the source gives up by
//! `Abort` before the move and by `Reclaim` after it; the target, left alone,
//! asks by `Claim`. Of a claim and a reclaim the first wins.
//!
//! **Invariants**: the source lets go of its frozen copy only after it heard
//! `Activated`, or after the directory said that the copy is not its own; the
//! target runs turns only after `Released` or a claim it won. So at most one
//! copy runs, and one that may run always exists unless its owner died.
//!
//! Messages may be lost, repeated, late or out of order. They must not reach a
//! later life of a node than the one they were sent to: a connection ends with
//! the node it leads to.

mod finished;
mod limits;
mod source;
mod table;
mod target;
mod timer;

pub use finished::{Ending, FinishedAttempts};
pub use limits::MigrationLimits;
pub use source::{SourceAction, SourceEvent, SourceMigration, SourceOutcome, SourcePlan};
pub use table::{Action, BeginRefused, Migrations, Step};
pub use target::{TargetAction, TargetEvent, TargetMigration, TargetOutcome, TargetPlan};
