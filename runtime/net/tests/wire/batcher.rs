//! The batcher beside a naive one, and what it promises.

use phoenix_core::{Lane, Nanos};
use phoenix_net::wire::{BatchLimits, Due, FrameBatcher, Full, PATIENCE, Place};

use crate::generate::Generator;

const CASES: u64 = 10_000;

/// A message: which one, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    number: u32,
    place: Place,
    bytes: usize,
    since: u64,
}

/// The same rules over one plain list, in the order everything came.
struct Naive {
    limits: BatchLimits,
    waiting: Vec<Message>,
    passed: [u32; 5],
}

impl Naive {
    /// What comes before the first barrier, and the barrier.
    fn first(&self) -> &[Message] {
        let barrier = self
            .waiting
            .iter()
            .position(|it| it.place == Place::Barrier);
        &self.waiting[..barrier.map_or(self.waiting.len(), |at| at + 1)]
    }

    fn head(&self, lane: Lane) -> Option<Message> {
        let mut first = self.first().iter();
        first.find(|it| it.place == Place::Lane(lane)).copied()
    }

    fn push(&mut self, message: Message) -> bool {
        let bytes: usize = self.waiting.iter().map(|it| it.bytes).sum();
        let fits = self.waiting.is_empty()
            || self.waiting.len() < self.limits.waiting_messages
                && bytes + message.bytes <= self.limits.waiting_bytes;
        if fits {
            self.waiting.push(message);
        }
        fits
    }

    fn due(&self, now: u64) -> Due {
        let bytes: usize = self.waiting.iter().map(|it| it.bytes).sum();
        if self.waiting.len() >= self.limits.messages || bytes >= self.limits.bytes {
            return Due::Now;
        }
        let at = self.first().iter().map(|it| match it.place {
            Place::Lane(lane) => it.since + self.limits.ages[lane.rank()].0,
            Place::Barrier => it.since,
        });
        match at.min() {
            None => Due::Never,
            Some(at) if at <= now => Due::Now,
            Some(at) => Due::At(Nanos(at)),
        }
    }

    fn take(&mut self) -> Vec<Message> {
        let mut frame: Vec<Message> = Vec::new();
        let fits = |frame: &[Message], bytes: usize, messages: usize, most: usize| {
            let used: usize = frame.iter().map(|it| it.bytes).sum();
            frame.is_empty() || frame.len() < messages && used + bytes <= most
        };
        let limits = self.limits.clone();
        let mut turns: Vec<Lane> = Lane::ALL[1..].to_vec();
        turns.retain(|lane| self.passed[lane.rank()] >= PATIENCE[lane.rank()]);
        turns.sort_by_key(|lane| {
            std::cmp::Reverse(self.passed[lane.rank()] - PATIENCE[lane.rank()])
        });
        for lane in turns {
            let mut share = Vec::new();
            while let Some(head) = self.head(lane)
                && fits(&frame, head.bytes, limits.messages, limits.bytes)
                && fits(
                    &share,
                    head.bytes,
                    (limits.messages / 4).max(1),
                    limits.bytes / 4,
                )
            {
                share.push(head);
                self.leave(head, &mut frame);
            }
        }
        'frame: loop {
            for lane in Lane::ALL {
                while let Some(head) = self.head(lane) {
                    if !fits(&frame, head.bytes, limits.messages, limits.bytes) {
                        break 'frame;
                    }
                    self.leave(head, &mut frame);
                }
            }
            match self.waiting.first().copied() {
                Some(barrier) if fits(&frame, barrier.bytes, limits.messages, limits.bytes) => {
                    self.leave(barrier, &mut frame);
                }
                _ => break,
            }
        }
        for lane in Lane::ALL {
            let served = frame.iter().any(|it| it.place == Place::Lane(lane));
            let passed = &mut self.passed[lane.rank()];
            *passed = if served || self.waiting.is_empty() {
                0
            } else {
                *passed + 1
            };
            if self.head(lane).is_none() {
                self.passed[lane.rank()] = 0;
            }
        }
        frame
    }

    fn leave(&mut self, message: Message, frame: &mut Vec<Message>) {
        self.waiting.retain(|it| it.number != message.number);
        frame.push(message);
    }
}

fn limits(generator: &mut Generator) -> BatchLimits {
    BatchLimits {
        messages: 1 + generator.below(12),
        bytes: 1 + generator.below(400),
        ages: [0, 1, 2, 3, 4].map(|lane| Nanos(lane * generator.below(50) as u64)),
        waiting_messages: 1 + generator.below(80),
        waiting_bytes: 1 + generator.below(3_000),
    }
}

fn place(generator: &mut Generator) -> Place {
    match generator.below(12) {
        0 => Place::Barrier,
        1..=2 => Place::Lane(Lane::Reply),
        3..=5 => Place::Lane(Lane::High),
        6..=8 => Place::Lane(Lane::Normal),
        9 => Place::Lane(Lane::Low),
        _ => Place::Lane(Lane::Bulk),
    }
}

#[test]
fn it_does_what_a_naive_one_does() {
    for case in 0..CASES {
        let mut generator = Generator(case);
        let limits = limits(&mut generator);
        let mut batcher = FrameBatcher::new(limits.clone());
        let mut naive = Naive {
            limits,
            waiting: Vec::new(),
            passed: [0; 5],
        };
        let mut now = 0;
        for number in 0..100 {
            now += generator.below(30) as u64;
            if generator.below(4) > 0 {
                let message = Message {
                    number,
                    place: place(&mut generator),
                    bytes: generator.below(150),
                    since: now,
                };
                let pushed = batcher.push(message.place, message.bytes, Nanos(now), message);
                assert_eq!(pushed.is_ok(), naive.push(message), "case {case}");
                assert!(
                    pushed.is_ok() || pushed == Err(Full(message)),
                    "case {case}"
                );
            } else {
                let mut frame = Vec::new();
                let bytes = batcher.take(&mut frame);
                assert_eq!(frame, naive.take(), "case {case}");
                let sum: usize = frame.iter().map(|it| it.bytes).sum();
                assert_eq!(bytes, sum, "case {case}");
            }
            assert_eq!(batcher.due(Nanos(now)), naive.due(now), "case {case}");
            assert_eq!(batcher.len(), naive.waiting.len(), "case {case}");
        }
    }
}

#[test]
fn frames_are_bounded_ordered_and_nobody_starves() {
    for case in 0..CASES {
        let mut generator = Generator(case);
        let limits = BatchLimits {
            waiting_messages: usize::MAX,
            waiting_bytes: usize::MAX,
            ..limits(&mut generator)
        };
        let mut batcher = FrameBatcher::new(limits.clone());
        let mut last_of_lane = [None; 5];
        let mut number = 0;
        // Frames that went by since a lane's head became its head.
        let mut waited = [0_u32; 5];
        let mut heads: [std::collections::VecDeque<u32>; 5] = Default::default();
        for _ in 0..40 {
            // More comes than goes, most of it urgent.
            for _ in 0..generator.below(3 * limits.messages) {
                let Place::Lane(lane) = place(&mut generator) else {
                    continue;
                };
                number += 1;
                heads[lane.rank()].push_back(number);
                let bytes = generator.below(150);
                batcher
                    .push(Place::Lane(lane), bytes, Nanos(0), (number, lane, bytes))
                    .unwrap();
            }
            let mut frame = Vec::new();
            let bytes = batcher.take(&mut frame);
            assert!(frame.len() <= limits.messages, "case {case}");
            assert!(bytes <= limits.bytes || frame.len() == 1, "case {case}");
            assert!(!frame.is_empty() || batcher.is_empty(), "case {case}");
            let mut served = [false; 5];
            for (number, lane, _) in frame {
                let last = last_of_lane[lane.rank()].replace(number);
                assert!(last < Some(number), "case {case}: {lane:?} lost its order");
                assert_eq!(heads[lane.rank()].pop_front(), Some(number), "case {case}");
                served[lane.rank()] = true;
            }
            for lane in Lane::ALL {
                let at = lane.rank();
                waited[at] = if served[at] || heads[at].is_empty() {
                    0
                } else {
                    waited[at] + 1
                };
                if lane != Lane::Reply {
                    let bound = PATIENCE[at] + 4;
                    assert!(
                        waited[at] <= bound,
                        "case {case}: {lane:?} waited for {} frames",
                        waited[at]
                    );
                }
            }
        }
    }
}

#[test]
fn the_highest_lane_goes_first_and_a_barrier_is_not_overtaken() {
    let mut batcher = FrameBatcher::new(BatchLimits::default());
    for (place, name) in [
        (Place::Lane(Lane::Bulk), "bulk"),
        (Place::Lane(Lane::Normal), "normal"),
        (Place::Lane(Lane::High), "high"),
        (Place::Lane(Lane::Reply), "reply"),
        (Place::Barrier, "marker"),
        (Place::Lane(Lane::High), "high again"),
        (Place::Lane(Lane::Normal), "normal again"),
    ] {
        batcher.push(place, 10, Nanos(0), name).unwrap();
    }
    let mut frame = Vec::new();
    assert_eq!(batcher.take(&mut frame), 70);
    assert_eq!(
        frame,
        [
            "reply",
            "high",
            "normal",
            "bulk",
            "marker",
            "high again",
            "normal again"
        ]
    );
    assert_eq!(batcher.due(Nanos(0)), Due::Never);
}

#[test]
fn a_frame_is_due_by_count_by_bytes_and_by_age() {
    let limits = BatchLimits {
        messages: 3,
        bytes: 100,
        ..BatchLimits::default()
    };
    let low = Place::Lane(Lane::Low);
    let mut batcher = FrameBatcher::new(limits);
    assert_eq!(batcher.due(Nanos(7)), Due::Never);
    batcher.push(low, 10, Nanos(7), 1).unwrap();
    assert_eq!(batcher.due(Nanos(7)), Due::At(Nanos(1_000_007)));
    assert_eq!(batcher.due(Nanos(1_000_007)), Due::Now);
    batcher.push(low, 10, Nanos(8), 2).unwrap();
    batcher.push(low, 10, Nanos(9), 3).unwrap();
    assert_eq!(batcher.due(Nanos(9)), Due::Now, "three are a frame");
    batcher.take(&mut Vec::new());
    batcher.push(low, 100, Nanos(9), 4).unwrap();
    assert_eq!(batcher.due(Nanos(9)), Due::Now, "so many bytes are one");
    batcher.take(&mut Vec::new());
    batcher
        .push(Place::Lane(Lane::High), 1, Nanos(9), 5)
        .unwrap();
    assert_eq!(
        batcher.due(Nanos(9)),
        Due::Now,
        "a high one waits for nobody"
    );
    batcher.take(&mut Vec::new());
    batcher.push(Place::Barrier, 1, Nanos(9), 6).unwrap();
    assert_eq!(batcher.due(Nanos(9)), Due::Now);
    assert_eq!(batcher.drain().collect::<Vec<_>>(), [6]);
    assert!(batcher.is_empty() && batcher.bytes() == 0);
}
