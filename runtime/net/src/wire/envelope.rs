//! Envelopes and acknowledgements: what most frames are made of.
//!
//! Both come in runs from or to the same agents, so each says with one bit
//! whether a name is the one before it in the frame. That saves bytes, and the
//! receiver an allocation.

use std::sync::Arc;

use phoenix_core::{
    Acknowledgement, AgentId, Ask, Body, ContentType, DeadReason, Envelope, Failure, Lane, Notice,
    Payload, Refusal, Reply, ReplyTo, Sender, Sequence, SkipReason, StreamKey,
};

use super::codec::{Wire, choice, record};
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
});

choice!(Notice as "a notice" {
    0 => Applied { through },
    1 => Skipped { number, reason },
    2 => Refused { expected, refusal },
});

choice!(SkipReason as "a reason for skipping" {
    0 => Expired,
    1 => Cancelled,
    2 => Dead(reason),
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
});

choice!(Refusal as "a refusal" {
    0 => MailboxFull,
    1 => OutOfOrder,
    2 => Busy,
});

impl Wire for Sequence {
    fn put(&self, out: &mut Output) {
        let Self {
            lane,
            number,
            base,
            give_up,
        } = self;
        lane.put(out);
        number.put(out);
        // The base is close below the number: the distance is short to write.
        number.wrapping_sub(*base).put(out);
        give_up.put(out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        let lane = Wire::get(input)?;
        let number = u64::get(input)?;
        let distance = u64::get(input)?;
        let sequence = Self {
            lane,
            number,
            base: number.wrapping_sub(distance),
            give_up: Wire::get(input)?,
        };
        if !sequence.is_valid() {
            return Err(Malformed::Unknown {
                what: "a message's number",
                found: number,
            });
        }
        Ok(sequence)
    }
}

/// The sender is the one before.
const SAME_SENDER: u8 = 1;
/// The receiver is the one before.
const SAME_RECEIVER: u8 = 1 << 1;
/// The method is the one before.
const SAME_METHOD: u8 = 1 << 2;
/// A sequence is there.
const SEQUENCE: u8 = 1 << 3;
/// An ask is there.
const ASK: u8 = 1 << 4;
/// The body is a reply.
const REPLY: u8 = 1 << 5;
/// The body is a spawn; neither bit is a message.
const SPAWN: u8 = 1 << 6;
/// An original sender is there.
const ORIGINAL: u8 = 1 << 7;

/// An envelope by itself, as in a dead letter.
impl Wire for Arc<Envelope> {
    fn put(&self, out: &mut Output) {
        Run::default().put_envelope(self, out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        ReadRun::default().envelope(input).map(Arc::new)
    }
}

/// The names that were written, or read, last in this frame.
#[derive(Debug, Default)]
pub(super) struct Run<'a> {
    sender: Option<&'a Sender>,
    receiver: Option<&'a AgentId>,
    method: Option<&'a Arc<str>>,
}

impl<'a> Run<'a> {
    fn names(&mut self, sender: &'a Sender, receiver: &'a AgentId) -> u8 {
        let mut flags = 0;
        if self.sender == Some(sender) {
            flags |= SAME_SENDER;
        }
        if self.receiver == Some(receiver) {
            flags |= SAME_RECEIVER;
        }
        self.sender = Some(sender);
        self.receiver = Some(receiver);
        flags
    }

    pub(super) fn put_envelope(&mut self, envelope: &'a Envelope, out: &mut Output) {
        let Envelope {
            from,
            original,
            to,
            sequence,
            body,
        } = envelope;
        let mut flags = self.names(from, to);
        if sequence.is_some() {
            flags |= SEQUENCE;
        }
        if original.is_some() {
            flags |= ORIGINAL;
        }
        flags |= match body {
            Body::Message { method, ask, .. } => {
                let same = self.method == Some(method);
                self.method = Some(method);
                (if same { SAME_METHOD } else { 0 }) | (if ask.is_some() { ASK } else { 0 })
            }
            Body::Reply { .. } => REPLY,
            Body::Spawn { ask, .. } => SPAWN | if ask.is_some() { ASK } else { 0 },
        };
        out.byte(flags);
        put_names(flags, from, to, out);
        if let Some(sequence) = sequence {
            sequence.put(out);
        }
        if let Some(original) = original {
            original.put(out);
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
        }
    }

    pub(super) fn put_acknowledgement(
        &mut self,
        acknowledgement: &'a Acknowledgement,
        out: &mut Output,
    ) {
        let Acknowledgement { stream, notice } = acknowledgement;
        let StreamKey {
            sender,
            receiver,
            lane,
        } = stream;
        let flags = self.names(sender, receiver);
        out.byte(flags);
        put_names(flags, sender, receiver, out);
        lane.put(out);
        notice.put(out);
    }
}

fn put_names(flags: u8, sender: &Sender, receiver: &AgentId, out: &mut Output) {
    if flags & SAME_SENDER == 0 {
        sender.put(out);
    }
    if flags & SAME_RECEIVER == 0 {
        receiver.put(out);
    }
}

/// The same for reading.
#[derive(Debug, Default)]
pub(super) struct ReadRun {
    sender: Option<Sender>,
    receiver: Option<AgentId>,
    method: Option<Arc<str>>,
}

impl ReadRun {
    fn names(&mut self, flags: u8, input: &mut Input) -> Result<(Sender, AgentId), Malformed> {
        if flags & SAME_SENDER == 0 {
            self.sender = Some(Sender::get(input)?);
        }
        if flags & SAME_RECEIVER == 0 {
            self.receiver = Some(AgentId::get(input)?);
        }
        match (&self.sender, &self.receiver) {
            (Some(sender), Some(receiver)) => Ok((sender.clone(), receiver.clone())),
            _ => Err(Malformed::Name(
                "a name like the one before, at the beginning",
            )),
        }
    }

    fn method(&mut self, flags: u8, input: &mut Input) -> Result<Arc<str>, Malformed> {
        if flags & SAME_METHOD == 0 {
            self.method = Some(Wire::get(input)?);
        }
        self.method.clone().ok_or(Malformed::Name(
            "a method like the one before, at the beginning",
        ))
    }

    pub(super) fn envelope(&mut self, input: &mut Input) -> Result<Envelope, Malformed> {
        let flags = input.byte("an envelope")?;
        let (from, to) = self.names(flags, input)?;
        let sequence = if flags & SEQUENCE == 0 {
            None
        } else {
            Some(Sequence::get(input)?)
        };
        let original = (flags & ORIGINAL != 0)
            .then(|| Sender::get(input).map(Arc::new))
            .transpose()?;
        let ask = |input: &mut Input| {
            if flags & ASK == 0 {
                Ok(None)
            } else {
                Ask::get(input).map(Some)
            }
        };
        let body = match flags & (REPLY | SPAWN) {
            0 => Body::Message {
                method: self.method(flags, input)?,
                payload: Wire::get(input)?,
                ask: ask(input)?,
            },
            REPLY => Body::Reply {
                ask: Wire::get(input)?,
                asker: Wire::get(input)?,
                reply: Wire::get(input)?,
            },
            SPAWN => Body::Spawn {
                config: Wire::get(input)?,
                ask: ask(input)?,
            },
            found => {
                return Err(Malformed::Unknown {
                    what: "an envelope's body",
                    found: found.into(),
                });
            }
        };
        Ok(Envelope {
            from,
            original,
            to,
            sequence,
            body,
        })
    }

    pub(super) fn acknowledgement(
        &mut self,
        input: &mut Input,
    ) -> Result<Acknowledgement, Malformed> {
        let flags = input.byte("an acknowledgement")?;
        let (sender, receiver) = self.names(flags, input)?;
        let lane = Wire::get(input)?;
        Ok(Acknowledgement {
            stream: StreamKey {
                sender,
                receiver,
                lane,
            },
            notice: Wire::get(input)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phoenix_core::{Millis, PeerMessage};

    #[test]
    fn a_number_no_stream_can_have_is_refused() {
        for (number, base) in [(0, 0), (1, 0), (3, 4), (0, 1)] {
            let envelope = Envelope {
                from: Sender::System,
                original: None,
                to: AgentId::new("a/b").unwrap(),
                sequence: Some(Sequence {
                    lane: Lane::Normal,
                    number,
                    base,
                    give_up: Millis(1),
                }),
                body: Body::Spawn {
                    config: Payload::default(),
                    ask: None,
                },
            };
            let mut out = Output::new();
            let message = PeerMessage::Deliver(vec![Arc::new(envelope)]);
            crate::wire::encode(&message, 1 << 20, &mut out).unwrap();
            // A frame is its length and then what a reader is given.
            let frame = out.into_bytes().slice(4..);
            crate::wire::decode(frame).unwrap_err();
        }
    }
}
