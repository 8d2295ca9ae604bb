//! What waits for a peer, already encoded, in two classes.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{PeerMessage, SendRefused};
use tokio::sync::Notify;

use super::config::QuicLimits;
use crate::wire::{Chunks, HEADER, Output};

/// Which stream a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Everything whose order the port promises.
    Ordered = 0,
    /// Parts of snapshots and components, which the rest may overtake.
    Bulk = 1,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Ordered, Self::Bulk];

    pub(super) fn of(message: &PeerMessage) -> Self {
        match message {
            PeerMessage::Migration(MigrationMessage::Ship { .. })
            | PeerMessage::ComponentPart { .. } => Self::Bulk,
            _ => Self::Ordered,
        }
    }
}

/// Most bytes handed to QUIC at once.
const WRITE: usize = 256 << 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No connection.
    #[default]
    Closed,
    Open,
    /// Nothing more is taken; what waits is still sent.
    Finishing,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    chunks: Chunks,
    /// For each message that was not written out: the count of bytes at its end.
    ends: VecDeque<u64>,
    /// Bytes ever queued on this connection.
    queued: u64,
    /// Bytes ever written.
    written: u64,
    /// The writer waits for something to do.
    idle: bool,
}

/// One class's queue to one peer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Notify,
    messages: usize,
    bytes: u64,
}

impl Queue {
    pub(super) fn new(limits: &QuicLimits) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            messages: limits.queue_messages,
            bytes: limits.queue_bytes.max(limits.frame_bytes + HEADER) as u64,
        }
    }

    /// Whether a message would be taken just now.
    pub(super) fn check(&self) -> Result<(), SendRefused> {
        self.check_state(&self.state.lock(), 0)
    }

    fn check_state(&self, state: &State, more: u64) -> Result<(), SendRefused> {
        if state.phase != Phase::Open {
            Err(SendRefused::NotConnected)
        } else if more > self.bytes {
            // To be told that it is full would be to try for ever.
            Err(SendRefused::TooLarge)
        } else if state.ends.len() >= self.messages
            || state.queued - state.written + more > self.bytes
        {
            Err(SendRefused::Full)
        } else {
            Ok(())
        }
    }

    /// Queues one message's frames and leaves `frames` empty, or refuses them.
    pub(super) fn push(&self, frames: &mut Output) -> Result<(), SendRefused> {
        let bytes = frames.len() as u64;
        let mut state = self.state.lock();
        self.check_state(&state, bytes)?;
        frames.append_to(&mut state.chunks);
        state.queued += bytes;
        let end = state.queued;
        state.ends.push_back(end);
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        // A busy writer looks again before it waits: one wake for many messages.
        if idle {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes what waits, up to a bound; waits while nothing does. `None` when
    /// the connection is to end.
    pub(super) async fn take(&self) -> Option<Vec<Bytes>> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.chunks.is_empty() {
                    return Some(state.chunks.take(WRITE));
                }
                if state.phase != Phase::Open {
                    return None;
                }
                state.idle = true;
            }
            self.wake.notified().await;
        }
    }

    /// So many bytes are with QUIC now and do not count any more.
    pub(super) fn written(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.written += bytes as u64;
        let written = state.written;
        while state.ends.front().is_some_and(|end| *end <= written) {
            state.ends.pop_front();
        }
    }

    /// A connection stands.
    pub(super) fn open(&self) {
        *self.state.lock() = State {
            phase: Phase::Open,
            ..State::default()
        };
    }

    /// Takes nothing more; what waits is still sent.
    pub(super) fn finish(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Finishing;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The connection is gone, and what waited with it.
    pub(super) fn close(&self) {
        *self.state.lock() = State::default();
        self.wake.notify_one();
    }
}
