//! Every guest of tests/guests builds and exports the world it says it does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use phoenix_build::World;
use phoenix_support::guest;

#[test]
fn every_guest_builds() {
    let expected = [
        ("blob", World::Framed),
        ("diary", World::Framed),
        ("files", World::Typed),
        ("flood", World::Framed),
        ("hostile", World::Framed),
        ("hostile-typed", World::Typed),
        ("listener", World::Framed),
        ("padded", World::Framed),
        ("ping", World::Framed),
        ("plain-rust", World::Typed),
        ("relay", World::Framed),
        ("sequence", World::Framed),
        ("herald", World::Framed),
        ("sink", World::Framed),
        ("sockets", World::Typed),
        ("typed", World::Typed),
    ];
    for (name, world) in expected {
        assert_eq!(World::of(guest(name)), Ok(world), "{name}");
    }
}

#[test]
fn a_guest_is_built_once_a_process() {
    assert!(std::ptr::eq(guest("typed"), guest("typed")));
}

#[test]
#[should_panic(expected = "did you mean `typed`?")]
fn an_unknown_guest_is_a_failure_that_helps() {
    guest("tiped");
}
