//! Agents whose program is part of the node are agents as any others: they are sent to and
//! asked, sleep, move, and go on where they were after their node was killed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use e2e::{Client, Cluster, PATIENCE, eventually, json, message, node_id};
use phoenix_core::control::{
    AgentStatus, ClientMessage, ControlError, HandlerInfo, LetterFilter, Response, Verdict,
};
use phoenix_core::program::{BuiltIn, Effect, Input, Outcome, Program, Turn, Turned};
use phoenix_core::{ContentType, Delivery, KindPolicy, Payload, Reply};

/// Adds up numbers in JSON.
struct Tallying;

#[derive(Default)]
struct Tally {
    total: u64,
    /// Requests that wait for the next number.
    held: Vec<u64>,
}

impl BuiltIn for Tallying {
    fn kind(&self) -> &'static str {
        "tally"
    }
    fn version(&self) -> u32 {
        1
    }
    fn handlers(&self) -> Vec<HandlerInfo> {
        let info = |name: &str| HandlerInfo {
            name: name.into(),
            interleave: false,
        };
        ["add", "total", "next", "relay", "panic"]
            .map(info)
            .to_vec()
    }
    fn begin(&self) -> Box<dyn Program> {
        Box::new(Tally::default())
    }
    fn load(&self, saved: &[u8]) -> Result<Box<dyn Program>, String> {
        let (words, rest) = saved.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let total = words.next().filter(|_| rest.is_empty());
        Ok(Box::new(Tally {
            total: total.ok_or("it is made of words")?,
            held: words.collect(),
        }))
    }
}

impl Tally {
    fn said(&self) -> Payload {
        json(&self.total.to_string())
    }
}

impl Program for Tally {
    fn turn(&mut self, turn: &Turn<'_>, out: &mut Turned<'_>) -> Outcome {
        let Input::Message {
            method, payload, ..
        } = turn.input
        else {
            return Outcome::DONE;
        };
        match method {
            "add" => match serde_json::from_slice::<u64>(payload.bytes) {
                Ok(by) => self.total += by,
                Err(error) => return Outcome::failed("bad-number", error.to_string()),
            },
            "total" => {}
            "next" => {
                self.held.push(turn.number);
                return Outcome::Pending;
            }
            "relay" => out.effect_with(
                &Effect::Send {
                    to: "tally/other",
                    method: "add",
                    payload: Default::default(),
                    delivery: Delivery::ExactlyOnce,
                },
                |bytes| {
                    bytes.extend_from_slice(self.total.to_string().as_bytes());
                    ContentType::Json
                },
            ),
            "panic" => panic!("of {}", out.agent()),
            other => return Outcome::failed("no-such-handler", format!("there is no `{other}`")),
        }
        let said = self.said();
        if method == "add" {
            for request in self.held.drain(..) {
                let answer = Ok(said.as_wit());
                out.effect(&Effect::Reply { request, answer });
            }
        }
        Outcome::Ok(said)
    }
    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.total.to_le_bytes());
        for request in &self.held {
            out.extend_from_slice(&request.to_le_bytes());
        }
    }
    fn memory_bytes(&self) -> u64 {
        8 * (1 + self.held.len() as u64)
    }
}

fn tallies(nodes: usize, seed: u64) -> Cluster {
    Cluster::powered(nodes, seed, |config| {
        config.built_in = vec![Arc::new(Tallying)];
    })
}

fn add(agent: &str, by: u64, sequence: u64) -> ClientMessage {
    ClientMessage {
        payload: json(&by.to_string()),
        ..message(agent, "add", (), sequence)
    }
}

fn total(client: &Client, agent: &str) -> u64 {
    client.call_json(agent, "total", "")
}

#[test]
fn they_are_there_and_nobody_deploys_one() {
    let cluster = tallies(2, 1);
    for node in [1, 2] {
        let client = cluster.client(node);
        assert_eq!(client.kinds(), Vec::<String>::new());
        let agent = format!("tally/of-{node}");
        assert_eq!(total(&client, &agent), 0);
        let refused = client.deploy("tally", b"anything", KindPolicy::default());
        let Err(ControlError::Invalid(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("tally is part of the node"), "{why}");
    }
    let failed = cluster.client(1).ask("tally/of-1", "sub", ());
    assert!(
        matches!(&failed, Reply::Failed(failure) if &*failure.code == "no-such-handler"),
        "{failed:?}"
    );
}

#[test]
fn one_sleeps_and_moves_with_who_waits_for_it() {
    let cluster = tallies(2, 2);
    let client = cluster.client(1);
    client.spawn("tally/a", 1);
    assert_eq!(client.send(vec![add("tally/a", 5, 1)]), [Verdict::Applied]);
    let waits = client.begin_call_json("tally/a", "next", "");
    eventually("it is asked", || {
        client.inspect("tally/a").unwrap().requests.len() == 1
    });
    client.hibernate("tally/a").unwrap();
    let asleep = client.inspect("tally/a").unwrap().info.status;
    assert_eq!(asleep, AgentStatus::Hibernated);
    client.migrate("tally/a", 2).unwrap();
    assert_eq!(client.inspect("tally/a").unwrap().info.node, node_id(2));
    assert_eq!(client.send(vec![add("tally/a", 6, 2)]), [Verdict::Applied]);
    let answered = waits.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(answered, Response::Called(Reply::Ok(json("11"))));
    assert_eq!(total(&cluster.client(2), "tally/a"), 11);
}

#[test]
fn one_goes_on_after_its_node_was_killed() {
    let mut cluster = tallies(1, 3);
    let mut expected = 0;
    for round in 0..3 {
        let client = cluster.client(1);
        for number in 1..=20 {
            let sequence = round * 20 + number;
            let sent = client.send(vec![add("tally/a", number, sequence)]);
            assert_eq!(sent, [Verdict::Applied]);
            expected += number;
        }
        client.call_json::<u64>("tally/a", "relay", "");
        cluster.kill(1);
        cluster.start(1);
        let client = cluster.client(1);
        let last = client.send(vec![add("tally/a", 20, round * 20 + 20)]);
        assert_eq!(last, [Verdict::Applied], "and not once more");
        assert_eq!(total(&client, "tally/a"), expected, "after start {round}");
    }
    // Each of three was sent once, whatever was lost with the power.
    let relayed = (1..=3).map(|round| expected / 3 * round).sum::<u64>();
    eventually("all is relayed", || {
        total(&cluster.client(1), "tally/other") == relayed
    });
}

#[test]
fn a_panic_undoes_its_turn_and_the_node_lives() {
    let cluster = tallies(1, 4);
    let client = cluster.client(1);
    assert_eq!(client.send(vec![add("tally/a", 5, 1)]), [Verdict::Applied]);
    let sent = client.send(vec![
        add("tally/a", 6, 2),
        message("tally/a", "panic", (), 3),
        add("tally/a", 7, 4),
    ]);
    assert_eq!(sent[0], Verdict::Applied);
    assert!(
        matches!(&sent[1], Verdict::Dead { code, .. } if &**code == "trapped"),
        "{sent:?}"
    );
    assert_eq!(sent[2], Verdict::Applied);
    assert_eq!(total(&client, "tally/a"), 18);
    let letters = client.dead_letters(LetterFilter::default());
    assert_eq!(letters.len(), 1);
    let detail = client.inspect("tally/a").unwrap();
    let trap = detail.last_trap.unwrap();
    assert!(trap.contains("the program panicked: of tally/a"), "{trap}");
}
