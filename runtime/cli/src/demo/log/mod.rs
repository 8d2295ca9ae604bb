//! Access logs: reading them, making them up, and counting them.
//!
//! Everything here is plain Rust that knows nothing of agents. The count made
//! here is what the agents' own count is held against, so the two share the
//! parser and nothing else.

mod count;
mod generate;
mod open;
mod parse;
mod read;
mod stamp;

pub(super) use count::{Count, Counted, FIRST_ERROR, MALFORMED_KEPT, Statuses, VisitorCount};
pub(super) use generate::Generator;
pub(super) use open::{OpenError, open};
pub(super) use read::{LogReader, Malformed, ReadError, Record};

/// What the demo keeps of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Who asked: the line's first field, 1 to 255 bytes without spaces.
    pub(super) visitor: Box<str>,
    /// When, in seconds since 1970-01-01 UTC.
    pub(super) at: i64,
    /// The status the server answered with, 0 to 999.
    pub(super) status: u16,
    /// Bytes it answered with; a `-` in the log is 0.
    pub(super) bytes: u64,
}
