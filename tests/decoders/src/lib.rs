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
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "only tests call this crate, and a broken promise fails by panicking"
)]

use std::hint::black_box;

use bytes::{Buf, Bytes};
use phoenix_core::{Digest, snapshot as sealed};
use phoenix_host::image::{self, ImageLimits};
use phoenix_net::wire::{self, Output};
use phoenix_wit::{AnswerReader, FrameReader};

/// What a target does with its bytes.
pub type Decoder = fn(&[u8]) -> bool;

/// Every target by its name, which is that of its file in `tests/fuzz/fuzz_targets`
/// and of its directory in `tests/fuzz/corpus`.
pub const TARGETS: [(&str, Decoder); 5] = [
    ("answer_frame", answer_frame),
    ("input_frame", input_frame),
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
