//! Errors, as RFC 9457 describes them.

use serde::{Deserialize, Serialize};

use super::Payload;

/// Why a request failed: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:phoenix:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What this code means, the same every time.
    pub title: String,
    /// What was wrong this time.
    pub detail: String,
    /// A stable word a program can match on.
    pub code: String,
    /// What to do about it, where something can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// How long it is of no use to try again, milliseconds, where a gate turned the
    /// message down and knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The agent's own error, if the code is `agent-failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<AgentFailure>,
}

/// The error of an agent's handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFailure {
    /// The agent's own word for it.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// More, for programs.
    pub details: Payload,
}
