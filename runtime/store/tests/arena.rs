//! The arena for sleeping agents against a map of vectors, and what it costs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use std::collections::HashMap;

use phoenix_store::SnapshotArena;
use phoenix_store::arena::Handle;
use proptest::prelude::*;

fn fill(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[derive(Clone, Debug)]
enum Doing {
    Insert(usize),
    Remove(usize),
    /// Removes most, as when many wake at once.
    Wake(u8),
}

fn doing() -> impl Strategy<Value = Doing> {
    let length = prop_oneof![
        8 => 0_usize..1_000,
        3 => 1_000_usize..60_000,
        1 => 60_000_usize..200_000,
    ];
    prop_oneof![
        12 => length.prop_map(Doing::Insert),
        6 => any::<usize>().prop_map(Doing::Remove),
        1 => (1_u8..10).prop_map(Doing::Wake),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn it_is_a_map(doings in proptest::collection::vec(doing(), 1..600)) {
        let mut arena = SnapshotArena::new();
        let mut oracle: HashMap<Handle, Vec<u8>> = HashMap::new();
        let mut order: Vec<Handle> = Vec::new();
        let mut removed: Vec<Handle> = Vec::new();
        for (number, doing) in doings.into_iter().enumerate() {
            let mut remove = |order: &mut Vec<Handle>, index: usize| {
                let handle = order.swap_remove(index);
                assert!(arena.remove(handle));
                assert!(!arena.remove(handle), "it is gone");
                oracle.remove(&handle);
                removed.push(handle);
            };
            match doing {
                Doing::Remove(which) if !order.is_empty() => {
                    let index = which % order.len();
                    remove(&mut order, index);
                }
                Doing::Wake(keep) => {
                    let keep = order.len() / usize::from(keep);
                    while order.len() > keep {
                        let index = (number * 7_919) % order.len();
                        remove(&mut order, index);
                    }
                }
                Doing::Remove(_) => {}
                Doing::Insert(length) => {
                    let bytes = fill(number as u64, length);
                    let handle = arena.insert(&bytes).unwrap();
                    prop_assert!(oracle.insert(handle, bytes).is_none(), "handles differ");
                    order.push(handle);
                }
            }
            prop_assert_eq!(arena.len(), oracle.len());
        }
        for (handle, bytes) in &oracle {
            prop_assert_eq!(arena.get(*handle), Some(bytes.as_slice()));
        }
        for handle in removed.iter().filter(|handle| !oracle.contains_key(handle)) {
            prop_assert_eq!(arena.get(*handle), None);
        }
        let payload: usize = oracle.values().map(Vec::len).sum();
        prop_assert_eq!(arena.payload(), payload as u64);
    }
}

/// What the arena takes beyond its entries' bytes.
fn overhead(arena: &SnapshotArena) -> u64 {
    arena.footprint() - arena.payload()
}

#[test]
fn a_hundred_thousand_cost_two_percent_and_sixteen_bytes_each() {
    let mut arena = SnapshotArena::new();
    let bytes = [7; 300];
    for _ in 0..100_000 {
        arena.insert(&bytes).unwrap();
    }
    let allowed = arena.payload() / 50 + 16 * 100_000;
    assert!(
        overhead(&arena) <= allowed,
        "{} of {allowed}",
        overhead(&arena)
    );
}

#[test]
fn sleeping_and_waking_for_long_does_not_let_it_grow() {
    let mut arena = SnapshotArena::new();
    let mut handles: Vec<Handle> = (0..20_000)
        .map(|i| arena.insert(&fill(i, 300 + (i % 50) as usize)).unwrap())
        .collect();
    for round in 0..400_000_usize {
        let index = (round * 7_919) % handles.len();
        arena.remove(handles[index]);
        handles[index] = arena.insert(&[1; 320][..250 + round % 70]).unwrap();
    }
    let bound = arena.payload() * 3 / 2 + (4 << 20);
    assert!(
        arena.footprint() <= bound,
        "{} of {bound}",
        arena.footprint()
    );
}

#[test]
fn memory_is_given_back_when_agents_wake() {
    let mut arena = SnapshotArena::new();
    let handles: Vec<Handle> = (0..200_000)
        .map(|_| arena.insert(&[1; 300]).unwrap())
        .collect();
    let full = arena.footprint();
    // All but every hundredth wake, in the order they fell asleep.
    for (index, handle) in handles.iter().enumerate() {
        if index % 100 != 0 {
            arena.remove(*handle);
        }
    }
    assert!(
        arena.footprint() < full / 5,
        "{} of {full}",
        arena.footprint()
    );
    for handle in handles.iter().step_by(100) {
        assert_eq!(arena.get(*handle), Some(&[1; 300][..]));
        arena.remove(*handle);
    }
    assert!(arena.is_empty());
    assert_eq!(arena.payload(), 0);
}

#[test]
fn a_handle_does_not_name_what_came_after() {
    let mut arena = SnapshotArena::new();
    let old = arena.insert(b"old").unwrap();
    assert!(arena.remove(old));
    for _ in 0..1_000 {
        let new = arena.insert(b"new").unwrap();
        assert_eq!(arena.get(old), None);
        assert!(!arena.remove(old));
        assert_eq!(arena.get(new), Some(&b"new"[..]));
        arena.remove(new);
    }
}

#[test]
fn a_full_arena_says_so_and_keeps_what_it_has() {
    let mut arena = SnapshotArena::with_limit(1_000);
    let first = arena.insert(&[1; 600]).unwrap();
    let error = arena.insert(&[2; 401]).unwrap_err();
    assert!(error.to_string().contains("600 of 1000"), "{error}");
    arena.insert(&[3; 400]).unwrap();
    arena.remove(first);
    arena.insert(&[4; 600]).unwrap();
    assert_eq!(arena.len(), 2);
}

#[test]
fn an_arena_can_go_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<SnapshotArena>();
}
