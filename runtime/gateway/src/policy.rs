//! A kind's policy as people write it: names in kebab-case, values with units.
//!
//! The same names and forms serve the API's `phoenix-policy` header, a policy
//! file and `--set name=value`, so they are read in one place.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix_core::flow::{FLOW_FIELDS, FlowField, FlowFields};
use phoenix_core::taxonomy::{Consistency, Guarantee, Ordering};
use phoenix_core::topics::{BadSubscriptions, KindSubscriptions};
use phoenix_core::{BadOverflow, BadSchedule, KindPolicy, Lane, Millis, SpawnPolicy};

use crate::api::{Policy, PolicyValue};
use crate::flow;
use crate::suggest::{nearest, shown};
use crate::units::{DURATION_FORM, SIZE_FORM, parse_millis, parse_size};

/// One field of a policy.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub about: &'static str,
    /// What its values look like.
    pub form: Form,
    access: Access,
}

/// How a field is read and set.
enum Access {
    /// As a number; setting says whether it fits.
    Number {
        get: fn(&KindPolicy) -> u64,
        set: fn(&mut KindPolicy, u64) -> bool,
    },
    /// As a text, likewise.
    Text {
        get: fn(&KindPolicy) -> String,
        set: fn(&mut KindPolicy, &str) -> bool,
    },
}

/// What a field's values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A plain number.
    Count,
    /// Bytes.
    Size,
    /// A span of time, kept in milliseconds.
    Span,
    /// Yes or no.
    Flag,
    /// How agents come to life.
    Spawn,
    /// What becomes of messages that find a mailbox full.
    Overflow,
    /// How waits between tries grow.
    Schedule,
    /// Which lane a message takes.
    Priority,
    /// How often it takes effect.
    Delivery,
    /// How far nodes agree on it.
    Consistency,
    /// In which order it comes.
    Ordering,
}

/// A policy that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no such field.
    #[error("a policy has no field `{name}`")]
    Unknown {
        /// What was written.
        name: String,
        /// The field that may have been meant.
        near: Option<&'static str>,
        /// The fields there are.
        fields: Vec<&'static str>,
    },
    /// A limiter of flow control lacks a field that has no default.
    #[error("`{field}` is missing: {limiter} needs it")]
    Missing {
        /// Which field.
        field: &'static str,
        /// Which limiter.
        limiter: &'static str,
    },
    /// The value does not fit the field.
    #[error("`{field}` is {found}: it must be {accepted}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What was written.
        found: String,
        /// What it may be.
        accepted: String,
    },
}

impl PolicyError {
    /// What to do about it.
    pub fn suggestion(&self) -> String {
        match self {
            Self::Unknown {
                near: Some(near), ..
            } => format!("did you mean `{near}`?"),
            Self::Unknown {
                near: None, fields, ..
            } => format!("the fields are {}", fields.join(", ")),
            Self::Missing { field, .. } => format!("give `{field}` too"),
            Self::Value {
                field, accepted, ..
            } => format!("write `{field}` as {accepted}"),
        }
    }
}

macro_rules! number {
    ($name:literal, $form:ident, $field:ident, $about:literal) => {
        Field {
            name: $name,
            about: $about,
            form: Form::$form,
            access: Access::Number {
                get: |policy| u64::from(policy.$field),
                set: |policy, value| match value.try_into() {
                    Ok(value) => {
                        policy.$field = value;
                        true
                    }
                    Err(_) => false,
                },
            },
        }
    };
}

macro_rules! text {
    ($name:literal, $form:ident, $field:ident, $about:literal) => {
        Field {
            name: $name,
            about: $about,
            form: Form::$form,
            access: Access::Text {
                get: |policy| policy.$field.to_string(),
                set: |policy, text| match text.parse() {
                    Ok(value) => {
                        policy.$field = value;
                        true
                    }
                    Err(_) => false,
                },
            },
        }
    };
}

macro_rules! snapshot_every {
    ($name:literal, $form:ident, $field:ident, $about:literal) => {
        Field {
            name: $name,
            about: $about,
            form: Form::$form,
            access: Access::Number {
                get: |policy| u64::from(policy.snapshot_every.$field),
                set: |policy, value| match value.try_into() {
                    Ok(value) => {
                        policy.snapshot_every.$field = value;
                        true
                    }
                    Err(_) => false,
                },
            },
        }
    };
}

macro_rules! word {
    ($name:literal, $form:ident, $field:ident, $type:ident, $about:literal) => {
        Field {
            name: $name,
            about: $about,
            form: Form::$form,
            access: Access::Text {
                get: |policy| {
                    let word = policy.treatment.$field.map($type::as_str);
                    word.unwrap_or(BY_TYPE).to_owned()
                },
                set: |policy, text| {
                    let value = $type::of_word(text);
                    policy.treatment.$field = value;
                    value.is_some() || text == BY_TYPE
                },
            },
        }
    };
}

macro_rules! span {
    ($name:literal, $field:ident, $about:literal) => {
        Field {
            name: $name,
            about: $about,
            form: Form::Span,
            access: Access::Number {
                get: |policy| policy.$field.0,
                set: |policy, value| {
                    policy.$field = Millis(value);
                    true
                },
            },
        }
    };
}

/// Every field, in the order in which policies are shown.
pub static FIELDS: [Field; 38] = [
    Field {
        name: "spawn",
        about: "how agents come to life",
        form: Form::Spawn,
        access: Access::Number {
            get: |policy| u64::from(policy.spawn == SpawnPolicy::Explicit),
            set: |policy, value| {
                policy.spawn = match value {
                    0 => SpawnPolicy::OnMessage,
                    _ => SpawnPolicy::Explicit,
                };
                true
            },
        },
    },
    Field {
        name: "movable",
        about: "whether agents may sleep and move",
        form: Form::Flag,
        access: Access::Number {
            get: |policy| u64::from(policy.movable),
            set: |policy, value| {
                policy.movable = value != 0;
                true
            },
        },
    },
    Field {
        name: "durable",
        about: "whether agents outlive their node's end",
        form: Form::Flag,
        access: Access::Number {
            get: |policy| u64::from(policy.durable),
            set: |policy, value| {
                policy.durable = value != 0;
                true
            },
        },
    },
    snapshot_every!(
        "snapshot-every-turns",
        Count,
        turns,
        "turns of a durable agent until its next snapshot"
    ),
    snapshot_every!(
        "snapshot-every-bytes",
        Size,
        bytes,
        "bytes of a durable agent's log until then"
    ),
    number!(
        "memory-bytes",
        Size,
        memory_bytes,
        "linear memory of one agent"
    ),
    number!(
        "table-elements",
        Count,
        table_elements,
        "elements of one agent's tables"
    ),
    span!(
        "turn-deadline",
        turn_deadline,
        "longest a turn may run before it is undone"
    ),
    span!(
        "turn-slice",
        turn_slice,
        "how long a turn may hold up its worker"
    ),
    number!(
        "max-message",
        Size,
        max_message,
        "largest payload of one message"
    ),
    number!(
        "batch-messages",
        Count,
        batch_messages,
        "turns in one batch"
    ),
    number!(
        "batch-bytes",
        Size,
        batch_bytes,
        "bytes in one batch's input frame"
    ),
    number!("turn-effects", Count, turn_effects, "effects of one turn"),
    number!(
        "answer-bytes",
        Size,
        answer_bytes,
        "bytes of one batch's answer frame"
    ),
    number!(
        "mailbox-messages",
        Count,
        mailbox_messages,
        "messages waiting for one agent"
    ),
    number!(
        "mailbox-bytes",
        Size,
        mailbox_bytes,
        "bytes waiting for one agent"
    ),
    number!(
        "mailbox-high-percent",
        Count,
        mailbox_high,
        "how full a mailbox is when its senders are to hold"
    ),
    number!(
        "mailbox-low-percent",
        Count,
        mailbox_low,
        "how full it is when they are to go on"
    ),
    text!(
        "overflow",
        Overflow,
        overflow,
        "what becomes of messages that find a mailbox full"
    ),
    number!(
        "spill-bytes",
        Size,
        spill_bytes,
        "one agent's messages that may be spilled"
    ),
    number!(
        "outbox-messages",
        Count,
        outbox_messages,
        "one agent's effects without a verdict"
    ),
    number!(
        "outbox-bytes",
        Size,
        outbox_bytes,
        "bytes of one agent's effects without a verdict"
    ),
    number!(
        "open-asks",
        Count,
        open_asks,
        "asks of one agent without an answer"
    ),
    number!(
        "open-requests",
        Count,
        open_requests,
        "requests one agent has not answered"
    ),
    number!("timers", Count, timers, "timers of one agent"),
    number!(
        "streams",
        Count,
        streams,
        "streams one agent hears from, and speaks on, each"
    ),
    number!(
        "turn-log-bytes",
        Size,
        turn_log_bytes,
        "log one turn may write; more is cut"
    ),
    number!(
        "rollback-bytes",
        Size,
        rollback_bytes,
        "committed turns kept since the last checkpoint"
    ),
    span!(
        "idle-after",
        idle_after,
        "idle time before an agent hibernates"
    ),
    number!(
        "max-attempts",
        Count,
        max_attempts,
        "tries of a message that traps alone"
    ),
    span!(
        "give-up-after",
        give_up_after,
        "how long a reliable message is retried"
    ),
    text!(
        "retry",
        Schedule,
        retry,
        "how long it waits before it is tried again"
    ),
    number!(
        "retry-jitter-percent",
        Count,
        retry_jitter,
        "how much of a wait chance may take off"
    ),
    number!(
        "retry-attempts",
        Count,
        retry_attempts,
        "how often it is tried at most"
    ),
    word!(
        "message-priority",
        Priority,
        priority,
        Lane,
        "which lane its messages take"
    ),
    word!(
        "message-delivery",
        Delivery,
        delivery,
        Guarantee,
        "how often its messages take effect"
    ),
    word!(
        "message-consistency",
        Consistency,
        consistency,
        Consistency,
        "how far nodes agree on its messages"
    ),
    word!(
        "message-ordering",
        Ordering,
        ordering,
        Ordering,
        "in which order its messages come"
    ),
];

/// Names of all fields of a kind's policy, those of flow control too.
fn names() -> impl Iterator<Item = &'static str> {
    let own = FIELDS.iter().map(|field| field.name);
    own.chain([SUBSCRIPTIONS])
        .chain(FLOW_FIELDS.iter().map(|field| field.name))
}

impl Field {
    /// The field of that name, which is none of flow control's.
    pub fn named(name: &str) -> Result<&'static Self, PolicyError> {
        FIELDS
            .iter()
            .find(|field| field.name == name)
            .ok_or_else(|| PolicyError::Unknown {
                name: shown(name),
                near: nearest(name, names()),
                fields: names().collect(),
            })
    }

    /// The field's value in `policy`.
    pub fn value(&self, policy: &KindPolicy) -> PolicyValue {
        let value = match self.access {
            Access::Number { get, .. } => get(policy),
            Access::Text { get, .. } => return PolicyValue::Text(get(policy)),
        };
        match self.form {
            Form::Flag => PolicyValue::Flag(value != 0),
            Form::Spawn if value == 0 => PolicyValue::from(ON_MESSAGE),
            Form::Spawn => PolicyValue::from(EXPLICIT),
            Form::Count
            | Form::Size
            | Form::Span
            | Form::Overflow
            | Form::Schedule
            | Form::Priority
            | Form::Delivery
            | Form::Consistency
            | Form::Ordering => PolicyValue::Number(value),
        }
    }

    /// Sets the field in `policy`.
    pub fn apply(
        &'static self,
        policy: &mut KindPolicy,
        value: &PolicyValue,
    ) -> Result<(), PolicyError> {
        let is_set = match (&self.access, value) {
            (Access::Number { set, .. }, value) => {
                let number = self.form.read(value);
                number.is_some_and(|number| set(policy, number))
            }
            (Access::Text { set, .. }, PolicyValue::Text(text)) => set(policy, text),
            (Access::Text { .. }, _) => false,
        };
        match is_set {
            true => Ok(()),
            false => Err(PolicyError::Value {
                field: self.name,
                found: value.to_string(),
                accepted: self.form.accepted().to_owned(),
            }),
        }
    }
}

/// The one field that is a list.
pub const SUBSCRIPTIONS: &str = "subscriptions";
/// What leaves it to a message's type.
const BY_TYPE: &str = "by-type";
const ON_MESSAGE: &str = "on-message";
const EXPLICIT: &str = "explicit";

impl Form {
    /// What a value may look like, for messages.
    pub fn accepted(self) -> &'static str {
        match self {
            Self::Count => "a whole number below 4,294,967,296",
            Self::Size => SIZE_FORM,
            Self::Span => DURATION_FORM,
            Self::Flag => "true or false",
            Self::Spawn => "on-message or explicit",
            Self::Overflow => BadOverflow::FORM,
            Self::Schedule => BadSchedule::FORM,
            Self::Priority => "high, normal, low or bulk, or by-type",
            Self::Delivery => "exactly-once, at-least-once or at-most-once, or by-type",
            Self::Consistency => "strong, causal or eventual, or by-type",
            Self::Ordering => "total, causal, fifo or unordered, or by-type",
        }
    }

    /// A bare number is bytes for a size and milliseconds for a span: that is
    /// how policies are written when a program reads them back.
    fn read(self, value: &PolicyValue) -> Option<u64> {
        match (self, value) {
            (Self::Flag, PolicyValue::Flag(flag)) => Some(u64::from(*flag)),
            (Self::Flag, PolicyValue::Text(text)) => text.parse::<bool>().ok().map(u64::from),
            (Self::Count | Self::Size | Self::Span, PolicyValue::Number(number)) => Some(*number),
            (Self::Count, PolicyValue::Text(text)) => text.replace('_', "").parse().ok(),
            (Self::Size, PolicyValue::Text(text)) => parse_size(text),
            (Self::Span, PolicyValue::Text(text)) => parse_millis(text),
            (Self::Spawn, PolicyValue::Text(text)) => match text.as_str() {
                ON_MESSAGE => Some(0),
                EXPLICIT => Some(1),
                _ => None,
            },
            _ => None,
        }
    }
}

/// `policy` with the fields of `changes` set, all of them or none. Bounds that
/// do not fit one another are an error too.
pub fn changed(policy: &KindPolicy, changes: &Policy) -> Result<KindPolicy, PolicyError> {
    let mut policy = policy.clone();
    let mut flow = policy
        .flow
        .as_deref()
        .map(FlowFields::of)
        .unwrap_or_default();
    for (name, value) in &changes.0 {
        match FlowField::named(name) {
            Some(field) => flow::set(&mut flow, field, value)?,
            None if name == SUBSCRIPTIONS => policy.subscriptions = subscriptions(value)?,
            None => Field::named(name)?.apply(&mut policy, value)?,
        }
    }
    if !flow.is_empty() {
        policy.flow = Some(Arc::new(flow::build(&flow)?));
    }
    policy.validate().map_err(|bad| PolicyError::Value {
        field: bad.field,
        found: bad.found.to_string(),
        accepted: bad.accepted,
    })?;
    Ok(policy)
}

/// Every field of `policy` with its value; of flow control those of the limiters
/// it has.
pub fn shape(policy: &KindPolicy) -> Policy {
    let own = FIELDS
        .iter()
        .map(|field| (field.name.to_owned(), field.value(policy)));
    let flow = policy.flow.as_deref().map(flow::shape).unwrap_or_default();
    let mut shape: BTreeMap<_, _> = own.chain(flow.0).collect();
    if let Ok(list) = serde_json::from_str(policy.subscriptions.as_str()) {
        shape.insert(SUBSCRIPTIONS.to_owned(), PolicyValue::List(list));
    }
    Policy(shape)
}

/// Reads a kind's subscriptions: a list, or a text of JSON that is one.
fn subscriptions(value: &PolicyValue) -> Result<KindSubscriptions, PolicyError> {
    let read = match value {
        PolicyValue::List(list) => serde_json::Value::from(list.clone()).to_string().parse(),
        PolicyValue::Text(text) => text.parse(),
        PolicyValue::Flag(_) | PolicyValue::Number(_) => {
            Err(BadSubscriptions::Form("it is no list".to_owned()))
        }
    };
    read.map_err(|bad: BadSubscriptions| PolicyError::Value {
        field: SUBSCRIPTIONS,
        found: value.to_string(),
        accepted: format!("{}; {bad}", BadSubscriptions::FORM),
    })
}

/// Whether a field takes a value, other fields left aside.
pub fn check(name: &str, value: &PolicyValue) -> Result<(), PolicyError> {
    match FlowField::named(name) {
        Some(_) => flow::check(name, value),
        None if name == SUBSCRIPTIONS => subscriptions(value).map(drop),
        None => Field::named(name)?.apply(&mut KindPolicy::default(), value),
    }
}

#[cfg(test)]
mod tests {
    use phoenix_core::journal::SnapshotEvery;
    use phoenix_core::{AgentId, Overflow};

    use super::*;

    fn with(name: &str, value: impl Into<PolicyValue>) -> Result<KindPolicy, PolicyError> {
        changed(
            &KindPolicy::default(),
            &Policy([(name.to_owned(), value.into())].into()),
        )
    }

    #[test]
    fn every_field_of_the_policy_is_here() {
        // Without `..`: a field that is added to the policy breaks this line.
        let KindPolicy {
            spawn: _,
            movable: _,
            durable: _,
            // Two fields.
            snapshot_every: _,
            memory_bytes: _,
            table_elements: _,
            turn_deadline: _,
            turn_slice: _,
            max_message: _,
            batch_messages: _,
            batch_bytes: _,
            turn_effects: _,
            answer_bytes: _,
            mailbox_messages: _,
            mailbox_bytes: _,
            mailbox_high: _,
            mailbox_low: _,
            overflow: _,
            spill_bytes: _,
            outbox_messages: _,
            outbox_bytes: _,
            open_asks: _,
            open_requests: _,
            timers: _,
            streams: _,
            turn_log_bytes: _,
            rollback_bytes: _,
            idle_after: _,
            max_attempts: _,
            give_up_after: _,
            retry: _,
            retry_jitter: _,
            retry_attempts: _,
            treatment: _,
            // Its fields have a table of their own.
            flow: _,
            // A list.
            subscriptions: _,
        } = KindPolicy::default();
        assert_eq!(shape(&KindPolicy::default()).0.len(), FIELDS.len());
    }

    #[test]
    fn a_policy_reads_back_as_it_is_shown() {
        let policy = KindPolicy {
            spawn: SpawnPolicy::Explicit,
            movable: false,
            memory_bytes: 3 << 20,
            snapshot_every: SnapshotEvery {
                turns: 9,
                bytes: 8 << 10,
            },
            idle_after: Millis(77),
            mailbox_low: 3,
            overflow: Overflow::Redirect(AgentId::new("spare/1").unwrap()),
            retry: "linear:20ms+5ms..1s".parse().unwrap(),
            retry_attempts: 7,
            treatment: phoenix_core::taxonomy::Overrides {
                priority: Some(Lane::Low),
                delivery: Some(Guarantee::AtMostOnce),
                ..phoenix_core::taxonomy::Overrides::NONE
            },
            ..KindPolicy::default()
        };
        assert_eq!(
            changed(&KindPolicy::default(), &shape(&policy)).unwrap(),
            policy
        );
    }

    #[test]
    fn values_have_units() {
        assert_eq!(with("memory-bytes", "2MiB").unwrap().memory_bytes, 2 << 20);
        assert_eq!(
            with("idle-after", "1.5s").unwrap().idle_after,
            Millis(1_500)
        );
        assert_eq!(with("streams", "7").unwrap().streams, 7);
        assert!(!with("movable", "false").unwrap().movable);
        assert!(with("durable", "true").unwrap().durable);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let slip = with("memory-byte", 1_u64).unwrap_err();
        assert_eq!(slip.suggestion(), "did you mean `memory-bytes`?");
        for (name, value) in [
            ("idle-after", "soon"),
            ("memory-bytes", "3 parsecs"),
            ("spawn", "never"),
            ("movable", "perhaps"),
            ("durable", "perhaps"),
            ("snapshot-every-turns", "0"),
            ("snapshot-every-bytes", "1"),
            ("streams", "99999999999"),
            ("turn-deadline", "0"),
            ("overflow", "drop"),
            ("overflow", "redirect:nobody"),
            ("retry", "exponential:1s"),
            ("retry-jitter-percent", "101"),
            ("retry-attempts", "0"),
            ("mailbox-high-percent", "101"),
            ("mailbox-low-percent", "75"),
            ("message-priority", "urgent"),
            ("message-delivery", "twice"),
        ] {
            let error = with(name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.to_string().contains(value), "{error}");
        }
    }
}
