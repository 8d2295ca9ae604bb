//! Compiled components on disk: used when they are as they were written,
//! compiled anew when they are not, and never a danger to running agents.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{admit, policy, start, turn};
use phoenix_host::{Host, HostConfig};
use phoenix_support::{agent, guest};

fn caching(directory: &Path) -> Host {
    start(HostConfig {
        cache_dir: Some(directory.to_owned()),
        ..HostConfig::default()
    })
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "code"))
        .collect();
    entries.sort();
    entries
}

/// Admits the counter on a new host and has it count.
fn works(directory: &Path) {
    let host = caching(directory);
    let component = admit(&host, agent("counter"));
    let mut instance = component.instantiate(&policy()).unwrap();
    for number in 0..3 {
        turn(&mut instance, number, "add", "1").unwrap();
    }
}

#[test]
fn nobody_else_can_read_it_and_nothing_is_left_over() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("a/b");
    works(&cache);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    for entry in fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        assert!(path.extension().is_none_or(|extension| extension != "tmp"));
    }
    assert_eq!(entries(&cache).len(), 1);
}

#[test]
fn a_second_start_loads_what_the_first_compiled() {
    let directory = tempfile::tempdir().unwrap();
    works(directory.path());
    let before = fs::metadata(&entries(directory.path())[0]).unwrap();
    works(directory.path());
    let after = fs::metadata(&entries(directory.path())[0]).unwrap();
    assert_eq!(before.ino(), after.ino(), "it was not written again");
}

/// A way to spoil a file, by name.
type Spoil = (&'static str, fn(&mut Vec<u8>));

/// Ways to spoil a file.
fn spoils() -> Vec<Spoil> {
    vec![
        ("flipped at the front", |bytes| bytes[3] ^= 1),
        ("flipped in the MAC", |bytes| bytes[20] ^= 1),
        ("flipped in the middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
        }),
        ("flipped at the end", |bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 0x80;
        }),
        ("cut in half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("cut to its head", |bytes| bytes.truncate(10)),
        ("emptied", Vec::clear),
        ("longer", |bytes| bytes.extend_from_slice(&[0; 100])),
        ("replaced", |bytes| *bytes = b"#!/bin/sh\n".to_vec()),
    ]
}

#[test]
fn a_spoilt_file_is_compiled_anew_before_it_is_run() {
    let directory = tempfile::tempdir().unwrap();
    works(directory.path());
    let path = entries(directory.path()).remove(0);
    let good = fs::read(&path).unwrap();
    for (how, spoil) in spoils() {
        let mut bytes = good.clone();
        spoil(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        works(directory.path());
        // Compiling twice need not give the same bytes, but it gives good ones.
        let replaced = fs::metadata(&path).unwrap().ino();
        assert!(fs::read(&path).unwrap() != bytes, "{how}: it was replaced");
        works(directory.path());
        assert_eq!(fs::metadata(&path).unwrap().ino(), replaced, "{how}");
    }
}

#[test]
fn running_agents_do_not_see_what_happens_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    // The second host loads from the cache, so that its agents run loaded code.
    works(directory.path());
    let host = caching(directory.path());
    let component = admit(&host, agent("counter"));
    let path = entries(directory.path()).remove(0);
    let good = fs::read(&path).unwrap();
    let mut agents = vec![component.instantiate(&policy()).unwrap()];
    for (number, (_, spoil)) in (0..).zip(spoils()) {
        let mut bytes = good.clone();
        spoil(&mut bytes);
        // In place: the same file, other content.
        fs::write(&path, &bytes).unwrap();
        agents.push(component.instantiate(&policy()).unwrap());
        for agent in &mut agents {
            turn(agent, number, "add", "1").unwrap();
            turn(agent, number, "no such handler", "").unwrap();
        }
    }
    fs::remove_file(&path).unwrap();
    component.instantiate(&policy()).unwrap();
}

#[test]
fn a_file_under_another_name_is_not_taken_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let host = caching(directory.path());
    admit(&host, agent("counter"));
    let counter = entries(directory.path()).remove(0);
    admit(&host, guest("plain-rust"));
    let other = entries(directory.path())
        .into_iter()
        .find(|path| path != &counter)
        .unwrap();
    fs::copy(&other, &counter).unwrap();
    works(directory.path());
    assert!(fs::read(&counter).unwrap() != fs::read(&other).unwrap());
}

#[test]
fn another_key_makes_all_of_it_worthless() {
    let directory = tempfile::tempdir().unwrap();
    works(directory.path());
    let path = entries(directory.path()).remove(0);
    let before = fs::read(&path).unwrap();
    fs::write(directory.path().join("key"), b"too short").unwrap();
    works(directory.path());
    assert!(fs::read(&path).unwrap() != before);
}

#[test]
fn another_cpu_has_entries_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    works(directory.path());
    let host = start(HostConfig {
        cache_dir: Some(directory.path().to_owned()),
        baseline_cpu: true,
        ..HostConfig::default()
    });
    admit(&host, agent("counter"));
    assert_eq!(entries(directory.path()).len(), 2);
}
