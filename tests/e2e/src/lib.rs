//! Clusters of nodes within a test's process.
//!
//! Failures here are a test's failures, so these functions panic with the whole
//! story instead of returning errors.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "only tests call this crate, and a test fails by panicking"
)]

mod disks;
mod ledger;
mod progress;
mod restless;
pub mod sim;
pub mod steps;
pub mod storm;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use phoenix_core::control::{
    AgentDetail, AgentInfo, ClientMessage, Control, ControlError, DeadLetter, LetterFilter,
    Request, Response, Verdict,
};
use phoenix_core::flow::{FlowField, FlowFields, FlowInfo, FlowPolicy, FlowValue};
use phoenix_core::{
    AgentId, ClientId, ContentType, KindName, KindPolicy, Millis, NodeId, Payload, Reply,
};
use phoenix_net::memory::{MemoryLimits, MemoryNetwork};
use phoenix_node::{Network, Node, NodeConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use disks::Disks;
pub use ledger::Ledger;
pub use progress::{Progress, StopOnPanic};
pub use restless::{Random, Report, Restless};

/// How long anything may take before a test gives it up as hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Some nodes on a network within the process.
pub struct Cluster {
    network: Arc<MemoryNetwork>,
    dir: tempfile::TempDir,
    nodes: Vec<Option<Node>>,
    disks: Option<Disks>,
    tune: Box<dyn Fn(&mut NodeConfig)>,
}

impl Cluster {
    /// `count` nodes, numbered from 1, all connected.
    pub fn new(count: usize, seed: u64) -> Self {
        Self::tuned(count, seed, |_| {})
    }

    /// The same with their configuration changed.
    pub fn tuned(count: usize, seed: u64, tune: impl Fn(&mut NodeConfig) + 'static) -> Self {
        Self::of(count, seed, None, tune)
    }

    /// The same, and a node that is killed loses what its journal has not synced.
    pub fn powered(count: usize, seed: u64, tune: impl Fn(&mut NodeConfig) + 'static) -> Self {
        Self::of(count, seed, Some(Disks::new(count, seed)), tune)
    }

    fn of(
        count: usize,
        seed: u64,
        disks: Option<Disks>,
        tune: impl Fn(&mut NodeConfig) + 'static,
    ) -> Self {
        let network = Arc::new(MemoryNetwork::threaded(seed, MemoryLimits::default()));
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            network,
            dir,
            nodes: (0..count).map(|_| None).collect(),
            disks,
            tune: Box::new(tune),
        };
        for node in 1..=count {
            cluster.start(node);
        }
        cluster.wait_connected();
        cluster
    }

    /// Starts a node that is not running.
    pub fn start(&mut self, node: usize) {
        let id = node_id(node);
        let mut config = NodeConfig::alone(self.data_dir(node));
        config.workers = Some(2);
        config.max_resident = Some(500);
        config.journal = self.disks.as_ref().map(|disks| disks.of(node));
        (self.tune)(&mut config);
        let started = Node::start_on(config, Network::Memory(self.network.clone(), id)).unwrap();
        self.nodes[node - 1] = Some(started);
        for (a, running) in self.nodes.iter().enumerate() {
            for b in 0..self.nodes.len() {
                if let Some(running) = running
                    && a != b
                    && self.nodes[b].is_some()
                {
                    running.learn(node_id(b + 1), "memory");
                }
            }
        }
    }

    /// Where a node keeps what it keeps.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// Waits until all running nodes see each other.
    pub fn wait_connected(&self) {
        let running = self.nodes.iter().flatten().count();
        eventually("all nodes are connected", || {
            self.nodes
                .iter()
                .flatten()
                .all(|node| node.connected().len() == running - 1)
        });
    }

    /// The network, for faults.
    pub fn network(&self) -> &MemoryNetwork {
        &self.network
    }

    /// A node is gone at once, as when its process is killed.
    pub fn kill(&mut self, node: usize) {
        if let Some(disks) = &self.disks {
            disks.cut(node);
        }
        self.network.kill(node_id(node));
        drop(self.nodes[node - 1].take());
        if let Some(disks) = &self.disks {
            disks.lose_power(node);
        }
    }

    /// The disks of the journals, if they lose what is not synced.
    pub fn disks(&self) -> Option<Disks> {
        self.disks.clone()
    }

    /// A running node.
    pub fn node(&self, node: usize) -> &Node {
        self.nodes[node - 1].as_ref().expect("the node is running")
    }

    /// The nodes that hold a copy of the agent that is or may become the agent.
    pub fn places(&self, agent: &str) -> Vec<usize> {
        (1..=self.nodes.len())
            .filter(|node| self.nodes[node - 1].is_some())
            .filter(|node| self.client(*node).here(*node).iter().any(|id| id == agent))
            .collect()
    }

    /// A client of that node.
    pub fn client(&self, node: usize) -> Client {
        Client::of(self.node(node))
    }

    /// Attaches a policy of flow control and waits until every node has it.
    pub fn set_flow(&self, target: &str, policy: FlowPolicy) {
        let request = Request::SetFlow {
            target: target.parse().unwrap(),
            policy: Arc::new(policy.clone()),
        };
        let client = self.nodes.iter().flatten().next().map(Client::of).unwrap();
        client.request(request).unwrap();
        let running = self.nodes.iter().flatten().count();
        eventually("every node has the policy", || {
            let flows = client.flows(target);
            flows.len() == running && flows.iter().all(|flow| *flow.policy == policy)
        });
    }

    /// Deploys a component as a kind and waits until every node has it.
    pub fn deploy(&self, kind: &str, component: &[u8], policy: KindPolicy) {
        self.client(1).deploy(kind, component, policy).unwrap();
        eventually("every node has the kind", || {
            self.nodes
                .iter()
                .flatten()
                .all(|node| Client::of(node).kinds().iter().any(|name| name == kind))
        });
    }
}

/// A node's number as the cluster has it.
pub fn node_id(node: usize) -> NodeId {
    NodeId(u32::try_from(node).unwrap())
}

/// Waits for something, and fails the test if it never comes.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client of one node.
#[derive(Clone)]
pub struct Client {
    control: Arc<dyn Control>,
    id: ClientId,
}

impl Client {
    /// A client of a node that is in no [`Cluster`].
    pub fn of(node: &Node) -> Self {
        Self {
            control: node.control(),
            id: ClientId::new("test").unwrap(),
        }
    }

    /// The same with another client id.
    pub fn named(&self, id: &str) -> Self {
        Self {
            control: self.control.clone(),
            id: ClientId::new(id).unwrap(),
        }
    }

    /// A request and its end.
    pub fn request(&self, request: Request) -> Result<Response, ControlError> {
        self.begin(request)
            .recv_timeout(PATIENCE * 2)
            .expect("every request ends")
    }

    /// A request whose end is waited for later.
    pub fn begin(&self, request: Request) -> mpsc::Receiver<Result<Response, ControlError>> {
        let (send, receive) = mpsc::channel();
        let done = Box::new(move |response| {
            // A test that gave up no longer listens.
            let _ = send.send(response);
        });
        self.control.submit(request, done);
        receive
    }

    /// Deploys a component.
    pub fn deploy(
        &self,
        kind: &str,
        component: &[u8],
        policy: KindPolicy,
    ) -> Result<(), ControlError> {
        let request = Request::Deploy {
            kind: KindName::new(kind).unwrap(),
            component: bytes::Bytes::copy_from_slice(component),
            policy: Box::new(policy),
        };
        self.request(request).map(drop)
    }

    /// Names of the kinds.
    pub fn kinds(&self) -> Vec<String> {
        match self.request(Request::Kinds).unwrap() {
            Response::Kinds(kinds) => kinds.iter().map(|info| info.kind.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Asks an agent; its answer, whatever it is.
    pub fn ask(&self, agent: &str, method: &str, argument: impl Serialize) -> Reply {
        let request = call(&self.id, agent, method, argument, PATIENCE);
        match self.request(request).unwrap() {
            Response::Called(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Asks an agent in JSON, as `curl` would; its answer, whatever it is.
    pub fn ask_json(&self, agent: &str, method: &str, argument: &str) -> Reply {
        let ended = self.begin_call_json(agent, method, argument);
        match ended.recv_timeout(PATIENCE * 2).unwrap().unwrap() {
            Response::Called(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Asks an agent in JSON; the answer is waited for later.
    pub fn begin_call_json(
        &self,
        agent: &str,
        method: &str,
        argument: &str,
    ) -> mpsc::Receiver<Result<Response, ControlError>> {
        let mut request = call(&self.id, agent, method, (), PATIENCE);
        if let Request::Call { payload, .. } = &mut request {
            *payload = json(argument);
        }
        self.begin(request)
    }

    /// Asks an agent in JSON and reads its answer.
    pub fn call_json<R: DeserializeOwned>(&self, agent: &str, method: &str, argument: &str) -> R {
        match self.ask_json(agent, method, argument) {
            Reply::Ok(payload) => serde_json::from_slice(&payload.bytes).unwrap(),
            other => panic!("{agent} {method}: {other:?}"),
        }
    }

    /// Asks an agent and reads its answer.
    pub fn call<R: DeserializeOwned>(
        &self,
        agent: &str,
        method: &str,
        argument: impl Serialize,
    ) -> R {
        match self.ask(agent, method, argument) {
            Reply::Ok(payload) => read(&payload),
            other => panic!("{agent} {method}: {other:?}"),
        }
    }

    /// Asks an agent; the answer is waited for later.
    pub fn begin_call(
        &self,
        agent: &str,
        method: &str,
        argument: impl Serialize,
    ) -> mpsc::Receiver<Result<Response, ControlError>> {
        self.begin(call(&self.id, agent, method, argument, PATIENCE))
    }

    /// Asks an agent; `then` is called with what came of it, where that was found.
    pub fn call_then(
        &self,
        agent: &str,
        method: &str,
        argument: impl Serialize,
        then: impl FnOnce(Result<Response, ControlError>) + Send + 'static,
    ) {
        let request = call(&self.id, agent, method, argument, PATIENCE);
        self.control.submit(request, Box::new(then));
    }

    /// Sends messages and waits for their verdicts.
    pub fn send(&self, messages: Vec<ClientMessage>) -> Vec<Verdict> {
        let request = Request::Send {
            client: self.id.clone(),
            messages,
            timeout: Millis(10_000),
        };
        match self.request(request).unwrap() {
            Response::Sent(verdicts) => verdicts,
            other => panic!("{other:?}"),
        }
    }

    /// Moves an agent.
    pub fn migrate(&self, agent: &str, to: usize) -> Result<u64, ControlError> {
        let request = Request::Migrate {
            agent: AgentId::new(agent).unwrap(),
            to: node_id(to),
        };
        match self.request(request)? {
            Response::Migrated { pause_us, .. } => Ok(pause_us),
            other => panic!("{other:?}"),
        }
    }

    /// Puts an agent to sleep.
    pub fn hibernate(&self, agent: &str) -> Result<u64, ControlError> {
        let agent = AgentId::new(agent).unwrap();
        match self.request(Request::Hibernate { agent })? {
            Response::Hibernated { bytes } => Ok(bytes),
            other => panic!("{other:?}"),
        }
    }

    /// All about an agent.
    pub fn inspect(&self, agent: &str) -> Result<AgentDetail, ControlError> {
        let agent = AgentId::new(agent).unwrap();
        match self.request(Request::Inspect { agent })? {
            Response::Agent(detail) => Ok(*detail),
            other => panic!("{other:?}"),
        }
    }

    /// Brings an agent to life on that node.
    pub fn spawn(&self, agent: &str, node: usize) {
        let request = Request::Spawn {
            agent: AgentId::new(agent).unwrap(),
            config: Payload::default(),
            on: Some(node_id(node)),
        };
        match self.request(request).unwrap() {
            Response::Spawned { node: on } => assert_eq!(on, node_id(node), "{agent}"),
            other => panic!("{other:?}"),
        }
    }

    /// The agents that live on this client's node, of which this is the number.
    fn here(&self, node: usize) -> Vec<String> {
        let request = Request::Agents {
            kind: None,
            node: Some(node_id(node)),
            after: None,
            limit: 100_000,
        };
        match self.request(request).unwrap() {
            Response::Agents(agents) => agents.iter().map(|a| a.agent.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// All agents of all nodes.
    pub fn agents(&self) -> Vec<AgentInfo> {
        let request = Request::Agents {
            kind: None,
            node: None,
            after: None,
            limit: 100_000,
        };
        match self.request(request).unwrap() {
            Response::Agents(agents) => agents,
            other => panic!("{other:?}"),
        }
    }

    /// One of the node's counters.
    pub fn counter(&self, name: &str) -> u64 {
        match self.request(Request::Counters).unwrap() {
            Response::Counters(counters) => {
                counters
                    .iter()
                    .find(|(found, _)| found == name)
                    .unwrap_or_else(|| panic!("no counter {name}"))
                    .1
            }
            other => panic!("{other:?}"),
        }
    }

    /// The dead letters of all nodes that the filter takes.
    pub fn dead_letters(&self, filter: LetterFilter) -> Vec<DeadLetter> {
        let request = Request::DeadLetters {
            filter,
            limit: 10_000,
        };
        match self.request(request).unwrap() {
            Response::DeadLetters { letters, .. } => letters,
            other => panic!("{other:?}"),
        }
    }

    /// Attaches a policy of flow control.
    pub fn set_flow(&self, target: &str, fields: &[(&str, u64)]) -> Result<(), ControlError> {
        let request = Request::SetFlow {
            target: target.parse().unwrap(),
            policy: Arc::new(flow(fields)),
        };
        self.request(request).map(drop)
    }

    /// Takes a policy away.
    pub fn clear_flow(&self, target: &str) -> Result<(), ControlError> {
        let target = target.parse().unwrap();
        self.request(Request::ClearFlow { target }).map(drop)
    }

    /// What is attached to `target`, as each node has it.
    pub fn flows(&self, target: &str) -> Vec<FlowInfo> {
        let request = Request::Flows {
            target: Some(target.parse().unwrap()),
            scope: None,
            node: None,
        };
        match self.request(request).unwrap() {
            Response::Flows(flows) => flows,
            other => panic!("{other:?}"),
        }
    }

    /// What agents logged on the node, and the node itself.
    pub fn logs(&self) -> Vec<String> {
        let request = Request::Logs {
            agent: None,
            node: None,
            after: None,
            limit: 10_000,
        };
        match self.request(request).unwrap() {
            Response::Logs(lines) => lines.iter().map(|line| line.text.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }
}

/// A call as a request.
fn call(
    client: &ClientId,
    agent: &str,
    method: &str,
    argument: impl Serialize,
    timeout: Duration,
) -> Request {
    Request::Call {
        client: client.clone(),
        agent: AgentId::new(agent).unwrap(),
        method: method.into(),
        payload: pack(argument),
        timeout: Millis(u64::try_from(timeout.as_millis()).unwrap()),
        options: None,
    }
}

/// A policy of flow control with these numbers in it.
pub fn flow(fields: &[(&str, u64)]) -> FlowPolicy {
    let mut read = FlowFields::default();
    for (name, value) in fields {
        let field = FlowField::named(name).unwrap();
        assert!(read.set(field, FlowValue::Number(*value)), "{name}");
    }
    read.build().unwrap()
}

/// A sequenced message of a client's.
pub fn message(
    agent: &str,
    method: &str,
    argument: impl Serialize,
    sequence: u64,
) -> ClientMessage {
    ClientMessage {
        agent: AgentId::new(agent).unwrap(),
        method: method.into(),
        payload: pack(argument),
        sequence: Some(sequence),
        options: None,
    }
}

/// A value as MessagePack; `()` is no payload.
pub fn pack(value: impl Serialize) -> Payload {
    let bytes = rmp_serde::to_vec_named(&value).unwrap();
    if bytes == [0xc0] {
        return Payload::default();
    }
    Payload {
        content_type: ContentType::MessagePack,
        bytes: bytes.into(),
    }
}

/// JSON text as a payload.
pub fn json(text: &str) -> Payload {
    Payload {
        content_type: ContentType::Json,
        bytes: text.as_bytes().into(),
    }
}

/// A MessagePack payload as a value.
pub fn read<T: DeserializeOwned>(payload: &Payload) -> T {
    let empty = payload.bytes.is_empty();
    let bytes: &[u8] = if empty { &[0xc0] } else { &payload.bytes };
    rmp_serde::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {:?}", payload.bytes))
}
