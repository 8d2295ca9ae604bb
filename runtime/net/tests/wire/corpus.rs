//! The fuzz targets' seeds: each is read as the fuzzer would.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::attributes::{CloudEvent, Format, Nonce};
use phoenix_core::{NodeId, PeerMessage};
use phoenix_net::formats::{self, Compression, EventLimits, Form};
use phoenix_net::wire::{self, Encoder, Packing};

use crate::formats::frames_of;
use crate::generate::Generator;
use crate::properties::{frames, read_hostile};

fn directory(target: &str) -> PathBuf {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
    corpus.join(target)
}

/// The seeds of a target. What cargo-fuzz adds to a corpus may be anything, and
/// has a name of 40 hexadecimal digits.
fn seeds(target: &str) -> Vec<Bytes> {
    let files = std::fs::read_dir(directory(target)).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| path.file_name().unwrap().len() != 40)
        .map(|path| std::fs::read(path).unwrap().into())
        .collect()
}

#[test]
fn the_seeds_are_read() {
    let messages = seeds("peer_message");
    assert!(messages.len() >= Generator::VARIANTS);
    messages.into_iter().for_each(read_hostile);
    let packed = seeds("packed_frame");
    assert!(packed.len() >= Form::ALL.len() * Compression::ALL.len());
    for frame in packed {
        wire::decode(frame).unwrap();
    }
    for (target, format) in EVENTS {
        let events = seeds(target);
        assert!(events.len() >= 10);
        for event in events {
            let limits = EventLimits::default();
            let one = formats::decode(format, event.clone(), &limits);
            if let Err(bad) = one {
                formats::decode_batch(format, event, &limits).unwrap_or_else(|_| panic!("{bad}"));
            }
        }
    }
}

const EVENTS: [(&str, Format); 3] = [
    ("event_json", Format::Json),
    ("event_message_pack", Format::MessagePack),
    ("event_protobuf", Format::Protobuf),
];

/// Longest seed, bytes: a fuzzer makes the most of short ones.
const LONGEST: usize = 1_200;

fn write(target: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(directory(target)).unwrap();
    std::fs::write(directory(target).join(name), bytes).unwrap();
}

/// Writes the seeds anew: `cargo test -p phoenix-net --test wire -- --ignored write`.
#[test]
#[ignore = "writes files"]
fn write_the_seeds() {
    for variant in 0..Generator::VARIANTS {
        // The shortest of several that says something.
        let samples = (0..40).filter_map(|seed| {
            let frame = frames(&Generator(seed).message(variant), 16 << 20).pop()?;
            (frame.len() < 400).then_some(frame)
        });
        for (number, frame) in samples.take(2).enumerate() {
            write("peer_message", &format!("{variant:02}-{number}"), &frame);
        }
    }
    let nonce = Nonce {
        node: NodeId(1),
        boot: 2,
        serial: 3,
    };
    let envelopes = || (0..).map(|seed| Generator(seed).plain_envelope());
    let short = |bytes: &Bytes| bytes.len() < LONGEST;
    for (target, format) in EVENTS {
        let events = envelopes().map(|envelope| CloudEvent::of(&envelope, nonce));
        let written = events
            .map(|event| formats::encode(format, &event))
            .filter(short);
        for (number, bytes) in written.take(12).enumerate() {
            write(target, &format!("one-{number:02}"), &bytes);
        }
        let events: Vec<CloudEvent> = envelopes()
            .map(|envelope| CloudEvent::of(&envelope, nonce))
            .filter(|event| short(&formats::encode(format, event)))
            .take(2)
            .collect();
        for (name, batch) in [("none", &[][..]), ("two", &events)] {
            let bytes = formats::encode_batch(format, batch);
            write(target, &format!("batch-{name}"), &bytes);
        }
    }
    let mut written = 0;
    for event in envelopes().map(|envelope| CloudEvent::of(&envelope, nonce)) {
        let mut bytes = Vec::new();
        for (name, value) in event.headers() {
            bytes.extend(format!("{name}: {value}\n").into_bytes());
        }
        bytes.push(b'\n');
        bytes.extend(event.data.unwrap_or_default());
        if bytes.len() < LONGEST {
            write("event_headers", &format!("{written:02}"), &bytes);
            written += 1;
        }
        if written == 12 {
            break;
        }
    }
    for form in Form::ALL {
        for compression in Compression::ALL {
            let packing = Packing {
                form,
                compression,
                from: 0,
            };
            let same = (0..).map(|seed| Generator(seed).plain_envelope());
            let small = same.filter(|envelope| envelope.size() < 400).take(1);
            // Twice the same, so that there is something to save.
            let twice = small.map(Arc::new).flat_map(|one| [one.clone(), one]);
            let message = PeerMessage::Deliver(twice.collect());
            let frame = frames_of(&message, &mut Encoder::new(&packing), 1 << 20).remove(0);
            assert_eq!(frame[0] & 0b11 != 0, compression != Compression::None);
            let name = format!("{}-{}", form.as_str(), compression.as_str());
            write("packed_frame", &name, &frame);
        }
    }
}
