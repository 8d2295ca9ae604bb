//! Every misdeed on a bare host: the turn is undone with the right fault, or
//! survived within its bounds, and the next agent in the slot is none the wiser.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use std::sync::Arc;

use common::{Agent, Gave, Undone, admit, start};
use phoenix_core::{KindPolicy, Millis};
use phoenix_host::{Component, FaultKind, Host};
use phoenix_support::{guest, hostile_table};

/// The deadline of what ends in time by itself, however busy the machine is.
const PATIENT: Millis = Millis(600_000);

/// The deadline of what never ends.
const HASTY: Millis = Millis(100);

fn policy() -> KindPolicy {
    KindPolicy {
        turn_deadline: PATIENT,
        ..KindPolicy::default()
    }
}

fn deadline(misdeed: &str) -> Millis {
    if misdeed.contains("spin") {
        HASTY
    } else {
        PATIENT
    }
}

fn agent(component: &Arc<Component>, config: &str) -> Result<Agent, Undone> {
    let policy = KindPolicy {
        turn_deadline: deadline(config),
        ..policy()
    };
    Agent::begin(component, &policy, config)
}

/// Does it after an honest turn, and shows that the next agent begins anew.
fn done(component: &Arc<Component>, method: &str, payload: &str) -> Result<Gave, Undone> {
    let mut wicked = agent(component, "").unwrap();
    assert_eq!(wicked.answer("add", "5"), "5");
    wicked.policy.turn_deadline = deadline(method);
    let result = wicked.call(method, payload);
    drop(wicked);
    let mut next = agent(component, "").unwrap();
    assert_eq!(next.answer("total", ""), "0");
    result
}

fn fault(component: &Arc<Component>, method: &str) -> FaultKind {
    match done(component, method, "sink/victim") {
        Err(Undone::Fault(fault)) => fault.kind,
        other => panic!("{method}: {other:?}"),
    }
}

#[test]
fn what_ends_a_turn_names_its_fault() {
    let component = admit(guest("hostile"), &policy());
    for (method, kind) in [
        ("spin", FaultKind::Deadline),
        ("spin-hostcalls", FaultKind::Deadline),
        ("sleep", FaultKind::Blocked),
        ("poll", FaultKind::Blocked),
        ("recursion", FaultKind::Trap),
        ("unreachable", FaultKind::Trap),
        ("abort", FaultKind::Trap),
        ("panic", FaultKind::Trap),
        ("exit", FaultKind::Exit),
        ("out-of-bounds", FaultKind::Trap),
        ("lie-2-gib", FaultKind::Trap),
        ("lie-empty", FaultKind::BadAnswer),
        ("lie-version", FaultKind::BadAnswer),
        ("lie-more-turns", FaultKind::BadAnswer),
        ("lie-fewer-turns", FaultKind::BadAnswer),
        ("lie-turns-max", FaultKind::BadAnswer),
    ] {
        assert_eq!(fault(&component, method), kind, "{method}");
    }
}

#[test]
fn memory_grows_to_the_limit_and_not_past_it() {
    let component = admit(guest("hostile"), &policy());
    let within = done(&component, "grow-to-limit", "").unwrap();
    assert_eq!(within.answer, "\"survived\"");
    let past = done(&component, "grow-past-limit", "");
    assert!(matches!(past, Err(Undone::Fault(_))), "{past:?}");
}

#[test]
fn a_flood_of_lines_is_cut_at_its_bound() {
    let component = admit(guest("hostile"), &policy());
    let flood = done(&component, "print-flood", "").unwrap();
    let bytes: usize = flood.log.iter().map(String::len).sum();
    assert!(bytes <= 17 << 10, "{bytes}");
}

#[test]
fn every_lie_is_found_out() {
    let component = admit(guest("hostile"), &policy());
    // What an honest frame may say, if it is no use to anybody.
    let allowed = ["lie-pending", "lie-pending-max"];
    for method in misdeeds(&component, "lie-") {
        let result = done(&component, &method, "");
        assert_eq!(
            result.is_ok(),
            allowed.contains(&&*method),
            "{method}: {result:?}"
        );
    }
}

#[test]
fn no_misdeed_outlives_its_agent() {
    let component = admit(guest("hostile"), &policy());
    for method in misdeeds(&component, "") {
        // Whatever comes of it, `done` looks at the next agent.
        let _ = done(&component, &method, "sink/victim");
    }
}

#[test]
fn a_misdeed_in_init_is_a_fault_of_its_own_agent() {
    let component = admit(guest("hostile"), &policy());
    for (config, kind) in [
        ("\"spin\"", FaultKind::Deadline),
        ("\"panic\"", FaultKind::Trap),
        ("\"sleep\"", FaultKind::Blocked),
    ] {
        match agent(&component, config) {
            Err(Undone::Fault(fault)) => assert_eq!(fault.kind, kind, "{config}"),
            _ => panic!("{config} was survived"),
        }
    }
    assert_eq!(agent(&component, "").unwrap().answer("add", "2"), "2");
}

#[test]
fn too_many_effects_are_refused_and_floods_within_the_limit_stand() {
    let component = admit(guest("hostile"), &policy());
    for method in ["million-effects", "many-effects"] {
        let result = done(&component, method, "");
        assert!(result.is_err(), "{method}: {result:?}");
    }
    let flood = done(&component, "send-flood", "\"sink/victim\"").unwrap();
    assert_eq!(flood.effects.len(), 900);
}

#[test]
fn a_table_grows_to_its_limit_and_not_past_it() {
    let pinned = KindPolicy {
        movable: false,
        ..policy()
    };
    let component = admit(&hostile_table(), &pinned);
    let begin = || Agent::begin(&component, &pinned, "").unwrap();
    let size = |agent: &mut Agent| {
        // As text: the count's bytes are characters, all of them below 128 here.
        let answer = agent.answer("size", "");
        let bytes = answer.as_bytes().first_chunk().unwrap();
        u64::from_le_bytes(*bytes)
    };
    let mut wicked = begin();
    assert_eq!(size(&mut wicked), 1);
    wicked.call("all", "").unwrap();
    assert_eq!(size(&mut wicked), 1, "it was refused");
    wicked.call("limit", "").unwrap();
    assert_eq!(size(&mut wicked), u64::from(pinned.table_elements));
    match wicked.call("past", "") {
        Err(Undone::Fault(fault)) => assert_eq!(fault.kind, FaultKind::Trap),
        other => panic!("{other:?}"),
    }
    drop(wicked);
    assert_eq!(size(&mut begin()), 1, "the next one begins anew");
}

#[test]
fn nothing_of_another_agent_is_left_in_a_slot() {
    // So many at once that as many after them cannot but be in slots of theirs:
    // of 2 × PLACES taken, no more than PLACES + SPARE_SLOTS are different.
    const PLACES: u32 = Host::SPARE_SLOTS + 8;
    let host = start(PLACES, None);
    let component = host.admit(guest("hostile"), &policy()).unwrap();
    for seed in ["1", "2"] {
        let mut left: Vec<Agent> = (0..PLACES)
            .map(|_| agent(&component, "").unwrap())
            .collect();
        for wicked in &mut left {
            assert_eq!(wicked.answer("residue-write", seed), "1048576");
        }
        let found = left[0].answer("residue-seek", seed);
        assert_ne!(found, "0", "it finds its own");
        drop(left);
        let mut fresh: Vec<Agent> = (0..PLACES)
            .map(|_| agent(&component, "").unwrap())
            .collect();
        for next in &mut fresh {
            assert_eq!(next.answer("residue-seek", seed), "0");
        }
    }
}

#[test]
fn the_typed_world_is_bounded_too() {
    let component = admit(guest("hostile-typed"), &policy());
    for method in [
        "log-2-gib",
        "send-2-gib",
        "million-effects",
        "reply-twice",
        "spin",
    ] {
        let result = done(&component, method, "sink/victim");
        assert!(
            matches!(result, Err(Undone::Fault(_))),
            "{method}: {result:?}"
        );
    }
    for config in ["\"spin\"", "\"trap\""] {
        assert!(
            matches!(agent(&component, config), Err(Undone::Fault(_))),
            "{config}"
        );
    }
}

#[test]
fn files_and_sockets_are_errors_and_no_more() {
    for (name, methods) in [
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
            ][..],
        ),
        ("sockets", &["connect", "listen", "datagram", "resolve"][..]),
    ] {
        let component = admit(guest(name), &policy());
        for method in methods {
            let mut agent = agent(&component, "").unwrap();
            match agent.call(method, "") {
                Ok(gave) => {
                    assert!(!gave.answer.starts_with('!'), "{name} {method}: {gave:?}");
                    assert_eq!(agent.answer("alive", ""), "true", "{name} {method}");
                    // Having tried does not tie it to this node.
                    agent.moved(&component).answer("alive", "");
                }
                Err(Undone::Fault(fault)) => {
                    assert!(
                        matches!(fault.kind, FaultKind::Trap | FaultKind::Blocked),
                        "{name} {method}: {fault}"
                    );
                }
                Err(other) => panic!("{name} {method}: {other:?}"),
            }
        }
    }
}

/// The misdeeds the guest knows whose names begin so.
fn misdeeds(component: &Arc<Component>, prefix: &str) -> Vec<String> {
    let known = agent(component, "").unwrap().answer("known", "");
    let known = known.trim_matches(['[', ']']);
    known
        .split(',')
        .map(|name| name.trim_matches('"').to_owned())
        .filter(|name| name.starts_with(prefix))
        .collect()
}
