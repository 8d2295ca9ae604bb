//! Timers that are due while their node is killed.
//!
//! `PHOENIX_TIMERS=AGENTS,EACH,LEAD` has so many agents with so many timers each, of which
//! the first is due so many seconds after the first is set: 100,000 of them by
//! `PHOENIX_TIMERS=1000,100,10 cargo test --workspace --test node timers -- --nocapture`,
//! or of 100,000 agents by `PHOENIX_TIMERS=100000,1,240`.

use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use phoenix_core::{AgentId, ClientId};
use phoenix_gateway::api::{ContentType, Message, Verdict};
use phoenix_gateway::client::Client;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::harness::Node;

/// Agents, timers of each, and seconds to set them in, where nothing else is said.
const USUAL: [u64; 3] = [100, 50, 3];
/// All of them are due within so many milliseconds.
const WITHIN: u64 = 1_000;
/// How long may pass before a test gives up: only one that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(300);
/// Messages in one batch.
const BATCH: usize = 1_000;
/// Threads that look at the agents when all is over.
const CLIENTS: usize = 8;
/// Agents that are told of every firing, and count.
const COUNTERS: usize = 8;

fn size() -> [u64; 3] {
    let Ok(text) = std::env::var("PHOENIX_TIMERS") else {
        return USUAL;
    };
    let numbers = text.split(',').map(|number| number.parse().unwrap());
    numbers.collect::<Vec<u64>>().try_into().unwrap()
}

fn now() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    now.as_millis().try_into().unwrap()
}

fn agent(name: impl Display) -> AgentId {
    AgentId::new(&format!("typed/{name}")).unwrap()
}

/// Agents of a node that each have some timers.
struct Agents {
    runtime: Runtime,
    names: Vec<AgentId>,
    each: u64,
}

impl Agents {
    fn of(names: Vec<AgentId>, each: u64) -> Self {
        let runtime = Runtime::new().unwrap();
        Self {
            runtime,
            names,
            each,
        }
    }

    fn total(&self) -> u64 {
        self.names.len() as u64 * self.each
    }

    /// Sets the timers of all agents, due from `at` on.
    fn set(&self, client: &Client, at: u64) {
        let id = ClientId::new("test").unwrap();
        let numbered: Vec<_> = self.names.iter().enumerate().collect();
        for some in numbered.chunks(BATCH) {
            let message = |(number, name): &(usize, &AgentId)| {
                let to = agent(format_args!("counter-{}", number % COUNTERS));
                let at = at + *number as u64 * WITHIN / self.total();
                let alarms = format!("{} {at} {WITHIN} {to}", self.each);
                Message {
                    agent: name.to_string().into(),
                    method: "alarms".into(),
                    content_type: ContentType::Json,
                    payload: alarms.into_bytes().into(),
                    sequence: Some(1),
                    ..Message::default()
                }
            };
            let messages: Vec<_> = some.iter().map(message).collect();
            let sent = client.send(&id, &messages, Duration::from_secs(60));
            let verdicts = self.runtime.block_on(sent).unwrap();
            assert!(verdicts.iter().all(|it| *it == Verdict::Applied));
        }
    }

    /// What an agent answers, once it can be had.
    fn ask<T: DeserializeOwned>(&self, client: &Client, name: &AgentId, method: &str) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            let wait = Duration::from_secs(10);
            let asked = client.ask(name, method, ContentType::None, Bytes::new(), wait, None);
            match self.runtime.block_on(asked) {
                Ok(answer) => return answer.decode().unwrap(),
                Err(error) => assert!(Instant::now() < until, "{name}: {error}"),
            }
        }
    }

    /// Looks whether every timer fired once and none is left.
    fn check(&self, client: &Client) {
        for name in &self.names {
            let rung: (u64, u64) = self.ask(client, name, "rung");
            let each = self.each;
            assert_eq!(rung, (each, each), "{name}: timers that fired, and firings");
            let detail = self.runtime.block_on(client.inspect(name)).unwrap();
            assert_eq!(detail.timers, 0, "{name}");
        }
    }

    /// How many firings the counters have heard of.
    fn counted(&self, client: &Client) -> u64 {
        let counters = (0..COUNTERS).map(|n| agent(format_args!("counter-{n}")));
        counters
            .map(|it| self.ask::<u64>(client, &it, "total"))
            .sum()
    }
}

fn client(node: &Node) -> Client {
    Client::of_data_dir(node.data.path(), None).unwrap()
}

/// Each due time fires exactly once, and does what it does once, across a kill in the
/// second they are all due in. The agents are not asked for anything until all is over:
/// their timers have them restored.
#[test]
fn timers_fire_once_each_across_a_kill_in_their_second() {
    let [agents, each, lead] = size();
    let agents = Agents::of((0..agents).map(agent).collect(), each);
    let total = agents.total();
    let (mut node, _) = Node::start(&[]);
    let guest = node.data.path().join("typed.wasm");
    std::fs::write(&guest, phoenix_support::guest("typed")).unwrap();
    // What they do is not given up, however long a hundred thousand take to be restored.
    let policy = ["--set", "durable=true", "--set", "give-up-after=1h"];
    node.ask(&[&["deploy", guest.to_str().unwrap()][..], &policy].concat());
    let mut api = client(&node);
    // Later than all of them are set.
    let at = now() + lead * 1_000;
    agents.set(&api, at);
    let begun = now();
    assert!(begun < at, "{total} timers took too long to set");
    println!("{total} timers of {} agents are set", agents.names.len());
    // Somebody else is answered meanwhile.
    let neighbour = agent("neighbour");
    let mut longest = Duration::ZERO;
    while now() < at + WITHIN / 2 {
        let asked = Instant::now();
        let _: u64 = agents.ask(&api, &neighbour, "total");
        longest = longest.max(asked.elapsed());
    }
    println!("a neighbour waited for {longest:?} at most");
    println!("killed {} ms after the first was due", now() - at);
    node = node.killed_and_started(&[]);
    println!("ready again {} ms after it was due", now() - at);
    api = client(&node);
    let mut counted = agents.counted(&api);
    println!("{counted} were counted by then");
    let until = Instant::now() + PATIENCE;
    while counted < total {
        assert!(Instant::now() < until, "{counted} of {total} fired");
        counted = agents.counted(&api);
    }
    println!("all were counted {} ms after it was due", now() - at);
    let some = agents.names.len().div_ceil(CLIENTS);
    std::thread::scope(|scope| {
        for names in agents.names.chunks(some) {
            let (some, api) = (Agents::of(names.to_vec(), each), client(&node));
            scope.spawn(move || some.check(&api));
        }
    });
    assert_eq!(agents.counted(&api), total);
}
