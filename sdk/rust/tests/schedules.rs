//! Timers by a schedule, and what becomes of due times that passed.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the agent here is an example, and a test fails by panicking"
)]

use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;

#[derive(Default)]
pub struct Clock {
    ticks: Vec<u64>,
}

#[agent]
impl Clock {
    fn every(&self, ctx: &mut Context, period_ms: u64) {
        let schedule = Schedule::every(Duration::from_millis(period_ms));
        ctx.schedule("tick", &schedule, ClockRequests::tick());
    }

    fn all(&self, ctx: &mut Context, period_ms: u64) {
        let schedule = Schedule::every(Duration::from_millis(period_ms)).catch_up_all();
        ctx.schedule("tick", &schedule, ClockRequests::tick());
    }

    fn skip(&self, ctx: &mut Context, period_ms: u64, late_ms: u64) {
        let schedule = Schedule::every(Duration::from_millis(period_ms))
            .first_after(Duration::from_millis(5))
            .skip_late(Duration::from_millis(late_ms));
        ctx.schedule("tick", &schedule, ClockRequests::tick());
    }

    fn cron(&self, ctx: &mut Context, schedule: String) -> Result<(), Failure> {
        ctx.schedule("tick", &Schedule::cron(&schedule)?, ClockRequests::tick());
        Ok(())
    }

    fn tick(&mut self, ctx: &mut Context) {
        self.ticks.push(ctx.now().as_millis());
    }

    async fn wait(&mut self, ctx: &mut Context) {
        let _ = ctx.ask("other/a", Request::new("go", ())).await;
        ctx.cancel_timer("tick");
    }
}

fn begun() -> (TestContext<Clock>, u64) {
    let test = TestContext::<Clock>::new("clock/a");
    let start = test.now().as_millis();
    (test, start)
}

fn ticks(test: &TestContext<Clock>, start: u64) -> Vec<u64> {
    test.with(|clock| clock.ticks.iter().map(|at| at - start).collect())
}

#[test]
fn due_times_that_passed_fire_once_or_each_or_not() {
    let (mut test, start) = begun();
    test.call(ClockRequests::every(10)).unwrap();
    test.advance(Duration::from_millis(20));
    test.miss(Duration::from_millis(34));
    test.advance(Duration::from_millis(6));
    assert_eq!(ticks(&test, start), [10, 20, 54, 60]);

    let (mut test, start) = begun();
    test.call(ClockRequests::all(10)).unwrap();
    test.miss(Duration::from_millis(34));
    test.advance(Duration::from_millis(6));
    assert_eq!(ticks(&test, start), [34, 34, 34, 40]);

    let (mut test, start) = begun();
    test.call(ClockRequests::skip(10, 12)).unwrap();
    test.miss(Duration::from_millis(34));
    test.advance(Duration::from_millis(1));
    // Due at 5, 15, 25: the last of them is late, and not too late.
    assert_eq!(ticks(&test, start), [34, 35]);
}

#[test]
fn cron_schedules_are_in_utc() {
    let (mut test, start) = begun();
    // It begins with the year 2026, on a Thursday.
    test.call(ClockRequests::cron("30 4 * * fri".to_owned()))
        .unwrap();
    assert_eq!(test.timers()[0].schedule.to_string(), "cron 30 4 * * fri");
    test.advance(Duration::from_secs(9 * 24 * 3_600));
    let hour = 3_600_000;
    let first = 24 * hour + 4 * hour + hour / 2;
    assert_eq!(ticks(&test, start), [first, first + 7 * 24 * hour]);
}

#[test]
fn a_bad_cron_schedule_is_an_error_at_the_call() {
    let (mut test, _) = begun();
    let bad = ClockRequests::cron("61 4 * * *".to_owned());
    let failure = test.call(bad).unwrap_err();
    assert_eq!(failure.code(), "bad-cron");
    assert!(failure.message().contains("`61` is no minute"), "{failure}");
    assert_eq!(test.timers(), []);
}

#[test]
fn a_cancel_wins_over_a_firing_that_waits() {
    let (mut test, start) = begun();
    test.call(ClockRequests::every(10)).unwrap();
    test.begin(ClockRequests::wait());
    test.advance(Duration::from_millis(15));
    assert_eq!(test.deferred(), 1, "the handler that waits holds the agent");
    let ask = test.asks()[0].ask;
    test.reply(ask, Ok(()));
    test.advance(Duration::from_millis(100));
    assert_eq!(ticks(&test, start), [0_u64; 0]);
}
