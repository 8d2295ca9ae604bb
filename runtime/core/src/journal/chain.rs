//! How the entries of one agent's log are chained.
//!
//! An entry's check is the first 8 bytes of BLAKE3 over what it is, its index, the
//! check of the entry before it, its agent's id and its body. The first entry of a log
//! follows a check that is made of the agent's id alone. So a log is proved whole from
//! any check in it that is known, and it may be moved about without being sealed anew.

use std::fmt;

use crate::AgentId;

/// What proves an entry and all before it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Check(pub [u8; 8]);

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What an entry is to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum What {
    /// What a batch of turns did.
    Record = 1,
    /// A part of a snapshot. Its index is that of the last entry it stands for, and
    /// the check before the first part's is that entry's.
    Snapshot = 2,
    /// The agent's life ended; nothing before is needed any more.
    End = 3,
}

impl What {
    /// What has this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Record,
            2 => Self::Snapshot,
            3 => Self::End,
            _ => return None,
        })
    }
}

/// An entry's content, to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// What it is.
    pub what: What,
    /// Its index in the log.
    pub index: u64,
    /// The check of the one before it.
    pub previous: Check,
    /// Whose log it is in.
    pub agent: &'a str,
    /// What it says.
    pub body: &'a [u8],
}

impl Sealed<'_> {
    /// The entry's check.
    pub fn check(&self) -> Check {
        let mut hash = blake3::Hasher::new();
        hash.update(&[self.what as u8]);
        hash.update(&self.index.to_le_bytes());
        hash.update(&self.previous.0);
        hash.update(&(self.agent.len() as u64).to_le_bytes());
        hash.update(self.agent.as_bytes());
        hash.update(self.body);
        short(&hash)
    }
}

impl Check {
    /// What the first entry of an agent's log follows.
    pub fn first(agent: &AgentId) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(b"phoenix agent log");
        hash.update(agent.as_str().as_bytes());
        short(&hash)
    }
}

fn short(hash: &blake3::Hasher) -> Check {
    let mut check = [0; 8];
    hash.finalize_xof().fill(&mut check);
    Check(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_all_of_its_entry_and_of_the_one_before() {
        let entry = Sealed {
            what: What::Record,
            index: 7,
            previous: Check([1; 8]),
            agent: "counter/a",
            body: b"body",
        };
        let others = [
            Sealed {
                what: What::End,
                ..entry
            },
            Sealed { index: 8, ..entry },
            Sealed {
                previous: Check([2; 8]),
                ..entry
            },
            Sealed {
                agent: "counter/b",
                ..entry
            },
            Sealed {
                agent: "counter/ab",
                body: b"ody",
                ..entry
            },
            Sealed {
                body: b"bodY",
                ..entry
            },
        ];
        for other in others {
            assert_ne!(other.check(), entry.check(), "{other:?}");
        }
        let first = |id| Check::first(&AgentId::new(id).unwrap());
        assert_ne!(first("counter/a"), first("counter/b"));
    }
}
