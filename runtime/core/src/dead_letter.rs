//! Messages that ended without being applied, as they are kept for operators.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::control::Verdict;
use crate::{AgentId, Envelope, KindName, Millis, NodeId};

/// Names a dead letter, as in `node-2.5.17`: the 17th of `node-2` since its
/// fifth start. No two letters ever have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// The node that keeps it.
    pub node: NodeId,
    /// How often that node had started.
    pub boot: u64,
    /// Counted since that start, from 1.
    pub number: u64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.boot, self.number)
    }
}

impl FromStr for LetterId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().unwrap_or_default();
        let (node, boot, number) = (part().parse(), part().parse(), part().parse());
        match (node, boot, number) {
            (Ok(node), Ok(boot), Ok(number)) => Ok(Self { node, boot, number }),
            _ => {
                let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
                Err(format!(
                    "`{shown}` is no dead letter's id: write node-2.5.17 or 2.5.17"
                ))
            }
        }
    }
}

/// A message that ended without being applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its name.
    pub id: LetterId,
    /// When it ended, since 1970-01-01 UTC.
    pub at: Millis,
    /// A stable word for the reason, of [`DeadReason::CODES`](crate::DeadReason::CODES).
    pub reason: Arc<str>,
    /// More about it, such as a backtrace.
    pub detail: Arc<str>,
    /// How often it was tried.
    pub attempts: u32,
    /// The message as it came.
    pub envelope: Arc<Envelope>,
}

/// Which dead letters: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Kept by this node.
    pub node: Option<NodeId>,
    /// For agents of this kind.
    pub kind: Option<KindName>,
    /// For this agent.
    pub agent: Option<AgentId>,
    /// Ended for this reason.
    pub reason: Option<Arc<str>>,
}

impl LetterFilter {
    /// Whether the letter is one of those.
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        let Self {
            node,
            kind,
            agent,
            reason,
        } = self;
        let to = letter.envelope.receiver();
        node.is_none_or(|node| node == letter.id.node)
            && kind.as_ref().is_none_or(|kind| kind.as_str() == to.kind())
            && agent.as_ref().is_none_or(|agent| agent == to)
            && reason
                .as_ref()
                .is_none_or(|reason| *reason == letter.reason)
    }
}

/// What an operation on dead letters is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letters {
    /// This one.
    One(LetterId),
    /// All of these.
    Matching(LetterFilter),
}

/// What became of a dead letter that was sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Which one.
    pub letter: LetterId,
    /// How the message ended this time. Applied, and dead once more as another
    /// letter, take the letter away; otherwise it stays.
    pub verdict: Verdict,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Lane, Payload, Sender, StreamKey};

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = LetterId {
            node: NodeId(2),
            boot: 5,
            number: 17,
        };
        assert_eq!(id.to_string(), "node-2.5.17");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("2.5.17".parse(), Ok(id));
        for bad in [
            "",
            "17",
            "2.5",
            "node-2.5.17.1",
            "2.5.x",
            "a.5.17",
            "2.5.-1",
        ] {
            let error = bad.parse::<LetterId>().unwrap_err();
            assert!(error.contains("node-2.5.17"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_filter_takes_what_fits_all_of_it() {
        let letter = DeadLetter {
            id: "2.5.17".parse().unwrap(),
            at: Millis(1),
            reason: "trapped".into(),
            detail: "".into(),
            attempts: 3,
            envelope: Arc::new(Envelope {
                stream: StreamKey::shared(
                    Sender::System,
                    AgentId::new("counter/a").unwrap(),
                    Lane::Normal,
                ),
                sequence: None,
                extras: None,
                body: Body::Spawn {
                    config: Payload::default(),
                    ask: None,
                },
            }),
        };
        let all = LetterFilter {
            node: Some(NodeId(2)),
            kind: KindName::new("counter").ok(),
            agent: AgentId::new("counter/a").ok(),
            reason: Some("trapped".into()),
        };
        assert!(all.takes(&letter) && LetterFilter::default().takes(&letter));
        let others = [
            LetterFilter {
                node: Some(NodeId(1)),
                ..all.clone()
            },
            LetterFilter {
                kind: KindName::new("count").ok(),
                ..all.clone()
            },
            LetterFilter {
                agent: AgentId::new("counter/b").ok(),
                ..all.clone()
            },
            LetterFilter {
                reason: Some("stopped".into()),
                ..all
            },
        ];
        assert!(others.iter().all(|filter| !filter.takes(&letter)));
    }
}
