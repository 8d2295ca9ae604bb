//! `phoenix demo`, as its user runs it: real nodes, real processes.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that goes wrong should stop there"
)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod process;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use process::{Process, signal};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A demo whose nodes live under `directory`.
fn demo(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix"));
    command.arg("demo").args(arguments).env("TMPDIR", directory);
    command
}

fn run(arguments: &[&str]) -> (Output, TempDir) {
    let directory = tempdir().unwrap();
    let output = Process::start(&mut demo(directory.path(), arguments)).end();
    (output, directory)
}

/// The object that `--json` ends with.
fn object(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let last = text.lines().last().unwrap_or_else(|| {
        panic!(
            "nothing on standard output; standard error says:\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    serde_json::from_str(last).unwrap()
}

fn assert_verified(output: &Output) -> Value {
    let object = object(output);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{object:#}\n{errors}");
    assert_eq!(object["verified"], true, "{object:#}\n{errors}");
    for field in ["lost", "duplicated", "reordered"] {
        assert_eq!(object[field], 0, "{field} in {object:#}");
    }
    object
}

/// Every process there is, and its command.
fn processes() -> impl Iterator<Item = (u32, String)> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let command = std::fs::read(path.join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&command).into_owned()))
    })
}

/// No process that was started with `directory` in its arguments is left, and
/// nothing lies in it.
fn assert_clean(directory: &Path) {
    let left = processes_of(directory);
    assert!(left.is_empty(), "left behind: {left:?}");
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_made_up_log_is_counted_once_by_agents_that_move() {
    let (output, directory) = run(&["--json", "--lines", "3000", "--migrations", "150"]);
    let object = assert_verified(&output);
    assert_eq!(object["events"], 3_000);
    assert!(object["migrations"].as_u64() >= Some(150), "{object:#}");
    assert!(object["hibernations"].as_u64() > Some(0), "{object:#}");
    assert!(object["wakes"].as_u64() > Some(0), "{object:#}");
    let pauses: Vec<_> = ["p50", "p99", "max"]
        .map(|name| object["pause_us"][name].as_u64().unwrap())
        .into();
    assert!(pauses.is_sorted() && pauses[0] > 0, "{pauses:?}");
    assert_clean(directory.path());
}

#[test]
fn nodes_are_killed_meanwhile_and_nothing_is_lost() {
    let (output, directory) = run(&[
        "--json",
        "--kill=3",
        "--lines",
        "1500",
        "--migrations",
        "60",
    ]);
    let object = assert_verified(&output);
    assert_eq!(
        (&object["events"], &object["kills"]),
        (&1_500.into(), &3.into())
    );
    assert!(object["migrations"].as_u64() >= Some(60), "{object:#}");
    assert!(object["recoveries"].as_u64() > Some(0), "{object:#}");
    assert!(object["down_us"]["p50"].as_u64() > Some(0), "{object:#}");
    assert_clean(directory.path());
}

#[test]
fn malformed_lines_are_left_out_and_named() {
    let directory = tempdir().unwrap();
    let log = directory.path().join("access.log");
    let line = |n: u32| {
        format!(
            "2001:db8::{n:x} - - [17/May/2015:10:05:{n:02} +0000] \"GET / HTTP/1.1\" 404 {n} \"-\" \"-\"\n"
        )
    };
    let text = [line(1), "nonsense\n".repeat(1_002), line(2), line(1)].concat();
    std::fs::write(&log, text).unwrap();
    let temporary = tempdir().unwrap();
    let arguments = [
        "--json",
        "--migrations",
        "20",
        "--input",
        log.to_str().unwrap(),
    ];
    let output = Process::start(&mut demo(temporary.path(), &arguments)).end();
    let object = assert_verified(&output);
    assert_eq!(
        (&object["events"], &object["malformed_lines"]),
        (&3.into(), &1_002.into())
    );
    assert_eq!(object["agents"], 4, "two visitors, the site, the alerts");
    let errors = String::from_utf8_lossy(&output.stderr);
    for said in ["1,002 lines", " line 2: ", " line 1001: ", "and 2 more"] {
        assert!(errors.contains(said), "{said} in {errors}");
    }
    assert!(!errors.contains(" line 1002: "), "{errors}");
}

/// The log that the README's demo is known by is not part of the repository: it
/// lies beside it, or where `PHOENIX_TEST_LOG` says.
fn real_log() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/access-1.log.gz");
    std::env::var_os("PHOENIX_TEST_LOG").map_or(beside, PathBuf::from)
}

#[test]
fn a_real_log_is_counted_once() {
    let log = real_log();
    if !log.is_file() {
        // Past the harness, which keeps what tests that pass have printed.
        let mut stderr = std::io::stderr().lock();
        let text = "SKIPPED a_real_log_is_counted_once: there is no";
        let _ = writeln!(stderr, "{text} {}", log.display());
        return;
    }
    let (output, directory) = run(&["--json", "--input", log.to_str().unwrap()]);
    let object = assert_verified(&output);
    for (field, value) in [
        ("events", 5_000),
        ("visitors", 965),
        ("agents", 967),
        ("bytes", 1_312_869_333),
        ("malformed_lines", 0),
    ] {
        assert_eq!(object[field], value, "{field} in {object:#}");
    }
    let statuses = serde_json::json!({
        "200": 4_450, "206": 21, "301": 113, "304": 305, "403": 1, "404": 108, "500": 2,
    });
    assert_eq!(object["statuses"], statuses);
    assert!(object["migrations"].as_u64() >= Some(500), "{object:#}");
    assert_clean(directory.path());
}

#[test]
fn one_node_is_enough() {
    let (output, _directory) = run(&["--json", "--nodes", "1", "--lines", "200"]);
    let object = assert_verified(&output);
    assert_eq!(
        (&object["events"], &object["migrations"]),
        (&200.into(), &0.into())
    );
}

#[test]
fn the_human_form_ends_in_a_sentence() {
    let (output, _directory) = run(&["--lines", "100", "--migrations", "10"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("Verified: each of 100 events"), "{text}");
}

#[test]
fn kept_data_is_where_it_is_said_to_be() {
    let (output, directory) = run(&["--keep", "--nodes", "1", "--lines", "10"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{errors}");
    let left = left.into_iter().next().unwrap().unwrap().path();
    assert!(errors.contains(left.to_str().unwrap()), "{errors}");
    assert!(left.join("node-1.log").is_file());
}

/// A demo under way, its nodes under `directory`: it has come to the feed.
fn begun(directory: &Path) -> Process {
    fed(&mut demo(directory, &["--lines", "200000"]))
}

/// The same of any demo.
fn fed(command: &mut Command) -> Process {
    let mut process = Process::start(command);
    process.err.until("feeding");
    process
}

fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    for interrupt in [Signal::INT, Signal::TERM, Signal::HUP] {
        if interrupt == Signal::HUP && hangups_are_ignored() {
            // Under nohup the demo ignores it too, as the next test but one says.
            continue;
        }
        let directory = tempdir().unwrap();
        let mut process = begun(directory.path());
        process.signal(interrupt);
        let output = process.end();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert_clean(directory.path());
    }
}

/// Processes whose command names `directory`.
fn processes_of(directory: &Path) -> Vec<(u32, String)> {
    let needle = directory.to_str().unwrap();
    processes()
        .filter(|(_, command)| command.contains(needle))
        .collect()
}

#[test]
fn a_demo_that_is_killed_leaves_no_node_behind() {
    let directory = tempdir().unwrap();
    let mut process = begun(directory.path());
    assert_eq!(processes_of(directory.path()).len(), 2);
    process.signal(Signal::KILL);
    process.end();
    let since = Instant::now();
    while !processes_of(directory.path()).is_empty() {
        let left = processes_of(directory.path());
        assert!(since.elapsed() < PATIENCE, "left behind: {left:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_hangup_under_nohup_is_ignored() {
    let directory = tempdir().unwrap();
    // A shell that ignores it has a demo that does.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", r#"trap '' HUP; exec "$@""#, "sh"])
        .arg(env!("CARGO_BIN_EXE_phoenix"))
        .args(["demo", "--json", "--lines", "300", "--migrations", "20"])
        .env("TMPDIR", directory.path());
    let mut process = fed(&mut command);
    process.signal(Signal::HUP);
    let output = process.end();
    assert!(output.status.success(), "{output:?}");
    assert_verified(&output);
}

#[test]
fn a_node_that_dies_ends_the_demo() {
    let directory = tempdir().unwrap();
    let mut process = begun(directory.path());
    let (second, _) = processes()
        .find(|(_, command)| {
            command.contains(&format!("{}/", directory.path().display()))
                && command.contains("/node-2")
        })
        .expect("there is a second node");
    signal(second, Signal::KILL);
    let output = process.end();
    let rest = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
    assert_eq!(output.status.code(), Some(1), "{rest}");
    assert!(rest.contains("node 2 has ended"), "{rest}");
    assert_clean(directory.path());
}

#[test]
fn input_that_cannot_be_used_is_said_before_anything_is_started() {
    let directory = tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (path, said) in [
        (file("empty", b""), "is empty"),
        (file("words", b"no log\nat all\n"), "line 2: "),
        (file("cut.gz", b"\x1f\x8b\x08\0\0\0\0\0"), "damaged"),
        (file("other.zst", b"\x28\xb5\x2f\xfd\0\0\0\0"), "zstd"),
        (
            directory.path().to_str().unwrap().to_owned(),
            "is a directory",
        ),
        ("/nowhere/access.log".to_owned(), "there is no file"),
        ("/dev/null".to_owned(), "a pipe or device"),
    ] {
        let (output, temporary) = run(&["--input", &path]);
        assert!(!output.status.success(), "{path}");
        // Long lines are wrapped, so words are looked for.
        let errors = String::from_utf8_lossy(&output.stderr);
        let words = errors.split_whitespace().filter(|word| *word != "│");
        let words = words.collect::<Vec<_>>().join(" ");
        assert!(words.contains(said.trim()), "{path}: {errors}");
        assert!(output.stdout.is_empty());
        assert_clean(temporary.path());
    }
}
