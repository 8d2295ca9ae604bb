//! The names of attributes, as CloudEvents, its documented extensions and
//! Phoenix spell them.

use std::borrow::Cow;

/// Makes constants, and the list of them.
macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)+) => {
        $($(#[$doc])* pub const $constant: &str = $name;)+

        const ALL: &[&str] = &[$($name),+];
    };
}

names! {
    /// Which event, among those of its source.
    ID = "id";
    /// Where it comes from, a URI-reference.
    SOURCE = "source";
    /// The version of CloudEvents, `1.0`.
    SPEC_VERSION = "specversion";
    /// What kind of event, see [`crate::taxonomy`].
    TYPE = "type";
    /// What it is about: the receiver.
    SUBJECT = "subject";
    /// When it happened.
    TIME = "time";
    /// The media type of its data.
    DATA_CONTENT_TYPE = "datacontenttype";
    /// Where the shape of its data is described, a URI.
    DATA_SCHEMA = "dataschema";

    /// Where it stands in a trace, W3C.
    TRACE_PARENT = "traceparent";
    /// What tracing systems add to that.
    TRACE_STATE = "tracestate";
    /// The id of the event that caused it.
    CAUSATION_ID = "causationid";
    /// What it has in common with all events of one undertaking.
    CORRELATION_ID = "correlationid";
    /// Its lane.
    PRIORITY = "priority";
    /// How often it takes effect.
    DELIVERY = "delivery";
    /// How far nodes agree on it.
    CONSISTENCY = "consistency";
    /// In which order it comes.
    ORDERING = "ordering";
    /// What decides which member of a group gets it.
    PARTITION_KEY = "partitionkey";
    /// Whom it was for before it was redirected, or sent again.
    REDIRECTED_FROM = "redirectedfrom";
    /// When it is of no use any more.
    EXPIRY_TIME = "expirytime";
    /// Whether it is a dead letter then, for its sender to see.
    EXPIRY_REPORT = "expiryreport";
    /// When whoever waits for an answer gives up.
    DEADLINE = "deadline";
    /// Its number in its stream.
    SEQUENCE = "sequence";
    /// The handler it is for, where its type does not say that.
    METHOD = "method";

    /// What the host alone says: who sent it, where `source` says something else.
    SENDER = "phxsender";
    /// The sender's incarnation.
    INCARNATION = "phxincarnation";
    /// The node a client came through.
    NODE = "phxnode";
    /// Whom it is for, where `subject` says something else.
    RECEIVER = "phxreceiver";
    /// The lowest number the sender of a stream still keeps.
    BASE = "phxbase";
    /// When the sender gives it up.
    GIVE_UP = "phxgiveup";
    /// The number of the ask it is, or answers.
    ASK = "phxask";
    /// Where the answer goes.
    REPLY_TO = "phxreplyto";
    /// The incarnation that asked.
    ASKER = "phxasker";
    /// How an ask ended.
    REPLY = "phxreply";
    /// A failure's code.
    CODE = "phxcode";
    /// A failure's or a bounce's reason.
    REASON = "phxreason";
    /// That it makes an agent.
    SPAWN = "phxspawn";
    /// Who sent it first, if its sender sends it on or again.
    ORIGINAL = "phxoriginal";
    /// Its number in the stream it was in then.
    ORIGINAL_NUMBER = "phxoriginalnumber";
    /// How often it was redirected.
    REDIRECTS = "phxredirects";
    /// Whom the message was for that came back to its sender.
    BOUNCED = "phxbounced";
    /// Whether it may have been applied all the same.
    UNSURE = "phxunsure";
}

/// What names of the host's own begin with; nobody outside may set them.
pub const HOST_PREFIX: &str = "phx";

/// `name`, without an allocation if it is one of these.
pub(super) fn interned(name: &str) -> Cow<'static, str> {
    match ALL.iter().find(|known| **known == name) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::text::is_name;

    #[test]
    fn every_name_is_one_and_there_once() {
        for (at, name) in ALL.iter().enumerate() {
            assert!(is_name(name) && name.len() <= 20, "{name}");
            assert!(!ALL[..at].contains(name), "{name}");
        }
    }
}
