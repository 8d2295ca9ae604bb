//! The port to the area where messages wait that a mailbox has no room for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::{AgentId, Envelope, Incarnation, Lane};

/// Whose area it is: that of one life of an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpillArea {
    /// Which agent.
    pub agent: AgentId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

/// Why a message could not be spilled or brought back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpillError {
    /// The node's own bound for all areas is reached. Nothing was written.
    #[error("the node keeps {bound} bytes of spilled messages at most")]
    Full {
        /// The bound, bytes.
        bound: u64,
    },
    /// The disk failed. The lane's messages are not to be counted on.
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

/// Where spilled messages are kept, in order, a queue for each lane of an area.
///
/// A message that [`Spill::pop`] gave is gone from the area for good, even if the
/// node ends at once: one that is sent at most once must not come twice. What was
/// pushed survives the end of the node's process; whether it survives that of the
/// machine is the implementation's to say. Calls take as long as the disk does and
/// wait for nothing else.
pub trait Spill: Send {
    /// Appends a message to the lane it waits in.
    fn push(&mut self, area: &SpillArea, envelope: &Arc<Envelope>) -> Result<(), SpillError>;

    /// Takes the first messages of a lane, at most `messages` of them and of at most
    /// `bytes` by [`Envelope::size`], but one at least if there is one.
    fn pop(
        &mut self,
        area: &SpillArea,
        lane: Lane,
        messages: u64,
        bytes: u64,
    ) -> Result<Vec<Arc<Envelope>>, SpillError>;

    /// Drops whatever is in an area.
    fn clear(&mut self, area: &SpillArea);

    /// The areas that hold something, as after a start.
    fn areas(&self) -> Vec<SpillArea>;
}

/// Areas in memory: nothing survives. For tests, and for nodes without a disk.
#[derive(Debug, Default)]
pub struct MemorySpill {
    lanes: BTreeMap<(SpillArea, Lane), VecDeque<Arc<Envelope>>>,
}

impl Spill for MemorySpill {
    fn push(&mut self, area: &SpillArea, envelope: &Arc<Envelope>) -> Result<(), SpillError> {
        let lane = (area.clone(), envelope.stream.lane);
        self.lanes
            .entry(lane)
            .or_default()
            .push_back(envelope.clone());
        Ok(())
    }

    fn pop(
        &mut self,
        area: &SpillArea,
        lane: Lane,
        messages: u64,
        bytes: u64,
    ) -> Result<Vec<Arc<Envelope>>, SpillError> {
        let key = (area.clone(), lane);
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

    fn clear(&mut self, area: &SpillArea) {
        self.lanes.retain(|(other, _), _| other != area);
    }

    fn areas(&self) -> Vec<SpillArea> {
        let mut areas: Vec<SpillArea> = self.lanes.keys().map(|(area, _)| area.clone()).collect();
        areas.dedup();
        areas
    }
}
