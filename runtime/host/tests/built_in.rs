//! Agents whose program is part of the node: the same as a guest's to whoever runs them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod common;

use std::sync::Arc;

use common::{NO_HASH, admit, image, policy, same, start, turn};
use phoenix_core::control::HandlerInfo;
use phoenix_core::program::{BuiltIn, Effect, Input, Outcome, Program, Turn, Turned};
use phoenix_core::{ContentType, Delivery, KindPolicy, Payload};
use phoenix_host::image::ImageError;
use phoenix_host::{
    Component, FaultKind, HostConfig, InstanceError, RestoreError, SnapshotRefused,
};
use phoenix_support::zoo;

/// Keeps what it is told, of a version of its own.
struct Keeping(u32);

struct Keeper(Vec<u8>);

impl BuiltIn for Keeping {
    fn kind(&self) -> &'static str {
        "keeper"
    }
    fn version(&self) -> u32 {
        self.0
    }
    fn handlers(&self) -> Vec<HandlerInfo> {
        vec![HandlerInfo {
            name: "keep".into(),
            interleave: false,
        }]
    }
    fn begin(&self) -> Box<dyn Program> {
        Box::new(Keeper(Vec::new()))
    }
    fn load(&self, saved: &[u8]) -> Result<Box<dyn Program>, String> {
        assert!(!saved.starts_with(b"panic"), "of a saved panic");
        match saved.contains(&b'!') {
            true => Err("no `!` is ever kept".to_owned()),
            false => Ok(Box::new(Keeper(saved.to_vec()))),
        }
    }
}

impl Program for Keeper {
    fn turn(&mut self, turn: &Turn<'_>, out: &mut Turned<'_>) -> Outcome {
        let Input::Message {
            method, payload, ..
        } = turn.input
        else {
            return Outcome::DONE;
        };
        match method {
            "panic" => panic!("of `{}`", String::from_utf8_lossy(payload.bytes)),
            "flood" => {
                for _ in 0..=out.limits().turn_effects {
                    out.effect(&Effect::Send {
                        to: "keeper/other",
                        method: "keep",
                        payload,
                        delivery: Delivery::AtMostOnce,
                    });
                }
            }
            _ => {
                self.0.extend_from_slice(payload.bytes);
                self.0.extend_from_slice(&out.random().to_le_bytes());
                self.0.retain(|byte| *byte != b'!');
            }
        }
        Outcome::Ok(Payload {
            content_type: ContentType::Binary,
            bytes: self.0.len().to_le_bytes()[..].into(),
        })
    }
    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn memory_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

fn keeper(version: u32) -> Component {
    Component::built_in(Arc::new(Keeping(version))).unwrap()
}

#[test]
fn it_goes_on_where_its_image_was_taken() {
    let component = keeper(1);
    assert!(component.movable() && component.framed());
    assert_eq!(&*component.handlers()[0].name, "keep");
    let mut original = component.instantiate(&policy()).unwrap();
    assert_ne!(component.base_hash(), NO_HASH);
    assert_eq!(original.memory_hash(), component.base_hash());
    for number in 0..100 {
        turn(&mut original, number, "keep", "\"some text, some text\"").unwrap();
    }
    let image = image(&mut original);
    let saved = original.memory_bytes() as usize;
    assert!(image.len() < saved, "{} of {saved} bytes", image.len());
    // Taking it changes nothing.
    let mut again = Vec::new();
    original.snapshot(&mut again).unwrap();
    assert_eq!(image, again);
    let mut restored = component.restore(&policy(), &image).unwrap();
    assert_eq!(original.memory_hash(), restored.memory_hash());
    assert_eq!(original.memory_bytes(), restored.memory_bytes());
    let turns = |from: u64| (from..from + 20).map(|number| (number, "keep".to_owned()));
    same(&mut original, &mut restored, turns(100));
    let room = component.make_room(&policy()).unwrap();
    let mut arrived = component.restore_into(room, &policy(), &again).unwrap();
    let mut other = component.restore(&policy(), &again).unwrap();
    same(&mut arrived, &mut other, turns(100));
}

#[test]
fn it_takes_no_place_of_a_guest() {
    let host = start(HostConfig {
        max_resident: Some(1),
        ..HostConfig::default()
    });
    let guests = admit(&host, &zoo::framed());
    let _guest = guests.instantiate(&policy()).unwrap();
    let full = guests.instantiate(&policy());
    assert!(matches!(full, Err(InstanceError::Full { limit: 1 })));
    let component = keeper(1);
    let kept: Vec<_> = (0..8)
        .map(|_| component.instantiate(&policy()).unwrap())
        .collect();
    assert!(kept.iter().all(|it| it.unmovable().is_none()));
}

#[test]
fn a_panic_ends_its_batch_and_nothing_else() {
    let component = keeper(1);
    let mut instance = component.instantiate(&policy()).unwrap();
    let fault = turn(&mut instance, 0, "panic", "bad input").unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
    assert_eq!(fault.message, "the program panicked: of `bad input`");
    // It has gone a part of the way, so it is not used again.
    assert_eq!(
        turn(&mut instance, 1, "keep", "").unwrap_err().kind,
        FaultKind::Host
    );
    let refused = instance.snapshot(&mut Vec::new());
    assert_eq!(refused, Err(SnapshotRefused::Failed));
    assert_eq!(instance.memory_hash(), NO_HASH);
    assert!(instance.unmovable().is_some());
    turn(
        &mut component.instantiate(&policy()).unwrap(),
        1,
        "keep",
        "",
    )
    .unwrap();
}

#[test]
fn it_keeps_to_its_kinds_bounds() {
    let component = keeper(1);
    let small = KindPolicy {
        memory_bytes: 64 << 10,
        ..policy()
    };
    let mut instance = component.instantiate(&small).unwrap();
    let text = "x".repeat(40 << 10);
    turn(&mut instance, 0, "keep", &text).unwrap();
    let image = image(&mut instance);
    let fault = turn(&mut instance, 1, "keep", &text).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Limit);
    assert!(fault.message.contains("memory-bytes"), "{fault}");
    // Under another policy it may go on.
    let mut instance = component.restore(&small, &image).unwrap();
    instance.run_under(&policy());
    turn(&mut instance, 1, "keep", &text).unwrap();
    let mut image = Vec::new();
    instance.snapshot(&mut image).unwrap();
    let refused = component.restore(&small, &image).unwrap_err();
    let needed = instance.memory_bytes();
    assert!(
        matches!(refused, RestoreError::Memory { needed: found, limit: 65_536 } if found == needed),
        "{refused}"
    );
    let fault = turn(&mut instance, 2, "flood", "").unwrap_err();
    assert_eq!(fault.kind, FaultKind::Limit);
    assert!(fault.message.contains("turn-effects"), "{fault}");
}

#[test]
fn an_image_of_anything_else_is_refused() {
    let component = keeper(1);
    let mut instance = component.instantiate(&policy()).unwrap();
    turn(&mut instance, 0, "keep", &"text ".repeat(100)).unwrap();
    let whole = image(&mut instance);
    let other = keeper(2);
    assert_ne!(component.digest(), other.digest());
    let refused = other.restore(&policy(), &whole).unwrap_err();
    assert!(matches!(refused, RestoreError::Base { .. }), "{refused}");
    for end in 0..whole.len() {
        component.restore(&policy(), &whole[..end]).unwrap_err();
    }
    let mut long = whole.clone();
    long.push(0);
    component.restore(&policy(), &long).unwrap_err();
    // What it says of its length is not believed.
    for claim in [1 << 30, u64::MAX] {
        let mut claimed = whole[..17].to_vec();
        let mut rest = claim;
        while rest >= 0x80 {
            claimed.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        claimed.push(rest as u8);
        let refused = component.restore(&policy(), &claimed).unwrap_err();
        assert!(
            matches!(refused, RestoreError::Image(ImageError::TooLarge { .. })),
            "{refused}"
        );
    }
}

#[test]
fn what_its_program_does_not_take_is_refused_in_its_words() {
    let component = keeper(1);
    let mut head = image(&mut component.instantiate(&policy()).unwrap());
    head.truncate(17);
    let saved = |bytes: &[u8]| [&head[..], &[(bytes.len() << 2) as u8], bytes].concat();
    component.restore(&policy(), &saved(b"good")).unwrap();
    let refused = component.restore(&policy(), &saved(b"bad!")).unwrap_err();
    let said = "no `!` is ever kept";
    assert!(
        matches!(&refused, RestoreError::Image(ImageError::Program(why)) if why == said),
        "{refused}"
    );
    let refused = component.restore(&policy(), &saved(b"panic")).unwrap_err();
    assert!(
        matches!(&refused, RestoreError::Fault(fault) if fault.message.ends_with("of a saved panic")),
        "{refused}"
    );
}
