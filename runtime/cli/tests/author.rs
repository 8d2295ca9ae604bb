//! What an author does: `phoenix new`, the crate's own test, `phoenix build`,
//! and what they are told when it goes wrong.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// `phoenix` in `dir`, which builds into a target directory of these tests.
fn phoenix(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHOENIX_") {
            command.env_remove(name);
        }
    }
    command
        .args(args)
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", target_dir())
        .stdin(Stdio::null());
    command
}

fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("author")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a run that must succeed answers.
fn answer(dir: &Path, args: &[&str]) -> Value {
    let output = phoenix(dir, args).arg("--json").output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The exit status and the error of a run that must fail.
fn failure(mut command: Command) -> (i32, String, String) {
    let output = command.arg("--json").output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    let field = |name| error["error"][name].as_str().unwrap_or("").to_owned();
    let status = output.status.code().unwrap();
    (status, field("message"), field("suggestion"))
}

/// A crate of these files, named `sample`.
fn sample(manifest: &str, library: &str) -> TempDir {
    let dir = tempdir().unwrap();
    let package = "[workspace]\n[package]\nname = \"sample\"\nedition = \"2024\"\n";
    fs::write(
        dir.path().join("Cargo.toml"),
        format!("{package}{manifest}"),
    )
    .unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::write(dir.path().join("src/lib.rs"), library).unwrap();
    dir
}

const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";

/// `phoenix build` of a sample, into a target directory of its own: other
/// tests' crates have the same name.
fn build(sample: &TempDir) -> Command {
    let mut command = phoenix(sample.path(), &["build"]);
    command.env("CARGO_TARGET_DIR", sample.path().join("target"));
    command
}

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node whose data lies in `dir`, once it is ready.
fn node(dir: &Path) -> Node {
    let args = ["--json", "node", "--listen", "none", "--api", "127.0.0.1:0"];
    let mut child = phoenix(dir, &args)
        .args(["--data", "data", "--log", "error"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let node = Node(child);
    stdout.read_line(&mut ready).unwrap();
    assert!(ready.contains("node-1"), "{ready}");
    node
}

fn cargo_test(dir: &Path) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .arg("test")
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", target_dir())
        .output()
        .unwrap()
}

#[test]
fn a_new_agent_passes_its_test_is_built_and_answers() {
    let home = tempdir().unwrap();
    let made = answer(home.path(), &["new", "order-book"]);
    assert_eq!(
        made,
        serde_json::json!({"name": "order-book", "path": "order-book"})
    );
    let dir = home.path().join("order-book");
    // The workspace's own versions, which have been fetched already: no network is needed.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    fs::copy(lock, dir.join("Cargo.lock")).unwrap();

    let tested = cargo_test(&dir);
    let said = text(&tested.stdout) + &text(&tested.stderr);
    assert!(tested.status.success(), "{said}");
    assert!(
        said.contains("it_remembers_whom_it_greeted ... ok"),
        "{said}"
    );
    assert!(!said.contains("warning"), "{said}");

    let built = answer(&dir, &["build"]);
    assert_eq!(built["package"], "order-book");
    assert_eq!(built["world"], "agent-framed");
    let component = built["component"].as_str().unwrap();
    let size = fs::metadata(component).unwrap().len();
    assert_eq!(built["component_bytes"], size);

    let _node = node(home.path());
    let data = ["--data", "data"];
    let ask = |args: &[&str]| answer(home.path(), &[&data, args].concat());
    ask(&["deploy", component, "--kind", "order-book"]);
    let greeted = ask(&["call", "order-book/main", "greet", "\"Ada\""]);
    assert_eq!(greeted["answer"], "Hello, Ada!");
}

#[test]
fn what_keeps_an_agent_from_being_created_is_said() {
    let home = tempdir().unwrap();
    let new = |args: &[&str]| failure(phoenix(home.path(), &[&["new"], args].concat()));
    for (name, message, suggestion) in [
        ("MyAgent", "must begin with", "`my-agent`"),
        ("match", "keyword", "counter"),
        ("std", "taken", "counter"),
        ("book-", "must end with", "`book`"),
        ("../escape", "must begin with", "`escape`"),
    ] {
        let (status, said, help) = new(&[name]);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(name) && said.contains(message), "{said}");
        assert!(help.contains(suggestion), "{help}");
    }
    let (status, said, help) = new(&["mine", "--sdk", "/nowhere"]);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("no phoenix-sdk at /nowhere"), "{said}");
    assert!(help.contains("sdk/rust"), "{help}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

    let made = answer(home.path(), &["new", "mine", "--path", "deep/place"]);
    assert_eq!(made["path"], "deep/place");
    let manifest = home.path().join("deep/place/Cargo.toml");
    let written = fs::read_to_string(&manifest).unwrap();
    assert!(written.contains("name = \"mine\""), "{written}");
    let (status, said, help) = new(&["other", "--path", "deep/place"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("is there already"), "{said}");
    assert!(help.contains("--path DIR"), "{help}");
    assert_eq!(fs::read_to_string(&manifest).unwrap(), written);
}

#[test]
fn a_directory_without_a_crate_is_refused() {
    let empty = tempdir().unwrap();
    let (status, said, help) = failure(build(&empty));
    assert_eq!(status, 1);
    assert!(said.contains("no Cargo.toml"), "{said}");
    assert!(help.contains("phoenix new NAME"), "{help}");
}

#[test]
fn a_library_that_is_no_component_is_refused() {
    let (status, said, help) = failure(build(&sample("", "")));
    assert_eq!(status, 1);
    assert!(said.contains("`sample` is built as lib"), "{said}");
    assert!(help.contains("crate-type = [\"cdylib\"]"), "{help}");
}

#[test]
fn a_compilers_errors_are_passed_on() {
    let broken = sample(CDYLIB, "pub fn f() -> u32 {\n    \"text\"\n}\n");
    let (status, said, _) = failure(build(&broken));
    assert_eq!(status, 1);
    assert!(said.contains("`sample` does not compile"), "{said}");
    assert!(
        said.contains("E0308") && said.contains("src/lib.rs:2"),
        "{said}"
    );
    // For a person cargo speaks for itself, and is not repeated.
    let output = build(&broken).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("error[E0308]").count(), 1, "{said}");
    assert!(said.contains("`sample` does not compile"), "{said}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_component_that_is_no_agent_is_refused() {
    let (status, said, help) = failure(build(&sample(CDYLIB, "pub fn f() {}\n")));
    assert_eq!(status, 1);
    assert!(said.contains("is no agent"), "{said}");
    assert!(help.contains("#[agent]"), "{help}");
}

/// A toolchain in whose place there is no library for any target.
#[test]
fn a_toolchain_without_the_target_is_told_apart_from_a_mistake() {
    let sample = sample(CDYLIB, "");
    let rustc = sample.path().join("rustc");
    let real = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let nowhere = sample.path().join("nowhere");
    let script = format!(
        "#!/bin/sh\nexec {real} --sysroot {} \"$@\"\n",
        nowhere.display()
    );
    // Written by another process: one that is forked here meanwhile would hold it open.
    let written = Command::new("/bin/sh")
        .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh"])
        .arg(script)
        .arg(&rustc)
        .status()
        .unwrap();
    assert!(written.success());
    let mut command = build(&sample);
    command.env("RUSTC", &rustc);
    let (status, said, help) = failure(command);
    assert_eq!(status, 1);
    assert!(said.contains("no `wasm32-wasip2` target"), "{said}");
    assert!(help.contains("rustup target add wasm32-wasip2"), "{help}");
}
