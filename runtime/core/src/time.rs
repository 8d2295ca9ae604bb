//! Time as a value: core is told what time it is.

use std::fmt;
use std::ops::{Add, Sub};

/// Milliseconds, either since 1970-01-01 UTC or as a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// Nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Millis {
    /// Further away than any deadline.
    pub const NEVER: Millis = Millis(u64::MAX);

    /// The same in nanoseconds, or the most there are.
    pub fn nanos(self) -> Nanos {
        Nanos(self.0.saturating_mul(1_000_000))
    }

    /// The span until `later`, zero if that has passed.
    pub fn until(self, later: Millis) -> Millis {
        Millis(later.0.saturating_sub(self.0))
    }
}

impl Nanos {
    /// The same instant, rounded down to milliseconds.
    pub fn millis(self) -> Millis {
        Millis(self.0 / 1_000_000)
    }
}

impl Add for Millis {
    type Output = Millis;
    fn add(self, span: Millis) -> Millis {
        Millis(self.0.saturating_add(span.0))
    }
}

impl Sub for Millis {
    type Output = Millis;
    fn sub(self, span: Millis) -> Millis {
        Millis(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
