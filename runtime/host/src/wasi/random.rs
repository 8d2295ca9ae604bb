//! Random numbers: a generator seeded from (agent, first turn of the batch), so
//! that a replay draws the same. The seed for hash tables is the agent's own in every
//! batch: the order of a table's entries does not depend on where a batch begins.

use wasmtime::Result;

use super::bindings::wasi::random::{insecure, insecure_seed, random};
use super::{MAX_RANDOM_BYTES, WasiState};
use crate::error::GuestLimit;

/// The generator for (`seed`, `turn`): BLAKE3 in its extendable mode.
pub(crate) fn generator(purpose: &'static str, seed: u64, turn: u64) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    hasher.update(&seed.to_le_bytes());
    hasher.update(&turn.to_le_bytes());
    hasher.finalize_xof()
}

impl WasiState {
    fn fill(&mut self, into: &mut [u8]) {
        let (seed, turn) = (self.seed, self.turn);
        self.generator
            .get_or_insert_with(|| generator("phoenix 2025 wasi random", seed, turn))
            .fill(into);
    }

    fn number(&mut self) -> Result<u64> {
        self.charge(8)?;
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.charge(len)?;
        let mut bytes = vec![0; usize::try_from(len)?];
        self.fill(&mut bytes);
        Ok(bytes)
    }

    fn charge(&mut self, len: u64) -> Result<()> {
        self.random_left = self
            .random_left
            .checked_sub(len)
            .ok_or(GuestLimit::Random(MAX_RANDOM_BYTES))?;
        Ok(())
    }
}

impl random::Host for WasiState {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.bytes(len)
    }
    fn get_random_u64(&mut self) -> Result<u64> {
        self.number()
    }
}

impl insecure::Host for WasiState {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.bytes(len)
    }
    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        self.number()
    }
}

impl insecure_seed::Host for WasiState {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        let mut bytes = [[0; 8]; 2];
        let mut generator = generator("phoenix 2026 wasi insecure seed", self.seed, 0);
        for part in &mut bytes {
            generator.fill(part);
        }
        let [one, other] = bytes.map(u64::from_le_bytes);
        Ok((one, other))
    }
}
