//! Three nodes, a network that loses, repeats, delays and parts, and agents that
//! send each other messages in every way there is while they move and sleep.
//!
//! ```text
//!   from/s-N ──▶ plain/   rejects what has no room
//!            ──▶ oldest/  drops what has waited longest
//!            ──▶ newest/  drops what comes
//!            ──▶ spill/   keeps it on disk
//!            ──▶ aside/   sends it on ──▶ spare/main
//! ```
//!
//! Of every third seed they are durable. What happens is drawn from a seed: who sends what to whom and how, what the
//! network does, who moves and sleeps when. The nodes are real and run on threads,
//! so two runs of a seed differ in the order things come about. Once all faults are
//! lifted everything must come to rest; then the books of all agents are laid side
//! by side with the nodes' dead letters and counters, and every message must have
//! had exactly one end (see [`audit`]).

mod audit;
mod books;
mod script;
mod seen;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use phoenix_core::control::{AgentDetail, AgentStatus};
use phoenix_core::{KindPolicy, Millis, Overflow, Reply};
use phoenix_net::memory::Faults;
use phoenix_node::NodeConfig;

use crate::{Client, Cluster, PATIENCE, Random, node_id};
use books::{Books, Plan, Receiver, Way};
pub use seen::Seen;

/// Nodes of the cluster.
const NODES: usize = 3;
/// Agents that send. Every second one moves and sleeps.
const SENDERS: u32 = 4;
/// Kinds of agents that hear. Of each there is one that stays where it is and awake,
/// so that its counters are those of all its life, and one that moves and sleeps.
const HEARERS: [&str; 5] = ["plain", "oldest", "newest", "spill", "aside"];
/// Who hears what `aside/` has no room for.
const SPARE: &str = "spare/main";
/// Who never answers.
const MUTE: &str = "mute/0";
/// Messages a mailbox has room for.
const ROOM: u32 = 8;

/// Lets one seed happen, checks everything that must hold, and says what was seen.
pub fn run(seed: u64) -> Seen {
    let guard = Named(seed);
    let simulation = Simulation::new(seed);
    simulation.cluster_up();
    let parted = simulation.storm();
    simulation.lift();
    simulation.rest();
    let mut seen = audit::audit(&simulation);
    seen.add("partitions", parted);
    seen.see_network(simulation.cluster.network().harm());
    seen.see_nodes(&simulation.cluster, NODES);
    drop(guard);
    seen
}

/// Names the seed of a run that panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            println!("seed {seed} failed: PHOENIX_SEED={seed} runs it alone");
        }
    }
}

struct Simulation {
    seed: u64,
    cluster: Cluster,
    senders: Vec<String>,
    /// All of [`HEARERS`], those that stay where they are first.
    steady: Vec<String>,
    restless: Vec<String>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let tune = |config: &mut NodeConfig| {
            config.dead_letters = 100_000;
            config.max_resident = Some(50);
            // Compiling is what takes longest, and is none of this test's business.
            let mut own = fs::DirBuilder::new();
            own.mode(0o700).create(&config.data_dir).unwrap();
            symlink(compiled(), config.data_dir.join("compiled")).unwrap();
        };
        let cluster = match is_durable(seed) {
            true => Cluster::powered(NODES, seed, tune),
            false => Cluster::tuned(NODES, seed, tune),
        };
        let hearers = |key: &str| HEARERS.iter().map(|kind| format!("{kind}/{key}")).collect();
        let simulation = Self {
            seed,
            cluster,
            senders: (0..SENDERS).map(|n| format!("from/s-{n}")).collect(),
            steady: hearers("steady"),
            restless: hearers("restless"),
        };
        simulation.deploy();
        simulation
    }

    fn random(&self, stream: u64) -> Random {
        Random::new(self.seed, stream)
    }

    fn deploy(&self) {
        let [books, mute] = guests();
        let policy = |overflow, mailbox_messages| KindPolicy {
            overflow,
            mailbox_messages,
            memory_bytes: 8 << 20,
            turn_effects: 64,
            outbox_messages: 1_024,
            // Whoever sleeps is put to sleep, and nothing is given up that need not be.
            idle_after: Millis(3_600_000),
            give_up_after: Millis(3_600_000),
            durable: is_durable(self.seed),
            ..KindPolicy::default()
        };
        let deploy = |kind, overflow| self.cluster.deploy(kind, books, policy(overflow, ROOM));
        deploy("plain", Overflow::Reject);
        deploy("oldest", Overflow::DropOldest);
        deploy("newest", Overflow::DropNewest);
        deploy("spill", Overflow::Spill);
        deploy("aside", Overflow::Redirect(SPARE.parse().unwrap()));
        deploy(
            "spare",
            match self.random(1).below(2) {
                0 => Overflow::Reject,
                _ => Overflow::DropNewest,
            },
        );
        self.cluster
            .deploy("from", books, policy(Overflow::Reject, 1_000));
        self.cluster.deploy("mute", mute, KindPolicy::default());
    }

    /// Those who hear, as the senders count them.
    fn hearers(&self) -> impl Iterator<Item = &String> {
        self.steady.iter().chain(&self.restless)
    }

    /// Everybody whose books count.
    fn everybody(&self) -> Vec<&str> {
        let all = self.senders.iter().chain(self.hearers());
        all.map(String::as_str).chain([SPARE]).collect()
    }

    /// Those who move and sleep.
    fn movers(&self) -> Vec<&str> {
        let senders = self.senders.iter().skip(1).step_by(2);
        let all = senders.chain(&self.restless).map(String::as_str);
        all.chain([SPARE]).collect()
    }

    /// Brings everybody to life, somewhere, and tells senders what to send.
    fn cluster_up(&self) {
        let client = self.cluster.client(1);
        let mut random = self.random(2);
        for agent in self.everybody().into_iter().chain([MUTE]) {
            client.spawn(agent, 1 + random.below(NODES));
        }
        let receivers: Vec<Receiver> = self.hearers().map(|agent| self.receiver(agent)).collect();
        for (own, sender) in (0u32..).zip(&self.senders) {
            let plan = Plan {
                seed: self.seed.wrapping_mul(1_000).wrapping_add(own.into()),
                own,
                receivers: receivers.clone(),
                mute: MUTE.to_owned(),
                bursts: 20,
                every: 15 + random.below(15) as u64,
                a_burst: 24,
            };
            client.call::<()>(sender, "begin", plan);
        }
    }

    fn receiver(&self, agent: &str) -> Receiver {
        let mut never = Vec::new();
        if self.steady.iter().any(|it| it == agent) {
            // Their counters are to be those of reliable messages.
            never.push(Way::AtMostOnce);
        }
        if agent.starts_with("aside/") {
            // What is sent on and then ends in silence only a counter knows, and that
            // of an agent that moves.
            never.extend([Way::AtMostOnce, Way::Mortal, Way::Impatient]);
        }
        Receiver {
            agent: agent.to_owned(),
            never,
        }
    }

    /// All pairs of nodes.
    fn pairs() -> impl Iterator<Item = (usize, usize)> {
        (1..=NODES).flat_map(|one| (one + 1..=NODES).map(move |other| (one, other)))
    }

    fn set_faults(&self, faults: &Faults) {
        for (one, other) in Self::pairs() {
            let network = self.cluster.network();
            network.set_faults(node_id(one), node_id(other), faults.clone());
        }
    }

    /// Nothing goes wrong any more.
    fn lift(&self) {
        self.set_faults(&Faults::default());
        let network = self.cluster.network();
        // Mostly the nodes meet anew, and send again at once what has no verdict. Without
        // that everything hangs on timers, which takes longer.
        let anew = self.seed % 4 != 3;
        for (one, other) in Self::pairs() {
            if anew {
                network.break_connection(node_id(one), node_id(other));
            }
            network.heal(node_id(one), node_id(other));
        }
        self.cluster.wait_connected();
    }

    /// Waits until everything is sent, everything has its verdict, and nobody has
    /// anything left to do.
    fn rest(&self) {
        let client = self.cluster.client(1);
        for sender in &self.senders {
            while !self.books(&client, sender).done {}
        }
        let until = Instant::now() + PATIENCE;
        // Senders come first: whatever has no verdict keeps one of them from rest, and
        // what was sent on keeps whoever did that.
        while let Some(busy) = self.everybody().iter().find_map(|it| unrest(&client, it)) {
            assert!(Instant::now() < until, "no rest: {busy}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// An agent's books, once it answers.
    fn books(&self, client: &Client, agent: &str) -> Books {
        let until = Instant::now() + PATIENCE;
        loop {
            match client.ask(agent, "books", ()) {
                Reply::Ok(payload) => return crate::read(&payload),
                // On its way, or its mailbox is full: neither is an answer.
                Reply::Unavailable(_) | Reply::Bounced(_) | Reply::Timeout => {
                    assert!(Instant::now() < until, "{agent} does not answer");
                    std::thread::sleep(Duration::from_millis(5));
                }
                other => panic!("{agent}: {other:?}"),
            }
        }
    }
}

/// Whether all agents but one of a seed are durable: of every third.
fn is_durable(seed: u64) -> bool {
    seed % 3 == 2
}

/// Who keeps books, and who never answers.
fn guests() -> [&'static [u8]; 2] {
    ["bookkeeper", "relay"].map(phoenix_support::guest)
}

/// A directory with the guests as a node has compiled them.
fn compiled() -> &'static Path {
    static COMPILED: OnceLock<tempfile::TempDir> = OnceLock::new();
    let kept = COMPILED.get_or_init(|| {
        let cluster = Cluster::new(1, 0);
        for (n, guest) in guests().into_iter().enumerate() {
            cluster.deploy(&format!("guest-{n}"), guest, KindPolicy::default());
        }
        let kept = tempfile::tempdir().unwrap();
        fs::remove_dir(kept.path()).unwrap();
        fs::rename(cluster.data_dir(1).join("compiled"), kept.path()).unwrap();
        kept
    });
    kept.path()
}

/// What an agent still has to do.
fn unrest(client: &Client, agent: &str) -> Option<String> {
    let detail = match client.inspect(agent) {
        Ok(detail) => detail,
        Err(error) => return Some(format!("{agent}: {error}")),
    };
    let AgentDetail {
        info,
        mailbox,
        outbox,
        pending,
        ..
    } = &detail;
    let waiting = mailbox.lanes.iter().map(|it| it.messages + it.spilled);
    let waiting = waiting.sum::<u64>() + mailbox.ends;
    let is_settled = matches!(
        info.status,
        AgentStatus::Resident | AgentStatus::Hibernated | AgentStatus::Stored
    );
    (waiting + outbox + pending > 0 || !is_settled).then(|| format!("{detail:?}"))
}
