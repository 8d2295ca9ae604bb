//! What an ask tells the node beside its message: until when it is waited for, and
//! which handler only its end lets go on.
#![allow(missing_docs, reason = "the agents here are examples")]

mod common;

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use common::{Answer, Guest, packed, request};
use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;

#[derive(Default)]
pub struct Broker {
    wakers: Vec<Waker>,
}

fn price() -> Request<(), u64> {
    Request::new("price", ()).returns()
}

#[agent]
impl Broker {
    fn until(&self, ctx: &Context) -> Option<u64> {
        ctx.deadline().map(Timestamp::as_nanos)
    }

    async fn one(&mut self, ctx: &mut Context) -> Result<u64, AskError> {
        ctx.ask("stock/a", price()).await
    }

    async fn patient(&mut self, ctx: &mut Context) -> Result<Option<u64>, AskError> {
        let hour = Duration::from_secs(3_600);
        ctx.ask_with_deadline("stock/a", price(), hour).await?;
        ctx.ask_with_deadline("stock/a", price(), hour).await?;
        Ok(ctx.deadline().map(Timestamp::as_nanos))
    }

    /// Asks both, and waits for one after the other.
    async fn in_turn(&mut self, ctx: &mut Context) -> Result<u64, AskError> {
        let (a, b) = (ctx.ask("stock/a", price()), ctx.ask("stock/b", price()));
        Ok(a.await? + b.await?)
    }

    /// Asks both, and waits for both at once.
    async fn joined(&mut self, ctx: &mut Context) -> u64 {
        let mut a = pin!(ctx.ask("stock/a", price()));
        let mut b = pin!(ctx.ask("stock/b", price()));
        let (mut first, mut second) = (None, None);
        poll_fn(|poller| {
            if first.is_none()
                && let Poll::Ready(ended) = a.as_mut().poll(poller)
            {
                first = Some(ended.unwrap_or_default());
            }
            if second.is_none()
                && let Poll::Ready(ended) = b.as_mut().poll(poller)
            {
                second = Some(ended.unwrap_or_default());
            }
            match (first, second) {
                (Some(a), Some(b)) => Poll::Ready(a + b),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for an answer, or for whoever has its waker.
    async fn wakeable(&mut self, ctx: &mut Context) -> Result<u64, AskError> {
        let mut ask = pin!(ctx.ask("stock/a", price()));
        poll_fn(|poller| {
            self.wakers.push(poller.waker().clone());
            ask.as_mut().poll(poller)
        })
        .await
    }

    /// Waits for an answer, and is woken at once.
    async fn restless(&mut self, ctx: &mut Context) -> Result<u64, AskError> {
        let mut ask = pin!(ctx.ask("stock/a", price()));
        let mut polls = 0;
        poll_fn(|poller| {
            polls += 1;
            if polls < 3 {
                poller.waker().wake_by_ref();
            }
            ask.as_mut().poll(poller)
        })
        .await
    }
}

/// What a turn said of who waits for which ask: ask and handler.
fn waits(answer: &Answer) -> Vec<String> {
    let said = |effect: &String| {
        let waiter = effect.split("waiter: Some(").nth(1)?.split(')').next()?;
        let ask = effect.split("ask: ").nth(1)?.split(',').next()?;
        Some(format!("{ask} by {waiter}"))
    };
    let beside = |effect: &String| {
        let rest = effect.strip_prefix("Wait { ask: ")?.strip_suffix(" }")?;
        let (ask, handler) = rest.split_once(", handler: ")?;
        Some(format!("{ask} by {handler}, beside"))
    };
    let all = answer.effects.iter();
    all.filter_map(|effect| said(effect).or_else(|| beside(effect)))
        .collect()
}

fn begun(method: &str) -> (Guest<Broker>, Vec<String>) {
    let mut guest = Guest::new();
    guest.turn = 40;
    let answer = guest.one(request(method, &phoenix_sdk::Payload::none()));
    (guest, waits(&answer))
}

#[test]
fn who_waits_for_one_ask_is_said_in_it() {
    let (mut guest, said) = begun("one");
    assert_eq!(said, ["1 by 40"]);
    assert_eq!(waits(&guest.reply(1, &packed(7))), [""; 0]);
    let (_, said) = begun("restless");
    assert_eq!(said, ["1 by 40"], "once it is waited for indeed");
}

#[test]
fn who_waits_for_asks_in_turn_says_so_of_each() {
    let (mut guest, said) = begun("in_turn");
    assert_eq!(said, ["1 by 40, beside"]);
    assert_eq!(waits(&guest.reply(1, &packed(7))), ["2 by 40, beside"]);
    assert_eq!(waits(&guest.reply(2, &packed(7))), [""; 0]);
}

#[test]
fn who_waits_for_two_asks_says_nothing_until_one_is_left() {
    let (mut guest, said) = begun("joined");
    assert_eq!(said, [""; 0]);
    assert_eq!(waits(&guest.reply(2, &packed(7))), ["1 by 40, beside"]);
}

#[test]
fn who_can_be_woken_otherwise_says_nothing() {
    let (_, said) = begun("wakeable");
    assert_eq!(said, [""; 0]);
}

#[test]
fn a_handler_sees_until_when_it_is_waited_for() {
    let mut test = TestContext::<Broker>::new("broker/a");
    test.set_patience(Duration::from_secs(3));
    let until = (test.now() + Duration::from_secs(3)).as_nanos();
    assert_eq!(test.call(BrokerRequests::until()), Ok(Some(until)));
    let mut guest = Guest::<Broker>::new();
    let nobody = guest.one(common::send("until", &phoenix_sdk::Payload::none()));
    assert_eq!(
        nobody.ended,
        common::Ended::Ok(phoenix_sdk::Payload::none())
    );
}

#[test]
fn what_is_asked_for_an_asker_ends_no_later_than_it_stops_waiting() {
    let mut test = TestContext::<Broker>::new("broker/a");
    test.set_patience(Duration::from_secs(3));
    let until = test.now() + Duration::from_secs(3);
    let call = test.begin(BrokerRequests::patient());
    assert_eq!(test.asks()[0].deadline, until);
    test.advance(Duration::from_secs(2));
    test.reply(test.asks()[0].ask, Ok(1_u64));
    assert_eq!(
        test.asks()[0].deadline,
        until,
        "a later turn does not add to it"
    );
    test.reply(test.asks()[0].ask, Ok(1_u64));
    let answer = test.finished(&call).unwrap().unwrap();
    assert_eq!(answer, Some(until.as_nanos()));

    // Its own deadline holds where that is earlier.
    test.set_patience(Duration::from_secs(60));
    let _begun = test.begin(BrokerRequests::one());
    assert_eq!(test.asks()[0].deadline, test.now() + Duration::from_secs(5));
}
