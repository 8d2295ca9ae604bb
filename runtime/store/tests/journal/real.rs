//! The journal on the file system of this machine.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::journal::{AgentLog, CommitNumber, Journal};
use phoenix_store::journal::{DiskJournal, Opened, RealVolume, Volume};
use tempfile::TempDir;

use crate::model::{DiskRig, Model, Rig, Rng, Watch, id, options, storm};

fn open(dir: &TempDir) -> (DiskJournal, Opened) {
    let volume = Arc::new(RealVolume::open(&dir.path().join("journal")).unwrap());
    DiskJournal::open(volume, options()).unwrap()
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    for life in 0..4 {
        let mut rng = Rng::new(life);
        let (journal, opened) = open(&dir);
        assert_eq!(opened.torn, None);
        let watch = Watch::on(&journal);
        model.recover(&journal, &watch.heard());
        storm::<DiskRig>(&mut model, &journal, &watch, &mut rng, 60);
        DiskRig::settle(&journal, &watch, model.issued());
        let heard = watch.heard();
        // Closing writes what waits.
        drop(journal);
        model.recover(&open(&dir).0, &heard);
    }
}

#[test]
fn a_torn_end_is_cut_off_on_a_real_file() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(&dir);
    let watch = Watch::on(&journal);
    let mut log = AgentLog::new(id(1));
    for _ in 0..3 {
        let body = Bytes::from_static(b"a turn");
        let number = log
            .append(&journal, 1, phoenix_core::Millis(0), body)
            .unwrap();
        DiskRig::settle(&journal, &watch, number);
    }
    drop(journal);
    let path = dir.path().join("journal/0000000001.journal");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // Only the beginning of the last block came to the disk.
    let start = end / 512 * 512;
    bytes[start + 30..=end].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let (journal, opened) = open(&dir);
    assert_eq!(opened.torn.unwrap().offset, start as u64);
    let history = journal.read(&id(1)).unwrap().unwrap();
    assert_eq!(history.records.len(), 2);
    drop(journal);
    let after = std::fs::read(&path).unwrap();
    assert_eq!(after.len(), bytes.len(), "it keeps its room");
    assert!(after[start..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_has_its_room_from_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let volume = RealVolume::open(dir.path()).unwrap();
    let file = volume.create("file", 1 << 20).unwrap();
    assert_eq!(file.length().unwrap(), 1 << 20);
    let blocks =
        std::os::unix::fs::MetadataExt::blocks(&dir.path().join("file").metadata().unwrap());
    assert!(blocks * 512 >= 1 << 20, "{blocks} blocks");
    let huge = volume.create("huge", 1 << 50);
    assert!(huge.is_err());
    assert_eq!(
        volume.list().unwrap(),
        ["file"],
        "nothing is left of what has no room"
    );
    assert_eq!(CommitNumber::default(), CommitNumber(0));
}
