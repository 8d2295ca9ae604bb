//! Asks and answers, for the bench of request and reply.

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Ping {
    answered: u64,
}

#[agent]
impl Ping {
    /// Answers with what it was asked.
    fn ping(&mut self, n: u64) -> u64 {
        self.answered += 1;
        n
    }

    /// Asks `to` for `ping` so many times, one after the other, and answers with
    /// how many came back right.
    async fn rally(&mut self, ctx: &mut Context, to: String, times: u64) -> Result<u64, AskError> {
        let mut right = 0;
        for n in 0..times {
            if ctx.ask(&to, PingRequests::ping(n)).await? == n {
                right += 1;
            }
        }
        Ok(right)
    }

    /// Asks the agents of `kind` with the keys `from` up to `from + count`, exclusive,
    /// for `ping`, one after the other, and answers with how many came back right.
    async fn tour(
        &mut self,
        ctx: &mut Context,
        kind: String,
        from: u64,
        count: u64,
    ) -> Result<u64, AskError> {
        let mut right = 0;
        for n in from..from + count {
            let to = format!("{kind}/{n}");
            if ctx.ask(to, PingRequests::ping(n)).await? == n {
                right += 1;
            }
        }
        Ok(right)
    }

    /// Pings answered.
    fn answered(&self) -> u64 {
        self.answered
    }
}
