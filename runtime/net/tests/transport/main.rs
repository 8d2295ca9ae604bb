//! One suite that every transport passes, and what is particular to each.

mod joining;
mod memory;
mod quic;
mod recorder;
mod suite;
