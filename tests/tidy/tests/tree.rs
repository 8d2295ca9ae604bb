//! The rules, held against the tree.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use tidy::rust_text::RustText;
use tidy::{Fault, Tree, edges, links, manifest, source};

fn tree() -> Tree {
    Tree::read().unwrap_or_else(|error| panic!("{error}"))
}

fn text(tree: &Tree, file: &str) -> String {
    tree.text(file).unwrap_or_else(|error| panic!("{error}"))
}

/// Fails with all faults, so that one run tells everything.
fn assert_none(mut faults: Vec<Fault>) {
    faults.sort();
    let lines: Vec<_> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    assert!(
        faults.is_empty(),
        "{} found:{}",
        lines.len(),
        lines.concat()
    );
}

/// Every Rust file of the tree with its package's directory, and whether it holds only tests.
fn rust_files(tree: &Tree) -> Vec<(String, RustText, bool)> {
    let mut all = Vec::new();
    for package in tree.packages() {
        let files = tree
            .rust_files(package)
            .unwrap_or_else(|error| panic!("{error}"));
        let texts: Vec<_> = files
            .into_iter()
            .map(|file| {
                let text = RustText::new(&text(tree, &file));
                (file, text)
            })
            .collect();
        let tests = source::test_files(
            &package.dir,
            texts.iter().map(|(file, text)| (file.as_str(), text)),
        );
        all.extend(texts.into_iter().map(|(file, text)| {
            let is_test = package.is_test() || tests.contains(&file);
            (file, text, is_test)
        }));
    }
    assert!(all.len() > 20, "only {} Rust files were found", all.len());
    all
}

#[test]
fn dependencies_keep_their_direction() {
    let tree = tree();
    assert_none(
        tree.packages()
            .iter()
            .flat_map(|package| {
                edges::check(package, tree.packages(), &text(&tree, &package.manifest()))
            })
            .collect(),
    );
}

#[test]
fn every_package_takes_the_workspaces_lints() {
    let tree = tree();
    assert_none(
        tree.packages()
            .iter()
            .flat_map(|package| manifest::lints(package, &text(&tree, &package.manifest())))
            .collect(),
    );
}

#[test]
fn a_crates_own_clippy_settings_repeat_the_roots() {
    let tree = tree();
    let root = text(&tree, "clippy.toml");
    assert_none(
        tree.packages()
            .iter()
            .map(|package| format!("{}/clippy.toml", package.dir))
            .filter(|file| tree.exists(file))
            .flat_map(|file| manifest::clippy(&file, &text(&tree, &file), &root))
            .collect(),
    );
}

#[test]
fn silenced_lints_have_reasons() {
    assert_none(
        rust_files(&tree())
            .iter()
            .flat_map(|(file, text, _)| source::reasons(file, text))
            .collect(),
    );
}

#[test]
fn product_files_are_short_enough_to_read() {
    assert_none(
        rust_files(&tree())
            .iter()
            .filter(|(_, _, is_test)| !is_test)
            .flat_map(|(file, text, _)| source::length(file, text))
            .collect(),
    );
}

#[test]
fn product_code_is_finished() {
    assert_none(
        rust_files(&tree())
            .iter()
            .filter(|(_, _, is_test)| !is_test)
            .flat_map(|(file, text, _)| source::unfinished(file, text))
            .collect(),
    );
}

#[test]
fn documents_point_at_what_is_there() {
    let tree = tree();
    let found = tree.documents().unwrap_or_else(|error| panic!("{error}"));
    let documents: BTreeMap<_, _> = found
        .into_iter()
        .map(|file| {
            let text = text(&tree, &file);
            (file, text)
        })
        .collect();
    let wanted = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
    ];
    let mut names: Vec<&str> = documents.keys().map(String::as_str).collect();
    names.extend(wanted);
    names.sort_unstable();
    names.dedup();
    assert_none(
        names
            .into_iter()
            .flat_map(|name| links::check(name, &documents, |path| tree.exists(path)))
            .collect(),
    );
}
