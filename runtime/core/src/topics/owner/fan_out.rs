//! Events on their way to subscriptions.
//!
//! An event is offered to its subscriptions in order of their slots, as far as a turn's
//! room goes; the next turn goes on where that ended. So there is one place, [`Fan`], at
//! which all subscriptions are that are not behind. One is behind while it has something
//! else to get first: out of a log, out of what was retained, or because too much of its
//! own is under way. It has a place of its own then, and when that comes to the common one
//! it goes on with the others. Nothing is lost or twice in between: below its place it has
//! all, at and above it none.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::event::Event;
use super::queues::QueueId;
use super::sends::{How, Sends};
use super::table::{Behind, Slot};
use super::tally::Skip;
use super::{Out, Owner};
use crate::topics::wire::{Mark, Overflow};

/// Events that a turn looks at for subscriptions that are behind, at most.
pub const LOOKS_A_TURN: usize = 10_000;

/// How far events are that subscriptions get as they are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fan {
    /// The event that is offered next.
    pub(super) number: u64,
    /// The subscription it is offered to next; or the queue group, once all that are in
    /// none have had it.
    pub(super) slot: Slot,
    pub(super) is_at_queues: bool,
}

impl Fan {
    /// At the first subscription to an event.
    pub(super) fn at(number: u64) -> Self {
        Self {
            number,
            slot: 0,
            is_at_queues: false,
        }
    }
}

/// What a token is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// A subscription's message.
    One {
        /// The subscription.
        slot: Slot,
        /// Its serial number: another one may have the slot by now.
        serial: u64,
        /// How many of its messages have ended when this one has.
        through: u64,
    },
    /// A queue group's message.
    Queue {
        /// The group.
        queue: QueueId,
        /// Its serial number.
        serial: u64,
        /// The event.
        number: u64,
    },
}

/// How far a subscription came that was behind.
enum Caught {
    /// It is not behind any more, or may be sent nothing more now.
    Up,
    /// The turn has no more room.
    NoRoom,
}

impl Owner {
    /// Sends what there is room for, first what was published, then to those that are
    /// behind. What is left is done in a turn that is asked for here.
    pub(super) fn pump(&mut self, now: u64, out: &mut dyn Out) {
        let is_done = self.tell_spaces(out)
            && self.retry(out)
            && self.fan_out(now, out)
            && self.catch_up(now, out);
        if !is_done && !self.is_pump_set {
            out.set_timer(super::PUMP, 0);
            self.is_pump_set = true;
        }
    }

    /// Whether all was offered to all.
    fn fan_out(&mut self, now: u64, out: &mut dyn Out) -> bool {
        while self.fan.number <= self.number {
            let Some(event) = self.store.get(self.fan.number).cloned() else {
                self.fan = Fan::at(self.fan.number + 1);
                continue;
            };
            if !self.fan.is_at_queues {
                if let Some(slot) = self.offer_to_all(&event, now, out) {
                    self.fan.slot = slot;
                    return false;
                }
                (self.fan.is_at_queues, self.fan.slot) = (true, 0);
            }
            if let Some(queue) = self.offer_to_queues(self.fan.slot, &event, out) {
                self.fan.slot = queue;
                return false;
            }
            self.fan = Fan::at(event.number + 1);
            self.trim(&event, now);
        }
        true
    }

    /// Offers an event to the subscriptions it is for that are in no group; the one that
    /// there was no room for, if there was one.
    fn offer_to_all(&mut self, event: &Arc<Event>, now: u64, out: &mut dyn Out) -> Option<Slot> {
        let matched = self.table.index.matches(&event.topic);
        let from = matched.partition_point(|slot| *slot < self.fan.slot);
        let mut sends = Sends::new(event, self.epoch, now);
        let mut stopped = None;
        for slot in matched.get(from..).unwrap_or_default() {
            if !sends.has_room(out) || !self.offer(*slot, event, &mut sends, out) {
                stopped = Some(*slot);
                break;
            }
        }
        sends.flush(out);
        stopped
    }

    /// Offers an event to a subscription that has all before it, or is behind; whether
    /// there was room.
    fn offer(
        &mut self,
        slot: Slot,
        event: &Arc<Event>,
        sends: &mut Sends<'_>,
        out: &dyn Out,
    ) -> bool {
        let Some(it) = self.table.get_mut(slot) else {
            return true;
        };
        if it.since > event.number || it.behind().is_some() || event.has_expired(sends.now()) {
            return true;
        }
        let message = match sends.message(it) {
            Ok(message) => message,
            Err(why) => {
                self.skip(slot, why);
                return true;
            }
        };
        if !sends.fits(out, &message) {
            return false;
        }
        let terms = it.terms.clone();
        let counts = terms.is_reliable()
            && (terms.overflow != Overflow::Block || event.log_offset().is_some());
        if !counts {
            it.sent += 1;
            let how = How {
                mark: self.mark(slot, event),
                ..How::default()
            };
            self.counts.sent += 1;
            sends.push(message, how);
            return true;
        }
        if it.flow_mut().has_room(terms.in_flight) {
            let how = self.counted(slot, event);
            sends.push(message, how);
            return true;
        }
        match terms.overflow {
            Overflow::Block | Overflow::DropOldest => {
                it.flow_mut().behind = Some(Behind::At(event.number));
                self.table.settle(slot);
            }
            Overflow::DropNewest => {
                it.flow_mut().miss(event.number);
                self.dropped(slot);
            }
            Overflow::Reject => {
                let how = How {
                    is_rejected: true,
                    mark: self.mark(slot, event),
                    token: None,
                };
                self.dropped(slot);
                sends.push(message, how);
            }
        }
        true
    }

    /// Counts an event of which a subscription gets nothing.
    fn skip(&mut self, slot: Slot, why: Skip) {
        self.count_skip(why);
        if why == Skip::Differs {
            if let Some(it) = self.table.get_mut(slot) {
                it.filtered += 1;
            }
        } else if let Some(tally) = self.table.tally(slot) {
            tally.skip(why);
        }
    }

    /// Counts it among all.
    pub(super) fn count_skip(&mut self, why: Skip) {
        *match why {
            Skip::Differs => return,
            Skip::FilterFails | Skip::CutOff => &mut self.counts.filter_failed,
            Skip::NoReceiver => &mut self.counts.no_receiver,
            Skip::TransformFails => &mut self.counts.transform_failed,
        } += 1;
    }

    fn dropped(&mut self, slot: Slot) {
        self.counts.dropped += 1;
        if let Some(tally) = self.table.tally(slot) {
            tally.dropped += 1;
        }
    }

    /// The mark of a subscription's next message, which tells what it has missed.
    fn mark(&mut self, slot: Slot, event: &Event) -> Mark {
        let Some(flow) = self.table.get_mut(slot).and_then(|it| it.flow.as_mut()) else {
            return Mark::default();
        };
        let is_before = event.number <= flow.joined;
        let is_retained = is_before && matches!(flow.behind, Some(Behind::Retained(_)));
        Mark {
            epoch: std::mem::take(&mut flow.is_new_life),
            gap: flow.gap.take(),
            retained: is_retained,
            replayed: is_before && !is_retained,
            redelivered: false,
        }
    }

    /// Counts a message as under way. Every so often, and when there may be no more, its
    /// end is asked for: in a stream it is the end of all before it.
    fn counted(&mut self, slot: Slot, event: &Event) -> How {
        let mark = self.mark(slot, event);
        self.counts.sent += 1;
        let Some(it) = self.table.get_mut(slot) else {
            return How::default();
        };
        let (in_flight, is_stream) = (it.terms.in_flight, it.terms.is_one_stream());
        let serial = it.serial;
        it.sent += 1;
        let flow = it.flow_mut();
        flow.sent += 1;
        let is_asked = !is_stream
            || !flow.has_room(in_flight)
            || flow.sent.is_multiple_of(u64::from(in_flight / 2).max(1));
        let through = flow.sent;
        let token = is_asked.then(|| {
            self.last_token += 1;
            let sent = Sent::One {
                slot,
                serial,
                through,
            };
            self.tokens.insert(self.last_token, sent);
            self.last_token
        });
        How {
            mark,
            token: token.and_then(NonZeroU64::new),
            is_rejected: false,
        }
    }

    /// A message has ended.
    pub(super) fn ended(&mut self, token: u64, is_applied: bool) {
        let Some(sent) = self.tokens.remove(&token) else {
            return;
        };
        if !is_applied {
            self.counts.not_applied += 1;
        }
        match sent {
            Sent::One {
                slot,
                serial,
                through,
            } => self.ended_of(slot, serial, through, is_applied),
            Sent::Queue {
                queue,
                serial,
                number,
            } => self.ended_at(queue, serial, number, is_applied),
        }
    }

    fn ended_of(&mut self, slot: Slot, serial: u64, through: u64, is_applied: bool) {
        let it = self.table.get_mut(slot);
        let Some(it) = it.filter(|it| it.serial == serial) else {
            return;
        };
        let is_stream = it.terms.is_one_stream();
        let flow = it.flow_mut();
        flow.ended = if is_stream {
            flow.ended.max(through)
        } else {
            flow.ended + 1
        };
        self.table.settle(slot);
        if !is_applied && let Some(tally) = self.table.tally(slot) {
            tally.not_applied += 1;
        }
    }

    /// Whether there is none any more that is behind and may be sent something.
    fn catch_up(&mut self, now: u64, out: &mut dyn Out) -> bool {
        let mut looks = LOOKS_A_TURN;
        if !self.catch_up_queues(&mut looks, out) {
            return false;
        }
        loop {
            let next = self.table.ready_from(self.behind_at);
            let Some(slot) = next.or_else(|| self.table.ready_from(0)) else {
                return true;
            };
            match self.catch_up_one(slot, now, &mut looks, out) {
                Caught::Up => self.behind_at = slot.wrapping_add(1),
                Caught::NoRoom => {
                    // Another one is first the next time.
                    self.behind_at = slot.wrapping_add(1);
                    return false;
                }
            }
        }
    }

    fn catch_up_one(
        &mut self,
        slot: Slot,
        now: u64,
        looks: &mut usize,
        out: &mut dyn Out,
    ) -> Caught {
        loop {
            let Some(it) = self.table.get(slot).filter(|it| it.is_ready()) else {
                return Caught::Up;
            };
            let found = match it.behind() {
                None => return Caught::Up,
                Some(Behind::Retained(after)) => {
                    let next = self
                        .store
                        .retained_after(&it.pattern, after.as_ref(), looks);
                    match next {
                        Ok(Some(event)) => {
                            Ok((event.clone(), Behind::Retained(Some(event.topic.clone()))))
                        }
                        Ok(None) => Err((Some(Behind::At(it.since)), true)),
                        Err(at) => Err((Some(Behind::Retained(at)), false)),
                    }
                }
                Some(Behind::At(number)) => {
                    // The event that is offered just now it was passed over with, if its
                    // slot is below.
                    let is_passed = self.fan.is_at_queues || slot < self.fan.slot;
                    let until = self.fan.number + u64::from(is_passed);
                    let next = self.store.next(&it.pattern, *number, until, looks);
                    match next {
                        Ok(Some(event)) => Ok((event.clone(), Behind::At(event.number + 1))),
                        Ok(None) => Err((None, true)),
                        Err(at) => Err((Some(Behind::At(at)), false)),
                    }
                }
            };
            let (event, next) = match found {
                Ok(found) => found,
                Err((next, may_go_on)) => {
                    self.set_behind(slot, next);
                    if may_go_on {
                        continue;
                    }
                    return Caught::NoRoom;
                }
            };
            if !self.send_behind(slot, &event, now, out) {
                return Caught::NoRoom;
            }
            self.set_behind(slot, Some(next));
        }
    }

    fn set_behind(&mut self, slot: Slot, behind: Option<Behind>) {
        if let Some(it) = self.table.get_mut(slot) {
            it.flow_mut().behind = behind;
        }
        self.table.settle(slot);
    }

    /// Sends one event to one that is behind; whether there was room.
    fn send_behind(&mut self, slot: Slot, event: &Event, now: u64, out: &mut dyn Out) -> bool {
        let Some(it) = self.table.get(slot) else {
            return true;
        };
        let is_retained = matches!(it.behind(), Some(Behind::Retained(_)));
        // What is retained by now may be one that comes with the others.
        let is_later = is_retained && event.number >= it.since;
        if is_later || event.has_expired(now) {
            return true;
        }
        let mut sends = Sends::new(event, self.epoch, now);
        if !sends.has_room(out) {
            return false;
        }
        let message = match sends.message(it) {
            Ok(message) => message,
            Err(why) => {
                self.skip(slot, why);
                return true;
            }
        };
        if !sends.fits(out, &message) {
            return false;
        }
        let terms = it.terms.clone();
        let how = if terms.is_reliable() {
            self.counted(slot, event)
        } else {
            self.counts.sent += 1;
            if let Some(it) = self.table.get_mut(slot) {
                it.sent += 1;
            }
            How {
                mark: self.mark(slot, event),
                ..How::default()
            }
        };
        sends.push(message, how);
        sends.flush(out);
        true
    }

    /// Lets go of what is kept beyond the bounds, after an event was offered to all; those
    /// that are behind miss it.
    fn trim(&mut self, event: &Event, now: u64) {
        let most = self.bounds.log_bytes;
        let gone = self.store.trim(&event.topic, now, self.fan.number, most);
        self.lose(gone);
    }

    /// Notes that events are gone for those that have not had them.
    pub(super) fn lose(&mut self, gone: Vec<Arc<Event>>) {
        if self.table.behind() + self.queues.behind() == 0 {
            return;
        }
        for event in gone {
            self.counts.missed += self.queues.lose(&event);
            let matched = self.table.index.matches(&event.topic);
            for slot in matched.iter() {
                let Some(it) = self.table.get_mut(*slot) else {
                    continue;
                };
                let at = match it.behind() {
                    Some(Behind::At(number)) => *number,
                    Some(Behind::Retained(_)) => it.since,
                    None => continue,
                };
                if at <= event.number && it.since <= event.number {
                    it.flow_mut().miss(event.number);
                    self.counts.missed += 1;
                    if let Some(tally) = self.table.tally(*slot) {
                        tally.missed += 1;
                    }
                }
            }
        }
    }
}
