//! Handlers that wait: what runs meanwhile, who is answered, and when.
#![allow(missing_docs, reason = "the agents here are examples")]

mod common;

use common::{Ended, Guest, json, packed, request, send};
use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;
use phoenix_sdk::{DEFAULT_DEADLINE, Payload};
use phoenix_wit::{Input, Reply};

fn total(of: &str) -> (String, Request<(), u64>) {
    (of.to_owned(), Request::new("total", ()).returns())
}

#[derive(Default)]
pub struct Exclusive {
    seen: u64,
    calls: u64,
}

#[agent]
impl Exclusive {
    async fn fetch(&mut self, ctx: &mut Context, of: &str) -> Result<u64, AskError> {
        self.calls += 1;
        let (to, request) = total(of);
        self.seen = ctx.ask(to, request).await?;
        Ok(self.seen + self.calls)
    }

    async fn at_once(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    async fn both(&mut self, ctx: &mut Context, a: String, b: String) -> Result<u64, AskError> {
        let (to, request) = total(&a);
        let a = ctx.ask(to, request);
        let (to, request) = total(&b);
        let b = ctx.ask(to, request);
        Ok(a.await? + b.await?)
    }

    async fn look(&self, ctx: &mut Context) -> Result<u64, AskError> {
        let (to, request) = total("counter/look");
        Ok(self.seen + ctx.ask(to, request).await?)
    }

    async fn never(&mut self) {
        self.calls += 1;
        std::future::pending::<()>().await;
    }

    fn seen(&self) -> u64 {
        self.seen
    }
}

#[derive(Default)]
pub struct Shared {
    seen: u64,
    begun: u64,
    ended: Vec<String>,
}

#[agent]
impl Shared {
    #[interleave]
    async fn fetch(this: State<Self>, ctx: &mut Context, of: String) -> Result<u64, AskError> {
        this.with_mut(|it| it.begun += 1);
        let (to, request) = total(&of);
        let seen = ctx.ask(to, request).await?;
        this.with_mut(|it| it.ended.push(of));
        Ok(this.with_mut(|it| {
            it.seen += seen;
            it.seen
        }))
    }

    /// Waits, and only interleavable handlers run meanwhile.
    async fn slow(this: State<Self>, ctx: &mut Context) -> Result<u64, AskError> {
        let (to, request) = total("counter/slow");
        let seen = ctx.ask(to, request).await?;
        Ok(seen + this.with(|it| it.seen))
    }

    #[interleave]
    fn begun(&self) -> u64 {
        self.begun
    }

    #[interleave]
    fn bump(&mut self) -> u64 {
        self.seen += 1;
        self.seen
    }

    fn ended(&self) -> Vec<String> {
        self.ended.clone()
    }

    async fn hold(&mut self, ctx: &mut Context) -> Result<u64, AskError> {
        let (to, request) = total("counter/hold");
        self.seen += ctx.ask(to, request).await?;
        Ok(self.seen)
    }

    async fn look(&self, ctx: &mut Context) -> Result<u64, AskError> {
        let (to, request) = total("counter/look");
        Ok(self.seen + ctx.ask(to, request).await?)
    }
}

#[test]
fn a_waiting_handler_answers_by_a_reply() {
    let mut guest = Guest::<Exclusive>::new();
    let begun = guest.one(request("fetch", &packed("counter/a")));
    assert_eq!((begun.ended, begun.pending), (Ended::Pending, 1));
    assert_eq!(begun.asks, [(1, "counter/a".to_owned())]);
    let resumed = guest.reply(1, &packed(41));
    assert_eq!(
        (resumed.ended, resumed.pending),
        (Ended::Ok(Payload::none()), 0)
    );
    assert_eq!(resumed.replies, [(0, Ok(packed(42_u64)))]);
}

#[test]
fn an_answer_in_kind_though_it_comes_later() {
    let mut guest = Guest::<Exclusive>::new();
    guest.one(request("fetch", &json(r#""counter/a""#)));
    let resumed = guest.reply(1, &packed(41));
    assert_eq!(resumed.replies, [(0, Ok(json("42")))]);
}

#[test]
fn an_async_handler_that_does_not_wait_answers_at_once() {
    let mut test = TestContext::<Exclusive>::new("exclusive/a");
    assert_eq!(test.call(ExclusiveRequests::at_once()), Ok(1));
    assert_eq!(test.call(ExclusiveRequests::at_once()), Ok(2));
    assert_eq!(test.pending(), 0);
}

#[test]
fn everything_else_is_deferred_meanwhile() {
    let mut guest = Guest::<Exclusive>::new();
    let (a, none) = (packed("counter/a"), Payload::none());
    let answers = guest.batch(&[
        request("fetch", &a),
        request("seen", &none),
        send("at_once", &none),
        request("fetch", &a),
        request("nonsense", &none),
        Input::Timer {
            id: 1,
            method: "seen",
            payload: phoenix_wit::Payload::NONE,
        },
    ]);
    assert_eq!(answers[0].ended, Ended::Pending);
    // A method nobody has is no exception: it must not pass a message of its
    // sender's that was deferred.
    for deferred in &answers[1..] {
        assert_eq!(deferred.ended, Ended::Deferred);
        assert_eq!(deferred.effects, [""; 0]);
    }
    assert!(answers.iter().all(|answer| answer.pending == 1));
    guest.reply(1, &packed(1));
    let answer = guest.one(request("seen", &none));
    assert_eq!(answer.ended, Ended::Ok(packed(1_u64)));
}

#[test]
fn deferred_messages_run_when_the_handler_has_ended() {
    let mut test = TestContext::<Exclusive>::new("exclusive/a");
    let fetch = test.begin(ExclusiveRequests::fetch("counter/a"));
    let seen = test.begin(ExclusiveRequests::seen());
    assert_eq!((test.pending(), test.deferred()), (1, 1));
    assert_eq!(test.finished(&seen), None);
    test.reply(test.asks()[0].ask, Ok(9_u64));
    assert_eq!(test.finished(&fetch), Some(Ok(10)));
    assert_eq!(test.finished(&seen), Some(Ok(9)));
    assert_eq!(test.deferred(), 0);
}

#[test]
fn every_end_of_an_ask_reaches_the_handler() {
    let failure = Failure::new("overdrawn", "no money").with_details(&7);
    for error in [
        AskError::Failed(failure.clone()),
        AskError::Timeout,
        AskError::Bounced("the mailbox is full".to_owned()),
        AskError::Deadlock,
        AskError::Unavailable("no quorum".to_owned()),
    ] {
        let mut test = TestContext::<Exclusive>::new("exclusive/a");
        test.answer_next::<u64>("counter/a", "total", Err(error.clone()));
        let answer = test.call(ExclusiveRequests::fetch("counter/a"));
        assert_eq!(answer, Err(Failure::from(error)));
        assert_eq!(test.pending(), 0);
    }
    assert_eq!(Failure::from(AskError::Failed(failure.clone())), failure);
    assert_eq!(Failure::from(AskError::Deadlock).code(), "deadlock");
}

#[test]
fn an_answer_of_another_type_is_an_error() {
    let mut test = TestContext::<Exclusive>::new("exclusive/a");
    test.answer_next("counter/a", "total", Ok("many"));
    let failure = test
        .call(ExclusiveRequests::fetch("counter/a"))
        .unwrap_err();
    assert_eq!(failure.code(), "bad-answer");
}

#[test]
fn two_asks_can_be_under_way_at_once() {
    let mut guest = Guest::<Exclusive>::new();
    let begun = guest.one(request("both", &packed(("counter/a", "counter/b"))));
    assert_eq!(begun.asks.len(), 2);
    // Answered in the other order.
    assert_eq!(guest.reply(2, &packed(2)).replies, []);
    let resumed = guest.reply(1, &packed(40));
    assert_eq!(resumed.replies, [(0, Ok(packed(42_u64)))]);
}

#[test]
fn an_ask_times_out_by_the_clock() {
    let mut test = TestContext::<Exclusive>::new("exclusive/a");
    let fetch = test.begin(ExclusiveRequests::fetch("counter/a"));
    test.advance(DEFAULT_DEADLINE - Duration::from_millis(1));
    assert_eq!(test.finished(&fetch), None);
    test.advance(Duration::from_millis(1));
    let failure = test.finished(&fetch).unwrap().unwrap_err();
    assert_eq!(failure.code(), "timeout");
}

#[test]
fn late_and_unknown_replies_are_ignored() {
    let mut guest = Guest::<Exclusive>::new();
    guest.one(request("fetch", &packed("counter/a")));
    for unknown in [0, 2, u64::MAX] {
        let answer = guest.reply(unknown, &packed(1));
        assert_eq!(
            (answer.ended, answer.pending),
            (Ended::Ok(Payload::none()), 1)
        );
    }
    assert_eq!(guest.reply(1, &packed(1)).pending, 0);
    let late = guest.one(Input::Reply {
        ask: 1,
        reply: Reply::Timeout,
    });
    assert_eq!((late.ended, late.pending), (Ended::Ok(Payload::none()), 0));
}

#[test]
fn a_handler_nobody_waits_for_sends_no_reply() {
    let mut guest = Guest::<Exclusive>::new();
    guest.one(send("fetch", &packed("counter/a")));
    let resumed = guest.reply(1, &packed(1));
    assert_eq!(resumed.effects, [""; 0]);
    assert_eq!(resumed.ended, Ended::Ok(Payload::none()));
    // Its failure is the outcome of the turn that brought it about.
    guest.one(send("fetch", &packed("counter/a")));
    let resumed = guest.one(Input::Reply {
        ask: 2,
        reply: Reply::Deadlock,
    });
    assert_eq!(resumed.effects, [""; 0]);
    assert!(matches!(resumed.ended, Ended::Failed(failure) if failure.code() == "deadlock"));
}

#[test]
fn a_handler_that_nothing_can_wake_fails() {
    let mut guest = Guest::<Exclusive>::new();
    let answer = guest.one(request("never", &Payload::none()));
    let Ended::Failed(failure) = answer.ended else {
        panic!("it would wait forever");
    };
    assert_eq!((failure.code(), answer.pending), ("never-wakes", 0));
    let answer = guest.one(request("at_once", &Payload::none()));
    assert_eq!(answer.ended, Ended::Ok(packed(2_u8)));
}

#[test]
fn interleaved_handlers_share_the_agent() {
    let mut test = TestContext::<Shared>::new("shared/a");
    let a = test.begin(SharedRequests::fetch("counter/a".to_owned()));
    let b = test.begin(SharedRequests::fetch("counter/b".to_owned()));
    assert_eq!(test.pending(), 2);
    assert_eq!(test.call(SharedRequests::begun()), Ok(2));
    assert_eq!(test.call(SharedRequests::bump()), Ok(1));
    let ended = test.begin(SharedRequests::ended());
    assert_eq!(test.deferred(), 1);

    let asks = test.asks();
    test.reply(asks[1].ask, Ok(10_u64));
    assert_eq!(test.finished(&b), Some(Ok(11)));
    assert_eq!(test.finished(&a), None);
    assert_eq!(test.finished(&ended), None);
    test.reply(asks[0].ask, Ok(100_u64));
    assert_eq!(test.finished(&a), Some(Ok(111)));
    let order = ["counter/b".to_owned(), "counter/a".to_owned()];
    assert_eq!(test.finished(&ended), Some(Ok(order.to_vec())));
}

#[test]
fn nothing_runs_beside_a_handler_that_holds_the_agent() {
    let mut guest = Guest::<Shared>::new();
    let (none, a) = (Payload::none(), packed("counter/a"));
    let answers = guest.batch(&[
        request("hold", &none),
        request("fetch", &a),
        request("bump", &none),
        request("begun", &none),
    ]);
    assert_eq!(answers[0].ended, Ended::Pending);
    for deferred in &answers[1..] {
        assert_eq!(deferred.ended, Ended::Deferred);
    }
    assert_eq!(guest.reply(1, &packed(5)).replies, [(0, Ok(packed(5_u64)))]);
    let answer = guest.one(request("bump", &none));
    assert_eq!(answer.ended, Ended::Ok(packed(6_u64)));
}

#[test]
fn lookers_may_look_while_a_looker_waits() {
    let mut guest = Guest::<Shared>::new();
    let (none, a) = (Payload::none(), packed("counter/a"));
    let answers = guest.batch(&[
        request("look", &none),
        request("begun", &none),
        request("bump", &none),
        request("fetch", &a),
        request("ended", &none),
    ]);
    let ended: Vec<Ended> = answers.into_iter().map(|answer| answer.ended).collect();
    let deferred = || Ended::Deferred;
    let looked = Ended::Ok(packed(0_u64));
    assert_eq!(
        ended,
        [Ended::Pending, looked, deferred(), deferred(), deferred()]
    );
}

#[test]
fn a_handler_that_shares_lets_only_the_marked_ones_run() {
    let mut test = TestContext::<Shared>::new("shared/a");
    let slow = test.begin(SharedRequests::slow());
    assert_eq!(test.call(SharedRequests::bump()), Ok(1));
    let fetch = test.begin(SharedRequests::fetch("counter/a".to_owned()));
    let hold = test.begin(SharedRequests::hold());
    let again = test.begin(SharedRequests::slow());
    assert_eq!((test.pending(), test.deferred()), (2, 2));
    test.on_ask("counter/*", "total", |()| Ok(100_u64));
    assert_eq!(test.finished(&slow), Some(Ok(101)));
    assert_eq!(test.finished(&fetch), Some(Ok(101)));
    assert_eq!(test.finished(&hold), Some(Ok(201)));
    assert_eq!(test.finished(&again), Some(Ok(301)));
    assert_eq!((test.pending(), test.deferred()), (0, 0));
}

#[test]
fn a_thousand_handlers_wait_and_each_gets_its_own_answer() {
    let mut guest = Guest::<Shared>::new();
    for turn in 0..1_000_u64 {
        let of = packed(format!("counter/{turn}"));
        let answer = guest.one(request("fetch", &of));
        assert_eq!(answer.asks, [(turn + 1, format!("counter/{turn}"))]);
        assert_eq!(u64::from(answer.pending), turn + 1);
    }
    let mut sum = 0;
    // Every third first, then the rest, so that slots are freed out of order.
    let order = (0..1_000).filter(|it| it % 3 == 0);
    for request in order.chain((0..1_000).filter(|it| it % 3 != 0)) {
        sum += request;
        let answer = guest.reply(request + 1, &packed(request));
        assert_eq!(answer.replies, [(request, Ok(packed(sum)))]);
    }
    let answer = guest.one(request("begun", &Payload::none()));
    assert_eq!(
        (answer.ended, answer.pending),
        (Ended::Ok(packed(1_000_u64)), 0)
    );
}

/// A queue in the agent: one handler waits for what another brings.
#[derive(Default)]
pub struct Queue {
    waiting: Option<std::task::Waker>,
    items: Vec<u64>,
}

#[agent]
impl Queue {
    #[interleave]
    async fn take(this: State<Self>) -> u64 {
        std::future::poll_fn(|poller| {
            this.with_mut(|queue| match queue.items.pop() {
                Some(item) => std::task::Poll::Ready(item),
                None => {
                    queue.waiting = Some(poller.waker().clone());
                    std::task::Poll::Pending
                }
            })
        })
        .await
    }

    #[interleave]
    fn put(&mut self, item: u64) {
        self.items.push(item);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

#[test]
fn one_handler_can_wake_another() {
    let mut guest = Guest::<Queue>::new();
    let begun = guest.one(request("take", &Payload::none()));
    assert_eq!((begun.ended, begun.pending), (Ended::Pending, 1));
    let put = guest.one(request("put", &packed(7)));
    assert_eq!((put.ended, put.pending), (Ended::Ok(Payload::none()), 0));
    assert_eq!(put.replies, [(0, Ok(packed(7_u64)))]);
}

#[test]
#[should_panic(expected = "counter/a `total`")]
fn a_call_that_nobody_answers_says_so() {
    let mut test = TestContext::<Exclusive>::new("exclusive/a");
    let _ = test.call(ExclusiveRequests::fetch("counter/a"));
}

#[derive(Default)]
pub struct Unwraps {
    calls: u64,
}

#[agent]
impl Unwraps {
    #[allow(clippy::unwrap_used, reason = "what becomes of it is the test")]
    async fn fetch(&mut self, ctx: &mut Context) -> u64 {
        self.calls += 1;
        let (to, request) = total("counter/a");
        ctx.ask(to, request).await.unwrap()
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

/// A handler that panics at the end of its ask is ended without being run, its
/// caller is told, and the agent takes the next message.
#[test]
fn an_abandoned_handler_is_dropped_unrun() {
    let mut guest = Guest::<Unwraps>::new();
    let begun = guest.one(request("fetch", &Payload::none()));
    assert_eq!((begun.ended, begun.pending), (Ended::Pending, 1));
    let abandoned = guest.one(Input::Reply {
        ask: 1,
        reply: Reply::Abandoned,
    });
    assert_eq!(
        (abandoned.ended, abandoned.pending),
        (Ended::Ok(Payload::none()), 0)
    );
    let [(0, Err(failure))] = abandoned.replies.as_slice() else {
        panic!("{:?}", abandoned.replies)
    };
    assert_eq!(failure.code(), "abandoned");
    let calls = guest.one(request("calls", &Payload::none()));
    assert_eq!(
        calls.ended,
        Ended::Ok(packed(1_u64)),
        "the state is free again"
    );
}

/// Nobody waits for the ask yet: whoever does later learns that it is over.
#[test]
fn an_abandoned_ask_that_nobody_waits_for_yet_reads_as_a_time_out() {
    let mut guest = Guest::<Exclusive>::new();
    guest.one(request("both", &packed(("counter/a", "counter/b"))));
    let abandoned = guest.one(Input::Reply {
        ask: 2,
        reply: Reply::Abandoned,
    });
    assert_eq!((abandoned.replies.len(), abandoned.pending), (0, 1));
    let resumed = guest.reply(1, &packed(1));
    let [(0, Err(failure))] = resumed.replies.as_slice() else {
        panic!("{:?}", resumed.replies)
    };
    assert_eq!(failure.code(), "timeout");
}
