//! What is refused, each by the name of its item, and what is admitted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use common::{policy, start, turn};
use phoenix_core::KindPolicy;
use phoenix_host::{AdmissionLimits, AdmitError, FaultKind, HostConfig};
use phoenix_support::{guest, zoo};

#[test]
fn each_refusal_names_its_item_and_says_what_movement_has_to_do_with_it() {
    let host = start(HostConfig::default());
    let pinned = KindPolicy {
        movable: false,
        ..policy()
    };
    let mut wrong = Vec::new();
    for item in zoo::refused() {
        match host.admit(&item.bytes, &policy()) {
            Ok(_) => wrong.push(format!("{}: admitted", item.name)),
            Err(error) => {
                let said = error.to_string().to_lowercase();
                if !said.contains(&item.says.to_lowercase()) {
                    wrong.push(format!("{}: no `{}` in: {said}", item.name, item.says));
                }
            }
        }
        match (item.unmovable, host.admit(&item.bytes, &pinned)) {
            (true, Ok(component)) if !component.movable() => {}
            (false, Err(_)) => {}
            (_, Ok(_)) => wrong.push(format!("{}: admitted as unmovable", item.name)),
            (_, Err(error)) => wrong.push(format!("{}: unmovable: {error}", item.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn size_is_checked_before_anything_else() {
    let host = start(HostConfig {
        admission: AdmissionLimits {
            component_bytes: 10,
            ..AdmissionLimits::default()
        },
        ..HostConfig::default()
    });
    let error = host.admit(&[0; 11], &policy()).unwrap_err();
    assert!(
        matches!(
            error,
            AdmitError::TooLarge {
                found: 11,
                limit: 10
            }
        ),
        "{error}"
    );
}

#[test]
fn numbers_are_checked_before_anything_is_done_with_them() {
    let host = start(HostConfig::default());
    let pinned = KindPolicy {
        movable: false,
        ..policy()
    };
    for (name, bytes) in zoo::too_many() {
        for policy in [policy(), pinned.clone()] {
            let error = host.admit(&bytes, &policy).unwrap_err();
            let AdmitError::TooMany { what, found, limit } = &error else {
                panic!("{name}: {error}");
            };
            assert_eq!(what, name);
            assert!(found > limit, "{error}");
        }
    }
}

#[test]
fn a_component_cut_anywhere_is_refused() {
    let host = start(HostConfig::default());
    let whole = zoo::framed();
    for end in (0..whole.len()).step_by(7) {
        let cut = whole.get(..end).unwrap();
        host.admit(cut, &policy()).unwrap_err();
    }
}

#[test]
fn the_same_component_is_admitted_once() {
    let host = start(HostConfig::default());
    let one = host.admit(&zoo::framed(), &policy()).unwrap();
    let other = host.admit(&zoo::framed(), &policy()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &other));
    assert_eq!(one.digest(), phoenix_core::Digest::of(&zoo::framed()));
}

#[test]
fn a_typed_agent_answers_a_request_once() {
    let host = start(HostConfig::default());
    let component = host.admit(guest("hostile-typed"), &policy()).unwrap();
    assert!(!component.framed());
    let mut agent = component.instantiate(&policy()).unwrap();
    turn(&mut agent, 0, "init", "").unwrap();
    let fault = turn(&mut agent, 1, "reply-twice", "").unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.message.contains("no open request"), "{fault}");
}
