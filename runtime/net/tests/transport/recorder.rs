//! Writes down what a transport tells, and lets a test wait for it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use phoenix_core::{NodeId, PeerMessage, TransportEvents};

/// How long a test waits before it fails. Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Connected(NodeId, u64),
    Received(NodeId, Vec<PeerMessage>),
    Disconnected(NodeId),
}

#[derive(Default)]
struct State {
    told: Vec<Told>,
    /// Peers whose messages are held up.
    blocked: Vec<NodeId>,
    /// Peers whose handler waits just now.
    waiting: Vec<NodeId>,
}

#[derive(Default)]
pub(crate) struct Recorder {
    state: Mutex<State>,
    changed: Condvar,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn tell(&self, told: Told) {
        self.state.lock().told.push(told);
        self.changed.notify_all();
    }

    /// Waits until `find` finds something in all that was told.
    pub(crate) fn wait<T>(&self, what: &str, mut find: impl FnMut(&[Told]) -> Option<T>) -> T {
        let mut state = self.state.lock();
        loop {
            if let Some(found) = find(&state.told) {
                return found;
            }
            let waited = self.changed.wait_for(&mut state, PATIENCE);
            if waited.timed_out() {
                let told: Vec<String> = state.told.iter().map(short).collect();
                panic!("waited in vain for {what}; was told {told:?}");
            }
        }
    }

    pub(crate) fn wait_connected(&self, peer: NodeId, boot: u64) {
        self.wait(&format!("{peer} to connect, boot {boot}"), |told| {
            told.contains(&Told::Connected(peer, boot)).then_some(())
        });
    }

    pub(crate) fn wait_disconnected(&self, peer: NodeId) {
        self.wait(&format!("{peer} to disconnect"), |told| {
            told.contains(&Told::Disconnected(peer)).then_some(())
        });
    }

    /// Waits for so many messages from `peer` and returns them.
    pub(crate) fn wait_messages(&self, peer: NodeId, count: usize) -> Vec<PeerMessage> {
        self.wait(&format!("{count} messages from {peer}"), |told| {
            let messages = messages_in(told, peer);
            (messages.len() >= count).then_some(messages)
        })
    }

    /// All messages from `peer` so far.
    pub(crate) fn messages(&self, peer: NodeId) -> Vec<PeerMessage> {
        messages_in(&self.state.lock().told, peer)
    }

    /// All that was told.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.state.lock().told.clone()
    }

    /// How often messages from `peer` were handed over.
    pub(crate) fn calls(&self, peer: NodeId) -> u64 {
        let state = self.state.lock();
        let from_peer = |told: &&Told| matches!(told, Told::Received(from, _) if *from == peer);
        state.told.iter().filter(from_peer).count() as u64
    }

    /// What was told about `peer`, without the messages.
    pub(crate) fn story(&self, peer: NodeId) -> Vec<Told> {
        let state = self.state.lock();
        state
            .told
            .iter()
            .filter(|told| match told {
                Told::Connected(node, _) | Told::Disconnected(node) => *node == peer,
                Told::Received(..) => false,
            })
            .cloned()
            .collect()
    }

    /// The handler waits at the next messages from `peer` until they are let through.
    pub(crate) fn block(&self, peer: NodeId) {
        self.state.lock().blocked.push(peer);
    }

    pub(crate) fn unblock(&self, peer: NodeId) {
        self.state.lock().blocked.retain(|blocked| *blocked != peer);
        self.changed.notify_all();
    }

    /// Waits until the handler is held up with messages from `peer`.
    pub(crate) fn wait_blocked(&self, peer: NodeId) {
        let mut state = self.state.lock();
        while !state.waiting.contains(&peer) {
            let waited = self.changed.wait_for(&mut state, PATIENCE);
            assert!(!waited.timed_out(), "nothing came from {peer}");
        }
    }
}

fn messages_in(told: &[Told], peer: NodeId) -> Vec<PeerMessage> {
    let received = told.iter().filter_map(|told| match told {
        Told::Received(from, messages) if *from == peer => Some(messages),
        _ => None,
    });
    received.flatten().cloned().collect()
}

/// Messages that waited together come in one frame: each as it was sent.
fn one_by_one(message: PeerMessage) -> Vec<PeerMessage> {
    match message {
        PeerMessage::Deliver(envelopes) => envelopes
            .into_iter()
            .map(|envelope| PeerMessage::Deliver(vec![envelope]))
            .collect(),
        other => vec![other],
    }
}

fn short(told: &Told) -> String {
    match told {
        Told::Received(from, messages) => format!("{} from {from}", messages.len()),
        other => format!("{other:?}"),
    }
}

impl TransportEvents for Recorder {
    fn received(&self, from: NodeId, messages: Vec<PeerMessage>) {
        let mut state = self.state.lock();
        if state.blocked.contains(&from) {
            state.waiting.push(from);
            self.changed.notify_all();
            while state.blocked.contains(&from) {
                self.changed.wait(&mut state);
            }
            state.waiting.retain(|waiting| *waiting != from);
        }
        let messages = messages.into_iter().flat_map(one_by_one).collect();
        state.told.push(Told::Received(from, messages));
        drop(state);
        self.changed.notify_all();
    }

    fn connected(&self, peer: NodeId, boot: u64) {
        self.tell(Told::Connected(peer, boot));
    }

    fn disconnected(&self, peer: NodeId) {
        self.tell(Told::Disconnected(peer));
    }
}
