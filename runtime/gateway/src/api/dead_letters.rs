//! Messages that ended without being applied, and what operators do with them.

use serde::{Deserialize, Serialize};

use super::{Incarnation, Payload, Verdict};

/// Dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterList {
    /// Oldest first.
    pub dead_letters: Vec<DeadLetter>,
    /// Whether there are more that match.
    #[serde(default)]
    pub more: bool,
}

/// A message that ended without being applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its name, as in `node-2.5.17`: the node, that node's start, the number there.
    pub id: String,
    /// At which node.
    pub node: String,
    /// Counted there since it started.
    pub number: u64,
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// A stable word for the reason.
    pub reason: String,
    /// More about it, such as a backtrace.
    pub detail: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Who sent it, as agents see it.
    pub from: String,
    /// Which life of the agent sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The node a client sent it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// Who sent it again in the name of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent_by: Option<String>,
    /// Whom it was for.
    pub to: String,
    /// What it was.
    pub body: LetterBody,
    /// For which handler; `spawn` for a spawn, empty for a reply.
    pub method: String,
    /// What it carried.
    pub payload: Payload,
    /// Its place in its stream; absent for at-most-once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamPlace>,
    /// Who waited for an answer; absent if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Asked>,
    /// The whole message as a CloudEvent in JSON, where one letter was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<serde_json::Value>,
}

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterBody {
    /// For a handler.
    Message,
    /// The end of an ask.
    Reply,
    /// Creation by name.
    Spawn,
}

/// A reliable message's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlace {
    /// `high`, `normal`, `low` or `bulk`.
    pub lane: Lane,
    /// From 1, without gaps.
    pub number: u64,
    /// When the sender gives it up, milliseconds since 1970-01-01 UTC.
    pub give_up_ms: u64,
}

/// Which of a pair's parallel streams a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Control traffic.
    High,
    /// Everything else.
    Normal,
    /// What can wait.
    Low,
    /// What nobody would miss.
    Bulk,
    /// Replies.
    Reply,
}

impl Lane {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
            Self::Bulk => "bulk",
            Self::Reply => "reply",
        }
    }
}

/// That somebody waited for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The asker's number for it.
    pub id: u64,
    /// Where the answer went: an agent, or a client at that node.
    pub reply_to: String,
    /// When the asker stopped waiting, milliseconds since 1970-01-01 UTC.
    pub deadline_ms: u64,
}

/// What became of dead letters that were sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayList {
    /// Oldest first, node by node.
    pub replayed: Vec<Replayed>,
}

/// What became of a dead letter that was sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Which.
    pub id: String,
    /// How the message ended. Applied, and dead once more as another letter,
    /// take the letter away.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Dead letters are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// How many.
    pub purged: u64,
}
