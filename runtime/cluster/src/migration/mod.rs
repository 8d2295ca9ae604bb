//! Moving an agent from node to node, as two state machines and a node's table of them.
//!
//! ```text
//!   source                          target                       directory
//!   Prepare  ────────────────────►  fetch, compile, make room
//!            ◄────────────────────  Ready | Refused
//!   freeze
//!   Move     ──────────────────────────────────────────────────►  compare and swap
//!   Ship…    ────────────────────►  verify, restore
//!                                            ◄──────  Activate
//!            ◄────────────────────  Activated
//!   let go
//!   Released ────────────────────►  run
//!   Settle   ──────────────────────────────────────────────────►
//! ```
//!
//! The agent is shipped and restored while the directory moves it: the target
//! activates its copy once it has both. It then says `Activated`; without word
//! from the directory it says `Staged`, and the source passes that word on.
//!
//! Of a durable agent each copy is in its node's journal and outlives the node: the
//! source's until `Released`, the target's from before `Staged` on. The directory is
//! not asked for the move before that, so whoever owns the agent has all of it, whichever
//! nodes die. Started anew a node asks whose its copy is, as [`recalled`] says.
//!
//! Whatever goes wrong is decided by the directory: the source gives up by
//! `Abort` before the move and by `Reclaim` after it; the target, left alone
//! with a copy, asks by `Claim`. Of a claim and a reclaim the first wins, and a
//! claim ahead of the move makes the move lose.
//!
//! **Invariants**: the source lets go of its frozen copy only after it heard
//! `Activated`, or after the directory said that the copy is not its own; the
//! target claims only what it has whole, and runs turns only after `Released` or
//! a claim it won. So at most one copy runs, and one that may run always exists
//! unless the node that has it died; of a durable agent always.
//!
//! Messages may be lost, repeated, late or out of order. They must not reach a
//! later life of a node than the one they were sent to: a connection ends with
//! the node it leads to.

mod finished;
mod limits;
mod recalled;
mod source;
mod table;
mod target;
mod timer;

pub use finished::{Ending, FinishedAttempts};
pub use limits::MigrationLimits;
pub use recalled::{Recalled, recalled};
pub use source::{SourceAction, SourceEvent, SourceMigration, SourceOutcome, SourcePlan};
pub use table::{Action, BeginRefused, Migrations, Step};
pub use target::{TargetAction, TargetEvent, TargetMigration, TargetOutcome, TargetPlan};
