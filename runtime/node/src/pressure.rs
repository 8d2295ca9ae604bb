//! How much memory the system has left for the node: of the machine, or of the control
//! group it runs in, whichever is shorter.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory that may still be taken, and all there is, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) available: u64,
    pub(crate) limit: u64,
}

/// Where the system says it.
pub(crate) struct Gauge {
    machine: PathBuf,
    /// The control group's directory, with cgroup v2.
    group: Option<PathBuf>,
}

impl Gauge {
    /// That of this process.
    pub(crate) fn new() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            machine: PathBuf::from("/proc/meminfo"),
            group: group_of(&own).map(|path| Path::new("/sys/fs/cgroup").join(path)),
        }
    }

    /// What is left now; `None` where the system says nothing.
    pub(crate) fn read(&self) -> Option<Memory> {
        let machine = fs::read_to_string(&self.machine).ok();
        let machine = machine.and_then(|text| machine_memory(&text));
        let group = self.group.as_ref().and_then(|group| {
            let read = |name| fs::read_to_string(group.join(name)).ok();
            group_memory(
                &read("memory.max")?,
                &read("memory.current")?,
                &read("memory.stat")?,
            )
        });
        // Of two the one of which less is left is in the way first.
        let both = machine.into_iter().chain(group);
        both.min_by_key(|memory| memory.available)
    }
}

/// The path below cgroup v2's root, from `/proc/self/cgroup`.
fn group_of(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(line.trim_end())
}

fn machine_memory(text: &str) -> Option<Memory> {
    Some(Memory {
        available: kilobytes(text, "MemAvailable:")?,
        limit: kilobytes(text, "MemTotal:")?,
    })
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1_024)
}

/// A group's files that are in nobody's use can be taken back, as the machine's can.
fn group_memory(max: &str, current: &str, stat: &str) -> Option<Memory> {
    // Without a bound it says `max`.
    let limit: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let files = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0);
    Some(Memory {
        available: limit.saturating_sub(current.saturating_sub(files)),
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_what_is_available() {
        let text = "MemTotal:       24689652 kB\nMemFree:          1 kB\n\
                    MemAvailable:   20000000 kB\nBuffers: 7 kB\n";
        let memory = machine_memory(text).unwrap();
        assert_eq!(memory.limit, 24_689_652 * 1_024);
        assert_eq!(memory.available, 20_000_000 * 1_024);
        assert_eq!(machine_memory("MemTotal: 5 kB\n"), None);
        assert_eq!(machine_memory("MemAvailable: x kB\nMemTotal: 5 kB\n"), None);
    }

    #[test]
    fn a_group_has_what_is_not_in_use() {
        let stat = "anon 50\nfile 40\ninactive_file 30\nactive_file 10\n";
        let memory = group_memory("1000\n", "700\n", stat).unwrap();
        assert_eq!((memory.available, memory.limit), (330, 1_000));
        assert_eq!(group_memory("max\n", "700\n", stat), None);
        assert_eq!(
            group_of("1:cpu:/x\n0::/system.slice/phoenix\n"),
            Some("system.slice/phoenix")
        );
        assert_eq!(group_of("1:cpu:/x\n"), None);
    }

    #[test]
    fn the_shorter_of_both_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("meminfo", "MemTotal: 8 kB\nMemAvailable: 4 kB\n");
        write("memory.max", "4096");
        write("memory.current", "3096");
        write("memory.stat", "");
        let gauge = Gauge {
            machine: dir.path().join("meminfo"),
            group: Some(dir.path().to_owned()),
        };
        let memory = gauge.read().unwrap();
        assert_eq!((memory.available, memory.limit), (1_000, 4_096));
        let machine = Gauge {
            group: None,
            ..gauge
        };
        assert_eq!(machine.read().unwrap().available, 4_096);
    }
}
