//! The API's own types, version 1: what travels as JSON or MessagePack.
//!
//! Field names and words are stable: fields may be added, none is renamed or
//! changes its meaning within `/v1`. Sizes are bytes and spans milliseconds
//! unless a name says otherwise. The same types write answers and read them.

mod agents;
mod broadcast;
mod cluster;
mod dead_letters;
mod flow;
mod kinds;
mod message;
mod payload;
mod problem;
mod topics;

pub use agents::{
    Agent, AgentDetail, AgentPage, AgentStatus, Hibernated, Incarnation, MailboxLane, Migrated,
    OpenAsk, OpenRequest, Reset, Spawned, Timer,
};
pub use broadcast::{AgentAnswer, Answers, Broadcast, JsonBroadcast, Outcome};
pub use cluster::{
    Counters, DeclaredDead, Health, JoinToken, LogLine, LogPage, Node, NodeList, Path,
};
pub use dead_letters::{
    Asked, DeadLetter, DeadLetterList, Lane, LetterBody, Purged, ReplayList, Replayed, StreamPlace,
};
pub use flow::{Attached, Breaker, Fill, Flow, FlowList, Gate, LastFailure, Share};
pub use kinds::{Handler, Kind, KindList, Policy, PolicyValue, World};
pub use message::{Accepted, JsonMessage, Message, Verdict, Verdicts};
pub use payload::{ContentType, Payload};
pub(crate) use payload::{JSON, MESSAGE_PACK, NDJSON, PROBLEM, WASM};
pub use problem::{AgentFailure, Problem};
pub use topics::{
    Attribute, Configure, Counts, EventAttributes, Events, Form, Format, Gap, ListSubscriptions,
    ListedSubscription, ListedTopic, Listing, LogBounds, Overflow, Published, ReadData, ReadEvent,
    Reliability, Replay, Strategy, Subscribe, Subscribed, SubscriptionCounts, Subscriptions,
    TopicList, Unsubscribed,
};
