//! Hosts, hand-written agents, and a driver for tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a part of several tests, each of which uses some of it"
)]

use std::sync::Arc;
use std::time::Duration;

use phoenix_core::{Digest, KindPolicy};
use phoenix_host::{Answer, Component, Fault, Host, HostConfig, Instance};
use phoenix_wit::{FrameWriter, Input, Payload, Turn};

/// The time of the first turn: 2026-01-01.
pub const EPOCH: u64 = 1_767_225_600_000_000_000;

/// A host with few places, and a thread that ticks it.
pub fn start(config: HostConfig) -> Host {
    let host = Host::start(HostConfig {
        max_resident: config.max_resident.or(Some(16)),
        ..config
    })
    .unwrap();
    let ticked = host.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Host::TICK);
            ticked.tick();
        }
    });
    host
}

pub fn policy() -> KindPolicy {
    KindPolicy::default()
}

pub fn admit(host: &Host, bytes: &[u8]) -> Arc<Component> {
    host.admit(bytes, &policy())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A message to `method` as the turn with this number.
pub fn frame(number: u64, method: &str, payload: &str) -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), "test/agent", 42);
    let payload = Payload {
        content_type: phoenix_wit::ContentType::Json,
        bytes: payload.as_bytes(),
    };
    let input = if method == "init" {
        Input::Init { config: payload }
    } else {
        Input::Message {
            source: "client/test",
            method,
            payload,
            request: true,
            deadline: EPOCH + 3_600_000_000_000,
        }
    };
    writer.push(&Turn {
        number,
        now: EPOCH + number * 1_000_000,
        input,
    });
    writer.finish()
}

pub fn turn(
    instance: &mut Instance,
    number: u64,
    method: &str,
    payload: &str,
) -> Result<Answer, Fault> {
    instance.turns(
        &frame(number, method, payload),
        Some(Duration::from_secs(600)),
    )
}

pub fn image(instance: &mut Instance) -> Vec<u8> {
    let mut image = Vec::new();
    instance.snapshot(&mut image).unwrap();
    image
}

/// Runs the same turns in both and checks that they stay the same.
pub fn same(one: &mut Instance, other: &mut Instance, turns: impl Iterator<Item = (u64, String)>) {
    for (number, method) in turns {
        let first = turn(one, number, &method, "\"a b\"").unwrap();
        let second = turn(other, number, &method, "\"a b\"").unwrap();
        assert_eq!(first.frame, second.frame, "turn {number}");
        assert_eq!(one.memory_hash(), other.memory_hash(), "turn {number}");
    }
}

pub const NO_HASH: Digest = Digest([0; 32]);

/// A framed agent in WAT. It answers every turn with a description of itself
/// that declares `handlers` empty and, if asked to, a stack from 0 to 65,536.
#[derive(Default)]
pub struct Wat {
    /// Component items before the module: imports and lowered functions.
    pub before: &'static str,
    /// Items of the module: imports first.
    pub items: String,
    /// What `turns` does, with `$frame`, `$turn` (its low 32 bits) and the locals `$at`, `$one`
    /// and `$two` at hand.
    pub body: String,
    /// Arguments of the module's instantiation.
    pub with: &'static str,
    pub stack: bool,
}

impl Wat {
    pub fn component(&self) -> Vec<u8> {
        let Self {
            before,
            items,
            body,
            with,
            ..
        } = self;
        let (answer, length) = self.answer();
        let text = format!(
            r#"(component
                {before}
                (core module $main
                    {items}
                    (memory (export "memory") 8)
                    (global $stack (mut i32) (i32.const 65536))
                    (data (i32.const 327680) "{answer}")
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                        (i32.const 262144))
                    (func (export "turns") (param $frame i32) (param i32) (result i32)
                        (local $turn i32) (local $at i32) (local $one i32) (local $two i32)
                        ;; The number stands 8 bytes into the first record, which follows the id.
                        (local.set $turn (i32.load offset=24
                            (i32.add (local.get $frame) (i32.load16_u offset=2 (local.get $frame)))))
                        {body}
                        (i32.store (i32.const 327672) (i32.const 327680))
                        (i32.store (i32.const 327676) (i32.const {length}))
                        (i32.const 327672)))
                (core instance $main (instantiate $main {with}))
                (func (export "turns") (param "frame" (list u8)) (result (list u8))
                    (canon lift (core func $main "turns")
                        (memory (core memory $main "memory"))
                        (realloc (core func $main "realloc")))))"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The answer to one turn, escaped for WAT, and its length.
    fn answer(&self) -> (String, usize) {
        let mut said = vec![if self.stack { 0x83 } else { 0x81 }];
        let text = |said: &mut Vec<u8>, text: &str| {
            said.push(0xa0 | u8::try_from(text.len()).unwrap());
            said.extend_from_slice(text.as_bytes());
        };
        text(&mut said, "handlers");
        said.push(0x90);
        if self.stack {
            text(&mut said, "stack_low");
            said.push(0);
            text(&mut said, "stack_high");
            said.extend_from_slice(&[0xce, 0, 1, 0, 0]);
        }
        let mut writer = phoenix_wit::AnswerWriter::new(Vec::new());
        let payload = Payload::message_pack(&said);
        writer.outcome(&phoenix_wit::Outcome::Ok(payload), 0);
        let answer = writer.finish();
        let escaped = answer.iter().map(|byte| format!("\\{byte:02x}")).collect();
        (escaped, answer.len())
    }
}
