//! Turns on the thread of the transport that brought their message: they are what they
//! would be on the worker's own, and none keeps that thread for long.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use e2e::{Client, Cluster, eventually};
use phoenix_core::KindPolicy;
use phoenix_support::guest;
use serde::Deserialize;

/// Steps that take any machine longer than a visit may last.
const MANY: u64 = 200_000_000;
/// Messages of a round, one by one.
const ROUND: u64 = 20;
/// Rounds in which a visit has to be undone. One is, but for the message that comes
/// while the worker is awake for another reason.
const ROUNDS: u64 = 20;

/// What `laggard` says it heard; see `tests/guests/laggard`.
#[derive(Debug, Deserialize)]
struct Report {
    heard: u64,
    last: BTreeMap<String, u64>,
    missing: u64,
    repeated: u64,
}

/// Lets `laggard/near` send one message to `laggard/far`, and waits until it is heard.
fn tell(near: &Client, far: &Client, so_far: u64) {
    near.call::<()>("laggard/near", "burst", ("laggard/far", 1, 0));
    eventually("it is heard", || heard(far).heard == so_far + 1);
}

fn heard(far: &Client) -> Report {
    far.call("laggard/far", "report", ())
}

#[test]
fn a_turn_that_takes_too_long_there_is_undone_and_done_once() {
    let cluster = Cluster::new(2, 1);
    let policy = KindPolicy {
        // However slow the machine is, the turn itself is within its bound.
        turn_deadline: phoenix_core::Millis(60_000),
        ..KindPolicy::default()
    };
    cluster.deploy("laggard", guest("laggard"), policy);
    let (near, far) = (cluster.client(1), cluster.client(2));
    near.spawn("laggard/near", 1);
    near.spawn("laggard/far", 2);
    let mut told = 0;
    for _ in 0..ROUNDS {
        far.call::<()>("laggard/far", "slow", 0);
        for _ in 0..ROUND {
            tell(&near, &far, told);
            told += 1;
        }
        far.call::<()>("laggard/far", "slow", MANY);
        tell(&near, &far, told);
        told += 1;
        if far.counter("brief_batches_undone") > 0 {
            break;
        }
    }
    assert!(far.counter("brief_batches_undone") > 0, "none was too long");
    assert!(far.counter("brief_batches") > 0, "none was brief");
    let report = heard(&far);
    assert_eq!((report.missing, report.repeated), (0, 0), "{report:?}");
    assert_eq!((report.heard, report.last["laggard/near"]), (told, told));
    assert_eq!(far.counter("faults"), 0, "what is undone is no fault");
}
