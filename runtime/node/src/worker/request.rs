//! Operators' requests about agents of this worker.

use bytes::Bytes;
use phoenix_core::control::{
    AgentDetail, AgentInfo, AgentStatus, ControlError, Done, Request, Response,
};
use phoenix_core::directory::DirectoryCommand;
use phoenix_core::journal::Journal;
use phoenix_core::{AgentId, KindName, NodeId, snapshot};
use phoenix_store::disk_arena::{Reading, ReadingError};

use crate::clock;
use crate::kinds::Known;
use crate::worker::restore::{Unrestored, read_back};
use crate::worker::slot::{Asleep, Owned, Slot, Stored, Tier};
use crate::worker::{Event, Worker};

impl Worker {
    /// Carries out a request about one agent, or passes it on to where the agent is.
    pub(super) fn request(&mut self, request: Request, from: Option<NodeId>, done: Done) {
        if let Request::Agents {
            kind, after, limit, ..
        } = &request
        {
            let list = self.list(kind.as_ref(), after.as_ref(), *limit as usize);
            done(Ok(Response::Agents(list)));
            return;
        }
        let Some(agent) = crate::control::agent_of(&request).cloned() else {
            let text = "the request is about no agent".to_owned();
            done(Err(ControlError::Internal(text)));
            return;
        };
        let Some(slot) = self.table.get(&agent).copied() else {
            if self.routes.is_placing(&agent) && self.is_stored(&agent) {
                self.ask_when_restored(agent, request, from, done);
            } else {
                self.pass_on(request, &agent, from, done);
            }
            return;
        };
        let is_far = matches!(
            self.slots.get(slot as usize),
            Some(
                Slot::Stored(_)
                    | Slot::Asleep(Asleep {
                        tier: Tier::Disk(_),
                        ..
                    })
            )
        );
        match request {
            Request::Inspect { .. } if is_far => self.inspect_far(slot, agent, done),
            Request::Inspect { .. } => {
                let detail = self.inspect(slot, &agent);
                done(detail.map(|detail| Response::Agent(Box::new(detail))));
            }
            request if is_far && !matches!(request, Request::Hibernate { .. }) => {
                self.hold_request(slot, (request, from, done));
            }
            Request::Migrate { to, .. } => self.migrate(slot, to, done),
            Request::Hibernate { .. } => self.hibernate_wanted(slot, done),
            Request::Stop { .. } => self.stop(slot, &agent, done),
            Request::Reset { config, force, .. } => self.reset(slot, &agent, config, force, done),
            _ => done(Err(ControlError::Internal(
                "not an agent's request".to_owned(),
            ))),
        }
    }

    /// Finds the node the agent is on: by what was heard last, or by the directory.
    fn pass_on(&mut self, request: Request, agent: &AgentId, from: Option<NodeId>, done: Done) {
        let directory = self.shared.directory.node();
        let here = self.shared.node;
        let known = self
            .routes
            .node_of(agent)
            .filter(|node| *node != here && !self.shared.is_over(*node));
        let next = if from.is_some() && directory != here {
            // Somebody thought it was here; whoever moved it knows better.
            known.filter(|node| Some(*node) != from)
        } else if directory == here {
            self.shared
                .directory
                .found_here(agent)
                .filter(|node| *node != here && !self.shared.is_over(*node))
        } else {
            known.or(Some(directory))
        };
        match next {
            Some(node) if Some(node) != from => self.shared.control_at(node, request, done),
            _ => done(Err(ControlError::NotFound(format!(
                "no agent {agent}: it has never been sent anything, or has ended"
            )))),
        }
    }

    /// The agents of this worker after `after`, in the order of their ids.
    fn list(
        &self,
        kind: Option<&KindName>,
        after: Option<&AgentId>,
        limit: usize,
    ) -> Vec<AgentInfo> {
        let mut ids: Vec<(&AgentId, u32)> = self
            .table
            .iter()
            .filter(|(id, _)| kind.is_none_or(|kind| kind.as_str() == id.kind()))
            .filter(|(id, _)| after.is_none_or(|after| *id > after))
            .map(|(id, slot)| (id, *slot))
            .collect();
        if ids.len() > limit {
            ids.select_nth_unstable(limit);
            ids.truncate(limit);
        }
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|(id, slot)| self.info(slot, id))
            .collect()
    }

    fn info(&self, slot: u32, agent: &AgentId) -> Option<AgentInfo> {
        let info = match self.slots.get(slot as usize)? {
            Slot::Awake(awake) => AgentInfo {
                agent: agent.clone(),
                node: self.shared.node,
                status: awake.status(self.now.millis()),
                turns: awake.agent.turns(),
                mailbox: awake.agent.waiting() as u64,
                bytes: awake.memory_bytes(),
                disk_bytes: awake
                    .durable
                    .as_ref()
                    .map_or(0, |_| self.bytes_stored(agent)),
            },
            Slot::Asleep(asleep) => {
                let bytes = self.length_of(asleep.tier);
                let (status, turns, bytes, on_disk) = match asleep.tier {
                    Tier::Memory(handle) => {
                        let turns = self.arena.get(handle).and_then(snapshot::peek_turns);
                        (AgentStatus::Hibernated, turns.unwrap_or(0), bytes, 0)
                    }
                    // Nothing is read for a list.
                    Tier::Disk(_) => (AgentStatus::Stored, 0, 0, bytes),
                };
                let is_durable = asleep.log.is_some();
                AgentInfo {
                    agent: agent.clone(),
                    node: self.shared.node,
                    status,
                    turns,
                    mailbox: 0,
                    bytes,
                    disk_bytes: if is_durable {
                        self.bytes_stored(agent)
                    } else {
                        on_disk
                    },
                }
            }
            Slot::Stored(_) => AgentInfo {
                agent: agent.clone(),
                node: self.shared.node,
                status: AgentStatus::Stored,
                turns: 0,
                mailbox: 0,
                bytes: 0,
                disk_bytes: self.bytes_stored(agent),
            },
        };
        Some(info)
    }

    /// Bytes that the journal needs for an agent.
    fn bytes_stored(&self, agent: &AgentId) -> u64 {
        let journal = self.durables.journal.as_ref();
        let standing = journal.and_then(|journal| journal.standing(agent));
        standing.map_or(0, |standing| standing.bytes)
    }

    /// Inspects an agent that is on disk, where it stays: a reader's thread reads it.
    fn inspect_far(&self, slot: u32, agent: AgentId, done: Done) {
        let gone = || ControlError::Internal(format!("{agent} cannot be read"));
        match self.slots.get(slot as usize) {
            Some(Slot::Stored(Stored { owned, .. })) => {
                let journal = self.durables.journal.clone();
                let (Some(journal), Some(info)) = (journal, self.info(slot, &agent)) else {
                    return done(Err(gone()));
                };
                let gates = match self.shared.kinds.get(agent.kind()) {
                    Known::Ready(kind) => self.shared.agent_flows(&agent, &kind.info.kind),
                    Known::Coming | Known::Unknown => Vec::new(),
                };
                let owned = *owned;
                self.shared.readers.submit(Box::new(move || {
                    let detail = look_into(&*journal, info, owned);
                    done(
                        detail.map(|detail| {
                            Response::Agent(Box::new(AgentDetail { gates, ..detail }))
                        }),
                    );
                }));
            }
            Some(Slot::Asleep(Asleep {
                tier: Tier::Disk(handle),
                ..
            })) => {
                let seat = self.shared.seats.get(self.index).cloned();
                let (Some(reading), Some(seat)) = (self.reading_of(*handle), seat) else {
                    return done(Err(gone()));
                };
                self.shared.readers.submit(Box::new(move || {
                    let read = reading.run();
                    seat.post(Event::Inspected {
                        slot,
                        agent,
                        read: (read, reading),
                        done,
                    });
                }));
            }
            _ => done(Err(gone())),
        }
    }

    /// An agent was read that is to be inspected. One that is not there any more is
    /// inspected where it is.
    pub(super) fn inspected(
        &mut self,
        slot: u32,
        agent: AgentId,
        (read, reading): (Result<Vec<u8>, ReadingError>, Reading),
        done: Done,
    ) {
        let Some(Slot::Asleep(asleep)) = self.slots.get(slot as usize) else {
            return self.request(Request::Inspect { agent }, None, done);
        };
        let present = match asleep.tier {
            Tier::Disk(handle) => self.reading_of(handle),
            Tier::Memory(_) => None,
        };
        if present.is_none_or(|it| !it.is_same(&reading)) {
            return self.request(Request::Inspect { agent }, None, done);
        }
        let failed = |why: String| ControlError::Internal(format!("{agent}: {why}"));
        let detail = read.map_err(|error| failed(error.to_string()));
        let detail = detail.and_then(|bytes| self.inspect_asleep(slot, &agent, &bytes.into()));
        done(detail.map(|detail| Response::Agent(Box::new(detail))));
    }

    /// A hibernated agent by its snapshot.
    fn inspect_asleep(
        &self,
        slot: u32,
        agent: &AgentId,
        bytes: &Bytes,
    ) -> Result<AgentDetail, ControlError> {
        let failed = |why: String| ControlError::Internal(format!("{agent}: {why}"));
        let Some(Slot::Asleep(asleep)) = self.slots.get(slot as usize) else {
            return Err(failed("it does not sleep".to_owned()));
        };
        let info = self.info(slot, agent);
        let info = info.ok_or_else(|| failed("it cannot be read".to_owned()))?;
        let snapshot = snapshot::decode(bytes).map_err(|error| failed(error.to_string()))?;
        let turns = snapshot.agent.turns();
        let info = AgentInfo { turns, ..info };
        Ok(AgentDetail {
            gates: self.shared.agent_flows(agent, &asleep.kind.info.kind),
            ..detail(info, &snapshot.agent, snapshot.component, asleep.generation)
        })
    }

    fn inspect(&self, slot: u32, agent: &AgentId) -> Result<AgentDetail, ControlError> {
        let gone = || ControlError::Internal(format!("{agent} cannot be read"));
        let info = self.info(slot, agent).ok_or_else(gone)?;
        match self.slots.get(slot as usize).ok_or_else(gone)? {
            Slot::Awake(awake) => {
                let counters = awake.agent.counters.list();
                Ok(AgentDetail {
                    gates: self.shared.agent_flows(agent, &awake.kind.info.kind),
                    traps: awake.traps,
                    last_trap: awake.last_trap.clone(),
                    unmovable: awake.why_unmovable(),
                    counters: counters
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                    ..detail(
                        info,
                        &awake.agent,
                        awake.kind.info.component,
                        awake.generation,
                    )
                })
            }
            Slot::Asleep(asleep) => {
                let bytes = self.snapshot_of(asleep.tier).map_err(|_| gone())?;
                self.inspect_asleep(slot, agent, &bytes)
            }
            Slot::Stored(_) => Err(gone()),
        }
    }

    fn hibernate_wanted(&mut self, slot: u32, done: Done) {
        match self.slots.get_mut(slot as usize) {
            Some(Slot::Asleep(asleep)) => {
                let tier = asleep.tier;
                let bytes = self.length_of(tier);
                done(Ok(Response::Hibernated { bytes }));
            }
            Some(Slot::Awake(awake)) => {
                if let Some(why) = awake.why_unmovable() {
                    let text = format!("{} cannot sleep: {why}", awake.agent.id());
                    done(Err(ControlError::Conflict(text)));
                    return;
                }
                awake.sleepers.push(done);
                self.rest(slot);
            }
            Some(Slot::Stored(stored)) => {
                let agent = stored.agent.clone();
                let bytes = self.bytes_stored(&agent);
                done(Ok(Response::Hibernated { bytes }));
            }
            None => done(Err(ControlError::Internal("the agent is gone".to_owned()))),
        }
    }

    fn stop(&mut self, slot: u32, agent: &AgentId, done: Done) {
        if matches!(self.slots.get(slot as usize), Some(Slot::Asleep(_))) {
            self.wake(slot);
        }
        let moving = self
            .awake(slot)
            .is_some_and(|awake| awake.moving.is_some() || awake.frozen);
        if moving {
            let text = format!("{agent} is moving: stop it when it has arrived");
            done(Err(ControlError::Conflict(text)));
            return;
        }
        if let Err(error) = self.may_note(slot) {
            done(Err(error));
            return;
        }
        if let Some(awake) = self.awake_mut(slot) {
            awake.agent.stop("by an operator");
            awake.agent.note_stop();
        }
        self.perform(slot);
        self.end_if_stopped(slot);
        self.answer_durably(agent, done);
    }

    /// Places an agent on a node of choice, unless it lives somewhere, and goes on.
    pub(super) fn place_on(
        &mut self,
        agent: AgentId,
        prefer: NodeId,
        then: Box<dyn FnOnce() + Send>,
    ) {
        if self.table.contains_key(&agent) || self.routes.node_of(&agent).is_some() {
            then();
            return;
        }
        let shared = self.shared.clone();
        let command = DirectoryCommand::Place {
            agent: agent.clone(),
            prefer: Some(prefer),
        };
        self.shared.directory.submit(
            &self.shared,
            command.clone(),
            Box::new(move |answer| {
                shared.post(&agent, Event::Directory { command, answer });
                then();
            }),
        );
    }
}

/// What the journal has of an agent, without having that again.
fn look_into(
    journal: &dyn Journal,
    info: AgentInfo,
    owned: Option<Owned>,
) -> Result<AgentDetail, ControlError> {
    let agent = &info.agent;
    let back = read_back(journal, agent).map_err(|why| match why {
        Unrestored::Later(why) => ControlError::Unavailable(format!("{agent}: {why}")),
        Unrestored::Never(why) => ControlError::Internal(format!("{agent}: {why}")),
    })?;
    let component = back.component.unwrap_or(phoenix_core::Digest([0; 32]));
    let found = back.recovery.resume(clock::now_ms());
    if found.stopped().is_some() && found.unacknowledged() == 0 {
        return Err(ControlError::NotFound(format!("{agent} has ended")));
    }
    let generation = owned.map_or(found.incarnation().generation, |it| it.generation);
    let turns = found.turns();
    let info = AgentInfo { turns, ..info };
    Ok(detail(info, &found, component, generation))
}

fn detail(
    info: AgentInfo,
    agent: &phoenix_core::agent::Agent,
    component: phoenix_core::Digest,
    generation: u64,
) -> AgentDetail {
    let (streams_in, streams_out) = agent.streams();
    AgentDetail {
        info,
        component,
        incarnation: agent.incarnation(),
        generation,
        pending: agent.pending().into(),
        open_asks: agent.open_asks() as u64,
        asks: agent.ask_infos(),
        requests: agent.request_infos(),
        mailbox: agent.mailbox_info(),
        outbox: agent.unacknowledged(),
        outbox_bytes: agent.unacknowledged_bytes(),
        outbox_held: agent.held_streams() as u64,
        timers: agent.timers() as u64,
        next_timers: agent.timer_infos(),
        streams_in: streams_in as u64,
        streams_out: streams_out as u64,
        traps: 0,
        last_trap: None,
        unmovable: None,
        gates: Vec::new(),
        counters: Vec::new(),
    }
}
