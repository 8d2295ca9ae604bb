//! Hears numbered messages as slowly as it is told to, or not at all for a while,
//! and says whether each sender's came once, in order and without a gap. It shows
//! what becomes of messages that find no room, and of those who send them.

use std::collections::BTreeMap;
use std::hint::black_box;

use phoenix_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// What one agent heard, and had back.
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
    /// Messages whose number had been heard, or a later one.
    repeated: u64,
    /// Messages this agent sent itself.
    sent: u64,
    /// Of these: they came back.
    bounced: u64,
}

#[derive(Default)]
struct Laggard {
    report: Report,
    /// Steps each message takes.
    steps: u64,
    /// Whether it has sent enough.
    enough: bool,
}

#[agent]
impl Laggard {
    /// Takes so many steps with each message from now on.
    fn slow(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Hears message `n` of its sender, counted from 1.
    fn item(&mut self, ctx: &mut Context, n: u64, _padding: String) {
        for step in 0..self.steps {
            black_box(step);
        }
        let report = &mut self.report;
        report.heard += 1;
        let source = ctx.source();
        let Some(last) = report.last.get_mut(source) else {
            report.first.insert(source.to_owned(), n);
            report.last.insert(source.to_owned(), n);
            return;
        };
        if n > *last {
            report.missing += n - *last - 1;
            *last = n;
        } else {
            report.repeated += 1;
        }
    }

    /// Hears nothing until `whom`, a `relay`, is told `n`.
    async fn hold(&mut self, ctx: &mut Context, whom: String, n: u64) -> Result<u64, AskError> {
        let until_told = Request::new("until_told", n).returns::<u64>();
        let hour = Duration::from_secs(3_600);
        ctx.ask_with_deadline(whom, until_told, hour).await
    }

    /// Sends `to` so many messages in this turn, each with `size` bytes of padding.
    fn burst(&mut self, ctx: &mut Context, to: String, count: u64, size: u64) {
        for _ in 0..count {
            self.report.sent += 1;
            let padding = "x".repeat(size as usize);
            ctx.send(&to, LaggardRequests::item(self.report.sent, padding));
        }
    }

    /// The same, each of them sent once and forgotten.
    fn spray(&mut self, ctx: &mut Context, to: String, count: u64, size: u64) {
        for _ in 0..count {
            self.report.sent += 1;
            let padding = "x".repeat(size as usize);
            ctx.send_at_most_once(&to, LaggardRequests::item(self.report.sent, padding));
        }
    }

    /// As `burst`, with `a_turn` messages in a turn, and goes on until so many are sent,
    /// or it is `enough`.
    fn feed(&mut self, ctx: &mut Context, to: String, count: u64, a_turn: u64, size: u64) {
        let now = count.min(a_turn.max(1));
        self.burst(ctx, to.clone(), now, size);
        if count > now && !self.enough {
            let own = ctx.id().to_owned();
            ctx.send(own, LaggardRequests::feed(to, count - now, a_turn, size));
        }
    }

    /// Ends what `feed` began.
    fn enough(&mut self) {
        self.enough = true;
    }

    #[bounced]
    fn returned(&mut self, _bounced: Bounced) {
        self.report.bounced += 1;
    }

    /// What it heard, and sent.
    fn report(&self) -> Report {
        self.report.clone()
    }
}
