//! Operators' and clients' requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use phoenix_core::control::{
    AgentInfo, ClientMessage, Control, ControlError, Done, KindInfo, NodeInfo, Request, Response,
};
use phoenix_core::taxonomy::Overrides;
use phoenix_core::topics::KindSubscriptions;
use phoenix_core::{
    AgentId, Ask, Body, ClientId, ClientSend, Digest, Envelope, KindName, KindPolicy, Lane, Millis,
    NodeId, Payload, PeerMessage, ReplyTo, Sender, StreamKey,
};

use crate::clients::MayNotWait;
use crate::clock;
use crate::deaths::FENCED;
use crate::gather::Gather;
use crate::kinds::{Kind, Known};
use crate::shared::Shared;
use crate::worker::Event;

/// Most messages one send may hold.
const MAX_SEND: usize = 100_000;
/// Most lines, letters or agents one listing may give.
const MAX_LIST: u32 = 100_000;
/// Longest time a client may wait.
pub(crate) const MAX_WAIT: Millis = Millis(3_600_000);
/// How long a spawn may take.
pub(crate) const SPAWN_WITHIN: Millis = Millis(30_000);
/// The node's side of [`Control`].
pub(crate) struct Desk(pub(crate) Arc<Shared>);

impl Control for Desk {
    fn submit(&self, request: Request, done: Done) {
        self.0.carry_out(request, None, done);
    }
}

/// The agent a request is about, if it is about one.
pub(crate) fn agent_of(request: &Request) -> Option<&AgentId> {
    match request {
        Request::Spawn { agent, .. }
        | Request::Call { agent, .. }
        | Request::Inspect { agent }
        | Request::Migrate { agent, .. }
        | Request::Hibernate { agent }
        | Request::Stop { agent }
        | Request::Reset { agent, .. } => Some(agent),
        _ => None,
    }
}

impl Shared {
    /// Carries out a request, here or where it belongs. `from` is the peer that passed it on.
    pub(crate) fn carry_out(self: &Arc<Self>, request: Request, from: Option<NodeId>, done: Done) {
        if self.is_fenced() && !matches!(request, Request::Logs { .. } | Request::Shutdown) {
            done(Err(ControlError::Unavailable(FENCED.to_owned())));
            return;
        }
        match request {
            Request::Deploy {
                kind,
                component,
                policy,
            } => self.deploy(kind, component, policy, done),
            Request::Kinds => done(Ok(Response::Kinds(self.kinds.list()))),
            Request::Spawn { agent, config, on } => self.spawn(agent, config, on, done),
            Request::Send {
                client,
                messages,
                timeout,
            } => self.send_messages(&client, messages, timeout, done),
            Request::Call {
                client,
                agent,
                method,
                payload,
                timeout,
                options,
            } => {
                let message = ClientMessage {
                    agent,
                    method,
                    payload,
                    sequence: None,
                    options,
                };
                self.call(&client, message, timeout, done);
            }
            Request::Agents {
                kind,
                node,
                after,
                limit,
            } => self.list_agents(kind, node, after, limit.min(MAX_LIST), from, done),
            Request::Inspect { .. }
            | Request::Migrate { .. }
            | Request::Hibernate { .. }
            | Request::Stop { .. }
            | Request::Reset { .. } => self.to_agent(request, from, done),
            Request::Logs {
                agent,
                node,
                after,
                limit,
            } => self.read_logs(agent, node, after, limit.min(MAX_LIST), from, done),
            Request::Nodes => done(Ok(Response::Nodes(self.node_infos()))),
            Request::DeadLetters { filter, limit } => {
                self.read_dead_letters(filter, limit.min(MAX_LIST), from, done);
            }
            Request::DeadLetter { letter } => self.read_dead_letter(letter, from, done),
            Request::ReplayDeadLetters {
                letters,
                limit,
                timeout,
            } => self.replay_dead_letters(letters, limit, timeout, from, done),
            Request::PurgeDeadLetters { letters } => {
                self.purge_dead_letters(&letters, from, done);
            }
            Request::DeclareDead { node } => self.declare_dead(node, done),
            Request::SetFlow { target, policy } => self.set_flow(target, policy, done),
            Request::ClearFlow { target } => self.clear_flow(target, done),
            Request::Flows {
                target,
                scope,
                node,
            } => self.list_flows(target, scope, node, from, done),
            Request::JoinToken { valid_for } => done(self.join_token(valid_for)),
            Request::Counters => done(Ok(Response::Counters(self.count()))),
            Request::Shutdown => {
                self.shutdown_wanted.store(true, Ordering::Release);
                done(Ok(Response::Done));
            }
        }
    }

    /// Asks an agent for a client.
    fn call(&self, client: &ClientId, message: ClientMessage, timeout: Millis, done: Done) {
        let now = clock::now_ms();
        let kind = self.treatment_of(message.agent.kind());
        let terms = message.terms(&ClientSend {
            client,
            node: self.node,
            kind: &kind,
            now,
            deadline: now + timeout.min(MAX_WAIT),
        });
        let id = match self.clients.call(terms.deadline, done) {
            Ok(id) => id,
            Err(refused) => return may_not_wait(refused),
        };
        let ask = self.client_ask(id, terms.deadline);
        // Whoever asks is answered, and asks again: a call is sent once.
        self.deliver(Envelope {
            sequence: None,
            ..terms.envelope(Body::Message {
                method: message.method.into(),
                payload: message.payload,
                ask: Some(ask),
            })
        });
    }

    /// What a kind wants otherwise than the types of messages have it.
    fn treatment_of(&self, kind: &str) -> Overrides {
        match self.kinds.get(kind) {
            Known::Ready(kind) => kind.policy.treatment,
            // Its messages wait until it is here, or bounce.
            Known::Coming | Known::Unknown => Overrides::NONE,
        }
    }

    pub(crate) fn client_ask(&self, id: u64, deadline: Millis) -> Box<Ask> {
        Box::new(Ask {
            id,
            reply_to: ReplyTo::Client(self.node),
            deadline,
        })
    }

    fn to_agent(&self, request: Request, from: Option<NodeId>, done: Done) {
        let Some(agent) = agent_of(&request) else {
            return;
        };
        if matches!(self.kinds.get(agent.kind()), Known::Unknown) {
            done(Err(self.no_such_kind(agent.kind())));
            return;
        }
        if let Request::Migrate { to, .. } = &request
            && *to != self.node
            && !self.peers.read().contains_key(to)
        {
            done(Err(ControlError::NotFound(format!(
                "no {to} in the cluster: see `phoenix nodes`"
            ))));
            return;
        }
        if let Some(seat) = self.seat_of(agent) {
            seat.post_from_outside(Event::Request {
                request,
                from,
                done,
            });
        }
    }

    pub(crate) fn no_such_kind(&self, kind: &str) -> ControlError {
        let names = self.kinds.names();
        let there = if names.is_empty() {
            "no kind is deployed".to_owned()
        } else {
            format!("deployed are {}", names.join(", "))
        };
        ControlError::NotFound(format!("no kind {kind}: {there}"))
    }

    fn spawn(self: &Arc<Self>, agent: AgentId, config: Payload, on: Option<NodeId>, done: Done) {
        if matches!(self.kinds.get(agent.kind()), Known::Unknown) {
            done(Err(self.no_such_kind(agent.kind())));
            return;
        }
        let deadline = clock::now_ms() + SPAWN_WITHIN;
        let id = match self.clients.spawn(deadline, done) {
            Ok(id) => id,
            Err(refused) => return may_not_wait(refused),
        };
        let envelope = Envelope {
            stream: stream(Sender::System, agent.clone()),
            sequence: None,
            body: Body::Spawn {
                config,
                ask: Some(self.client_ask(id, deadline)),
            },
            extras: None,
        };
        let Some(prefer) = on else {
            self.deliver(envelope);
            return;
        };
        let shared = self.clone();
        let event = Event::PlaceOn {
            agent: agent.clone(),
            prefer,
            then: Box::new(move || shared.deliver_from_inside(envelope)),
        };
        self.post(&agent, event);
    }

    fn send_messages(
        &self,
        client: &ClientId,
        messages: Vec<ClientMessage>,
        timeout: Millis,
        done: Done,
    ) {
        if messages.len() > MAX_SEND {
            let text = format!(
                "{} messages in one send: at most {MAX_SEND}",
                messages.len()
            );
            done(Err(ControlError::Invalid(text)));
            return;
        }
        if messages.is_empty() {
            done(Ok(Response::Sent(Vec::new())));
            return;
        }
        if let Some(bad) = messages.iter().find_map(|message| message.check().err()) {
            done(Err(ControlError::Invalid(bad.to_string())));
            return;
        }
        let now = clock::now_ms();
        let deadline = now + timeout.min(MAX_WAIT);
        let send = match self.clients.send(messages.len(), deadline, done) {
            Ok(send) => send,
            Err(refused) => return may_not_wait(refused),
        };
        let mut by_worker: Vec<Vec<Arc<Envelope>>> =
            self.seats.iter().map(|_| Vec::new()).collect();
        // Neighbours in a batch are mostly for agents of one kind.
        let mut kind = (String::new(), Overrides::NONE);
        for (at, message) in messages.into_iter().enumerate() {
            if at == 0 || message.agent.kind() != kind.0 {
                let name = message.agent.kind();
                kind = (name.to_owned(), self.treatment_of(name));
            }
            let terms = message.terms(&ClientSend {
                client,
                node: self.node,
                kind: &kind.1,
                now,
                deadline,
            });
            let ask = match terms.named() {
                Some((speaker, number)) => {
                    let stream = &terms.stream;
                    self.clients.expect(speaker, stream, number, send, at);
                    None
                }
                None => {
                    let id = self.clients.expect_answer(send, at);
                    Some(self.client_ask(id, terms.deadline))
                }
            };
            let worker = self.worker_of(&message.agent);
            let envelope = Arc::new(terms.envelope(Body::Message {
                method: message.method.into(),
                payload: message.payload,
                ask,
            }));
            if let Some(envelopes) = by_worker.get_mut(worker) {
                envelopes.push(envelope);
            }
        }
        for (seat, envelopes) in self.seats.iter().zip(by_worker) {
            if !envelopes.is_empty() {
                seat.post_from_outside(Event::Deliver {
                    from: None,
                    envelopes,
                });
            }
        }
    }

    fn deploy(
        self: &Arc<Self>,
        kind: KindName,
        component: bytes::Bytes,
        policy: Box<KindPolicy>,
        done: Done,
    ) {
        if self.kinds.is_built_in(kind.as_str()) {
            let text = format!(
                "the kind {kind} is part of the node, and its name is reserved: deploy the \
                 component under another name"
            );
            done(Err(ControlError::Invalid(text)));
            return;
        }
        if let Err(bad) = policy.validate() {
            done(Err(ControlError::Invalid(bad.to_string())));
            return;
        }
        let directory = self.directory.node();
        if directory != self.node {
            let request = Request::Deploy {
                kind,
                component,
                policy,
            };
            self.control_at(directory, request, done);
            return;
        }
        let shared = self.clone();
        self.in_background("deploy", move || {
            done(
                shared
                    .deploy_here(kind, &component, policy)
                    .map(Response::Deployed),
            );
        });
    }

    fn deploy_here(
        self: &Arc<Self>,
        kind: KindName,
        component: &bytes::Bytes,
        policy: Box<KindPolicy>,
    ) -> Result<KindInfo, ControlError> {
        let digest = Digest::of(component);
        let mut before = KindSubscriptions::default();
        if let Known::Ready(known) = self.kinds.get(kind.as_str()) {
            before = known.policy.subscriptions.clone();
            if known.info.component == digest && *known.info.policy == *policy {
                self.declare_deployed(&known.info, &before)?;
                return Ok(known.info.clone());
            }
        }
        if let Some(flow) = &policy.flow {
            self.may_share(kind.as_str(), flow)?;
        }
        let ready = self
            .host
            .admit(component, &policy)
            .map_err(|error| ControlError::Invalid(error.to_string()))?;
        let info = KindInfo {
            kind,
            component: digest,
            component_bytes: component.len() as u64,
            framed: ready.framed(),
            handlers: ready.handlers().to_vec(),
            policy,
        };
        if let Some(store) = &self.kind_store {
            store
                .save(&info, component)
                .map_err(|error| ControlError::Internal(error.to_string()))?;
        }
        self.install(Kind::new(info.clone(), ready));
        self.broadcast(&PeerMessage::Kind(info.clone()));
        self.declare_deployed(&info, &before)?;
        Ok(info)
    }

    /// Declares what a kind that is deployed subscribes its agents to.
    fn declare_deployed(
        self: &Arc<Self>,
        info: &KindInfo,
        before: &KindSubscriptions,
    ) -> Result<(), ControlError> {
        let declared = self.declare(&info.kind, before, &info.policy.subscriptions);
        declared.map_err(|why| {
            let kind = &info.kind;
            ControlError::Invalid(format!(
                "the kind {kind} is deployed, but its subscriptions are refused: {why}"
            ))
        })
    }

    /// The nodes a listing is also asked of: all others, unless it is of one node
    /// or was passed on by one that asks them itself.
    pub(crate) fn asked_too(&self, node: Option<NodeId>, from: Option<NodeId>) -> Vec<NodeId> {
        if node.is_none() && from.is_none() {
            self.connected()
        } else {
            Vec::new()
        }
    }

    fn list_agents(
        self: &Arc<Self>,
        kind: Option<KindName>,
        node: Option<NodeId>,
        after: Option<AgentId>,
        limit: u32,
        from: Option<NodeId>,
        done: Done,
    ) {
        let request = |node| Request::Agents {
            kind: kind.clone(),
            node,
            after: after.clone(),
            limit,
        };
        if let Some(node) = node.filter(|node| *node != self.node) {
            if from.is_some() || !self.is_connected(node) {
                done(Err(ControlError::Unavailable(format!(
                    "{node} is not connected"
                ))));
                return;
            }
            self.control_at(node, request(Some(node)), done);
            return;
        }
        let others = self.asked_too(node, from);
        let merge = move |lists: Vec<Response>| {
            let mut all: Vec<AgentInfo> = lists
                .into_iter()
                .flat_map(|list| match list {
                    Response::Agents(agents) => agents,
                    _ => Vec::new(),
                })
                .collect();
            all.sort_by(|a, b| a.agent.cmp(&b.agent));
            all.truncate(limit as usize);
            Response::Agents(all)
        };
        let gather = Gather::lenient(self.seats.len() + others.len(), merge, done);
        for seat in &self.seats {
            seat.post_from_outside(Event::Request {
                request: request(Some(self.node)),
                from,
                done: gather.part(),
            });
        }
        for other in others {
            self.control_at(other, request(Some(other)), gather.part());
        }
    }

    fn read_logs(
        self: &Arc<Self>,
        agent: Option<AgentId>,
        node: Option<NodeId>,
        after: Option<u64>,
        limit: u32,
        from: Option<NodeId>,
        done: Done,
    ) {
        if let Some(node) = node.filter(|node| *node != self.node && from.is_none()) {
            let request = Request::Logs {
                agent,
                node: Some(node),
                after,
                limit,
            };
            self.control_at(node, request, done);
            return;
        }
        if let (Some(agent), None, None) = (&agent, node, from) {
            // Where the agent is, its log is.
            let (shared, asked) = (self.clone(), agent.clone());
            let here = Box::new(move |found: Result<Response, ControlError>| match found {
                Ok(Response::Agent(detail)) if detail.info.node != shared.node => {
                    let node = detail.info.node;
                    let request = Request::Logs {
                        agent: Some(asked),
                        node: Some(node),
                        after,
                        limit,
                    };
                    shared.control_at(node, request, done);
                }
                _ => done(Ok(shared.logs_here(Some(&asked), after, limit))),
            });
            let inspect = Request::Inspect {
                agent: agent.clone(),
            };
            self.to_agent(inspect, None, here);
            return;
        }
        done(Ok(self.logs_here(agent.as_ref(), after, limit)));
    }

    fn logs_here(&self, agent: Option<&AgentId>, after: Option<u64>, limit: u32) -> Response {
        let lines = self.logs.lock().read(agent, after, limit as usize);
        Response::Logs(lines)
    }

    pub(crate) fn node_infos(&self) -> Vec<NodeInfo> {
        let paths = match self.transport.read().as_ref() {
            Some(transport) => transport.paths(),
            None => Vec::new(),
        };
        let path_to = |node: NodeId| paths.iter().find(|path| path.node == node).cloned();
        let own = NodeInfo {
            node: self.node,
            address: self.address.read().clone(),
            connected: true,
            directory: self.directory.node() == self.node,
            dead: false,
            boot: Some(self.boot),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            resident: self.resident.load(Ordering::Relaxed),
            hibernated: self.asleep.load(Ordering::Relaxed),
            uptime: clock::now_ms() - self.started,
            path: None,
            gate: None,
        };
        let peers = self.peers.read();
        let mut infos: Vec<NodeInfo> = peers
            .iter()
            .map(|(node, peer)| NodeInfo {
                node: *node,
                address: peer.address.clone(),
                connected: peer.connected,
                directory: self.directory.node() == *node,
                dead: self.deaths.is_over(*node, peer.boot.unwrap_or(0)),
                boot: peer.boot.filter(|_| peer.connected),
                version: String::new(),
                resident: 0,
                hibernated: 0,
                uptime: Millis(0),
                path: path_to(*node),
                gate: self.node_flow(*node),
            })
            .chain([own])
            .collect();
        infos.sort_by_key(|info| info.node);
        infos
    }
}

pub(crate) fn may_not_wait((why, done): (MayNotWait, Done)) {
    let text = match why {
        MayNotWait::Crowded => "too many clients wait for answers: try again",
        MayNotWait::Stopping => "the node is stopping: ask another one",
    };
    done(Err(ControlError::Unavailable(text.to_owned())));
}

/// The stream of what comes from outside.
fn stream(sender: Sender, receiver: AgentId) -> Arc<StreamKey> {
    StreamKey::shared(sender, receiver, Lane::Normal)
}
