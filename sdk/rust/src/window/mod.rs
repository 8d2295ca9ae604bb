//! Aggregation windows: what came to pass within spans of time.
//!
//! An agent keeps [`Windows`] among its fields, adds events, and gets a [`Closed`] for
//! each window that has ended: how many there were, their sum, the smallest and the
//! largest, the different ones, or whatever an [`Aggregate`] of its own says.
//!
//! ```
//! use phoenix_sdk::prelude::*;
//! use phoenix_sdk::window::{Count, Windows};
//!
//! /// Tells `pager/main` of minutes with more than five errors of one visitor.
//! struct Bursts { errors: Windows<Count, String> }
//!
//! #[agent]
//! impl Bursts {
//!     #[init]
//!     fn new() -> Result<Self, Failure> {
//!         let errors = Windows::tumbling(Duration::from_secs(60))?;
//!         Ok(Self { errors })
//!     }
//!
//!     fn error(&mut self, ctx: &mut Context, visitor: String) {
//!         let added = self.errors.add_to(visitor, ctx.now(), &());
//!         self.errors.arm(ctx, "minute", BurstsRequests::minute());
//!         self.tell(ctx, added.closed);
//!     }
//!
//!     /// The timer's: a minute ends although no more errors come.
//!     fn minute(&mut self, ctx: &mut Context) {
//!         let closed = self.errors.advance(ctx.now());
//!         self.errors.arm(ctx, "minute", BurstsRequests::minute());
//!         self.tell(ctx, closed);
//!     }
//!
//!     #[skip]
//!     fn tell(&self, ctx: &mut Context, closed: Vec<phoenix_sdk::window::Closed<Count, String>>) {
//!         for minute in closed.iter().filter(|minute| minute.value.get() > 5) {
//!             ctx.send("pager/main", Request::new("burst", (&minute.key, minute.start)));
//!         }
//!     }
//! }
//! # fn main() {
//! # use phoenix_sdk::testing::TestContext;
//! # let mut test = TestContext::<Bursts>::new("bursts/main");
//! # for _ in 0..6 { test.send(BurstsRequests::error("a".to_owned())).unwrap(); }
//! # test.send(BurstsRequests::error("b".to_owned())).unwrap();
//! # assert_eq!(test.take_sent().len(), 0);
//! # test.advance(Duration::from_secs(60));
//! # let sent = test.take_sent();
//! # assert_eq!(sent.len(), 1, "{sent:?}");
//! # assert_eq!(sent[0].arguments::<(String, Timestamp)>().0, "a");
//! # }
//! ```
//!
//! | | windows | an event is in |
//! |---|---|---|
//! | [`tumbling`](Windows::tumbling) | of one size, one after the other | one |
//! | [`sliding`](Windows::sliding) | of one size, one every hop | size / hop of them |
//! | [`session`](Windows::session) | of events that are less than a gap apart | one |
//!
//! **Keys.** [`Windows<A>`](Windows) takes all events together, `Windows<A, K>` those of
//! each key apart: [`add`](Windows::add) and [`add_to`](Windows::add_to).
//!
//! **Time** is whatever is passed with the event: its own, or [`Context::now`]. Windows
//! begin at whole multiples of their hop since 1970-01-01 UTC, none before. How far time
//! has come, the *watermark*, is the latest time that an event or
//! [`advance`](Windows::advance) brought, less the [allowed
//! lateness](Windows::allow_lateness); it never goes back. A window closes, once, when
//! the watermark is at its end. An event that is only in windows that have closed is
//! *late*: it is counted and otherwise passed over.
//!
//! **State** is plain: it sleeps, moves and survives with the agent, and windows are serde
//! types for agents that hand them on. A window is as large as its aggregate; at most
//! [`max_open`](Windows::max_open) are open at once, and an event that would open more is
//! counted, and refused.

mod aggregate;
mod saved;
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::context::{Context, TimerId};
use crate::request::Request;
use crate::time::Timestamp;

pub use aggregate::{Addend, Aggregate, Count, Distinct, MAX_DISTINCT, Max, Merge, Min, Sum};
pub use shape::BadWindow;
use shape::{Shape, divisor, nanos};

/// Most windows that are open at once, over all keys, unless
/// [`Windows::max_open`] says otherwise.
pub const MAX_OPEN: u64 = 10_000;

/// Most pieces a sliding window is kept in: its size by the greatest common divisor of
/// size and hop.
pub const MAX_PANES: u64 = 4_096;

/// Aggregates `A` of events by windows of time, for each key `K` apart. The [module's
/// page](self) is the guide.
///
/// Adding an event takes time logarithmic in what is open; closing a sliding window
/// merges its pieces.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    try_from = "saved::Saved<A, K>",
    bound(deserialize = "A: Merge + Deserialize<'de>, K: Ord + Clone + Deserialize<'de>")
)]
pub struct Windows<A, K: Ord = ()> {
    rules: Rules,
    /// Every window that ends by then has closed. Nanoseconds.
    watermark: u64,
    late: u64,
    refused: u64,
    keys: BTreeMap<K, Keyed<A>>,
    /// When the next window of each key closes. Of sessions, at the earliest: one that
    /// went on since is looked at once more then.
    due: BTreeSet<(u64, K)>,
    /// Pairs of a key and a window with events of it that has not closed.
    open: u64,
    /// For when a timer was set.
    armed: Option<Timestamp>,
}

/// What the maker of windows says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rules {
    shape: Shape,
    /// Nanoseconds.
    lateness: u64,
    by_clock: bool,
    max_open: u64,
}

/// One key's events.
#[derive(Clone, Debug)]
struct Keyed<A> {
    /// By where they begin.
    pieces: BTreeMap<u64, Piece<A>>,
    /// The number of the next window to close, counted from 1970; of sessions, 0.
    next: u64,
    /// Its entry among those that are due.
    due: u64,
}

/// A session, or what hopping windows share: a stretch in which none begins or ends.
#[derive(Clone, Debug)]
struct Piece<A> {
    /// Its latest event, nanoseconds.
    last: u64,
    value: A,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in all windows of its time that have not closed.
    Taken,
    /// All windows of its time have closed.
    Late,
    /// It would have opened more windows than may be open.
    Full,
}

/// What adding an event did.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "windows that close are not given again"]
pub struct Added<A, K = ()> {
    /// What became of the event.
    pub outcome: Outcome,
    /// The windows that closed because of its time, by end and key. The event is in
    /// none of them.
    pub closed: Vec<Closed<A, K>>,
}

/// A window that closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed<A, K = ()> {
    /// Whose events.
    pub key: K,
    /// When it began; of a session, its first event.
    pub start: Timestamp,
    /// The first instant after it; of a session, a gap after its last event.
    pub end: Timestamp,
    /// What its events come to.
    pub value: A,
}

impl<A: Merge, K: Ord + Clone> Windows<A, K> {
    /// Windows of `size`, one after the other.
    ///
    /// # Errors
    /// A size of zero.
    pub fn tumbling(size: Duration) -> Result<Self, BadWindow> {
        Self::sliding(size, size)
    }

    /// Windows of `size`, of which one begins every `hop`.
    ///
    /// # Errors
    /// A size or hop of zero, a hop longer than the size, or a size of more than
    /// [`MAX_PANES`] times the greatest common divisor of both.
    pub fn sliding(size: Duration, hop: Duration) -> Result<Self, BadWindow> {
        Ok(Self::new(Shape::hopping(size, hop)?))
    }

    /// Windows of events that are less than `gap` apart. A late event can lengthen a
    /// session backwards, or join two.
    ///
    /// # Errors
    /// A gap of zero.
    pub fn session(gap: Duration) -> Result<Self, BadWindow> {
        Ok(Self::new(Shape::session(gap)?))
    }

    fn new(shape: Shape) -> Self {
        let rules = Rules {
            shape,
            lateness: 0,
            by_clock: false,
            max_open: MAX_OPEN,
        };
        Self::of(rules)
    }

    fn of(rules: Rules) -> Self {
        Self {
            rules,
            watermark: 0,
            late: 0,
            refused: 0,
            keys: BTreeMap::new(),
            due: BTreeSet::new(),
            open: 0,
            armed: None,
        }
    }

    /// Windows stay open for `lateness` longer, for events that do not come in the
    /// order of their times. None unless it is said.
    #[must_use]
    pub fn allow_lateness(mut self, lateness: Duration) -> Self {
        self.rules.lateness = nanos(lateness);
        self
    }

    /// Windows close by [`advance`](Self::advance) alone and not by the times of events:
    /// one with a time far ahead, from somebody whose clock is wrong, then closes nothing.
    #[must_use]
    pub fn by_clock(mut self) -> Self {
        self.rules.by_clock = true;
        self
    }

    /// At most so many windows are open at once, over all keys; [`MAX_OPEN`] unless it is
    /// said.
    #[must_use]
    pub fn max_open(mut self, windows: u64) -> Self {
        self.rules.max_open = windows;
        self
    }

    /// Adds an event of `key`, after closing the windows that its time closes.
    pub fn add_to<V>(&mut self, key: K, time: Timestamp, value: &V) -> Added<A, K>
    where
        A: Aggregate<V>,
        V: ?Sized,
    {
        let closed = if self.rules.by_clock {
            Vec::new()
        } else {
            self.advance(time)
        };
        let time = time.as_nanos();
        let outcome = match self.rules.shape {
            Shape::Hopping { size, hop } => self.add_hopping(Hops { size, hop }, key, time, value),
            Shape::Session { gap } => self.add_session(gap, key, time, value),
        };
        match outcome {
            Outcome::Taken => {}
            Outcome::Late => self.late = self.late.saturating_add(1),
            Outcome::Full => self.refused = self.refused.saturating_add(1),
        }
        Added { outcome, closed }
    }

    /// Closes the windows that ended by `now` less the allowed lateness, and gives them by
    /// end and key.
    #[must_use = "windows that close are not given again"]
    pub fn advance(&mut self, now: Timestamp) -> Vec<Closed<A, K>> {
        let watermark = now.as_nanos().saturating_sub(self.rules.lateness);
        let mut closed = Vec::new();
        if watermark <= self.watermark {
            return closed;
        }
        self.watermark = watermark;
        while self.due.first().is_some_and(|(due, _)| *due <= watermark) {
            let Some((due, key)) = self.due.pop_first() else {
                break;
            };
            let Some(keyed) = self.keys.get_mut(&key) else {
                continue;
            };
            let window = match self.rules.shape {
                Shape::Hopping { size, hop } => keyed.close_hopping(Hops { size, hop }),
                Shape::Session { gap } => keyed.close_session(gap, due),
            };
            if keyed.pieces.is_empty() {
                self.keys.remove(&key);
            } else {
                self.due.insert((keyed.due, key.clone()));
            }
            if let Some((start, end, value)) = window {
                self.open = self.open.saturating_sub(1);
                closed.push(Closed {
                    key,
                    start: Timestamp::from_nanos(start),
                    end: Timestamp::from_nanos(end),
                    value,
                });
            }
        }
        closed
    }

    /// The time with which [`advance`](Self::advance) closes a window, if nothing is added
    /// before. Of sessions, at the earliest: events may have prolonged them.
    pub fn next_close(&self) -> Option<Timestamp> {
        let (due, _) = self.due.first()?;
        Some(Timestamp::from_nanos(
            due.saturating_add(self.rules.lateness),
        ))
    }

    /// Sets the timer `id` for [`next_close`](Self::next_close), if it is not set for
    /// that already. Its handler is to `advance` to [`Context::now`] and to arm it again.
    ///
    /// It is for events whose times are those of the node's clock, more or less: of an old
    /// log, all windows would close at once.
    pub fn arm<Args: Serialize, R, E>(
        &mut self,
        ctx: &Context,
        id: impl Into<TimerId>,
        request: Request<Args, R, E>,
    ) {
        let now = ctx.now();
        let Some(at) = self.next_close() else {
            return;
        };
        if self.armed.is_some_and(|armed| now < armed && armed <= at) {
            return;
        }
        ctx.timer(id, at - now, request);
        self.armed = Some(at);
    }

    /// Windows that are open, over all keys.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Keys with open windows.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Events that came when all windows of their time had closed.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Events that would have opened more windows than may be open.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn add_hopping<V>(&mut self, hops: Hops, key: K, time: u64, value: &V) -> Outcome
    where
        A: Aggregate<V>,
        V: ?Sized,
    {
        let start = time - time % divisor(hops.size, hops.hop);
        let first = hops.first(start).max(hops.first(self.watermark));
        if hops.last(start) < first {
            return Outcome::Late;
        }
        let keyed = self.keys.get(&key);
        let opened = match keyed {
            Some(keyed) if keyed.pieces.contains_key(&start) => 0,
            keyed => hops.opened(first, start, keyed.map(|keyed| &keyed.pieces)),
        };
        if self.open.saturating_add(opened) > self.rules.max_open {
            return Outcome::Full;
        }
        self.open += opened;
        let keyed = self.keys.entry(key.clone()).or_insert_with(Keyed::none);
        keyed.piece(start, time).value.add(value);
        if first < keyed.next {
            self.due.remove(&(keyed.due, key.clone()));
            keyed.next = first;
            keyed.due = hops.end(first);
            self.due.insert((keyed.due, key));
        }
        Outcome::Taken
    }

    fn add_session<V>(&mut self, gap: u64, key: K, time: u64, value: &V) -> Outcome
    where
        A: Aggregate<V>,
        V: ?Sized,
    {
        // Two at most: one that ends before the event, and one that begins after it.
        let near: [Option<u64>; 2] = match self.keys.get(&key) {
            Some(keyed) => keyed.near(gap, time),
            None => [None; 2],
        };
        let joined = near.iter().flatten().count() as u64;
        if joined == 0 {
            if time.saturating_add(gap) <= self.watermark {
                return Outcome::Late;
            }
            if self.open >= self.rules.max_open {
                return Outcome::Full;
            }
        }
        let keyed = self.keys.entry(key.clone()).or_insert_with(Keyed::none);
        let mut session = Piece {
            last: time,
            value: A::default(),
        };
        let mut start = time;
        for other in near.into_iter().flatten() {
            if let Some(piece) = keyed.pieces.remove(&other) {
                start = start.min(other);
                session.last = session.last.max(piece.last);
                session.value.merge(&piece.value);
            }
        }
        session.value.add(value);
        keyed.pieces.insert(start, session);
        self.open = (self.open + 1).saturating_sub(joined);
        let due = keyed.first_session_end(gap);
        if due < keyed.due {
            self.due.remove(&(keyed.due, key.clone()));
            keyed.due = due;
            self.due.insert((due, key));
        }
        Outcome::Taken
    }
}

impl<A: Merge> Windows<A> {
    /// Adds an event, after closing the windows that its time closes.
    pub fn add<V>(&mut self, time: Timestamp, value: &V) -> Added<A>
    where
        A: Aggregate<V>,
        V: ?Sized,
    {
        self.add_to((), time, value)
    }
}

impl<A: Merge> Keyed<A> {
    /// Without an event, and so without an entry among those that are due.
    fn none() -> Self {
        Self {
            pieces: BTreeMap::new(),
            next: u64::MAX,
            due: u64::MAX,
        }
    }

    fn piece(&mut self, start: u64, time: u64) -> &mut Piece<A> {
        let piece = self.pieces.entry(start).or_insert_with(|| Piece {
            last: time,
            value: A::default(),
        });
        piece.last = piece.last.max(time);
        piece
    }

    /// Closes the next window: where it began, the first instant after it, its value.
    fn close_hopping(&mut self, hops: Hops) -> Option<(u64, u64, A)> {
        let number = self.next;
        let start = hops.start(number);
        let last = start.saturating_add(hops.size - 1);
        let mut value = A::default();
        for piece in self.pieces.range(start..=last).map(|(_, piece)| piece) {
            value.merge(&piece.value);
        }
        while let Some(first) = self.pieces.first_entry() {
            if hops.last(*first.key()) > number {
                self.next = hops.first(*first.key()).max(number + 1);
                self.due = hops.end(self.next);
                break;
            }
            first.remove();
        }
        Some((start, hops.end(number), value))
    }

    /// Closes the first session, unless it went on beyond `due`.
    fn close_session(&mut self, gap: u64, due: u64) -> Option<(u64, u64, A)> {
        let mut closed = None;
        if let Some(first) = self.pieces.first_entry() {
            let end = first.get().last.saturating_add(gap);
            if end <= due {
                let (start, session) = first.remove_entry();
                closed = Some((start, end, session.value));
            }
        }
        self.due = self.first_session_end(gap);
        closed
    }

    fn first_session_end(&self, gap: u64) -> u64 {
        let first = self.pieces.first_key_value();
        first.map_or(u64::MAX, |(_, session)| session.last.saturating_add(gap))
    }

    /// Where the sessions begin that are less than `gap` from `time`.
    fn near(&self, gap: u64, time: u64) -> [Option<u64>; 2] {
        let mut candidates = self
            .pieces
            .range(..=time.saturating_add(gap - 1))
            .rev()
            .take_while(|(_, session)| time.saturating_sub(session.last) < gap)
            .map(|(start, _)| *start);
        [candidates.next(), candidates.next()]
    }
}

/// Windows of one size that begin at the multiples of a hop.
#[derive(Clone, Copy)]
struct Hops {
    size: u64,
    hop: u64,
}

impl Hops {
    /// The first window that does not end by `time`.
    fn first(self, time: u64) -> u64 {
        match time.checked_sub(self.size) {
            Some(past) => past / self.hop + 1,
            None => 0,
        }
    }

    /// The last window that begins by `time`.
    fn last(self, time: u64) -> u64 {
        time / self.hop
    }

    fn start(self, number: u64) -> u64 {
        number.saturating_mul(self.hop)
    }

    fn end(self, number: u64) -> u64 {
        self.start(number).saturating_add(self.size)
    }

    /// How many windows from `first` on have events once there are some at `start`, and
    /// had none.
    fn opened<A>(self, first: u64, start: u64, pieces: Option<&BTreeMap<u64, Piece<A>>>) -> u64 {
        let (mut first, mut end) = (first, self.last(start) + 1);
        if let Some(pieces) = pieces {
            if let Some((before, _)) = pieces.range(..start).next_back() {
                first = first.max(self.last(*before) + 1);
            }
            if let Some((after, _)) = pieces.range(start..).next() {
                end = end.min(self.first(*after));
            }
        }
        end.saturating_sub(first)
    }
}
