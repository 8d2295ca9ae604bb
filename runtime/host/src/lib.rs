//! Runs agents in wasmtime: admits components, makes instances, runs turns,
//! takes snapshots and restores them. Those whose program is part of the node run here
//! too, behind the same types ([`Component::built_in`]).
//!
//! - [`Host`] is the engine and its pool; [`Host::admit`] checks, instruments
//!   and compiles a component once.
//! - [`Component`] makes instances: fresh ones, or ones that go on where an image
//!   was taken.
//! - [`Instance`] is one agent in memory: [`Instance::turns`] puts it a frame of
//!   turns, [`Instance::snapshot`] takes its memory image.
//!
//! Both worlds of the contract stand behind this: a framed component gets the
//! frame as it is, for a typed one the host takes it apart.
//!
//! **Invariants**: no call here waits or reads a real clock or real randomness
//! on a guest's behalf. A component's code is never taken from a peer. After a
//! [`Fault`] the instance is dropped. wasmtime's types stay inside.

#![allow(
    unsafe_code,
    reason = "loading compiled code, asking the kernel about pages, limiting a compiler's memory: \
              each use says why it is sound"
)]

mod access;
mod admit;
mod base;
mod built_in;
mod cache;
mod capacity;
mod compile;
mod component;
mod config;
mod counts;
mod describe;
mod engine;
mod error;
mod frame;
pub mod image;
mod instance;
mod instrument;
mod limits;
mod log;
mod pages;
mod prepare;
mod reading;
mod spans;
mod state;
mod typed;
mod wasi;
mod wasm;
mod worker;

pub use component::{Component, Room};
pub use config::{AdmissionLimits, CompilerProgram, HostConfig};
pub use engine::Host;
pub use error::{
    AdmitError, Fault, FaultKind, HostStartError, InstanceError, RestoreError, SnapshotRefused,
};
pub use instance::{Answer, Instance};
pub use log::{GuestLine, escape};
pub use pages::PageFinder;
pub use worker::compile_worker;
