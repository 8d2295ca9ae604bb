//! Asks other agents and answers with what they say. It proves that handlers
//! that wait, several at once, sleep and move with their agent and come to
//! their end, and shows what becomes of those that cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Relay {
    handled: u64,
    waiting: u64,
    /// What it was told and nobody waits for yet.
    told: BTreeSet<u64>,
    /// Those who wait to be told.
    untold: BTreeMap<u64, Waker>,
}

#[agent]
impl Relay {
    /// Asks the first of `hops` to relay to the others. The answer is `n` plus
    /// one for each agent on the way.
    #[interleave]
    async fn relay(
        this: State<Self>,
        ctx: &mut Context,
        hops: Vec<String>,
        n: u64,
    ) -> Result<u64, AskError> {
        this.with_mut(|it| it.waiting += 1);
        let answer = match hops.split_first() {
            None => Ok(n),
            Some((next, rest)) => ctx.ask(next, RelayRequests::relay(rest.to_vec(), n)).await,
        };
        this.with_mut(|it| {
            it.waiting -= 1;
            it.handled += 1;
        });
        answer.map(|n| n + 1)
    }

    /// The same, but the agent takes nothing else until it is done. Two that
    /// hold and ask each other wait in a circle.
    async fn hold(
        &mut self,
        ctx: &mut Context,
        hops: Vec<String>,
        n: u64,
    ) -> Result<u64, AskError> {
        let answer = match hops.split_first() {
            None => n,
            Some((next, rest)) => ctx.ask(next, RelayRequests::hold(rest.to_vec(), n)).await?,
        };
        self.handled += 1;
        Ok(answer + 1)
    }

    /// Answers with `n` as soon as it is told to, by `tell`: whoever asks waits for
    /// exactly as long as the test likes.
    #[interleave]
    async fn until_told(this: State<Self>, n: u64) -> u64 {
        this.with_mut(|it| it.waiting += 1);
        poll_fn(|poller| {
            this.with_mut(|it| {
                if it.told.remove(&n) {
                    return Poll::Ready(());
                }
                it.untold.insert(n, poller.waker().clone());
                Poll::Pending
            })
        })
        .await;
        this.with_mut(|it| {
            it.waiting -= 1;
            it.handled += 1;
        });
        n
    }

    /// Lets the `until_told` of this number answer, whether it waits or is to come.
    #[interleave]
    fn tell(&mut self, n: u64) {
        self.told.insert(n);
        if let Some(waker) = self.untold.remove(&n) {
            waker.wake();
        }
    }

    /// Asks `to` for `until_told` and answers with its answer.
    #[interleave]
    async fn ask_until_told(
        this: State<Self>,
        ctx: &mut Context,
        to: String,
        n: u64,
    ) -> Result<u64, AskError> {
        this.with_mut(|it| it.waiting += 1);
        let hour = Duration::from_secs(3_600);
        let answer = ctx
            .ask_with_deadline(to, RelayRequests::until_told(n), hour)
            .await;
        this.with_mut(|it| {
            it.waiting -= 1;
            it.handled += 1;
        });
        answer
    }

    /// Answers with `n` after so many milliseconds: it waits for an ask that
    /// nobody answers to reach its deadline.
    #[interleave]
    async fn after(this: State<Self>, ctx: &mut Context, millis: u64, n: u64) -> u64 {
        this.with_mut(|it| it.waiting += 1);
        let own = ctx.id().to_owned();
        let never = RelayRequests::never();
        let _ = ctx
            .ask_with_deadline(own, never, Duration::from_millis(millis))
            .await;
        this.with_mut(|it| {
            it.waiting -= 1;
            it.handled += 1;
        });
        n
    }

    /// Never answers.
    #[interleave]
    async fn never(this: State<Self>) {
        this.with_mut(|it| it.waiting += 1);
        std::future::pending::<()>().await;
    }

    /// Asks any method of any agent, the payload as it is.
    #[interleave]
    async fn ask(
        this: State<Self>,
        ctx: &mut Context,
        to: String,
        method: String,
        n: u64,
    ) -> Result<u64, AskError> {
        let answer = ctx.ask(to, Request::new(method, n).returns()).await;
        this.with_mut(|it| it.handled += 1);
        answer
    }

    /// Handlers that came to their end.
    #[interleave]
    fn handled(&self) -> u64 {
        self.handled
    }

    /// Handlers that wait just now.
    #[interleave]
    fn waiting(&self) -> u64 {
        self.waiting
    }
}
