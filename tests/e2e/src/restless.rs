//! Agents that are moved and put to sleep all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use phoenix_core::control::ControlError;
use serde::Deserialize;

use crate::{Client, StopOnPanic};

/// What a `sequence` agent says it heard.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// Messages heard.
    pub heard: u64,
    /// The first number heard from each sender.
    pub first: BTreeMap<String, u64>,
    /// The last number heard from each sender.
    pub last: BTreeMap<String, u64>,
    /// Numbers that never came before a later one did.
    pub missing: u64,
    /// Messages whose number had been heard.
    pub repeated: u64,
    /// The first deviations: sender, the number expected, the number heard.
    pub deviations: Vec<(String, u64, u64)>,
    /// Messages it sent itself.
    pub sent: u64,
    /// Asks it has begun.
    pub asked: u64,
    /// Asks that ended as they were to.
    pub answered: BTreeSet<u64>,
    /// Other ends of asks.
    pub astray: Vec<String>,
}

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seed and stream: the same two, the same numbers.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        usize::try_from(z % bound as u64).unwrap()
    }
}

type Stirred = Result<(), ControlError>;

/// Agents that get no rest until told to stop.
pub struct Restless {
    agents: Vec<String>,
    nodes: Vec<usize>,
    /// Ends all loops.
    pub stop: AtomicBool,
    moves: AtomicU64,
    /// Why the last request was refused, for whoever looks into a failure.
    refused: Mutex<String>,
    /// Of each agent, how often it was moved or put to sleep.
    stirred: Vec<AtomicU64>,
}

impl Restless {
    /// These agents, to be moved between these nodes.
    pub fn new(agents: Vec<String>, nodes: &[usize]) -> Self {
        Self {
            stirred: agents.iter().map(|_| AtomicU64::new(0)).collect(),
            agents,
            nodes: nodes.to_vec(),
            stop: AtomicBool::new(false),
            moves: AtomicU64::new(0),
            refused: Mutex::default(),
        }
    }

    /// Moves one agent after the other.
    pub fn migrate(&self, client: &Client, random: Random) {
        self.stir(random, |agent, to| {
            let moved = client.migrate(agent, to);
            self.moves
                .fetch_add(u64::from(moved.is_ok()), Ordering::Relaxed);
            moved.map(drop)
        });
    }

    /// Puts one agent after the other to sleep.
    pub fn hibernate(&self, client: &Client, random: Random) {
        self.stir(random, |agent, _| client.hibernate(agent).map(drop));
    }

    fn stir(&self, mut random: Random, stir: impl Fn(&str, usize) -> Stirred) {
        let _guard = StopOnPanic(&self.stop);
        while !self.stopped() {
            let at = random.below(self.agents.len());
            let to = self.nodes[random.below(self.nodes.len())];
            match stir(&self.agents[at], to) {
                Ok(()) => {
                    self.stirred[at].fetch_add(1, Ordering::Relaxed);
                }
                // It is there already, on its way, or its node is gone: another one.
                Err(error) => {
                    *self.refused.lock() = format!("{} to {to}: {error}", self.agents[at]);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// Whether the loops are to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Why the last request was refused.
    pub fn refused(&self) -> String {
        self.refused.lock().clone()
    }

    /// Moves that were made.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// How often that agent was moved or put to sleep.
    pub fn stirred(&self, agent: &str) -> u64 {
        let at = self.agents.iter().position(|other| other == agent);
        self.stirred[at.expect("the agent is restless")].load(Ordering::Relaxed)
    }
}
