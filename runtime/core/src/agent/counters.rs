//! Outcomes that were not delivery, counted by reason.

use crate::DeadReason;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident as $name:literal,)*) => {
        /// Outcomes that were not delivery, counted by reason.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Counters {
            /// Name and value, for people.
            pub fn list(&self) -> [(&'static str, u64); [$($name),*].len()] {
                [$(($name, self.$field)),*]
            }
        }
    };
}

counters! {
    /// Messages refused because the mailbox was full.
    refused_full as "refused-full",
    /// Messages refused because others had to come first.
    refused_early as "refused-early",
    /// Messages refused because the agent has ended, or hears from too many.
    refused_busy as "refused-busy",
    /// Messages that a gate did not let pass.
    turned_down as "turned-down",
    /// Messages that came again.
    duplicates as "duplicates",
    /// Messages whose time was over before their turn.
    expired as "expired",
    /// Requests whose asker had stopped waiting before their turn, by its deadline or
    /// by its word.
    cancelled as "cancelled",
    /// Runs of due times that were later than their timers let one fire.
    timers_missed as "timers-missed",
    /// Replies nobody waited for any more.
    late_replies as "late-replies",
    /// Messages that became dead letters here, for whatever reason.
    dead as "dead",
    /// Of these: they trapped as often as the kind allows.
    dead_trapped as "dead-trapped",
    /// Of these: they were larger than the kind allows.
    dead_too_large as "dead-too-large",
    /// Of these: their streams were forgotten.
    dead_forgotten as "dead-forgotten",
    /// Of these: the mailbox was full.
    dead_overflow as "dead-overflow",
    /// Of these: their time was over and their sender asked to know.
    dead_expired as "dead-expired",
    /// Of these: the agent ended or was reset, could not begin, or is quarantined.
    dead_ended as "dead-ended",
    /// Asks that ran into their deadline.
    timeouts as "timeouts",
    /// Asks that ended because they waited for each other in a circle.
    deadlocks as "deadlocks",
    /// Messages given up without hearing.
    undetermined as "undetermined",
    /// Messages given up before their receiver had room for them.
    no_credit as "no-credit",
    /// Own messages that came back.
    bounced as "bounced",
    /// At-most-once messages lost at a full mailbox.
    dropped as "dropped",
    /// Messages that made room for others, reliable or not.
    dropped_oldest as "dropped-oldest",
    /// Messages dropped as they came to a full mailbox, reliable or not.
    dropped_newest as "dropped-newest",
    /// Messages spilled.
    spilled as "spilled",
    /// Spilled messages that could not be kept or not be read back.
    spill_lost as "spill-lost",
    /// Messages sent on to another agent from a full mailbox.
    redirected as "redirected",
    /// How often a sender was told to hold.
    held as "held",
    /// Turns put off because another handler was pending.
    deferred as "deferred",
    /// Batches that were undone.
    faults as "faults",
    /// Bytes of log that were cut.
    log_cut as "log-cut",
}

impl Counters {
    pub(crate) fn count_dead(&mut self, reason: &DeadReason) {
        self.dead += 1;
        let of_reason = match reason {
            DeadReason::Trapped(_) => &mut self.dead_trapped,
            DeadReason::TooLarge => &mut self.dead_too_large,
            DeadReason::Forgotten => &mut self.dead_forgotten,
            DeadReason::Overflow => &mut self.dead_overflow,
            DeadReason::Expired => &mut self.dead_expired,
            DeadReason::Stopped
            | DeadReason::Reset
            | DeadReason::InitFailed(_)
            | DeadReason::Quarantined(_) => &mut self.dead_ended,
            // Those end elsewhere: on the way, or with the sender.
            DeadReason::NoSuchKind
            | DeadReason::NoSuchAgent
            | DeadReason::GaveUp
            | DeadReason::NoCredit => return,
        };
        *of_reason += 1;
    }
}
