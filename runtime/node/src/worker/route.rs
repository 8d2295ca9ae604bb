//! Where messages and verdicts go.

use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_cluster::Whereabouts;
use phoenix_core::agent::{bury, refuse};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::{
    Acknowledgement, AgentId, Body, DeadReason, Envelope, Millis, NodeId, Payload, PeerMessage,
    Refusal, Sender, SpawnPolicy,
};

use crate::counters::count;
use crate::kinds::{Kind, Known};
use crate::witness::Step;
use crate::worker::slot::{Owned, Slot};
use crate::worker::{Event, Worker};

/// Messages held for one agent while its place is asked for or its path switched.
const MAX_HELD: usize = 1_024;
/// Places of agents elsewhere that are remembered.
const MAX_ROUTES: usize = 1_000_000;
/// Nodes of senders that are remembered, for verdicts.
const MAX_HINTS: usize = 100_000;
/// How long a path's end marker may take before the new path is used without it:
/// streams keep their order by number even then.
const MARKER_WITHIN: Millis = Millis(1_000);
/// Nodes a verdict may come through on its way to a sender that moves. Where
/// nodes point at each other it is dropped, and asked for again.
const MAX_HOPS: u8 = 4;

/// Where an agent that is not here can be found.
enum Route {
    /// The directory has been asked.
    Placing { held: Vec<Arc<Envelope>> },
    /// There.
    At(Whereabouts),
    /// It moved; the old path has not run dry yet.
    Switching {
        node: NodeId,
        generation: u64,
        marker: u64,
        since: Millis,
        held: Vec<Arc<Envelope>>,
    },
}

/// What a worker knows of agents elsewhere.
#[derive(Default)]
pub(super) struct Routes {
    routes: HashMap<AgentId, Route>,
    /// Where senders' messages came from.
    hints: HashMap<AgentId, NodeId>,
    switching: Vec<AgentId>,
    markers: u64,
}

impl Routes {
    fn remember(&mut self, agent: AgentId, there: Whereabouts) {
        if self.routes.len() >= MAX_ROUTES {
            let mut left = MAX_ROUTES / 10;
            self.routes.retain(|_, route| {
                let drop = left > 0 && matches!(route, Route::At(_));
                left -= usize::from(drop);
                !drop
            });
        }
        self.routes.insert(agent, Route::At(there));
    }

    fn hint(&mut self, sender: &Sender, node: NodeId) {
        let Sender::Agent(id, _) = sender else { return };
        match self.hints.get_mut(id) {
            Some(known) => *known = node,
            None => {
                if self.hints.len() >= MAX_HINTS {
                    self.hints.clear();
                }
                self.hints.insert(id.clone(), node);
            }
        }
    }

    /// Whether the directory has been asked where the agent lives.
    pub(super) fn is_placing(&self, agent: &AgentId) -> bool {
        matches!(self.routes.get(agent), Some(Route::Placing { .. }))
    }

    /// Where the agent is, by what was last heard.
    pub(super) fn node_of(&self, agent: &AgentId) -> Option<NodeId> {
        match self.routes.get(agent)? {
            Route::At(Whereabouts { node, .. }) | Route::Switching { node, .. } => Some(*node),
            Route::Placing { .. } => None,
        }
    }

    /// The highest generation the agent was heard to live under elsewhere.
    fn generation_of(&self, agent: &AgentId) -> Option<u64> {
        match self.routes.get(agent)? {
            Route::At(Whereabouts { generation, .. }) | Route::Switching { generation, .. } => {
                Some(*generation)
            }
            Route::Placing { .. } => None,
        }
    }

    /// Forgets where the agent was last heard to be.
    pub(super) fn forget(&mut self, agent: &AgentId) {
        if let Some(Route::At(_)) = self.routes.get(agent) {
            self.routes.remove(agent);
        }
    }
}

impl Worker {
    /// Takes a message that waited here to its agent. Its sender need not be here:
    /// verdicts are to go to where it was.
    pub(super) fn deliver_late(&mut self, envelope: Arc<Envelope>) {
        let origin = match envelope.sender() {
            Sender::Agent(id, _) if !self.table.contains_key(id) => {
                self.routes.hints.get(id).copied()
            }
            _ => None,
        };
        self.deliver(envelope, origin);
    }

    /// Takes a message to its agent, wherever that is. `from` is the node it was
    /// first sent from, if a peer brought it.
    pub(super) fn deliver(&mut self, envelope: Arc<Envelope>, from: Option<NodeId>) {
        self.deliver_all(std::iter::once(envelope), from);
    }

    /// Takes messages to their agents; those of a stream that follow each other,
    /// together.
    pub(super) fn deliver_all(
        &mut self,
        envelopes: impl Iterator<Item = Arc<Envelope>>,
        from: Option<NodeId>,
    ) {
        let mut envelopes = envelopes.peekable();
        while let Some(first) = envelopes.next() {
            if let Some(from) = from
                && from != self.shared.node
                && first.sequence.is_some()
            {
                self.routes.hint(first.sender(), from);
            }
            let Some(slot) = self.slot_of(first.receiver()) else {
                self.deliver_elsewhere(first, from);
                continue;
            };
            // A message keeps its key alive: what lies where that does is its stream's.
            let stream = Arc::as_ptr(&first.stream);
            let rest = std::iter::from_fn(|| {
                envelopes.next_if(|next| std::ptr::eq(Arc::as_ptr(&next.stream), stream))
            });
            self.offer(slot, std::iter::once(first).chain(rest));
        }
    }

    /// Sends on a message for an agent that is not this worker's.
    fn deliver_elsewhere(&mut self, envelope: Arc<Envelope>, from: Option<NodeId>) {
        let worker = self.shared.worker_of(envelope.receiver());
        if worker != self.index {
            if let Some(outgoing) = self.outgoing.for_worker(worker) {
                outgoing.envelopes.push(envelope);
            }
            return;
        }
        self.route(envelope, from);
    }

    #[inline]
    fn slot_of(&mut self, agent: &AgentId) -> Option<u32> {
        if let Some(slot) = self.recent.get(agent) {
            return Some(slot);
        }
        let slot = *self.table.get(agent)?;
        self.recent.note(agent, slot);
        Some(slot)
    }

    /// Gives an agent of this worker the messages of `run`.
    pub(super) fn offer(&mut self, slot: u32, run: impl Iterator<Item = Arc<Envelope>>) {
        if !self.is_up(slot) {
            return self.hold_for(slot, run);
        }
        let now = self.now.millis();
        let refusal = self.awake(slot).and_then(|awake| self.refuses(awake));
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            // Nothing is dropped in silence, whatever kept it from waking.
            return self.turn_all_away(run);
        };
        let awake = &mut **awake;
        let quarantined = awake.quarantined.as_ref().filter(|_| awake.reset.is_none());
        if quarantined.is_none() && awake.is_in_doubt(now) {
            return self.turn_all_away(run);
        }
        if let Some(refusal) = refusal {
            for envelope in run {
                self.turn_away(&envelope, refusal);
            }
            return;
        }
        if awake.gated.is_some() && quarantined.is_none() {
            return self.offer_gated(slot, run);
        }
        for envelope in run {
            awake
                .agent
                .offer(envelope, &awake.kind.policy, &mut self.actions);
        }
        if let Some(why) = quarantined {
            // Taken as any other message, so that their verdicts are final.
            let reason = DeadReason::Quarantined(why.clone());
            awake.agent.abandon(&reason, &mut self.actions);
        }
        self.perform(slot);
        self.queue(slot);
    }

    /// Sends on a message for an agent that is not here.
    pub(super) fn route(&mut self, envelope: Arc<Envelope>, from: Option<NodeId>) {
        match self.routes.routes.get_mut(envelope.receiver()) {
            Some(Route::At(there)) => {
                let (own, now, there) = (self.shared.node, self.now.millis(), *there);
                // The agent may have left a node that is gone without anybody hearing of it.
                let is_lost = there.is_old(now) && !self.shared.is_connected(there.node);
                if !there.leads_on(own, from, now) || is_lost || self.shared.is_over(there.node) {
                    self.routes.routes.remove(envelope.receiver());
                    self.place(envelope);
                    return;
                }
                if let Some(from) = from.filter(|from| *from != there.node) {
                    count(&self.shared.counters.forwarded);
                    let moved = PeerMessage::Moved {
                        agent: envelope.receiver().clone(),
                        to: there.node,
                        generation: there.generation,
                    };
                    // A sender that does not hear of it is told with its next message.
                    let _ = self.shared.send(from, moved);
                }
                self.send_to(there.node, envelope, from);
            }
            Some(Route::Placing { held } | Route::Switching { held, .. }) => {
                if held.len() < MAX_HELD {
                    held.push(envelope);
                } else {
                    self.turn_away(&envelope, Refusal::Busy);
                }
            }
            None => self.place(envelope),
        }
    }

    fn send_to(&mut self, node: NodeId, envelope: Arc<Envelope>, from: Option<NodeId>) {
        if !self.shared.is_connected(node) {
            self.turn_away(&envelope, Refusal::Busy);
            return;
        }
        if !self.leaves_for(node, &envelope, from) {
            return;
        }
        let outgoing = self.outgoing.for_peer(node);
        match from {
            Some(origin) => outgoing.forwarded.push((origin, envelope)),
            None => outgoing.envelopes.push(envelope),
        }
    }

    pub(super) fn turn_all_away(&mut self, run: impl Iterator<Item = Arc<Envelope>>) {
        for envelope in run {
            self.turn_away(&envelope, Refusal::Busy);
        }
    }

    /// Refuses a message that cannot be taken now.
    fn turn_away(&mut self, envelope: &Arc<Envelope>, refusal: Refusal) {
        if envelope.sequence.is_none() {
            count(&self.shared.counters.dropped);
        }
        refuse(envelope, None, refusal, &mut self.actions);
        self.perform(u32::MAX);
    }

    /// Ends a message that can never be taken.
    pub(super) fn bury_message(&mut self, envelope: &Arc<Envelope>, reason: &DeadReason) {
        bury(envelope, reason, 0, &mut self.actions);
        self.perform(u32::MAX);
    }

    /// Asks the directory where the agent lives, or is to live.
    fn place(&mut self, envelope: Arc<Envelope>) {
        if envelope.body.is_end() && self.is_alone() {
            // The asker is gone, and nobody else waits for its replies.
            self.bury_message(&envelope, &DeadReason::NoSuchAgent);
            return;
        }
        if matches!(
            self.shared.kinds.get(envelope.receiver().kind()),
            Known::Unknown
        ) {
            self.no_such_kind(&envelope);
            return;
        }
        let agent = envelope.receiver().clone();
        self.place_for(agent, vec![envelope]);
    }

    /// Asks where an agent lives whose messages wait here already.
    pub(super) fn ask_place(&mut self, agent: AgentId) {
        self.place_for(agent, Vec::new());
    }

    fn place_for(&mut self, agent: AgentId, held: Vec<Arc<Envelope>>) {
        self.routes
            .routes
            .insert(agent.clone(), Route::Placing { held });
        self.ask_directory(DirectoryCommand::Place {
            agent,
            prefer: None,
        });
    }

    /// Ends a message for a kind that is not deployed. Which kinds there are the
    /// directory's node knows at once, the others by its word.
    fn no_such_kind(&mut self, envelope: &Arc<Envelope>) {
        if self.is_surely_no_kind(envelope.receiver().kind()) {
            self.bury_message(envelope, &DeadReason::NoSuchKind);
        } else {
            self.turn_away(envelope, Refusal::Busy);
        }
    }

    pub(super) fn is_surely_no_kind(&self, kind: &str) -> bool {
        let shared = &self.shared;
        let is_directory = shared.directory.node() == shared.node;
        is_directory || shared.kinds.is_surely_unknown(kind, self.now.millis())
    }

    fn is_alone(&self) -> bool {
        self.shared.transport.read().is_none()
    }

    /// Submits a command; the answer comes as an event, or at once where nothing is to be synced.
    pub(super) fn ask_directory(&mut self, command: DirectoryCommand) {
        let agent = command.agent().clone();
        let shared = self.shared.clone();
        let sent = command.clone();
        self.shared.directory.submit(
            &self.shared,
            command,
            Box::new(move |answer| {
                let event = Event::Directory {
                    command: sent,
                    answer,
                };
                shared.post(&agent, event);
            }),
        );
    }

    /// The directory answered a request of a route's.
    pub(super) fn directory_answered(
        &mut self,
        command: DirectoryCommand,
        answer: DirectoryAnswer,
    ) {
        let (DirectoryCommand::Place { agent, .. } | DirectoryCommand::Claim { agent, .. }) =
            &command
        else {
            return;
        };
        let agent = agent.clone();
        if self.looked_up(&agent, &answer) {
            return;
        }
        if let Some(slot) = self.table.get(&agent).copied()
            && self.wake_queue.is_asking(slot)
        {
            return self.wake_placed(slot, &agent, &command, answer);
        }
        let Some(answer) = self.recalled(&agent, &command, answer) else {
            return;
        };
        if let DirectoryAnswer::Unclaimed(migration) = answer
            && self.has_no_copy_by(migration)
        {
            let by = self.shared.node;
            self.ask_directory(DirectoryCommand::Claim {
                agent,
                migration,
                by,
            });
            return;
        }
        let held = match self.routes.routes.get_mut(&agent) {
            Some(Route::Placing { held }) => std::mem::take(held),
            _ => Vec::new(),
        };
        match answer {
            DirectoryAnswer::Owned(ownership) if ownership.owner == self.shared.node => {
                self.routes.routes.remove(&agent);
                self.settle_here(&agent, ownership, held);
            }
            // The answer is from before the owner was declared dead.
            DirectoryAnswer::Owned(ownership) | DirectoryAnswer::Lost(ownership)
                if self
                    .shared
                    .deaths
                    .is_over(ownership.owner, ownership.epoch.term) =>
            {
                self.routes.routes.remove(&agent);
                self.store_again(&agent);
                for envelope in held {
                    self.turn_away(&envelope, Refusal::Busy);
                }
            }
            DirectoryAnswer::Owned(ownership) | DirectoryAnswer::Lost(ownership) => {
                self.shared
                    .hears_of_life(ownership.owner, ownership.epoch.term);
                // The agent may have come since the directory was asked, and left.
                let generation = ownership.epoch.generation;
                let known = self.routes.generation_of(&agent);
                if !self.table.contains_key(&agent) && known.is_none_or(|it| it < generation) {
                    self.went_to(agent, ownership.owner, generation);
                }
                for envelope in held {
                    self.deliver_late(envelope);
                }
            }
            DirectoryAnswer::InDoubt(_) | DirectoryAnswer::Unclaimed(_) => {
                self.routes.routes.remove(&agent);
                self.store_again(&agent);
                for envelope in held {
                    self.turn_away(&envelope, Refusal::Busy);
                }
            }
        }
    }

    /// From now on messages for `agent` go to `node`.
    pub(super) fn went_to(&mut self, agent: AgentId, node: NodeId, generation: u64) {
        let there = Whereabouts {
            node,
            generation,
            heard: self.now.millis(),
        };
        self.routes.remember(agent, there);
    }

    /// The agent is this node's: brings it to life if it does not live yet.
    fn settle_here(&mut self, agent: &AgentId, ownership: Ownership, held: Vec<Arc<Envelope>>) {
        let (mut never_lived, mut comes_again) = (false, false);
        if self.is_stored(agent) {
            let owned = Some(Owned::by(&ownership));
            let journal = self.durables.journal.as_ref();
            let standing = journal.and_then(|it| it.standing(agent));
            let wake_at = standing.map_or(Millis::NEVER, |it| it.wake);
            self.know(agent.clone(), wake_at, owned);
            for envelope in held {
                self.deliver_late(envelope);
            }
            return;
        }
        for envelope in held {
            if let Some(slot) = self.table.get(agent) {
                let slot = *slot;
                self.offer(slot, std::iter::once(envelope));
                continue;
            }
            if self.had_its_verdict(agent, &envelope) {
                continue;
            }
            match self.shared.kinds.get(agent.kind()) {
                Known::Ready(kind) if kind.policy.durable && self.lacks_room(&kind) => {
                    comes_again = true;
                    self.turn_away(&envelope, Refusal::JournalFull);
                }
                Known::Ready(kind) if !self.has_journal_for(&kind) => {
                    comes_again = true;
                    self.turn_away(&envelope, Refusal::Busy);
                }
                Known::Ready(kind)
                    if !self.shared.is_draining() && !self.movement.machines.is_coming(agent) =>
                {
                    never_lived |= !self.bring_to_life(agent, kind, ownership, envelope);
                }
                Known::Unknown => {
                    comes_again = true;
                    self.no_such_kind(&envelope);
                }
                Known::Coming | Known::Ready(_) => {
                    comes_again = true;
                    self.turn_away(&envelope, Refusal::Busy);
                }
            }
        }
        if self.spilled.is_stranded(agent) {
            self.settle_stranded(agent, ownership);
            never_lived |= !self.spilled.is_stranded(agent);
        }
        // Whoever was asked about and never lived leaves no entry behind.
        let is_known = self.table.contains_key(agent) || self.legacies.has(agent);
        if never_lived && !comes_again && !is_known {
            self.forget(agent.clone(), ownership.epoch.generation);
        }
    }

    /// Begins a life of the agent with its first message, unless that is for a life
    /// that is over, or one that only a spawn begins. Says whether it lives.
    fn bring_to_life(
        &mut self,
        agent: &AgentId,
        kind: Arc<Kind>,
        ownership: Ownership,
        envelope: Arc<Envelope>,
    ) -> bool {
        let config = match &envelope.body {
            Body::Spawn { config, .. } => config.clone(),
            // A reply is for a life that is over, and so is what came back to it.
            Body::Reply { .. } | Body::Bounce(_) => {
                self.bury_message(&envelope, &DeadReason::NoSuchAgent);
                return false;
            }
            Body::Message { .. } if kind.policy.spawn == SpawnPolicy::Explicit => {
                self.bury_message(&envelope, &DeadReason::NoSuchAgent);
                return false;
            }
            Body::Message { .. } => Payload::default(),
        };
        let slot = self.create(agent.clone(), kind, ownership, config);
        self.offer(slot, std::iter::once(envelope));
        true
    }

    /// Takes a verdict to the sender it is for; it has come through `hops` nodes.
    pub(super) fn acknowledged(&mut self, acknowledgement: Acknowledgement, hops: u8) {
        let stream = &acknowledgement.stream;
        let (id, incarnation) = match &stream.sender {
            Sender::System => return,
            Sender::Client(_, node) => {
                let node = *node;
                if node == self.shared.node {
                    self.shared.clients.acknowledged(&acknowledgement);
                } else {
                    let outgoing = self.outgoing.for_peer(node);
                    outgoing.acknowledge(acknowledgement, hops);
                }
                return;
            }
            Sender::Agent(id, incarnation) => (id, *incarnation),
        };
        if let Some(slot) = self.slot_of(id) {
            let now = self.now.millis();
            let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
                return;
            };
            if awake.agent.incarnation() != incarnation {
                return;
            }
            self.shared.witness(id, Step::Acknowledgement);
            awake.agent.acknowledged(
                &stream.receiver,
                stream.lane,
                &acknowledgement.notice,
                now,
                &mut self.actions,
            );
            self.perform(slot);
            self.after(slot);
            return;
        }
        // Where its message came from. A sender that has left that node since
        // is known there by where it went, which is no guess.
        if hops == 0
            && let Some(node) = self.routes.hints.get(id)
        {
            let outgoing = self.outgoing.for_peer(*node);
            outgoing.acknowledge(acknowledgement, hops);
            return;
        }
        let worker = self.shared.worker_of(id);
        if worker != self.index {
            if let Some(outgoing) = self.outgoing.for_worker(worker) {
                outgoing.acknowledge(acknowledgement, hops);
            }
            return;
        }
        match self.routes.node_of(id) {
            Some(node) if node != self.shared.node && hops < MAX_HOPS => {
                let outgoing = self.outgoing.for_peer(node);
                outgoing.acknowledge(acknowledgement, hops);
            }
            // Whoever it was asks again if it still lives.
            _ => count(&self.shared.counters.unsent),
        }
    }

    /// A peer says the agent went elsewhere: switch paths behind a marker.
    pub(super) fn moved(&mut self, from: NodeId, agent: AgentId, to: NodeId, generation: u64) {
        if self.table.contains_key(&agent) {
            return;
        }
        match self.routes.routes.get_mut(&agent) {
            None => self.went_to(agent, to, generation),
            Some(Route::Placing { .. }) => {}
            Some(Route::Switching {
                node,
                generation: known,
                ..
            }) => {
                if generation > *known {
                    (*node, *known) = (to, generation);
                }
            }
            Some(Route::At(there)) => {
                if generation <= there.generation || there.node == to {
                    return;
                }
                let old = there.node;
                self.routes.markers += 1;
                let marker = self.routes.markers;
                let route = Route::Switching {
                    node: to,
                    generation,
                    marker,
                    since: self.now.millis(),
                    held: Vec::new(),
                };
                self.routes.routes.insert(agent.clone(), route);
                self.routes.switching.push(agent.clone());
                // The marker goes behind everything that is on the old path.
                self.flush();
                let end = PeerMessage::Marker {
                    agent: agent.clone(),
                    origin: self.shared.node,
                    marker,
                };
                if old != from || self.shared.send(old, end).is_err() {
                    self.marker_seen(&agent, marker);
                }
            }
        }
    }

    /// A marker came: answer it if the agent is here, or send it after the agent.
    pub(super) fn marker(&mut self, agent: AgentId, origin: NodeId, marker: u64) {
        if self.table.contains_key(&agent) {
            self.flush();
            let seen = PeerMessage::MarkerSeen { agent, marker };
            // Without it the origin switches a little later.
            let _ = self.shared.send(origin, seen);
        } else if let Some(node) = self.routes.node_of(&agent) {
            self.flush();
            let marker = PeerMessage::Marker {
                agent,
                origin,
                marker,
            };
            let _ = self.shared.send(node, marker);
        }
    }

    /// The old path has run dry.
    pub(super) fn marker_seen(&mut self, agent: &AgentId, seen: u64) {
        let Some(Route::Switching {
            node,
            generation,
            marker,
            held,
            ..
        }) = self.routes.routes.get_mut(agent)
        else {
            return;
        };
        if *marker != seen {
            return;
        }
        let (node, generation, held) = (*node, *generation, std::mem::take(held));
        self.routes.switching.retain(|other| other != agent);
        self.went_to(agent.clone(), node, generation);
        for envelope in held {
            self.deliver_late(envelope);
        }
    }

    /// The agent came here: what was held for it is its own now.
    pub(super) fn came_here(&mut self, agent: &AgentId, slot: u32) {
        self.routes.hints.remove(agent);
        let held = match self.routes.routes.remove(agent) {
            Some(Route::Placing { held } | Route::Switching { held, .. }) => held,
            _ => Vec::new(),
        };
        self.routes.switching.retain(|other| other != agent);
        self.offer(slot, held.into_iter());
    }

    /// Gives up on markers that take too long.
    pub(super) fn tick_routes(&mut self, now: Millis) {
        if self.routes.switching.is_empty() {
            return;
        }
        let late: Vec<(AgentId, u64)> = self
            .routes
            .switching
            .iter()
            .filter_map(|agent| match self.routes.routes.get(agent) {
                Some(Route::Switching { marker, since, .. }) if *since + MARKER_WITHIN <= now => {
                    Some((agent.clone(), *marker))
                }
                _ => None,
            })
            .collect();
        for (agent, marker) in late {
            self.marker_seen(&agent, marker);
        }
    }

    /// When [`Worker::tick_routes`] has something to do.
    pub(super) fn routes_deadline(&self) -> Millis {
        if self.routes.switching.is_empty() {
            Millis::NEVER
        } else {
            self.now.millis() + Millis(100)
        }
    }

    /// The agent ended: the directory may forget it.
    pub(super) fn forget(&mut self, agent: AgentId, generation: u64) {
        self.ask_directory(DirectoryCommand::Forget { agent, generation });
    }
}
