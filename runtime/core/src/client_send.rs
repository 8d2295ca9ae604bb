//! How outside clients' messages are sent: what they may say of it, and what
//! becomes of that.
//!
//! ```text
//!  type ──▶ taxonomy ──▶ the receiver's kind ──▶ the send's own words ──▶ lane, reliability
//!  number, key or event's id ──────────────────────────────────────────▶ stream and place in it
//!  spans and instants, the client's patience ──────────────────────────▶ when it is over
//! ```
//!
//! A client's message is reliable only if a repetition of it can be told from a
//! new one. It can be if the client numbers its messages, if it gives the message a
//! key, or if it is an event, which its source and its id name.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::attributes::Attributes;
use crate::control::ClientMessage;
use crate::taxonomy::{Characteristics, Guarantee, Overrides};
use crate::{
    ClientId, Digest, Envelope, Expiry, Extras, Millis, NodeId, Original, Sender, Sequence,
    StreamKey,
};

/// How long a client's message that is numbered or has a key is worth trying, where
/// it does not say. The client repeats it.
pub const CLIENT_GIVE_UP: Millis = Millis(600_000);

/// Longest time after which a client's message may be given up.
pub const MAX_CLIENT_GIVE_UP: Millis = Millis(3_600_000);

/// Longest time for which a client's message may be of use.
pub const MAX_CLIENT_TTL: Millis = Millis(86_400_000);

/// Longest key that a client may give a message, bytes.
pub const MAX_CLIENT_KEY: usize = 255;

/// How a client's message is sent, where that is not as its type and its receiver's
/// kind have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// What it wants otherwise than its type has it.
    pub overrides: Overrides,
    /// After how long it is of no use and is not put to its receiver any more.
    pub ttl: Option<Millis>,
    /// From when on that is so, since 1970-01-01 UTC. The earlier of the two counts.
    pub expiry: Option<Millis>,
    /// Whether it is to be a dead letter then.
    pub report_expired: bool,
    /// After how long it is given up: it is refused, or skipped, from then on.
    pub give_up: Option<Millis>,
    /// Names the message among those of its client to its receiver: sent again
    /// under its key, it is applied once.
    pub key: Option<Arc<str>>,
    /// What it says of itself.
    pub attributes: Option<Arc<Attributes>>,
}

impl ClientOptions {
    /// For a message: `None` if nothing is said.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// What a client's message says of how it is to be sent, that does not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadClientSend {
    /// It is numbered, and has a key too.
    #[error("`sequence` and `key` both name the message: give one of them")]
    TwoNames,
    /// It has a name, and is not to be kept.
    #[error(
        "`delivery` is at-most-once: it must be exactly-once or at-least-once, or left out, where `sequence` or `key` is given"
    )]
    NamedAndForgotten,
    /// It is to be kept, and a repetition could not be told from a new one.
    #[error(
        "`delivery` is {}: it must be at-most-once, or left out, unless `sequence` or `key` tells a message that is sent again from a new one",
        .0.as_str()
    )]
    Nameless(Guarantee),
    /// It is to be reported when it is over, and is never over.
    #[error("`report_expired` is true: it must be false, or left out, where no `ttl` is given")]
    NothingToReport,
}

/// What a client's message goes out with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTerms {
    /// Whose stream on which lane.
    pub stream: Arc<StreamKey>,
    /// Its place there; `None` for at-most-once.
    pub sequence: Option<Sequence>,
    /// What few messages carry.
    pub extras: Option<Box<Extras>>,
    /// When whoever waits for what becomes of it stops.
    pub deadline: Millis,
}

/// From where and when a client's message is sent.
#[derive(Clone, Copy, Debug)]
pub struct ClientSend<'a> {
    /// Who sends.
    pub client: &'a ClientId,
    /// Through which node.
    pub node: NodeId,
    /// What its receiver's kind wants otherwise than types have it.
    pub kind: &'a Overrides,
    /// Now.
    pub now: Millis,
    /// When the client stops waiting.
    pub deadline: Millis,
}

impl ClientMessage {
    /// Whether what it says goes together.
    ///
    /// # Errors
    ///
    /// Names the field, and what it may be.
    pub fn check(&self) -> Result<(), BadClientSend> {
        let Some(options) = self.options.as_deref() else {
            return Ok(());
        };
        let is_event = event_name(options).is_some();
        match (options.overrides.delivery, self.sequence, &options.key) {
            (_, Some(_), Some(_)) => return Err(BadClientSend::TwoNames),
            (Some(Guarantee::AtMostOnce), None, None) | (None, ..) => {}
            (Some(Guarantee::AtMostOnce), ..) => return Err(BadClientSend::NamedAndForgotten),
            (Some(wanted), None, None) if !is_event => return Err(BadClientSend::Nameless(wanted)),
            (Some(_), ..) => {}
        }
        if options.report_expired && options.ttl.is_none() && options.expiry.is_none() {
            return Err(BadClientSend::NothingToReport);
        }
        Ok(())
    }

    /// What it goes out with. Whatever does not go together is sent as surely as any
    /// part of it asks for.
    pub fn terms(&self, from: &ClientSend<'_>) -> ClientTerms {
        let said = self.options.as_deref();
        let treated = self.characteristics(from.kind);
        let named = match (self.sequence, said.and_then(|said| said.key.as_deref())) {
            (Some(number), _) => Some((from.client.clone(), number.max(1))),
            (None, Some(key)) => Some((once("key", from.client.as_str(), key), 1)),
            (None, None) => said
                .and_then(event_name)
                .filter(|_| treated.delivery != Guarantee::AtMostOnce)
                .map(|(source, id)| (once("event", source, id), 1)),
        };
        let after = |span: Millis| from.now + span;
        let event_deadline = said.and_then(|said| said.attributes.as_ref()?.deadline());
        let give_up = said.and_then(|said| said.give_up).map(after);
        let soonest = |one: Option<Millis>, other: Option<Millis>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let give_up = soonest(give_up, event_deadline);
        let deadline = event_deadline.map_or(from.deadline, |at| at.min(from.deadline));
        let expiry = said
            .and_then(|said| soonest(said.ttl.map(after), said.expiry))
            .map(|at| Expiry {
                at,
                report: said.is_some_and(|said| said.report_expired),
            });
        let node = from.node;
        let of_client = |client: ClientId| Sender::Client(client, node);
        let (speaker, number) = match named {
            Some((speaker, number)) => (speaker, Some(number)),
            None => (from.client.clone(), None),
        };
        // Agents are to see who sends, not the key.
        let original = (speaker != *from.client).then(|| Original {
            sender: of_client(from.client.clone()),
            receiver: self.agent.clone(),
            number: None,
            redirects: 0,
        });
        let extras = Extras {
            expiry,
            original,
            attributes: said.and_then(|said| said.attributes.clone()),
        };
        ClientTerms {
            stream: StreamKey::shared(of_client(speaker), self.agent.clone(), treated.priority),
            sequence: number.map(|number| Sequence {
                number,
                base: NonZeroU64::MIN,
                give_up: give_up.unwrap_or(from.now + CLIENT_GIVE_UP),
            }),
            extras: (extras != Extras::default()).then(|| Box::new(extras)),
            // Of one that is sent once nobody hears after it was given up.
            deadline: match (number, give_up) {
                (None, Some(give_up)) => deadline.min(give_up),
                _ => deadline,
            },
        }
    }

    /// How it is treated: as its type, its receiver's kind and itself have it.
    pub fn characteristics(&self, kind: &Overrides) -> Characteristics {
        let said = self.options.as_deref();
        let own = said.map_or(Overrides::NONE, |said| said.overrides);
        let stated = said
            .and_then(|said| said.attributes.as_ref())
            .and_then(|it| it.message_type());
        let of_type = stated.map_or(Characteristics::AGENT, |stated| Characteristics::of(stated));
        of_type.with(kind).with(&own)
    }
}

/// What names an event, whoever sends it and however often: its source and its id.
fn event_name(options: &ClientOptions) -> Option<(&str, &str)> {
    let said = options.attributes.as_ref()?;
    Some((said.source()?, said.id()?))
}

/// The client that sends a message of that name, and no other.
fn once(what: &str, scope: &str, name: &str) -> ClientId {
    // No scope has the separator in it: a client's id has no such letter, nor has a
    // text of an event.
    let digest = Digest::of(format!("{what}\0{scope}\0{name}").as_bytes());
    let mut text = format!("{what}-{digest}");
    // A digest of 128 bits is as good as its own, and leaves room.
    text.truncate(what.len() + 1 + 32);
    ClientId::new(&text).unwrap_or_else(|| unreachable!("a word and hexadecimal digits"))
}

impl ClientTerms {
    /// Who speaks, and the number there whose verdict is waited for; `None` for
    /// at-most-once.
    pub fn named(&self) -> Option<(&ClientId, u64)> {
        let Sender::Client(client, _) = &self.stream.sender else {
            return None;
        };
        Some((client, self.sequence?.number))
    }

    /// The message, put together.
    pub fn envelope(self, body: crate::Body) -> Envelope {
        Envelope {
            stream: self.stream,
            sequence: self.sequence,
            body,
            extras: self.extras,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{Value, names};
    use crate::{AgentId, Body, Lane, Payload};

    const NOW: Millis = Millis(1_700_000_000_000);

    fn message(sequence: Option<u64>, options: ClientOptions) -> ClientMessage {
        ClientMessage {
            agent: AgentId::new("counter/a").unwrap(),
            method: "add".into(),
            payload: Payload::default(),
            sequence,
            options: options.boxed(),
        }
    }

    fn said(attributes: &[(&str, &str)]) -> Option<Arc<Attributes>> {
        let mut all = Attributes::new();
        for (name, value) in attributes {
            all.set(name, &Value::text(*value)).unwrap();
        }
        all.shared()
    }

    fn client() -> ClientId {
        ClientId::new("me").unwrap()
    }

    fn terms(message: &ClientMessage, kind: &Overrides) -> ClientTerms {
        message.terms(&ClientSend {
            client: &client(),
            node: NodeId(1),
            kind,
            now: NOW,
            deadline: NOW + Millis(5_000),
        })
    }

    fn wanting(delivery: Guarantee) -> ClientOptions {
        ClientOptions {
            overrides: Overrides {
                delivery: Some(delivery),
                ..Overrides::NONE
            },
            ..ClientOptions::default()
        }
    }

    #[test]
    fn a_plain_message_is_sent_once_on_the_normal_lane() {
        let terms = terms(&message(None, ClientOptions::default()), &Overrides::NONE);
        assert_eq!(terms.named(), None);
        assert_eq!((&terms.sequence, &terms.extras), (&None, &None));
        assert_eq!(terms.stream.lane, Lane::Normal);
        assert_eq!(terms.stream.sender, Sender::Client(client(), NodeId(1)));
        assert_eq!(terms.deadline, NOW + Millis(5_000));
    }

    #[test]
    fn the_send_goes_before_the_kind_and_the_kind_before_the_type() {
        let of_type = |priority| ClientOptions {
            overrides: Overrides {
                priority,
                ..Overrides::NONE
            },
            attributes: said(&[(names::TYPE, "phoenix.observability.cpu.load")]),
            ..ClientOptions::default()
        };
        let kind = Overrides {
            priority: Some(Lane::High),
            ..Overrides::NONE
        };
        let lane = |options, kind| terms(&message(Some(1), options), kind).stream.lane;
        assert_eq!(lane(of_type(None), &Overrides::NONE), Lane::Low);
        assert_eq!(lane(of_type(None), &kind), Lane::High);
        assert_eq!(lane(of_type(Some(Lane::Bulk)), &kind), Lane::Bulk);
        assert_eq!(lane(ClientOptions::default(), &kind), Lane::High);
    }

    #[test]
    fn a_numbered_message_stands_in_its_client_s_stream_on_its_lane() {
        let options = ClientOptions {
            overrides: Overrides {
                priority: Some(Lane::High),
                ..Overrides::NONE
            },
            give_up: Some(Millis(7_000)),
            ..ClientOptions::default()
        };
        let terms = terms(&message(Some(4), options), &Overrides::NONE);
        assert_eq!(terms.named(), Some((&client(), 4)));
        assert_eq!(terms.stream.lane, Lane::High);
        assert_eq!(terms.sequence.unwrap().give_up, NOW + Millis(7_000));
        assert_eq!(terms.extras, None);
    }

    #[test]
    fn a_message_with_a_key_is_the_only_one_of_its_stream() {
        let keyed = |key: &str| {
            let options = ClientOptions {
                key: Some(key.into()),
                ..ClientOptions::default()
            };
            terms(&message(None, options), &Overrides::NONE)
        };
        let (one, again, other) = (keyed("k"), keyed("k"), keyed("l"));
        assert_eq!(one.stream, again.stream);
        assert_ne!(one.stream.sender, other.stream.sender);
        let sequence = one.sequence.unwrap();
        assert_eq!((sequence.number, sequence.base), (1, NonZeroU64::MIN));
        assert_eq!(sequence.give_up, NOW + CLIENT_GIVE_UP);
        // The agent sees who sent it.
        let envelope = one.envelope(Body::Spawn {
            config: Payload::default(),
            ask: None,
        });
        let sender = Sender::Client(client(), NodeId(1));
        assert_eq!(*envelope.first_sender(), sender);
        assert_ne!(*envelope.sender(), sender);
    }

    #[test]
    fn an_event_is_named_by_source_and_id_if_its_type_is_kept() {
        let event = |message_type, id: &str| {
            let attributes = [
                (names::ID, id),
                (names::SOURCE, "/shop"),
                (names::TYPE, message_type),
            ];
            let options = ClientOptions {
                attributes: said(&attributes),
                ..ClientOptions::default()
            };
            message(None, options)
        };
        let order = event("com.shop.order", "1");
        let from = |name| {
            let name = ClientId::new(name).unwrap();
            let from = ClientSend {
                client: &name,
                node: NodeId(2),
                kind: &Overrides::NONE,
                now: NOW,
                deadline: NOW,
            };
            let terms = order.terms(&from);
            let (speaker, number) = terms.named().unwrap();
            (speaker.clone(), number)
        };
        assert_eq!(from("x"), from("y"), "whoever sends it");
        let kept = |message: &ClientMessage, kind: &Overrides| {
            terms(message, kind)
                .named()
                .map(|(client, _)| client.clone())
        };
        let none = Overrides::NONE;
        assert_ne!(
            kept(&order, &none),
            kept(&event("com.shop.order", "2"), &none)
        );
        let load = event("phoenix.metric.cpu.load", "1");
        assert_eq!(kept(&load, &none), None);
        let keeping = Overrides {
            delivery: Some(Guarantee::ExactlyOnce),
            ..none
        };
        assert!(kept(&load, &keeping).is_some());
        let forgetting = Overrides {
            delivery: Some(Guarantee::AtMostOnce),
            ..none
        };
        assert_eq!(kept(&order, &forgetting), None);
    }

    #[test]
    fn the_earliest_end_counts() {
        let options = ClientOptions {
            ttl: Some(Millis(900)),
            expiry: Some(NOW + Millis(800)),
            report_expired: true,
            give_up: Some(Millis(400)),
            ..ClientOptions::default()
        };
        let found = terms(&message(None, options), &Overrides::NONE);
        let expiry = found.extras.unwrap().expiry.unwrap();
        assert_eq!((expiry.at, expiry.report), (NOW + Millis(800), true));
        assert_eq!(found.deadline, NOW + Millis(400));
        let soon = ClientOptions {
            give_up: Some(Millis(4_000)),
            attributes: said(&[(names::DEADLINE, "2023-11-14T22:13:22Z")]),
            ..ClientOptions::default()
        };
        let found = terms(&message(Some(1), soon), &Overrides::NONE);
        assert_eq!(found.deadline, NOW + Millis(2_000));
        assert_eq!(found.sequence.unwrap().give_up, NOW + Millis(2_000));
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let keyed = |options| ClientOptions {
            key: Some("k".into()),
            ..options
        };
        let once = || wanting(Guarantee::AtMostOnce);
        let reported = ClientOptions {
            report_expired: true,
            ..ClientOptions::default()
        };
        for (sequence, options, bad) in [
            (
                Some(1),
                keyed(ClientOptions::default()),
                BadClientSend::TwoNames,
            ),
            (Some(1), once(), BadClientSend::NamedAndForgotten),
            (None, keyed(once()), BadClientSend::NamedAndForgotten),
            (
                None,
                wanting(Guarantee::AtLeastOnce),
                BadClientSend::Nameless(Guarantee::AtLeastOnce),
            ),
            (None, reported, BadClientSend::NothingToReport),
        ] {
            assert_eq!(message(sequence, options).check(), Err(bad));
        }
        for (sequence, options) in [
            (None, ClientOptions::default()),
            (None, once()),
            (None, keyed(wanting(Guarantee::ExactlyOnce))),
            (Some(1), wanting(Guarantee::AtLeastOnce)),
        ] {
            message(sequence, options).check().unwrap();
        }
    }
}
