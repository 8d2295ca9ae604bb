//! What goes wrong with a request, and the problem document it becomes.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use phoenix_core::Millis;
use phoenix_core::control::ControlError;
use phoenix_core::flow::{TurnedDown, TurnedDownBy};

use crate::api::{AgentFailure, Problem};
use crate::suggest::shown;

/// A request that fails.
#[derive(Debug)]
pub(super) struct Fault {
    code: Code,
    detail: String,
    suggestion: Option<String>,
    failure: Option<Box<AgentFailure>>,
    retry_after: Option<Millis>,
}

/// The stable words for what can go wrong. `docs/api.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Invalid,
    Unauthorized,
    Forbidden,
    NotFound,
    NoSuchRoute,
    MethodNotAllowed,
    Conflict,
    Bounced,
    Deadlock,
    TooLarge,
    UnsupportedType,
    AgentFailed,
    RateLimited,
    TurnedDown,
    Overloaded,
    Unavailable,
    SlowRequest,
    Unknown,
    Internal,
}

impl Code {
    #[cfg(test)]
    const ALL: [Self; 19] = [
        Self::Invalid,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::NoSuchRoute,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::Bounced,
        Self::Deadlock,
        Self::TooLarge,
        Self::UnsupportedType,
        Self::AgentFailed,
        Self::RateLimited,
        Self::TurnedDown,
        Self::Overloaded,
        Self::Unavailable,
        Self::SlowRequest,
        Self::Unknown,
        Self::Internal,
    ];

    /// Word, status, and what it means.
    pub(super) fn describe(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Invalid => (
                "invalid",
                StatusCode::BAD_REQUEST,
                "The request is wrong; nothing was done",
            ),
            Self::Unauthorized => (
                "unauthorized",
                StatusCode::UNAUTHORIZED,
                "The token is missing or wrong",
            ),
            Self::Forbidden => (
                "forbidden",
                StatusCode::FORBIDDEN,
                "Pages of other sites may not use this API",
            ),
            Self::NotFound => (
                "not-found",
                StatusCode::NOT_FOUND,
                "What the request names is not there; nothing was done",
            ),
            Self::NoSuchRoute => (
                "no-such-route",
                StatusCode::NOT_FOUND,
                "The API has no such path",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The path is not used with this method",
            ),
            Self::Conflict => (
                "conflict",
                StatusCode::CONFLICT,
                "It cannot be done as things stand; nothing was done",
            ),
            Self::Bounced => (
                "bounced",
                StatusCode::CONFLICT,
                "The message never reached the agent",
            ),
            Self::Deadlock => (
                "deadlock",
                StatusCode::CONFLICT,
                "The answer would have had to wait for the asker",
            ),
            Self::TooLarge => (
                "too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The request is over a limit; nothing was done",
            ),
            Self::UnsupportedType => (
                "unsupported-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is of a type this path does not take",
            ),
            Self::AgentFailed => (
                "agent-failed",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The agent's handler answered with an error",
            ),
            Self::RateLimited => (
                "rate-limited",
                StatusCode::TOO_MANY_REQUESTS,
                "A gate lets no more pass just now; nothing was done, safe to repeat",
            ),
            Self::TurnedDown => (
                "turned-down",
                StatusCode::SERVICE_UNAVAILABLE,
                "A gate does not let it pass just now; nothing was done, safe to repeat",
            ),
            Self::Overloaded => (
                "overloaded",
                StatusCode::SERVICE_UNAVAILABLE,
                "The API is at a limit; nothing was done, try again",
            ),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Not possible just now; nothing was done, safe to repeat",
            ),
            Self::SlowRequest => (
                "slow-request",
                StatusCode::REQUEST_TIMEOUT,
                "The request did not arrive in time; nothing was done",
            ),
            Self::Unknown => (
                "unknown",
                StatusCode::GATEWAY_TIMEOUT,
                "It may or may not have been done, or may yet be",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "The node is at fault",
            ),
        }
    }
}

impl Fault {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            suggestion: None,
            failure: None,
            retry_after: None,
        }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail)
    }

    /// The control port answered another question than the one it was asked.
    pub(super) fn odd_answer() -> Self {
        Self::new(Code::Internal, "the node's answer does not fit the request")
    }

    /// The same, said of a part of the request.
    pub(super) fn located(mut self, place: &str) -> Self {
        self.detail = format!("{place}: {}", self.detail);
        self
    }

    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub(super) fn agent_failed(failure: AgentFailure) -> Self {
        Self {
            code: Code::AgentFailed,
            detail: format!("{}: {}", shown(&failure.code), failure.message),
            suggestion: None,
            failure: Some(Box::new(failure)),
            retry_after: None,
        }
    }

    /// A gate did not let a message pass.
    pub(super) fn turned_down(why: &TurnedDown) -> Self {
        let notice = why.notice;
        let code = match notice.by {
            TurnedDownBy::Size => Code::TooLarge,
            by if by.is_rate() => Code::RateLimited,
            _ => Code::TurnedDown,
        };
        Self {
            retry_after: Some(notice.retry_after).filter(|after| after.0 > 0),
            ..Self::new(code, &*why.text)
        }
    }

    fn problem(self) -> Problem {
        let (word, status, title) = self.code.describe();
        Problem {
            kind: format!("urn:phoenix:problem:{word}"),
            status: status.as_u16(),
            title: title.to_owned(),
            detail: self.detail,
            code: word.to_owned(),
            suggestion: self.suggestion,
            retry_after_ms: self.retry_after.map(|after| after.0),
            failure: self.failure.map(|failure| *failure),
        }
    }
}

impl From<ControlError> for Fault {
    fn from(error: ControlError) -> Self {
        let (code, detail) = match error {
            ControlError::Invalid(detail) => (Code::Invalid, detail),
            ControlError::NotFound(detail) => (Code::NotFound, detail),
            ControlError::Conflict(detail) => (Code::Conflict, detail),
            ControlError::Unavailable(detail) => (Code::Unavailable, detail),
            ControlError::Unknown(detail) => (Code::Unknown, detail),
            ControlError::Internal(detail) => (Code::Internal, detail),
        };
        Self::new(code, detail)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        /// Seconds after which a refused request may be tried again, if nobody knows.
        const RETRY_AFTER: u64 = 1;
        let code = self.code;
        let seconds = self.retry_after.map(|after| after.0.div_ceil(1_000));
        let (_, status, _) = code.describe();
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = (status, body).into_response();
        let mut set = |name: HeaderName, value| response.headers_mut().insert(name, value);
        set(
            header::CONTENT_TYPE,
            HeaderValue::from_static(crate::api::PROBLEM),
        );
        match code {
            Code::Overloaded | Code::Unavailable | Code::RateLimited | Code::TurnedDown => {
                let seconds = seconds.unwrap_or(RETRY_AFTER);
                set(header::RETRY_AFTER, HeaderValue::from(seconds))
            }
            Code::Unauthorized => set(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"phoenix\""),
            ),
            _ => None,
        };
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_as_it_is() {
        let text = include_str!("../../../../docs/api.md");
        for code in Code::ALL {
            let (word, status, title) = code.describe();
            let row = format!("| `{word}` | {} | {title} |", status.as_u16());
            assert!(text.contains(&row), "docs/api.md lacks: {row}");
        }
    }
}
