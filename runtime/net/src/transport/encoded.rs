//! What waits for a peer to be sent as datagrams, already encoded: whether it
//! fits into one has to be known by whoever sends it.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use phoenix_core::SendRefused;
use tokio::sync::Notify;

use super::config::TransportLimits;
use crate::wire::{Chunks, Output};

/// Most bytes handed to a connection at once.
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

/// The queue of datagrams to one peer.
#[derive(Debug)]
pub(super) struct EncodedQueue {
    state: Mutex<State>,
    wake: Notify,
    messages: usize,
    bytes: u64,
}

impl EncodedQueue {
    pub(super) fn new(limits: &TransportLimits) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            messages: limits.datagram_queue_messages,
            bytes: limits.datagram_queue_bytes as u64,
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

    /// Takes what waits, up to a bound; waits while nothing does, and can be
    /// cancelled then. `None` when the connection is to end.
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

    /// So many bytes are with the connection now and do not count any more.
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
