//! What `phoenix pipeline` and `phoenix saga` ask and print.

use phoenix_core::control::{Request, Response};
use phoenix_core::{ContentType, Reply};
use serde_json::json;

use crate::harness::Node;

/// A node on which each call is answered so.
fn answering(answer: serde_json::Value) -> Node {
    let node = Node::start();
    let answer = answer.to_string();
    node.control.script(move |request| match request {
        Request::Call { .. } => Some(Ok(Response::Called(Reply::Ok(crate::fake::json(&answer))))),
        _ => None,
    });
    node
}

/// The agent, the method and the body of the last call.
fn asked(node: &Node) -> (String, String, serde_json::Value) {
    let Request::Call {
        agent,
        method,
        payload,
        ..
    } = node.control.last()
    else {
        panic!("{:?}", node.control.last());
    };
    assert_eq!(payload.content_type, ContentType::Json);
    let body = serde_json::from_slice(&payload.bytes).unwrap();
    (agent.to_string(), method.to_string(), body)
}

#[test]
fn a_pipeline_is_declared_by_a_file_and_shown_as_a_table() {
    let node = answering(json!({
        "state": "halted", "reason": "message 1 failed", "in_flight": 3, "max_in_flight": 64,
        "bytes": 30, "taken": 10, "done": 6, "skipped": 1, "dead": 0, "dead_dropped": 0,
        "passed": 0, "retries": 2, "refused": 0, "late": 0,
        "stages": [{
            "name": "parse", "to": "parser/main", "waiting": 2, "working": 0, "retrying": 0,
            "error": "odd: no",
        }],
    }));
    let file = node.file(
        "orders.toml",
        b"in-flight = 64\n[[stage]]\nname = \"parse\"\nto = \"parser/main\"\nmethod = \"parse\"\n",
    );
    let file = file.to_str().unwrap();
    let shown = node.run(&["pipeline", "define", "orders", file]);
    assert_eq!(
        shown.out,
        "halted: message 1 failed\n\
         3 of 64 messages in it; 10 taken, 6 done, 1 skipped, 0 dead, 2 retries\n\
         STAGE  TO           WAITING  WORKING  RETRYING  ERROR\n\
         parse  parser/main        2        0         0  odd: no\n"
    );
    let (agent, method, body) = asked(&node);
    assert_eq!((&*agent, &*method), ("pipeline/orders", "define"));
    assert_eq!(body["stages"][0]["to"], "parser/main");

    let resumed = node.run(&["pipeline", "resume", "pipeline/orders", "--skip", "--json"]);
    assert_eq!(resumed.json()["done"], 6);
    let skip = json!({ "skip": true });
    assert_eq!(
        asked(&node),
        ("pipeline/orders".into(), "resume".into(), skip)
    );

    let bad = node.file("bad.toml", b"[[stage]]\nname = \"parse\"\n");
    let ended = node.run(&["pipeline", "define", "orders", bad.to_str().unwrap()]);
    assert_eq!(ended.status, 2);
    assert!(ended.err.contains("missing field `to`"), "{ended:?}");
}

#[test]
fn a_saga_is_started_with_its_input_and_fails_as_it_ended() {
    let node = answering(json!({
        "state": "committed", "failed": null, "retries": 0, "late": 0,
        "steps": [{"id": "pay", "state": "done", "answer": 70}],
    }));
    let file = node.file(
        "order.toml",
        b"[[step]]\nid = \"pay\"\nto = \"bank/a\"\nmethod = \"take\"\n",
    );
    let start = [
        "saga",
        "start",
        "order-7",
        file.to_str().unwrap(),
        "--input",
        "{\"sum\": 70}",
    ];
    let shown = node.run(&start);
    assert_eq!(
        shown.out,
        "committed\nSTEP  STATE  ANSWER\npay   done   70\n"
    );
    let (agent, method, body) = asked(&node);
    assert_eq!((&*agent, &*method), ("saga/order-7", "start"));
    assert_eq!(
        (&body["input"]["sum"], &body["wait"]),
        (&json!(70), &json!(true))
    );

    node.control.script(|request| match request {
        Request::Call { .. } => Some(Ok(Response::Called(crate::fake::failure(
            "compensated",
            "step `pay` failed: no; all that was done is undone",
        )))),
        _ => None,
    });
    let ended = node.run(&start);
    assert_eq!(ended.status, 1);
    assert!(ended.err.contains("step `pay` failed"), "{ended:?}");
}
