//! One method an operation of the API.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request};
use phoenix_core::control::{LetterFilter, LetterId};
use phoenix_core::flow::FlowTarget;
use phoenix_core::{AgentId, ClientId, KindName, NodeId};
use serde::de::DeserializeOwned;

use super::connection::Answered;
use super::{Client, ClientError, encode};
use crate::api::{self, ContentType};

/// Which agents to list.
#[derive(Clone, Debug, Default)]
pub struct AgentFilter {
    /// Of this kind only.
    pub kind: Option<KindName>,
    /// On this node only.
    pub node: Option<NodeId>,
    /// Whose id comes after this one.
    pub after: Option<AgentId>,
    /// At most so many; the node has a default and a limit.
    pub limit: Option<u32>,
}

/// What an agent answered to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How to read `bytes`.
    pub content_type: ContentType,
    /// The answer.
    pub bytes: Bytes,
}

impl Answer {
    /// The answer as a value, where it is JSON or MessagePack; nothing is `null`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        match self.content_type {
            ContentType::Json => serde_json::from_slice(&self.bytes).map_err(|e| e.to_string()),
            ContentType::MessagePack => {
                rmp_serde::from_slice(&self.bytes).map_err(|e| e.to_string())
            }
            ContentType::None => serde_json::from_str("null").map_err(|e| e.to_string()),
            ContentType::Binary => Err("the answer is plain bytes".to_owned()),
        }
    }
}

/// How long the node's own word about a time-out may take beyond it.
const GRACE: Duration = Duration::from_secs(10);

/// A request in the making.
pub(super) struct Call {
    method: Method,
    target: String,
    body: Bytes,
    content_type: Option<&'static str>,
    patience: Duration,
}

impl Client {
    /// Makes `component` a kind with the default policy, changed by `policy`.
    pub async fn deploy(
        &self,
        kind: &KindName,
        component: Bytes,
        policy: &api::Policy,
    ) -> Result<api::Kind, ClientError> {
        let policy = serde_json::to_string(policy).map_err(|error| self.bad(error))?;
        let mut request = self
            .call(Method::PUT, format!("/v1/kinds/{kind}"))
            .body(component, Some(api::WASM))
            .request()
            .map_err(|error| self.bad(error))?;
        let policy = policy.parse().map_err(|error| self.bad(error))?;
        request.headers_mut().insert("phoenix-policy", policy);
        let patience = self.connections.patience();
        let answered = self.connections.exchange(request, patience).await?;
        self.json(&answered)
    }

    /// The kinds.
    pub async fn kinds(&self) -> Result<api::KindList, ClientError> {
        self.fetch(Method::GET, "/v1/kinds".to_owned()).await
    }

    /// A page of agents.
    pub async fn agents(&self, filter: &AgentFilter) -> Result<api::AgentPage, ClientError> {
        let mut target = Target::new("/v1/agents");
        target.add("kind", filter.kind.as_ref());
        target.add("node", filter.node);
        target.add("after", filter.after.as_ref());
        target.add("limit", filter.limit);
        self.fetch(Method::GET, target.done()).await
    }

    /// All about one agent.
    pub async fn inspect(&self, agent: &AgentId) -> Result<api::AgentDetail, ClientError> {
        self.fetch(Method::GET, agent_path(agent, "")).await
    }

    /// Creates an agent, on a node of choice if one is given.
    pub async fn spawn(
        &self,
        agent: &AgentId,
        content_type: ContentType,
        config: Bytes,
        on: Option<NodeId>,
    ) -> Result<api::Spawned, ClientError> {
        let mut target = Target::new(&agent_path(agent, ""));
        target.add("on", on);
        let call = self
            .call(Method::POST, target.done())
            .body(config, content_type.media_type());
        self.json(&self.exchange(call).await?)
    }

    /// Ends an agent.
    pub async fn stop(&self, agent: &AgentId) -> Result<(), ClientError> {
        let call = self.call(Method::DELETE, agent_path(agent, ""));
        self.exchange(call).await.map(drop)
    }

    /// Moves an agent.
    pub async fn migrate(&self, agent: &AgentId, to: NodeId) -> Result<api::Migrated, ClientError> {
        let mut target = Target::new(&agent_path(agent, "/migrate"));
        target.add("to", Some(to));
        self.fetch(Method::POST, target.done()).await
    }

    /// Puts an agent to sleep.
    pub async fn hibernate(&self, agent: &AgentId) -> Result<api::Hibernated, ClientError> {
        self.fetch(Method::POST, agent_path(agent, "/hibernate"))
            .await
    }

    /// Begins an agent's life anew, from nothing; with `force` even if it is not
    /// quarantined.
    pub async fn reset(
        &self,
        agent: &AgentId,
        content_type: ContentType,
        config: Bytes,
        force: bool,
    ) -> Result<api::Reset, ClientError> {
        let mut target = Target::new(&agent_path(agent, "/reset"));
        target.add("force", force.then_some(true));
        let call = self
            .call(Method::POST, target.done())
            .body(config, content_type.media_type());
        self.json(&self.exchange(call).await?)
    }

    /// Asks an agent, on a lane of choice if one is given. The answer comes in the
    /// content type of `payload`, as JSON if there is no payload.
    pub async fn ask(
        &self,
        agent: &AgentId,
        method: &str,
        content_type: ContentType,
        payload: Bytes,
        timeout: Duration,
        lane: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let mut target = Target::new(&agent_path(agent, &format!("/call/{}", encode(method))));
        target.add("timeout", Some(millis(timeout)));
        target.add("lane", lane);
        let call = self
            .call(Method::POST, target.done())
            .body(payload, content_type.media_type())
            .waiting(timeout);
        let answered = self.exchange(call).await?;
        let content_type = answered
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(ContentType::of_media_type)
            .unwrap_or(ContentType::None);
        Ok(Answer {
            content_type,
            bytes: answered.body,
        })
    }

    /// Sends messages under `client`'s name; the answer has a verdict for each,
    /// in order. A message sent again under its sequence is applied once.
    pub async fn send(
        &self,
        client: &ClientId,
        messages: &[api::Message<'_>],
        timeout: Duration,
    ) -> Result<Vec<api::Verdict>, ClientError> {
        let body = rmp_serde::to_vec_named(messages).map_err(|error| self.bad(error))?;
        let mut target = Target::new("/v1/messages");
        target.add("client", Some(client.as_str()));
        target.add("timeout", Some(millis(timeout)));
        let call = self
            .call(Method::POST, target.done())
            .body(body.into(), Some(api::MESSAGE_PACK))
            .waiting(timeout);
        let answered = self.exchange(call).await?;
        let verdicts: api::Verdicts =
            rmp_serde::from_slice(&answered.body).map_err(|error| self.bad(error))?;
        Ok(verdicts.verdicts)
    }

    /// Sends messages under `client`'s name and waits for no verdicts. A message that
    /// is sent at most once has its turn within `timeout`, or not at all.
    pub async fn send_and_go(
        &self,
        client: &ClientId,
        messages: &[api::Message<'_>],
        timeout: Option<Duration>,
    ) -> Result<api::Accepted, ClientError> {
        let body = rmp_serde::to_vec_named(messages).map_err(|error| self.bad(error))?;
        let mut target = Target::new("/v1/messages");
        target.add("client", Some(client.as_str()));
        target.add("mode", Some("async"));
        target.add("timeout", timeout.map(millis));
        let call = self
            .call(Method::POST, target.done())
            .body(body.into(), Some(api::MESSAGE_PACK));
        self.json(&self.exchange(call).await?)
    }

    /// Asks many agents one thing, and waits for all of them or until `timeout` is over.
    pub async fn broadcast(
        &self,
        broadcast: &api::Broadcast<'_>,
        timeout: Duration,
    ) -> Result<api::Answers, ClientError> {
        let mut target = Target::new("/v1/broadcasts");
        target.add("timeout", Some(millis(timeout)));
        let call = self.broadcasting(target, broadcast)?.waiting(timeout);
        self.json(&self.exchange(call).await?)
    }

    /// Sends many agents one message, at most once each, and waits for none of them.
    pub async fn broadcast_and_go(
        &self,
        broadcast: &api::Broadcast<'_>,
        timeout: Option<Duration>,
    ) -> Result<api::Accepted, ClientError> {
        let mut target = Target::new("/v1/broadcasts");
        target.add("mode", Some("async"));
        target.add("timeout", timeout.map(millis));
        let call = self.broadcasting(target, broadcast)?;
        self.json(&self.exchange(call).await?)
    }

    fn broadcasting(
        &self,
        target: Target,
        broadcast: &api::Broadcast<'_>,
    ) -> Result<Call, ClientError> {
        let body = rmp_serde::to_vec_named(broadcast).map_err(|error| self.bad(error))?;
        let call = self.call(Method::POST, target.done());
        Ok(call.body(body.into(), Some(api::MESSAGE_PACK)))
    }

    /// Log lines after number `after`, oldest first.
    pub async fn logs(
        &self,
        agent: Option<&AgentId>,
        node: Option<NodeId>,
        after: Option<u64>,
        limit: Option<u32>,
    ) -> Result<api::LogPage, ClientError> {
        let mut target = Target::new("/v1/logs");
        target.add("agent", agent);
        target.add("node", node);
        target.add("after", after);
        target.add("limit", limit);
        self.fetch(Method::GET, target.done()).await
    }

    /// The nodes.
    pub async fn nodes(&self) -> Result<api::NodeList, ClientError> {
        self.fetch(Method::GET, "/v1/nodes".to_owned()).await
    }

    /// Declares a node dead that is connected to no other.
    pub async fn declare_dead(&self, node: NodeId) -> Result<api::DeclaredDead, ClientError> {
        self.fetch(Method::POST, format!("/v1/nodes/{node}/declare-dead"))
            .await
    }

    /// Dead letters, oldest first.
    pub async fn dead_letters(
        &self,
        filter: &LetterFilter,
        limit: Option<u32>,
    ) -> Result<api::DeadLetterList, ClientError> {
        let mut target = Target::of_letters("/v1/dead-letters", filter);
        target.add("limit", limit);
        self.fetch(Method::GET, target.done()).await
    }

    /// One dead letter, its payload whole.
    pub async fn dead_letter(&self, letter: LetterId) -> Result<api::DeadLetter, ClientError> {
        self.fetch(Method::GET, format!("/v1/dead-letters/{letter}"))
            .await
    }

    /// Sends a dead letter again and says what became of it within `timeout`.
    pub async fn replay_dead_letter(
        &self,
        letter: LetterId,
        timeout: Duration,
    ) -> Result<api::Replayed, ClientError> {
        let mut target = Target::new(&format!("/v1/dead-letters/{letter}/replay"));
        target.add("timeout", Some(millis(timeout)));
        let call = self.call(Method::POST, target.done()).waiting(timeout);
        self.json(&self.exchange(call).await?)
    }

    /// Sends all dead letters again that `filter` takes, at most `limit` of each
    /// node, and says what became of them within `timeout`.
    pub async fn replay_dead_letters(
        &self,
        filter: &LetterFilter,
        limit: Option<u32>,
        timeout: Duration,
    ) -> Result<api::ReplayList, ClientError> {
        let mut target = Target::of_letters("/v1/dead-letters/replay", filter);
        target.add("all", Some(true));
        target.add("limit", limit);
        target.add("timeout", Some(millis(timeout)));
        let call = self.call(Method::POST, target.done()).waiting(timeout);
        self.json(&self.exchange(call).await?)
    }

    /// Throws a dead letter away.
    pub async fn purge_dead_letter(&self, letter: LetterId) -> Result<(), ClientError> {
        let call = self.call(Method::DELETE, format!("/v1/dead-letters/{letter}"));
        self.exchange(call).await.map(drop)
    }

    /// Throws all dead letters away that `filter` takes.
    pub async fn purge_dead_letters(
        &self,
        filter: &LetterFilter,
    ) -> Result<api::Purged, ClientError> {
        let mut target = Target::of_letters("/v1/dead-letters", filter);
        target.add("all", Some(true));
        self.fetch(Method::DELETE, target.done()).await
    }

    /// Policies of flow control and their gates, of one target or at one node if
    /// they are given.
    pub async fn flows(
        &self,
        target: Option<&FlowTarget>,
        node: Option<NodeId>,
    ) -> Result<api::FlowList, ClientError> {
        let mut path = Target::new("/v1/flow");
        path.add("target", target);
        path.add("node", node);
        self.fetch(Method::GET, path.done()).await
    }

    /// Attaches a policy, in place of the one that was.
    pub async fn set_flow(
        &self,
        target: &FlowTarget,
        policy: &api::Policy,
    ) -> Result<api::Attached, ClientError> {
        let body = serde_json::to_vec(policy).map_err(|error| self.bad(error))?;
        let mut path = Target::new("/v1/flow");
        path.add("target", Some(target));
        let call = self
            .call(Method::PUT, path.done())
            .body(body.into(), Some(api::JSON));
        self.json(&self.exchange(call).await?)
    }

    /// Takes a policy away that was attached.
    pub async fn clear_flow(&self, target: &FlowTarget) -> Result<(), ClientError> {
        let mut path = Target::new("/v1/flow");
        path.add("target", Some(target));
        let call = self.call(Method::DELETE, path.done());
        self.exchange(call).await.map(drop)
    }

    /// A token with which a new node can join.
    pub async fn join_token(&self, valid_for: Duration) -> Result<api::JoinToken, ClientError> {
        let mut target = Target::new("/v1/join-tokens");
        target.add("valid_for", Some(millis(valid_for)));
        self.fetch(Method::POST, target.done()).await
    }

    /// What the node has counted since it started.
    pub async fn counters(&self) -> Result<api::Counters, ClientError> {
        self.fetch(Method::GET, "/v1/counters".to_owned()).await
    }

    /// Stops the node: agents are moved away or put to sleep first. The answer
    /// comes when that has begun.
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        let call = self.call(Method::POST, "/v1/shutdown".to_owned());
        self.exchange(call).await.map(drop)
    }

    /// Whether the API answers.
    pub async fn health(&self) -> Result<api::Health, ClientError> {
        self.fetch(Method::GET, "/v1/health".to_owned()).await
    }

    pub(super) fn call(&self, method: Method, target: String) -> Call {
        Call {
            method,
            target,
            body: Bytes::new(),
            content_type: None,
            patience: self.connections.patience(),
        }
    }

    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        method: Method,
        target: String,
    ) -> Result<T, ClientError> {
        let answered = self.exchange(self.call(method, target)).await?;
        self.json(&answered)
    }

    pub(super) async fn exchange(&self, call: Call) -> Result<Answered, ClientError> {
        let patience = call.patience;
        let request = call.request().map_err(|error| self.bad(error))?;
        self.connections.exchange(request, patience).await
    }

    pub(super) fn json<T: DeserializeOwned>(&self, answered: &Answered) -> Result<T, ClientError> {
        serde_json::from_slice(&answered.body)
            .map_err(|error| self.bad(format!("status {}: {error}", answered.status)))
    }

    pub(super) fn bad(&self, reason: impl ToString) -> ClientError {
        ClientError::BadAnswer {
            address: self.address(),
            reason: reason.to_string(),
        }
    }
}

impl Call {
    pub(super) fn body(mut self, body: Bytes, content_type: Option<&'static str>) -> Self {
        self.content_type = content_type.filter(|_| !body.is_empty());
        self.body = body;
        self
    }

    pub(super) fn waiting(mut self, timeout: Duration) -> Self {
        self.patience = timeout.saturating_add(GRACE);
        self
    }

    fn request(self) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder().method(self.method).uri(self.target);
        if let Some(content_type) = self.content_type {
            request = request
                .header(CONTENT_TYPE, content_type)
                .header(ACCEPT, content_type);
        }
        request.body(Full::new(self.body))
    }
}

fn agent_path(agent: &AgentId, rest: &str) -> String {
    let (kind, key) = (encode(agent.kind()), encode(agent.key()));
    format!("/v1/agents/{kind}/{key}{rest}")
}

pub(super) fn millis(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}

/// A path and the query that grows behind it.
pub(super) struct Target {
    text: String,
    separator: char,
}

impl Target {
    pub(super) fn new(path: &str) -> Self {
        Self {
            text: path.to_owned(),
            separator: '?',
        }
    }

    fn of_letters(path: &str, filter: &LetterFilter) -> Self {
        let mut target = Self::new(path);
        target.add("node", filter.node);
        target.add("kind", filter.kind.as_ref());
        target.add("agent", filter.agent.as_ref());
        target.add("reason", filter.reason.as_ref());
        target
    }

    pub(super) fn add(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            let value = value.to_string();
            let _ = write!(self.text, "{}{name}={}", self.separator, encode(&value));
            self.separator = '&';
        }
    }

    pub(super) fn done(self) -> String {
        self.text
    }
}
