//! Seeks in its own memory what another agent left in the same slot.
//!
//! The marker is a run of words computed from a seed. Neither side ever holds
//! two of them side by side other than where they were left, so a finding is
//! somebody's memory and not the seeker's own stack.

use std::hint::black_box;

/// Words side by side that make a finding.
const RUN: u64 = 4;

/// Bytes `residue-write` fills.
const FILLED: usize = 8 << 20;

/// Fills memory with the marker of this seed and keeps it. Answers with the number of words.
pub fn write(seed: &str) -> String {
    let seed = seed.parse().unwrap_or(0);
    let words = (FILLED / 8) as u64;
    let mut memory = Vec::with_capacity(FILLED / 8);
    for i in 0..words {
        memory.push(word(seed, i % RUN));
    }
    std::mem::forget(black_box(memory));
    words.to_string()
}

/// Reads all of linear memory, grown by as much as `write` fills, and answers
/// with the number of times the marker of this seed was found.
pub fn seek(seed: &str) -> String {
    let seed = seed.parse().unwrap_or(0);
    // Fresh memory is where another agent's would show.
    let grown = core::arch::wasm32::memory_grow::<0>(FILLED / 65_536);
    assert!(grown != usize::MAX, "the limit leaves room for the search");
    let end = core::arch::wasm32::memory_size::<0>() * 65_536;
    let mut found = 0_u64;
    let mut at = 8;
    while at + 8 * (RUN as usize) <= end {
        if (0..RUN).all(|i| load(at + 8 * (i as usize)) == word(seed, i)) {
            found += 1;
        }
        at += 8;
    }
    found.to_string()
}

fn load(address: usize) -> u64 {
    // SAFETY: the caller stays within linear memory, all of which is readable in Wasm. The read
    // is volatile because no allocation of this program's lies there.
    unsafe { (address as *const u64).read_volatile() }
}

/// Word `i` of the marker, by the mixer of SplitMix64.
fn word(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
