//! Operators' requests about dead letters, on the nodes that keep them.

use std::num::NonZeroU64;
use std::sync::Arc;

use hashbrown::HashSet;
use phoenix_core::control::{
    ControlError, DeadLetter, Done, LetterFilter, LetterId, Letters, Replayed, Request, Response,
    Verdict,
};
use phoenix_core::{
    Body, CLIENT_GIVE_UP, ClientId, DeadReason, Envelope, Extras, Level, Millis, NodeId, Original,
    Sender, Sequence, StreamKey,
};

use crate::clock;
use crate::control::{MAX_WAIT, may_not_wait};
use crate::gather::Gather;
use crate::shared::Shared;

/// Most letters a node sends again for one request.
const MAX_REPLAY: usize = 10_000;

impl Shared {
    pub(crate) fn read_dead_letters(
        self: &Arc<Self>,
        filter: LetterFilter,
        limit: u32,
        from: Option<NodeId>,
        done: Done,
    ) {
        let request = |node| Request::DeadLetters {
            filter: LetterFilter {
                node: Some(node),
                ..filter.clone()
            },
            limit,
        };
        let here = |done: Done| {
            let (letters, more) = self.dead.lock().list(&filter, limit as usize);
            done(Ok(Response::DeadLetters { letters, more }));
        };
        let merge = move |lists: Vec<Response>| {
            let (mut all, mut more) = (Vec::new(), false);
            for list in lists {
                if let Response::DeadLetters {
                    letters,
                    more: others,
                } = list
                {
                    all.extend(letters);
                    more |= others;
                }
            }
            all.sort_by_key(|letter: &DeadLetter| (letter.at, letter.id));
            more |= all.len() > limit as usize;
            all.truncate(limit as usize);
            Response::DeadLetters { letters: all, more }
        };
        match filter.node {
            Some(node) => self.at_keeper(node, from, request, here, done),
            None => {
                let others = self.asked_too(None, from);
                let gather = Gather::lenient(1 + others.len(), merge, done);
                here(gather.part());
                for other in others {
                    self.control_at(other, request(other), gather.part());
                }
            }
        }
    }

    pub(crate) fn read_dead_letter(&self, letter: LetterId, from: Option<NodeId>, done: Done) {
        let request = |_| Request::DeadLetter { letter };
        let here = |done: Done| done(self.letter(letter).map(Box::new).map(Response::DeadLetter));
        self.at_keeper(letter.node, from, request, here, done);
    }

    pub(crate) fn replay_dead_letters(
        self: &Arc<Self>,
        letters: Letters,
        limit: u32,
        timeout: Millis,
        from: Option<NodeId>,
        done: Done,
    ) {
        let request = |node| Request::ReplayDeadLetters {
            letters: at_node(&letters, node),
            limit,
            timeout,
        };
        let here = |done: Done| {
            let limit = MAX_REPLAY.min(limit as usize);
            let chosen = match &letters {
                Letters::One(letter) => self.letter(*letter).map(|letter| vec![letter]),
                Letters::Matching(filter) => Ok(self.dead.lock().list(filter, limit).0),
            };
            match chosen {
                Ok(chosen) => self.replay_here(&chosen, timeout, done),
                Err(missing) => done(Err(missing)),
            }
        };
        let merge = |parts: Vec<Response>| {
            let replayed = parts.into_iter().flat_map(|part| match part {
                Response::Replayed(replayed) => replayed,
                _ => Vec::new(),
            });
            Response::Replayed(replayed.collect())
        };
        self.at_keepers(&letters, from, request, here, merge, done);
    }

    pub(crate) fn purge_dead_letters(&self, letters: &Letters, from: Option<NodeId>, done: Done) {
        let request = |node| Request::PurgeDeadLetters {
            letters: at_node(letters, node),
        };
        let here = |done: Done| {
            let purged = match letters {
                Letters::One(letter) => self
                    .letter(*letter)
                    .map(|letter| self.dead.lock().remove(&HashSet::from([letter.id]))),
                Letters::Matching(filter) => Ok(self.dead.lock().purge(filter)),
            };
            done(purged.map(|letters| Response::Purged {
                letters: letters as u64,
            }));
        };
        let merge = |parts: Vec<Response>| Response::Purged {
            letters: parts
                .iter()
                .map(|part| match part {
                    Response::Purged { letters } => *letters,
                    _ => 0,
                })
                .sum(),
        };
        self.at_keepers(letters, from, request, here, merge, done);
    }

    /// Carries out a change of dead letters where they are: on one node, or on
    /// all that are connected.
    fn at_keepers(
        &self,
        letters: &Letters,
        from: Option<NodeId>,
        request: impl Fn(NodeId) -> Request,
        here: impl FnOnce(Done),
        merge: impl FnOnce(Vec<Response>) -> Response + Send + 'static,
        done: Done,
    ) {
        let keeper = match letters {
            Letters::One(letter) => Some(letter.node),
            Letters::Matching(filter) => filter.node,
        };
        if let Some(node) = keeper {
            return self.at_keeper(node, from, request, here, done);
        }
        let others = self.asked_too(None, from);
        let gather = Gather::strict(1 + others.len(), merge, done);
        here(gather.part());
        for other in others {
            self.control_at(other, request(other), gather.part());
        }
    }

    fn at_keeper(
        &self,
        node: NodeId,
        from: Option<NodeId>,
        request: impl Fn(NodeId) -> Request,
        here: impl FnOnce(Done),
        done: Done,
    ) {
        // Whoever passed a request on knew where to.
        if node == self.node || from.is_some() {
            here(done);
        } else if self.peers.read().contains_key(&node) {
            self.control_at(node, request(node), done);
        } else {
            done(Err(ControlError::NotFound(format!(
                "no {node} in the cluster: see `phoenix nodes`"
            ))));
        }
    }

    fn letter(&self, letter: LetterId) -> Result<DeadLetter, ControlError> {
        let letters = self.dead.lock();
        match letters.get(letter) {
            Ok(letter) => Ok(letter.clone()),
            Err(missing) => Err(ControlError::NotFound(missing.to_string())),
        }
    }

    /// Sends letters of this node again, and takes those away that need not stay.
    fn replay_here(self: &Arc<Self>, letters: &[DeadLetter], timeout: Millis, done: Done) {
        let ids: Vec<LetterId> = letters.iter().map(|letter| letter.id).collect();
        if ids.is_empty() {
            done(Ok(Response::Replayed(Vec::new())));
            return;
        }
        let shared = self.clone();
        let finish = move |sent| {
            done(match sent {
                Ok(Response::Sent(verdicts)) => Ok(shared.replayed(&ids, verdicts)),
                Ok(_) => Err(ControlError::Internal("an odd answer to a send".to_owned())),
                Err(error) => Err(error),
            });
        };
        let now = clock::now_ms();
        let deadline = now + timeout.min(MAX_WAIT);
        let send = match self.clients.send(letters.len(), deadline, Box::new(finish)) {
            Ok(send) => send,
            Err(refused) => return may_not_wait(refused),
        };
        for (at, letter) in letters.iter().enumerate() {
            match self.replay_of(letter, now) {
                Ok((client, envelope)) => {
                    self.clients.expect(&client, &envelope.stream, 1, send, at);
                    let text = format!(
                        "what ended as the dead letter {} ({}) is sent again, as from {}",
                        letter.id,
                        letter.reason,
                        envelope.first_sender()
                    );
                    self.log(Some(envelope.receiver()), Level::Info, &text);
                    self.deliver(envelope);
                }
                Err(why) => self.clients.refused(send, at, why),
            }
        }
    }

    /// The letter's message as a new one. It is the only one of a client that is
    /// named after the letter, so that it is applied once however often it is sent.
    fn replay_of(
        &self,
        letter: &DeadLetter,
        now: Millis,
    ) -> Result<(ClientId, Envelope), &'static str> {
        let body = match &letter.envelope.body {
            Body::Message {
                method, payload, ..
            } => Body::Message {
                method: method.clone(),
                payload: payload.clone(),
                ask: None,
            },
            Body::Spawn { config, .. } => Body::Spawn {
                config: config.clone(),
                ask: None,
            },
            Body::Reply { .. } => return Err("it is a reply, which nobody waits for any more"),
            Body::Bounce(_) => return Err("it came back to its sender, which has ended"),
        };
        let client = ClientId::new(&format!("replay-{}", letter.id)).ok_or("its id is too long")?;
        let sender = Sender::Client(client.clone(), self.node);
        let StreamKey { receiver, lane, .. } = &*letter.envelope.stream;
        let original = letter.envelope.original().cloned();
        let original = original.unwrap_or_else(|| Original {
            sender: letter.envelope.sender().clone(),
            receiver: receiver.clone(),
            number: letter.envelope.sequence.map(|sequence| sequence.number),
            redirects: 0,
        });
        let envelope = Envelope {
            stream: StreamKey::shared(sender, receiver.clone(), *lane),
            sequence: Some(Sequence {
                number: 1,
                base: NonZeroU64::MIN,
                give_up: now + CLIENT_GIVE_UP,
            }),
            body,
            extras: Some(Box::new(Extras {
                original: Some(original),
                attributes: letter.envelope.attributes().cloned(),
                ..Extras::default()
            })),
        };
        Ok((client, envelope))
    }

    /// Takes away the letters whose message was applied, or is another letter now.
    fn replayed(&self, ids: &[LetterId], verdicts: Vec<Verdict>) -> Response {
        let replayed: Vec<Replayed> = ids
            .iter()
            .zip(verdicts)
            .map(|(letter, verdict)| Replayed {
                letter: *letter,
                verdict,
            })
            .collect();
        let over = |replayed: &&Replayed| match &replayed.verdict {
            Verdict::Applied => true,
            Verdict::Dead { code, .. } => DeadReason::CODES.contains(&&**code),
            Verdict::Refused { .. } | Verdict::Unknown => false,
        };
        let gone: HashSet<LetterId> = replayed.iter().filter(over).map(|one| one.letter).collect();
        self.dead.lock().remove(&gone);
        Response::Replayed(replayed)
    }
}

fn at_node(letters: &Letters, node: NodeId) -> Letters {
    match letters {
        Letters::One(letter) => Letters::One(*letter),
        Letters::Matching(filter) => Letters::Matching(LetterFilter {
            node: Some(node),
            ..filter.clone()
        }),
    }
}
