//! Listing subscriptions: on which terms each is, and how far.

use phoenix_wit::Payload;
use serde::{Deserialize, Serialize};

use super::{BadRequest, Form, Overflow, Reliability, Strategy, check_range, method, read};

/// Most subscriptions of one `subscriptions`.
pub const MAX_LISTED_SUBSCRIPTIONS: u32 = 1_000;

/// Lists the subscriptions of an owner: those to its space's topics, and those of all
/// spaces. The root lists the latter as they were made; what became of their events each
/// space's owner knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSubscriptions {
    /// The [`Subscriptions::next`] of the answer before; from the first if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Most of them, 1 to [`MAX_LISTED_SUBSCRIPTIONS`]. An answer may have fewer, or none,
    /// though more follow.
    #[serde(default = "ListSubscriptions::usual_max")]
    pub max: u32,
}

impl Default for ListSubscriptions {
    fn default() -> Self {
        Self {
            after: None,
            max: Self::usual_max(),
        }
    }
}

impl ListSubscriptions {
    fn usual_max() -> u32 {
        100
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn decode(payload: Payload<'_>) -> Result<Self, BadRequest> {
        let read: Self = read(method::SUBSCRIPTIONS, payload)?;
        check_range("max", read.max.into(), 1, MAX_LISTED_SUBSCRIPTIONS.into())?;
        Ok(read)
    }
}

/// What a [`ListSubscriptions`] is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {
    /// The space; `.root` of the root.
    pub space: String,
    /// The owner's life.
    pub epoch: u64,
    /// The number of the last event, 0 if there was none.
    pub number: u64,
    /// The subscriptions, in no order that means something.
    pub subscriptions: Vec<ListedSubscription>,
    /// If more may follow, what to give as `after` for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A subscription, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSubscription {
    /// Its name among its subscriber's.
    pub name: String,
    /// Which topics.
    pub pattern: String,
    /// The agent that subscribed itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<String>,
    /// The kind that declares it. Without this and `subscriber` it is the operators'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whom the events go to, if that was said: an agent or a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The handler that gets them.
    pub method: String,
    /// What the handler gets.
    pub form: Form,
    /// The filter, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The queue group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How the group's member is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// This member's part in a weighted group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// How hard to try, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Reliability>,
    /// What becomes of events that find `max_in_flight` under way. It is not there where
    /// that is not counted: see `in_flight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// Messages under way, at most: of one receiver's only every so many-th end is told.
    /// It is not there of at-most-once, whose messages have no ends. Of a subscription that
    /// blocks, those of topics without a log do not count: its outbox holds them back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// Most of them there may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// How far it is behind the last event, or its group: events kept of its topics that it
    /// has not been offered. 0 of one that gets them as they are published.
    pub behind: u64,
    /// Whether `behind` is not counted to the end, for there are too many events to look
    /// at: so many at most.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most: bool,
    /// What became of events.
    pub counts: SubscriptionCounts,
}

/// What became of a subscription's events, counted since it began: on other terms it goes
/// on, with another pattern, another group or a replay it begins. Of a member of a queue
/// group all but `sent` is the group's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionCounts {
    /// Messages to receivers.
    pub sent: u64,
    /// Events of which the filter was false.
    pub filtered: u64,
    /// Events of which the filter was neither true nor false: a field is missing, say.
    pub filter_failed: u64,
    /// Events at which the filter was cut off: it would have cost too much.
    pub filter_cut_off: u64,
    /// Events that had no receiver.
    pub no_receiver: u64,
    /// Events that could not be transformed.
    pub transform_failed: u64,
    /// Events dropped as the overflow policy has it.
    pub dropped: u64,
    /// Events that went before it came to them.
    pub missed: u64,
    /// Messages not applied, as far as is known.
    pub not_applied: u64,
    /// Events sent again, to another member of the group.
    pub redelivered: u64,
    /// Events that no member of the group took.
    pub given_up: u64,
}
