//! Writes down what it hears, sends on what it is told to, and asks others for answers
//! that come late. What it reports is decided by how far it heard each of its senders,
//! so whoever knows the senders knows what each report has to be: it proves what
//! durable agents promise across crashes. The other half is `phoenix_support::diary`.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use phoenix_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Steps that are heard before a late answer is given.
const LATE: u64 = 3;
/// Every so many messages to one agent is poison: whoever hears it traps.
const POISON: u64 = 29;
/// Surprises that are kept.
const KEPT: usize = 16;

/// What was heard of one sender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Heard {
    count: u64,
    /// The last number.
    last: u64,
    /// Of all numbers, in the order in which they came.
    digest: u64,
}

impl Heard {
    fn hear(&mut self, n: u64) {
        self.count += 1;
        self.last = n;
        self.digest = mix(self.digest ^ n);
    }
}

/// Numbers in any order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Pile {
    count: u64,
    /// Of the hashes of all numbers.
    sum: u64,
}

impl Pile {
    fn add(&mut self, n: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(mix(n));
    }
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Report {
    heard: BTreeMap<String, Heard>,
    /// Messages that have a name instead of a number, by sender.
    keyed: BTreeMap<String, Pile>,
    /// Messages to each agent.
    sent: BTreeMap<String, u64>,
    /// Those of them that came back.
    returned: BTreeMap<String, Pile>,
    asked: u64,
    answered: Pile,
    /// What should never be.
    surprises: Vec<String>,
}

#[derive(Default)]
struct Diary {
    report: Report,
    steps: u64,
    /// Those who answer when so many steps were heard.
    late: Vec<(u64, Waker)>,
    /// How often nobody was to wait any longer.
    flushes: u64,
}

impl Diary {
    fn hear(&mut self, source: &str, n: u64) {
        self.report
            .heard
            .entry(source.to_owned())
            .or_default()
            .hear(n);
    }

    fn surprise(&mut self, what: String) {
        if self.report.surprises.len() < KEPT {
            self.report.surprises.push(what);
        }
    }

    fn wake(&mut self, all: bool) {
        let steps = self.steps;
        self.late.retain(|(from, waker)| {
            let is_due = all || *from <= steps;
            if is_due {
                waker.wake_by_ref();
            }
            !is_due
        });
    }
}

#[agent]
impl Diary {
    /// Hears number `n` of its sender, tells each of `to`, and asks `ask` if that is given.
    #[interleave]
    async fn step(
        this: State<Self>,
        ctx: &mut Context,
        n: u64,
        to: Vec<String>,
        ask: Option<String>,
    ) {
        this.with_mut(|it| {
            it.hear(ctx.source(), n);
            it.steps += 1;
            it.wake(false);
            for receiver in &to {
                let sent = it.report.sent.entry(receiver.clone()).or_default();
                *sent += 1;
                ctx.send(receiver, DiaryRequests::item(*sent, *sent % POISON == 7));
            }
        });
        let Some(other) = ask else { return };
        let number = this.with_mut(|it| {
            it.report.asked += 1;
            it.report.asked
        });
        let hour = Duration::from_secs(3_600);
        let answer = ctx
            .ask_with_deadline(&other, DiaryRequests::late(number), hour)
            .await;
        this.with_mut(|it| match answer {
            Ok(answer) if answer == mix(number) => it.report.answered.add(number),
            other => it.surprise(format!("ask {number}: {other:?}")),
        });
    }

    /// Hears number `n` of its sender, another agent.
    #[interleave]
    fn item(&mut self, ctx: &mut Context, n: u64, poison: bool) {
        assert!(!poison, "poison");
        self.hear(ctx.source(), n);
    }

    /// Hears a message that has a name and no number.
    #[interleave]
    fn keyed(&mut self, ctx: &mut Context, n: u64) {
        let source = ctx.source().to_owned();
        self.report.keyed.entry(source).or_default().add(n);
    }

    /// Answers when it has heard a few more steps: across whatever happens until then.
    #[interleave]
    async fn late(this: State<Self>, n: u64) -> u64 {
        let (from, flushes) = this.with(|it| (it.steps + LATE, it.flushes));
        poll_fn(|poller| {
            this.with_mut(|it| {
                if it.flushes > flushes || it.steps >= from {
                    return Poll::Ready(());
                }
                it.late.push((from, poller.waker().clone()));
                Poll::Pending
            })
        })
        .await;
        mix(n)
    }

    /// Gives all late answers that are waited for.
    #[interleave]
    fn flush(&mut self) {
        self.flushes += 1;
        self.wake(true);
    }

    /// What became of it all so far.
    #[interleave]
    fn report(&self) -> Report {
        self.report.clone()
    }

    /// Takes back a message that nobody will hear.
    #[bounced]
    fn came_back(&mut self, bounced: Bounced) {
        let n = match bounced.payload.decode::<(u64, bool)>() {
            Ok((n, true)) if !bounced.unsure => n,
            other => return self.surprise(format!("{other:?} came back: {}", bounced.why)),
        };
        let to = bounced.to.clone();
        self.report.returned.entry(to).or_default().add(n);
    }
}

/// Of `SplitMix64`.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
