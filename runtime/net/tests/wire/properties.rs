//! Properties of writing and reading.

use bytes::{Buf, Bytes};
use phoenix_core::PeerMessage;
use phoenix_net::wire::{self, HEADER, MAX_ITEMS, Malformed, Output, TooLarge};
use proptest::prelude::*;

use crate::generate::Generator;

/// The default bound.
const BOUND: usize = 16 << 20;

/// The frames of `message`, without their lengths.
pub(crate) fn frames(message: &PeerMessage, bound: usize) -> Vec<Bytes> {
    let mut out = Output::new();
    let count = wire::encode(message, bound, &mut out).unwrap();
    let mut bytes = out.into_bytes();
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(bytes.get_u32_le()).unwrap();
        assert!(length <= bound);
        frames.push(bytes.split_to(length));
    }
    assert_eq!(frames.len(), count);
    frames
}

/// Reads frames and puts lists that were split together again.
fn read(frames: Vec<Bytes>) -> Option<PeerMessage> {
    let messages = frames.into_iter().map(|frame| wire::decode(frame).unwrap());
    messages.reduce(|whole, part| match (whole, part) {
        (PeerMessage::Deliver(mut whole), PeerMessage::Deliver(part)) => {
            whole.extend(part);
            PeerMessage::Deliver(whole)
        }
        (PeerMessage::Acknowledge(mut whole), PeerMessage::Acknowledge(part)) => {
            whole.extend(part);
            PeerMessage::Acknowledge(whole)
        }
        (
            PeerMessage::Forward {
                origin,
                envelopes: mut whole,
            },
            PeerMessage::Forward {
                origin: again,
                envelopes: part,
            },
        ) if origin == again => {
            whole.extend(part);
            PeerMessage::Forward {
                origin,
                envelopes: whole,
            }
        }
        (
            PeerMessage::ForwardVerdicts {
                hops,
                acknowledgements: mut whole,
            },
            PeerMessage::ForwardVerdicts {
                hops: again,
                acknowledgements: part,
            },
        ) if hops == again => {
            whole.extend(part);
            PeerMessage::ForwardVerdicts {
                hops,
                acknowledgements: whole,
            }
        }
        (whole, part) => panic!("{whole:?} does not go on with {part:?}"),
    })
}

fn is_empty_list(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Deliver(list)
        | PeerMessage::Forward {
            envelopes: list, ..
        } => list.is_empty(),
        PeerMessage::Acknowledge(list)
        | PeerMessage::ForwardVerdicts {
            acknowledgements: list,
            ..
        } => list.is_empty(),
        _ => false,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(seed: u64, variant in 0..Generator::VARIANTS) {
        let message = Generator(seed).message(variant);
        match read(frames(&message, BOUND)) {
            Some(again) => prop_assert_eq!(again, message),
            // Nothing is sent for a list of nothing.
            None => prop_assert!(is_empty_list(&message)),
        }
    }

    #[test]
    fn lists_are_split_at_any_bound(seed: u64, variant in 0..2_usize, bound in 25_000..60_000_usize) {
        let message = Generator(seed).message(variant);
        if let Some(again) = read(frames(&message, bound)) {
            prop_assert_eq!(again, message);
        }
    }

    #[test]
    fn too_large_leaves_no_trace(seed: u64, bound in 0..200_usize) {
        let mut generator = Generator(seed);
        let mut out = Output::new();
        wire::encode(&PeerMessage::Leaving, BOUND, &mut out).unwrap();
        let before = out.len();
        for variant in 0..Generator::VARIANTS {
            let message = generator.message(variant);
            if let Err(TooLarge { bytes, .. }) = wire::encode(&message, bound, &mut out) {
                prop_assert!(bytes > bound);
                prop_assert_eq!(out.len(), before);
            } else {
                out.clear();
                wire::encode(&PeerMessage::Leaving, BOUND, &mut out).unwrap();
            }
        }
        let bytes = out.into_bytes();
        prop_assert_eq!(&bytes[..HEADER], &[2, 0, 0, 0]);
    }

    #[test]
    fn damage_is_an_error_or_another_message(
        seed: u64,
        variant in 0..Generator::VARIANTS,
        at: prop::sample::Index,
        change in 1..=255_u8,
        cut: prop::sample::Index,
    ) {
        for frame in frames(&Generator(seed).message(variant), BOUND) {
            let mut damaged = frame.to_vec();
            damaged[at.index(frame.len())] ^= change;
            read_hostile(damaged.into());
            read_hostile(frame.slice(..cut.index(frame.len())));
        }
    }

    #[test]
    fn noise_does_no_harm(noise: Vec<u8>) {
        read_hostile(noise.into());
    }

    #[test]
    fn noise_behind_a_tag_does_no_harm(flags in 0..16_u8, tag in 0..20_u8, mut noise: Vec<u8>) {
        noise.splice(0..0, [flags, tag]);
        read_hostile(noise.into());
    }
}

/// Reads what may be anything. What can be read can be written and read again.
pub(crate) fn read_hostile(frame: Bytes) {
    if let Ok(message) = wire::decode(frame)
        && let Some(again) = read(frames(&message, BOUND))
    {
        assert_eq!(again, message);
    }
}

#[test]
fn a_frames_flags_are_known_ones() {
    let refused = wire::decode(Bytes::new());
    assert_eq!(refused, Err(Malformed::Short("its flags")));
    for flags in [3, 1 << 4, 1 << 7, 0xff] {
        let refused = wire::decode(vec![flags, 15].into());
        assert!(
            matches!(refused, Err(Malformed::Unknown { .. })),
            "{flags}: {refused:?}"
        );
    }
    let refused = wire::decode(vec![1, 1, 0, 0].into());
    let expected = Malformed::Short("the length of what is compressed");
    assert_eq!(refused, Err(expected));
    let refused = wire::decode(vec![2, 0, 0, 0, 2, 0].into());
    let expected = Malformed::Unpacked {
        found: 32 << 20,
        bound: wire::FRAME_BYTES,
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn every_malformed_field_of_an_envelope_is_named() {
    // A message in its stream that asks, and says something of itself.
    let head = [
        &[0, 0, 0b1000_1100, 0b10][..],
        &[0, 3],
        b"a/b",
        &[1, 1, 1, 3],
        b"c/d",
    ]
    .concat();
    let fields: [(&str, &[u8]); 18] = [
        ("a lane", &[1]),
        ("a message's number", &[5]),
        ("a message's base", &[0]),
        ("a message's give-up time", &[9]),
        ("a method", b"\x03add"),
        ("a content type", &[2]),
        ("bytes", b"\x02{}"),
        ("id", &[7]),
        ("a reply's address", &[1]),
        ("node", &[1]),
        ("deadline", &[9]),
        ("expiry", &[0]),
        ("original", &[0]),
        ("attributes", &[1]),
        ("attributes", &[1]),
        // One has to have room for its name.
        ("attributes", b"\x08priority"),
        ("an attribute's value", &[3]),
        ("an attribute's value", b"\x04high"),
    ];
    let mut frame = head;
    for (field, bytes) in fields {
        let refused = wire::decode(Bytes::from(frame.clone()));
        assert_eq!(refused, Err(Malformed::Short(field)));
        frame.extend(bytes);
    }
    assert!(wire::decode(frame.clone().into()).is_ok());
    let at = frame.len() - 4;
    frame[at..].copy_from_slice(b"hide");
    let refused = wire::decode(frame.into()).unwrap_err().to_string();
    assert_eq!(
        refused,
        "attribute `priority` is `hide`: it must be high, normal, low or bulk"
    );
}

#[test]
fn a_list_longer_than_its_bound_is_refused() {
    // The smallest envelopes there are, all but the first of the stream of the one before.
    let mut frame = vec![0, 0, 0, 2, 3, b'a', b'/', b'b', 1, 0, 0, 0];
    for _ in 1..MAX_ITEMS {
        frame.extend_from_slice(&[0b11, 0, 0]);
    }
    let Ok(PeerMessage::Deliver(mut list)) = wire::decode(frame.clone().into()) else {
        panic!("as many as there may be")
    };
    assert_eq!(list.len(), MAX_ITEMS);
    frame.extend_from_slice(&[0b11, 0, 0]);
    let refused = wire::decode(frame.into());
    assert_eq!(refused, Err(Malformed::Range("a list of envelopes")));
    // One more than a frame may have is written as two frames.
    list.extend(list.first().cloned());
    let message = PeerMessage::Deliver(list);
    let frames = frames(&message, BOUND);
    assert_eq!(frames.len(), 2);
    assert_eq!(read(frames), Some(message));
}

#[test]
fn counts_are_not_trusted() {
    // 65,535 members are promised in ten bytes.
    let frame = [&[0, 12, 0xff, 0xff, 3][..], &[0; 6]].concat();
    assert_eq!(wire::decode(frame.into()), Err(Malformed::Short("a list")));
    // A text of 2^63 bytes.
    let mut frame = vec![0, 5];
    frame.extend_from_slice(&[0xff; 8]);
    frame.push(0x7f);
    let refused = wire::decode(frame.into());
    assert_eq!(refused, Err(Malformed::Short("an agent's id")));
    // A number of more than 64 bits.
    let mut frame = vec![0, 8];
    frame.extend_from_slice(&[0xff; 11]);
    let refused = wire::decode(frame.into());
    assert_eq!(refused, Err(Malformed::Range("a number")));
}

#[test]
fn a_small_payload_does_not_keep_its_frame() {
    let (small, large) = (Bytes::from(vec![1; 100]), Bytes::from(vec![2; 1 << 20]));
    let part = |bytes: &Bytes| PeerMessage::ComponentPart {
        component: phoenix_core::Digest([0; 32]),
        offset: 0,
        total: 0,
        bytes: bytes.clone(),
    };
    let is_slice = |bytes: &Bytes| {
        let frame = frames(&part(bytes), BOUND).remove(0);
        let range = frame.as_ptr_range();
        let Ok(PeerMessage::ComponentPart { bytes, .. }) = wire::decode(frame.clone()) else {
            panic!("it is one")
        };
        range.contains(&bytes.as_ptr())
    };
    assert!(!is_slice(&small), "copied");
    assert!(is_slice(&large), "where it lay");
}
