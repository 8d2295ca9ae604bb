//! What waits for a peer, and which of it leaves in the next frame.
//!
//! Frames are batched by count, bytes and time, and by priority: each is filled
//! from the highest lane down. A lane that was passed over in several frames in
//! a row begins the next one, so none starves: the head of a lane leaves within
//! [`PATIENCE`] frames and one for every other lane. A barrier is overtaken by
//! nothing and overtakes nothing, as what must stay behind all that was sent
//! before it.
//!
//! Nothing here knows a clock or a socket: `now` is an argument.

use std::collections::VecDeque;

use phoenix_core::{Lane, Nanos};

/// Lanes, and so queues.
const LANES: usize = Lane::ALL.len();

/// In how many frames in a row a lane, from the highest down, is passed over
/// before it begins one.
pub const PATIENCE: [u32; LANES] = [0, 4, 4, 8, 16];

/// A lane that begins a frame gets this part of it before the higher ones.
const SHARE: usize = 4;

/// Bounds of what waits, and of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Messages in one frame. Default 256.
    pub messages: usize,
    /// Bytes in one frame; a larger message has a frame of its own. Default 256 KiB.
    pub bytes: usize,
    /// How long a message of each lane, from the highest down, may wait for others
    /// to share its frame. Default 0 for replies, high and normal, 1 ms for low,
    /// 5 ms for bulk.
    pub ages: [Nanos; LANES],
    /// Messages that may wait. Default 65,536.
    pub waiting_messages: usize,
    /// Bytes that may wait. Default 64 MiB.
    pub waiting_bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            messages: 256,
            bytes: 256 << 10,
            ages: [0, 0, 0, 1_000_000, 5_000_000].map(Nanos),
            waiting_messages: 65_536,
            waiting_bytes: 64 << 20,
        }
    }
}

/// Where a message stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind those of its lane.
    Lane(Lane),
    /// Behind everything that waits, and before everything that comes.
    Barrier,
}

/// When the next frame should leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At once: a frame is full, or a message has waited long enough.
    Now,
    /// Then, unless a frame is full before.
    At(Nanos),
    /// Nothing waits.
    Never,
}

/// As much waits as may; the message is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

#[derive(Debug)]
struct Item<T> {
    item: T,
    bytes: usize,
    since: Nanos,
}

/// What waits before one barrier.
#[derive(Debug)]
struct Segment<T> {
    lanes: [VecDeque<Item<T>>; LANES],
    barrier: Option<Item<T>>,
}

impl<T> Default for Segment<T> {
    fn default() -> Self {
        Self {
            lanes: Default::default(),
            barrier: None,
        }
    }
}

/// The messages that wait for one peer, in lanes.
#[derive(Debug)]
pub struct FrameBatcher<T> {
    limits: BatchLimits,
    /// Never empty; only the last has no barrier.
    segments: VecDeque<Segment<T>>,
    messages: usize,
    bytes: usize,
    /// In how many frames in a row each lane was passed over.
    passed: [u32; LANES],
}

impl<T> FrameBatcher<T> {
    /// Nothing waits. A frame may always hold one message, whatever the limits.
    pub fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            segments: VecDeque::from([Segment::default()]),
            messages: 0,
            bytes: 0,
            passed: [0; LANES],
        }
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a message of so many bytes.
    ///
    /// # Errors
    ///
    /// It is given back if as much waits as may. A message is never too large to
    /// wait alone.
    pub fn push(&mut self, place: Place, bytes: usize, now: Nanos, item: T) -> Result<(), Full<T>> {
        let too_many = self.messages >= self.limits.waiting_messages;
        let too_much = self.bytes.saturating_add(bytes) > self.limits.waiting_bytes;
        if !self.is_empty() && (too_many || too_much) {
            return Err(Full(item));
        }
        let item = Item {
            item,
            bytes,
            since: now,
        };
        if let Some(last) = self.segments.back_mut() {
            match place {
                Place::Lane(lane) => {
                    if let Some(queue) = last.lanes.get_mut(lane.rank()) {
                        queue.push_back(item);
                    }
                }
                Place::Barrier => {
                    last.barrier = Some(item);
                    self.segments.push_back(Segment::default());
                }
            }
        }
        self.messages += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// When the next frame should leave. A writer with nothing else to do may
    /// take one before.
    pub fn due(&self, now: Nanos) -> Due {
        if self.messages >= self.limits.messages.max(1) || self.bytes >= self.limits.bytes.max(1) {
            return Due::Now;
        }
        let Some(first) = self.segments.front() else {
            return Due::Never;
        };
        let heads = first.lanes.iter().map(VecDeque::front);
        let lanes = heads.zip(&self.limits.ages).filter_map(|(head, age)| {
            let head = head?;
            Some(head.since.0.saturating_add(age.0))
        });
        let barrier = first.barrier.as_ref().map(|item| item.since.0);
        match lanes.chain(barrier).min() {
            None => Due::Never,
            Some(at) if at <= now.0 => Due::Now,
            Some(at) => Due::At(Nanos(at)),
        }
    }

    /// Appends the messages of the next frame to `frame`, in order, and says how
    /// many bytes they are: at most a frame's, or one message.
    pub fn take(&mut self, frame: &mut Vec<T>) -> usize {
        let mut room = Room {
            messages: self.limits.messages.max(1),
            bytes: self.limits.bytes,
            is_empty: true,
        };
        let waiting = self.bytes;
        let mut served = [false; LANES];
        let share = Room {
            messages: (room.messages / SHARE).max(1),
            bytes: room.bytes / SHARE,
            is_empty: true,
        };
        for lane in self.impatient() {
            self.fill(lane, &mut share.clone(), &mut room, &mut served, frame);
        }
        while self.fill_from_first(&mut room, &mut served, frame) {}
        self.count_passed(&served);
        waiting - self.bytes
    }

    /// Takes everything, in the order it came to each lane, as when the
    /// connection is gone.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        let segments = std::mem::replace(&mut self.segments, VecDeque::from([Segment::default()]));
        self.messages = 0;
        self.bytes = 0;
        self.passed = [0; LANES];
        segments
            .into_iter()
            .flat_map(|segment| segment.lanes.into_iter().flatten().chain(segment.barrier))
            .map(|item| item.item)
    }

    /// The lanes whose turn it is, the one that has waited longest first.
    fn impatient(&self) -> impl Iterator<Item = usize> + use<T> {
        let mut lanes: Vec<(u32, usize)> = self
            .passed
            .iter()
            .zip(PATIENCE)
            .enumerate()
            .skip(1)
            .filter(|(_, (passed, patience))| **passed >= *patience)
            .map(|(lane, (passed, patience))| (*passed - patience, lane))
            .collect();
        lanes.sort_unstable_by_key(|(over, lane)| (std::cmp::Reverse(*over), *lane));
        lanes.into_iter().map(|(_, lane)| lane)
    }

    /// Fills the frame from the first segment, from the highest lane down.
    /// Whether that is used up, so that the next one may go on.
    fn fill_from_first(
        &mut self,
        room: &mut Room,
        served: &mut [bool; LANES],
        frame: &mut Vec<T>,
    ) -> bool {
        for lane in 0..LANES {
            if !self.fill(lane, &mut Room::unbounded(), room, served, frame) {
                return false;
            }
        }
        let Some(barrier) = self
            .segments
            .front_mut()
            .and_then(|first| first.barrier.take_if(|item| room.clone().take(item.bytes)))
        else {
            return false;
        };
        room.take(barrier.bytes);
        self.leave(barrier, frame);
        self.segments.pop_front();
        true
    }

    /// Moves messages of a lane to the frame while there is room for them in it
    /// and in the lane's `share`. Whether the lane is used up.
    fn fill(
        &mut self,
        lane: usize,
        share: &mut Room,
        room: &mut Room,
        served: &mut [bool; LANES],
        frame: &mut Vec<T>,
    ) -> bool {
        loop {
            let queue = self
                .segments
                .front_mut()
                .and_then(|first| first.lanes.get_mut(lane));
            let Some(queue) = queue else {
                return true;
            };
            let Some(head) = queue.front() else {
                return true;
            };
            if !room.fits(head.bytes) || !share.take(head.bytes) {
                return false;
            }
            room.take(head.bytes);
            let Some(item) = queue.pop_front() else {
                return true;
            };
            if let Some(served) = served.get_mut(lane) {
                *served = true;
            }
            self.leave(item, frame);
        }
    }

    fn leave(&mut self, item: Item<T>, frame: &mut Vec<T>) {
        self.messages -= 1;
        self.bytes -= item.bytes;
        frame.push(item.item);
    }

    /// Lanes that wait and had nothing in the frame were passed over.
    fn count_passed(&mut self, served: &[bool; LANES]) {
        let Some(first) = self.segments.front() else {
            return;
        };
        for ((queue, served), passed) in first.lanes.iter().zip(served).zip(&mut self.passed) {
            if *served || queue.is_empty() {
                *passed = 0;
            } else {
                *passed = passed.saturating_add(1);
            }
        }
    }
}

/// What there is still room for.
#[derive(Clone, Debug)]
struct Room {
    messages: usize,
    bytes: usize,
    /// Nothing was taken, so that anything fits.
    is_empty: bool,
}

impl Room {
    fn unbounded() -> Self {
        Self {
            messages: usize::MAX,
            bytes: usize::MAX,
            is_empty: true,
        }
    }

    fn fits(&self, bytes: usize) -> bool {
        self.is_empty || (self.messages > 0 && self.bytes >= bytes)
    }

    /// Takes room for a message, if there is any.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.fits(bytes);
        if fits {
            self.is_empty = false;
            self.messages = if bytes > self.bytes {
                // It is alone.
                0
            } else {
                self.messages.saturating_sub(1)
            };
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        fits
    }
}
