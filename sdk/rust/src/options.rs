//! How a message is sent, where it is not in the kind's way.

use std::time::Duration;

use phoenix_wit::{Backoff, Delivery, Lane};

/// How one message is sent. What it does not say, its type says: without one that is
/// what [`send`](crate::Context::send) does, exactly once and on the lane `normal`,
/// unless the policy of its agent's kind has it otherwise.
///
/// Spans are taken in whole milliseconds, and up to 49 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    pub(crate) options: phoenix_wit::SendOptions,
    /// Empty if it says none.
    pub(crate) message_type: &'static str,
}

/// When a message that is kept until it has its verdict is sent again.
///
/// Chance takes up to half off each wait, so that those who failed together do not
/// come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry(phoenix_wit::Retry);

impl SendOptions {
    /// A plain send's.
    pub fn new() -> Self {
        Self::default()
    }

    /// The message's type, which says how it is treated where nothing else does:
    /// `phoenix.{domain}.{entity}.{action}`, as in `phoenix.metric.cpu.load`, or
    /// somebody else's. The turn is undone if it is none.
    #[must_use]
    pub fn message_type(mut self, message_type: &'static str) -> Self {
        self.message_type = message_type;
        self
    }

    /// How hard the node tries.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.options.delivery = Some(delivery);
        self
    }

    /// The lane it takes. Order is promised within a lane, and nothing across lanes.
    #[must_use]
    pub fn lane(mut self, lane: Lane) -> Self {
        self.options.lane = Some(lane);
        self
    }

    /// It is of no use after so long (1 ms at least), and is not put to its receiver then.
    #[must_use]
    pub fn ttl(mut self, span: Duration) -> Self {
        self.options.ttl_ms = millis(span);
        self
    }

    /// What outlives its [`ttl`](Self::ttl) is kept as a dead letter. It comes back to
    /// `#[bounced]` without that, too.
    #[must_use]
    pub fn report_expired(mut self) -> Self {
        self.options.report_expired = true;
        self
    }

    /// The node gives it up after so long (1 ms at least) without a verdict.
    #[must_use]
    pub fn give_up_after(mut self, span: Duration) -> Self {
        self.options.give_up_ms = millis(span);
        self
    }

    /// When it is sent again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = Some(retry.0);
        self
    }
}

impl Retry {
    /// Waits that are all as long, 1 ms at least.
    pub fn fixed(wait: Duration) -> Self {
        Self::of(Backoff::Fixed { wait: millis(wait) })
    }

    /// Waits that each are `step` longer than the one before, up to `most`.
    pub fn linear(first: Duration, step: Duration, most: Duration) -> Self {
        let first = millis(first);
        Self::of(Backoff::Linear {
            first,
            step: millis(step),
            most: millis(most).max(first),
        })
    }

    /// Waits that double, up to `most`.
    pub fn exponential(first: Duration, most: Duration) -> Self {
        let first = millis(first);
        Self::of(Backoff::Exponential {
            first,
            most: millis(most).max(first),
        })
    }

    /// So many tries in all, the first included and 1 at least; without it as many as
    /// fit the time after which the message is given up.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts.max(1);
        self
    }

    fn of(backoff: Backoff) -> Self {
        Self(phoenix_wit::Retry {
            backoff,
            attempts: 0,
        })
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX).max(1)
}
