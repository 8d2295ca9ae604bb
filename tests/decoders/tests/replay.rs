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

use decoders::{Decoder, TARGETS};
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

/// Runs damaged seeds through a target's decoder, and says how many were read.
fn damage(target: &str, decoder: Decoder, cases: std::ops::Range<u64>) -> u64 {
    let seeds: Vec<Vec<u8>> = seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
    let mut read = 0;
    for case in cases {
        let bytes = Mutator::new(case).damage(&seeds);
        let outcome = std::panic::catch_unwind(|| decoder(&bytes));
        // The case's number is all it takes to have it again.
        read += u64::from(outcome.unwrap_or_else(|_| panic!("{target}: case {case}")));
    }
    read
}

#[test]
fn damage_to_seeds_does_no_harm() {
    for (target, decoder) in TARGETS {
        let read = damage(target, decoder, 0..CASES);
        // Damage that nothing recognised, or that nothing noticed, would test little.
        assert!(
            (1..CASES).contains(&read),
            "{target}: {read} of {CASES} are read"
        );
    }
}

/// The same for as long as it is wanted: `PHOENIX_FUZZ_CASES` inputs, ten
/// million if it is not set, of the target `PHOENIX_FUZZ_TARGET`, all if it is not set:
/// `cargo test --release -p decoders --test replay -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn much_damage_to_seeds_does_no_harm() {
    let cases: u64 = std::env::var("PHOENIX_FUZZ_CASES").map_or(10_000_000, |cases| {
        cases.parse().expect("a number of cases")
    });
    let wanted = std::env::var("PHOENIX_FUZZ_TARGET").ok();
    let mut ran = 0;
    for (target, decoder) in TARGETS {
        if wanted.as_ref().is_some_and(|wanted| wanted != target) {
            continue;
        }
        let began = std::time::Instant::now();
        let read = damage(target, decoder, 0..cases);
        let seconds = began.elapsed().as_secs();
        println!("{target}: {cases} cases in {seconds} s, {read} read, none did harm");
        ran += 1;
    }
    assert!(ran > 0, "there is no target {wanted:?}");
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
