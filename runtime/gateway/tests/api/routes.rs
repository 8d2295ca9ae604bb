//! Every route: what it asks the node, and what it answers.

use crate::fake::{FakeControl, failure, json, turned_down};
use crate::http::serve;
use phoenix_core::control::{ControlError, LetterFilter, Letters, Request, Response, Verdict};
use phoenix_core::flow::TurnedDownBy;
use phoenix_core::{
    AgentId, Body, ContentType, Envelope, KindName, KindPolicy, Millis, NodeId, Payload, Reply,
    SpawnPolicy,
};
use phoenix_gateway::Limits;
use serde_json::{Value, json as value};

const JSON: (&str, &str) = ("content-type", "application/json");
const WASM: (&str, &str) = ("content-type", "application/wasm");

fn agent(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

async fn served() -> (std::sync::Arc<FakeControl>, crate::http::Served) {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    (control, served)
}

fn parsed(reply: &crate::http::Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn deploy_takes_a_component_and_a_policy() {
    let (control, served) = served().await;
    let policy = (
        "phoenix-policy",
        "{\"memory-bytes\": \"2MiB\", \"spawn\": \"explicit\"}",
    );
    let reply = served
        .ask("PUT /v1/kinds/order-book", &[WASM, policy], b"\0asm")
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let Request::Deploy {
        kind,
        component,
        policy,
    } = control.last()
    else {
        panic!("{:?}", control.last());
    };
    assert_eq!(
        (kind.as_str(), &component[..]),
        ("order-book", &b"\0asm"[..])
    );
    let expected = KindPolicy {
        memory_bytes: 2 << 20,
        spawn: SpawnPolicy::Explicit,
        ..KindPolicy::default()
    };
    assert_eq!(*policy, expected);
    let kind = parsed(&reply);
    assert_eq!(kind["kind"], "order-book");
    assert_eq!(kind["component_bytes"], 4);
    assert_eq!(kind["policy"]["memory-bytes"], 2 << 20);
    assert_eq!(kind["policy"]["spawn"], "explicit");
    assert_eq!(kind["policy"]["idle-after"], 30_000);
}

#[tokio::test]
async fn a_wrong_deployment_is_refused_before_the_node_is_asked() {
    let (control, served) = served().await;
    let bad_policies = [
        ("{\"memory-byte\": 1}", "did you mean `memory-bytes`?"),
        ("{\"memory-bytes\": \"lots\"}", "memory-bytes"),
        ("{\"turn-deadline\": 0}", "turn-deadline"),
        ("[]", "JSON object"),
        ("{", "JSON object"),
    ];
    for (policy, help) in bad_policies {
        let headers = [WASM, ("phoenix-policy", policy)];
        let reply = served
            .ask("PUT /v1/kinds/counter", &headers, b"\0asm")
            .await;
        let problem = reply.problem();
        assert_eq!(
            (reply.status, problem.code.as_str()),
            (400, "invalid"),
            "{policy}"
        );
        assert!(problem.suggestion.unwrap().contains(help), "{policy}");
    }
    let reply = served.ask("PUT /v1/kinds/counter", &[JSON], b"{}").await;
    assert_eq!(
        (reply.status, reply.problem().code.as_str()),
        (415, "unsupported-type")
    );
    for kind in ["Counter", "1a", "%FF", "a%2Fb", "-"] {
        let reply = served
            .ask(&format!("PUT /v1/kinds/{kind}"), &[WASM], b"x")
            .await;
        assert_eq!(reply.problem().code, "invalid", "{kind}");
    }
    assert_eq!(control.count(), 0);
}

#[tokio::test]
async fn kinds_describe_themselves() {
    let (_, served) = served().await;
    let list = parsed(&served.ask("GET /v1/kinds", &[], b"").await);
    let kind = &list["kinds"][0];
    assert_eq!(kind["kind"], "counter");
    assert_eq!(kind["world"], "agent-framed");
    assert_eq!(kind["component"].as_str().unwrap().len(), 64);
    assert_eq!(
        kind["handlers"][1],
        value!({"name": "total", "interleave": true})
    );
    assert_eq!(kind["policy"].as_object().unwrap().len(), 38);
    assert_eq!(kind["policy"]["durable"], false);
}

#[tokio::test]
async fn agents_are_listed_in_pages() {
    let (control, served) = served().await;
    let target = "GET /v1/agents?kind=counter&node=node-2&after=counter%2F010&limit=2";
    let page = parsed(&served.ask(target, &[], b"").await);
    assert_eq!(page["agents"][0]["agent"], "counter/011");
    assert_eq!(page["agents"][0]["status"], "resident");
    assert_eq!(page["next"], "counter/012");
    let Request::Agents {
        kind, node, limit, ..
    } = control.last()
    else {
        panic!("{:?}", control.last());
    };
    assert_eq!(kind.unwrap().as_str(), "counter");
    assert_eq!((node, limit), (Some(NodeId(2)), 2));
    let last = parsed(&served.ask("GET /v1/agents?limit=1000", &[], b"").await);
    assert_eq!(last["agents"].as_array().unwrap().len(), 250);
    assert_eq!(last.get("next"), None);
}

#[tokio::test]
async fn queries_are_checked() {
    let (control, served) = served().await;
    for query in [
        "/v1/agents?limit=0",
        "/v1/agents?limit=99999999",
        "/v1/agents?limit=many",
        "/v1/agents?knid=counter",
        "/v1/agents?node=two",
        "/v1/agents?after=nobody",
        "/v1/agents?kind=A",
        "/v1/logs?after=-1",
        "/v1/dead-letters?node=",
    ] {
        let reply = served.ask(&format!("GET {query}"), &[], b"").await;
        assert_eq!(
            (reply.status, reply.problem().code.as_str()),
            (400, "invalid"),
            "{query}"
        );
    }
    let migrate = served.ask("POST /v1/agents/a/b/migrate", &[], b"").await;
    assert!(migrate.problem().detail.contains("`to`"));
    for valid_for in ["0", "5", "31d", "soon"] {
        let target = format!("POST /v1/join-tokens?valid_for={valid_for}");
        assert_eq!(
            served.ask(&target, &[], b"").await.status,
            400,
            "{valid_for}"
        );
    }
    assert_eq!(control.count(), 0);
}

#[tokio::test]
async fn keys_of_every_kind_arrive_whole() {
    let (control, served) = served().await;
    for (path, id) in [
        ("visitor/2001:db8::1", "visitor/2001:db8::1"),
        ("visitor/2001%3Adb8%3A%3A1", "visitor/2001:db8::1"),
        ("file/a%2Fb%2F..%2Fc", "file/a/b/../c"),
        ("file/%2E%2E", "file/.."),
        ("name/Zo%C3%AB%20%26%3F%23", "name/Zoë &?#"),
        ("name/a+b", "name/a+b"),
        ("name/100%25", "name/100%"),
    ] {
        let reply = served
            .ask(&format!("GET /v1/agents/{path}"), &[], b"")
            .await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(control.last(), Request::Inspect { agent: agent(id) });
        assert_eq!(parsed(&reply)["agent"], id);
    }
    // Our own client says the same.
    for id in [
        "file/a/b",
        "visitor/::1",
        "name/ä?&=%2F#",
        "name/..",
        "name/ ",
    ] {
        served.client().inspect(&agent(id)).await.unwrap();
        assert_eq!(control.last(), Request::Inspect { agent: agent(id) });
    }
    for bad in ["visitor/%FF", "visitor/%00", "visitor/a%0Ab", "VISITOR/a"] {
        let reply = served.ask(&format!("GET /v1/agents/{bad}"), &[], b"").await;
        assert_eq!(reply.problem().code, "invalid", "{bad}");
    }
    let slash = served.ask("GET /v1/agents/file/a/b", &[], b"").await;
    assert_eq!(slash.problem().code, "no-such-route");
    assert!(slash.problem().suggestion.unwrap().contains("%2F"));
}

#[tokio::test]
async fn inspect_tells_all() {
    let (_, served) = served().await;
    let detail = parsed(&served.ask("GET /v1/agents/counter/alice", &[], b"").await);
    assert_eq!(
        detail["incarnation"],
        value!({"generation": 1, "boot": 2, "count": 3})
    );
    assert_eq!(detail["counters"]["expired"], 11);
    assert_eq!(detail.get("unmovable"), None);
    let lanes = detail["lanes"].as_array().unwrap();
    let names: Vec<_> = lanes.iter().map(|lane| &lane["lane"]).collect();
    assert_eq!(names, ["high", "normal", "low", "bulk"]);
    assert_eq!(
        lanes[1],
        value!({
            "lane": "normal", "messages": 12, "bytes": 1_800, "spilled": 13, "spilled_bytes": 1_950
        })
    );
    let told = ["holding", "held", "ends"].map(|name| detail[name].clone());
    assert_eq!(told, [value!(true), value!(15), value!(14)]);
    let outbox = ["outbox", "outbox_bytes", "outbox_held"].map(|name| detail[name].clone());
    assert_eq!(outbox, [7, 1_050, 1].map(|number| value!(number)));
    assert_eq!(detail["turns"], 3);
    assert_eq!(detail["gates"][0]["gate"]["breaker"]["state"], "open");
}

#[tokio::test]
async fn agents_are_spawned_moved_put_to_sleep_and_stopped() {
    let (control, served) = served().await;
    let reply = served
        .ask(
            "POST /v1/agents/counter/alice?on=2",
            &[JSON],
            b"{\"from\": 5}",
        )
        .await;
    assert_eq!(
        parsed(&reply),
        value!({"agent": "counter/alice", "node": "node-2"})
    );
    assert_eq!(
        control.last(),
        Request::Spawn {
            agent: agent("counter/alice"),
            config: json("{\"from\": 5}"),
            on: Some(NodeId(2)),
        }
    );
    let reply = served
        .ask("POST /v1/agents/counter/alice/migrate?to=node-2", &[], b"")
        .await;
    assert_eq!(
        parsed(&reply),
        value!({
            "migration": "00000000000000000000000000000007",
            "from": "node-1", "to": "node-2", "pause_us": 180, "bytes": 2048,
        })
    );
    let reply = served
        .ask("POST /v1/agents/counter/alice/hibernate", &[], b"")
        .await;
    assert_eq!(parsed(&reply), value!({"bytes": 301}));
    let reply = served
        .ask(
            "POST /v1/agents/counter/alice/reset?force=true",
            &[JSON],
            b"{\"from\": 5}",
        )
        .await;
    assert_eq!(
        parsed(&reply),
        value!({
            "agent": "counter/alice", "node": "node-1",
            "incarnation": {"generation": 1, "boot": 2, "count": 3}, "dead_letters": 2,
        })
    );
    let asked = |config, force| Request::Reset {
        agent: agent("counter/alice"),
        config,
        force,
    };
    assert_eq!(control.last(), asked(json("{\"from\": 5}"), true));
    served
        .ask("POST /v1/agents/counter/alice/reset", &[], b"")
        .await;
    assert_eq!(control.last(), asked(Payload::default(), false));
    let reply = served
        .ask("DELETE /v1/agents/counter/alice", &[], b"")
        .await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(
        control.last(),
        Request::Stop {
            agent: agent("counter/alice")
        }
    );
}

#[tokio::test]
async fn a_call_is_answered_in_kind() {
    let (control, served) = served().await;
    let target = "POST /v1/agents/counter/alice/call/add?timeout=2s&client=me";
    let reply = served.ask(target, &[JSON], b"[1, {\"a\": null}]").await;
    assert_eq!(reply.text(), "[1, {\"a\": null}]");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let Request::Call {
        client,
        agent,
        method,
        payload,
        timeout,
        options,
    } = control.last()
    else {
        panic!("{:?}", control.last());
    };
    assert_eq!(
        (client.as_str(), agent.as_str(), &*method),
        ("me", "counter/alice", "add")
    );
    assert_eq!(
        (payload.content_type, timeout, options),
        (ContentType::Json, Millis(2_000), None)
    );

    let packed = rmp_serde::to_vec(&("x", 1)).unwrap();
    for media_type in [
        "application/vnd.msgpack",
        "application/msgpack",
        "application/x-msgpack",
    ] {
        let headers = [("content-type", media_type)];
        let reply = served.ask(target, &headers, &packed).await;
        assert_eq!(reply.body, packed);
        assert_eq!(
            reply.header("content-type"),
            Some("application/vnd.msgpack")
        );
    }
    let headers = [("content-type", "application/octet-stream")];
    let reply = served.ask(target, &headers, &[0xff, 0]).await;
    assert_eq!(reply.body, [0xff, 0]);
}

#[tokio::test]
async fn whoever_sends_nothing_gets_json() {
    let (control, served) = served().await;
    let target = "POST /v1/agents/counter/alice/call/total";
    let packed = rmp_serde::to_vec(&std::collections::BTreeMap::from([("total", 7)])).unwrap();
    control.reply(Reply::Ok(Payload {
        content_type: ContentType::MessagePack,
        bytes: packed.clone().into(),
    }));
    let reply = served.ask(target, &[], b"").await;
    assert_eq!(parsed(&reply), value!({"total": 7}));
    let headers = [("accept", "application/msgpack")];
    assert_eq!(served.ask(target, &headers, b"").await.body, packed);
    let Request::Call {
        payload, client, ..
    } = control.last()
    else {
        panic!("{:?}", control.last());
    };
    assert_eq!(payload, Payload::default());
    assert_eq!(client.as_str().len(), 32, "a random name");
    // An answer of nothing.
    control.reply(Reply::Ok(Payload::default()));
    assert_eq!(served.ask(target, &[], b"").await.status, 204);
}

#[tokio::test]
async fn calls_end_in_problems_that_say_what_happened() {
    let (control, served) = served().await;
    let target = "POST /v1/agents/counter/alice/call/add";
    for (reply, status, code) in [
        (
            failure("too-few", "only three are left"),
            422,
            "agent-failed",
        ),
        (Reply::Timeout, 504, "unknown"),
        (Reply::Bounced("no such kind".into()), 409, "bounced"),
        (Reply::Deadlock, 409, "deadlock"),
        (Reply::Unavailable("moving".into()), 503, "unavailable"),
    ] {
        control.reply(reply);
        let reply = served.ask(target, &[JSON], b"5").await;
        assert_eq!(
            (reply.status, reply.problem().code.as_str()),
            (status, code)
        );
    }
    control.reply(failure("too-few", "only three are left"));
    let problem = served.ask(target, &[JSON], b"5").await.problem();
    assert_eq!(problem.detail, "too-few: only three are left");
    let failure = problem.failure.unwrap();
    assert_eq!(failure.code, "too-few");
    assert_eq!(failure.details.json, Some(value!({"have": 3})));
}

/// What a gate says, and what a client hears of it.
#[tokio::test]
async fn a_call_that_a_gate_turns_down_says_when_to_come_again() {
    let (control, served) = served().await;
    let target = "POST /v1/agents/counter/alice/call/add";
    use TurnedDownBy::{Breaker, Bulkhead, Rate, Shared, Size, Wait, Window};
    for (by, after, status, code, header) in [
        (Rate, 1_001, 429, "rate-limited", Some("2")),
        (Window, 1, 429, "rate-limited", Some("1")),
        (Shared, 0, 429, "rate-limited", Some("1")),
        (Breaker, 5_000, 503, "turned-down", Some("5")),
        (Bulkhead, 0, 503, "turned-down", Some("1")),
        (Wait, 0, 503, "turned-down", Some("1")),
        (Size, 0, 413, "too-large", None),
    ] {
        control.reply(turned_down(by, after));
        let reply = served.ask(target, &[JSON], b"5").await;
        let problem = reply.problem();
        assert_eq!(
            (reply.status, problem.code.as_str()),
            (status, code),
            "{by:?}"
        );
        assert_eq!(problem.detail, "kind:counter: in the gate's words");
        assert_eq!(
            problem.retry_after_ms,
            (after > 0).then_some(after),
            "{by:?}"
        );
        assert_eq!(reply.header("retry-after"), header, "{by:?}");
    }
}

#[tokio::test]
async fn policies_are_attached_listed_and_taken_away() {
    let (control, served) = served().await;
    let list = parsed(&served.ask("GET /v1/flow", &[], b"").await);
    assert_eq!(
        list["flows"][0],
        value!({
            "target": "kind:counter",
            "node": "node-1",
            "deployed": true,
            "policy": {
                "rate.amount": 100, "rate.per": 1_000, "rate.burst": 100, "rate.unit": "messages",
                "breaker.calls": 20, "breaker.failures": 50, "breaker.window": 10_000,
                "breaker.open-for": 5_000, "breaker.open-at-most": 60_000,
                "breaker.probes": 3, "breaker.probe-timeout": 30_000
            },
            "gate": {
                "rate": {"unit": "messages", "left": 17, "of": 100},
                "breaker": {
                    "state": "open", "since_ms": 1_700_000_000_000_u64,
                    "cause": "12 of 20 failed, the last with trap",
                    "until_ms": 1_700_000_005_000_u64, "ok": 0, "failed": 0,
                    "probes": 0, "probes_ok": 0, "opened": 1
                },
                "running": 3,
                "waiting": 2,
                "last_failure": {
                    "at_ms": 1_700_000_000_000_u64, "code": "trap", "text": "odd\u{9b}31m\n  at add"
                },
                "counters": {"admitted": 83, "refused-breaker": 40}
            }
        })
    );
    served
        .ask("GET /v1/flow?target=agent%3Acounter%2Fa&node=2", &[], b"")
        .await;
    let target = "agent:counter/a".parse().unwrap();
    let (scope, node) = (None, Some(NodeId(2)));
    let asked = Request::Flows {
        target: Some(target),
        scope,
        node,
    };
    assert_eq!(control.last(), asked);

    let body = br#"{"rate.amount": "1KiB", "rate.unit": "bytes", "breaker.open-for": "2s"}"#;
    let set = served
        .ask("PUT /v1/flow?target=node%3A2", &[JSON], body)
        .await;
    let set = parsed(&set);
    assert_eq!(set["target"], "node:node-2");
    assert_eq!(set["policy"]["rate.burst"], 1_024);
    let Request::SetFlow { target, policy } = control.last() else {
        panic!("{:?}", control.last());
    };
    assert_eq!(target, "node:node-2".parse().unwrap());
    assert_eq!(policy.breaker.unwrap().open_for, Millis(2_000));
    let cleared = served
        .ask("DELETE /v1/flow?target=topic%3Aorders.eu", &[], b"")
        .await;
    assert_eq!(cleared.status, 204);
    let target = "topic:orders.eu".parse().unwrap();
    assert_eq!(control.last(), Request::ClearFlow { target });
}

#[tokio::test]
async fn a_wrong_flow_policy_is_refused_before_the_node_is_asked() {
    let (control, served) = served().await;
    for (query, body, status, part) in [
        ("", "{}", 400, "missing field `target`"),
        ("?target=counter", "{}", 400, "agent:KIND/KEY, kind:NAME"),
        ("?target=kind%3ACounter", "{}", 400, "Counter"),
        ("?target=topic%3Aa.*", "{}", 400, "orders.eu"),
        (
            "?target=kind%3Acounter",
            "rate",
            400,
            "the body is no policy",
        ),
        (
            "?target=kind%3Acounter",
            r#"{"rate.amout": 5}"#,
            400,
            "no field `rate.amout`",
        ),
        (
            "?target=kind%3Acounter",
            r#"{"rate.per": "1s"}"#,
            400,
            "`rate.amount` is missing",
        ),
        (
            "?target=kind%3Acounter",
            r#"{"rate.amount": 5, "rate.per": "soon"}"#,
            400,
            "`rate.per` is `soon`: it must be a span of time",
        ),
        (
            "?target=kind%3Acounter",
            r#"{"bulkhead.concurrent": 0}"#,
            400,
            "`bulkhead.concurrent` is 0: it must be 1 to 1000000",
        ),
    ] {
        let target = format!("PUT /v1/flow{query}");
        let reply = served.ask(&target, &[JSON], body.as_bytes()).await;
        assert_eq!(reply.status, status, "{query} {body}");
        let detail = reply.problem().detail;
        assert!(detail.contains(part), "{detail}");
    }
    let plain = served
        .ask("PUT /v1/flow?target=kind%3Acounter", &[], b"{}")
        .await;
    assert_eq!(plain.status, 415);
    assert_eq!(control.count(), 0);
}

#[tokio::test]
async fn bodies_are_checked() {
    let (control, served) = served().await;
    let target = "POST /v1/agents/counter/alice/call/add";
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (headers, body, status, code) in [
        (vec![JSON], &b"{by: 5}"[..], 400, "invalid"),
        (vec![JSON], b"\xff", 400, "invalid"),
        (vec![form], b"5", 415, "unsupported-type"),
        (vec![], b"5", 415, "unsupported-type"),
    ] {
        let reply = served.ask(target, &headers, body).await;
        assert_eq!(
            (reply.status, reply.problem().code.as_str()),
            (status, code)
        );
    }
    for query in [
        "timeout=5",
        "timeout=0s",
        "timeout=2h",
        "timeout=",
        "client=a%20b",
        "client=",
    ] {
        let reply = served
            .ask(&format!("{target}?{query}"), &[JSON], b"5")
            .await;
        assert_eq!(reply.problem().code, "invalid", "{query}");
    }
    let long = format!("POST /v1/agents/counter/alice/call/{}", "m".repeat(256));
    assert_eq!(
        served.ask(&long, &[JSON], b"5").await.problem().code,
        "invalid"
    );
    assert_eq!(control.count(), 0);
}

#[tokio::test]
async fn a_send_has_a_verdict() {
    let (control, served) = served().await;
    let target = "POST /v1/agents/counter/alice/send/add?client=me&sequence=3";
    let reply = served.ask(target, &[JSON], b"5").await;
    assert_eq!(parsed(&reply), value!({"verdict": "applied"}));
    let Request::Send {
        client, messages, ..
    } = control.last()
    else {
        panic!("{:?}", control.last());
    };
    assert_eq!(client.as_str(), "me");
    assert_eq!((messages.len(), messages[0].sequence), (1, Some(3)));
    for (verdict, shown) in [
        (
            Verdict::Dead {
                code: "trapped".into(),
                detail: "".into(),
            },
            value!({"verdict": "dead", "code": "trapped", "detail": ""}),
        ),
        (
            Verdict::Refused {
                expected: Some(4),
                reason: "mailbox-full".into(),
            },
            value!({"verdict": "refused", "expected": 4, "reason": "mailbox-full"}),
        ),
        (Verdict::Unknown, value!({"verdict": "unknown"})),
    ] {
        control.script(move |_| Some(Ok(Response::Sent(vec![verdict.clone()]))));
        assert_eq!(parsed(&served.ask(target, &[JSON], b"5").await), shown);
    }
    for query in ["sequence=3", "client=me&sequence=0"] {
        let target = format!("POST /v1/agents/counter/alice/send/add?{query}");
        assert_eq!(
            served.ask(&target, &[JSON], b"5").await.status,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn logs_nodes_tokens_and_counters() {
    let (control, served) = served().await;
    let page = parsed(
        &served
            .ask("GET /v1/logs?agent=counter%2Falice&after=1", &[], b"")
            .await,
    );
    assert_eq!(page["lines"][0]["level"], "warn");
    assert_eq!(
        (&page["lines"][0]["number"], &page["next"]),
        (&value!(2), &value!(2))
    );
    let page = parsed(&served.ask("GET /v1/logs?after=2", &[], b"").await);
    assert_eq!(page, value!({"lines": [], "next": 2}));
    let nodes = parsed(&served.ask("GET /v1/nodes", &[], b"").await);
    assert_eq!(nodes["nodes"][0]["node"], "node-1");
    assert_eq!(nodes["nodes"][1].get("boot"), None);
    assert_eq!(nodes["nodes"][1]["dead"], true);
    assert_eq!(nodes["nodes"][0].get("path"), None);
    assert_eq!(
        nodes["nodes"][1]["path"],
        serde_json::json!({
            "protocol": "http2",
            "bulk": "http2",
            "datagrams": false,
            "round_trip_us": 840,
            "reason": "http2: no QUIC handshake within 1 s, last tried 3 s ago",
        })
    );
    let dead = served
        .ask("POST /v1/nodes/node-2/declare-dead", &[], b"")
        .await;
    assert_eq!(
        parsed(&dead),
        value!({"node": "node-2", "boot": 5, "agents": 40})
    );
    assert_eq!(control.last(), Request::DeclareDead { node: NodeId(2) });
    let nobody = served
        .ask("POST /v1/nodes/two/declare-dead", &[], b"")
        .await;
    assert_eq!(nobody.status, 400);
    let token = parsed(
        &served
            .ask("POST /v1/join-tokens?valid_for=10m", &[], b"")
            .await,
    );
    assert_eq!(
        token,
        value!({"token": "phx1-secret", "valid_for_ms": 600_000})
    );
    assert_eq!(
        control.last(),
        Request::JoinToken {
            valid_for: Millis(600_000)
        }
    );
    let counters = parsed(&served.ask("GET /v1/counters", &[], b"").await);
    assert_eq!(counters["counters"]["turns"], 42);
    let metrics = served.ask("GET /metrics", &[], b"").await;
    assert!(metrics.text().contains("phoenix_mailbox_rejected 0\n"));
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    assert_eq!(served.ask("POST /v1/shutdown", &[], b"").await.status, 202);
    assert_eq!(control.last(), Request::Shutdown);
}

#[tokio::test]
async fn dead_letters_are_read() {
    let (control, served) = served().await;
    let target = "GET /v1/dead-letters?node=1&kind=counter&agent=counter%2Falice\
                  &reason=trapped&limit=1";
    let list = parsed(&served.ask(target, &[], b"").await);
    let filter = LetterFilter {
        node: Some(NodeId(1)),
        kind: Some(KindName::new("counter").unwrap()),
        agent: Some(agent("counter/alice")),
        reason: Some("trapped".into()),
    };
    assert_eq!(control.last(), Request::DeadLetters { filter, limit: 1 });
    assert_eq!(list["more"], true);
    assert_eq!(
        list["dead_letters"][0],
        value!({
            "id": "node-1.3.9",
            "node": "node-1",
            "number": 9,
            "at_ms": 1_700_000_000_000_u64,
            "reason": "trapped",
            "detail": "wasm trap: unreachable\n  at add",
            "attempts": 3,
            "from": "client/x",
            "through": "node-1",
            "to": "counter/alice",
            "body": "message",
            "method": "add",
            "payload": {"content_type": "json", "bytes": 1, "json": 5},
            "stream": {"lane": "normal", "number": 4, "give_up_ms": 1_700_000_600_000_u64},
        })
    );
    let letter = parsed(&served.ask("GET /v1/dead-letters/1.3.10", &[], b"").await);
    assert_eq!(letter["from"], "site/main");
    assert_eq!(
        letter["incarnation"],
        value!({"generation": 1, "boot": 2, "count": 3})
    );
    assert_eq!(letter["resent_by"], "client/replay-node-1.3.2");
    assert_eq!(letter["payload"]["base64"], "YRtbMkoKYv8=");
    assert_eq!(
        letter["ask"],
        value!({"id": 4, "reply_to": "site/main", "deadline_ms": 1_700_000_005_000_u64})
    );
}

/// A listing shows the beginning of a large payload, and a letter by itself all of it.
#[tokio::test]
async fn a_letter_by_itself_is_whole() {
    let (control, served) = served().await;
    let mut letter = crate::fake::dead_letter(9);
    let mut envelope = Envelope::clone(&letter.envelope);
    let text = format!("\"{}\"", "x".repeat(100_000));
    envelope.body = Body::Message {
        method: "add".into(),
        payload: json(&text),
        ask: None,
    };
    letter.envelope = std::sync::Arc::new(envelope);
    control.script(move |request| {
        Some(Ok(match request {
            Request::DeadLetter { .. } => Response::DeadLetter(Box::new(letter.clone())),
            _ => Response::DeadLetters {
                letters: vec![letter.clone()],
                more: false,
            },
        }))
    });
    let list = parsed(&served.ask("GET /v1/dead-letters", &[], b"").await);
    let brief = &list["dead_letters"][0]["payload"];
    assert_eq!(
        (&brief["bytes"], brief.get("json")),
        (&value!(100_002), None)
    );
    assert!(brief["base64"].as_str().unwrap().len() < 2_000);
    let whole = parsed(&served.ask("GET /v1/dead-letters/1.3.9", &[], b"").await);
    assert_eq!(whole["payload"]["json"].as_str().unwrap().len(), 100_000);
}

#[tokio::test]
async fn dead_letters_are_replayed_and_purged() {
    let (control, served) = served().await;
    let one = Letters::One("1.3.9".parse().unwrap());
    let reply = served
        .ask("POST /v1/dead-letters/1.3.9/replay?timeout=9s", &[], b"")
        .await;
    assert_eq!(
        parsed(&reply),
        value!({"id": "node-1.3.9", "verdict": "applied"})
    );
    let asked = Request::ReplayDeadLetters {
        letters: one.clone(),
        limit: 1,
        timeout: Millis(9_000),
    };
    assert_eq!(control.last(), asked);
    let reply = served
        .ask(
            "POST /v1/dead-letters/replay?kind=counter&limit=7",
            &[],
            b"",
        )
        .await;
    assert_eq!(
        parsed(&reply)["replayed"][1],
        value!({"id": "node-1.3.10", "verdict": "applied"})
    );
    let counters = Letters::Matching(LetterFilter {
        kind: Some(KindName::new("counter").unwrap()),
        ..LetterFilter::default()
    });
    let asked = Request::ReplayDeadLetters {
        letters: counters,
        limit: 7,
        timeout: Millis(5_000),
    };
    assert_eq!(control.last(), asked);
    let purged = served.ask("DELETE /v1/dead-letters/1.3.9", &[], b"").await;
    assert_eq!(purged.status, 204);
    assert_eq!(control.last(), Request::PurgeDeadLetters { letters: one });
    let purged = served
        .ask("DELETE /v1/dead-letters?all=true", &[], b"")
        .await;
    assert_eq!(parsed(&purged), value!({"purged": 2}));
    let letters = Letters::Matching(LetterFilter::default());
    assert_eq!(control.last(), Request::PurgeDeadLetters { letters });
}

#[tokio::test]
async fn which_letters_must_be_said() {
    let (control, served) = served().await;
    for (line, help) in [
        ("DELETE /v1/dead-letters", "all=true"),
        ("DELETE /v1/dead-letters?all=false", "all=true"),
        ("POST /v1/dead-letters/replay", "all=true"),
        (
            "GET /v1/dead-letters?reason=traped",
            "did you mean `trapped`?",
        ),
        (
            "GET /v1/dead-letters?reason=bored",
            "the reasons are trapped, ",
        ),
    ] {
        let problem = served.ask(line, &[], b"").await.problem();
        assert_eq!((problem.status, problem.code.as_str()), (400, "invalid"));
        assert!(problem.suggestion.unwrap().contains(help), "{line}");
    }
    for line in [
        "GET /v1/dead-letters/9",
        "DELETE /v1/dead-letters/node-1",
        "POST /v1/dead-letters/1.3.x/replay",
        "GET /v1/dead-letters?all=true",
    ] {
        assert_eq!(served.ask(line, &[], b"").await.status, 400, "{line}");
    }
    assert_eq!(control.count(), 0);
    let missing = served.ask("GET /v1/dead-letters/1.3.8", &[], b"").await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn the_nodes_errors_become_problems() {
    let (control, served) = served().await;
    for (error, status, code) in [
        (ControlError::Invalid("i".into()), 400, "invalid"),
        (ControlError::NotFound("n".into()), 404, "not-found"),
        (ControlError::Conflict("c".into()), 409, "conflict"),
        (ControlError::Unavailable("a".into()), 503, "unavailable"),
        (ControlError::Unknown("u".into()), 504, "unknown"),
        (ControlError::Internal("x".into()), 500, "internal"),
    ] {
        let text = error.to_string();
        control.fail(error);
        let reply = served.ask("GET /v1/kinds", &[], b"").await;
        let problem = reply.problem();
        assert_eq!((reply.status, problem.code.as_str()), (status, code));
        assert_eq!(problem.detail, text);
        assert_eq!(problem.kind, format!("urn:phoenix:problem:{code}"));
    }
    // An answer to another question.
    control.script(|_| Some(Ok(Response::Done)));
    assert_eq!(served.ask("GET /v1/kinds", &[], b"").await.status, 500);
}

#[tokio::test]
async fn other_paths_and_methods_are_problems() {
    let (_, served) = served().await;
    for (line, status) in [
        ("GET /", 404),
        ("GET /v2/kinds", 404),
        ("GET /v1/agents/", 404),
        ("POST /v1/kinds", 405),
        ("PATCH /v1/agents/a/b", 405),
    ] {
        assert_eq!(
            served.ask(line, &[], b"").await.problem().status,
            status,
            "{line}"
        );
    }
}

#[test]
fn every_route_is_documented_and_nothing_else() {
    let text = include_str!("../../../../docs/api.md");
    let mut documented: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(ToOwned::to_owned)
        .collect();
    let mut served = phoenix_gateway::server::routes();
    documented.sort();
    served.sort();
    assert_eq!(served, documented);
}
