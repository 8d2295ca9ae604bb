//! How long to wait before the next try.

use std::time::Duration;

/// Doubling waits, of which a random half is taken off, so that nodes which lost
/// a peer together do not return to it together.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// It worked: the next failure begins anew.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The wait after one more failure.
    pub(super) fn failed(&mut self) -> Duration {
        let mut random = [0; 4];
        // Without randomness the whole wait is kept, which does no harm.
        let part = match aws_lc_rs::rand::fill(&mut random) {
            Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
            Err(_) => 0.0,
        };
        let wait = self.next.mul_f64(1.0 - part / 2.0);
        self.next = (self.next * 2).min(self.most);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most() {
        let (first, most) = (Duration::from_millis(50), Duration::from_millis(300));
        let mut backoff = Backoff::new(first, most);
        for whole in [50, 100, 200, 300, 300] {
            let whole = Duration::from_millis(whole);
            let wait = backoff.failed();
            assert!(wait <= whole && wait >= whole / 2, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.failed() <= first);
    }
}
