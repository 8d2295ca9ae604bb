//! How the blocks of a file are chained and checked, whatever their form.

/// What the next block is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) sequence: u64,
    pub(crate) chain: [u8; 16],
}

impl Link {
    /// The beginning of what is named by these bytes.
    pub(crate) fn first(name: &[&[u8]]) -> Self {
        let mut hash = blake3::Hasher::new();
        for part in name {
            hash.update(part);
        }
        Self {
            sequence: 1,
            chain: shorten(&hash),
        }
    }

    /// The link after a block with this payload.
    pub(crate) fn next(&self, payload: &[u8]) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.chain);
        hash.update(&self.sequence.to_le_bytes());
        hash.update(payload);
        Self {
            sequence: self.sequence.wrapping_add(1),
            chain: shorten(&hash),
        }
    }
}

/// The check of bytes that belong to the file of this number.
pub(crate) fn check<const N: usize>(number: u64, bytes: &[u8]) -> [u8; N] {
    let mut hash = blake3::Hasher::new();
    hash.update(&number.to_le_bytes());
    hash.update(bytes);
    shorten(&hash)
}

pub(crate) fn shorten<const N: usize>(hash: &blake3::Hasher) -> [u8; N] {
    let mut short = [0; N];
    hash.finalize_xof().fill(&mut short);
    short
}
