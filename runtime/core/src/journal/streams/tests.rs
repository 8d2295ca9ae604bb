//! An agent that hears from many, whose node crashes, beside one that keeps everything.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Mutex;

use super::*;
use crate::agent::Actions;
use crate::agent::MAX_CLOCK_SKEW;
use crate::journal::{
    Append, Check, CommitNumber, Figures, History, Standing, Store, Stored, Watcher,
};
use crate::{
    Body, ContentType, Envelope, Incarnation, KindPolicy, Lane, Payload, Sender, Sequence,
    StreamKey, snapshot,
};

/// A journal that loses what is not durable.
#[derive(Default)]
struct Fake(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    number: u64,
    entries: VecDeque<(u64, Append)>,
    /// Each with the number of the entry it comes after.
    snapshots: VecDeque<(u64, Store)>,
    durable: u64,
    logs: BTreeMap<String, Log>,
    stored_bytes: u64,
}

#[derive(Clone)]
struct Log {
    standing: Standing,
    snapshot: Option<Bytes>,
    records: Vec<Bytes>,
}

impl Journal for Fake {
    fn room(&self) -> Result<(), Refused> {
        Ok(())
    }

    fn append(&self, entry: Append) -> Result<CommitNumber, Refused> {
        let mut inner = self.0.lock().unwrap();
        inner.number += 1;
        let number = inner.number;
        if entry.what == What::End {
            let agent = entry.agent.clone();
            inner.snapshots.retain(|(_, store)| store.agent != agent);
        }
        inner.entries.push_back((number, entry));
        Ok(CommitNumber(number))
    }

    fn store(&self, snapshot: Store, _done: Stored) -> Result<(), Refused> {
        let mut inner = self.0.lock().unwrap();
        let after = inner.number;
        inner.stored_bytes += snapshot.bytes.len() as u64;
        inner.snapshots.push_back((after, snapshot));
        Ok(())
    }

    fn durable(&self) -> CommitNumber {
        CommitNumber(self.0.lock().unwrap().durable)
    }

    fn watch(&self, _watcher: Watcher) {}

    fn standing(&self, agent: &AgentId) -> Option<Standing> {
        let inner = self.0.lock().unwrap();
        inner.logs.get(agent.as_str()).map(|log| log.standing)
    }

    fn each(&self, _show: &mut dyn FnMut(&AgentId, &Standing)) {}

    fn read(&self, agent: &AgentId) -> Result<Option<History>, ReadError> {
        let inner = self.0.lock().unwrap();
        Ok(inner.logs.get(agent.as_str()).map(|log| History {
            standing: log.standing,
            snapshot: log.snapshot.clone(),
            records: log.records.clone(),
        }))
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }
}

impl Inner {
    fn sync_entry(&mut self) -> bool {
        let Some((number, entry)) = self.entries.pop_front() else {
            return false;
        };
        self.durable = number;
        let log = self.logs.entry(entry.agent.as_str().to_owned());
        let log = log.or_insert_with(|| Log {
            standing: Standing {
                last: 0,
                check: Check::first(&entry.agent),
                base: 0,
                has_snapshot: false,
                since: 0,
                bytes: 0,
                wake: Millis::NEVER,
            },
            snapshot: None,
            records: Vec::new(),
        });
        assert_eq!(entry.index, log.standing.last + 1, "{}", entry.agent);
        assert_eq!(entry.previous, log.standing.check, "{}", entry.agent);
        log.standing.last = entry.index;
        log.standing.check = entry.check;
        if entry.what == What::End {
            log.standing.base = entry.index;
            log.standing.has_snapshot = false;
            log.standing.since = 0;
            log.snapshot = None;
            log.records.clear();
        } else {
            log.standing.since += entry.body.len() as u64;
            log.records.push(entry.body);
        }
        true
    }

    fn sync_snapshot(&mut self) -> bool {
        let is_next = self
            .snapshots
            .front()
            .is_some_and(|(after, _)| *after <= self.durable);
        if !is_next {
            return false;
        }
        let (_, store) = self.snapshots.pop_front().unwrap();
        let log = self.logs.get_mut(store.agent.as_str()).unwrap();
        let dropped = store.through - log.standing.base;
        log.records.drain(..dropped as usize);
        log.standing.base = store.through;
        log.standing.has_snapshot = true;
        log.standing.since = log.records.iter().map(|it| it.len() as u64).sum();
        log.snapshot = Some(store.bytes);
        true
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

type State = BTreeMap<(String, Lane), (u64, Millis, usize)>;

fn state(agent: &Agent) -> State {
    let streams = agent.inbound.iter().map(|stream| {
        let key = (stream.key.sender.to_string(), stream.key.lane);
        let skips = agent.inbound.skips(stream).len();
        (key, (stream.watermark, stream.last_give_up, skips))
    });
    streams.collect()
}

struct World {
    journal: Fake,
    agent: Agent,
    log: AgentLog,
    policy: KindPolicy,
    now: u64,
    /// The next number of each sender's stream.
    next: BTreeMap<u64, u64>,
    /// What was noted, entry by entry.
    noted: Vec<Vec<u8>>,
    restored_apart: u32,
}

const LIFE: Incarnation = Incarnation {
    generation: 1,
    boot: 1,
    count: 1,
};

fn own() -> AgentId {
    AgentId::new("hub/own").unwrap()
}

fn fresh() -> Agent {
    Agent::new(own(), LIFE, Payload::default())
}

/// Does again what was noted.
fn apply(agent: &mut Agent, body: &[u8], policy: &KindPolicy) {
    let mut out = Actions::default();
    if let [0xff, now @ ..] = body {
        let now = u64::from_le_bytes(now.try_into().unwrap());
        return agent.tick(Millis(now), &mut out);
    }
    let envelope = snapshot::decode_envelope(&Bytes::copy_from_slice(body)).unwrap();
    agent.offer(envelope.into(), policy, &mut out);
}

/// Every message is closed as soon as it comes: it is too large.
fn message(sender: u64, number: u64, give_up: u64) -> Envelope {
    let from = AgentId::new(&format!("sensor/number-{sender}")).unwrap();
    Envelope {
        stream: StreamKey::shared(Sender::Agent(from, LIFE), own(), Lane::Normal),
        sequence: Some(Sequence {
            number,
            base: NonZeroU64::new(number).unwrap(),
            give_up: Millis(give_up),
        }),
        body: Body::Message {
            method: "value".into(),
            payload: Payload {
                content_type: ContentType::Json,
                bytes: b"too large"[..].into(),
            },
            ask: None,
        },
        extras: None,
    }
}

impl World {
    fn new(streams: u64) -> Self {
        let policy = KindPolicy {
            max_message: 1,
            streams: 10_000_000,
            ..KindPolicy::default()
        };
        let mut world = Self {
            journal: Fake::default(),
            agent: fresh(),
            log: AgentLog::new(own()),
            policy,
            now: 1_000_000,
            next: BTreeMap::new(),
            noted: Vec::new(),
            restored_apart: 0,
        };
        for sender in 0..streams {
            world.hear(sender);
        }
        world
    }

    fn hear(&mut self, sender: u64) {
        let next = self.next.entry(sender).or_insert(0);
        *next += 1;
        let envelope = message(sender, *next, self.now + 50_000);
        let mut body = Vec::new();
        snapshot::encode_envelope(&envelope, &mut body);
        self.note(body);
    }

    /// Time passes, and streams nobody speaks on are forgotten.
    fn pass(&mut self, by: u64) {
        self.now += by;
        let mut body = vec![0xff];
        body.extend_from_slice(&self.now.to_le_bytes());
        self.note(body);
    }

    fn note(&mut self, body: Vec<u8>) {
        apply(&mut self.agent, &body, &self.policy);
        let bytes = Bytes::copy_from_slice(&body);
        let noted = self.log.append(&self.journal, 1, Millis::NEVER, bytes);
        noted.unwrap();
        self.noted.push(body);
    }

    fn store(&mut self) {
        let beside = self
            .log
            .save_streams(&self.journal, &mut self.agent)
            .unwrap();
        let mut bytes = Vec::new();
        let component = Digest::of(b"component");
        snapshot::encode_beside(&self.agent, &component, b"", beside, &mut bytes);
        let log = &mut self.log;
        let done = Box::new(|_| ());
        log.store(&self.journal, Millis::NEVER, bytes.into(), done)
            .unwrap();
        log.condense_streams(&self.journal, &self.agent);
    }

    fn crash(&mut self) {
        {
            let mut inner = self.journal.0.lock().unwrap();
            inner.entries.clear();
            inner.snapshots.clear();
            inner.number = inner.durable;
        }
        let Some(history) = self.journal.read(&own()).unwrap() else {
            return *self = Self::new(0);
        };
        let mut streams = Streams::default();
        self.agent = fresh();
        if let Some(bytes) = &history.snapshot {
            streams = Streams::read(&self.journal, &own(), bytes).unwrap();
            self.restored_apart += u32::from(!streams.table.is_empty());
            let read = snapshot::decode_beside(bytes, &streams.table).unwrap();
            self.agent = read.agent;
        }
        for body in &history.records {
            apply(&mut self.agent, body, &self.policy);
        }
        self.log = AgentLog::resume(own(), &history.standing, 0).with_streams(streams);
        self.noted.truncate(history.standing.last as usize);
        let mut expected = fresh();
        for body in &self.noted {
            apply(&mut expected, body, &self.policy);
        }
        // What was forgotten before the snapshot may be there again, for a moment.
        let since = Millis(self.now) - MAX_CLOCK_SKEW;
        let young = |mut state: State| {
            state.retain(|_, (_, give_up, _)| *give_up >= since);
            state
        };
        assert_eq!(young(state(&self.agent)), young(state(&expected)));
        self.next.clear();
        // Whoever sent what was lost begins there again.
        for stream in self.agent.inbound.iter() {
            let text = stream.key.sender.to_string();
            let sender = text.rsplit('-').next().unwrap().parse().unwrap();
            self.next.insert(sender, stream.watermark);
        }
    }
}

#[test]
fn streams_come_back_as_the_snapshot_had_them() {
    let mut apart = 0;
    for seed in 0..10 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut world = World::new(MANY as u64 + 100);
        for _ in 0..120 {
            match random.below(20) {
                0..10 => {
                    let sender = random.below(6_000);
                    world.hear(sender);
                }
                10..12 => {
                    for _ in 0..500 {
                        let sender = random.below(6_000);
                        world.hear(sender);
                    }
                }
                12 => world.pass(random.below(40_000)),
                13..16 => world.store(),
                16..19 => {
                    let mut inner = world.journal.0.lock().unwrap();
                    let most = random.below(9_000);
                    for _ in 0..most {
                        if random.below(3) > 0 {
                            inner.sync_entry();
                        } else {
                            inner.sync_snapshot();
                        }
                    }
                }
                _ if random.below(3) == 0 => world.crash(),
                _ => {}
            }
        }
        world.crash();
        apart += world.restored_apart;
    }
    assert!(apart >= 10, "{apart}");
}

#[test]
fn no_cut_or_flip_of_a_part_does_harm() {
    let mut world = World::new(20);
    let part = streams::whole(&world.agent).bytes;
    world.hear(3);
    let beside = Beside {
        through: 1,
        count: 20,
    };
    let mut snapshot = Vec::new();
    let component = Digest::of(b"component");
    snapshot::encode_beside(&world.agent, &component, b"", Some(beside), &mut snapshot);
    let snapshot = Bytes::from(snapshot);
    assert_eq!(streams::beside(&snapshot), Ok(Some(beside)));
    let read = |table: &[Bytes]| snapshot::decode_beside(&snapshot, table).map(|_| ());
    assert_eq!(read(std::slice::from_ref(&part)), Ok(()));
    assert_eq!(read(&[]), Err(SnapshotError::Short("streams")));
    let short = [streams::none()];
    assert_eq!(read(&short), Err(SnapshotError::Short("streams")));
    for at in 0..part.len() {
        assert!(read(&[part.slice(..at)]).is_err(), "cut at {at}");
        let mut bad = part.to_vec();
        bad[at] ^= 0x41;
        // Its journal's check finds it; here it must only do no harm.
        let _ = read(&[bad.into()]);
    }
    let mut long = part.to_vec();
    long.push(0);
    assert_eq!(read(&[long.into()]), Err(SnapshotError::Trailing(1)));
}

/// Bytes of a snapshot with so many streams in it, of one without them, and of what is
/// written beside it when so many have changed.
fn bytes_of(streams: u64, changed: u64) -> [u64; 3] {
    let mut world = World::new(streams);
    world.store();
    let mut inline = Vec::new();
    let component = Digest::of(b"component");
    snapshot::encode(&world.agent, &component, b"", &mut inline);
    for sender in 0..changed {
        world.hear(sender * 7);
    }
    let changes = streams::changes(&world.agent, PART);
    let changes = changes.iter().map(|it| it.bytes.len() as u64).sum();
    let before = world.journal.0.lock().unwrap().stored_bytes;
    world.store();
    let snapshot = world.journal.0.lock().unwrap().stored_bytes - before;
    [inline.len() as u64, snapshot, changes]
}

#[test]
fn few_changes_are_few_bytes() {
    let [inline, snapshot, changes] = bytes_of(20_000, 100);
    assert!(inline > 500_000, "{inline}");
    assert!(snapshot < 200, "{snapshot}");
    assert!(changes < inline / 100, "{changes} of {inline}");
}

/// `cargo test -p phoenix-core --lib -- --ignored --nocapture million`
#[test]
#[ignore = "takes long in a debug build"]
fn a_million_streams() {
    let [inline, snapshot, changes] = bytes_of(1_000_000, 1_000);
    println!("1,000,000 streams: {inline} bytes in a snapshot; beside it {snapshot} bytes, and");
    println!("{changes} of 1,000 that changed");
}
