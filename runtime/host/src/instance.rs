//! One agent's program and its memory.

use std::time::Duration;

use bytes::Bytes;
use phoenix_core::{Digest, KindPolicy};

use crate::built_in::BuiltInInstance;
use crate::error::{Fault, SnapshotRefused};
use crate::log::GuestLine;
use crate::wasm::WasmInstance;

/// One agent in memory: in Wasm's, or a program that is part of the node. After a
/// [`Fault`] it can only be dropped.
#[derive(Debug)]
pub struct Instance(Form);

#[derive(Debug)]
enum Form {
    Wasm(WasmInstance),
    BuiltIn(BuiltInInstance),
}

/// What a batch gave.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The answer frame. Its header is checked; what follows is as the guest wrote it.
    pub frame: Bytes,
    /// What the guest printed.
    pub log: Vec<GuestLine>,
    /// Bytes it printed past its bound.
    pub log_cut: u64,
}

impl Instance {
    pub(crate) fn wasm(instance: WasmInstance) -> Self {
        Self(Form::Wasm(instance))
    }

    pub(crate) fn built_in(instance: BuiltInInstance) -> Self {
        Self(Form::BuiltIn(instance))
    }

    pub(crate) fn into_wasm(self) -> Option<WasmInstance> {
        match self.0 {
            Form::Wasm(wasm) => Some(wasm),
            Form::BuiltIn(_) => None,
        }
    }

    /// Lets it run under this policy from the next turn on. What memory it has beyond
    /// that it keeps, and gets no more.
    pub fn run_under(&mut self, policy: &KindPolicy) {
        match &mut self.0 {
            Form::Wasm(wasm) => wasm.run_under(policy),
            Form::BuiltIn(built_in) => built_in.run_under(policy),
        }
    }

    /// Runs a batch of turns. Without a deadline, as in a replay, it may run for ever;
    /// with one, too, where its program is part of the node.
    ///
    /// Nothing of a failed batch may be acted on, and the instance must be dropped.
    #[inline]
    pub fn turns(&mut self, frame: &[u8], deadline: Option<Duration>) -> Result<Answer, Fault> {
        match &mut self.0 {
            Form::Wasm(wasm) => wasm.turns(frame, deadline),
            Form::BuiltIn(built_in) => built_in.turns(frame),
        }
    }

    /// Appends the memory image to `out`; on an error `out` is as it was.
    ///
    /// Dead shadow stack is left out, and zeroed here too before the next turn,
    /// so that this instance and one restored from the image stay the same.
    pub fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), SnapshotRefused> {
        match &mut self.0 {
            Form::Wasm(wasm) => wasm.snapshot(out),
            Form::BuiltIn(built_in) => built_in.snapshot(out),
        }
    }

    /// A hash over the agent's state: the same for the same state on every node.
    /// Zeros if the component is not movable or the instance has failed.
    pub fn memory_hash(&mut self) -> Digest {
        match &mut self.0 {
            Form::Wasm(wasm) => wasm.memory_hash(),
            Form::BuiltIn(built_in) => built_in.memory_hash(),
        }
    }

    /// Bytes of linear memory, or of what a built-in program says its state takes.
    pub fn memory_bytes(&self) -> u64 {
        match &self.0 {
            Form::Wasm(wasm) => wasm.memory_bytes(),
            Form::BuiltIn(built_in) => built_in.memory_bytes(),
        }
    }

    /// Why the agent cannot be put into a snapshot now, if it cannot.
    pub fn unmovable(&self) -> Option<String> {
        match &self.0 {
            Form::Wasm(wasm) => wasm.unmovable(),
            Form::BuiltIn(built_in) => built_in.unmovable(),
        }
    }
}
