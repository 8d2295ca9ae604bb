//! What is said about asks beside the messages themselves: probes and cancels.
//!
//! Nothing hangs on a notice that arrives. A probe that is lost is sent again, and
//! what nobody cancels is dropped when its deadline has passed.

use crate::{AgentId, Incarnation, Lane, Millis};

/// Asks a probe may come along: a longer circle is left to their deadlines.
pub const MAX_PROBE_LINKS: usize = 32;

/// Probes that one may become where it finds several ways to go on.
pub const PROBE_BUDGET: u16 = 256;

/// A word about an ask, outside any stream, for the agent that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskNotice {
    /// Does the ask wait at that agent, and for which asks of its own?
    Probe(Box<Probe>),
    /// Its asker does not wait for it any more.
    Cancel {
        /// Who was asked.
        to: AgentId,
        /// The ask.
        ask: AskLink,
    },
}

/// One ask, as a link in a chain of asks that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskLink {
    /// Who asks.
    pub asker: AgentId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// The asker's number for the ask.
    pub ask: u64,
    /// When it was asked, by its own node's clock.
    pub made: Millis,
    /// The lane of the message that asks.
    pub lane: Lane,
    /// The number of that message in its stream.
    pub number: u64,
}

/// A question that follows asks from agent to agent, to find those that wait for
/// each other in a circle (Chandy, Misra and Haas, "Distributed deadlock detection",
/// 1983: edge chasing in the AND model).
///
/// An agent that is told of an ask it has not answered, and cannot answer before an
/// ask of its own ends, sends the probe on along that one. If it comes back to the
/// ask it began with there may be a circle: each of its waits was seen, but one after
/// the other, and one that was seen early may be over. So the probe goes round once
/// more, along the same asks. A wait that is over never comes back, so those that are
/// seen again all held at the moment the second round began, and the youngest of the
/// asks ends with `deadlock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whom it is for.
    pub to: AgentId,
    /// When it was sent out, which tells those of one ask apart.
    pub sent: Millis,
    /// Probes it may still become.
    pub budget: u16,
    /// In the second round: the links it has gone along since that began.
    pub again: Option<u16>,
    /// The asks it came along. Each was made by who was asked with the one before,
    /// which does not end before it does.
    pub links: Vec<AskLink>,
}

impl AskNotice {
    /// The agent it is for.
    pub fn to(&self) -> &AgentId {
        match self {
            Self::Probe(probe) => &probe.to,
            Self::Cancel { to, .. } => to,
        }
    }
}

impl AskLink {
    /// Orders asks by age, the same way everywhere: the greatest is the youngest.
    fn age(&self) -> impl Ord {
        (self.made, &self.asker, self.incarnation, self.ask)
    }
}

impl Probe {
    /// Which of the links gives way: the youngest.
    pub(crate) fn youngest(&self) -> usize {
        let youngest = self
            .links
            .iter()
            .enumerate()
            .max_by(|(_, one), (_, other)| one.age().cmp(&other.age()));
        youngest.map_or(0, |(at, _)| at)
    }

    /// A number that tells the probes of an ask apart from others. Where two have the
    /// same, one of them is taken for seen, and is sent again later.
    pub(crate) fn mark(&self) -> u64 {
        let first = self.links.first();
        let ask = first.map_or(0, |link| link.asker.placement_hash() ^ link.ask);
        ask.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.sent.0
    }
}
