//! How a message is sent, where it is not in the kind's way.

use crate::Delivery;
use crate::wire::{self, Bytes, FrameError};

/// Which of a pair's parallel streams a message takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Lane {
    /// Control traffic.
    High = 0,
    /// Everything else.
    #[default]
    Normal = 1,
    /// What can wait.
    Low = 2,
    /// What nobody would miss.
    Bulk = 3,
}

/// In place of a delivery, and of a lane: the message's type and the kind say which.
const DELIVERY_BY_TYPE: u8 = 3;
const LANE_BY_TYPE: u8 = 4;

/// How the waits between tries grow, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backoff {
    /// Always as long.
    Fixed {
        /// The wait, from 1.
        wait: u32,
    },
    /// Longer by the same span each time.
    Linear {
        /// The first wait, from 1.
        first: u32,
        /// What each is longer than the one before, from 1.
        step: u32,
        /// The longest, from `first`.
        most: u32,
    },
    /// Twice as long each time.
    Exponential {
        /// The first wait, from 1.
        first: u32,
        /// The longest, from `first`.
        most: u32,
    },
}

/// When a message that is kept is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    /// How the waits grow. Chance takes up to half off each.
    pub backoff: Backoff,
    /// Tries in all, the first included; 0 for as many as fit the give-up time.
    pub attempts: u32,
}

/// How a message is sent, where the kind's way is not it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SendOptions {
    /// How hard to try; as the message's type and the kind have it if `None`.
    pub delivery: Option<Delivery>,
    /// Which stream it takes; likewise.
    pub lane: Option<Lane>,
    /// Milliseconds after which it is of no use and is not put to its receiver any
    /// more; 0 for never.
    pub ttl_ms: u32,
    /// Whether it is to be a dead letter then.
    pub report_expired: bool,
    /// Milliseconds after which its sender gives it up; 0 for the kind's.
    pub give_up_ms: u32,
    /// When it is sent again; in the kind's way if `None`.
    pub retry: Option<Retry>,
}

impl SendOptions {
    /// Bytes they take in a frame.
    pub const BYTES: usize = 28;

    /// As they stand in a frame.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let attempts = self.retry.map_or(0, |retry| retry.attempts);
        let (how, [first, step, most]) = match self.retry.map(|retry| retry.backoff) {
            None => (0, [0; 3]),
            Some(Backoff::Fixed { wait }) => (1, [wait, 0, 0]),
            Some(Backoff::Linear { first, step, most }) => (2, [first, step, most]),
            Some(Backoff::Exponential { first, most }) => (3, [first, 0, most]),
        };
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.delivery.map_or(DELIVERY_BY_TYPE, |it| it as u8);
        bytes[1] = self.lane.map_or(LANE_BY_TYPE, |it| it as u8);
        bytes[2] = u8::from(self.report_expired);
        bytes[3] = how;
        let words = [self.ttl_ms, self.give_up_ms, attempts, first, step, most];
        for (at, word) in bytes[4..].as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *at = word.to_le_bytes();
        }
        bytes
    }

    /// Reads them, and refuses a retry that has no waits or whose longest is shorter
    /// than its first.
    pub fn read(bytes: &[u8; Self::BYTES]) -> Result<Self, FrameError> {
        let mut r = Bytes::new(bytes);
        let delivery = match r.u8("delivery")? {
            DELIVERY_BY_TYPE => None,
            found => Some(wire::delivery(found)?),
        };
        let lane = match r.u8("lane")? {
            0 => Some(Lane::High),
            1 => Some(Lane::Normal),
            2 => Some(Lane::Low),
            3 => Some(Lane::Bulk),
            LANE_BY_TYPE => None,
            found => {
                return Err(FrameError::Unknown {
                    what: "lane",
                    found,
                });
            }
        };
        let report_expired = match r.u8("report")? {
            0 => false,
            1 => true,
            found => {
                return Err(FrameError::Unknown {
                    what: "report",
                    found,
                });
            }
        };
        let how = r.u8("backoff")?;
        let (ttl_ms, give_up_ms) = (r.u32("ttl")?, r.u32("give up")?);
        let attempts = r.u32("attempts")?;
        let (first, step, most) = (r.u32("first wait")?, r.u32("step")?, r.u32("most")?);
        let backoff = match how {
            0 => None,
            1 => Some(Backoff::Fixed { wait: first }),
            2 => Some(Backoff::Linear { first, step, most }),
            3 => Some(Backoff::Exponential { first, most }),
            found => {
                return Err(FrameError::Unknown {
                    what: "backoff",
                    found,
                });
            }
        };
        if backoff.is_some_and(|backoff| !backoff.is_valid()) {
            return Err(FrameError::BadRetry { first, step, most });
        }
        Ok(Self {
            delivery,
            lane,
            ttl_ms,
            report_expired,
            give_up_ms,
            retry: backoff.map(|backoff| Retry { backoff, attempts }),
        })
    }
}

impl Backoff {
    /// Whether it waits at all, and no longer at first than at most.
    pub fn is_valid(&self) -> bool {
        match *self {
            Self::Fixed { wait } => wait > 0,
            Self::Linear { first, step, most } => first > 0 && step > 0 && most >= first,
            Self::Exponential { first, most } => first > 0 && most >= first,
        }
    }
}
