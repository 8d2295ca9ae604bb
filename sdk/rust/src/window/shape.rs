//! Which windows there are.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{AgentError, Failure};

use super::MAX_PANES;

/// Which windows there are. Spans are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shape {
    /// Windows of one size, one every `hop`, the first at 1970-01-01.
    Hopping { size: u64, hop: u64 },
    /// One window for events that are less than `gap` apart.
    Session { gap: u64 },
}

/// Why there are no such windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadWindow {
    /// A size, a hop or a gap is zero.
    Zero {
        /// Which.
        what: &'static str,
    },
    /// There is time between one window and the next, which no window has.
    Gaps {
        /// How far apart windows begin.
        hop: Duration,
        /// How long each is.
        size: Duration,
    },
    /// A window has more than [`MAX_PANES`] stretches in which no other begins or ends.
    TooFine {
        /// How many it has.
        panes: u64,
    },
    /// What was saved is not what windows save.
    Saved {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl fmt::Display for BadWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "a window's {what} is zero: it is 1 ns at least"),
            Self::Gaps { hop, size } => write!(
                f,
                "windows of {size:?} every {hop:?} leave time out: the hop is the size at most"
            ),
            Self::TooFine { panes } => write!(
                f,
                "a window would be kept in {panes} pieces, {MAX_PANES} at most: choose a size \
                 and a hop that have a larger common divisor"
            ),
            Self::Saved { what } => write!(f, "these are no saved windows: {what}"),
        }
    }
}

impl std::error::Error for BadWindow {}

/// With the code `bad-window`.
impl From<BadWindow> for Failure {
    fn from(error: BadWindow) -> Self {
        Self::new("bad-window", error.to_string())
    }
}

impl AgentError for BadWindow {
    fn into_failure(self) -> Failure {
        self.into()
    }
}

impl Shape {
    pub(super) fn hopping(size: Duration, hop: Duration) -> Result<Self, BadWindow> {
        Self::Hopping {
            size: nanos(size),
            hop: nanos(hop),
        }
        .checked()
    }

    pub(super) fn session(gap: Duration) -> Result<Self, BadWindow> {
        Self::Session { gap: nanos(gap) }.checked()
    }

    pub(super) fn checked(self) -> Result<Self, BadWindow> {
        match self {
            Self::Hopping { size: 0, .. } => Err(BadWindow::Zero { what: "size" }),
            Self::Hopping { hop: 0, .. } => Err(BadWindow::Zero { what: "hop" }),
            Self::Session { gap: 0 } => Err(BadWindow::Zero { what: "gap" }),
            Self::Hopping { size, hop } if hop > size => Err(BadWindow::Gaps {
                hop: Duration::from_nanos(hop),
                size: Duration::from_nanos(size),
            }),
            Self::Hopping { size, hop } => match size / divisor(size, hop) {
                panes if panes > MAX_PANES => Err(BadWindow::TooFine { panes }),
                _ => Ok(self),
            },
            Self::Session { .. } => Ok(self),
        }
    }
}

/// The greatest common divisor (Euclid).
pub(super) fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
