//! What of an agent has to be the same after a recovery, in a form that can be compared.
//!
//! It leaves out what comes again by itself: messages and timers that wait, ends of asks
//! that are decided and not committed, windows and times of streams. Streams without a
//! message need not be remembered.

use std::collections::BTreeMap;

use phoenix_wit::timer::Timing;

use crate::agent::{Agent, Closed};
use crate::{Ask, Lane, Millis};

/// A stream that arrives: up to where all have their verdicts, and what is closed above.
pub(crate) type Arrived = (u64, Vec<(u64, Closed)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canon {
    turn: u64,
    now: u64,
    pending: u16,
    begun: bool,
    inbound: BTreeMap<(String, Lane), Arrived>,
    /// By receiver, lane and number: what is kept and whether it has its verdict.
    outbox: BTreeMap<(String, Lane, u64), (String, bool)>,
    /// The number that comes next on streams with messages.
    next: BTreeMap<(String, Lane), u64>,
    asks: BTreeMap<u64, (Millis, Millis, u64, Option<u64>)>,
    requests: BTreeMap<u64, Ask>,
    timers: BTreeMap<u64, (Millis, Timing)>,
    /// Messages that came back, and replies whose handlers are to end unrun.
    own: Vec<String>,
}

impl Canon {
    /// The same, whether or not the agent noticed what senders closed by themselves:
    /// `is_closed` says that of a stream and a number.
    pub(crate) fn noticing(mut self, is_closed: &dyn Fn(&str, Lane, u64) -> bool) -> Self {
        self.inbound.retain(|(sender, lane), (watermark, told)| {
            let is_over = |number| {
                is_closed(sender, *lane, number) || told.iter().any(|(at, _)| *at == number)
            };
            while is_over(*watermark + 1) {
                *watermark += 1;
            }
            told.retain(|(at, _)| at > watermark);
            // What its sender closed is no sign that it was heard of.
            let heard_of = (1..=*watermark).any(|at| !is_closed(sender, *lane, at));
            heard_of || !told.is_empty()
        });
        self
    }
}

pub(crate) fn canon(agent: &Agent) -> Canon {
    let mut inbound = BTreeMap::new();
    for stream in agent.inbound.iter() {
        let (sender, lane) = (format!("{:?}", stream.key.sender), stream.key.lane);
        let skips = agent.inbound.skips(stream);
        let told = skips.iter().filter(|run| run.how != Closed::Quietly);
        let told = told.flat_map(|run| (run.from..=run.through).map(|at| (at, run.how.clone())));
        inbound.insert((sender, lane), (stream.watermark, told.collect()));
    }
    let (mut outbox, mut next) = (BTreeMap::new(), BTreeMap::new());
    for stream in agent.outbox.iter().filter(|stream| !stream.kept.is_empty()) {
        let to = stream.key.receiver.to_string();
        next.insert((to.clone(), stream.key.lane), stream.next);
        for kept in &stream.kept {
            let sequence = kept.envelope.sequence.unwrap();
            let says = format!(
                "{:?} {:?} {} {:?}",
                kept.envelope.body, kept.envelope.extras, sequence.give_up, kept.token
            );
            let of = (to.clone(), stream.key.lane, sequence.number);
            outbox.insert(of, (says, kept.closed));
        }
    }
    let asks = agent.asks.iter().map(|(ask, open)| {
        let what = (open.deadline, open.made, open.number, open.waiter);
        (*ask, what)
    });
    let timers = agent.timers.iter();
    let own = agent
        .mailbox
        .iter()
        .filter(|input| input.is_own() && !matches!(input, crate::agent::Input::Ended { .. }));
    let mut own: Vec<String> = own.map(|input| format!("{input:?}")).collect();
    own.sort();
    Canon {
        turn: agent.turn,
        now: agent.now.0,
        pending: agent.pending,
        begun: agent.begun,
        inbound,
        outbox,
        next,
        asks: asks.collect(),
        requests: agent
            .requests
            .iter()
            .map(|(turn, ask)| (*turn, ask.clone()))
            .collect(),
        timers: timers
            .map(|(id, timer)| (*id, (timer.due, timer.timing.clone())))
            .collect(),
        own,
    }
}
