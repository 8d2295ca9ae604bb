//! Whatever an agent does, its own turn is undone and its neighbours answer.
//!
//! How quickly they answer meanwhile is measured by the bench's row
//! `hostile_neighbour`: a test may not depend on how busy the machine is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use e2e::{Client, Cluster, eventually};
use phoenix_core::control::{ControlError, LetterFilter, Request, Response};
use phoenix_core::{Body, KindPolicy, Millis, Payload, Reply};

/// An honest agent on the same worker.
const NEIGHBOUR: &str = "counter/neighbour";
/// Whom floods and forgeries are aimed at.
const VICTIM: &str = "victim/a";
/// Messages its mailbox holds.
const MAILBOX: u32 = 100;
/// Effects of a flood in one turn.
const FLOOD: u64 = 900;

/// One node with one worker, so that everybody is everybody's neighbour.
fn cluster() -> Cluster {
    let cluster = Cluster::tuned(1, 7, |config| {
        config.workers = Some(1);
        config.max_resident = Some(100);
    });
    let policy = KindPolicy {
        turn_deadline: Millis(200),
        max_attempts: 2,
        ..KindPolicy::default()
    };
    let victims = KindPolicy {
        mailbox_messages: MAILBOX,
        ..policy.clone()
    };
    let hostile = phoenix_support::guest("hostile");
    cluster.deploy("hostile", hostile, policy.clone());
    cluster.deploy("victim", hostile, victims);
    for kind in ["hostile-typed", "files", "sockets"] {
        cluster.deploy(kind, phoenix_support::guest(kind), policy.clone());
    }
    let counter = phoenix_support::agent("counter");
    cluster.deploy("counter", counter, KindPolicy::default());
    cluster
}

/// How a misdeed ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It is answered: what it tried came to nothing, or to what anybody may do.
    Answered,
    /// It is undone, and the fault says this.
    Undone(&'static str),
    /// The same, and it does it again and again.
    Repeats,
    /// It says that it waits, is believed, and is given nothing.
    Waits,
}

use End::{Answered, Repeats, Undone, Waits};

/// Every misdeed of `hostile`, what it is given, and how it ends.
const MISDEEDS: &[(&str, &str, End)] = &[
    ("spin", "", Undone("ran longer than its deadline")),
    ("spin-hostcalls", "", Undone("ran longer than its deadline")),
    ("sleep", "", Undone("pollable.block would wait")),
    ("poll", "", Undone("poll.poll would wait")),
    ("read-stdin", "", Answered),
    ("grow-to-limit", "", Answered),
    ("grow-past-limit", "", Undone("unreachable")),
    ("recursion", "", Undone("out of bounds memory access")),
    (
        "unreachable",
        "",
        Undone("`unreachable` instruction executed"),
    ),
    ("abort", "", Undone("abort")),
    ("panic", "", Undone("abort")),
    ("exit", "", Undone("called exit with status 0")),
    ("out-of-bounds", "", Undone("out of bounds memory access")),
    ("leak", "", Answered),
    ("print-flood", "", Answered),
    ("print-escapes", "", Answered),
    (
        "million-effects",
        "",
        Undone("more bytes in one call than it may (answer-bytes)"),
    ),
    (
        "many-effects",
        "",
        Undone("1001 effects in one turn: the kind allows 1000"),
    ),
    ("send-flood", VICTIM, Answered),
    ("self-flood", VICTIM, Repeats),
    ("ask-flood", VICTIM, Answered),
    ("timer-flood", "", Answered),
    ("spawn-flood", "hostile/child", Answered),
    ("log-flood", "", Answered),
    ("log-escapes", "", Answered),
    (
        "large-message",
        VICTIM,
        Undone("1048577 bytes in one message: the kind allows 1048576"),
    ),
    ("forge-source", VICTIM, Answered),
    ("forge-reply", "", Undone("is not open")),
    (
        "forge-reply-twice",
        "",
        Undone("is not open: it was answered before"),
    ),
    (
        "forge-address",
        "",
        Undone("an effect names a bad agent id: ``"),
    ),
    ("forge-ask", VICTIM, Undone("ask 1 is open already")),
    ("forge-deadline", VICTIM, Answered),
    ("lie-empty", "", Undone("does not begin as an answer frame")),
    (
        "lie-version",
        "",
        Undone("does not begin as an answer frame"),
    ),
    (
        "lie-more-turns",
        "",
        Undone("does not begin as an answer frame"),
    ),
    (
        "lie-fewer-turns",
        "",
        Undone("does not begin as an answer frame"),
    ),
    (
        "lie-turns-max",
        "",
        Undone("does not begin as an answer frame"),
    ),
    (
        "lie-short",
        "",
        Undone("answer needs 12 bytes and 11 are left"),
    ),
    (
        "lie-trailing",
        "",
        Undone("1 bytes are left after the last answer"),
    ),
    (
        "lie-record-short",
        "",
        Undone("effects length needs 4 bytes"),
    ),
    ("lie-record-long", "", Undone("answer needs 13 bytes")),
    (
        "lie-record-max",
        "",
        Undone("answer needs 4294967295 bytes"),
    ),
    ("lie-effects-length", "", Undone("effects needs 64 bytes")),
    (
        "lie-effects-length-max",
        "",
        Undone("effects needs 4294967295 bytes"),
    ),
    ("lie-effect-count", "", Undone("effect kind needs 1 bytes")),
    (
        "lie-effect-count-max",
        "",
        Undone("4294967295 effects in one turn"),
    ),
    ("lie-effect-kind", "", Undone("200 is no effect")),
    (
        "lie-effect-length",
        "",
        Undone("effect needs 2147483647 bytes"),
    ),
    (
        "lie-effect-text-length",
        "",
        Undone("text needs 65535 bytes"),
    ),
    ("lie-effect-utf8", "", Undone("text is not UTF-8")),
    ("lie-outcome", "", Undone("9 is no outcome")),
    (
        "lie-outcome-content-type",
        "",
        Undone("77 is no content type"),
    ),
    ("lie-pending", "", Waits),
    ("lie-pending-max", "", Waits),
    ("lie-2-gib", "", Undone("length out of bounds of memory")),
    (
        "lie-large-answer",
        "",
        Undone("more bytes in one call than it may (answer-bytes)"),
    ),
];

/// The same of `hostile-typed`.
const TYPED: &[(&str, &str, End)] = &[
    ("log-2-gib", "", Undone("length out of bounds of memory")),
    ("send-2-gib", "", Undone("length out of bounds of memory")),
    ("log-flood", "", Answered),
    (
        "million-effects",
        "",
        Undone("more than 1000 effects (turn-effects)"),
    ),
    ("many-asks", VICTIM, Answered),
    ("forge-reply", "", Undone("there is no open request")),
    ("reply-twice", "", Undone("there is no open request")),
    ("reply-and-answer", "", Undone("is not open")),
    ("finished", "", Answered),
    ("pending-for-ever", "", Waits),
    ("deferred-for-ever", "", Undone("may not be deferred")),
    ("bad-deadline", VICTIM, Answered),
    ("spin", "", Undone("ran longer than its deadline")),
];

/// Carries out one misdeed beside the neighbour, and says what is not as it should be.
fn commit(client: &Client, kind: &str, misdeed: &str, given: &str, end: End) -> Option<String> {
    let agent = format!("{kind}/{misdeed}");
    assert_eq!(client.call_json::<i64>(&agent, "add", "5"), 5);
    let faults = client.counter("faults");
    let call = client.begin(Request::Call {
        client: phoenix_core::ClientId::new("test").unwrap(),
        agent: agent.parse().unwrap(),
        method: misdeed.into(),
        payload: e2e::json(&format!("{given:?}")),
        timeout: Millis(60_000),
        options: None,
    });
    let before = client.call::<u64>(NEIGHBOUR, "total", ());
    client.call::<u64>(NEIGHBOUR, "add", 1);
    let after = client.call::<u64>(NEIGHBOUR, "total", ());
    assert_eq!(after, before + 1, "the neighbour goes on during {misdeed}");
    if matches!(end, Waits) {
        eventually("it waits", || client.inspect(&agent).unwrap().pending > 0);
        stop(client, &agent);
        return None;
    }
    let ended = call
        .recv_timeout(2 * e2e::PATIENCE)
        .unwrap_or_else(|_| panic!("{misdeed} never ends"))
        .unwrap();
    let faults = client.counter("faults") - faults;
    let dead = dead_letters(client, &agent, misdeed);
    let total = client.call_json::<i64>(&agent, "total", "");
    let right = match (end, &ended) {
        (Answered, Response::Called(Reply::Ok(_))) => faults == 0 && total == 6,
        (Repeats, Response::Called(Reply::Ok(_))) => faults == 0 && total >= 6,
        // Tried twice, undone twice, and then a dead letter.
        (Undone(what), Response::Called(Reply::Bounced(why))) => {
            why.starts_with("trapped") && why.contains(what) && (faults, dead, total) == (2, 1, 5)
        }
        _ => false,
    };
    stop(client, &agent);
    (!right).then(|| {
        let ended = format!("{ended:?}");
        let ended: String = ended.chars().take(300).collect();
        format!("{kind} {misdeed}: {end:?}, but {faults} faults, {dead} dead, a count of {total}, {ended}")
    })
}

/// How often the agent's message for that method became a dead letter, tried twice.
fn dead_letters(client: &Client, agent: &str, method: &str) -> usize {
    let filter = LetterFilter {
        agent: agent.parse().ok(),
        reason: Some("trapped".into()),
        ..LetterFilter::default()
    };
    let letters = client.dead_letters(filter);
    let its = letters.iter().filter(|letter| {
        letter.attempts == 2
            && matches!(&letter.envelope.body, Body::Message { method: its, .. } if &**its == method)
    });
    its.count()
}

fn stop(client: &Client, agent: &str) {
    let agent = agent.parse().unwrap();
    client.request(Request::Stop { agent }).unwrap();
}

#[test]
fn every_misdeed_is_contained() {
    let cluster = cluster();
    let client = cluster.client(1);
    let known: Vec<String> = client.call_json("hostile/list", "known", "");
    let mut wrong: Vec<String> = known
        .iter()
        .filter(|known| MISDEEDS.iter().all(|(misdeed, ..)| misdeed != known))
        .map(|misdeed| format!("nothing is said of {misdeed}"))
        .collect();
    for (kind, misdeeds) in [("hostile", MISDEEDS), ("hostile-typed", TYPED)] {
        for (misdeed, given, end) in misdeeds {
            wrong.extend(commit(&client, kind, misdeed, given, *end));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Neither files nor sockets are there, and whoever tries is told so.
#[test]
fn the_outside_cannot_be_reached() {
    let cluster = cluster();
    let client = cluster.client(1);
    let tries: [(&str, &[&str], &str); 3] = [
        (
            "files",
            &[
                "open",
                "open-relative",
                "create",
                "list",
                "remove",
                "link",
                "stat",
            ],
            "No such file or directory",
        ),
        (
            "sockets",
            &["connect", "listen", "datagram"],
            "Permission denied",
        ),
        // Its library takes the refusal for a broken host, and traps.
        ("sockets", &["resolve"], "trapped"),
    ];
    for (kind, methods, what) in tries {
        let agent = format!("{kind}/a");
        for method in methods {
            let before = client.call::<u64>(NEIGHBOUR, "add", 1);
            let error: String = match client.ask_json(&agent, method, "") {
                // An error of the agent's own.
                Reply::Ok(payload) => serde_json::from_slice(&payload.bytes).unwrap(),
                Reply::Bounced(why) => why.to_string(),
                other => panic!("{kind} {method}: {other:?}"),
            };
            assert!(error.starts_with(what), "{kind} {method}: {error}");
            assert!(client.call_json::<bool>(&agent, "alive", ""));
            assert_eq!(client.call::<u64>(NEIGHBOUR, "add", 1), before + 1);
        }
    }
    assert!(!std::path::Path::new("/tmp/an-agent-was-here").exists());
}

/// What a victim heard, and from whom by the node's word.
fn heard(client: &Client) -> BTreeMap<String, u64> {
    let mut heard = None;
    eventually("the victim has room for a question", || {
        match client.ask_json(VICTIM, "heard", "") {
            Reply::Ok(payload) => heard = serde_json::from_slice(&payload.bytes).ok(),
            Reply::Unavailable(why) => assert_eq!(&*why, "mailbox full"),
            other => panic!("{other:?}"),
        }
        heard.is_some()
    });
    heard.unwrap()
}

#[test]
fn a_flood_is_held_up_at_the_mailbox_and_lost_in_no_part() {
    let cluster = cluster();
    let client = cluster.client(1);
    let sender = "hostile/flood";
    assert!(heard(&client).is_empty());
    let victim = format!("{VICTIM:?}");
    assert!(matches!(
        client.ask_json(sender, "send-flood", &victim),
        Reply::Ok(_)
    ));
    let detail = client.inspect(VICTIM).unwrap();
    assert!(detail.info.mailbox <= u64::from(MAILBOX), "{detail:?}");
    eventually("all of it is heard", || {
        let detail = client.inspect(VICTIM).unwrap();
        assert!(detail.info.mailbox <= u64::from(MAILBOX), "{detail:?}");
        client.call::<u64>(NEIGHBOUR, "add", 1);
        heard(&client) == BTreeMap::from([(sender.to_owned(), FLOOD)])
    });
    let counters = client.inspect(VICTIM).unwrap().counters;
    let refused = counters.iter().find(|(name, _)| name == "refused-full");
    assert!(refused.unwrap().1 > 0, "{counters:?}");
    eventually("every message has its verdict", || {
        client.inspect(sender).unwrap().outbox == 0
    });
}

#[test]
fn an_agent_that_floods_for_ever_leaves_its_neighbours_their_turns() {
    let cluster = cluster();
    let client = cluster.client(1);
    for (agent, method) in [
        ("hostile/floods-others", "self-flood"),
        ("hostile/floods-itself", "self-flood"),
        ("hostile/ticks", "timer-flood"),
    ] {
        let target = if method == "self-flood" && agent.ends_with("itself") {
            agent
        } else {
            VICTIM
        };
        let reply = client.ask_json(agent, method, &format!("{target:?}"));
        assert!(matches!(reply, Reply::Ok(_)), "{agent}: {reply:?}");
    }
    for round in 1..=100 {
        assert_eq!(client.call::<u64>(NEIGHBOUR, "add", 1), round);
    }
    let victim = client.inspect(VICTIM).unwrap();
    assert!(victim.info.mailbox <= u64::from(MAILBOX), "{victim:?}");
    let outbox = KindPolicy::default().outbox_messages;
    for agent in ["hostile/floods-others", "hostile/floods-itself"] {
        let detail = client.inspect(agent).unwrap();
        assert!(detail.outbox <= u64::from(outbox), "{detail:?}");
        assert!(detail.traps == 0, "{detail:?}");
    }
    let timers = client.inspect("hostile/ticks").unwrap().timers;
    assert_eq!(timers, FLOOD);
}

/// Whatever a frame says, the receiver sees who sent it.
#[test]
fn nobody_speaks_in_anothers_name() {
    let cluster = cluster();
    let client = cluster.client(1);
    let forger = "hostile/forger";
    let reply = client.ask_json(forger, "forge-source", &format!("{VICTIM:?}"));
    assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
    eventually("all three are heard", || {
        heard(&client) == BTreeMap::from([(forger.to_owned(), 3)])
    });
    // A reply to an ask that is not the forger's to answer reaches nobody.
    for misdeed in ["forge-reply", "forge-reply-twice", "forge-ask"] {
        let reply = client.ask_json(forger, misdeed, &format!("{VICTIM:?}"));
        assert!(matches!(reply, Reply::Bounced(_)), "{misdeed}: {reply:?}");
    }
    assert_eq!(heard(&client), BTreeMap::from([(forger.to_owned(), 3)]));
}

#[test]
fn logs_are_cut_counted_and_harmless_to_terminals() {
    let cluster = cluster();
    let client = cluster.client(1);
    for misdeed in ["log-escapes", "print-escapes", "log-flood", "print-flood"] {
        let agent = format!("hostile/{misdeed}");
        client.ask_json(&agent, misdeed, "");
    }
    let logs = client.logs();
    for word in ["window", "three", "four", "red"] {
        assert!(logs.iter().any(|line| line.contains(word)), "{word}");
    }
    for line in &logs {
        let bad = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}');
        assert!(!line.chars().any(bad), "{line:?}");
    }
    let bytes: usize = logs.iter().map(String::len).sum();
    let bound = KindPolicy::default().turn_log_bytes as usize;
    assert!(bytes < 12 * bound, "{bytes} bytes of log");
    assert!(client.counter("log-bytes-cut") > 0, "and counted");
}

#[test]
fn a_neighbour_of_endless_loops_goes_on() {
    let cluster = cluster();
    let client = cluster.client(1);
    let loops: Vec<_> = (0..4)
        .map(|n| client.begin_call(&format!("hostile/spin-{n}"), "spin", ()))
        .collect();
    for round in 1..=200 {
        assert_eq!(client.call::<u64>(NEIGHBOUR, "add", 1), round);
    }
    for spinning in loops {
        let ended = spinning.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
        assert!(
            matches!(&ended, Response::Called(Reply::Bounced(why)) if why.contains("deadline")),
            "{ended:?}"
        );
    }
    assert!(client.counter("handovers") > 0, "the queue went to others");
}

/// Each agent looks for what those before it left, and leaves the same.
#[test]
fn nobody_finds_what_another_left_in_a_reused_slot() {
    /// Agents with memory at a time.
    const RESIDENT: u32 = 8;
    /// More agents than the node has slots: it keeps a few more than it has
    /// residents. So the later ones run in slots of earlier ones.
    const AGENTS: u64 = 64;
    let cluster = Cluster::tuned(1, 8, |config| {
        config.workers = Some(1);
        config.max_resident = Some(RESIDENT);
    });
    let component = phoenix_support::guest("hostile");
    cluster.deploy("hostile", component, KindPolicy::default());
    let client = cluster.client(1);
    for round in 0..AGENTS {
        let agent = format!("hostile/tenant-{round}");
        let found: u64 = client.call_json(&agent, "residue-seek", "42");
        assert_eq!(found, 0, "tenant {round} found what another left");
        let words: u64 = client.call_json(&agent, "residue-write", "42");
        assert!(words > 0);
        // It finds what it left itself: it looks where it would be.
        let found: u64 = client.call_json(&agent, "residue-seek", "42");
        assert!(found > words / 8, "{found} of {words} words");
        stop(&client, &agent);
    }
}

#[test]
fn an_endless_init_is_a_dead_letter() {
    let cluster = cluster();
    let client = cluster.client(1);
    for (kind, config) in [
        ("hostile", "spin"),
        ("hostile-typed", "spin"),
        ("hostile-typed", "trap"),
        ("hostile-typed", "fail"),
    ] {
        let agent = format!("{kind}/never-{config}");
        let spawning = client.begin(Request::Spawn {
            agent: agent.parse().unwrap(),
            config: e2e::json(&format!("{config:?}")),
            on: None,
        });
        let before = client.call::<u64>(NEIGHBOUR, "add", 1);
        assert_eq!(client.call::<u64>(NEIGHBOUR, "add", 1), before + 1);
        let error: ControlError = spawning.recv_timeout(e2e::PATIENCE).unwrap().unwrap_err();
        println!("{agent}: {error}");
        assert!(error.to_string().contains("init-failed"), "{error}");
        let again: i64 = client.call_json(&agent, "add", "1");
        assert_eq!(again, 1, "a new life of {agent}");
    }
}

/// A table may grow where its agent cannot move, to its limit.
#[test]
fn a_growing_table_ends_at_its_limit() {
    let cluster = cluster();
    let client = cluster.client(1);
    let table = phoenix_support::zoo::odd::table_growth();
    let refused = client.deploy("table", &table, KindPolicy::default());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("table.grow"), "{refused}");
    let pinned = KindPolicy {
        movable: false,
        ..KindPolicy::default()
    };
    cluster.deploy("table", &table, pinned);
    for round in 1..=3 {
        let reply = client.ask("table/a", "any", ());
        assert!(matches!(reply, Reply::Ok(Payload { .. })), "{reply:?}");
        assert_eq!(client.call::<u64>(NEIGHBOUR, "add", 1), round);
    }
}
