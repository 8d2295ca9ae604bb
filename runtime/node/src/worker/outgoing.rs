//! What a worker's step puts together for others: one parcel for each, handed over
//! once a step.

use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_core::{Acknowledgement, Envelope, NodeId, PeerMessage};

use crate::shared::Shared;
use crate::worker::Event;

/// Messages and verdicts for other workers and nodes.
pub(super) struct Outgoing {
    workers: Vec<Parcel>,
    peers: HashMap<NodeId, Parcel>,
    /// Whether there may be something in one of them.
    is_any: bool,
}

impl Outgoing {
    /// Nothing for anybody, with so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Parcel::default()).collect(),
            peers: HashMap::new(),
            is_any: false,
        }
    }

    /// What a worker of this node is to have.
    pub(super) fn for_worker(&mut self, worker: usize) -> Option<&mut Parcel> {
        self.is_any = true;
        self.workers.get_mut(worker)
    }

    /// What another node is to have.
    pub(super) fn for_peer(&mut self, node: NodeId) -> &mut Parcel {
        self.is_any = true;
        self.peers.entry(node).or_default()
    }

    /// Hands everything over.
    #[inline]
    pub(super) fn flush(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.is_any) {
            self.hand_over(shared);
        }
    }

    fn hand_over(&mut self, shared: &Shared) {
        for (parcel, seat) in self.workers.iter_mut().zip(&shared.seats) {
            if !parcel.envelopes.is_empty() {
                let envelopes = std::mem::take(&mut parcel.envelopes);
                seat.post(Event::Deliver {
                    from: None,
                    envelopes,
                });
            }
            if !parcel.acknowledgements.is_empty() {
                let acknowledgements = std::mem::take(&mut parcel.acknowledgements);
                let hops = std::mem::take(&mut parcel.hops);
                seat.post(Event::Acknowledge {
                    hops,
                    acknowledgements,
                });
            }
        }
        for (peer, parcel) in &mut self.peers {
            parcel.drain(|message| {
                // What the transport does not take, the outboxes send again.
                let _ = shared.send(*peer, message);
            });
        }
    }
}

/// What leaves a worker for one place.
#[derive(Default)]
pub(super) struct Parcel {
    pub(super) envelopes: Vec<Arc<Envelope>>,
    /// Messages passed on, each with the node it was first sent from.
    pub(super) forwarded: Vec<(NodeId, Arc<Envelope>)>,
    acknowledgements: Vec<Acknowledgement>,
    /// Nodes that the oldest of the verdicts has come through.
    hops: u8,
}

impl Parcel {
    pub(super) fn acknowledge(&mut self, acknowledgement: Acknowledgement, hops: u8) {
        self.acknowledgements.push(acknowledgement);
        self.hops = self.hops.max(hops);
    }

    /// What is to be sent to a peer, in the order it must arrive in. What is
    /// passed on is older than what its sender, having come here, sent since.
    fn drain(&mut self, mut send: impl FnMut(PeerMessage)) {
        let mut forwarded = std::mem::take(&mut self.forwarded).into_iter().peekable();
        while let Some((origin, first)) = forwarded.next() {
            let mut envelopes = vec![first];
            while let Some((_, next)) = forwarded.next_if(|(next, _)| *next == origin) {
                envelopes.push(next);
            }
            send(PeerMessage::Forward { origin, envelopes });
        }
        if !self.envelopes.is_empty() {
            send(PeerMessage::Deliver(std::mem::take(&mut self.envelopes)));
        }
        if !self.acknowledgements.is_empty() {
            let acknowledgements = std::mem::take(&mut self.acknowledgements);
            send(match std::mem::take(&mut self.hops) {
                0 => PeerMessage::Acknowledge(acknowledgements),
                hops => PeerMessage::ForwardVerdicts {
                    hops,
                    acknowledgements,
                },
            });
        }
    }
}
