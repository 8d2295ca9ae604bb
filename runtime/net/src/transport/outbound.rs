//! What waits for a peer, already encoded.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use phoenix_core::SendRefused;
use tokio::sync::Notify;

use super::config::TransportLimits;
use crate::select::Size;
use crate::wire::{Chunks, HEADER, Output};

/// Which stream a message takes, if it takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// Everything whose order the port promises.
    Ordered = 0,
    /// Parts of snapshots and components, which the rest may overtake.
    Bulk = 1,
}

impl Class {
    pub(crate) const ALL: [Self; 2] = [Self::Ordered, Self::Bulk];

    pub(super) fn of(size: Size) -> Self {
        match size {
            Size::Bulk => Self::Bulk,
            Size::Packet | Size::Frame => Self::Ordered,
        }
    }

    /// How large what travels in it is.
    pub(super) fn size(self) -> Size {
        match self {
            Self::Ordered => Size::Frame,
            Self::Bulk => Size::Bulk,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == number)
    }
}

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

/// One queue to one peer: of a class, or of datagrams.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Notify,
    messages: usize,
    bytes: u64,
}

impl Queue {
    /// For a class.
    pub(super) fn of_class(limits: &TransportLimits) -> Self {
        let least = limits.frame_bytes + HEADER;
        Self::new(limits.queue_messages, limits.queue_bytes.max(least))
    }

    /// For datagrams.
    pub(super) fn of_datagrams(limits: &TransportLimits) -> Self {
        Self::new(limits.datagram_queue_messages, limits.datagram_queue_bytes)
    }

    fn new(messages: usize, bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            messages,
            bytes: bytes as u64,
        }
    }

    /// Bytes ever queued and ever written in this session.
    pub(super) fn moved(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.queued, state.written)
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
