//! Reading and writing the primitives a snapshot is made of.
//!
//! Numbers are LEB128 varints, texts and bytes are length-prefixed. A reader
//! checks every length against the bytes that are left before it allocates.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_wit::ContentType;

use super::SnapshotError;
use crate::agent::{Closed, Input, Token};
use crate::attributes::Value;
use crate::{
    AgentId, Ask, Attributes, Body, Bounce, ClientId, DeadReason, Envelope, Expiry, Extras,
    Failure, Incarnation, Lane, Millis, NodeId, Original, Payload, Reply, ReplyTo, RetryPolicy,
    Schedule, Sender, Sequence, SkipReason, StreamKey,
};

/// Of an envelope's optional parts: its sequence is there.
const SEQUENCE: u8 = 1;
/// Its extras are there.
const EXTRAS: u8 = 1 << 1;

/// Appends to a snapshot.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            // The low seven bits, and the bit that says more follow.
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn incarnation(&mut self, incarnation: Incarnation) {
        self.number(incarnation.generation);
        self.number(incarnation.boot);
        self.number(incarnation.count);
    }

    pub(crate) fn sender(&mut self, sender: &Sender) {
        match sender {
            Sender::Agent(id, incarnation) => {
                self.u8(0);
                self.text(id.as_str());
                self.incarnation(*incarnation);
            }
            Sender::Client(client, node) => {
                self.u8(1);
                self.text(client.as_str());
                self.number(u64::from(node.0));
            }
            Sender::System => self.u8(2),
        }
    }

    pub(crate) fn payload(&mut self, payload: &Payload) {
        self.u8(payload.content_type as u8);
        self.bytes(&payload.bytes);
    }

    /// How what was not applied was closed. What a person reads of it is not kept.
    pub(crate) fn closed(&mut self, how: &Closed) {
        self.u8(match how {
            Closed::Quietly => 0,
            Closed::Unknown => 1,
            Closed::For(SkipReason::Expired) => 2,
            Closed::For(SkipReason::Cancelled) => 3,
            Closed::For(SkipReason::Redirected) => 4,
            Closed::For(SkipReason::Dead(reason)) => match reason {
                DeadReason::Trapped(_) => 5,
                DeadReason::NoSuchKind => 6,
                DeadReason::NoSuchAgent => 7,
                DeadReason::Stopped => 8,
                DeadReason::TooLarge => 9,
                DeadReason::Forgotten => 10,
                DeadReason::InitFailed(_) => 11,
                DeadReason::Quarantined(_) => 12,
                DeadReason::GaveUp => 13,
                DeadReason::Reset => 14,
                DeadReason::Overflow => 15,
                DeadReason::Expired => 16,
                DeadReason::NoCredit => 17,
            },
            Closed::For(SkipReason::TurnedDown(_)) => 18,
        });
    }

    /// A retry policy, but for when it gives up: its message says that.
    pub(crate) fn retry(&mut self, retry: &RetryPolicy) {
        let RetryPolicy {
            schedule,
            jitter,
            attempts,
            give_up_after: _,
        } = retry;
        match schedule {
            Schedule::Fixed { wait } => {
                self.u8(0);
                self.number(wait.0);
            }
            Schedule::Linear { first, step, most } => {
                self.u8(1);
                self.number(first.0);
                self.number(step.0);
                self.number(most.0);
            }
            Schedule::Exponential { first, most } => {
                self.u8(2);
                self.number(first.0);
                self.number(most.0);
            }
        }
        self.number((*jitter).into());
        self.number((*attempts).into());
    }

    pub(crate) fn ask(&mut self, ask: &Ask) {
        self.number(ask.id);
        match &ask.reply_to {
            ReplyTo::Agent(id, incarnation) => {
                self.u8(0);
                self.text(id.as_str());
                self.incarnation(*incarnation);
            }
            ReplyTo::Client(node) => {
                self.u8(1);
                self.number(u64::from(node.0));
            }
        }
        self.number(ask.deadline.0);
    }

    fn optional_ask(&mut self, ask: Option<&Ask>) {
        self.u8(u8::from(ask.is_some()));
        if let Some(ask) = ask {
            self.ask(ask);
        }
    }

    pub(crate) fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Ok(payload) => {
                self.u8(0);
                self.payload(payload);
            }
            Reply::Failed(failure) => {
                self.u8(1);
                self.text(&failure.code);
                self.text(&failure.message);
                self.payload(&failure.details);
            }
            Reply::Timeout => self.u8(2),
            Reply::Bounced(why) => {
                self.u8(3);
                self.text(why);
            }
            Reply::Deadlock => self.u8(4),
            Reply::Unavailable(why) => {
                self.u8(5);
                self.text(why);
            }
            // Only clients get one, and no agent keeps it: what it tells an agent.
            Reply::TurnedDown(why) => {
                self.u8(5);
                self.text(&why.text);
            }
        }
    }

    /// An input. Of one that is framed, the frame kept with it has what its message says.
    pub(crate) fn input(&mut self, input: &Input, is_framed: bool) {
        match input {
            Input::Init { config } => {
                self.u8(0);
                self.payload(config);
            }
            Input::Envelope(envelope, _) => {
                self.u8(1);
                self.envelope_with(envelope, !is_framed);
            }
            Input::Ended { ask, reply } => {
                self.u8(2);
                self.number(*ask);
                self.reply(reply);
            }
            Input::Timer { id, due } => {
                self.u8(3);
                self.number(*id);
                self.number(due.0);
            }
            Input::Abandoned { ask } => {
                self.u8(4);
                self.number(*ask);
            }
            Input::Verdict(verdict) => {
                self.u8(5);
                // The frame has all of it.
                if !is_framed {
                    verdict.encode(self);
                }
            }
        }
    }

    pub(crate) fn envelope(&mut self, envelope: &Envelope) {
        self.envelope_with(envelope, true);
    }

    fn envelope_with(&mut self, envelope: &Envelope, whole: bool) {
        self.sender(envelope.sender());
        self.text(envelope.receiver().as_str());
        self.u8(envelope.stream.lane as u8);
        let part = |is_there: bool, bit| if is_there { bit } else { 0 };
        let sequence = part(envelope.sequence.is_some(), SEQUENCE);
        self.u8(sequence | part(envelope.extras.is_some(), EXTRAS));
        if let Some(sequence) = &envelope.sequence {
            self.number(sequence.number);
            self.number(sequence.base.get());
            self.number(sequence.give_up.0);
        }
        match &envelope.body {
            Body::Message {
                method,
                payload,
                ask,
            } => {
                self.u8(0);
                if whole {
                    self.text(method);
                    self.payload(payload);
                }
                self.optional_ask(ask.as_deref());
            }
            Body::Reply { ask, asker, reply } => {
                self.u8(1);
                self.number(*ask);
                self.incarnation(*asker);
                self.reply(reply);
            }
            Body::Spawn { config, ask } => {
                self.u8(2);
                self.payload(config);
                self.optional_ask(ask.as_deref());
            }
            Body::Bounce(bounce) => {
                self.u8(3);
                self.text(bounce.to.as_str());
                self.text(&bounce.method);
                self.payload(&bounce.payload);
                self.text(&bounce.reason);
                self.u8(u8::from(bounce.unsure));
            }
        }
        if let Some(extras) = &envelope.extras {
            self.extras(extras);
        }
    }

    fn extras(&mut self, extras: &Extras) {
        let Extras {
            expiry,
            original,
            attributes,
        } = extras;
        self.u8(u8::from(expiry.is_some()));
        if let Some(Expiry { at, report }) = expiry {
            self.number(at.0);
            self.u8(u8::from(*report));
        }
        self.u8(u8::from(original.is_some()));
        if let Some(original) = original {
            self.sender(&original.sender);
            self.text(original.receiver.as_str());
            // Streams count from 1.
            self.number(original.number.unwrap_or(0));
            self.u8(original.redirects);
        }
        self.u8(u8::from(attributes.is_some()));
        if let Some(attributes) = attributes {
            self.attributes(attributes);
        }
    }

    /// Attributes by their names: few messages have any, and a new one is no new format.
    fn attributes(&mut self, attributes: &Attributes) {
        let fields = attributes.fields();
        self.number(fields.len() as u64);
        for (name, value) in fields {
            self.text(name);
            match value {
                Value::Boolean(value) => self.u8(u8::from(value)),
                Value::Integer(value) => {
                    self.u8(2);
                    self.0.extend_from_slice(&value.to_le_bytes());
                }
                Value::Text(text) => {
                    self.u8(3);
                    self.text(&text);
                }
            }
        }
    }
}

/// A cursor over an untrusted snapshot.
pub(crate) struct Reader<'a> {
    whole: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(whole: &'a Bytes, end: usize) -> Self {
        Self {
            whole,
            rest: whole.get(..end).unwrap_or_default(),
        }
    }

    /// Where the cursor stands.
    pub(crate) fn at(&self, end: usize) -> usize {
        end - self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn slice(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], SnapshotError> {
        let (head, tail) = self
            .rest
            .split_at_checked(n)
            .ok_or(SnapshotError::Short(what))?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, SnapshotError> {
        match self.slice(1, what)? {
            [byte] => Ok(*byte),
            _ => Err(SnapshotError::Short(what)),
        }
    }

    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, SnapshotError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(SnapshotError::Invalid(what))
    }

    /// A count of things of which each takes at least `least` bytes.
    pub(crate) fn count(
        &mut self,
        least: usize,
        what: &'static str,
    ) -> Result<usize, SnapshotError> {
        let count = usize::try_from(self.number(what)?).map_err(|_| SnapshotError::Short(what))?;
        if count.saturating_mul(least) > self.rest.len() {
            return Err(SnapshotError::Short(what));
        }
        Ok(count)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], SnapshotError> {
        self.slice(N, what)?
            .try_into()
            .map_err(|_| SnapshotError::Short(what))
    }

    /// Bytes, shared with the snapshot.
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Bytes, SnapshotError> {
        let n = self.count(1, what)?;
        let slice = self.slice(n, what)?;
        Ok(if slice.is_empty() {
            Bytes::new()
        } else {
            self.whole.slice_ref(slice)
        })
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, SnapshotError> {
        let n = self.count(1, what)?;
        std::str::from_utf8(self.slice(n, what)?).map_err(|_| SnapshotError::Invalid(what))
    }

    pub(crate) fn token(&mut self) -> Result<Token, SnapshotError> {
        Token::new(self.number("token")?).ok_or(SnapshotError::Invalid("token"))
    }

    pub(crate) fn agent(&mut self) -> Result<AgentId, SnapshotError> {
        AgentId::new(self.text("agent id")?).map_err(|_| SnapshotError::Invalid("agent id"))
    }

    fn node(&mut self) -> Result<NodeId, SnapshotError> {
        u32::try_from(self.number("node")?)
            .map(NodeId)
            .map_err(|_| SnapshotError::Invalid("node"))
    }

    pub(crate) fn incarnation(&mut self) -> Result<Incarnation, SnapshotError> {
        Ok(Incarnation {
            generation: self.number("incarnation")?,
            boot: self.number("incarnation")?,
            count: self.number("incarnation")?,
        })
    }

    pub(crate) fn sender(&mut self) -> Result<Sender, SnapshotError> {
        Ok(match self.u8("sender")? {
            0 => Sender::Agent(self.agent()?, self.incarnation()?),
            1 => {
                let client =
                    ClientId::new(self.text("client")?).ok_or(SnapshotError::Invalid("client"))?;
                Sender::Client(client, self.node()?)
            }
            2 => Sender::System,
            _ => return Err(SnapshotError::Invalid("sender")),
        })
    }

    pub(crate) fn lane(&mut self) -> Result<Lane, SnapshotError> {
        Self::lane_of(self.u8("lane")?)
    }

    pub(crate) fn lane_of(number: u8) -> Result<Lane, SnapshotError> {
        Ok(match number {
            0 => Lane::High,
            1 => Lane::Normal,
            2 => Lane::Low,
            3 => Lane::Bulk,
            4 => Lane::Reply,
            _ => return Err(SnapshotError::Invalid("lane")),
        })
    }

    pub(crate) fn payload(&mut self) -> Result<Payload, SnapshotError> {
        let content_type = match self.u8("content type")? {
            0 => ContentType::None,
            1 => ContentType::MessagePack,
            2 => ContentType::Json,
            3 => ContentType::Binary,
            _ => return Err(SnapshotError::Invalid("content type")),
        };
        Ok(Payload {
            content_type,
            bytes: self.bytes("payload")?.into(),
        })
    }

    pub(crate) fn closed(&mut self) -> Result<Closed, SnapshotError> {
        let dead = |reason| Closed::For(SkipReason::Dead(reason));
        Ok(match self.u8("skips")? {
            0 => Closed::Quietly,
            1 => Closed::Unknown,
            2 => Closed::For(SkipReason::Expired),
            3 => Closed::For(SkipReason::Cancelled),
            4 => Closed::For(SkipReason::Redirected),
            5 => dead(DeadReason::Trapped("".into())),
            6 => dead(DeadReason::NoSuchKind),
            7 => dead(DeadReason::NoSuchAgent),
            8 => dead(DeadReason::Stopped),
            9 => dead(DeadReason::TooLarge),
            10 => dead(DeadReason::Forgotten),
            11 => dead(DeadReason::InitFailed("".into())),
            12 => dead(DeadReason::Quarantined("".into())),
            13 => dead(DeadReason::GaveUp),
            14 => dead(DeadReason::Reset),
            15 => dead(DeadReason::Overflow),
            16 => dead(DeadReason::Expired),
            17 => dead(DeadReason::NoCredit),
            18 => Closed::For(SkipReason::TurnedDown("".into())),
            _ => return Err(SnapshotError::Invalid("skips")),
        })
    }

    pub(crate) fn retry(&mut self) -> Result<RetryPolicy, SnapshotError> {
        let mut wait = || self.number("retry").map(Millis);
        let how = wait()?.0;
        let schedule = match how {
            0 => Schedule::Fixed { wait: wait()? },
            1 => Schedule::Linear {
                first: wait()?,
                step: wait()?,
                most: wait()?,
            },
            2 => Schedule::Exponential {
                first: wait()?,
                most: wait()?,
            },
            _ => return Err(SnapshotError::Invalid("retry")),
        };
        let count = |it: Millis| u32::try_from(it.0).map_err(|_| SnapshotError::Invalid("retry"));
        let policy = RetryPolicy {
            schedule,
            jitter: count(wait()?)?,
            attempts: count(wait()?)?,
            ..RetryPolicy::DEFAULT
        };
        policy
            .validate()
            .map_err(|_| SnapshotError::Invalid("retry"))?;
        Ok(policy)
    }

    pub(crate) fn ask(&mut self) -> Result<Ask, SnapshotError> {
        Ok(Ask {
            id: self.number("ask")?,
            reply_to: match self.u8("ask")? {
                0 => ReplyTo::Agent(self.agent()?, self.incarnation()?),
                1 => ReplyTo::Client(self.node()?),
                _ => return Err(SnapshotError::Invalid("ask")),
            },
            deadline: Millis(self.number("deadline")?),
        })
    }

    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, SnapshotError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SnapshotError::Invalid(what)),
        }
    }

    fn optional_ask(&mut self) -> Result<Option<Box<Ask>>, SnapshotError> {
        self.flag("ask")?
            .then(|| self.ask().map(Box::new))
            .transpose()
    }

    pub(crate) fn reply(&mut self) -> Result<Reply, SnapshotError> {
        Ok(match self.u8("reply")? {
            0 => Reply::Ok(self.payload()?),
            1 => Reply::Failed(Box::new(Failure {
                code: self.text("code")?.into(),
                message: self.text("message")?.into(),
                details: self.payload()?,
            })),
            2 => Reply::Timeout,
            3 => Reply::Bounced(self.text("reason")?.into()),
            4 => Reply::Deadlock,
            5 => Reply::Unavailable(self.text("reason")?.into()),
            _ => return Err(SnapshotError::Invalid("reply")),
        })
    }

    pub(crate) fn envelope(&mut self) -> Result<Envelope, SnapshotError> {
        self.envelope_with(None)
    }

    /// Reads what [`Writer::input`] wrote of a framed envelope; method and payload of a message
    /// are `framed`.
    pub(crate) fn framed_envelope(
        &mut self,
        framed: (&str, Payload),
    ) -> Result<Envelope, SnapshotError> {
        self.envelope_with(Some(framed))
    }

    fn envelope_with(
        &mut self,
        framed: Option<(&str, Payload)>,
    ) -> Result<Envelope, SnapshotError> {
        let stream = StreamKey {
            sender: self.sender()?,
            receiver: self.agent()?,
            lane: self.lane()?,
        };
        let parts = self.u8("envelope")?;
        if parts & !(SEQUENCE | EXTRAS) != 0 {
            return Err(SnapshotError::Invalid("envelope"));
        }
        let sequence = if parts & SEQUENCE != 0 {
            let sequence = Sequence {
                number: self.number("sequence")?,
                base: NonZeroU64::new(self.number("base")?)
                    .ok_or(SnapshotError::Invalid("base"))?,
                give_up: Millis(self.number("give-up")?),
            };
            if !sequence.is_valid() {
                return Err(SnapshotError::Invalid("sequence"));
            }
            Some(sequence)
        } else {
            None
        };
        let body = match self.u8("body")? {
            0 => {
                let (method, payload) = match framed {
                    Some(framed) => framed,
                    None => (self.text("method")?, self.payload()?),
                };
                Body::Message {
                    method: method.into(),
                    payload,
                    ask: self.optional_ask()?,
                }
            }
            1 => Body::Reply {
                ask: self.number("ask")?,
                asker: self.incarnation()?,
                reply: self.reply()?,
            },
            2 => Body::Spawn {
                config: self.payload()?,
                ask: self.optional_ask()?,
            },
            3 => Body::Bounce(Box::new(Bounce {
                to: self.agent()?,
                method: self.text("method")?.into(),
                payload: self.payload()?,
                reason: self.text("reason")?.into(),
                unsure: self.flag("bounce")?,
            })),
            _ => return Err(SnapshotError::Invalid("body")),
        };
        let extras = if parts & EXTRAS != 0 {
            Some(Box::new(self.extras()?))
        } else {
            None
        };
        Ok(Envelope {
            stream: Arc::new(stream),
            sequence,
            body,
            extras,
        })
    }

    fn extras(&mut self) -> Result<Extras, SnapshotError> {
        Ok(Extras {
            expiry: if self.flag("expiry")? {
                Some(Expiry {
                    at: Millis(self.number("expiry")?),
                    report: self.flag("expiry")?,
                })
            } else {
                None
            },
            original: if self.flag("original")? {
                Some(Original {
                    sender: self.sender()?,
                    receiver: self.agent()?,
                    number: Some(self.number("original")?).filter(|number| *number > 0),
                    redirects: self.u8("original")?,
                })
            } else {
                None
            },
            attributes: if self.flag("attributes")? {
                Some(self.attributes()?)
            } else {
                None
            },
        })
    }

    fn attributes(&mut self) -> Result<Arc<Attributes>, SnapshotError> {
        let mut attributes = Attributes::new();
        // A name of one letter, and a value.
        for _ in 0..self.count(3, "attributes")? {
            let name = self.text("attribute")?;
            let value = match self.u8("attribute")? {
                tag @ (0 | 1) => Value::Boolean(tag == 1),
                2 => Value::Integer(i32::from_le_bytes(self.array("attribute")?)),
                3 => Value::text(self.text("attribute")?),
                _ => return Err(SnapshotError::Invalid("attribute")),
            };
            attributes
                .set(name, &value)
                .map_err(|_| SnapshotError::Invalid("attribute"))?;
        }
        attributes
            .check()
            .map_err(|_| SnapshotError::Invalid("attributes"))?;
        Ok(Arc::new(attributes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(attributes: Option<Arc<Attributes>>) -> Envelope {
        Envelope {
            stream: StreamKey::shared(Sender::System, AgentId::new("a/b").unwrap(), Lane::Normal),
            sequence: None,
            body: Body::Spawn {
                config: Payload::default(),
                ask: None,
            },
            extras: attributes.map(|attributes| {
                Box::new(Extras {
                    attributes: Some(attributes),
                    ..Extras::default()
                })
            }),
        }
    }

    fn written(envelope: &Envelope) -> Vec<u8> {
        let mut bytes = Vec::new();
        Writer(&mut bytes).envelope(envelope);
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<Envelope, SnapshotError> {
        let bytes = Bytes::from(bytes);
        Reader::new(&bytes, bytes.len()).envelope()
    }

    #[test]
    fn an_envelopes_attributes_are_kept() {
        let mut attributes = Attributes::new();
        for (name, value) in [
            ("correlationid", Value::text("cart 12")),
            ("priority", Value::text("bulk")),
            ("comexamplecount", Value::Integer(-5)),
            ("comexampleflag", Value::Boolean(true)),
        ] {
            attributes.set(name, &value).unwrap();
        }
        for said in [None, attributes.shared()] {
            let said = envelope(said);
            assert_eq!(read(written(&said)), Ok(said));
        }
    }

    #[test]
    fn malformed_attributes_are_refused() {
        let mut attributes = Attributes::new();
        attributes.set("priority", &Value::text("bulk")).unwrap();
        let good = written(&envelope(attributes.shared()));
        for at in 0..good.len() {
            read(good[..at].to_vec()).unwrap_err();
        }
        // A count that no snapshot has room for.
        let mut many = written(&envelope(Some(Arc::default())));
        assert_eq!(many.pop(), Some(0), "the count of none");
        many.extend([0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(read(many), Err(SnapshotError::Short("attributes")));
        let bad = good
            .iter()
            .map(|byte| if *byte == b'k' { b'x' } else { *byte });
        assert_eq!(
            read(bad.collect()),
            Err(SnapshotError::Invalid("attribute"))
        );
    }
}
