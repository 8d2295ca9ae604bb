//! Streams that begin with what an earlier run of the node has left.
//!
//! A life that finds spilled messages of the one before it knows none of their
//! streams. Whoever still speaks on one sends all of it again, in order; what is
//! left of that is superseded. A stream nobody speaks on begins with the first
//! message that is left. Should its sender come after all, what it has from before
//! that is not known here: it is told so, message by message, and is told of no
//! watermark that would cover them before.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Arrival, Closed, Inbound, StreamIndex, remembered};
use crate::{DeadReason, Sequence, SkipReason, StreamKey};

/// What becomes of a reliable message that an earlier run has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inherited {
    /// It is taken as of that stream.
    Taken(StreamIndex),
    /// Its sender has sent it again, or will.
    Superseded,
    /// It may belong to a stream that was forgotten, and was given up long ago.
    Forgotten,
}

impl Inbound {
    /// Decides about a message that an earlier run has left, and takes it if it may be.
    pub(crate) fn inherit(&mut self, key: &Arc<StreamKey>, sequence: &Sequence) -> Inherited {
        let number = sequence.number;
        let at = match self.find(key) {
            Some(at) => {
                let follows = self.get(at).is_some_and(|stream| {
                    let is_next = number == stream.taken.saturating_add(1);
                    (is_next && !stream.is_behind) || (stream.is_adopted && number > stream.taken)
                });
                if !follows {
                    return Inherited::Superseded;
                }
                at
            }
            None if sequence.give_up <= self.forgotten => return Inherited::Forgotten,
            None => self.adopt(key, sequence),
        };
        self.take(StreamIndex(at), sequence);
        Inherited::Taken(StreamIndex(at))
    }

    fn adopt(&mut self, key: &Arc<StreamKey>, sequence: &Sequence) -> u32 {
        let at = self.add(key.clone());
        let until = remembered(&key.sender, sequence.give_up);
        if let Some(stream) = self.get_mut(at) {
            stream.watermark = sequence.number.saturating_sub(1);
            stream.taken = stream.watermark;
            stream.last_give_up = until;
        }
        self.expiry.push(Reverse((until, at)));
        self.begin_adopted(at, sequence.number);
        at
    }

    /// The stream begins with `first`; what is below it is not known here.
    pub(crate) fn begin_adopted(&mut self, at: u32, first: u64) {
        if let Some(stream) = self.get_mut(at) {
            stream.is_adopted = true;
            self.adopted.insert(at, first);
        }
    }

    /// With what a stream begins, if nothing was heard of its sender since.
    pub(crate) fn adopted_from(&self, key: &StreamKey) -> Option<u64> {
        self.adopted.get(&self.look_up(key)?).copied()
    }

    /// What an adopted stream's sender sends is of that stream from its first
    /// message on, and of one that is not known before it.
    #[cold]
    pub(super) fn heard_again(
        &mut self,
        at: u32,
        key: &Arc<StreamKey>,
        sequence: &Sequence,
    ) -> Arrival {
        let first = self.adopted.get(&at).copied().unwrap_or(0);
        if sequence.number < first {
            return Arrival::Forgotten;
        }
        self.adopted.remove(&at);
        if let Some(stream) = self.get_mut(at) {
            stream.is_adopted = false;
        }
        if first > 1 {
            // Should the word on one of them be lost, it is said again.
            let forgotten = SkipReason::Dead(DeadReason::Forgotten);
            self.add_skips(at, 1, first - 1, Closed::For(forgotten));
        }
        self.follow(at, key, sequence)
    }

    /// What was taken last of the stream waits behind what an earlier run has left.
    pub(crate) fn note_behind(&mut self, at: StreamIndex) {
        if let Some(stream) = self.get_mut(at.0) {
            stream.is_behind = true;
        }
    }
}
