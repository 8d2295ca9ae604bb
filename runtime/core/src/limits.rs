//! Everything an agent can use up, with its bound.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::flow::FlowPolicy;
use crate::journal::SnapshotEvery;
use crate::taxonomy::Overrides;
use crate::topics::KindSubscriptions;
use crate::{AgentId, Millis, RetryPolicy, Schedule};

/// What a batch of a durable agent may have at most, bytes: `batch-bytes`, `max-message`
/// and `answer-bytes` together. An entry of its journal has room for that.
pub(crate) const MAX_DURABLE_BATCH: u64 = 150 << 20;

/// How agents of a kind come to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnPolicy {
    /// On their first message.
    OnMessage,
    /// By an explicit spawn only; messages to others bounce.
    Explicit,
}

/// What becomes of a message that finds its receiver's mailbox full.
///
/// People write it as `reject`, `drop-oldest`, `drop-newest`, `spill` or
/// `redirect:KIND/KEY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is not taken. A reliable one stays with its sender, which tries again;
    /// an at-most-once one is lost.
    #[default]
    Reject,
    /// It takes the place of what has waited longest among the least urgent, if
    /// that is no more urgent than itself. What has to go is a dead letter if it
    /// is reliable, and lost if not.
    DropOldest,
    /// It is a dead letter if it is reliable, and lost if not.
    DropNewest,
    /// It waits, in order, in an area beside the mailbox that the node keeps on disk.
    Spill,
    /// It is sent on to this agent, under its own identity.
    Redirect(AgentId),
}

impl Overflow {
    const REDIRECT: &str = "redirect:";
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reject => f.write_str("reject"),
            Self::DropOldest => f.write_str("drop-oldest"),
            Self::DropNewest => f.write_str("drop-newest"),
            Self::Spill => f.write_str("spill"),
            Self::Redirect(to) => write!(f, "{}{to}", Self::REDIRECT),
        }
    }
}

/// A text that is no overflow policy. It says what is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an overflow policy is {FORM}{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
pub struct BadOverflow(Option<crate::BadAgentId>);

impl BadOverflow {
    /// What may be written.
    pub const FORM: &str = FORM;
}

const FORM: &str = "reject, drop-oldest, drop-newest, spill, or redirect:KIND/KEY";

impl FromStr for Overflow {
    type Err = BadOverflow;
    fn from_str(text: &str) -> Result<Self, BadOverflow> {
        Ok(match text {
            "reject" => Self::Reject,
            "drop-oldest" => Self::DropOldest,
            "drop-newest" => Self::DropNewest,
            "spill" => Self::Spill,
            _ => {
                let to = text.strip_prefix(Self::REDIRECT).ok_or(BadOverflow(None))?;
                let to = AgentId::new(to).map_err(|bad| BadOverflow(Some(bad)))?;
                Self::Redirect(to)
            }
        })
    }
}

/// A kind's policy: what its agents may use, and how they live.
///
/// Every field is a bound with a unit; the defaults suit small agents. A
/// policy is checked once, by [`KindPolicy::validate`], when it is deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindPolicy {
    /// How agents come to life.
    pub spawn: SpawnPolicy,
    /// Whether agents may sleep, move and be checkpointed. A component that
    /// cannot be instrumented may be deployed with `false` only.
    pub movable: bool,
    /// Whether what agents commit is in the node's journal before anything of it leaves
    /// the node, so that they go on where they were after their node was killed. Their
    /// memory has to be readable, so they have to be movable too.
    pub durable: bool,
    /// When a durable agent's snapshot is due, so that no more is run again after that.
    pub snapshot_every: SnapshotEvery,
    /// Linear memory of one agent, bytes.
    pub memory_bytes: u64,
    /// Elements of one agent's tables.
    pub table_elements: u32,
    /// Longest a turn may run before it is stopped and undone.
    pub turn_deadline: Millis,
    /// How long a turn may hold up its worker before its neighbours go on without it.
    pub turn_slice: Millis,
    /// Largest payload of one message, bytes.
    pub max_message: u32,
    /// Turns in one batch.
    pub batch_messages: u32,
    /// Bytes in one batch's input frame.
    pub batch_bytes: u32,
    /// Effects of one turn.
    pub turn_effects: u32,
    /// Bytes of one batch's answer frame.
    pub answer_bytes: u32,
    /// Messages waiting for one agent.
    pub mailbox_messages: u32,
    /// Bytes waiting for one agent.
    pub mailbox_bytes: u64,
    /// How full a mailbox may be, percent of its messages or its bytes, before its
    /// senders are told to hold.
    pub mailbox_high: u32,
    /// How empty it has to be, percent of both, before they are told to go on. The
    /// further below the high mark, the rarer and the larger are the bursts.
    pub mailbox_low: u32,
    /// What becomes of a message that finds the mailbox full.
    pub overflow: Overflow,
    /// Bytes of one agent's messages that may be spilled; beyond that they are rejected.
    pub spill_bytes: u64,
    /// Effects of one agent without a verdict.
    pub outbox_messages: u32,
    /// Bytes of one agent's effects without a verdict.
    pub outbox_bytes: u64,
    /// Asks of one agent without an answer.
    pub open_asks: u32,
    /// Requests one agent has taken and not answered.
    pub open_requests: u32,
    /// Timers of one agent.
    pub timers: u32,
    /// Streams one agent hears from; and streams it speaks on that have messages
    /// without a verdict.
    pub streams: u32,
    /// Bytes of log one turn may write; more is cut and counted.
    pub turn_log_bytes: u32,
    /// Bytes of committed turns kept in memory since the last checkpoint.
    pub rollback_bytes: u32,
    /// How long an agent is idle before it hibernates.
    pub idle_after: Millis,
    /// How often a message that traps alone is tried before it is a dead letter.
    pub max_attempts: u32,
    /// How long a reliable message is retried before its sender gives it up.
    pub give_up_after: Millis,
    /// How long it waits before it is tried again, after it was refused or was not
    /// answered for a second.
    pub retry: Schedule,
    /// How much of a wait chance may take off, percent.
    pub retry_jitter: u32,
    /// How often a reliable message is tried, the first time included, before its
    /// sender gives it up; `u32::MAX` leaves it to `give_up_after`.
    pub retry_attempts: u32,
    /// What its agents' messages, and clients' messages to its agents, want
    /// otherwise than their types have it, where they say nothing themselves.
    pub treatment: Overrides,
    /// The gate before its agents, one on each node for all of them; `None` for none.
    pub flow: Option<Arc<FlowPolicy>>,
    /// Which events of topics its agents get: they are declared to the topics' owners when
    /// the kind is deployed.
    pub subscriptions: KindSubscriptions,
}

impl Default for KindPolicy {
    fn default() -> Self {
        Self {
            spawn: SpawnPolicy::OnMessage,
            movable: true,
            durable: false,
            snapshot_every: SnapshotEvery::default(),
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            turn_deadline: Millis(1_000),
            turn_slice: Millis(4),
            max_message: 1 << 20,
            batch_messages: 256,
            batch_bytes: 256 << 10,
            turn_effects: 1_000,
            answer_bytes: 4 << 20,
            mailbox_messages: 10_000,
            mailbox_bytes: 16 << 20,
            mailbox_high: 75,
            mailbox_low: 50,
            overflow: Overflow::Reject,
            spill_bytes: 256 << 20,
            outbox_messages: 20_000,
            outbox_bytes: 32 << 20,
            open_asks: 1_000,
            open_requests: 1_000,
            timers: 1_000,
            streams: 100_000,
            turn_log_bytes: 16 << 10,
            rollback_bytes: 1 << 20,
            idle_after: Millis(30_000),
            max_attempts: 3,
            give_up_after: RetryPolicy::DEFAULT.give_up_after,
            retry: RetryPolicy::DEFAULT.schedule,
            retry_jitter: RetryPolicy::DEFAULT.jitter,
            retry_attempts: RetryPolicy::DEFAULT.attempts,
            treatment: Overrides::NONE,
            flow: None,
            subscriptions: KindSubscriptions::default(),
        }
    }
}

/// A policy whose values do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}: it must be {accepted}")]
pub struct BadPolicy {
    /// Which field, in the words of the configuration.
    pub field: &'static str,
    /// What it is.
    pub found: u64,
    /// What it may be.
    pub accepted: String,
}

impl BadPolicy {
    /// Checks fields against ranges, both ends included: name, value, least, most.
    pub(crate) fn check(ranges: &[(&'static str, u64, u64, u64)]) -> Result<(), Self> {
        for &(field, found, low, high) in ranges {
            if !(low..=high).contains(&found) {
                return Err(Self {
                    field,
                    found,
                    accepted: format!("{low} to {high}"),
                });
            }
        }
        Ok(())
    }
}

impl KindPolicy {
    /// How its agents' messages are retried where they say nothing else.
    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            schedule: self.retry,
            jitter: self.retry_jitter,
            attempts: self.retry_attempts,
            give_up_after: self.give_up_after,
        }
    }

    /// Checks every bound against what a node can hold.
    pub fn validate(&self) -> Result<(), BadPolicy> {
        let ranges: [(&'static str, u64, u64, u64); 25] = [
            ("memory-bytes", self.memory_bytes, 64 << 10, 1 << 32),
            ("table-elements", self.table_elements.into(), 1, 10_000_000),
            ("turn-deadline", self.turn_deadline.0, 1, 3_600_000),
            ("turn-slice", self.turn_slice.0, 1, 1_000),
            ("max-message", self.max_message.into(), 1, 64 << 20),
            ("batch-messages", self.batch_messages.into(), 1, 65_536),
            ("batch-bytes", self.batch_bytes.into(), 1_024, 64 << 20),
            ("turn-effects", self.turn_effects.into(), 1, 1_000_000),
            ("answer-bytes", self.answer_bytes.into(), 1_024, 256 << 20),
            (
                "mailbox-messages",
                self.mailbox_messages.into(),
                1,
                10_000_000,
            ),
            ("mailbox-bytes", self.mailbox_bytes, 1_024, 1 << 32),
            ("mailbox-high-percent", self.mailbox_high.into(), 1, 100),
            ("mailbox-low-percent", self.mailbox_low.into(), 0, 99),
            ("spill-bytes", self.spill_bytes, 4_096, 1 << 40),
            (
                "outbox-messages",
                self.outbox_messages.into(),
                1,
                10_000_000,
            ),
            ("outbox-bytes", self.outbox_bytes, 1_024, 1 << 32),
            ("open-asks", self.open_asks.into(), 1, 1_000_000),
            ("open-requests", self.open_requests.into(), 1, 1_000_000),
            ("timers", self.timers.into(), 1, 1_000_000),
            ("streams", self.streams.into(), 1, 10_000_000),
            ("rollback-bytes", self.rollback_bytes.into(), 0, 1 << 30),
            ("max-attempts", self.max_attempts.into(), 1, 100),
            ("give-up-after", self.give_up_after.0, 1, 86_400_000),
            ("retry-jitter-percent", self.retry_jitter.into(), 0, 100),
            (
                "retry-attempts",
                self.retry_attempts.into(),
                1,
                u32::MAX.into(),
            ),
        ];
        BadPolicy::check(&ranges)?;
        self.retry_policy().validate()?;
        self.snapshot_every.validate()?;
        self.flow.iter().try_for_each(|flow| flow.validate())?;
        if self.mailbox_low >= self.mailbox_high {
            return Err(BadPolicy {
                field: "mailbox-low-percent",
                found: self.mailbox_low.into(),
                accepted: format!("below mailbox-high-percent ({})", self.mailbox_high),
            });
        }
        if self.durable && !self.movable {
            return Err(BadPolicy {
                field: "durable",
                found: 1,
                accepted: "0 (false) where movable is false: no snapshot can be taken".to_owned(),
            });
        }
        if self.durable {
            self.fits_journal()?;
        }
        if self.outbox_messages < self.turn_effects {
            return Err(BadPolicy {
                field: "outbox-messages",
                found: self.outbox_messages.into(),
                accepted: format!(
                    "at least turn-effects ({}), so that a turn can begin",
                    self.turn_effects
                ),
            });
        }
        Ok(())
    }

    /// Whether every batch fits an entry of the journal: what is put to the guest, with
    /// one message more than it may have, and what that answers.
    fn fits_journal(&self) -> Result<(), BadPolicy> {
        let put = u64::from(self.batch_bytes) + u64::from(self.max_message);
        if put + u64::from(self.answer_bytes) <= MAX_DURABLE_BATCH {
            return Ok(());
        }
        Err(BadPolicy {
            field: "answer-bytes",
            found: self.answer_bytes.into(),
            accepted: format!(
                "{} at most where durable is true: with batch-bytes ({}) and max-message ({}) \
                 it has to fit an entry of the journal, which has room for {MAX_DURABLE_BATCH} \
                 of all three",
                MAX_DURABLE_BATCH.saturating_sub(put),
                self.batch_bytes,
                self.max_message
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        KindPolicy::default().validate().unwrap();
    }

    #[test]
    fn a_bad_bound_is_named() {
        let policy = KindPolicy {
            turn_deadline: Millis(0),
            ..KindPolicy::default()
        };
        assert_eq!(policy.validate().unwrap_err().field, "turn-deadline");
    }

    #[test]
    fn what_cannot_be_read_cannot_be_durable() {
        let durable = KindPolicy {
            durable: true,
            ..KindPolicy::default()
        };
        durable.validate().unwrap();
        let fixed = KindPolicy {
            movable: false,
            ..durable
        };
        assert_eq!(fixed.validate().unwrap_err().field, "durable");
        let never = KindPolicy {
            snapshot_every: SnapshotEvery {
                turns: 0,
                ..SnapshotEvery::default()
            },
            ..KindPolicy::default()
        };
        assert_eq!(never.validate().unwrap_err().field, "snapshot-every-turns");
    }

    #[test]
    fn what_a_durable_agent_does_at_once_fits_an_entry() {
        let with = |durable, answer_bytes| KindPolicy {
            durable,
            answer_bytes,
            batch_bytes: 4 << 20,
            max_message: 6 << 20,
            ..KindPolicy::default()
        };
        with(true, 140 << 20).validate().unwrap();
        with(false, 256 << 20).validate().unwrap();
        let bad = with(true, (140 << 20) + 1).validate().unwrap_err();
        assert_eq!(bad.field, "answer-bytes");
        let text = bad.to_string();
        assert!(text.contains("146800640 at most where durable"), "{text}");
    }

    #[test]
    fn the_low_mark_lies_below_the_high_one() {
        let marks = |mailbox_low, mailbox_high| KindPolicy {
            mailbox_low,
            mailbox_high,
            ..KindPolicy::default()
        };
        for (low, high) in [(0, 1), (99, 100), (50, 75)] {
            marks(low, high).validate().unwrap();
        }
        for (low, high, field) in [
            (75, 75, "mailbox-low-percent"),
            (80, 75, "mailbox-low-percent"),
            (100, 100, "mailbox-low-percent"),
            (0, 101, "mailbox-high-percent"),
            (0, 0, "mailbox-high-percent"),
        ] {
            assert_eq!(marks(low, high).validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn an_overflow_policy_reads_back_as_it_is_written() {
        let to = AgentId::new("spare/of:all").unwrap();
        for policy in [
            Overflow::Reject,
            Overflow::DropOldest,
            Overflow::DropNewest,
            Overflow::Spill,
            Overflow::Redirect(to),
        ] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        for bad in [
            "",
            "drop",
            "redirect",
            "redirect:",
            "redirect:spare",
            "Spill",
        ] {
            let error = bad.parse::<Overflow>().unwrap_err().to_string();
            assert!(error.contains("drop-oldest"), "{error}");
        }
    }
}
