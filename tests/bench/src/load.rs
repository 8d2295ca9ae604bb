//! How busy the machine was with other things while a row ran.

use std::fs;
use std::time::Instant;

/// How busy the machine was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// The one-minute load average when the row ended, ours included.
    pub(crate) average: f64,
    /// Processor time others used during the row, in cores.
    pub(crate) others: f64,
}

/// Watches from its start to its stop.
pub(crate) struct Watch {
    begun: Instant,
    machine: u64,
    own: u64,
}

/// The kernel's unit of processor time is a hundredth of a second wherever
/// `/proc` is, whatever its timer's rate.
const TICKS_PER_SECOND: f64 = 100.0;

impl Watch {
    pub(crate) fn start() -> Self {
        Self {
            begun: Instant::now(),
            machine: machine_ticks(),
            own: own_ticks(),
        }
    }

    pub(crate) fn stop(self) -> Load {
        let machine = machine_ticks().saturating_sub(self.machine);
        let own = own_ticks().saturating_sub(self.own);
        #[expect(clippy::cast_precision_loss, reason = "ticks of one run are few")]
        let others = machine.saturating_sub(own) as f64 / TICKS_PER_SECOND;
        Load {
            average: average(),
            others: others / self.begun.elapsed().as_secs_f64().max(0.01),
        }
    }
}

fn average() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

/// Processor time all processes have used, idle and waiting for disks not counted.
fn machine_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    first
        .split_whitespace()
        .skip(1)
        .take(8)
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum()
}

/// Processor time of this process and its children, living or waited for.
fn own_ticks() -> u64 {
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|id| Usage::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?, id))
        .filter(|usage| usage.id == own || usage.parent == own)
        .map(|usage| usage.ticks)
        .sum()
}

/// What `/proc/ID/stat` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    id: u32,
    parent: u32,
    ticks: u64,
}

impl Usage {
    fn parse(stat: &str, id: u32) -> Option<Self> {
        // The name may hold spaces and brackets; the fields begin behind its last one.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let parent = fields.get(1)?.parse().ok()?;
        let times = fields.get(11..15)?;
        Some(Self {
            id,
            parent,
            ticks: times
                .iter()
                .filter_map(|ticks| ticks.parse::<u64>().ok())
                .sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194304 100 0 0 0 5 6 1 2 20 0 1 0 99 1 1";
        assert_eq!(
            Usage::parse(stat, 7),
            Some(Usage {
                id: 7,
                parent: 3,
                ticks: 14
            })
        );
    }
}
