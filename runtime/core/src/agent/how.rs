//! In which way messages are sent: the kind's, or one of their own.

use phoenix_wit::{Backoff, Retry, SendOptions};

use crate::agent::is_reliable;
use crate::{Expiry, Extras, Lane, Millis, RetryPolicy, Schedule};

/// In which way a message is sent.
pub(super) struct How {
    pub(super) lane: Lane,
    /// Whether it is kept until it has its verdict.
    pub(super) is_reliable: bool,
    /// When it is given up, if that is not the kind's to say.
    pub(super) give_up: Option<Millis>,
    pub(super) extras: Option<Box<Extras>>,
    /// When it is sent again, if that is not the kind's to say.
    pub(super) retry: Option<Box<RetryPolicy>>,
}

impl How {
    /// What messages are sent in that say nothing of it.
    pub(super) const RELIABLE: Self = Self {
        lane: Lane::Normal,
        is_reliable: true,
        give_up: None,
        extras: None,
        retry: None,
    };

    pub(super) fn of(options: &[u8; SendOptions::BYTES], now: Millis) -> Self {
        let options = &options_of(options);
        let after = |span: u32| (span > 0).then(|| now + Millis(span.into()));
        let expiry = after(options.ttl_ms).map(|at| Expiry {
            at,
            report: options.report_expired,
        });
        Self {
            lane: lane_of(options),
            is_reliable: is_reliable(options.delivery),
            give_up: after(options.give_up_ms),
            retry: options.retry.map(|retry| Box::new(retry_of(&retry))),
            extras: expiry.map(|expiry| {
                Box::new(Extras {
                    expiry: Some(expiry),
                    ..Extras::default()
                })
            }),
        }
    }
}

/// Options that their reader has been over.
pub(super) fn options_of(bytes: &[u8; SendOptions::BYTES]) -> SendOptions {
    SendOptions::read(bytes).unwrap_or_default()
}

pub(super) fn lane_of(options: &SendOptions) -> Lane {
    match options.lane {
        phoenix_wit::Lane::High => Lane::High,
        phoenix_wit::Lane::Normal => Lane::Normal,
        phoenix_wit::Lane::Low => Lane::Low,
        phoenix_wit::Lane::Bulk => Lane::Bulk,
    }
}

/// When it is given up the message says beside it.
fn retry_of(retry: &Retry) -> RetryPolicy {
    let span = |millis: u32| Millis(millis.into());
    RetryPolicy {
        schedule: match retry.backoff {
            Backoff::Fixed { wait } => Schedule::Fixed { wait: span(wait) },
            Backoff::Linear { first, step, most } => Schedule::Linear {
                first: span(first),
                step: span(step),
                most: span(most),
            },
            Backoff::Exponential { first, most } => Schedule::Exponential {
                first: span(first),
                most: span(most),
            },
        },
        attempts: if retry.attempts == 0 {
            u32::MAX
        } else {
            retry.attempts
        },
        ..RetryPolicy::DEFAULT
    }
}
