//! A kind's file: magic and version, the hash of the rest, and a MessagePack
//! map. A field that an older version did not write has its default; one that
//! a newer version wrote is passed over.

use phoenix_core::control::{HandlerInfo, KindInfo};
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::taxonomy::{Consistency, Guarantee, Ordering, Overrides};
use phoenix_core::topics::BadSubscriptions;
use phoenix_core::{
    BadOverflow, BadSchedule, Digest, KindName, KindPolicy, Lane, Millis, SpawnPolicy,
};
use serde::{Deserialize, Serialize};

use crate::flow::Fields;

const MAGIC: [u8; 8] = *b"PHXKIND\x01";

#[derive(Serialize, Deserialize)]
struct Kind {
    kind: String,
    component: String,
    component_bytes: u64,
    framed: bool,
    #[serde(default)]
    handlers: Vec<Handler>,
    #[serde(default)]
    policy: Policy,
}

#[derive(Serialize, Deserialize)]
struct Handler {
    name: String,
    #[serde(default)]
    interleave: bool,
}

/// The policy as it is written; durations are in milliseconds.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Policy {
    explicit_spawn: bool,
    movable: bool,
    durable: bool,
    snapshot_every_turns: u32,
    snapshot_every_bytes: u64,
    memory_bytes: u64,
    table_elements: u32,
    turn_deadline: u64,
    turn_slice: u64,
    max_message: u32,
    batch_messages: u32,
    batch_bytes: u32,
    turn_effects: u32,
    answer_bytes: u32,
    mailbox_messages: u32,
    mailbox_bytes: u64,
    mailbox_high: u32,
    mailbox_low: u32,
    overflow: String,
    spill_bytes: u64,
    outbox_messages: u32,
    outbox_bytes: u64,
    open_asks: u32,
    open_requests: u32,
    timers: u32,
    streams: u32,
    turn_log_bytes: u32,
    rollback_bytes: u32,
    idle_after: u64,
    max_attempts: u32,
    give_up_after: u64,
    retry: String,
    retry_jitter: u32,
    retry_attempts: u32,
    treatment: Treatment,
    flow: Fields,
    subscriptions: String,
}

/// [`Overrides`] in words.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Treatment {
    priority: Option<String>,
    consistency: Option<String>,
    ordering: Option<String>,
    delivery: Option<String>,
}

impl From<Overrides> for Treatment {
    fn from(overrides: Overrides) -> Self {
        let Overrides {
            priority,
            consistency,
            ordering,
            delivery,
        } = overrides;
        let word = |word: Option<&'static str>| word.map(ToOwned::to_owned);
        Self {
            priority: word(priority.map(Lane::as_str)),
            consistency: word(consistency.map(Consistency::as_str)),
            ordering: word(ordering.map(Ordering::as_str)),
            delivery: word(delivery.map(Guarantee::as_str)),
        }
    }
}

impl TryFrom<Treatment> for Overrides {
    type Error = String;
    fn try_from(treatment: Treatment) -> Result<Self, String> {
        fn read<T>(
            word: Option<String>,
            of_word: fn(&str) -> Option<T>,
            accepted: &str,
        ) -> Result<Option<T>, String> {
            let Some(word) = word else { return Ok(None) };
            match of_word(&word) {
                Some(value) => Ok(Some(value)),
                None => Err(format!("`{word}` is not {accepted}")),
            }
        }
        Ok(Self {
            priority: read(treatment.priority, Lane::of_word, Lane::ACCEPTED)?,
            consistency: read(
                treatment.consistency,
                Consistency::of_word,
                Consistency::ACCEPTED,
            )?,
            ordering: read(treatment.ordering, Ordering::of_word, Ordering::ACCEPTED)?,
            delivery: read(treatment.delivery, Guarantee::of_word, Guarantee::ACCEPTED)?,
        })
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::from(&KindPolicy::default())
    }
}

impl From<&KindPolicy> for Policy {
    fn from(policy: &KindPolicy) -> Self {
        // Every field by name: a new one must be written too.
        let KindPolicy {
            spawn,
            movable,
            durable,
            snapshot_every,
            memory_bytes,
            table_elements,
            turn_deadline,
            turn_slice,
            max_message,
            batch_messages,
            batch_bytes,
            turn_effects,
            answer_bytes,
            mailbox_messages,
            mailbox_bytes,
            mailbox_high,
            mailbox_low,
            overflow,
            spill_bytes,
            outbox_messages,
            outbox_bytes,
            open_asks,
            open_requests,
            timers,
            streams,
            turn_log_bytes,
            rollback_bytes,
            idle_after,
            max_attempts,
            give_up_after,
            retry,
            retry_jitter,
            retry_attempts,
            treatment,
            flow,
            subscriptions,
        } = policy.clone();
        Self {
            explicit_spawn: spawn == SpawnPolicy::Explicit,
            movable,
            durable,
            snapshot_every_turns: snapshot_every.turns,
            snapshot_every_bytes: snapshot_every.bytes,
            memory_bytes,
            table_elements,
            turn_deadline: turn_deadline.0,
            turn_slice: turn_slice.0,
            max_message,
            batch_messages,
            batch_bytes,
            turn_effects,
            answer_bytes,
            mailbox_messages,
            mailbox_bytes,
            mailbox_high,
            mailbox_low,
            overflow: overflow.to_string(),
            spill_bytes,
            outbox_messages,
            outbox_bytes,
            open_asks,
            open_requests,
            timers,
            streams,
            turn_log_bytes,
            rollback_bytes,
            idle_after: idle_after.0,
            max_attempts,
            give_up_after: give_up_after.0,
            retry: retry.to_string(),
            retry_jitter,
            retry_attempts,
            treatment: treatment.into(),
            flow: flow.as_deref().map(Fields::from).unwrap_or_default(),
            subscriptions: subscriptions.as_str().to_owned(),
        }
    }
}

impl TryFrom<Policy> for KindPolicy {
    type Error = String;
    fn try_from(policy: Policy) -> Result<Self, String> {
        Ok(Self {
            spawn: if policy.explicit_spawn {
                SpawnPolicy::Explicit
            } else {
                SpawnPolicy::OnMessage
            },
            movable: policy.movable,
            durable: policy.durable,
            snapshot_every: SnapshotEvery {
                turns: policy.snapshot_every_turns,
                bytes: policy.snapshot_every_bytes,
            },
            memory_bytes: policy.memory_bytes,
            table_elements: policy.table_elements,
            turn_deadline: Millis(policy.turn_deadline),
            turn_slice: Millis(policy.turn_slice),
            max_message: policy.max_message,
            batch_messages: policy.batch_messages,
            batch_bytes: policy.batch_bytes,
            turn_effects: policy.turn_effects,
            answer_bytes: policy.answer_bytes,
            mailbox_messages: policy.mailbox_messages,
            mailbox_bytes: policy.mailbox_bytes,
            mailbox_high: policy.mailbox_high,
            mailbox_low: policy.mailbox_low,
            overflow: policy
                .overflow
                .parse()
                .map_err(|bad: BadOverflow| bad.to_string())?,
            spill_bytes: policy.spill_bytes,
            outbox_messages: policy.outbox_messages,
            outbox_bytes: policy.outbox_bytes,
            open_asks: policy.open_asks,
            open_requests: policy.open_requests,
            timers: policy.timers,
            streams: policy.streams,
            turn_log_bytes: policy.turn_log_bytes,
            rollback_bytes: policy.rollback_bytes,
            idle_after: Millis(policy.idle_after),
            max_attempts: policy.max_attempts,
            give_up_after: Millis(policy.give_up_after),
            retry: policy
                .retry
                .parse()
                .map_err(|bad: BadSchedule| bad.to_string())?,
            retry_jitter: policy.retry_jitter,
            retry_attempts: policy.retry_attempts,
            treatment: policy.treatment.try_into()?,
            flow: policy.flow.policy()?,
            subscriptions: policy
                .subscriptions
                .parse()
                .map_err(|bad: BadSubscriptions| bad.to_string())?,
        })
    }
}

pub(super) fn encode(info: &KindInfo) -> Vec<u8> {
    let kind = Kind {
        kind: info.kind.as_str().to_owned(),
        component: info.component.to_string(),
        component_bytes: info.component_bytes,
        framed: info.framed,
        handlers: info
            .handlers
            .iter()
            .map(|handler| Handler {
                name: (*handler.name).to_owned(),
                interleave: handler.interleave,
            })
            .collect(),
        policy: Policy::from(&*info.policy),
    };
    // Texts, numbers and lists always have a form in MessagePack.
    let body = rmp_serde::to_vec_named(&kind).unwrap_or_default();
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&Digest::of(&body).0);
    out.extend_from_slice(&body);
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<KindInfo, String> {
    let rest = bytes
        .strip_prefix(&MAGIC)
        .ok_or("it is no kind's file, or one of a later version")?;
    let (hash, body) = rest.split_first_chunk().ok_or("it is cut off")?;
    if Digest::of(body).0 != *hash {
        return Err("its hash is not that of its content".to_owned());
    }
    let kind: Kind = rmp_serde::from_slice(body).map_err(|error| error.to_string())?;
    let policy = KindPolicy::try_from(kind.policy)?;
    policy.validate().map_err(|error| error.to_string())?;
    Ok(KindInfo {
        kind: KindName::new(&kind.kind).map_err(|error| error.to_string())?,
        component: kind.component.parse()?,
        component_bytes: kind.component_bytes,
        framed: kind.framed,
        handlers: kind
            .handlers
            .into_iter()
            .map(|handler| HandlerInfo {
                name: handler.name.into(),
                interleave: handler.interleave,
            })
            .collect(),
        policy: Box::new(policy),
    })
}
