//! Outside clients waiting at this node: for answers, and for verdicts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use phoenix_core::control::{ControlError, Done, Response, Verdict};
use phoenix_core::{
    Acknowledgement, AgentId, ClientId, Millis, NodeId, Notice, Reply, Sender, SkipReason, agent,
};

/// Calls and sends that may wait at once.
const MAX_WAITING: usize = 100_000;

/// What an answer ends.
enum Waiting {
    /// A call.
    Call { deadline: Millis, done: Done },
    /// A spawn.
    Spawn { deadline: Millis, done: Done },
    /// One message of a send, whose verdict is whether it was answered at all.
    Message { send: u64, at: usize },
}

/// Messages sent together.
struct Send {
    verdicts: Vec<Option<Verdict>>,
    left: usize,
    deadline: Millis,
    done: Done,
}

/// A sequenced message without a verdict: its number, its send, its place there.
type Sequenced = (u64, u64, usize);

#[derive(Default)]
struct Inner {
    asks: HashMap<u64, Waiting>,
    sends: HashMap<u64, Send>,
    /// Sequenced messages without a verdict, by client and agent.
    sequenced: HashMap<(ClientId, AgentId), Vec<Sequenced>>,
    /// Nobody may wait any more: the node stops.
    closed: bool,
}

/// The table of waiting clients.
#[derive(Default)]
pub(crate) struct Clients {
    next: AtomicU64,
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
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets a call wait; the number is what its ask goes out under.
    pub(crate) fn call(&self, deadline: Millis, done: Done) -> Result<u64, (MayNotWait, Done)> {
        self.wait(Waiting::Call { deadline, done })
    }

    /// Lets a spawn wait.
    pub(crate) fn spawn(&self, deadline: Millis, done: Done) -> Result<u64, (MayNotWait, Done)> {
        self.wait(Waiting::Spawn { deadline, done })
    }

    fn wait(&self, waiting: Waiting) -> Result<u64, (MayNotWait, Done)> {
        let mut inner = self.inner.lock();
        if let Some(why) = inner.closed_to_more() {
            drop(inner);
            return match waiting {
                Waiting::Call { done, .. } | Waiting::Spawn { done, .. } => Err((why, done)),
                Waiting::Message { .. } => Ok(0),
            };
        }
        let id = self.number();
        inner.asks.insert(id, waiting);
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
        if inner.closed {
            drop(inner);
            return Err((MayNotWait::Stopping, done));
        }
        let id = self.number();
        let send = Send {
            verdicts: vec![None; count],
            left: count,
            deadline,
            done,
        };
        inner.sends.insert(id, send);
        Ok(id)
    }

    /// Lets a sequenced message of a send wait for its verdict.
    pub(crate) fn expect(
        &self,
        client: &ClientId,
        agent: &AgentId,
        sequence: u64,
        send: u64,
        at: usize,
    ) {
        let mut inner = self.inner.lock();
        inner
            .sequenced
            .entry((client.clone(), agent.clone()))
            .or_default()
            .push((sequence, send, at));
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
        let key = (client.clone(), acknowledgement.stream.receiver.clone());
        let mut inner = self.inner.lock();
        let Some(waiting) = inner.sequenced.get_mut(&key) else {
            return;
        };
        let (ended, kept): (Vec<_>, Vec<_>) =
            waiting
                .drain(..)
                .partition(|(number, ..)| match &acknowledgement.notice {
                    Notice::Applied { through } => number <= through,
                    Notice::Skipped { number: n, .. } => number == n,
                    Notice::Refused { expected, .. } => number >= expected,
                });
        *waiting = kept;
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
        let over: Vec<u64> = inner
            .asks
            .iter()
            .filter(|(_, waiting)| match waiting {
                Waiting::Call { deadline, .. } | Waiting::Spawn { deadline, .. } => {
                    *deadline <= now
                }
                Waiting::Message { .. } => false,
            })
            .map(|(id, _)| *id)
            .collect();
        let calls: Vec<Waiting> = over.iter().filter_map(|id| inner.asks.remove(id)).collect();
        let over: Vec<u64> = inner
            .sends
            .iter()
            .filter(|(_, send)| send.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        let sends: Vec<Send> = over
            .iter()
            .filter_map(|id| inner.sends.remove(id))
            .collect();
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
    fn closed_to_more(&self) -> Option<MayNotWait> {
        if self.closed {
            Some(MayNotWait::Stopping)
        } else {
            (self.asks.len() >= MAX_WAITING).then_some(MayNotWait::Crowded)
        }
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
            self.sends.remove(&send)
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
            SkipReason::Dead(reason) => Verdict::Dead {
                code: reason.code().into(),
                detail: reason.detail().into(),
            },
        },
        Notice::Refused { expected, refusal } => Verdict::Refused {
            expected: Some(*expected),
            reason: agent::refusal_text(*refusal).into(),
        },
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
        let clients = Clients::default();
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
    fn nobody_waits_for_a_node_that_stopped() {
        let clients = Clients::default();
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
