//! Pipelines and sagas on whole nodes: order and once through failures, changes, moves and
//! the end of the node.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use e2e::{Client, Cluster, PATIENCE, eventually, json, message};
use phoenix_core::control::{ClientMessage, Response, Verdict};
use phoenix_core::patterns::pipeline::Status;
use phoenix_core::patterns::saga::Report;
use phoenix_core::{KindPolicy, Reply};
use serde_json::{Value, json};

fn durable() -> KindPolicy {
    KindPolicy {
        durable: true,
        ..KindPolicy::default()
    }
}

/// Three agents that note what numbers they hear, and in which order.
fn declaration(failing: bool) -> Value {
    let method = if failing { "forget" } else { "item" };
    json!({
        "in_flight": 400,
        "max_message": 1_000,
        "stages": [
            {"name": "first", "to": "sequence/first", "method": "item", "timeout_ms": 60_000},
            {"name": "second", "to": "sequence/second", "method": method, "timeout_ms": 60_000},
            {"name": "third", "to": "sequence/third", "method": "item", "timeout_ms": 60_000},
        ],
    })
}

fn push(n: u64) -> ClientMessage {
    ClientMessage {
        payload: json(&n.to_string()),
        ..message("pipeline/numbers", "push", (), n)
    }
}

fn push_all(client: &Client, numbers: std::ops::RangeInclusive<u64>) {
    let verdicts = client.send(numbers.map(push).collect());
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Applied));
}

fn status(client: &Client) -> Status {
    client.call_json("pipeline/numbers", "status", "{}")
}

fn define(client: &Client, declared: &Value) -> Status {
    client.call_json("pipeline/numbers", "define", &declared.to_string())
}

fn eventually_done(client: &Client, count: u64) {
    eventually("all messages have been through", || {
        status(client).done == count
    });
}

/// Each stage heard the numbers from `first` on, once and in order.
fn assert_heard(client: &Client, agent: &str, first: u64, last: u64) {
    let report: Value = client.call_json(agent, "report", "");
    assert_eq!(report["heard"], last - first + 1, "{agent}: {report}");
    assert_eq!(report["repeated"], 0, "{agent}: {report}");
    assert_eq!(report["missing"], first - 1, "{agent}: {report}");
    assert_eq!(
        report["last"]["pipeline/numbers"], last,
        "{agent}: {report}"
    );
}

#[test]
fn a_stage_that_fails_halts_the_pipeline_until_it_is_replaced() {
    let cluster = Cluster::new(1, 1);
    cluster.deploy(
        "sequence",
        phoenix_support::guest("sequence"),
        KindPolicy::default(),
    );
    let client = cluster.client(1);
    let undefined = client.ask_json("pipeline/numbers", "push", "1");
    assert!(
        matches!(&undefined, Reply::Failed(failure) if &*failure.code == "undefined"),
        "{undefined:?}"
    );
    define(&client, &declaration(true));
    push_all(&client, 1..=100);
    eventually("the second stage halts it", || {
        status(&client).state == "halted"
    });
    let halted = status(&client);
    let reason = halted.reason.unwrap();
    assert!(
        reason.contains("message 1 failed at `second`") && reason.contains("unknown-method"),
        "{reason}"
    );
    assert_eq!((halted.done, halted.in_flight), (0, 100));

    define(&client, &declaration(false));
    let _: Status = client.call_json("pipeline/numbers", "resume", "{}");
    eventually_done(&client, 100);
    for agent in ["sequence/first", "sequence/second", "sequence/third"] {
        assert_heard(&client, agent, 1, 100);
    }
}

#[test]
fn stages_change_while_messages_flow_and_the_pipeline_moves() {
    let cluster = Cluster::new(2, 2);
    cluster.deploy(
        "sequence",
        phoenix_support::guest("sequence"),
        KindPolicy::default(),
    );
    let client = cluster.client(1);
    let mut declared = declaration(false);
    declared["in_flight"] = json!(8);
    define(&client, &declared);
    for round in 0..10 {
        let (from, to) = (round * 50 + 1, round * 50 + 50);
        push_all(&client, from..=to);
        let stages = declared["stages"].as_array_mut().unwrap();
        match round {
            // What is pushed from now on hears one more.
            3 => stages.insert(
                0,
                json!({"name": "more", "to": "sequence/more", "method": "item"}),
            ),
            5 => stages.swap(2, 3),
            7 => drop(stages.remove(0)),
            _ => {}
        }
        define(&client, &declared);
        if round % 3 == 1 {
            client
                .migrate("pipeline/numbers", 1 + round as usize % 2)
                .unwrap();
        }
    }
    eventually_done(&client, 500);
    let status = status(&client);
    assert_eq!(
        (status.taken, status.skipped, status.dead, status.late),
        (500, 0, 0, 0)
    );
    for agent in ["sequence/first", "sequence/second", "sequence/third"] {
        assert_heard(&client, agent, 1, 500);
    }
    // Who was there for a while heard a stretch of them.
    let report: Value = client.call_json("sequence/more", "report", "");
    let last = report["last"]["pipeline/numbers"].as_u64().unwrap();
    assert_heard(
        &client,
        "sequence/more",
        last + 1 - report["heard"].as_u64().unwrap(),
        last,
    );
}

#[test]
fn a_pipeline_goes_on_where_it_was_after_its_node_was_killed() {
    let mut cluster = Cluster::powered(1, 3, |_| {});
    cluster.deploy("sequence", phoenix_support::guest("sequence"), durable());
    let client = cluster.client(1);
    define(&client, &declaration(false));
    push_all(&client, 1..=300);
    cluster.kill(1);
    cluster.start(1);
    let client = cluster.client(1);
    push_all(&client, 301..=400);
    eventually("some are through", || status(&client).done > 0);
    cluster.kill(1);
    cluster.start(1);
    let client = cluster.client(1);
    eventually_done(&client, 400);
    let status = status(&client);
    assert_eq!((status.taken, status.retries, status.skipped), (400, 0, 0));
    for agent in ["sequence/first", "sequence/second", "sequence/third"] {
        assert_heard(&client, agent, 1, 400);
    }
}

#[test]
fn what_is_published_goes_through_the_pipeline_that_subscribed() {
    let cluster = Cluster::new(2, 6);
    cluster.deploy(
        "sequence",
        phoenix_support::guest("sequence"),
        KindPolicy::default(),
    );
    let client = cluster.client(1);
    let mut declared = declaration(false);
    declared["in_flight"] = json!(4);
    define(&client, &declared);
    let subscribe = json!({
        "pattern": "numbers.>",
        "to": "pipeline/numbers",
        "method": "push",
        "form": "data",
    });
    let subscribed = client.ask_json("topic/numbers", "subscribe", &subscribe.to_string());
    assert!(matches!(subscribed, Reply::Ok(_)), "{subscribed:?}");
    for n in 1..=100 {
        let event = json!({"topic": "numbers.all", "data": n});
        let _: Value = client.call_json("topic/numbers", "publish", &event.to_string());
    }
    eventually_done(&client, 100);
    for agent in ["sequence/first", "sequence/second", "sequence/third"] {
        assert_heard(&client, agent, 1, 100);
    }
}

/// Adds to one counter after the other; what undoes it adds the answer to another one.
fn additions(third: &str) -> Value {
    let step = |name: &str, method: &str| {
        json!({
            "id": name,
            "to": format!("counter/{name}"),
            "method": method,
            "form": "plain",
            "retry": {"attempts": 1000, "schedule": "fixed:50ms"},
            "undo": {"to": format!("counter/un-{name}"), "method": "add", "form": "plain"},
        })
    };
    let mut last = step("three", third);
    last["retry"] = Value::Null;
    json!({"saga": {"steps": [step("one", "add"), step("two", "add"), last]}, "input": 5})
}

fn total(client: &Client, agent: &str) -> u64 {
    client.call_json(agent, "total", "")
}

fn report(client: &Client, saga: &str) -> Report {
    client.call_json(saga, "status", "{}")
}

#[test]
fn a_saga_that_fails_at_its_third_step_undoes_two() {
    let cluster = Cluster::new(1, 4);
    cluster.deploy(
        "counter",
        phoenix_support::agent("counter"),
        KindPolicy::default(),
    );
    let client = cluster.client(1);
    let failed = client.ask_json("saga/a", "start", &additions("subtract").to_string());
    let Reply::Failed(failure) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(&*failure.code, "compensated");
    assert!(
        failure
            .message
            .contains("step `three` failed: unknown-method"),
        "{failure:?}"
    );
    let report = report(&client, "saga/a");
    let states: Vec<&str> = report.steps.iter().map(|step| &*step.state).collect();
    assert_eq!(states, ["undone", "undone", "failed"]);
    let totals = ["one", "two", "three", "un-one", "un-two", "un-three"]
        .map(|name| total(&client, &format!("counter/{name}")));
    assert_eq!(totals, [5, 5, 0, 5, 5, 0]);

    let done: Report = client.call_json("saga/b", "start", &additions("add").to_string());
    assert_eq!(done.state, "committed");
    assert_eq!(done.steps[1].answer, 10, "the second time it adds 5");
}

#[test]
fn a_saga_goes_on_after_its_node_was_killed_in_the_middle() {
    let mut cluster = Cluster::powered(1, 5, |_| {});
    cluster.deploy("counter", phoenix_support::agent("counter"), durable());
    let client = cluster.client(1);
    let mut start = additions("add");
    // Nobody is of that kind yet, so that it waits there.
    start["saga"]["steps"][1]["to"] = json!("late/two");
    start["wait"] = json!(false);
    let begun: Report = client.call_json("saga/a", "start", &start.to_string());
    assert_eq!(begun.state, "doing");
    eventually("the first step is done", || {
        report(&client, "saga/a").steps[0].state == "done"
    });
    cluster.kill(1);
    cluster.start(1);
    let client = cluster.client(1);
    assert_eq!(report(&client, "saga/a").steps[0].state, "done");
    // Whoever starts it again waits for the one there is.
    start["wait"] = json!(true);
    let waits = client.begin_call_json("saga/a", "start", &start.to_string());
    cluster.deploy("late", phoenix_support::agent("counter"), durable());
    let ended = waits.recv_timeout(PATIENCE).unwrap().unwrap();
    let Response::Called(Reply::Ok(payload)) = ended else {
        panic!("{ended:?}");
    };
    let ended: Report = serde_json::from_slice(&payload.bytes).unwrap();
    assert_eq!(ended.state, "committed");
    assert_eq!(total(&client, "counter/one"), 5, "it was done once");
    assert_eq!(total(&client, "late/two"), 5);
}

#[test]
fn what_agents_declare_is_what_the_node_reads() {
    use phoenix_core::patterns::{pipeline, saga};
    use phoenix_sdk::pipeline::{OnError, Pipeline, Stage};
    use phoenix_sdk::saga::{Saga, Step};
    let define = Pipeline::new()
        .in_flight(64)
        .stage(Stage::new("parse", "parser/main", "parse"))
        .stage(
            Stage::spread("store", "store", 8, "put")
                .parallel(8)
                .retry(5, "exponential:100ms..10s")
                .not_repeatable()
                .on_error(OnError::DeadLetter),
        )
        .define();
    let declared: pipeline::Declaration =
        rmp_serde::from_slice(&rmp_serde::to_vec_named(define.arguments()).unwrap()).unwrap();
    declared.check().unwrap();
    assert_eq!(
        declared.stages[1].on_error,
        Some(pipeline::OnError::DeadLetter)
    );
    assert_eq!(
        (declared.stages[1].spread, declared.stages[1].repeatable),
        (Some(8), Some(false))
    );

    let start = Saga::new()
        .step(Step::new("pay", "bank/a", "take").undo("give").plain())
        .step(
            Step::new("ship", "post/a", "ship")
                .retry(3, "fixed:1s")
                .undo_at("post/b", "stop"),
        )
        .start(7);
    let read: saga::Start =
        rmp_serde::from_slice(&rmp_serde::to_vec_named(start.arguments()).unwrap()).unwrap();
    read.saga.check().unwrap();
    assert_eq!((read.input, read.wait), (json!(7), true));
    let undo = read.saga.steps[0].undo.clone().unwrap();
    assert_eq!((undo.to, undo.form), (None, saga::Form::Plain));
    let undo = read.saga.steps[1].undo.clone().unwrap();
    assert_eq!(
        (undo.to.as_deref(), undo.form),
        (Some("post/b"), saga::Form::Step)
    );
}
