//! What a journal is held to, and both of its implementations behind one trait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use phoenix_core::journal::clean::Cleaning;
use phoenix_core::journal::{
    AgentLog, CommitNumber, History, Journal, JournalFailed, Refused, Told, What,
};
use phoenix_core::{AgentId, Millis};
use phoenix_store::journal::{DiskJournal, MemoryJournal, Opened, Options};

use crate::volume::FaultyVolume;

/// Numbers that look random, the same from the same seed.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Bytes {
        let length = self.below(most + 1);
        // Runs of zeros are what a torn end looks like.
        let byte = |rng: &mut Self| u8::try_from(rng.below(256)).unwrap();
        let fill = if self.below(3) == 0 { 0 } else { byte(self) };
        let mut bytes = vec![fill; length];
        for _ in 0..length.min(4) {
            let at = self.below(length);
            bytes[at] = byte(self);
        }
        bytes.into()
    }
}

/// A journal and what it lies on.
pub(crate) trait Rig: Sized {
    type Journal: Journal;

    fn open(&self) -> Result<Self::Journal, String>;

    /// Waits until everything up to `number` is durable, or the journal failed.
    fn settle(journal: &Self::Journal, watch: &Watch, number: CommitNumber);

    /// The same of a snapshot, by the number of its store.
    fn settle_stored(journal: &Self::Journal, watch: &Watch, stored: u64);

    /// The node ends when all is done.
    fn close(self, journal: Self::Journal) -> Self;

    /// The node ends without warning.
    fn crash(self, journal: Option<Self::Journal>, rng: &mut Rng) -> Self;

    /// The node will end somewhere in what comes.
    fn end_soon(&self, rng: &mut Rng);
}

/// What a journal told.
#[derive(Default)]
pub(crate) struct Watch {
    state: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Clone, Default)]
pub(crate) struct Heard {
    pub(crate) durable: u64,
    pub(crate) failed: Option<JournalFailed>,
    pub(crate) rooms: Vec<bool>,
    /// The numbers of the stores that are durable.
    pub(crate) stored: BTreeSet<u64>,
    pub(crate) unreadable: Option<String>,
}

impl Watch {
    pub(crate) fn on(journal: &dyn Journal) -> Arc<Self> {
        let watch = Arc::new(Self::default());
        let told = watch.clone();
        journal.watch(Box::new(move |it| told.hear(it)));
        watch
    }

    fn hear(&self, told: &Told) {
        let mut heard = self.state.lock();
        match told {
            Told::Durable(number) => {
                assert!(number.0 > heard.durable, "told again, or less");
                heard.durable = number.0;
            }
            Told::Room(room) => heard.rooms.push(*room),
            Told::Unreadable(error) => heard.unreadable = Some(error.to_string()),
            Told::Failed(failure) => heard.failed = Some(failure.clone()),
        }
        self.changed.notify_all();
    }

    pub(crate) fn stored(self: &Arc<Self>, number: u64) -> phoenix_core::journal::Stored {
        let watch = self.clone();
        Box::new(move |result| {
            if result.is_ok() {
                watch.state.lock().stored.insert(number);
            }
            watch.changed.notify_all();
        })
    }

    pub(crate) fn heard(&self) -> Heard {
        self.state.lock().clone()
    }

    /// Waits until it is as wanted. A journal that hangs is a failure of its own.
    pub(crate) fn until(&self, mut done: impl FnMut(&Heard) -> bool) {
        let mut heard = self.state.lock();
        while !done(&heard) {
            let late = self.changed.wait_for(&mut heard, Duration::from_secs(60));
            assert!(!late.timed_out(), "the journal says nothing for a minute");
        }
    }
}

impl Heard {
    /// Whether the store of that number is durable; what an earlier life left has none.
    fn has(&self, number: u64) -> bool {
        number == 0 || self.stored.contains(&number)
    }
}

#[derive(Clone, Default)]
pub(crate) struct DiskRig {
    pub(crate) volume: FaultyVolume,
}

/// Small files, cleaned eagerly, so that everything happens soon.
pub(crate) fn options() -> Options {
    let time = AtomicU64::new(0);
    let clock = Arc::new(move || Millis(time.fetch_add(1, Ordering::Relaxed)));
    Options {
        file_bytes: 8 << 10,
        cleaning: Cleaning {
            bytes_per_second: 10 << 30,
            waste_percent: 50,
            spared_bytes: 24 << 10,
        },
        ..Options::new(clock)
    }
}

/// The same, and nothing is ever written anew.
pub(crate) fn calm(file_bytes: u64) -> Options {
    Options {
        file_bytes,
        cleaning: Cleaning {
            spared_bytes: u64::MAX,
            ..options().cleaning
        },
        ..options()
    }
}

impl DiskRig {
    pub(crate) fn open_with(&self, options: Options) -> Result<(DiskJournal, Opened), String> {
        let volume = Arc::new(self.volume.clone());
        DiskJournal::open(volume, options).map_err(|error| error.to_string())
    }
}

impl Rig for DiskRig {
    type Journal = DiskJournal;

    fn open(&self) -> Result<DiskJournal, String> {
        Ok(self.open_with(options())?.0)
    }

    fn settle(_: &DiskJournal, watch: &Watch, number: CommitNumber) {
        watch.until(|heard| heard.failed.is_some() || heard.durable >= number.0);
    }

    fn settle_stored(_: &DiskJournal, watch: &Watch, stored: u64) {
        watch.until(|heard| heard.failed.is_some() || heard.stored.contains(&stored));
    }

    fn close(self, journal: DiskJournal) -> Self {
        drop(journal);
        self
    }

    fn crash(self, journal: Option<DiskJournal>, rng: &mut Rng) -> Self {
        // What the thread does from here on is lost.
        self.volume.die_after(0);
        let power = rng.below(4) > 0;
        let volume = if power {
            self.volume.after_power_loss(|bound| rng.below(bound))
        } else {
            self.volume.after_kill()
        };
        drop(journal);
        Self { volume }
    }

    fn end_soon(&self, rng: &mut Rng) {
        let operations = rng.below(120) as u64;
        self.volume.die_after(operations);
        if rng.below(3) == 0 {
            self.volume.set_short(Some(1 + rng.below(700)));
        }
    }
}

#[derive(Default)]
pub(crate) struct MemoryRig {
    left: Mutex<Option<MemoryJournal>>,
}

impl Rig for MemoryRig {
    type Journal = MemoryJournal;

    fn open(&self) -> Result<MemoryJournal, String> {
        Ok(self.left.lock().take().unwrap_or_default())
    }

    fn settle(journal: &MemoryJournal, _: &Watch, _: CommitNumber) {
        journal.sync();
    }

    fn settle_stored(journal: &MemoryJournal, _: &Watch, _: u64) {
        journal.sync();
    }

    fn close(self, journal: MemoryJournal) -> Self {
        *self.left.lock() = Some(journal.crash(usize::MAX));
        self
    }

    fn crash(self, journal: Option<MemoryJournal>, rng: &mut Rng) -> Self {
        let left = journal.map(|journal| journal.crash(rng.below(journal.waiting() + 1)));
        let left = left.or_else(|| self.left.lock().take());
        Self {
            left: Mutex::new(left),
        }
    }

    fn end_soon(&self, _: &mut Rng) {}
}

/// One entry that was appended.
#[derive(Clone)]
struct Said {
    number: u64,
    what: What,
    body: Bytes,
}

/// One agent as it should be.
#[derive(Clone)]
pub(crate) struct Agent {
    log: AgentLog,
    said: BTreeMap<u64, Said>,
    /// Snapshots by the entry they stand for, and the number of what was stored.
    stored: BTreeMap<u64, Vec<(Bytes, u64)>>,
}

/// All agents of a journal, as they should be.
pub(crate) struct Model {
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    issued: u64,
    stores: u64,
}

pub(crate) fn id(number: usize) -> AgentId {
    AgentId::new(&format!("counter/{number}")).unwrap()
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            agents: BTreeMap::new(),
            issued: 0,
            stores: 0,
        }
    }

    fn agent(&mut self, agent: &AgentId) -> &mut Agent {
        let log = || AgentLog::new(agent.clone());
        self.agents.entry(agent.clone()).or_insert_with(|| Agent {
            log: log(),
            said: BTreeMap::new(),
            stored: BTreeMap::new(),
        })
    }

    pub(crate) fn append(
        &mut self,
        journal: &dyn Journal,
        agent: &AgentId,
        body: Bytes,
    ) -> Result<CommitNumber, Refused> {
        let known = self.agent(agent);
        let number = known.log.append(journal, 1, Millis(7), body.clone())?;
        let (number, what) = (number.0, What::Record);
        known
            .said
            .insert(known.log.last(), Said { number, what, body });
        self.issued = number;
        Ok(CommitNumber(number))
    }

    pub(crate) fn end(&mut self, journal: &dyn Journal, agent: &AgentId) -> Result<(), Refused> {
        let known = self.agent(agent);
        let body = Bytes::from_static(b"done");
        let number = known.log.end(journal, body.clone())?.0;
        let what = What::End;
        known
            .said
            .insert(known.log.last(), Said { number, what, body });
        self.issued = number;
        Ok(())
    }

    pub(crate) fn store(
        &mut self,
        journal: &dyn Journal,
        watch: &Arc<Watch>,
        agent: &AgentId,
        bytes: Bytes,
    ) -> Result<u64, Refused> {
        let stores = self.stores + 1;
        let known = self.agent(agent);
        known
            .log
            .store(journal, Millis(9), bytes.clone(), watch.stored(stores))?;
        known
            .stored
            .entry(known.log.last())
            .or_default()
            .push((bytes, stores));
        self.stores = stores;
        Ok(stores)
    }

    pub(crate) fn issued(&self) -> CommitNumber {
        CommitNumber(self.issued)
    }

    /// Checks a journal that was opened anew against what is known to be durable of it,
    /// and goes on with what it holds.
    pub(crate) fn recover(&mut self, journal: &dyn Journal, heard: &Heard) {
        let mut found = BTreeMap::new();
        for agent in self.agents.keys() {
            let history = journal
                .read(agent)
                .unwrap_or_else(|e| panic!("{agent}: {e}"));
            found.insert(agent.clone(), history);
        }
        self.check_cut(&found, heard);
        self.check_order(&found);
        let mut next = BTreeMap::new();
        for (agent, history) in found {
            let known = &self.agents[&agent];
            if let Some(went_on) = known.check(&agent, history, heard) {
                next.insert(agent, went_on);
            }
        }
        let mut alive = 0;
        journal.each(&mut |agent, standing| {
            assert_eq!(journal_last(&next, agent), standing.last);
            alive += 1;
        });
        let living = next.values().filter(|agent| agent.is_alive()).count();
        assert_eq!(alive, living);
        *self = Self {
            agents: next,
            issued: 0,
            stores: 0,
        };
    }

    /// What is there has to be all up to some number, and nothing beyond; and that is
    /// no less than what was told to be durable.
    fn check_cut(&self, found: &BTreeMap<AgentId, Option<History>>, heard: &Heard) {
        let (mut there, mut not) = (heard.durable, u64::MAX);
        let mut none = Vec::new();
        for (agent, history) in found {
            let known = &self.agents[agent];
            let Some(history) = history else {
                none.push(known);
                continue;
            };
            for (index, said) in &known.said {
                if *index <= history.standing.last {
                    there = there.max(said.number);
                } else {
                    not = not.min(said.number);
                }
            }
        }
        // An agent that is not known was not yet, or it has ended and is forgotten.
        let is_cut = |number: u64| none.iter().all(|known| known.is_gone_at(number));
        let end = not.min(self.issued.max(there) + 1);
        let fits = (there..end).any(is_cut);
        if !fits {
            for (agent, known) in &self.agents {
                let said = known.said.iter();
                let said: Vec<_> = said.map(|(i, it)| (*i, it.number, it.what)).collect();
                let standing = found[agent].as_ref().map(|it| it.standing);
                eprintln!("{agent}: {said:?} is {standing:?}");
            }
        }
        assert!(
            fits,
            "{there} is there and {not} is not; told was {}",
            heard.durable
        );
    }
}

impl Model {
    /// No snapshot is there without those that were stored before it, whosever they are.
    fn check_order(&self, found: &BTreeMap<AgentId, Option<History>>) {
        let there: BTreeMap<&AgentId, u64> = found
            .iter()
            .filter_map(|(agent, history)| {
                let History {
                    standing, snapshot, ..
                } = history.as_ref()?;
                let all = self.agents[agent].stored.get(&standing.base)?;
                let same = all.iter().filter(|(it, _)| Some(it) == snapshot.as_ref());
                Some((agent, same.map(|(_, number)| *number).max()?))
            })
            .collect();
        let last = there.values().copied().max().unwrap_or(0);
        for (agent, known) in &self.agents {
            let ended = known.said.iter().filter(|(_, said)| said.what == What::End);
            let ended = ended.map(|(index, _)| *index).max().unwrap_or(0);
            // Those of a life that ended are not written if they were not yet.
            let needed = known.stored.iter().filter(|(through, _)| **through > ended);
            let needed = needed.flat_map(|(_, all)| all.iter().map(|(_, number)| *number));
            let needed = needed.filter(|number| *number < last).max().unwrap_or(0);
            let found = there.get(agent).copied().unwrap_or(0);
            assert!(
                found >= needed,
                "{agent}: {needed} was stored before {last}"
            );
        }
    }
}

fn journal_last(agents: &BTreeMap<AgentId, Agent>, agent: &AgentId) -> u64 {
    agents[agent].log.last()
}

impl Agent {
    /// Whether it had not begun or has ended with this number.
    fn is_gone_at(&self, number: u64) -> bool {
        let until = self.said.values().filter(|said| said.number <= number);
        let mut until = until;
        until.next_back().is_none_or(|said| said.what == What::End)
    }

    fn is_alive(&self) -> bool {
        // A snapshot after an end is the beginning of another life.
        !self.stored.is_empty()
            || self
                .said
                .values()
                .next_back()
                .is_none_or(|said| said.what != What::End)
    }

    /// Checks what was read of it; what it goes on with.
    fn check(&self, agent: &AgentId, history: Option<History>, heard: &Heard) -> Option<Self> {
        let History {
            standing,
            snapshot,
            records,
        } = history?;
        let ended = self.said.range(..=standing.last);
        let ended = ended.filter(|(_, said)| said.what == What::End);
        let ended = ended.map(|(index, _)| *index).next_back().unwrap_or(0);
        // The newest snapshot that is known to be durable, of this life.
        let stored = self.stored.range(ended..=standing.last);
        let stored = stored.filter(|(_, all)| all.iter().any(|(_, it)| heard.has(*it)));
        let stored = stored.map(|(through, _)| *through).next_back();
        let least = stored.unwrap_or(0).max(ended);
        assert!(
            standing.base >= least,
            "{agent}: it stands at {standing:?}, and has to at {least} at least"
        );
        match &snapshot {
            Some(bytes) => {
                let all = &self.stored[&standing.base];
                let at = all.iter().rposition(|(it, _)| it == bytes);
                let at = at.unwrap_or_else(|| panic!("{agent}: its snapshot is another"));
                let is_newest = all[at + 1..].iter().all(|(_, it)| !heard.has(*it));
                assert!(is_newest, "{agent}: a newer snapshot was durable");
                assert!(standing.has_snapshot);
            }
            None => assert_eq!(standing.base, ended, "{agent}: without a snapshot"),
        }
        let expected: Vec<&Bytes> = self
            .said
            .range(standing.base + 1..)
            .take_while(|(index, _)| **index <= standing.last)
            .map(|(_, said)| &said.body)
            .collect();
        assert_eq!(records.iter().collect::<Vec<_>>(), expected, "{agent}");
        let kept = |index: &u64| *index <= standing.last;
        Some(Self {
            log: AgentLog::resume(agent.clone(), &standing, records.len() as u64),
            said: self
                .said
                .iter()
                .filter(|(index, _)| kept(index))
                .map(|(index, said)| {
                    (
                        *index,
                        Said {
                            number: 0,
                            ..said.clone()
                        },
                    )
                })
                .collect(),
            stored: self
                .stored
                .iter()
                .filter(|(through, _)| **through == standing.base && snapshot.is_some())
                .map(|(through, _)| (*through, vec![(snapshot.clone().unwrap_or_default(), 0)]))
                .collect(),
        })
    }
}

/// Does things to a journal until `steps` are done or it fails.
pub(crate) fn storm<R: Rig>(
    model: &mut Model,
    journal: &R::Journal,
    watch: &Arc<Watch>,
    rng: &mut Rng,
    steps: usize,
) {
    let most = [60, 600, 3_000][rng.below(3)];
    for _ in 0..steps {
        let agent = id(rng.below(6));
        let done = match rng.below(12) {
            0 => model.end(journal, &agent),
            1..=2 => {
                let bytes = rng.bytes(most * 2);
                model.store(journal, watch, &agent, bytes).map(|_| ())
            }
            3 => {
                R::settle(journal, watch, model.issued());
                Ok(())
            }
            _ => {
                let body = rng.bytes(most);
                model.append(journal, &agent, body).map(|_| ())
            }
        };
        if let Err(refused) = done {
            assert!(matches!(refused, Refused::Failed(_)), "{refused}");
            return;
        }
    }
    if rng.below(2) == 0 {
        R::settle(journal, watch, model.issued());
        if model.stores > 0 {
            R::settle_stored(journal, watch, model.stores);
        }
    }
}
