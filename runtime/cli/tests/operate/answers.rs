//! What each verb asks the node and prints.

use phoenix_core::control::{LetterFilter, Letters, Replayed, Request, Response, Verdict};
use phoenix_core::{AgentId, ContentType, KindName, Millis, NodeId, Payload, Reply};
use serde_json::json;

use crate::harness::{Node, run};
use crate::process::{Process, phoenix};

#[test]
fn lists_are_tables_and_json() {
    let node = Node::start();
    let table = node.run(&["kinds"]).out;
    assert_eq!(
        table,
        "KIND     COMPONENT      SIZE  WORLD         HANDLERS\n\
         counter  abababababab  64KiB  agent-framed  add, total\n"
    );
    assert_eq!(
        node.run(&["kinds", "--json"]).json()["kinds"][0]["kind"],
        "counter"
    );
    let nodes = node.run(&["nodes"]).out;
    assert!(
        nodes
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("node-1  127.0.0.1:7401  yes"),
        "{nodes}"
    );
    assert!(
        nodes.lines().nth(2).unwrap().contains("declared dead"),
        "{nodes}"
    );
    assert_eq!(
        node.run(&["nodes", "--json"]).json()["nodes"][1]["connected"],
        false
    );
}

#[test]
fn dead_letters_are_listed_and_shown() {
    let node = Node::start();
    let listed = "node-1.3.9 2023-11-14T22:13:20.000Z trapped from client/x to counter/alice add, \
                  tried 3 times\n    payload: 5\n    wasm trap: unreachable …\n";
    for args in [
        &["deadletters", "--limit", "1"][..],
        &["dead-letters", "list", "--limit", "1"],
    ] {
        let ended = node.run(args);
        assert_eq!(ended.out, listed);
        assert!(ended.err.contains("--limit"), "{ended:?}");
    }
    let all = node.run(&["deadletters", "--json"]).json();
    assert_eq!(all["dead_letters"][0]["id"], "node-1.3.9");
    assert_eq!(all["more"], false);
    node.run(&[
        "deadletters",
        "list",
        "--kind",
        "counter",
        "--agent",
        "counter/alice",
        "--reason",
        "trapped",
        "--node",
        "1",
    ]);
    let filter = LetterFilter {
        node: Some(NodeId(1)),
        kind: Some(KindName::new("counter").unwrap()),
        agent: Some(AgentId::new("counter/alice").unwrap()),
        reason: Some("trapped".into()),
    };
    let limit = 100;
    assert_eq!(node.control.last(), Request::DeadLetters { filter, limit });
    let shown = node.run(&["deadletters", "show", "1.3.10"]).out;
    assert_eq!(
        shown,
        "dead letter    node-1.3.10\n\
         ended          2023-11-14T22:13:20.000Z\n\
         reason         trapped\n\
         tried          3 times\n\
         from           site/main, incarnation 1.2.3\n\
         to             counter/alice\n\
         handler        import\\u{9b}31m\n\
         sent again by  client/replay-node-1.3.2\n\
         stream         lane normal, number 4, worth trying until 2023-11-14T22:23:20.000Z\n\
         asked by       site/main, until 2023-11-14T22:13:25.000Z\n\
         payload: 8 bytes\n    a\\u{1b}[2J\n    b\\xff\n\
         detail\n    wasm trap: unreachable\n      at add\n"
    );
    let json = node
        .run(&["deadletters", "show", "node-1.3.10", "--json"])
        .json();
    assert_eq!(json["resent_by"], "client/replay-node-1.3.2");
}

#[test]
fn gates_are_listed_set_and_taken_away() {
    let node = Node::start();
    for args in [
        &["flow"][..],
        &["flow", "list", "kind:counter", "--node", "1"],
    ] {
        let out = node.run(args).out;
        assert_eq!(
            out.lines().nth(1).unwrap(),
            "kind:counter  node-1  breaker, rate (deployed)  breaker open: 12 of 20 failed, the \
             last with trap; rate 17 of 100 left; 3 under way; 2 wait      83        0       40       0"
        );
    }
    let json = node.run(&["flow", "--json"]).json();
    assert_eq!(json["flows"][0]["gate"]["breaker"]["state"], "open");
    let inspected = node.run(&["inspect", "counter/alice"]).out;
    for part in [
        "gate kind:counter",
        "breaker open: 12 of 20 failed, the last with trap",
        "trap: odd\\u{9b}31m",
        "refused-breaker",
    ] {
        assert!(inspected.contains(part), "{inspected}");
    }

    let file = node.file("limits.toml", b"[breaker]\ncalls = 5\nopen-for = \"2s\"\n");
    let set = node.run(&[
        "flow",
        "set",
        "agent:counter/alice",
        "rate.amount=100",
        "breaker.calls=7",
        "--policy",
        file.to_str().unwrap(),
    ]);
    assert_eq!(set.out, "agent:counter/alice has a gate now\n", "{set:?}");
    let Request::SetFlow { target, policy } = node.control.last() else {
        panic!("{:?}", node.control.last());
    };
    assert_eq!(target.to_string(), "agent:counter/alice");
    let breaker = policy.breaker.unwrap();
    assert_eq!((breaker.calls, breaker.open_for), (7, Millis(2_000)));
    assert_eq!(policy.rate.unwrap().burst, 100);
    let cleared = node.run(&["flow", "clear", "node:2"]).out;
    assert_eq!(cleared, "nothing is attached to node:node-2 any more\n");
    let target = "node:node-2".parse().unwrap();
    assert_eq!(node.control.last(), Request::ClearFlow { target });
}

#[test]
fn a_wrong_gate_is_explained_and_nobody_is_asked() {
    let node = Node::start();
    for (args, parts) in [
        (&["counter", "rate.amount=5"][..], &["agent:KIND/KEY"][..]),
        (
            &["kind:counter", "rate.amout=5"],
            &["no field `rate.amout`", "did you mean `rate.amount`?"],
        ),
        (
            &["kind:counter", "rate.amount=5", "rate.per=5"],
            &["`rate.per` is `5`", "with its unit"],
        ),
        (
            &["kind:counter", "rate.per=5s"],
            &["`rate.amount` is missing: a token bucket needs it"],
        ),
        (&["kind:counter"], &["this limits nothing", "--help"]),
    ] {
        let mut all = vec!["flow", "set"];
        all.extend_from_slice(args);
        let ended = node.run(&all);
        assert_eq!(ended.status, 2, "{ended:?}");
        for part in parts {
            assert!(ended.err.contains(part), "{}", ended.err);
        }
    }
    assert_eq!(node.control.count(), 0);
    let help = node.run(&["flow", "set", "--help"]).out;
    assert!(help.contains("breaker.open-for"), "{help}");
}

#[test]
fn dead_letters_are_sent_again_and_thrown_away() {
    let node = Node::start();
    let replay = ["deadletters", "replay", "node-1.3.9"];
    assert_eq!(node.run(&replay).out, "node-1.3.9: applied\n");
    let all = node.run(&["deadletters", "replay", "--all", "--timeout", "1m"]);
    assert_eq!(all.out, "2 of 2 are applied\n");
    let letters = Letters::Matching(LetterFilter::default());
    let asked = Request::ReplayDeadLetters {
        letters: letters.clone(),
        limit: 1_000,
        timeout: Millis(60_000),
    };
    assert_eq!(node.control.last(), asked);
    for (verdict, status, text) in [
        (
            Verdict::Dead {
                code: "no-such-kind".into(),
                detail: "".into(),
            },
            1,
            "node-1.3.9: dead: no-such-kind; it is another dead letter now\n",
        ),
        (
            Verdict::Refused {
                expected: None,
                reason: "busy".into(),
            },
            1,
            "node-1.3.9: refused: busy; the letter is kept\n",
        ),
        (
            Verdict::Unknown,
            4,
            "node-1.3.9: unknown: nothing was heard in time; it may yet be applied; \
             the letter is kept, and a repeat does no harm\n",
        ),
    ] {
        node.control.script(move |_| {
            let letter = "1.3.9".parse().unwrap();
            let verdict = verdict.clone();
            Some(Ok(Response::Replayed(vec![Replayed { letter, verdict }])))
        });
        let ended = node.run(&replay);
        assert_eq!((ended.status, ended.out.as_str()), (status, text));
        let all = node.run(&["deadletters", "replay", "--reason", "trapped"]);
        let listed = format!("{text}0 of 1 are applied\n");
        assert_eq!((all.status, all.out.as_str()), (status, &*listed));
    }
    node.control.script(|_| None);
    let purged = node.run(&["deadletters", "purge", "--all", "--yes"]);
    assert_eq!(purged.out, "2 dead letters are gone\n");
    assert_eq!(node.control.last(), Request::PurgeDeadLetters { letters });
    let one = node.run(&["deadletters", "purge", "1.3.9", "--yes", "--json"]);
    assert_eq!(one.json(), json!({"purged": 1}));
}

#[test]
fn ps_pages_and_says_when_there_is_more() {
    let node = Node::start();
    let first = node.run(&["ps"]);
    assert_eq!(first.out.lines().count(), 101);
    assert!(first.err.contains("--after counter/099"), "{first:?}");
    let all = node.run(&["ps", "--all", "--json"]).json();
    assert_eq!(all["agents"].as_array().unwrap().len(), 250);
    assert_eq!(all.get("next"), None);
    let some = node.run(&[
        "ps", "--kind", "counter", "--node", "2", "--limit", "1", "--json",
    ]);
    assert_eq!(some.json()["next"], "counter/000");
    let Request::Agents { node: on, .. } = node.control.last() else {
        panic!("{:?}", node.control.last());
    };
    assert_eq!(on, Some(NodeId(2)));
}

#[test]
fn what_agents_say_does_not_drive_the_terminal() {
    let node = Node::start();
    for args in [
        vec!["inspect", "counter/alice"],
        vec!["inspect", "counter/alice", "--json"],
        vec!["logs"],
        vec!["logs", "--json"],
        vec!["deadletters"],
        vec!["deadletters", "show", "1.3.10"],
        vec!["deadletters", "show", "1.3.10", "--json"],
    ] {
        let ended = node.run(&args);
        assert_eq!(ended.status, 0);
        let bad = |c: char| c != '\n' && c.is_control();
        assert!(!ended.out.contains(bad), "{args:?}: {:?}", ended.out);
    }
    node.control.reply(Reply::Ok(Payload {
        content_type: ContentType::Json,
        bytes: "\"\u{9b}31m\u{202e}\"".into(),
    }));
    assert_eq!(
        node.run(&["call", "a/b", "m"]).out,
        "\"\\u009b31m\\u202e\"\n"
    );
    node.control.reply(crate::fake::failure("x", "\u{1b}[2J"));
    assert!(!node.run(&["call", "a/b", "m"]).err.contains('\u{1b}'));
}

#[test]
fn call_reads_its_payload_from_anywhere() {
    let node = Node::start();
    let file = node.file("order.json", b"{\"n\": 1}");
    let raw = node.file("raw", &[0xff, 0xfe]);
    let at = |path: &std::path::Path| format!("@{}", path.display());
    for (argument, input, answer) in [
        ("5", "", json!(5)),
        ("alice", "", json!("alice")),
        ("-", "[1]", json!([1])),
        ("-5", "", json!(-5)),
        (&at(&file), "", json!({"n": 1})),
    ] {
        let args = ["call", "counter/alice", "add", argument, "--json"];
        let ended = node.fed(&args, input.as_bytes());
        assert_eq!(
            ended.json(),
            json!({"content_type": "json", "answer": answer}),
            "{argument}"
        );
    }
    let binary = node.run(&["call", "counter/alice", "add", &at(&raw), "--json"]);
    assert_eq!(
        binary.json(),
        json!({"content_type": "binary", "base64": "//4="})
    );
    // Nothing in, nothing out.
    let nothing = node.run(&["call", "counter/alice", "total"]);
    assert_eq!((nothing.status, nothing.out.as_str()), (0, ""));
    node.run(&[
        "call",
        "visitor/2001:db8::1/64",
        "hit",
        "1",
        "--timeout",
        "90s",
    ]);
    let Request::Call { agent, timeout, .. } = node.control.last() else {
        panic!("{:?}", node.control.last());
    };
    assert_eq!((agent.key(), timeout), ("2001:db8::1/64", Millis(90_000)));
}

#[test]
fn send_ends_as_the_message_did() {
    let node = Node::start();
    let send = ["send", "counter/alice", "add", "5"];
    let applied = node.run(&send);
    assert_eq!((applied.status, applied.out.as_str()), (0, "applied\n"));
    for (verdict, status, text) in [
        (
            Verdict::Dead {
                code: "trapped".into(),
                detail: "".into(),
            },
            1,
            "dead: trapped\n",
        ),
        (
            Verdict::Refused {
                expected: Some(2),
                reason: "mailbox-full".into(),
            },
            1,
            "refused: mailbox-full; the next number is 2\n",
        ),
        (
            Verdict::Unknown,
            4,
            "unknown: nothing was heard in time; it may yet be applied\n",
        ),
    ] {
        node.control
            .script(move |_| Some(Ok(Response::Sent(vec![verdict.clone()]))));
        let ended = node.run(&send);
        assert_eq!((ended.status, ended.out.as_str()), (status, text));
    }
    assert_eq!(node.run(&["send", "a/b", "m", "--sequence", "3"]).status, 2);
}

#[test]
fn send_says_how_the_message_is_sent() {
    let node = Node::start();
    let send = ["send", "counter/alice", "add", "5"];
    let sent = |more: &[&str]| {
        let ended = node.run(&[&send[..], more].concat());
        assert_eq!(ended.status, 0, "{ended:?}");
        match node.control.last() {
            Request::Send {
                client, messages, ..
            } => (client.as_str().to_owned(), messages[0].clone(), ended.out),
            other => panic!("{other:?}"),
        }
    };
    let (client, message, _) = sent(&[
        "--key",
        "order 7",
        "--lane",
        "high",
        "--delivery",
        "exactly-once",
        "--ttl",
        "2s",
        "--report-expired",
        "--give-up",
        "1m",
        "--type",
        "phoenix.data.order.placed",
    ]);
    assert_eq!(client, "anonymous");
    let options = message.options.unwrap();
    assert_eq!(options.key.as_deref(), Some("order 7"));
    assert_eq!(options.overrides.priority, Some(phoenix_core::Lane::High));
    assert_eq!(
        (options.ttl, options.give_up, options.report_expired),
        (Some(Millis(2_000)), Some(Millis(60_000)), true)
    );
    let (_, message, out) = sent(&["--async"]);
    assert_eq!((message.options, out.as_str()), (None, "sent\n"));
    for wrong in [
        &["--lane", "urgent"][..],
        &["--delivery", "twice"],
        &["--ttl", "2"],
        &["--report-expired"],
        &["--key", "k", "--client", "me", "--sequence", "1"],
    ] {
        let ended = node.run(&[&send[..], wrong].concat());
        assert_eq!(ended.status, 2, "{ended:?}");
    }
    // What the node alone knows is its to say.
    let ended = node.run(&[&send[..], &["--delivery", "exactly-once"]].concat());
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.err.contains("must be at-most-once"), "{ended:?}");
}

/// Sends a body to the node's API, and gives back status and body.
fn post(node: &Node, path: &str, content_type: &str, body: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};

    let read = |name| std::fs::read_to_string(node.dir.path().join(name)).unwrap();
    let (address, token) = (read("api.address"), read("api.token"));
    let mut stream = std::net::TcpStream::connect(address.trim()).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        address.trim(),
        token.trim(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[test]
fn the_node_s_own_formats_read_events() {
    let node = Node::start();
    let event = |id: &str, priority: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "/shop", "type": "phoenix.data.order.add",
            "subject": "counter/alice", "priority": priority, "data": 5,
        })
    };
    let batch = json!([event("1", "low"), event("2", "high")]).to_string();
    let media_type = "application/cloudevents-batch+json";
    let (status, body) = post(&node, "/v1/messages", media_type, &batch);
    assert_eq!(status, 200, "{body}");
    let Request::Send { messages, .. } = node.control.last() else {
        panic!("{:?}", node.control.last());
    };
    let said = messages.iter().map(|message| {
        let options = message.options.as_ref().unwrap();
        let id = options.attributes.as_ref().unwrap().id().unwrap();
        (id.to_string(), options.overrides.priority)
    });
    use phoenix_core::Lane::{High, Low};
    let expected = [("1".to_owned(), Some(Low)), ("2".to_owned(), Some(High))];
    assert_eq!(said.collect::<Vec<_>>(), expected);
    let bad = json!([event("1", "low"), event("2", "urgent")]).to_string();
    let (status, body) = post(&node, "/v1/messages", media_type, &bad);
    assert_eq!(status, 400);
    assert!(
        body.contains("event 1: attribute `priority` is `urgent`"),
        "{body}"
    );
}

#[test]
fn a_broadcast_shows_what_each_answered() {
    let node = Node::start();
    node.control.script(|request| match request {
        Request::Call { agent, .. } => Some(Ok(Response::Called(match agent.key() {
            "a" => Reply::Ok(crate::fake::json("7")),
            "b" => Reply::Bounced("no-such-agent".into()),
            _ => Reply::Timeout,
        }))),
        _ => None,
    });
    let ask = |agents: &[&str]| {
        let to = agents.iter().flat_map(|agent| ["--to", *agent]);
        node.run(&[&["broadcast", "total"][..], &to.collect::<Vec<_>>()].concat())
    };
    let all = ask(&["counter/a"]);
    assert_eq!(all.status, 0, "{all:?}");
    assert!(
        all.out.contains("counter/a") && all.out.contains('7'),
        "{all:?}"
    );
    let some = ask(&["counter/a", "counter/b"]);
    assert_eq!(some.status, 1);
    assert!(some.out.contains("bounced: no-such-agent"), "{some:?}");
    assert_eq!(ask(&["counter/a", "counter/b", "counter/c"]).status, 4);
    let told = node.run(&["broadcast", "add", "5", "--to", "counter/a", "--async"]);
    assert_eq!((told.status, told.out.as_str()), (0, "sent to 1\n"));
    let json = node.run(&["broadcast", "total", "--to", "counter/a", "--json"]);
    assert_eq!(json.json()["complete"], true);
    assert_eq!(node.run(&["broadcast", "total"]).status, 2, "to nobody");
}

#[test]
fn bytes_go_into_a_pipe_as_they_are() {
    let node = Node::start();
    let bytes = b"\x1b]0;title\x07\xff";
    node.control.reply(Reply::Ok(Payload {
        content_type: ContentType::Binary,
        bytes: bytes.as_slice().into(),
    }));
    let data = node.dir.path().to_str().unwrap();
    let args = ["--data", data, "call", "counter/alice", "image"];
    let piped = Process::start(phoenix().args(args)).end();
    assert_eq!(piped.stdout, bytes);
}

#[test]
fn agents_are_operated() {
    let node = Node::start();
    let spawned = node.run(&["spawn", "counter/bob", "{\"from\": 1}", "--on", "node-2"]);
    assert_eq!(spawned.out, "counter/bob lives on node-2\n");
    let moved = node.run(&["migrate", "counter/bob", "2"]);
    assert_eq!(
        moved.out,
        "counter/bob moved from node-1 to node-2: 2KiB shipped, 180 µs of pause\n"
    );
    assert_eq!(
        node.run(&["hibernate", "counter/bob", "--json"]).json(),
        json!({"bytes": 301})
    );
    assert_eq!(
        node.run(&["reset", "counter/bob", "7", "--force"]).out,
        "counter/bob begins anew on node-1: 2 messages that waited for it are dead letters\n"
    );
    let Request::Reset { config, force, .. } = node.control.last() else {
        panic!("{:?}", node.control.last());
    };
    assert_eq!((&config.bytes[..], force), (&b"7"[..], true));
    let reset = node.run(&["reset", "counter/bob", "--json"]).json();
    assert_eq!(reset["incarnation"]["count"], 3);
    assert_eq!(
        node.run(&["stop", "counter/bob"]).out,
        "counter/bob is stopped\n"
    );
    assert_eq!(
        node.run(&["stop", "--this-node"]).out,
        "the node is stopping\n"
    );
    assert_eq!(node.control.last(), Request::Shutdown);
    assert_eq!(
        node.run(&["nodes", "declare-dead", "2", "--yes"]).out,
        "node-2 is dead; its 40 agents begin anew elsewhere when they are next looked for\n"
    );
    let dead = node.run(&["nodes", "declare-dead", "node-2", "--yes", "--json"]);
    assert_eq!(
        dead.json(),
        json!({"node": "node-2", "boot": 5, "agents": 40})
    );
    assert_eq!(
        node.run(&["token", "--valid-for", "5m"]).out,
        "phx1-secret\n"
    );
}

#[test]
fn deploy_joins_the_policys_sources() {
    let node = Node::start();
    let component = node.file("order_book.wasm", b"\0asm");
    let policy = node.file("policy.toml", b"memory-bytes = \"2MiB\"\nmovable = false\n");
    let deployed = node.run(&[
        "deploy",
        component.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
        "--set",
        "idle-after=1s",
        "--json",
    ]);
    assert_eq!(deployed.json()["kind"], "order-book");
    let Request::Deploy { policy, .. } = node.control.last() else {
        panic!("{:?}", node.control.last());
    };
    assert_eq!(
        (policy.memory_bytes, policy.idle_after),
        (2 << 20, Millis(1_000))
    );
    assert!(!policy.movable);
    let sample = node.run(&["deploy", "--sample", "counter", "--kind", "mine"]);
    assert!(sample.out.starts_with("mine is deployed"), "{sample:?}");
}

#[test]
fn samples_and_completions_need_no_node() {
    let samples = run(&["kinds", "--samples", "--json"]).json();
    let names: Vec<_> = samples["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["sample"])
        .collect();
    assert!(names.contains(&&json!("counter")), "{names:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            run(&["completions", shell]).out.contains("hibernate"),
            "{shell}"
        );
    }
}

#[test]
fn a_followed_log_goes_on() {
    let node = Node::start();
    let data = node.dir.path().to_str().unwrap();
    let mut process =
        Process::start(phoenix().args(["--data", data, "logs", "--follow", "--json"]));
    let mut next = || process.out.next().unwrap();
    assert!(next().contains("\"number\":1"));
    assert!(next().contains("\"number\":2"));
    // What comes later is shown too, and nothing twice.
    let later = phoenix_core::control::LogLine {
        number: 3,
        text: "later".into(),
        ..crate::fake::log().remove(0)
    };
    node.control.script(move |request| match request {
        Request::Logs { after: Some(2), .. } => Some(Ok(Response::Logs(vec![later.clone()]))),
        _ => None,
    });
    assert!(next().contains("later"));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let node = Node::start();
    for args in [
        vec!["ps", "--all", "--json"],
        vec!["--help"],
        vec!["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = phoenix();
        command
            .args(["--data", node.dir.path().to_str().unwrap()])
            .args(&args);
        let output = Process::writing_to(&mut command, writer.into()).end();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && error.is_empty(),
            "{args:?}: {error}"
        );
    }
}
