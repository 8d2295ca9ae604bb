//! The mailbox against one that is as simple as it can be: lists of messages,
//! looked through from the front each time.

use std::sync::Arc;

use phoenix_wit::ContentType;
use proptest::prelude::*;

use super::*;
use crate::{AgentId, Body, Incarnation, Payload, StreamKey};

/// A message is known by the number in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    number: u64,
    lane: Lane,
    speaker: u8,
    interleaves: bool,
    size: usize,
}

fn input(message: Message) -> Input {
    let mut bytes = vec![0; message.size.max(8)];
    bytes[..8].copy_from_slice(&message.number.to_le_bytes());
    let id = AgentId::new(&format!("a/{}", message.speaker)).unwrap();
    let method = if message.interleaves { "beside" } else { "do" };
    let envelope = Envelope {
        stream: StreamKey::shared(
            Sender::Agent(id, Incarnation::default()),
            AgentId::new("a/b").unwrap(),
            message.lane,
        ),
        sequence: None,
        body: Body::Message {
            method: method.into(),
            payload: Payload {
                content_type: ContentType::Binary,
                bytes: bytes.into(),
            },
            ask: None,
        },
        extras: None,
    };
    Input::Envelope(Arc::new(envelope), None)
}

fn number(input: &Input) -> u64 {
    let Input::Envelope(envelope, _) = input else {
        panic!("{input:?}")
    };
    let Body::Message { payload, .. } = &envelope.body else {
        panic!("{envelope:?}")
    };
    u64::from_le_bytes(payload.bytes[..8].try_into().unwrap())
}

fn may_run(envelope: &Arc<Envelope>) -> bool {
    matches!(&envelope.body, Body::Message { method, .. } if &**method == "beside")
}

/// What the mailbox should do.
#[derive(Default)]
struct Oracle {
    lanes: [Vec<Message>; 4],
    deferred: [usize; 4],
    /// What is left of each lane's share of the round.
    left: [u32; 4],
    again: Vec<usize>,
}

const SHARES: [u32; 4] = [8, 4, 2, 1];

impl Oracle {
    /// Of the lanes where `choose` finds something, the one whose turn it is, and
    /// what it found there.
    fn turn(&mut self, choose: impl Fn(&Self, usize) -> Option<usize>) -> Option<Message> {
        let found: Vec<Option<usize>> = (0..4).map(|lane| choose(self, lane)).collect();
        let lane = match self.again.first() {
            Some(lane) if found[*lane].is_some() => self.again.remove(0),
            _ => {
                let any = (0..4).find(|lane| found[*lane].is_some())?;
                self.again.clear();
                let with_share = (0..4).find(|lane| found[*lane].is_some() && self.left[*lane] > 0);
                let lane = with_share.unwrap_or_else(|| {
                    self.left = SHARES;
                    any
                });
                self.left[lane] -= 1;
                lane
            }
        };
        let at = found[lane].unwrap();
        if at < self.deferred[lane] {
            self.deferred[lane] -= 1;
        }
        Some(self.lanes[lane].remove(at))
    }

    fn pop(&mut self) -> Option<Message> {
        self.turn(|oracle, lane| (!oracle.lanes[lane].is_empty()).then_some(0))
    }

    fn pop_interleaving(&mut self) -> Option<Message> {
        self.turn(|oracle, lane| {
            let messages = &oracle.lanes[lane];
            (oracle.deferred[lane]..messages.len().min(INTERLEAVE_DEPTH)).find(|at| {
                let mut before = messages[..*at].iter();
                messages[*at].interleaves
                    && before.all(|other| other.speaker != messages[*at].speaker)
            })
        })
    }

    fn put_front(&mut self, messages: &[Message], deferred: bool) {
        for message in messages.iter().rev() {
            let lane = message.lane as usize;
            self.lanes[lane].insert(0, *message);
            self.deferred[lane] += usize::from(deferred);
        }
    }

    fn drop_oldest(&mut self, least: Lane) -> Option<Message> {
        let lane = (least as usize..4)
            .rev()
            .find(|lane| !self.lanes[*lane].is_empty())?;
        self.deferred[lane] = self.deferred[lane].saturating_sub(1);
        Some(self.lanes[lane].remove(0))
    }

    fn all(&self) -> Vec<u64> {
        self.lanes.iter().flatten().map(|it| it.number).collect()
    }

    fn bytes(&self) -> u64 {
        let sizes = self.lanes.iter().flatten();
        sizes.map(|it| input(*it).size()).sum()
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(Lane, u8, bool, usize),
    Pop,
    PopInterleaving,
    /// A batch of so many is undone.
    Undo(usize),
    /// The guest defers so many.
    Defer(usize),
    Retry,
    DropOldest(Lane),
    MakeRoom(Lane, usize, u32, u64),
}

fn lane() -> impl Strategy<Value = Lane> {
    prop::sample::select(&Lane::MESSAGES[..])
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (lane(), 0..3u8, any::<bool>(), 8..40usize)
            .prop_map(|(lane, speaker, beside, size)| Op::Push(lane, speaker, beside, size)),
        4 => Just(Op::Pop),
        3 => Just(Op::PopInterleaving),
        1 => (1..6usize).prop_map(Op::Undo),
        1 => (1..4usize).prop_map(Op::Defer),
        1 => Just(Op::Retry),
        1 => lane().prop_map(Op::DropOldest),
        1 => (lane(), 8..400usize, 1..8u32, 200..2_000u64)
            .prop_map(|(lane, size, messages, bytes)| Op::MakeRoom(lane, size, messages, bytes)),
    ]
}

/// Whether dropping the oldest one by one makes room.
fn makes_room(oracle: &Oracle, least: Lane, size: usize, messages: u32, bytes: u64) -> bool {
    let mut copy = Oracle {
        lanes: oracle.lanes.clone(),
        ..Oracle::default()
    };
    loop {
        let count = copy.all().len();
        if count < messages as usize && copy.bytes() + size as u64 <= bytes {
            return true;
        }
        if copy.drop_oldest(least).is_none() {
            return false;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn lanes_are_served_as_by_the_simplest_mailbox(ops in prop::collection::vec(op(), 1..60)) {
        let mut mailbox = Mailbox::default();
        let mut oracle = Oracle { left: SHARES, ..Oracle::default() };
        let mut next = 0;
        let take = |mailbox: &mut Mailbox, oracle: &mut Oracle| {
            (mailbox.pop_message(), oracle.pop())
        };
        for op in ops {
            match op {
                Op::Push(lane, speaker, interleaves, size) => {
                    next += 1;
                    let message = Message { number: next, lane, speaker, interleaves, size };
                    mailbox.push_message(input(message));
                    oracle.lanes[lane as usize].push(message);
                }
                Op::Pop => {
                    let front = mailbox.front_message().map(number);
                    let (popped, expected) = take(&mut mailbox, &mut oracle);
                    let popped = popped.as_ref().map(number);
                    prop_assert_eq!(popped, expected.map(|it| it.number));
                    prop_assert_eq!(front, popped, "the front is what is taken");
                }
                Op::PopInterleaving => {
                    let found = mailbox.next_interleaving(may_run).map(number);
                    let expected = oracle.pop_interleaving().map(|it| it.number);
                    prop_assert_eq!(found, expected);
                    if found.is_some() {
                        let taken = mailbox.take_interleaving().as_ref().map(number);
                        prop_assert_eq!(taken, found);
                    }
                }
                Op::Undo(count) | Op::Defer(count) => {
                    let taken: Vec<_> = (0..count)
                        .map_while(|_| {
                            let (input, message) = take(&mut mailbox, &mut oracle);
                            Some((input?, message?))
                        })
                        .collect();
                    let (inputs, messages): (Vec<Input>, Vec<Message>) = taken.into_iter().unzip();
                    if let Op::Undo(_) = op {
                        mailbox.restore(inputs.into_iter());
                        oracle.deferred = [0; 4];
                        oracle.again = messages.iter().map(|it| it.lane as usize).collect();
                    } else {
                        mailbox.defer(inputs);
                    }
                    oracle.put_front(&messages, matches!(op, Op::Defer(_)));
                }
                Op::Retry => {
                    mailbox.retry_deferred();
                    oracle.deferred = [0; 4];
                }
                Op::DropOldest(least) => {
                    let dropped = mailbox.drop_oldest(least).as_ref().map(number);
                    prop_assert_eq!(dropped, oracle.drop_oldest(least).map(|it| it.number));
                }
                Op::MakeRoom(least, size, messages, bytes) => {
                    let policy = KindPolicy {
                        mailbox_messages: messages,
                        mailbox_bytes: bytes,
                        ..KindPolicy::default()
                    };
                    prop_assert_eq!(
                        mailbox.can_make_room(size, least, &policy),
                        makes_room(&oracle, least, size, messages, bytes)
                    );
                }
            }
            let waiting: Vec<u64> = mailbox.iter().map(number).collect();
            prop_assert_eq!(waiting, oracle.all());
            let level = mailbox.level();
            prop_assert_eq!((level.messages as usize, level.bytes), (oracle.all().len(), oracle.bytes()));
            for lane in Lane::MESSAGES {
                prop_assert_eq!(mailbox.lane_len(lane), oracle.lanes[lane as usize].len());
            }
        }
        let rest = oracle.all();
        prop_assert_eq!(mailbox.drain().iter().map(number).collect::<Vec<_>>(), rest);
        prop_assert_eq!((mailbox.len(), mailbox.level()), (0, Amount::default()));
    }

    /// However many messages of the other lanes come, and whenever.
    #[test]
    fn no_lane_starves(
        waits in lane(),
        others in prop::collection::vec((lane(), 0..4usize), 1..80),
        warm_up in 0..40usize,
    ) {
        /// By [`rota::Rota`]'s table.
        const LONGEST: [usize; 4] = [7, 19, 25, 28];
        let mut mailbox = Mailbox::default();
        let message = |number, lane| {
            input(Message { number, lane, speaker: 0, interleaves: false, size: 8 })
        };
        let mut others = others.into_iter().cycle();
        let mut push = |mailbox: &mut Mailbox| {
            let (lane, count) = others.next().unwrap();
            for _ in 0..count {
                mailbox.push_message(message(0, lane));
            }
        };
        for _ in 0..warm_up {
            push(&mut mailbox);
            mailbox.pop_message();
        }
        // What waits in its own lane before it goes first.
        let before = mailbox.lane_len(waits);
        mailbox.push_message(message(1, waits));
        let mut waited = 0;
        let mut own = before;
        loop {
            push(&mut mailbox);
            let input = mailbox.pop_message().unwrap();
            if number(&input) == 1 {
                break;
            }
            if input.lane() != waits {
                waited += 1;
            } else {
                own -= 1;
                // Only the first of a lane has the promise.
                waited = 0;
            }
            prop_assert!(waited <= LONGEST[waits as usize], "{waited} for {waits:?}, {own} before");
        }
    }

    /// What was shipped is not sent after the agent, and all the rest is.
    #[test]
    fn what_comes_after_a_snapshot_is_sent_after_the_agent(
        before in prop::collection::vec(lane(), 0..20),
        after in prop::collection::vec(lane(), 0..20),
        pops in 0..5usize,
    ) {
        let mut mailbox = Mailbox::default();
        let mut numbers = 1..;
        let mut push = |mailbox: &mut Mailbox, lanes: &[Lane]| -> Vec<(Lane, u64)> {
            let pushed: Vec<(Lane, u64)> = lanes.iter().copied().zip(&mut numbers).collect();
            for (lane, number) in &pushed {
                let (lane, number) = (*lane, *number);
                mailbox.push_message(input(Message {
                    number,
                    lane,
                    speaker: 0,
                    interleaves: false,
                    size: 8,
                }));
            }
            pushed
        };
        push(&mut mailbox, &before);
        for _ in 0..pops {
            mailbox.pop_message();
        }
        mailbox.mark_shipped();
        prop_assert!(mailbox.is_shipped());
        let mut late = push(&mut mailbox, &after);
        late.sort_by_key(|(lane, _)| *lane);
        let sent: Vec<u64> = mailbox.take_unshipped().iter().map(number).collect();
        prop_assert_eq!(sent, late.iter().map(|(_, number)| *number).collect::<Vec<_>>());
        prop_assert_eq!(mailbox.len(), 0);
    }
}
