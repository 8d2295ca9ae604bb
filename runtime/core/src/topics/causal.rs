//! Causal order: nobody sees an event before one that it may be an answer to.
//!
//! The owner of a space orders all of its events, and its order is everybody's. What it
//! cannot see by itself is this: an agent publishes, tells another one by a message, and
//! what that one publishes thereupon overtakes the first event on its way.
//!
//! ```text
//!   a ──── publishes a1 ─────────────────── slow ───────────────▶ owner
//!   └─ tells b ──▶ b ── publishes b1, after {a: 1} ──▶ owner      b1 waits here for a1
//! ```
//!
//! So events say which others they come [`After`]: for each publisher, the number of its
//! latest event in the space that the publisher of this one can have known of. The owner
//! keeps an event in [`HoldBack`] until those are out, or are known never to come. It is
//! kept within bounds of events, bytes and time; at a bound the oldest one goes out with a
//! mark, `causal-gap`, and is counted. An event without a mark never comes before one that
//! it says it is after.
//!
//! **Where it comes from.** An agent's `After` is what it has published and the owner has
//! not confirmed, and what came with the messages it handled. It goes along with every
//! message and event that it sends. An entry goes when the owner confirms the event, which
//! it does when the event is out and not while it is held back, or when the publication's
//! give-up time is over, after which it is out or will never be. So whoever neither
//! publishes nor hears from somebody who published a moment ago has nothing, keeps nothing
//! and sends nothing. More than [`MAX_AFTER`] entries are not kept: what is left is marked
//! as incomplete, and so is the event.
//!
//! **Invariant**: a publisher's events arrive in their order, as messages of one stream
//! do. One that never comes is known by the next one, or by [`HoldBack::skip`].

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Millis;

/// Most publishers that an event names as those it comes after.
pub const MAX_AFTER: usize = 16;

/// The events that another one comes after: of each publisher the latest, by its number
/// among that publisher's events of the space, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After<P: Ord> {
    events: BTreeMap<P, u64>,
    /// There were more than [`MAX_AFTER`].
    incomplete: bool,
}

/// Within what an owner holds events back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldBackBounds {
    /// Most events. Default: 1,024.
    pub events: usize,
    /// Most bytes of them, as their sizes say. Default: 4 MiB.
    pub bytes: usize,
    /// How long one waits at most, milliseconds. Default: 2,000.
    pub wait: u64,
    /// Publishers of which is known how far they are; of one that was forgotten because
    /// it was not heard of for the longest time, nothing is known to be out. Default:
    /// 65,536.
    pub publishers: usize,
}

/// An event on its way through the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication<P: Ord, E> {
    /// Who published it. A publisher that began anew is another one.
    pub publisher: P,
    /// Its number among those of its publisher, from 1.
    pub number: u64,
    /// What it comes after.
    pub after: After<P>,
    /// Its bytes.
    pub size: usize,
    /// The event.
    pub event: E,
}

/// An event that is to go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released<P: Ord, E> {
    /// It.
    pub publication: Publication<P, E>,
    /// Whether it may come before something that it is after: it is to be marked so.
    pub gap: bool,
}

/// Events that wait for others.
#[derive(Clone, Debug)]
pub struct HoldBack<P: Ord, E> {
    bounds: HoldBackBounds,
    /// How far each publisher is out, and when it was heard of, by the count of `uses`.
    out: BTreeMap<P, (u64, u64)>,
    by_use: BTreeMap<u64, P>,
    uses: u64,
    /// In the order of their arrival.
    held: BTreeMap<u64, Held<P, E>>,
    arrivals: u64,
    bytes: usize,
    /// Those that wait for nothing any more.
    ready: BTreeSet<u64>,
    /// What is held waits for one event at a time: by publisher, its number and who waits.
    waits: BTreeMap<P, BTreeSet<(u64, u64)>>,
    /// The same by who waits.
    waits_for: BTreeMap<u64, (P, u64)>,
    /// What is held of each publisher: number and arrival.
    of: BTreeMap<P, BTreeSet<(u64, u64)>>,
    gaps: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held<P: Ord, E> {
    publisher: P,
    number: u64,
    after: After<P>,
    size: usize,
    /// None of one that will never come.
    event: Option<E>,
    /// When it arrived, milliseconds since 1970-01-01 UTC.
    since: u64,
}

/// Saved bytes that are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved events that wait for others are damaged: {0}")]
pub struct BadHoldBack(String);

impl<P: Ord> Default for After<P> {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            incomplete: false,
        }
    }
}

impl Default for HoldBackBounds {
    fn default() -> Self {
        Self {
            events: 1_024,
            bytes: 4 << 20,
            wait: 2_000,
            publishers: 65_536,
        }
    }
}

impl<P: Ord + Clone> After<P> {
    /// After nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it is after nothing, and nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.incomplete
    }

    /// Whether something was left out.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// The events, in order of their publishers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&P, u64)> {
        self.events
            .iter()
            .map(|(publisher, number)| (publisher, *number))
    }

    /// After that event as well.
    pub fn add(&mut self, publisher: &P, number: u64) {
        if let Some(known) = self.events.get_mut(publisher) {
            *known = number.max(*known);
        } else if self.events.len() < MAX_AFTER {
            self.events.insert(publisher.clone(), number);
        } else {
            self.incomplete = true;
        }
    }

    /// After all that another is after.
    pub fn merge(&mut self, other: &Self) {
        self.incomplete |= other.incomplete;
        for (publisher, number) in other.iter() {
            self.add(publisher, number);
        }
    }

    /// That event is out: nothing needs to wait for it or an earlier one.
    pub fn is_out(&mut self, publisher: &P, number: u64) {
        if self.events.get(publisher).is_some_and(|it| *it <= number) {
            self.events.remove(publisher);
        }
    }

    /// All that it is after is out or will never be, and so is what was left out.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<P: Ord + Clone, E> HoldBack<P, E> {
    /// Nothing is held.
    pub fn new(bounds: HoldBackBounds) -> Self {
        Self {
            bounds,
            out: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            held: BTreeMap::new(),
            arrivals: 0,
            bytes: 0,
            ready: BTreeSet::new(),
            waits: BTreeMap::new(),
            waits_for: BTreeMap::new(),
            of: BTreeMap::new(),
            gaps: 0,
        }
    }

    /// Events that are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Events that went out with a mark.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// When the oldest one goes out whatever is missing.
    pub fn due(&self) -> Option<Millis> {
        let (_, oldest) = self.held.first_key_value()?;
        Some(Millis(oldest.since.saturating_add(self.bounds.wait)))
    }

    /// An event arrives. Take what goes out thereupon with [`HoldBack::next`].
    pub fn arrive(&mut self, publication: Publication<P, E>, now: Millis) {
        let Publication {
            publisher,
            number,
            after,
            size,
            event,
        } = publication;
        self.hold(Held {
            publisher,
            number,
            after,
            size,
            event: Some(event),
            since: now.0,
        });
    }

    /// An event of a publisher will never come: it expired, say. It counts as out when
    /// those before it are.
    pub fn skip(&mut self, publisher: &P, number: u64, now: Millis) {
        self.hold(Held {
            publisher: publisher.clone(),
            number,
            after: After::new(),
            size: 0,
            event: None,
            since: now.0,
        });
    }

    /// The next event that goes out, in the order in which they were published as far as
    /// they say, and else of their arrival. Ask until there is none.
    pub fn next(&mut self, now: Millis) -> Option<Released<P, E>> {
        loop {
            let (arrival, is_ready) = match self.ready.first() {
                Some(arrival) => (*arrival, true),
                None if self.is_over(now) => (*self.held.first_key_value()?.0, false),
                None => return None,
            };
            let held = self.release(arrival)?;
            // One that will never come only makes room.
            let Some(event) = held.event else { continue };
            let gap = !is_ready || held.after.incomplete;
            self.gaps += u64::from(gap);
            let publication = Publication {
                publisher: held.publisher,
                number: held.number,
                after: held.after,
                size: held.size,
                event,
            };
            return Some(Released { publication, gap });
        }
    }

    fn is_over(&self, now: Millis) -> bool {
        self.held.len() > self.bounds.events
            || self.bytes > self.bounds.bytes
            || self.due().is_some_and(|due| due <= now)
    }

    fn hold(&mut self, held: Held<P, E>) {
        let (publisher, number) = (held.publisher.clone(), held.number);
        let is_first = !self.of.contains_key(&publisher);
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.bytes = self.bytes.saturating_add(held.size);
        self.of
            .entry(publisher.clone())
            .or_default()
            .insert((number, arrival));
        self.held.insert(arrival, held);
        if is_first {
            // Those before it came, or never will: a publisher's events arrive in order.
            self.note_out(&publisher, number.saturating_sub(1));
        }
        self.look(arrival);
    }

    /// Takes an event out, and looks at those that wait for it.
    fn release(&mut self, arrival: u64) -> Option<Held<P, E>> {
        let held = self.held.remove(&arrival)?;
        self.ready.remove(&arrival);
        self.bytes = self.bytes.saturating_sub(held.size);
        if let Some((publisher, number)) = self.waits_for.remove(&arrival) {
            take(&mut self.waits, &publisher, (number, arrival));
        }
        take(&mut self.of, &held.publisher, (held.number, arrival));
        // What would have come before the next one that has arrived will never.
        let next = self.of.get(&held.publisher).and_then(BTreeSet::first);
        let out = next.map_or(held.number, |(next, _)| next.saturating_sub(1));
        self.note_out(&held.publisher, out.max(held.number));
        Some(held)
    }

    /// What an event waits for: the first of those it is after that is not out, or its
    /// publisher's one before it.
    fn missing(&self, held: &Held<P, E>) -> Option<(P, u64)> {
        let is_missing = |(publisher, number): &(&P, u64)| {
            let out = self.out.get(publisher).map_or(0, |(out, _)| *out);
            out < *number
        };
        let mut others = held.after.iter().filter(|(it, _)| **it != held.publisher);
        if let Some((publisher, number)) = others.find(is_missing) {
            return Some((publisher.clone(), number));
        }
        let of = self.of.get(&held.publisher)?;
        let (before, _) = of.range(..(held.number, 0)).next_back()?;
        Some((held.publisher.clone(), *before))
    }

    /// Whether an event is ready, or what it waits for.
    fn look(&mut self, arrival: u64) {
        let Some(held) = self.held.get(&arrival) else {
            return;
        };
        match self.missing(held) {
            Some((publisher, number)) => {
                let waits = self.waits.entry(publisher.clone()).or_default();
                waits.insert((number, arrival));
                self.waits_for.insert(arrival, (publisher, number));
            }
            None => {
                self.ready.insert(arrival);
            }
        }
    }

    /// A publisher's events up to a number are out.
    fn note_out(&mut self, publisher: &P, number: u64) {
        let (out, used) = self.out.get(publisher).copied().unwrap_or_default();
        self.by_use.remove(&used);
        self.uses += 1;
        self.by_use.insert(self.uses, publisher.clone());
        let number = number.max(out);
        self.out.insert(publisher.clone(), (number, self.uses));
        while self.out.len() > self.bounds.publishers.max(1) {
            let Some((_, forgotten)) = self.by_use.pop_first() else {
                break;
            };
            self.out.remove(&forgotten);
        }
        let Some(waits) = self.waits.get_mut(publisher) else {
            return;
        };
        let later = waits.split_off(&(number.saturating_add(1), 0));
        let done = std::mem::replace(waits, later);
        if waits.is_empty() {
            self.waits.remove(publisher);
        }
        for (_, arrival) in done {
            self.waits_for.remove(&arrival);
            self.look(arrival);
        }
    }
}

fn take<P: Ord>(sets: &mut BTreeMap<P, BTreeSet<(u64, u64)>>, of: &P, entry: (u64, u64)) {
    if let Some(set) = sets.get_mut(of) {
        set.remove(&entry);
        if set.is_empty() {
            sets.remove(of);
        }
    }
}

/// What is saved; the rest follows from it.
#[derive(Serialize, Deserialize)]
struct Saved<O, H> {
    out: O,
    held: H,
    gaps: u64,
}

type Load<P, E> = Saved<Vec<(P, u64)>, Vec<Held<P, E>>>;

impl<P, E> HoldBack<P, E>
where
    P: Ord + Clone + Serialize + DeserializeOwned,
    E: Serialize + DeserializeOwned,
{
    /// Appends what is held and how far publishers are: the same after the same events.
    ///
    /// # Errors
    ///
    /// An event cannot be written.
    pub fn save(&self, out: &mut Vec<u8>) -> Result<(), BadHoldBack> {
        // By when they were heard of: that is forgotten in this order.
        let far = |publisher: &P| self.out.get(publisher).map_or(0, |(out, _)| *out);
        let saved = Saved {
            out: self
                .by_use
                .values()
                .map(|it| (it, far(it)))
                .collect::<Vec<_>>(),
            held: self.held.values().collect::<Vec<_>>(),
            gaps: self.gaps,
        };
        rmp_serde::encode::write(out, &saved).map_err(|error| BadHoldBack(error.to_string()))
    }

    /// What was saved so.
    ///
    /// # Errors
    ///
    /// The bytes are not that.
    pub fn load(bounds: HoldBackBounds, saved: &[u8]) -> Result<Self, BadHoldBack> {
        let saved: Load<P, E> =
            rmp_serde::from_slice(saved).map_err(|error| BadHoldBack(error.to_string()))?;
        let mut loaded = Self::new(bounds);
        if saved
            .held
            .iter()
            .any(|held| held.after.events.len() > MAX_AFTER)
        {
            return Err(BadHoldBack("an event is after too many".into()));
        }
        for (publisher, number) in saved.out {
            loaded.note_out(&publisher, number);
        }
        for held in saved.held {
            // As it stood: nothing is learned from its arrival once more.
            loaded.arrivals += 1;
            let arrival = loaded.arrivals;
            loaded.bytes = loaded.bytes.saturating_add(held.size);
            let of = loaded.of.entry(held.publisher.clone()).or_default();
            of.insert((held.number, arrival));
            loaded.held.insert(arrival, held);
        }
        for arrival in 1..=loaded.arrivals {
            loaded.look(arrival);
        }
        loaded.gaps = saved.gaps;
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests;
