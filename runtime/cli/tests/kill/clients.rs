//! Who sends. A client that hears nothing in time, or whose node is gone, knows
//! nothing, and sends the same again under the same number or key.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use phoenix_core::ClientId;
use phoenix_gateway::api::{ContentType, Message, Verdict};
use phoenix_gateway::client::ClientError;
use phoenix_support::diary::mix;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::process::{Process, phoenix};
use crate::world::{AGENTS, COMMAND, SENDERS, World, may_pass};

/// How long a client waits for verdicts, and how long if it is impatient.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
const IMPATIENT: Duration = Duration::from_millis(3);
/// One batch in so many is sent by an impatient client.
const IMPATIENT_ONE_IN: u64 = 8;
/// Agents in a batch, and steps to each.
const BATCH: (u64, u64) = (4, 4);
/// Keys on their way at once.
const KEYS: u64 = 8;

/// All that send.
pub(crate) struct Clients {
    tasks: Vec<JoinHandle<()>>,
    command: Option<std::thread::JoinHandle<()>>,
}

impl Clients {
    pub(crate) fn start(runtime: &Runtime, world: &Arc<World>, data: &Path) -> Self {
        let senders = (0..SENDERS).map(|sender| runtime.spawn(send(world.clone(), sender)));
        let mut tasks: Vec<_> = senders.collect();
        tasks.push(runtime.spawn(send_keyed(world.clone())));
        let (world, data) = (world.clone(), data.to_owned());
        let handle = runtime.handle().clone();
        let command = std::thread::spawn(move || {
            while let Some((agent, n)) = next_command(&world) {
                handle.block_on(world.node());
                command(&world, &data, agent, n);
            }
        });
        Self {
            tasks,
            command: Some(command),
        }
    }

    /// Fails if one of them has.
    pub(crate) fn check(&mut self) {
        let ended = self.tasks.iter().any(JoinHandle::is_finished)
            || self.command.as_ref().is_none_or(|it| it.is_finished());
        assert!(!ended, "a client has failed, see above");
    }

    /// Has them come to an end: all that was sent is acknowledged then.
    pub(crate) fn finish(&mut self, runtime: &Runtime, world: &World) {
        world.enough();
        for task in self.tasks.drain(..) {
            runtime.block_on(task).unwrap();
        }
        self.command.take().unwrap().join().unwrap();
    }
}

/// Sends steps over HTTP, each stream in order, until the goal is reached.
async fn send(world: Arc<World>, sender: usize) {
    let script = world.script;
    let client = ClientId::new(&script.sender(sender)).unwrap();
    let mut bits = mix(script.seed ^ sender as u64);
    loop {
        let batch = next_steps(&world, sender, &mut bits);
        if batch.is_empty() {
            return;
        }
        let step = |(agent, n): &(usize, u64)| step(&world, sender, *agent, *n);
        let messages: Vec<_> = batch.iter().map(step).collect();
        bits = mix(bits);
        let timeout = match bits % IMPATIENT_ONE_IN {
            0 => IMPATIENT,
            _ => SEND_TIMEOUT,
        };
        let node = world.node().await;
        let verdicts = match node.send(&client, &messages, timeout).await {
            Ok(verdicts) => verdicts,
            Err(error) => {
                again(&world, &error).await;
                continue;
            }
        };
        assert_eq!(verdicts.len(), batch.len());
        let mut took = false;
        for ((agent, n), verdict) in batch.into_iter().zip(verdicts) {
            took |= settle(&world, sender, agent, n, &verdict);
        }
        if !took {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// What a sender sends next: what was not acknowledged, and more.
fn next_steps(world: &World, sender: usize, bits: &mut u64) -> Vec<(usize, u64)> {
    let mut model = world.model();
    let mut below = |bound: u64| {
        *bits = mix(*bits);
        *bits % bound
    };
    let open = |model: &phoenix_support::diary::Model, agent: usize| {
        model.next(sender, agent) <= world.limit(sender, agent)
    };
    let agents: Vec<_> = (0..AGENTS).filter(|agent| open(&model, *agent)).collect();
    let mut batch = Vec::new();
    if agents.is_empty() {
        return batch;
    }
    let mut chosen: Vec<_> = (0..=below(BATCH.0))
        .map(|_| agents[usize::try_from(below(agents.len() as u64)).unwrap()])
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    for agent in chosen {
        let next = model.next(sender, agent);
        let last = (next + below(BATCH.1)).min(world.limit(sender, agent));
        model.sending(sender, agent, last);
        batch.extend((next..=last).map(|n| (agent, n)));
    }
    batch
}

fn step(world: &World, sender: usize, agent: usize, n: u64) -> Message<'static> {
    let step = world.script.step(sender, agent, n);
    Message {
        agent: world.script.agent(agent).into(),
        method: "step".into(),
        content_type: ContentType::MessagePack,
        payload: rmp_serde::to_vec_named(&step).unwrap().into(),
        sequence: Some(n),
        ..Message::default()
    }
}

/// Takes a verdict; says whether it is one.
fn settle(world: &World, sender: usize, agent: usize, n: u64, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Applied => {
            world.model().acknowledged(sender, agent, n);
            return true;
        }
        Verdict::Refused { expected, .. } => {
            world.refused.fetch_add(1, Ordering::Relaxed);
            if let Some(expected) = expected {
                world.model().expected(sender, agent, *expected);
            }
        }
        Verdict::Unknown => _ = world.unknown.fetch_add(1, Ordering::Relaxed),
        Verdict::Dead { .. } => panic!("{n} of sender {sender} to agent {agent}: {verdict:?}"),
    }
    false
}

async fn again(world: &World, error: &ClientError) {
    assert!(may_pass(error), "{error}");
    world.retried.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// Sends messages that have a key, several of them at once and in any order.
async fn send_keyed(world: Arc<World>) {
    let client = ClientId::new("keyed").unwrap();
    let mut open: Vec<(usize, u64)> = Vec::new();
    let mut bits = mix(world.script.seed ^ 0x6b65_7973);
    loop {
        next_keys(&world, &mut open, &mut bits);
        if open.is_empty() {
            return;
        }
        let keyed = |(agent, n): &(usize, u64)| keyed(&world, *agent, *n);
        let messages: Vec<_> = open.iter().map(keyed).collect();
        let node = world.node().await;
        match node.send(&client, &messages, SEND_TIMEOUT).await {
            Ok(verdicts) => {
                let mut verdicts = verdicts.into_iter();
                open.retain(|(agent, n)| match verdicts.next() {
                    Some(Verdict::Applied) => {
                        world.keys().applied[*agent] += 1;
                        false
                    }
                    Some(Verdict::Dead { code, detail }) => {
                        panic!("key {n} to agent {agent}: {code}: {detail}")
                    }
                    _ => true,
                });
            }
            Err(error) => again(&world, &error).await,
        }
        // There are few of them: each is remembered for an hour.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn next_keys(world: &World, open: &mut Vec<(usize, u64)>, bits: &mut u64) {
    let mut keys = world.keys();
    let left = |keys: &crate::world::Keys, agent: usize| keys.sent[agent] < world.key_limit(agent);
    while (open.len() as u64) < KEYS {
        let agents: Vec<_> = (0..AGENTS).filter(|agent| left(&keys, *agent)).collect();
        if agents.is_empty() {
            return;
        }
        *bits = mix(*bits);
        let agent = agents[usize::try_from(*bits % agents.len() as u64).unwrap()];
        keys.sent[agent] += 1;
        open.push((agent, keys.sent[agent]));
    }
}

fn keyed(world: &World, agent: usize, n: u64) -> Message<'static> {
    Message {
        agent: world.script.agent(agent).into(),
        method: "keyed".into(),
        content_type: ContentType::MessagePack,
        payload: rmp_serde::to_vec_named(&n).unwrap().into(),
        key: Some(format!("{agent}-{n}").into()),
        ..Message::default()
    }
}

/// The step that the command line sends next.
fn next_command(world: &World) -> Option<(usize, u64)> {
    let mut model = world.model();
    let left = |agent: &usize| model.next(COMMAND, *agent) <= world.limit(COMMAND, *agent);
    let agent = (0..AGENTS)
        .filter(left)
        .min_by_key(|agent| model.next(COMMAND, *agent))?;
    let next = model.next(COMMAND, agent);
    model.sending(COMMAND, agent, next);
    Some((agent, next))
}

/// `phoenix send`, as a user would.
fn command(world: &World, data: &Path, agent: usize, n: u64) {
    let step = world.script.step(COMMAND, agent, n);
    let mut command = phoenix();
    command
        .args(["--json", "--data", data.to_str().unwrap(), "send"])
        .args([&world.script.agent(agent), "step"])
        .arg(serde_json::to_string(&step).unwrap())
        .args(["--client", &world.script.sender(COMMAND)])
        .args(["--sequence", &n.to_string(), "--timeout", "2s"])
        .current_dir(data);
    let output = Process::start(&mut command).end();
    match output.status.code() {
        Some(0) => world.model().acknowledged(COMMAND, agent, n),
        Some(1 | 3 | 4) => not_applied(world, agent, &output),
        other => panic!("{other:?}: {output:?}"),
    }
}

fn not_applied(world: &World, agent: usize, output: &Output) {
    world.retried.fetch_add(1, Ordering::Relaxed);
    if output.stdout.is_empty() {
        let text = String::from_utf8_lossy(&output.stderr);
        let error: Value = serde_json::from_str(text.trim()).unwrap_or_else(|_| panic!("{text}"));
        let passes = ["unknown", "unreachable", "unavailable", "overloaded"];
        let code = error["error"]["code"].as_str().unwrap();
        assert!(passes.contains(&code), "{error}");
        return;
    }
    let verdict: Verdict = serde_json::from_slice(&output.stdout).unwrap();
    match verdict {
        Verdict::Refused { expected, .. } => {
            if let Some(expected) = expected {
                world.model().expected(COMMAND, agent, expected);
            }
        }
        Verdict::Unknown => {}
        other => panic!("{other:?}"),
    }
}
