//! The simulated cluster: a queue of events in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use phoenix_cluster::migration::{SourceEvent, SourcePlan, TargetEvent};
use phoenix_cluster::{Origin, Whereabouts};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{AgentId, Digest, Epoch, MigrationId, Millis, NodeId};

use crate::directory::Directory;
use crate::node::{Copy, Memory, Node};
use crate::rng::Rng;
use crate::{NODES, invariants};

pub(crate) const DIRECTORY: NodeId = NodeId(1);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Crash(NodeId),
    CrashBoth(NodeId, NodeId),
    Cut(NodeId, NodeId),
    Isolate(NodeId),
    /// An operator declares the node dead; without [`Plan::lies`] only if it is.
    Declare(NodeId),
    /// The event of this step, if it is a message, does not happen.
    Lose,
    /// It happens twice.
    Repeat,
    /// It happens later, after others.
    Delay,
}

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) source: NodeId,
    pub(crate) target: NodeId,
    /// At which step, what, and after how many milliseconds it is mended.
    pub(crate) faults: Vec<(usize, Fault, u64)>,
    /// Random faults and migrations until this time.
    pub(crate) wild_until: u64,
    /// Of a hundred messages so many are lost, and so many come twice.
    pub(crate) loss: u64,
    /// One in so many random doings is a crash, and one a cut.
    pub(crate) calmness: u64,
    /// Nodes ask for the agent's place although it is on its way to them, as whoever
    /// gets a message for it does.
    pub(crate) careless: bool,
    /// Late messages may reach a later life of their receiver.
    pub(crate) across_lives: bool,
    /// Nodes are declared dead that are only cut off.
    pub(crate) lies: bool,
    /// The agent is durable: nodes that start anew have their copies again.
    pub(crate) durable: bool,
}

impl Plan {
    pub(crate) fn calm(seed: u64, source: NodeId, target: NodeId) -> Self {
        Self {
            seed,
            source,
            target,
            faults: Vec::new(),
            wild_until: 0,
            loss: 0,
            calmness: 0,
            across_lives: false,
            lies: false,
            careless: false,
            durable: false,
        }
    }

    pub(crate) fn random(seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let source = rng.pick(&NODES);
        let target = rng.pick(&NODES);
        let mut plan = Self::calm(seed, source, target);
        plan.wild_until = 5_000 + rng.below(60_000);
        plan.loss = rng.pick(&[0, 0, 2, 10, 30]);
        plan.calmness = rng.pick(&[8, 15, 40, 100]);
        plan
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Message(NodeId, NodeId, MigrationMessage),
    Ask(NodeId, Asker, DirectoryCommand),
    Answer(NodeId, Asker, DirectoryAnswer),
    /// The directory tells a target that it has the agent.
    Moved(NodeId, MigrationId, Epoch),
    Synced(usize),
    /// Work of a node's own, done.
    Source(NodeId, MigrationId, SourceEvent),
    Target(NodeId, MigrationId, TargetEvent),
    Connected(NodeId, NodeId),
    Disconnected(NodeId, NodeId),
    /// Somebody on that node sends the agent something.
    Work(NodeId),
    /// That came to the first node, sent from the second.
    Pass(NodeId, NodeId),
    /// A node that was sent something hears that the agent is elsewhere.
    Hint(NodeId, Ownership),
    Begin(NodeId, NodeId),
    /// The node looks after the copy that its journal has.
    Recall(NodeId),
    /// That the log of a copy ended is durable.
    Ended(NodeId),
    Restart(NodeId),
    Mend(NodeId, NodeId),
    Chaos,
}

/// Who waits for the directory's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Migration(MigrationId, u32),
    Place,
    /// Whether it has the last copy of that attempt.
    Claim(MigrationId),
}

/// What the directory is about to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    to: NodeId,
    asker: Asker,
    answer: DirectoryAnswer,
    /// The target of a move that won, which is told as well.
    tell: Option<(NodeId, MigrationId, Epoch)>,
}

/// How migrations ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) moved: u64,
    pub(crate) stayed: u64,
    pub(crate) gone: u64,
    pub(crate) claimed: u64,
    pub(crate) reclaimed: u64,
    /// Agents that went on elsewhere than on a node that was declared dead.
    pub(crate) reassigned: u64,
    /// Copies that a node had again from its journal.
    pub(crate) restored: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.moved += other.moved;
        self.stayed += other.stayed;
        self.gone += other.gone;
        self.claimed += other.claimed;
        self.reclaimed += other.reclaimed;
        self.reassigned += other.reassigned;
        self.restored += other.restored;
    }
}

/// An event under way: from and to which life of whom.
type Ticket = (Event, Option<(NodeId, u64)>, Option<(NodeId, u64)>);

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) agent: AgentId,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) directory: Directory,
    pub(crate) lives: u64,
    pub(crate) latest: Memory,
    /// The generation each life began under.
    pub(crate) began: BTreeMap<u64, u64>,
    /// The agent was given away from a dead node, and has not begun anew.
    pub(crate) is_lost: bool,
    pub(crate) owner_crashed: bool,
    /// A node with a staged copy crashed since the agent last ran.
    pub(crate) staged_lost: bool,
    pub(crate) epochs: BTreeMap<Epoch, BTreeSet<(NodeId, u64)>>,
    pub(crate) activations: BTreeSet<MigrationId>,
    /// Nodes of which a message had its turn, of late.
    pub(crate) heard_from: BTreeSet<NodeId>,
    pub(crate) steps: usize,
    pub(crate) tally: Tally,
    now: u64,
    pub(crate) rng: Rng,
    queue: BTreeMap<(u64, u64), Ticket>,
    queued: u64,
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Answers that wait for the log to be synced so far.
    pub(crate) unsynced: Vec<(usize, Reply)>,
    migrations: u128,
    trace: Vec<String>,
    pub(crate) broken: Option<String>,
    ended: bool,
    arrivals: BTreeMap<(NodeId, NodeId), u64>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut world = Self {
            agent: AgentId::new("counter/a").unwrap(),
            nodes: NODES.iter().map(|id| (*id, Node::new(*id, 1))).collect(),
            directory: Directory::new(),
            lives: 0,
            latest: Memory { life: 0, turns: 0 },
            began: BTreeMap::new(),
            is_lost: false,
            owner_crashed: false,
            staged_lost: false,
            epochs: BTreeMap::new(),
            activations: BTreeSet::new(),
            heard_from: BTreeSet::new(),
            steps: 0,
            tally: Tally::default(),
            now: 1_000,
            rng: Rng::new(plan.seed),
            queue: BTreeMap::new(),
            queued: 0,
            cut: BTreeSet::new(),
            unsynced: Vec::new(),
            migrations: 0,
            trace: Vec::new(),
            broken: None,
            ended: false,
            arrivals: BTreeMap::new(),
            plan,
        };
        for node in NODES {
            world.directory.node_up(node, 1);
        }
        for a in NODES {
            for b in NODES.into_iter().filter(|b| *b != a) {
                let steps = world.table(a).connected(Millis(1_000), b, 1);
                assert!(steps.is_empty());
            }
        }
        world
    }

    /// Runs the plan, then lets everything come to rest.
    pub(crate) fn run(&mut self) {
        let (source, target) = (self.plan.source, self.plan.target);
        self.later(0, Event::Work(source));
        self.later(100, Event::Begin(source, target));
        self.later(120, Event::Work(target));
        if self.plan.wild_until > 0 {
            self.later(50, Event::Chaos);
        }
        let calm_at = self.now + self.plan.wild_until;
        let give_up = calm_at + 900_000;
        while let Some(at) = self.next_time() {
            if at > give_up {
                break;
            }
            self.now = at;
            self.step();
            if let Some(why) = self.broken.take() {
                self.fail(&why);
            }
            self.hold(invariants::check);
        }
        if self.plan.across_lives {
            return;
        }
        self.hold(invariants::everything_ends);
        self.ended = true;
        self.heard_from.clear();
        for node in NODES {
            for again in 0..20 {
                self.later(1 + 700 * again, Event::Work(node));
            }
        }
        let give_up = self.now + 60_000;
        while let Some(at) = self.next_time() {
            if at > give_up {
                self.fail("messages go round and round");
            }
            self.now = at;
            self.step();
            self.hold(invariants::check);
        }
        self.hold(invariants::the_owner_runs_it);
        self.hold(invariants::everybody_is_heard);
    }

    /// Where the agent runs.
    pub(crate) fn runner(&self) -> Option<NodeId> {
        let mut all = self.nodes.iter();
        all.find(|(_, n)| n.running().is_some()).map(|(id, _)| *id)
    }

    fn hold(&self, invariant: fn(&World) -> Result<(), String>) {
        if let Err(why) = invariant(self) {
            self.fail(&why);
        }
    }

    fn fail(&self, why: &str) -> ! {
        let from = self.trace.len().saturating_sub(120);
        panic!(
            "{why}\nagain: World::new({:?}).run()\n{}",
            self.plan,
            self.trace[from..].join("\n")
        );
    }

    fn next_time(&self) -> Option<u64> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let ticks = self.nodes.values().filter(|node| node.alive);
        let tick = ticks.filter_map(|node| node.table.deadline()).min();
        let tick = tick.map(|at| at.0.max(self.now));
        [queued, tick].into_iter().flatten().min()
    }

    pub(crate) fn wild(&self) -> bool {
        self.now < self.plan.wild_until + 1_000 && self.plan.wild_until > 0
    }

    fn step(&mut self) {
        let now = Millis(self.now);
        for id in NODES {
            if self.nodes[&id].alive && self.table(id).deadline().is_some_and(|at| at <= now) {
                let steps = self.table(id).tick(now);
                self.perform(id, steps);
            }
        }
        let Some((key, _)) = self.queue.first_key_value() else {
            return;
        };
        if key.0 > self.now {
            return;
        }
        let key = *key;
        let Some(ticket) = self.queue.remove(&key) else {
            return;
        };
        let step = self.steps;
        if self.ended {
            return self.deliver(ticket);
        }
        self.steps += 1;
        let planned: Vec<(Fault, u64)> = self
            .plan
            .faults
            .iter()
            .filter(|(at, _, _)| *at == step)
            .map(|(_, fault, back)| (*fault, *back))
            .collect();
        let mut happens = true;
        for (fault, back) in planned {
            happens &= self.fault(fault, back, &ticket);
        }
        if happens {
            self.deliver(ticket);
        }
    }

    /// Whether the event at hand still happens.
    fn fault(&mut self, fault: Fault, back: u64, ticket: &Ticket) -> bool {
        let message = matches!(
            ticket.0,
            Event::Message(..)
                | Event::Ask(..)
                | Event::Answer(..)
                | Event::Moved(..)
                | Event::Pass(..)
                | Event::Hint(..)
        );
        self.note(format!("fault {fault:?} for {back} ms"));
        match fault {
            Fault::Crash(node) => self.crash(node, back),
            Fault::CrashBoth(a, b) => {
                self.crash(a, back);
                self.crash(b, back);
            }
            Fault::Cut(a, b) => self.cut(a, b, back),
            Fault::Isolate(node) => {
                for other in NODES {
                    self.cut(node, other, back);
                }
            }
            Fault::Declare(node) => self.declare(node),
            Fault::Lose => return !message,
            Fault::Repeat if message => {
                self.put(40, ticket.clone());
                self.put(9_000, ticket.clone());
            }
            Fault::Delay if message => {
                self.put(back, ticket.clone());
                return false;
            }
            Fault::Repeat | Fault::Delay => {}
        }
        true
    }

    fn deliver(&mut self, (event, from, to): Ticket) {
        if !self.plan.across_lives {
            // A connection ends with the node it leads to, and with the sight of
            // the sender's next life. What the sender sent before it died may
            // arrive until then; the directory knows such commands by their origin.
            if let Some((node, boot)) = to {
                let seen = from.map(|(from, at)| (self.nodes[&node].seen.get(&from), at));
                let stale = seen.is_some_and(|(seen, at)| seen.is_some_and(|seen| *seen > at));
                if self.nodes[&node].boot != boot || (stale && !matches!(event, Event::Ask(..))) {
                    return;
                }
            }
        }
        if let Some((node, _)) = to
            && !self.nodes[&node].alive
        {
            return;
        }
        let now = Millis(self.now);
        self.note(format!("{event:?}"));
        match event {
            Event::Message(from, to, message) => {
                let steps = self.table(to).received(now, from, message);
                self.perform(to, steps);
            }
            Event::Moved(to, id, epoch) => {
                let steps = self.table(to).moved_here(now, id, epoch);
                self.perform(to, steps);
            }
            Event::Ask(node, asker, command) => {
                let boot = from.map_or(0, |(_, boot)| boot);
                self.ask(Origin { node, boot }, asker, &command);
            }
            Event::Answer(node, asker, answer) => self.answered(node, asker, answer),
            Event::Synced(through) => self.synced(through),
            Event::Source(node, id, event) => {
                let event = match event {
                    SourceEvent::Still => self.stand_still(node, id),
                    SourceEvent::Frozen(_) => self.read(node, id),
                    event => event,
                };
                let steps = self.table(node).source(now, id, event);
                self.perform(node, steps);
            }
            Event::Target(node, id, event) => {
                if event == TargetEvent::StageOk {
                    self.journal_has(node, id);
                }
                let steps = self.table(node).target(now, id, event);
                self.perform(node, steps);
            }
            Event::Connected(node, peer) => {
                if self.cut.contains(&pair(node, peer)) || !self.nodes[&peer].alive {
                    return;
                }
                let boot = self.nodes[&peer].boot;
                if node == DIRECTORY && !self.directory.node_up(peer, boot) {
                    return self.told_that_it_is_dead(peer);
                }
                self.node(node).seen.insert(peer, boot);
                let steps = self.table(node).connected(now, peer, boot);
                self.perform(node, steps);
            }
            Event::Disconnected(node, peer) => {
                if node == DIRECTORY {
                    self.directory.state.node_down(peer);
                }
                let steps = self.table(node).disconnected(now, peer);
                self.perform(node, steps);
            }
            Event::Work(node) => self.work(node, None),
            Event::Pass(node, origin) => self.work(node, Some(origin)),
            Event::Hint(node, there) => {
                let known = self.nodes[&node].route;
                if known.is_some_and(|known| known.generation < there.epoch.generation) {
                    self.hear(node, there);
                }
            }
            Event::Begin(node, target) => self.begin(node, target),
            Event::Recall(node) => self.recall(node),
            Event::Ended(node) => self.node(node).ending = None,
            Event::Restart(node) => self.restart(node),
            Event::Mend(a, b) => {
                if self.cut.remove(&pair(a, b)) {
                    self.connect(a, b);
                }
            }
            Event::Chaos => self.chaos(),
        }
    }

    fn chaos(&mut self) {
        if !self.wild() {
            return;
        }
        let again = 20 + self.rng.below(1_500);
        self.later(again, Event::Chaos);
        let (a, b) = (self.rng.pick(&NODES), self.rng.pick(&NODES));
        let back = self.rng.pick(&[30, 300, 3_000, 7_000, 20_000]);
        match self.rng.below(self.plan.calmness) {
            0 => self.crash(a, back),
            1 => self.cut(a, b, back),
            2..=5 => {
                if let Some(runner) = self.runner() {
                    self.later(0, Event::Begin(runner, b));
                }
            }
            6 => {
                let cancel = SourceEvent::Cancel("the operator".to_owned());
                let (id, now) = (MigrationId(self.migrations), Millis(self.now));
                if self.nodes[&a].alive {
                    let steps = self.table(a).source(now, id, cancel);
                    self.perform(a, steps);
                }
            }
            7 => self.declare(a),
            _ => self.later(0, Event::Work(a)),
        }
    }

    fn ask(&mut self, origin: Origin, asker: Asker, command: &DirectoryCommand) {
        if self.wild() && self.rng.chance(self.plan.loss / 2) {
            return self.reply(Reply {
                to: origin.node,
                asker,
                answer: DirectoryAnswer::InDoubt("busy".to_owned()),
                tell: None,
            });
        }
        let (answer, needs) = self.directory.ask(origin, command);
        let reassigned = self.directory.reassigned();
        self.tally.reassigned += u64::from(reassigned);
        self.is_lost |= reassigned;
        let mut tell = None;
        match (command, &answer) {
            (DirectoryCommand::Claim { .. }, DirectoryAnswer::Owned(_)) => self.tally.claimed += 1,
            (DirectoryCommand::Reclaim { .. }, DirectoryAnswer::Owned(_)) => {
                self.tally.reclaimed += 1;
            }
            (DirectoryCommand::Move { migration, .. }, DirectoryAnswer::Owned(now)) => {
                tell = Some((now.owner, *migration, now.epoch));
            }
            _ => {}
        }
        let reply = Reply {
            to: origin.node,
            asker,
            answer,
            tell,
        };
        if needs <= self.directory.synced {
            return self.reply(reply);
        }
        self.unsynced.push((needs, reply));
        let delay = 1 + self.rng.below(8);
        self.own(DIRECTORY, delay, Event::Synced(needs));
    }

    fn synced(&mut self, through: usize) {
        self.directory.sync(through);
        for (needs, reply) in std::mem::take(&mut self.unsynced) {
            if needs <= self.directory.synced {
                self.reply(reply);
            } else {
                self.unsynced.push((needs, reply));
            }
        }
    }

    fn reply(&mut self, reply: Reply) {
        if let Some((target, id, epoch)) = reply.tell {
            self.transmit(DIRECTORY, target, Event::Moved(target, id, epoch));
        }
        let event = Event::Answer(reply.to, reply.asker, reply.answer);
        self.transmit(DIRECTORY, reply.to, event);
    }

    pub(crate) fn answered(&mut self, node: NodeId, asker: Asker, answer: DirectoryAnswer) {
        let now = Millis(self.now);
        match asker {
            Asker::Migration(id, request) => {
                let steps = self.table(node).answered(now, id, request, answer);
                self.perform(node, steps);
            }
            Asker::Place | Asker::Claim(_) => {
                if self.nodes[&node].is_stored() {
                    return self.recalled(node, asker, &answer);
                }
                if let DirectoryAnswer::Unclaimed(id) = answer {
                    match self.table(node).forgo(now, id) {
                        Err(steps) => self.perform(node, steps),
                        Ok(steps) => {
                            self.perform(node, steps);
                            self.claim(node, id);
                        }
                    }
                    return;
                }
                let held = std::mem::take(&mut self.node(node).held);
                let DirectoryAnswer::Owned(owner) = answer else {
                    return;
                };
                if owner.owner != node {
                    self.hear(node, owner);
                    for sender in held {
                        self.transmit(node, owner.owner, Event::Pass(owner.owner, sender));
                    }
                    return;
                }
                let life = self.lives + 1;
                let agent = self.agent.clone();
                let it = self.node(node);
                // Nor may it be the answer to an earlier life's question.
                let stale = owner.epoch.generation < it.generation || owner.epoch.term != it.boot;
                let waits = it.table.is_coming(&agent);
                if stale || owner.owner != node || it.copy.is_some() || waits {
                    return;
                }
                it.generation = owner.epoch.generation;
                let memory = Memory { life, turns: 0 };
                it.copy = Some(Copy {
                    memory,
                    epoch: owner.epoch,
                    frozen: None,
                });
                let lost = match self.plan.durable {
                    true => self.is_lost,
                    false => self.owner_crashed,
                };
                let excused = lost || self.plan.across_lives || self.plan.lies;
                if self.lives > 0 && !excused {
                    self.broken = Some(format!("{node} begins a new life beside the old one"));
                }
                self.lives = life;
                self.latest = memory;
                self.began.insert(life, owner.epoch.generation);
                self.is_lost = false;
                self.commit(node, memory);
                self.runs(node);
            }
        }
    }

    /// A message for the agent: a turn if it runs here; otherwise it goes where the
    /// agent is.
    fn work(&mut self, node: NodeId, origin: Option<NodeId>) {
        if !self.nodes[&node].alive {
            return;
        }
        let (now, careless) = (Millis(self.now), self.plan.careless);
        let sender = origin.unwrap_or(node);
        let it = self.node(node);
        if let Some(copy) = &mut it.copy {
            if copy.frozen.is_none() {
                copy.memory.turns += 1;
                let memory = copy.memory;
                self.latest = memory;
                self.heard_from.insert(sender);
                self.commit(node, memory);
            }
            return;
        }
        if it.is_stored() {
            it.held.push(sender);
            self.ask_place(node);
            return;
        }
        if !it.activated.is_empty() || !(it.staged.is_empty() || careless) {
            return;
        }
        let route = it.route;
        let is_dead = |node| {
            let mut nodes = self.directory.state.nodes();
            nodes.any(|(id, entry)| id == node && entry.dead)
        };
        match route {
            Some(there) if there.leads_on(node, origin, now) && !is_dead(there.node) => {
                if sender != node {
                    let owner = there.node;
                    let generation = there.generation;
                    let epoch = Epoch {
                        generation,
                        term: 0,
                    };
                    let hint = Event::Hint(
                        sender,
                        Ownership {
                            owner,
                            epoch,
                            life: 0,
                        },
                    );
                    self.transmit(node, sender, hint);
                }
                self.transmit(node, there.node, Event::Pass(there.node, sender));
            }
            _ => {
                let it = self.node(node);
                it.route = None;
                it.held.push(sender);
                self.ask_place(node);
            }
        }
    }

    /// From now on messages for the agent go there.
    pub(crate) fn hear(&mut self, node: NodeId, there: Ownership) {
        let heard = Millis(self.now);
        if there.owner != node {
            self.node(node).route = Some(Whereabouts {
                node: there.owner,
                generation: there.epoch.generation,
                heard,
            });
        }
    }

    fn begin(&mut self, node: NodeId, target: NodeId) {
        let Some(copy) = self.nodes[&node].running() else {
            return;
        };
        self.migrations += 1;
        let plan = SourcePlan {
            migration: MigrationId(self.migrations),
            agent: self.agent.clone(),
            component: Digest([1; 32]),
            source: node,
            target,
            generation: copy.epoch.generation,
            durable: self.plan.durable,
        };
        let now = Millis(self.now);
        if let Ok(steps) = self.table(node).begin(now, plan) {
            self.perform(node, steps);
        }
    }

    fn stand_still(&mut self, node: NodeId, id: MigrationId) -> SourceEvent {
        let Some(copy) = &mut self.node(node).copy else {
            return SourceEvent::FreezeFailed("it is gone".to_owned());
        };
        copy.frozen = Some(id);
        let delay = self.rng.below(20);
        let frozen = SourceEvent::Frozen(Bytes::new());
        self.own(node, delay, Event::Source(node, id, frozen));
        SourceEvent::Still
    }

    /// All of the copy that stands still, unless it cannot be read.
    fn read(&mut self, node: NodeId, id: MigrationId) -> SourceEvent {
        let fails = self.wild() && self.rng.chance(3);
        match self.nodes[&node].copy {
            Some(copy) if copy.frozen == Some(id) && !fails => {
                SourceEvent::Frozen(copy.memory.image())
            }
            _ => SourceEvent::FreezeFailed("it cannot be read".to_owned()),
        }
    }

    /// The node's copy runs from now on.
    pub(crate) fn runs(&mut self, node: NodeId) {
        self.owner_crashed = false;
        self.staged_lost = false;
        let it = &self.nodes[&node];
        if let Some(copy) = it.running() {
            let runner = (node, it.boot);
            self.epochs.entry(copy.epoch).or_default().insert(runner);
        }
    }

    /// Sends something from node to node.
    pub(crate) fn transmit(&mut self, from: NodeId, to: NodeId, event: Event) {
        let ticket = |world: &Self| {
            let life = |node: NodeId| Some((node, world.nodes[&node].boot));
            (event.clone(), life(from), life(to))
        };
        if from == to {
            let ticket = ticket(self);
            return self.put(0, ticket);
        }
        if self.cut.contains(&pair(from, to)) || !self.nodes[&to].alive {
            return;
        }
        let (wild, loss) = (self.wild(), self.plan.loss);
        if wild && self.rng.chance(loss) {
            return;
        }
        let ticket = ticket(self);
        // In order between two nodes, but for what comes late or twice.
        let delay = 1 + self.rng.below(if wild { 30 } else { 3 });
        let arrival = self.arrivals.entry((from, to)).or_default();
        *arrival = (*arrival).max(self.now + delay);
        let delay = *arrival - self.now;
        if wild && self.rng.chance(loss) {
            let late = self.rng.pick(&[10, 100, 2_000, 10_000, 40_000]);
            self.put(late, ticket.clone());
        }
        let delay = if wild && self.rng.chance(loss / 2) {
            delay + self.rng.below(15_000)
        } else {
            delay
        };
        self.put(delay, ticket);
    }

    /// Something that happens at a node, unless it crashes before.
    pub(crate) fn own(&mut self, node: NodeId, delay: u64, event: Event) {
        let life = Some((node, self.nodes[&node].boot));
        self.put(delay, (event, None, life));
    }

    pub(crate) fn later(&mut self, delay: u64, event: Event) {
        self.put(delay, (event, None, None));
    }

    fn put(&mut self, delay: u64, ticket: Ticket) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), ticket);
    }

    pub(crate) fn note(&mut self, what: String) {
        if self.trace.len() > 400 {
            self.trace.drain(..200);
        }
        let line = format!("{:>7} {what}", self.now);
        self.trace.push(line);
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    fn table(&mut self, id: NodeId) -> &mut phoenix_cluster::Migrations {
        &mut self.node(id).table
    }
}

pub(crate) fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}
