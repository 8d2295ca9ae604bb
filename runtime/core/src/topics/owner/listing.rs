//! Listing subscriptions.

use super::fan_out::LOOKS_A_TURN;
use super::queues::{Queue, name_of};
use super::requests::{Refused, Request};
use super::sends::KEPT_BYTES;
use super::table::{Behind, Slot, Subscription, Who};
use super::{Out, Owner};
use crate::program::Outcome;
use crate::topics::TopicPattern;
use crate::topics::wire::{ListSubscriptions, ListedSubscription, Subscriptions};

/// Places of the table that are looked at for one answer: some may be empty.
const PLACES: usize = 65_536;
/// Bytes of one answer; one subscription is always taken.
const ANSWER_BYTES: usize = 256 << 10;
/// What a subscription takes of it beside its texts, bytes at most.
const ENTRY_BYTES: usize = 1_024;

impl Owner {
    pub(super) fn subscriptions(
        &self,
        request: Request<'_>,
        out: &dyn Out,
    ) -> Result<Outcome, Refused> {
        let said = ListSubscriptions::decode(request.payload)?;
        let room = out.bytes_left().saturating_sub(KEPT_BYTES) / 8;
        let room = room.min(ANSWER_BYTES);
        let from = Slot::try_from(said.after.unwrap_or_default()).unwrap_or(Slot::MAX);
        let (mut listed, mut bytes, mut looks) = (Vec::new(), 0, LOOKS_A_TURN);
        let mut next = None;
        for (looked, slot) in (0..).zip(from..self.table.end()) {
            if looked == PLACES || listed.len() == said.max as usize {
                next = Some(slot.into());
                break;
            }
            let Some(it) = self.table.get(slot) else {
                continue;
            };
            let one = self.listed(it, &mut looks);
            bytes += entry_bytes(&one);
            if !listed.is_empty() && bytes > room {
                next = Some(slot.into());
                break;
            }
            listed.push(one);
        }
        Ok(request.answer(&Subscriptions {
            space: self.space.clone(),
            epoch: self.epoch,
            number: self.number,
            subscriptions: listed,
            next,
        }))
    }

    fn listed(&self, it: &Subscription, looks: &mut usize) -> ListedSubscription {
        let (terms, said) = (&it.terms, &it.terms.said);
        let (subscriber, kind) = match &it.identity.who {
            Who::Agent(id) => (Some(id.to_string()), None),
            Who::Kind(kind) => (None, Some(kind.to_string())),
            Who::Operator => (None, None),
        };
        let flow = it.flow.as_deref();
        let queue = self.queue_of(it);
        let (at, in_flight, filtered, tally) = match queue {
            Some(queue) => {
                let in_flight = queue.machine.outstanding_of(it.serial).into();
                (queue.behind, in_flight, queue.filtered, queue.tally)
            }
            None => {
                let at = it.behind().map(|behind| match behind {
                    // All of these come before the first that was published since.
                    Behind::Retained(_) => it.since,
                    Behind::At(number) => *number,
                });
                let in_flight = flow.map_or(0, |flow| flow.sent.saturating_sub(flow.ended));
                let tally = flow.and_then(|flow| flow.tally.as_deref());
                let tally = tally.copied().unwrap_or_default();
                (at, in_flight, it.filtered, tally)
            }
        };
        let (behind, is_exact) = at.map_or((0, true), |at| self.waiting(&it.pattern, at, looks));
        let is_counted = terms.is_reliable();
        ListedSubscription {
            name: it.name().to_owned(),
            pattern: it.pattern.as_str().to_owned(),
            subscriber,
            kind,
            to: said.to.clone(),
            method: terms.method.to_string(),
            form: terms.form,
            filter: said.filter.clone(),
            group: said.group.clone(),
            strategy: queue.map(|queue| queue.machine.strategy().clone()),
            weight: queue.map(|_| said.weight.unwrap_or(1)),
            delivery: terms.delivery,
            overflow: is_counted.then_some(terms.overflow),
            in_flight: is_counted.then_some(in_flight),
            max_in_flight: is_counted.then_some(terms.in_flight),
            behind,
            at_most: !is_exact,
            counts: tally.counts(it.sent, filtered),
        }
    }

    fn queue_of(&self, it: &Subscription) -> Option<&Queue> {
        let id = self.queues.by_name.get(&name_of(it)?)?;
        self.queues.all.get(id)
    }

    /// Events of a pattern's topics from one on, and whether that is not more than there
    /// are.
    fn waiting(&self, pattern: &TopicPattern, at: u64, looks: &mut usize) -> (u64, bool) {
        match self.store.count(pattern, at, looks) {
            Ok(count) => (count, true),
            Err((count, at)) => (count + (self.number + 1).saturating_sub(at), false),
        }
    }
}

fn entry_bytes(it: &ListedSubscription) -> usize {
    let texts = [&it.subscriber, &it.kind, &it.to, &it.filter, &it.group];
    let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
    ENTRY_BYTES + texts + it.name.len() + it.pattern.len() + it.method.len()
}
