//! Small sets of numbers.

use hashbrown::HashSet;

/// Numbers up to which looking at each is quicker than hashing.
const FEW: usize = 8;

/// A set of numbers, most often of one or two.
#[derive(Default)]
pub(super) struct Numbers {
    few: [u64; FEW],
    len: usize,
    rest: HashSet<u64>,
}

impl Numbers {
    /// Whether it was not there before.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if self.few.iter().take(self.len).any(|known| *known == number) {
            return false;
        }
        let is_new = match self.few.get_mut(self.len) {
            Some(place) => {
                *place = number;
                true
            }
            None => self.rest.insert(number),
        };
        self.len += usize::from(is_new);
        is_new
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}
