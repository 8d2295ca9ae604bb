//! Agents run on a bare host, a turn a frame, without a node around them.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a part of several tests, each of which uses some of it"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use phoenix_core::{Digest, KindPolicy};
use phoenix_host::{Component, Fault, Host, HostConfig, Instance};
use phoenix_wit::{AnswerReader, ContentType, FrameWriter, Input, Outcome, Payload, Turn};

/// The time of every first turn: 2026-01-01.
pub const EPOCH: u64 = 1_767_225_600_000_000_000;

/// One host for the whole process, and the thread that ticks it.
pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| start(64, None))
}

/// Another, with a cache of its own: where those that move arrive.
fn elsewhere() -> &'static Host {
    static HOST: OnceLock<(Host, tempfile::TempDir)> = OnceLock::new();
    let (host, _) = HOST.get_or_init(|| {
        let cache = tempfile::tempdir().unwrap();
        (start(64, Some(cache.path().to_owned())), cache)
    });
    host
}

/// A host with so many places, and the thread that ticks it.
pub fn start(places: u32, cache_dir: Option<PathBuf>) -> Host {
    let config = HostConfig {
        max_resident: Some(places),
        cache_dir,
        ..HostConfig::default()
    };
    let host = Host::start(config).unwrap_or_else(|error| panic!("{error}"));
    let ticked = host.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Host::TICK);
            ticked.tick();
        }
    });
    host
}

/// What was admitted, by digest, so that it can be sent on.
static ADMITTED: Mutex<BTreeMap<Digest, Vec<u8>>> = Mutex::new(BTreeMap::new());

pub fn admit(bytes: &[u8], policy: &KindPolicy) -> Arc<Component> {
    let component = host()
        .admit(bytes, policy)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut admitted = ADMITTED.lock().unwrap();
    admitted.insert(component.digest(), bytes.to_vec());
    component
}

/// An agent and the number of its next turn.
pub struct Agent {
    pub instance: Instance,
    pub policy: KindPolicy,
    turn: u64,
}

/// What a turn gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gave {
    /// The payload as text, or the failure's code with a `!` before it, or `pending`.
    pub answer: String,
    /// The effects, as `Debug` shows them.
    pub effects: Vec<String>,
    /// What was printed.
    pub log: Vec<String>,
}

/// Why a turn gave nothing.
#[derive(Debug)]
pub enum Undone {
    Fault(Box<Fault>),
    /// The host took the answer, and the codec does not.
    Frame(phoenix_wit::FrameError),
}

impl Agent {
    /// A new agent, begun with `config`.
    pub fn begin(
        component: &Arc<Component>,
        policy: &KindPolicy,
        config: &str,
    ) -> Result<Self, Undone> {
        let instance = component
            .instantiate(policy)
            .unwrap_or_else(|e| panic!("{e}"));
        let mut agent = Self {
            instance,
            policy: policy.clone(),
            turn: 0,
        };
        let config = json(config);
        agent.run(Input::Init { config })?;
        Ok(agent)
    }

    /// The agent as another node has it: restored from its snapshot, into another
    /// host that compiled the component itself and keeps it in a cache of its own.
    pub fn moved(mut self, component: &Arc<Component>) -> Self {
        let mut image = Vec::new();
        self.instance
            .snapshot(&mut image)
            .unwrap_or_else(|error| panic!("{error}"));
        let hash = self.instance.memory_hash();
        drop(self.instance);
        let bytes = ADMITTED.lock().unwrap()[&component.digest()].clone();
        let there = elsewhere()
            .admit(&bytes, &self.policy)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(there.base_hash(), component.base_hash());
        let mut instance = there
            .restore(&self.policy, &image)
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(
            instance.memory_hash() == hash,
            "memory came along as it was"
        );
        Self {
            instance,
            policy: self.policy,
            turn: self.turn,
        }
    }

    /// A request of a client's.
    pub fn call(&mut self, method: &str, payload: &str) -> Result<Gave, Undone> {
        self.run(Input::Message {
            source: "client/test",
            method,
            payload: json(payload),
            request: true,
            deadline: u64::MAX,
        })
    }

    /// The answer of a request that is answered.
    pub fn answer(&mut self, method: &str, payload: &str) -> String {
        match self.call(method, payload) {
            Ok(gave) => gave.answer,
            Err(undone) => panic!("{method}: {undone:?}"),
        }
    }

    pub fn run(&mut self, input: Input<'_>) -> Result<Gave, Undone> {
        let mut frame = FrameWriter::new(Vec::new(), "test/agent", 7);
        frame.push(&Turn {
            number: self.turn,
            now: EPOCH + self.turn * 1_000_000,
            input,
        });
        let deadline = Duration::from_millis(self.policy.turn_deadline.0);
        let answer = self
            .instance
            .turns(&frame.finish(), Some(deadline))
            .map_err(|fault| Undone::Fault(Box::new(fault)))?;
        self.turn += 1;
        let mut gave = read(&answer.frame, self.policy.turn_effects).map_err(Undone::Frame)?;
        gave.log = answer.log.into_iter().map(|line| line.text).collect();
        Ok(gave)
    }
}

fn read(frame: &[u8], effects: u32) -> Result<Gave, phoenix_wit::FrameError> {
    let mut reader = AnswerReader::new(frame, 1)?;
    let mut turn = reader.next_answer()?.expect("the count was checked");
    reader.next_answer()?;
    let answer = match turn.outcome {
        Outcome::Ok(payload) => String::from_utf8_lossy(payload.bytes).into_owned(),
        Outcome::Failed(failure) => format!("!{}", failure.code),
        Outcome::Pending => "pending".into(),
        Outcome::Deferred => "deferred".into(),
    };
    if turn.effects.left() > effects {
        return Err(phoenix_wit::FrameError::Count {
            what: "effects",
            found: turn.effects.left().into(),
            expected: effects.into(),
        });
    }
    let mut seen = Vec::new();
    while let Some(effect) = turn.effects.next_effect()? {
        seen.push(format!("{effect:?}"));
    }
    Ok(Gave {
        answer,
        effects: seen,
        log: Vec::new(),
    })
}

pub fn json(text: &str) -> Payload<'_> {
    Payload {
        content_type: if text.is_empty() {
            ContentType::None
        } else {
            ContentType::Json
        },
        bytes: text.as_bytes(),
    }
}
