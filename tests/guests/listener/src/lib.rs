//! Hears events of topics and says which, and whether they came in the topic's order. It
//! proves what topics promise while subscribers sleep and move.

use std::collections::BTreeMap;

use phoenix_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// An event as a subscriber gets it, with what is looked at here.
#[derive(Deserialize)]
struct Event {
    publisher: String,
    epoch: u64,
    number: u64,
    #[serde(default)]
    mark: Mark,
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Mark {
    epoch: bool,
    replayed: bool,
    redelivered: bool,
    gap: Option<Gap>,
}

#[derive(Deserialize)]
struct Gap {
    from: u64,
    to: u64,
}

/// The number of an event among its publisher's.
#[derive(Deserialize)]
struct Data {
    n: u64,
}

/// What was heard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Report {
    /// Events.
    heard: u64,
    /// Those that were replayed, all before the first that was not.
    replayed: u64,
    /// Of each publisher: how many, the sum of their numbers, and of their squares, modulo
    /// 2^64.
    of: BTreeMap<String, (u64, u64, u64)>,
    /// Events whose number in the space is not greater than the one before.
    disordered: u64,
    /// Events that were replayed after one that was not.
    seams: u64,
    /// Lives of the owner but for the first.
    epochs: u64,
    /// Events said to be missing.
    gaps: u64,
    /// Events sent again after another member of the group had them.
    redelivered: u64,
}

#[derive(Default)]
struct Listener {
    report: Report,
    last: (u64, u64),
}

#[agent]
impl Listener {
    /// An event.
    fn on_event(&mut self, _: &mut Context, event: Event) {
        let report = &mut self.report;
        report.heard += 1;
        let at = (event.epoch, event.number);
        report.disordered += u64::from(at <= self.last);
        report.epochs += u64::from(event.mark.epoch);
        self.last = at;
        if event.mark.replayed {
            report.seams += u64::from(report.heard > report.replayed + 1);
            report.replayed += 1;
        }
        report.redelivered += u64::from(event.mark.redelivered);
        if let Some(gap) = event.mark.gap {
            report.gaps += gap.to - gap.from + 1;
        }
        if let Some(data) = event.data {
            let of = report.of.entry(event.publisher).or_default();
            of.0 += 1;
            of.1 = of.1.wrapping_add(data.n);
            of.2 = of.2.wrapping_add(data.n.wrapping_mul(data.n));
        }
    }

    /// What was heard.
    fn report(&self) -> Report {
        self.report.clone()
    }
}
