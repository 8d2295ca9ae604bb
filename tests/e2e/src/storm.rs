//! Messages that flow while their receivers move and sleep and nodes are killed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use phoenix_core::control::Response;
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::{KindPolicy, Millis, NodeId, PeerMessage, Reply};

use phoenix_node::NodeConfig;

use crate::steps::{Step, Steps};
use crate::{Client, Cluster, Ledger, Progress, Random, Report, Restless, StopOnPanic, eventually};
use crate::{node_id, read};

/// Agents that send, on the first node.
const SENDERS: u64 = 8;
/// Agents that hear, on the others.
const RECEIVERS: usize = 64;
/// Messages a sender's turn sends to each receiver.
const A_TURN: u64 = 2;
/// Agents that answer those who wait, and move as well.
const GATES: usize = 4;

/// Which node of a migration is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The one the agent leaves.
    Source,
    /// The one it goes to.
    Target,
    /// Both.
    Both,
}

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Decides who moves when, and where nodes are killed.
    pub seed: u64,
    /// Messages, at least.
    pub messages: u64,
    /// Moves, at least.
    pub moves: u64,
    /// Hibernations, at least.
    pub sleeps: u64,
    /// Whom to kill, and how often.
    pub kills: Option<(Victim, u64)>,
    /// Whether half of the receivers wait for a reply all the time.
    pub waiting: bool,
    /// Whether all agents are durable. Nodes that are killed then lose what they have
    /// not synced, and nothing else.
    pub durable: bool,
}

impl Storm {
    /// Whether lives of agents end.
    fn is_deadly(&self) -> bool {
        self.kills.is_some() && !self.durable
    }
}

/// Lets it happen, and checks everything that must hold.
pub fn run(storm: Storm) {
    println!("{storm:?}");
    let ledger = Arc::new(Ledger::of(storm.durable));
    let mut cluster = cluster(&storm, &ledger);
    let client = cluster.client(1);
    let receivers: Vec<String> = (0..RECEIVERS).map(|n| format!("sequence/to-{n}")).collect();
    let senders: Vec<String> = (0..SENDERS).map(|n| format!("sequence/from-{n}")).collect();
    let gates: Vec<String> = (0..GATES).map(|n| format!("relay/gate-{n}")).collect();
    for sender in &senders {
        client.spawn(sender, 1);
    }
    for (n, agent) in receivers.iter().chain(&gates).enumerate() {
        client.spawn(agent, 2 + n % 2);
    }
    let saboteur = Saboteur::new(&cluster, &storm, ledger.clone());
    let mut moved = receivers.clone();
    if storm.waiting {
        moved.extend(gates.iter().cloned());
    }
    let weather = Weather {
        each: storm.messages.div_ceil(SENDERS * RECEIVERS as u64 * A_TURN) * A_TURN,
        storm,
        restless: Restless::new(moved, &[2, 3]),
        receivers,
        senders,
        gates,
        sent: AtomicU64::new(0),
        slept: AtomicU64::new(0),
        rounds: Mutex::new(vec![0; RECEIVERS]),
    };
    weather.rage(&mut cluster, &saboteur);
    weather.check(&cluster, &ledger);
}

fn cluster(storm: &Storm, ledger: &Arc<Ledger>) -> Cluster {
    let witness = ledger.clone();
    let tune = move |config: &mut NodeConfig| config.witness = Some(witness.clone());
    let cluster = match storm.durable {
        true => Cluster::powered(3, storm.seed, tune),
        false => Cluster::tuned(3, storm.seed, tune),
    };
    let policy = KindPolicy {
        durable: storm.durable,
        snapshot_every: SnapshotEvery {
            turns: 50,
            ..SnapshotEvery::default()
        },
        idle_after: Millis(3_600_000),
        // Nothing is to be given up while its receiver's node is down.
        give_up_after: Millis(3_600_000),
        ..KindPolicy::default()
    };
    for kind in ["sequence", "relay"] {
        cluster.deploy(kind, phoenix_support::guest(kind), policy.clone());
    }
    cluster
}

/// One storm while it lasts.
struct Weather {
    storm: Storm,
    restless: Restless,
    receivers: Vec<String>,
    senders: Vec<String>,
    gates: Vec<String>,
    /// Messages each sender sends to each receiver.
    each: u64,
    /// Turns of senders so far.
    sent: AtomicU64,
    /// Hibernations so far.
    slept: AtomicU64,
    /// Asks of each receiver that have ended.
    rounds: Mutex<Vec<u64>>,
}

impl Weather {
    fn rage(&self, cluster: &mut Cluster, saboteur: &Saboteur) {
        let client = cluster.client(1);
        let random = |stream| Random::new(self.storm.seed, stream);
        std::thread::scope(|scope| {
            let _guard = StopOnPanic(&self.restless.stop);
            for stream in 0..2 {
                let client = client.clone();
                scope.spawn(move || self.restless.migrate(&client, random(stream)));
                let client = cluster.client(1);
                scope.spawn(move || self.restless.hibernate(&client, random(10 + stream)));
            }
            for sender in &self.senders {
                let client = client.clone();
                scope.spawn(move || self.send(&client, sender));
            }
            if self.storm.waiting {
                for n in 0..self.gates.len() {
                    let client = client.clone();
                    scope.spawn(move || self.wait(&client, n));
                }
            }
            self.watch(cluster, saboteur);
            self.restless.stop.store(true, Ordering::Relaxed);
        });
    }

    /// Turns that each sender takes.
    fn turns(&self) -> u64 {
        self.each / A_TURN
    }

    /// Sends everything, no faster than agents move and sleep: so messages flow
    /// from the first move to the last.
    fn send(&self, client: &Client, sender: &str) {
        let _guard = StopOnPanic(&self.restless.stop);
        for turn in 0..self.turns() {
            let due = |least: u64| least * turn / self.turns();
            while self.restless.moves() < due(self.storm.moves)
                || self.slept.load(Ordering::Relaxed) < due(self.storm.sleeps)
            {
                if self.restless.stopped() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let first = turn * A_TURN + 1;
            client.call::<()>(sender, "burst", (&self.receivers, first, A_TURN));
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets every second receiver wait for one of the gates, again and again: its
    /// answer comes once it was moved or put to sleep while it waited.
    fn wait(&self, client: &Client, gate: usize) {
        let _guard = StopOnPanic(&self.restless.stop);
        let mine: Vec<usize> = (0..RECEIVERS)
            .filter(|n| n % 2 == 0 && n / 2 % self.gates.len() == gate)
            .collect();
        let gate = &self.gates[gate];
        while !self.restless.stopped() {
            let mut calls = Vec::new();
            for n in &mine {
                let (agent, round) = (&self.receivers[*n], self.rounds.lock()[*n] + 1);
                let call = client.begin_call(agent, "wait", (gate, number(*n, round)));
                eventually("it waits for its answer", || {
                    client.inspect(agent).is_ok_and(|detail| detail.pending > 0)
                });
                calls.push((*n, round, call, self.restless.stirred(agent)));
            }
            for (n, round, call, before) in calls {
                let agent = &self.receivers[n];
                eventually("it was moved or put to sleep", || {
                    self.restless.stopped() || self.restless.stirred(agent) > before
                });
                client.call::<()>(gate, "tell", number(n, round));
                match call.recv_timeout(crate::PATIENCE).unwrap().unwrap() {
                    Response::Called(Reply::Ok(payload)) => read::<()>(&payload),
                    other => panic!("{agent}: {other:?}"),
                }
                self.rounds.lock()[n] = round;
            }
        }
    }

    /// Waits for it all, and sends nodes to their death meanwhile.
    fn watch(&self, cluster: &mut Cluster, saboteur: &Saboteur) {
        let kills = self.storm.kills.map_or(0, |(_, times)| times);
        let turns = self.turns() * SENDERS;
        let mut killed = 0;
        let mut gone = 0;
        let mut progress = Progress::towards("the end of the storm");
        loop {
            let counted = [1, 2, 3].map(|n| cluster.client(n).counter("hibernations"));
            let slept = gone + counted.iter().sum::<u64>();
            self.slept.store(slept, Ordering::Relaxed);
            let sent = self.sent.load(Ordering::Relaxed);
            if killed < kills && sent >= turns * (killed + 1) / (kills + 1) {
                saboteur.arm(killed);
                killed += 1;
            }
            if let Some(victims) = saboteur.struck() {
                for victim in &victims {
                    let at = victim.0 as usize;
                    gone += cluster.client(at).counter("hibernations");
                    cluster.kill(at);
                }
                saboteur.bury(&victims);
                for victim in &victims {
                    cluster.start(victim.0 as usize);
                }
                cluster.wait_connected();
                println!("{victims:?} were killed and are back");
            }
            let (moves, sleeps) = (self.restless.moves(), self.slept.load(Ordering::Relaxed));
            let stirred = moves >= self.storm.moves && sleeps >= self.storm.sleeps;
            if sent == turns && stirred && saboteur.deaths() == kills {
                break;
            }
            let moves = moves.min(self.storm.moves);
            let sleeps = sleeps.min(self.storm.sleeps);
            let state = || self.state(cluster);
            progress.at(vec![sent, moves, sleeps, saboteur.deaths()], state);
            assert!(!self.restless.stopped(), "one of the loops has failed");
        }
        println!(
            "{} moves and {} hibernations, {sent} turns of senders",
            self.restless.moves(),
            self.slept.load(Ordering::Relaxed),
            sent = self.sent.load(Ordering::Relaxed)
        );
        self.await_verdicts(cluster);
    }

    /// Waits until no sender keeps a message any more.
    fn await_verdicts(&self, cluster: &Cluster) {
        let client = cluster.client(1);
        let mut progress = Progress::towards("a verdict for every message");
        loop {
            let open = self.senders.iter().map(|sender| {
                let detail = client.inspect(sender);
                detail.expect("senders live on node 1").outbox
            });
            let open: u64 = open.sum();
            if open == 0 {
                break;
            }
            progress.at(vec![open], || self.state(cluster));
        }
    }

    /// What there is to know of a storm that does not end.
    fn state(&self, cluster: &Cluster) -> String {
        let mut text = format!("last refused: {}", self.restless.refused());
        for n in 1..=3 {
            let client = cluster.client(n);
            text += &format!(
                "\nnode {n} is connected to {:?}",
                cluster.node(n).connected()
            );
            for line in client.logs().iter().rev().take(10) {
                text += &format!("\n    {line}");
            }
        }
        for agent in cluster.client(1).agents() {
            let detail = cluster.client(1).inspect(agent.agent.as_str());
            text += &format!("\n{agent:?} {:?}", detail.map(|d| (d.generation, d.outbox)));
        }
        text
    }

    fn check(&self, cluster: &Cluster, ledger: &Ledger) {
        let client = cluster.client(1);
        ledger.assert_right();
        if self.storm.is_deadly() {
            // Those whose last life ended after the last message hear one more.
            for sender in &self.senders {
                client.call::<()>(sender, "burst", (&self.receivers, self.each + 1, 1));
            }
        }
        let each = self.each + u64::from(self.storm.is_deadly());
        for agent in &self.receivers {
            let mut report: Report = client.call(agent, "report", ());
            eventually("everything is heard", || {
                report = client.call(agent, "report", ());
                report.last.len() as u64 == SENDERS && report.last.values().all(|n| *n >= each)
            });
            assert!(report.last.values().all(|last| *last == each), "{report:?}");
            ledger.assert_heard(agent, &report);
            eventually("it is in one place", || cluster.places(agent).len() == 1);
            assert_eq!(report.sent, 0);
            if !self.storm.is_deadly() {
                assert_eq!(report.heard, SENDERS * each, "{agent}");
                assert_eq!(report.missing, 0, "{agent}");
            }
        }
        self.check_replies(&client);
        ledger.assert_right();
        println!("{} commits, {} lives lost", ledger.commits(), ledger.lost());
        if !self.storm.is_deadly() {
            assert_eq!(ledger.lost(), 0);
        }
    }

    fn check_replies(&self, client: &Client) {
        let rounds = self.rounds.lock();
        let mut replies = 0;
        for (n, agent) in self.receivers.iter().enumerate() {
            let report: Report = client.call(agent, "report", ());
            let expected = (1..=rounds[n]).map(|round| number(n, round)).collect();
            assert_eq!(report.answered, expected, "{agent}");
            assert_eq!(report.asked, rounds[n], "{agent}");
            assert!(report.astray.is_empty(), "{agent}: {:?}", report.astray);
            replies += rounds[n];
        }
        println!("{replies} replies came");
        let waiting = rounds.iter().filter(|rounds| **rounds > 0).count();
        assert_eq!(waiting, if self.storm.waiting { RECEIVERS / 2 } else { 0 });
    }
}

/// The number under which receiver `n` asks in that round.
fn number(n: usize, round: u64) -> u64 {
    round * 1_000 + n as u64
}

/// Cuts nodes off in the midst of a migration, as if they had died there.
struct Saboteur {
    plan: Arc<Mutex<Plan>>,
    struck: mpsc::Receiver<Vec<NodeId>>,
    ledger: Arc<Ledger>,
}

struct Plan {
    random: Random,
    victim: Victim,
    /// The step at which the victims die, and how often it is let pass before.
    armed: Option<(Step, usize)>,
    /// The nodes that are dead to all others.
    cut: Vec<NodeId>,
    deaths: u64,
    /// Steps in the order they are tried.
    order: Vec<Step>,
}

impl Saboteur {
    fn new(cluster: &Cluster, storm: &Storm, ledger: Arc<Ledger>) -> Self {
        let mut random = Random::new(storm.seed, 99);
        let mut order = Step::ALL.to_vec();
        for at in (1..order.len()).rev() {
            order.swap(at, random.below(at + 1));
        }
        let plan = Arc::new(Mutex::new(Plan {
            random,
            victim: storm.kills.map_or(Victim::Target, |(victim, _)| victim),
            armed: None,
            cut: Vec::new(),
            deaths: 0,
            order,
        }));
        let (strike, struck) = mpsc::channel();
        let books = ledger.clone();
        let mut steps = Steps::default();
        let shared = plan.clone();
        let disks = cluster.disks();
        cluster
            .network()
            .set_filter(Some(Box::new(move |from, to, message| {
                let mut plan = shared.lock();
                if plan.cut.iter().any(|cut| *cut == from || *cut == to) {
                    return false;
                }
                let Some((motion, step)) = steps.see(from, to, message) else {
                    if let PeerMessage::Acknowledge(verdicts) = message {
                        ledger.gave(from, verdicts);
                    }
                    return true;
                };
                let victims = match plan.victim {
                    Victim::Source => vec![motion.source],
                    Victim::Target => vec![motion.target],
                    Victim::Both => vec![motion.source, motion.target],
                };
                if victims.contains(&node_id(1)) || !plan.is_time(step) {
                    ledger.saw(&motion, message);
                    return true;
                }
                println!("{victims:?} die at {step:?} of {}", motion.agent);
                let (left, came) = (victims.contains(&from), victims.contains(&to));
                let arrives = plan.random.below(2) == 0 && left && !came;
                if arrives {
                    ledger.saw(&motion, message);
                }
                for victim in &victims {
                    if let Some(disks) = &disks {
                        disks.cut(victim.0 as usize);
                    }
                    ledger.killed(*victim);
                }
                plan.cut.clone_from(&victims);
                plan.deaths += 1;
                // The test has ended where nobody listens.
                let _ = strike.send(victims);
                arrives || !(left || came)
            })));
        Self {
            plan,
            struck,
            ledger: books,
        }
    }

    /// At a step of a migration that is still to come, the victim dies.
    fn arm(&self, nth: u64) {
        let mut plan = self.plan.lock();
        let step = plan.order[usize::try_from(nth).unwrap() % plan.order.len()];
        let after = plan.random.below(8);
        plan.armed = Some((step, after));
    }

    /// The nodes that have died, once.
    fn struck(&self) -> Option<Vec<NodeId>> {
        self.struck.try_recv().ok()
    }

    /// The dead nodes have ended, and may come back.
    fn bury(&self, victims: &[NodeId]) {
        for victim in victims {
            self.ledger.buried(*victim);
        }
        self.plan.lock().cut.clear();
    }

    fn deaths(&self) -> u64 {
        self.plan.lock().deaths
    }
}

impl Plan {
    fn is_time(&mut self, step: Option<Step>) -> bool {
        match &mut self.armed {
            Some((wanted, left)) if step == Some(*wanted) => {
                if *left == 0 {
                    self.armed = None;
                    return true;
                }
                *left -= 1;
                false
            }
            _ => false,
        }
    }
}
