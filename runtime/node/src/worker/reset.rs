//! Agents that begin anew, because an operator wants it.

use std::sync::Arc;

use phoenix_core::control::{ControlError, Done, Response};
use phoenix_core::{
    AgentId, Body, DeadReason, Envelope, Epoch, Lane, Level, Payload, Sender, StreamKey,
};

use crate::control::{SPAWN_WITHIN, may_not_wait};
use crate::counters::count;
use crate::kinds::Known;
use crate::worker::Worker;
use crate::worker::slot::{Reset, Slot};

/// What to do about an agent that need not be reset.
const FORCE: &str = "with force it is reset all the same, and its state is gone";

impl Worker {
    /// Lets an agent begin anew as soon as what it sent has its verdicts. Until
    /// then it takes no messages.
    pub(super) fn reset(
        &mut self,
        slot: u32,
        agent: &AgentId,
        config: Payload,
        force: bool,
        done: Done,
    ) {
        if force && matches!(self.slots.get(slot as usize), Some(Slot::Asleep(_))) {
            self.wake(slot);
        }
        let may = self.may_reset(slot, agent, force);
        match may.and_then(|()| self.may_note(slot)) {
            Ok(()) => {
                if let Some(awake) = self.awake_mut(slot) {
                    awake.agent.stop("by a reset");
                    awake.reset = Some(Reset { config, done });
                }
                self.end_if_stopped(slot);
                self.arm(slot);
            }
            Err(refused) => done(Err(refused)),
        }
    }

    fn may_reset(&self, slot: u32, id: &AgentId, force: bool) -> Result<(), ControlError> {
        let conflict = |text: String| Err(ControlError::Conflict(text));
        let Some(awake) = self.awake(slot) else {
            return conflict(format!("{id} is asleep, not quarantined: {FORCE}"));
        };
        if awake.reset.is_some() {
            return conflict(format!("{id} is being reset already"));
        }
        if awake.moving.is_some() || awake.frozen {
            return conflict(format!("{id} is moving: reset it when it has arrived"));
        }
        if awake.agent.stopped().is_some() {
            return conflict(format!(
                "{id} is stopping: its next message begins a new life"
            ));
        }
        if awake.quarantined.is_none() && !force {
            return conflict(format!("{id} is not quarantined: {FORCE}"));
        }
        Ok(())
    }

    /// Begins the new life of an agent that waits for it, and answers when its
    /// `init` has run.
    pub(super) fn renew(&mut self, slot: u32) {
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Some(Reset { config, done }) = awake.reset.take() else {
            return;
        };
        let id = awake.agent.id().clone();
        let generation = awake.generation;
        let incarnation = self.shared.incarnation(Epoch {
            generation,
            term: self.shared.boot,
        });
        let before = self.actions.dead.len();
        self.abandon_spilled(slot, &DeadReason::Reset);
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        awake.agent.renew(incarnation, config, &mut self.actions);
        let dead_letters = (self.actions.dead.len() - before) as u64;
        let kind = match self.shared.kinds.get(id.kind()) {
            Known::Ready(kind) => kind,
            Known::Coming | Known::Unknown => awake.kind.clone(),
        };
        self.tenants += 1;
        awake.begin_anew(self.tenants, kind, self.now.millis());
        self.renew_log(slot);
        self.perform(slot);
        let text = format!("reset: begins anew, and {dead_letters} messages are dead letters");
        self.shared.log(Some(&id), Level::Warn, &text);
        count(&self.shared.counters.resets);
        let node = self.shared.node;
        let begun = move |spawned| {
            done(match spawned {
                Ok(_) => Ok(Response::Reset {
                    node,
                    incarnation,
                    dead_letters,
                }),
                Err(error) => Err(error),
            });
        };
        let deadline = self.now.millis() + SPAWN_WITHIN;
        match self.shared.clients.spawn(deadline, Box::new(begun)) {
            Ok(ask) => {
                let spawn = Envelope {
                    stream: StreamKey::shared(Sender::System, id, Lane::Normal),
                    sequence: None,
                    body: Body::Spawn {
                        config: Payload::default(),
                        ask: Some(self.shared.client_ask(ask, deadline)),
                    },
                    extras: None,
                };
                self.offer(slot, std::iter::once(Arc::new(spawn)));
            }
            Err(refused) => may_not_wait(refused),
        }
        self.queue(slot);
        self.arm(slot);
    }
}
