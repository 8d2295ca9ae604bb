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
    /// Where they are in [`Spans::bytes`].
    pub(crate) bytes: Range<usize>,
}

/// The writes that turn a base into what an image says, as few as make sense.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    pub(crate) list: Vec<Span>,
    pub(crate) bytes: Vec<u8>,
}

thread_local! {
    /// One restore's room, reused by the next on this thread.
    static SPARE: Cell<Spans> = const { Cell::new(Spans { list: Vec::new(), bytes: Vec::new() }) };
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
        for (mut place, mut change) in image.changes() {
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
                let (now, later) = change.split_at(room.min(change.len()));
                spans.add(run.0 + (place - run.1.start), now, base);
                place += now.len() as u64;
                change = later;
            }
        }
        spans
    }

    /// Keeps the room for the next restore.
    pub(crate) fn reuse(mut self) {
        if self.bytes.capacity() <= KEEP_BYTES {
            self.list.clear();
            self.bytes.clear();
            SPARE.set(self);
        }
    }

    fn add(&mut self, address: u64, change: &[u8], base: &BaseImage) {
        let begin = self.bytes.len();
        match self.list.last_mut() {
            Some(last)
                if address.saturating_sub(u64::from(last.address) + last.bytes.len() as u64)
                    <= BRIDGE
                    && last.bytes.len() < WRITE_BYTES =>
            {
                let end = u64::from(last.address) + last.bytes.len() as u64;
                copy_base(base, end..address + change.len() as u64, &mut self.bytes);
                last.bytes.end = self.bytes.len();
            }
            _ => {
                copy_base(
                    base,
                    address..address + change.len() as u64,
                    &mut self.bytes,
                );
                self.list.push(Span {
                    // A checked image stays within a memory of at most 4 GiB.
                    address: u32::try_from(address).unwrap_or(u32::MAX),
                    bytes: begin..self.bytes.len(),
                });
            }
        }
        let at = self.bytes.len() - change.len();
        if let Some(tail) = self.bytes.get_mut(at..) {
            for (byte, change) in tail.iter_mut().zip(change) {
                *byte ^= change;
            }
        }
    }
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
