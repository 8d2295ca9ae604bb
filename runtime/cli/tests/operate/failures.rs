//! What goes wrong, how it is told, and with which exit status.

use phoenix_core::Reply;
use phoenix_core::control::{ControlError, Request};

use crate::harness::{Node, ended, run};
use crate::process::{Process, phoenix};

#[test]
fn no_node_is_three() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let ended = run(&["--data", data, "ps", "--json"]);
    assert_eq!(ended.status, 3);
    let error = ended.error();
    assert_eq!(error["code"], "unreachable");
    assert!(
        error["suggestion"]
            .as_str()
            .unwrap()
            .contains("is the node running?")
    );

    let mut node = Node::start();
    let address = std::fs::read_to_string(node.dir.path().join("api.address")).unwrap();
    node.stop();
    let ended = node.run(&["--node-api", address.trim(), "ps"]);
    assert_eq!(ended.status, 3, "{ended:?}");
    assert!(ended.err.contains(address.trim()), "{ended:?}");
}

#[test]
fn the_nodes_refusals_are_one_and_the_unknown_is_four() {
    let node = Node::start();
    for (error, status, code) in [
        (ControlError::NotFound("n".into()), 1, "not-found"),
        (ControlError::Conflict("c".into()), 1, "conflict"),
        (ControlError::Unavailable("u".into()), 1, "unavailable"),
        (ControlError::Unknown("k".into()), 4, "unknown"),
    ] {
        node.control.fail(error);
        let ended = node.run(&["inspect", "counter/alice", "--json"]);
        assert_eq!(
            (ended.status, ended.error()["code"].as_str()),
            (status, Some(code))
        );
    }
    node.control.reply(Reply::Timeout);
    assert_eq!(node.run(&["call", "counter/alice", "add", "1"]).status, 4);
}

#[test]
fn a_directory_whose_name_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    for verb in ["ps", "node"] {
        let mut command = phoenix();
        command.args(["--json", verb, "--data"]).arg(name);
        let ended = ended(Process::start(&mut command).end());
        assert_eq!(ended.status, 2, "{ended:?}");
        let error = ended.error();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("--data") && message.contains("UTF-8"));
    }
}

#[test]
fn slips_are_recognised() {
    let node = Node::start();
    node.control.script(|request| match request {
        Request::Call { method, .. } if &**method == "ad" => Some(Ok(
            phoenix_core::control::Response::Called(crate::fake::failure("unknown-method", "no")),
        )),
        Request::Call { .. } => Some(Ok(phoenix_core::control::Response::Called(Reply::Bounced(
            "no-such-kind".into(),
        )))),
        Request::Migrate { .. } | Request::DeclareDead { .. } => {
            Some(Err(ControlError::NotFound("no node-9".into())))
        }
        _ => None,
    });
    for (args, help) in [
        (
            vec!["call", "conter/alice", "add"],
            "did you mean `counter`?",
        ),
        (vec!["call", "orders/1", "add"], "the kinds are counter"),
        (vec!["call", "counter/alice", "ad"], "did you mean `add`?"),
        (
            vec!["migrate", "counter/alice", "9"],
            "the nodes are node-1, node-2",
        ),
        (
            vec!["nodes", "declare-dead", "9", "--yes"],
            "the nodes are node-1, node-2",
        ),
        (
            vec!["deploy", "--sample", "conter"],
            "did you mean `counter`?",
        ),
        (
            vec!["deploy", "--sample", "counter", "--set", "idle-aftr=1s"],
            "did you mean `idle-after`?",
        ),
        (
            vec!["deadletters", "show", "1.3.8"],
            "the oldest letter of node-1 is node-1.3.9",
        ),
        (
            vec!["deadletters", "replay", "1.3.8"],
            "the oldest letter of node-1 is node-1.3.9",
        ),
    ] {
        let ended = node.run(&args);
        assert!(ended.err.contains(help), "{args:?}: {}", ended.err);
    }
}

#[test]
fn wrong_arguments_are_two_and_ask_nobody() {
    let node = Node::start();
    let text = node.file("policy.toml", b"memory-bytes = \"2MiB\"\nmovabel = false\n");
    let broken = node.file("broken.toml", b"a = = 1\n");
    let policy = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    for (args, told) in [
        (vec!["call", "nobody", "m"], "kind/key"),
        (vec!["call", "a/b", "m", "{x"], "begins like JSON"),
        (
            vec!["call", "a/b", "m", "@/nothing/there"],
            "/nothing/there",
        ),
        (vec!["call", "a/b", "m", "--timeout", "5"], "500ms"),
        (vec!["migrate", "a/b", "two"], "node-2"),
        (vec!["deploy", "/nothing/there.wasm"], "/nothing/there.wasm"),
        (
            vec!["deploy", "--sample", "counter", "--set", "idle-after=soon"],
            "idle-after",
        ),
        (
            vec!["deploy", "--sample", "counter", "--set", "turn-deadline=0"],
            "turn-deadline",
        ),
        (
            vec!["deploy", "--sample", "counter", "--policy", &policy(&text)],
            "policy.toml:2",
        ),
        (
            vec![
                "deploy",
                "--sample",
                "counter",
                "--policy",
                &policy(&broken),
            ],
            "broken.toml:1",
        ),
        (vec!["ps", "--limit", "0"], "--limit"),
        (vec!["deadletters", "show", "9"], "node-2.5.17"),
        (vec!["deadletters", "list", "--reason", "traped"], "trapped"),
        (vec!["deadletters", "replay"], "--all"),
        (vec!["deadletters", "replay", "1.3.9", "--all"], "--all"),
        (vec!["deadletters", "purge", "--yes"], "--all"),
        (vec!["deadletters", "purge", "--all"], "--yes"),
        (vec!["nodes", "declare-dead"], "<NODE>"),
        (vec!["nodes", "declare-dead", "2"], "--yes"),
        (vec!["pss"], "ps"),
        (vec!["deploy"], "FILE"),
        (vec!["node", "--node-api", "127.0.0.1:1"], "--api"),
        (vec!["node", "--set", "worker=1"], "did you mean `workers`?"),
    ] {
        let ended = node.run(&args);
        assert_eq!(ended.status, 2, "{args:?}: {ended:?}");
        assert!(ended.err.contains(told), "{args:?}: {}", ended.err);
    }
    assert_eq!(node.control.count(), 0);
    let json = node.run(&["pss", "--json"]);
    assert_eq!(
        (json.status, json.error()["code"].as_str()),
        (2, Some("usage"))
    );
}

/// What a person sees who has made a mistake in `phoenix.toml`.
#[test]
fn mistakes_in_the_configuration_are_shown_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("phoenix.toml");
    for (name, text) in [
        ("unknown-key", "log = \"info\"\nworker = 4\n"),
        ("wrong-value", "# threads\nworkers = \"many\"\n"),
        ("wrong-type", "[listen]\nport = 1\n"),
        ("no-toml", "workers = = 4\n"),
        ("secret", "join = \"my token\"\nworkers = 4\n"),
        ("near-a-secret", "join = \"token\"\nworkers = 0\n"),
        ("no-advertise", "listen = \"0.0.0.0:7401\"\n"),
        ("out-of-range", "api-max-body = \"2GiB\"\n"),
        ("too-little-room", "api-max-buffered = \"32MiB\"\n"),
    ] {
        std::fs::write(&path, text).unwrap();
        // A path of any length would be wrapped at any place.
        let mut command = phoenix();
        command.arg("node").current_dir(dir.path());
        let ended = ended(Process::start(&mut command).end());
        assert_eq!(ended.status, 2, "{ended:?}");
        insta::assert_snapshot!(name, ended.err.replace("\n  | ", " "));
    }
}
