//! What passed a node's gate, on its way to that node, until it is heard of.
//!
//! A message of a stream ends well with a verdict, and an ask of a client's with
//! its answer, if they come from that node. One that is sent again before that,
//! or runs out of time, or whose connection breaks, has failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_core::flow::{FlowTarget, Outcome, Pass};
use phoenix_core::{Acknowledgement, Envelope, Millis, NodeId, Notice, StreamKey};

use crate::clock;
use crate::flow::Gate;
use crate::shared::Shared;

/// Messages under way to a node whose ends are waited for; of more nobody hears.
const MAX_UNDER_WAY: usize = 100_000;
/// How long nothing may be heard of one before it has failed.
const UNHEARD: Millis = Millis(30_000);

/// Messages that have passed and not ended, with when that is too late.
#[derive(Default)]
pub(super) struct UnderWay {
    streams: HashMap<Arc<StreamKey>, BTreeMap<u64, (Pass, Millis)>>,
    /// Asks of this node's clients, by their numbers.
    asks: HashMap<u64, (Pass, Millis)>,
    count: usize,
}

impl UnderWay {
    /// Takes out those of a stream that `ended` takes.
    fn take(&mut self, stream: &StreamKey, ended: impl Fn(u64) -> bool) -> Vec<Pass> {
        let Some(numbers) = self.streams.get_mut(stream) else {
            return Vec::new();
        };
        let taken: Vec<Pass> = numbers
            .extract_if(.., |number, _| ended(*number))
            .map(|(_, (pass, _))| pass)
            .collect();
        if numbers.is_empty() {
            self.streams.remove(stream);
        }
        self.count -= taken.len();
        taken
    }

    /// Takes out those that `ended` takes by when they are too late.
    fn take_late(&mut self, ended: impl Fn(Millis) -> bool) -> Vec<Pass> {
        let mut taken = Vec::new();
        self.streams.retain(|_, numbers| {
            let late = numbers.extract_if(.., |_, (_, until)| ended(*until));
            taken.extend(late.map(|(_, (pass, _))| pass));
            !numbers.is_empty()
        });
        let late = self.asks.extract_if(|_, (_, until)| ended(*until));
        taken.extend(late.map(|(_, (pass, _))| pass));
        self.count -= taken.len();
        taken
    }
}

impl Gate {
    /// Something passed that leaves for this gate's node.
    pub(crate) fn left(&self, envelope: &Envelope, pass: Pass, now: Millis) {
        let mut under_way = self.under_way.lock();
        let before = if under_way.count >= MAX_UNDER_WAY {
            drop(under_way);
            return self.finished(pass, Outcome::Ignored, None, now);
        } else if let Some(sequence) = &envelope.sequence {
            let stream = under_way.streams.entry(envelope.stream.clone());
            let numbers = stream.or_default();
            numbers.insert(sequence.number, (pass, now + UNHEARD))
        } else if let Some(ask) = envelope.body.ask() {
            under_way.asks.insert(ask.id, (pass, ask.deadline))
        } else {
            drop(under_way);
            // Nothing is ever heard of it.
            return self.finished(pass, Outcome::Ignored, None, now);
        };
        under_way.count += usize::from(before.is_none());
        drop(under_way);
        if let Some((before, _)) = before {
            self.failed(vec![before], "unanswered", now);
        }
    }

    fn failed(&self, passes: Vec<Pass>, code: &'static str, now: Millis) {
        for pass in passes {
            self.finished(pass, Outcome::Failed(code), None, now);
        }
    }

    fn heard(&self, from: NodeId, acknowledgement: &Acknowledgement, now: Millis) {
        let stream = &*acknowledgement.stream;
        let is_its = *self.target() == FlowTarget::Node(from);
        let well = if is_its {
            Outcome::Ok
        } else {
            Outcome::Ignored
        };
        let mut under_way = self.under_way.lock();
        let (taken, outcome) = match &acknowledgement.notice {
            Notice::Applied { through, .. } => (under_way.take(stream, |it| it <= *through), well),
            Notice::Skipped { number, .. } => (under_way.take(stream, |it| it == *number), well),
            Notice::Refused { expected, .. } => (
                under_way.take(stream, |it| it >= *expected),
                Outcome::Ignored,
            ),
            Notice::Credit { .. } => return,
        };
        drop(under_way);
        for pass in taken {
            self.finished(pass, outcome, None, now);
        }
    }
}

impl Shared {
    /// Verdicts came from a node.
    pub(crate) fn flow_heard(&self, from: NodeId, acknowledgements: &[Acknowledgement]) {
        let gates = self.flows.node_gates();
        if gates.is_empty() {
            return;
        }
        let now = clock::now_ms();
        for gate in gates {
            for acknowledgement in acknowledgements {
                gate.heard(from, acknowledgement, now);
            }
        }
    }

    /// An answer to a client's ask came from a node.
    pub(crate) fn flow_answered(&self, from: NodeId, ask: u64) {
        for gate in self.flows.node_gates() {
            let found = {
                let mut under_way = gate.under_way.lock();
                let found = under_way.asks.remove(&ask);
                under_way.count -= usize::from(found.is_some());
                found
            };
            if let Some((pass, _)) = found {
                let is_its = *gate.target() == FlowTarget::Node(from);
                let outcome = if is_its {
                    Outcome::Ok
                } else {
                    Outcome::Ignored
                };
                gate.finished(pass, outcome, None, clock::now_ms());
            }
        }
    }

    /// A connection broke: of what was under way nothing will be heard on it.
    pub(crate) fn flow_lost(&self, node: NodeId) {
        if let Some(gate) = self.flows.node_gate(node) {
            let lost = gate.under_way.lock().take_late(|_| true);
            gate.failed(lost, "disconnected", clock::now_ms());
        }
    }

    /// Lets time pass for what is under way to nodes.
    pub(crate) fn expire_flows(&self, now: Millis) {
        for gate in self.flows.node_gates() {
            let late = gate.under_way.lock().take_late(|until| until <= now);
            gate.failed(late, "timeout", now);
        }
    }
}
