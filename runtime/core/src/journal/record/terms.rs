//! What an agent runs under.

use std::sync::Arc;

use crate::flow::{FlowField, FlowFields, FlowForm, FlowPolicy, FlowValue};
use crate::journal::SnapshotEvery;
use crate::journal::record::RecordError;
use crate::snapshot::codec::{Reader, Writer};
use crate::taxonomy::{Consistency, Guarantee, Ordering, Overrides};
use crate::{Digest, KindPolicy, Lane, Millis, Overflow, SpawnPolicy};

/// The version of its kind and the limits an agent runs under: part of what a replay
/// needs to give the same answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The component, as it was deployed.
    pub component: Digest,
    /// The limits.
    pub policy: KindPolicy,
}

impl Terms {
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.0.extend_from_slice(&self.component.0);
        let policy = &self.policy;
        w.u8(match policy.spawn {
            SpawnPolicy::OnMessage => 0,
            SpawnPolicy::Explicit => 1,
        });
        w.u8(u8::from(policy.movable));
        w.u8(u8::from(policy.durable));
        w.text(&policy.overflow.to_string());
        w.retry(&policy.retry_policy());
        let Overrides {
            priority,
            consistency,
            ordering,
            delivery,
        } = policy.treatment;
        for word in [
            priority.map(Lane::as_str),
            consistency.map(Consistency::as_str),
            ordering.map(Ordering::as_str),
            delivery.map(Guarantee::as_str),
        ] {
            w.text(word.unwrap_or_default());
        }
        for number in numbers(policy) {
            w.number(number);
        }
        put_flow(policy.flow.as_deref(), w);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        let component = Digest(r.array("component")?);
        let spawn = match r.u8("spawn")? {
            0 => SpawnPolicy::OnMessage,
            1 => SpawnPolicy::Explicit,
            _ => return Err(RecordError::Invalid("spawn")),
        };
        let movable = r.flag("movable")?;
        let durable = r.flag("durable")?;
        let overflow = r.text("overflow")?;
        let overflow: Overflow = overflow
            .parse()
            .map_err(|_| RecordError::Invalid("overflow"))?;
        let retry = r.retry()?;
        let treatment = Overrides {
            priority: word(r, Lane::of_word)?,
            consistency: word(r, Consistency::of_word)?,
            ordering: word(r, Ordering::of_word)?,
            delivery: word(r, Guarantee::of_word)?,
        };
        let mut long = || r.number("limit");
        let mut policy = KindPolicy {
            spawn,
            movable,
            durable,
            overflow,
            treatment,
            memory_bytes: long()?,
            mailbox_bytes: long()?,
            spill_bytes: long()?,
            outbox_bytes: long()?,
            turn_deadline: Millis(long()?),
            turn_slice: Millis(long()?),
            idle_after: Millis(long()?),
            give_up_after: Millis(long()?),
            snapshot_every: SnapshotEvery {
                bytes: long()?,
                ..SnapshotEvery::default()
            },
            retry: retry.schedule,
            retry_jitter: retry.jitter,
            retry_attempts: retry.attempts,
            ..KindPolicy::default()
        };
        for field in shorts(&mut policy) {
            let number = r.number("limit")?;
            *field = u32::try_from(number).map_err(|_| RecordError::Invalid("limit"))?;
        }
        policy.flow = flow(r)?;
        Ok(Self { component, policy })
    }
}

/// The kind's gate: its fields by name, then an empty name. What passes it is decided
/// before the mailbox, so a replay needs none; but what an agent ran under is read
/// back as it was.
fn put_flow(policy: Option<&FlowPolicy>, w: &mut Writer<'_>) {
    let fields = policy.map(FlowFields::of).unwrap_or_default();
    for (field, value) in fields.iter() {
        w.text(field.name);
        match value {
            FlowValue::Number(number) => w.number(*number),
            FlowValue::Text(text) => w.text(text),
        }
    }
    w.text("");
}

fn flow(r: &mut Reader<'_>) -> Result<Option<Arc<FlowPolicy>>, RecordError> {
    const INVALID: RecordError = RecordError::Invalid("flow policy");
    let mut fields = FlowFields::default();
    loop {
        let name = r.text("flow policy")?;
        if name.is_empty() {
            break;
        }
        let field = FlowField::named(name).ok_or(INVALID)?;
        let value = match field.form {
            FlowForm::Unit | FlowForm::Name => FlowValue::Text(r.text("flow policy")?.to_owned()),
            FlowForm::Count | FlowForm::Amount | FlowForm::Span => {
                FlowValue::Number(r.number("flow policy")?)
            }
        };
        fields.set(field, value);
    }
    if fields.is_empty() {
        return Ok(None);
    }
    let policy = fields.build().map_err(|_| INVALID)?;
    Ok(Some(Arc::new(policy)))
}

/// A word of these, or none.
fn word<T>(r: &mut Reader<'_>, of_word: fn(&str) -> Option<T>) -> Result<Option<T>, RecordError> {
    let text = r.text("treatment")?;
    if text.is_empty() {
        return Ok(None);
    }
    let found = of_word(text).ok_or(RecordError::Invalid("treatment"))?;
    Ok(Some(found))
}

/// The policy's numbers, those that may be long first.
fn numbers(policy: &KindPolicy) -> impl Iterator<Item = u64> {
    let long = [
        policy.memory_bytes,
        policy.mailbox_bytes,
        policy.spill_bytes,
        policy.outbox_bytes,
        policy.turn_deadline.0,
        policy.turn_slice.0,
        policy.idle_after.0,
        policy.give_up_after.0,
        policy.snapshot_every.bytes,
    ];
    let short = shorts(&mut policy.clone()).map(|field| u64::from(*field));
    long.into_iter().chain(short)
}

/// The policy's short numbers. A field that is added has to find its place in here or
/// in [`numbers`].
fn shorts(policy: &mut KindPolicy) -> [&mut u32; 18] {
    let KindPolicy {
        spawn: _,
        movable: _,
        durable: _,
        snapshot_every: SnapshotEvery { turns, bytes: _ },
        memory_bytes: _,
        table_elements,
        turn_deadline: _,
        turn_slice: _,
        max_message,
        batch_messages,
        batch_bytes,
        turn_effects,
        answer_bytes,
        mailbox_messages,
        mailbox_bytes: _,
        mailbox_high,
        mailbox_low,
        overflow: _,
        spill_bytes: _,
        outbox_messages,
        outbox_bytes: _,
        open_asks,
        open_requests,
        timers,
        streams,
        turn_log_bytes,
        rollback_bytes,
        idle_after: _,
        max_attempts,
        give_up_after: _,
        retry: _,
        retry_jitter: _,
        retry_attempts: _,
        // Written by the names of its fields.
        flow: _,
        // Topics' owners have them; an agent runs without.
        subscriptions: _,
        treatment: _,
    } = policy;
    [
        table_elements,
        max_message,
        batch_messages,
        batch_bytes,
        turn_effects,
        answer_bytes,
        mailbox_messages,
        mailbox_high,
        mailbox_low,
        outbox_messages,
        open_asks,
        open_requests,
        timers,
        streams,
        turn_log_bytes,
        rollback_bytes,
        max_attempts,
        turns,
    ]
}
