//! Queue groups: each event to one of several.
//!
//! A group is offered events as a subscription is, in order of places; which member gets
//! one, its [`Group`] says. While none may get the next one, the group is behind, and
//! events wait where they are kept: in the topic's log, or, if it has none, among recent
//! events. The events under way are kept until they have a verdict: what a member did not
//! apply goes to another one.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;

use super::event::Event;
use super::sends::{How, Sends};
use super::table::{Slot, Subscription};
use super::tally::{Skip, Tally};
use super::{Out, Owner};
use crate::Millis;
use crate::topics::group::{Choice, Group, MAX_MEMBERS, MemberId, Retry};
use crate::topics::wire::{Attribute, Gap, Mark, Strategy};
use crate::topics::{TopicIndex, TopicPattern};

/// Most queue groups of an owner.
pub const MAX_QUEUES: usize = 65_536;
/// What one costs, bytes; and each of its members besides.
const QUEUE_BYTES: u64 = 1_024;
const MEMBER_BYTES: u64 = 192;

/// A queue group's place among all.
pub(super) type QueueId = u32;

/// A group by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueName {
    pub(super) is_rooted: bool,
    pub(super) pattern: TopicPattern,
    pub(super) group: Arc<str>,
}

/// A queue group.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: QueueName,
    /// Unlike that of any other, before or after.
    pub(super) serial: u64,
    /// The number of the first event it may get.
    pub(super) since: u64,
    /// The next event to look at, if that is not the one that is offered to all.
    pub(super) behind: Option<u64>,
    /// Whether something may be sent though it is behind.
    pub(super) is_ready: bool,
    /// What it has missed since the last message.
    pub(super) gap: Option<Gap>,
    pub(super) machine: Group,
    /// Members' subscriptions, by their serial numbers.
    pub(super) members: BTreeMap<MemberId, Slot>,
    /// Events under way, and those that wait for another member.
    pub(super) kept: BTreeMap<u64, Arc<Event>>,
    /// Events of which the filter was false.
    pub(super) filtered: u64,
    /// What became of its events else.
    pub(super) tally: Tally,
}

/// All queue groups.
#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) all: BTreeMap<QueueId, Queue>,
    pub(super) by_name: BTreeMap<QueueName, QueueId>,
    pub(super) index: TopicIndex<QueueId>,
    /// Those that are behind, and of them those that may send something.
    behind: BTreeSet<QueueId>,
    ready: BTreeSet<QueueId>,
    members: usize,
    kept_bytes: u64,
}

/// What became of an event that was offered to a group.
enum Offered {
    /// It is on its way, or not for this group.
    Done,
    /// It waits.
    Waits,
    /// The turn has no more room.
    NoRoom,
}

impl Queue {
    /// Counts an event of which the group gets nothing.
    fn skip(&mut self, why: Skip) {
        self.filtered += u64::from(why == Skip::Differs);
        self.tally.skip(why);
    }
}

impl Queues {
    pub(super) fn bytes(&self) -> u64 {
        QUEUE_BYTES * self.all.len() as u64 + MEMBER_BYTES * self.members as u64 + self.kept_bytes
    }

    pub(super) fn behind(&self) -> usize {
        self.behind.len()
    }

    /// The lowest id that is free.
    fn next_id(&self) -> QueueId {
        let mut next = 0;
        for id in self.all.keys() {
            if *id != next {
                break;
            }
            next += 1;
        }
        next
    }

    pub(super) fn insert(&mut self, id: QueueId, queue: Queue) {
        self.index.insert(&queue.name.pattern, id);
        self.by_name.insert(queue.name.clone(), id);
        self.members += queue.members.len();
        self.kept_bytes += queue.kept.values().map(|it| it.bytes()).sum::<u64>();
        self.all.insert(id, queue);
        self.settle(id);
    }

    fn remove(&mut self, id: QueueId) {
        if let Some(queue) = self.all.remove(&id) {
            self.index.remove(&queue.name.pattern, id);
            self.by_name.remove(&queue.name);
            self.kept_bytes -= queue.kept.values().map(|it| it.bytes()).sum::<u64>();
        }
        self.settle(id);
    }

    fn settle(&mut self, id: QueueId) {
        let queue = self.all.get(&id).filter(|it| it.behind.is_some());
        super::table::note(&mut self.behind, id, queue.is_some());
        super::table::note(&mut self.ready, id, queue.is_some_and(|it| it.is_ready));
    }

    fn keep(&mut self, id: QueueId, event: &Arc<Event>) {
        if let Some(queue) = self.all.get_mut(&id)
            && queue.kept.insert(event.number, event.clone()).is_none()
        {
            self.kept_bytes += event.bytes();
        }
    }

    fn drop_kept(&mut self, id: QueueId, number: u64) {
        let queue = self.all.get_mut(&id);
        if let Some(event) = queue.and_then(|it| it.kept.remove(&number)) {
            self.kept_bytes -= event.bytes();
        }
    }

    /// Notes that events are gone for those that have not had them.
    pub(super) fn lose(&mut self, event: &Event) -> u64 {
        let mut missed = 0;
        for id in self.index.matches(&event.topic).iter() {
            let Some(queue) = self.all.get_mut(id) else {
                continue;
            };
            if queue.behind.is_some_and(|at| at <= event.number) && queue.since <= event.number {
                let number = event.number;
                let gap = queue.gap.get_or_insert(Gap {
                    from: number,
                    to: number,
                });
                gap.from = gap.from.min(number);
                gap.to = gap.to.max(number);
                queue.tally.missed += 1;
                missed += 1;
            }
        }
        missed
    }
}

/// The group a subscription is a member of.
pub(super) fn name_of(it: &Subscription) -> Option<QueueName> {
    let group = it.terms.said.group.as_deref()?;
    Some(QueueName {
        is_rooted: it.identity.is_rooted,
        pattern: it.pattern.clone(),
        group: group.into(),
    })
}

impl Owner {
    /// Whether a subscription on these terms may be a member, in a sentence if not.
    pub(super) fn check_member(
        &self,
        name: &QueueName,
        filter: Option<&str>,
        known: Option<Slot>,
    ) -> Result<(), String> {
        let Some(id) = self.queues.by_name.get(name) else {
            if self.queues.all.len() >= MAX_QUEUES {
                return Err(format!(
                    "the owner has {MAX_QUEUES} groups, and may have no more"
                ));
            }
            return Ok(());
        };
        let Some(queue) = self.queues.all.get(id) else {
            return Ok(());
        };
        if queue.machine.members() >= MAX_MEMBERS {
            return Err(format!(
                "it has {MAX_MEMBERS} members, and may have no more"
            ));
        }
        let first = queue.members.values().find(|slot| Some(**slot) != known);
        let first = first.and_then(|slot| self.table.get(*slot));
        let other = first.and_then(|it| it.terms.said.filter.as_deref());
        if first.is_some() && other != filter {
            let other = other.unwrap_or("none");
            return Err(format!(
                "the filter of `{}` is {other}: members of a group have the same",
                name.group
            ));
        }
        Ok(())
    }

    /// Makes a subscription a member of its group, which begins with the first one, at
    /// that one's place.
    pub(super) fn join(&mut self, slot: Slot) {
        let Some((name, it)) = self.table.get(slot).and_then(|it| Some((name_of(it)?, it))) else {
            return;
        };
        let (serial, in_flight) = (it.serial, it.terms.in_flight);
        let weight = it.terms.said.weight.unwrap_or(1);
        let strategy = it.terms.said.strategy.clone();
        let (since, flow) = (it.since, it.flow.clone());
        let id = match self.queues.by_name.get(&name) {
            Some(id) => *id,
            None => {
                let id = self.queues.next_id();
                let behind = flow.as_ref().and_then(|flow| match flow.behind {
                    Some(super::table::Behind::At(number)) => Some(number),
                    _ => None,
                });
                let queue = Queue {
                    name,
                    serial,
                    since,
                    behind,
                    is_ready: true,
                    gap: flow.and_then(|flow| flow.gap),
                    machine: Group::new(strategy.clone().unwrap_or_default()),
                    members: BTreeMap::new(),
                    kept: BTreeMap::new(),
                    filtered: 0,
                    tally: Tally::default(),
                };
                self.queues.insert(id, queue);
                id
            }
        };
        // Where it is, is the group's to say.
        if let Some(it) = self.table.get_mut(slot) {
            it.flow = None;
        }
        self.table.settle(slot);
        let Some(queue) = self.queues.all.get_mut(&id) else {
            return;
        };
        if let Some(strategy) = strategy {
            queue.machine.set_strategy(strategy);
        }
        queue.machine.join(serial, weight, in_flight);
        if queue.members.insert(serial, slot).is_none() {
            self.queues.members += 1;
        }
        queue.is_ready = true;
        self.queues.settle(id);
    }

    /// Ends a subscription.
    pub(super) fn end_subscription(&mut self, slot: Slot) -> bool {
        let Some(it) = self.table.remove(slot) else {
            return false;
        };
        self.relay_end(&it);
        let id = name_of(&it).and_then(|name| self.queues.by_name.get(&name).copied());
        if let Some(id) = id
            && let Some(queue) = self.queues.all.get_mut(&id)
        {
            queue.machine.leave(it.serial);
            if queue.members.remove(&it.serial).is_some() {
                self.queues.members -= 1;
            }
            queue.is_ready = true;
            if queue.members.is_empty() {
                self.counts.given_up += queue.kept.len() as u64;
                self.queues.remove(id);
            } else {
                self.queues.settle(id);
            }
        }
        true
    }

    /// Offers an event to the groups it is for, from one on; the one that there was no room
    /// for, if there was one.
    pub(super) fn offer_to_queues(
        &mut self,
        from: QueueId,
        event: &Arc<Event>,
        out: &mut dyn Out,
    ) -> Option<QueueId> {
        let matched = self.queues.index.matches(&event.topic);
        let at = matched.partition_point(|id| *id < from);
        for id in matched.get(at..).unwrap_or_default() {
            let Some(queue) = self.queues.all.get(id) else {
                continue;
            };
            if queue.since > event.number || queue.behind.is_some() {
                continue;
            }
            match self.offer_to(*id, event, out) {
                Offered::Done => {}
                Offered::NoRoom => return Some(*id),
                Offered::Waits => self.put_behind(*id, Some(event.number), false),
            }
        }
        None
    }

    fn put_behind(&mut self, id: QueueId, behind: Option<u64>, is_ready: bool) {
        if let Some(queue) = self.queues.all.get_mut(&id) {
            queue.behind = behind;
            queue.is_ready = is_ready;
        }
        self.queues.settle(id);
    }

    fn offer_to(&mut self, id: QueueId, event: &Arc<Event>, out: &mut dyn Out) -> Offered {
        let now = self.time;
        let mut sends = Sends::new(event, self.epoch, now);
        if event.has_expired(now) {
            return Offered::Done;
        }
        if !sends.has_room(out) {
            return Offered::NoRoom;
        }
        let is_full = self.queues.kept_bytes > self.bounds.queue_bytes;
        let Some(queue) = self.queues.all.get_mut(&id) else {
            return Offered::Done;
        };
        if is_full && !queue.kept.is_empty() {
            return Offered::Waits;
        }
        // All have the same filter: any can tell.
        let first = queue.members.values().next();
        let Some(first) = first.and_then(|slot| self.table.get(*slot)) else {
            return Offered::Done;
        };
        match sends.message(first) {
            Err(why) => {
                queue.skip(why);
                self.count_skip(why);
                return Offered::Done;
            }
            Ok(message) if !sends.fits(out, &message) => return Offered::NoRoom,
            Ok(_) => {}
        }
        let key = match queue.machine.strategy() {
            Strategy::ConsistentHash(None) => event.key.as_deref().map(str::to_owned),
            Strategy::ConsistentHash(Some(name)) => event.attributes.get(name).map(text),
            _ => None,
        };
        match queue
            .machine
            .offer(event.number, key.as_deref(), Millis(now))
        {
            Choice::Nobody => Offered::Done,
            Choice::Wait => Offered::Waits,
            Choice::To(member) => {
                self.send_to(id, member, event, false, out);
                Offered::Done
            }
        }
    }

    /// Sends an event to the member it is under way to.
    fn send_to(
        &mut self,
        id: QueueId,
        member: MemberId,
        event: &Arc<Event>,
        is_again: bool,
        out: &mut dyn Out,
    ) {
        let now = self.time;
        let mut sends = Sends::new(event, self.epoch, now);
        let Some(queue) = self.queues.all.get_mut(&id) else {
            return;
        };
        let slot = queue.members.get(&member);
        let it = slot.and_then(|slot| self.table.get_mut(*slot));
        let made = it.map(|it| (sends.message(it), it));
        let message = match made {
            Some((Ok(message), it)) => {
                it.sent += 1;
                message
            }
            other => {
                // The member cannot be sent it: it has had its turn.
                queue.machine.verdict(event.number, true, Millis(now));
                if let Some((Err(why), _)) = other {
                    queue.skip(why);
                    self.count_skip(why);
                }
                self.queues.drop_kept(id, event.number);
                return;
            }
        };
        self.last_token += 1;
        let how = How {
            mark: Mark {
                gap: queue.gap.take(),
                redelivered: is_again,
                ..Mark::default()
            },
            token: NonZeroU64::new(self.last_token),
            is_rejected: false,
        };
        let serial = queue.serial;
        self.queues.keep(id, event);
        let token = super::fan_out::Sent::Queue {
            queue: id,
            serial,
            number: event.number,
        };
        self.tokens.insert(self.last_token, token);
        self.counts.sent += 1;
        sends.push(message, how);
        sends.flush(out);
    }

    /// A message to a member has ended.
    pub(super) fn ended_at(&mut self, id: QueueId, serial: u64, number: u64, is_applied: bool) {
        let queue = self.queues.all.get_mut(&id);
        let Some(queue) = queue.filter(|it| it.serial == serial) else {
            self.counts.given_up += u64::from(!is_applied);
            return;
        };
        queue.machine.verdict(number, is_applied, Millis(self.time));
        queue.is_ready = true;
        queue.tally.not_applied += u64::from(!is_applied);
        if is_applied {
            self.queues.drop_kept(id, number);
        } else {
            self.retrying.insert(id);
        }
        self.queues.settle(id);
        if self
            .queues
            .all
            .get(&id)
            .is_some_and(|it| it.machine.outstanding() > 0)
        {
            // One that waits for another member may have one now.
            self.retrying.insert(id);
        }
    }

    /// Sends what members did not apply to others; whether there was room for all.
    pub(super) fn retry(&mut self, out: &mut dyn Out) -> bool {
        while let Some(id) = self.retrying.first().copied() {
            while let Some(queue) = self.queues.all.get_mut(&id) {
                let largest = queue.kept.values().max_by_key(|it| it.bytes());
                let has_room = |event: &Arc<Event>| {
                    // Twice: it may be transformed.
                    let sends = Sends::new(event, 0, 0);
                    sends.has_room(out) && out.bytes_left() / 2 > super::sends::KEPT_BYTES
                };
                if largest.is_some_and(|event| !has_room(event)) {
                    return false;
                }
                let Some(retry) = queue.machine.retry(Millis(self.time)) else {
                    break;
                };
                match retry {
                    Retry::GaveUp { message } => {
                        queue.tally.given_up += 1;
                        self.queues.drop_kept(id, message);
                        self.counts.given_up += 1;
                    }
                    Retry::Send { message, member } => {
                        let event = queue.kept.get(&message).cloned();
                        let Some(event) = event else {
                            queue.machine.verdict(message, true, Millis(self.time));
                            continue;
                        };
                        queue.tally.redelivered += 1;
                        self.counts.redelivered += 1;
                        self.send_to(id, member, &event, true, out);
                    }
                }
            }
            self.retrying.remove(&id);
        }
        true
    }

    /// Goes on with the groups that are behind; whether there was room for all.
    pub(super) fn catch_up_queues(&mut self, looks: &mut usize, out: &mut dyn Out) -> bool {
        while let Some(id) = self.queues.ready.first().copied() {
            let Some(queue) = self.queues.all.get(&id) else {
                return true;
            };
            let Some(at) = queue.behind else { return true };
            let is_passed = self.fan.is_at_queues && id < self.fan.slot;
            let until = self.fan.number + u64::from(is_passed);
            let next = self.store.next(&queue.name.pattern, at, until, looks);
            match next {
                Ok(None) => self.put_behind(id, None, false),
                Err(at) => {
                    self.put_behind(id, Some(at), true);
                    return false;
                }
                Ok(Some(event)) => {
                    let event = event.clone();
                    match self.offer_to(id, &event, out) {
                        Offered::Done => self.put_behind(id, Some(event.number + 1), true),
                        Offered::Waits => self.put_behind(id, Some(event.number), false),
                        Offered::NoRoom => return false,
                    }
                }
            }
        }
        true
    }
}

/// An attribute as what a consistent hash goes by.
fn text(value: &Attribute) -> String {
    match value {
        Attribute::Bool(value) => value.to_string(),
        Attribute::Int(value) => value.to_string(),
        Attribute::Float(value) => value.to_string(),
        Attribute::Text(text) => text.clone(),
    }
}
