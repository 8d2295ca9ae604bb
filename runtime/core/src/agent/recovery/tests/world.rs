//! A durable agent in a world that loses, repeats and closes messages, with a journal
//! of which a part is durable, and crashes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_wit::ContentType;

use super::canon::{Canon, canon};
use super::guest::{self, Memory, Told, carried};
use crate::agent::{Actions, Again, Agent, BadAnswer, BatchRoom, Handlers, Held, Recovery};
use crate::journal::record::{self, Record, Says, Terms};
use crate::journal::{CommitNumber, Gate};
use crate::{
    AgentId, Ask, Body, DeadReason, Digest, Envelope, Epoch, Expiry, Extras, Incarnation,
    KindPolicy, Lane, Millis, Nanos, NodeId, Notice, Overflow, Payload, Reply, ReplyTo, Sender,
    Sequence, SkipReason, StreamKey, snapshot,
};

/// SplitMix64 (Steele, Lea, Flood).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(crate) struct Plain;

impl Handlers for Plain {
    fn interleaves(&self, _method: &str) -> bool {
        false
    }
    fn any_interleaves(&self) -> bool {
        false
    }
}

/// A stream to the agent, and what its sender keeps of it.
struct Out {
    key: Arc<StreamKey>,
    next: u64,
    unsent: u64,
    /// From the first without a verdict on: each message, and whether it has one.
    kept: VecDeque<(Envelope, bool)>,
    /// What the sender gave up.
    closed: BTreeSet<u64>,
}

/// One that hears from the agent.
#[derive(Default)]
struct Peer {
    taken: u64,
    /// What was not applied.
    skipped: BTreeMap<u64, SkipReason>,
    missed: BTreeSet<u64>,
    content: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Applied,
    Skipped,
    GaveUp,
}

pub(crate) struct World {
    random: Random,
    now: u64,
    terms: Arc<Terms>,
    agent: Agent,
    memory: Memory,
    room: BatchRoom,
    journal: Vec<Bytes>,
    /// When the agent is to be woken if the journal ends with that entry.
    wakes: Vec<Millis>,
    durable: usize,
    /// What each stands for, and what the guest's memory is.
    snapshots: Vec<(usize, Bytes, Memory)>,
    /// How many of them are durable for certain.
    kept_snapshots: usize,
    /// What the agent and its guest were when the journal was that long.
    states: BTreeMap<usize, (Canon, Memory)>,
    gate: Gate<Held>,
    outs: Vec<Out>,
    peers: BTreeMap<ToPeer, Peer>,
    /// Where each thing that was sent arrived, by what it carries and whom it is for.
    arrived: BTreeMap<(u64, AgentId), (ToPeer, u64)>,
    /// How messages to the agent ended, as their senders were told.
    ends: BTreeMap<u64, End>,
    answers: BTreeMap<u64, u32>,
    messages: u64,
    heals: bool,
    pub(crate) crashes: u32,
    pub(crate) renewals: u32,
    pub(crate) compared: u32,
    /// Batches that were split because a timer was overtaken in them.
    pub(crate) overtaken: u32,
    pub(crate) kinds: [u32; 5],
}

/// A stream of the agent's: to whom, and in which of its lives.
type ToPeer = (AgentId, Lane, u64);

const EPOCH: Epoch = Epoch {
    generation: 1,
    term: 2,
};
const LIFE: Incarnation = Incarnation {
    generation: 1,
    boot: 2,
    count: 3,
};
/// Messages a sender keeps.
const MOST_KEPT: usize = 12;

pub(crate) fn own() -> AgentId {
    AgentId::new("test/own").unwrap()
}

fn fresh(terms: &Arc<Terms>) -> Agent {
    let mut agent = Agent::new(own(), LIFE, Payload::default());
    agent.keep_log(terms);
    agent
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let overflow = match random.below(4) {
            0 => Overflow::Reject,
            1 => Overflow::DropOldest,
            2 => Overflow::DropNewest,
            _ => Overflow::Redirect(AgentId::new("peer/r").unwrap()),
        };
        let policy = KindPolicy {
            overflow,
            mailbox_messages: 3 + random.below(4) as u32,
            batch_messages: 1 + random.below(5) as u32,
            max_attempts: 1 + random.below(2) as u32,
            max_message: 64,
            give_up_after: Millis(60_000),
            ..KindPolicy::default()
        };
        let component = Digest::of(b"component");
        let terms = Arc::new(Terms { component, policy });
        let out = |sender: &str, lane| {
            let sender = Sender::Agent(AgentId::new(sender).unwrap(), LIFE);
            Out {
                key: StreamKey::shared(sender, own(), lane),
                next: 1,
                unsent: 1,
                kept: VecDeque::new(),
                closed: BTreeSet::new(),
            }
        };
        let outs = vec![
            out("from/a", Lane::Normal),
            out("from/a", Lane::High),
            out("from/b", Lane::Normal),
            out("from/c", Lane::Bulk),
            // Replies.
            out("peer/a", Lane::Reply),
            out("peer/b", Lane::Reply),
            out("peer/c", Lane::Reply),
        ];
        Self {
            agent: fresh(&terms),
            random,
            now: 1_000,
            terms,
            memory: Memory::default(),
            room: BatchRoom::default(),
            journal: Vec::new(),
            wakes: Vec::new(),
            durable: 0,
            snapshots: Vec::new(),
            kept_snapshots: 0,
            states: BTreeMap::new(),
            gate: Gate::default(),
            outs,
            peers: BTreeMap::new(),
            arrived: BTreeMap::new(),
            ends: BTreeMap::new(),
            answers: BTreeMap::new(),
            messages: 0,
            heals: false,
            crashes: 0,
            renewals: 0,
            compared: 0,
            overtaken: 0,
            kinds: [0; 5],
        }
    }

    pub(crate) fn step(&mut self) {
        match self.random.below(100) {
            0..22 => self.write(),
            22..50 => {
                let out = self.random.below(self.outs.len() as u64) as usize;
                self.deliver(out);
            }
            50..72 => {
                self.run();
            }
            72..78 => self.pass(),
            78..88 => self.sync(),
            88..90 => self.store(),
            90..92 => self.sleep(),
            92..94 => self.crash(),
            94 => self.renew(),
            95..97 => {
                let out = self.random.below(self.outs.len() as u64) as usize;
                let out = &mut self.outs[out];
                out.unsent = out.base();
            }
            97 => self.skip_one(),
            _ => self.give_up(),
        }
    }

    /// Somebody has a new message for the agent.
    fn write(&mut self) {
        let out = self.random.below(4) as usize;
        if self.outs[out].kept.len() >= MOST_KEPT {
            return;
        }
        self.messages += 1;
        let id = self.messages;
        let mut what = self.random.next() & self.random.next();
        what &= guest::SEND | guest::ASK | guest::TIMER | guest::CANCEL;
        if self.random.chance(15) {
            what |= guest::WAIT;
        }
        if self.random.chance(10) {
            what |= guest::POISON;
        }
        let Sender::Agent(sender, life) = self.outs[out].key.sender.clone() else {
            unreachable!()
        };
        let ask = self.random.chance(30).then(|| {
            let is_client = self.random.chance(40);
            if is_client {
                what |= guest::CLIENT;
            }
            Box::new(Ask {
                id,
                reply_to: if is_client {
                    ReplyTo::Client(NodeId(7))
                } else {
                    ReplyTo::Agent(sender, life)
                },
                deadline: Millis(self.now + 1_000_000),
            })
        });
        let expires = self.random.chance(10);
        let extras = expires.then(|| {
            let at = Millis(self.now + self.random.below(60));
            let report = self.random.chance(50);
            Box::new(Extras {
                expiry: Some(Expiry { at, report }),
                ..Extras::default()
            })
        });
        let mut payload = (id << guest::ID | what).to_le_bytes().to_vec();
        if self.random.chance(4) {
            payload.resize(65, 0);
        }
        let body = Body::Message {
            method: "do".into(),
            payload: Payload {
                content_type: ContentType::MessagePack,
                bytes: payload.as_slice().into(),
            },
            ask,
        };
        self.outs[out].push(body, extras, self.now);
    }

    /// The next message of a stream comes to the agent, if there is one; sometimes twice.
    fn deliver(&mut self, out: usize) {
        let Some(envelope) = self.outs[out].hand_out() else {
            return;
        };
        for _ in 0..=u64::from(self.random.chance(10)) {
            self.offer(&envelope);
        }
    }

    fn offer(&mut self, envelope: &Arc<Envelope>) {
        let mut out = Actions::default();
        let policy = &self.terms.policy;
        self.agent.offer(envelope.clone(), policy, &mut out);
        self.flush(out);
    }

    /// A message overtakes the one before it.
    fn skip_one(&mut self) {
        let out = self.random.below(self.outs.len() as u64) as usize;
        drop(self.outs[out].hand_out());
        self.deliver(out);
    }

    /// A sender gives up what it has had longest.
    fn give_up(&mut self) {
        let at = self.random.below(self.outs.len() as u64) as usize;
        let out = &mut self.outs[at];
        let Some((envelope, _)) = out.kept.pop_front() else {
            return;
        };
        out.closed.insert(number(&envelope));
        out.settle();
        if let Some(id) = id_of(&envelope) {
            self.ends.insert(id, End::GaveUp);
        }
    }

    /// Runs a batch. Says whether there was one.
    fn run(&mut self) -> bool {
        let (now, policy) = (Nanos(self.now * 1_000_000), &self.terms.policy);
        let room = &mut self.room;
        let Some(batch) = self.agent.begin(now, policy, &Plain, room, Vec::new()) else {
            return false;
        };
        let mut out = Actions::default();
        let before = self.memory.clone();
        let answer = if batch.turns() == 0 {
            Ok(Bytes::new())
        } else {
            self.memory.run(&batch.frame)
        };
        match answer {
            Ok(answer) => {
                if let Err(undone) = self.agent.commit(batch, &answer, policy, room, &mut out) {
                    let (batch, bad) = *undone;
                    assert!(matches!(bad, BadAnswer::TimerOvertaken(_)), "{bad}");
                    self.overtaken += 1;
                    self.memory = before;
                    self.agent.split(batch);
                }
                assert!(!self.memory.has_overtaken, "{:?}", self.memory.timers);
            }
            Err(guest::Trap) => {
                self.agent.fail(batch, &"trap".into(), policy, &mut out);
            }
        }
        self.flush(out);
        true
    }

    fn pass(&mut self) {
        self.now += self.random.below(40);
        self.tick();
    }

    fn tick(&mut self) {
        let mut out = Actions::default();
        self.agent.tick(Millis(self.now), &mut out);
        self.flush(out);
    }

    /// Appends what is to be kept, and does what may be done.
    fn flush(&mut self, mut actions: Actions) {
        let all = self.random.chance(50);
        self.append(all);
        let free = actions.take_free();
        self.perform(free);
        let number = CommitNumber(self.journal.len() as u64);
        let held = Held {
            agent: own(),
            actions,
        };
        if let Some(held) = self.gate.hold(number, held) {
            self.perform(held.actions);
        }
    }

    fn append(&mut self, all: bool) {
        for record in self.agent.take_records(EPOCH, all) {
            self.kinds[kind(&record)] += 1;
            let mut bytes = Vec::new();
            record::encode(&record, &mut bytes);
            self.journal.push(bytes.into());
            // Of those before the last nobody knows when the agent is to be woken.
            self.wakes.push(Millis(0));
        }
        if let Some(wake) = self.wakes.last_mut() {
            *wake = (*wake).max(self.agent.next_wake_recovered());
        }
        if self.agent.notes.as_ref().unwrap().is_empty() {
            let state = (canon(&self.agent), self.memory.clone());
            self.states.insert(self.journal.len(), state);
        }
    }

    /// A state in a form that can be compared by what senders know now.
    fn comparable(&self, state: Canon) -> Canon {
        let closed: BTreeMap<(String, Lane), &BTreeSet<u64>> = self
            .outs
            .iter()
            .map(|out| ((format!("{:?}", out.key.sender), out.key.lane), &out.closed))
            .collect();
        state.noticing(&|sender, lane, number| {
            let closed = closed.get(&(sender.to_owned(), lane));
            closed.is_some_and(|closed| closed.contains(&number))
        })
    }

    /// Some of what was appended becomes durable.
    fn sync(&mut self) {
        let more = self.journal.len() - self.durable;
        self.durable += self.random.below(more as u64 + 1) as usize;
        self.release();
    }

    fn release(&mut self) {
        self.gate.reach(CommitNumber(self.durable as u64));
        while let Some(held) = self.gate.release() {
            self.perform(held.actions);
        }
    }

    fn image(&mut self) -> Bytes {
        let mut bytes = Vec::new();
        let component = self.terms.component;
        snapshot::encode(&self.agent, &component, b"", &mut bytes);
        bytes.into()
    }

    /// Stores a snapshot.
    fn store(&mut self) {
        let all = self.random.chance(50);
        self.append(all);
        if !self.agent.notes.as_ref().unwrap().is_empty() {
            // It has verdicts that the entries do not have yet.
            self.states.remove(&self.journal.len());
        }
        let image = self.image();
        let stored = (self.journal.len(), image, self.memory.clone());
        self.snapshots.push(stored);
        self.agent.keep_log(&self.terms);
    }

    /// Sleeps and wakes.
    fn sleep(&mut self) {
        self.append(true);
        let image = self.image();
        self.agent = snapshot::decode(&image).unwrap().agent;
        self.agent.keep_log(&self.terms);
        self.tick();
    }

    /// An operator has the agent begin anew, if all it sent has its verdicts.
    fn renew(&mut self) {
        if self.agent.unacknowledged() > 0 {
            return;
        }
        self.renewals += 1;
        let life = Incarnation {
            count: LIFE.count + u64::from(self.renewals),
            ..LIFE
        };
        let mut out = Actions::default();
        self.agent.renew(life, Payload::default(), &mut out);
        self.agent.keep_log(&self.terms);
        self.memory.begin_anew();
        self.flush(out);
    }

    /// All that is not durable is lost; the agent is had again from what is.
    pub(crate) fn crash(&mut self) {
        self.crashes += 1;
        self.journal.truncate(self.durable);
        self.wakes.truncate(self.durable);
        self.snapshots
            .retain(|(through, ..)| *through <= self.durable);
        self.states.retain(|length, _| *length <= self.durable);
        self.gate = Gate::default();
        self.gate.reach(CommitNumber(self.durable as u64));
        if self.snapshots.len() > self.kept_snapshots && self.random.chance(20) {
            // It was not stored yet.
            self.snapshots.pop();
        }
        self.kept_snapshots = self.snapshots.len();
        let newest = self.snapshots.last();
        let records: Vec<Record> = self
            .journal
            .iter()
            .map(|bytes| record::decode(bytes).unwrap())
            .collect();
        let (mut recovery, memory, from) = match (newest, records.first()) {
            (Some((through, image, memory)), _) => {
                let agent = snapshot::decode(image).unwrap().agent;
                (Recovery::from_snapshot(agent), memory.clone(), *through)
            }
            (None, Some(first)) => {
                let recovery = Recovery::from_first(&own(), first).unwrap();
                (recovery, Memory::default(), 0)
            }
            (None, None) => {
                self.agent = fresh(&self.terms);
                self.memory = Memory::default();
                return;
            }
        };
        self.memory = memory;
        for record in &records[from..] {
            match recovery.replay(record).unwrap() {
                Again::Nothing => {}
                Again::Anew => self.memory.begin_anew(),
                Again::Turns(rerun) => {
                    let answer = self.memory.run(&rerun.frame).ok().unwrap();
                    assert_eq!(answer, rerun.answer);
                }
            }
        }
        let of_its_life = records[from..]
            .rsplit(|record| matches!(record.says, Says::Anew(_)))
            .next();
        if of_its_life.unwrap().iter().any(|record| kind(record) == 0) {
            assert_eq!(recovery.terms(), Some(&self.terms));
        }
        self.agent = recovery.resume(Millis(self.now));
        let wake = self.wakes.last().copied().unwrap_or(Millis(0));
        let due = self.agent.timers.next_due();
        assert!(wake <= due, "woken at {wake}, and a timer is due at {due}");
        self.agent.keep_log(&self.terms);
        if let Some((state, memory)) = self.states.get(&self.durable) {
            assert_eq!(self.memory, *memory);
            let (found, state) = (canon(&self.agent), state.clone());
            assert_eq!(self.comparable(found), self.comparable(state));
            self.compared += 1;
        }
    }

    fn perform(&mut self, actions: Actions) {
        for acknowledgement in actions.acknowledge {
            if self.heals || !self.random.chance(15) {
                self.told(&acknowledgement.stream, acknowledgement.notice);
            }
        }
        for (_, ask, _) in actions.answer {
            *self.answers.entry(ask).or_default() += 1;
        }
        for envelope in actions.send {
            if self.heals || !self.random.chance(15) {
                self.arrive(&envelope);
            }
        }
    }

    /// A sender is told what became of its messages.
    fn told(&mut self, stream: &StreamKey, notice: Notice) {
        let is_it = |out: &&mut Out| out.key.sender == stream.sender && out.key.lane == stream.lane;
        let out = self.outs.iter_mut().find(is_it).unwrap();
        let (numbers, end) = match notice {
            Notice::Applied { after, through } => (after + 1..=through, End::Applied),
            Notice::Skipped { number, .. } => (number..=number, End::Skipped),
            Notice::Refused { expected, .. } => {
                out.unsent = expected.clamp(out.base(), out.next);
                return;
            }
            Notice::Credit { .. } => return,
        };
        for (envelope, has_end) in &mut out.kept {
            if !numbers.contains(&number(envelope)) {
                continue;
            }
            *has_end = true;
            if let Some(id) = id_of(envelope) {
                let before = self.ends.insert(id, end);
                assert!(
                    before.is_none_or(|it| it == end),
                    "{before:?}, then {end:?}"
                );
            }
        }
        out.settle();
    }

    /// A message of the agent's comes to its receiver.
    fn arrive(&mut self, envelope: &Envelope) {
        let Some(sequence) = envelope.sequence else {
            return;
        };
        let Sender::Agent(_, life) = *envelope.sender() else {
            unreachable!()
        };
        let (to, lane) = (envelope.receiver().clone(), envelope.stream.lane);
        let (sent, content) = (sequence.number, content_of(envelope));
        let stream = (to.clone(), lane, life.count);
        let place = (stream.clone(), sent);
        let before = self.arrived.insert((content, to.clone()), place.clone());
        assert!(
            before.is_none() || before.as_ref() == Some(&place),
            "an effect with two numbers: {before:?}, {place:?}"
        );
        let peer = self.peers.entry(stream).or_default();
        let (next, base) = (peer.taken + 1, sequence.base.get());
        let mut is_new = false;
        if sent > peer.taken {
            if sent != next && !(base > next && sent == base) {
                let expected = next.max(base);
                let refusal = crate::Refusal::OutOfOrder;
                self.hear(
                    life,
                    &to,
                    lane,
                    &Notice::Refused {
                        expected,
                        number: sent,
                        refusal,
                    },
                );
                return;
            }
            peer.missed.extend(next..sent);
            peer.taken = sent;
            peer.content.insert(sent, content);
            is_new = true;
            if !self.heals && self.random.chance(15) {
                let reason = match self.random.below(3) {
                    0 => SkipReason::Expired,
                    1 => SkipReason::Redirected,
                    _ => SkipReason::Dead(DeadReason::Overflow),
                };
                peer.skipped.insert(sent, reason);
                is_new = false;
            }
        }
        assert!(peer.missed.contains(&sent) || peer.content[&sent] == content);
        let notice = match peer.skipped.get(&sent) {
            Some(reason) => Notice::Skipped {
                number: sent,
                reason: reason.clone(),
            },
            None => {
                let skipped = peer.skipped.keys().rfind(|it| **it < sent);
                let missed = peer.missed.iter().rfind(|it| **it < sent);
                let after = skipped.max(missed).copied().unwrap_or(0);
                Notice::Applied {
                    after,
                    through: sent,
                }
            }
        };
        if is_new && let Some(ask) = envelope.body.ask() {
            self.answer(&to, ask.id, life);
        }
        if self.heals || !self.random.chance(20) {
            self.hear(life, &to, lane, &notice);
        }
    }

    fn answer(&mut self, by: &AgentId, ask: u64, asker: Incarnation) {
        if self.random.chance(40) {
            return;
        }
        let poison = u64::from(self.random.chance(20)) * guest::POISON;
        let of = Sender::Agent(by.clone(), LIFE);
        let out = self.outs.iter_mut();
        let Some(out) = out.into_iter().find(|out| out.key.sender == of) else {
            return;
        };
        let reply = Reply::Ok(Payload {
            content_type: ContentType::MessagePack,
            bytes: poison.to_le_bytes()[..].into(),
        });
        out.push(Body::Reply { ask, asker, reply }, None, self.now);
    }

    /// A verdict comes to the life of the agent that it is for, if that is not over.
    fn hear(&mut self, life: Incarnation, to: &AgentId, lane: Lane, notice: &Notice) {
        if life != self.agent.incarnation() {
            return;
        }
        let mut out = Actions::default();
        let now = Millis(self.now);
        self.agent.acknowledged(to, lane, notice, now, &mut out);
        self.flush(out);
    }

    /// Goes on without losses until nothing is left to do, and looks at the books.
    pub(crate) fn end(&mut self) {
        self.heals = true;
        let mut rounds = 0;
        while !self.is_over() {
            rounds += 1;
            assert!(rounds < 2_000, "it comes to no end: {:?}", self.agent);
            // Not in step with any timer's period.
            self.now += 20 + self.random.below(60);
            self.tick();
            for at in 0..self.outs.len() {
                self.outs[at].unsent = self.outs[at].base();
                for _ in 0..self.outs[at].kept.len() {
                    self.deliver(at);
                }
            }
            while self.run() {
                // What is due again after one that was too late.
                self.tick();
            }
            self.durable = self.journal.len();
            self.release();
        }
        self.check();
    }

    fn is_over(&self) -> bool {
        self.outs.iter().all(|out| out.kept.is_empty())
            && self.agent.unacknowledged() == 0
            && self.agent.waiting() == 0
            && self.agent.open_asks() == 0
            && self.agent.timers() == 0
    }

    fn check(&self) {
        let memory = &self.memory;
        for id in 1..=self.messages {
            let applied = memory.applied.get(&id).copied().unwrap_or(0);
            match self.ends.get(&id) {
                Some(End::Applied) => assert_eq!(applied, 1, "message {id}"),
                Some(End::Skipped) => assert_eq!(applied, 0, "message {id}"),
                Some(End::GaveUp) => assert!(applied <= 1, "message {id}"),
                None => panic!("message {id} has no end"),
            }
        }
        let arrived: BTreeSet<u64> = self.arrived.keys().map(|(content, _)| *content).collect();
        for content in &memory.effects {
            assert!(arrived.contains(content), "{content:x} is lost");
        }
        for ((content, to), told) in &memory.told {
            let to = AgentId::new(to).unwrap();
            let Some((stream, number)) = self.arrived.get(&(*content, to)) else {
                panic!("{content:x} is lost");
            };
            let skipped = self.peers[stream].skipped.get(number);
            let expected = match skipped {
                None => Told::Applied,
                Some(SkipReason::Redirected) => Told::Redirected,
                Some(_) => Told::NotApplied,
            };
            if let Some(told) = told {
                assert_eq!(told[..], [expected], "{content:x}");
            }
        }
        for (ask, ends) in &memory.asks {
            // One whose end trapped ends unseen.
            assert!(*ends <= 1, "ask {ask} ended {ends} times");
        }
        for (id, timer) in &memory.timers {
            assert!(timer.is_over(), "timer {id}: {timer:?}");
        }
        for (content, times) in &memory.bounced {
            assert_eq!(*times, 1, "{content:x} came back");
        }
        for (ask, times) in &self.answers {
            assert!(*times <= 1, "client's ask {ask} has {times} answers");
        }
    }
}

impl Out {
    fn base(&self) -> u64 {
        self.kept.front().map_or(self.next, |(it, _)| number(it))
    }

    fn push(&mut self, body: Body, extras: Option<Box<Extras>>, now: u64) {
        let sequence = Sequence {
            number: self.next,
            base: NonZeroU64::MIN,
            give_up: Millis(now + 10_000_000),
        };
        self.next += 1;
        let envelope = Envelope {
            stream: self.key.clone(),
            sequence: Some(sequence),
            body,
            extras,
        };
        self.kept.push_back((envelope, false));
    }

    fn hand_out(&mut self) -> Option<Arc<Envelope>> {
        let base = self.base();
        self.unsent = self.unsent.max(base);
        let at = (self.unsent - base) as usize;
        let (envelope, has_end) = self.kept.get(at)?;
        self.unsent += 1;
        if *has_end {
            return None;
        }
        let mut envelope = envelope.clone();
        let sequence = envelope.sequence.as_mut().unwrap();
        sequence.base = NonZeroU64::new(base).unwrap();
        Some(Arc::new(envelope))
    }

    fn settle(&mut self) {
        while self.kept.pop_front_if(|(_, has_end)| *has_end).is_some() {}
    }
}

fn number(envelope: &Envelope) -> u64 {
    envelope.sequence.unwrap().number
}

/// The message's own number, of one that is no reply.
fn id_of(envelope: &Envelope) -> Option<u64> {
    match &envelope.body {
        Body::Message { payload, .. } => Some(carried(&payload.bytes[..8]) >> guest::ID),
        _ => None,
    }
}

fn content_of(envelope: &Envelope) -> u64 {
    let of = |payload: &Payload| carried(&payload.bytes[..8]);
    match &envelope.body {
        Body::Message { payload, .. } => of(payload),
        Body::Reply { reply, .. } => match reply {
            Reply::Ok(payload) => of(payload),
            Reply::Failed(failure) => of(&failure.details),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn kind(record: &Record) -> usize {
    match record.says {
        Says::Turns(_) => 0,
        Says::GivenUp(_) => 1,
        Says::Closed(_) => 2,
        Says::Heard(_) => 3,
        Says::Begins(_) | Says::Terms(_) | Says::Anew(_) | Says::Stops(_) => 4,
    }
}
