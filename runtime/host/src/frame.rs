//! The few fields of frames that the host needs on every call.
//!
//! The codec of `phoenix-wit` reads whole frames and checks texts; this reads
//! numbers at their places and leaves the rest to whoever uses the frame.

use phoenix_wit::FRAME_VERSION;

/// What the host reads of an input frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Turns in the frame.
    pub(crate) count: u32,
    /// The agent's seed.
    pub(crate) seed: u64,
    /// The first turn's number; 0 in an empty frame.
    pub(crate) turn: u64,
    /// The first turn's now; 0 in an empty frame.
    pub(crate) now: u64,
}

impl Head {
    /// Reads it; `None` if `frame` is no input frame of this version.
    #[inline]
    pub(crate) fn read(frame: &[u8]) -> Option<Self> {
        let (fixed, rest) = frame.split_first_chunk::<16>()?;
        let [version, _, id @ ..] = fixed;
        let (id, numbers) = id.split_first_chunk::<2>()?;
        let (count, seed) = numbers.split_first_chunk::<4>()?;
        if *version != FRAME_VERSION {
            return None;
        }
        let count = u32::from_le_bytes(*count);
        let seed = u64::from_le_bytes(*seed.first_chunk()?);
        let turns = rest.get(usize::from(u16::from_le_bytes(*id))..)?;
        let (turn, now) = match turns.get(8..24) {
            Some(fields) if count > 0 => {
                let (turn, now) = fields.split_first_chunk::<8>()?;
                (
                    u64::from_le_bytes(*turn),
                    u64::from_le_bytes(*now.first_chunk()?),
                )
            }
            None if count > 0 => return None,
            _ => (0, 0),
        };
        Some(Self {
            count,
            seed,
            turn,
            now,
        })
    }
}

/// Whether `answer` begins as an answer frame of so many turns.
#[inline]
pub(crate) fn answers(answer: &[u8], turns: u32) -> bool {
    answer.first_chunk::<8>().is_some_and(|head| {
        let [version, _, _, _, count @ ..] = *head;
        version == FRAME_VERSION && u32::from_le_bytes(count) == turns
    })
}

#[cfg(test)]
mod tests {
    use phoenix_wit::{FrameWriter, Input, Turn};

    use super::*;

    #[test]
    fn it_reads_what_the_codec_writes() {
        let mut writer = FrameWriter::new(Vec::new(), "counter/a", 7);
        for number in 3..5 {
            writer.push(&Turn {
                number,
                now: number * 100,
                input: Input::Describe,
            });
        }
        let frame = writer.finish();
        let head = Head {
            count: 2,
            seed: 7,
            turn: 3,
            now: 300,
        };
        assert_eq!(Head::read(&frame), Some(head));
        for end in 0..frame.len() {
            // Never more than it is sure of.
            if let Some(read) = Head::read(&frame[..end]) {
                assert_eq!(read, head);
            }
        }
    }
}
