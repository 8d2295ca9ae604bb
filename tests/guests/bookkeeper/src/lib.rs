//! Sends numbered messages in every way there is, hears them, and keeps books: what
//! it sent, what came back, and what it heard. Whoever lays the books of all agents
//! side by side sees what became of each message.

use phoenix_sdk::Rng;
use phoenix_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// What an agent is to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    /// Decides everything that follows.
    seed: u64,
    /// Names this agent in its messages, in the upper half of their ids.
    own: u32,
    /// To whom.
    receivers: Vec<Receiver>,
    /// Who never answers: those who hear a message that takes time wait for it.
    mute: String,
    /// Bursts of messages, each to one receiver on one lane.
    bursts: u32,
    /// Milliseconds between two of them.
    every: u64,
    /// Messages in a burst at most.
    a_burst: u64,
}

/// Somebody to send to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Receiver {
    agent: String,
    /// Ways in which nothing is sent there.
    never: Vec<Way>,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    /// As its kind says.
    Plain,
    /// With a time to live.
    Mortal,
    /// The same, to be told.
    MortalAndTold,
    /// Given up soon.
    Impatient,
    /// Tried a few times.
    FewTries,
    /// Once, and forgotten.
    AtMostOnce,
    /// As its kind says, and whoever hears it traps.
    Poison,
}

const WAYS: [Way; 16] = [
    Way::Plain,
    Way::Plain,
    Way::Plain,
    Way::Plain,
    Way::Plain,
    Way::Plain,
    Way::Mortal,
    Way::MortalAndTold,
    Way::MortalAndTold,
    Way::Impatient,
    Way::Impatient,
    Way::FewTries,
    Way::FewTries,
    Way::AtMostOnce,
    Way::AtMostOnce,
    Way::Poison,
];

/// A message that was sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sent {
    id: u64,
    /// Which of the plan's receivers.
    to: u32,
    lane: u8,
    way: Way,
}

/// A message that came back.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Returned {
    id: u64,
    reason: String,
    unsure: bool,
}

/// All that an agent knows of messages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Books {
    sent: Vec<Sent>,
    returned: Vec<Returned>,
    /// In the order they were heard.
    heard: Vec<u64>,
    /// Messages that were said to be from somebody else than whoever sent them.
    strange: Vec<u64>,
    /// Whether all of the plan is sent.
    done: bool,
}

#[derive(Default)]
struct Bookkeeper {
    books: Books,
    plan: Option<(Plan, Rng)>,
    bursts: u32,
}

#[agent]
impl Bookkeeper {
    /// Sends what the plan says, from now on.
    fn begin(&mut self, ctx: &mut Context, plan: Plan) {
        let every = Duration::from_millis(plan.every);
        ctx.timer_every("burst", every, every, BookkeeperRequests::burst());
        let rng = Rng::new(plan.seed);
        self.plan = Some((plan, rng));
    }

    /// Sends one burst; a timer's.
    fn burst(&mut self, ctx: &mut Context) {
        let Some((plan, rng)) = &mut self.plan else {
            return;
        };
        if self.bursts >= plan.bursts {
            self.books.done = true;
            ctx.cancel_timer("burst");
            return;
        }
        self.bursts += 1;
        let to = rng.range(0..plan.receivers.len() as u64) as u32;
        let receiver = &plan.receivers[to as usize];
        let lane = [Lane::High, Lane::Normal, Lane::Low, Lane::Bulk][rng.range(0..4) as usize];
        for _ in 0..rng.range(1..plan.a_burst + 1) {
            let id = u64::from(plan.own) << 32 | (self.books.sent.len() as u64 + 1);
            let mut way = WAYS[rng.range(0..WAYS.len() as u64) as usize];
            if receiver.never.contains(&way) {
                way = Way::Plain;
            }
            // One in sixteen keeps its receiver from hearing others for a while.
            let takes = match rng.range(0..16) {
                0 => rng.range(5..60),
                _ => 0,
            };
            let item = BookkeeperRequests::item(id, way == Way::Poison, takes, plan.mute.clone());
            ctx.send_with(&receiver.agent, item, &options(way, lane, rng));
            self.books.sent.push(Sent {
                id,
                to,
                lane: lane as u8,
                way,
            });
        }
    }

    /// Hears a message. One that `takes` milliseconds is followed by nothing else
    /// meanwhile.
    async fn item(&mut self, ctx: &mut Context, id: u64, poison: bool, takes: u64, mute: String) {
        assert!(!poison, "poison");
        self.books.heard.push(id);
        let own = ctx.source().rsplit('-').next().unwrap_or_default();
        if own.parse() != Ok(id >> 32) {
            self.books.strange.push(id);
        }
        if takes > 0 {
            let never = Request::new("never", ()).returns::<()>();
            let _ = ctx
                .ask_with_deadline(mute, never, Duration::from_millis(takes))
                .await;
        }
    }

    /// Takes back a message of its own.
    #[bounced]
    fn came_back(&mut self, bounced: Bounced) {
        let arguments = bounced.payload.decode::<(u64, bool, u64, String)>();
        self.books.returned.push(Returned {
            id: arguments.expect("it is one of its own").0,
            reason: bounced.reason().to_owned(),
            unsure: bounced.unsure,
        });
    }

    /// Its books so far.
    fn books(&self) -> Books {
        self.books.clone()
    }
}

fn options(way: Way, lane: Lane, rng: &mut Rng) -> SendOptions {
    let mut span = |least, most| Duration::from_millis(rng.range(least..most));
    let options = SendOptions::new().lane(lane);
    match way {
        Way::Plain | Way::Poison => options,
        Way::Mortal => options.ttl(span(1, 80)),
        Way::MortalAndTold => options.ttl(span(1, 80)).report_expired(),
        Way::Impatient => options.give_up_after(span(10, 200)),
        Way::FewTries => {
            let retry = match span(0, 3).as_millis() {
                0 => Retry::fixed(span(5, 20)),
                1 => Retry::linear(span(1, 10), span(1, 10), span(10, 30)),
                _ => Retry::exponential(span(1, 10), span(10, 40)),
            };
            options.retry(retry.attempts(span(1, 4).as_millis() as u32))
        }
        Way::AtMostOnce => options.delivery(Delivery::AtMostOnce),
    }
}
