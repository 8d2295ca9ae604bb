//! Lives of a node, one after the other on what the last one left.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use e2e::{PATIENCE, Random, eventually, message, read};
use phoenix_core::control::{ControlError, Request, Response, Verdict};
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::journal::clean::Cleaning;
use phoenix_core::{AgentId, ClientId, KindName, KindPolicy, Millis, NodeId, Payload, Reply};
use phoenix_net::memory::{MemoryLimits, MemoryNetwork};
use phoenix_node::{Host, HostConfig, JournalDisk, Network, Node, NodeConfig};
use phoenix_store::journal::Options;
use phoenix_support::diary::{Model, Report, Script};

use crate::fate::{Fate, Powered, Tally};
use crate::volume::FaultyVolume;

const AGENTS: usize = 4;
const SENDERS: usize = 3;
/// Steps in a batch.
const BATCH: usize = 3;
/// How long a client waits.
const TIMEOUT: Millis = Millis(10_000);

/// What all nodes share, so that a life costs little.
pub(crate) struct Wasm {
    host: Host,
    /// Keeps what is compiled.
    _component: Box<dyn std::any::Any>,
}

impl Wasm {
    pub(crate) fn new() -> Self {
        let host = Host::start(HostConfig {
            max_resident: Some(64),
            max_memory_bytes: 64 << 20,
            ..HostConfig::default()
        })
        .unwrap();
        let component = host.admit(phoenix_support::guest("diary"), &policy());
        Self {
            host,
            _component: Box::new(component.unwrap()),
        }
    }
}

/// Small bounds, so that everything happens soon.
fn policy() -> KindPolicy {
    KindPolicy {
        durable: true,
        snapshot_every: SnapshotEvery {
            turns: 12,
            ..SnapshotEvery::default()
        },
        rollback_bytes: 1 << 10,
        idle_after: Millis(20),
        max_attempts: 1,
        ..KindPolicy::default()
    }
}

/// What the journal is kept with.
fn options() -> Options {
    let options = Options::new(Arc::new(|| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Millis(u64::try_from(now.as_millis()).unwrap())
    }));
    Options {
        file_bytes: 16 << 10,
        cleaning: Cleaning {
            bytes_per_second: 10 << 30,
            waste_percent: 50,
            spared_bytes: 48 << 10,
        },
        ..options
    }
}

/// A node's data, and what is known of its agents.
pub(crate) struct History<'a> {
    wasm: &'a Wasm,
    script: Script,
    data: tempfile::TempDir,
    volume: FaultyVolume,
    model: Model,
    random: Random,
}

/// What the clients hear.
enum Heard {
    /// What became of a sender's batch.
    Sent(usize, Vec<(usize, u64)>, Done),
    /// What an agent says, and what it has to have heard at least.
    Report(usize, Vec<u64>, Done),
    /// An agent waits for nobody.
    Flushed(usize, Done),
    /// An agent sleeps, or may not just now.
    Slept,
    /// The power went.
    Dark,
}

type Done = Result<Response, ControlError>;

/// A node that runs, and those who wait for its answers.
struct Life {
    /// There is none if the power went while it started.
    node: Option<Node>,
    fate: Arc<Fate>,
    tell: Sender<Heard>,
    heard: Receiver<Heard>,
    /// Agents that are asked for a report.
    asked: [bool; AGENTS],
}

impl Life {
    fn submit(&self, request: Request, heard: impl FnOnce(Done) -> Heard + Send + 'static) {
        let Some(node) = &self.node else { return };
        let (tell, fate) = (self.tell.clone(), self.fate.clone());
        let done = Box::new(move |done| {
            // Nobody listens any more once the test has seen the power go.
            if fate.step("answer to a client") {
                let _ = tell.send(heard(done));
            }
        });
        node.control().submit(request, done);
    }

    fn call(&self, agent: &str, method: &str, heard: impl FnOnce(Done) -> Heard + Send + 'static) {
        let request = Request::Call {
            client: ClientId::new("test").unwrap(),
            agent: AgentId::new(agent).unwrap(),
            method: method.into(),
            payload: Payload::default(),
            timeout: TIMEOUT,
            options: None,
        };
        self.submit(request, heard);
    }

    /// The node ends. Threads that still write would write what the next one reads.
    fn end(self) {
        let Self { node, fate, .. } = self;
        drop(node);
        eventually("the node lets go of all it has", || {
            Arc::strong_count(&fate) == 1
        });
    }

    /// The next that is heard.
    fn next(&self) -> Heard {
        let heard = self.heard.recv_timeout(PATIENCE);
        heard.unwrap_or_else(|_| panic!("nothing is heard after {} steps", self.fate.steps()))
    }
}

impl<'a> History<'a> {
    pub(crate) fn new(wasm: &'a Wasm, seed: u64) -> Self {
        let script = Script {
            seed,
            senders: SENDERS,
            agents: AGENTS,
        };
        // What is not the journal's is not lost, and need not wait for a disk.
        let data = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let mut history = Self {
            wasm,
            script,
            data: data.unwrap(),
            volume: FaultyVolume::default(),
            model: Model::new(script),
            random: Random::new(seed, 0),
        };
        let life = history.live(u64::MAX);
        let deploy = Request::Deploy {
            kind: KindName::new("diary").unwrap(),
            component: phoenix_support::guest("diary").into(),
            policy: Box::new(policy()),
        };
        life.submit(deploy, |done| Heard::Flushed(0, done));
        assert!(matches!(life.next(), Heard::Flushed(_, Ok(_))));
        life.end();
        history
    }

    /// Starts a node on what there is. Its power goes before step `at`.
    fn live(&mut self, at: u64) -> Life {
        let (tell, heard) = channel();
        let dark = tell.clone();
        let strike = Box::new(move || {
            // The test may have failed.
            let _ = dark.send(Heard::Dark);
        });
        let fate = Fate::new(self.volume.clone(), at, strike);
        let mut config = NodeConfig::alone(self.data.path());
        config.workers = Some(1 + self.random.below(2));
        config.hash_every_batch = true;
        config.host = Some(self.wasm.host.clone());
        config.witness = Some(fate.clone());
        config.journal = Some(JournalDisk {
            volume: Arc::new(Powered(fate.clone())),
            options: options(),
        });
        let network = Arc::new(MemoryNetwork::threaded(0, MemoryLimits::default()));
        let node = match Node::start_on(config, Network::Memory(network, NodeId(1))) {
            Ok(node) => Some(node),
            Err(_) if fate.struck().is_some() => None,
            Err(error) => panic!("it does not start: {error}"),
        };
        Life {
            node,
            fate,
            tell,
            heard,
            asked: [false; AGENTS],
        }
    }

    /// A life that ends before its step `at`.
    pub(crate) fn lose_power(&mut self, at: u64, tally: &mut Tally) {
        // Writes that take less than they were given go on with other operations.
        let short = (self.random.below(3) == 0).then(|| 1 + self.random.below(700));
        self.volume.set_short(short);
        let mut life = self.live(at);
        for agent in 0..AGENTS {
            self.ask(&mut life, agent);
        }
        for sender in 0..SENDERS {
            self.send(&life, sender);
        }
        loop {
            match life.next() {
                Heard::Dark => break,
                Heard::Sent(sender, batch, done) => {
                    self.sent(sender, &batch, done);
                    self.send(&life, sender);
                    let agent = self.random.below(AGENTS);
                    match self.random.below(4) {
                        0 => self.hibernate(&life, agent),
                        _ => self.ask(&mut life, agent),
                    }
                }
                Heard::Report(agent, floors, done) => {
                    life.asked[agent] = false;
                    if !self.report(agent, &floors, done) {
                        self.ask(&mut life, agent);
                    }
                }
                Heard::Flushed(..) | Heard::Slept => {}
            }
        }
        *tally.entry(life.fate.struck().unwrap()).or_default() += 1;
        life.end();
        let random = &mut self.random;
        self.volume = match random.below(4) {
            // Its process is killed, and what was written is there.
            0 => self.volume.after_kill(),
            _ => self.volume.after_power_loss(|bound| random.below(bound)),
        };
    }

    /// A life without an end: all that was sent is acknowledged, nothing waits any more,
    /// and the books balance. Says how many steps that were.
    pub(crate) fn settle(mut self) -> u64 {
        let mut life = self.live(u64::MAX);
        let mut open = SENDERS;
        for sender in 0..SENDERS {
            open -= usize::from(!self.finish(&life, sender));
        }
        while open > 0 {
            if let Heard::Sent(sender, batch, done) = life.next() {
                self.sent(sender, &batch, done);
                open -= usize::from(!self.finish(&life, sender));
            }
        }
        let until = Instant::now() + PATIENCE;
        loop {
            for agent in 0..AGENTS {
                let name = self.script.agent(agent);
                life.call(&name, "flush", move |done| Heard::Flushed(agent, done));
            }
            let mut left = AGENTS;
            while left > 0 {
                match life.next() {
                    Heard::Flushed(agent, _) => self.ask(&mut life, agent),
                    Heard::Report(agent, floors, done) => {
                        life.asked[agent] = false;
                        match self.report(agent, &floors, done) {
                            true => left -= 1,
                            false => self.ask(&mut life, agent),
                        }
                    }
                    Heard::Sent(..) | Heard::Slept | Heard::Dark => {}
                }
            }
            if self.model.is_settled() || Instant::now() > until {
                break;
            }
        }
        life.end();
        self.model.assert_balanced();
        self.model.steps()
    }

    /// Has an agent report, unless it does.
    fn ask(&self, life: &mut Life, agent: usize) {
        if !std::mem::replace(&mut life.asked[agent], true) {
            let floors = self.model.floors(agent);
            let name = self.script.agent(agent);
            life.call(&name, "report", move |done| {
                Heard::Report(agent, floors, done)
            });
        }
    }

    /// Takes a report. Says whether it is one.
    fn report(&mut self, agent: usize, floors: &[u64], done: Done) -> bool {
        match done {
            Ok(Response::Called(Reply::Ok(payload))) => {
                self.model.check(agent, floors, read::<Report>(&payload));
                true
            }
            Ok(Response::Called(Reply::Unavailable(_))) => false,
            other => panic!("agent {agent}: {other:?}"),
        }
    }

    fn hibernate(&self, life: &Life, agent: usize) {
        let agent = AgentId::new(&self.script.agent(agent)).unwrap();
        life.submit(Request::Hibernate { agent }, |_| Heard::Slept);
    }

    /// Has a sender send what was not acknowledged, and more.
    fn send(&mut self, life: &Life, sender: usize) {
        let agent = self.random.below(AGENTS);
        let next = self.model.next(sender, agent);
        let through = next + self.random.below(BATCH) as u64;
        self.model.sending(sender, agent, through);
        let batch: Vec<_> = (next..=through).map(|n| (agent, n)).collect();
        self.submit(life, sender, batch);
    }

    /// Has a sender send what was not acknowledged. Says whether there is anything.
    fn finish(&mut self, life: &Life, sender: usize) -> bool {
        let of = |agent| self.model.next(sender, agent)..=self.model.last(sender, agent);
        let batch: Vec<_> = (0..AGENTS)
            .flat_map(|agent| of(agent).map(move |n| (agent, n)))
            .collect();
        let any = !batch.is_empty();
        if any {
            self.submit(life, sender, batch);
        }
        any
    }

    fn submit(&self, life: &Life, sender: usize, batch: Vec<(usize, u64)>) {
        let message = |(agent, n): &(usize, u64)| {
            let step = self.script.step(sender, *agent, *n);
            message(&self.script.agent(*agent), "step", step, *n)
        };
        let request = Request::Send {
            client: ClientId::new(&self.script.sender(sender)).unwrap(),
            messages: batch.iter().map(message).collect(),
            timeout: TIMEOUT,
        };
        life.submit(request, move |done| Heard::Sent(sender, batch, done));
    }

    /// Takes the verdicts on a batch.
    fn sent(&mut self, sender: usize, batch: &[(usize, u64)], done: Done) {
        let Ok(Response::Sent(verdicts)) = done else {
            panic!("sender {sender}: {done:?}");
        };
        assert_eq!(verdicts.len(), batch.len());
        for ((agent, n), verdict) in batch.iter().zip(verdicts) {
            match verdict {
                Verdict::Applied => self.model.acknowledged(sender, *agent, *n),
                Verdict::Refused { expected, .. } => {
                    if let Some(expected) = expected {
                        self.model.expected(sender, *agent, expected);
                    }
                }
                Verdict::Unknown => {}
                Verdict::Dead { .. } => panic!("{n} to agent {agent}: {verdict:?}"),
            }
        }
    }
}
