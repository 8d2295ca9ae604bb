//! The zoo's animals are what their labels say.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::HashSet;

use phoenix_build::World;
use phoenix_support::{adapter, zoo};
use wasmparser::{Validator, WasmFeatures};

fn valid(bytes: &[u8], features: WasmFeatures) -> Result<(), String> {
    Validator::new_with_features(features)
        .validate_all(bytes)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
fn what_only_movement_forbids_is_otherwise_in_order() {
    for item in zoo::refused().iter().filter(|item| item.unmovable) {
        assert_eq!(
            valid(&item.bytes, WasmFeatures::default()),
            Ok(()),
            "{}",
            item.name
        );
        assert_eq!(World::of(&item.bytes), Ok(World::Framed), "{}", item.name);
    }
}

#[test]
fn proposals_are_the_only_thing_wrong_with_those_that_need_them() {
    for name in [
        "shared memory",
        "atomics",
        "garbage collection",
        "function references",
        "64-bit memory",
        "a page size of its own",
    ] {
        let all = zoo::refused();
        let item = all.iter().find(|item| item.name == name).unwrap();
        assert_eq!(valid(&item.bytes, WasmFeatures::all()), Ok(()), "{name}");
        let bare = WasmFeatures::WASM2 | WasmFeatures::COMPONENT_MODEL;
        assert!(valid(&item.bytes, bare).is_err(), "{name}");
    }
}

#[test]
fn no_two_share_a_name_and_each_says_something() {
    let all = zoo::refused();
    let names: HashSet<_> = all.iter().map(|item| item.name).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.iter().all(|item| !item.says.is_empty()));
}

#[test]
fn the_odd_ones_are_valid_agents() {
    let odd = [
        zoo::framed(),
        zoo::odd::table_growth(),
        zoo::odd::spin_at_start(),
        zoo::odd::trap_at_start(),
        zoo::odd::spin_in_describe(),
        zoo::odd::trap_in_describe(),
        zoo::odd::large_at_start(2_000),
        zoo::odd::wide_at_start(1_000_000),
        zoo::odd::many_instances(500),
        zoo::slow_to_compile(10),
        zoo::oversized(1 << 20),
        zoo::with_export("reserved"),
        zoo::with_core_export("reserved"),
    ];
    for bytes in odd {
        assert_eq!(valid(&bytes, WasmFeatures::default()), Ok(()));
        assert_eq!(World::of(&bytes), Ok(World::Framed));
    }
}

#[test]
fn numbers_are_the_only_thing_wrong_with_those_that_have_too_many() {
    for (name, bytes) in zoo::too_many() {
        assert_eq!(valid(&bytes, WasmFeatures::default()), Ok(()), "{name}");
        assert!(bytes.len() < 8 << 20, "{name}: {} bytes", bytes.len());
    }
}

#[test]
fn oversized_is_just_over_the_limit() {
    for limit in [10, 1 << 16, 3 << 20] {
        let len = zoo::oversized(limit).len();
        assert!(len > limit, "{len} for {limit}");
    }
    assert!(zoo::oversized(1 << 20).len() < (1 << 20) + 100);
}

#[test]
fn the_adapter_makes_a_typed_agent() {
    let component = adapter();
    assert_eq!(valid(component, WasmFeatures::default()), Ok(()));
    assert_eq!(World::of(component), Ok(World::Typed));
}
