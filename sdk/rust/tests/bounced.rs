//! Messages that came back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Ended, Guest, packed, request};
use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;
use phoenix_wit::{Input, Payload as WitPayload};

#[derive(Default)]
struct Feed {
    back: Vec<String>,
}

#[agent(export = false)]
impl Feed {
    fn item(&mut self, item: &str, ctx: &mut Context) {
        ctx.send("site/main", Request::new("item", item));
    }

    #[bounced]
    fn came_back(&mut self, ctx: &mut Context, bounced: Bounced) -> Result<(), Failure> {
        let item: String = bounced
            .payload
            .decode()
            .map_err(|_| Failure::new("odd", "not an item"))?;
        self.back.push(format!(
            "{} {} {item} {} {}",
            bounced.to, bounced.method, bounced.why, bounced.unsure
        ));
        if bounced.reason() == "no-credit" {
            ctx.send("spare/main", Request::new("item", item));
        }
        Ok(())
    }

    async fn wait(&mut self, ctx: &mut Context) -> Result<u64, AskError> {
        ctx.ask("a/b", Request::new("c", ()).returns()).await
    }
}

#[derive(Default)]
struct Deaf;

#[agent(export = false)]
impl Deaf {
    fn any(&self) {}
    async fn wait(&self, ctx: &mut Context) -> Result<u64, AskError> {
        ctx.ask("a/b", Request::new("c", ()).returns()).await
    }
}

fn bounced<'a>(payload: WitPayload<'a>, reason: &'a str) -> Input<'a> {
    Input::Bounced {
        to: "site/main",
        method: "item",
        payload,
        reason,
        unsure: false,
    }
}

#[test]
fn an_agent_is_given_what_came_back() {
    let mut test = TestContext::<Feed>::new("feed/1");
    test.send(FeedRequests::item("news")).unwrap();
    let sent = test.take_sent().remove(0);
    test.bounce(sent.clone().bounced("no-credit"));
    test.bounce(sent.clone().bounced("init-failed: no configuration"));
    test.bounce(sent.bounced("gave-up"));
    test.with(|feed| {
        let expected = [
            "site/main item news no-credit false",
            "site/main item news init-failed: no configuration false",
            "site/main item news gave-up true",
        ];
        assert_eq!(feed.back, expected);
    });
    let again = test.take_sent();
    assert_eq!(again.len(), 1);
    assert!(again[0].is("spare/main", &Request::new("item", "news")));
}

#[test]
fn no_message_can_name_it() {
    let mut guest = Guest::<Feed>::new();
    let payload = packed("news");
    let Ended::Failed(failure) = guest.one(request("came_back", &payload)).ended else {
        panic!()
    };
    assert_eq!(failure.code(), "unknown-method");
    assert_eq!(
        failure.message().matches("came_back").count(),
        1,
        "{failure}"
    );
}

#[test]
fn its_failure_is_the_turns() {
    let mut guest = Guest::<Feed>::new();
    let none = phoenix_sdk::Payload::none();
    guest.one(request("item", &packed("news")));
    let Ended::Failed(failure) = guest
        .one(bounced(common::borrowed(&none), "overflow"))
        .ended
    else {
        panic!()
    };
    assert_eq!(failure.code(), "odd");
}

#[test]
fn it_waits_for_a_handler_that_has_the_agent() {
    let mut test = TestContext::<Feed>::new("feed/1");
    test.send(FeedRequests::item("news")).unwrap();
    let sent = test.take_sent().remove(0);
    let begun = test.begin(FeedRequests::wait());
    test.bounce(sent.bounced("overflow"));
    assert_eq!(test.deferred(), 1);
    test.reply(test.asks()[0].ask, Ok(7_u64));
    assert_eq!(test.finished(&begun), Some(Ok(7)));
    test.with(|feed| assert_eq!(feed.back.len(), 1));
}

/// An agent that does not care is not troubled, whatever it is doing.
#[test]
fn an_agent_without_one_lets_it_pass() {
    let mut guest = Guest::<Deaf>::new();
    let payload = packed("news");
    let nothing = Ended::Ok(phoenix_sdk::Payload::none());
    assert_eq!(
        guest
            .one(bounced(common::borrowed(&payload), "overflow"))
            .ended,
        nothing
    );
    let waiting = guest.one(request("wait", &phoenix_sdk::Payload::none()));
    assert_eq!(waiting.ended, Ended::Pending);
    let answer = guest.one(bounced(common::borrowed(&payload), "overflow"));
    assert_eq!((answer.ended, answer.pending), (nothing, 1));
}
