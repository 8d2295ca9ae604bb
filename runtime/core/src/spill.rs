//! The port to the areas where messages wait that a mailbox has no room for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::{AgentId, Envelope, Lane};

/// Why a message could not be spilled or brought back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpillError {
    /// The node's own bound for all areas is reached. Nothing was written.
    #[error("the node keeps {bound} bytes of spilled messages at most")]
    Full {
        /// The bound, bytes.
        bound: u64,
    },
    /// The disk failed. A message that was to be written is not there; of a lane
    /// that was to be read nothing is.
    #[error("spilled messages of {agent} cannot be {what}: {why}")]
    Disk {
        /// Whose.
        agent: AgentId,
        /// What was tried.
        what: &'static str,
        /// The system's word for it.
        why: String,
    },
    /// What was read is not what was written. What was left of the lane is lost.
    #[error("spilled messages of {agent} are damaged: {why}")]
    Damaged {
        /// Whose.
        agent: AgentId,
        /// What is wrong.
        why: String,
    },
}

/// What is in one lane of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Which lane.
    pub lane: Lane,
    /// How many messages.
    pub messages: u64,
    /// Bytes of them, by [`Envelope::size`].
    pub bytes: u64,
}

/// Where spilled messages are kept, in order. Every agent of the node has an area
/// of its own, with a queue for each lane.
///
/// A message that [`Spill::pop`] gave is gone from the area for good, even if the
/// node ends at once: one that is sent at most once must not come twice. What was
/// pushed survives the end of the node's process; whether it survives that of the
/// machine is the implementation's to say. Calls take as long as the disk does and
/// wait for nothing else.
pub trait Spill: Send {
    /// Appends a message to the lane it waits in.
    fn push(&mut self, agent: &AgentId, envelope: &Arc<Envelope>) -> Result<(), SpillError>;

    /// Takes the first messages of a lane, at most `messages` of them and of at most
    /// `bytes` by [`Envelope::size`], but one at least if there is one.
    fn pop(
        &mut self,
        agent: &AgentId,
        lane: Lane,
        messages: u64,
        bytes: u64,
    ) -> Result<Vec<Arc<Envelope>>, SpillError>;

    /// Looks through an area that an earlier run of the node has left: what can be
    /// read of each lane, in the order of lanes. What cannot is lost, which is said
    /// in the second part.
    fn survey(&mut self, agent: &AgentId) -> (Vec<Backlog>, Vec<SpillError>);

    /// Drops whatever is in an area.
    fn clear(&mut self, agent: &AgentId);

    /// The agents whose areas hold something, in order.
    fn agents(&self) -> Vec<AgentId>;
}

/// Areas in memory: nothing survives. For tests, and for nodes without a disk.
#[derive(Debug, Default)]
pub struct MemorySpill {
    lanes: BTreeMap<(AgentId, Lane), VecDeque<Arc<Envelope>>>,
}

impl Spill for MemorySpill {
    fn push(&mut self, agent: &AgentId, envelope: &Arc<Envelope>) -> Result<(), SpillError> {
        let lane = (agent.clone(), envelope.stream.lane);
        self.lanes
            .entry(lane)
            .or_default()
            .push_back(envelope.clone());
        Ok(())
    }

    fn pop(
        &mut self,
        agent: &AgentId,
        lane: Lane,
        messages: u64,
        bytes: u64,
    ) -> Result<Vec<Arc<Envelope>>, SpillError> {
        let key = (agent.clone(), lane);
        let mut taken = Vec::new();
        let Some(queue) = self.lanes.get_mut(&key) else {
            return Ok(taken);
        };
        let mut left = bytes;
        while let Some(first) = queue.front() {
            let size = first.size() as u64;
            let fits = (taken.len() as u64) < messages && size <= left;
            if !fits && !taken.is_empty() {
                break;
            }
            left = left.saturating_sub(size);
            taken.extend(queue.pop_front());
        }
        if queue.is_empty() {
            self.lanes.remove(&key);
        }
        Ok(taken)
    }

    fn survey(&mut self, agent: &AgentId) -> (Vec<Backlog>, Vec<SpillError>) {
        let of_agent = Lane::MESSAGES.into_iter().filter_map(|lane| {
            let queue = self.lanes.get(&(agent.clone(), lane))?;
            Some(Backlog {
                lane,
                messages: queue.len() as u64,
                bytes: queue.iter().map(|it| it.size() as u64).sum(),
            })
        });
        (of_agent.collect(), Vec::new())
    }

    fn clear(&mut self, agent: &AgentId) {
        self.lanes.retain(|(other, _), _| other != agent);
    }

    fn agents(&self) -> Vec<AgentId> {
        let mut agents: Vec<AgentId> = self.lanes.keys().map(|(agent, _)| agent.clone()).collect();
        agents.dedup();
        agents
    }
}
