//! The form of a journal's files.
//!
//! ```text
//!   file        header, then blocks, one for each sync, each from a sector's beginning on
//!   header      magic 8 | number 8 | sequence 8 | chain 16 | floor 8 | length 8 | check 8
//!   block       magic 4 | payload length 4 | sequence 8 | chain 16 | 0 × 7 | check 8 |
//!               mark 1 | payload, masked | mark 1 | zeros
//!   entry       what 1 | flags 1 | id length 2 | body length 4 | index 8 | previous 8 |
//!               check 8 | wake 8 | file of the one before 4 | offset there 4 | part 4 |
//!               head check 4 | id | body
//! ```
//!
//! All integers are little-endian. A block's chain is a hash over the chain before it,
//! its sequence and its payload; a file's header has the chain of the end of the file
//! before it. An entry's check is what `phoenix_core::journal::chain` says, and its head
//! check is over the head, which beside that says where the entry before it of the same
//! agent lies.
//!
//! What tells a block that a crash has torn from one that was damaged: files are zeros
//! before they are written, and a sector is written whole or not at all. Payloads are
//! masked by eight bytes that repeat and are the file's own, made of all that was written
//! before it, so that nobody can write a sector of zeros: a block with one has lost it,
//! and no flipped bit makes one. The marks are bytes of more than one bit that end the
//! header and the block: where one is zero, only a beginning was written.

use phoenix_core::Millis;
use phoenix_core::journal::{Check, Sealed, What};

pub(super) use crate::chain::Link;

use crate::chain;
use crate::wire::{BadBytes, Reader};

/// What a disk writes whole, bytes.
pub(super) const SECTOR: usize = 512;
/// Where a file's first block begins.
pub(super) const FIRST_BLOCK: usize = SECTOR;
const FILE_HEADER: usize = 64;
pub(super) const BLOCK_HEADER: usize = 48;
/// Bytes of an entry before its agent's id.
pub(super) const ENTRY_HEAD: usize = 56;

const FILE_MAGIC: [u8; 8] = *b"PHXJRN\0\x01";
const BLOCK_MAGIC: [u8; 4] = *b"PXJ\x01";
const MARK: u8 = 0xd3;

/// The beginning of a journal.
pub(super) fn first_link() -> Link {
    Link::first(&[b"phoenix journal"])
}

fn check_of<const N: usize>(number: u32, bytes: &[u8]) -> [u8; N] {
    chain::check(number.into(), bytes)
}

/// A file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) number: u32,
    /// What its first block is chained to.
    pub(super) link: Link,
    /// The first file that was needed when this one was made.
    pub(super) floor: u32,
    pub(super) length: u64,
}

impl FileHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FILE_HEADER);
        out.extend_from_slice(&FILE_MAGIC);
        out.extend_from_slice(&u64::from(self.number).to_le_bytes());
        out.extend_from_slice(&self.link.sequence.to_le_bytes());
        out.extend_from_slice(&self.link.chain);
        out.extend_from_slice(&u64::from(self.floor).to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        let check: [u8; 8] = check_of(self.number, &out);
        out.extend_from_slice(&check);
        out
    }

    /// The header at the beginning of the file of that number, which has `length` bytes.
    pub(super) fn decode(first: &[u8], number: u32, length: u64) -> Option<Self> {
        let (head, rest) = first.split_at_checked(FILE_HEADER - 8)?;
        let check: [u8; 8] = check_of(number, head);
        let mut reader = Reader::new(head);
        if reader.array("magic").ok()? != FILE_MAGIC || rest.first_chunk() != Some(&check) {
            return None;
        }
        let header = Self {
            number: u32::try_from(u64::from_le_bytes(reader.array("number").ok()?)).ok()?,
            link: Link {
                sequence: u64::from_le_bytes(reader.array("sequence").ok()?),
                chain: reader.array("chain").ok()?,
            },
            floor: u32::try_from(u64::from_le_bytes(reader.array("floor").ok()?)).ok()?,
            length: u64::from_le_bytes(reader.array("length").ok()?),
        };
        (header.number == number && header.length == length).then_some(header)
    }
}

/// A block's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockHeader {
    /// Bytes of the payload.
    pub(super) length: usize,
    pub(super) sequence: u64,
    pub(super) chain: [u8; 16],
}

/// Bytes of a block with a payload of so many, with the zeros that fill its last sector.
pub(super) fn extent(payload: usize) -> usize {
    (BLOCK_HEADER + payload + 1).next_multiple_of(SECTOR)
}

impl BlockHeader {
    /// The header at the beginning of `bytes`, if that is one of the file of this number.
    pub(super) fn read(bytes: &[u8], number: u32) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(BLOCK_HEADER - 9)?;
        let check: [u8; 8] = check_of(number, head);
        let (found, rest) = rest.split_first_chunk::<8>()?;
        let mut reader = Reader::new(head);
        let is_whole = reader.array("magic").ok()? == BLOCK_MAGIC
            && *found == check
            && rest.first() == Some(&MARK);
        if !is_whole {
            return None;
        }
        Some(Self {
            length: usize::try_from(u32::from_le_bytes(reader.array("length").ok()?)).ok()?,
            sequence: u64::from_le_bytes(reader.array("sequence").ok()?),
            chain: reader.array("chain").ok()?,
        })
    }
}

impl BlockHeader {
    /// Whether this is the byte that ends a block.
    pub(super) fn is_mark(byte: Option<&u8>) -> bool {
        byte == Some(&MARK)
    }
}

/// What the payloads of a file are masked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mask([u8; 8]);

impl Mask {
    /// That of the file of this number, whose first block is chained to `link`.
    pub(super) fn of(number: u32, link: &Link) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(b"phoenix journal mask");
        hash.update(&number.to_le_bytes());
        hash.update(&link.chain);
        Self(chain::shorten(&hash))
    }

    /// Masks bytes that lie at `offset` of the file, or shows them again.
    pub(super) fn apply(self, offset: usize, bytes: &mut [u8]) {
        let mut turned = self.0;
        turned.rotate_left(offset % self.0.len());
        let (chunks, rest) = bytes.as_chunks_mut();
        let mask = u64::from_ne_bytes(turned);
        for chunk in chunks {
            *chunk = (u64::from_ne_bytes(*chunk) ^ mask).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(turned) {
            *byte ^= mask;
        }
    }
}

/// A block at `offset` of the file of that number, and what the next one is chained to.
pub(super) fn block(
    number: u32,
    mask: Mask,
    offset: usize,
    link: Link,
    payload: &[u8],
) -> (Vec<u8>, Link) {
    let next = link.next(payload);
    let mut out = Vec::with_capacity(extent(payload.len()));
    out.extend_from_slice(&BLOCK_MAGIC);
    out.extend_from_slice(&short_number(payload.len()).to_le_bytes());
    out.extend_from_slice(&link.sequence.to_le_bytes());
    out.extend_from_slice(&next.chain);
    out.extend_from_slice(&[0; 7]);
    let check: [u8; 8] = check_of(number, &out);
    out.extend_from_slice(&check);
    out.push(MARK);
    out.extend_from_slice(payload);
    if let Some(payload) = out.get_mut(BLOCK_HEADER..) {
        mask.apply(offset + BLOCK_HEADER, payload);
    }
    out.push(MARK);
    out.resize(extent(payload.len()), 0);
    (out, next)
}

/// Blocks have less than 4 GiB: files do.
fn short_number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Whether a crash can have left `rest`, which begins where the block of `sequence`
/// belongs and goes to the end of the file, and is not zeros alone.
pub(super) fn is_torn(rest: &[u8], number: u32, sequence: u64) -> bool {
    let has_later = rest.chunks(SECTOR).skip(1).any(|sector| {
        BlockHeader::read(sector, number).is_some_and(|header| header.sequence > sequence)
    });
    if has_later {
        return false;
    }
    let Some(header) = BlockHeader::read(rest, number) else {
        let (first, _) = rest.split_at_checked(SECTOR).unwrap_or((rest, &[]));
        let after = rest.get(BLOCK_HEADER - 1..).unwrap_or_default();
        return is_zero(first) || is_zero(after);
    };
    let Some((block, beyond)) = rest.split_at_checked(extent(header.length)) else {
        return false;
    };
    if header.sequence != sequence || !is_zero(beyond) {
        return false;
    }
    let end = block.get(BLOCK_HEADER + header.length);
    end == Some(&0) || block.chunks(SECTOR).any(is_zero)
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: u32,
    /// Never 0: files begin with a header.
    pub(super) offset: u32,
}

impl Place {
    pub(super) const NONE: Self = Self { file: 0, offset: 0 };
}

/// What an entry in a file is: one of an agent's log, or a word of the journal's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Of(What),
    /// No file before the one with this index is needed.
    Floor,
    /// The last of a file: the next file is there.
    Close,
}

const FLOOR: u8 = 16;
const CLOSE: u8 = 17;

/// It was written before, elsewhere.
pub(super) const MOVED: u8 = 1;
/// The first of an agent's entries that are moved together.
pub(super) const FIRST: u8 = 1 << 1;
/// The last part of a snapshot.
pub(super) const LAST: u8 = 1 << 2;
/// A life of the agent begins with it.
pub(super) const BEGINS: u8 = 1 << 3;

/// What an entry says of itself, but for its agent and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) index: u64,
    pub(super) previous: Check,
    pub(super) check: Check,
    pub(super) wake: Millis,
    /// Where the one before it lies, if that is needed to read back.
    pub(super) before: Place,
    /// Which part of a snapshot it is, from 0.
    pub(super) part: u32,
}

/// An entry in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) head: Head,
    pub(super) agent: &'a str,
    pub(super) body: &'a [u8],
}

/// Bytes of an entry.
pub(super) fn entry_size(agent: &str, body: usize) -> usize {
    ENTRY_HEAD + agent.len() + body
}

impl Entry<'_> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let head = &self.head;
        let start = out.len();
        out.push(match head.kind {
            Kind::Of(what) => what as u8,
            Kind::Floor => FLOOR,
            Kind::Close => CLOSE,
        });
        out.push(head.flags);
        // An id has at most 320 bytes.
        let id = u16::try_from(self.agent.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&short_number(self.body.len()).to_le_bytes());
        out.extend_from_slice(&head.index.to_le_bytes());
        out.extend_from_slice(&head.previous.0);
        out.extend_from_slice(&head.check.0);
        out.extend_from_slice(&head.wake.0.to_le_bytes());
        out.extend_from_slice(&head.before.file.to_le_bytes());
        out.extend_from_slice(&head.before.offset.to_le_bytes());
        out.extend_from_slice(&head.part.to_le_bytes());
        let check: [u8; 4] = check_of(0, out.get(start..).unwrap_or_default());
        out.extend_from_slice(&check);
        out.extend_from_slice(self.agent.as_bytes());
        out.extend_from_slice(self.body);
    }

    /// Whether its content is what its check was made of.
    pub(super) fn is_whole(&self) -> bool {
        let Kind::Of(what) = self.head.kind else {
            return true;
        };
        let sealed = Sealed {
            what,
            index: self.head.index,
            previous: self.head.previous,
            agent: self.agent,
            body: self.body,
        };
        sealed.check() == self.head.check
    }
}

/// The head of an entry, and how long its agent's id and its body are.
pub(super) fn entry_head(bytes: &[u8]) -> Result<(Head, usize, usize), BadBytes> {
    let mut reader = Reader::new(bytes);
    let whole = reader.take(ENTRY_HEAD, "an entry's head")?;
    let (head, check) = whole
        .split_at_checked(ENTRY_HEAD - 4)
        .unwrap_or((whole, &[]));
    if check != check_of::<4>(0, head) {
        return Err(BadBytes::Value("the check of an entry's head"));
    }
    let mut reader = Reader::new(head);
    let [what, flags] = reader.array("kind")?;
    let id = u16::from_le_bytes(reader.array("id")?);
    let body = u32::from_le_bytes(reader.array("body")?);
    let head = Head {
        kind: match what {
            FLOOR => Kind::Floor,
            CLOSE => Kind::Close,
            what => Kind::Of(What::from_number(what).ok_or(BadBytes::Value("an entry's kind"))?),
        },
        flags,
        index: u64::from_le_bytes(reader.array("index")?),
        previous: Check(reader.array("previous")?),
        check: Check(reader.array("check")?),
        wake: Millis(u64::from_le_bytes(reader.array("wake")?)),
        before: Place {
            file: u32::from_le_bytes(reader.array("place")?),
            offset: u32::from_le_bytes(reader.array("place")?),
        },
        part: u32::from_le_bytes(reader.array("part")?),
    };
    let body = usize::try_from(body).map_err(|_| BadBytes::Range("an entry's length"))?;
    Ok((head, usize::from(id), body))
}

/// The entry at the beginning of `payload`, and what comes after it.
pub(super) fn next_entry(payload: &[u8]) -> Result<(Entry<'_>, &[u8]), BadBytes> {
    let (head, id, body) = entry_head(payload)?;
    let mut reader = Reader::new(payload);
    reader.take(ENTRY_HEAD, "an entry's head")?;
    let agent = std::str::from_utf8(reader.take(id, "an agent's id")?)
        .map_err(|_| BadBytes::Value("an agent's id"))?;
    let body = reader.take(body, "an entry's body")?;
    let rest = payload.get(ENTRY_HEAD + id + body.len()..);
    Ok((Entry { head, agent, body }, rest.unwrap_or_default()))
}
