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
    /// When the sender of the turn's message stops waiting, nanoseconds; 0 if nobody waits.
    pub(crate) deadline: Cell<u64>,
    /// Random numbers drawn in this turn.
    pub(crate) draws: Cell<u64>,
    pub(crate) asks: RefCell<Asks>,
    /// The answer frame, between the beginning and the end of a call.
    writer: RefCell<Option<AnswerWriter>>,
    /// Effects recorded while another one's payload was being written into the answer.
    nested: RefCell<Vec<AnswerWriter>>,
}

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
        if let Ok(mut writer) = self.writer.try_borrow_mut() {
            if let Some(writer) = &mut *writer {
                writer.effect(effect);
            }
        } else {
            let mut nested = AnswerWriter::new(Vec::new());
            nested.effect(effect);
            self.nested.borrow_mut().push(nested);
        }
    }

    /// Records an effect with `value` as its payload, encoded where it will leave from.
    #[inline(always)]
    pub(crate) fn effect_with<T: Serialize + ?Sized>(
        &self,
        effect: &Effect<'_>,
        value: &T,
    ) -> Result<(), PayloadError> {
        let Ok(mut writer) = self.writer.try_borrow_mut() else {
            return self.nested_effect_with(effect, value);
        };
        let Some(writer) = &mut *writer else {
            return Ok(());
        };
        writer.effect_with(effect, |buf| encode(Format::MessagePack, value, buf))?;
        if !self.nested.borrow().is_empty() {
            self.append_nested(writer);
        }
        Ok(())
    }

    /// An effect out of the `Serialize` of another one's payload: it follows that one.
    #[cold]
    fn nested_effect_with<T: Serialize + ?Sized>(
        &self,
        effect: &Effect<'_>,
        value: &T,
    ) -> Result<(), PayloadError> {
        let mut nested = AnswerWriter::new(Vec::new());
        nested.effect_with(effect, |buf| encode(Format::MessagePack, value, buf))?;
        self.nested.borrow_mut().push(nested);
        Ok(())
    }

    #[cold]
    fn append_nested(&self, writer: &mut AnswerWriter) {
        for nested in self.nested.take() {
            writer.append(&nested);
        }
    }

    /// Says that only the end of `ask` lets the handler go on that turn `handler` began.
    pub(crate) fn wait(&self, ask: u64, handler: u64) {
        if let Some(writer) = &mut *self.writer.borrow_mut() {
            writer.wait(ask, handler);
        }
    }

    /// Ends the current turn.
    #[inline]
    pub(crate) fn outcome(&self, outcome: &Outcome<'_>, pending: u16) {
        if let Some(writer) = &mut *self.writer.borrow_mut() {
            writer.outcome(outcome, pending);
        }
    }
}

#[inline]
pub(crate) fn payload(content_type: ContentType, bytes: &[u8]) -> Payload<'_> {
    Payload {
        content_type,
        bytes,
    }
}
