//! What all clients share: the node there is just now, and what is known of its agents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use phoenix_core::{AgentId, KindName};
use phoenix_gateway::api::{self, AgentStatus, ContentType};
use phoenix_gateway::client::{AgentFilter, Client, ClientError};
use phoenix_support::diary::{Model, Pile, Report, Script};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

/// Agents, each of which hears every sender.
pub(crate) const AGENTS: usize = 16;
/// Senders over HTTP.
pub(crate) const SENDERS: usize = 8;
/// The sender that is the command line.
pub(crate) const COMMAND: usize = SENDERS;
/// How long an agent may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long anything may take before it is given up as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Until it is enough.
    Endless,
    /// So many steps by each sender to each agent, and these keys to each agent.
    Exactly(Vec<Vec<u64>>, Vec<u64>),
}

#[derive(Default)]
pub(crate) struct Keys {
    /// By agent: the last number, each of which is a message's name.
    pub(crate) sent: Vec<u64>,
    /// By agent: how many were applied.
    pub(crate) applied: Vec<u64>,
}

pub(crate) struct World {
    pub(crate) script: Script,
    goal: Mutex<Goal>,
    model: Mutex<Model>,
    keys: Mutex<Keys>,
    node: watch::Sender<Option<Client>>,
    pub(crate) retried: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) refused: AtomicU64,
    checks: AtomicU64,
    /// Counters of all lives but the present, by name, and of that.
    counted: Mutex<[BTreeMap<&'static str, u64>; 2]>,
}

impl World {
    pub(crate) fn new(seed: u64, goal: Goal) -> Self {
        let script = Script {
            seed,
            senders: SENDERS + 1,
            agents: AGENTS,
        };
        Self {
            script,
            goal: Mutex::new(goal),
            model: Mutex::new(Model::new(script)),
            keys: Mutex::new(Keys {
                sent: vec![0; AGENTS],
                applied: vec![0; AGENTS],
            }),
            node: watch::Sender::new(None),
            retried: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            counted: Mutex::default(),
        }
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        // A client that failed has said why.
        self.model.lock().unwrap()
    }

    pub(crate) fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap()
    }

    /// Deploys the agents' kind: small bounds, so that everything happens soon.
    pub(crate) async fn deploy(&self, client: &Client) {
        let policy = serde_json::json!({
            "durable": true,
            "snapshot-every-turns": 64,
            // Checkpoints between snapshots, whose hashes are compared.
            "rollback-bytes": "4KiB",
            "idle-after": "300ms",
            "max-attempts": 1,
        });
        let policy: api::Policy = serde_json::from_value(policy).unwrap();
        let component = Bytes::from_static(phoenix_support::guest("diary"));
        let kind = KindName::new("diary").unwrap();
        client.deploy(&kind, component, &policy).await.unwrap();
    }

    /// From now on there is a node.
    pub(crate) fn open(&self, client: Client) {
        self.node.send_replace(Some(client));
    }

    /// There is none until the next one.
    pub(crate) fn close(&self) {
        self.node.send_replace(None);
        let [past, present] = &mut *self.counted.lock().unwrap();
        for (name, value) in std::mem::take(present) {
            *past.entry(name).or_default() += value;
        }
    }

    /// The node, as soon as there is one.
    pub(crate) async fn node(&self) -> Client {
        let mut node = self.node.subscribe();
        let there = node.wait_for(Option::is_some).await.unwrap();
        there.clone().unwrap()
    }

    /// How far the sender goes with an agent.
    pub(crate) fn limit(&self, sender: usize, agent: usize) -> u64 {
        match &*self.goal.lock().unwrap() {
            Goal::Endless => u64::MAX,
            Goal::Exactly(steps, _) => steps[sender][agent],
        }
    }

    /// How many keys an agent gets.
    pub(crate) fn key_limit(&self, agent: usize) -> u64 {
        match &*self.goal.lock().unwrap() {
            Goal::Endless => u64::MAX,
            Goal::Exactly(_, keys) => keys[agent],
        }
    }

    /// Nothing new is sent any more: what was sent is all.
    pub(crate) fn enough(&self) {
        let mut goal = self.goal.lock().unwrap();
        if *goal == Goal::Endless {
            let model = self.model();
            let of = |sender| (0..AGENTS).map(move |agent| (sender, agent));
            let steps = (0..=SENDERS).map(|sender| {
                let steps = of(sender).map(|(sender, agent)| model.last(sender, agent));
                steps.collect()
            });
            *goal = Goal::Exactly(steps.collect(), self.keys().sent.clone());
        }
    }

    /// How much was sent.
    pub(crate) fn goal(&self) -> Goal {
        self.goal.lock().unwrap().clone()
    }

    /// Has every agent report, and holds that against what is known.
    pub(crate) async fn check_all(self: &Arc<Self>) {
        let all = async {
            let mut checks = JoinSet::new();
            for agent in 0..AGENTS {
                let world = self.clone();
                checks.spawn_local(async move { world.check(agent).await });
            }
            while let Some(checked) = checks.join_next().await {
                checked.unwrap();
            }
        };
        LocalSet::new().run_until(all).await;
        let client = self.node().await;
        let listed = patiently(async || client.agents(&AgentFilter::default()).await).await;
        for agent in listed.agents {
            if agent.status == AgentStatus::Quarantined {
                let id = AgentId::new(&agent.agent).unwrap();
                let detail = client.inspect(&id).await;
                let lines = client.logs(Some(&id), None, None, Some(10)).await;
                panic!("{agent:?} is quarantined: {detail:#?}\n{lines:#?}");
            }
        }
        let counters = patiently(async || client.counters().await).await;
        let mut counted = self.counted.lock().unwrap();
        for name in [
            "restored",
            "memory-hashes-proved",
            "snapshots",
            "hibernations",
            "faults",
        ] {
            counted[1].insert(name, counters.counters[name]);
        }
        self.checks.fetch_add(1, Ordering::Relaxed);
    }

    async fn check(&self, agent: usize) {
        let client = self.node().await;
        let floors = self.model().floors(agent);
        let keyed = self.keys().applied[agent];
        let report = self.report(&client, agent).await;
        let heard = report.keyed.get("client/keyed").map_or(0, |it| it.count);
        assert!(
            (keyed..=self.keys().sent[agent]).contains(&heard),
            "{keyed} keys were applied, and {heard} are known to agent {agent}"
        );
        self.model().check(agent, &floors, report);
    }

    async fn report(&self, client: &Client, agent: usize) -> Report {
        self.ask(client, agent, "report").await
    }

    /// Asks an agent, again while it is not to be had.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        client: &Client,
        agent: usize,
        method: &str,
    ) -> T {
        let id = AgentId::new(&self.script.agent(agent)).unwrap();
        let none = ContentType::None;
        let answer = patiently(async || {
            let asked = client.ask(&id, method, none, Bytes::new(), ASK_TIMEOUT, None);
            asked.await
        });
        let answer = answer.await;
        answer.decode().unwrap()
    }

    /// Lets every late answer come, waits until nothing is on its way any more, and
    /// balances the books.
    pub(crate) async fn settle(self: &Arc<Self>) {
        let client = self.node().await;
        let until = Instant::now() + PATIENCE;
        loop {
            for agent in 0..AGENTS {
                self.ask::<()>(&client, agent, "flush").await;
            }
            self.check_all().await;
            if self.model().is_settled() {
                break;
            }
            if Instant::now() > until {
                self.model().assert_balanced();
                panic!("it does not settle");
            }
        }
        self.model().assert_balanced();
        let reports = self.reports();
        for (agent, sent) in self.keys().sent.iter().enumerate() {
            let report = &reports[agent];
            let keyed = report.keyed.get("client/keyed").copied();
            assert_eq!(
                keyed.unwrap_or_default(),
                Pile::of(1..=*sent),
                "keys of agent {agent}"
            );
        }
    }

    /// What all nodes counted that have ended.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counted.lock().unwrap()[0]
            .get(name)
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn steps(&self) -> u64 {
        self.model().steps()
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.model().reports().to_vec()
    }

    pub(crate) fn figures(&self) -> String {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = format!(
            "{} keys applied, {} batches sent again, {} verdicts unknown, {} refused, {} checks",
            self.keys().applied.iter().sum::<u64>(),
            of(&self.retried),
            of(&self.unknown),
            of(&self.refused),
            of(&self.checks)
        );
        for (name, value) in &self.counted.lock().unwrap()[0] {
            let _ = write!(text, ", {name} {value}");
        }
        text
    }
}

/// Whether the same request may succeed later; a node that is gone is another matter.
pub(crate) fn may_pass(error: &ClientError) -> bool {
    error.is_unreachable()
        || error.is_unknown()
        || error.code().is_some_and(|code| {
            matches!(
                code,
                "conflict" | "bounced" | "overloaded" | "unavailable" | "slow-request" | "unknown"
            )
        })
}

async fn patiently<T>(request: impl AsyncFn() -> Result<T, ClientError>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match request().await {
            Ok(answer) => return answer,
            Err(error) if may_pass(&error) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}
