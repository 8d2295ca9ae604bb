//! Hears numbered messages and says whether each sender's came once, in order
//! and without a gap. It proves what streams promise while their ends sleep,
//! move and lose nodes, and that what it waits for comes once all the while.

use std::collections::{BTreeMap, BTreeSet};

use phoenix_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Deviations of which the first are kept in full.
const KEPT: usize = 16;

/// What one agent heard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Report {
    /// Messages heard.
    heard: u64,
    /// The first number heard from each sender.
    first: BTreeMap<String, u64>,
    /// The last number heard from each sender.
    last: BTreeMap<String, u64>,
    /// Numbers that never came before a later one did.
    missing: u64,
    /// Messages whose number had been heard.
    repeated: u64,
    /// The first deviations: sender, the number expected, the number heard.
    deviations: Vec<(String, u64, u64)>,
    /// Messages this agent sent itself, in bursts.
    sent: u64,
    /// Asks it has begun.
    asked: u64,
    /// Asks that ended with the answer they were made for, each counted once.
    answered: BTreeSet<u64>,
    /// Ends of asks that were another answer, a second one, or none.
    astray: Vec<String>,
}

#[derive(Default)]
struct Sequence(Report);

#[agent]
impl Sequence {
    /// Hears message `n` of its sender, counted from 1, while it waits too.
    #[interleave]
    fn item(&mut self, ctx: &mut Context, n: u64) {
        let report = &mut self.0;
        report.heard += 1;
        if !report.first.contains_key(ctx.source()) {
            report.first.insert(ctx.source().to_owned(), n);
        }
        let last = match report.last.get_mut(ctx.source()) {
            Some(last) => last,
            None => report.last.entry(ctx.source().to_owned()).or_default(),
        };
        let expected = *last + 1;
        if n == expected {
            *last = n;
            return;
        }
        if n > expected {
            report.missing += n - expected;
            *last = n;
        } else {
            report.repeated += 1;
        }
        if report.deviations.len() < KEPT {
            let deviation = (ctx.source().to_owned(), expected, n);
            report.deviations.push(deviation);
        }
    }

    /// Sends each of `to` the messages `from` up to `from + count`, exclusive.
    fn burst(&mut self, ctx: &mut Context, to: Vec<String>, from: u64, count: u64) {
        for n in from..from + count {
            for receiver in &to {
                ctx.send(receiver, SequenceRequests::item(n));
                self.0.sent += 1;
            }
        }
    }

    /// Asks `to`, a `relay`, for `n` when it is told, and waits.
    #[interleave]
    async fn wait(this: State<Self>, ctx: &mut Context, to: String, n: u64) {
        this.with_mut(|it| it.0.asked += 1);
        let until_told = Request::new("until_told", n).returns::<u64>();
        let hour = Duration::from_secs(3_600);
        let answer = ctx.ask_with_deadline(to, until_told, hour).await;
        this.with_mut(|it| {
            let report = &mut it.0;
            if answer.as_ref() != Ok(&n) || !report.answered.insert(n) {
                report.astray.push(format!("{n}: {answer:?}"));
            }
        });
    }

    /// What it heard.
    #[interleave]
    fn report(&self) -> Report {
        self.0.clone()
    }
}
