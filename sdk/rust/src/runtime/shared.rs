//! What every context of one agent shares: the turn, and the answer being written.

use std::cell::{Cell, OnceCell, RefCell};

use phoenix_wit::{AnswerWriter, ContentType, Effect, Outcome, Payload};
use serde::Serialize;

use super::asks::Asks;
use crate::payload::{Format, PayloadError, encode};

/// One agent's turn as its handlers see it.
#[derive(Default)]
pub(crate) struct Shared {
    /// Fixed for the agent's life, so that contexts can lend it out.
    id: OnceCell<Box<str>>,
    pub(crate) seed: Cell<u64>,
    pub(crate) turn: Cell<u64>,
    pub(crate) now: Cell<u64>,
    /// Random numbers drawn in this turn.
    pub(crate) draws: Cell<u64>,
    pub(crate) asks: RefCell<Asks>,
    /// The answer frame, between the beginning and the end of a call.
    writer: RefCell<Option<AnswerWriter>>,
    /// Where effects' payloads are encoded; kept so that sending allocates nothing.
    scratch: RefCell<Vec<u8>>,
}

/// Largest encoding buffer that is kept from one effect to the next, in bytes.
const KEPT_SCRATCH: usize = 4 << 10;

impl Shared {
    /// Begins an answer frame with room for `capacity` bytes.
    pub(crate) fn open(&self, id: &str, seed: u64, capacity: usize) {
        self.id.get_or_init(|| id.into());
        self.seed.set(seed);
        let writer = AnswerWriter::new(Vec::with_capacity(capacity));
        *self.writer.borrow_mut() = Some(writer);
    }

    /// Ends the answer frame.
    pub(crate) fn close(&self) -> Vec<u8> {
        let writer = self.writer.borrow_mut().take();
        writer.map_or_else(Vec::new, AnswerWriter::finish)
    }

    pub(crate) fn id(&self) -> &str {
        self.id.get().map_or("", |id| id)
    }

    /// Records an effect of the current turn.
    #[inline]
    pub(crate) fn effect(&self, effect: &Effect<'_>) {
        if let Some(writer) = &mut *self.writer.borrow_mut() {
            writer.effect(effect);
        }
    }

    /// Ends the current turn.
    #[inline]
    pub(crate) fn outcome(&self, outcome: &Outcome<'_>, pending: u16) {
        if let Some(writer) = &mut *self.writer.borrow_mut() {
            writer.outcome(outcome, pending);
        }
    }

    /// Encodes `value` and lends it to `record`, which records the effect that carries it.
    pub(crate) fn encoded<T: Serialize + ?Sized>(
        &self,
        value: &T,
        record: impl FnOnce(Payload<'_>),
    ) -> Result<(), PayloadError> {
        // Taken rather than borrowed: a `Serialize` that sends would find it borrowed.
        let mut bytes = self.scratch.take();
        bytes.clear();
        let content_type = encode(Format::MessagePack, value, &mut bytes)?;
        record(payload(content_type, &bytes));
        if bytes.capacity() <= KEPT_SCRATCH {
            self.scratch.replace(bytes);
        }
        Ok(())
    }
}

pub(crate) fn payload(content_type: ContentType, bytes: &[u8]) -> Payload<'_> {
    Payload {
        content_type,
        bytes,
    }
}
