//! Having an agent again: batches that were committed are applied once more, each as its
//! record has it, and nothing is sent.

use bytes::Bytes;

use crate::agent::batch::{Batch, BatchRoom, Entry};
use crate::agent::inbound::Arrival;
use crate::agent::{Actions, Agent, BadAnswer, Input};
use crate::journal::record::{Moved, Put, Record, Turns};
use crate::{KindPolicy, Notice};

/// A replay went another way than what it replays. The agent is not to be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// The record is of another turn, or another life.
    #[error("the record is of turn {found} where turn {expected} comes next")]
    Turn {
        /// The record's first turn.
        found: u64,
        /// The agent's next.
        expected: u64,
    },
    /// The guest gave another answer.
    #[error("the guest answered turn {0} and those after it otherwise than when it was committed")]
    Answer(u64),
    /// The answer cannot be committed, though it was.
    #[error("turn {turn} cannot be committed again: {why}")]
    Refused {
        /// The batch's first turn.
        turn: u64,
        /// Why.
        why: BadAnswer,
    },
    /// A message is not the one its stream has next.
    #[error("a message of turn {turn} is not the next of its stream: {stream}")]
    Message {
        /// The batch's first turn.
        turn: u64,
        /// Which stream.
        stream: String,
    },
    /// Streams did not move on as they had.
    #[error("turn {0} and those after it applied other messages than when they were committed")]
    Streams(u64),
}

impl Batch {
    /// Its inputs as a record has them. To be taken before it is committed.
    pub fn puts(&self) -> Vec<Put> {
        let put = |entry: &Entry| Put {
            input: match &entry.input {
                Input::Envelope(envelope, _) => Input::Envelope(envelope.clone(), None),
                other => other.clone(),
            },
            skip: entry.skip,
        };
        self.entries.iter().map(put).collect()
    }
}

impl Actions {
    /// The streams that a commit moved on, as a record has them: of one commit, if they
    /// are empty before it.
    pub fn moved(&self) -> Vec<Moved> {
        let moved = self.acknowledge.iter().filter_map(|it| match it.notice {
            Notice::Applied { through, .. } => Some(Moved {
                sender: it.stream.sender.clone(),
                lane: it.stream.lane,
                through,
            }),
            _ => None,
        });
        moved.collect()
    }
}

impl Agent {
    /// Commits a batch again that was committed before. `answer` is what the guest gave
    /// for the record's frame this time.
    ///
    /// What the batch had waiting besides, because the guest deferred it, waits again.
    pub fn replay(
        &mut self,
        record: &Record,
        turns: &Turns,
        answer: &Bytes,
        policy: &KindPolicy,
        room: &mut BatchRoom,
    ) -> Result<(), Divergence> {
        let first = turns.first;
        if first != self.turn || record.incarnation != self.incarnation {
            return Err(Divergence::Turn {
                found: first,
                expected: self.turn,
            });
        }
        if *answer != turns.answer {
            return Err(Divergence::Answer(first));
        }
        let mut waiting = self.mailbox.drain();
        let mut entries = Vec::with_capacity(turns.inputs.len());
        for put in &turns.inputs {
            let input = self.place(&put.input, &mut waiting, first)?;
            let skip = put.skip;
            entries.push(Entry { input, skip });
        }
        self.mailbox.restore(waiting.into_iter());
        let batch = Batch::again(turns.frame.to_vec(), entries, first, record.now);
        let mut out = Actions::default();
        let committed = self.commit(batch, answer, policy, room, &mut out);
        committed.map_err(|undone| Divergence::Refused {
            turn: first,
            why: undone.1,
        })?;
        if out.moved() != turns.moved {
            return Err(Divergence::Streams(first));
        }
        Ok(())
    }

    /// An input of a record, with its place in this agent's tables.
    fn place(
        &mut self,
        input: &Input,
        waiting: &mut Vec<Input>,
        turn: u64,
    ) -> Result<Input, Divergence> {
        let is_it = |other: &Input| match (other, input) {
            (Input::Envelope(one, _), Input::Envelope(other, _)) => one == other,
            (one, other) => one == other,
        };
        if let Some(at) = waiting.iter().position(is_it) {
            return Ok(waiting.remove(at));
        }
        let Input::Envelope(envelope, _) = input else {
            return Ok(input.clone());
        };
        let Some(sequence) = &envelope.sequence else {
            return Ok(input.clone());
        };
        match self.inbound.arrival(&envelope.stream, sequence, u32::MAX) {
            Arrival::Next(at) => {
                self.inbound.take(at, sequence);
                Ok(Input::Envelope(envelope.clone(), Some(at)))
            }
            _ => Err(Divergence::Message {
                turn,
                stream: format!("{:?}", envelope.stream),
            }),
        }
    }
}
