//! Random sequences of messages to agents: the samples, and guests that ask, wait, draw
//! random numbers, pad and trap.
//!
//! An agent's state machine runs here on real instances, with a journal, and with sleep
//! and moves forced at random. Then the journal is replayed on another host, with others
//! of both: the answers and the hash of the memory are the same at every batch. And the
//! same messages in other batches lead to the same replies and effects in every stream.
//!
//! `PHOENIX_SEED=7` runs sequence 7 alone, `PHOENIX_SEQUENCES=1000` so many; fewer are run
//! by default, for a thousand take minutes in a debug build:
//! `PHOENIX_SEQUENCES=1000 cargo test --workspace --test sequences`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod batchings;
#[path = "../common/mod.rs"]
mod common;
mod peers;
mod seat;
mod subjects;
mod world;

use std::sync::Arc;

use phoenix_host::{Component, Host, HostConfig};

use subjects::Subject;
use world::World;

/// Sequences to each agent.
const SEQUENCES: u64 = 100;
const STEPS: u64 = 60;

/// A component on two hosts that differ in what must not matter.
pub(crate) struct Homes([Arc<Component>; 2]);

impl Homes {
    fn of(subject: &Subject) -> Self {
        let bytes = (subject.component)();
        let hosts: [Host; 2] = [false, true].map(|baseline_cpu| {
            common::start(HostConfig {
                baseline_cpu,
                ..HostConfig::default()
            })
        });
        Self(hosts.map(|host| common::admit(&host, bytes)))
    }
}

/// SplitMix64 (Steele, Lea, Flood).
pub(crate) struct Random(u64);

impl Random {
    /// The random numbers of one sequence, for one purpose.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ purpose);
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// The seeds to run.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|it| it.parse().unwrap());
    match number("PHOENIX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PHOENIX_SEQUENCES").unwrap_or(SEQUENCES),
    }
}

/// What sequences did, to be sure that they did something.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Batches that were put to the guest and hashed.
    pub(crate) batches: u64,
    /// Those that were put to it again by a replay, and compared.
    pub(crate) compared: u64,
    pub(crate) sleeps: u64,
    pub(crate) moves: u64,
    pub(crate) checkpoints: u64,
    pub(crate) crashes: u64,
    pub(crate) traps: u64,
    pub(crate) effects: u64,
    pub(crate) replies: u64,
}

fn replayed(subject: &Subject) {
    let homes = Homes::of(subject);
    let mut done = Done::default();
    for seed in seeds() {
        // Shown if it fails.
        println!("{}: PHOENIX_SEED={seed}", subject.kind);
        let mut world = World::new(subject, &homes, seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
        world.count(&mut done);
    }
    println!("{}: {done:?}", subject.kind);
    if seeds().count() >= 100 {
        assert!(done.compared > done.batches, "all of it, and some twice");
        let forced = [done.sleeps, done.moves, done.checkpoints, done.crashes];
        assert!(forced.iter().all(|it| *it >= 100), "{done:?}");
        assert!(done.replies > 100, "{done:?}");
        assert!(done.traps > 100 || !subject.traps, "{done:?}");
        assert!(done.effects > 100 || !subject.sends, "{done:?}");
    }
}

fn batched(subject: &Subject) {
    let homes = Homes::of(subject);
    let (mut replies, mut effects) = (0, 0);
    for seed in seeds() {
        println!("{}: PHOENIX_SEED={seed}", subject.kind);
        let books = batchings::compare(subject, &homes, seed);
        replies += books.replies.len();
        effects += books.effects.len();
    }
    println!("{}: {replies} replies, {effects} streams", subject.kind);
    assert!(replies > 0);
    assert!(effects > 0 || !subject.sends);
}

macro_rules! suites {
    ($($name:ident),* $(,)?) => {
        mod replay {
            $(#[test]
            fn $name() {
                super::replayed(&super::subjects::$name());
            })*
        }
        mod batching {
            $(#[test]
            fn $name() {
                super::batched(&super::subjects::$name());
            })*
        }
    };
}

suites!(
    counter, visitor, site, alerts, typed, padded, plain_rust, medley
);
