//! The directory on disk: what was answered is never taken back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

mod faulty;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use faulty::FaultyDisk;
use parking_lot::{Condvar, Mutex};
use phoenix_cluster::Origin;
use phoenix_cluster::directory::{DeathRefused, NodeRefused};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::{AgentId, Directory, Epoch, MigrationId, NodeId};
use phoenix_store::{DeclareError, DirectoryError, DirectoryStore, Tuning};
use proptest::prelude::*;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn agent(number: usize) -> AgentId {
    AgentId::new(&format!("counter/{number}")).unwrap()
}

fn open(disk: &FaultyDisk, boot: u64) -> Result<DirectoryStore, DirectoryError> {
    open_tuned(disk, boot, Tuning::default())
}

/// With node 2 up, too.
fn open_tuned(
    disk: &FaultyDisk,
    boot: u64,
    tuning: Tuning,
) -> Result<DirectoryStore, DirectoryError> {
    let store = DirectoryStore::open_on(Arc::new(disk.clone()), ONE, boot, tuning)?;
    assert_eq!(store.node_up(TWO, boot), None);
    Ok(store)
}

fn submit(store: &DirectoryStore, command: DirectoryCommand) -> Receiver<DirectoryAnswer> {
    let (sender, receiver) = channel();
    let done = Box::new(move |answer| {
        let _ = sender.send(answer);
    });
    store.submit(command, done);
    receiver
}

/// Asks as node 2, which has started as often as node 1.
fn submit_as_two(
    store: &DirectoryStore,
    boot: u64,
    command: DirectoryCommand,
) -> Receiver<DirectoryAnswer> {
    let (sender, receiver) = channel();
    let done = Box::new(move |answer| {
        let _ = sender.send(answer);
    });
    store.submit_from(Origin { node: TWO, boot }, command, done);
    receiver
}

fn ask(store: &DirectoryStore, command: DirectoryCommand) -> DirectoryAnswer {
    submit(store, command).recv_timeout(LONG).unwrap()
}

fn place(number: usize, on: NodeId) -> DirectoryCommand {
    DirectoryCommand::Place {
        agent: agent(number),
        prefer: Some(on),
    }
}

fn moved(number: usize, id: u128, generation: u64, from: NodeId, to: NodeId) -> DirectoryCommand {
    DirectoryCommand::Move {
        agent: agent(number),
        migration: MigrationId(id),
        generation,
        from,
        to,
    }
}

fn owned(owner: NodeId, generation: u64, term: u64) -> DirectoryAnswer {
    let epoch = Epoch { generation, term };
    // Each is placed once, under generation 1 if it has an entry.
    let life = generation.min(1);
    DirectoryAnswer::Owned(Ownership { owner, epoch, life })
}

/// Holds up a disk's syncs.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(bool, usize)>, Condvar)>);

impl Gate {
    fn on(disk: &FaultyDisk) -> Self {
        let gate = Self::default();
        let inside = gate.clone();
        disk.before_sync(move || inside.pass());
        gate
    }

    fn pass(&self) {
        let mut state = self.0.0.lock();
        state.1 += 1;
        self.0.1.notify_all();
        while state.0 {
            self.0.1.wait(&mut state);
        }
        state.1 -= 1;
    }

    fn set_closed(&self, closed: bool) {
        self.0.0.lock().0 = closed;
        self.0.1.notify_all();
    }

    /// Waits until somebody waits.
    fn wait_for_one(&self) {
        let mut state = self.0.0.lock();
        while state.1 == 0 {
            self.0.1.wait(&mut state);
        }
    }
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(dir.path(), ONE, 1).unwrap();
    store.node_up(TWO, 5);
    assert_eq!(ask(&store, place(1, TWO)), owned(TWO, 1, 5));
    assert_eq!(ask(&store, place(2, ONE)), owned(ONE, 0, 1));
    assert_eq!(ask(&store, moved(1, 7, 1, TWO, ONE)), owned(ONE, 2, 1));
    drop(store);
    let store = DirectoryStore::open(dir.path(), ONE, 2).unwrap();
    assert_eq!(ask(&store, moved(1, 7, 1, TWO, ONE)), owned(ONE, 2, 2));
    let located = submit_as_two(&store, 5, place(1, TWO));
    assert_eq!(located.recv_timeout(LONG), Ok(owned(ONE, 2, 2)));
    assert_eq!((store.entries(), store.torn_tail()), (1, None));
}

#[test]
fn commands_of_an_earlier_life_stay_refused_after_a_restart() {
    let disk = FaultyDisk::default();
    let store = open(&disk, 5).unwrap();
    ask(&store, place(1, TWO));
    drop(store);
    let store = DirectoryStore::open_on(Arc::new(disk), ONE, 6, Tuning::default()).unwrap();
    let (sender, receiver) = channel();
    let origin = Origin { node: TWO, boot: 4 };
    let done = Box::new(move |answer| sender.send(answer).unwrap());
    store.submit_from(origin, moved(1, 7, 1, TWO, ONE), done);
    let answer = receiver.recv_timeout(LONG).unwrap();
    assert!(matches!(answer, DirectoryAnswer::InDoubt(_)), "{answer:?}");
}

#[test]
fn an_answer_waits_for_what_it_tells_of_and_for_nothing_else() {
    let disk = FaultyDisk::default();
    let store = open(&disk, 1).unwrap();
    ask(&store, place(1, TWO));
    let gate = Gate::on(&disk);
    gate.set_closed(true);
    let first = submit(&store, moved(1, 7, 1, TWO, ONE));
    gate.wait_for_one();
    let repeated = submit(&store, moved(1, 7, 1, TWO, ONE));
    let located = submit_as_two(&store, 1, place(1, TWO));
    // These tell of nothing that is not durable.
    assert_eq!(
        submit(&store, place(2, ONE)).try_recv(),
        Ok(owned(ONE, 0, 1))
    );
    assert_eq!(
        submit(&store, place(2, TWO)).try_recv(),
        Ok(owned(ONE, 0, 1))
    );
    for waiting in [&first, &repeated, &located] {
        assert!(waiting.try_recv().is_err());
    }
    gate.set_closed(false);
    for waiting in [first, repeated, located] {
        assert_eq!(waiting.recv_timeout(LONG), Ok(owned(ONE, 2, 1)));
    }
}

#[test]
fn many_share_one_sync() {
    let disk = FaultyDisk::default();
    let store = open(&disk, 1).unwrap();
    ask(&store, place(0, TWO));
    let gate = Gate::on(&disk);
    gate.set_closed(true);
    let first = submit(&store, place(1, TWO));
    gate.wait_for_one();
    let syncs = disk.syncs();
    let rest: Vec<_> = (2..300).map(|i| submit(&store, place(i, TWO))).collect();
    gate.set_closed(false);
    for receiver in rest.iter().chain([&first]) {
        assert_eq!(receiver.recv_timeout(LONG), Ok(owned(TWO, 1, 1)));
    }
    assert_eq!(disk.syncs() - syncs, 2);
}

#[test]
fn what_is_in_no_hurry_is_answered_too() {
    let disk = FaultyDisk::default();
    let store = open(&disk, 1).unwrap();
    ask(&store, place(1, TWO));
    ask(&store, moved(1, 7, 1, TWO, ONE));
    let settle = DirectoryCommand::Settle {
        agent: agent(1),
        migration: MigrationId(7),
    };
    assert_eq!(ask(&store, settle.clone()), owned(ONE, 2, 1));
    assert_eq!(ask(&store, settle), owned(ONE, 2, 1));
}

#[test]
fn after_a_failed_sync_everything_is_in_doubt() {
    let disk = FaultyDisk::default();
    let store = open(&disk, 1).unwrap();
    ask(&store, place(1, TWO));
    disk.fail_syncs_after(0);
    let in_doubt = |answer| matches!(answer, DirectoryAnswer::InDoubt(why) if why.contains("sync"));
    assert!(in_doubt(ask(&store, moved(1, 7, 1, TWO, ONE))));
    let syncs = disk.syncs();
    assert!(in_doubt(ask(&store, moved(1, 7, 1, TWO, ONE))));
    assert!(
        in_doubt(ask(&store, place(1, TWO))),
        "even of what it knew before"
    );
    assert!(store.failure().unwrap().contains("sync"));
    assert_eq!(store.node_up(TWO, 9), None);
    assert_eq!(disk.syncs(), syncs, "it is never tried again");
    drop(store);
}

#[test]
fn a_full_disk_is_in_doubt_and_a_roomier_one_goes_on() {
    let disk = FaultyDisk::default();
    let store = open(&disk, 1).unwrap();
    ask(&store, place(1, TWO));
    let used: usize = disk.names().iter().map(|name| disk.get(name).len()).sum();
    disk.set_capacity(Some(used + 10));
    let answer = ask(&store, moved(1, 7, 1, TWO, ONE));
    assert!(matches!(answer, DirectoryAnswer::InDoubt(_)), "{answer:?}");
    drop(store);
    disk.set_capacity(None);
    let store = open(&disk, 2).unwrap();
    assert_eq!(store.torn_tail().unwrap().bytes, 10);
    assert_eq!(ask(&store, moved(1, 7, 1, TWO, ONE)), owned(ONE, 2, 2));
}

#[test]
fn every_flipped_byte_of_its_log_is_an_error() {
    let disk = FaultyDisk::default();
    let store = open(&disk, 1).unwrap();
    ask(&store, place(1, TWO));
    ask(&store, moved(1, 7, 1, TWO, ONE));
    drop(store);
    let name = "directory-0000000000.log";
    let log = disk.get(name);
    for byte in 0..log.len() {
        let mut damaged = log.clone();
        damaged[byte] ^= 0xff;
        let copy = FaultyDisk::default();
        copy.put(name, &damaged);
        let error = open(&copy, 2).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains("damaged at byte"),
            "{byte}: {error}"
        );
    }
    for length in 0..log.len() {
        let copy = FaultyDisk::default();
        copy.put(name, &log[..length]);
        if let Ok(store) = open(&copy, 2) {
            let here = store.ownership(&agent(1));
            let known = [(ONE, 0), (TWO, 1), (ONE, 2)];
            assert!(
                known.contains(&(here.owner, here.epoch.generation)),
                "{here:?}"
            );
        }
    }
}

#[test]
fn another_nodes_or_an_older_life_does_not_open_it() {
    let disk = FaultyDisk::default();
    drop(open(&disk, 4).unwrap());
    let other = DirectoryStore::open_on(Arc::new(disk.clone()), TWO, 9, Tuning::default());
    let error = other.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("not the directory of node-2"), "{error}");
    let error = open(&disk, 3).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("old copy"), "{error}");
}

#[test]
fn many_threads_and_compactions_lose_nothing() {
    let disk = FaultyDisk::default();
    let tuning = Tuning {
        compact_at: 2_000,
        ..Tuning::default()
    };
    let store = Arc::new(open_tuned(&disk, 1, tuning).unwrap());
    let start = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (store, start) = (store.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                let mut last = BTreeMap::new();
                for step in 0..300 {
                    let number = thread * 1_000 + step % 40;
                    let generation = last.get(&number).copied().unwrap_or(0);
                    let command = if generation == 0 {
                        place(number, TWO)
                    } else {
                        let (from, to) = if generation % 2 == 1 {
                            (TWO, ONE)
                        } else {
                            (ONE, TWO)
                        };
                        let id = (thread * 10_000 + step) as u128;
                        moved(number, id, generation, from, to)
                    };
                    let DirectoryAnswer::Owned(here) = ask(&store, command) else {
                        panic!("nobody else moves it");
                    };
                    assert_eq!(here.epoch.generation, generation + 1);
                    last.insert(number, generation + 1);
                }
                last
            })
        })
        .collect();
    let last: BTreeMap<usize, u64> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    drop(store);
    let names = disk.names();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(
        !names.contains(&"directory-0000000000.log".to_owned()),
        "{names:?}"
    );
    let store = open(&disk, 2).unwrap();
    for (number, generation) in last {
        let here = store.ownership(&agent(number));
        let owner = if generation % 2 == 1 { TWO } else { ONE };
        assert_eq!((here.owner, here.epoch.generation), (owner, generation));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Place(usize, NodeId),
    /// From where it is.
    Move(usize),
    Abort(usize),
    Settle(usize),
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0_usize..4;
    prop_oneof![
        (number(), prop_oneof![Just(ONE), Just(TWO)]).prop_map(|(n, on)| Step::Place(n, on)),
        number().prop_map(Step::Move),
        number().prop_map(Step::Move),
        number().prop_map(Step::Abort),
        number().prop_map(Step::Settle),
        number().prop_map(Step::Forget),
    ]
}

impl Step {
    fn command(&self, store: &DirectoryStore, id: u128) -> DirectoryCommand {
        let here = |number| store.ownership(&agent(number));
        let migration = MigrationId(id);
        match *self {
            Self::Place(number, on) => place(number, on),
            Self::Move(number) => {
                let Ownership { owner, epoch, .. } = here(number);
                let to = if owner == ONE { TWO } else { ONE };
                moved(number, id, epoch.generation, owner, to)
            }
            Self::Abort(number) => DirectoryCommand::Abort {
                agent: agent(number),
                migration,
                generation: here(number).epoch.generation,
                from: here(number).owner,
            },
            Self::Settle(number) => DirectoryCommand::Settle {
                agent: agent(number),
                migration: MigrationId(id - 1),
            },
            Self::Forget(number) => DirectoryCommand::Forget {
                agent: agent(number),
                generation: here(number).epoch.generation,
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The disk dies at any operation and the power goes: an agent's ownership
    /// is never older than the last one that was answered, and where it is that
    /// one it has that owner.
    #[test]
    fn no_answer_is_taken_back(
        lives in proptest::collection::vec(
            (proptest::collection::vec(step(), 1..30), 5_u64..60, any::<u64>()), 1..5),
        compact_at in prop_oneof![Just(300_u64), Just(1 << 20)],
    ) {
        let mut disk = FaultyDisk::default();
        let tuning = Tuning { compact_at, ..Tuning::default() };
        let mut told: BTreeMap<usize, Ownership> = BTreeMap::new();
        let mut id = 1;
        for (boot, (steps, dies_after, seed)) in lives.into_iter().enumerate() {
            let boot = boot as u64 + 1;
            // Opening must succeed; what dies is the disk under the commands.
            let store = open_tuned(&disk, boot, tuning).unwrap();
            for (number, before) in &told {
                let now = store.ownership(&agent(*number));
                prop_assert!(now.epoch.generation >= before.epoch.generation);
                if now.epoch.generation == before.epoch.generation {
                    prop_assert_eq!(now.owner, before.owner);
                }
            }
            disk.die_after(dies_after);
            for step in steps {
                id += 1;
                let command = step.command(&store, id);
                let about = command.agent().clone();
                match ask(&store, command) {
                    DirectoryAnswer::Owned(here) | DirectoryAnswer::Lost(here) => {
                        let number: usize = about.key().parse().unwrap();
                        told.insert(number, here);
                    }
                    DirectoryAnswer::InDoubt(_) if store.failure().is_some() => break,
                    DirectoryAnswer::InDoubt(_) | DirectoryAnswer::Unclaimed(_) => {}
                }
            }
            drop(store);
            let mut seed = seed;
            disk = disk.after_power_loss(|bound| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from((seed >> 33) % bound.max(1) as u64).unwrap()
            });
        }
    }
}

fn declare_dead(store: &DirectoryStore, node: NodeId) -> Result<u64, DeclareError> {
    let (sender, receiver) = channel();
    store.declare_dead(
        node,
        Box::new(move |declared| {
            let _ = sender.send(declared);
        }),
    );
    receiver.recv_timeout(LONG).unwrap()
}

/// A death that was told outlives a crash of the directory, in the log and in a snapshot.
#[test]
fn a_death_that_was_told_is_not_forgotten() {
    for compact_at in [1, 8 << 20] {
        let disk = FaultyDisk::default();
        let tuning = Tuning {
            compact_at,
            ..Tuning::default()
        };
        let store = open_tuned(&disk, 1, tuning).unwrap();
        ask(&store, place(1, TWO));
        let connected = DeclareError::Refused(DeathRefused::Connected(TWO));
        assert_eq!(declare_dead(&store, TWO), Err(connected));
        assert_eq!(store.dead_nodes(), []);
        store.node_down(TWO);
        assert_eq!(declare_dead(&store, TWO), Ok(1));
        assert_eq!(
            (store.dead_nodes(), store.owned_by(TWO)),
            (vec![(TWO, 1)], 1)
        );
        assert_eq!(declare_dead(&store, TWO), Ok(1), "once more");
        // More records, so that a log that compacts early does so with the death in it.
        for number in 2..40 {
            ask(&store, moved(number, 1, 0, ONE, TWO));
            ask(&store, place(number, ONE));
        }
        drop(store);
        let left = disk.after_power_loss(|_| 0);
        let store = DirectoryStore::open_on(Arc::new(left), ONE, 2, tuning).unwrap();
        assert_eq!(store.dead_nodes(), [(TWO, 1)]);
        let refused = NodeRefused::DeclaredDead { node: TWO, boot: 1 };
        assert_eq!(store.node_up(TWO, 1), Some(refused));
        let anew = match owned(ONE, 2, 2) {
            DirectoryAnswer::Owned(it) => DirectoryAnswer::Owned(Ownership { life: 2, ..it }),
            other => other,
        };
        assert_eq!(ask(&store, place(1, ONE)), anew);
        assert_eq!(store.node_up(TWO, 2), None);
        assert_eq!(store.dead_nodes(), []);
    }
}

#[test]
fn a_directory_that_was_closed_has_what_it_took_and_writes_no_more() {
    let disk = FaultyDisk::default();
    let store = open(&disk, 1).unwrap();
    let taken: Vec<_> = (0..50)
        .map(|number| submit(&store, place(number, TWO)))
        .collect();
    store.close();
    for answer in taken {
        assert_eq!(
            answer.try_recv(),
            Ok(owned(TWO, 1, 1)),
            "before it is closed"
        );
    }
    let operations = disk.operations();
    let answer = ask(&store, place(50, TWO));
    assert!(
        matches!(&answer, DirectoryAnswer::InDoubt(why) if why.contains("closed")),
        "{answer:?}"
    );
    drop(store);
    assert_eq!(disk.operations(), operations, "nothing was written since");
    let store = open(&disk, 2).unwrap();
    assert_eq!(ask(&store, place(49, ONE)), owned(TWO, 1, 2));
}
