//! What the guest `bookkeeper` is told, and what it tells.

use serde::{Deserialize, Serialize};

/// What an agent is to send.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) own: u32,
    pub(super) receivers: Vec<Receiver>,
    pub(super) mute: String,
    pub(super) bursts: u32,
    pub(super) every: u64,
    pub(super) a_burst: u64,
}

/// Somebody to send to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Receiver {
    pub(super) agent: String,
    /// Ways in which nothing is sent there.
    pub(super) never: Vec<Way>,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    Plain,
    Mortal,
    MortalAndTold,
    Impatient,
    FewTries,
    AtMostOnce,
    Poison,
}

/// A message that was sent, which is to say committed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Sent {
    pub(super) id: u64,
    /// Which of the receivers.
    pub(super) to: usize,
    pub(super) lane: u8,
    pub(super) way: Way,
}

/// A message that came back.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Returned {
    pub(super) id: u64,
    pub(super) reason: String,
    pub(super) unsure: bool,
}

/// All that an agent knows of messages.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Books {
    pub(super) sent: Vec<Sent>,
    pub(super) returned: Vec<Returned>,
    pub(super) heard: Vec<u64>,
    pub(super) strange: Vec<u64>,
    pub(super) done: bool,
}
