//! Queue groups: which member gets a message.
//!
//! ```text
//!            offer                        retry
//!   message ───────▶ sent to a member ◀────────── failed, waits for another member
//!                      │          │                ▲            │
//!              applied │          │ not applied    │            │ all have tried
//!                      ▼          └────────────────┘            ▼
//!                     done                                  given up
//! ```
//!
//! A member gets its messages in order. By [`Strategy::ConsistentHash`] so does a key: all
//! of its messages are with one member at a time, and it goes to another one only when
//! none of them is without a verdict. A message that a member did not apply is sent to
//! another one, ahead of later ones of its key: across the group that is at least once,
//! and what came after it may have been applied before.
//!
//! Members and messages are numbers of the caller's. Everything is decided by what is
//! handed in, `now` included.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::wire::Strategy;
use crate::Millis;

/// Most members of one group.
pub const MAX_MEMBERS: usize = 1_024;
/// Most members that a message is sent to.
pub const MAX_ATTEMPTS: usize = 8;

/// A response time is forgotten by half in this time, so that a member that was slow once
/// is tried again. Milliseconds.
const HALF_LIFE: u64 = 10_000;
/// Response times are kept in this part of a millisecond.
const SCALE: u64 = 64;
/// A response counts as one part in so many of a member's response time.
const SMOOTHING: u64 = 8;

/// A member's number.
pub type MemberId = u64;
/// A message's number; later ones are greater.
pub type MessageId = u64;

/// The members of a queue group and what is under way to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    strategy: Strategy,
    members: BTreeMap<MemberId, Member>,
    sent: BTreeMap<MessageId, Sent>,
    failed: BTreeMap<MessageId, Failed>,
    /// The keys of which something is sent or has failed.
    keys: BTreeMap<u64, Key>,
    /// The member that got a message last.
    last: MemberId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    weight: u32,
    in_flight: u32,
    /// It gets no more, and goes when all it was sent has a verdict.
    leaves: bool,
    /// How far it is behind its part, by smooth weighted round robin.
    credit: i64,
    /// Its response time, in [`SCALE`]ths of a millisecond, when it last answered.
    response: u64,
    /// Milliseconds since 1970-01-01 UTC; 0 if it has not answered.
    answered: u64,
    #[serde(skip)]
    outstanding: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    member: MemberId,
    key: Option<u64>,
    /// Milliseconds since 1970-01-01 UTC.
    at: u64,
    tried: Tried,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    key: Option<u64>,
    tried: Tried,
}

/// The members that did not apply a message.
type Tried = Vec<MemberId>;

/// Where a key is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Key {
    member: MemberId,
    sent: u32,
    failed: u32,
}

/// Who gets a message that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This member; the message is under way to it from now on.
    To(MemberId),
    /// Nobody for now: offer it again after the next verdict, or when a member joins.
    Wait,
    /// The group has no members.
    Nobody,
}

/// What becomes of a message that was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is under way to another member.
    Send {
        /// The message.
        message: MessageId,
        /// The member.
        member: MemberId,
    },
    /// No member is left that has not tried, or [`MAX_ATTEMPTS`] have.
    GaveUp {
        /// The message.
        message: MessageId,
    },
}

/// A saved group that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved queue group is damaged: {0}")]
pub struct BadGroup(String);

impl Group {
    /// A group without members.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            members: BTreeMap::new(),
            sent: BTreeMap::new(),
            failed: BTreeMap::new(),
            keys: BTreeMap::new(),
            last: 0,
        }
    }

    /// How members are chosen.
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// Chooses otherwise from now on; what is under way stays so.
    pub fn set_strategy(&mut self, strategy: Strategy) {
        self.strategy = strategy;
    }

    /// Adds a member, or changes its terms: its part in a weighted group, and how many
    /// messages may be under way to it. `false` if there are [`MAX_MEMBERS`] already.
    pub fn join(&mut self, member: MemberId, weight: u32, in_flight: u32) -> bool {
        if let Some(known) = self.members.get_mut(&member) {
            known.weight = weight.max(1);
            known.in_flight = in_flight.max(1);
            known.leaves = false;
            return true;
        }
        if self.members.len() >= MAX_MEMBERS {
            return false;
        }
        let joined = Member {
            weight: weight.max(1),
            in_flight: in_flight.max(1),
            leaves: false,
            credit: 0,
            response: 0,
            answered: 0,
            outstanding: 0,
        };
        self.members.insert(member, joined);
        true
    }

    /// A member gets no more. What is under way to it gets its verdicts still.
    pub fn leave(&mut self, member: MemberId) {
        if let Some(known) = self.members.get_mut(&member) {
            known.leaves = true;
            if known.outstanding == 0 {
                self.members.remove(&member);
            }
        }
    }

    /// Members that get messages.
    pub fn members(&self) -> usize {
        self.members.values().filter(|it| !it.leaves).count()
    }

    /// Messages without a verdict, those that wait for another member included.
    pub fn outstanding(&self) -> usize {
        self.sent.len() + self.failed.len()
    }

    /// Messages under way to a member.
    pub fn outstanding_of(&self, member: MemberId) -> u32 {
        self.members.get(&member).map_or(0, |it| it.outstanding)
    }

    /// The member a message is under way to.
    pub fn sent_to(&self, message: MessageId) -> Option<MemberId> {
        self.sent.get(&message).map(|it| it.member)
    }

    /// Chooses who gets a message. `key` is what [`Strategy::ConsistentHash`] looks at;
    /// a message without one goes to one after the other.
    pub fn offer(&mut self, message: MessageId, key: Option<&str>, now: Millis) -> Choice {
        if let Some(member) = self.sent_to(message) {
            return Choice::To(member);
        }
        if self.members() == 0 {
            return Choice::Nobody;
        }
        let key = match self.strategy {
            Strategy::ConsistentHash(_) => key.map(hash),
            _ => None,
        };
        // Later ones of a key do not overtake those that wait for another member.
        let waits = key
            .and_then(|key| self.keys.get(&key))
            .is_some_and(|it| it.failed > 0);
        if waits || self.failed.contains_key(&message) {
            return Choice::Wait;
        }
        let Some(member) = self.candidate(key, &[], now) else {
            return Choice::Wait;
        };
        self.send(message, member, key, Tried::new(), now);
        Choice::To(member)
    }

    /// A message's verdict: whether the member applied it. One that it did not waits for
    /// another member: ask [`Group::retry`]. `None` if it is not under way.
    pub fn verdict(&mut self, message: MessageId, applied: bool, now: Millis) -> Option<MemberId> {
        let Sent {
            member,
            key,
            at,
            mut tried,
        } = self.sent.remove(&message)?;
        if let Some(known) = self.members.get_mut(&member) {
            known.outstanding = known.outstanding.saturating_sub(1);
            known.answer(now.0.saturating_sub(at), now);
            if known.leaves && known.outstanding == 0 {
                self.members.remove(&member);
            }
        }
        if let Some(place) = key.and_then(|key| self.keys.get_mut(&key)) {
            place.sent = place.sent.saturating_sub(1);
            place.failed += u32::from(!applied);
            if place.sent == 0 {
                // Whoever it was: it may move from here.
                place.member = 0;
            }
        }
        if applied {
            self.forget(key);
        } else {
            tried.push(member);
            self.failed.insert(message, Failed { key, tried });
        }
        Some(member)
    }

    /// The next message that was not applied and that something becomes of now. Ask until
    /// there is none, after a verdict and when a member joins, leaves or changes.
    pub fn retry(&mut self, now: Millis) -> Option<Retry> {
        let mut blocked: BTreeSet<u64> = BTreeSet::new();
        let mut found = None;
        for (message, failed) in &self.failed {
            if failed.key.is_some_and(|key| blocked.contains(&key)) {
                continue;
            }
            let is_left =
                |(member, it): (&MemberId, &Member)| !it.leaves && !failed.tried.contains(member);
            let gives_up = failed.tried.len() >= MAX_ATTEMPTS || !self.members.iter().any(is_left);
            if gives_up {
                found = Some((*message, None));
                break;
            }
            if let Some(member) = self.candidate(failed.key, &failed.tried, now) {
                found = Some((*message, Some(member)));
                break;
            }
            blocked.extend(failed.key);
        }
        let (message, member) = found?;
        let Failed { key, tried } = self.failed.remove(&message)?;
        if let Some(place) = key.and_then(|key| self.keys.get_mut(&key)) {
            place.failed = place.failed.saturating_sub(1);
        }
        match member {
            Some(member) => {
                self.send(message, member, key, tried, now);
                Some(Retry::Send { message, member })
            }
            None => {
                self.forget(key);
                Some(Retry::GaveUp { message })
            }
        }
    }

    fn send(
        &mut self,
        message: MessageId,
        member: MemberId,
        key: Option<u64>,
        tried: Tried,
        now: Millis,
    ) {
        if matches!(self.strategy, Strategy::Weighted) {
            self.take_credit(member, &tried);
        }
        self.last = member;
        let sent = Sent {
            member,
            key,
            at: now.0,
            tried,
        };
        self.note(message, sent);
    }

    fn note(&mut self, message: MessageId, sent: Sent) {
        if let Some(known) = self.members.get_mut(&sent.member) {
            known.outstanding += 1;
        }
        if let Some(key) = sent.key {
            let place = self.keys.entry(key).or_default();
            place.member = sent.member;
            place.sent += 1;
        }
        self.sent.insert(message, sent);
    }

    /// Nothing is known of a key that nothing is under way of: the hash says where it is.
    fn forget(&mut self, key: Option<u64>) {
        if let Some(key) = key
            && let Some(place) = self.keys.get(&key)
            && place.sent == 0
            && place.failed == 0
        {
            self.keys.remove(&key);
        }
    }

    /// Who would be chosen, of those that have room and have not tried.
    fn candidate(&self, key: Option<u64>, tried: &[MemberId], now: Millis) -> Option<MemberId> {
        let is_free = |id: MemberId, it: &Member| it.has_room() && !tried.contains(&id);
        if let Some(key) = key {
            let place = self.keys.get(&key).filter(|it| it.sent > 0);
            let member = match place {
                Some(place) => place.member,
                None => self.owner_of(key, tried)?,
            };
            let known = self.members.get(&member)?;
            return is_free(member, known).then_some(member);
        }
        // In order, beginning after the one that was chosen last: the first of equals is
        // another one each time.
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let mut free = self
            .members
            .range(after)
            .chain(self.members.range(..=self.last))
            .filter(|(id, it)| is_free(**id, it));
        let chosen = match self.strategy {
            Strategy::RoundRobin | Strategy::ConsistentHash(_) => free.next(),
            Strategy::Weighted => free.max_by_key(|(id, it)| {
                (
                    it.credit.saturating_add(it.weight.into()),
                    std::cmp::Reverse(**id),
                )
            }),
            Strategy::LeastOutstanding => free.min_by_key(|(_, it)| it.outstanding),
            Strategy::ResponseTime => free.min_by_key(|(_, it)| it.load(now)),
        };
        chosen.map(|(id, _)| *id)
    }

    /// The member a key leads to, by the highest hash of both (rendezvous hashing, Thaler
    /// and Ravishankar): a member that joins takes its part of each other's keys, and no
    /// other key moves.
    fn owner_of(&self, key: u64, tried: &[MemberId]) -> Option<MemberId> {
        let members = self.members.iter();
        let members = members.filter(|(id, it)| !it.leaves && !tried.contains(id));
        let chosen = members.max_by_key(|(id, _)| (mix(key ^ mix(**id)), **id));
        chosen.map(|(id, _)| *id)
    }

    /// Smooth weighted round robin, as nginx has it: all that could be chosen get their
    /// weight, and the chosen one pays for all.
    fn take_credit(&mut self, chosen: MemberId, tried: &[MemberId]) {
        let mut total = 0;
        for (id, member) in &mut self.members {
            if member.has_room() && !tried.contains(id) {
                let weight = i64::from(member.weight);
                member.credit = member.credit.saturating_add(weight);
                total += weight;
            }
        }
        if let Some(member) = self.members.get_mut(&chosen) {
            member.credit = member.credit.saturating_sub(total);
        }
    }
}

impl Member {
    fn has_room(&self) -> bool {
        !self.leaves && self.outstanding < self.in_flight
    }

    fn answer(&mut self, took: u64, now: Millis) {
        let sample = took.saturating_mul(SCALE);
        let before = self.response_at(now);
        self.response = if self.answered == 0 {
            sample
        } else {
            before - before / SMOOTHING + sample / SMOOTHING
        };
        self.answered = now.0;
    }

    fn response_at(&self, now: Millis) -> u64 {
        let halves = now.0.saturating_sub(self.answered) / HALF_LIFE;
        let halves = u32::try_from(halves).unwrap_or(u32::MAX);
        self.response.checked_shr(halves).unwrap_or(0)
    }

    /// How long one message more would take, if those before it take their time.
    fn load(&self, now: Millis) -> u64 {
        let messages = u64::from(self.outstanding) + 1;
        self.response_at(now)
            .saturating_add(1)
            .saturating_mul(messages)
    }
}

fn hash(key: &str) -> u64 {
    // FNV-1a: the same on every node and in every version.
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(key.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The last steps of SplitMix64: each bit depends on all.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// What of a group is saved; the rest follows from it.
#[derive(Serialize, Deserialize)]
struct Saved<S, M, T, F> {
    strategy: S,
    last: MemberId,
    members: M,
    sent: T,
    failed: F,
}

type Load = Saved<
    Strategy,
    BTreeMap<MemberId, Member>,
    BTreeMap<MessageId, Sent>,
    BTreeMap<MessageId, Failed>,
>;

impl Group {
    /// Appends what is known of it: the same for equal groups.
    ///
    /// # Errors
    ///
    /// None that a group can be in.
    pub fn save(&self, out: &mut Vec<u8>) -> Result<(), BadGroup> {
        let saved = Saved {
            strategy: &self.strategy,
            last: self.last,
            members: &self.members,
            sent: &self.sent,
            failed: &self.failed,
        };
        rmp_serde::encode::write(out, &saved).map_err(|error| BadGroup(error.to_string()))
    }

    /// The group that was saved so.
    ///
    /// # Errors
    ///
    /// The bytes are no group's.
    pub fn load(saved: &[u8]) -> Result<Self, BadGroup> {
        let load: Load =
            rmp_serde::from_slice(saved).map_err(|error| BadGroup(error.to_string()))?;
        let mut group = Self {
            last: load.last,
            members: load.members,
            ..Self::new(load.strategy)
        };
        if group.members.len() > MAX_MEMBERS {
            return Err(BadGroup(format!("{} members", group.members.len())));
        }
        for (message, sent) in load.sent {
            if !group.members.contains_key(&sent.member) || sent.tried.len() >= MAX_ATTEMPTS {
                return Err(BadGroup(format!("message {message} is sent to nobody")));
            }
            let place = sent.key.and_then(|key| group.keys.get(&key));
            if place.is_some_and(|place| place.member != sent.member) {
                return Err(BadGroup(format!(
                    "the key of message {message} is in two places"
                )));
            }
            group.note(message, sent);
        }
        for (message, failed) in load.failed {
            if group.sent.contains_key(&message) || failed.tried.len() > MAX_ATTEMPTS {
                return Err(BadGroup(format!("message {message} is sent and failed")));
            }
            if let Some(key) = failed.key {
                group.keys.entry(key).or_default().failed += 1;
            }
            group.failed.insert(message, failed);
        }
        Ok(group)
    }
}

#[cfg(test)]
mod tests;
