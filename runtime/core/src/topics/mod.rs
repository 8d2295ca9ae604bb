//! Topics: their names, patterns of names, and which subscriptions a name matches.
//!
//! ```text
//!   orders.eu.created      a topic's name: tokens with dots between them
//!   orders.*.created       a pattern: `*` is one token, whichever
//!   orders.>               a pattern: `>` is the rest, one token at least
//! ```
//!
//! [`TopicIndex`] finds the subscriptions of a topic without looking at the others.
//! [`wire`] is what is said to the owner of topics.

mod index;
mod name;
mod pattern;
pub mod wire;

pub use index::TopicIndex;
pub use name::{BadTopic, MAX_TOPIC, MAX_TOPIC_TOKENS, TopicName};
pub use pattern::TopicPattern;
