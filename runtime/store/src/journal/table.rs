//! How every agent's log stands, in as little memory as that takes.
//!
//! Almost all agents of a node with many of them sleep, and of one that sleeps a
//! snapshot stands for its whole log. Such an agent is **at rest**: what is known of it
//! is a fraction of an [`AgentEntry`], and lies in a row of chunks, so that a table that
//! grows never stands half empty.
//!
//! ```text
//!   places   hash of the id ──▶ 4 bytes
//!   resting  ┌────────────┬────────────┬────────── ─ ─
//!            │ id, check… │ id, check… │    chunks of 1,024, 56 bytes each agent
//!            └────────────┴────────────┴────────── ─ ─
//!   busy     id ──▶ AgentEntry
//! ```

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use phoenix_core::journal::Check;
use phoenix_core::{AgentId, Millis};

use super::entry::{AgentEntry, Stored};
use super::format::Place;

/// Agents in a chunk.
const CHUNK: usize = 1_024;
/// Below this the table of busy agents is not made smaller.
const LEAST_BUSY: usize = 1_024;

/// What is known of an agent of which a snapshot of one part is all that is needed.
#[derive(Clone, Debug)]
struct Resting {
    agent: AgentId,
    last: u64,
    check: Check,
    wake: Millis,
    /// Where the snapshot lies.
    place: Place,
    /// Bytes it takes.
    bytes: u32,
}

/// How all agents stand, by id.
#[derive(Debug, Default)]
pub(super) struct Table {
    busy: HashMap<AgentId, AgentEntry>,
    /// Where an agent at rest stands in `resting`.
    places: HashTable<u32>,
    resting: Vec<Vec<Resting>>,
    hasher: DefaultHashBuilder,
}

impl Resting {
    /// The agent at rest, if its entry says that it is.
    fn of(agent: &AgentId, entry: &AgentEntry) -> Option<Self> {
        let stored = entry.snapshot.as_ref()?;
        let resting = Self {
            agent: agent.clone(),
            last: entry.last,
            check: entry.check,
            wake: entry.wake,
            place: stored.last,
            bytes: u32::try_from(stored.bytes).ok()?,
        };
        let same = AgentEntry {
            // Where the last entry lies is nothing that is needed.
            place: entry.place,
            ..resting.entry()
        };
        (same == *entry).then_some(resting)
    }

    fn entry(&self) -> AgentEntry {
        AgentEntry {
            snapshot: Some(Stored {
                last: self.place,
                first: self.place.file,
                parts: 1,
                through: self.last,
                bytes: self.bytes.into(),
            }),
            wake: self.wake,
            ..AgentEntry::after(self.last, self.check)
        }
    }
}

impl Table {
    /// Agents in it.
    pub(super) fn len(&self) -> usize {
        self.busy.len() + self.places.len()
    }

    /// How an agent stands.
    pub(super) fn get(&self, agent: &AgentId) -> Option<AgentEntry> {
        match self.busy.get(agent) {
            Some(entry) => Some(entry.clone()),
            None => Some(self.at_rest(agent.as_str())?.entry()),
        }
    }

    /// The id that an agent is known by, so that it need not be made anew.
    pub(super) fn id(&self, agent: &str) -> Option<&AgentId> {
        match self.busy.get_key_value(agent) {
            Some((id, _)) => Some(id),
            None => Some(&self.at_rest(agent)?.agent),
        }
    }

    /// Every agent, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentId, AgentEntry)> {
        let busy = self
            .busy
            .iter()
            .map(|(agent, entry)| (agent, entry.clone()));
        let resting = self.resting.iter().flatten();
        busy.chain(resting.map(|it| (&it.agent, it.entry())))
    }

    /// Those of which not all is known that is needed; an agent at rest is none of them.
    pub(super) fn busy(&self) -> impl Iterator<Item = (&AgentId, &AgentEntry)> {
        self.busy.iter()
    }

    /// Agents of which `file` is the first that holds something needed.
    pub(super) fn pinned_by(&self, file: u32) -> Vec<AgentId> {
        let busy = self.busy.iter();
        let busy = busy.filter(|(_, entry)| entry.first_file() == Some(file));
        let resting = self.resting.iter().flatten();
        let resting = resting.filter(|it| it.place.file == file);
        let busy = busy.map(|(agent, _)| agent.clone());
        busy.chain(resting.map(|it| it.agent.clone())).collect()
    }

    /// Makes room for so many agents at rest.
    pub(super) fn reserve(&mut self, more: usize) {
        let (resting, hasher) = (&self.resting, &self.hasher);
        let hash = |place: &u32| hash_at(resting, hasher, *place);
        self.places.reserve(more, hash);
    }

    /// Puts an entry in place of what was known, which comes back.
    pub(super) fn insert(&mut self, agent: AgentId, entry: AgentEntry) -> Option<AgentEntry> {
        let Some(resting) = Resting::of(&agent, &entry) else {
            let before = self.leave_rest(&agent);
            let busy = self.busy.insert(agent, entry);
            return before.or(busy);
        };
        let busy = self.leave_busy(&agent);
        let hash = self.hasher.hash_one(agent.as_str());
        let found = self.find(hash, agent.as_str());
        if let Some(known) = found.and_then(|place| self.row_mut(place)) {
            let before = std::mem::replace(known, resting);
            return Some(before.entry());
        }
        self.push(hash, resting);
        busy
    }

    /// Forgets an agent.
    pub(super) fn remove(&mut self, agent: &AgentId) -> Option<AgentEntry> {
        let busy = self.leave_busy(agent);
        busy.or_else(|| self.leave_rest(agent))
    }

    fn at_rest(&self, agent: &str) -> Option<&Resting> {
        let place = self.find(self.hasher.hash_one(agent), agent)?;
        row(&self.resting, place)
    }

    fn find(&self, hash: u64, agent: &str) -> Option<u32> {
        let is_it = |place: &u32| {
            let row = row(&self.resting, *place);
            row.is_some_and(|it| it.agent.as_str() == agent)
        };
        self.places.find(hash, is_it).copied()
    }

    fn row_mut(&mut self, place: u32) -> Option<&mut Resting> {
        let chunk = self.resting.get_mut(place as usize / CHUNK)?;
        chunk.get_mut(place as usize % CHUNK)
    }

    fn push(&mut self, hash: u64, row: Resting) {
        if self.resting.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.resting.push(Vec::with_capacity(CHUNK));
        }
        // A node has fewer agents than four billion.
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        if let Some(chunk) = self.resting.last_mut() {
            chunk.push(row);
        }
        let (resting, hasher) = (&self.resting, &self.hasher);
        let rehash = |place: &u32| hash_at(resting, hasher, *place);
        self.places.insert_unique(hash, place, rehash);
    }

    fn leave_busy(&mut self, agent: &AgentId) -> Option<AgentEntry> {
        let entry = self.busy.remove(agent)?;
        // Many may have been busy at once.
        if self.busy.capacity() > LEAST_BUSY && self.busy.len() < self.busy.capacity() / 8 {
            self.busy.shrink_to(self.busy.len() * 2);
        }
        Some(entry)
    }

    /// Takes an agent out of the row; the last one takes its place.
    fn leave_rest(&mut self, agent: &AgentId) -> Option<AgentEntry> {
        let place = self.find(self.hasher.hash_one(agent.as_str()), agent.as_str())?;
        let hash = self.hasher.hash_one(agent.as_str());
        let found = self.places.find_entry(hash, |it| *it == place);
        found.ok()?.remove();
        let chunk = self.resting.last_mut()?;
        let last = chunk.pop()?;
        if chunk.is_empty() {
            self.resting.pop();
        }
        if last.agent == *agent {
            return Some(last.entry());
        }
        let moved = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let hash = self.hasher.hash_one(last.agent.as_str());
        if let Some(at) = self.places.find_mut(hash, |it| *it == moved) {
            *at = place;
        }
        let row = self.row_mut(place)?;
        Some(std::mem::replace(row, last).entry())
    }
}

fn row(resting: &[Vec<Resting>], place: u32) -> Option<&Resting> {
    resting
        .get(place as usize / CHUNK)?
        .get(place as usize % CHUNK)
}

fn hash_at(resting: &[Vec<Resting>], hasher: &DefaultHashBuilder, place: u32) -> u64 {
    row(resting, place).map_or(0, |it| hasher.hash_one(it.agent.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> AgentId {
        AgentId::new(&format!("counter/{number}")).unwrap()
    }

    /// Stands as after a snapshot that is all there is.
    fn asleep(number: u64) -> AgentEntry {
        let place = Place {
            file: u32::try_from(number % 7).unwrap() + 1,
            offset: 512,
        };
        AgentEntry {
            snapshot: Some(Stored {
                last: place,
                first: place.file,
                parts: 1,
                through: number,
                bytes: 400,
            }),
            wake: Millis(number),
            ..AgentEntry::after(number, Check(number.to_le_bytes()))
        }
    }

    fn awake(number: u64) -> AgentEntry {
        let mut entry = asleep(number);
        entry.last += 1;
        entry.files.push((9, entry.last));
        entry
    }

    #[test]
    fn an_agent_at_rest_takes_56_bytes() {
        assert_eq!(size_of::<Resting>(), 56);
    }

    #[test]
    fn only_what_can_be_told_from_so_little_is_at_rest() {
        let rests = |entry: &AgentEntry| Resting::of(&id(1), entry).is_some();
        assert!(rests(&asleep(5)));
        let mut elsewhere = asleep(5);
        elsewhere.place = Place {
            file: 3,
            offset: 77,
        };
        assert!(rests(&elsewhere), "where its last entry lies is not needed");
        assert!(!rests(&awake(5)), "an entry follows its snapshot");
        let mut parts = asleep(5);
        parts.snapshot.as_mut().unwrap().parts = 2;
        assert!(!rests(&parts), "its snapshot has two parts");
        let mut ended = asleep(5);
        ended.ended_in = Some(2);
        assert!(!rests(&ended), "an end of it is in a file");
        assert!(
            !rests(&AgentEntry::after(5, Check::default())),
            "no snapshot"
        );
    }

    /// Against a map, with agents that sleep, wake, end and come again.
    #[test]
    fn it_says_what_a_map_would_say() {
        for seed in 0..20_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let (mut table, mut map) = (Table::default(), HashMap::new());
            for step in 0..6_000 {
                let agent = id(next(2_500));
                let number = next(1 << 40);
                let (found, expected) = match next(4) {
                    0 => (table.remove(&agent), map.remove(&agent)),
                    1 => {
                        let entry = awake(number);
                        (
                            table.insert(agent.clone(), entry.clone()),
                            map.insert(agent.clone(), entry),
                        )
                    }
                    _ => {
                        let entry = asleep(number);
                        (
                            table.insert(agent.clone(), entry.clone()),
                            map.insert(agent.clone(), entry),
                        )
                    }
                };
                assert_eq!(found, expected, "seed {seed}, step {step}, {agent}");
                assert_eq!(table.len(), map.len(), "seed {seed}, step {step}");
                assert_eq!(table.get(&agent), map.get(&agent).cloned());
                assert_eq!(table.id(agent.as_str()).is_some(), map.contains_key(&agent));
            }
            for file in 1..10 {
                let mut pinned = table.pinned_by(file);
                let mut expected: Vec<AgentId> = map
                    .iter()
                    .filter(|(_, entry)| entry.first_file() == Some(file))
                    .map(|(agent, _)| agent.clone())
                    .collect();
                pinned.sort();
                expected.sort();
                assert_eq!(pinned, expected, "seed {seed}, file {file}");
            }
            let all: HashMap<AgentId, AgentEntry> = table
                .iter()
                .map(|(agent, entry)| (agent.clone(), entry))
                .collect();
            assert_eq!(all, map, "seed {seed}");
        }
    }
}
