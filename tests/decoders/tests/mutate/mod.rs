//! Damage made from a seed, of the kinds that find mistakes in decoders.

/// `SplitMix64` (Steele, Lea, Flood), and what it does to bytes.
pub(crate) struct Mutator(u64);

/// Numbers at which lengths and counts go wrong.
const ODD: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];

/// Longest damaged input, bytes.
const LONGEST: usize = 64 << 10;

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`; 0 where that is 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.next() % bound).unwrap()
    }

    /// One of `seeds`, changed in one to four ways.
    pub(crate) fn damage(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let other = &seeds[self.below(seeds.len())];
            self.change(&mut bytes, other);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len());
        match self.below(8) {
            // One bit, one byte.
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            2 if !bytes.is_empty() => bytes[at] = self.next().to_le_bytes()[0],
            // A number of one to eight bytes.
            3 => {
                let odd = ODD[self.below(ODD.len())].to_le_bytes();
                let width = 1 << self.below(4);
                for (slot, byte) in bytes.iter_mut().skip(at).zip(&odd[..width]) {
                    *slot = *byte;
                }
            }
            // Cut short, a piece left out, a piece twice.
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..self.end(at, bytes.len()))),
            6 => {
                let piece = bytes[at..self.end(at, bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            // A piece of another.
            _ => {
                let from = self.below(other.len());
                let piece = other[from..self.end(from, other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }

    /// The end of a piece that begins at `at`, up to 32 bytes on.
    fn end(&mut self, at: usize, length: usize) -> usize {
        (at + self.below(32)).min(length)
    }
}
