//! What handlers do through their context, and what they see in it.
#![allow(missing_docs, reason = "the agents here are examples")]

mod common;

use common::{Guest, packed, request, send};
use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::{Logged, Published, TestContext};
use phoenix_sdk::{Payload, Rng, TimerId};
use phoenix_wit::Input;

#[derive(Default)]
pub struct Busy {
    ticks: Vec<(u64, String)>,
}

#[agent]
impl Busy {
    fn tell(&self, ctx: &mut Context, to: String) {
        ctx.send(&to, Request::new("hit", ("a", 1_u8)));
        ctx.send_at_most_once(to, Request::new("seen", ()));
        ctx.send(ctx.source(), Request::new("told", ctx.key()));
    }

    fn in_many_ways(&self, ctx: &mut Context) {
        let second = Duration::from_secs(1);
        let options = SendOptions::new()
            .delivery(Delivery::AtLeastOnce)
            .lane(Lane::Low)
            .ttl(second)
            .report_expired()
            .give_up_after(second * 5)
            .retry(Retry::linear(second, second / 2, second * 4).attempts(3));
        ctx.send_with("a/1", Request::new("hit", 1), &options);
        let hits = [
            ("a/2", Request::new("hit", 2)),
            ("a/3", Request::new("hit", 3)),
        ];
        ctx.send_batch(hits, &SendOptions::default());
        let bulk = SendOptions::new().lane(Lane::Bulk);
        ctx.broadcast(["a/1", "a/2"], Request::new("close", 7), &bulk);
        let load = SendOptions::new().message_type("phoenix.metric.cpu.load");
        ctx.send_with("a/1", Request::new("load", 8), &load);
    }

    async fn totals(&mut self, ctx: &mut Context, of: Vec<String>) -> Vec<Option<u64>> {
        let total = Request::new("total", ()).returns::<u64>();
        let answers = ctx.ask_all(of, total, Duration::from_secs(1)).await;
        answers.into_iter().map(Result::ok).collect()
    }

    fn topics(&self, ctx: &Context) {
        ctx.subscribe("orders.>");
        ctx.subscribe("alerts.*");
        ctx.unsubscribe("orders.>");
        ctx.publish("alerts.disk", &("full", 97));
        ctx.subscribe(billing());
        ctx.subscribe(Subscription::to("orders.>").name("gone").in_flight(3));
        ctx.unsubscribe(Subscription::to("orders.>").name("gone"));
        ctx.publish_with("alerts.disk", &1, &full());
    }

    fn timers(&self, ctx: &mut Context) {
        let tick = |name: &str| BusyRequests::tick(name.to_owned());
        ctx.timer("once", Duration::from_millis(20), tick("once"));
        ctx.timer_every(7, Duration::ZERO, Duration::from_millis(15), tick("often"));
        ctx.timer("gone", Duration::from_millis(5), tick("gone"));
        ctx.cancel_timer("gone");
        ctx.timer("moved", Duration::from_millis(1), tick("early"));
        ctx.timer("moved", Duration::from_micros(32_001), tick("moved"));
    }

    fn tick(&mut self, ctx: &mut Context, name: String) {
        assert_eq!(ctx.source(), ctx.id());
        self.ticks.push((ctx.now().as_millis(), name));
    }

    fn stop_timer(&self, ctx: &mut Context) {
        ctx.cancel_timer(7);
    }

    fn family(&self, ctx: &mut Context) {
        ctx.spawn("counter/new", &5_u8);
        ctx.spawn("counter/plain", &());
        ctx.stop("done");
    }

    fn logs(&self, ctx: &mut Context) {
        ctx.error("a");
        ctx.warn(1);
        ctx.info(format_args!("{}{}", 1, 2));
        ctx.debug("d");
        ctx.trace('e');
    }

    fn here(&self, ctx: &mut Context) -> (String, String, String, u64, u64) {
        let (id, key, source) = (ctx.id(), ctx.key(), ctx.source());
        let texts = (id.to_owned(), key.to_owned(), source.to_owned());
        (texts.0, texts.1, texts.2, ctx.turn(), ctx.now().as_nanos())
    }

    fn numbers(&self, ctx: &mut Context) -> (u64, u64, u64) {
        (ctx.random(), ctx.random(), ctx.rng().next_u64())
    }

    async fn patient(&mut self, ctx: &mut Context, seconds: u64) -> Result<(), AskError> {
        let deadline = Duration::from_secs(seconds);
        ctx.ask_with_deadline("a/b", Request::new("c", ()).returns::<()>(), deadline)
            .await
    }

    /// The turn and its time are those of the moment; the sender is of the message.
    async fn before_and_after(
        &mut self,
        ctx: &mut Context,
    ) -> Result<Vec<(u64, String, u64)>, AskError> {
        let before = (ctx.turn(), ctx.source().to_owned(), ctx.random());
        ctx.ask("a/b", Request::new("c", ())).await?;
        ctx.send("a/b", Request::new("d", ()));
        Ok(vec![
            before,
            (ctx.turn(), ctx.source().to_owned(), ctx.random()),
        ])
    }
}

fn billing() -> Subscription {
    Subscription::to("orders.*")
        .name("billing")
        .handler("bill")
        .filter("data.total > 100")
        .group("billing", GroupStrategy::Weighted)
        .weight(3)
        .replay(Replay::Last(100))
}

fn full() -> PublishOptions {
    PublishOptions::new()
        .event_type("disk.full")
        .key("sda")
        .attribute("percent", 97)
        .retain()
        .ttl(Duration::from_secs(1))
        .delivery(Delivery::AtMostOnce)
}

fn busy() -> TestContext<Busy> {
    TestContext::new("busy/bee")
}

#[test]
fn sends_say_how_they_are_delivered() {
    let mut test = busy();
    test.call(BusyRequests::tell("site/main".to_owned()))
        .unwrap();
    let sent = test.take_sent();
    assert!(sent[0].is("site/main", &Request::new("hit", ("a", 1_u8))));
    assert_eq!(sent[0].arguments::<(String, u8)>(), ("a".to_owned(), 1));
    assert_eq!(sent[0].delivery, Delivery::ExactlyOnce);
    assert_eq!(sent[1].delivery, Delivery::AtMostOnce);
    assert_eq!(sent[1].payload, Payload::none());
    assert!(sent[2].is("client/test", &Request::new("told", "bee")));
    assert_eq!(test.take_sent(), []);
}

#[test]
fn ways_to_send_are_seen_by_a_test() {
    let mut test = busy();
    test.call(BusyRequests::in_many_ways()).unwrap();
    let sent = test.take_sent();
    let to: Vec<&str> = sent.iter().map(|sent| &*sent.to).collect();
    assert_eq!(to, ["a/1", "a/2", "a/3", "a/1", "a/2", "a/1"]);
    let second = Duration::from_secs(1);
    let retry = Retry::linear(second, second / 2, second * 4).attempts(3);
    let options = SendOptions::new()
        .delivery(Delivery::AtLeastOnce)
        .lane(Lane::Low)
        .ttl(second)
        .report_expired()
        .give_up_after(second * 5)
        .retry(retry);
    assert_eq!(sent[0].options, options);
    assert_eq!(sent[0].delivery, Delivery::AtLeastOnce);
    assert_eq!(sent[1].options, SendOptions::default());
    assert_eq!(sent[4].options, SendOptions::new().lane(Lane::Bulk));
    assert!(sent[4].is("a/2", &Request::new("close", 7)));
    let load = SendOptions::new().message_type("phoenix.metric.cpu.load");
    assert_eq!(sent[5].options, load);
}

#[test]
fn all_that_are_asked_are_waited_for_and_who_is_late_is_told_apart() {
    let mut test = busy();
    let total = BusyRequests::totals(vec!["a/1".into(), "a/2".into(), "a/3".into()]);
    let call = test.begin(total);
    let asks = test.asks();
    assert_eq!(asks.len(), 3);
    test.reply(asks[2].ask, Ok(30_u64));
    test.reply(asks[0].ask, Ok(10_u64));
    assert!(test.finished(&call).is_none(), "one has not answered");
    test.advance(Duration::from_secs(1));
    let answered = test.finished(&call).unwrap().unwrap();
    assert_eq!(answered, [Some(10), None, Some(30)]);
}

#[test]
fn topics() {
    let mut test = busy();
    test.call(BusyRequests::topics()).unwrap();
    let subscriptions = test.subscriptions();
    let names: Vec<&str> = subscriptions.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["alerts.*", "billing"]);
    assert!(subscriptions[0].is("alerts.*"));
    assert!(subscriptions[1].is(billing()));
    assert!(!subscriptions[1].is(billing().in_flight(3)));
    let published = |payload, options| Published {
        topic: "alerts.disk".to_owned(),
        payload,
        options,
    };
    assert_eq!(
        test.take_published(),
        [
            published(packed(("full", 97)), PublishOptions::default()),
            published(packed(1), full()),
        ]
    );
}

#[test]
fn timers_fire_in_order_at_their_own_time() {
    let mut test = busy();
    let start = test.now().as_millis();
    test.call(BusyRequests::timers()).unwrap();
    assert_eq!(test.timers().len(), 3);
    assert_eq!(test.timers()[0].id, 7);
    assert!(
        test.timers()
            .iter()
            .any(|it| it.id == TimerId::named("once").number())
    );
    test.advance(Duration::from_millis(40));
    test.call(BusyRequests::stop_timer()).unwrap();
    test.advance(Duration::from_secs(1));
    let ticks = test.with(|busy| busy.ticks.clone());
    let ticks: Vec<(u64, &str)> = ticks
        .iter()
        .map(|(at, name)| (at - start, &**name))
        .collect();
    assert_eq!(
        ticks,
        [
            (0, "often"),
            (15, "often"),
            (20, "once"),
            (30, "often"),
            (33, "moved")
        ]
    );
    assert_eq!(test.take_failures(), []);
}

#[test]
fn agents_come_and_go() {
    let mut test = busy();
    assert_eq!(test.stopped(), None);
    test.call(BusyRequests::family()).unwrap();
    let spawned = test.take_spawned();
    assert_eq!(spawned[0].agent, "counter/new");
    assert_eq!(spawned[0].config::<u8>(), 5);
    assert_eq!(spawned[1].config, Payload::none());
    assert_eq!(test.stopped(), Some("done"));
}

#[test]
fn logs_have_levels() {
    let mut test = busy();
    test.call(BusyRequests::logs()).unwrap();
    let lines = [
        (Level::Error, "a"),
        (Level::Warn, "1"),
        (Level::Info, "12"),
        (Level::Debug, "d"),
        (Level::Trace, "e"),
    ];
    let lines = lines.map(|(level, text)| Logged {
        level,
        text: text.to_owned(),
    });
    assert_eq!(test.take_logs(), lines);
}

#[test]
fn a_handler_knows_where_it_is() {
    let mut test = busy();
    test.set_source("visitor/10.0.0.1");
    let now = test.now().as_nanos();
    assert_eq!(
        test.call(BusyRequests::here()),
        Ok((
            "busy/bee".to_owned(),
            "bee".to_owned(),
            "visitor/10.0.0.1".to_owned(),
            1,
            now
        ))
    );
}

#[test]
fn random_numbers_are_those_of_agent_and_turn() {
    let draw = |seed: u64, turns: usize| {
        let mut test = busy();
        test.set_seed(seed);
        (0..turns)
            .map(|_| test.call(BusyRequests::numbers()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(1, 3), draw(1, 3));
    assert_ne!(draw(1, 1), draw(2, 1));
    let mut all: Vec<u64> = draw(1, 100)
        .into_iter()
        .flat_map(|it| [it.0, it.1, it.2])
        .collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 300);
    let (_, third, rng) = draw(1, 1)[0];
    assert_ne!(third, rng);
    assert_ne!(Rng::new(third).next_u64(), rng);
}

#[test]
fn deadlines_are_brought_into_their_range() {
    for (asked, given) in [(0, 1), (9, 9_000), (7_200, 3_600_000)] {
        let mut guest = Guest::<Busy>::new();
        let answer = guest.one(request("patient", &packed(asked)));
        let expected = format!("deadline_ms: {given}");
        assert!(answer.effects[0].contains(&expected), "{answer:?}");
    }
}

#[test]
fn a_resumed_handler_is_in_a_turn_of_its_own() {
    let mut test = busy();
    test.set_source("client/1");
    let begun = test.begin(BusyRequests::before_and_after());
    test.set_source("client/2");
    test.advance(Duration::from_secs(1));
    test.answer_next("a/b", "c", Ok(()));
    let seen = test.finished(&begun).unwrap().unwrap();
    assert_eq!((seen[0].0, seen[1].0), (1, 2));
    assert_eq!((&*seen[0].1, &*seen[1].1), ("client/1", "client/1"));
    assert_ne!(seen[0].2, seen[1].2);
    assert_eq!(test.take_sent()[0].method, "d");
}

#[test]
fn effects_of_a_batch_belong_to_their_turns() {
    let mut guest = Guest::<Busy>::new();
    let (to, none) = (packed("x/y"), Payload::none());
    let answers = guest.batch(&[
        send("tell", &to),
        send("here", &none),
        Input::Timer {
            id: 1,
            method: "family",
            payload: phoenix_wit::Payload::NONE,
        },
    ]);
    let counts: Vec<usize> = answers.iter().map(|answer| answer.effects.len()).collect();
    assert_eq!(counts, [3, 0, 3]);
}

#[test]
fn long_texts_are_cut_where_the_frame_cuts_them() {
    #[derive(Default)]
    struct Talker;
    #[agent]
    impl Talker {
        fn talk(&self, ctx: &mut Context) {
            ctx.info("é".repeat(40_000));
        }
    }
    let mut test = TestContext::<Talker>::new("talker/a");
    test.call(TalkerRequests::talk()).unwrap();
    assert_eq!(test.take_logs()[0].text.len(), 65_534);
}

#[test]
#[should_panic(expected = "cannot encode the payload for `hit`: no")]
fn arguments_that_cannot_be_encoded_undo_the_turn() {
    struct Stubborn;
    impl serde::Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    #[derive(Default)]
    struct Sender;
    #[agent]
    impl Sender {
        fn go(&self, ctx: &mut Context) {
            ctx.send("a/b", Request::new("hit", Stubborn));
        }
    }
    let mut test = TestContext::<Sender>::new("sender/a");
    let _ = test.call(SenderRequests::go());
}

#[test]
fn what_encoding_an_argument_sends_follows_its_message() {
    /// Sends while it is encoded, and so does what it sends.
    struct Chatty<'c>(&'c Context, u8);
    impl serde::Serialize for Chatty<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.1 > 0 {
                let inner = Chatty(self.0, self.1 - 1);
                self.0.send("a/b", Request::new("inner", inner));
                self.0.info(self.1);
            }
            serializer.serialize_u8(self.1)
        }
    }
    #[derive(Default)]
    struct Sender;
    #[agent]
    impl Sender {
        fn go(&self, ctx: &mut Context) {
            ctx.send("a/b", Request::new("outer", Chatty(ctx, 2)));
            ctx.send("a/b", Request::new("last", 9_u8));
        }
    }
    let mut test = TestContext::<Sender>::new("sender/a");
    test.call(SenderRequests::go()).unwrap();
    let sent = test.take_sent();
    let carried =
        |at: usize, method: &str, n: u8| sent[at].is("a/b", &Request::new(method.to_owned(), n));
    assert_eq!(sent.len(), 4);
    assert!(carried(0, "outer", 2) && carried(3, "last", 9));
    assert!((1..3).any(|at| carried(at, "inner", 1)) && (1..3).any(|at| carried(at, "inner", 0)));
    assert_eq!(test.take_logs().len(), 2);
}
