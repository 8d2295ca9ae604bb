//! Areas on disk: as good as those in memory, and as they were when they are opened
//! again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phoenix_core::{
    AgentId, Backlog, Body, ContentType, Envelope, Expiry, Extras, Incarnation, Lane, MemorySpill,
    Millis, Payload, Sender, Sequence, Spill, SpillError, StreamKey,
};
use phoenix_store::spill::{DiskSpill, SpillSpace};
use proptest::prelude::*;

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn area(number: u64) -> AgentId {
    id(&format!("kind/{number}"))
}

/// A message with something of everything in it.
fn message(number: u64, lane: Lane, size: usize) -> Arc<Envelope> {
    Arc::new(Envelope {
        stream: StreamKey::shared(
            Sender::Agent(id("from/é"), Incarnation::default()),
            id("kind/0"),
            lane,
        ),
        sequence: number.is_multiple_of(2).then_some(Sequence {
            number: number + 1,
            base: NonZeroU64::MIN,
            give_up: Millis(7),
        }),
        body: Body::Message {
            method: "do".into(),
            payload: Payload {
                content_type: ContentType::Binary,
                bytes: vec![number as u8; size].into(),
            },
            ask: None,
        },
        extras: Some(Box::new(Extras {
            expiry: Some(Expiry {
                at: Millis(number),
                report: true,
            }),
            original: None,
            attributes: None,
        })),
    })
}

fn open(directory: &Path) -> DiskSpill {
    let (spill, bad) = DiskSpill::open(directory, SpillSpace::new(u64::MAX), |_| true).unwrap();
    assert_eq!(bad, [""; 0]);
    spill
}

/// Everything in a lane.
fn drain(spill: &mut dyn Spill, area: &AgentId, lane: Lane) -> Vec<Arc<Envelope>> {
    spill.pop(area, lane, u64::MAX, u64::MAX).unwrap()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    files.sort();
    files
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(u64, Lane, usize),
    Pop(u64, Lane, u64, u64),
    Clear(u64),
    /// The process ends and another begins.
    Again,
}

fn op() -> impl Strategy<Value = Op> {
    let lane = || prop::sample::select(&Lane::MESSAGES[..]);
    let size = prop_oneof![9 => 0..200usize, 1 => 60_000..700_000usize];
    prop_oneof![
        6 => (0..4u64, lane(), size).prop_map(|(area, lane, size)| Op::Push(area, lane, size)),
        4 => (0..4u64, lane(), 0..5u64, 0..2_000u64)
            .prop_map(|(area, lane, messages, bytes)| Op::Pop(area, lane, messages, bytes)),
        1 => (0..4u64).prop_map(Op::Clear),
        1 => Just(Op::Again),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_area_on_disk_is_one_in_memory_that_stays(ops in prop::collection::vec(op(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = open(directory.path());
        let mut memory = MemorySpill::default();
        for (number, op) in (0..).zip(ops) {
            match op {
                Op::Push(at, lane, size) => {
                    let envelope = message(number, lane, size);
                    disk.push(&area(at), &envelope).unwrap();
                    memory.push(&area(at), &envelope).unwrap();
                }
                Op::Pop(at, lane, messages, bytes) => prop_assert_eq!(
                    disk.pop(&area(at), lane, messages, bytes),
                    memory.pop(&area(at), lane, messages, bytes)
                ),
                Op::Clear(at) => {
                    disk.clear(&area(at));
                    memory.clear(&area(at));
                }
                Op::Again => {
                    drop(disk);
                    disk = open(directory.path());
                }
            }
            prop_assert_eq!(disk.agents(), memory.agents());
        }
        for at in 0..4 {
            for lane in Lane::MESSAGES {
                let expected = drain(&mut memory, &area(at), lane);
                prop_assert_eq!(drain(&mut disk, &area(at), lane), expected);
            }
        }
        prop_assert_eq!(files(directory.path()), Vec::<PathBuf>::new(), "nothing is left behind");
    }
}

/// Wherever the last write was when the process ended.
#[test]
fn a_message_that_was_not_written_whole_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut spill = open(directory.path());
    let mut ends = Vec::new();
    for number in 0..3 {
        let path = files(directory.path());
        ends.push(path.first().map_or(0, |it| fs::metadata(it).unwrap().len()));
        spill
            .push(&area(0), &message(number, Lane::Low, 20))
            .unwrap();
    }
    drop(spill);
    let path = files(directory.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    for length in ends[1] as usize..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let mut spill = open(directory.path());
        let count = drain(&mut spill, &area(0), Lane::Low).len();
        let expected =
            1 + usize::from(length as u64 >= ends[2]) + usize::from(length == whole.len());
        assert_eq!(count, expected, "{length} bytes");
        assert!(files(directory.path()).is_empty());
    }
}

/// Every byte counts; what is damaged is said, and costs no other lane anything.
#[test]
fn damage_is_named() {
    let directory = tempfile::tempdir().unwrap();
    // Where each message of the damaged lane ends.
    let fill = || -> Vec<u64> {
        let mut spill = open(directory.path());
        let fill_both = |number| {
            for lane in [Lane::Low, Lane::Bulk] {
                spill.push(&area(0), &message(number, lane, 20)).unwrap();
            }
            let low = &files(directory.path())[0];
            fs::metadata(low).unwrap().len()
        };
        (0..3).map(fill_both).collect()
    };
    let ends = fill();
    let path = files(directory.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for file in files(directory.path()) {
            fs::remove_file(file).unwrap();
        }
        fill();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(&path, &bytes).unwrap();
        let space = SpillSpace::new(u64::MAX);
        let (mut spill, bad) = DiskSpill::open(directory.path(), space.clone(), |_| true).unwrap();
        let before = ends.iter().filter(|end| **end <= at as u64).count();
        let mut in_front = 0;
        let popped = loop {
            match spill.pop(&area(0), Lane::Low, u64::MAX, u64::MAX) {
                Ok(messages) if !messages.is_empty() => in_front += messages.len(),
                end => break end,
            }
        };
        assert_eq!(in_front, before, "byte {at}");
        match popped {
            // Of a header that cannot be read nobody knows whose it is.
            Ok(_) => assert!(bad[0].contains(path.to_str().unwrap()), "{bad:?}"),
            Err(SpillError::Damaged { agent, why }) => {
                assert_eq!(agent, area(0));
                assert!(why.contains(path.to_str().unwrap()), "{why}");
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(
            drain(&mut spill, &area(0), Lane::Low).len(),
            0,
            "what is behind is lost"
        );
        assert_eq!(
            drain(&mut spill, &area(0), Lane::Bulk).len(),
            3,
            "byte {at}"
        );
        assert_eq!(space.used(), 0, "byte {at}");
    }
}

#[test]
fn all_areas_together_have_a_bound_that_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let space = SpillSpace::new(2_000);
    let (mut spill, _) = DiskSpill::open(directory.path(), space.clone(), |_| true).unwrap();
    let mut count = 0;
    let refused = loop {
        match spill.push(&area(count), &message(count, Lane::Low, 300)) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SpillError::Full { bound: 2_000 });
    assert!((3..=5).contains(&count), "{count}");
    let on_disk: u64 = files(directory.path())
        .iter()
        .map(|it| fs::metadata(it).unwrap().len())
        .sum();
    assert_eq!(space.used(), on_disk);
    drop(spill);
    let space = SpillSpace::new(2_000);
    let (mut spill, _) = DiskSpill::open(directory.path(), space.clone(), |_| true).unwrap();
    assert_eq!(space.used(), on_disk, "what was there counts");
    for number in 0..count {
        assert_eq!(drain(&mut spill, &area(number), Lane::Low).len(), 1);
    }
    spill.clear(&area(count));
    assert_eq!(space.used(), 0);
}

/// Several keep the same directory, each its own agents.
#[test]
fn each_keeps_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut spill = open(directory.path());
    for number in 0..4 {
        spill
            .push(&area(number), &message(number, Lane::Low, 1))
            .unwrap();
    }
    drop(spill);
    let first = [area(0), area(1)];
    let mine = |agent: &AgentId| first.contains(agent);
    let space = SpillSpace::new(u64::MAX);
    let (one, _) = DiskSpill::open(directory.path(), space.clone(), mine).unwrap();
    let (other, _) = DiskSpill::open(directory.path(), space, |it| !mine(it)).unwrap();
    assert_eq!(one.agents(), [area(0), area(1)]);
    assert_eq!(other.agents(), [area(2), area(3)]);
}

/// More agents spill than files may be open.
#[test]
fn many_areas_at_once_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut spill = open(directory.path());
    for round in 0..3 {
        for number in 0..200 {
            spill
                .push(&area(number), &message(round, Lane::Low, 1))
                .unwrap();
        }
    }
    for number in 0..200 {
        let expected: Vec<_> = (0..3).map(|round| message(round, Lane::Low, 1)).collect();
        assert_eq!(drain(&mut spill, &area(number), Lane::Low), expected);
    }
    assert!(files(directory.path()).is_empty());
}

/// A disk that is full costs the message that found it so, and no other.
#[test]
fn a_write_that_fails_is_as_if_it_had_not_been_tried() {
    let directory = tempfile::tempdir().unwrap();
    let mut spill = open(directory.path());
    spill.push(&area(0), &message(0, Lane::Low, 1)).unwrap();
    // No new segment can be made while something that is no file has its name.
    let path = files(directory.path()).remove(0);
    let next = path
        .to_str()
        .unwrap()
        .replace("-0000000000.", "-0000000001.");
    fs::create_dir(&next).unwrap();
    let mut failed = 0;
    for number in 1..5 {
        // The first fills the segment, the next would need another.
        let pushed = spill.push(&area(0), &message(number, Lane::Low, 1 << 20));
        failed += usize::from(matches!(pushed, Err(SpillError::Disk { .. })));
    }
    assert_eq!(failed, 3);
    fs::remove_dir(&next).unwrap();
    spill.push(&area(0), &message(9, Lane::Low, 1)).unwrap();
    let expected = [
        message(0, Lane::Low, 1),
        message(1, Lane::Low, 1 << 20),
        message(9, Lane::Low, 1),
    ];
    assert_eq!(drain(&mut spill, &area(0), Lane::Low), expected);
}

/// Whoever takes over an area knows at once what can be had of it.
#[test]
fn a_survey_finds_what_can_be_read_and_says_what_cannot() {
    let directory = tempfile::tempdir().unwrap();
    // The first lane takes more than a segment.
    let size = 600 << 10;
    let mut spill = open(directory.path());
    for number in 0..5 {
        spill
            .push(&area(0), &message(number, Lane::Low, size))
            .unwrap();
        spill
            .push(&area(0), &message(number, Lane::Bulk, 20))
            .unwrap();
    }
    assert_eq!(drain_some(&mut spill, Lane::Low, 1), 1);
    drop(spill);
    let backlog = |lane, messages, size| Backlog {
        lane,
        messages,
        bytes: messages * message(0, lane, size).size() as u64,
    };
    let mut spill = open(directory.path());
    let whole = [backlog(Lane::Low, 4, size), backlog(Lane::Bulk, 5, 20)];
    assert_eq!(spill.survey(&area(0)), (whole.to_vec(), vec![]));
    assert_eq!(spill.survey(&area(1)), (vec![], vec![]));
    drop(spill);
    let low = files(directory.path())
        .into_iter()
        .filter(|path| path.extension().unwrap() == "spill");
    let second = low.into_iter().nth(1).unwrap();
    let mut bytes = fs::read(&second).unwrap();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    fs::write(&second, bytes).unwrap();
    let space = SpillSpace::new(u64::MAX);
    let (mut spill, bad) = DiskSpill::open(directory.path(), space.clone(), |_| true).unwrap();
    assert_eq!(bad, [""; 0]);
    let (found, lost) = spill.survey(&area(0));
    assert_eq!(
        found,
        [backlog(Lane::Low, 2, size), backlog(Lane::Bulk, 5, 20)]
    );
    let why = lost[0].to_string();
    assert!(why.contains(second.to_str().unwrap()), "{why}");
    assert_eq!(lost.len(), 1);
    assert_eq!(drain(&mut spill, &area(0), Lane::Low).len(), 2);
    assert_eq!(drain(&mut spill, &area(0), Lane::Bulk).len(), 5);
    assert_eq!(space.used(), 0);
    assert!(files(directory.path()).is_empty());
}

fn drain_some(spill: &mut dyn Spill, lane: Lane, messages: u64) -> usize {
    spill.pop(&area(0), lane, messages, u64::MAX).unwrap().len()
}
