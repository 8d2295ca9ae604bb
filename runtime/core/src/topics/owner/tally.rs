//! What became of a subscription's events, other than that they were sent or filtered.

use crate::snapshot::SnapshotError;
use crate::snapshot::codec::{Reader, Writer};
use crate::topics::wire::SubscriptionCounts;

/// What became of events other than that they were sent, or that the filter was false. Most
/// subscriptions have none of it, so that it is kept apart from them. Of a queue group it
/// is the group's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) filter_failed: u64,
    pub(super) filter_cut_off: u64,
    pub(super) no_receiver: u64,
    pub(super) transform_failed: u64,
    pub(super) dropped: u64,
    pub(super) missed: u64,
    pub(super) not_applied: u64,
    pub(super) redelivered: u64,
    pub(super) given_up: u64,
}

/// What one costs with the flow it is in, bytes.
pub(super) const TALLY_BYTES: u64 = 192;

/// Why a subscription gets nothing of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// It is not among those the filter wants.
    Differs,
    /// The filter cannot say.
    FilterFails,
    /// The filter would have cost too much.
    CutOff,
    /// It has no receiver.
    NoReceiver,
    /// It cannot be transformed.
    TransformFails,
}

impl Tally {
    pub(super) fn skip(&mut self, why: Skip) {
        *match why {
            // With that as many have to do as with messages: it is counted beside those.
            Skip::Differs => return,
            Skip::FilterFails => &mut self.filter_failed,
            Skip::CutOff => &mut self.filter_cut_off,
            Skip::NoReceiver => &mut self.no_receiver,
            Skip::TransformFails => &mut self.transform_failed,
        } += 1;
    }

    /// With what was sent and filtered.
    pub(super) fn counts(&self, sent: u64, filtered: u64) -> SubscriptionCounts {
        let Self {
            filter_failed,
            filter_cut_off,
            no_receiver,
            transform_failed,
            dropped,
            missed,
            not_applied,
            redelivered,
            given_up,
        } = *self;
        SubscriptionCounts {
            sent,
            filtered,
            filter_failed,
            filter_cut_off,
            no_receiver,
            transform_failed,
            dropped,
            missed,
            not_applied,
            redelivered,
            given_up,
        }
    }

    fn all_mut(&mut self) -> [&mut u64; 9] {
        let Self {
            filter_failed,
            filter_cut_off,
            no_receiver,
            transform_failed,
            dropped,
            missed,
            not_applied,
            redelivered,
            given_up,
        } = self;
        [
            filter_failed,
            filter_cut_off,
            no_receiver,
            transform_failed,
            dropped,
            missed,
            not_applied,
            redelivered,
            given_up,
        ]
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        let mut it = *self;
        for count in it.all_mut() {
            out.number(*count);
        }
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut it = Self::default();
        for count in it.all_mut() {
            *count = load_count(from)?;
        }
        Ok(it)
    }
}

/// A count, which no owner lives long enough to have too large to go on with.
pub(super) fn load_count(from: &mut Reader<'_>) -> Result<u64, SnapshotError> {
    let count = from.number("counts")?;
    if count >> 62 != 0 {
        return Err(SnapshotError::Invalid("counts"));
    }
    Ok(count)
}
