//! What was counted of late.

use crate::Millis;

/// A count of what happened in the last `span`, in `N` slots of time.
///
/// A slot is `span / (N - 1)` long, rounded up to whole milliseconds, and is
/// forgotten as a whole when nothing of it lies in the span any more. So what
/// happened is counted for at least `span`, and for less than a slot longer: the
/// count is never too low.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots<const N: usize> {
    span: u64,
    width: u64,
    /// Slot `n` of all time is at `n % N`.
    counts: [u64; N],
    /// The oldest slot that counts.
    oldest: u64,
    at: u64,
    total: u64,
}

impl<const N: usize> Slots<N> {
    const HAS_ENOUGH: () = assert!(N > 1, "one slot has no span to divide");

    pub(super) fn new(span: Millis, now: Millis) -> Self {
        const { Self::HAS_ENOUGH }
        let span = span.0.max(1);
        let mut slots = Self {
            span,
            width: span.div_ceil(N as u64 - 1),
            counts: [0; N],
            oldest: 0,
            at: now.0,
            total: 0,
        };
        slots.oldest = slots.oldest_at(now.0);
        slots
    }

    /// How many are counted.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Forgets what is too long ago at `now`.
    pub(super) fn advance(&mut self, now: Millis) {
        if now.0 <= self.at {
            return;
        }
        self.at = now.0;
        let oldest = self.oldest_at(now.0);
        if oldest - self.oldest >= N as u64 {
            self.counts = [0; N];
            self.total = 0;
        } else {
            for slot in self.oldest..oldest {
                if let Some(count) = self.counts.get_mut(Self::place(slot)) {
                    self.total -= std::mem::take(count);
                }
            }
        }
        self.oldest = oldest;
    }

    /// Counts `n` more at the latest instant it was advanced to.
    pub(super) fn add(&mut self, n: u64) {
        let place = Self::place(self.at / self.width);
        let n = n.min(u64::MAX - self.total);
        if let Some(count) = self.counts.get_mut(place) {
            *count += n;
            self.total += n;
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts = [0; N];
        self.total = 0;
    }

    /// The first instant at which at least `n` of what is counted are forgotten.
    pub(super) fn when_forgotten(&self, n: u64) -> Millis {
        let mut forgotten = 0;
        for slot in self.oldest..=self.at / self.width {
            forgotten += self.counts.get(Self::place(slot)).copied().unwrap_or(0);
            if forgotten >= n {
                let end = slot.saturating_add(1).saturating_mul(self.width);
                return Millis(end.saturating_add(self.span - 1));
            }
        }
        Millis::NEVER
    }

    /// The slot of the first instant that lies in the span.
    fn oldest_at(&self, now: u64) -> u64 {
        now.saturating_sub(self.span - 1) / self.width
    }

    fn place(slot: u64) -> usize {
        usize::try_from(slot % N as u64).unwrap_or(0)
    }
}
