//! Messages that wait in an area beside the mailbox.
//!
//! ```text
//!   offer ──▶ no room, or others of the lane are spilled ──▶ Actions::spill ──▶ area
//!                                                                               │
//!   mailbox ◀── unspilled ◀── the driver reads ◀── refill ◀── room again ◀──────┘
//! ```
//!
//! The area is behind the mailbox, lane by lane: as long as it holds something of
//! a lane, whatever comes to that lane goes there too. A reliable message in it has
//! no verdict, so its sender keeps it; one that comes again is known by its stream.
//!
//! The area is the agent's on one node. When the agent moves, what is in it is sent
//! after it, behind what left with the snapshot. When its node starts again, the
//! agent's next life finds it, in front of all that comes to the lane since.

use std::sync::Arc;

use crate::agent::credit::Amount;
use crate::agent::inbound::{Inherited, StreamIndex};
use crate::agent::{Actions, Agent, Input};
use crate::{Backlog, DeadReason, Envelope, KindPolicy, Lane};

/// What is to be brought back from a lane of the area: the first messages of it,
/// up to both bounds, but one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refill {
    /// Which lane.
    pub lane: Lane,
    /// At most so many messages.
    pub messages: u64,
    /// At most so many bytes, by [`Envelope::size`].
    pub bytes: u64,
}

impl Agent {
    /// Messages in the area.
    pub fn spilled(&self) -> u64 {
        self.mailbox.spilled()
    }

    /// Bytes in the area.
    pub fn spilled_bytes(&self) -> u64 {
        self.mailbox.spilled_bytes()
    }

    /// What is to be brought back from the area now. To be asked, and done, before
    /// each [`Agent::begin`], until there is nothing more.
    ///
    /// The mailbox is filled up to its high mark once it is down to its low one. A
    /// lane with nothing left in it gets one message whatever the others hold, so
    /// that none starves: the mailbox goes over its bounds by three messages at most.
    #[inline]
    pub fn refill(&self, policy: &KindPolicy) -> Option<Refill> {
        if self.mailbox.spilled() == 0 {
            return None;
        }
        self.refill_lane(policy)
    }

    #[cold]
    fn refill_lane(&self, policy: &KindPolicy) -> Option<Refill> {
        let has_spilled = |lane: &Lane| self.mailbox.spilled_in(*lane) > 0;
        let is_empty = |lane: &Lane| self.mailbox.lane_len(*lane) == 0;
        let mut lanes = Lane::MESSAGES.into_iter().filter(has_spilled);
        let level = self.mailbox.level();
        if level.is_down_to(Amount::share(policy, policy.mailbox_low)) {
            let high = Amount::share(policy, policy.mailbox_high);
            return Some(Refill {
                lane: lanes.next()?,
                messages: high.messages.saturating_sub(level.messages).max(1),
                bytes: high.bytes.saturating_sub(level.bytes).max(1),
            });
        }
        Some(Refill {
            lane: lanes.find(is_empty)?,
            messages: 1,
            bytes: 1,
        })
    }

    /// Its area holds this already, which an earlier run of the node has left. To be
    /// told before the agent spills anything.
    pub fn inherit(&mut self, backlog: &[Backlog]) {
        for left in backlog {
            let amount = Amount {
                messages: left.messages,
                bytes: left.bytes,
            };
            self.mailbox.inherit(left.lane, amount);
        }
    }

    /// Whether something is in the area that an earlier run of the node has left.
    pub fn has_inherited(&self) -> bool {
        let mut lanes = Lane::MESSAGES.into_iter();
        lanes.any(|lane| self.mailbox.has_inherited(lane))
    }

    /// A message came back from the area, the first that was left of its lane.
    pub fn unspilled(&mut self, envelope: Arc<Envelope>, out: &mut Actions) {
        if let Some(at) = self.leaves_area(&envelope, out) {
            self.mailbox.push_message(Input::Envelope(envelope, at));
        }
    }

    /// A message of [`Actions::spill`] could not be written: it is lost, and its
    /// sender told so.
    pub fn spill_failed(&mut self, envelope: &Arc<Envelope>, out: &mut Actions) {
        self.counters.spill_lost += 1;
        if let Some(at) = self.leaves_area(envelope, out) {
            self.lose(envelope, at, out);
            self.report_watermarks(out);
        }
    }

    /// The area cannot be read: what was left of the lane in it is lost. Reliable
    /// messages are taken again when their senders, who keep them, send them again.
    /// Not to be called while a batch is under way.
    pub fn spill_lost(&mut self, lane: Lane) {
        self.counters.spill_lost += self.mailbox.spilled_in(lane);
        self.mailbox.forget_spilled(lane);
        let kept = self.mailbox.iter().filter_map(|input| match input {
            Input::Envelope(envelope, Some(at)) if envelope.stream.lane == lane => {
                Some((*at, envelope.sequence?.number))
            }
            _ => None,
        });
        self.inbound.untake(lane, kept);
    }

    /// Gives up a message that is in the area, as when the agent is stopped.
    pub fn abandon_spilled(
        &mut self,
        envelope: &Arc<Envelope>,
        reason: &DeadReason,
        out: &mut Actions,
    ) {
        if let Some(at) = self.leaves_area(envelope, out) {
            self.close(envelope, at, reason, 0, out);
            self.report_watermarks(out);
        }
    }

    /// Takes a message into the area, if there is room.
    pub(super) fn spill(
        &mut self,
        envelope: Arc<Envelope>,
        at: Option<StreamIndex>,
        policy: &KindPolicy,
        out: &mut Actions,
    ) {
        let bytes = envelope.size() as u64;
        if self.mailbox.spilled_bytes() + bytes > policy.spill_bytes {
            self.reject(&envelope, out);
            return;
        }
        if let (Some(at), Some(sequence)) = (at, &envelope.sequence) {
            self.inbound.take(at, sequence);
            if self.mailbox.has_inherited(envelope.stream.lane) {
                self.inbound.note_behind(at);
            }
        }
        self.counters.spilled += 1;
        self.mailbox.note_spilled(envelope.stream.lane, bytes);
        out.spill.push(envelope);
    }

    /// A message is in the area no more. Gives its stream, if it is reliable; `None`
    /// if it has its verdict already, or has no place here.
    fn leaves_area(
        &mut self,
        envelope: &Arc<Envelope>,
        out: &mut Actions,
    ) -> Option<Option<StreamIndex>> {
        let (lane, bytes) = (envelope.stream.lane, envelope.size() as u64);
        let was_inherited = self.mailbox.note_unspilled(lane, bytes);
        let Some(sequence) = &envelope.sequence else {
            return Some(None);
        };
        if !was_inherited {
            return self.inbound.taken(&envelope.stream, sequence).map(Some);
        }
        match self.inbound.inherit(&envelope.stream, sequence) {
            Inherited::Taken(at) => Some(Some(at)),
            Inherited::Superseded => {
                self.counters.duplicates += 1;
                None
            }
            Inherited::Forgotten => {
                self.close(envelope, None, &DeadReason::Forgotten, 0, out);
                None
            }
        }
    }
}
