//! The nodes as the directory knows them.

use std::collections::BTreeMap;

use phoenix_core::{AgentId, NodeId};

/// Whether a node may be given new agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Connected.
    Up,
    /// Connected and about to stop.
    Leaving,
    /// Not connected.
    Down,
}

/// A node as the directory knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// The highest boot counter it was seen with.
    pub boot: u64,
    /// Whether it may be given new agents. Not kept across restarts of the directory.
    pub standing: Standing,
    /// Whether an operator declared it dead, in the life of that counter.
    pub dead: bool,
}

/// Why a node is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeRefused {
    /// It was seen with a higher boot counter before.
    #[error(
        "{node} says it started {said} times, and was seen here after {known} starts: \
         is its data directory an old copy?"
    )]
    OldBoot {
        /// Which node.
        node: NodeId,
        /// Its counter.
        said: u64,
        /// The counter known.
        known: u64,
    },
    /// An operator declared this life of it dead.
    #[error("{node} was declared dead after {boot} starts: only its next start is welcome")]
    DeclaredDead {
        /// Which node.
        node: NodeId,
        /// The counter of the life that is over.
        boot: u64,
    },
    /// There are as many nodes as the directory remembers.
    #[error("the directory knows {0} nodes already, its bound")]
    TooMany(usize),
}

/// Why a node cannot be declared dead. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeathRefused {
    /// It holds the directory that would record it.
    #[error("{0} holds the directory, and is here to say that it lives")]
    Own(NodeId),
    /// It was never seen.
    #[error("no {0} was ever in the cluster")]
    Unknown(NodeId),
    /// It is connected.
    #[error("{0} is connected, so it lives: stop it instead")]
    Connected(NodeId),
}

#[derive(Clone, Debug)]
pub(super) struct Nodes {
    own: NodeId,
    known: BTreeMap<NodeId, NodeEntry>,
}

impl Nodes {
    pub(super) fn new(own: NodeId) -> Self {
        Self {
            own,
            known: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, NodeEntry)> + '_ {
        self.known.iter().map(|(node, entry)| (*node, *entry))
    }

    /// The boot counter known; 0 before the node was ever seen.
    pub(super) fn boot(&self, node: NodeId) -> u64 {
        self.known.get(&node).map_or(0, |entry| entry.boot)
    }

    pub(super) fn knows(&self, node: NodeId) -> bool {
        self.known.contains_key(&node)
    }

    pub(super) fn set_boot(&mut self, node: NodeId, boot: u64) {
        let standing = if node == self.own {
            Standing::Up
        } else {
            Standing::Down
        };
        let entry = self.known.entry(node).or_insert(NodeEntry {
            boot,
            standing,
            dead: false,
        });
        entry.dead &= entry.boot == boot;
        entry.boot = boot;
    }

    pub(super) fn get(&self, node: NodeId) -> Option<NodeEntry> {
        self.known.get(&node).copied()
    }

    /// Whether the last life seen of the node was declared dead.
    pub(super) fn is_dead(&self, node: NodeId) -> bool {
        self.known.get(&node).is_some_and(|entry| entry.dead)
    }

    pub(super) fn set_dead(&mut self, node: NodeId) {
        if let Some(entry) = self.known.get_mut(&node) {
            entry.dead = true;
        }
    }

    pub(super) fn set_standing(&mut self, node: NodeId, standing: Standing) {
        if let Some(entry) = self.known.get_mut(&node) {
            entry.standing = standing;
        }
    }

    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        let entry = self.known.get(&node);
        entry.is_some_and(|entry| entry.standing != Standing::Down)
    }

    /// Where a new agent lives: on `prefer` if that is up, otherwise on the node
    /// that scores highest for it (rendezvous hashing: when a node comes or goes,
    /// only its own share of the choices changes).
    pub(super) fn choose(&self, agent: &AgentId, prefer: Option<NodeId>) -> NodeId {
        let up = |node: NodeId| {
            self.known
                .get(&node)
                .is_some_and(|entry| entry.standing == Standing::Up)
        };
        if let Some(prefer) = prefer.filter(|node| up(*node)) {
            return prefer;
        }
        let hash = agent.placement_hash();
        self.known
            .keys()
            .copied()
            .filter(|node| up(*node))
            .max_by_key(|node| (mix(hash ^ mix(u64::from(node.0))), *node))
            .unwrap_or(self.own)
    }
}

/// The finaliser of splitmix64: every input bit reaches every output bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u32) -> Nodes {
        let mut nodes = Nodes::new(NodeId(1));
        for id in 1..=count {
            nodes.set_boot(NodeId(id), 1);
            nodes.set_standing(NodeId(id), Standing::Up);
        }
        nodes
    }

    #[test]
    fn agents_spread_evenly_and_few_move_when_a_node_comes() {
        let agents: Vec<AgentId> = (0..4_000)
            .map(|i| AgentId::new(&format!("counter/{i}")).unwrap())
            .collect();
        let (four, five) = (nodes(4), nodes(5));
        let mut share = [0_u32; 6];
        let mut moved = 0;
        for agent in &agents {
            let (before, after) = (four.choose(agent, None), five.choose(agent, None));
            share[before.0 as usize] += 1;
            if before != after {
                assert_eq!(after, NodeId(5), "only the new node gains");
                moved += 1;
            }
        }
        assert!(
            share[1..5].iter().all(|n| (850..1_150).contains(n)),
            "{share:?}"
        );
        assert!((650..950).contains(&moved), "{moved} of 4,000");
    }

    #[test]
    fn a_preferred_node_must_be_up() {
        let mut nodes = nodes(3);
        let agent = AgentId::new("counter/a").unwrap();
        assert_eq!(nodes.choose(&agent, Some(NodeId(2))), NodeId(2));
        for standing in [Standing::Leaving, Standing::Down] {
            nodes.set_standing(NodeId(2), standing);
            assert_ne!(nodes.choose(&agent, Some(NodeId(2))), NodeId(2));
        }
        assert_ne!(nodes.choose(&agent, Some(NodeId(9))), NodeId(9));
        for id in 1..=3 {
            nodes.set_standing(NodeId(id), Standing::Down);
        }
        assert_eq!(
            nodes.choose(&agent, None),
            NodeId(1),
            "its own node is the last resort"
        );
    }
}
