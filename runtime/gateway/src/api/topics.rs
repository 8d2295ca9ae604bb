//! Topics. What an owner of topics is told and answers is in words of its own already, in
//! JSON as elsewhere.

use serde::{Deserialize, Serialize};

pub use phoenix_core::topics::wire::{
    Attribute, Configure, Counts, EventAttributes, Events, Form, Format, Gap, ListSubscriptions,
    ListedSubscription, ListedTopic, Listing, LogBounds, Overflow, Published, ReadData, ReadEvent,
    Reliability, Replay, Strategy, Subscribe, Subscribed, SubscriptionCounts, Subscriptions,
    Unsubscribed,
};

/// All spaces: what each one's owner says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicList {
    /// In order of their names.
    pub spaces: Vec<Listing>,
    /// Spaces whose owners have not answered in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// Whether there are more.
    pub more: bool,
}
