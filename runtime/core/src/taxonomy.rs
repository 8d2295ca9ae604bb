//! What kinds of messages there are, and how each is treated where nobody says
//! otherwise.
//!
//! A type of Phoenix's own is `phoenix.{domain}.{entity}.{action}`, perhaps with
//! one more segment, a qualifier: `phoenix.data.order.created` or
//! `phoenix.control.node.drain.forced`. [`TAXONOMY`] gives types their
//! [`Characteristics`] by the longest row that begins them; a kind, and then a
//! single send, may override any of the four.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::id::shown;
use crate::{Delivery, Lane};

/// How far the answer to a message, or its effect, agrees between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// All see one history.
    Strong,
    /// All see causes before effects.
    Causal,
    /// All see the same in the end.
    Eventual,
}

/// Which order messages of one topic or declared set of topics come in. Between
/// two agents and on one lane, reliable messages always come as they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// One order for all receivers.
    Total,
    /// Causes before effects.
    Causal,
    /// As each sender sent them.
    Fifo,
    /// None is promised.
    Unordered,
}

/// How often a message takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guarantee {
    /// Sent once and forgotten.
    AtMostOnce,
    /// Kept until acknowledged, and resent.
    AtLeastOnce,
    /// The same, and applied once.
    ExactlyOnce,
}

impl Guarantee {
    /// The contract's weakest delivery that keeps this guarantee.
    pub const fn delivery(self) -> Delivery {
        match self {
            Self::AtMostOnce => Delivery::AtMostOnce,
            Self::AtLeastOnce | Self::ExactlyOnce => Delivery::ExactlyOnce,
        }
    }
}

/// An enum with a word for each variant, which is also what is read.
macro_rules! words {
    ($type:ident, $accepted:literal, { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every one, strongest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What may be written for one of these, for people.
            pub const ACCEPTED: &'static str = $accepted;

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// The one of that word.
            pub fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words!(Consistency, "strong, causal or eventual", {
    Strong => "strong",
    Causal => "causal",
    Eventual => "eventual",
});
words!(Ordering, "total, causal, fifo or unordered", {
    Total => "total",
    Causal => "causal",
    Fifo => "fifo",
    Unordered => "unordered",
});
words!(Guarantee, "exactly-once, at-least-once or at-most-once", {
    ExactlyOnce => "exactly-once",
    AtLeastOnce => "at-least-once",
    AtMostOnce => "at-most-once",
});

impl Lane {
    /// What may be written for the lane of a message, for people.
    pub const ACCEPTED: &'static str = "high, normal, low or bulk";

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
            Self::Bulk => "bulk",
            Self::Reply => "reply",
        }
    }

    /// The one of that word, of those a message may ask for.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::MESSAGES
            .into_iter()
            .find(|lane| lane.as_str() == word)
    }
}

/// How messages of a type are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Characteristics {
    /// Which lane they take.
    pub priority: Lane,
    /// How far nodes agree on them.
    pub consistency: Consistency,
    /// In which order they come.
    pub ordering: Ordering,
    /// How often they take effect.
    pub delivery: Guarantee,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The segments a type begins with.
    pub prefix: &'static str,
    /// How such types are treated.
    pub characteristics: Characteristics,
}

const fn row(
    prefix: &'static str,
    priority: Lane,
    consistency: Consistency,
    ordering: Ordering,
    delivery: Guarantee,
) -> Row {
    Row {
        prefix,
        characteristics: Characteristics {
            priority,
            consistency,
            ordering,
            delivery,
        },
    }
}

/// The defaults. Of the rows whose segments a type begins with, the longest
/// counts. The first row is for everything else, types of others among them.
#[rustfmt::skip]
pub const TAXONOMY: [Row; 16] = [
    row("",                      Lane::Normal, Consistency::Causal,   Ordering::Causal,    Guarantee::AtLeastOnce),
    // Control plane: what changes who runs where.
    row("phoenix.control",       Lane::High,   Consistency::Strong,   Ordering::Total,     Guarantee::ExactlyOnce),
    row("phoenix.cluster",       Lane::High,   Consistency::Strong,   Ordering::Total,     Guarantee::ExactlyOnce),
    row("phoenix.directory",     Lane::High,   Consistency::Strong,   Ordering::Total,     Guarantee::ExactlyOnce),
    row("phoenix.lifecycle",     Lane::High,   Consistency::Strong,   Ordering::Total,     Guarantee::ExactlyOnce),
    row("phoenix.migration",     Lane::High,   Consistency::Strong,   Ordering::Total,     Guarantee::ExactlyOnce),
    row("phoenix.policy",        Lane::High,   Consistency::Strong,   Ordering::Total,     Guarantee::ExactlyOnce),
    // Data plane: what agents and clients say. An answer goes before new questions.
    row("phoenix.data",          Lane::Normal, Consistency::Causal,   Ordering::Causal,    Guarantee::AtLeastOnce),
    row(AGENT_MESSAGES,          Lane::Normal, Consistency::Causal,   Ordering::Causal,    Guarantee::AtLeastOnce),
    row("phoenix.topic",         Lane::Normal, Consistency::Causal,   Ordering::Causal,    Guarantee::AtLeastOnce),
    row("phoenix.ask.reply",     Lane::High,   Consistency::Causal,   Ordering::Causal,    Guarantee::AtLeastOnce),
    // Observability: what only tells how things stand.
    row("phoenix.observability", Lane::Low,    Consistency::Eventual, Ordering::Unordered, Guarantee::AtMostOnce),
    row("phoenix.metric",        Lane::Low,    Consistency::Eventual, Ordering::Unordered, Guarantee::AtMostOnce),
    row("phoenix.log",           Lane::Low,    Consistency::Eventual, Ordering::Unordered, Guarantee::AtMostOnce),
    row("phoenix.trace",         Lane::Low,    Consistency::Eventual, Ordering::Unordered, Guarantee::AtMostOnce),
    row("phoenix.health",        Lane::Low,    Consistency::Eventual, Ordering::Unordered, Guarantee::AtMostOnce),
];

/// What the types of messages between agents begin with that say nothing of their
/// types.
const AGENT_MESSAGES: &str = "phoenix.agent";

impl Characteristics {
    /// The table's for a type, which may be anybody's.
    pub fn of(message_type: &str) -> Self {
        TAXONOMY
            .iter()
            .filter(|row| begins(message_type, row.prefix))
            .max_by_key(|row| row.prefix.len())
            .map_or(Self::DATA, |row| row.characteristics)
    }

    /// What the table's first row has.
    const DATA: Self = TAXONOMY[0].characteristics;

    /// Those of messages between agents that say nothing of their types: of
    /// [`AGENT_MESSAGES`], without a search.
    pub const AGENT: Self = TAXONOMY[8].characteristics;

    /// The same, but for what `overrides` sets.
    #[must_use]
    pub const fn with(self, overrides: &Overrides) -> Self {
        Self {
            priority: match overrides.priority {
                Some(priority) => priority,
                None => self.priority,
            },
            consistency: match overrides.consistency {
                Some(consistency) => consistency,
                None => self.consistency,
            },
            ordering: match overrides.ordering {
                Some(ordering) => ordering,
                None => self.ordering,
            },
            delivery: match overrides.delivery {
                Some(delivery) => delivery,
                None => self.delivery,
            },
        }
    }

    /// What holds for one send: the table's, under the kind's, under the send's own.
    pub fn resolve(message_type: &str, kind: &Overrides, send: &Overrides) -> Self {
        Self::of(message_type).with(kind).with(send)
    }
}

/// Whether the dotted `text` begins with all segments of `prefix`.
fn begins(text: &str, prefix: &str) -> bool {
    prefix.is_empty()
        || text
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What a kind or a single send wants otherwise than the table has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Overrides {
    /// Which lane.
    pub priority: Option<Lane>,
    /// How far nodes agree.
    pub consistency: Option<Consistency>,
    /// In which order.
    pub ordering: Option<Ordering>,
    /// How often it takes effect.
    pub delivery: Option<Guarantee>,
}

impl Overrides {
    /// Nothing otherwise.
    pub const NONE: Self = Self {
        priority: None,
        consistency: None,
        ordering: None,
        delivery: None,
    };

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}

/// A type of Phoenix's own, `phoenix.{domain}.{entity}.{action}[.{qualifier}]`.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageType {
    text: Arc<str>,
}

/// What every type of ours begins with.
pub(crate) const ROOT: &str = "phoenix";

/// Longest segment of a type, bytes: a kind fits, and so does a handler's name.
pub const MAX_SEGMENT: usize = 64;

/// Why a text is no type of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessageType {
    /// It has too few or too many segments, or another beginning.
    #[error(
        "`{0}` is no message type: write phoenix.{{domain}}.{{entity}}.{{action}}, as in phoenix.data.order.created, and at most one qualifier more"
    )]
    Shape(String),
    /// A segment breaks the rules.
    #[error(
        "{part} `{found}` of a message type must be 1 to {MAX_SEGMENT} of a-z, 0-9, - and _, beginning with a letter"
    )]
    Segment {
        /// Which one.
        part: &'static str,
        /// What it is, clipped.
        found: String,
    },
}

impl MessageType {
    /// Checks `text` and makes it a type.
    pub fn new(text: &str) -> Result<Self, BadMessageType> {
        Self::check(text)?;
        Ok(Self { text: text.into() })
    }

    /// Checks that `text` is a type.
    pub fn check(text: &str) -> Result<(), BadMessageType> {
        let mut segments = text.split('.');
        if segments.next() != Some(ROOT) || !(4..=5).contains(&text.split('.').count()) {
            return Err(BadMessageType::Shape(shown(text)));
        }
        for (part, segment) in ["domain", "entity", "action", "qualifier"]
            .into_iter()
            .zip(segments)
        {
            if !is_segment(segment) {
                let found = shown(segment);
                return Err(BadMessageType::Segment { part, found });
            }
        }
        Ok(())
    }

    /// The whole type.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What part of the system it is about.
    pub fn domain(&self) -> &str {
        self.segment(1).unwrap_or_default()
    }

    /// What thing it is about.
    pub fn entity(&self) -> &str {
        self.segment(2).unwrap_or_default()
    }

    /// What is to happen to it, or did.
    pub fn action(&self) -> &str {
        self.segment(3).unwrap_or_default()
    }

    /// How, if it says.
    pub fn qualifier(&self) -> Option<&str> {
        self.segment(4)
    }

    /// The table's characteristics.
    pub fn characteristics(&self) -> Characteristics {
        Characteristics::of(&self.text)
    }

    fn segment(&self, at: usize) -> Option<&str> {
        self.text.split('.').nth(at)
    }
}

/// Whether `text` may be a segment of a type.
pub(crate) fn is_segment(text: &str) -> bool {
    text.len() <= MAX_SEGMENT
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

impl FromStr for MessageType {
    type Err = BadMessageType;
    fn from_str(text: &str) -> Result<Self, BadMessageType> {
        Self::new(text)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_parts() {
        let plain = MessageType::new("phoenix.data.order.created").unwrap();
        assert_eq!(
            (
                plain.domain(),
                plain.entity(),
                plain.action(),
                plain.qualifier()
            ),
            ("data", "order", "created", None)
        );
        let qualified = MessageType::new("phoenix.control.node.drain.forced").unwrap();
        assert_eq!(qualified.qualifier(), Some("forced"));
    }

    #[test]
    fn bad_types_are_named() {
        for bad in [
            "",
            "phoenix",
            "phoenix.data.order",
            "phoenix.a.b.c.d.e",
            "com.example.order.created",
            "Phoenix.data.order.created",
        ] {
            let error = MessageType::new(bad).unwrap_err();
            assert_eq!(error, BadMessageType::Shape(bad.to_owned()));
        }
        let long = "x".repeat(MAX_SEGMENT + 1);
        for (part, bad) in [
            ("domain", "phoenix..order.created"),
            ("entity", "phoenix.data.Order.created"),
            ("action", "phoenix.data.order.1st"),
            ("qualifier", "phoenix.data.order.created.é"),
            ("action", &format!("phoenix.data.order.{long}")),
        ] {
            let error = MessageType::new(bad).unwrap_err();
            assert!(
                matches!(error, BadMessageType::Segment { part: found, .. } if found == part),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn the_planes_are_as_designed() {
        let planes = [
            (
                "phoenix.control.node.drain",
                "high strong total exactly-once",
            ),
            (
                "phoenix.data.order.created",
                "normal causal causal at-least-once",
            ),
            (
                "phoenix.metric.node.load",
                "low eventual unordered at-most-once",
            ),
        ];
        for (text, expected) in planes {
            let it = Characteristics::of(text);
            let words = [
                it.priority.as_str(),
                it.consistency.as_str(),
                it.ordering.as_str(),
                it.delivery.as_str(),
            ];
            assert_eq!(words.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn the_longest_row_of_whole_segments_counts() {
        let high = |text: &str| Characteristics::of(text).priority == Lane::High;
        assert!(high("phoenix.ask.reply.ok"));
        assert!(!high("phoenix.ask.question.put"), "its row is the first");
        assert!(
            !high("phoenix.controlled.a.b"),
            "a segment is whole or not there"
        );
        assert!(!high("com.example.phoenix.control.a.b"));
        assert_eq!(
            Characteristics::of("com.example.a"),
            TAXONOMY[0].characteristics
        );
        assert_eq!(Characteristics::of(""), TAXONOMY[0].characteristics);
    }

    #[test]
    fn every_row_is_there_once_and_can_begin_a_type() {
        for (at, row) in TAXONOMY.iter().enumerate() {
            assert!(
                TAXONOMY[..at]
                    .iter()
                    .all(|other| other.prefix != row.prefix)
            );
            if !row.prefix.is_empty() {
                let missing = 4 - row.prefix.split('.').count();
                let text = format!("{}{}", row.prefix, ".x".repeat(missing));
                let read = MessageType::new(&text).unwrap();
                assert_eq!(read.characteristics(), row.characteristics, "{text}");
            }
        }
    }

    #[test]
    fn a_send_overrides_its_kind_and_both_the_table() {
        let kind = Overrides {
            priority: Some(Lane::Bulk),
            delivery: Some(Guarantee::ExactlyOnce),
            ..Overrides::NONE
        };
        let send = Overrides {
            priority: Some(Lane::Low),
            ordering: Some(Ordering::Fifo),
            ..Overrides::NONE
        };
        let resolved = Characteristics::resolve("phoenix.data.order.created", &kind, &send);
        assert_eq!(
            resolved,
            Characteristics {
                priority: Lane::Low,
                consistency: Consistency::Causal,
                ordering: Ordering::Fifo,
                delivery: Guarantee::ExactlyOnce,
            }
        );
        let all = Overrides {
            consistency: Some(Consistency::Strong),
            ..send
        };
        let base = Characteristics::of("");
        assert_eq!(base.with(&Overrides::NONE), base);
        assert_eq!(base.with(&all).with(&all), base.with(&all));
    }

    #[test]
    fn what_agents_say_has_a_row_of_its_own() {
        assert_eq!(TAXONOMY[8].prefix, AGENT_MESSAGES);
        let derived = Characteristics::of("phoenix.agent.counter.add");
        assert_eq!(Characteristics::AGENT, derived);
    }

    #[test]
    fn words_and_back() {
        fn check<T: Copy + PartialEq + fmt::Debug>(
            all: &[T],
            accepted: &str,
            word: fn(T) -> &'static str,
            of: fn(&str) -> Option<T>,
        ) {
            for one in all {
                assert_eq!(of(word(*one)), Some(*one));
                assert!(accepted.contains(word(*one)));
            }
            assert_eq!(of(""), None);
            assert_eq!(of("High"), None);
        }
        check(&Lane::MESSAGES, Lane::ACCEPTED, Lane::as_str, Lane::of_word);
        check(
            Consistency::ALL,
            Consistency::ACCEPTED,
            Consistency::as_str,
            Consistency::of_word,
        );
        check(
            Ordering::ALL,
            Ordering::ACCEPTED,
            Ordering::as_str,
            Ordering::of_word,
        );
        check(
            Guarantee::ALL,
            Guarantee::ACCEPTED,
            Guarantee::as_str,
            Guarantee::of_word,
        );
    }
}
