//! A pipeline as bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::machine::{At, Machine, Message, State};
use super::{MAX_DEAD, MAX_DEAD_BYTES, MAX_HELD, MAX_IN_FLIGHT, MAX_MESSAGE};
use crate::AgentId;
use crate::patterns::saved;

impl Machine {
    pub(super) fn save_to(&self, out: &mut Vec<u8>) {
        saved::write(&self.state, out);
    }

    pub(super) fn load(bytes: &[u8]) -> Result<Self, String> {
        let state: State = saved::read(bytes)?;
        let plan = match &state.declared {
            None => None,
            Some(declared) => {
                let plan = declared.plan().map_err(|bad| bad.to_string())?;
                Some(Arc::new(plan))
            }
        };
        let mut machine = Self {
            state,
            plan,
            ..Self::default()
        };
        machine.check()?;
        let messages = machine.state.messages.iter();
        machine.held = messages.map(|message| message.data.len() as u64).sum();
        Ok(machine)
    }

    /// Whether a pipeline can stand so.
    fn check(&self) -> Result<(), String> {
        let state = &self.state;
        let messages = &state.messages;
        if messages.len() > MAX_IN_FLIGHT as usize {
            return Err(format!(
                "{} messages, {MAX_IN_FLIGHT} at most",
                messages.len()
            ));
        }
        let mut asks = BTreeSet::new();
        let (mut last, mut held) = (0, 0);
        for message in messages {
            self.check_message(message)?;
            if message.number <= last || message.number > state.counts.taken {
                return Err(format!("message {} is out of order", message.number));
            }
            last = message.number;
            held += message.data.len() as u64;
            if let At::Asked { ask, .. } = message.at
                && (ask >= state.next_ask || !asks.insert(ask))
            {
                return Err(format!(
                    "ask {ask} is not one of its asks, or is there twice"
                ));
            }
        }
        // What was declared before may have allowed as much again.
        if held > 2 * MAX_HELD {
            return Err(format!("{held} bytes of messages"));
        }
        let dead: usize = state.dead.iter().map(|dead| dead.data.len()).sum();
        if state.dead.len() > MAX_DEAD || dead > MAX_DEAD_BYTES {
            return Err(format!("{} dead letters of {dead} bytes", state.dead.len()));
        }
        Ok(())
    }

    fn check_message(&self, message: &Message) -> Result<(), String> {
        let number = message.number;
        let Some(plan) = &self.plan else {
            return Err(format!("message {number}, and no stages"));
        };
        if message.data.len() > MAX_MESSAGE as usize {
            return Err(format!("message {number} has {} bytes", message.data.len()));
        }
        if message.done & !plan.all() != 0 {
            return Err(format!("message {number} has been through no such stage"));
        }
        let stage = message.at.stage();
        if stage.is_some_and(|stage| usize::from(stage) >= plan.stages.len()) {
            return Err(format!("message {number} is at no such stage"));
        }
        match &message.at {
            At::Asked { agent, .. } => AgentId::check(agent).map_err(|bad| bad.to_string()),
            _ => Ok(()),
        }
    }
}
