//! What each fuzz target does with its bytes, one function a target.
//!
//! `tests/fuzz` calls them from libFuzzer, which needs a nightly compiler and
//! C++; `tests/replay.rs` calls them with the seeds in `tests/fuzz/corpus` and
//! with seeded damage to them, in every test run. So a target that no longer
//! fits the code does not compile, and seeds that are no longer read fail.
//!
//! Each takes any bytes and says whether they were read to their end. It
//! panics only where a promise is broken.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "only tests call this crate, and a broken promise fails by panicking"
)]

use std::hint::black_box;

use bytes::{Buf, Bytes};
use phoenix_core::attributes::{ClientEvent, CloudEvent, Format, Nonce, Target};
use phoenix_core::journal::record;
use phoenix_core::{Digest, Envelope, NodeId, snapshot as sealed};
use phoenix_host::image::{self, ImageLimits};
use phoenix_net::formats::{self, Compression, EventLimits, Form};
use phoenix_net::wire::{self, Encoder, Output, Packing};
use phoenix_wit::{AnswerReader, FrameReader};

/// What a target does with its bytes.
pub type Decoder = fn(&[u8]) -> bool;

/// Every target by its name, which is that of its file in `tests/fuzz/fuzz_targets`
/// and of its directory in `tests/fuzz/corpus`.
pub const TARGETS: [(&str, Decoder); 11] = [
    ("answer_frame", answer_frame),
    ("event_headers", event_headers),
    ("event_json", event_json),
    ("event_message_pack", event_message_pack),
    ("event_protobuf", event_protobuf),
    ("input_frame", input_frame),
    ("journal_record", journal_record),
    ("packed_frame", packed_frame),
    ("peer_message", peer_message),
    ("snapshot", snapshot),
    ("snapshot_image", snapshot_image),
];

/// The host's side of the frame format: any bytes as an answer frame, behind a
/// byte for the number of turns, which is the host's own.
pub fn answer_frame(bytes: &[u8]) -> bool {
    let Some((turns, frame)) = bytes.split_first() else {
        return false;
    };
    let Ok(mut answers) = AnswerReader::new(frame, u32::from(*turns)) else {
        return false;
    };
    loop {
        match answers.next_answer() {
            Ok(Some(mut answer)) => loop {
                match answer.effects.next_effect() {
                    Ok(Some(effect)) => _ = black_box(effect),
                    Ok(None) => break,
                    Err(_) => return false,
                }
            },
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The guest's side of the frame format: any bytes as an input frame.
pub fn input_frame(bytes: &[u8]) -> bool {
    let Ok(mut frame) = FrameReader::new(bytes) else {
        return false;
    };
    loop {
        match frame.next_turn() {
            Ok(Some(turn)) => _ = black_box(turn),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// A frame from another node: reading it does no harm, and what can be read can
/// be written and read again.
pub fn peer_message(frame: &[u8]) -> bool {
    let Ok(message) = wire::decode(Bytes::copy_from_slice(frame)) else {
        return false;
    };
    let mut out = Output::new();
    let count = wire::encode(&message, 16 << 20, &mut out).expect("it came in a smaller frame");
    // Long lists are split; all others come back as they were.
    if count == 1 {
        let mut bytes = out.into_bytes();
        bytes.advance(wire::HEADER);
        let again = wire::decode(bytes).expect("it was written here");
        assert_eq!(again, message);
    }
    true
}

/// A frame of any form and compression: what can be read can be written so and
/// read again.
pub fn packed_frame(frame: &[u8]) -> bool {
    let Some(flags) = frame.first() else {
        return false;
    };
    let Ok(message) = wire::decode(Bytes::copy_from_slice(frame)) else {
        return false;
    };
    let at = |bits: u8| usize::from(bits & 0b11);
    let packing = Packing {
        form: Form::ALL[at(flags >> 2)],
        compression: Compression::ALL[at(*flags)],
        from: 0,
    };
    let mut out = Output::new();
    let mut encoder = Encoder::new(&packing);
    // What was packed may be more than a frame as it is, and events more than they were.
    if encoder.encode(&message, 64 << 20, &mut out) == Ok(1) {
        let mut bytes = out.into_bytes();
        bytes.advance(wire::HEADER);
        let mut decoder = wire::Decoder::new(64 << 20);
        let again = decoder.decode(bytes).expect("it was written here");
        assert_eq!(again, message);
    }
    true
}

/// An event in MessagePack, or a batch.
pub fn event_message_pack(bytes: &[u8]) -> bool {
    events(Format::MessagePack, bytes)
}

/// An event in Protocol Buffers, or a batch.
pub fn event_protobuf(bytes: &[u8]) -> bool {
    events(Format::Protobuf, bytes)
}

/// An event in JSON, or a batch.
pub fn event_json(bytes: &[u8]) -> bool {
    events(Format::Json, bytes)
}

/// What can be read as an event, or as a batch, is the same in every format.
fn events(format: Format, bytes: &[u8]) -> bool {
    let limits = EventLimits {
        bytes: 1 << 20,
        events: 100,
        ..EventLimits::default()
    };
    let bytes = Bytes::copy_from_slice(bytes);
    let one = formats::decode(format, bytes.clone(), &limits);
    let batch = formats::decode_batch(format, bytes, &limits);
    for event in one.iter().chain(batch.iter().flatten()) {
        for format in Format::ALL {
            let again = formats::encode(format, event);
            let again = formats::decode(format, again, &EventLimits::default());
            assert_eq!(again.as_ref(), Ok(event), "{format}");
        }
        used(event);
    }
    one.is_ok() || batch.is_ok()
}

/// An event in the headers of a request: lines `name: value`, an empty one, and
/// the body.
pub fn event_headers(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut headers = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            break;
        };
        if let Ok(name) = std::str::from_utf8(&line[..colon]) {
            headers.push((name, &line[colon + 1..]));
        }
    }
    let body = Bytes::copy_from_slice(rest);
    let Ok(event) = CloudEvent::from_headers(headers, body) else {
        return false;
    };
    let written = event.headers();
    let written = written
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let body = event.data.clone().unwrap_or_default();
    let again = CloudEvent::from_headers(written, body);
    assert_eq!(again.as_ref(), Ok(&event));
    used(&event);
    true
}

/// What a node makes of an event, from a client and from another node.
fn used(event: &CloudEvent) {
    let nonce = Nonce {
        node: NodeId(1),
        boot: 1,
        serial: 1,
    };
    _ = black_box(ClientEvent::new(event, &Target::default()));
    if let Ok(envelope) = Envelope::from_event(event) {
        let again = Envelope::from_event(&CloudEvent::of(&envelope, nonce));
        assert_eq!(again, Ok(envelope), "of {event:?}");
    }
}

/// A snapshot: the bytes as they are, and under a right seal. What can be read
/// can be written and read again.
pub fn snapshot(bytes: &[u8]) -> bool {
    let _ = sealed::peek_agent(bytes);
    let _ = sealed::peek_turns(bytes);
    let as_it_is = sealed::decode(&Bytes::copy_from_slice(bytes)).is_ok();
    let mut whole = bytes.to_vec();
    whole.extend(Digest::of(bytes).0);
    let Ok(read) = sealed::decode(&Bytes::from(whole)) else {
        return as_it_is;
    };
    let mut again = Vec::new();
    sealed::encode(&read.agent, &read.component, &read.image, &mut again);
    sealed::decode(&Bytes::from(again)).expect("it was written here");
    true
}

/// An entry of an agent's log: what can be read can be written and read again.
pub fn journal_record(bytes: &[u8]) -> bool {
    let Ok(read) = record::decode(&Bytes::copy_from_slice(bytes)) else {
        return false;
    };
    let mut again = Vec::new();
    record::encode(&read, &mut again);
    let again = record::decode(&Bytes::from(again)).expect("it was written here");
    assert_eq!(again, read);
    true
}

/// A memory image, from its head to the last changed byte.
pub fn snapshot_image(bytes: &[u8]) -> bool {
    let limits = ImageLimits {
        memory_bytes: 1 << 20,
        globals: 16,
    };
    let Ok(image) = image::decode(bytes, &limits) else {
        return false;
    };
    for change in image.changes() {
        black_box(change);
    }
    true
}
