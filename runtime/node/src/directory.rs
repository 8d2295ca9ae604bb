//! Reaching the directory, wherever it is.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use phoenix_cluster::Origin;
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{AgentId, Millis, NodeId, PeerMessage};
use phoenix_store::DirectoryStore;

use crate::clock;
use crate::numbers::Numbers;
use crate::shared::Shared;

/// How long a request may go unanswered before its outcome counts as in doubt.
const ANSWER_WITHIN: Millis = Millis(1_000);

/// Called once with the directory's answer.
pub(crate) type Answered = Box<dyn FnOnce(DirectoryAnswer) + Send + 'static>;

/// The way to the directory.
pub(crate) enum DirectoryAccess {
    /// It is on this node.
    Here {
        node: NodeId,
        store: Arc<DirectoryStore>,
    },
    /// It is on that node.
    At { node: NodeId, open: Open },
}

/// Requests without an answer.
pub(crate) struct Open {
    numbers: Numbers,
    requests: Mutex<HashMap<u64, (Millis, Answered)>>,
}

impl Open {
    /// Those of the node's life with this boot counter: none yet.
    pub(crate) fn new(boot: u64) -> Self {
        Self {
            numbers: Numbers::of_life(boot),
            requests: Mutex::default(),
        }
    }
}

impl DirectoryAccess {
    /// The node that holds the directory.
    pub(crate) fn node(&self) -> NodeId {
        match self {
            Self::Here { node, .. } | Self::At { node, .. } => *node,
        }
    }

    /// Carries out `command`; `done` is called once, perhaps before this returns.
    pub(crate) fn submit(&self, shared: &Arc<Shared>, command: DirectoryCommand, done: Answered) {
        match self {
            Self::Here { node, store } => {
                let origin = Origin {
                    node: *node,
                    boot: shared.boot,
                };
                let done = telling(shared, &command, done);
                store.submit_from(origin, command, done);
            }
            Self::At { node, open } => {
                let id = open.numbers.next();
                let until = clock::now_ms() + ANSWER_WITHIN;
                open.requests.lock().insert(id, (until, done));
                let ask = PeerMessage::DirectoryAsk { id, command };
                if shared.send(*node, ask).is_err() {
                    let why = format!("the directory on {node} cannot be reached");
                    self.answered(id, DirectoryAnswer::InDoubt(why));
                }
            }
        }
    }

    /// A peer asks the directory that is here.
    pub(crate) fn asked(
        &self,
        shared: &Arc<Shared>,
        from: NodeId,
        boot: u64,
        id: u64,
        command: DirectoryCommand,
    ) {
        let answer_to = shared.clone();
        let done = Box::new(move |answer| {
            // An answer that is lost is asked for again.
            let _ = answer_to.send(from, PeerMessage::DirectoryAnswer { id, answer });
        });
        match self {
            Self::Here { store, .. } => {
                let done = telling(shared, &command, done);
                store.submit_from(Origin { node: from, boot }, command, done);
            }
            Self::At { node, .. } => {
                let why = format!("the directory is on {node}");
                done(DirectoryAnswer::InDoubt(why));
            }
        }
    }

    /// The directory answered.
    pub(crate) fn answered(&self, id: u64, answer: DirectoryAnswer) {
        if let Self::At { open, .. } = self {
            let request = open.requests.lock().remove(&id);
            if let Some((_, done)) = request {
                done(answer);
            }
        }
    }

    /// Ends requests that have gone unanswered for too long.
    pub(crate) fn expire(&self, now: Millis) {
        let Self::At { node, open } = self else {
            return;
        };
        let late: Vec<Answered> = {
            let mut requests = open.requests.lock();
            requests
                .extract_if(|_, (until, _)| *until <= now)
                .map(|(_, (_, done))| done)
                .collect()
        };
        for done in late {
            let why = format!("the directory on {node} did not answer in {ANSWER_WITHIN}");
            done(DirectoryAnswer::InDoubt(why));
        }
    }

    /// Drops requests without an answer, and ends the directory that is here: the node has
    /// stopped, and what still has hold of it must not write below its data directory.
    pub(crate) fn close(&self) {
        match self {
            Self::At { open, .. } => {
                let left = std::mem::take(&mut *open.requests.lock());
                drop(left);
            }
            Self::Here { store, .. } => store.close(),
        }
    }

    /// Which node has the agent, if the directory is here and knows it.
    pub(crate) fn found_here(&self, agent: &AgentId) -> Option<NodeId> {
        match self {
            Self::Here { store, .. } => Some(store.whereabouts(agent).owner),
            Self::At { .. } => None,
        }
    }

    /// Whether no other node was ever in the cluster.
    pub(crate) fn is_alone(&self) -> bool {
        match self {
            Self::Here { store, .. } => store.is_alone(),
            Self::At { .. } => false,
        }
    }

    /// A node came up, as the directory here should know.
    pub(crate) fn node_up(&self, node: NodeId, boot: u64) {
        if let Self::Here { store, .. } = self {
            store.node_up(node, boot);
        }
    }

    /// A node went away or is about to.
    pub(crate) fn node_down(&self, node: NodeId, leaving: bool) {
        if let Self::Here { store, .. } = self {
            if leaving {
                store.node_leaving(node);
            } else {
                store.node_down(node);
            }
        }
    }
}

/// `done`, after the target of a move was told that it won: it need not wait
/// until its source hears of it.
fn telling(shared: &Arc<Shared>, command: &DirectoryCommand, done: Answered) -> Answered {
    let DirectoryCommand::Move { migration, to, .. } = command else {
        return done;
    };
    let (shared, migration, to) = (shared.clone(), *migration, *to);
    Box::new(move |answer| {
        if let DirectoryAnswer::Owned(Ownership { owner, epoch, .. }) = answer
            && owner == to
        {
            let message = MigrationMessage::Activate { migration, epoch };
            if to == shared.node {
                shared.migration_message(to, message);
            } else {
                // A target that misses it says that it waits.
                let _ = shared.send(to, PeerMessage::Migration(message));
            }
        }
        done(answer);
    })
}
