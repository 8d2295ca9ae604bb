//! Sends as much as it is told to, for the bench of one-way messages. Its peer is `sink`.

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Flood {
    sent: u64,
}

#[agent]
impl Flood {
    /// Sends `to` so many messages in this turn.
    fn burst(&mut self, ctx: &mut Context, to: String, count: u64) -> u64 {
        for _ in 0..count {
            self.sent += 1;
            ctx.send(&to, Request::new("hit", self.sent));
        }
        self.sent
    }

    /// As `burst`, each of them sent once and forgotten.
    fn spray(&mut self, ctx: &mut Context, to: String, count: u64) -> u64 {
        for _ in 0..count {
            self.sent += 1;
            ctx.send_at_most_once(&to, Request::new("hit", self.sent));
        }
        self.sent
    }

    /// Sends `to` so many messages, `a_turn` in a turn, and tells itself to go on until all
    /// are sent.
    fn run(&mut self, ctx: &mut Context, to: String, count: u64, a_turn: u64) {
        let now = count.min(a_turn.max(1));
        self.burst(ctx, to.clone(), now);
        if count > now {
            let own = ctx.id().to_owned();
            ctx.send(own, FloodRequests::run(to, count - now, a_turn));
        }
    }

    /// Sends `to` so many messages, `a_turn` in a turn, and after each such turn
    /// asks it how many it has heard. Answers with the last answer: then all of
    /// them have been handled.
    async fn stream(
        &mut self,
        ctx: &mut Context,
        to: String,
        count: u64,
        a_turn: u64,
    ) -> Result<u64, AskError> {
        let mut left = count;
        let mut heard = 0;
        while left > 0 {
            let now = left.min(a_turn.max(1));
            self.burst(ctx, to.clone(), now);
            left -= now;
            let ask = Request::new("heard", ()).returns::<u64>();
            heard = ctx.ask(&to, ask).await?;
        }
        Ok(heard)
    }

    /// As `stream`, each of them sent once and forgotten.
    async fn shower(
        &mut self,
        ctx: &mut Context,
        to: String,
        count: u64,
        a_turn: u64,
    ) -> Result<u64, AskError> {
        let mut left = count;
        let mut heard = 0;
        while left > 0 {
            let now = left.min(a_turn.max(1));
            self.spray(ctx, to.clone(), now);
            left -= now;
            let ask = Request::new("heard", ()).returns::<u64>();
            heard = ctx.ask(&to, ask).await?;
        }
        Ok(heard)
    }

    /// Messages sent so far.
    fn sent(&self) -> u64 {
        self.sent
    }
}
