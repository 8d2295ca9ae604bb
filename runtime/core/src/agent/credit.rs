//! Watermarks: when senders are told to hold, and when to go on.
//!
//! ```text
//!            ┌──────── level ≥ high: Credit { window: 0 } ────────┐
//!            │                                                    ▼
//!        taking in                                    holding: who sends is told
//!            ▲                                                    │
//!            └── level ≤ low: Credit { window: room / senders } ──┘
//! ```
//!
//! Nothing hangs on a notice that arrives. A sender that was told to hold tries
//! again with one message when it has heard nothing for long, and is told again
//! if it still has to.

use crate::agent::Agent;
use crate::agent::inbound::StreamIndex;
use crate::{Acknowledgement, Envelope, KindPolicy, Notice};

/// How much waits, or may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    /// Whether a mailbox this full is past the kind's high mark.
    #[inline]
    pub(crate) fn is_high(self, policy: &KindPolicy) -> bool {
        let high = u64::from(policy.mailbox_high);
        self.messages * 100 >= u64::from(policy.mailbox_messages) * high
            || self.bytes.saturating_mul(100) >= policy.mailbox_bytes.saturating_mul(high)
    }

    /// Whether a mailbox this full is down to `low`.
    pub(crate) fn is_down_to(self, low: Self) -> bool {
        self.messages <= low.messages && self.bytes <= low.bytes
    }

    /// A share of the kind's bounds.
    pub(crate) fn share(policy: &KindPolicy, percent: u32) -> Self {
        Self {
            messages: u64::from(policy.mailbox_messages) * u64::from(percent) / 100,
            bytes: policy.mailbox_bytes.saturating_mul(percent.into()) / 100,
        }
    }
}

/// The marks of a mailbox whose senders hold, as they were when it passed the
/// high one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) low: Amount,
    /// Messages it may hold at the high mark.
    pub(crate) high: u64,
}

impl Agent {
    /// Tells whoever sent the message that was just taken in, or turned away, to
    /// hold, if the mailbox is past its high mark or not down to the low one since.
    #[inline]
    pub(super) fn hold_if_high(
        &mut self,
        at: Option<StreamIndex>,
        policy: &KindPolicy,
        out: &mut super::Actions,
    ) {
        if self.holding.is_some() || self.mailbox.level().is_high(policy) {
            self.grant_credit(out);
            self.hold(at, policy, out);
        }
    }

    #[cold]
    fn hold(&mut self, at: Option<StreamIndex>, policy: &KindPolicy, out: &mut super::Actions) {
        if self.holding.is_none() {
            if !self.mailbox.level().is_high(policy) {
                return;
            }
            self.holding = Some(Holding {
                low: Amount::share(policy, policy.mailbox_low),
                high: Amount::share(policy, policy.mailbox_high).messages,
            });
        }
        let Some(stream) = at.and_then(|at| self.inbound.hold(at, self.turn)) else {
            return;
        };
        self.counters.held += 1;
        out.acknowledge.push(Acknowledgement {
            stream: stream.key.clone(),
            notice: Notice::Credit {
                taken: stream.taken,
                window: 0,
            },
        });
    }

    /// Lets senders go on if the mailbox is down to its low mark. They share the
    /// room up to the high one.
    pub(super) fn grant_credit(&mut self, out: &mut super::Actions) {
        let Some(Holding { low, high }) = self.holding else {
            return;
        };
        let level = self.mailbox.level();
        if !level.is_down_to(low) || self.mailbox.spilled() > 0 {
            return;
        }
        self.holding = None;
        let senders = self.inbound.held().max(1) as u64;
        let window = (high.saturating_sub(level.messages) / senders).max(1);
        self.inbound.release(|stream| {
            out.acknowledge.push(Acknowledgement {
                stream: stream.key.clone(),
                notice: Notice::Credit {
                    taken: stream.taken,
                    window,
                },
            });
        });
    }

    /// Whether the mailbox takes a message in.
    #[inline]
    pub(super) fn has_room(&self, envelope: &Envelope, policy: &KindPolicy) -> bool {
        // What comes after spilled messages of its lane waits behind them.
        (self.mailbox.spilled() == 0 || self.mailbox.spilled_in(envelope.stream.lane) == 0)
            && self.mailbox.has_room(envelope.size(), policy)
    }
}
