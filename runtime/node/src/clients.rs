//! Outside clients waiting at this node: for answers, and for verdicts.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use phoenix_core::control::{ControlError, Done, Response, Verdict};
use phoenix_core::{
    Acknowledgement, AgentId, ClientId, Lane, Millis, NodeId, Notice, Refusal, Reply, Sender,
    SkipReason, StreamKey, agent,
};

use crate::numbers::Numbers;

/// Calls and messages of sends that may wait at once.
const MAX_WAITING: usize = 100_000;
/// Deadlines of what has ended that may be kept, beside as many as still count.
const SLACK: usize = 1_024;

/// What an answer ends.
enum Waiting {
    /// A call.
    Call { done: Done },
    /// A spawn.
    Spawn { done: Done },
    /// One message of a send, whose verdict is whether it was answered at all.
    Message { send: u64, at: usize },
}

/// Messages sent together.
struct Send {
    verdicts: Vec<Option<Verdict>>,
    left: usize,
    done: Done,
}

/// A sequenced message without a verdict: its number, its send, its place there.
type Sequenced = (u64, u64, usize);

#[derive(Default)]
struct Inner {
    asks: HashMap<u64, Waiting>,
    sends: HashMap<u64, Send>,
    /// Messages of the sends.
    messages: usize,
    /// Sequenced messages without a verdict, by client, agent and lane.
    sequenced: HashMap<(ClientId, AgentId, Lane), BTreeSet<Sequenced>>,
    /// When calls, spawns and sends are over, by their numbers.
    deadlines: BinaryHeap<Reverse<(Millis, u64)>>,
    /// Nobody may wait any more: the node stops.
    closed: bool,
}

/// The table of waiting clients.
pub(crate) struct Clients {
    numbers: Numbers,
    inner: Mutex<Inner>,
}

/// Why nobody may wait. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayNotWait {
    /// The table is full.
    Crowded,
    /// The node stops.
    Stopping,
}

impl Clients {
    /// Those of the node's life with this boot counter: none yet.
    pub(crate) fn new(boot: u64) -> Self {
        Self {
            numbers: Numbers::of_life(boot),
            inner: Mutex::default(),
        }
    }

    fn number(&self) -> u64 {
        self.numbers.next()
    }

    /// Lets a call wait; the number is what its ask goes out under.
    pub(crate) fn call(&self, deadline: Millis, done: Done) -> Result<u64, (MayNotWait, Done)> {
        self.wait(deadline, Waiting::Call { done })
    }

    /// Lets a spawn wait.
    pub(crate) fn spawn(&self, deadline: Millis, done: Done) -> Result<u64, (MayNotWait, Done)> {
        self.wait(deadline, Waiting::Spawn { done })
    }

    fn wait(&self, deadline: Millis, waiting: Waiting) -> Result<u64, (MayNotWait, Done)> {
        let mut inner = self.inner.lock();
        if let Some(why) = inner.closed_to(1) {
            drop(inner);
            return match waiting {
                Waiting::Call { done, .. } | Waiting::Spawn { done, .. } => Err((why, done)),
                Waiting::Message { .. } => Ok(0),
            };
        }
        let id = self.number();
        inner.asks.insert(id, waiting);
        inner.note_deadline(deadline, id);
        Ok(id)
    }

    /// Begins a send of `count` messages.
    pub(crate) fn send(
        &self,
        count: usize,
        deadline: Millis,
        done: Done,
    ) -> Result<u64, (MayNotWait, Done)> {
        let mut inner = self.inner.lock();
        if let Some(why) = inner.closed_to(count) {
            drop(inner);
            return Err((why, done));
        }
        let id = self.number();
        let send = Send {
            verdicts: vec![None; count],
            left: count,
            done,
        };
        inner.messages += count;
        inner.sends.insert(id, send);
        inner.note_deadline(deadline, id);
        Ok(id)
    }

    /// Lets a sequenced message of a send wait for its verdict.
    pub(crate) fn expect(
        &self,
        client: &ClientId,
        stream: &StreamKey,
        sequence: u64,
        send: u64,
        at: usize,
    ) {
        let mut inner = self.inner.lock();
        inner
            .sequenced
            .entry((client.clone(), stream.receiver.clone(), stream.lane))
            .or_default()
            .insert((sequence, send, at));
    }

    /// A message of a send was not even sent.
    pub(crate) fn refused(&self, send: u64, at: usize, why: &str) {
        let verdict = Verdict::Refused {
            expected: None,
            reason: why.into(),
        };
        let ended = self.inner.lock().settle(send, at, verdict);
        finish(ended);
    }

    /// Lets an unsequenced message of a send wait; the number is what its ask goes out under.
    pub(crate) fn expect_answer(&self, send: u64, at: usize) -> u64 {
        let id = self.number();
        let mut inner = self.inner.lock();
        inner.asks.insert(id, Waiting::Message { send, at });
        id
    }

    /// An ask of a client's was answered by an agent on `node`.
    pub(crate) fn answered(&self, ask: u64, reply: Reply, node: NodeId) {
        let mut inner = self.inner.lock();
        let Some(waiting) = inner.asks.remove(&ask) else {
            return;
        };
        match waiting {
            Waiting::Call { done, .. } => {
                drop(inner);
                done(Ok(Response::Called(reply)));
            }
            Waiting::Spawn { done, .. } => {
                drop(inner);
                done(spawned(reply, node));
            }
            Waiting::Message { send, at } => {
                let verdict = match reply {
                    Reply::Ok(_) | Reply::Failed(_) => Verdict::Applied,
                    Reply::Bounced(why) => dead(&why),
                    Reply::Unavailable(reason) => Verdict::Refused {
                        expected: None,
                        reason,
                    },
                    Reply::TurnedDown(why) => Verdict::Refused {
                        expected: None,
                        reason: why.text,
                    },
                    Reply::Timeout | Reply::Deadlock => Verdict::Unknown,
                };
                let ended = inner.settle(send, at, verdict);
                drop(inner);
                finish(ended);
            }
        }
    }

    /// A receiver's node says what became of a client's messages.
    pub(crate) fn acknowledged(&self, acknowledgement: &Acknowledgement) {
        let Sender::Client(client, _) = &acknowledgement.stream.sender else {
            return;
        };
        let StreamKey { receiver, lane, .. } = &*acknowledgement.stream;
        let key = (client.clone(), receiver.clone(), *lane);
        let mut inner = self.inner.lock();
        let Some(waiting) = inner.sequenced.get_mut(&key) else {
            return;
        };
        let ended = match &acknowledgement.notice {
            Notice::Applied { after, through } => {
                let mut applied = waiting.split_off(&(after.saturating_add(1), 0, 0));
                waiting.append(&mut applied.split_off(&(through.saturating_add(1), 0, 0)));
                applied
            }
            Notice::Skipped { number, .. } => {
                let mut from = waiting.split_off(&(*number, 0, 0));
                waiting.append(&mut from.split_off(&(number.saturating_add(1), 0, 0)));
                from
            }
            Notice::Refused { expected, .. } => waiting.split_off(&(*expected, 0, 0)),
            // Clients hold by themselves.
            Notice::Credit { .. } => return,
        };
        if waiting.is_empty() {
            inner.sequenced.remove(&key);
        }
        let mut finished = Vec::new();
        for (_, send, at) in ended {
            let verdict = verdict_of(&acknowledgement.notice);
            finished.extend(inner.settle(send, at, verdict));
        }
        drop(inner);
        finish(finished);
    }

    /// Ends what has waited past its deadline.
    pub(crate) fn expire(&self, now: Millis) {
        let mut inner = self.inner.lock();
        let (mut calls, mut sends) = (Vec::new(), Vec::new());
        let mut over = HashSet::new();
        while let Some(Reverse((deadline, id))) = inner.deadlines.peek().copied()
            && deadline <= now
        {
            inner.deadlines.pop();
            calls.extend(inner.asks.remove(&id));
            if let Some(send) = inner.end_send(id) {
                sends.push(send);
                over.insert(id);
            }
        }
        if !over.is_empty() {
            inner.sequenced.retain(|_, waiting| {
                waiting.retain(|(_, send, _)| !over.contains(send));
                !waiting.is_empty()
            });
            inner
                .asks
                .retain(|_, waiting| !matches!(waiting, Waiting::Message { send, .. } if over.contains(send)));
        }
        drop(inner);
        for waiting in calls {
            match waiting {
                Waiting::Call { done, .. } => done(Ok(Response::Called(Reply::Timeout))),
                Waiting::Spawn { done, .. } => done(Err(ControlError::Unknown(
                    "nothing was heard of the spawn in time".to_owned(),
                ))),
                Waiting::Message { .. } => {}
            }
        }
        finish(sends);
    }

    /// Whether nobody may wait any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Ends everything, because the node stops, and lets nobody wait any more.
    pub(crate) fn close(&self) {
        let inner = {
            let mut inner = self.inner.lock();
            std::mem::replace(
                &mut *inner,
                Inner {
                    closed: true,
                    ..Inner::default()
                },
            )
        };
        for (_, waiting) in inner.asks {
            if let Waiting::Call { done, .. } | Waiting::Spawn { done, .. } = waiting {
                done(Err(ControlError::Unknown(
                    "the node is stopping, and no answer has come yet".to_owned(),
                )));
            }
        }
        finish(inner.sends.into_values());
    }
}

impl Inner {
    /// Why so many more may not wait, if they may not.
    fn closed_to(&self, more: usize) -> Option<MayNotWait> {
        if self.closed {
            Some(MayNotWait::Stopping)
        } else {
            // What a send waits for as an ask counts twice, which does no harm.
            let waiting = self.asks.len() + self.messages;
            (waiting.saturating_add(more) > MAX_WAITING).then_some(MayNotWait::Crowded)
        }
    }

    fn note_deadline(&mut self, deadline: Millis, id: u64) {
        if self.deadlines.len() > 2 * (self.asks.len() + self.sends.len()) + SLACK {
            let (asks, sends) = (&self.asks, &self.sends);
            self.deadlines
                .retain(|Reverse((_, id))| asks.contains_key(id) || sends.contains_key(id));
        }
        self.deadlines.push(Reverse((deadline, id)));
    }

    fn end_send(&mut self, id: u64) -> Option<Send> {
        let send = self.sends.remove(&id)?;
        self.messages -= send.verdicts.len();
        Some(send)
    }

    /// Notes one verdict; gives the send back if it was the last.
    fn settle(&mut self, send: u64, at: usize, verdict: Verdict) -> Option<Send> {
        let open = self.sends.get_mut(&send)?;
        let slot = open.verdicts.get_mut(at)?;
        if slot.is_none() {
            *slot = Some(verdict);
            open.left -= 1;
        }
        if open.left == 0 {
            self.end_send(send)
        } else {
            None
        }
    }
}

fn finish(sends: impl IntoIterator<Item = Send>) {
    for send in sends {
        let verdicts = send
            .verdicts
            .into_iter()
            .map(|verdict| verdict.unwrap_or(Verdict::Unknown))
            .collect();
        (send.done)(Ok(Response::Sent(verdicts)));
    }
}

fn spawned(reply: Reply, node: NodeId) -> Result<Response, ControlError> {
    match reply {
        Reply::Ok(_) => Ok(Response::Spawned { node }),
        Reply::Failed(failure) => Err(ControlError::Conflict(failure.message.to_string())),
        Reply::Bounced(why) => Err(ControlError::Conflict(format!("not spawned: {why}"))),
        Reply::Unavailable(why) => Err(ControlError::Unavailable(why.to_string())),
        Reply::TurnedDown(why) => Err(ControlError::Unavailable(why.text.to_string())),
        Reply::Timeout | Reply::Deadlock => Err(ControlError::Unknown(
            "nothing was heard of the spawn in time".to_owned(),
        )),
    }
}

fn dead(why: &Arc<str>) -> Verdict {
    let (code, detail) = why.split_once(": ").unwrap_or((why, ""));
    Verdict::Dead {
        code: code.into(),
        detail: detail.into(),
    }
}

fn verdict_of(notice: &Notice) -> Verdict {
    match notice {
        Notice::Applied { .. } => Verdict::Applied,
        Notice::Skipped { reason, .. } => match reason {
            SkipReason::Expired => dead(&"expired".into()),
            SkipReason::Cancelled => dead(&"cancelled".into()),
            SkipReason::Redirected => dead(&"redirected".into()),
            SkipReason::TurnedDown(why) => dead(why),
            SkipReason::Dead(reason) => Verdict::Dead {
                code: reason.code().into(),
                detail: reason.detail().into(),
            },
        },
        Notice::Refused {
            expected, refusal, ..
        } => Verdict::Refused {
            expected: Some(*expected),
            reason: match refusal {
                Refusal::Flow(notice) => notice.to_string().into(),
                other => agent::refusal_text(*other).into(),
            },
        },
        Notice::Credit { .. } => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn waiting() -> (Done, mpsc::Receiver<Result<Response, ControlError>>) {
        let (told, end) = mpsc::channel();
        (Box::new(move |result| drop(told.send(result))), end)
    }

    #[test]
    fn whoever_waits_when_the_node_stops_is_told() {
        let clients = Clients::new(1);
        let (call, called) = waiting();
        assert!(clients.call(Millis::NEVER, call).is_ok());
        let (send, sent) = waiting();
        assert!(clients.send(2, Millis::NEVER, send).is_ok());
        clients.close();
        assert!(matches!(
            called.try_recv().unwrap(),
            Err(ControlError::Unknown(why)) if why.contains("stopping")
        ));
        let unknown = vec![Verdict::Unknown, Verdict::Unknown];
        assert_eq!(sent.try_recv().unwrap(), Ok(Response::Sent(unknown)));
    }

    #[test]
    fn verdicts_end_the_messages_they_are_of() {
        let (clients, client) = (Clients::new(1), ClientId::new("c").unwrap());
        let agent = AgentId::new("counter/a").unwrap();
        let (done, sent) = waiting();
        let Ok(send) = clients.send(5, Millis::NEVER, done) else {
            panic!("there is room");
        };
        let sender = Sender::Client(client.clone(), NodeId(1));
        let stream = StreamKey::shared(sender.clone(), agent.clone(), Lane::Normal);
        for (at, number) in (11..16).enumerate() {
            clients.expect(&client, &stream, number, send, at);
        }
        let say_of = |stream: &Arc<StreamKey>, notice| {
            clients.acknowledged(&Acknowledgement {
                stream: stream.clone(),
                notice,
            });
        };
        // Another lane is another stream.
        let high = StreamKey::shared(sender, agent, Lane::High);
        say_of(
            &high,
            Notice::Applied {
                after: 0,
                through: 20,
            },
        );
        let say = |notice| say_of(&stream, notice);
        let expired = SkipReason::Expired;
        say(Notice::Applied {
            after: 0,
            through: 11,
        });
        say(Notice::Skipped {
            number: 13,
            reason: expired.clone(),
        });
        say(Notice::Refused {
            expected: 15,
            number: 15,
            refusal: phoenix_core::Refusal::Busy,
        });
        say(Notice::Applied {
            after: 0,
            through: 13,
        });
        assert!(sent.try_recv().is_err(), "14 has no verdict yet");
        say(Notice::Applied {
            after: 0,
            through: 14,
        });
        let Ok(Response::Sent(verdicts)) = sent.try_recv().unwrap() else {
            panic!("a send ends with verdicts");
        };
        assert!(
            matches!(
                verdicts.as_slice(),
                [
                    Verdict::Applied,
                    Verdict::Applied,
                    Verdict::Dead { .. },
                    Verdict::Applied,
                    Verdict::Refused {
                        expected: Some(15),
                        ..
                    },
                ]
            ),
            "{verdicts:?}"
        );
        let inner = clients.inner.lock();
        assert!(inner.sequenced.is_empty() && inner.messages == 0);
    }

    #[test]
    fn what_is_over_is_unknown_and_the_rest_waits_on() {
        let clients = Clients::new(1);
        let (early, late) = (waiting(), waiting());
        assert!(clients.call(Millis(10), early.0).is_ok());
        assert!(clients.call(Millis(20), late.0).is_ok());
        let (send, sent) = waiting();
        assert!(clients.send(1, Millis(10), send).is_ok());
        clients.expire(Millis(10));
        let timeout = Ok(Response::Called(Reply::Timeout));
        assert_eq!(early.1.try_recv().unwrap(), timeout);
        assert_eq!(
            sent.try_recv().unwrap(),
            Ok(Response::Sent(vec![Verdict::Unknown]))
        );
        assert!(late.1.try_recv().is_err());
        clients.expire(Millis(20));
        assert_eq!(late.1.try_recv().unwrap(), timeout);
    }

    #[test]
    fn messages_of_sends_are_bounded_too() {
        let clients = Clients::new(1);
        let too_many = clients.send(MAX_WAITING + 1, Millis::NEVER, waiting().0);
        let why = too_many.err().map(|(why, _)| why);
        assert_eq!(why, Some(MayNotWait::Crowded));
    }

    #[test]
    fn nobody_waits_for_a_node_that_stopped() {
        let clients = Clients::new(1);
        clients.close();
        let refused = |refused: Result<u64, (MayNotWait, Done)>| refused.err().map(|(why, _)| why);
        let stopping = Some(MayNotWait::Stopping);
        assert_eq!(refused(clients.call(Millis::NEVER, waiting().0)), stopping);
        assert_eq!(refused(clients.spawn(Millis::NEVER, waiting().0)), stopping);
        assert_eq!(
            refused(clients.send(1, Millis::NEVER, waiting().0)),
            stopping
        );
    }
}
