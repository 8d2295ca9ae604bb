//! The record log: what a crash, a failing disk and a flipped bit do to it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

mod faulty;

use std::sync::Arc;

use faulty::FaultyDisk;
use phoenix_store::log::{LogError, RecordLog, Recovered};
use proptest::prelude::*;

const LOG: &str = "test-0000000000.log";

fn open(disk: &FaultyDisk) -> Result<(RecordLog, Recovered), LogError> {
    RecordLog::open(Arc::new(disk.clone()), "test")
}

fn record(number: u64) -> Vec<u8> {
    let length = usize::try_from(number * 7 % 23).unwrap();
    let mut record = number.to_be_bytes().to_vec();
    record.extend(std::iter::repeat_n(0xa5, length));
    record
}

/// A disk with a log of so many records, each in a block of its own.
fn written(records: u64) -> FaultyDisk {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    for number in 0..records {
        log.commit([record(number).as_slice()]).unwrap();
    }
    disk
}

fn with(disk: &FaultyDisk, name: &str, content: &[u8]) -> FaultyDisk {
    let copy = FaultyDisk::default();
    for other in disk.names() {
        copy.put(&other, &disk.get(&other));
    }
    copy.put(name, content);
    copy
}

#[test]
fn records_come_back_in_order() {
    let disk = written(20);
    let (mut log, recovered) = open(&disk).unwrap();
    let expected: Vec<_> = (0..20).map(record).collect();
    assert_eq!(recovered.records, expected);
    assert_eq!((recovered.snapshot, recovered.torn), (None, None));
    log.commit([b"one".as_slice(), b"", b"two"]).unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(
        recovered.records[20..],
        [b"one".to_vec(), Vec::new(), b"two".to_vec()]
    );
}

#[test]
fn much_is_split_into_blocks() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let large = vec![3_u8; 1 << 20];
    let records: Vec<&[u8]> = (0..11).map(|_| large.as_slice()).collect();
    log.commit(records).unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.records.len(), 11);
    assert!(recovered.records.iter().all(|record| *record == large));
}

#[test]
fn what_a_killed_run_has_left_is_durable_before_it_is_read() {
    for operations in 0..30 {
        let disk = FaultyDisk::default();
        disk.die_after(operations);
        if let Ok((mut log, _)) = open(&disk) {
            let mut numbers = 0..6;
            let _ = numbers.try_for_each(|number| {
                log.commit([record(number).as_slice()])?;
                log.compact(b"all before").map(|_| ())
            });
        }
        let disk = disk.after_kill();
        let (mut log, mut found) = open(&disk).unwrap();
        log.commit([b"more".as_slice()]).unwrap();
        found.records.push(b"more".to_vec());
        // The power is lost, and with it all that could be.
        let disk = disk.after_power_loss(|_| 0);
        let (_, again) = open(&disk).unwrap();
        assert_eq!(again.records, found.records, "killed after {operations}");
        assert_eq!(again.snapshot, found.snapshot, "killed after {operations}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let disk = written(8);
    let log = disk.get(LOG);
    for byte in 0..log.len() {
        for bit in 0..8 {
            let mut damaged = log.clone();
            damaged[byte] ^= 1 << bit;
            let error = open(&with(&disk, LOG, &damaged)).map(|_| ()).unwrap_err();
            let LogError::Damaged { file, offset, .. } = &error else {
                panic!("bit {bit} of byte {byte}: {error}");
            };
            assert_eq!(file, LOG);
            let offset = usize::try_from(*offset).unwrap();
            assert!(offset <= byte, "byte {byte} is named as damage at {offset}");
            assert!(error.to_string().contains(LOG), "{error}");
        }
    }
}

#[test]
fn every_truncation_leaves_what_was_whole() {
    let disk = written(8);
    let log = disk.get(LOG);
    let mut seen = 0;
    for length in 0..log.len() {
        let cut = with(&disk, LOG, &log[..length]);
        match open(&cut) {
            // The header is durable before the log has its name.
            Err(LogError::Damaged { offset: 0, .. }) => assert!(length < 24, "{length}"),
            Err(error) => panic!("cut to {length}: {error}"),
            Ok((mut log, recovered)) => {
                let count = recovered.records.len();
                let expected: Vec<_> = (0..count as u64).map(record).collect();
                assert_eq!(recovered.records, expected);
                assert!(count >= seen, "more of the file is never less of the log");
                seen = count;
                if let Some(torn) = recovered.torn {
                    assert_eq!(torn.offset + torn.bytes, length as u64);
                    assert_eq!(cut.get(LOG).len() as u64, torn.offset, "it is cut off");
                }
                log.commit([b"more".as_slice()]).unwrap();
                let (_, again) = open(&cut).unwrap();
                assert_eq!(again.records.len(), count + 1);
                assert_eq!(again.torn, None);
            }
        }
    }
    assert_eq!(seen, 7);
}

#[test]
fn a_sector_that_was_never_written_is_a_torn_end_only_at_the_end() {
    let disk = written(1);
    let (mut log, _) = open(&disk).unwrap();
    let before = disk.get(LOG).len();
    let large = vec![9_u8; 3_000];
    log.commit([large.as_slice()]).unwrap();
    let whole = disk.get(LOG);
    for sector in 1..whole.len() / 512 {
        let mut torn = whole.clone();
        torn[sector * 512..(sector + 1) * 512].fill(0);
        let (_, recovered) = open(&with(&disk, LOG, &torn)).unwrap();
        assert_eq!(recovered.torn.map(|torn| torn.offset), Some(before as u64));
        assert_eq!(recovered.records.len(), 1);
    }
    // With something behind it, the same is damage.
    log.commit([b"later".as_slice()]).unwrap();
    let whole = disk.get(LOG);
    for sector in 1..whole.len() / 512 - 1 {
        let mut torn = whole.clone();
        torn[sector * 512..(sector + 1) * 512].fill(0);
        let error = open(&with(&disk, LOG, &torn)).map(|_| ()).unwrap_err();
        assert!(matches!(error, LogError::Damaged { offset, .. } if offset == before as u64));
    }
}

#[test]
fn blocks_that_changed_places_are_noticed() {
    let disk = FaultyDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let mut ends = vec![disk.get(LOG).len()];
    for text in ["aaaa", "bbbb", "cccc"] {
        log.commit([text.as_bytes()]).unwrap();
        ends.push(disk.get(LOG).len());
    }
    let log = disk.get(LOG);
    let block = |n: usize| &log[ends[n]..ends[n + 1]];
    let header = &log[..ends[0]];
    for order in [
        vec![1, 0, 2],
        vec![0, 2],
        vec![1, 2],
        vec![0, 0, 1, 2],
        vec![0, 1, 2, 2],
    ] {
        let mut mixed = header.to_vec();
        for n in &order {
            mixed.extend_from_slice(block(*n));
        }
        let result = open(&with(&disk, LOG, &mixed)).map(|(_, recovered)| recovered);
        let error = result.unwrap_err();
        assert!(
            matches!(error, LogError::Damaged { .. }),
            "{order:?}: {error}"
        );
    }
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let disk = written(2);
    let (mut log, _) = open(&disk).unwrap();
    disk.fail_syncs_after(1);
    log.commit([b"good".as_slice()]).unwrap();
    let syncs = disk.syncs();
    let error = log.commit([b"bad".as_slice()]).unwrap_err();
    assert!(error.to_string().contains("sync"), "{error}");
    let error = log.commit([b"worse".as_slice()]).unwrap_err();
    assert!(matches!(error, LogError::Failed(_)));
    assert!(matches!(log.compact(b"state"), Err(LogError::Failed(_))));
    assert_eq!(disk.syncs(), syncs + 1);
}

#[test]
fn a_full_disk_fails_the_log_and_a_roomier_one_opens_it_again() {
    let disk = written(2);
    let (mut log, _) = open(&disk).unwrap();
    let used = disk.get(LOG).len();
    disk.set_capacity(Some(used + 30));
    let error = log.commit([b"does not fit".as_slice()]).unwrap_err();
    assert!(matches!(error, LogError::Io { .. }), "{error}");
    disk.set_capacity(None);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.records.len(), 2);
    assert_eq!(recovered.torn.unwrap().bytes, 30);
    log.commit([b"fits".as_slice()]).unwrap();
}

#[test]
fn a_snapshot_takes_the_place_of_the_records_before_it() {
    let disk = written(5);
    let (mut log, _) = open(&disk).unwrap();
    assert!(log.compact(b"the first five").unwrap());
    log.commit([b"six".as_slice()]).unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.snapshot.unwrap(), b"the first five");
    assert_eq!(recovered.records, [b"six".to_vec()]);
    assert_eq!(disk.names().len(), 2, "{:?}", disk.names());
}

#[test]
fn without_room_for_a_snapshot_the_log_goes_on() {
    let disk = written(5);
    let (mut log, _) = open(&disk).unwrap();
    disk.set_capacity(Some(disk.get(LOG).len() + 100));
    assert!(!log.compact(&[1; 500]).unwrap());
    log.commit([b"six".as_slice()]).unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.snapshot, recovered.records.len()), (None, 6));
}

#[test]
fn a_damaged_or_missing_snapshot_is_an_error_and_never_an_older_state() {
    let disk = written(3);
    let (mut log, _) = open(&disk).unwrap();
    log.compact(b"three records").unwrap();
    log.commit([b"four".as_slice()]).unwrap();
    let name = "test-0000000001.snapshot";
    let snapshot = disk.get(name);
    for byte in 0..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[byte] ^= 0x10;
        let error = open(&with(&disk, name, &damaged)).map(|_| ()).unwrap_err();
        assert!(
            matches!(&error, LogError::Damaged { file, .. } if file == name),
            "{error}"
        );
    }
    for length in 0..snapshot.len() {
        open(&with(&disk, name, &snapshot[..length]))
            .map(|_| ())
            .unwrap_err();
    }
    let lost = FaultyDisk::default();
    lost.put("test-0000000001.log", &disk.get("test-0000000001.log"));
    let error = open(&lost).map(|_| ()).unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
    // Beside an older log, too.
    lost.put(LOG, &written(2).get(LOG));
    let error = open(&lost).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, LogError::Missing { file, .. } if file == name),
        "{error}"
    );
    let lost = FaultyDisk::default();
    lost.put(name, &snapshot);
    let error = open(&lost).map(|_| ()).unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
}

/// What a snapshot of the first `count` records says.
fn state(count: u64) -> Vec<u8> {
    count.to_le_bytes().to_vec()
}

/// How many records a log stands for; checks that they are the right ones.
fn counted(recovered: &Recovered) -> u64 {
    let snapshot = recovered.snapshot.as_ref();
    let first = snapshot.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
    for (index, found) in recovered.records.iter().enumerate() {
        assert_eq!(*found, record(first + index as u64));
    }
    first + recovered.records.len() as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The disk dies at any operation and the power goes: whatever was
    /// committed is there, in order, and at most what was under way besides.
    #[test]
    fn what_was_committed_survives(
        steps in proptest::collection::vec(0_u8..8, 1..40),
        lives in proptest::collection::vec((0_u64..60, any::<u64>()), 1..5),
    ) {
        let mut disk = FaultyDisk::default();
        let mut committed = 0;
        for (dies_after, seed) in lives {
            let mut seed = seed;
            disk.die_after(dies_after);
            let mut tried = committed;
            if let Ok((mut log, recovered)) = open(&disk) {
                committed = counted(&recovered);
                tried = committed;
                for step in &steps {
                    let done = if *step == 0 {
                        log.compact(&state(committed)).map(|_| ())
                    } else {
                        let batch: Vec<_> = (0..u64::from(*step % 3 + 1))
                            .map(|i| record(committed + i))
                            .collect();
                        tried = committed + batch.len() as u64;
                        let result = log.commit(batch.iter().map(Vec::as_slice));
                        if result.is_ok() {
                            committed = tried;
                        }
                        result
                    };
                    if done.is_err() {
                        break;
                    }
                }
            }
            disk = disk.after_power_loss(|bound| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from((seed >> 33) % bound.max(1) as u64).unwrap()
            });
            let (_, recovered) = open(&disk).unwrap();
            let found = counted(&recovered);
            prop_assert!((committed..=tried).contains(&found), "{found} of {committed} to {tried}");
            committed = found;
        }
    }

    /// Whatever a file holds, opening it is an error or a log; never a panic.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), keep in 0_usize..200) {
        let disk = written(3);
        let mut log = disk.get(LOG);
        log.truncate(keep);
        log.extend_from_slice(&bytes);
        if let Ok((_, recovered)) = open(&with(&disk, LOG, &log)) {
            counted(&recovered);
        }
    }
}
