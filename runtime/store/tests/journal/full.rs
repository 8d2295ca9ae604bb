//! Disks that are full, fail to write, and fail to sync.

use bytes::Bytes;
use phoenix_core::journal::{CommitNumber, Gate, Journal, Refused};

use crate::model::{DiskRig, Model, Rig, Rng, Watch, calm, id, options};

fn body() -> Bytes {
    Bytes::from(vec![5; 1_000])
}

#[test]
fn after_a_failed_sync_nothing_is_durable_and_no_sync_is_tried_again() {
    for good in [0, 1, 5] {
        let rig = DiskRig::default();
        let (journal, _) = rig.open_with(calm(16 << 10)).unwrap();
        let watch = Watch::on(&journal);
        let mut model = Model::new();
        let mut gate = Gate::new(100);
        for _ in 0..good {
            let number = model.append(&journal, &id(1), body()).unwrap();
            DiskRig::settle(&journal, &watch, number);
        }
        rig.volume.fail_syncs_after(0);
        let syncs = rig.volume.syncs();
        let number = model.append(&journal, &id(1), body()).unwrap();
        assert_eq!(gate.hold(number, ()), None);
        watch.until(|heard| heard.failed.is_some());
        gate.reach(journal.durable());
        assert_eq!(gate.release(), None, "nothing leaves");
        assert_eq!(journal.durable(), CommitNumber(good));
        let refused = model.append(&journal, &id(1), body()).unwrap_err();
        let Refused::Failed(failure) = &refused else {
            panic!("{refused}");
        };
        let text = failure.to_string();
        for word in [
            "sync",
            "0000000001.journal",
            "the faulty volume",
            "has to stop",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(journal.room(), Err(refused.clone()));
        let stored = model.store(&journal, &watch, &id(1), body()).unwrap_err();
        assert_eq!(stored, refused);
        drop(journal);
        assert_eq!(rig.volume.syncs(), syncs + 1, "it is tried once");
        let heard = watch.heard();
        let rig = DiskRig {
            volume: rig.volume.after_kill(),
        };
        model.recover(&rig.open().unwrap(), &heard);
    }
}

#[test]
fn a_failed_write_fails_the_journal() {
    let rig = DiskRig::default();
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    let number = model.append(&journal, &id(1), body()).unwrap();
    DiskRig::settle(&journal, &watch, number);
    rig.volume.tear_next(77);
    model.append(&journal, &id(1), body()).unwrap();
    watch.until(|heard| heard.failed.is_some());
    drop(journal);
    let (journal, opened) = DiskRig {
        volume: rig.volume.after_kill(),
    }
    .open_with(options())
    .unwrap();
    let torn = opened.torn.unwrap();
    assert_eq!((torn.file.as_str(), torn.bytes), ("0000000001.journal", 77));
    model.recover(&journal, &watch.heard());
}

#[test]
fn short_writes_go_on_where_they_stopped() {
    let rig = DiskRig::default();
    rig.volume.set_short(Some(13));
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    for _ in 0..40 {
        model.append(&journal, &id(1), body()).unwrap();
    }
    DiskRig::settle(&journal, &watch, model.issued());
    model.recover(&journal, &watch.heard());
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let rig = DiskRig::default();
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    let mut rng = Rng::new(1);
    rig.volume
        .set_capacity(Some(rig.volume.taken() + (20 << 10)));
    // Every agent's log is needed: nothing can be freed.
    let mut appended = 0;
    while watch.heard().rooms.is_empty() {
        let agent = id(rng.below(5));
        model.append(&journal, &agent, body()).unwrap();
        appended += 1;
        assert!(appended < 1_000, "the disk is never full");
        // Nothing is asked for faster than the disk takes it, but for the last.
        let number = model.issued();
        watch.until(|heard| !heard.rooms.is_empty() || heard.durable >= number.0);
    }
    let refused = journal.room().unwrap_err();
    assert!(matches!(refused, Refused::NoRoom { .. }), "{refused}");
    assert!(
        refused.to_string().contains("the faulty volume"),
        "{refused}"
    );
    // A batch that had begun is taken, and waits.
    let durable = journal.durable();
    assert!(durable < model.issued());
    let number = model.append(&journal, &id(1), body()).unwrap();
    // What was acknowledged is intact, whatever comes.
    let copy = DiskRig {
        volume: rig.volume.after_power_loss(|bound| rng.below(bound)),
    };
    let found = copy.open().unwrap();
    for agent in 0..5 {
        let Some(here) = journal.read(&id(agent)).unwrap() else {
            continue;
        };
        let there = found.read(&id(agent)).unwrap().unwrap();
        assert!(there.records.starts_with(&here.records), "{agent}");
    }
    rig.volume.set_capacity(None);
    watch.until(|heard| heard.durable >= number.0);
    assert_eq!(watch.heard().rooms, [false, true]);
    assert_eq!(journal.room(), Ok(()));
    model.recover(&journal, &watch.heard());
}

#[test]
fn a_full_disk_is_freed_by_snapshots() {
    let rig = DiskRig::default();
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    rig.volume
        .set_capacity(Some(rig.volume.taken() + (40 << 10)));
    // Much more than there is room for at once.
    for round in 0..200 {
        for _ in 0..5 {
            model.append(&journal, &id(1), body()).unwrap();
        }
        let stored = model.store(&journal, &watch, &id(1), body()).unwrap();
        DiskRig::settle_stored(&journal, &watch, stored);
        assert!(journal.figures().bytes <= 60 << 10, "round {round}");
    }
    assert!(rig.volume.names().len() < 20, "{:?}", rig.volume.names());
    model.recover(&journal, &watch.heard());
}

#[test]
fn many_share_one_sync() {
    let rig = DiskRig::default();
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let stalled = rig.volume.stall.lock();
    let journal = &journal;
    // While a sync goes on, others gather: from as many threads as there are.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let mut log = phoenix_core::journal::AgentLog::new(id(thread));
                for _ in 0..50 {
                    let body = Bytes::from_static(b"a turn");
                    log.append(journal, 1, phoenix_core::Millis(0), body)
                        .unwrap();
                }
            });
        }
    });
    assert!(watch.heard().durable < 400, "the disk stands still");
    drop(stalled);
    watch.until(|heard| heard.durable == 400);
    let figures = journal.figures();
    assert_eq!(figures.entries, 400);
    assert!(figures.groups <= 10, "{figures:?}");
    for thread in 0..8 {
        assert_eq!(
            journal.read(&id(thread)).unwrap().unwrap().records.len(),
            50
        );
    }
}

#[test]
fn nothing_is_to_begin_while_too_much_waits_and_what_had_begun_is_taken() {
    let rig = DiskRig::default();
    let options = phoenix_store::journal::Options {
        waiting_bytes: 10_000,
        ..options()
    };
    let (journal, _) = rig.open_with(options).unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    let stalled = rig.volume.stall.lock();
    let mut taken = 0;
    let refused = loop {
        if let Err(refused) = journal.room() {
            break refused;
        }
        model.append(&journal, &id(1), body()).unwrap();
        taken += 1;
        assert!(taken < 100);
    };
    let Refused::Busy { waiting, bound } = refused else {
        panic!("{refused}");
    };
    assert!(waiting >= bound && bound == 10_000, "{refused}");
    // What has run cannot be undone: however much it is, it is taken.
    for _ in 0..1_000 {
        model.append(&journal, &id(1), body()).unwrap();
    }
    assert!(matches!(journal.room(), Err(Refused::Busy { .. })));
    drop(stalled);
    DiskRig::settle(&journal, &watch, model.issued());
    assert_eq!(journal.room(), Ok(()));
    model.append(&journal, &id(1), body()).unwrap();
}
