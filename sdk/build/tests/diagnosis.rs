//! What is wrong with a crate is said, and what to do about it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;

use phoenix_build::{Build, BuildError, Misfit};

const PACKAGE: &str = "[workspace]\n[package]\nname = \"sample\"\nedition = \"2024\"\n";
const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";

/// Builds a crate of these files in a directory of its own.
fn build(files: &[(&str, &str)], with: impl FnOnce(Build) -> Build) -> BuildError {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    // Its own: other tests' crates have the same name.
    let build = Build::new(dir.path()).target_dir(dir.path().join("target"));
    with(build).run().map(|_| ()).unwrap_err()
}

fn help(error: &BuildError) -> String {
    error.help().unwrap()
}

#[test]
fn no_manifest() {
    let error = build(&[], |build| build);
    assert!(matches!(error, BuildError::NoManifest { .. }), "{error}");
    assert!(help(&error).contains("phoenix new"));
}

#[test]
fn a_manifest_that_cargo_cannot_read() {
    let error = build(&[("Cargo.toml", "[package]\nname = ")], |build| build);
    let BuildError::Manifest { output } = error else {
        panic!("{error}");
    };
    assert!(output.contains("Cargo.toml"), "{output}");
}

#[test]
fn a_program() {
    let error = build(
        &[("Cargo.toml", PACKAGE), ("src/main.rs", "fn main() {}")],
        |build| build,
    );
    assert!(matches!(error, BuildError::NoLibrary { .. }), "{error}");
    assert!(help(&error).contains("crate-type = [\"cdylib\"]"));
}

#[test]
fn a_library_of_another_crate_type() {
    let error = build(&[("Cargo.toml", PACKAGE), ("src/lib.rs", "")], |build| {
        build
    });
    let BuildError::NotCdylib { ref found, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(found, "lib");
    assert!(help(&error).contains("[lib]\ncrate-type = [\"cdylib\"]"));
}

#[test]
fn a_workspace_without_a_package_of_its_own() {
    let member = "[package]\nname = \"member\"\n";
    let files = [
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"member\"]\nresolver = \"3\"\n",
        ),
        ("member/Cargo.toml", member),
        ("member/src/lib.rs", ""),
    ];
    let error = build(&files, |build| build);
    assert!(matches!(error, BuildError::NoPackage { .. }), "{error}");
    assert!(help(&error).contains("member"));
    let error = build(&files, |build| build.packages(["membre"]));
    assert!(
        matches!(error, BuildError::UnknownPackage { .. }),
        "{error}"
    );
    assert_eq!(help(&error), "did you mean `member`?");
}

#[test]
fn a_crate_that_does_not_compile() {
    let manifest = format!("{PACKAGE}{CDYLIB}");
    let error = build(
        &[
            ("Cargo.toml", &manifest),
            ("src/lib.rs", "pub fn f() -> u32 {\n    \"text\"\n}\n"),
        ],
        |build| build,
    );
    let BuildError::Compile { package, output } = error else {
        panic!("{error}");
    };
    assert_eq!(package, "sample");
    assert!(output.contains("E0308"), "{output}");
    assert!(output.contains("src/lib.rs:2"), "{output}");
}

#[test]
fn a_component_that_is_no_agent() {
    let manifest = format!("{PACKAGE}{CDYLIB}");
    let error = build(
        &[("Cargo.toml", &manifest), ("src/lib.rs", "pub fn f() {}")],
        |build| build,
    );
    let BuildError::NoAgent { ref misfit, .. } = error else {
        panic!("{}", error.report());
    };
    assert!(matches!(misfit, Misfit::NoExport { .. }), "{misfit}");
    assert!(help(&error).contains("#[agent]"));
}

#[test]
fn a_target_that_is_not_installed() {
    let manifest = format!("{PACKAGE}{CDYLIB}");
    let error = build(
        &[("Cargo.toml", &manifest), ("src/lib.rs", "")],
        // One that rustup has nowhere.
        |build| build.target("wasm64-unknown-unknown"),
    );
    assert!(matches!(error, BuildError::TargetMissing { .. }), "{error}");
    assert!(help(&error).contains("rustup target add wasm64-unknown-unknown"));
}

#[test]
fn a_lock_file_that_no_longer_fits() {
    let manifest = format!("{PACKAGE}{CDYLIB}[dependencies]\nother = {{ path = \"other\" }}\n");
    let error = build(
        &[
            ("Cargo.toml", &manifest),
            ("src/lib.rs", ""),
            ("other/Cargo.toml", "[package]\nname = \"other\"\n"),
            ("other/src/lib.rs", ""),
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"sample\"\nversion = \"0.0.0\"\n",
            ),
        ],
        |build| build,
    );
    assert!(matches!(error, BuildError::LockOutdated { .. }), "{error}");
    assert!(help(&error).contains("cargo update --workspace"));
}
