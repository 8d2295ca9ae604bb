//! Agents that are components in wasmtime.

mod component;
mod instance;

pub(crate) use component::{Movable, WasmComponent, World};
pub(crate) use instance::WasmInstance;
