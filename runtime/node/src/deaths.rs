//! Nodes that an operator declares dead.
//!
//! What that takes away from the dead one the directory decides; here the word is
//! spread, and obeyed. Nothing of a life that is over counts any more, whoever
//! hears from it tells it so, and who hears it of itself ends all it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use phoenix_core::control::{ControlError, Done, NodeInfo, Request, Response};
use phoenix_core::{Level, NodeId, PeerMessage};
use phoenix_store::{DeclareError, DirectoryStore};

use crate::directory::DirectoryAccess;
use crate::gather::Gather;
use crate::shared::Shared;
use crate::worker::Event;

/// The lives of nodes that are over by an operator's word.
#[derive(Default)]
pub(crate) struct Deaths {
    /// Whether there are any: most clusters never have one.
    any: AtomicBool,
    /// The last life of each that is over, by its boot counter.
    lives: RwLock<HashMap<NodeId, u64>>,
}

impl Deaths {
    /// Notes that the node's lives up to `boot` are over.
    pub(crate) fn note(&self, node: NodeId, boot: u64) {
        let mut lives = self.lives.write();
        let last = lives.entry(node).or_insert(boot);
        *last = boot.max(*last);
        self.any.store(true, Ordering::Release);
    }

    /// Whether that life of the node is over.
    pub(crate) fn is_over(&self, node: NodeId, boot: u64) -> bool {
        self.any.load(Ordering::Acquire)
            && self
                .lives
                .read()
                .get(&node)
                .is_some_and(|last| boot <= *last)
    }

    fn list(&self) -> Vec<(NodeId, u64)> {
        let lives = self.lives.read();
        lives.iter().map(|(node, boot)| (*node, *boot)).collect()
    }
}

impl Shared {
    /// Whether the life of the peer that was seen last is over.
    pub(crate) fn is_over(&self, peer: NodeId) -> bool {
        if !self.deaths.any.load(Ordering::Acquire) {
            return false;
        }
        let boot = self.peers.read().get(&peer).and_then(|peer| peer.boot);
        self.deaths.is_over(peer, boot.unwrap_or(0))
    }

    /// Hears that the node has a life that is not over, from who would know.
    pub(crate) fn hears_of_life(&self, node: NodeId, boot: u64) {
        if self.is_over(node)
            && !self.deaths.is_over(node, boot)
            && let Some(peer) = self.peers.write().get_mut(&node)
        {
            peer.boot = peer.boot.max(Some(boot));
        }
    }

    /// Whether this life of this node is over.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Declares a node dead, where the directory is.
    pub(crate) fn declare_dead(self: &Arc<Self>, node: NodeId, done: Done) {
        let DirectoryAccess::Here { store, .. } = &self.directory else {
            let directory = self.directory.node();
            self.control_at(directory, Request::DeclareDead { node }, done);
            return;
        };
        // Who is connected to any node lives.
        let others = self.connected();
        let merge = move |lists: Vec<Response>| {
            let seen = lists.into_iter().flat_map(|list| match list {
                Response::Nodes(infos) => infos,
                _ => Vec::new(),
            });
            Response::Nodes(
                seen.filter(|info| info.node == node && info.connected)
                    .collect(),
            )
        };
        let (shared, store) = (self.clone(), store.clone());
        let asked = Box::new(move |seen: Result<Response, ControlError>| match seen {
            Ok(Response::Nodes(seen)) => shared.declare_silent(&store, node, &seen, done),
            Ok(_) => done(Err(ControlError::Internal("an odd answer".to_owned()))),
            Err(error) => done(Err(error)),
        });
        let gather = Gather::lenient(1 + others.len(), merge, asked);
        gather.part()(Ok(Response::Nodes(self.node_infos())));
        for other in others {
            self.control_at(other, Request::Nodes, gather.part());
        }
    }

    /// Declares a node dead, unless somebody has `seen` it.
    fn declare_silent(
        self: &Arc<Self>,
        store: &Arc<DirectoryStore>,
        node: NodeId,
        seen: &[NodeInfo],
        done: Done,
    ) {
        // The directory's own node says so itself, in better words.
        if !seen.is_empty() && node != self.node {
            let text = format!(
                "{node} is connected to {} of the other nodes, so it lives: stop it instead",
                seen.len()
            );
            done(Err(ControlError::Conflict(text)));
            return;
        }
        let agents = store.owned_by(node);
        let shared = self.clone();
        store.declare_dead(
            node,
            Box::new(move |declared| match declared {
                Ok(boot) => {
                    shared.died(node, boot);
                    shared.broadcast(&PeerMessage::DeclaredDead { node, boot });
                    done(Ok(Response::DeclaredDead { node, boot, agents }));
                }
                Err(error) => done(Err(refusal(&error))),
            }),
        );
    }

    /// Hears that lives of a node are over.
    pub(crate) fn died(&self, node: NodeId, boot: u64) {
        if node == self.node {
            if boot >= self.boot {
                self.fence();
            }
            return;
        }
        if self.deaths.is_over(node, boot) {
            return;
        }
        self.deaths.note(node, boot);
        let text = format!("{node} was declared dead after {boot} starts");
        self.log(None, Level::Warn, &text);
        let was_connected = {
            let mut peers = self.peers.write();
            let peer = peers.get_mut(&node);
            let peer = peer.filter(|peer| peer.boot.is_some_and(|life| life <= boot));
            peer.is_some_and(|peer| std::mem::take(&mut peer.connected))
        };
        if was_connected {
            self.tell_that_it_is_over(node, boot);
            self.directory.node_down(node, false);
            self.controls.lost(node);
            for seat in &self.seats {
                seat.post(Event::Disconnected { peer: node });
            }
        }
    }

    /// Tells a node that lives that its life is over.
    pub(crate) fn tell_that_it_is_over(&self, node: NodeId, boot: u64) {
        // It hears so again from whomever it meets.
        let _ = self.send(node, PeerMessage::DeclaredDead { node, boot });
    }

    /// Tells a node that connected who is dead.
    pub(crate) fn tell_deaths(&self, peer: NodeId) {
        for (node, boot) in self.deaths.list() {
            let _ = self.send(peer, PeerMessage::DeclaredDead { node, boot });
        }
    }

    /// This life of this node is over: its agents live elsewhere. Nothing more
    /// leaves, and all there is goes.
    fn fence(&self) {
        if self.fenced.swap(true, Ordering::AcqRel) {
            return;
        }
        self.log(None, Level::Error, FENCED);
        self.draining.store(true, Ordering::Release);
        self.clients.close();
        self.controls.close();
        for seat in &self.seats {
            seat.post(Event::Fence);
        }
    }
}

/// What operators of a node are told whose life is over.
pub(crate) const FENCED: &str = "this node was declared dead, and its agents live elsewhere: \
                                 start it again, and it joins anew";

fn refusal(error: &DeclareError) -> ControlError {
    use phoenix_cluster::directory::DeathRefused;
    let text = error.to_string();
    match error {
        DeclareError::Refused(DeathRefused::Unknown(_)) => ControlError::NotFound(text),
        DeclareError::Refused(_) => ControlError::Conflict(text),
        DeclareError::Log(_) => ControlError::Unknown(text),
    }
}
