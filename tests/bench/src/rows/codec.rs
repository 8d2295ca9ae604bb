//! What it costs to write and read a message in each format, beside what the
//! bare serialisation library does with the same fields. Theirs check nothing;
//! ours check every attribute's form and bound.

use std::hint::black_box;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use phoenix_core::attributes::Nonce;
use phoenix_core::{
    AgentId, Body, ContentType, Envelope, Incarnation, Lane, Millis, NodeId, Payload, PeerMessage,
    Sender, Sequence, StreamKey,
};
use phoenix_net::formats::{self, CloudEvent, EventLimits, Format};
use phoenix_net::wire::{self, Decoder, HEADER, Output};
use serde::{Deserialize, Serialize};

use super::each;
use crate::measure::{Pair, Row, Side};

/// Messages in one batch.
const BATCH: u32 = 64;
/// Batches in one sample.
const BATCHES: u32 = 200;

/// What is written and read.
const DATA: &[u8] = br#"{"by":5,"note":"as many bytes as a small command has, or so"}"#;

/// The frames that nodes exchange, beside MessagePack arrays.
pub(super) fn compact() -> Row {
    Row {
        name: "codec_compact",
        what: "one message written into a frame between nodes and read from it",
        unit: "ns",
        peer_name: "rmp-serde, the same fields as an array",
        bar: 1.0,
        aim: 0.5,
        max_rounds: 100,
        open: || {
            let envelopes: Vec<_> = (0..u64::from(BATCH))
                .map(|at| Arc::new(envelope(at)))
                .collect();
            let message = PeerMessage::Deliver(envelopes);
            let theirs = events()?;
            pair(
                move || {
                    let mut out = Output::new();
                    wire::encode(&message, 16 << 20, &mut out)?;
                    let mut bytes = out.into_bytes();
                    bytes.advance(HEADER);
                    Ok(bytes)
                },
                |bytes| {
                    black_box(Decoder::new(16 << 20).decode(bytes)?);
                    Ok(())
                },
                move || Ok(rmp_serde::to_vec(&theirs)?),
                |bytes| {
                    black_box(rmp_serde::from_slice::<Vec<Plain>>(bytes)?);
                    Ok(())
                },
            )
        },
    }
}

/// Events in MessagePack, beside maps.
pub(super) fn message_pack() -> Row {
    Row {
        name: "codec_message_pack",
        what: "one event written in MessagePack and read",
        unit: "ns",
        peer_name: "rmp-serde, the same fields as a map",
        bar: 2.0,
        aim: 1.0,
        max_rounds: 100,
        open: || {
            let theirs = events()?;
            pair(
                written(Format::MessagePack),
                read(Format::MessagePack),
                move || Ok(rmp_serde::to_vec_named(&theirs)?),
                |bytes| {
                    black_box(rmp_serde::from_slice::<Vec<Plain>>(bytes)?);
                    Ok(())
                },
            )
        },
    }
}

/// Events in Protocol Buffers, beside a message without a map.
pub(super) fn protobuf() -> Row {
    Row {
        name: "codec_protobuf",
        what: "one event written in Protocol Buffers and read",
        unit: "ns",
        peer_name: "prost, the same fields without a map of attributes",
        bar: 4.0,
        aim: 2.0,
        max_rounds: 100,
        open: || {
            let theirs = Plains { events: events()? };
            pair(
                written(Format::Protobuf),
                read(Format::Protobuf),
                move || Ok(prost::Message::encode_to_vec(&theirs)),
                |bytes| {
                    black_box(<Plains as prost::Message>::decode(bytes)?);
                    Ok(())
                },
            )
        },
    }
}

/// Events in JSON, beside a struct.
pub(super) fn json() -> Row {
    Row {
        name: "codec_json",
        what: "one event written in JSON and read",
        unit: "ns",
        peer_name: "serde_json, the same fields",
        bar: 2.0,
        aim: 1.0,
        max_rounds: 100,
        open: || {
            let theirs = events()?;
            pair(
                written(Format::Json),
                read(Format::Json),
                move || Ok(serde_json::to_vec(&theirs)?),
                |bytes| {
                    black_box(serde_json::from_slice::<Vec<Plain>>(bytes)?);
                    Ok(())
                },
            )
        },
    }
}

/// An event's fields as a struct has them.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
struct Plain {
    #[prost(string, tag = "1")]
    specversion: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(string, tag = "3")]
    source: String,
    #[prost(string, tag = "4")]
    r#type: String,
    #[prost(string, tag = "5")]
    subject: String,
    #[prost(string, tag = "6")]
    datacontenttype: String,
    #[prost(string, tag = "7")]
    delivery: String,
    #[prost(string, tag = "8")]
    priority: String,
    #[prost(string, tag = "9")]
    sequence: String,
    #[prost(string, tag = "10")]
    incarnation: String,
    #[prost(string, tag = "11")]
    base: String,
    #[prost(string, tag = "12")]
    giveup: String,
    #[prost(string, tag = "13")]
    data: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Plains {
    #[prost(message, repeated, tag = "1")]
    events: Vec<Plain>,
}

fn envelope(number: u64) -> Envelope {
    let id = |kind: &str| {
        let id = AgentId::new(&format!("{kind}/{}", number % 8));
        id.unwrap_or_else(|_| unreachable!("a kind and a key are an id"))
    };
    let life = Incarnation {
        generation: 2,
        boot: 1,
        count: 300,
    };
    Envelope {
        stream: StreamKey::shared(
            Sender::Agent(id("visitor"), life),
            id("counter"),
            Lane::Normal,
        ),
        sequence: Some(Sequence {
            number: number + 1,
            base: NonZeroU64::MIN,
            give_up: Millis(1_767_268_800_000),
        }),
        body: Body::Message {
            method: "add".into(),
            payload: Payload {
                content_type: ContentType::Json,
                bytes: DATA.into(),
            },
            ask: None,
        },
        extras: None,
    }
}

fn event(number: u64) -> CloudEvent {
    let nonce = Nonce {
        node: NodeId(1),
        boot: 1,
        serial: number,
    };
    CloudEvent::of(&envelope(number), nonce)
}

/// The same for the other side.
fn events() -> anyhow::Result<Vec<Plain>> {
    (0..u64::from(BATCH))
        .map(|number| {
            let event = event(number);
            let text = |name: &str| {
                let value = event.extensions.get(name);
                value
                    .map(ToString::to_string)
                    .with_context(|| format!("no {name}"))
            };
            Ok(Plain {
                specversion: "1.0".to_owned(),
                id: event.id.to_string(),
                source: event.source.to_string(),
                r#type: event.event_type.to_string(),
                subject: event.subject.as_deref().unwrap_or_default().to_owned(),
                datacontenttype: "application/json".to_owned(),
                delivery: text("delivery")?,
                priority: text("priority")?,
                sequence: text("sequence")?,
                incarnation: text("phxincarnation")?,
                base: text("phxbase")?,
                giveup: text("phxgiveup")?,
                data: std::str::from_utf8(DATA)?.to_owned(),
            })
        })
        .collect()
}

fn written(format: Format) -> impl FnMut() -> anyhow::Result<Bytes> {
    let events: Vec<CloudEvent> = (0..u64::from(BATCH)).map(event).collect();
    move || Ok(formats::encode_batch(format, &events))
}

fn read(format: Format) -> impl FnMut(Bytes) -> anyhow::Result<()> {
    let limits = EventLimits::default();
    move |bytes| {
        black_box(formats::decode_batch(format, bytes, &limits)?);
        Ok(())
    }
}

/// Both sides, each a writer and a reader of a batch.
fn pair(
    mut ours: impl FnMut() -> anyhow::Result<Bytes> + 'static,
    our_reader: impl FnMut(Bytes) -> anyhow::Result<()> + 'static,
    mut theirs: impl FnMut() -> anyhow::Result<Vec<u8>> + 'static,
    mut their_reader: impl FnMut(&[u8]) -> anyhow::Result<()> + 'static,
) -> anyhow::Result<Pair> {
    let sample = ours()?;
    let their_sample = theirs()?;
    Ok(Pair {
        ours: Box::new(Codec {
            bytes: (sample.len(), their_sample.len()),
            encode: ours,
            decode: our_reader,
            best: (f64::MAX, f64::MAX),
        }),
        peer: Ok(Box::new(move || {
            let began = Instant::now();
            for _ in 0..BATCHES {
                their_reader(&black_box(theirs()?))?;
            }
            Ok(each(began.elapsed(), BATCHES * BATCH))
        })),
    })
}

/// A writer and a reader, timed together and apart.
struct Codec<E, D> {
    encode: E,
    decode: D,
    /// Of a batch, ours and theirs.
    bytes: (usize, usize),
    /// The fastest writing and reading so far, ns a message.
    best: (f64, f64),
}

impl<E, D> Side for Codec<E, D>
where
    E: FnMut() -> anyhow::Result<Bytes>,
    D: FnMut(Bytes) -> anyhow::Result<()>,
{
    fn sample(&mut self) -> anyhow::Result<f64> {
        let (mut writing, mut reading) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..BATCHES {
            let began = Instant::now();
            let bytes = black_box((self.encode)()?);
            let written = Instant::now();
            (self.decode)(bytes)?;
            writing += written - began;
            reading += written.elapsed();
        }
        let (writing, reading) = (
            each(writing, BATCHES * BATCH),
            each(reading, BATCHES * BATCH),
        );
        self.best = (self.best.0.min(writing), self.best.1.min(reading));
        Ok(writing + reading)
    }

    fn details(&self) -> Vec<String> {
        let (writing, reading) = self.best;
        let a_message = |bytes: usize| bytes / BATCH as usize;
        let (ours, theirs) = (a_message(self.bytes.0), a_message(self.bytes.1));
        vec![format!(
            "encode {writing:.0} ns, decode {reading:.0} ns at best; {ours} bytes a message, theirs {theirs}"
        )]
    }
}
