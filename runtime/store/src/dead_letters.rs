//! Messages that ended without being applied, as many as are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashSet;
use phoenix_core::control::{DeadLetter, LetterFilter, LetterId};
use phoenix_core::{Body, Data, Envelope, NodeId, Payload};

/// Bytes kept in all, 64 MiB.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of letters that one listing holds, 8 MiB; the first is in it whatever
/// it takes.
const MAX_LISTED: usize = 8 << 20;

/// What had to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushedOut {
    /// Letters.
    pub letters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A letter that is not kept, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLetter {
    /// It is another node's.
    #[error("{0} is kept by {node}", node = .0.node)]
    Elsewhere(LetterId),
    /// It went with an earlier life of the node.
    #[error(
        "{0} was kept until {node} started anew: dead letters are in memory, and end with it",
        node = .0.node
    )]
    Earlier(LetterId),
    /// There never was one of that number.
    #[error(
        "there is no {asked}: the letters of {node} since its start end with number {last}",
        node = asked.node
    )]
    Never {
        /// Which was asked for.
        asked: LetterId,
        /// The last number that was given.
        last: u64,
    },
    /// It was there.
    #[error("{0} is gone: it was sent again, purged, or had to make room for newer ones")]
    Gone(LetterId),
}

/// The last dead letters of a node; older ones make room for newer ones, and are counted.
#[derive(Debug)]
pub struct DeadLetters {
    /// In order of their numbers.
    letters: VecDeque<DeadLetter>,
    /// The name of the one that was pushed last.
    last: LetterId,
    max_letters: usize,
    max_bytes: usize,
    bytes: usize,
    pushed_out: PushedOut,
}

impl DeadLetters {
    /// Those of `node` since it started for the `boot`th time: at most so many, and 64 MiB.
    pub fn new(node: NodeId, boot: u64, max_letters: usize) -> Self {
        Self::with_bounds(node, boot, max_letters, MAX_BYTES)
    }

    /// The same with another bound of bytes.
    pub fn with_bounds(node: NodeId, boot: u64, max_letters: usize, max_bytes: usize) -> Self {
        let number = 0;
        Self {
            letters: VecDeque::new(),
            last: LetterId { node, boot, number },
            max_letters,
            max_bytes,
            bytes: 0,
            pushed_out: PushedOut::default(),
        }
    }

    /// Takes a letter in and gives it its name, whatever it has. One that is
    /// larger than all room is counted and not kept.
    pub fn push(&mut self, mut letter: DeadLetter) -> LetterId {
        self.last.number += 1;
        letter.id = self.last;
        letter.envelope = Arc::new(own(&letter.envelope));
        self.bytes += size(&letter);
        self.letters.push_back(letter);
        while self.letters.len() > self.max_letters || self.bytes > self.max_bytes {
            let Some(oldest) = self.letters.pop_front() else {
                break;
            };
            let bytes = size(&oldest);
            self.bytes -= bytes;
            self.pushed_out.letters += 1;
            self.pushed_out.bytes += bytes as u64;
        }
        self.last
    }

    /// Letters that the filter takes, oldest first: at most `limit` of them and
    /// 8 MiB, and whether there are more.
    pub fn list(&self, filter: &LetterFilter, limit: usize) -> (Vec<DeadLetter>, bool) {
        let mut listed = Vec::new();
        let mut bytes = 0;
        for letter in self.letters.iter().filter(|letter| filter.takes(letter)) {
            bytes += size(letter);
            if listed.len() >= limit || (bytes > MAX_LISTED && !listed.is_empty()) {
                return (listed, true);
            }
            listed.push(letter.clone());
        }
        (listed, false)
    }

    /// The letter of that name.
    pub fn get(&self, id: LetterId) -> Result<&DeadLetter, NoLetter> {
        if id.node != self.last.node {
            return Err(NoLetter::Elsewhere(id));
        }
        if id.boot < self.last.boot {
            return Err(NoLetter::Earlier(id));
        }
        if id.boot > self.last.boot || id.number == 0 || id.number > self.last.number {
            return Err(NoLetter::Never {
                asked: id,
                last: self.last.number,
            });
        }
        self.letters
            .binary_search_by_key(&id.number, |letter| letter.id.number)
            .ok()
            .and_then(|at| self.letters.get(at))
            .ok_or(NoLetter::Gone(id))
    }

    /// Throws away the letters of these names, those of them that are there.
    /// Says how many.
    pub fn remove(&mut self, ids: &HashSet<LetterId>) -> usize {
        self.remove_if(|letter| ids.contains(&letter.id))
    }

    /// Throws away the letters that the filter takes. Says how many.
    pub fn purge(&mut self, filter: &LetterFilter) -> usize {
        self.remove_if(|letter| filter.takes(letter))
    }

    fn remove_if(&mut self, goes: impl Fn(&DeadLetter) -> bool) -> usize {
        let before = self.letters.len();
        let mut freed = 0;
        self.letters.retain(|letter| {
            let goes = goes(letter);
            if goes {
                freed += size(letter);
            }
            !goes
        });
        self.bytes -= freed;
        before - self.letters.len()
    }

    /// Letters kept.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What had to make room so far.
    pub fn pushed_out(&self) -> PushedOut {
        self.pushed_out
    }
}

/// The envelope with payload bytes of its own: they may be a part of a frame,
/// all of which they would keep in memory.
fn own(envelope: &Envelope) -> Envelope {
    let mut own = envelope.clone();
    let copy = |payload: &mut Payload| payload.bytes = Data::from(&*payload.bytes);
    match &mut own.body {
        Body::Message { payload, .. } => copy(payload),
        Body::Spawn { config, .. } => copy(config),
        Body::Bounce(bounce) => copy(&mut bounce.payload),
        Body::Reply { .. } => {}
    }
    own
}

/// Bytes a letter counts for.
fn size(letter: &DeadLetter) -> usize {
    /// What it costs beside its texts and the envelope.
    const OVERHEAD: usize = 160;
    OVERHEAD + letter.envelope.size() + letter.reason.len() + letter.detail.len()
}

#[cfg(test)]
mod tests {
    use phoenix_core::{AgentId, Lane, Millis, Sender, StreamKey};

    use super::*;

    fn letter(to: &str, bytes: usize) -> DeadLetter {
        let number = 0;
        DeadLetter {
            id: LetterId {
                node: NodeId(0),
                boot: 0,
                number,
            },
            at: Millis(1),
            reason: "trapped".into(),
            detail: "".into(),
            attempts: 3,
            envelope: Arc::new(Envelope {
                stream: StreamKey::shared(Sender::System, AgentId::new(to).unwrap(), Lane::Normal),
                sequence: None,
                body: Body::Message {
                    method: "add".into(),
                    payload: Payload {
                        bytes: vec![0; bytes].into(),
                        ..Payload::default()
                    },
                    ask: None,
                },
                extras: None,
            }),
        }
    }

    fn new(max_letters: usize, max_bytes: usize) -> DeadLetters {
        DeadLetters::with_bounds(NodeId(2), 5, max_letters, max_bytes)
    }

    fn id(text: &str) -> LetterId {
        text.parse().unwrap()
    }

    fn numbers(letters: &DeadLetters) -> Vec<u64> {
        let (listed, more) = letters.list(&LetterFilter::default(), 100);
        assert!(!more);
        listed.iter().map(|letter| letter.id.number).collect()
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut letters = new(3, 1 << 20);
        for _ in 0..5 {
            letters.push(letter("counter/a", 10));
        }
        assert_eq!(numbers(&letters), [3, 4, 5]);
        assert_eq!(letters.pushed_out().letters, 2);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut letters = new(100, 1_500);
        letters.push(letter("counter/a", 300));
        letters.push(letter("counter/a", 300));
        assert_eq!(numbers(&letters), [1, 2]);
        letters.push(letter("counter/a", 900));
        assert_eq!(numbers(&letters), [3]);
        letters.push(letter("counter/a", 5_000));
        assert!(letters.is_empty(), "one that never fits is not kept");
        assert_eq!((letters.bytes(), letters.pushed_out().letters), (0, 4));
        let next = letters.push(letter("counter/a", 1));
        assert_eq!(next, id("node-2.5.5"), "numbers go on");
    }

    #[test]
    fn a_listing_says_whether_there_is_more() {
        let mut letters = new(100, 64 << 20);
        for to in ["counter/a", "visitor/a", "counter/b"] {
            letters.push(letter(to, 5 << 20));
        }
        let list = |filter: &LetterFilter, limit| {
            let (listed, more) = letters.list(filter, limit);
            let numbers: Vec<_> = listed.iter().map(|letter| letter.id.number).collect();
            (numbers, more)
        };
        let all = LetterFilter::default();
        assert_eq!(list(&all, 1), (vec![1], true));
        assert_eq!(list(&all, 3), (vec![1], true), "10 MiB are too many");
        let visitors = LetterFilter {
            agent: AgentId::new("visitor/a").ok(),
            ..all
        };
        assert_eq!(list(&visitors, 1), (vec![2], false));
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let mut letters = new(2, 1 << 20);
        for _ in 0..3 {
            letters.push(letter("counter/a", 1));
        }
        assert_eq!(letters.get(id("2.5.2")).unwrap().id, id("2.5.2"));
        let missing = |text| letters.get(id(text)).unwrap_err();
        assert_eq!(missing("1.5.2"), NoLetter::Elsewhere(id("1.5.2")));
        assert_eq!(missing("2.4.2"), NoLetter::Earlier(id("2.4.2")));
        assert_eq!(missing("2.5.1"), NoLetter::Gone(id("2.5.1")));
        for never in ["2.5.0", "2.5.4", "2.6.1"] {
            let asked = id(never);
            assert_eq!(missing(never), NoLetter::Never { asked, last: 3 });
        }
    }

    #[test]
    fn letters_are_taken_away_by_name_and_by_filter() {
        let mut letters = new(100, 1 << 20);
        for to in ["counter/a", "visitor/a", "counter/b", "counter/c"] {
            letters.push(letter(to, 100));
        }
        let names = ["2.5.3", "2.5.9", "1.5.1"].map(id).into();
        assert_eq!(letters.remove(&names), 1);
        assert_eq!(numbers(&letters), [1, 2, 4]);
        assert_eq!(letters.get(id("2.5.3")), Err(NoLetter::Gone(id("2.5.3"))));
        let counters = LetterFilter {
            kind: phoenix_core::KindName::new("counter").ok(),
            ..LetterFilter::default()
        };
        assert_eq!(letters.purge(&counters), 2);
        assert_eq!(numbers(&letters), [2]);
        let mut alone = new(100, 1 << 20);
        alone.push(letter("visitor/a", 100));
        assert_eq!(letters.bytes(), alone.bytes(), "their bytes are free again");
    }

    #[test]
    fn a_letter_keeps_no_more_than_its_own_payload() {
        let mut letters = new(1, 1 << 20);
        let frame = bytes::Bytes::from(vec![7; 1 << 16]);
        let mut part = letter("counter/a", 0);
        let mut envelope = Envelope::clone(&part.envelope);
        if let Body::Message { payload, .. } = &mut envelope.body {
            payload.bytes = frame.slice(10..200).into();
        }
        part.envelope = Arc::new(envelope);
        letters.push(part);
        assert!(frame.is_unique(), "nothing of the frame is kept");
        let kept = letters.get(id("2.5.1")).unwrap();
        let Body::Message { payload, .. } = &kept.envelope.body else {
            panic!("it is a message");
        };
        assert_eq!(*payload.bytes, [7; 190]);
    }
}
