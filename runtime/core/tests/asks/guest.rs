//! What runs in an agent: handlers that ask, one after another or several at once.

use std::collections::{BTreeMap, BTreeSet};

use phoenix_wit::{AnswerWriter, Effect, Failure, Input, Outcome, Payload, Reply};

use crate::graph::{Graph, Key, Place};
use crate::world::{Random, name};

/// A handler that only one may be in.
pub(crate) const HOLD: &str = "hold";
/// A handler that may run while others wait.
pub(crate) const MIX: &str = "mix";

/// How a handler waits for what it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// For all answers.
    All,
    /// For the first of them.
    Any,
    /// For all, and says nothing of it.
    Silent,
}

#[derive(Debug)]
struct Task {
    is_request: bool,
    /// How many more times it asks.
    steps: u64,
    depth: u8,
    manner: Manner,
    waits: BTreeSet<u64>,
}

/// An agent's memory.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) own: usize,
    agents: usize,
    interleaves: bool,
    deadline_ms: u32,
    next_ask: u64,
    tasks: BTreeMap<u64, Task>,
    /// Asks that ended with `deadlock`.
    pub(crate) deadlocks: u64,
}

/// A message's payload: how deep it may ask, and the ask it is.
pub(crate) fn message(depth: u8, ask: Option<Key>) -> Vec<u8> {
    let (owner, ask) = ask.unwrap_or((usize::MAX, 0));
    let mut bytes = vec![depth];
    bytes.extend_from_slice(&(owner as u64).to_le_bytes());
    bytes.extend_from_slice(&ask.to_le_bytes());
    bytes
}

/// The ask that a payload names.
pub(crate) fn ask_of(payload: &[u8]) -> Option<Key> {
    let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    let owner = usize::try_from(number(1)).unwrap();
    (owner != usize::MAX).then(|| (owner, number(9)))
}

/// What a turn works with.
pub(crate) struct Turn<'a> {
    pub(crate) number: u64,
    pub(crate) now: u64,
    pub(crate) writer: &'a mut AnswerWriter,
    pub(crate) random: &'a mut Random,
    pub(crate) graph: &'a mut Graph,
}

impl Guest {
    pub(crate) fn new(own: usize, agents: usize, interleaves: bool, deadline_ms: u32) -> Self {
        Self {
            own,
            agents,
            interleaves,
            deadline_ms,
            next_ask: 1,
            tasks: BTreeMap::new(),
            deadlocks: 0,
        }
    }

    fn pending(&self) -> u16 {
        u16::try_from(self.tasks.len()).unwrap()
    }

    pub(crate) fn turn(&mut self, input: Input<'_>, turn: &mut Turn<'_>) {
        match input {
            Input::Message {
                method,
                payload,
                request,
                ..
            } => self.message(method, payload.bytes, request, turn),
            Input::Reply { ask, reply } => {
                self.reply(ask, &reply, turn);
                turn.writer.outcome(&ok(), self.pending());
            }
            _ => turn.writer.outcome(&ok(), self.pending()),
        }
        turn.graph.pending[self.own] = self.pending();
    }

    fn message(&mut self, method: &str, payload: &[u8], request: bool, turn: &mut Turn<'_>) {
        if !(method == MIX && self.interleaves) && !self.tasks.is_empty() {
            return turn.writer.outcome(&Outcome::Deferred, self.pending());
        }
        let task = Task {
            is_request: request,
            steps: if payload[0] == 0 {
                0
            } else {
                turn.random.below(3)
            },
            depth: payload[0],
            manner: match turn.random.below(8) {
                0 => Manner::Silent,
                1 | 2 => Manner::Any,
                _ => Manner::All,
            },
            waits: BTreeSet::new(),
        };
        self.tasks.insert(turn.number, task);
        if let Some(edge) = ask_of(payload).and_then(|ask| turn.graph.get_mut(ask)) {
            edge.place = Place::Served(turn.number);
        }
        if self.go_on(turn.number, turn) {
            self.tasks.remove(&turn.number);
            if let Some(edge) = ask_of(payload).and_then(|ask| turn.graph.get_mut(ask)) {
                edge.place = Place::Elsewhere;
            }
            return turn.writer.outcome(&ok(), self.pending());
        }
        turn.writer.outcome(&Outcome::Pending, self.pending());
    }

    /// Lets a handler ask more; whether it has come to its end.
    fn go_on(&mut self, at: u64, turn: &mut Turn<'_>) -> bool {
        let task = self.tasks.get_mut(&at).unwrap();
        if task.steps == 0 {
            return true;
        }
        task.steps -= 1;
        let asks = 1 + turn.random.below(4) / 3;
        for _ in 0..asks {
            let to = turn.random.below(self.agents as u64) as usize;
            let method = if turn.random.below(4) == 0 { MIX } else { HOLD };
            let ask = self.next_ask;
            self.next_ask += 1;
            turn.writer.effect(&Effect::Ask {
                ask,
                to: &name(to),
                method,
                payload: Payload::message_pack(&message(task.depth - 1, Some((self.own, ask)))),
                deadline_ms: self.deadline_ms,
                waiter: None,
            });
            turn.graph.ask((self.own, ask), to, method == MIX, turn.now);
            task.waits.insert(ask);
        }
        self.say(at, turn);
        false
    }

    /// Says what the handler waits for, if that is one thing.
    fn say(&mut self, at: u64, turn: &mut Turn<'_>) {
        let task = &self.tasks[&at];
        if let Some(ask) = task.waits.first()
            && task.waits.len() == 1
            && task.manner != Manner::Silent
        {
            turn.writer.wait(*ask, at);
            // The agent may have ended it, and not told.
            if let Some(edge) = turn.graph.get_mut((self.own, *ask)) {
                edge.waiter = Some(at);
            }
        }
    }

    fn reply(&mut self, ask: u64, reply: &Reply<'_>, turn: &mut Turn<'_>) {
        turn.graph.end((self.own, ask));
        if *reply == Reply::Deadlock {
            self.deadlocks += 1;
        }
        let waiting = self
            .tasks
            .iter()
            .find(|(_, task)| task.waits.contains(&ask));
        let Some(at) = waiting.map(|(at, _)| *at) else {
            return;
        };
        let task = self.tasks.get_mut(&at).unwrap();
        task.waits.remove(&ask);
        let has_failed = !matches!(reply, Reply::Ok(_));
        if has_failed {
            task.steps = 0;
        }
        if !has_failed && task.manner != Manner::Any && !task.waits.is_empty() {
            return self.say(at, turn);
        }
        task.waits.clear();
        if !self.go_on(at, turn) {
            return;
        }
        let task = self.tasks.remove(&at).unwrap();
        if task.is_request {
            let failure = Failure {
                code: "failed",
                message: "",
                details: Payload::NONE,
            };
            let answer = if has_failed {
                Err(failure)
            } else {
                Ok(Payload::NONE)
            };
            turn.writer.effect(&Effect::Reply {
                request: at,
                answer,
            });
        }
    }
}

fn ok() -> Outcome<'static> {
    Outcome::Ok(Payload::NONE)
}
