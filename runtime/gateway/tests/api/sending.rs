//! How clients send: options, keys, events, batches and broadcasts.

use std::sync::Arc;

use phoenix_core::control::{ClientMessage, Request, Response};
use phoenix_core::flow::TurnedDownBy;
use phoenix_core::taxonomy::{Guarantee, Overrides};
use phoenix_core::{ClientId, ClientOptions, ContentType, Lane, Millis, Reply};
use phoenix_gateway::Limits;
use serde_json::{Value, json};

use crate::fake::{FakeControl, failure, turned_down};
use crate::http::{Served, serve};

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const EVENT: (&str, &str) = ("content-type", "application/cloudevents+json");
const EVENTS: (&str, &str) = ("content-type", "application/cloudevents-batch+json");
const SEND: &str = "POST /v1/agents/counter/alice/send/add";

async fn served() -> (Arc<FakeControl>, Served) {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    (control, served)
}

/// The messages that were last sent, by whom, and for how long they are waited for.
fn sent(control: &FakeControl) -> (ClientId, Vec<ClientMessage>, Millis) {
    match control.last() {
        Request::Send {
            client,
            messages,
            timeout,
        } => (client, messages, timeout),
        other => panic!("{other:?}"),
    }
}

fn parsed(reply: &crate::http::Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn options(message: &ClientMessage) -> ClientOptions {
    message.options.as_deref().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_send_says_how_it_is_to_be_sent() {
    let (control, served) = served().await;
    let query = "client=me&sequence=3&lane=high&delivery=exactly-once&ttl=2s&report_expired=true&give_up=1m&type=phoenix.data.order.placed";
    let reply = served.ask(&format!("{SEND}?{query}"), &[JSON], b"5").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let (_, messages, _) = sent(&control);
    let said = options(&messages[0]);
    let overrides = Overrides {
        priority: Some(Lane::High),
        delivery: Some(Guarantee::ExactlyOnce),
        ..Overrides::NONE
    };
    assert_eq!(said.overrides, overrides);
    assert_eq!(
        (said.ttl, said.give_up),
        (Some(Millis(2_000)), Some(Millis(60_000)))
    );
    assert!(said.report_expired);
    let attributes = said.attributes.unwrap();
    assert_eq!(
        attributes.message_type().map(|it| &**it),
        Some("phoenix.data.order.placed")
    );
    served.ask(SEND, &[JSON], b"5").await;
    assert_eq!(sent(&control).1[0].options, None, "nothing is said");
}

#[tokio::test]
async fn a_key_makes_a_message_repeatable() {
    let (control, served) = served().await;
    for (key, expected) in [("\"8e03978e\"", "8e03978e"), ("order 7", "order 7")] {
        let headers = [JSON, ("Idempotency-Key", key)];
        assert_eq!(served.ask(SEND, &headers, b"5").await.status, 200);
        let (client, messages, _) = sent(&control);
        assert_eq!(options(&messages[0]).key.as_deref(), Some(expected));
        assert_eq!(client.as_str(), "anonymous", "the same each time");
    }
    let long = "k".repeat(256);
    for (query, key) in [
        ("?client=me&sequence=1", "k"),
        ("?delivery=at-most-once", "k"),
        ("", &long),
        ("", ""),
    ] {
        let headers = [JSON, ("idempotency-key", key)];
        let reply = served.ask(&format!("{SEND}{query}"), &headers, b"5").await;
        let problem = reply.problem();
        assert_eq!(problem.code, "invalid");
        assert!(
            problem.detail.contains("must be") || problem.detail.contains("one of them"),
            "{problem:?}"
        );
    }
}

#[tokio::test]
async fn a_word_or_span_that_is_none_is_named_with_what_it_may_be() {
    let (control, served) = served().await;
    for (query, parts) in [
        (
            "lane=urgent",
            ["`lane` is `urgent`", "high, normal, low or bulk"],
        ),
        (
            "lane=reply",
            ["`lane` is `reply`", "high, normal, low or bulk"],
        ),
        ("delivery=twice", ["`delivery` is `twice`", "at-least-once"]),
        (
            "delivery=exactly-once",
            ["`delivery` is exactly-once", "`sequence` or `key`"],
        ),
        ("ttl=2", ["`ttl` is `2`", "with its unit"]),
        ("ttl=0ms", ["`ttl` is 0 ms", "1 to 86400000 ms"]),
        ("ttl=2d", ["`ttl` is 172800000 ms", "1 to 86400000 ms"]),
        ("give_up=2h", ["`give_up` is 7200000 ms", "1 to 3600000 ms"]),
        ("report_expired=true", ["`report_expired`", "`ttl`"]),
        ("report_expired=perhaps", ["report_expired", "true"]),
        (
            "type=phoenix.order",
            ["`type`", "phoenix.{domain}.{entity}.{action}"],
        ),
        ("type=", ["`type`", "1 to 2,048 bytes"]),
        ("mode=later", ["`mode` is `later`", "sync or async"]),
        ("priority=high", ["priority", "expected one of"]),
    ] {
        let reply = served.ask(&format!("{SEND}?{query}"), &[JSON], b"5").await;
        let problem = reply.problem();
        assert_eq!(problem.code, "invalid", "{query}");
        for part in parts {
            assert!(problem.detail.contains(part), "{query}: {problem:?}");
        }
    }
    assert_eq!(control.count(), 0);
}

#[tokio::test]
async fn who_does_not_wait_is_told_how_many_were_taken() {
    let (control, served) = served().await;
    control.hold();
    let reply = served
        .ask(&format!("{SEND}?mode=async"), &[JSON], b"5")
        .await;
    assert_eq!(
        (reply.status, parsed(&reply)),
        (202, json!({"accepted": 1}))
    );
    assert_eq!(sent(&control).2, Millis(60_000));
    let lines = "{\"agent\":\"a/1\",\"method\":\"m\"}\n{\"agent\":\"a/2\",\"method\":\"m\"}";
    let batch = "POST /v1/messages?client=me&mode=async";
    let reply = served.ask(batch, &[NDJSON], lines.as_bytes()).await;
    assert_eq!(
        (reply.status, parsed(&reply)),
        (202, json!({"accepted": 2}))
    );
    control.release(None);
    // What the node refuses at once is said all the same.
    let full = phoenix_core::control::ControlError::Unavailable("too many wait".to_owned());
    control.fail(full);
    let reply = served.ask(batch, &[NDJSON], lines.as_bytes()).await;
    assert_eq!(reply.problem().code, "unavailable");
}

#[tokio::test]
async fn messages_of_a_batch_say_so_each() {
    let (control, served) = served().await;
    let lines = [
        r#"{"agent":"a/1","method":"m","key":"k","lane":"bulk","ttl":500,"report_expired":true,"give_up":9000,"type":"x.y"}"#,
        r#"{"agent":"a/2","method":"m"}"#,
    ];
    let target = "POST /v1/messages?client=me";
    let reply = served
        .ask(target, &[NDJSON], lines.join("\n").as_bytes())
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let (_, messages, _) = sent(&control);
    let said = options(&messages[0]);
    assert_eq!(said.key.as_deref(), Some("k"));
    assert_eq!(said.overrides.priority, Some(Lane::Bulk));
    assert_eq!(
        (said.ttl, said.give_up),
        (Some(Millis(500)), Some(Millis(9_000)))
    );
    assert_eq!(messages[1].options, None);
    let count = control.count();
    let bad = r#"{"agent":"a/2","method":"m","lane":"fast"}"#;
    let reply = served
        .ask(target, &[NDJSON], [lines[1], bad].join("\n").as_bytes())
        .await;
    let detail = reply.problem().detail;
    assert!(detail.starts_with("line 2: `lane` is `fast`"), "{detail}");
    assert_eq!(control.count(), count, "nothing of it is sent");
}

#[tokio::test]
async fn an_event_in_headers_is_a_message() {
    let (control, served) = served().await;
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "A234"),
        ("ce-source", "/shop"),
        ("ce-type", "com.shop.order.placed"),
        ("ce-priority", "high"),
        ("ce-correlationid", "cart%2012"),
    ];
    let reply = served.ask(SEND, &headers, b"5").await;
    assert_eq!(parsed(&reply), json!({"verdict": "applied"}));
    let (_, messages, _) = sent(&control);
    let message = &messages[0];
    assert_eq!(
        (message.agent.as_str(), &*message.method),
        ("counter/alice", "add")
    );
    assert_eq!(message.payload.content_type, ContentType::Json);
    let said = options(message);
    assert_eq!(said.overrides.priority, Some(Lane::High));
    let attributes = said.attributes.unwrap();
    assert_eq!(attributes.id().map(|it| &**it), Some("A234"));
    assert_eq!(attributes.correlation().map(|it| &**it), Some("cart 12"));

    // Without a path that names them, the event does.
    let more = [("ce-subject", "counter/bob"), ("ce-method", "total")];
    let reply = served
        .ask("POST /v1/messages", &[&headers[..], &more].concat(), b"5")
        .await;
    assert_eq!(parsed(&reply), json!({"verdict": "applied"}));
    let message = &sent(&control).1[0];
    assert_eq!(
        (message.agent.as_str(), &*message.method),
        ("counter/bob", "total")
    );

    let count = control.count();
    let without = |name: &str| -> Vec<(&str, &str)> {
        headers.into_iter().filter(|(it, _)| *it != name).collect()
    };
    let with = |name, value| [without(name), vec![(name, value)]].concat();
    for (headers, body, detail) in [
        (without("ce-id"), "5", "attribute `id` is missing"),
        (
            with("ce-specversion", "0.3"),
            "5",
            "attribute `specversion` is `0.3`: it must be the text 1.0",
        ),
        (
            with("ce-priority", "urgent"),
            "5",
            "attribute `priority` is `urgent`: it must be high",
        ),
        (with("ce-source", "%%"), "5", "attribute `source`"),
        (
            with("ce-phxsender", "/agents/a/b"),
            "5",
            "attribute `phxsender`",
        ),
        (
            with("ce-deadline", "soon"),
            "5",
            "attribute `deadline` is `soon`",
        ),
        (headers.to_vec(), "{", "data is no JSON"),
    ] {
        let problem = served.ask(SEND, &headers, body.as_bytes()).await.problem();
        assert_eq!(problem.code, "invalid");
        assert!(problem.detail.contains(detail), "{problem:?}");
    }
    let query = format!("{SEND}?lane=low");
    let problem = served.ask(&query, &headers, b"5").await.problem();
    assert!(problem.suggestion.unwrap().contains("`priority`"));
    assert_eq!(control.count(), count);
}

#[tokio::test]
async fn an_event_and_a_batch_of_events_are_bodies_too() {
    let (control, served) = served().await;
    let event = |id: &str, subject: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "/shop",
            "type": "phoenix.data.order.add", "subject": subject, "data": {"by": 5},
            "datacontenttype": "application/json",
        })
    };
    let one = event("1", "counter/a").to_string();
    let reply = served
        .ask("POST /v1/messages", &[EVENT], one.as_bytes())
        .await;
    assert_eq!(parsed(&reply), json!({"verdict": "applied"}));
    let message = &sent(&control).1[0];
    assert_eq!(
        (message.agent.as_str(), &*message.method),
        ("counter/a", "add")
    );
    assert_eq!(&message.payload.bytes[..], b"{\"by\":5}");
    let batch = json!([event("1", "counter/a"), event("2", "counter/b")]).to_string();
    let reply = served
        .ask("POST /v1/messages", &[EVENTS], batch.as_bytes())
        .await;
    let applied = json!({"verdict": "applied"});
    assert_eq!(parsed(&reply), json!({"verdicts": [applied, applied]}));
    assert_eq!(sent(&control).1.len(), 2);

    let count = control.count();
    let mut odd = event("2", "nobody");
    let bad = json!([event("1", "counter/a"), odd]).to_string();
    let problem = served
        .ask("POST /v1/messages", &[EVENTS], bad.as_bytes())
        .await
        .problem();
    assert!(
        problem
            .detail
            .starts_with("event 1: attribute `subject` is `nobody`"),
        "{problem:?}"
    );
    odd["specversion"] = "2.0".into();
    let bad = json!([event("1", "counter/a"), odd]).to_string();
    let problem = served
        .ask("POST /v1/messages", &[EVENTS], bad.as_bytes())
        .await
        .problem();
    assert!(
        problem
            .detail
            .starts_with("event 1: attribute `specversion`"),
        "{problem:?}"
    );
    let problem = served
        .ask(SEND, &[EVENTS], batch.as_bytes())
        .await
        .problem();
    assert_eq!(problem.code, "unsupported-type");
    let avro = [("content-type", "application/cloudevents+avro")];
    let problem = served.ask("POST /v1/messages", &avro, b"x").await.problem();
    assert_eq!(problem.code, "unsupported-type");
    let numbered = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-sequence", "1"),
        ("ce-subject", "counter/a"),
        ("ce-method", "add"),
    ];
    let problem = served
        .ask("POST /v1/messages", &numbered, b"5")
        .await
        .problem();
    assert!(problem.detail.contains("`client`"), "{problem:?}");
    assert_eq!(control.count(), count);
    let limits = Limits {
        max_batch: 1,
        ..Limits::default()
    };
    let small = serve(control.clone(), limits).await;
    let problem = small
        .ask("POST /v1/messages", &[EVENTS], batch.as_bytes())
        .await
        .problem();
    assert_eq!(problem.code, "too-large");
}

#[tokio::test]
async fn a_dead_letter_is_an_event_too() {
    let (_, served) = served().await;
    let letter = parsed(
        &served
            .ask("GET /v1/dead-letters/node-1.3.9", &[], b"")
            .await,
    );
    assert_eq!(letter["event"]["specversion"], "1.0");
    assert_eq!(letter["event"]["subject"], "counter/alice");
    assert_eq!(letter["event"]["source"], "/clients/x");
    assert_eq!(letter["event"]["data"], 5);
    let accept = [("accept", "text/html, application/cloudevents+json;q=0.9")];
    let reply = served
        .ask("GET /v1/dead-letters/node-1.3.9", &accept, b"")
        .await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/cloudevents+json")
    );
    assert_eq!(parsed(&reply), letter["event"]);
    let accept = [("accept", "application/cloudevents-batch+json")];
    let reply = served.ask("GET /v1/dead-letters", &accept, b"").await;
    assert_eq!(parsed(&reply)[0], letter["event"]);
    let list = parsed(&served.ask("GET /v1/dead-letters", &[], b"").await);
    assert_eq!(list["dead_letters"][0].get("event"), None);
}

#[tokio::test]
async fn a_broadcast_waits_for_all_and_gives_what_came() {
    let (control, served) = served().await;
    control.script(|request| {
        let Request::Call { agent, payload, .. } = request else {
            return None;
        };
        let reply = match agent.key() {
            "a" => Reply::Ok(payload.clone()),
            "b" => failure("overdrawn", "3 are missing"),
            "c" => Reply::Bounced("no-such-agent".into()),
            "d" => Reply::Deadlock,
            "e" => Reply::Unavailable("mailbox full".into()),
            "f" => turned_down(TurnedDownBy::Breaker, 5_000),
            _ => Reply::Timeout,
        };
        Some(Ok(Response::Called(reply)))
    });
    let agents =
        |keys: &str| -> Vec<String> { keys.chars().map(|key| format!("counter/{key}")).collect() };
    let body = json!({"agents": agents("abcdefg"), "method": "add", "payload": 5, "lane": "low"});
    let target = "POST /v1/broadcasts?client=me&timeout=2s";
    let reply = parsed(
        &served
            .ask(target, &[JSON], body.to_string().as_bytes())
            .await,
    );
    assert_eq!(reply["complete"], false);
    let outcomes = reply["answers"].as_array().unwrap();
    let words: Vec<_> = outcomes
        .iter()
        .map(|it| it["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(
        words,
        [
            "ok",
            "failed",
            "bounced",
            "deadlock",
            "unavailable",
            "unavailable",
            "unknown"
        ]
    );
    assert_eq!(
        (&outcomes[0]["agent"], &outcomes[0]["payload"]["json"]),
        (&json!("counter/a"), &json!(5))
    );
    assert_eq!(outcomes[1]["failure"]["code"], "overdrawn");
    assert_eq!(outcomes[2]["reason"], "no-such-agent");
    assert_eq!(outcomes[5]["reason"], "kind:counter: in the gate's words");
    assert_eq!(control.count(), 7);
    let Request::Call {
        timeout, options, ..
    } = control.last()
    else {
        panic!("{:?}", control.last());
    };
    assert_eq!(timeout, Millis(2_000));
    assert_eq!(options.unwrap().overrides.priority, Some(Lane::Low));
    let both = json!({"agents": agents("ab"), "method": "add", "payload": 5});
    let reply = parsed(
        &served
            .ask(target, &[JSON], both.to_string().as_bytes())
            .await,
    );
    assert_eq!(reply["complete"], true);
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_gives_up_on_who_does_not_answer() {
    let (control, served) = served().await;
    control.hold();
    let body = json!({"agents": ["counter/a"], "method": "add"}).to_string();
    let reply = served
        .ask("POST /v1/broadcasts?timeout=2s", &[JSON], body.as_bytes())
        .await;
    assert_eq!(
        parsed(&reply),
        json!({"answers": [{"agent": "counter/a", "outcome": "unknown"}], "complete": false})
    );
}

#[tokio::test]
async fn a_broadcast_that_waits_for_none_is_a_send() {
    let (control, served) = served().await;
    let packed = rmp_serde::to_vec_named(&phoenix_gateway::api::Broadcast {
        agents: vec!["counter/a".into(), "counter/b".into()],
        method: "add".into(),
        payload: [5].as_slice().into(),
        ttl: Some(900),
        ..Default::default()
    })
    .unwrap();
    let headers = [("content-type", "application/vnd.msgpack")];
    let reply = served
        .ask("POST /v1/broadcasts?mode=async", &headers, &packed)
        .await;
    assert_eq!(
        (reply.status, parsed(&reply)),
        (202, json!({"accepted": 2}))
    );
    let (_, messages, _) = sent(&control);
    assert_eq!(messages[1].agent.as_str(), "counter/b");
    assert_eq!(options(&messages[1]).ttl, Some(Millis(900)));
    let count = control.count();
    let limits = Limits {
        max_batch: 2,
        ..Limits::default()
    };
    let small = serve(control.clone(), limits).await;
    for (body, code, detail) in [
        (
            json!({"agents": [], "method": "m"}),
            "invalid",
            "`agents` has 0 entries: it must have 1 to 2",
        ),
        (
            json!({"agents": ["a/1", "a/2", "a/3"], "method": "m"}),
            "too-large",
            "api-max-batch",
        ),
        (
            json!({"agents": ["a/1", "a/1"], "method": "m"}),
            "invalid",
            "agents[1]: a/1 is there twice",
        ),
        (
            json!({"agents": ["a/1", "nobody"], "method": "m"}),
            "invalid",
            "agents[1]: ",
        ),
        (
            json!({"agents": ["a/1"], "method": ""}),
            "invalid",
            "no handler's name",
        ),
        (
            json!({"agents": ["a/1"]}),
            "invalid",
            "missing field `method`",
        ),
        (
            json!({"agents": ["a/1"], "method": "m", "lane": "fast"}),
            "invalid",
            "`lane` is `fast`",
        ),
        (
            json!({"agents": ["a/1"], "method": "m", "key": "k"}),
            "invalid",
            "unknown field `key`",
        ),
    ] {
        let body = body.to_string();
        let problem = small
            .ask("POST /v1/broadcasts", &[JSON], body.as_bytes())
            .await
            .problem();
        assert_eq!(problem.code, code, "{body}");
        assert!(problem.detail.contains(detail), "{problem:?}");
    }
    let problem = small
        .ask("POST /v1/broadcasts", &[NDJSON], b"{}")
        .await
        .problem();
    assert_eq!(problem.code, "unsupported-type");
    assert_eq!(control.count(), count);
}
