//! What a sender is told whose message a gate does not let pass.

use std::fmt;
use std::sync::Arc;

use crate::Millis;
use crate::flow::{FlowRefusal, FlowScope, FlowTarget, Hold, Limit, NoPlace};

/// Which of a gate's limiters turned a message down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedDownBy {
    /// The token bucket.
    Rate,
    /// The sliding window.
    Window,
    /// The rate all nodes share.
    Shared,
    /// The bulkhead.
    Bulkhead,
    /// The circuit breaker.
    Breaker,
    /// It waited, or would have had to, for longer than it may or with too many.
    Wait,
    /// It is more than may ever pass at once.
    Size,
}

/// That a gate turned a message down, in a form that costs little: the message
/// was not taken, and trying again later is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowNotice {
    /// What the gate stands before.
    pub at: FlowScope,
    /// Which limiter it was.
    pub by: TurnedDownBy,
    /// No use in trying before; 0 where time alone does not tell.
    pub retry_after: Millis,
}

/// The same with what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnedDown {
    /// The short of it.
    pub notice: FlowNotice,
    /// The whole, for people: which gate, and why.
    pub text: Arc<str>,
}

impl TurnedDownBy {
    /// The stable word for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Rate | Self::Window | Self::Shared => "rate-limited",
            Self::Bulkhead => "bulkhead-full",
            Self::Breaker => "breaker-open",
            Self::Wait => "waited-too-long",
            Self::Size => "over-limit",
        }
    }

    /// Whether whoever sends is at fault, who sends too much, and not the target.
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Rate | Self::Window | Self::Shared)
    }
}

impl FlowNotice {
    /// The stable word for it.
    pub fn code(self) -> &'static str {
        self.by.code()
    }
}

impl fmt::Display for FlowNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, at) = (self.code(), self.at.as_str());
        write!(f, "{code} by the gate of its {at}")?;
        match self.retry_after {
            Millis(0) => Ok(()),
            after => write!(f, ": try again in {after}"),
        }
    }
}

impl TurnedDown {
    /// What the gate of `target` says to what it does not let pass at `now`.
    pub fn new(target: &FlowTarget, hold: &Hold, now: Millis) -> Self {
        let (by, until) = match hold {
            Hold::Delayed { until, by } => (of_limit(*by), *until),
            Hold::Refused(FlowRefusal::Breaker(tripped)) => (TurnedDownBy::Breaker, tripped.until),
            Hold::Refused(FlowRefusal::TooLarge { .. }) => (TurnedDownBy::Size, Millis::NEVER),
            Hold::Refused(FlowRefusal::NoPlace(NoPlace::Full { .. })) => {
                (TurnedDownBy::Bulkhead, Millis::NEVER)
            }
            Hold::Refused(FlowRefusal::NoPlace(NoPlace::TooLong { .. })) => {
                (TurnedDownBy::Wait, Millis::NEVER)
            }
        };
        let retry_after = match until {
            Millis::NEVER => Millis(0),
            until => now.until(until),
        };
        let notice = FlowNotice {
            at: target.scope(),
            by,
            retry_after,
        };
        let why = match hold {
            Hold::Refused(refusal) => refusal.to_string(),
            Hold::Delayed { by, .. } => of_delay(*by).to_owned(),
        };
        let again = match retry_after {
            Millis(0) => String::new(),
            after => format!("; try again in {after}"),
        };
        let text = format!("{}: {target}: {why}{again}", notice.code());
        Self {
            notice,
            text: text.into(),
        }
    }
}

fn of_limit(limit: Limit) -> TurnedDownBy {
    match limit {
        Limit::Rate => TurnedDownBy::Rate,
        Limit::Window => TurnedDownBy::Window,
        Limit::Shared => TurnedDownBy::Shared,
        Limit::Bulkhead => TurnedDownBy::Bulkhead,
        Limit::Others => TurnedDownBy::Wait,
    }
}

fn of_delay(limit: Limit) -> &'static str {
    match limit {
        Limit::Rate => "as many have passed as its rate allows",
        Limit::Window => "as many have passed as its window allows",
        Limit::Shared => "as many have passed as the rate it shares with others allows",
        Limit::Bulkhead => "as many are under way as its bulkhead allows",
        Limit::Others => "others wait that came before",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{BreakerCause, BreakerState, Tripped};

    fn said(hold: Hold) -> (FlowNotice, String) {
        let target = "kind:counter".parse().unwrap();
        let TurnedDown { notice, text } = TurnedDown::new(&target, &hold, Millis(100));
        (notice, text.to_string())
    }

    #[test]
    fn it_says_which_gate_and_why_and_when_to_come_again() {
        let (notice, text) = said(Hold::Delayed {
            until: Millis(350),
            by: Limit::Rate,
        });
        assert!(notice.by.is_rate());
        assert_eq!(notice.retry_after, Millis(250));
        assert_eq!(
            text,
            "rate-limited: kind:counter: as many have passed as its rate allows; try again in 250 ms"
        );
        assert_eq!(
            notice.to_string(),
            "rate-limited by the gate of its kind: try again in 250 ms"
        );
        let (notice, text) = said(Hold::Refused(FlowRefusal::Breaker(Tripped {
            state: BreakerState::Open,
            cause: BreakerCause::Failures {
                failed: 3,
                of: 4,
                last: "trap",
            },
            until: Millis(5_100),
        })));
        assert!(!notice.by.is_rate());
        assert_eq!(
            text,
            "breaker-open: kind:counter: the circuit breaker is open: 3 of 4 failed, the last with trap; try again in 5000 ms"
        );
        let (notice, _) = said(Hold::Delayed {
            until: Millis::NEVER,
            by: Limit::Bulkhead,
        });
        assert_eq!(notice.retry_after, Millis(0));
        assert_eq!(notice.to_string(), "bulkhead-full by the gate of its kind");
    }
}
