//! How many agents fit, and the permits that keep to it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Memory mappings one resident agent takes: a copy-on-write slot 3 to 4, its
/// tables 2 each once touched. A test counts them.
const MAPPINGS_PER_AGENT: u64 = 6;

/// Mappings left to everything else in the process.
const OTHER_MAPPINGS: u64 = 4_096;

/// `vm.max_map_count` where it cannot be read.
const DEFAULT_MAP_COUNT: u64 = 65_530;

/// Address space of a process on 64-bit machines of today, bytes.
const ADDRESS_SPACE: u64 = 1 << 47;

/// Address space of one pool slot, bytes: 4 GiB that a 32-bit address reaches, and guards.
const SLOT_BYTES: u64 = (4 << 30) + (64 << 20);

/// More than this and the pool's own tables cost more than they are worth.
const MOST: u64 = 100_000;

/// Linear memories that come with a place.
pub(crate) const MEMORIES_PER_PLACE: u32 = 1;

/// Tables that come with a place. The usual tools emit one or two.
pub(crate) const TABLES_PER_PLACE: u32 = 4;

/// Places that an agent with so many memories and tables takes, so that the
/// pool has what every agent with a place needs.
pub(crate) fn places(memories: u32, tables: u32) -> u32 {
    memories
        .div_ceil(MEMORIES_PER_PLACE)
        .max(tables.div_ceil(TABLES_PER_PLACE))
        .max(1)
}

/// What the number of resident agents follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) max_map_count: u64,
    pub(crate) address_space: u64,
    pub(crate) agents: u32,
}

impl Capacity {
    /// Reads this machine's bounds.
    pub(crate) fn measure() -> Self {
        let max_map_count = fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(DEFAULT_MAP_COUNT);
        Self::of(max_map_count, address_space())
    }

    pub(crate) fn of(max_map_count: u64, address_space: u64) -> Self {
        let by_mappings = max_map_count.saturating_sub(OTHER_MAPPINGS) / MAPPINGS_PER_AGENT;
        // The other half is for everything else.
        let by_addresses = address_space / 2 / SLOT_BYTES;
        let agents = by_mappings.min(by_addresses).clamp(16, MOST);
        Self {
            max_map_count,
            address_space,
            agents: u32::try_from(agents).unwrap_or(u32::MAX),
        }
    }
}

/// The process's address space: the hardware's, or less if a limit says so.
fn address_space() -> u64 {
    let limit = fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("Max address space"))?;
            line.split_whitespace().nth(3)?.parse().ok()
        });
    limit.unwrap_or(ADDRESS_SPACE).min(ADDRESS_SPACE)
}

/// Places for agents.
#[derive(Debug)]
pub(crate) struct Permits {
    limit: u32,
    taken: AtomicU32,
}

impl Permits {
    pub(crate) fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            limit,
            taken: AtomicU32::new(0),
        })
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// So many places for one agent, if they are free.
    pub(crate) fn take(self: &Arc<Self>, places: u32) -> Option<Permit> {
        self.taken
            .try_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                let then = taken.checked_add(places)?;
                (then <= self.limit).then_some(then)
            })
            .ok()
            .map(|_| Permit {
                permits: Arc::clone(self),
                places,
            })
    }
}

/// The places of one agent; given back when dropped, which must be after its Store is.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    places: u32,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.taken.fetch_sub(self.places, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_bound_counts() {
        let by_mappings = Capacity::of(65_530, ADDRESS_SPACE).agents;
        assert_eq!(
            u64::from(by_mappings),
            (65_530 - OTHER_MAPPINGS) / MAPPINGS_PER_AGENT
        );
        let by_addresses = Capacity::of(1 << 30, 1 << 40).agents;
        assert_eq!(u64::from(by_addresses), (1 << 39) / SLOT_BYTES);
    }

    #[test]
    fn a_place_is_free_again_after_its_permit() {
        let permits = Permits::new(1);
        let permit = permits.take(1).unwrap();
        assert!(permits.take(1).is_none());
        drop(permit);
        assert!(permits.take(1).is_some());
    }

    #[test]
    fn a_large_agent_takes_several_places_or_none() {
        let permits = Permits::new(4);
        let three = permits.take(3).unwrap();
        assert!(permits.take(2).is_none());
        let one = permits.take(1).unwrap();
        drop(three);
        assert!(permits.take(u32::MAX).is_none());
        assert!(permits.take(3).is_some());
        drop(one);
        assert_eq!((places(0, 0), places(1, 4), places(2, 4)), (1, 1, 2));
        assert_eq!((places(1, 5), places(4, 16)), (2, 4));
    }
}
