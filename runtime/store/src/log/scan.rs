//! Reading a log back: what is whole, what was torn off by a crash, what is damaged.
//!
//! A block is written only when the one before it is synced. So a crash can
//! tear the last block alone, and what it leaves of it is a part that was never
//! written: missing, or zeros in some sector. Anything else is damage.

use super::block::{self, BLOCK_HEADER, FILE_HEADER, Header, Link};

/// The unit in which a disk writes, bytes.
const SECTOR: usize = 512;

/// What a log file holds.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) records: Vec<Vec<u8>>,
    /// Where the next block goes.
    pub(super) end: usize,
    pub(super) link: Link,
    /// Bytes after `end` that a crash left.
    pub(super) torn: usize,
}

/// Where a log file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: usize,
    pub(super) what: &'static str,
}

/// Reads the log file of this number.
pub(super) fn scan(file: &[u8], number: u64) -> Result<Scan, Damage> {
    let damage = |offset, what| Damage { offset, what };
    if file.get(..FILE_HEADER) != Some(block::file_header(number).as_slice()) {
        return Err(damage(0, "the header is not that of this log"));
    }
    let mut scan = Scan {
        records: Vec::new(),
        end: FILE_HEADER,
        link: block::first_link(number),
        torn: 0,
    };
    while let Some(rest) = file.get(scan.end..).filter(|rest| !rest.is_empty()) {
        match whole_block(rest, number, scan.link) {
            Ok((payload, next)) => {
                let records = block::records(payload)
                    .map_err(|_| damage(scan.end, "a block's records do not fit into it"))?;
                scan.records.extend(records);
                scan.end += BLOCK_HEADER + payload.len();
                scan.link = next;
            }
            Err(what) => {
                if !is_torn(rest, scan.end, number, scan.link.sequence) {
                    return Err(damage(scan.end, what));
                }
                scan.torn = rest.len();
                break;
            }
        }
    }
    Ok(scan)
}

/// The payload of the block at the beginning of `rest`, and what the next is chained to.
fn whole_block(rest: &[u8], number: u64, link: Link) -> Result<(&[u8], Link), &'static str> {
    let header = Header::read(rest, number).ok_or("there is no block's header")?;
    let payload = rest
        .get(BLOCK_HEADER..BLOCK_HEADER + header.length)
        .ok_or("a block is longer than the file")?;
    let next = link.next(payload);
    if header.sequence != link.sequence || header.chain != next.chain {
        return Err("a block's content is not what was written");
    }
    Ok((payload, next))
}

/// Whether a crash can have left `rest`, which begins at `offset` of the file
/// and where the block of `sequence` belongs.
fn is_torn(rest: &[u8], offset: usize, number: u64, sequence: u64) -> bool {
    if has_later_block(rest, number, sequence) {
        return false;
    }
    let extent = match Header::read(rest, number) {
        // A header of another place is damage, however much is missing after it.
        Some(header) if header.sequence != sequence => return false,
        Some(header) => BLOCK_HEADER + header.length,
        None => BLOCK_HEADER,
    };
    match rest.get(..extent) {
        None => has_only_a_beginning(rest, extent),
        Some(block) => has_unwritten_sector(block, offset),
    }
}

/// Whether `rest` is shorter than the block it begins, and nothing else.
fn has_only_a_beginning(rest: &[u8], extent: usize) -> bool {
    rest.len() < extent
}

/// Whether in some sector that the block touches all of its bytes are zero.
fn has_unwritten_sector(block: &[u8], offset: usize) -> bool {
    let first = SECTOR - offset % SECTOR;
    let (head, tail) = block.split_at(first.min(block.len()));
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == 0);
    zero(head) || tail.chunks(SECTOR).any(zero)
}

fn has_later_block(rest: &[u8], number: u64, sequence: u64) -> bool {
    (1..rest.len().saturating_sub(BLOCK_HEADER - 1)).any(|start| {
        rest.get(start..)
            .and_then(|bytes| Header::read(bytes, number))
            .is_some_and(|header| header.sequence > sequence)
    })
}
