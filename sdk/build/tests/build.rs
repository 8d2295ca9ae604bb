//! Real builds: a scaffolded crate, and guests of tests/guests from inside an
//! environment such as a build script has.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use phoenix_build::{Artifact, Build, World, embed, scaffold, shared_target_dir};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn target_dir() -> PathBuf {
    shared_target_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_new_crate_passes_its_test_and_becomes_a_component() {
    let parent = tempfile::tempdir().unwrap();
    let made = scaffold("order-book", &parent.path().join("order-book"), None).unwrap();
    assert_eq!(made.sdk, root().join("sdk/rust"));
    for file in &made.files {
        assert!(made.dir.join(file).is_file(), "{}", file.display());
    }
    // The workspace's own versions, which are there already.
    fs::copy(root().join("Cargo.lock"), made.dir.join("Cargo.lock")).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tested = Command::new(cargo)
        .args(["test", "--target-dir"])
        .arg(target_dir())
        .current_dir(&made.dir)
        .output()
        .unwrap();
    let (stdout, stderr) = (text(&tested.stdout), text(&tested.stderr));
    assert!(tested.status.success(), "{stdout}{stderr}");
    assert!(
        stdout.contains("it_remembers_whom_it_greeted ... ok"),
        "{stdout}"
    );
    assert!(!stderr.contains("warning"), "{stderr}");

    let built = Build::new(&made.dir)
        .target_dir(target_dir())
        .run()
        .unwrap();
    assert_eq!(built[0].package, "order-book");
    assert_eq!(built[0].world, Some(World::Framed));
}

#[test]
fn a_profile_is_made_up_where_there_is_none() {
    let parent = tempfile::tempdir().unwrap();
    let made = scaffold("plain", &parent.path().join("plain"), None).unwrap();
    fs::copy(root().join("Cargo.lock"), made.dir.join("Cargo.lock")).unwrap();
    let manifest = fs::read_to_string(made.dir.join("Cargo.toml")).unwrap();
    let (without, _) = manifest.split_once("[profile.agent]").unwrap();
    fs::write(made.dir.join("Cargo.toml"), without).unwrap();
    let built = Build::new(&made.dir)
        .target_dir(target_dir())
        .locked(false)
        .run()
        .unwrap();
    assert_eq!(built[0].world, Some(World::Framed));
}

/// Run by the test below in a process of its own, with a build script's environment.
#[test]
#[ignore = "part of another test"]
fn as_a_build_script() {
    let built: Vec<Artifact> = embed(&root().join("tests/guests"), &["typed", "sink"]).unwrap();
    println!("built {}", built.len());
}

#[test]
fn a_build_script_embeds_agents_and_watches_what_they_are_made_of() {
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("debug/build/phoenix-1/out");
    fs::create_dir_all(&out).unwrap();
    // So that the agents are not compiled anew: the place of the real ones.
    fs::write(target.path().join("CACHEDIR.TAG"), "").unwrap();
    fs::create_dir_all(target_dir()).unwrap();
    std::os::unix::fs::symlink(target_dir(), target.path().join("phoenix-agents")).unwrap();
    let run = || -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_a_build_script", "--ignored", "--nocapture"])
            .env("OUT_DIR", &out)
            // None of these may reach the inner cargo.
            .env(
                "RUSTFLAGS",
                "-C target-cpu=native -C link-arg=--no-such-flag",
            )
            .env("CARGO_ENCODED_RUSTFLAGS", "--no-such-flag")
            .env("RUSTC_WORKSPACE_WRAPPER", "/no/such/wrapper")
            .env("RUSTC_WRAPPER", "/no/such/wrapper")
            .env("TARGET", "x86_64-unknown-linux-gnu")
            .env("CARGO_BUILD_TARGET", "x86_64-unknown-linux-gnu")
            .output()
            .unwrap()
    };
    let first = run();
    let said = text(&first.stdout);
    assert!(first.status.success(), "{said}{}", text(&first.stderr));
    assert!(said.contains("built 2"), "{said}");
    for watched in [
        "tests/guests/Cargo.lock",
        "tests/guests/typed",
        "tests/guests/typed/src/lib.rs",
        "sdk/rust/src/lib.rs",
        "sdk/rust/Cargo.toml",
        "sdk/macros/src/lib.rs",
        "wit/agent.wit",
        "wit/src/lib.rs",
    ] {
        let line = format!("cargo::rerun-if-changed={}", root().join(watched).display());
        assert!(said.contains(&line), "{line}\nis not in\n{said}");
    }
    assert!(!said.contains("registry/src"), "{said}");
    assert!(!said.contains("tests/guests/relay"), "{said}");

    let table = fs::read_to_string(out.join("agents.rs")).unwrap();
    assert!(table.contains("include_bytes!(\"typed.wasm\")"), "{table}");
    let bytes = fs::read(out.join("typed.wasm")).unwrap();
    assert_eq!(World::of(&bytes), Ok(World::Typed));

    let written = |file| fs::metadata(out.join(file)).unwrap().modified().unwrap();
    let before = [written("agents.rs"), written("typed.wasm")];
    assert!(run().status.success());
    assert_eq!([written("agents.rs"), written("typed.wasm")], before);
}
