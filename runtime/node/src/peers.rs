//! What comes from other nodes, handed to whom it is for.

use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_core::control::ControlError;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{
    Acknowledgement, Envelope, Level, NodeId, PeerMessage, SendRefused, Sender, TransportEvents,
};

use crate::numbers::Numbers;
use crate::shared::{Peer, Shared};
use crate::worker::{Event, worker_of_migration};

/// Messages and verdicts up to which the thread that brought them lets their receiver
/// have its turn at once.
const FEW: usize = 8;

/// The node as its transport sees it.
pub(crate) struct Ears(pub(crate) Arc<Shared>);

impl TransportEvents for Ears {
    fn received(&self, from: NodeId, messages: Vec<PeerMessage>) {
        // What comes from a life that is over counts for nothing.
        if self.0.is_over(from) {
            return;
        }
        for message in messages {
            self.0.peer_message(from, message);
        }
    }

    /// What goes to workers is put into their inboxes, and that waits only for one
    /// that is full. Everything else may have to wait for a disk.
    fn take_in(&self, from: NodeId, messages: Vec<PeerMessage>) -> Result<(), Vec<PeerMessage>> {
        let shared = &self.0;
        let is_quick = |message: &PeerMessage| {
            matches!(
                message,
                PeerMessage::Deliver(_) | PeerMessage::Acknowledge(_)
            )
        };
        if !messages.iter().all(is_quick) || shared.seats.iter().any(|seat| seat.is_crowded()) {
            return Err(messages);
        }
        // Whatever is still to come is read while a worker is at many.
        let count: usize = messages.iter().map(weight).sum();
        let first = (count <= FEW).then(|| shared.first_worker(&messages));
        let visit = first
            .flatten()
            .and_then(|worker| shared.seats.get(worker)?.visit());
        self.received(from, messages);
        if let Some(visit) = visit {
            visit.drive();
        }
        Ok(())
    }

    fn connected(&self, peer: NodeId, boot: u64) {
        let shared = &self.0;
        {
            let mut peers = shared.peers.write();
            let entry = peers.entry(peer).or_insert_with(Peer::unknown);
            entry.boot = Some(boot);
            entry.leaving = false;
        }
        if shared.deaths.is_over(peer, boot) {
            let text = format!("{peer} lives, and was declared dead: it is told so");
            shared.log(None, Level::Warn, &text);
            shared.tell_that_it_is_over(peer, boot);
            return;
        }
        shared.directory.node_up(peer, boot);
        if shared.directory.node() == shared.node {
            // Ahead of any message, which may be of a kind it is told of here.
            shared.introduce(peer);
        }
        if let Some(entry) = shared.peers.write().get_mut(&peer) {
            entry.connected = true;
        }
        shared.announce_members();
        shared.log(None, Level::Info, &format!("{peer} is connected"));
        for seat in &shared.seats {
            seat.post(Event::Connected { peer, boot });
        }
    }

    fn disconnected(&self, peer: NodeId) {
        let shared = &self.0;
        if let Some(entry) = shared.peers.write().get_mut(&peer) {
            entry.connected = false;
        }
        shared.directory.node_down(peer, false);
        shared.log(
            None,
            Level::Warn,
            &format!("{peer} is not connected any more"),
        );
        shared.controls.lost(peer);
        shared.flow_lost(peer);
        for seat in &shared.seats {
            seat.post(Event::Disconnected { peer });
        }
    }
}

/// How many messages and verdicts are in it.
fn weight(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Deliver(envelopes) => envelopes.len(),
        PeerMessage::Acknowledge(acknowledgements) => acknowledgements.len(),
        _ => 1,
    }
}

impl Shared {
    /// The worker that the first of the messages concerns.
    fn first_worker(&self, messages: &[PeerMessage]) -> Option<usize> {
        let agent = match messages.first()? {
            PeerMessage::Deliver(envelopes) => envelopes.first()?.receiver(),
            PeerMessage::Acknowledge(acknowledgements) => {
                match &acknowledgements.first()?.stream.sender {
                    Sender::Agent(id, _) => id,
                    Sender::Client(..) | Sender::System => return None,
                }
            }
            _ => return None,
        };
        Some(self.worker_of(agent))
    }

    fn peer_message(self: &Arc<Self>, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::Deliver(envelopes) => self.spread_messages(from, envelopes),
            PeerMessage::Forward { origin, envelopes } => self.spread_messages(origin, envelopes),
            PeerMessage::Acknowledge(acknowledgements) => {
                self.flow_heard(from, &acknowledgements);
                self.spread_verdicts(0, acknowledgements);
            }
            PeerMessage::ForwardVerdicts {
                hops,
                acknowledgements,
            } => {
                self.flow_heard(from, &acknowledgements);
                self.spread_verdicts(hops, acknowledgements);
            }
            PeerMessage::AskNotice { hops, notice } => {
                self.hand_notice(notice, hops.saturating_add(1));
            }
            PeerMessage::Answer { ask, reply } => {
                self.flow_answered(from, ask);
                self.clients.answered(ask, reply, from);
            }
            PeerMessage::Moved {
                agent,
                to,
                generation,
            } => {
                let event = Event::Moved {
                    from,
                    agent: agent.clone(),
                    to,
                    generation,
                };
                self.post(&agent, event);
            }
            PeerMessage::Marker {
                agent,
                origin,
                marker,
            } => {
                let event = Event::Marker {
                    agent: agent.clone(),
                    origin,
                    marker,
                };
                self.post(&agent, event);
            }
            PeerMessage::MarkerSeen { agent, marker } => {
                let event = Event::MarkerSeen {
                    agent: agent.clone(),
                    marker,
                };
                self.post(&agent, event);
            }
            PeerMessage::Migration(message) => self.migration_message(from, message),
            PeerMessage::DirectoryAsk { id, command } => {
                let boot = self.peers.read().get(&from).and_then(|peer| peer.boot);
                self.directory
                    .asked(self, from, boot.unwrap_or(0), id, command);
            }
            PeerMessage::DirectoryAnswer { id, answer } => self.directory.answered(id, answer),
            PeerMessage::ComponentWanted { component } => self.send_component(from, component),
            PeerMessage::ComponentMissing { component } => {
                self.component_missing(component, from);
            }
            PeerMessage::ComponentPart {
                component,
                offset,
                total,
                bytes,
            } => self.component_part(component, offset, total, &bytes),
            PeerMessage::Kind(info) => self.kind_announced(from, &info),
            PeerMessage::Flows(flows) => self.flows_heard(from, flows),
            PeerMessage::LeaseAsk(ask) => self.lease_asked(from, &ask),
            PeerMessage::LeaseGrant(grant) => self.lease_granted(from, &grant),
            PeerMessage::Members(members) => {
                for member in members {
                    self.learn(member);
                }
            }
            PeerMessage::ControlAsk { id, request } => self.control_asked(from, id, request),
            PeerMessage::ControlAnswer { id, response } => self.controls.answered(id, *response),
            PeerMessage::DeclaredDead { node, boot } => {
                // Of itself a node believes it from anyone who refuses to hear it.
                if node == self.node || from == self.directory.node() {
                    self.died(node, boot);
                }
            }
            PeerMessage::Leaving => {
                if let Some(peer) = self.peers.write().get_mut(&from) {
                    peer.leaving = true;
                }
                self.directory.node_down(from, true);
            }
        }
    }

    /// Carries out an operator's request that a peer passed on.
    fn control_asked(
        self: &Arc<Self>,
        from: NodeId,
        id: u64,
        request: phoenix_core::control::Request,
    ) {
        let shared = self.clone();
        let done = Box::new(move |response| {
            let answer = |response| PeerMessage::ControlAnswer {
                id,
                response: Box::new(response),
            };
            // The asker's own deadline covers an answer that is lost.
            if shared.send(from, answer(response)) == Err(SendRefused::TooLarge) {
                let text = format!(
                    "the answer is too large for the way between nodes: ask {} itself",
                    shared.node
                );
                let _ = shared.send(from, answer(Err(ControlError::Conflict(text))));
            }
        });
        self.carry_out(request, Some(from), done);
    }

    /// Hands a step of a migration to the worker it belongs to.
    pub(crate) fn migration_message(&self, from: NodeId, message: MigrationMessage) {
        let worker = worker_of_migration(message.migration(), self.seats.len());
        if let Some(seat) = self.seats.get(worker) {
            seat.post(Event::Migration { from, message });
        }
    }

    /// Hands messages that were first sent from `origin` to the workers of their
    /// receivers, in order.
    fn spread_messages(&self, origin: NodeId, envelopes: Vec<Arc<Envelope>>) {
        let from = Some(origin);
        if let [seat] = self.seats.as_slice() {
            seat.post_from_outside(Event::Deliver { from, envelopes });
            return;
        }
        let mut by_worker: HashMap<usize, Vec<Arc<Envelope>>> = HashMap::new();
        for envelope in envelopes {
            let worker = self.worker_of(envelope.receiver());
            by_worker.entry(worker).or_default().push(envelope);
        }
        for (worker, envelopes) in by_worker {
            if let Some(seat) = self.seats.get(worker) {
                seat.post_from_outside(Event::Deliver { from, envelopes });
            }
        }
    }

    /// Hands verdicts to the workers of their senders, or to the clients. `hops`
    /// is how often they were passed on before they came here.
    fn spread_verdicts(&self, hops: u8, acknowledgements: Vec<Acknowledgement>) {
        let hops = hops.saturating_add(1);
        let mut by_worker: HashMap<usize, Vec<Acknowledgement>> = HashMap::new();
        for acknowledgement in acknowledgements {
            match &acknowledgement.stream.sender {
                Sender::Client(_, node) if *node == self.node => {
                    self.clients.acknowledged(&acknowledgement);
                }
                Sender::Agent(id, _) => {
                    let worker = self.worker_of(id);
                    by_worker.entry(worker).or_default().push(acknowledgement);
                }
                Sender::Client(..) | Sender::System => {}
            }
        }
        for (worker, acknowledgements) in by_worker {
            if let Some(seat) = self.seats.get(worker) {
                seat.post(Event::Acknowledge {
                    hops,
                    acknowledgements,
                });
            }
        }
    }

    /// Tells a node that connected who is here and what is deployed.
    fn introduce(&self, peer: NodeId) {
        let _ = self.send(peer, PeerMessage::Members(self.members()));
        for info in self.kinds.list() {
            let _ = self.send(peer, PeerMessage::Kind(info));
        }
        self.tell_flows(peer);
        self.tell_deaths(peer);
    }
}

/// Requests passed on to other nodes.
pub(crate) struct Controls {
    numbers: Numbers,
    open: parking_lot::Mutex<HashMap<u64, (NodeId, phoenix_core::control::Done)>>,
}

impl Controls {
    /// Those of the node's life with this boot counter: none yet.
    pub(crate) fn new(boot: u64) -> Self {
        Self {
            numbers: Numbers::of_life(boot),
            open: parking_lot::Mutex::default(),
        }
    }

    fn answered(&self, id: u64, response: Result<phoenix_core::control::Response, ControlError>) {
        let open = self.open.lock().remove(&id);
        if let Some((_, done)) = open {
            done(response);
        }
    }

    /// The node a request was passed on to is gone.
    pub(crate) fn lost(&self, peer: NodeId) {
        let lost: Vec<_> = {
            let mut open = self.open.lock();
            open.extract_if(|_, (node, _)| *node == peer).collect()
        };
        for (_, (node, done)) in lost {
            done(Err(ControlError::Unknown(format!(
                "{node} went away before it answered"
            ))));
        }
    }

    /// This node stops.
    pub(crate) fn close(&self) {
        let open = std::mem::take(&mut *self.open.lock());
        for (_, (node, done)) in open {
            done(Err(ControlError::Unknown(format!(
                "the node is stopping, and {node} has not answered yet"
            ))));
        }
    }
}

impl Shared {
    /// Lets another node carry out a request.
    pub(crate) fn control_at(
        &self,
        node: NodeId,
        request: phoenix_core::control::Request,
        done: phoenix_core::control::Done,
    ) {
        let id = self.controls.numbers.next();
        self.controls.open.lock().insert(id, (node, done));
        if self
            .send(node, PeerMessage::ControlAsk { id, request })
            .is_err()
        {
            let unavailable = ControlError::Unavailable(format!("{node} is not connected"));
            self.controls.answered(id, Err(unavailable));
        }
    }
}
