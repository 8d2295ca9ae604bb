//! Resident memory of a process.

use std::fs;

use anyhow::Context as _;

/// Bytes of physical memory process `id` has mapped.
pub(crate) fn resident(id: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{path} has no VmRSS"))?;
    Ok(kib * 1024)
}

/// Bytes each of `count` agents added to a process that grew from `before` to `after`.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
pub(crate) fn each(before: u64, after: u64, count: u32) -> f64 {
    after.saturating_sub(before) as f64 / f64::from(count)
}
