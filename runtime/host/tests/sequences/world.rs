//! A durable agent that is told things at random, sleeps, moves, traps and crashes, and
//! whose journal is replayed.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::{Actions, Again, Agent, Batch, BatchRoom, Handlers, Recovery};
use phoenix_core::journal::record::{self, Says, Terms};
use phoenix_core::{AgentId, Envelope, Epoch, KindPolicy, Millis, Nanos, Payload, snapshot};

use crate::peers::{LIFE, Peers};
use crate::seat::{How, Seat};
use crate::subjects::{Sequence, Subject};
use crate::{Done, Homes, Random};

const EPOCH: Epoch = Epoch {
    generation: 1,
    term: 2,
};

/// The time of the first turn, milliseconds: 2026-01-01.
pub(crate) const BEGINNING: u64 = 1_767_225_600_000;

/// What a component says of its handlers.
pub(crate) struct Described(HashSet<Arc<str>>);

impl Described {
    pub(crate) fn of(homes: &Homes) -> Self {
        let handlers = homes.0[0].handlers().iter();
        let interleaving = handlers.filter(|it| it.interleave);
        Self(interleaving.map(|it| it.name.clone()).collect())
    }
}

impl Handlers for Described {
    fn interleaves(&self, method: &str) -> bool {
        self.0.contains(method)
    }
    fn any_interleaves(&self) -> bool {
        !self.0.is_empty()
    }
}

pub(crate) fn id_of(subject: &Subject) -> AgentId {
    AgentId::new(&format!("{}/own", subject.kind)).unwrap()
}

pub(crate) struct World<'a> {
    subject: &'a Subject,
    homes: &'a Homes,
    handlers: Described,
    random: Random,
    sequence: Sequence,
    /// Milliseconds since 1970.
    now: u64,
    terms: Arc<Terms>,
    agent: Agent,
    seat: Seat<'a>,
    room: BatchRoom,
    peers: Peers,
    journal: Vec<Bytes>,
    /// Snapshots, with how long the journal was then.
    snapshots: Vec<(usize, Bytes)>,
    done: Done,
}

impl<'a> World<'a> {
    pub(crate) fn new(subject: &'a Subject, homes: &'a Homes, seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let policy = KindPolicy {
            durable: true,
            batch_messages: 1 + random.below(8) as u32,
            max_attempts: 1 + random.below(2) as u32,
            ..KindPolicy::default()
        };
        let component = homes.0[0].digest();
        let terms = Arc::new(Terms { component, policy });
        let id = id_of(subject);
        let mut agent = Agent::new(id.clone(), LIFE, Payload::default());
        agent.keep_log(&terms);
        Self {
            subject,
            homes,
            handlers: Described::of(homes),
            random,
            sequence: Sequence::any(),
            now: BEGINNING,
            agent,
            seat: Seat::new(homes, 0, None, &terms.policy),
            terms,
            room: BatchRoom::default(),
            peers: Peers::new(id),
            journal: Vec::new(),
            snapshots: Vec::new(),
            done: Done::default(),
        }
    }

    pub(crate) fn step(&mut self) {
        match self.random.below(100) {
            0..45 => {
                for _ in 0..=self.random.below(3) {
                    let told = self.subject.tell(&mut self.random, &mut self.sequence);
                    let envelope = self.peers.tell(&told, self.now);
                    self.offer(&envelope);
                }
            }
            45..70 => {
                self.run();
            }
            70..76 => self.pass(),
            76..84 => {
                if let Some((to, lane, notice)) = self.peers.judge(&mut self.random) {
                    let mut out = Actions::default();
                    let now = Millis(self.now);
                    self.agent.acknowledged(&to, lane, &notice, now, &mut out);
                    self.flush(out);
                }
            }
            84..88 => self.answer(),
            88..92 => self.checkpoint(How::Stay),
            92..95 => self.checkpoint(How::Sleep),
            95..97 => self.checkpoint(How::Move),
            _ => self.crash(),
        }
    }

    fn offer(&mut self, envelope: &Arc<Envelope>) {
        let mut out = Actions::default();
        let policy = &self.terms.policy;
        self.agent.offer(envelope.clone(), policy, &mut out);
        self.flush(out);
    }

    fn answer(&mut self) {
        if let Some(envelope) = self.peers.answer(&mut self.random, self.now) {
            self.offer(&envelope);
        }
    }

    fn pass(&mut self) {
        let most = if self.random.chance(20) { 10_000 } else { 500 };
        self.now += self.random.below(most);
        let mut out = Actions::default();
        self.agent.tick(Millis(self.now), &mut out);
        self.flush(out);
    }

    /// Runs a batch. Says whether there was one.
    fn run(&mut self) -> bool {
        let (now, policy) = (Millis(self.now).nanos(), self.terms.policy.clone());
        let (handlers, room) = (&self.handlers, &mut self.room);
        let Some(batch) = self.agent.begin(now, &policy, handlers, room, Vec::new()) else {
            return false;
        };
        let mut out = Actions::default();
        let (agent, seat) = (&mut self.agent, &mut self.seat);
        let done = put(agent, seat, batch, &policy, room, &mut out);
        if let Err(Some(why)) = done {
            println!("trapped: {why}");
            self.done.traps += 1;
        }
        self.flush(out);
        true
    }

    /// Has the journal keep what was committed, and tells others.
    fn flush(&mut self, out: Actions) {
        let all = self.random.chance(50);
        self.append(all);
        self.peers.hear(out);
    }

    fn append(&mut self, all: bool) {
        for mut record in self.agent.take_records(EPOCH, all) {
            if let Says::Turns(turns) = &mut record.says
                && turns.count() > 0
            {
                turns.memory = Some(self.seat.hash());
                self.done.batches += 1;
            }
            let mut bytes = Vec::new();
            record::encode(&record, &mut bytes);
            self.journal.push(bytes.into());
        }
    }

    /// Takes a checkpoint, and goes on in one way or another.
    fn checkpoint(&mut self, how: How) {
        if !self.agent.begun() {
            return;
        }
        self.append(true);
        let image = self.seat.checkpoint(how, &self.terms.policy);
        let mut bytes = Vec::new();
        snapshot::encode(&self.agent, &self.terms.component, &image, &mut bytes);
        let bytes = Bytes::from(bytes);
        match how {
            How::Stay => self.done.checkpoints += 1,
            How::Sleep => self.done.sleeps += 1,
            How::Move => self.done.moves += 1,
        }
        if how != How::Stay {
            self.agent = snapshot::decode(&bytes).unwrap().agent;
            self.agent.retry_by(&self.terms.policy);
            self.agent.keep_log(&self.terms);
        }
        self.agent.note_checkpoint();
        // That of one that sleeps in memory alone is not kept.
        if self.random.chance(30) {
            self.snapshots.push((self.journal.len(), bytes));
            self.agent.keep_log(&self.terms);
        }
        let mut out = Actions::default();
        self.agent.tick(Millis(self.now), &mut out);
        self.flush(out);
    }

    /// What is in the journal is all that is left, and the agent goes on from that.
    fn crash(&mut self) {
        self.append(true);
        if self.journal.is_empty() {
            return;
        }
        // Snapshots after that one were not durable yet.
        let from = self.any_base();
        self.snapshots.truncate(from);
        let (recovery, seat) = self.replay(from);
        self.seat = seat;
        self.agent = recovery.resume(Millis(self.now));
        self.agent.retry_by(&self.terms.policy);
        self.agent.keep_log(&self.terms);
        self.done.crashes += 1;
        let mut out = Actions::default();
        self.agent.tick(Millis(self.now), &mut out);
        self.flush(out);
        for envelope in self.peers.again() {
            self.offer(&envelope);
        }
    }

    /// A snapshot, or the beginning of the journal.
    fn any_base(&mut self) -> usize {
        let count = self.snapshots.len() as u64;
        self.random.below(count + 1) as usize
    }

    /// Replays the journal from a snapshot, the `from`th, or from its beginning. Every
    /// batch has to end as it did, and with the same memory.
    fn replay(&mut self, from: usize) -> (Recovery, Seat<'a>) {
        let policy = self.terms.policy.clone();
        let snapshot = from.checked_sub(1).map(|it| &self.snapshots[it]);
        let (begin, image, mut recovery) = match snapshot {
            None => {
                let first = record::decode(&self.journal[0]).unwrap();
                let recovery = Recovery::from_first(&id_of(self.subject), &first).unwrap();
                (0, None, recovery)
            }
            Some((length, bytes)) => {
                let snapshot = snapshot::decode(bytes).unwrap();
                let image = (!snapshot.image.is_empty()).then(|| snapshot.image.to_vec());
                (*length, image, Recovery::from_snapshot(snapshot.agent))
            }
        };
        let at = self.random.below(2) as usize;
        let mut seat = Seat::new(self.homes, at, image, &policy);
        for bytes in &self.journal[begin..] {
            let record = record::decode(bytes).unwrap();
            let rerun = recovery.replay(&record);
            let Again::Turns(rerun) = rerun.unwrap_or_else(|diverged| panic!("{diverged}")) else {
                continue;
            };
            if rerun.after_checkpoint {
                seat.checkpoint(How::any(&mut self.random), &policy);
            }
            let turn = rerun.first;
            let answer = seat.turns(&rerun.frame).unwrap();
            assert_eq!(answer, rerun.answer, "the answer to turn {turn}");
            seat.keep(rerun.frame.to_vec());
            let found = seat.hash();
            assert_eq!(Some(found), rerun.memory, "the memory after turn {turn}");
            self.done.compared += 1;
        }
        (recovery, seat)
    }

    /// Comes to an end of what was begun, and replays all of it.
    pub(crate) fn end(&mut self) {
        for _ in 0..200 {
            while self.run() {}
            self.answer();
            if !self.run() {
                break;
            }
        }
        self.append(true);
        if !self.journal.is_empty() {
            self.replay(0);
            let from = self.any_base();
            self.replay(from);
        }
    }

    pub(crate) fn count(self, all: &mut Done) {
        let Done {
            batches,
            compared,
            sleeps,
            moves,
            checkpoints,
            crashes,
            traps,
            effects: _,
            replies: _,
        } = self.done;
        all.batches += batches;
        all.compared += compared;
        all.sleeps += sleeps;
        all.moves += moves;
        all.checkpoints += checkpoints;
        all.crashes += crashes;
        all.traps += traps;
        let books = &self.peers.books;
        let effects = books.effects.values().map(|it| it.len() as u64);
        all.effects += effects.sum::<u64>();
        all.replies += books.replies.len() as u64;
    }
}

/// Puts a batch to the guest and commits what comes of it, or undoes it: then says why,
/// unless it only did not fit.
pub(crate) fn put(
    agent: &mut Agent,
    seat: &mut Seat<'_>,
    mut batch: Batch,
    policy: &KindPolicy,
    room: &mut BatchRoom,
    out: &mut Actions,
) -> Result<(), Option<String>> {
    let frame = batch.frame.clone();
    let answer = if batch.turns() == 0 {
        Ok(Bytes::new())
    } else {
        seat.turns(&frame)
    };
    let why = match answer {
        Ok(answer) => match agent.commit(batch, &answer, policy, room, out) {
            Ok(()) => {
                if !answer.is_empty() {
                    seat.keep(frame);
                }
                return Ok(());
            }
            Err(undone) => {
                let (given_back, bad) = *undone;
                batch = given_back;
                if !bad.is_fault(batch.turns()) {
                    seat.undo(policy);
                    agent.split(batch);
                    return Err(None);
                }
                bad.to_string()
            }
        },
        Err(why) => why,
    };
    seat.undo(policy);
    agent.fail(batch, &why.as_str().into(), policy, out);
    Err(Some(why))
}

/// A time as turns have it.
pub(crate) fn nanos(now: u64) -> Nanos {
    Millis(now).nanos()
}
