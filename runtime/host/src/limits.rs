//! What wasmtime asks before a guest's memory or table grows.

use wasmtime::ResourceLimiter;

use crate::error::GrowFailed;

/// Core instances of one agent. Components of the usual tools need 4 to 20.
pub(crate) const MAX_INSTANCES: usize = 64;
/// Tables of one agent.
pub(crate) const MAX_TABLES: usize = 16;
/// Linear memories of one agent that is not movable; movable ones have one.
pub(crate) const MAX_MEMORIES: usize = 4;

/// Handles of host resources one agent may have at a time, borrowed ones counted.
pub(crate) const MAX_HANDLES: usize = 4_096;

/// One agent's bounds.
///
/// They are inputs of a replay, recorded with the kind's policy: growth past
/// them fails the same way everywhere. A growth that fails for the host's own
/// reasons traps instead, since another node might not fail.
pub(crate) struct AgentLimits {
    memory_bytes: usize,
    table_elements: usize,
    /// Bytes of all the agent's linear memories now.
    pub(crate) used: u64,
}

impl AgentLimits {
    pub(crate) fn new(memory_bytes: u64, table_elements: u32) -> Self {
        Self {
            memory_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
            table_elements: table_elements as usize,
            used: 0,
        }
    }

    /// Other bounds from now on. What there is beyond them stays.
    pub(crate) fn set(&mut self, memory_bytes: u64, table_elements: u32) {
        *self = Self {
            used: self.used,
            ..Self::new(memory_bytes, table_elements)
        };
    }
}

impl ResourceLimiter for AgentLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let others = self.used.saturating_sub(current as u64);
        let total = others.saturating_add(desired as u64);
        if total > self.memory_bytes as u64 || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(GrowFailed(error.to_string()).into())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(GrowFailed(error.to_string()).into())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}
