//! Gates before agents, kinds and nodes, on one node and across nodes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::Instant;

use e2e::{Client, Cluster, eventually, flow, message};
use phoenix_core::control::{ClientMessage, ControlError, Request, Response, Verdict};
use phoenix_core::flow::{
    BreakerState, FlowPolicy, FlowScope, GateInfo, LimitName, Rate, SharedRatePolicy, TurnedDown,
    TurnedDownBy, Unit,
};
use phoenix_core::{AgentId, ClientId, KindPolicy, Millis, Reply};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn cluster(nodes: usize, guests: &[&str]) -> Cluster {
    let cluster = Cluster::new(nodes, 7);
    for guest in guests {
        let component = match *guest {
            "counter" => phoenix_support::agent("counter"),
            guest => phoenix_support::guest(guest),
        };
        let policy = KindPolicy {
            idle_after: Millis(HOUR),
            ..KindPolicy::default()
        };
        cluster.deploy(guest, component, policy);
    }
    cluster
}

/// What a gate said that turned a call down.
fn turned_down(reply: Reply) -> TurnedDown {
    match reply {
        Reply::TurnedDown(why) => *why,
        other => panic!("it was not turned down: {other:?}"),
    }
}

/// The gate before `target` at the node of that number, as soon as something comes to it.
fn gate(client: &Client, target: &str, node: u32) -> GateInfo {
    let mut found = None;
    eventually("there is a gate", || {
        let mut flows = client.flows(target).into_iter();
        found = flows
            .find(|flow| flow.node.0 == node)
            .and_then(|flow| flow.gate);
        found.is_some()
    });
    *found.unwrap()
}

fn counted(gate: &GateInfo, name: &str) -> u64 {
    let found = gate.counters.iter().find(|(found, _)| found == name);
    found.unwrap().1
}

#[test]
fn a_rate_limits_one_agent_until_it_is_taken_away() {
    let cluster = cluster(1, &["counter"]);
    let client = cluster.client(1);
    let target = "agent:counter/a";
    client
        .set_flow(target, &[("rate.amount", 3), ("rate.per", DAY)])
        .unwrap();
    for n in 1..=3 {
        assert_eq!(client.call::<u64>("counter/a", "add", 1), n);
    }
    let why = turned_down(client.ask("counter/a", "add", 1));
    assert_eq!(
        (why.notice.at, why.notice.by),
        (FlowScope::Agent, TurnedDownBy::Rate)
    );
    assert!(why.notice.retry_after.0 > 0);
    assert!(
        why.text
            .starts_with("rate-limited: agent:counter/a: as many have passed as its rate allows"),
        "{}",
        why.text
    );
    // A message in a stream stays with its sender, which is told the next number.
    let refused = client.send(vec![message("counter/a", "add", 1, 1)]);
    let [
        Verdict::Refused {
            expected: Some(1),
            reason,
        },
    ] = refused.as_slice()
    else {
        panic!("{refused:?}");
    };
    assert!(
        reason.starts_with("rate-limited by the gate of its agent"),
        "{reason}"
    );
    // One outside any stream too.
    let loose = ClientMessage {
        sequence: None,
        ..message("counter/a", "add", 1, 1)
    };
    let refused = client.send(vec![loose]);
    assert!(
        matches!(
            refused.as_slice(),
            [Verdict::Refused { expected: None, .. }]
        ),
        "{refused:?}"
    );
    // Its neighbour goes free.
    assert_eq!(client.call::<u64>("counter/b", "add", 1), 1);

    let detail = client.inspect("counter/a").unwrap();
    let [own] = detail.gates.as_slice() else {
        panic!("{:?}", detail.gates);
    };
    let seen = own.gate.as_deref().unwrap();
    assert_eq!(seen.rate.unwrap().left, 0);
    assert_eq!(
        (counted(seen, "admitted"), counted(seen, "delayed")),
        (3, 3)
    );
    assert_eq!(counted(seen, "ok"), 3);
    let turned_down = detail
        .counters
        .iter()
        .find(|(name, _)| name == "turned-down");
    assert_eq!(turned_down.unwrap().1, 3);
    assert!(client.inspect("counter/b").unwrap().gates.is_empty());

    client.clear_flow(target).unwrap();
    eventually("it goes free", || {
        matches!(client.ask("counter/a", "add", 1), Reply::Ok(_))
    });
    assert!(client.flows(target).is_empty());
}

#[test]
fn a_window_limits_all_agents_of_a_kind_together() {
    let cluster = cluster(1, &["counter"]);
    let client = cluster.client(1);
    client
        .set_flow("kind:counter", &[("window.limit", 4), ("window.per", DAY)])
        .unwrap();
    for agent in ["counter/a", "counter/b", "counter/a", "counter/c"] {
        client.call::<u64>(agent, "add", 1);
    }
    for agent in ["counter/a", "counter/d"] {
        let why = turned_down(client.ask(agent, "add", 1));
        assert_eq!(
            (why.notice.at, why.notice.by),
            (FlowScope::Kind, TurnedDownBy::Window)
        );
    }
    assert_eq!(gate(&client, "kind:counter", 1).window.unwrap().left, 0);
}

#[test]
fn a_kind_is_deployed_with_its_gate_and_without() {
    let cluster = cluster(1, &["counter"]);
    let client = cluster.client(1);
    assert_eq!(client.call::<u64>("counter/a", "add", 1), 1);
    let component = phoenix_support::agent("counter");
    let with = KindPolicy {
        flow: Some(Arc::new(flow(&[("rate.amount", 1), ("rate.per", DAY)]))),
        ..KindPolicy::default()
    };
    client.deploy("counter", component, with).unwrap();
    // Agents that live get it as well.
    eventually("it has the gate", || {
        client.ask("counter/a", "add", 1);
        matches!(client.ask("counter/a", "add", 1), Reply::TurnedDown(_))
    });
    let flows = client.flows("kind:counter");
    assert!(flows.iter().all(|flow| flow.deployed), "{flows:?}");
    let refused = client.clear_flow("kind:counter").unwrap_err();
    assert_eq!(
        refused,
        ControlError::Conflict(
            "counter was deployed with its gate: deploy it again without".to_owned()
        )
    );
    // What is attached goes before it, while it is.
    client
        .set_flow("kind:counter", &[("rate.amount", 1_000_000)])
        .unwrap();
    eventually("it goes free", || {
        matches!(client.ask("counter/a", "add", 1), Reply::Ok(_))
    });
    client.clear_flow("kind:counter").unwrap();
    client
        .deploy("counter", component, KindPolicy::default())
        .unwrap();
    eventually("it goes free", || {
        matches!(client.ask("counter/a", "add", 1), Reply::Ok(_))
    });
    assert!(client.flows("kind:counter").is_empty());
}

/// A reliable message that is refused is its sender's again, and comes in the end.
#[test]
fn nothing_reliable_is_lost_at_a_gate() {
    for nodes in [1, 2] {
        let cluster = cluster(nodes, &["flood", "sink"]);
        let client = cluster.client(1);
        client.spawn("flood/a", 1);
        client.spawn("sink/a", nodes);
        let node = u32::try_from(nodes).unwrap();
        cluster.set_flow(
            "agent:sink/a",
            flow(&[("rate.amount", 200), ("rate.burst", 5)]),
        );
        client.call::<u64>("flood/a", "burst", ("sink/a", 60));
        eventually("all are heard", || {
            let gate = gate(&client, "agent:sink/a", node);
            counted(&gate, "ok") == 60
        });
        let detail = client.inspect("flood/a").unwrap();
        eventually("all have their verdicts", || {
            client.inspect("flood/a").unwrap().outbox == 0
        });
        assert!(counted(&gate(&client, "agent:sink/a", node), "delayed") > 0);
        assert!(
            detail
                .counters
                .iter()
                .all(|(name, n)| name != "undetermined" || *n == 0)
        );
        client.clear_flow("agent:sink/a").unwrap();
        eventually("it can be asked", || {
            matches!(client.ask("sink/a", "heard", ()), Reply::Ok(_))
        });
        assert_eq!(client.call::<u64>("sink/a", "heard", ()), 60);
        assert_eq!(client.call::<u64>("sink/a", "sum", ()), 60 * 61 / 2);
    }
}

#[test]
fn a_breaker_opens_by_failures_and_says_so() {
    let cluster = cluster(1, &["typed"]);
    let client = cluster.client(1);
    client
        .set_flow(
            "agent:typed/a",
            &[("breaker.calls", 3), ("breaker.open-for", HOUR)],
        )
        .unwrap();
    client.ask_json("typed/a", "add", "1");
    for _ in 0..2 {
        let failed = client.ask_json("typed/a", "fail", "the database is down");
        assert!(matches!(failed, Reply::Failed(_)), "{failed:?}");
    }
    let why = turned_down(client.ask_json("typed/a", "add", "1"));
    assert_eq!(why.notice.by, TurnedDownBy::Breaker);
    assert!(
        why.text.starts_with(
            "breaker-open: agent:typed/a: the circuit breaker is open: 2 of 3 failed, the last with failed"
        ),
        "{}",
        why.text
    );
    let gate = gate(&client, "agent:typed/a", 1);
    let breaker = gate.breaker.as_ref().unwrap();
    assert_eq!(breaker.state, BreakerState::Open);
    assert_eq!(&*breaker.cause, "2 of 3 failed, the last with failed");
    let last = gate.last_failure.as_ref().unwrap();
    assert_eq!(
        (&*last.code, &*last.text),
        ("failed", "the database is down")
    );
    assert_eq!(counted(&gate, "refused-breaker"), 1);
}

#[test]
fn a_trap_and_a_timeout_open_a_breaker_too() {
    let cluster = cluster(1, &["hostile", "relay"]);
    let client = cluster.client(1);
    let fields = [
        ("breaker.calls", 1),
        ("breaker.failures", 100),
        ("breaker.open-for", HOUR),
    ];
    client.set_flow("agent:hostile/a", &fields).unwrap();
    client.set_flow("kind:relay", &fields).unwrap();
    let trapped = client.ask("hostile/a", "unreachable", ());
    assert!(matches!(trapped, Reply::Bounced(_)), "{trapped:?}");
    let why = turned_down(client.ask("hostile/a", "unreachable", ()));
    assert!(
        why.text.contains("1 of 1 failed, the last with trap"),
        "{}",
        why.text
    );
    let last = gate(&client, "agent:hostile/a", 1).last_failure.unwrap();
    assert!(last.text.contains("unreachable"), "{}", last.text);

    let request = Request::Call {
        client: ClientId::new("hasty").unwrap(),
        agent: AgentId::new("relay/a").unwrap(),
        method: "never".into(),
        payload: e2e::pack(()),
        timeout: Millis(1),
        options: None,
    };
    // Before its turn or after: its deadline has passed.
    let late = client.request(request).unwrap();
    let Response::Called(Reply::Timeout | Reply::Bounced(_)) = late else {
        panic!("{late:?}");
    };
    eventually("the breaker hears of it", || {
        let breaker = gate(&client, "kind:relay", 1).breaker.unwrap();
        breaker.state == BreakerState::Open && breaker.cause.ends_with("the last with timeout")
    });
}

/// The probes of a breaker that is half-open are what its agent is sent.
#[test]
fn half_open_probes_are_real_messages() {
    let cluster = cluster(1, &["relay"]);
    let client = cluster.client(1);
    let target = "agent:relay/a";
    client
        .set_flow(
            target,
            &[
                ("breaker.calls", 1),
                ("breaker.open-for", 1),
                ("breaker.probes", 2),
                ("breaker.probe-timeout", HOUR),
            ],
        )
        .unwrap();
    let failed = client.ask_json("relay/a", "until_told", "\"no number\"");
    assert!(matches!(failed, Reply::Failed(_)), "{failed:?}");
    let state = || gate(&client, target, 1).breaker.unwrap();
    eventually("it is half-open", || {
        state().state == BreakerState::HalfOpen
    });
    assert_eq!((state().probes, state().opened), (0, 1));
    // Nothing was sent by the breaker itself.
    let probe = client.begin_call("relay/a", "until_told", 1);
    eventually("a probe is under way", || state().probes == 1);
    assert_eq!(client.call::<u64>("relay/a", "handled", ()), 0);
    assert_eq!((state().probes, state().probes_ok), (1, 1));
    // As many pass as may: the next is turned down, though nothing is wrong yet.
    let why = turned_down(client.ask("relay/a", "handled", ()));
    assert!(
        why.text.contains("the circuit breaker is half-open"),
        "{}",
        why.text
    );
    assert!(probe.try_recv().is_err(), "it waits to be told");

    // A probe that fails opens it again, and longer; two that do not, close it.
    client.clear_flow(target).unwrap();
    eventually("it is told", || {
        matches!(client.ask("relay/a", "tell", 1), Reply::Ok(_))
    });
    let fields = [
        ("breaker.calls", 1),
        ("breaker.open-for", 1),
        ("breaker.probes", 2),
    ];
    client.set_flow(target, &fields).unwrap();
    eventually("the new breaker has opened", || {
        client.ask_json("relay/a", "until_told", "\"no number\"");
        client.flows(target).iter().any(|flow| {
            let breaker = flow.gate.as_ref().and_then(|gate| gate.breaker.as_ref());
            breaker.is_some_and(|breaker| breaker.opened > 0)
        })
    });
    eventually("a probe failed", || {
        client.ask_json("relay/a", "until_told", "\"no number\"");
        state().opened > 1 && state().cause.starts_with("a probe failed with failed")
    });
    eventually("it is closed", || {
        client.ask("relay/a", "handled", ());
        state().state == BreakerState::Closed
    });
    assert_eq!(&*state().cause, "probes that went well: 2");
    assert!(matches!(client.ask("relay/a", "handled", ()), Reply::Ok(_)));
}

#[test]
fn a_bulkhead_bounds_what_is_under_way_and_what_waits() {
    let cluster = cluster(1, &["relay"]);
    let client = cluster.client(1);
    let target = "kind:relay";
    let state = || gate(&client, target, 1);
    client
        .set_flow(
            target,
            &[
                ("bulkhead.concurrent", 2),
                ("bulkhead.waiting", 2),
                ("bulkhead.longest-wait", HOUR),
            ],
        )
        .unwrap();
    let running = [
        client.begin_call("relay/a", "until_told", 1),
        client.begin_call("relay/b", "until_told", 1),
    ];
    eventually("two are under way", || state().running == 2);
    let waiting = [
        client.begin_call("relay/a", "tell", 1),
        client.begin_call("relay/b", "tell", 1),
    ];
    eventually("two wait", || state().waiting == 2);
    let why = turned_down(client.ask("relay/c", "handled", ()));
    assert_eq!(why.notice.by, TurnedDownBy::Bulkhead);
    assert!(
        why.text
            .starts_with("bulkhead-full: kind:relay: 2 wait already, and no more may"),
        "{}",
        why.text
    );
    assert!(waiting.iter().all(|call| call.try_recv().is_err()));
    // Room for one more lets the first that waits pass, which ends another, and so on.
    client
        .set_flow(target, &[("bulkhead.concurrent", 3)])
        .unwrap();
    for call in running.into_iter().chain(waiting) {
        let answer = call.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
        assert!(
            matches!(answer, Response::Called(Reply::Ok(_))),
            "{answer:?}"
        );
    }
}

/// What passes when another has ended: a place is free as soon as that is known.
#[test]
fn those_who_wait_pass_in_order_when_others_end() {
    let cluster = cluster(1, &["relay", "counter"]);
    let client = cluster.client(1);
    let target = "kind:relay";
    let state = || gate(&client, target, 1);
    client
        .set_flow(target, &[("bulkhead.concurrent", 1)])
        .unwrap();
    // It ends when its asker does: nobody tells it.
    let request = Request::Call {
        client: ClientId::new("hasty").unwrap(),
        agent: AgentId::new("relay/a").unwrap(),
        method: "never".into(),
        payload: e2e::pack(()),
        timeout: Millis(500),
        options: None,
    };
    let never = client.begin(request);
    eventually("one is under way", || state().running == 1);
    let waiting: Vec<_> = (0..20)
        .map(|n| client.begin_call(&format!("relay/{}", n % 3), "handled", ()))
        .collect();
    let late = never.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
    assert_eq!(late, Response::Called(Reply::Timeout));
    for call in waiting {
        let answer = call.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
        assert!(
            matches!(answer, Response::Called(Reply::Ok(_))),
            "{answer:?}"
        );
    }
    let gate = state();
    assert_eq!((gate.running, gate.waiting), (0, 0));
    assert_eq!(counted(&gate, "admitted"), 21);
}

/// Of a stream what waits and what comes behind it stay in order, and once each.
#[test]
fn a_stream_that_waits_keeps_its_order() {
    let cluster = cluster(2, &["flood", "sink", "relay"]);
    let client = cluster.client(1);
    client.spawn("flood/a", 1);
    client.spawn("sink/a", 2);
    cluster.set_flow(
        "agent:sink/a",
        flow(&[("bulkhead.concurrent", 1), ("bulkhead.waiting", 30)]),
    );
    client.call::<u64>("flood/a", "burst", ("sink/a", 200));
    eventually("all have their verdicts", || {
        client.inspect("flood/a").unwrap().outbox == 0
    });
    assert_eq!(client.call::<u64>("sink/a", "heard", ()), 200);
    assert_eq!(client.call::<u64>("sink/a", "sum", ()), 200 * 201 / 2);
    let gate = gate(&client, "agent:sink/a", 2);
    assert_eq!((gate.running, gate.waiting), (0, 0));
    assert_eq!(counted(&gate, "admitted"), 202);
}

#[test]
fn an_agent_that_asks_hears_which_gate_turned_it_down() {
    let cluster = cluster(2, &["relay", "typed"]);
    let client = cluster.client(1);
    client.spawn("relay/asker", 1);
    client.spawn("typed/asked", 2);
    cluster.set_flow(
        "agent:typed/asked",
        flow(&[("rate.amount", 1), ("rate.per", DAY)]),
    );
    let ask = || client.ask("relay/asker", "ask", ("typed/asked", "whoami", 1));
    let _first = ask();
    let Reply::Failed(failure) = ask() else {
        panic!("it passed");
    };
    assert_eq!(&*failure.code, "unavailable");
    assert!(
        failure.message.contains("rate-limited: agent:typed/asked"),
        "{}",
        failure.message
    );
    // The client asks it over the same way.
    let why = turned_down(client.ask("typed/asked", "whoami", ()));
    assert_eq!(why.notice.at, FlowScope::Agent);
    // Nothing of it hangs.
    eventually("the asker has nothing open", || {
        let detail = client.inspect("relay/asker").unwrap();
        detail.open_asks == 0 && detail.outbox == 0
    });
}

#[test]
fn a_nodes_gate_limits_what_leaves_for_it() {
    let cluster = cluster(2, &["counter", "flood", "sink"]);
    let client = cluster.client(1);
    client.spawn("counter/far", 2);
    client.spawn("counter/near", 1);
    cluster.set_flow(
        "node:node-2",
        flow(&[("rate.amount", 2), ("rate.per", DAY)]),
    );
    for n in 1..=2 {
        assert_eq!(client.call::<u64>("counter/far", "add", 1), n);
        assert_eq!(client.call::<u64>("counter/near", "add", 1), n);
    }
    let why = turned_down(client.ask("counter/far", "add", 1));
    assert_eq!(
        (why.notice.at, why.notice.by),
        (FlowScope::Node, TurnedDownBy::Rate)
    );
    assert!(why.text.contains("node:node-2"), "{}", why.text);
    assert_eq!(client.call::<u64>("counter/near", "add", 1), 3);
    // On the node itself nothing leaves for it.
    assert_eq!(cluster.client(2).call::<u64>("counter/far", "add", 1), 3);
    let Response::Nodes(nodes) = client.request(Request::Nodes).unwrap() else {
        panic!("these are nodes");
    };
    let seen = nodes[1].gate.as_ref().unwrap().gate.as_ref().unwrap();
    assert_eq!((counted(seen, "ok"), seen.rate.unwrap().left), (2, 0));

    // What is reliable waits with its sender.
    client.spawn("flood/a", 1);
    client.clear_flow("node:node-2").unwrap();
    client.spawn("sink/far", 2);
    cluster.set_flow(
        "node:node-2",
        flow(&[("rate.amount", 200), ("rate.burst", 5)]),
    );
    client.call::<u64>("flood/a", "burst", ("sink/far", 60));
    eventually("all have their verdicts", || {
        client.inspect("flood/a").unwrap().outbox == 0
    });
    assert_eq!(cluster.client(2).call::<u64>("sink/far", "heard", ()), 60);
    assert!(counted(&gate(&client, "node:node-2", 1), "delayed") > 0);
}

#[test]
fn a_nodes_breaker_opens_with_its_connection() {
    let mut cluster = cluster(2, &["relay"]);
    let client = cluster.client(1);
    client.spawn("relay/far", 2);
    cluster.set_flow(
        "node:node-2",
        flow(&[("breaker.calls", 1), ("breaker.open-for", HOUR)]),
    );
    let _call = client.begin_call("relay/far", "until_told", 1);
    eventually("it is under way", || {
        gate(&client, "node:node-2", 1).running == 1
    });
    cluster.kill(2);
    eventually("the breaker is open", || {
        let breaker = gate(&client, "node:node-2", 1).breaker.unwrap();
        breaker.state == BreakerState::Open
            && &*breaker.cause == "1 of 1 failed, the last with disconnected"
    });
}

/// However many nodes there are: what passes through all of them together is never
/// more than the rate and the burst.
#[test]
fn a_shared_rate_holds_across_three_nodes() {
    let cluster = cluster(3, &["flood", "sink"]);
    let client = cluster.client(1);
    for node in 1..=3 {
        client.spawn(&format!("sink/{node}"), node);
        client.spawn(&format!("flood/{node}"), node);
    }
    let shared = SharedRatePolicy {
        name: LimitName::new("sinks").unwrap(),
        unit: Unit::Messages,
        rate: Rate {
            amount: 300,
            per: Millis(1_000),
        },
        burst: 100,
        lease: Millis(100),
    };
    let began = Instant::now();
    let policy = FlowPolicy {
        shared: Some(shared.clone()),
        ..FlowPolicy::default()
    };
    cluster.set_flow("kind:sink", policy);
    for node in 1..=3 {
        let (flood, sink) = (format!("flood/{node}"), format!("sink/{node}"));
        client.call::<u64>(&flood, "burst", (sink, 150));
    }
    loop {
        let flows = client.flows("kind:sink");
        let passed: u64 = flows
            .iter()
            .filter_map(|flow| flow.gate.as_deref())
            .map(|gate| counted(gate, "admitted"))
            .sum();
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap() + 1;
        let most = shared.burst + shared.rate.amount * elapsed / shared.rate.per.0;
        assert!(
            passed <= most,
            "{passed} passed in {elapsed} ms, and {most} may"
        );
        if passed == 450 {
            // Every node had its part.
            assert!(flows.iter().all(|flow| {
                let gate = flow.gate.as_deref().unwrap();
                gate.shared.as_ref().unwrap().granted >= 150
            }));
            break;
        }
        assert!(began.elapsed() < e2e::PATIENCE, "{passed} of 450");
        std::thread::yield_now();
    }
    for node in 1..=3 {
        let flood = format!("flood/{node}");
        eventually("all have their verdicts", || {
            client.inspect(&flood).unwrap().outbox == 0
        });
    }
}

/// A client whose message needs a lease first does not notice.
#[test]
fn the_first_message_waits_for_its_nodes_share() {
    let cluster = cluster(2, &["counter"]);
    let client = cluster.client(2);
    client.spawn("counter/a", 2);
    let policy = FlowPolicy {
        shared: Some(SharedRatePolicy {
            name: LimitName::new("all").unwrap(),
            unit: Unit::Messages,
            rate: Rate {
                amount: 1_000,
                per: Millis(1_000),
            },
            burst: 10_000,
            lease: Millis(1_000),
        }),
        ..FlowPolicy::default()
    };
    cluster.set_flow("kind:counter", policy);
    for n in 1..=20 {
        assert_eq!(client.call::<u64>("counter/a", "add", 1), n);
    }
}

#[test]
fn policies_last_and_reach_nodes_that_come_later() {
    let mut cluster = cluster(2, &["counter"]);
    let client = cluster.client(2);
    // Any node takes them; the first keeps them.
    client
        .set_flow("topic:orders", &[("rate.amount", 5)])
        .unwrap();
    client
        .set_flow("kind:counter", &[("rate.amount", 1), ("rate.per", DAY)])
        .unwrap();
    cluster.kill(2);
    cluster.kill(1);
    cluster.start(1);
    cluster.start(2);
    cluster.wait_connected();
    let client = cluster.client(2);
    eventually("both have both", || {
        ["topic:orders", "kind:counter"]
            .iter()
            .all(|target| client.flows(target).len() == 2)
    });
    let topic = client.flows("topic:orders");
    assert!(
        topic
            .iter()
            .all(|flow| flow.gate.is_none() && !flow.deployed)
    );
    eventually("the kind is there", || client.kinds() == ["counter"]);
    client.call::<u64>("counter/a", "add", 1);
    turned_down(client.ask("counter/a", "add", 1));
}

/// What is published to any topic of a space passes the space's gate.
#[test]
fn a_space_of_topics_has_a_gate() {
    let cluster = cluster(2, &["counter"]);
    let client = cluster.client(2);
    client
        .set_flow("topic:orders", &[("rate.amount", 3), ("rate.per", DAY)])
        .unwrap();
    let publish = |topic: &str| {
        let event = format!(r#"{{"topic": "{topic}", "data": 1}}"#);
        client.ask_json(&format!("topic/{}", &topic[..6]), "publish", &event)
    };
    for topic in ["orders.eu", "orders.us", "orders"] {
        let reply = publish(topic);
        assert!(matches!(reply, Reply::Ok(_)), "{topic}: {reply:?}");
    }
    turned_down(publish("orders.eu"));
    let reply = publish("others.eu");
    assert!(matches!(reply, Reply::Ok(_)), "another space: {reply:?}");
    let gates = client.flows("topic:orders");
    let gates: Vec<_> = gates.iter().filter_map(|flow| flow.gate.as_ref()).collect();
    assert_eq!(gates.len(), 1, "where the owner lives");
}

#[test]
fn what_a_beginner_gets_wrong_is_said() {
    let cluster = cluster(1, &["counter"]);
    let client = cluster.client(1);
    let set = |target: &str, policy: FlowPolicy| {
        let request = Request::SetFlow {
            target: target.parse().unwrap(),
            policy: Arc::new(policy),
        };
        client.request(request).unwrap_err()
    };
    let rate = || flow(&[("rate.amount", 5)]);
    assert_eq!(
        set("topic:orders.eu", rate()),
        ControlError::Invalid(
            "all topics that begin with orders have one owner and one gate: attach it to \
             topic:orders"
                .to_owned()
        )
    );
    assert_eq!(
        set("kind:conter", rate()),
        ControlError::NotFound("no kind conter: deployed are counter".to_owned())
    );
    assert_eq!(
        set("agent:conter/a", rate()),
        ControlError::NotFound("no kind conter: deployed are counter".to_owned())
    );
    assert_eq!(
        set("node:node-9", rate()),
        ControlError::NotFound("no node-9 in the cluster: see `phoenix nodes`".to_owned())
    );
    let ControlError::Invalid(text) = set("kind:counter", FlowPolicy::default()) else {
        panic!("it limits nothing");
    };
    assert!(text.contains("limits nothing"), "{text}");
    let mut zero = rate();
    zero.rate.as_mut().unwrap().burst = 0;
    assert_eq!(
        set("kind:counter", zero),
        ControlError::Invalid("rate.burst is 0: it must be 1 to 1000000000000".to_owned())
    );
    let ControlError::NotFound(text) = client.clear_flow("kind:counter").unwrap_err() else {
        panic!("nothing is attached");
    };
    assert!(text.contains("phoenix flow list"), "{text}");

    // One name, one rate.
    let shared = |amount| FlowPolicy {
        shared: Some(SharedRatePolicy {
            name: LimitName::new("payments").unwrap(),
            unit: Unit::Messages,
            rate: Rate {
                amount,
                per: Millis(1_000),
            },
            burst: 1_000,
            lease: Millis(100),
        }),
        ..FlowPolicy::default()
    };
    cluster.set_flow("kind:counter", shared(100));
    let ControlError::Conflict(text) = set("agent:counter/a", shared(200)) else {
        panic!("two rates have one name");
    };
    assert!(
        text.starts_with("the rate `payments` is shared already as 100 in 1000 ms"),
        "{text}"
    );
    cluster.set_flow("agent:counter/a", shared(100));
    let policy = KindPolicy {
        flow: Some(Arc::new(shared(300))),
        ..KindPolicy::default()
    };
    let component = phoenix_support::agent("counter");
    let deployed = client.deploy("other", component, policy);
    assert!(
        matches!(deployed, Err(ControlError::Conflict(_))),
        "{deployed:?}"
    );
}
