//! What a snapshot holds besides memory, and what keeps one from being taken.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod common;

use common::{NO_HASH, Wat, admit, image, policy, same, start, turn};
use std::sync::atomic::{AtomicBool, Ordering};

use phoenix_core::{KindPolicy, Millis};
use phoenix_host::{FaultKind, Host, HostConfig, InstanceError, RestoreError, SnapshotRefused};
use phoenix_support::{agent, guest, zoo};

/// Twenty globals of all four types, each changed by every turn and kept in
/// memory too, so that a wrong one shows.
fn globals() -> Vec<u8> {
    let mut items = String::new();
    let mut body = String::new();
    for n in 0..20 {
        let ty = ["i32", "i64", "f32", "f64"][n % 4];
        items.push_str(&format!(
            "(global $g{n} (mut {ty}) ({ty}.const {})) ",
            n as i64 - 10
        ));
        let turn = match ty {
            "i32" => "(local.get $turn)",
            "i64" => "(i64.extend_i32_u (local.get $turn))",
            "f32" => "(f32.convert_i32_u (local.get $turn))",
            _ => "(f64.convert_i32_u (local.get $turn))",
        };
        body.push_str(&format!(
            "(global.set $g{n} ({ty}.mul (global.get $g{n}) ({ty}.add {turn} ({ty}.const -3)))) \
             ({ty}.store (i32.const {}) (global.get $g{n})) ",
            1024 + n * 8
        ));
    }
    // Globals stand after the memory and its data in the text, which may be in any order.
    Wat {
        items,
        body,
        ..Wat::default()
    }
    .component()
}

#[test]
fn globals_of_every_type_come_back() {
    let host = start(HostConfig::default());
    let component = admit(&host, &globals());
    let mut original = component.instantiate(&policy()).unwrap();
    for number in 0..5 {
        turn(&mut original, number, "any", "").unwrap();
    }
    let image = image(&mut original);
    let mut restored = component.restore(&policy(), &image).unwrap();
    assert_eq!(original.memory_hash(), restored.memory_hash());
    let turns = (5..20).map(|number| (number, "any".to_owned()));
    same(&mut original, &mut restored, turns);
}

#[test]
fn dead_stack_is_left_out_and_zeroed_here_too() {
    let scribble = "
        ;; Below the stack pointer, where the next call would lie.
        (i32.store (i32.sub (global.get $stack) (i32.const 4096)) (local.get $turn))
        (i32.store (i32.const 100000)
            (i32.add (i32.load (i32.const 100000)) (i32.load (i32.const 57344))))";
    let stack = |stack| {
        Wat {
            body: scribble.to_owned(),
            stack,
            ..Wat::default()
        }
        .component()
    };
    let host = start(HostConfig::default());
    let pages = |bytes: &[u8]| {
        let component = admit(&host, bytes);
        let mut original = component.instantiate(&policy()).unwrap();
        turn(&mut original, 3, "any", "").unwrap();
        let image = image(&mut original);
        let mut restored = component.restore(&policy(), &image).unwrap();
        // The guest reads what was there: both must see the same.
        let turns = (4..10).map(|number| (number, "any".to_owned()));
        same(&mut original, &mut restored, turns);
        let limits = phoenix_host::image::ImageLimits {
            memory_bytes: 1 << 20,
            globals: 100,
        };
        let image = phoenix_host::image::decode(&image, &limits).unwrap();
        image
            .runs
            .iter()
            .map(|(first, _)| *first)
            .collect::<Vec<_>>()
    };
    assert!(
        pages(&stack(false)).contains(&15),
        "nobody said it was dead"
    );
    assert!(!pages(&stack(true)).contains(&15));
}

const CLOCK: &str = r#"
    (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $outer))
        (export "pollable" (type $inner (eq $outer)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $inner))))))
    (core func $wait (canon lower (func $clock "subscribe-duration")))
    (core func $drop (canon resource.drop $pollable))
    (core instance $host (export "wait" (func $wait)) (export "drop" (func $drop)))"#;

const WAITS: &str = r#"
    (import "host" "wait" (func $wait (param i64) (result i32)))
    (import "host" "drop" (func $drop (param i32)))"#;

#[test]
fn a_handle_held_over_the_end_of_a_turn_is_named() {
    let bytes = Wat {
        before: CLOCK,
        with: "(with \"host\" (instance $host))",
        items: WAITS.to_owned(),
        body: "
            (if (i32.eq (local.get $turn) (i32.const 1))
                (then (i32.store (i32.const 1024) (call $wait (i64.const 1)))))
            (if (i32.eq (local.get $turn) (i32.const 2))
                (then (call $drop (i32.load (i32.const 1024)))))"
            .to_owned(),
        ..Wat::default()
    }
    .component();
    let host = start(HostConfig::default());
    let component = admit(&host, &bytes);
    let mut instance = component.instantiate(&policy()).unwrap();
    turn(&mut instance, 1, "any", "").unwrap();
    let refused = instance.snapshot(&mut Vec::new()).unwrap_err();
    assert!(matches!(refused, SnapshotRefused::Held(_)));
    assert!(refused.to_string().contains("wasi:io/poll"), "{refused}");
    assert_eq!(instance.unmovable(), Some(refused.to_string()));
    turn(&mut instance, 2, "any", "").unwrap();
    assert_eq!(instance.unmovable(), None);
    image(&mut instance);
}

/// Handle numbers come back in an order that depends on which was dropped last,
/// and this guest keeps them.
#[test]
fn handle_numbers_do_not_tell_the_restored_from_the_original() {
    let bytes = Wat {
        before: CLOCK,
        with: "(with \"host\" (instance $host))",
        items: WAITS.to_owned(),
        body: "
            (local.set $one (call $wait (i64.const 1)))
            (local.set $two (call $wait (i64.const 1)))
            (i32.store (i32.const 1024) (local.get $one))
            (i32.store (i32.const 1028) (local.get $two))
            (call $drop (local.get $one))
            (call $drop (local.get $two))"
            .to_owned(),
        ..Wat::default()
    }
    .component();
    let host = start(HostConfig::default());
    let component = admit(&host, &bytes);
    let mut original = component.instantiate(&policy()).unwrap();
    for number in 0..3 {
        turn(&mut original, number, "any", "").unwrap();
    }
    let image = image(&mut original);
    let mut restored = component.restore(&policy(), &image).unwrap();
    let turns = (3..10).map(|number| (number, "any".to_owned()));
    same(&mut original, &mut restored, turns);
}

/// Prints a line from its start function.
fn greeter() -> Vec<u8> {
    zoo::Framed {
        before: r#"
            (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
            (alias export $errors "error" (type $error))
            (import "wasi:io/streams@0.2.0" (instance $streams
                (alias outer 1 $error (type $outer))
                (export "error" (type $error (eq $outer)))
                (export "output-stream" (type $out (sub resource)))
                (type $failure (variant
                    (case "last-operation-failed" (own $error)) (case "closed")))
                (export "stream-error" (type $stream-error (eq $failure)))
                (export "[method]output-stream.blocking-write-and-flush"
                    (func (param "self" (borrow $out)) (param "contents" (list u8))
                        (result (result (error $stream-error)))))))
            (alias export $streams "output-stream" (type $stream))
            (import "wasi:cli/stdout@0.2.0" (instance $stdout
                (alias outer 1 $stream (type $outer))
                (export "output-stream" (type $inner (eq $outer)))
                (export "get-stdout" (func (result (own $inner))))))
            (core module $lent (memory (export "memory") 1) (data (i32.const 512) "it begins\n"))
            (core instance $lent (instantiate $lent))
            (core func $get (canon lower (func $stdout "get-stdout")))
            (core func $print (canon lower
                (func $streams "[method]output-stream.blocking-write-and-flush")
                (memory (core memory $lent "memory"))))
            (core instance $host (export "get" (func $get)) (export "print" (func $print)))"#,
        memory: r#"
            (import "lent" "memory" (memory $memory 1))
            (import "host" "get" (func $get (result i32)))
            (import "host" "print" (func $print (param i32 i32 i32 i32)))
            (export "memory" (memory $memory))"#,
        module: "(func $greet
            (call $print (call $get) (i32.const 512) (i32.const 10) (i32.const 600)))
            (start $greet)",
        with: r#"(with "lent" (instance $lent)) (with "host" (instance $host))"#,
        ..zoo::Framed::default()
    }
    .component()
}

#[test]
fn what_is_printed_at_the_beginning_is_said_once() {
    let host = start(HostConfig::default());
    let component = admit(&host, &greeter());
    let lines = |answer: phoenix_host::Answer| {
        let texts = answer.log.into_iter().map(|line| line.text);
        texts.collect::<Vec<_>>()
    };
    let mut original = component.instantiate(&policy()).unwrap();
    let first = turn(&mut original, 0, "any", "").unwrap();
    assert_eq!(lines(first), ["it begins"]);
    for number in 1..3 {
        let image = image(&mut original);
        let mut woken = component.restore(&policy(), &image).unwrap();
        let next = turn(&mut woken, number, "any", "").unwrap();
        assert_eq!(lines(next), Vec::<String>::new());
        original = woken;
    }
}

/// Being made anew beside itself fails, for time does; the image is not there then.
#[test]
fn a_snapshot_that_is_refused_late_leaves_nothing_behind() {
    let (items, with) = (WAITS.to_owned(), "(with \"host\" (instance $host))");
    let bytes = Wat {
        before: CLOCK,
        with,
        items: items + slow_start(),
        body: "
            (local.set $one (call $wait (i64.const 1)))
            (call $drop (call $wait (i64.const 1)))
            (call $drop (local.get $one))"
            .to_owned(),
        ..Wat::default()
    }
    .component();
    let host = Host::start(HostConfig {
        max_resident: Some(2),
        ..HostConfig::default()
    })
    .unwrap();
    let patient = KindPolicy {
        turn_deadline: Millis(3_600_000),
        ..policy()
    };
    let component = host.admit(&bytes, &patient).unwrap();
    let mut instance = component.instantiate(&patient).unwrap();
    turn(&mut instance, 0, "any", "").unwrap();
    let mut out = vec![1, 2, 3];
    let refused = hurried(&host, || instance.snapshot(&mut out)).unwrap_err();
    assert_eq!((refused, out), (SnapshotRefused::Full, vec![1, 2, 3]));
    // It is as it was.
    turn(&mut instance, 1, "any", "").unwrap();
    image(&mut instance);
}

#[test]
fn an_image_of_another_component_is_refused() {
    let host = start(HostConfig::default());
    let one = admit(&host, agent("counter"));
    let other = admit(&host, guest("plain-rust"));
    let image = image(&mut one.instantiate(&policy()).unwrap());
    let error = other.restore(&policy(), &image).unwrap_err();
    assert!(
        matches!(error, RestoreError::Base { .. } | RestoreError::Image(_)),
        "{error}"
    );
}

#[test]
fn an_image_with_more_memory_than_the_policy_gives_is_refused() {
    let bytes = Wat {
        body: "(drop (memory.grow (i32.const 100)))".to_owned(),
        ..Wat::default()
    }
    .component();
    let host = start(HostConfig::default());
    let component = admit(&host, &bytes);
    let mut instance = component.instantiate(&policy()).unwrap();
    turn(&mut instance, 0, "any", "").unwrap();
    assert_eq!(instance.memory_bytes(), 108 << 16);
    let image = image(&mut instance);
    let small = KindPolicy {
        memory_bytes: 1 << 20,
        ..policy()
    };
    let error = component.restore(&small, &image).unwrap_err();
    assert!(matches!(error, RestoreError::Memory { .. }), "{error}");
    // Where the policy does not give it, growing fails as Wasm has it, and the agent goes on.
    let mut bounded = component.instantiate(&small).unwrap();
    turn(&mut bounded, 0, "any", "").unwrap();
    assert_eq!(bounded.memory_bytes(), 8 << 16);
}

#[test]
fn an_unmovable_kind_says_why() {
    let host = start(HostConfig::default());
    let pinned = KindPolicy {
        movable: false,
        ..policy()
    };
    let component = host.admit(agent("counter"), &pinned).unwrap();
    assert!(!component.movable());
    let mut instance = component.instantiate(&pinned).unwrap();
    turn(&mut instance, 0, "add", "1").unwrap();
    let mut out = vec![1, 2, 3];
    let refused = instance.snapshot(&mut out).unwrap_err();
    assert!(
        matches!(refused, SnapshotRefused::Unmovable(_)),
        "{refused}"
    );
    assert_eq!((out.len(), instance.memory_hash()), (3, NO_HASH));
}

#[test]
fn an_instance_that_failed_can_only_be_dropped() {
    let bytes = Wat {
        body: "(unreachable)".to_owned(),
        ..Wat::default()
    };
    // It must pass its description first.
    let bytes = Wat {
        body: format!("(if (local.get $turn) (then {}))", bytes.body),
        ..bytes
    }
    .component();
    let host = start(HostConfig::default());
    let component = admit(&host, &bytes);
    let mut instance = component.instantiate(&policy()).unwrap();
    let fault = turn(&mut instance, 1, "any", "").unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(!fault.backtrace.is_empty());
    let again = turn(&mut instance, 0, "any", "").unwrap_err();
    assert_eq!(again.kind, FaultKind::Host);
    assert_eq!(
        instance.snapshot(&mut Vec::new()),
        Err(SnapshotRefused::Failed)
    );
}

/// A start function that takes a while.
fn slow_start() -> &'static str {
    "(func $start (local $at i32)
        (loop $next
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 200000000)))))
        (start $start)"
}

fn slow_to_begin() -> Vec<u8> {
    Wat {
        items: slow_start().to_owned(),
        ..Wat::default()
    }
    .component()
}

/// Does it while the host's time flies.
fn hurried<T>(host: &Host, what: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                host.tick();
            }
        });
        let result = what();
        done.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_short_deadline_does_not_keep_an_agent_from_coming_back() {
    let host = start(HostConfig::default());
    let patient = KindPolicy {
        turn_deadline: Millis(3_600_000),
        ..policy()
    };
    let component = host.admit(&slow_to_begin(), &patient).unwrap();
    let hasty = KindPolicy {
        turn_deadline: Millis(1),
        ..policy()
    };
    let mut instance = component.instantiate(&hasty).unwrap();
    let image = image(&mut instance);
    component.restore(&hasty, &image).unwrap();
}

#[test]
fn a_beginning_that_takes_for_ever_is_to_be_tried_again() {
    // Its time is this test's.
    let host = Host::start(HostConfig {
        max_resident: Some(2),
        ..HostConfig::default()
    })
    .unwrap();
    let patient = KindPolicy {
        turn_deadline: Millis(3_600_000),
        ..policy()
    };
    let component = host.admit(&slow_to_begin(), &patient).unwrap();
    let image = image(&mut component.instantiate(&patient).unwrap());
    let begun = hurried(&host, || component.instantiate(&patient).map(drop));
    assert!(
        matches!(begun, Err(InstanceError::Late { .. })),
        "{begun:?}"
    );
    let restored = hurried(&host, || component.restore(&patient, &image).map(drop));
    assert!(
        matches!(restored, Err(RestoreError::Late { .. })),
        "{restored:?}"
    );
    component.restore(&patient, &image).unwrap();
}

#[test]
fn a_full_host_says_so_until_a_place_is_free() {
    let host = start(HostConfig {
        max_resident: Some(2),
        ..HostConfig::default()
    });
    let component = admit(&host, agent("counter"));
    let places: Vec<_> = (0..2)
        .map(|_| component.instantiate(&policy()).unwrap())
        .collect();
    let error = component.instantiate(&policy()).unwrap_err();
    assert!(error.to_string().contains("(2)"), "{error}");
    drop(places);
    component.instantiate(&policy()).unwrap();
}

#[test]
fn a_counters_image_is_small() {
    let host = start(HostConfig::default());
    let component = admit(&host, agent("counter"));
    let mut instance = component.instantiate(&policy()).unwrap();
    for number in 0..10 {
        turn(&mut instance, number, "add", "1").unwrap();
    }
    let length = image(&mut instance).len();
    assert!(length <= 300, "{length} bytes");
}
