//! The asks that have left and what has come of them.

use std::collections::BTreeMap;
use std::task::{Poll, Waker};

use crate::AskError;
use crate::payload::Payload;

/// How an ask ended, before its answer is read as a type.
pub(crate) type Ended = Result<Payload, AskError>;

/// Asks whose futures are alive, by number.
#[derive(Default)]
pub(crate) struct Asks {
    last: u64,
    open: BTreeMap<u64, Slot>,
    /// Slots that are not `Ended`.
    unanswered: usize,
    /// The ask that was polled last and had no answer.
    polled: u64,
}

enum Slot {
    /// No answer yet; whoever polled last is woken by it.
    Open(Option<Waker>),
    Ended(Ended),
}

impl Asks {
    /// The number of a new ask. Numbers start at 1 and are never used again.
    pub(crate) fn begin(&mut self) -> u64 {
        self.last += 1;
        self.open.insert(self.last, Slot::Open(None));
        self.unanswered += 1;
        self.last
    }

    /// Takes the answer, or leaves `waker` to be woken by it.
    pub(crate) fn poll(&mut self, ask: u64, waker: &Waker) -> Poll<Ended> {
        match self.open.get_mut(&ask) {
            Some(Slot::Open(waiting)) => {
                match waiting {
                    Some(waiting) => waiting.clone_from(waker),
                    None => *waiting = Some(waker.clone()),
                }
                self.polled = ask;
                Poll::Pending
            }
            Some(Slot::Ended(_)) => match self.open.remove(&ask) {
                Some(Slot::Ended(ended)) => Poll::Ready(ended),
                _ => Poll::Pending,
            },
            None => Poll::Ready(Err(AskError::BadAnswer(
                "the answer was taken by an earlier poll".into(),
            ))),
        }
    }

    /// Takes an answer in. One that nobody waits for any more is dropped.
    pub(crate) fn end(&mut self, ask: u64, ended: Ended) {
        let Some(slot) = self.open.get_mut(&ask) else {
            return;
        };
        if let Slot::Open(waiting) = std::mem::replace(slot, Slot::Ended(ended)) {
            self.unanswered -= 1;
            if let Some(waker) = waiting {
                waker.wake();
            }
        }
    }

    /// Forgets an ask whose future is gone.
    pub(crate) fn forget(&mut self, ask: u64) {
        if let Some(Slot::Open(_)) = self.open.remove(&ask) {
            self.unanswered -= 1;
        }
    }

    /// The ask that was polled last, if its end is to wake `waker`.
    pub(crate) fn awaited(&self, waker: &Waker) -> Option<u64> {
        match self.open.get(&self.polled)? {
            Slot::Open(Some(waiting)) if waiting.will_wake(waker) => Some(self.polled),
            _ => None,
        }
    }

    /// Asks that may still wake somebody.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }
}
