//! Publishes numbers and hears of them, as the SDK has it.

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Herald {
    /// Number, topic and data of what it heard, in order.
    heard: Vec<(u64, String, u64)>,
}

#[agent]
impl Herald {
    /// Publishes `from` and what follows it, `count` in all, in one turn.
    fn tell(&self, ctx: &mut Context, topic: String, from: u64, count: u64) {
        for n in from..from + count {
            ctx.publish(&topic, &n);
        }
    }

    /// Publishes a number that the topic keeps.
    fn tell_all(&self, ctx: &mut Context, topic: String, n: u64) {
        let options = PublishOptions::new().key("all").retain();
        ctx.publish_with(&topic, &n, &options);
    }

    /// Hears of topics, but for what the filter is not true of, if there is one.
    fn listen(&self, ctx: &mut Context, pattern: String, filter: String) {
        let subscription = Subscription::to(pattern).name("one");
        ctx.subscribe(match filter.as_str() {
            "" => subscription,
            filter => subscription.filter(filter),
        });
    }

    /// Hears of them no more.
    fn turn_away(&self, ctx: &mut Context, pattern: String) {
        ctx.unsubscribe(Subscription::to(pattern).name("one"));
    }

    async fn on_event(&mut self, _ctx: &mut Context, event: Event<u64>) {
        self.heard.push((event.number, event.topic, event.data));
    }

    /// What it heard.
    fn heard(&self) -> &[(u64, String, u64)] {
        &self.heard
    }
}
