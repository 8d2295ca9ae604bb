//! Envelopes and acknowledgements: what most frames are made of.
//!
//! Both come in runs of the same stream, so each says with one bit whether its
//! stream is the one before it in the frame, or else which half of it is. That
//! saves bytes, and the receiver allocations: what it reads shares one key.

use std::num::NonZeroU64;
use std::sync::Arc;

use phoenix_core::attributes::{BadAttribute, MAX_CUSTOM, Value};
use phoenix_core::{
    Acknowledgement, Ask, Attributes, Body, Bounce, ContentType, DeadReason, Envelope, Expiry,
    Extras, Failure, Lane, Notice, Original, Payload, Refusal, Reply, ReplyTo, Sender, Sequence,
    SkipReason, SmolStr, StreamKey,
};

use super::codec::{Wire, choice, named, record};
use super::input::{Input, Malformed};
use super::output::Output;

choice!(ContentType as "a content type" {
    0 => None,
    1 => MessagePack,
    2 => Json,
    3 => Binary,
});

record!(Payload {
    content_type,
    bytes
});
record!(Failure {
    code,
    message,
    details
});

choice!(Sender as "a sender" {
    0 => Agent(agent, incarnation),
    1 => Client(client, node),
    2 => System,
});

choice!(Lane as "a lane" {
    0 => High,
    1 => Normal,
    2 => Low,
    3 => Bulk,
    4 => Reply,
});

choice!(ReplyTo as "a reply's address" {
    0 => Agent(agent, incarnation),
    1 => Client(node),
});

record!(Ask {
    id,
    reply_to,
    deadline
});

choice!(Reply as "a reply" {
    0 => Ok(payload),
    1 => Failed(failure),
    2 => Timeout,
    3 => Bounced(why),
    4 => Deadlock,
    5 => Unavailable(why),
    6 => TurnedDown(why),
});

choice!(Notice as "a notice" {
    0 => Applied { after, through },
    1 => Skipped { number, reason },
    2 => Refused { expected, number, refusal },
    3 => Credit { taken, window },
});

choice!(SkipReason as "a reason for skipping" {
    0 => Expired,
    1 => Cancelled,
    2 => Dead(reason),
    3 => Redirected,
    4 => TurnedDown(why),
});

choice!(DeadReason as "a dead letter's reason" {
    0 => Trapped(why),
    1 => NoSuchKind,
    2 => NoSuchAgent,
    3 => Stopped,
    4 => TooLarge,
    5 => Forgotten,
    6 => InitFailed(why),
    7 => Quarantined(why),
    8 => GaveUp,
    9 => Reset,
    10 => Overflow,
    11 => Expired,
    12 => NoCredit,
});

choice!(Refusal as "a refusal" {
    0 => MailboxFull,
    1 => OutOfOrder,
    2 => Busy,
    3 => Flow(notice),
    4 => JournalFull,
});

record!(Bounce {
    to,
    method,
    payload,
    reason,
    unsure,
});
record!(Expiry { at, report });
record!(Original {
    sender,
    receiver,
    number,
    redirects,
});
record!(Extras {
    expiry,
    original,
    attributes
});

impl Wire for Sequence {
    fn put(&self, out: &mut Output) {
        let Self {
            number,
            base,
            give_up,
        } = self;
        number.put(out);
        // The base is close below the number: the distance is short to write.
        number.wrapping_sub(base.get()).put(out);
        give_up.put(out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        let number: u64 = named(input, "a message's number")?;
        let distance: u64 = named(input, "a message's base")?;
        let give_up = named(input, "a message's give-up time")?;
        NonZeroU64::new(number.wrapping_sub(distance))
            .map(|base| Self {
                number,
                base,
                give_up,
            })
            .filter(Self::is_valid)
            .ok_or(Malformed::Unknown {
                what: "a message's number",
                found: number,
            })
    }
}

impl Wire for Value {
    fn put(&self, out: &mut Output) {
        match self {
            Self::Boolean(value) => out.byte(u8::from(*value)),
            Self::Integer(value) => {
                out.byte(2);
                out.raw(&value.to_le_bytes());
            }
            Self::Text(text) => {
                out.byte(3);
                out.text(text);
            }
        }
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        Ok(match input.byte("an attribute's value")? {
            tag @ (0 | 1) => Self::Boolean(tag == 1),
            2 => Self::Integer(i32::from_le_bytes(input.array("an attribute's value")?)),
            3 => Self::Text(named(input, "an attribute's value")?),
            found => {
                return Err(Malformed::Unknown {
                    what: "an attribute's value",
                    found: found.into(),
                });
            }
        })
    }
}

/// Most attributes that one message may have: as many custom ones as there may
/// be, and all that have a meaning.
const MAX_ATTRIBUTES: usize = MAX_CUSTOM + 40;

/// Attributes by their names: few messages have any, and a new one is no new format.
impl Wire for Arc<Attributes> {
    fn put(&self, out: &mut Output) {
        let fields = self.fields();
        out.number(fields.len() as u64);
        for (name, value) in fields {
            out.text(name);
            value.put(out);
        }
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        let bad = |bad: BadAttribute| Malformed::Attribute(Box::new(bad));
        let (count, _) = input.count(MAX_ATTRIBUTES, "attributes")?;
        let mut attributes = Attributes::new();
        for _ in 0..count {
            let name: Arc<str> = named(input, "an attribute's name")?;
            let value = Value::get(input)?;
            attributes.set(&name, &value).map_err(bad)?;
        }
        attributes.check().map_err(bad)?;
        Ok(Self::new(attributes))
    }
}

// The flags are a varint: those that are rare come last.
/// The stream is the one before: same sender, receiver and lane.
const SAME_STREAM: u32 = 1;
/// The method is the one before.
const SAME_METHOD: u32 = 1 << 1;
/// A sequence is there.
const SEQUENCE: u32 = 1 << 2;
/// An ask is there.
const ASK: u32 = 1 << 3;
/// The body is a reply.
const REPLY: u32 = 1 << 4;
/// The body is a spawn; neither bit is a message, and both are a bounce.
const SPAWN: u32 = 1 << 5;
/// Where the stream is not the one before, the sender is.
const SAME_SENDER: u32 = 1 << 6;
/// Where the stream is not the one before, the receiver is.
const SAME_RECEIVER: u32 = 1 << 7;
/// What few messages carry follows.
const EXTRAS: u32 = 1 << 8;
/// All of them.
const FLAGS: u32 = (1 << 9) - 1;
const BOUNCE: u32 = REPLY | SPAWN;

/// An envelope by itself, as in a dead letter.
impl Wire for Arc<Envelope> {
    fn put(&self, out: &mut Output) {
        Run::default().put_envelope(self, out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        ReadRun::default().envelope(input).map(Arc::new)
    }
}

/// What was written last in this frame.
#[derive(Debug, Default)]
pub(super) struct Run<'a> {
    stream: Option<&'a StreamKey>,
    method: Option<&'a SmolStr>,
}

impl<'a> Run<'a> {
    /// What of `stream` need not be written.
    fn known(&mut self, stream: &'a StreamKey) -> u32 {
        let Some(last) = self.stream.replace(stream) else {
            return 0;
        };
        // Messages of a stream share its key.
        if std::ptr::eq(last, stream) || last == stream {
            return SAME_STREAM;
        }
        let mut flags = 0;
        if last.sender == stream.sender {
            flags |= SAME_SENDER;
        }
        if last.receiver == stream.receiver {
            flags |= SAME_RECEIVER;
        }
        flags
    }

    pub(super) fn put_envelope(&mut self, envelope: &'a Envelope, out: &mut Output) {
        let Envelope {
            stream,
            sequence,
            body,
            extras,
        } = envelope;
        let mut flags = self.known(stream);
        if extras.is_some() {
            flags |= EXTRAS;
        }
        if sequence.is_some() {
            flags |= SEQUENCE;
        }
        flags |= match body {
            Body::Message { method, ask, .. } => {
                let same = self.method == Some(method);
                self.method = Some(method);
                (if same { SAME_METHOD } else { 0 }) | (if ask.is_some() { ASK } else { 0 })
            }
            Body::Reply { .. } => REPLY,
            Body::Spawn { ask, .. } => SPAWN | if ask.is_some() { ASK } else { 0 },
            Body::Bounce(_) => BOUNCE,
        };
        flags.put(out);
        put_stream(flags, stream, out);
        if let Some(sequence) = sequence {
            sequence.put(out);
        }
        match body {
            Body::Message {
                method,
                payload,
                ask,
            } => {
                if flags & SAME_METHOD == 0 {
                    method.put(out);
                }
                payload.put(out);
                if let Some(ask) = ask {
                    ask.put(out);
                }
            }
            Body::Reply { ask, asker, reply } => {
                ask.put(out);
                asker.put(out);
                reply.put(out);
            }
            Body::Spawn { config, ask } => {
                config.put(out);
                if let Some(ask) = ask {
                    ask.put(out);
                }
            }
            Body::Bounce(bounce) => bounce.put(out),
        }
        if let Some(extras) = extras {
            extras.put(out);
        }
    }

    pub(super) fn put_acknowledgement(
        &mut self,
        acknowledgement: &'a Acknowledgement,
        out: &mut Output,
    ) {
        let Acknowledgement { stream, notice } = acknowledgement;
        let flags = self.known(stream);
        flags.put(out);
        put_stream(flags, stream, out);
        notice.put(out);
    }
}

fn flags(what: &'static str, input: &mut Input) -> Result<u32, Malformed> {
    let flags = u32::get(input)?;
    if flags & !FLAGS != 0 {
        return Err(Malformed::Unknown {
            what,
            found: flags.into(),
        });
    }
    Ok(flags)
}

fn put_stream(flags: u32, stream: &StreamKey, out: &mut Output) {
    if flags & SAME_STREAM != 0 {
        return;
    }
    let StreamKey {
        sender,
        receiver,
        lane,
    } = stream;
    if flags & SAME_SENDER == 0 {
        sender.put(out);
    }
    if flags & SAME_RECEIVER == 0 {
        receiver.put(out);
    }
    lane.put(out);
}

/// The same for reading.
#[derive(Debug, Default)]
pub(super) struct ReadRun {
    stream: Option<Arc<StreamKey>>,
    method: Option<SmolStr>,
}

impl ReadRun {
    /// The stream, shared with the one before if it is the same.
    fn stream(&mut self, flags: u32, input: &mut Input) -> Result<Arc<StreamKey>, Malformed> {
        let last = self.stream.as_deref();
        let last = |flag: u32| match last {
            _ if flags & flag == 0 => Ok(None),
            Some(last) => Ok(Some(last)),
            None => Err(Malformed::Name(
                "a name like the one before, at the beginning",
            )),
        };
        if last(SAME_STREAM)?.is_none() {
            let (sender, receiver) = (last(SAME_SENDER)?, last(SAME_RECEIVER)?);
            let sender = match sender {
                Some(last) => last.sender.clone(),
                None => Wire::get(input)?,
            };
            let receiver = match receiver {
                Some(last) => last.receiver.clone(),
                None => Wire::get(input)?,
            };
            let lane = Wire::get(input)?;
            self.stream = Some(StreamKey::shared(sender, receiver, lane));
        }
        self.stream.clone().ok_or(Malformed::Name("a stream"))
    }

    fn method(&mut self, flags: u32, input: &mut Input) -> Result<SmolStr, Malformed> {
        if flags & SAME_METHOD == 0 {
            self.method = Some(named(input, "a method")?);
        }
        self.method.clone().ok_or(Malformed::Name(
            "a method like the one before, at the beginning",
        ))
    }

    pub(super) fn envelope(&mut self, input: &mut Input) -> Result<Envelope, Malformed> {
        let flags = flags("an envelope", input)?;
        let stream = self.stream(flags, input)?;
        let sequence = if flags & SEQUENCE == 0 {
            None
        } else {
            Some(Sequence::get(input)?)
        };
        let ask = |input: &mut Input| {
            if flags & ASK == 0 {
                Ok(None)
            } else {
                Ask::get(input).map(|ask| Some(Box::new(ask)))
            }
        };
        let body = match flags & (REPLY | SPAWN) {
            0 => Body::Message {
                method: self.method(flags, input)?,
                payload: Wire::get(input)?,
                ask: ask(input)?,
            },
            REPLY => Body::Reply {
                ask: named(input, "the number of an ask")?,
                asker: Wire::get(input)?,
                reply: Wire::get(input)?,
            },
            SPAWN => Body::Spawn {
                config: Wire::get(input)?,
                ask: ask(input)?,
            },
            // The two bits have no other values.
            _ => Body::Bounce(Wire::get(input)?),
        };
        let extras = if flags & EXTRAS == 0 {
            None
        } else {
            Some(Wire::get(input)?)
        };
        Ok(Envelope {
            stream,
            sequence,
            body,
            extras,
        })
    }

    pub(super) fn acknowledgement(
        &mut self,
        input: &mut Input,
    ) -> Result<Acknowledgement, Malformed> {
        let flags = flags("an acknowledgement", input)?;
        Ok(Acknowledgement {
            stream: self.stream(flags, input)?,
            notice: Wire::get(input)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phoenix_core::Millis;

    #[test]
    fn a_number_no_stream_can_have_is_refused() {
        // Beside how far below it the base lies.
        let give_up = Millis(1);
        for (number, distance, is_one) in [
            (1_u64, 0, true),
            (4, 3, true),
            (0, 0, false),
            (1, 1, false),
            (3, u64::MAX, false),
            (0, u64::MAX, false),
        ] {
            let mut out = Output::new();
            number.put(&mut out);
            u64::put(&distance, &mut out);
            give_up.put(&mut out);
            let read = Sequence::get(&mut Input::new(out.into_bytes()));
            assert_eq!(read.is_ok(), is_one, "{number}, {distance} above its base");
        }
    }
}
