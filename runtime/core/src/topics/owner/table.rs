//! Who subscribed to what, on which terms, and where each is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::tally::{TALLY_BYTES, Tally};
use super::terms::Terms;
use crate::topics::wire::{BadRequest, Gap, Subscribe};
use crate::topics::{TopicIndex, TopicName, TopicPattern};
use crate::{AgentId, KindName};

/// Most subscriptions of one owner.
pub const MAX_SUBSCRIPTIONS: usize = 4_000_000;
/// What one costs beside its texts, bytes: its record, and its places in tables.
const SUBSCRIPTION_BYTES: u64 = 144;
/// What a pattern costs beside its text, bytes: its record, and in the index.
const PATTERN_BYTES: u64 = 192;

/// A subscription's place in the table.
pub(super) type Slot = u32;

/// Whose a subscription is: names are its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Who {
    /// An agent's, for itself.
    Agent(AgentId),
    /// One that a client or the node made, for the agents that `to` names.
    Operator,
    /// One that a kind declares for its agents.
    Kind(KindName),
}

/// A subscription by whose it is and its name. Those that the root keeps are beside the
/// owner's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) is_rooted: bool,
    pub(super) who: Who,
    /// `None` if it is the pattern.
    pub(super) name: Option<Arc<str>>,
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) identity: Identity,
    pub(super) pattern: TopicPattern,
    pub(super) terms: Arc<Terms>,
    /// Unlike that of any other, before or after.
    pub(super) serial: u64,
    /// The number of the first event it may get.
    pub(super) since: u64,
    /// Messages sent.
    pub(super) sent: u64,
    /// Events of which the filter was false. A group counts its own.
    pub(super) filtered: u64,
    /// What few need, or not for long.
    pub(super) flow: Option<Box<Flow>>,
}

/// How far a subscription is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// Messages sent of those that count as under way.
    pub(super) sent: u64,
    /// Of those, messages that are known to have ended.
    pub(super) ended: u64,
    /// Where it is, if it is not with the events that are published.
    pub(super) behind: Option<Behind>,
    /// What it has missed since the last message.
    pub(super) gap: Option<Gap>,
    /// The last event that was published before it began.
    pub(super) joined: u64,
    /// Whether its next message is the first of an owner's new life.
    pub(super) is_new_life: bool,
    /// What became of its events else. To be had by [`Table::tally`].
    pub(super) tally: Option<Box<Tally>>,
}

/// Where a subscription is that is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// It has what topics retained, up to this one.
    Retained(Option<TopicName>),
    /// This is the number of the next event to look at.
    At(u64),
}

impl Flow {
    pub(super) fn has_room(&self, in_flight: u32) -> bool {
        self.sent.saturating_sub(self.ended) < u64::from(in_flight)
    }

    pub(super) fn miss(&mut self, number: u64) {
        let gap = self.gap.get_or_insert(Gap {
            from: number,
            to: number,
        });
        gap.from = gap.from.min(number);
        gap.to = gap.to.max(number);
    }
}

impl Subscription {
    pub(super) fn name(&self) -> &str {
        let pattern = || self.pattern.as_str();
        self.identity.name.as_deref().unwrap_or_else(pattern)
    }

    pub(super) fn behind(&self) -> Option<&Behind> {
        self.flow.as_ref()?.behind.as_ref()
    }

    /// Whether it is behind and may be sent something.
    pub(super) fn is_ready(&self) -> bool {
        let flow = self.flow.as_ref();
        flow.is_some_and(|it| it.behind.is_some() && it.has_room(self.terms.in_flight))
    }

    pub(super) fn flow_mut(&mut self) -> &mut Flow {
        self.flow.get_or_insert_default()
    }

    fn bytes(&self) -> u64 {
        let who = match &self.identity.who {
            Who::Agent(id) => id.as_str().len() + 16,
            Who::Kind(kind) => kind.as_str().len() + 16,
            Who::Operator => 0,
        };
        let name = self
            .identity
            .name
            .as_ref()
            .map_or(0, |name| name.len() + 16);
        let flow = self.flow.as_ref();
        let has_tally = flow.is_some_and(|flow| flow.tally.is_some());
        let tally = if has_tally { TALLY_BYTES } else { 0 };
        SUBSCRIPTION_BYTES + (who + name) as u64 + tally
    }
}

/// Terms, and how many subscriptions have them.
type Shared = (Arc<Terms>, usize);

/// Who subscribed to what.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Subscription>>,
    /// The lowest is used first: where subscriptions are follows from which there are.
    free: BTreeSet<Slot>,
    by_identity: HashTable<Slot>,
    hasher: DefaultHashBuilder,
    pub(super) index: TopicIndex<Slot>,
    /// By what was said.
    terms: BTreeMap<Vec<u8>, Shared>,
    patterns: HashMap<TopicPattern, usize>,
    /// Those that are behind, and of them those that may be sent something.
    behind: BTreeSet<Slot>,
    ready: BTreeSet<Slot>,
    pub(super) serial: u64,
    bytes: u64,
    count: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn behind(&self) -> usize {
        self.behind.len()
    }

    /// The first from `from` on that is behind and may be sent something.
    pub(super) fn ready_from(&self, from: Slot) -> Option<Slot> {
        self.ready.range(from..).next().copied()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Subscription> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// To be followed by [`Table::settle`] if it may be behind then, or was.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Subscription> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// What became of a subscription's events else, to be counted on.
    pub(super) fn tally(&mut self, slot: Slot) -> Option<&mut Tally> {
        let it = self.slots.get_mut(slot as usize)?.as_mut()?;
        let tally = &mut it.flow_mut().tally;
        if tally.is_none() {
            self.bytes += TALLY_BYTES;
        }
        Some(tally.get_or_insert_default())
    }

    /// The slot above all that are used.
    pub(super) fn end(&self) -> Slot {
        Slot::try_from(self.slots.len()).unwrap_or(Slot::MAX)
    }

    /// Notes whether a subscription is behind.
    pub(super) fn settle(&mut self, slot: Slot) {
        let it = self.get(slot);
        let is_behind = it.is_some_and(|it| it.behind().is_some());
        let is_ready = it.is_some_and(Subscription::is_ready);
        note(&mut self.behind, slot, is_behind);
        note(&mut self.ready, slot, is_ready);
    }

    /// All, by their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Subscription)> {
        let numbered = (0..).zip(&self.slots);
        numbered.filter_map(|(slot, it)| Some((slot, it.as_ref()?)))
    }

    /// Those at a slot and above, by their slots.
    pub(super) fn from(&self, slot: Slot) -> impl Iterator<Item = (Slot, &Subscription)> {
        let rest = self.slots.get(slot as usize..).unwrap_or_default();
        let numbered = (slot..).zip(rest);
        numbered.filter_map(|(slot, it)| Some((slot, it.as_ref()?)))
    }

    pub(super) fn find(&self, identity: &Identity, pattern: &str) -> Option<Slot> {
        let name = identity.name.as_deref().unwrap_or(pattern);
        let is_it = |slot: &Slot| {
            self.get(*slot).is_some_and(|it| {
                it.identity.is_rooted == identity.is_rooted
                    && it.identity.who == identity.who
                    && it.name() == name
            })
        };
        let hash = self.hash(identity, name);
        self.by_identity.find(hash, is_it).copied()
    }

    fn hash(&self, identity: &Identity, name: &str) -> u64 {
        let Identity { is_rooted, who, .. } = identity;
        self.hasher.hash_one((is_rooted, who, name))
    }

    /// The terms, shared with those that have the same.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub(super) fn terms(&mut self, said: Subscribe) -> Result<Arc<Terms>, BadRequest> {
        let terms = Terms::new(said)?;
        let known = self.terms.get(&terms.key);
        Ok(known.map_or_else(|| Arc::new(terms), |(known, _)| known.clone()))
    }

    /// The lowest slot that is free.
    pub(super) fn next_slot(&self) -> Slot {
        let end = || Slot::try_from(self.slots.len()).unwrap_or(Slot::MAX);
        self.free.first().copied().unwrap_or_else(end)
    }

    /// Adds one that is not there, at a slot that is free or the next.
    pub(super) fn insert(&mut self, slot: Slot, mut it: Subscription) {
        while self.slots.len() <= slot as usize {
            let new = Slot::try_from(self.slots.len()).unwrap_or(Slot::MAX);
            self.slots.push(None);
            self.free.insert(new);
        }
        self.free.remove(&slot);
        it.pattern = self.hold_pattern(&it.pattern);
        self.hold_terms(&mut it.terms);
        // Of a group the group is offered events.
        if it.terms.said.group.is_none() {
            self.index.insert(&it.pattern, slot);
        }
        self.bytes += it.bytes();
        self.count += 1;
        let hash = self.hash(&it.identity, it.name());
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(it);
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_identity.insert_unique(hash, slot, |slot| {
            let it = slots.get(*slot as usize).and_then(Option::as_ref);
            it.map_or(0, |it| {
                let Identity { is_rooted, who, .. } = &it.identity;
                hasher.hash_one((is_rooted, who, it.name()))
            })
        });
        self.settle(slot);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Subscription> {
        let it = self.slots.get_mut(slot as usize)?.take()?;
        let hash = self.hash(&it.identity, it.name());
        if let Ok(found) = self.by_identity.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        self.free.insert(slot);
        self.index.remove(&it.pattern, slot);
        self.bytes -= it.bytes();
        self.count -= 1;
        self.drop_pattern(&it.pattern);
        self.drop_terms(&it.terms);
        self.settle(slot);
        // Empty slots at the end are none.
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
            let last = Slot::try_from(self.slots.len()).unwrap_or(Slot::MAX);
            self.free.remove(&last);
        }
        Some(it)
    }

    /// Changes the terms of one.
    pub(super) fn set_terms(&mut self, slot: Slot, mut terms: Arc<Terms>) {
        self.hold_terms(&mut terms);
        let Some(it) = self.get_mut(slot) else { return };
        let old = std::mem::replace(&mut it.terms, terms);
        self.drop_terms(&old);
        self.settle(slot);
    }

    fn hold_pattern(&mut self, pattern: &TopicPattern) -> TopicPattern {
        if let Some((known, _)) = self.patterns.get_key_value(pattern) {
            let known = known.clone();
            *self.patterns.entry(known.clone()).or_default() += 1;
            return known;
        }
        self.bytes += pattern_bytes(pattern);
        self.patterns.insert(pattern.clone(), 1);
        pattern.clone()
    }

    fn drop_pattern(&mut self, pattern: &TopicPattern) {
        if let Some(uses) = self.patterns.get_mut(pattern) {
            *uses -= 1;
            if *uses == 0 {
                self.patterns.remove(pattern);
                self.bytes -= pattern_bytes(pattern);
            }
        }
    }

    fn hold_terms(&mut self, terms: &mut Arc<Terms>) {
        if let Some((known, uses)) = self.terms.get_mut(&terms.key) {
            *uses += 1;
            *terms = known.clone();
            return;
        }
        self.bytes += 256 + 2 * terms.key.len() as u64;
        self.terms.insert(terms.key.clone(), (terms.clone(), 1));
    }

    fn drop_terms(&mut self, terms: &Terms) {
        if let Some((_, uses)) = self.terms.get_mut(&terms.key) {
            *uses -= 1;
            if *uses == 0 {
                self.bytes -= 256 + 2 * terms.key.len() as u64;
                self.terms.remove(&terms.key);
            }
        }
    }

    /// All terms, by what was said.
    pub(super) fn all_terms(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.terms.keys().map(Vec::as_slice)
    }
}

/// What a pattern costs, however many have it.
fn pattern_bytes(pattern: &TopicPattern) -> u64 {
    PATTERN_BYTES + 2 * pattern.as_str().len() as u64
}

pub(super) fn note(set: &mut BTreeSet<Slot>, slot: Slot, is_in: bool) {
    if is_in {
        set.insert(slot);
    } else {
        set.remove(&slot);
    }
}
