//! Bits that turn, files that go, sectors that never came.

use bytes::Bytes;
use phoenix_core::journal::{CommitNumber, Journal, ReadError};
use phoenix_store::journal::{DiskJournal, Opened};

use crate::model::{DiskRig, Model, Rig, Rng, Watch, calm, id, storm};
use crate::volume::FaultyVolume;

const LOG: &str = "0000000001.journal";

/// A small journal in one file: three agents, one of them with a snapshot.
fn small() -> (FaultyVolume, Model) {
    let rig = DiskRig::default();
    let (journal, _) = rig.open_with(calm(12 << 10)).unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    for (agent, body) in [(1, "a"), (2, "bb"), (1, "ccc"), (3, "dddd"), (1, "e")] {
        let number = model.append(&journal, &id(agent), Bytes::from_static(body.as_bytes()));
        DiskRig::settle(&journal, &watch, number.unwrap());
    }
    // Zeros, as in a sector that was never written.
    let zeros = Bytes::from(vec![0; 1_500]);
    let stored = model
        .store(&journal, &watch, &id(1), zeros.clone())
        .unwrap();
    DiskRig::settle_stored(&journal, &watch, stored);
    for agent in [1, 2] {
        let number = model.append(&journal, &id(agent), zeros.clone());
        DiskRig::settle(&journal, &watch, number.unwrap());
    }
    drop(journal);
    (rig.volume, model)
}

fn open(volume: &FaultyVolume) -> Result<(DiskJournal, Opened), String> {
    let volume = volume.clone();
    DiskRig { volume }.open_with(calm(8 << 10))
}

/// Everything that is in a journal, or the errors of it.
fn all(journal: &DiskJournal) -> Vec<Result<Option<phoenix_core::journal::History>, ReadError>> {
    (0..6).map(|agent| journal.read(&id(agent))).collect()
}

#[test]
fn every_turned_bit_of_the_last_file_is_an_error_or_changes_nothing() {
    let (volume, _) = small();
    let log = volume.get(LOG);
    let used = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let expected = all(&open(&volume).unwrap().0);
    let (mut errors, mut torn) = (0, 0);
    for byte in 0..log.len().min(used + 1_500) {
        for bit in 0..8 {
            let mut damaged = log.clone();
            damaged[byte] ^= 1 << bit;
            let volume = volume.with(LOG, Some(damaged));
            match open(&volume) {
                Ok((journal, opened)) => {
                    assert!(byte >= 64, "byte {byte}: the header");
                    assert_eq!(all(&journal), expected, "bit {bit} of byte {byte}");
                    assert!(byte >= used || byte < 512, "bit {bit} of byte {byte}");
                    torn += usize::from(opened.torn.is_some());
                }
                Err(error) => {
                    errors += 1;
                    let words = [LOG, "the faulty volume", "at byte", "trusted"];
                    assert!(words.iter().all(|word| error.contains(word)), "{error}");
                    let named = ["block", "entry", "header"]
                        .iter()
                        .any(|it| error.contains(it));
                    assert!(named, "{error}");
                }
            }
        }
    }
    // Behind the end no crash leaves anything in a sector but its beginning, or all of it.
    assert_eq!(
        errors,
        (64 + used.next_multiple_of(512) - 512 + (512 - 47)) * 8
    );
    assert!(torn > 0, "a bit behind the end is what a crash may leave");
}

#[test]
fn what_is_cut_off_was_never_acknowledged() {
    let (volume, mut model) = small();
    let log = volume.get(LOG);
    let used = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut junk = log.clone();
    junk[used.next_multiple_of(512)..][..40].fill(7);
    let volume = volume.with(LOG, Some(junk));
    let (journal, opened) = open(&volume).unwrap();
    let torn = opened.torn.unwrap();
    assert_eq!(
        (torn.offset, torn.bytes),
        (used.next_multiple_of(512) as u64, 40)
    );
    model.recover(&journal, &crate::model::Heard::default());
    // It is gone, so that it is in nobody's way.
    let watch = Watch::on(&journal);
    let number = model
        .append(&journal, &id(1), Bytes::from_static(b"more"))
        .unwrap();
    DiskRig::settle(&journal, &watch, number);
    drop(journal);
    let (journal, opened) = open(&volume.after_kill()).unwrap();
    assert_eq!(opened.torn, None);
    model.recover(&journal, &watch.heard());
}

#[test]
fn every_lost_sector_of_the_last_block_is_a_torn_end_and_of_another_is_damage() {
    let (volume, _) = small();
    let log = volume.get(LOG);
    let end = (log.iter().rposition(|byte| *byte != 0).unwrap() + 1).next_multiple_of(512);
    // The last block has an entry of 1,500 bytes and so four sectors.
    for start in (512..end).step_by(512) {
        let mut lost = log.clone();
        lost[start..start + 512].fill(0);
        let opened = open(&volume.with(LOG, Some(lost)));
        if start >= end - 4 * 512 {
            let (_, opened) = opened.unwrap();
            let torn = opened.torn.map(|torn| torn.offset);
            assert_eq!(torn, Some(end as u64 - 4 * 512), "at {start}");
        } else {
            let error = opened.map(|_| ()).unwrap_err();
            assert!(error.contains("is damaged at byte"), "at {start}: {error}");
        }
    }
}

/// A journal of several files, all but the last with an index.
fn large() -> (FaultyVolume, Model) {
    let rig = DiskRig::default();
    let (journal, _) = rig.open_with(calm(8 << 10)).unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    let mut rng = Rng::new(3);
    for _ in 0..60 {
        let agent = id(rng.below(6));
        let number = model.append(&journal, &agent, rng.bytes(900)).unwrap();
        DiskRig::settle(&journal, &watch, number);
    }
    let stored = model
        .store(&journal, &watch, &id(5), rng.bytes(3_000))
        .unwrap();
    DiskRig::settle_stored(&journal, &watch, stored);
    drop(journal);
    (rig.volume, model)
}

fn logs(volume: &FaultyVolume) -> Vec<String> {
    let names = volume.names().into_iter();
    names.filter(|name| name.ends_with(".journal")).collect()
}

#[test]
fn every_turned_byte_of_a_closed_file_is_found_when_it_is_read() {
    let (volume, _) = large();
    let names = logs(&volume);
    assert!(names.len() >= 4, "{names:?}");
    let expected = all(&open(&volume).unwrap().0);
    let mut found = 0;
    for name in &names[..2] {
        let log = volume.get(name);
        for byte in 0..log.len() {
            let mut damaged = log.clone();
            damaged[byte] ^= 0x10;
            let volume = volume.with(name, Some(damaged));
            let journal = match open(&volume) {
                Ok((journal, opened)) => {
                    assert_eq!(opened.scanned, 1, "the others have an index");
                    journal
                }
                Err(error) => {
                    assert!(byte < 64 && error.contains(name), "byte {byte}: {error}");
                    continue;
                }
            };
            for (agent, (now, before)) in all(&journal).iter().zip(&expected).enumerate() {
                let Err(error) = now else {
                    assert_eq!(now, before, "byte {byte} of {name}");
                    continue;
                };
                found += 1;
                let ReadError::Damaged(damage) = error else {
                    panic!("{error}");
                };
                assert_eq!(damage.file, format!("the faulty volume/{name}"));
                assert!(damage.record.ends_with(id(agent).as_str()), "{damage}");
                let at = usize::try_from(damage.offset).unwrap();
                assert!((at..at + 1_100).contains(&byte), "byte {byte}: {damage}");
            }
        }
    }
    assert!(found > 2_000, "{found}");
}

#[test]
fn every_turned_byte_of_a_snapshot_is_found_when_it_is_read() {
    let (volume, _) = small();
    // The index says where it is: it is read without the rest.
    let rig = DiskRig { volume };
    let (journal, _) = open(&rig.volume).unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    let mut number = CommitNumber(0);
    for _ in 0..20 {
        number = model
            .append(&journal, &id(9), Bytes::from(vec![1; 900]))
            .unwrap();
    }
    DiskRig::settle(&journal, &watch, number);
    drop(journal);
    let expected = open(&rig.volume).unwrap().0.read(&id(1)).unwrap().unwrap();
    let log = rig.volume.get(LOG);
    let mut found = 0;
    for byte in 64..log.len() {
        let mut damaged = log.clone();
        damaged[byte] ^= 0x04;
        let (journal, _) = open(&rig.volume.with(LOG, Some(damaged))).unwrap();
        match journal.read(&id(1)) {
            Ok(history) => assert_eq!(history.as_ref(), Some(&expected), "byte {byte}"),
            Err(ReadError::Damaged(damage)) => {
                assert!(damage.file.ends_with(LOG) && damage.record.contains("counter/1"));
                found += 1;
            }
            Err(error) => panic!("byte {byte}: {error}"),
        }
    }
    // The snapshot and the entry after it, heads and ids included.
    assert_eq!(found, 2 * (56 + 9 + 1_500));
}

#[test]
fn a_damaged_or_missing_index_is_made_again() {
    let (volume, _) = large();
    let expected = all(&open(&volume).unwrap().0);
    let indexes = volume
        .names()
        .into_iter()
        .filter(|name| name.ends_with(".index"));
    let indexes: Vec<_> = indexes.collect();
    assert!(indexes.len() >= 3);
    for name in &indexes {
        let index = volume.get(name);
        for byte in (0..index.len()).step_by(7) {
            let mut damaged = index.clone();
            damaged[byte] ^= 0x20;
            let volume = volume.with(name, Some(damaged));
            let (journal, opened) = open(&volume).unwrap();
            assert_eq!(
                opened.damaged_indexes,
                std::slice::from_ref(name),
                "byte {byte}"
            );
            assert_eq!(all(&journal), expected, "byte {byte} of {name}");
        }
        let volume = volume.with(name, None);
        let (journal, opened) = open(&volume).unwrap();
        assert_eq!((opened.scanned, opened.damaged_indexes.len()), (2, 0));
        assert_eq!(all(&journal), expected, "without {name}");
        drop(journal);
        assert_eq!(open(&volume).unwrap().1.scanned, 1, "it is there again");
    }
    // All at once: the files alone say the same.
    let mut bare = volume.clone();
    for name in &indexes {
        bare = bare.with(name, None);
    }
    assert_eq!(all(&open(&bare).unwrap().0), expected);
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let (volume, _) = large();
    for name in logs(&volume) {
        let error = open(&volume.with(&name, None)).map(|_| ()).unwrap_err();
        let words = [name.as_str(), "missing", "the faulty volume"];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn files_that_changed_places_are_an_error() {
    let (volume, _) = large();
    let (first, second) = (volume.get(LOG), volume.get("0000000002.journal"));
    let swapped = volume
        .with(LOG, Some(second))
        .with("0000000002.journal", Some(first));
    let error = open(&swapped).map(|_| ()).unwrap_err();
    assert!(error.contains("damaged at byte 0"), "{error}");
}

#[test]
fn what_cannot_be_read_stays_and_is_said() {
    let rig = DiskRig::default();
    let (journal, _) = rig.open_with(calm(8 << 10)).unwrap();
    let watch = Watch::on(&journal);
    let mut model = Model::new();
    let number = model
        .append(&journal, &id(1), Bytes::from_static(b"needed"))
        .unwrap();
    DiskRig::settle(&journal, &watch, number);
    // Enough after it to be in a closed file, and then waste.
    let mut number = CommitNumber(0);
    for _ in 0..40 {
        number = model
            .append(&journal, &id(2), Bytes::from(vec![1; 900]))
            .unwrap();
    }
    DiskRig::settle(&journal, &watch, number);
    drop(journal);
    let mut log = rig.volume.get(LOG);
    let at = log.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(at > 600);
    // The first agent's only entry.
    log[512 + 48 + 60] ^= 1;
    let rig = DiskRig {
        volume: rig.volume.with(LOG, Some(log)),
    };
    let journal = rig.open().unwrap();
    let watch = Watch::on(&journal);
    let stored = model
        .store(&journal, &watch, &id(2), Bytes::from_static(b"state"))
        .unwrap();
    DiskRig::settle_stored(&journal, &watch, stored);
    watch.until(|heard| heard.unreadable.is_some());
    let said = watch.heard().unreadable.unwrap();
    assert!(said.contains("entry 1 of counter/1"), "{said}");
    assert!(rig.volume.names().contains(&LOG.to_owned()));
    // Others go on.
    let number = model
        .append(&journal, &id(2), Bytes::from_static(b"more"))
        .unwrap();
    DiskRig::settle(&journal, &watch, number);
}

#[test]
fn files_are_freed_and_nothing_needed_is_lost() {
    for seed in 0..20 {
        let rig = DiskRig::default();
        let journal = rig.open().unwrap();
        let watch = Watch::on(&journal);
        let mut model = Model::new();
        let mut rng = Rng::new(seed);
        // One that is written once, and needed to the end.
        model
            .append(&journal, &id(77), Bytes::from_static(b"old"))
            .unwrap();
        model
            .store(&journal, &watch, &id(78), rng.bytes(2_000))
            .unwrap();
        for _ in 0..6 {
            storm::<DiskRig>(&mut model, &journal, &watch, &mut rng, 100);
            for agent in 0..6 {
                let stored = model
                    .store(&journal, &watch, &id(agent), rng.bytes(500))
                    .unwrap();
                DiskRig::settle_stored(&journal, &watch, stored);
            }
        }
        assert!(
            journal.figures().moved > 0,
            "seed {seed}: {:?}",
            journal.figures()
        );
        for more in 0.. {
            let figures = journal.figures();
            if figures.bytes <= 40 << 10 {
                break;
            }
            assert!(more < 100, "seed {seed}: {figures:?}");
            let number = model
                .append(&journal, &id(1), Bytes::from_static(b"more"))
                .unwrap();
            DiskRig::settle(&journal, &watch, number);
        }
        drop(journal);
        let journal = rig.open().unwrap();
        model.recover(&journal, &watch.heard());
        // And without any index.
        drop(journal);
        let mut bare = rig.volume.clone();
        for name in rig
            .volume
            .names()
            .iter()
            .filter(|name| name.ends_with(".index"))
        {
            bare = bare.with(name, None);
        }
        let (journal, _) = open(&bare).unwrap();
        model.recover(&journal, &crate::model::Heard::default());
    }
}
