//! A worker: a share of the node's agents, and everything done to them.
//!
//! A worker is driven by one thread at a time (see [`crate::seat`]). Its
//! [`Worker::receive`] takes what others posted, [`Worker::step`] chooses what to
//! do next, and a [`Job`] is a guest call the driver makes on its behalf. Whose
//! turn it is a [`Schedule`] decides, by what each agent has had of the worker's time.

mod alarms;
mod ask_notices;
mod copies;
mod drain;
mod durable;
mod fence;
mod flow;
mod frames;
mod job;
mod legacies;
mod look_up;
mod moving;
mod outgoing;
mod recent;
mod request;
mod reset;
mod restore;
mod route;
mod sleep;
mod slot;
mod spill;
mod tiers;
mod turns;
mod wake_queue;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_core::agent::{Actions, BatchRoom};
use phoenix_core::control::{Done, Request};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::schedule::{Next, Schedule};
use phoenix_core::{
    Acknowledgement, AgentId, AskNotice, Digest, Envelope, MigrationId, Millis, Nanos, NodeId,
};
use phoenix_store::SnapshotArena;
use phoenix_store::disk_arena::{Reading, ReadingError};
use slab::Slab;

use alarms::Alarms;
use drain::Drain;
pub(crate) use drain::DrainDone;
pub use drain::Drained;
use durable::Durables;
pub(crate) use flow::Gated;
use flow::Waiting;
pub(crate) use job::Job;
use legacies::Legacies;
use look_up::LookUps;
use moving::Movement;
pub(crate) use moving::worker_of as worker_of_migration;
use outgoing::Outgoing;
use recent::Recent;
pub(crate) use restore::known as known_agents;
use route::Routes;
use sleep::Resident;
use slot::{Awake, Slot};
pub(crate) use spill::Spilled;
use tiers::Tiers;
use wake_queue::WakeQueue;

use crate::clock;
use crate::shared::Shared;

/// Where in the data directory agents sleep that are not durable.
pub(crate) const ASLEEP: &str = "asleep";

/// Something posted to a worker.
pub(crate) enum Event {
    /// Messages for agents this worker is responsible for, first sent from that
    /// node if a peer brought them: from this one if they came back.
    Deliver {
        from: Option<NodeId>,
        envelopes: Vec<Arc<Envelope>>,
    },
    /// Verdicts for agents this worker is responsible for.
    Acknowledge {
        /// Nodes they have come through.
        hops: u8,
        acknowledgements: Vec<Acknowledgement>,
    },
    /// A word about an ask, for an agent this worker is responsible for.
    AskNotice {
        /// Nodes it has come through.
        hops: u8,
        notice: AskNotice,
    },
    /// A peer says an agent went elsewhere.
    Moved {
        from: NodeId,
        agent: AgentId,
        to: NodeId,
        generation: u64,
    },
    /// The end of a path that is being switched.
    Marker {
        agent: AgentId,
        origin: NodeId,
        marker: u64,
    },
    /// A marker of this worker's arrived.
    MarkerSeen { agent: AgentId, marker: u64 },
    /// A step of a migration of this agent.
    Migration {
        from: NodeId,
        message: MigrationMessage,
    },
    /// The directory answered a request of a migration's.
    MigrationAnswer {
        migration: MigrationId,
        request: u32,
        answer: DirectoryAnswer,
    },
    /// The component an arriving agent needs is there, or cannot be had.
    Component {
        component: Digest,
        result: Result<(), String>,
    },
    /// The directory answered.
    Directory {
        command: DirectoryCommand,
        answer: DirectoryAnswer,
    },
    /// A connection came up.
    Connected { peer: NodeId, boot: u64 },
    /// A connection broke.
    Disconnected { peer: NodeId },
    /// An operator's request about one agent, or a listing.
    Request {
        request: Request,
        /// The peer that passed it on.
        from: Option<NodeId>,
        done: Done,
    },
    /// Place an agent on a node of choice, then go on.
    PlaceOn {
        agent: AgentId,
        prefer: NodeId,
        then: Box<dyn FnOnce() + Send>,
    },
    /// A job that was relieved has ended.
    Finished(Box<Job>),
    /// More of the journal is durable than was, or it failed.
    Journal,
    /// The journal has the copy of a durable agent that came by this attempt, or cannot
    /// have it.
    CopyStored {
        migration: MigrationId,
        result: Result<(), String>,
    },
    /// What a sleeping agent is made of was read.
    Read {
        slot: u32,
        ticket: u64,
        read: restore::Read,
    },
    /// A sleeping agent was read that is to be inspected.
    Inspected {
        slot: u32,
        agent: AgentId,
        read: (Result<Vec<u8>, ReadingError>, Reading),
        done: Done,
    },
    /// Policies of flow control have changed.
    Regate,
    /// Something may pass a gate that could not.
    FlowReady,
    /// The node was declared dead: nothing here is its own any more.
    Fence,
    /// Another worker has no room for an agent's memory: put an idle one to sleep.
    MakeRoom,
    /// The system is short of memory: put some idle ones to sleep.
    Shrink,
    /// Move everything away, or put it to sleep; call back when nothing is left
    /// to do or the time has come.
    Drain { until: Millis, done: DrainDone },
}

/// What a worker's driver does next.
pub(crate) enum Step {
    /// There may be more to do.
    Again,
    /// Call this guest.
    Run(Job),
    /// Nothing to do until then, or until something comes.
    Idle(Nanos),
}

/// One worker.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    now: Nanos,
    /// Whether `now` was read since the last step began.
    now_is_fresh: bool,
    table: HashMap<AgentId, u32>,
    recent: Recent,
    slots: Slab<Slot>,
    tenants: u64,
    /// Who has something to run.
    schedule: Schedule,
    /// When the messages that are being taken in were posted.
    came: Option<Nanos>,
    /// Whether what was done since the last turn took so long that the clock is to
    /// be read before it is charged.
    was_costly: bool,
    /// When to look at which agent that is awake, and which to wake.
    alarms: Alarms,
    /// Slots whose memory is live, for eviction.
    residents: VecDeque<Resident>,
    /// How many of them held when they were cleaned last.
    residents_kept: usize,
    /// When other workers were asked last to make room.
    asked_for_room: Millis,
    arena: SnapshotArena,
    tiers: Tiers,
    wake_queue: WakeQueue,
    routes: Routes,
    movement: Movement,
    spilled: Spilled,
    durables: Durables,
    legacies: Legacies,
    look_ups: LookUps,
    /// What waits at gates.
    waiting: Waiting,
    /// Messages and verdicts for other workers and nodes, handed over once a step.
    outgoing: Outgoing,
    room: BatchRoom,
    actions: Actions,
    scratch: Vec<u8>,
    /// Room for the next frame.
    frame: Vec<u8>,
    draining: Option<Drain>,
}

impl Worker {
    /// The worker of that number, which keeps what its agents spill in `spilled`.
    pub(crate) fn new(index: usize, shared: Arc<Shared>, spilled: Spilled) -> Self {
        let workers = shared.seats.len();
        let movement = Movement::new(shared.node, shared.config.migration_limits());
        let asleep = shared.config.data_dir.join(ASLEEP).join(index.to_string());
        let tiers = Tiers::new(asleep, shared.config.sleep_disk / workers.max(1) as u64);
        Self {
            index,
            shared,
            now: clock::now(),
            now_is_fresh: false,
            table: HashMap::new(),
            recent: Recent::default(),
            slots: Slab::new(),
            tenants: 0,
            schedule: Schedule::default(),
            came: None,
            was_costly: false,
            alarms: Alarms::default(),
            residents: VecDeque::new(),
            residents_kept: 0,
            asked_for_room: Millis(0),
            arena: SnapshotArena::new(),
            tiers,
            wake_queue: WakeQueue::default(),
            routes: Routes::default(),
            movement,
            spilled,
            durables: Durables::default(),
            legacies: Legacies::default(),
            look_ups: LookUps::default(),
            waiting: Waiting::default(),
            outgoing: Outgoing::new(workers),
            room: BatchRoom::default(),
            actions: Actions::default(),
            scratch: Vec::new(),
            frame: Vec::new(),
            draining: None,
        }
    }

    /// Takes what was posted, each with the time when it was.
    pub(crate) fn receive(&mut self, events: &mut Vec<(Nanos, Event)>) {
        self.read_clock();
        self.schedule.pass(self.now, false);
        for (at, event) in events.drain(..) {
            self.came = matches!(event, Event::Deliver { .. }).then_some(at);
            self.handle(event);
        }
        self.came = None;
    }

    fn read_clock(&mut self) {
        self.now = clock::now();
        self.now_is_fresh = true;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, envelopes } => {
                self.deliver_all(envelopes.into_iter(), from);
            }
            Event::Acknowledge {
                hops,
                acknowledgements,
            } => {
                for acknowledgement in acknowledgements {
                    self.acknowledged(acknowledgement, hops);
                }
            }
            Event::AskNotice { hops, notice } => self.ask_notice(notice, hops),
            Event::Moved {
                from,
                agent,
                to,
                generation,
            } => self.moved(from, agent, to, generation),
            Event::Marker {
                agent,
                origin,
                marker,
            } => self.marker(agent, origin, marker),
            Event::MarkerSeen { agent, marker } => self.marker_seen(&agent, marker),
            Event::Migration { from, message } => self.migration(from, message),
            Event::MigrationAnswer {
                migration,
                request,
                answer,
            } => self.migration_answered(migration, request, answer),
            Event::Component { component, result } => self.component_ready(component, &result),
            Event::Directory { command, answer } => {
                let agent = command.agent().clone();
                self.directory_answered(command, answer);
                self.placed(&agent);
            }
            Event::Connected { peer, boot } => {
                self.connected(peer, boot);
                if peer == self.shared.directory.node() {
                    self.look_up_stored();
                }
            }
            Event::Disconnected { peer } => self.disconnected(peer),
            Event::Request {
                request,
                from,
                done,
            } => self.request(request, from, done),
            Event::PlaceOn {
                agent,
                prefer,
                then,
            } => self.place_on(agent, prefer, then),
            Event::Finished(job) => self.finish_late(*job),
            // What is held back is looked at in every step.
            Event::Journal => {}
            Event::CopyStored { migration, result } => self.copy_stored(migration, result),
            Event::Read { slot, ticket, read } => self.was_read(slot, ticket, read),
            Event::Inspected {
                slot,
                agent,
                read,
                done,
            } => self.inspected(slot, agent, read, done),
            Event::Regate => self.regate(),
            Event::FlowReady => self.flow_ready(),
            Event::Fence => self.fence(),
            Event::MakeRoom => drop(self.evict(u32::MAX)),
            Event::Shrink => self.shrink(),
            Event::Drain { until, done } => self.drain(until, done),
        }
    }

    /// Chooses what to do next.
    pub(crate) fn step(&mut self) -> Step {
        if !std::mem::take(&mut self.now_is_fresh) {
            self.now = clock::now();
        }
        self.schedule.pass(self.now, false);
        self.fire_wakes();
        self.wake_some();
        self.page_out();
        self.pass_legacies();
        self.release_held();
        self.flush();
        let wait = loop {
            match self.schedule.choose() {
                Next::Run(slot) => {
                    if let Some(job) = self.begin(slot) {
                        return Step::Run(job);
                    }
                }
                Next::Wait(until) => break Some(until),
                Next::Nobody => break None,
            }
        };
        let is_released = self.release_held() | self.look_up_some();
        self.flush();
        self.finish_drain();
        if is_released || self.next_alarm() <= self.now.millis() {
            return Step::Again;
        }
        if wait.is_none() && !self.schedule.is_empty() {
            return Step::Again;
        }
        let until = self.idle_until();
        Step::Idle(wait.map_or(until, |wait| wait.min(until)))
    }

    /// Hands over what the last call led to. Says until when there is nothing to do, or
    /// that there is something now.
    pub(crate) fn pause(&mut self) -> Option<Nanos> {
        self.release_held();
        self.flush();
        self.schedule.is_empty().then(|| self.idle_until())
    }

    /// Until when nothing has to be done of what this worker knows.
    fn idle_until(&self) -> Nanos {
        let until = self.next_alarm();
        let moving = self.movement.machines.deadline().unwrap_or(Millis::NEVER);
        let until = until.min(moving).min(self.routes_deadline());
        let until = until.min(self.spilled.deadline());
        let until = until
            .min(self.waiting_deadline())
            .min(self.tiers_deadline())
            .min(self.legacies_deadline());
        until.min(self.drain_deadline()).nanos()
    }

    /// Sees to slots whose time has come, the earliest first.
    fn fire_wakes(&mut self) {
        let now = self.now.millis();
        self.tick_due(now);
        self.wake_due(now);
        self.tick_routes(now);
        self.tick_moving(now);
        self.tick_waiting(now);
        self.see_to_stranded();
    }

    /// Lets time pass for one agent, which may go to sleep then.
    fn tick(&mut self, slot: u32) {
        self.pass_time(slot);
        self.end_if_stopped(slot);
        self.rest(slot);
    }

    /// Lets time pass for one agent.
    fn pass_time(&mut self, slot: u32) {
        let now = self.now.millis();
        let mut actions = std::mem::take(&mut self.actions);
        if let Some(awake) = self.awake_mut(slot)
            && awake.agent.next_wake() <= now
            && !awake.frozen
        {
            awake.agent.tick(now, &mut actions);
        }
        self.actions = actions;
        self.settle_gates(slot);
        self.perform(slot);
        self.queue(slot);
        self.arm(slot);
    }

    /// Sees that the slot is looked at when its agent has something to do.
    fn arm(&mut self, slot: u32) {
        let now = self.now.millis();
        let rests = self.spill_rests(slot);
        let Some(awake) = self.awake_mut(slot) else {
            return;
        };
        let idle_at = awake.last_active + awake.kind.policy.idle_after;
        let mut at = awake.agent.next_wake().min(idle_at.max(now + Millis(10)));
        if awake.backoff_until > now {
            at = at.min(awake.backoff_until);
        }
        if let Some(until) = rests {
            at = at.min(until);
        }
        if awake.frozen {
            at = idle_at.max(now + Millis(1_000));
        }
        let at = at.max(now + Millis(1));
        if at < awake.armed {
            awake.armed = at;
            self.look_at(slot, at);
        }
    }

    /// Puts the agent into the queue of those that have something to run.
    fn queue(&mut self, slot: u32) {
        let now = self.now.millis();
        if let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize)
            && !awake.queued
            && awake.runnable(now)
        {
            awake.queued = true;
            self.schedule.wake(slot, &mut awake.share, self.came);
        }
    }

    /// The same after a turn of the agent's, which may be asked again soon if it has
    /// nothing to run.
    fn queue_again(&mut self, slot: u32) {
        let now = self.now.millis();
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        if awake.queued {
            return;
        }
        if awake.runnable(now) {
            awake.queued = true;
            self.schedule.go_on(slot, &awake.share);
        } else if awake.agent.pending() == 0 && awake.agent.open_asks() == 0 {
            self.schedule.rest(slot, &mut awake.share);
        }
    }

    fn awake_mut(&mut self, slot: u32) -> Option<&mut Awake> {
        match self.slots.get_mut(slot as usize) {
            Some(Slot::Awake(awake)) => Some(awake),
            _ => None,
        }
    }

    fn awake(&self, slot: u32) -> Option<&Awake> {
        match self.slots.get(slot as usize) {
            Some(Slot::Awake(awake)) => Some(awake),
            _ => None,
        }
    }

    /// Hands over what this step put together for others.
    fn flush(&mut self) {
        self.outgoing.flush(&self.shared);
    }
}
