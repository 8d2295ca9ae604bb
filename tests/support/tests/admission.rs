//! What the zoo holds against what the host admits: each bad component is
//! refused with the name of its item, and the odd ones harm nobody.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use common::{Agent, admit, host};
use phoenix_core::{KindPolicy, Millis};
use phoenix_host::{AdmissionLimits, AdmitError, Host, HostConfig};
use phoenix_support::{adapter, guest, zoo};

fn unmovable() -> KindPolicy {
    KindPolicy {
        movable: false,
        ..KindPolicy::default()
    }
}

#[test]
fn each_bad_component_is_refused_by_the_name_of_its_item() {
    let mut wrong = Vec::new();
    for item in zoo::refused() {
        match host().admit(&item.bytes, &KindPolicy::default()) {
            Ok(_) => wrong.push(format!("{}: admitted", item.name)),
            Err(error) => {
                let message = error.to_string();
                if !message.to_lowercase().contains(&item.says.to_lowercase()) {
                    wrong.push(format!("{}: no `{}` in: {message}", item.name, item.says));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_only_movement_forbids_is_admitted_without_it() {
    let mut wrong = Vec::new();
    for item in zoo::refused() {
        let admitted = host().admit(&item.bytes, &unmovable());
        match (item.unmovable, admitted) {
            (true, Ok(component)) if !component.movable() => {}
            (false, Err(_)) => {}
            (_, Ok(_)) => wrong.push(format!("{}: admitted", item.name)),
            (_, Err(error)) => wrong.push(format!("{}: {error}", item.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_plain_agent_of_the_zoo_counts_and_moves() {
    let component = admit(&zoo::framed(), &KindPolicy::default());
    let mut agent =
        Agent::begin(&component, &KindPolicy::default(), "").unwrap_or_else(|_| panic!());
    // The first was its init.
    assert_eq!(agent.answer("any", ""), "\u{2}\0\0\0\0\0\0\0");
    let mut agent = agent.moved(&component);
    assert_eq!(agent.answer("any", ""), "\u{3}\0\0\0\0\0\0\0");
}

#[test]
fn one_over_the_size_limit() {
    let host = Host::start(HostConfig {
        max_resident: Some(4),
        admission: AdmissionLimits {
            component_bytes: 8 << 20,
            ..AdmissionLimits::default()
        },
        ..HostConfig::default()
    })
    .unwrap();
    let error = host
        .admit(&zoo::oversized(8 << 20), &KindPolicy::default())
        .unwrap_err();
    assert!(matches!(error, AdmitError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("8388608"), "{error}");
}

#[test]
fn those_that_trap_or_never_come_back_when_they_begin() {
    let quick = KindPolicy {
        turn_deadline: Millis(50),
        ..KindPolicy::default()
    };
    for (name, bytes) in [
        ("spin at start", zoo::odd::spin_at_start()),
        ("trap at start", zoo::odd::trap_at_start()),
        ("spin in describe", zoo::odd::spin_in_describe()),
        ("trap in describe", zoo::odd::trap_in_describe()),
    ] {
        let error = host().admit(&bytes, &quick).unwrap_err();
        assert!(
            matches!(error, AdmitError::FirstRun { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn those_that_need_more_than_their_kind_is_given() {
    let bytes = zoo::odd::large_at_start(2_000);
    let error = host().admit(&bytes, &KindPolicy::default()).unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    let bytes = zoo::odd::wide_at_start(50_000);
    let error = host().admit(&bytes, &KindPolicy::default()).unwrap_err();
    assert!(error.to_string().contains("table"), "{error}");
    let bytes = zoo::odd::many_instances(5_000);
    host().admit(&bytes, &KindPolicy::default()).unwrap_err();
}

#[test]
fn table_growth_ends_at_its_limit() {
    let component = admit(&zoo::odd::table_growth(), &unmovable());
    let mut agent = Agent::begin(&component, &unmovable(), "").unwrap_or_else(|_| panic!());
    assert_eq!(agent.answer("any", ""), "\u{2}\0\0\0\0\0\0\0");
}

#[test]
fn every_guest_is_admitted_as_movable() {
    let mut components = vec![("adapter", adapter())];
    for name in [
        "blob",
        "files",
        "flood",
        "hostile",
        "hostile-typed",
        "listener",
        "padded",
        "ping",
        "plain-rust",
        "relay",
        "sequence",
        "sink",
        "sockets",
        "typed",
    ] {
        components.push((name, guest(name)));
    }
    for (name, bytes) in components {
        match host().admit(bytes, &KindPolicy::default()) {
            Ok(component) => assert!(component.movable(), "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}
