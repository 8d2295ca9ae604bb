//! The form of a segment: a header that says whose it is, then records.
//!
//! ```text
//!   header   magic 8 | length 4 | agent id, lane | check 8
//!   record   length 4 | check of it 4 | check 8 | message
//! ```
//!
//! Integers are little-endian, but for those of the middle part, which are of as
//! many bytes as they need; a message is as it stands in a snapshot. A record's checks are over the header's, the place of the
//! record in its segment, and the length or the message: one that was moved or
//! exchanged is noticed as well as one that was changed, and none is taken for one
//! that was not written whole.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::{AgentId, Envelope, Lane, snapshot};

use crate::wire::{BadBytes, Reader, put_bytes};

const MAGIC: [u8; 8] = *b"PHXSPL\0\x01";
/// Bytes before a record's message.
const RECORD_HEAD: usize = 16;
/// Longest header, bytes: an id has at most 320.
pub(super) const MAX_HEADER: usize = 512;
/// Longest message with its texts, 64 MiB for the payload.
const MAX_RECORD: usize = (64 << 20) + (1 << 20);

/// A segment's header, read or about to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) agent: AgentId,
    pub(super) lane: Lane,
}

/// What a record's check is begun with: the header's own.
pub(super) type Seal = [u8; 8];

fn short<const N: usize>(hash: &blake3::Hasher) -> [u8; N] {
    let mut short = [0; N];
    hash.finalize_xof().fill(&mut short);
    short
}

impl Header {
    /// The header's bytes, and what seals the records after it. `number` is that of
    /// the segment in its lane.
    pub(super) fn write(&self, number: u64) -> (Vec<u8>, Seal) {
        let mut middle = Vec::new();
        put_bytes(&mut middle, self.agent.as_str().as_bytes());
        middle.push(self.lane as u8);
        let mut out = MAGIC.to_vec();
        // A header has at most a few hundred bytes.
        let length = u32::try_from(middle.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&middle);
        let seal = seal(&out, number);
        out.extend_from_slice(&seal);
        (out, seal)
    }

    /// Reads the header at the beginning of `bytes`; gives its length too.
    pub(super) fn read(bytes: &[u8], number: u64) -> Result<(Self, usize, Seal), BadBytes> {
        let mut reader = Reader::new(bytes);
        if reader.array("the magic")? != MAGIC {
            return Err(BadBytes::Value("the magic"));
        }
        let length = u32::from_le_bytes(reader.array("the header")?) as usize;
        let mut middle = Reader::new(reader.take(length, "the header")?);
        let found: Seal = reader.array("the header's check")?;
        let end = MAGIC.len() + 4 + length;
        if seal(bytes.get(..end).unwrap_or_default(), number) != found {
            return Err(BadBytes::Value("the header's check"));
        }
        let agent = std::str::from_utf8(middle.bytes("the agent")?).ok();
        let agent = agent.and_then(|text| AgentId::new(text).ok());
        let header = Self {
            agent: agent.ok_or(BadBytes::Value("the agent"))?,
            lane: lane_of(middle.byte("the lane")?).ok_or(BadBytes::Value("the lane"))?,
        };
        middle.end()?;
        Ok((header, end + found.len(), found))
    }
}

/// The lane of that number, if messages are spilled from it.
fn lane_of(number: u8) -> Option<Lane> {
    let mut lanes = Lane::MESSAGES.into_iter();
    lanes.find(|lane| *lane as u8 == number)
}

fn seal(head: &[u8], number: u64) -> Seal {
    let mut hash = blake3::Hasher::new();
    hash.update(&number.to_le_bytes());
    hash.update(head);
    short(&hash)
}

fn check<const N: usize>(seal: Seal, offset: u64, bytes: &[u8]) -> [u8; N] {
    let mut hash = blake3::Hasher::new();
    hash.update(&seal);
    hash.update(&offset.to_le_bytes());
    hash.update(bytes);
    short(&hash)
}

/// Writes a record that will stand at `offset` of its segment into `out`, whose old
/// content is dropped.
pub(super) fn write_record(seal: Seal, offset: u64, envelope: &Envelope, out: &mut Vec<u8>) {
    out.clear();
    out.resize(RECORD_HEAD, 0);
    snapshot::encode_envelope(envelope, out);
    let (head, message) = out.split_at_mut(RECORD_HEAD);
    let (of_length, of_message) = head.split_at_mut(8);
    let (length, checked) = of_length.split_at_mut(4);
    // A message is a few texts and a payload of 64 MiB at most.
    let bytes = u32::try_from(message.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    length.copy_from_slice(&bytes);
    checked.copy_from_slice(&check::<4>(seal, offset, &bytes));
    of_message.copy_from_slice(&check::<8>(seal, offset, message));
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Record {
    /// A message, and where the next begins, counted from the one before.
    Message(Arc<Envelope>, usize),
    /// The rest of one is still to be read: it takes so many bytes.
    Needs(usize),
}

/// Reads the record at the beginning of `bytes`, which stands at `offset`.
pub(super) fn read_record(seal: Seal, offset: u64, bytes: &[u8]) -> Result<Record, String> {
    let Some((head, _)) = bytes.split_first_chunk::<RECORD_HEAD>() else {
        return Ok(Record::Needs(RECORD_HEAD));
    };
    let (of_length, of_message) = head.split_at(8);
    let (length, checked) = of_length.split_at(4);
    if check::<4>(seal, offset, length) != *checked {
        return Err(format!("no message begins at byte {offset}"));
    }
    let length = length
        .iter()
        .rev()
        .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
    if length > MAX_RECORD {
        return Err(format!("a message of {length} bytes at byte {offset}"));
    }
    let end = RECORD_HEAD + length;
    let Some(message) = bytes.get(RECORD_HEAD..end) else {
        return Ok(Record::Needs(end));
    };
    if check::<8>(seal, offset, message) != *of_message {
        return Err(format!(
            "the message at byte {offset} is not what was written"
        ));
    }
    // A copy, so that a message keeps no more alive than itself.
    let envelope = snapshot::decode_envelope(&Bytes::copy_from_slice(message))
        .map_err(|error| format!("the message at byte {offset}: {error}"))?;
    Ok(Record::Message(Arc::new(envelope), end))
}
