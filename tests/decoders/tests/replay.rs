//! The fuzz targets' seeds, and seeded damage to them, through the targets' own
//! decoders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod mutate;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use decoders::TARGETS;
use mutate::Mutator;

/// Damaged inputs a target.
const CASES: u64 = 20_000;

/// Fewest seeds a target has, and the longest, bytes: they are read in every test run.
const LEAST: usize = 5;
const LONGEST: u64 = 16 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// What cargo-fuzz adds to a corpus has a name of 40 hexadecimal digits.
fn is_find(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The target's seeds by name, in order.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = fuzz().join("corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry))
        .filter(|(name, _)| !is_find(name))
        .map(|(name, entry)| {
            assert!(
                entry.metadata().unwrap().len() <= LONGEST,
                "{target}/{name}"
            );
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_is_still_read() {
    for (target, decoder) in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= LEAST, "{target} has {} seeds", seeds.len());
        for (name, bytes) in seeds {
            assert!(
                decoder(&bytes),
                "{target}/{name} is no longer read: write the seeds anew, see tests/seeds.rs"
            );
        }
    }
}

#[test]
fn damage_to_seeds_does_no_harm() {
    for (target, decoder) in TARGETS {
        let seeds: Vec<Vec<u8>> = seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
        let mut read = 0;
        for case in 0..CASES {
            let bytes = Mutator::new(case).damage(&seeds);
            let outcome = std::panic::catch_unwind(|| decoder(&bytes));
            // The case's number is all it takes to have it again.
            read += u64::from(outcome.unwrap_or_else(|_| panic!("{target}: case {case}")));
        }
        // Damage that nothing recognised, or that nothing noticed, would test little.
        assert!(
            (1..CASES).contains(&read),
            "{target}: {read} of {CASES} are read"
        );
    }
}

#[test]
fn every_fuzz_target_calls_its_decoder() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(fuzz().join("fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("decoders::{name}(")), "{text}");
        files.insert(name);
    }
    assert_eq!(files, names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let listed: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| {
            line.strip_prefix("path = \"fuzz_targets/")?
                .strip_suffix(".rs\"")
        })
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(listed, names);
}
