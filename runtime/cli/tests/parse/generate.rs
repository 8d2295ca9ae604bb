//! Cases: cheap to make, and made again from their seed.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Cases in all unless `PHOENIX_FUZZ_CASES` says otherwise.
const CASES: u64 = 100_000;

/// Pieces that matter to one reader or another.
const PIECES: [&str; 40] = [
    "",
    " ",
    "\n",
    "\r\n",
    "\t",
    "=",
    " = ",
    "\"",
    "\"\"\"",
    "'",
    "[",
    "]",
    "[[",
    "{",
    "}",
    ",",
    ".",
    "#",
    "\\",
    "\\u12",
    "\0",
    "\u{1b}[2J",
    "\u{9b}",
    "\u{202e}",
    "\u{feff}",
    "ä",
    "日本",
    "👩‍👩‍👧",
    "0",
    "-1",
    "18446744073709551616",
    "1e999",
    "0x10",
    "1_000",
    "4GiB",
    "30s",
    "auto",
    "none",
    "127.0.0.1:7400",
    "true",
];

/// `SplitMix64`, by Steele, Lea and Flood.
pub(crate) struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Once in so many times.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Text of characters and pieces.
    pub(crate) fn text(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..self.below(6) {
            if self.one_in(3) {
                let bits = u32::try_from(self.below(0x11_0000)).unwrap();
                text.extend(char::from_u32(bits));
            } else {
                text.push_str(self.pick(&PIECES));
            }
        }
        text
    }

    /// `bytes` with a few of them changed, doubled, left out or cut off.
    pub(crate) fn harm(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below(bytes.len() - at + 1);
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end.min(at + 16))),
                2 => {
                    let again = bytes[at..end.min(at + 64)].to_vec();
                    bytes.splice(at..at, again);
                }
                3 => {
                    let piece = self.pick(&PIECES).as_bytes().to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = self.next().to_le_bytes()[0];
                    }
                }
            }
        }
        bytes
    }

    /// The same for text.
    pub(crate) fn harm_text(&mut self, text: &str) -> String {
        String::from_utf8_lossy(&self.harm(text.as_bytes().to_vec())).into_owned()
    }
}

/// Tries `share` of a hundred of the cases: makes each with `make` and gives it
/// to `read`, which must not panic.
pub(crate) fn cases<T: Debug>(
    share: u64,
    mut make: impl FnMut(&mut Chance) -> T,
    mut read: impl FnMut(&T),
) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text: String| text.parse::<u64>().unwrap())
    };
    let seed = number("PHOENIX_FUZZ_SEED");
    let count = match seed {
        Some(_) => 1,
        None => (number("PHOENIX_FUZZ_CASES").unwrap_or(CASES) * share).div_ceil(100),
    };
    let mut seeds = Chance(seed.unwrap_or_else(|| getrandom::u64().unwrap()));
    for _ in 0..count {
        let seed = seed.unwrap_or_else(|| seeds.next());
        let case = make(&mut Chance(seed));
        let tried = catch_unwind(AssertUnwindSafe(|| read(&case)));
        if let Err(panic) = tried {
            eprintln!("PHOENIX_FUZZ_SEED={seed} repeats it: {case:?}");
            resume_unwind(panic);
        }
    }
}
