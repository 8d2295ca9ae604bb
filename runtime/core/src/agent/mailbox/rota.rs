//! Which of the lanes is served next.

use crate::Lane;

/// Messages of each lane in one round, where all lanes have so many.
const SHARES: [u8; 4] = [8, 4, 2, 1];

/// Weighted round robin over the lanes that have messages.
///
/// In a round each lane gets its share, the most urgent lane first; when no lane
/// with messages has any of its share left, the next round begins. So the first
/// message of a lane waits for at most the shares of the other lanes in the round
/// that has begun, and those of the more urgent ones in the next:
///
/// | lane | share | messages of other lanes it waits for, at most |
/// |---|---|---|
/// | high | 8 | 7 |
/// | normal | 4 | 11 + 8 = 19 |
/// | low | 2 | 13 + 12 = 25 |
/// | bulk | 1 | 14 + 14 = 28 |
#[derive(Debug)]
pub(super) struct Rota {
    /// Lanes with messages, a bit each.
    waiting: u8,
    /// Lanes with some of their share left, likewise.
    open: u8,
    /// How much of its share each lane has left.
    left: [u8; 4],
}

impl Default for Rota {
    fn default() -> Self {
        Self {
            waiting: 0,
            open: ALL,
            left: SHARES,
        }
    }
}

/// The bits of all lanes.
const ALL: u8 = 0b1111;

fn bit(lane: Lane) -> u8 {
    1 << lane as u8
}

fn first(lanes: u8) -> Option<Lane> {
    Lane::MESSAGES.get(lanes.trailing_zeros() as usize).copied()
}

impl Rota {
    /// The lane has messages.
    #[inline]
    pub(super) fn fill(&mut self, lane: Lane) {
        self.waiting |= bit(lane);
    }

    /// The lane has no messages any more.
    #[inline]
    pub(super) fn empty(&mut self, lane: Lane) {
        self.waiting &= !bit(lane);
    }

    #[inline]
    pub(super) fn is_waiting(&self, lane: Lane) -> bool {
        self.waiting & bit(lane) != 0
    }

    /// The lane whose turn it is.
    #[inline]
    pub(super) fn next(&self) -> Option<Lane> {
        first(self.waiting & self.open).or_else(|| first(self.waiting))
    }

    /// The lanes with messages, in the order in which to look for one that can be
    /// served: the first that can is the one whose turn it is.
    pub(super) fn order(&self) -> impl Iterator<Item = Lane> + use<> {
        let (now, later) = (self.waiting & self.open, self.waiting & !self.open);
        let among = |lanes: u8| {
            let is_one = move |lane: &Lane| lanes & bit(*lane) != 0;
            Lane::MESSAGES.into_iter().filter(is_one)
        };
        among(now).chain(among(later))
    }

    /// A message of the lane is taken.
    #[inline]
    pub(super) fn serve(&mut self, lane: Lane) {
        if self.open & bit(lane) == 0 {
            // Nobody who could be served has any share left: the next round.
            self.open = ALL;
            self.left = SHARES;
        }
        if let Some(left) = self.left.get_mut(lane as usize) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.open &= !bit(lane);
            }
        }
    }
}
