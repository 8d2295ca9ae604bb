//! What both implementations do.

use bytes::Bytes;
use phoenix_core::Millis;
use phoenix_core::journal::{AgentLog, CommitNumber, Journal, Refused, SnapshotEvery};

use crate::model::{DiskRig, MemoryRig, Model, Rig, Rng, Watch, id, storm};

fn suite<R: Rig + Default>() {
    nothing_is_durable_before_it_is_told::<R>();
    a_snapshot_stands_for_what_was_before::<R>();
    an_agent_that_ended_begins_anew::<R>();
    a_life_may_begin_with_a_snapshot::<R>();
    what_was_appended_comes_back::<R>();
}

#[test]
fn on_disk() {
    suite::<DiskRig>();
}

#[test]
fn in_memory() {
    suite::<MemoryRig>();
}

fn nothing_is_durable_before_it_is_told<R: Rig + Default>() {
    let rig = R::default();
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    assert_eq!(journal.standing(&id(1)), None);
    assert!(journal.read(&id(1)).unwrap().is_none());
    for number in 1..=5 {
        let given = model.append(&journal, &id(1), Bytes::from_static(b"turn"));
        assert_eq!(given, Ok(CommitNumber(number)));
    }
    R::settle(&journal, &watch, CommitNumber(5));
    assert_eq!(journal.durable(), CommitNumber(5));
    let standing = journal.standing(&id(1)).unwrap();
    assert_eq!(
        (standing.last, standing.base, standing.has_snapshot),
        (5, 0, false)
    );
    let history = journal.read(&id(1)).unwrap().unwrap();
    assert_eq!(history.records.len(), 5);
    assert_eq!(journal.figures().entries, 5);
}

fn a_snapshot_stands_for_what_was_before<R: Rig + Default>() {
    let rig = R::default();
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    // More than goes into one part.
    let snapshot: Bytes = (0..700_000_u32)
        .map(|i| i.to_le_bytes()[i as usize % 3])
        .collect();
    for _ in 0..3 {
        model
            .append(&journal, &id(1), Bytes::from_static(b"before"))
            .unwrap();
    }
    let stored = model
        .store(&journal, &watch, &id(1), snapshot.clone())
        .unwrap();
    for _ in 0..2 {
        model
            .append(&journal, &id(1), Bytes::from_static(b"after"))
            .unwrap();
    }
    R::settle(&journal, &watch, model.issued());
    R::settle_stored(&journal, &watch, stored);
    let history = journal.read(&id(1)).unwrap().unwrap();
    assert_eq!(history.snapshot, Some(snapshot));
    assert_eq!(history.records, vec![Bytes::from_static(b"after"); 2]);
    assert_eq!((history.standing.base, history.standing.last), (3, 5));
    // One that comes late does not take the place of a newer one.
    let every = SnapshotEvery {
        turns: 2,
        bytes: 1 << 20,
    };
    let log = phoenix_core::journal::AgentLog::resume(id(1), &history.standing, 2);
    assert!(log.is_due(&every) && log.is_behind());
}

fn an_agent_that_ended_begins_anew<R: Rig + Default>() {
    let rig = R::default();
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    model
        .append(&journal, &id(1), Bytes::from_static(b"one"))
        .unwrap();
    model
        .store(&journal, &watch, &id(1), Bytes::from_static(b"state"))
        .unwrap();
    model.end(&journal, &id(1)).unwrap();
    R::settle(&journal, &watch, model.issued());
    R::settle_stored(&journal, &watch, 1);
    let standing = journal.standing(&id(1)).unwrap();
    assert!(standing.has_ended(), "{standing:?}");
    journal.each(&mut |agent, _| panic!("{agent} has ended"));
    model
        .append(&journal, &id(1), Bytes::from_static(b"two"))
        .unwrap();
    R::settle(&journal, &watch, model.issued());
    let history = journal.read(&id(1)).unwrap().unwrap();
    assert_eq!(history.snapshot, None, "that was of another life");
    assert_eq!(history.records, [Bytes::from_static(b"two")]);
}

/// As that of an agent does that came from elsewhere: for the first time, and again
/// after a life that ended here.
fn a_life_may_begin_with_a_snapshot<R: Rig + Default>() {
    let mut rig = R::default();
    let agent = id(1);
    let mut log = AgentLog::new(agent.clone());
    let mut stores = 0;
    for came in 0..3_u8 {
        // Whoever comes may leave again before anything is committed.
        for turns in [2_u8, 0] {
            let state = Bytes::from(vec![came; 300]);
            let journal = rig.open().unwrap();
            let watch = Watch::on(&journal);
            if let Some(standing) = journal.standing(&agent) {
                log = AgentLog::resume(agent.clone(), &standing, 0);
            }
            stores += 1;
            let stored = log.store(&journal, Millis(0), state.clone(), watch.stored(stores));
            stored.unwrap();
            R::settle_stored(&journal, &watch, stores);
            log.begins_with_snapshot();
            let standing = journal.standing(&agent).unwrap();
            assert!(standing.has_snapshot && !standing.has_ended());
            assert_eq!((standing.last, standing.wake), (log.last(), Millis(0)));
            for turn in 0..turns {
                let turn = Bytes::from(vec![turn]);
                log.append(&journal, 1, Millis(7), turn).unwrap();
            }
            R::settle(&journal, &watch, log.number());
            rig = rig.close(journal);
            let journal = rig.open().unwrap();
            let watch = Watch::on(&journal);
            let history = journal.read(&agent).unwrap().unwrap();
            assert_eq!(history.snapshot, Some(state));
            let records: Vec<Bytes> = (0..turns).map(|turn| Bytes::from(vec![turn])).collect();
            assert_eq!(
                history.records, records,
                "and nothing of what was here before"
            );
            log = AgentLog::resume(agent.clone(), &history.standing, 0);
            let number = log.end(&journal, Bytes::from_static(b"moved")).unwrap();
            R::settle(&journal, &watch, number);
            assert!(journal.standing(&agent).unwrap().has_ended());
            rig = rig.close(journal);
        }
    }
}

fn what_was_appended_comes_back<R: Rig + Default>() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let rig = R::default();
        let mut model = Model::new();
        let journal = rig.open().unwrap();
        let watch = Watch::on(&journal);
        storm::<R>(&mut model, &journal, &watch, &mut rng, 400);
        R::settle(&journal, &watch, model.issued());
        model.recover(&journal, &watch.heard());
    }
}

#[test]
fn an_entry_that_is_too_long_is_refused_and_changes_nothing() {
    let rig = MemoryRig::default();
    let journal = rig.open().unwrap();
    let mut log = phoenix_core::journal::AgentLog::new(id(1));
    let long = Bytes::from(vec![0; phoenix_core::journal::MAX_BODY + 1]);
    let refused = log
        .append(&journal, 1, phoenix_core::Millis(0), long)
        .unwrap_err();
    assert!(matches!(refused, Refused::TooLarge { .. }), "{refused}");
    assert_eq!((log.last(), journal.waiting()), (0, 0));
}
