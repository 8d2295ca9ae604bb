//! The form of a log file: a header, then blocks, one for each sync.
//!
//! ```text
//!   file header  magic 8 | number 8 | check 8
//!   block header magic 4 | payload length 4 | sequence 8 | chain 16 | check 8
//!   payload      (length, bytes) of each record
//! ```
//!
//! All integers are little-endian. A block's chain is a hash over the chain
//! before it, its sequence and its payload, so a block that was moved, lost or
//! exchanged is noticed. The check is over the header alone and the log's
//! number: it lets a later block be recognised behind damage.

pub(super) use crate::chain::Link;

use crate::chain;
use crate::wire::{BadBytes, Reader, put_bytes};

pub(super) const FILE_HEADER: usize = 24;
pub(super) const BLOCK_HEADER: usize = 40;
/// Longest payload of a block, 4 MiB and one record.
pub(super) const MAX_PAYLOAD: usize = (4 << 20) + MAX_RECORD + 16;
/// A block is closed when it holds this much, 4 MiB.
pub(super) const FULL_PAYLOAD: usize = 4 << 20;
/// Longest record, 1 MiB.
pub const MAX_RECORD: usize = 1 << 20;

const FILE_MAGIC: [u8; 8] = *b"PHXLOG\0\x01";
const BLOCK_MAGIC: [u8; 4] = *b"PXB\x01";

/// The beginning of the log of this number.
pub(super) fn first_link(number: u64) -> Link {
    Link::first(&[b"phoenix log", &number.to_le_bytes()])
}

/// A block's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) length: usize,
    pub(super) sequence: u64,
    pub(super) chain: [u8; 16],
}

impl Header {
    /// The header at the beginning of `bytes`, if that is one of the log of this number.
    pub(super) fn read(bytes: &[u8], number: u64) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(BLOCK_HEADER - 8)?;
        let check = rest.first_chunk::<8>()?;
        let mut reader = Reader::new(head);
        if reader.array("magic").ok()? != BLOCK_MAGIC || chain::check(number, head) != *check {
            return None;
        }
        let length = u32::from_le_bytes(reader.array("length").ok()?);
        let sequence = u64::from_le_bytes(reader.array("sequence").ok()?);
        let chain = reader.array("chain").ok()?;
        let length = usize::try_from(length).ok()?;
        (length <= MAX_PAYLOAD).then_some(Self {
            length,
            sequence,
            chain,
        })
    }
}

/// The header of the log file of this number.
pub(super) fn file_header(number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(FILE_HEADER);
    out.extend_from_slice(&FILE_MAGIC);
    out.extend_from_slice(&number.to_le_bytes());
    let check: [u8; 8] = chain::check(number, &out);
    out.extend_from_slice(&check);
    out
}

/// Appends a block to `out`; gives what the next one is chained to.
pub(super) fn put_block(out: &mut Vec<u8>, number: u64, link: Link, payload: &[u8]) -> Link {
    let next = link.next(payload);
    let start = out.len();
    out.extend_from_slice(&BLOCK_MAGIC);
    // A payload has at most MAX_PAYLOAD bytes.
    out.extend_from_slice(
        &u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend_from_slice(&link.sequence.to_le_bytes());
    out.extend_from_slice(&next.chain);
    let check = chain::check::<8>(number, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&check);
    out.extend_from_slice(payload);
    next
}

/// Appends a record to a payload.
pub(super) fn put_record(payload: &mut Vec<u8>, record: &[u8]) {
    put_bytes(payload, record);
}

/// The records of a payload.
pub(super) fn records(payload: &[u8]) -> Result<Vec<Vec<u8>>, BadBytes> {
    let mut reader = Reader::new(payload);
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(reader.bytes("record")?.to_vec());
    }
    Ok(records)
}
