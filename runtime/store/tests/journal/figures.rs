//! What a journal does on this machine's disk: `cargo test --release -p phoenix-store
//! --test journal figures -- --ignored --nocapture`. `PHOENIX_JOURNAL_DIR` says where, the
//! directory for temporary files if it is not set.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use phoenix_core::journal::{AgentLog, Journal, Told};
use phoenix_core::{AgentId, Millis};
use phoenix_store::journal::{DiskJournal, Opened, Options, RealVolume};
use tempfile::TempDir;

/// Bytes of an entry: that of a turn of a small agent.
const BODY: usize = 200;
const SPAN: Duration = Duration::from_secs(4);

fn directory() -> TempDir {
    let at = std::env::var_os("PHOENIX_JOURNAL_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(at).unwrap()
}

fn open(dir: &TempDir) -> (DiskJournal, Opened) {
    let volume = Arc::new(RealVolume::open(&dir.path().join("journal")).unwrap());
    DiskJournal::open(volume, Options::new(Arc::new(|| Millis(0)))).unwrap()
}

/// Syncs a second of a file that is there already, one entry each.
fn syncs_a_second(dir: &TempDir) -> f64 {
    let file = File::create(dir.path().join("syncs")).unwrap();
    file.write_all_at(&vec![1; 8 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < SPAN {
        file.write_all_at(&[2; 512], u64::from(count % 16_000) * 512)
            .unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

#[derive(Default)]
struct Durable {
    through: Mutex<u64>,
    changed: Condvar,
}

/// Turns a second of so many agents, each of which waits for its last turn.
fn turns_a_second(dir: &TempDir, agents: usize) -> (f64, f64) {
    let (journal, _) = open(dir);
    let durable = Arc::new(Durable::default());
    let told = durable.clone();
    journal.watch(Box::new(move |it| {
        if let Told::Durable(number) = it {
            *told.through.lock() = number.0;
            told.changed.notify_all();
        }
    }));
    let (journal, durable) = (&journal, &durable);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for agent in 0..agents {
            scope.spawn(move || {
                let id = AgentId::new(&format!("bench/{agents}-{agent}")).unwrap();
                let mut log = AgentLog::new(id);
                while began.elapsed() < SPAN {
                    let body = Bytes::from_static(&[7; BODY]);
                    let number = log.append(journal, 1, Millis(0), body).unwrap();
                    let mut through = durable.through.lock();
                    while *through < number.0 {
                        durable.changed.wait(&mut through);
                    }
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let figures = journal.figures();
    let turns = u32::try_from(figures.entries).unwrap();
    let groups = u32::try_from(figures.groups).unwrap();
    (
        f64::from(turns) / seconds,
        f64::from(turns) / f64::from(groups),
    )
}

#[test]
#[ignore = "measures"]
fn turns_beside_syncs() {
    let dir = directory();
    let before = syncs_a_second(&dir);
    for agents in [1, 8, 64, 512] {
        let (turns, group) = turns_a_second(&dir, agents);
        let ratio = turns / before;
        println!(
            "{agents:>4} agents: {turns:>9.0} turns/s, {group:>6.1} a sync, {ratio:>6.2} × fdatasync"
        );
    }
    let after = syncs_a_second(&dir);
    println!("fdatasync: {before:.0}/s before, {after:.0}/s after");
}

#[test]
#[ignore = "measures"]
fn starting_with_many_agents() {
    let agents = 100_000;
    let dir = directory();
    let (journal, _) = open(&dir);
    let began = Instant::now();
    let done = Arc::new(Durable::default());
    for agent in 0..agents {
        let id = AgentId::new(&format!("counter/{agent}")).unwrap();
        let mut log = AgentLog::new(id);
        for _ in 0..2 {
            let body = Bytes::from_static(&[7; BODY]);
            while log.append(&journal, 1, Millis(0), body.clone()).is_err() {
                std::thread::yield_now();
            }
        }
        let told = done.clone();
        let stored = Box::new(move |result: Result<(), _>| {
            result.unwrap();
            *told.through.lock() += 1;
            told.changed.notify_all();
        });
        log.store(
            &journal,
            Millis(0),
            Bytes::from_static(&[9; 2 * BODY]),
            stored,
        )
        .unwrap();
        // One turn after it, so that there is something to run again.
        let body = Bytes::from_static(&[7; BODY]);
        log.append(&journal, 1, Millis(0), body).unwrap();
    }
    let mut through = done.through.lock();
    while *through < agents {
        done.changed.wait(&mut through);
    }
    drop(through);
    let figures = journal.figures();
    println!(
        "wrote {figures:?} in {:.2} s",
        began.elapsed().as_secs_f64()
    );
    drop(journal);
    let began = Instant::now();
    let (journal, opened) = open(&dir);
    println!(
        "{agents} agents known {:.3} s after the start; {opened:?}",
        began.elapsed().as_secs_f64()
    );
    let mut known = 0;
    journal.each(&mut |_, _| known += 1);
    assert_eq!(known, agents);
    let began = Instant::now();
    for agent in (0..agents).step_by(100) {
        let id = AgentId::new(&format!("counter/{agent}")).unwrap();
        let history = journal.read(&id).unwrap().unwrap();
        assert_eq!(history.records.len(), 1);
    }
    let each = began.elapsed().as_secs_f64() / 1_000.0 * 1e6;
    println!("{each:.0} µs to read one");
}

#[test]
#[ignore = "measures"]
fn reading_a_thousand_turns() {
    let dir = directory();
    let (journal, _) = open(&dir);
    let id = AgentId::new("counter/one").unwrap();
    let mut log = AgentLog::new(id.clone());
    for _ in 0..1_000 {
        log.append(&journal, 1, Millis(0), Bytes::from_static(&[7; BODY]))
            .unwrap();
    }
    drop(journal);
    let (journal, _) = open(&dir);
    let began = Instant::now();
    let history = journal.read(&id).unwrap().unwrap();
    println!(
        "{} turns read in {:?}",
        history.records.len(),
        began.elapsed()
    );
}
