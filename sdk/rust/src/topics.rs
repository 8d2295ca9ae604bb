//! Events: publishing them, subscribing to them, and what a handler gets of one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use phoenix_wit::Delivery;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::schedule::millis;
use crate::time::Timestamp;

/// An event, as the handler of a subscription gets it.
///
/// ```
/// use phoenix_sdk::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order { total: u64 }
///
/// #[derive(Default)]
/// struct Audit { total: u64, missed: bool }
///
/// #[agent]
/// impl Audit {
///     #[init]
///     fn new(ctx: &mut Context) -> Self {
///         ctx.subscribe(Subscription::to("orders.*.created").filter("data.total > 100"));
///         Self::default()
///     }
///
///     async fn on_event(&mut self, _ctx: &mut Context, event: Event<Order>) {
///         self.missed |= event.mark.gap.is_some();
///         self.total += event.data.total;
///     }
/// }
/// ```
///
/// Of an event that may have no data `data` is an [`Option`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event<T> {
    /// The topic.
    pub topic: String,
    /// Who published it, vouched for by the node: `kind/key` or `client/ID`.
    pub publisher: String,
    /// The life of the topics' owner: in another one events are numbered anew.
    pub epoch: u64,
    /// Its number among the events of all topics with the same first token, from 1.
    pub number: u64,
    /// Its offset in the topic's log, from 1, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// When it was published.
    #[serde(with = "in_millis")]
    pub time: Timestamp,
    /// What kind of event it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it says about itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// What there is to know of its way to this agent.
    #[serde(default, skip_serializing_if = "Mark::is_empty")]
    pub mark: Mark,
    /// What was published.
    pub data: T,
}

impl<T> Event<T> {
    /// The first event of a topic, for tests of the handler that gets it.
    pub fn new(topic: impl Into<String>, data: T) -> Self {
        Self {
            topic: topic.into(),
            publisher: "client/test".to_owned(),
            epoch: 1,
            number: 1,
            offset: None,
            time: Timestamp::EPOCH,
            event_type: None,
            key: None,
            attributes: BTreeMap::new(),
            mark: Mark::default(),
            data,
        }
    }
}

/// What there is to know of an event's way to a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// The first since the topics' owner began a life after an earlier one: events of
    /// that one are numbered otherwise, and some may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub epoch: bool,
    /// Events before this one are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// It was kept by its topic, and published before the subscription.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retained: bool,
    /// It comes out of the topic's log, and was published before the subscription.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Sent again, after another member of the queue group did not apply it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub redelivered: bool,
}

impl Mark {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Events that are missing: all of the subscription's among these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
}

/// What an event says about itself under some name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
}

macro_rules! attribute_from {
    ($($of:ty => $form:ident),*) => {$(
        impl From<$of> for Attribute {
            fn from(value: $of) -> Self {
                Self::$form(value.into())
            }
        }
    )*};
}

attribute_from!(bool => Bool, i64 => Int, i32 => Int, u32 => Int, f64 => Float, &str => Text, String => Text);

/// How an event is published, where there is more to say than its topic and its data.
///
/// ```
/// # use phoenix_sdk::prelude::*;
/// # fn example(ctx: &mut Context) {
/// let options = PublishOptions::new().key("alice").attribute("region", "eu").retain();
/// ctx.publish_with("orders.eu.created", &7_u64, &options);
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishOptions {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, Attribute>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Reliability>,
}

impl PublishOptions {
    /// A plain publication's.
    pub fn new() -> Self {
        Self::default()
    }

    /// What kind of event it is, as `order.created`; at most 256 bytes.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// What it is about; at most 256 bytes. A queue group may go by it.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What filters may look at besides the data: a name of `a-z A-Z 0-9 _`, and a value.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The topic keeps it, in place of the last one, for whoever subscribes later.
    #[must_use]
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// It is of no use to a subscriber after so long (1 ms at least).
    #[must_use]
    pub fn ttl(mut self, span: Duration) -> Self {
        self.ttl_ms = Some(millis(span).max(1));
        self
    }

    /// How hard the node tries to bring it to the topics' owner; exactly once unless said.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery.into());
        self
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A subscription of the agent's to a pattern of topics: which events it wants, and how
/// they come.
///
/// ```
/// # use phoenix_sdk::prelude::*;
/// # fn example(ctx: &mut Context) {
/// // Members of the group share the work; the last hundred events come first.
/// let work = Subscription::to("orders.*.created")
///     .name("billing")
///     .handler("bill")
///     .group("billing", GroupStrategy::ConsistentHash(None))
///     .replay(Replay::Last(100));
/// ctx.subscribe(work);
/// ctx.unsubscribe(Subscription::to("orders.*.created").name("billing"));
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Subscription {
    #[serde(skip)]
    pub(crate) pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<GroupStrategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Reliability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overflow: Option<EventOverflow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Replay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<Form>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transform: Option<Transform>,
}

impl Subscription {
    /// A subscription to a pattern of topics: `*` is one token, `>` the rest. Its events
    /// go to the handler `on_event`.
    pub fn to(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            ..Self::default()
        }
    }

    /// Its name among the agent's; without one, the pattern. Subscribing again by the
    /// same name goes on on the new terms.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The handler that gets the events.
    #[must_use]
    pub fn handler(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Only events of which this expression is true: CEL over `topic`, `type`, `key`,
    /// `attributes` and `data`, as `data.total > 100 && attributes.region == "eu"`.
    #[must_use]
    pub fn filter(mut self, expression: impl Into<String>) -> Self {
        self.filter = Some(expression.into());
        self
    }

    /// Of the members of the group each event goes to one, chosen so.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>, strategy: GroupStrategy) -> Self {
        self.group = Some(name.into());
        self.strategy = Some(strategy);
        self
    }

    /// This member's part in a weighted group, 1 to 1,000.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// How hard the topics' owner tries to have an event applied.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery.into());
        self
    }

    /// What becomes of events that find too many [under way](Self::in_flight).
    #[must_use]
    pub fn overflow(mut self, overflow: EventOverflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// How many of its events may be under way, 1 to 65,536; 256 unless said.
    #[must_use]
    pub fn in_flight(mut self, messages: u32) -> Self {
        self.in_flight = Some(messages);
        self
    }

    /// What comes of the past before what is published from now on.
    #[must_use]
    pub fn replay(mut self, replay: Replay) -> Self {
        self.replay = Some(replay);
        self
    }

    /// The handler gets the data alone, as it was published, rather than an [`Event`].
    #[must_use]
    pub fn data_only(mut self) -> Self {
        self.form = Some(Form::Data);
        self
    }

    /// What is done with the data before it comes.
    #[must_use]
    pub fn transform(mut self, transform: Transform) -> Self {
        self.transform = Some(transform);
        self
    }

    /// Whether there is nothing to say but the pattern.
    pub(crate) fn is_plain(&self) -> bool {
        let Self { pattern, .. } = self;
        *self == Self::to(pattern.clone())
    }
}

impl From<&str> for Subscription {
    fn from(pattern: &str) -> Self {
        Self::to(pattern)
    }
}

impl From<String> for Subscription {
    fn from(pattern: String) -> Self {
        Self::to(pattern)
    }
}

impl From<&String> for Subscription {
    fn from(pattern: &String) -> Self {
        Self::to(pattern)
    }
}

/// How a queue group chooses the member that gets an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupStrategy {
    /// One after the other.
    RoundRobin,
    /// One after the other, each as often as its weight says.
    Weighted,
    /// The one with the fewest messages under way.
    LeastOutstanding,
    /// The one that has been the quickest lately.
    ResponseTime,
    /// The one that the attribute of that name leads to, or the event's key if none is
    /// named: events of one value go to one member, in order.
    ConsistentHash(Option<String>),
}

impl fmt::Display for GroupStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted-round-robin",
            Self::LeastOutstanding => "least-outstanding",
            Self::ResponseTime => "response-time",
            Self::ConsistentHash(None) => "consistent-hash",
            Self::ConsistentHash(Some(name)) => return write!(f, "consistent-hash:{name}"),
        })
    }
}

impl Serialize for GroupStrategy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What becomes of an event that finds as many of its subscription under way as may be.
/// What was dropped is told with the next one, as a [`Gap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventOverflow {
    /// Nothing is dropped: it waits.
    Block,
    /// It waits, and what has waited longest is dropped where there is no room.
    DropOldest,
    /// It is dropped.
    DropNewest,
    /// It is sent, and a dead letter where the agent has no room for it.
    Reject,
}

/// Where among the events that are kept a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// With what is published from now on.
    New,
    /// With the oldest.
    All,
    /// So many before what is published from now on.
    Last(u64),
    /// With the event of this offset, of a pattern that is one topic.
    From(u64),
    /// With the first that was published then or later.
    Since(Timestamp),
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::All => f.write_str("all"),
            Self::Last(count) => write!(f, "last {count}"),
            Self::From(offset) => write!(f, "from {offset}"),
            Self::Since(time) => write!(f, "since {}", time.as_millis()),
        }
    }
}

impl Serialize for Replay {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What is done with an event's data before a subscriber gets it, in this order. Fields
/// are named by their path, as `user.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transform {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    project: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rename: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    set: BTreeMap<String, String>,
}

impl Transform {
    /// One that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps this field, and of the others only those that are named so too.
    #[must_use]
    pub fn project(mut self, field: impl Into<String>) -> Self {
        self.project.push(field.into());
        self
    }

    /// Names a field anew.
    #[must_use]
    pub fn rename(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.rename.insert(from.into(), to.into());
        self
    }

    /// Sets a field to what an expression over the event, as it was published, says.
    #[must_use]
    pub fn set(mut self, field: impl Into<String>, expression: impl Into<String>) -> Self {
        self.set.insert(field.into(), expression.into());
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    Data,
}

/// A delivery, as topics' owners call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Reliability {
    #[serde(rename = "at-most-once")]
    Most,
    #[serde(rename = "at-least-once")]
    Least,
    #[serde(rename = "exactly-once")]
    Exactly,
}

impl From<Delivery> for Reliability {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::AtMostOnce => Self::Most,
            Delivery::AtLeastOnce => Self::Least,
            Delivery::ExactlyOnce => Self::Exactly,
        }
    }
}

/// Instants as owners of topics write them.
mod in_millis {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        time.as_millis().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp::from_millis)
    }
}
