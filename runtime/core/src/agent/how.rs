//! In which way messages are sent: the kind's, or one of their own.

use std::borrow::Cow;

use phoenix_wit::{Backoff, Effect, Retry, SendOptions};

use crate::agent::{is_reliable, pubsub};
use crate::attributes::{Attributes, BadAttribute};
use crate::taxonomy::{Characteristics, Guarantee, Overrides};
use crate::{Delivery, Expiry, Extras, Lane, Millis, RetryPolicy, Schedule};

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
    /// What messages are sent in that say nothing of it, on the lane that is usual
    /// with their kind.
    #[inline(always)]
    pub(super) const fn reliable(lane: Lane) -> Self {
        Self {
            lane,
            is_reliable: true,
            give_up: None,
            extras: None,
            retry: None,
        }
    }

    /// As its options say, under those its kind, and under that its type.
    pub(super) fn of(
        options: &[u8; SendOptions::BYTES],
        message_type: &str,
        kind: &Overrides,
        now: Millis,
    ) -> Self {
        let treated = treated(options, message_type, kind);
        let options = &options_of(options);
        let after = |span: u32| (span > 0).then(|| now + Millis(span.into()));
        let expiry = after(options.ttl_ms).map(|at| Expiry {
            at,
            report: options.report_expired,
        });
        let extras = Extras {
            expiry,
            original: None,
            attributes: attributes(message_type).ok().and_then(Attributes::shared),
        };
        Self {
            lane: treated.priority,
            is_reliable: is_reliable(treated.delivery.delivery()),
            give_up: after(options.give_up_ms),
            retry: options.retry.map(|retry| Box::new(retry_of(&retry))),
            extras: (extras != Extras::default()).then(|| Box::new(extras)),
        }
    }
}

/// Options that their reader has been over.
fn options_of(bytes: &[u8; SendOptions::BYTES]) -> SendOptions {
    SendOptions::read(bytes).unwrap_or_default()
}

/// What a message says of itself by its type; nothing if it has none.
pub(super) fn attributes(message_type: &str) -> Result<Attributes, BadAttribute> {
    if message_type.is_empty() {
        return Ok(Attributes::new());
    }
    Attributes::of_type(message_type)
}

/// How a message is treated that an agent of a kind sends so.
pub(super) fn treated(
    options: &[u8; SendOptions::BYTES],
    message_type: &str,
    kind: &Overrides,
) -> Characteristics {
    let options = options_of(options);
    let own = Overrides {
        priority: options.lane.map(|lane| match lane {
            phoenix_wit::Lane::High => Lane::High,
            phoenix_wit::Lane::Normal => Lane::Normal,
            phoenix_wit::Lane::Low => Lane::Low,
            phoenix_wit::Lane::Bulk => Lane::Bulk,
        }),
        delivery: options.delivery.map(|delivery| match delivery {
            Delivery::AtMostOnce => Guarantee::AtMostOnce,
            Delivery::AtLeastOnce => Guarantee::AtLeastOnce,
            Delivery::ExactlyOnce => Guarantee::ExactlyOnce,
        }),
        ..Overrides::NONE
    };
    let of_type = if message_type.is_empty() {
        Characteristics::AGENT
    } else {
        Characteristics::of(message_type)
    };
    of_type.with(kind).with(&own)
}

/// To whom and on which lane an effect sends, if it sends.
pub(super) fn streams_of<'a>(
    effect: &Effect<'a>,
    kind: &Overrides,
) -> impl Iterator<Item = (Cow<'a, str>, Lane)> + use<'a> {
    let (one, several) = match *effect {
        Effect::Send { to, .. } | Effect::Ask { to, .. } | Effect::Spawn { agent: to, .. } => {
            (Some((Cow::Borrowed(to), usual_lane(kind))), None)
        }
        Effect::SendWith {
            to,
            message_type,
            options,
            ..
        } => {
            let lane = treated(options, message_type, kind).priority;
            (Some((Cow::Borrowed(to), lane)), None)
        }
        Effect::Multicast {
            to,
            message_type,
            options,
            ..
        } => {
            let lane = treated(options, message_type, kind).priority;
            let several = to.iter().map(move |to| (Cow::Borrowed(to), lane));
            (None, Some(several))
        }
        Effect::Publish { .. } | Effect::Subscribe { .. } | Effect::Unsubscribe { .. } => {
            let owner = pubsub::owner(effect).map(|owner| owner.as_str().to_owned().into());
            (owner.map(|owner| (owner, usual_lane(kind))), None)
        }
        _ => (None, None),
    };
    one.into_iter().chain(several.into_iter().flatten())
}

/// The lane of messages that an agent of a kind sends without a word about it.
pub(super) fn usual_lane(kind: &Overrides) -> Lane {
    Characteristics::AGENT.with(kind).priority
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
