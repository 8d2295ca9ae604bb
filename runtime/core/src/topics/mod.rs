//! Topics: their names, patterns of names, and which subscriptions a name matches.
//!
//! ```text
//!   orders.eu.created      a topic's name: tokens with dots between them
//!   orders.*.created       a pattern: `*` is one token, whichever
//!   orders.>               a pattern: `>` is the rest, one token at least
//! ```
//!
//! [`TopicIndex`] finds the subscriptions of a topic without looking at the others.
//! Which of its events one wants, a [`Filter`] says, over an [`EventView`]; to whom they
//! go a [`Template`], and as what a [`Transform`]; and which member of a queue group gets
//! one, its [`Group`]. [`HoldBack`] keeps events that came before their causes.
//! [`wire`] is what is said to the owner of topics, and [`owner`] is that.

mod causal;
mod declared;
mod expression;
mod filter;
pub(crate) mod group;
mod index;
mod name;
mod options;
pub mod owner;
mod pattern;
mod template;
mod transform;
mod value;
mod view;
pub mod wire;

pub use causal::{After, BadHoldBack, HoldBack, HoldBackBounds, MAX_AFTER, Publication, Released};
pub use declared::{BadSubscriptions, KindSubscriptions, MAX_DECLARED_BYTES};
pub use expression::{
    BadExpression, EXPRESSION_BUDGET, Expression, Fault, MAX_EXPRESSION, MAX_EXPRESSION_DEPTH,
    MAX_EXPRESSION_NODES, MAX_PATTERN_BYTES, MAX_PATTERNS,
};
pub use filter::{Filter, FilterCounts, Outcome};
pub use group::{BadGroup, Choice, Group, MAX_ATTEMPTS, MAX_MEMBERS, MemberId, MessageId, Retry};
pub use index::TopicIndex;
pub use name::{BadTopic, MAX_TOPIC, MAX_TOPIC_TOKENS, TopicName};
pub use options::{PublishOptions, subscription};
pub use pattern::TopicPattern;
pub use template::{BadTemplate, MAX_PLACEHOLDERS, MAX_TEMPLATE, NoTarget, Template};
pub use transform::{
    BadTransform, MAX_FIELD_DEPTH, MAX_FIELD_PATH, MAX_TRANSFORM_FIELDS, Transform, TransformFault,
    TransformOptions,
};
pub use value::{BadData, Key, MAX_DATA_DEPTH, MAX_DATA_VALUES, Map, Unwritable, Value};
pub use view::EventView;
