//! Where an agent is that lives elsewhere, as far as one node has heard.

use phoenix_core::{Millis, NodeId};

/// How long a node passes on what others sent by what it has heard: 1 s. Who
/// sends much is told of every move, so few messages are passed on at all.
pub const PASS_ON_WITHIN: Millis = Millis(1_000);

/// Where an agent was last heard to be.
///
/// What was heard is not taken back: a node that an agent left, and that is to
/// have it again, does not hear of it if the agent never comes. Nodes may then
/// point at each other, so none passes messages on by old hearsay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The node.
    pub node: NodeId,
    /// Under which generation it lives there.
    pub generation: u64,
    /// When that was heard.
    pub heard: Millis,
}

impl Whereabouts {
    /// Whether that was heard so long ago that the directory is better asked, if the node
    /// cannot be reached.
    pub fn is_old(&self, now: Millis) -> bool {
        now >= self.heard + PASS_ON_WITHIN
    }

    /// Whether a message for the agent goes there; if not, the directory is to be
    /// asked anew. `origin` is the node that the message came from at first, if a
    /// peer brought it: the own one if it was sent from here and came back.
    pub fn leads_on(&self, own: NodeId, origin: Option<NodeId>, now: Millis) -> bool {
        self.node != own
            && match origin {
                None => true,
                Some(origin) => origin != own && !self.is_old(now),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId(1);

    fn at(node: u32) -> Whereabouts {
        Whereabouts {
            node: NodeId(node),
            generation: 3,
            heard: Millis(5_000),
        }
    }

    #[test]
    fn own_messages_go_where_the_agent_was_last_heard_to_be() {
        assert!(at(2).leads_on(OWN, None, Millis(900_000)));
        assert!(!at(1).leads_on(OWN, None, Millis(5_000)), "it is not here");
    }

    #[test]
    fn those_of_others_are_passed_on_for_a_while() {
        let other = Some(NodeId(3));
        assert!(at(2).leads_on(OWN, other, Millis(5_999)));
        assert!(!at(2).leads_on(OWN, other, Millis(6_000)));
    }

    #[test]
    fn old_hearsay_of_a_node_that_is_gone_is_not_relied_on() {
        assert!(!at(2).is_old(Millis(5_999)));
        assert!(at(2).is_old(Millis(6_000)));
    }

    #[test]
    fn what_came_back_is_not_sent_there_again() {
        assert!(!at(2).leads_on(OWN, Some(OWN), Millis(5_000)));
    }
}
