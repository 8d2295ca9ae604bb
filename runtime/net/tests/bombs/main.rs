//! Bombs: few bytes that would be many, or deep, if they were believed.
//!
//! One test in a process of its own, as it limits how much memory the process
//! may ask for.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use bytes::Bytes;
use phoenix_core::PeerMessage;
use phoenix_core::attributes::{BadEvent, Format};
use phoenix_net::formats::{self, Compression, EventLimits};
use phoenix_net::wire::{self, Decoder, Encoder, Malformed, Output, Packing};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Most that a bomb may cost beyond its own bytes.
const MOST: u64 = 24 << 20;

/// The process's address space, bytes; touched or not.
fn space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() << 10
}

/// Lets the process ask for so much more memory.
fn allow(more: Option<u64>) {
    let current = more.map(|more| space() + more);
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
}

/// Runs `bomb` with room for little memory. Asking for more ends the process,
/// and the name printed last is the bomb's.
fn defused<T>(name: &str, bomb: impl FnOnce() -> T) -> T {
    println!("{name}");
    allow(Some(MOST));
    // What is smaller may come from memory that was freed before.
    let over = Vec::<u8>::new().try_reserve_exact(64 << 20);
    assert!(over.is_err(), "there is a limit");
    let result = bomb();
    allow(None);
    result
}

fn event(format: Format, bytes: impl Into<Bytes>) -> Result<(), BadEvent> {
    formats::decode(format, bytes.into(), &EventLimits::default()).map(drop)
}

fn batch(format: Format, bytes: impl Into<Bytes>) -> Result<(), BadEvent> {
    formats::decode_batch(format, bytes.into(), &EventLimits::default()).map(drop)
}

/// A frame of a message of zeros, compressed, that says it is `length` bytes.
fn compressed(compression: Compression, zeros: usize, length: u32) -> Bytes {
    let packing = Packing {
        compression,
        ..Packing::default()
    };
    let message = PeerMessage::ComponentPart {
        component: phoenix_core::Digest([0; 32]),
        offset: 0,
        total: 0,
        bytes: Bytes::from(vec![0; zeros]),
    };
    let mut out = Output::new();
    Encoder::new(&packing)
        .encode(&message, usize::MAX, &mut out)
        .unwrap();
    let mut frame = out.into_bytes().slice(wire::HEADER..).to_vec();
    frame[1..5].copy_from_slice(&length.to_le_bytes());
    frame.into()
}

#[test]
fn bombs_are_refused_before_memory_is_asked_for() {
    json();
    message_pack();
    protobuf();
    compression();
}

fn json() {
    for (name, open) in [("arrays", "["), ("objects", "{\"a\":")] {
        for head in ["", "{\"data\":", "{\"note\":"] {
            let bomb = format!("{head}{}", open.repeat(2_000_000));
            let bomb = Bytes::from(bomb);
            let refused = defused(&format!("json, nested {name}"), || {
                event(Format::Json, bomb.clone())
            });
            let too_deep = |refused: &Result<(), BadEvent>| {
                matches!(
                    refused,
                    Err(BadEvent::TooMuch {
                        what: "levels of nesting",
                        found: 65,
                        bound: 64
                    })
                )
            };
            assert!(too_deep(&refused), "{refused:?}");
            assert!(too_deep(&batch(Format::Json, bomb)));
        }
    }
    let many = Bytes::from(format!("[{}]", "{},".repeat(3_000_000)));
    defused("json, many events", || batch(Format::Json, many)).unwrap_err();
    let members: String = (0..1_000_000).map(|n| format!("\"x{n}\":1,")).collect();
    let many = Bytes::from(format!("{{{members}\"y\":1}}"));
    let refused = defused("json, many members", || event(Format::Json, many));
    assert!(matches!(refused, Err(BadEvent::Attribute(_))));
}

fn message_pack() {
    for (name, byte) in [("arrays", 0x91), ("maps", 0x81)] {
        let bomb = Bytes::from([&[0x81, 0xa1, b'x'], &vec![byte; 2_000_000][..]].concat());
        let refused = defused(&format!("msgpack, nested {name}"), || {
            event(Format::MessagePack, bomb)
        });
        assert!(matches!(refused, Err(BadEvent::Attribute(bad)) if &*bad.name == "x"));
    }
    for (name, bomb) in [
        ("text of 4 GiB", &b"\x81\xdb\xff\xff\xff\xff"[..]),
        ("value of 4 GiB", b"\x81\xa1x\xdb\xff\xff\xff\xff"),
        ("data of 4 GiB", b"\x81\xa4data\xc6\xff\xff\xff\xff"),
        ("map of 2^32 members", b"\xdf\xff\xff\xff\xff"),
        ("array of 2^32 events", b"\xdd\xff\xff\xff\xff"),
    ] {
        defused(&format!("msgpack, {name}"), || {
            event(Format::MessagePack, bomb).unwrap_err();
            batch(Format::MessagePack, bomb).unwrap_err();
        });
    }
}

fn protobuf() {
    // Two bytes each, which would be a struct of more than a hundred.
    let many = Bytes::from(b"\x0a\x00".repeat(8_000_000));
    let refused = defused("protobuf, many events", || batch(Format::Protobuf, many));
    assert!(matches!(
        refused,
        Err(BadEvent::TooMuch {
            what: "events in a batch",
            ..
        })
    ));
    // A map entry each.
    let mut entries = Vec::new();
    for number in 0..1_000_000_u32 {
        entries.extend(b"\x2a\x06\x0a\x04");
        entries.extend(number.to_le_bytes().map(|byte| byte & 0x7f));
    }
    let many = Bytes::from(entries);
    let refused = defused("protobuf, many attributes", || {
        event(Format::Protobuf, many)
    });
    assert!(matches!(
        refused,
        Err(BadEvent::TooMuch {
            what: "attributes",
            ..
        })
    ));
    let deep = Bytes::from(vec![0x0b; 2_000_000]);
    defused("protobuf, nested groups", || event(Format::Protobuf, deep)).unwrap_err();
    for bomb in [
        &b"\x32\xff\xff\xff\xff\x7f"[..],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        defused("protobuf, a long text", || {
            event(Format::Protobuf, bomb).unwrap_err();
            batch(Format::Protobuf, bomb).unwrap_err();
        });
    }
}

fn compression() {
    const BOUND: usize = 16 << 20;
    for compression in [Compression::Lz4, Compression::Zstd] {
        let big = compressed(compression, 128 << 20, 128 << 20);
        println!("{compression:?}: 128 MiB in {} bytes", big.len());
        let refused = defused("a frame that is too long", || {
            Decoder::new(BOUND).decode(big.clone())
        });
        let expected = Malformed::Unpacked {
            found: 128 << 20,
            bound: BOUND,
        };
        assert_eq!(refused, Err(expected));
        // It lies about its length.
        let mut lying = big.to_vec();
        lying[1..5].copy_from_slice(&(16_u32 << 20).to_le_bytes());
        let refused = defused("a frame longer than it says", || {
            Decoder::new(BOUND).decode(lying.into())
        });
        assert!(matches!(refused, Err(Malformed::Packed(_))), "{refused:?}");
        // It claims what it has not got, again and again.
        let small = compressed(compression, 10_000, 16 << 20);
        defused("frames shorter than they say", || {
            let mut decoder = Decoder::new(BOUND);
            let mut held = Vec::new();
            for _ in 0..1_000 {
                held.push(decoder.decode(small.clone()).unwrap_err());
            }
        });
    }
}
