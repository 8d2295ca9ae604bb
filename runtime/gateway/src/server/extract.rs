//! What a request's path and query say.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use phoenix_core::control::LetterId;
use phoenix_core::topics::{TopicName, TopicPattern};
use phoenix_core::{AgentId, ClientId, KindName, NodeId};
use serde::de::DeserializeOwned;

use super::app::App;
use super::fault::Fault;
use crate::suggest::shown;
use crate::units::{DURATION_FORM, parse_duration};

/// The agent that the path's `{kind}` and `{key}` name.
pub(super) struct AgentPath(pub(super) AgentId);

/// The agent and the handler that the path names.
pub(super) struct MethodPath(pub(super) AgentId, pub(super) Arc<str>);

/// The kind that the path's `{kind}` names.
pub(super) struct KindPath(pub(super) KindName);

/// The node that the path's `{node}` names.
pub(super) struct NodePath(pub(super) NodeId);

/// The dead letter that the path's `{letter}` names.
pub(super) struct LetterPath(pub(super) LetterId);

/// The topic that the path's `{pattern}` names.
pub(super) struct TopicPath(pub(super) TopicName);

/// The topics that the path's `{pattern}` names.
pub(super) struct PatternPath(pub(super) TopicPattern);

/// The query, checked.
pub(super) struct Params<T>(pub(super) T);

/// Longest name of a handler, in bytes.
const MAX_METHOD: usize = 255;

impl FromRequestParts<Arc<App>> for AgentPath {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Fault> {
        let (kind, key): (String, String) = path(parts, app).await?;
        Ok(Self(agent_id(&kind, &key)?))
    }
}

impl FromRequestParts<Arc<App>> for MethodPath {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Fault> {
        let (kind, key, name): (String, String, String) = path(parts, app).await?;
        Ok(Self(agent_id(&kind, &key)?, method(&name)?))
    }
}

impl FromRequestParts<Arc<App>> for KindPath {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Fault> {
        let name: String = path(parts, app).await?;
        Ok(Self(kind(&name)?))
    }
}

impl FromRequestParts<Arc<App>> for NodePath {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Fault> {
        let name: String = path(parts, app).await?;
        Ok(Self(node(&name)?))
    }
}

impl FromRequestParts<Arc<App>> for LetterPath {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Fault> {
        let name: String = path(parts, app).await?;
        name.parse().map(Self).map_err(Fault::invalid)
    }
}

impl FromRequestParts<Arc<App>> for TopicPath {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Fault> {
        let name: String = path(parts, app).await?;
        Ok(Self(topic(&name)?))
    }
}

impl FromRequestParts<Arc<App>> for PatternPath {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Fault> {
        let name: String = path(parts, app).await?;
        Ok(Self(pattern(&name)?))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Fault> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|error| Fault::invalid(format!("the query: {}", error.body_text())))
    }
}

async fn path<T>(parts: &mut Parts, app: &Arc<App>) -> Result<T, Fault>
where
    T: DeserializeOwned + Send,
{
    let Path(values) = Path::from_request_parts(parts, app)
        .await
        .map_err(|error| Fault::invalid(format!("the path: {}", error.body_text())))?;
    Ok(values)
}

fn agent_id(kind_name: &str, key: &str) -> Result<AgentId, Fault> {
    let kind = kind(kind_name)?;
    agent(&format!("{kind}/{key}"))
}

/// An agent's id.
pub(super) fn agent(text: &str) -> Result<AgentId, Fault> {
    AgentId::new(text).map_err(|error| Fault::invalid(error.to_string()))
}

/// A kind's name.
pub(super) fn kind(text: &str) -> Result<KindName, Fault> {
    KindName::new(text).map_err(|error| Fault::invalid(error.to_string()))
}

/// A node's name or number.
pub(super) fn node(text: &str) -> Result<NodeId, Fault> {
    text.parse().map_err(Fault::invalid)
}

/// A topic's name.
pub(super) fn topic(text: &str) -> Result<TopicName, Fault> {
    TopicName::new(text).map_err(|bad| Fault::invalid(bad.to_string()))
}

/// A pattern of topics' names.
pub(super) fn pattern(text: &str) -> Result<TopicPattern, Fault> {
    TopicPattern::new(text).map_err(|bad| Fault::invalid(bad.to_string()))
}

/// A handler's name.
pub(super) fn method(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() || text.len() > MAX_METHOD || text.chars().any(char::is_control) {
        return Err(Fault::invalid(format!(
            "`{}` is no handler's name: 1 to {MAX_METHOD} bytes without control characters",
            shown(text)
        )));
    }
    Ok(text.into())
}

/// A client's id, or a random one for a client that does not care.
pub(super) fn client(text: Option<&str>) -> Result<ClientId, Fault> {
    let Some(text) = text else {
        return random_client();
    };
    ClientId::new(text).ok_or_else(|| {
        Fault::invalid(format!(
            "`{}` is no client's id: 1 to 64 of a-z A-Z 0-9 - _ .",
            shown(text)
        ))
    })
}

fn random_client() -> Result<ClientId, Fault> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .ok()
        .and_then(|()| ClientId::new(&data_encoding::HEXLOWER.encode(&bytes)))
        .ok_or_else(|| {
            Fault::invalid("the system gives no random bytes for a client's id")
                .suggest("choose one and give it as `client`")
        })
}

/// How long to wait: what the request says, the default if it says nothing.
pub(super) fn timeout(text: Option<&str>, app: &App) -> Result<Duration, Fault> {
    let Some(text) = text else {
        return Ok(app.limits.default_timeout);
    };
    let most = app.limits.max_timeout;
    match span(text, "timeout")? {
        timeout if timeout.is_zero() || timeout > most => Err(Fault::invalid(format!(
            "the timeout is {}: it must be above 0 and at most {most:?}",
            shown(text)
        ))),
        timeout => Ok(timeout),
    }
}

/// A span of time.
pub(super) fn span(text: &str, name: &str) -> Result<Duration, Fault> {
    parse_duration(text).ok_or_else(|| {
        Fault::invalid(format!(
            "`{name}` is `{}`: it must be {DURATION_FORM}",
            shown(text)
        ))
    })
}

/// How many entries an answer may have at most.
pub(super) fn limit(asked: Option<u32>, app: &App) -> Result<u32, Fault> {
    /// Entries unless the request says how many, at most.
    const DEFAULT_PAGE: u32 = 1_000;
    let most = app.limits.max_page;
    match asked {
        None => Ok(DEFAULT_PAGE.min(most)),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(limit) => Err(Fault::invalid(format!(
            "the limit is {limit}: it must be 1 to {most}"
        ))),
    }
}
