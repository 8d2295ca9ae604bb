//! What has to be written into a fresh instance to restore an image.

use std::cell::Cell;
use std::ops::Range;

use crate::base::BaseImage;
use crate::image::Image;
use crate::pages::PAGE;

/// Unchanged bytes between two changes that are written too: a call costs as
/// much as some kilobytes.
const BRIDGE: u64 = 2_048;

/// Most bytes one call puts into guest memory, give or take a change.
const WRITE_BYTES: usize = 1 << 20;

/// Bytes to be put at an address.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) address: u32,
    bytes: Bytes,
}

/// Where a span's bytes are.
#[derive(Debug)]
enum Bytes {
    /// In [`Spans::made`].
    Made(Range<usize>),
    /// In the image: over zeros they are the memory's own.
    Given(Range<usize>),
}

/// The writes that turn a base into what an image says, as few as make sense.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    pub(crate) list: Vec<Span>,
    /// Changes and the base, put together.
    made: Vec<u8>,
}

thread_local! {
    /// One restore's room, reused by the next on this thread.
    static SPARE: Cell<Spans> = const { Cell::new(Spans { list: Vec::new(), made: Vec::new() }) };
}

/// Room above this is not kept, bytes.
const KEEP_BYTES: usize = 1 << 20;

impl Spans {
    /// Plans the writes of a checked image over its base.
    pub(crate) fn of(image: &Image<'_>, base: &BaseImage) -> Self {
        let mut spans = SPARE.take();
        let mut runs = image.runs.iter();
        // The run under way: its address, and where it lies among the changed pages, in bytes.
        let mut run = (0u64, 0..0u64);
        for (mut place, mut change) in image.places() {
            while !change.is_empty() {
                while place >= run.1.end {
                    let Some((first, count)) = runs.next() else {
                        return spans;
                    };
                    let start = run.1.end;
                    run = (
                        u64::from(*first) << 12,
                        start..start + (u64::from(*count) << 12),
                    );
                }
                // Neighbours among the changed pages need not be neighbours in memory.
                let room = usize::try_from(run.1.end - place).unwrap_or(usize::MAX);
                let end = change.start + room.min(change.len());
                let now = change.start..end;
                let address = run.0 + (place - run.1.start);
                place += now.len() as u64;
                change.start = end;
                if now.len() as u64 > BRIDGE && is_over_zeros(base, address, now.len()) {
                    spans.push(address, Bytes::Given(now));
                } else {
                    spans.add(address, image.bytes(now), base);
                }
            }
        }
        spans
    }

    /// The bytes of one of them, which was planned for this image.
    pub(crate) fn bytes<'a>(&'a self, span: &Span, image: &'a Image<'_>) -> &'a [u8] {
        match &span.bytes {
            Bytes::Made(range) => self.made.get(range.clone()).unwrap_or_default(),
            Bytes::Given(range) => image.bytes(range.clone()),
        }
    }

    /// Keeps the room for the next restore.
    pub(crate) fn reuse(mut self) {
        if self.made.capacity() <= KEEP_BYTES {
            self.list.clear();
            self.made.clear();
            SPARE.set(self);
        }
    }

    fn push(&mut self, address: u64, bytes: Bytes) {
        self.list.push(Span {
            // A checked image stays within a memory of at most 4 GiB.
            address: u32::try_from(address).unwrap_or(u32::MAX),
            bytes,
        });
    }

    fn add(&mut self, address: u64, change: &[u8], base: &BaseImage) {
        let until = address + change.len() as u64;
        let begin = self.made.len();
        match self.list.last_mut() {
            Some(Span {
                address: first,
                bytes: Bytes::Made(bytes),
            }) if bytes.len() < WRITE_BYTES
                && address.saturating_sub(u64::from(*first) + bytes.len() as u64) <= BRIDGE =>
            {
                let end = u64::from(*first) + bytes.len() as u64;
                copy_base(base, end..until, &mut self.made);
                bytes.end = self.made.len();
            }
            _ => {
                copy_base(base, address..until, &mut self.made);
                self.push(address, Bytes::Made(begin..self.made.len()));
            }
        }
        let at = self.made.len() - change.len();
        if let Some(tail) = self.made.get_mut(at..) {
            for (byte, change) in tail.iter_mut().zip(change) {
                *byte ^= change;
            }
        }
    }
}

fn is_over_zeros(base: &BaseImage, address: u64, length: usize) -> bool {
    let page = |address: u64| usize::try_from(address >> 12).unwrap_or(usize::MAX);
    (page(address)..=page(address + length as u64 - 1)).all(|page| base.is_zeros(page))
}

/// Appends the base's bytes at these addresses.
fn copy_base(base: &BaseImage, addresses: Range<u64>, to: &mut Vec<u8>) {
    let mut at = addresses.start;
    while at < addresses.end {
        let page = usize::try_from(at >> 12).unwrap_or(usize::MAX);
        let from = usize::try_from(at & 0xfff).unwrap_or(0);
        let length = (PAGE - from).min(usize::try_from(addresses.end - at).unwrap_or(PAGE));
        to.extend_from_slice(base.page(page).get(from..from + length).unwrap_or_default());
        at += length as u64;
    }
}
