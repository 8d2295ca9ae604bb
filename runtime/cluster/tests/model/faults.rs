//! Crashes, restarts and cut connections.

use phoenix_cluster::Origin;
use phoenix_core::NodeId;
use phoenix_core::directory::DirectoryCommand;

use crate::NODES;
use crate::node::Node;
use crate::world::{DIRECTORY, Event, World, pair};

impl World {
    pub(crate) fn crash(&mut self, node: NodeId, back: u64) {
        if !self.nodes[&node].alive {
            return;
        }
        self.note(format!("{node} crashes for {back} ms"));
        let owns =
            |state: &phoenix_cluster::DirectoryState| state.ownership(&self.agent).owner == node;
        self.owner_crashed |= owns(&self.directory.state) || owns(&self.directory.synced_state);
        self.owner_crashed |= self.has_all_of_what_moves(node);
        // A target that crashes before it is the owner, unnoticed by the source,
        // leaves the source with the last copy: then both must not crash.
        self.owner_crashed |= self.staged_lost;
        self.staged_lost |= !self.nodes[&node].staged.is_empty();
        let boot = self.nodes[&node].boot;
        let mut corpse = Node::new(node, boot);
        corpse.alive = false;
        let dead = &self.nodes[&node];
        corpse.journal = dead.journal;
        if let Some(kept) = dead.ending
            && self.rng.chance(50)
        {
            corpse.journal.get_or_insert(kept);
        }
        self.nodes.insert(node, corpse);
        if node == DIRECTORY {
            let kept = self.rng.below(self.directory.unsynced() as u64 + 1);
            self.directory.recover(usize::try_from(kept).unwrap());
            self.unsynced.clear();
        }
        for other in NODES {
            if other != node {
                self.own(other, 5, Event::Disconnected(other, node));
            }
        }
        self.later(back.max(10), Event::Restart(node));
    }

    /// Whether the agent is moving away from the node, by the directory, and the
    /// target does not have it yet.
    fn has_all_of_what_moves(&self, node: NodeId) -> bool {
        let Some(id) = self.nodes[&node].copy.and_then(|copy| copy.frozen) else {
            return false;
        };
        !self
            .nodes
            .values()
            .any(|other| other.staged.contains_key(&id))
    }

    pub(crate) fn restart(&mut self, node: NodeId) {
        if self.nodes[&node].alive {
            return;
        }
        let boot = self.nodes[&node].boot + 1;
        let journal = self.nodes[&node].journal;
        self.nodes.insert(node, Node::new(node, boot));
        self.node(node).journal = journal;
        if node == DIRECTORY {
            self.directory.node_up(node, boot);
            if journal.is_some() {
                // Before anybody else can ask for it.
                let command = DirectoryCommand::Place {
                    agent: self.agent.clone(),
                    prefer: Some(node),
                };
                let (_, needs) = self.directory.ask(Origin { node, boot }, &command);
                self.own(node, 3, Event::Synced(needs));
            }
        }
        let soon = self.rng.pick(&[5, 100, 5_000, 20_000]);
        self.own(node, soon, Event::Recall(node));
        for other in NODES {
            self.connect(node, other);
        }
    }

    /// An operator declares a node dead. The directory refuses what it has a
    /// connection to.
    pub(crate) fn declare(&mut self, node: NodeId) {
        let alive = self.nodes[&node].alive;
        if alive && !self.plan.lies {
            return;
        }
        if let Some(needs) = self.directory.declare_dead(node) {
            self.note(format!("{node} is declared dead, alive: {alive}"));
            self.owner_crashed |= alive;
            self.own(DIRECTORY, 3, Event::Synced(needs));
        }
    }

    /// A node that lives hears that it was declared dead: it ends itself.
    pub(crate) fn told_that_it_is_dead(&mut self, node: NodeId) {
        self.note(format!("{node} hears that it is dead"));
        self.crash(node, 50);
    }

    pub(crate) fn connect(&mut self, a: NodeId, b: NodeId) {
        if a != b && self.nodes[&a].alive && self.nodes[&b].alive {
            for (x, y) in [(a, b), (b, a)] {
                let delay = self.rng.below(10);
                self.own(x, delay, Event::Connected(x, y));
            }
        }
    }

    pub(crate) fn cut(&mut self, a: NodeId, b: NodeId, back: u64) {
        if a == b || !self.cut.insert(pair(a, b)) {
            return;
        }
        self.note(format!("{a} and {b} are cut for {back} ms"));
        self.own(a, 5, Event::Disconnected(a, b));
        self.own(b, 5, Event::Disconnected(b, a));
        self.later(back.max(10), Event::Mend(a, b));
    }
}
