//! A migration's messages are lost, and its links cut, at each of its steps.
//!
//! Whatever is lost, the agent ends in exactly one place, in the life it was in,
//! answers, and has all that was acknowledged for it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use e2e::steps::{Step, Steps};
use e2e::{Client, Cluster, Ledger, Report, eventually, node_id};
use parking_lot::Mutex;
use phoenix_core::control::{ControlError, Response};
use phoenix_core::{KindPolicy, Millis, Reply};
use std::sync::mpsc::Receiver;

/// Messages to each agent before, and again after.
const MESSAGES: u64 = 20;
/// How the sender of them is called.
const SENDER: &str = "sequence/from";

/// What is lost of one agent's migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loss {
    step: Step,
    /// How many messages of that step are lost before one arrives.
    times: u32,
    /// From the first of them on everything is lost.
    and_all_later: bool,
}

/// What each agent is to lose, and what it has lost.
#[derive(Default)]
struct Losses {
    wanted: BTreeMap<String, Loss>,
    lost: BTreeMap<String, u32>,
}

/// Three nodes, and agents on the second that are about to move to the third.
struct Scene {
    cluster: Cluster,
    client: Client,
    ledger: Arc<Ledger>,
    losses: Arc<Mutex<Losses>>,
    agents: Vec<String>,
}

impl Scene {
    /// One agent for each of `wanted`. Whoever is connected has `patience` to take
    /// its next step.
    fn new(seed: u64, patience: Duration, wanted: &[Loss]) -> Self {
        let ledger = Arc::new(Ledger::default());
        let witness = ledger.clone();
        let cluster = Cluster::tuned(3, seed, move |config| {
            config.witness = Some(witness.clone());
            config.migration_timeout = patience;
            config.migration_patience = patience;
        });
        let policy = KindPolicy {
            give_up_after: Millis(3_600_000),
            ..KindPolicy::default()
        };
        cluster.deploy("sequence", phoenix_support::guest("sequence"), policy);
        let client = cluster.client(1);
        client.spawn(SENDER, 1);
        let agents: Vec<String> = wanted
            .iter()
            .map(|loss| format!("sequence/{:?}", loss.step))
            .collect();
        for agent in &agents {
            client.spawn(agent, 2);
        }
        client.call::<()>(SENDER, "burst", (&agents, 1u64, MESSAGES));
        let losses = Losses {
            wanted: agents.iter().cloned().zip(wanted.iter().copied()).collect(),
            lost: BTreeMap::new(),
        };
        let losses = Arc::new(Mutex::new(losses));
        let scene = Self {
            cluster,
            client,
            ledger,
            losses,
            agents,
        };
        scene.filter();
        scene
    }

    fn filter(&self) {
        let (losses, ledger) = (self.losses.clone(), self.ledger.clone());
        let mut steps = Steps::default();
        let filter = move |from, to, message: &_| {
            let Some((motion, step)) = steps.see(from, to, message) else {
                return true;
            };
            ledger.saw(&motion, message);
            let losses = &mut *losses.lock();
            let Some(loss) = losses.wanted.get(motion.agent.as_str()) else {
                return true;
            };
            let lost = losses.lost.entry(motion.agent.to_string()).or_default();
            let is_step = step == Some(loss.step) && *lost < loss.times;
            if is_step || (loss.and_all_later && *lost > 0) {
                *lost += 1;
                return false;
            }
            true
        };
        self.cluster.network().set_filter(Some(Box::new(filter)));
    }

    /// Asks for all moves at once.
    fn go(&self) -> Vec<Receiver<Result<Response, ControlError>>> {
        let agents = self.agents.iter();
        agents
            .map(|agent| {
                self.client.begin(phoenix_core::control::Request::Migrate {
                    agent: agent.parse().unwrap(),
                    to: node_id(3),
                })
            })
            .collect()
    }

    /// Waits until every agent has lost something.
    fn all_have_lost(&self) {
        eventually("every step is reached", || {
            self.losses.lock().lost.len() == self.agents.len()
        });
    }

    /// Nothing more is lost.
    fn relent(&self) {
        self.losses.lock().wanted.clear();
    }

    /// Waits until an agent answers, wherever it is.
    fn answers(&self, agent: &str) -> Report {
        let mut report = None;
        eventually("it answers", || {
            match self.client.ask(agent, "report", ()) {
                Reply::Ok(payload) => report = Some(e2e::read(&payload)),
                // Frozen, or its way is not known yet: neither is an answer.
                Reply::Unavailable(_) | Reply::Timeout => {}
                other => panic!("{agent}: {other:?}"),
            }
            report.is_some()
        });
        report.unwrap()
    }

    /// Checks what must hold in the end, for every agent.
    fn check(&self) {
        let more = MESSAGES + 1;
        self.client
            .call::<()>(SENDER, "burst", (&self.agents, more, MESSAGES));
        for agent in &self.agents {
            eventually("everything is heard", || {
                self.answers(agent).last.get(SENDER) == Some(&(2 * MESSAGES))
            });
            let report = self.answers(agent);
            self.ledger.assert_heard(agent, &report);
            assert_eq!((report.heard, report.missing), (2 * MESSAGES, 0), "{agent}");
            eventually("it is in one place", || {
                self.cluster.places(agent).len() == 1
            });
            let detail = self.client.inspect(agent).unwrap();
            let (at, incarnation, turns) = self.ledger.life(agent);
            assert_eq!(detail.info.node, at, "{agent}");
            assert_eq!(detail.incarnation, incarnation, "{agent}");
            assert_eq!(detail.info.turns, turns, "{agent}");
        }
        self.ledger.assert_right();
        assert_eq!(self.ledger.lost(), 0, "nobody died");
    }
}

fn losses(times: u32) -> Vec<Loss> {
    Step::ALL
        .into_iter()
        .map(|step| Loss {
            step,
            times,
            and_all_later: false,
        })
        .collect()
}

#[test]
fn any_message_of_a_migration_may_be_lost_once() {
    let scene = Scene::new(30, Duration::from_secs(60), &losses(1));
    for (agent, end) in scene.agents.iter().zip(scene.go()) {
        let end = end.recv_timeout(e2e::PATIENCE).unwrap();
        assert!(end.is_ok(), "{agent}: {end:?}");
    }
    scene.all_have_lost();
    for agent in &scene.agents {
        assert_eq!(scene.cluster.places(agent), [3], "{agent}");
    }
    scene.check();
}

/// Some steps never come then: the agent stays, moves all the same, or stands
/// still until the directory can be asked.
#[test]
fn any_message_of_a_migration_may_be_lost_for_good() {
    let scene = Scene::new(31, Duration::from_secs(3), &losses(u32::MAX));
    let ends = scene.go();
    scene.all_have_lost();
    for (loss, (agent, end)) in losses(0).iter().zip(scene.agents.iter().zip(ends)) {
        if loss.step == Step::Move {
            // Asked again and again: without an answer the source stays frozen.
            eventually("it is asked again", || scene.losses.lock().lost[agent] > 2);
            // Nor may the target run its copy: the directory knows of no move.
            assert_eq!(scene.ledger.life(agent).0, node_id(2), "{agent}");
            scene.losses.lock().wanted.remove(agent);
        }
        let end = end.recv_timeout(e2e::PATIENCE).unwrap();
        scene.answers(agent);
        let stays = matches!(loss.step, Step::Prepare | Step::Ready | Step::Ship);
        println!("{:?} is lost for good: {end:?}", loss.step);
        if stays {
            assert!(end.is_err(), "{agent}: {end:?}");
            assert_eq!(scene.ledger.life(agent).0, node_id(2), "{agent}");
        }
        let moves = [
            Step::MoveAnswer,
            Step::Released,
            Step::Settle,
            Step::SettleAnswer,
        ];
        if moves.contains(&loss.step) {
            assert!(end.is_ok(), "{agent}: {end:?}");
            assert_eq!(scene.ledger.life(agent).0, node_id(3), "{agent}");
        }
    }
    scene.relent();
    scene.check();
}

/// Each agent is stopped at another step; then the link goes, and stays away for
/// longer than a node waits for the other one.
fn cut(seed: u64, one: usize, other: usize) {
    let wanted: Vec<Loss> = losses(1)
        .into_iter()
        .map(|loss| Loss {
            and_all_later: true,
            ..loss
        })
        .collect();
    let scene = Scene::new(seed, Duration::from_secs(60), &wanted);
    let ends = scene.go();
    scene.all_have_lost();
    let network = scene.cluster.network();
    network.partition(node_id(one), node_id(other));
    scene.relent();
    if one != 1 {
        // The directory is there for both, and decides.
        for agent in &scene.agents {
            scene.answers(agent);
        }
    }
    network.heal(node_id(one), node_id(other));
    scene.cluster.wait_connected();
    for end in ends {
        end.recv_timeout(2 * e2e::PATIENCE)
            .unwrap()
            .map_or_else(drop, drop);
    }
    scene.check();
}

#[test]
fn the_link_between_source_and_target_may_be_cut_at_any_step() {
    cut(32, 2, 3);
}

#[test]
fn the_link_between_source_and_directory_may_be_cut_at_any_step() {
    cut(33, 1, 2);
}

#[test]
fn the_link_between_target_and_directory_may_be_cut_at_any_step() {
    cut(34, 1, 3);
}
