//! A node is killed with SIGKILL again and again while clients send to its durable
//! agents, and these to each other.
//!
//! ```text
//!   8 senders over HTTP ─┐
//!   one that gives keys ─┼──▶ node ──▶ diary/0 … diary/15 ──▶ each other
//!   `phoenix send`      ─┘     ✝ ⟳           │
//!   Model::check ◀── report of each ─────────┘
//! ```
//!
//! `cargo test -p phoenix --test kill -- --nocapture` kills it 50 times; `PHOENIX_KILLS`
//! sets another number, `PHOENIX_SEED` another seed for when it is killed and what is
//! sent.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it did"
)]

#[path = "../process/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod process;

mod clients;
mod node;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clients::Clients;
use node::{Lives, Spans};
use phoenix_support::diary::mix;
use world::{Goal, World};

/// When the node is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// While it starts.
    Starting,
    /// As soon as it takes messages, which then have agents restored.
    Restoring,
    /// When all agents were heard of.
    Running,
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}")),
        Err(_) => default,
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_applied_twice_when_a_node_is_killed() {
    let (kills, seed) = (number("PHOENIX_KILLS", 50), number("PHOENIX_SEED", 1));
    println!("PHOENIX_SEED={seed} PHOENIX_KILLS={kills}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    let world = Arc::new(World::new(seed, Goal::Endless));
    let mut lives = Lives::new();
    let mut clients = Clients::start(&runtime, &world, lives.data());
    let mut spans = Spans::default();
    let mut bits = mix(seed);
    let mut below = |bound: u64| {
        bits = mix(bits);
        bits % bound.max(1)
    };
    for kill in 0..kills {
        let moment = match below(6) {
            0 if kill > 0 => Moment::Starting,
            1 => Moment::Restoring,
            _ => Moment::Running,
        };
        let micros = Duration::from_micros;
        if moment == Moment::Starting {
            let life = lives.begin();
            std::thread::sleep(micros(below(spans.start_micros())));
            drop(life);
            continue;
        }
        let mut life = lives.start(&runtime, &mut spans);
        if kill == 0 {
            runtime.block_on(world.deploy(&life.client));
            life.begun = Instant::now();
        }
        clients.check();
        world.open(life.client.clone());
        if moment == Moment::Running {
            runtime.block_on(world.check_all());
            spans.answered(life.begun);
        }
        std::thread::sleep(micros(below(40_000)));
        world.close();
        life.kill();
    }
    let killed = began.elapsed();
    let life = lives.start(&runtime, &mut spans);
    world.open(life.client.clone());
    clients.finish(&runtime, &world);
    runtime.block_on(world.settle());
    world.close();
    let figures = world.figures();
    println!(
        "{kills} kills in {:.1} s: {} steps acknowledged, {figures}; {spans}",
        killed.as_secs_f64(),
        world.steps(),
    );
    drop(life);
    if kills >= 20 {
        for counter in ["restored", "snapshots", "memory-hashes-proved"] {
            assert!(world.counter(counter) > 0, "{counter}");
        }
    }
    let undisturbed = undisturbed(&runtime, seed, &world);
    assert_eq!(
        world.reports(),
        undisturbed.reports(),
        "a node that was killed, and one that was not"
    );
    println!(
        "the same on a node that was not killed; {:.1} s in all",
        began.elapsed().as_secs_f64()
    );
}

/// The same messages to a node that is left in peace.
fn undisturbed(runtime: &tokio::runtime::Runtime, seed: u64, after: &World) -> Arc<World> {
    let world = Arc::new(World::new(seed, after.goal()));
    let mut lives = Lives::new();
    let life = lives.start(runtime, &mut Spans::default());
    runtime.block_on(world.deploy(&life.client));
    let mut clients = Clients::start(runtime, &world, lives.data());
    world.open(life.client.clone());
    clients.finish(runtime, &world);
    runtime.block_on(world.settle());
    world
}
