//! The same script gives the same snapshot, wherever and however it is taken;
//! and what goes on from a snapshot stays the same as what was never stopped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod common;

use common::{Wat, admit, image, policy, same, start, turn};
use phoenix_host::{Host, HostConfig, Instance, PageFinder};
use phoenix_support::{adapter, agent, guest};

/// Writes here and there, grows its memory at turn 5, and reads all of it at
/// turns that divide by 7.
fn scribbler() -> Vec<u8> {
    Wat {
        body: "
            (i32.store (i32.mul (i32.rem_u (local.get $turn) (i32.const 50)) (i32.const 4100))
                (local.get $turn))
            ;; Written, and then as it was: no change.
            (i32.store (i32.const 250000) (i32.const 1))
            (i32.store (i32.const 250000) (i32.const 0))
            (if (i32.eq (local.get $turn) (i32.const 5))
                (then (drop (memory.grow (i32.const 3)))
                    (i32.store (i32.const 600000) (i32.const 7))))
            (if (i32.eqz (i32.rem_u (local.get $turn) (i32.const 7)))
                (then (loop $next
                    (drop (i32.load (local.get $at)))
                    (local.set $at (i32.add (local.get $at) (i32.const 1024)))
                    (br_if $next (i32.lt_u (local.get $at)
                        (i32.mul (memory.size) (i32.const 65536)))))))"
            .to_owned(),
        ..Wat::default()
    }
    .component()
}

/// An agent, what its turns are, and the one that reads all of its memory.
struct Subject {
    bytes: Vec<u8>,
    method: &'static str,
    reads_all: (u64, &'static str),
}

fn subjects() -> Vec<Subject> {
    let subject = |bytes: &[u8], method, reads_all| Subject {
        bytes: bytes.to_vec(),
        method,
        reads_all,
    };
    vec![
        subject(&scribbler(), "any", (7, "any")),
        subject(guest("padded"), "keep", (1, "read_all")),
        subject(guest("plain-rust"), "everything", (1, "read-all")),
    ]
}

impl Subject {
    fn script(&self, instance: &mut Instance) -> Vec<u8> {
        for number in 0..30 {
            turn(instance, number, self.method, "\"a b\"").unwrap();
        }
        image(instance)
    }

    fn read_all(&self, instance: &mut Instance) {
        let (number, method) = self.reads_all;
        let answer = turn(instance, number, method, "\"a b\"").unwrap();
        let mut answers = phoenix_wit::AnswerReader::new(&answer.frame, 1).unwrap();
        let outcome = answers.next_answer().unwrap().unwrap().outcome;
        assert!(
            matches!(outcome, phoenix_wit::Outcome::Ok(_)),
            "{outcome:?}"
        );
    }
}

/// Places of the hosts below: so many that agents who hold all of them at once
/// cannot but be in slots which as many before them had.
const PLACES: u32 = Host::SPARE_SLOTS + 4;

fn finding(finder: PageFinder) -> Host {
    let host = start(HostConfig {
        max_resident: Some(PLACES),
        page_finder: Some(finder),
        ..HostConfig::default()
    });
    let there = match finder {
        PageFinder::Scan => kernel() >= (6, 7),
        PageFinder::Pagemap => std::fs::File::open("/proc/self/pagemap").is_ok(),
        PageFinder::Compare => true,
    };
    let runs = if there { finder } else { PageFinder::Compare };
    assert_eq!(host.page_finder(), runs, "on kernel {:?}", kernel());
    host
}

/// The version of the kernel. `PAGEMAP_SCAN` is there from 6.7 on.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().unwrap().parse().unwrap();
    (next(), next())
}

#[test]
fn slots_and_finders_do_not_matter() {
    for subject in subjects() {
        let mut images = Vec::new();
        for finder in [PageFinder::Scan, PageFinder::Pagemap, PageFinder::Compare] {
            let host = finding(finder);
            let component = admit(&host, &subject.bytes);
            let begin = || component.instantiate(&policy()).unwrap();
            // The component's trial had one slot, so one of two is in a fresh one.
            let mut pair = [begin(), begin()];
            for instance in &mut pair {
                images.push((finder, "fresh", subject.script(instance)));
            }
            drop(pair);
            for place in ["filling all", "reused", "reused after all was read"] {
                let mut all: Vec<_> = (0..PLACES).map(|_| begin()).collect();
                for instance in &mut all {
                    images.push((finder, place, subject.script(instance)));
                }
                for instance in &mut all {
                    subject.read_all(instance);
                }
            }
            assert_eq!(host.page_finder_failures(), 0, "{finder:?}");
        }
        for (finder, place, image) in &images {
            assert!(image == &images[0].2, "{finder:?}, {place}");
        }
    }
}

#[test]
fn a_changed_page_is_stored_and_one_as_it_was_is_not() {
    let host = start(HostConfig::default());
    let component = admit(&host, &scribbler());
    let mut instance = component.instantiate(&policy()).unwrap();
    turn(&mut instance, 1, "any", "").unwrap();
    let limits = phoenix_host::image::ImageLimits {
        memory_bytes: 1 << 20,
        globals: 100,
    };
    let bytes = image(&mut instance);
    let image = phoenix_host::image::decode(&bytes, &limits).unwrap();
    // Page 1 by the script; page 64 by the frame, which the guest keeps at 262,144;
    // page 79 by the answer's address and length before page 80, which is data.
    assert_eq!(image.runs, [(1, 1), (64, 1), (79, 1)]);
}

/// Two of the same go on for a thousand batches, one of them from a snapshot;
/// now and then one is stopped again.
fn goes_on(bytes: &[u8], methods: &[&str], batches: u64) {
    let host = start(HostConfig::default());
    let component = admit(&host, bytes);
    let mut original = component.instantiate(&policy()).unwrap();
    turn(&mut original, 0, "init", "").unwrap();
    for number in 1..20 {
        let method = methods[number as usize % methods.len()];
        turn(&mut original, number, method, "\"a b\"").unwrap();
    }
    let bytes = image(&mut original);
    let mut restored = component.restore(&policy(), &bytes).unwrap();
    assert_eq!(original.memory_hash(), restored.memory_hash());
    let turns = |from: u64, to: u64| {
        (from..to).map(|number| {
            let method = methods[number as usize % methods.len()];
            (number, method.to_owned())
        })
    };
    for number in (20..batches).step_by(100) {
        same(&mut original, &mut restored, turns(number, number + 100));
        let bytes = image(&mut restored);
        assert!(bytes == image(&mut original), "after turn {number}");
        restored = component.restore(&policy(), &bytes).unwrap();
    }
}

#[test]
fn an_sdk_agent_goes_on_the_same() {
    goes_on(agent("counter"), &["add", "total"], 1_020);
}

#[test]
fn ordinary_rust_goes_on_the_same() {
    goes_on(guest("plain-rust"), &["everything"], 1_020);
}

#[test]
fn a_component_with_the_adapter_goes_on_the_same() {
    goes_on(adapter(), &["everything"], 1_020);
}

#[test]
fn structs_full_of_padding_go_on_the_same() {
    goes_on(guest("padded"), &["keep"], 1_020);
}

#[test]
fn one_that_grows_and_reads_all_goes_on_the_same() {
    goes_on(&scribbler(), &["any"], 1_020);
}

#[test]
fn the_cpu_does_not_matter() {
    let hosts = [false, true].map(|baseline_cpu| {
        start(HostConfig {
            baseline_cpu,
            ..HostConfig::default()
        })
    });
    for (bytes, method) in [(guest("plain-rust"), "everything"), (&floats(), "any")] {
        let [native, baseline] = &hosts;
        let (one, other) = (admit(native, bytes), admit(baseline, bytes));
        assert_eq!(one.base_hash(), other.base_hash());
        let mut first = one.instantiate(&policy()).unwrap();
        let mut second = other.instantiate(&policy()).unwrap();
        let turns = (0..100).map(|number| (number, method.to_owned()));
        same(&mut first, &mut second, turns);
        // And from one to the other.
        let bytes = image(&mut first);
        assert!(bytes == image(&mut second));
        let mut moved = other.restore(&policy(), &bytes).unwrap();
        let turns = (100..200).map(|number| (number, method.to_owned()));
        same(&mut first, &mut moved, turns);
    }
}

/// Sums, products, roots, NaNs and relaxed vectors, kept in memory.
fn floats() -> Vec<u8> {
    Wat {
        body: "
            (local.set $at (i32.mul (i32.and (local.get $turn) (i32.const 63)) (i32.const 16)))
            (f64.store offset=4096 (local.get $at)
                (f64.div (f64.sqrt (f64.convert_i32_u (local.get $turn)))
                    (f64.sub (f64.convert_i32_u (local.get $turn)) (f64.const 17))))
            (f64.store offset=8192 (local.get $at)
                (f64.div (f64.sub (f64.convert_i32_u (local.get $turn)) (f64.const 9))
                    (f64.sub (f64.convert_i32_u (local.get $turn)) (f64.const 9))))
            (v128.store offset=12288 (local.get $at)
                (f32x4.relaxed_madd
                    (f32x4.splat (f32.convert_i32_u (local.get $turn)))
                    (v128.const f32x4 0.1 1e30 -0.3 nan)
                    (v128.const f32x4 1e-9 1e30 0.7 1)))
            (v128.store offset=16384 (local.get $at)
                (i8x16.relaxed_swizzle
                    (v128.load offset=12288 (local.get $at))
                    (v128.const i8x16 1 200 3 255 16 0 0 0 9 9 9 9 31 15 14 2)))"
            .to_owned(),
        ..Wat::default()
    }
    .component()
}
