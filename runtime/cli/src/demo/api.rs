//! The real cluster: nodes reached through their HTTP API. No other part of
//! the demo knows how they are spoken to.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use phoenix_core::topics::TopicName;
use phoenix_core::topics::wire::{self, Publish};
use phoenix_core::{AgentId, ClientId, KindName, NodeId, Payload};
use phoenix_gateway::api::{self, ContentType, PolicyValue};
use phoenix_gateway::client::{AgentFilter, Client, ClientError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Event, Page, Question, RequestError, TOPIC, Verdict};
use super::error::DemoError;
use super::feed::FEEDERS;
use super::nodes::Kill;
use crate::samples;

/// How long a node may take to say what became of a batch; and how long where nodes are
/// killed, who take what they were told with them.
const FEED_TIMEOUT: Duration = Duration::from_secs(5);
const FEED_TIMEOUT_AMONG_KILLS: Duration = Duration::from_secs(1);

/// How long an agent may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a join token is good for: the node that gets it starts at once.
const TOKEN_VALID: Duration = Duration::from_secs(60);

/// How long nodes may take to find each other.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks whether they have.
const CONNECT_INTERVAL: Duration = Duration::from_millis(20);

/// The kinds, and what of their policies is not the default.
///
/// Visitors sleep soon, so that many are woken by their next event. They and `alerts/main`
/// hear of the log by subscriptions of their kinds to its topic: each event is taken to
/// the visitor that it names, and errors to the one that watches for bursts. `site/main`
/// hears from every visitor there is.
const KINDS: [(&str, &[(&str, &str)]); 3] = [
    (
        "visitor",
        &[
            ("idle-after", "1s"),
            (
                "subscriptions",
                r#"[{"pattern": "log.requests", "to": "visitor/{data.visitor}",
                     "method": "event", "delivery": "exactly-once"}]"#,
            ),
        ],
    ),
    ("site", &[("streams", "10000000"), ("memory-bytes", "1GiB")]),
    (
        "alerts",
        &[
            ("memory-bytes", "1GiB"),
            (
                "subscriptions",
                r#"[{"pattern": "log.requests", "filter": "data.status >= 400",
                     "to": "alerts/main", "method": "fault", "form": "data",
                     "delivery": "exactly-once"}]"#,
            ),
        ],
    ),
];

/// One node's API.
#[derive(Clone)]
pub(super) struct Endpoint {
    client: Client,
}

impl Endpoint {
    /// The API of the node whose data lies in `directory`, once it answers.
    pub(super) async fn open(directory: &Path) -> Option<Self> {
        let client = Client::of_data_dir(directory, None).ok()?;
        client.health().await.ok()?;
        Some(Self { client })
    }

    /// A token with which another node can join.
    pub(super) async fn join_token(&self) -> Result<String, DemoError> {
        let token = self.client.join_token(TOKEN_VALID).await;
        Ok(token
            .map_err(|error| failed("node 1 gives no join token", &error))?
            .token)
    }
}

/// All nodes' APIs.
pub(super) struct Api {
    /// Others in their place when nodes were started again.
    endpoints: RefCell<Vec<Endpoint>>,
    kills: mpsc::Sender<Kill>,
    feed_timeout: Duration,
    nodes: Vec<NodeId>,
    /// What each feeder publishes as: its events are a stream of their own.
    feeders: Vec<ClientId>,
    /// The owner of the topic.
    owner: AgentId,
    topic: TopicName,
}

impl Api {
    /// The cluster of these nodes, in the order in which they joined, once all
    /// of them are connected. Who hears of `kills` kills them.
    pub(super) async fn new(
        endpoints: Vec<Endpoint>,
        kills: mpsc::Sender<Kill>,
    ) -> Result<Self, DemoError> {
        let nodes = connected(&endpoints).await?;
        let run = random();
        let feeder = |feeder: usize| ClientId::new(&format!("demo-{run:016x}-{feeder}"));
        let unnamed = |text: String| DemoError::Request {
            what: "the feed has no name".into(),
            text,
        };
        let feeders = (0..FEEDERS).map(feeder).collect::<Option<_>>();
        let feeders = feeders.ok_or_else(|| unnamed(format!("demo-{run:016x}")))?;
        let topic = TopicName::new(TOPIC).map_err(|error| unnamed(error.to_string()))?;
        Ok(Self {
            endpoints: RefCell::new(endpoints),
            kills,
            feed_timeout: FEED_TIMEOUT,
            nodes,
            feeders,
            owner: wire::owner_of_topic(&topic),
            topic,
        })
    }

    /// The same, where nodes are going to be killed.
    pub(super) fn among_kills(mut self) -> Self {
        self.feed_timeout = FEED_TIMEOUT_AMONG_KILLS;
        self
    }

    /// Deploys the agents that come with the program, as durable ones if wanted.
    pub(super) async fn deploy_samples(&self, durable: bool) -> Result<(), DemoError> {
        for (name, fields) in KINDS {
            let what = format!("the sample agent `{name}` cannot be deployed");
            let wrong = |text: String| DemoError::Request {
                what: what.clone(),
                text,
            };
            let component =
                samples::component(name).ok_or_else(|| wrong("there is none".into()))?;
            let kind = KindName::new(name).map_err(|error| wrong(error.to_string()))?;
            let policy = fields
                .iter()
                .map(|(field, value)| ((*field).to_owned(), PolicyValue::from(*value)))
                .chain(durable.then(|| ("durable".to_owned(), PolicyValue::Flag(true))))
                .collect();
            self.client(0)
                .map_err(|error| wrong(error.text))?
                .deploy(&kind, Bytes::from_static(component), &api::Policy(policy))
                .await
                .map_err(|error| failed(&what, &error))?;
        }
        Ok(())
    }

    /// Publishes an event of a feeder, once however often it is sent.
    fn publication(&self, event: &Event) -> Result<api::Message<'_>, RequestError> {
        let visitor = event.agent.strip_prefix("visitor/");
        let data = rmp_serde::to_vec_named(&EventData {
            visitor: visitor.unwrap_or(&event.agent),
            n: event.n,
            errors: event.errors,
            at: event.at,
            status: event.status,
            bytes: event.bytes,
        });
        let data = data.map_err(|error| wrong(error.to_string()))?;
        let data = Payload {
            content_type: phoenix_core::ContentType::MessagePack,
            bytes: data.into(),
        };
        let mut payload = Vec::new();
        Publish::new(&self.topic, data.as_wit()).write(&mut payload);
        Ok(api::Message {
            agent: Cow::Borrowed(self.owner.as_str()),
            method: Cow::Borrowed(wire::method::PUBLISH),
            content_type: ContentType::MessagePack,
            payload: Cow::Owned(payload),
            sequence: Some(event.place),
            ..api::Message::default()
        })
    }

    fn client(&self, node: usize) -> Result<Client, RequestError> {
        let endpoints = self.endpoints.borrow();
        endpoints
            .get(node)
            .map(|endpoint| endpoint.client.clone())
            .ok_or_else(|| wrong(format!("there is no node {}", node + 1)))
    }
}

impl Cluster for Api {
    fn nodes(&self) -> usize {
        self.nodes.len()
    }

    async fn feed(
        &self,
        node: usize,
        feeder: usize,
        events: &[Event],
    ) -> Result<Vec<Verdict>, RequestError> {
        let as_message = |event: &Event| self.publication(event);
        let messages = events
            .iter()
            .map(as_message)
            .collect::<Result<Vec<_>, _>>()?;
        let unnamed = || wrong(format!("there is no feeder {feeder}"));
        let feeder = self.feeders.get(feeder).ok_or_else(unnamed)?;
        let verdicts = self
            .client(node)?
            .send(feeder, &messages, self.feed_timeout)
            .await?;
        Ok(verdicts.into_iter().map(Verdict::from).collect())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        node: usize,
        agent: &str,
        question: Question,
    ) -> Result<T, RequestError> {
        let (method, content_type, payload) = match question {
            Question::Report => ("report", ContentType::None, Bytes::new()),
            Question::Alerts { from } => ("alerts", ContentType::Json, from.to_string().into()),
        };
        let answer = self
            .client(node)?
            .ask(
                &id(agent)?,
                method,
                content_type,
                payload,
                ASK_TIMEOUT,
                None,
            )
            .await?;
        answer
            .decode()
            .map_err(|error| wrong(format!("{agent} answers something else: {error}")))
    }

    async fn migrate(&self, agent: &str, node: usize) -> Result<Option<u64>, RequestError> {
        let to = *self
            .nodes
            .get(node)
            .ok_or_else(|| wrong(format!("there is no node {}", node + 1)))?;
        // Asked where it goes or elsewhere: any node knows what to do.
        let asked = agent.len() % self.nodes.len();
        let moved = self.client(asked)?.migrate(&id(agent)?, to).await?;
        Ok((moved.from != moved.to).then_some(moved.pause_us))
    }

    async fn hibernate(&self, agent: &str) -> Result<bool, RequestError> {
        match self.client(0)?.hibernate(&id(agent)?).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("conflict") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn agents(&self, after: Option<&str>) -> Result<Page, RequestError> {
        let filter = AgentFilter {
            after: after.map(id).transpose()?,
            ..AgentFilter::default()
        };
        let page = self.client(0)?.agents(&filter).await?;
        let agents = page.agents.into_iter().map(|agent| agent.agent).collect();
        Ok((agents, page.next))
    }

    async fn kill(&self, node: usize) -> Result<Duration, RequestError> {
        let (done, started) = oneshot::channel();
        let gone = || wrong("nobody kills nodes any more".into());
        let sent = self.kills.send(Kill { node, done }).await;
        sent.map_err(|_| gone())?;
        let (endpoint, down) = started.await.map_err(|_| gone())?;
        if let Some(place) = self.endpoints.borrow_mut().get_mut(node) {
            *place = endpoint;
        }
        Ok(down)
    }

    async fn counters(&self, node: usize) -> Result<BTreeMap<String, u64>, RequestError> {
        Ok(self.client(node)?.counters().await?.counters)
    }
}

/// Waits until every node is connected to the first one; answers with their
/// numbers, in order.
async fn connected(endpoints: &[Endpoint]) -> Result<Vec<NodeId>, DemoError> {
    let Some(first) = endpoints.first() else {
        return Ok(Vec::new());
    };
    let what = "the nodes do not find each other";
    let since = Instant::now();
    loop {
        let list = first
            .client
            .nodes()
            .await
            .map_err(|error| failed(what, &error))?;
        let up: Vec<_> = list.nodes.iter().filter(|node| node.connected).collect();
        if up.len() >= endpoints.len() {
            let nodes = up.iter().map(|node| node.node.parse()).collect();
            return Result::map_err(nodes, |text| DemoError::Request {
                what: what.into(),
                text,
            });
        }
        if since.elapsed() > CONNECT_PATIENCE {
            return Err(DemoError::Request {
                what: what.into(),
                text: format!("{} of {} are connected", up.len(), endpoints.len()),
            });
        }
        sleep(CONNECT_INTERVAL).await;
    }
}

/// What is published.
#[derive(Serialize)]
struct EventData<'a> {
    visitor: &'a str,
    n: u64,
    errors: u64,
    at: i64,
    status: u16,
    bytes: u64,
}

impl From<api::Verdict> for Verdict {
    fn from(verdict: api::Verdict) -> Self {
        match verdict {
            api::Verdict::Applied => Self::Applied,
            api::Verdict::Dead { code, detail } => Self::Dead(format!("{code}: {detail}")),
            api::Verdict::Refused { reason, .. } => Self::Refused(reason),
            api::Verdict::Unknown => Self::Unknown,
        }
    }
}

impl From<ClientError> for RequestError {
    fn from(error: ClientError) -> Self {
        let passing = match &error {
            ClientError::Refused(problem) => matches!(
                &*problem.code,
                "conflict" | "bounced" | "overloaded" | "unavailable" | "slow-request" | "unknown"
            ),
            // A node that is gone for good ends the demo by another way.
            ClientError::NotReachable { .. }
            | ClientError::NotANode { .. }
            | ClientError::Lost { .. } => true,
            _ => false,
        };
        Self {
            passing,
            text: error.to_string(),
        }
    }
}

fn wrong(text: String) -> RequestError {
    RequestError {
        passing: false,
        text,
    }
}

fn failed(what: &str, error: &ClientError) -> DemoError {
    DemoError::Request {
        what: what.into(),
        text: error.to_string(),
    }
}

fn id(agent: &str) -> Result<AgentId, RequestError> {
    AgentId::new(agent).map_err(|error| wrong(error.to_string()))
}

/// A number no other run has: every map of this process is keyed by chance.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
