//! Reading a file back: what is whole, what was torn off by a crash, what is damaged.
//!
//! A block is written only when the one before it is synced. So a crash can tear the
//! last block alone; how that is told from damage is in [`format`](super::format).

use super::format::{
    BLOCK_HEADER, BlockHeader, Entry, FIRST_BLOCK, FileHeader, Kind, Link, Mask, Place, extent,
    is_torn, next_entry,
};

/// What a file holds.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) blocks: Vec<Block>,
    /// Where the next block goes.
    pub(super) end: usize,
    /// What that is chained to.
    pub(super) link: Link,
    /// Whether a crash has left something after `end`, and how much of the file that is.
    pub(super) torn: Option<usize>,
    /// Whether the next file is there.
    pub(super) is_closed: bool,
}

/// A block that is whole.
#[derive(Debug)]
pub(super) struct Block {
    offset: usize,
    payload: Vec<u8>,
}

/// Where a file is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: usize,
    pub(super) record: String,
    pub(super) what: String,
}

/// Reads the file of this header.
pub(super) fn scan(file: &[u8], header: &FileHeader) -> Result<Scan, Damage> {
    let mask = Mask::of(header.number, &header.link);
    let mut scan = Scan {
        blocks: Vec::new(),
        end: FIRST_BLOCK,
        link: header.link,
        torn: None,
        is_closed: false,
    };
    while let Some(rest) = file.get(scan.end..).filter(|rest| !rest.is_empty()) {
        if scan.is_closed || rest.iter().all(|byte| *byte == 0) {
            break;
        }
        match whole_block(rest, header.number, mask, scan.end, scan.link) {
            Ok((payload, next)) => {
                let extent = extent(payload.len());
                let block = Block {
                    offset: scan.end,
                    payload,
                };
                scan.is_closed = block.is_close();
                scan.blocks.push(block);
                scan.end += extent;
                scan.link = next;
            }
            Err(what) => {
                if !is_torn(rest, header.number, scan.link.sequence) {
                    return Err(Damage {
                        offset: scan.end,
                        record: format!("block {}", scan.link.sequence),
                        what: what.to_owned(),
                    });
                }
                let left = rest.iter().rposition(|byte| *byte != 0);
                scan.torn = Some(left.map_or(0, |last| last + 1));
                break;
            }
        }
    }
    Ok(scan)
}

/// The payload of the block at the beginning of `rest`, and what the next is chained to.
fn whole_block(
    rest: &[u8],
    number: u32,
    mask: Mask,
    offset: usize,
    link: Link,
) -> Result<(Vec<u8>, Link), &'static str> {
    let header = BlockHeader::read(rest, number).ok_or("there is no block's header")?;
    let end = BLOCK_HEADER + header.length;
    let payload = rest
        .get(BLOCK_HEADER..end)
        .ok_or("the block is longer than the file")?;
    let mut payload = payload.to_vec();
    mask.apply(offset + BLOCK_HEADER, &mut payload);
    let next = link.next(&payload);
    let filler = rest.get(end + 1..extent(header.length)).unwrap_or_default();
    if header.sequence != link.sequence
        || header.chain != next.chain
        || filler.iter().any(|byte| *byte != 0)
        || !BlockHeader::is_mark(rest.get(end))
    {
        return Err("the block's content is not what was written");
    }
    Ok((payload, next))
}

impl Block {
    /// Shows each entry with its place.
    pub(super) fn each(
        &self,
        file: u32,
        mut show: impl FnMut(Entry<'_>, Place) -> Result<(), String>,
    ) -> Result<(), Damage> {
        let mut rest = self.payload.as_slice();
        while !rest.is_empty() {
            let offset = self.offset + BLOCK_HEADER + self.payload.len() - rest.len();
            let damage = |record: String, what: String| Damage {
                offset,
                record,
                what,
            };
            let (entry, after) =
                next_entry(rest).map_err(|bad| damage("an entry".to_owned(), bad.to_string()))?;
            let name = || entry_name(entry.head.index, entry.agent);
            if !entry.is_whole() {
                return Err(damage(name(), WRONG_CONTENT.to_owned()));
            }
            let place = Place {
                file,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
            };
            show(entry, place).map_err(|what| damage(name(), what))?;
            rest = after;
        }
        Ok(())
    }

    /// Whether it is the last of its file. That has no other entry.
    fn is_close(&self) -> bool {
        next_entry(&self.payload).is_ok_and(|(entry, _)| entry.head.kind == Kind::Close)
    }

    /// The highest floor it names.
    pub(super) fn floor(&self) -> Option<u32> {
        let mut rest = self.payload.as_slice();
        let mut floor = None;
        while let Ok((entry, after)) = next_entry(rest) {
            if entry.head.kind == Kind::Floor {
                floor = floor.max(u32::try_from(entry.head.index).ok());
            }
            rest = after;
        }
        floor
    }
}

/// What is wrong with an entry that is not what was written.
pub(super) const WRONG_CONTENT: &str = "its content is not what was written";

/// How an entry is called in errors.
pub(super) fn entry_name(index: u64, agent: &str) -> String {
    format!("entry {index} of {agent}")
}
