//! The fuzz target's seeds: each is read as the fuzzer would.

use std::path::PathBuf;

use crate::generate::Generator;
use crate::properties::{frames, read_hostile};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/peer_message")
}

#[test]
fn the_seeds_are_read() {
    let mut count = 0;
    for file in std::fs::read_dir(directory()).unwrap() {
        read_hostile(std::fs::read(file.unwrap().path()).unwrap().into());
        count += 1;
    }
    assert!(count >= Generator::VARIANTS, "{count} seeds");
}

/// Writes the seeds anew: `cargo test -p phoenix-net --test wire -- --ignored write`.
#[test]
#[ignore = "writes files"]
fn write_the_seeds() {
    std::fs::create_dir_all(directory()).unwrap();
    for variant in 0..Generator::VARIANTS {
        // The shortest of several that says something.
        let samples = (0..40).filter_map(|seed| {
            let frame = frames(&Generator(seed).message(variant), 16 << 20).pop()?;
            (frame.len() < 400).then_some(frame)
        });
        for (number, frame) in samples.take(2).enumerate() {
            std::fs::write(directory().join(format!("{variant:02}-{number}")), frame).unwrap();
        }
    }
}
