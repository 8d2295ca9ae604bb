//! The arena on disk against a map of vectors; what it takes, and what it makes of damage.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use std::collections::HashMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use phoenix_store::DiskArena;
use phoenix_store::disk_arena::{DiskArenaError, Handle, ReadingError};
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

fn read(arena: &DiskArena, handle: Handle) -> Option<Vec<u8>> {
    Some(arena.reading(handle)?.run().unwrap())
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
        4 => 1_000_usize..100_000,
        2 => 100_000_usize..400_000,
        1 => 400_000_usize..3_000_000,
    ];
    prop_oneof![
        12 => length.prop_map(Doing::Insert),
        6 => any::<usize>().prop_map(Doing::Remove),
        1 => (1_u8..10).prop_map(Doing::Wake),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn it_is_a_map(doings in proptest::collection::vec(doing(), 1..300)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("asleep/0");
        let mut arena = DiskArena::create(&path).unwrap();
        let mut oracle: HashMap<Handle, Vec<u8>> = HashMap::new();
        let mut order: Vec<Handle> = Vec::new();
        let mut removed: Vec<Handle> = Vec::new();
        for (number, doing) in doings.into_iter().enumerate() {
            let mut remove = |order: &mut Vec<Handle>, index: usize| {
                let handle = order.swap_remove(index);
                assert_eq!(read(&arena, handle).as_ref(), oracle.get(&handle), "{handle:?}");
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
            let payload: u64 = oracle.values().map(|bytes| bytes.len() as u64).sum();
            prop_assert_eq!(arena.payload(), payload);
        }
        for (handle, bytes) in &oracle {
            let found = read(&arena, *handle);
            prop_assert_eq!(found.as_ref(), Some(bytes));
        }
        for handle in removed {
            prop_assert!(arena.reading(handle).is_none(), "{:?} was removed", handle);
        }
        for handle in order {
            arena.remove(handle);
        }
        prop_assert_eq!(arena.bytes(), 0);
        prop_assert_eq!(path.metadata().unwrap().len(), 0, "an empty arena has an empty file");
    }
}

#[test]
fn what_is_waste_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0");
    let mut arena = DiskArena::create(&path).unwrap();
    let handles: Vec<Handle> = (0..60_000)
        .map(|number| arena.insert(&fill(number, 500)).unwrap())
        .collect();
    let all = arena.bytes();
    assert_eq!(
        all,
        60_000 * 528,
        "16 bytes and the padding are all it costs"
    );
    // Every tenth stays, spread over all segments.
    for (number, handle) in handles.iter().enumerate() {
        if number % 10 != 0 {
            arena.remove(*handle);
        }
    }
    let live = 6_000 * 528;
    assert!(
        arena.bytes() <= live * 4 / 3 + (3 << 20),
        "{} bytes",
        arena.bytes()
    );
    let on_disk = path.metadata().unwrap().blocks() * 512;
    assert!(
        on_disk <= live * 4 / 3 + (5 << 20),
        "{on_disk} bytes of disk"
    );
    for (number, handle) in handles.iter().enumerate().step_by(10) {
        assert_eq!(
            read(&arena, *handle),
            Some(fill(number as u64, 500)),
            "{number}"
        );
    }
    assert!(arena.footprint() < 60_000 * 14, "{}", arena.footprint());
}

#[test]
fn every_byte_of_an_entry_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0");
    let mut arena = DiskArena::create(&path).unwrap();
    arena.insert(b"the one before").unwrap();
    let handle = arena.insert(&fill(1, 300)).unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    for offset in 32..32 + 16 + 300 {
        for bit in [0, 7] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            file.write_all_at(&[byte[0] ^ 1 << bit], offset).unwrap();
            let found = arena.reading(handle).unwrap().run();
            assert!(
                matches!(found, Err(ReadingError::Damaged { at: 32, .. })),
                "byte {offset}: {found:?}"
            );
            file.write_all_at(&byte, offset).unwrap();
        }
    }
    assert_eq!(read(&arena, handle), Some(fill(1, 300)));
}

#[test]
fn a_read_that_was_overtaken_is_no_other_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut arena = DiskArena::create(&dir.path().join("0")).unwrap();
    let handle = arena.insert(&[1; 64]).unwrap();
    let reading = arena.reading(handle).unwrap();
    arena.remove(handle);
    let next = arena.insert(&[1; 64]).unwrap();
    assert_ne!(handle, next, "the slot is used again in another turn");
    let again = arena.reading(next).unwrap();
    assert!(!reading.is_same(&again));
    assert!(matches!(reading.run(), Err(ReadingError::Damaged { .. })));
    assert_eq!(again.run().unwrap(), [1; 64]);
}

#[test]
fn it_is_bounded_and_what_is_refused_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0");
    let mut arena = DiskArena::with_limit(&path, 4_096).unwrap();
    let first = arena.insert(&[1; 2_000]).unwrap();
    arena.insert(&[2; 2_000]).unwrap();
    let refused = arena.insert(&[3; 100]).unwrap_err();
    assert!(
        matches!(
            refused,
            DiskArenaError::Full {
                held: 4_032,
                limit: 4_096,
                wanted: 100,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(arena.len(), 2);
    assert_eq!(read(&arena, first), Some(vec![1; 2_000]));
    drop(arena);
    assert!(!path.exists(), "nobody can use it any more");
}

#[test]
fn what_an_earlier_run_left_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0");
    std::fs::write(&path, vec![7; 3 << 20]).unwrap();
    let mut arena = DiskArena::create(&path).unwrap();
    assert_eq!(path.metadata().unwrap().len(), 0);
    let handle = arena.insert(b"new").unwrap();
    assert_eq!(read(&arena, handle), Some(b"new".to_vec()));
}
