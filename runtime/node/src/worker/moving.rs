//! Agents on their way: the driver of the migration machines.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use phoenix_cluster::migration::{
    Action, Migrations, SourceAction, SourceEvent, SourceOutcome, SourcePlan, Step, TargetAction,
    TargetEvent, TargetOutcome, TargetPlan,
};
use phoenix_core::control::{ControlError, Done, Response};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{
    AgentId, Digest, Epoch, MigrationId, Millis, Nanos, NodeId, PeerMessage, snapshot,
};

use phoenix_host::{InstanceError, Room};

use crate::clock;
use crate::counters::count;
use crate::kinds::Kind;
use crate::worker::job::{Ended, Seating, rebuild};
use crate::worker::slot::{Awake, Rollback, Slot};
use crate::worker::{Event, Worker};

/// What the driver keeps of migrations beside the machines.
pub(super) struct Movement {
    pub(super) machines: Migrations,
    /// Agents leaving, by attempt.
    departures: HashMap<MigrationId, Departure>,
    /// Instances for agents on their way here, made while they run elsewhere.
    rooms: HashMap<MigrationId, (Arc<Kind>, Room)>,
    /// Copies that have arrived and are not the agent yet.
    pub(super) staged: HashMap<MigrationId, Box<Awake>>,
    /// Attempts that wait for a component.
    preparing: Vec<(MigrationId, AgentId, Digest)>,
    /// Attempts that wait until the directory has said whose an older copy is.
    pub(super) verifying: Vec<(MigrationId, TargetPlan)>,
}

/// An agent leaving.
struct Departure {
    to: NodeId,
    frozen_at: Option<Nanos>,
    pause_us: u64,
    shipped: u64,
    done: Option<Done>,
}

impl Movement {
    pub(super) fn new(node: NodeId, limits: phoenix_cluster::MigrationLimits) -> Self {
        Self {
            machines: Migrations::new(node, limits),
            departures: HashMap::new(),
            rooms: HashMap::new(),
            staged: HashMap::new(),
            preparing: Vec::new(),
            verifying: Vec::new(),
        }
    }

    /// Operators who wait for an agent to be away.
    pub(super) fn take_waiting(&mut self) -> Vec<Done> {
        let departures = self.departures.values_mut();
        departures.filter_map(|one| one.done.take()).collect()
    }

    /// Agents on their way out.
    pub(super) fn leaving(&self) -> usize {
        self.departures.len()
    }
}

impl Worker {
    /// Begins to move an agent of this worker's to another node, for an operator.
    pub(super) fn migrate(&mut self, slot: u32, to: NodeId, done: Done) {
        match self.begin_departure(slot, to) {
            Err(error) => done(Err(error)),
            Ok((migration, steps)) => {
                if let Some(departure) = self.movement.departures.get_mut(&migration) {
                    departure.done = Some(done);
                }
                self.carry_out(steps);
            }
        }
    }

    /// The same for the node itself. An attempt that ends with the agent still
    /// here is told to [`Worker::drain_failed`].
    pub(super) fn begin_move(
        &mut self,
        slot: u32,
        to: NodeId,
    ) -> Result<MigrationId, ControlError> {
        let (migration, steps) = self.begin_departure(slot, to)?;
        self.carry_out(steps);
        Ok(migration)
    }

    /// Gives an attempt up if its target is not ready yet, or gone. Says whether
    /// it is still under way.
    pub(super) fn hurry(&mut self, migration: MigrationId) -> bool {
        let Some(departure) = self.movement.departures.get(&migration) else {
            return false;
        };
        if departure.frozen_at.is_none() || !self.shared.is_connected(departure.to) {
            let why = format!("{} was not ready in time", departure.to);
            self.source_event(migration, SourceEvent::Cancel(why));
        }
        self.movement.departures.contains_key(&migration)
    }

    fn begin_departure(
        &mut self,
        slot: u32,
        to: NodeId,
    ) -> Result<(MigrationId, Vec<Step>), ControlError> {
        if matches!(self.slots.get(slot as usize), Some(Slot::Asleep(_))) {
            self.wake(slot);
        }
        let Some(awake) = self.awake(slot) else {
            return Err(ControlError::Internal("the agent is gone".to_owned()));
        };
        self.may_move(awake, to)?;
        let agent = awake.agent.id().clone();
        let plan = SourcePlan {
            migration: new_migration(&agent),
            agent,
            component: awake.kind.info.component,
            source: self.shared.node,
            target: to,
            generation: awake.generation,
            durable: awake.durable.is_some(),
        };
        let migration = plan.migration;
        let steps = self
            .movement
            .machines
            .begin(self.now.millis(), plan)
            .map_err(|refused| ControlError::Conflict(refused.to_string()))?;
        let departure = Departure {
            to,
            frozen_at: None,
            pause_us: 0,
            shipped: 0,
            done: None,
        };
        self.movement.departures.insert(migration, departure);
        if let Some(awake) = self.awake_mut(slot) {
            awake.moving = Some(migration);
        }
        Ok((migration, steps))
    }

    fn may_move(&self, awake: &Awake, to: NodeId) -> Result<(), ControlError> {
        let id = awake.agent.id();
        if to == self.shared.node {
            let text = format!("{id} lives on {to} already");
            return Err(ControlError::Conflict(text));
        }
        if awake.frozen && awake.moving.is_none() {
            let text = format!("{id} has not arrived yet: move it when it has");
            return Err(ControlError::Conflict(text));
        }
        if !awake.kind.policy.movable {
            let text = format!("{id} cannot move: its kind is deployed with movable = false");
            return Err(ControlError::Conflict(text));
        }
        if let Some(why) = &awake.quarantined {
            let text = format!("{id} cannot move: it is quarantined: {why}");
            return Err(ControlError::Conflict(text));
        }
        if awake.reset.is_some() {
            let text = format!("{id} cannot move: it is being reset");
            return Err(ControlError::Conflict(text));
        }
        if !self.shared.is_connected(to) {
            let text = format!("{to} is not connected to {}", self.shared.node);
            return Err(ControlError::Unavailable(text));
        }
        Ok(())
    }

    /// A step of a migration came from a peer, or from the directory.
    pub(super) fn migration(&mut self, from: NodeId, message: MigrationMessage) {
        let now = self.now.millis();
        let machines = &mut self.movement.machines;
        let steps = match message {
            MigrationMessage::Activate { migration, epoch }
                if from == self.shared.directory.node() =>
            {
                machines.moved_here(now, migration, epoch)
            }
            message => machines.received(now, from, message),
        };
        self.carry_out(steps);
    }

    /// The directory says that the agent's source is gone, and with it what this
    /// node has no copy of. Says whether that is so; from then on it takes none.
    pub(super) fn has_no_copy_by(&mut self, migration: MigrationId) -> bool {
        let now = self.now.millis();
        let forgone = self.movement.machines.forgo(now, migration);
        let is_forgone = forgone.is_ok();
        self.carry_out(forgone.unwrap_or_else(|steps| steps));
        is_forgone
    }

    /// The directory answered a request of a migration's.
    pub(super) fn migration_answered(
        &mut self,
        migration: MigrationId,
        request: u32,
        answer: DirectoryAnswer,
    ) {
        let now = self.now.millis();
        let steps = self
            .movement
            .machines
            .answered(now, migration, request, answer);
        self.carry_out(steps);
    }

    /// A component that arriving agents need is there, or cannot be had.
    pub(super) fn component_ready(&mut self, component: Digest, result: &Result<(), String>) {
        let waiting: Vec<(MigrationId, AgentId, Digest)> = self
            .movement
            .preparing
            .extract_if(.., |(_, _, digest)| *digest == component)
            .collect();
        for (migration, agent, component) in waiting {
            let kinds = &self.shared.kinds;
            match (result, kinds.with_component(agent.kind(), &component)) {
                (Ok(()), Some(kind)) => self.make_room(migration, kind),
                (Ok(()), None) => {
                    let why = format!("{} is not deployed here", agent.kind());
                    self.target_event(migration, TargetEvent::PrepareFailed(why));
                }
                (Err(why), _) => {
                    self.target_event(migration, TargetEvent::PrepareFailed(why.clone()));
                }
            }
        }
    }

    /// A connection came up.
    pub(super) fn connected(&mut self, peer: NodeId, boot: u64) {
        let steps = self
            .movement
            .machines
            .connected(self.now.millis(), peer, boot);
        self.carry_out(steps);
        let waiting: Vec<u32> = self
            .slots
            .iter()
            .filter(
                |(_, slot)| matches!(slot, Slot::Awake(awake) if awake.agent.unacknowledged() > 0),
            )
            .filter_map(|(slot, _)| u32::try_from(slot).ok())
            .collect();
        for slot in waiting {
            if let Some(awake) = self.awake_mut(slot) {
                awake.agent.retry_now();
            }
            self.arm(slot);
        }
    }

    /// A connection broke.
    pub(super) fn disconnected(&mut self, peer: NodeId) {
        let steps = self.movement.machines.disconnected(self.now.millis(), peer);
        self.carry_out(steps);
    }

    /// Lets time pass for migrations.
    pub(super) fn tick_moving(&mut self, now: Millis) {
        if self.movement.machines.is_empty() {
            return;
        }
        let deadline = self.movement.machines.deadline();
        if deadline.is_some_and(|at| at <= now) {
            let steps = self.movement.machines.tick(now);
            self.carry_out(steps);
        }
    }

    fn carry_out(&mut self, steps: Vec<Step>) {
        let mut parts_refused = false;
        for step in steps {
            let Step {
                migration,
                peer,
                action,
            } = step;
            match action {
                Action::Answer(message) => {
                    // Whoever misses it asks again.
                    let _ = self.shared.send(peer, PeerMessage::Migration(message));
                }
                Action::Source(_, SourceAction::Send(message)) => {
                    let part = match &message {
                        MigrationMessage::Ship { offset, .. } => Some(*offset),
                        _ => None,
                    };
                    if part.is_some() && parts_refused {
                        continue;
                    }
                    let sent = self.shared.send(peer, PeerMessage::Migration(message));
                    if let (Err(_), Some(offset)) = (sent, part) {
                        parts_refused = true;
                        self.source_event(migration, SourceEvent::NotSent { offset });
                    }
                }
                Action::Source(agent, action) => self.source_action(migration, &agent, action),
                Action::Target(plan, action) => self.target_action(migration, &plan, action),
            }
        }
    }

    fn source_event(&mut self, migration: MigrationId, event: SourceEvent) {
        let now = self.now.millis();
        let steps = self.movement.machines.source(now, migration, event);
        self.carry_out(steps);
    }

    pub(super) fn target_event(&mut self, migration: MigrationId, event: TargetEvent) {
        let now = self.now.millis();
        let steps = self.movement.machines.target(now, migration, event);
        self.carry_out(steps);
    }

    fn submit(&mut self, migration: MigrationId, request: u32, command: DirectoryCommand) {
        let agent = command.agent().clone();
        let shared = self.shared.clone();
        self.shared.directory.submit(
            &self.shared,
            command,
            Box::new(move |answer| {
                let event = Event::MigrationAnswer {
                    migration,
                    request,
                    answer,
                };
                shared.post(&agent, event);
            }),
        );
    }

    fn source_action(&mut self, migration: MigrationId, agent: &AgentId, action: SourceAction) {
        match action {
            SourceAction::Send(_) => {}
            SourceAction::Freeze => self.freeze(migration, agent),
            SourceAction::Submit { request, command } => self.submit(migration, request, command),
            SourceAction::Unfreeze { epoch } => {
                if let Some(slot) = self.table.get(agent).copied() {
                    if let Some(awake) = self.awake_mut(slot) {
                        awake.generation = epoch.generation;
                        awake.frozen = false;
                        awake.moving = None;
                    }
                    self.queue(slot);
                    self.arm(slot);
                }
            }
            SourceAction::Release { owner } => self.release(migration, agent, owner),
            SourceAction::Finished(outcome) => self.departed(migration, agent, outcome),
        }
    }

    /// The agent came to its end before it was frozen.
    pub(super) fn departure_ended(&mut self, migration: MigrationId, agent: &AgentId) {
        let why = format!("{agent} has stopped");
        self.source_event(migration, SourceEvent::FreezeFailed(why.clone()));
        self.source_event(migration, SourceEvent::Cancel(why));
    }

    /// Stands the agent still at its next turn boundary.
    fn freeze(&mut self, migration: MigrationId, agent: &AgentId) {
        let Some(slot) = self.table.get(agent).copied() else {
            let why = format!("{agent} is not here any more");
            self.source_event(migration, SourceEvent::FreezeFailed(why));
            return;
        };
        if matches!(self.slots.get(slot as usize), Some(Slot::Asleep(_))) {
            self.wake(slot);
        }
        let now = self.now.millis();
        if let Some(awake) = self.awake_mut(slot) {
            awake.freeze(now);
            awake.moving = Some(migration);
            awake.freeze_wanted = true;
        }
        self.freeze_if_wanted(slot);
    }

    /// Takes the frozen agent's snapshot, if one is wanted and no turn runs.
    pub(super) fn freeze_if_wanted(&mut self, slot: u32) {
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        if !awake.freeze_wanted || awake.running || !self.has_settled(slot) {
            return;
        }
        let Some(awake) = self.awake_mut(slot) else {
            return;
        };
        let now = clock::now();
        awake.freeze_wanted = false;
        let Some(migration) = awake.moving else {
            return;
        };
        if let Seating::Live(instance) = &awake.seating
            && let Some(why) = instance.unmovable()
        {
            awake.frozen = false;
            awake.moving = None;
            awake.unmovable = Some(why.as_str().into());
            self.queue(slot);
            self.source_event(migration, SourceEvent::FreezeFailed(why));
            return;
        }
        if let Some(departure) = self.movement.departures.get_mut(&migration) {
            departure.frozen_at = Some(now);
        }
        // The directory syncs while the memory is read.
        self.source_event(migration, SourceEvent::Still);
        let Some(awake) = self.awake_mut(slot) else {
            return;
        };
        let image = match Self::image(awake) {
            Ok(image) => image,
            Err(why) => {
                awake.unmovable = Some(why.clone());
                self.source_event(migration, SourceEvent::FreezeFailed(why.to_string()));
                return;
            }
        };
        awake.agent.mark_shipped();
        let component = awake.kind.info.component;
        let mut bytes = Vec::with_capacity(image.len() + 512);
        let shipped_by = awake.durable.is_some().then_some(migration);
        snapshot::encode_shipped(&awake.agent, &component, &image, shipped_by, &mut bytes);
        if let Some(departure) = self.movement.departures.get_mut(&migration) {
            departure.shipped = bytes.len() as u64;
        }
        self.source_event(migration, SourceEvent::Frozen(Bytes::from(bytes)));
    }

    /// The agent is the target's: this copy goes, and what came late goes after it.
    fn release(&mut self, migration: MigrationId, agent: &AgentId, owner: Ownership) {
        let now = clock::now();
        if let Some(departure) = self.movement.departures.get_mut(&migration)
            && let Some(frozen_at) = departure.frozen_at
        {
            departure.pause_us = now.0.saturating_sub(frozen_at.0) / 1_000;
        }
        let Some(slot) = self.table.get(agent).copied() else {
            return;
        };
        let late = match self.awake_mut(slot) {
            Some(awake) => awake.agent.take_unshipped(),
            None => Vec::new(),
        };
        self.strand(slot);
        self.end_copy(slot);
        self.remove(slot, agent);
        if owner.owner != self.shared.node {
            self.went_to(agent.clone(), owner.owner, owner.epoch.generation);
        }
        for envelope in late {
            self.deliver_late(envelope);
        }
        // What was late goes ahead of the word that nothing more is here.
        self.flush();
    }

    fn departed(&mut self, migration: MigrationId, agent: &AgentId, outcome: SourceOutcome) {
        let Some(departure) = self.movement.departures.remove(&migration) else {
            return;
        };
        if let Some(slot) = self.table.get(agent).copied() {
            if let Some(awake) = self.awake_mut(slot).filter(|a| a.moving == Some(migration)) {
                awake.moving = None;
                awake.frozen = false;
                awake.freeze_wanted = false;
            }
            self.queue(slot);
            self.arm(slot);
        }
        let result = match outcome {
            SourceOutcome::Moved { .. } => {
                count(&self.shared.counters.migrations);
                Ok(Response::Migrated {
                    migration,
                    from: self.shared.node,
                    to: departure.to,
                    pause_us: departure.pause_us,
                    bytes: departure.shipped,
                })
            }
            SourceOutcome::Stayed { reason, .. } => {
                count(&self.shared.counters.migrations_aborted);
                self.drain_failed(agent, departure.to, &reason);
                Err(ControlError::Conflict(format!(
                    "{agent} stays where it is: {reason}"
                )))
            }
            SourceOutcome::Gone { owner } => {
                count(&self.shared.counters.migrations_aborted);
                Err(ControlError::Conflict(format!(
                    "{agent} is not this node's: the directory says it lives on {}",
                    owner.owner
                )))
            }
        };
        if let Some(done) = departure.done {
            done(result);
        }
    }

    fn target_action(&mut self, migration: MigrationId, plan: &TargetPlan, action: TargetAction) {
        match action {
            TargetAction::Send(message) => {
                // Whoever misses it asks again.
                let _ = self
                    .shared
                    .send(plan.source, PeerMessage::Migration(message));
            }
            TargetAction::Prepare => self.prepare(migration, plan),
            TargetAction::Stage { bytes } => match self.stage(migration, plan, &bytes) {
                // It is told when the journal has it.
                Ok(()) if plan.durable => {}
                Ok(()) => self.target_event(migration, TargetEvent::StageOk),
                Err(why) => self.target_event(migration, TargetEvent::StageFailed(why)),
            },
            TargetAction::Activate { epoch } => self.activate(migration, epoch),
            TargetAction::Run => {
                if let Some(slot) = self.table.get(&plan.agent).copied() {
                    let came = |awake: &&mut Awake| awake.arrived_by == Some(migration);
                    if let Some(awake) = self.awake_mut(slot).filter(came) {
                        awake.frozen = false;
                        count(&self.shared.counters.arrivals);
                        self.tick(slot);
                    }
                }
            }
            TargetAction::Drop => self.drop_copy(migration, &plan.agent),
            TargetAction::Submit { request, command } => self.submit(migration, request, command),
            TargetAction::Finished(outcome) => {
                self.movement.rooms.remove(&migration);
                self.movement.verifying.retain(|(id, _)| *id != migration);
                if let TargetOutcome::Dropped { .. } = outcome {
                    // Where it was heard to be before, it may have left to come here.
                    self.routes.forget(&plan.agent);
                }
            }
        }
    }

    /// Sees that the component is here and compiled, and that there is room.
    pub(super) fn prepare(&mut self, migration: MigrationId, plan: &TargetPlan) {
        if self.shared.is_draining() {
            let why = "the node is about to stop".to_owned();
            self.target_event(migration, TargetEvent::PrepareFailed(why));
            return;
        }
        if plan.durable && !self.prepare_log(migration, plan) {
            return;
        }
        let kind = plan.agent.kind();
        if let Some(kind) = self.shared.kinds.with_component(kind, &plan.component) {
            self.make_room(migration, kind);
            return;
        }
        self.movement
            .preparing
            .push((migration, plan.agent.clone(), plan.component));
        let (shared, agent, component) = (self.shared.clone(), plan.agent.clone(), plan.component);
        // The source runs it, and need not keep it: only the directory's node does.
        let keeper = self.shared.directory.node();
        self.shared.fetch_component(
            component,
            kind,
            keeper,
            Box::new(move |result| {
                shared.post(&agent, Event::Component { component, result });
            }),
        );
    }

    /// Makes the instance that an arriving agent is restored into.
    fn make_room(&mut self, migration: MigrationId, kind: Arc<Kind>) {
        let make = || kind.component.make_room(&kind.policy);
        let mut room = make();
        if matches!(room, Err(InstanceError::Full { .. })) && self.evict(u32::MAX) {
            room = make();
        }
        let event = match room {
            Ok(room) => {
                self.movement.rooms.insert(migration, (kind, room));
                TargetEvent::Prepared
            }
            Err(error) => TargetEvent::PrepareFailed(error.to_string()),
        };
        self.target_event(migration, event);
    }

    /// Restores what arrived, frozen.
    fn stage(
        &mut self,
        migration: MigrationId,
        plan: &TargetPlan,
        bytes: &Bytes,
    ) -> Result<(), String> {
        let snapshot = snapshot::decode(bytes).map_err(|error| error.to_string())?;
        if *snapshot.agent.id() != plan.agent || snapshot.component != plan.component {
            return Err("the snapshot is of another agent".to_owned());
        }
        if snapshot.shipped_by != plan.durable.then_some(migration) {
            return Err("the snapshot was made for another move".to_owned());
        }
        let kind = self
            .shared
            .kinds
            .with_component(plan.agent.kind(), &plan.component)
            .ok_or("the kind is not deployed here")?;
        let image = (!snapshot.image.is_empty()).then_some(snapshot.image);
        let rollback = Rollback::from(image);
        let room = self.movement.rooms.remove(&migration);
        // A policy that came meanwhile asks for other room.
        let room = room.filter(|(made_for, _)| Arc::ptr_eq(made_for, &kind));
        let instance = match (room, &rollback.past.image) {
            (Some((_, room)), None) => Ok(Box::new(room.into_instance())),
            (Some((_, room)), Some(image)) => kind
                .component
                .restore_into(room, &kind.policy, image)
                .map(Box::new)
                .map_err(|error| Ended::Unrecoverable(error.to_string())),
            (None, _) => match rebuild(&kind, &rollback.past) {
                Err(Ended::NoRoom) if self.evict(u32::MAX) => rebuild(&kind, &rollback.past),
                rebuilt => rebuilt,
            },
        };
        let instance = instance.map_err(|ended| match ended {
            Ended::Unrecoverable(why) => why,
            _ => "there is no room for its memory".to_owned(),
        })?;
        // The generation comes with the activation.
        let mut awake = self.new_awake(snapshot.agent, kind, 0, rollback);
        awake.seating = Seating::Live(instance);
        awake.freeze(self.now.millis());
        awake.arrived_by = Some(migration);
        if plan.durable {
            self.store_copy(migration, &mut awake, bytes)?;
        }
        self.movement.staged.insert(migration, awake);
        Ok(())
    }

    /// The staged copy is the agent from now on.
    fn activate(&mut self, migration: MigrationId, epoch: Epoch) {
        let Some(mut awake) = self.movement.staged.remove(&migration) else {
            return;
        };
        awake.generation = epoch.generation;
        let id = awake.agent.id().clone();
        let slot = self.insert_awake(awake);
        self.list_resident(slot);
        self.came_here(&id, slot);
    }

    fn drop_copy(&mut self, migration: MigrationId, agent: &AgentId) {
        if let Some(mut awake) = self.movement.staged.remove(&migration) {
            if let Some(durable) = awake.durable.take() {
                self.end_log_of_copy(agent, durable.log);
            }
            return;
        }
        let Some(slot) = self.table.get(agent).copied() else {
            return;
        };
        let waiting = match self.awake_mut(slot) {
            Some(awake) if awake.frozen && awake.arrived_by == Some(migration) => {
                awake.agent.take_unshipped()
            }
            _ => return,
        };
        self.strand(slot);
        self.end_copy(slot);
        self.remove(slot, agent);
        for envelope in waiting {
            self.deliver_late(envelope);
        }
    }
}

/// A random attempt number whose lower half is the agent's placement hash, so
/// that every node finds the worker it belongs to.
fn new_migration(agent: &AgentId) -> MigrationId {
    let random = getrandom::u64().unwrap_or_else(|_| clock::now().0);
    MigrationId(u128::from(random) << 64 | u128::from(agent.placement_hash()))
}

/// The worker, of so many, that an attempt belongs to.
pub(crate) fn worker_of(migration: MigrationId, workers: usize) -> usize {
    let hash = migration.0 & u128::from(u64::MAX);
    usize::try_from(hash % workers.max(1) as u128).unwrap_or(0)
}
