//! Streams as a journal has them.
//!
//! A journal says up to where a stream has its verdicts, and nothing of what only
//! waited: that comes again from its senders.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{InStream, Inbound, StreamIndex, remembered};
use crate::{Millis, StreamKey};

impl Inbound {
    /// Streams whose watermarks moved since they were last reported.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &InStream> {
        self.touched.iter().filter_map(|(at, _)| self.get(*at))
    }

    /// Up to where a stream has its verdicts; 0 of one that is not known.
    pub(crate) fn watermark(&self, at: StreamIndex) -> u64 {
        self.get(at.0).map_or(0, |stream| stream.watermark)
    }

    /// The latest give-up of what was taken of a stream.
    pub(crate) fn last_give_up(&self, at: StreamIndex) -> Millis {
        self.get(at.0)
            .map_or(Millis(0), |stream| stream.last_give_up)
    }

    /// Nothing is known of what was taken and has no verdict.
    pub(crate) fn untake_all(&mut self) {
        for stream in self.streams.iter_mut().flatten() {
            stream.taken = stream.watermark;
            stream.is_behind = false;
        }
        let skipping: Vec<u32> = self.skips.keys().copied().collect();
        for at in skipping {
            self.take_skips(at);
        }
    }

    /// The stream of a message that is recorded, which is to be remembered until
    /// `give_up` at least, and whose sender has heard the end of all below `base`. One
    /// that is not known begins after `before`.
    pub(crate) fn recorded(
        &mut self,
        key: &Arc<StreamKey>,
        give_up: Millis,
        base: u64,
        before: u64,
    ) -> StreamIndex {
        let until = remembered(&key.sender, give_up);
        let at = self.find(key).unwrap_or_else(|| {
            let at = self.add(key.clone());
            if let Some(stream) = self.get_mut(at) {
                stream.watermark = before;
                stream.taken = before;
                stream.last_give_up = until;
            }
            self.expiry.push(Reverse((until, at)));
            at
        });
        self.adopted.remove(&at);
        if let Some(stream) = self.get_mut(at) {
            stream.is_adopted = false;
            stream.key = key.clone();
            stream.last_give_up = stream.last_give_up.max(until);
        }
        self.heard(at, base);
        StreamIndex(at)
    }

    /// Everything of a stream up to `through` has its verdict.
    pub(crate) fn advance(&mut self, at: StreamIndex, through: u64) {
        if let Some(stream) = self.get_mut(at.0) {
            stream.watermark = stream.watermark.max(through);
            stream.taken = stream.taken.max(stream.watermark);
            if stream.has_skips {
                self.commit_skips(at.0);
                self.take_skips(at.0);
            }
        }
        // What was closed ahead may have moved it further.
        if let Some(stream) = self.get_mut(at.0) {
            stream.taken = stream.taken.max(stream.watermark);
        }
    }

    /// The same of a stream that is known.
    pub(crate) fn advance_known(&mut self, key: &StreamKey, through: u64) {
        if let Some(at) = self.look_up(key) {
            self.advance(StreamIndex(at), through);
        }
    }
}
