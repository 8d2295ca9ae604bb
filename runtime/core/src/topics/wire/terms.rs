//! On which terms a subscriber gets events.

use std::fmt;
use std::str::FromStr;

use phoenix_wit::Delivery;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::shown;

/// How a queue group chooses the member that gets an event.
///
/// People write it as `round-robin`, `weighted-round-robin`, `least-outstanding`,
/// `response-time`, `consistent-hash` or `consistent-hash:ATTRIBUTE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// One after the other, each as often as its weight says.
    Weighted,
    /// The one with the fewest messages under way.
    LeastOutstanding,
    /// The one that has been the quickest lately.
    ResponseTime,
    /// The one that the attribute of that name leads to, or the event's key if there is no
    /// name: events of one value go to one member, in order.
    ConsistentHash(Option<String>),
}

impl Strategy {
    const FORM: &str = "round-robin, weighted-round-robin, least-outstanding, response-time, \
                        consistent-hash (by the event's key) or consistent-hash:ATTRIBUTE";
    const HASH: &str = "consistent-hash";
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted-round-robin",
            Self::LeastOutstanding => "least-outstanding",
            Self::ResponseTime => "response-time",
            Self::ConsistentHash(None) => Self::HASH,
            Self::ConsistentHash(Some(name)) => return write!(f, "{}:{name}", Self::HASH),
        })
    }
}

impl FromStr for Strategy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "round-robin" => Self::RoundRobin,
            "weighted-round-robin" => Self::Weighted,
            "least-outstanding" => Self::LeastOutstanding,
            "response-time" => Self::ResponseTime,
            Self::HASH => Self::ConsistentHash(None),
            _ => {
                let name = text.strip_prefix(Self::HASH);
                match name.and_then(|rest| rest.strip_prefix(':')) {
                    Some(name) if (1..=64).contains(&name.len()) => {
                        Self::ConsistentHash(Some(name.to_owned()))
                    }
                    _ => return Err(refused(text, "strategy", Self::FORM)),
                }
            }
        })
    }
}

/// How hard an owner tries to have a subscriber apply an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reliability {
    /// Sent once and forgotten.
    AtMostOnce,
    /// Kept until there is a verdict; could be applied twice.
    AtLeastOnce,
    /// Kept until there is a verdict; applied once.
    ExactlyOnce,
}

impl Reliability {
    const FORM: &str = "at-most-once, at-least-once or exactly-once";

    /// The same in the contract's words.
    pub fn as_delivery(self) -> Delivery {
        match self {
            Self::AtMostOnce => Delivery::AtMostOnce,
            Self::AtLeastOnce => Delivery::AtLeastOnce,
            Self::ExactlyOnce => Delivery::ExactlyOnce,
        }
    }
}

impl fmt::Display for Reliability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        })
    }
}

impl FromStr for Reliability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "at-most-once" => Ok(Self::AtMostOnce),
            "at-least-once" => Ok(Self::AtLeastOnce),
            "exactly-once" => Ok(Self::ExactlyOnce),
            _ => Err(refused(text, "delivery", Self::FORM)),
        }
    }
}

/// What becomes of an event that finds as many messages of its subscription under way as
/// may be (`in_flight`). What was dropped is told with the next event, as a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Overflow {
    /// Nothing is dropped. An event of a topic with a log waits there. One of a topic
    /// without goes out all the same, and is one of those that the owner keeps until there
    /// is a verdict: when it has no room for more it takes no more, and publishers wait.
    #[default]
    Block,
    /// It waits in the topic's log, or, if there is none, among the owner's recent events.
    /// Where those go, the oldest first, the subscription has missed it.
    DropOldest,
    /// It is dropped.
    DropNewest,
    /// It is sent, and given up at once where the subscriber has no room for it: it is a
    /// dead letter then.
    Reject,
}

impl Overflow {
    const FORM: &str = "block, drop-oldest, drop-newest or reject";
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::Reject => "reject",
        })
    }
}

impl FromStr for Overflow {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "block" => Ok(Self::Block),
            "drop-oldest" => Ok(Self::DropOldest),
            "drop-newest" => Ok(Self::DropNewest),
            "reject" => Ok(Self::Reject),
            _ => Err(refused(text, "overflow policy", Self::FORM)),
        }
    }
}

/// Where among the events that are kept a subscription begins.
///
/// People write it as `new`, `all`, `last N`, `from OFFSET` or `since MILLIS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Replay {
    /// With what is published from now on.
    #[default]
    New,
    /// With the oldest.
    All,
    /// So many before what is published from now on.
    Last(u64),
    /// With the event of this offset, of a pattern that is one topic.
    From(u64),
    /// With the first that was published at this instant or later, milliseconds since
    /// 1970-01-01 UTC.
    Since(u64),
}

impl Replay {
    const FORM: &str = "new, all, `last N`, `from OFFSET` or `since MILLIS` (since 1970-01-01 UTC)";
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::All => f.write_str("all"),
            Self::Last(count) => write!(f, "last {count}"),
            Self::From(offset) => write!(f, "from {offset}"),
            Self::Since(millis) => write!(f, "since {millis}"),
        }
    }
}

impl FromStr for Replay {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "new" => return Ok(Self::New),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let parts = text.split_once(' ');
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        match parts.and_then(|(word, digits)| Some((word, number(digits)?))) {
            Some(("last", count)) => Ok(Self::Last(count)),
            Some(("from", offset)) => Ok(Self::From(offset)),
            Some(("since", millis)) => Ok(Self::Since(millis)),
            _ => Err(refused(text, "replay", Self::FORM)),
        }
    }
}

/// What a subscriber's handler gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// A map with the data and what there is to know of the event:
    /// [`Received`](super::Received).
    Event,
    /// The data as it was published.
    Data,
}

impl Form {
    const FORM: &str = "event or data";
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event => "event",
            Self::Data => "data",
        })
    }
}

impl FromStr for Form {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "event" => Ok(Self::Event),
            "data" => Ok(Self::Data),
            _ => Err(refused(text, "form", Self::FORM)),
        }
    }
}

fn refused(text: &str, what: &str, accepted: &str) -> String {
    format!("`{}` is no {what}: write {accepted}", shown(text))
}

/// On the wire they are what people write.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text!(Strategy, Reliability, Overflow, Replay, Form);
