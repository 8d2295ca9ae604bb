//! Schedules against a model that looks at every instant, one after the other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use phoenix_wit::timer::{BadCron, CatchUp, Cron, Schedule, Timing};
use proptest::prelude::*;

const MINUTE: u64 = 60_000;

/// Whether a timer that was set at `set` is due at an instant.
fn is_due(schedule: &Schedule<'_>, set: u64, instant: u64) -> bool {
    match *schedule {
        Schedule::Once { delay_ms } => set + delay_ms == instant,
        Schedule::Every {
            delay_ms,
            period_ms,
        } => {
            let first = set + delay_ms;
            instant >= first && (instant - first).is_multiple_of(period_ms.max(1))
        }
        Schedule::Cron(text) => {
            instant > set && instant.is_multiple_of(MINUTE) && matches(text, instant / MINUTE)
        }
    }
}

/// Whether a schedule of `*`, numbers and `*/n` has this minute since 1970.
fn matches(text: &str, minute: u64) -> bool {
    let days = minute / 1_440;
    let (mut year, mut month, mut left) = (1970, 0, days);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    let now = [
        minute % 60,
        minute / 60 % 24,
        left + 1,
        month as u64 + 1,
        (days + 4) % 7,
    ];
    let fields: Vec<&str> = text.split(' ').collect();
    let fits = |at: usize| match fields[at].strip_prefix("*/") {
        _ if fields[at] == "*" => true,
        Some(step) => {
            let least = u64::from(at == 2 || at == 3);
            (now[at] - least).is_multiple_of(step.parse().unwrap())
        }
        None => fields[at].parse::<u64>().unwrap() % if at == 4 { 7 } else { 99 } == now[at],
    };
    let restricted = |at: usize| !fields[at].starts_with('*');
    let day = if restricted(2) && restricted(4) {
        fits(2) || fits(4)
    } else {
        fits(2) && fits(4)
    };
    fits(0) && fits(1) && fits(3) && day
}

fn field(least: u64, most: u64) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        1 => (least..=most).prop_map(|number| number.to_string()),
        1 => (2..=most).prop_map(|step| format!("*/{step}")),
    ]
}

fn cron() -> impl Strategy<Value = String> {
    let fields = (
        field(0, 59),
        field(0, 23),
        field(1, 28),
        field(1, 12),
        field(0, 7),
    );
    fields.prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}

fn schedule() -> impl Strategy<Value = Schedule<'static>> {
    prop_oneof![
        (0..200_u64).prop_map(|delay_ms| Schedule::Once { delay_ms }),
        (0..200_u64, 0..40_u64).prop_map(|(delay_ms, period_ms)| Schedule::Every {
            delay_ms,
            period_ms,
        }),
    ]
}

fn catch_up() -> impl Strategy<Value = CatchUp> {
    prop_oneof![
        Just(CatchUp::Once),
        Just(CatchUp::All),
        (0..60_u64).prop_map(|late_ms| CatchUp::Skip { late_ms }),
    ]
}

/// The due times that fire of a timer that was set at `set` and is looked at at `looks`,
/// each with when. Every instant is looked at.
fn fired_by_looking(
    schedule: &Schedule<'_>,
    catch_up: CatchUp,
    set: u64,
    looks: &[u64],
) -> Vec<(u64, u64)> {
    let mut fired = Vec::new();
    // Due times before this one are over.
    let mut from = set;
    for &now in looks {
        let due: Vec<u64> = (from..=now)
            .filter(|instant| is_due(schedule, set, *instant))
            .collect();
        match catch_up {
            CatchUp::Once => fired.extend(due.first().map(|due| (*due, now))),
            CatchUp::All => fired.extend(due.iter().map(|due| (*due, now))),
            CatchUp::Skip { late_ms } => {
                let in_time = due.iter().filter(|due| *due + late_ms >= now);
                fired.extend(in_time.map(|due| (*due, now)));
            }
        }
        from = now + 1;
    }
    fired
}

/// The same as a node does it.
fn fired_by_steps(
    schedule: &Schedule<'_>,
    catch_up: CatchUp,
    set: u64,
    looks: &[u64],
) -> Vec<(u64, u64)> {
    let (timing, mut next) = Timing::begin(schedule, catch_up, set).unwrap();
    let mut fired = Vec::new();
    for &now in looks {
        while let Some(due) = next.filter(|due| *due <= now) {
            next = if timing.fires(due, now) {
                fired.push((due, now));
                timing.after_firing(due, now)
            } else {
                timing.after_missing(due, now)
            };
            assert!(next.is_none_or(|next| next > due), "it goes on");
        }
    }
    fired
}

fn looks(set: u64, spans: &[u64]) -> Vec<u64> {
    let mut now = set;
    spans
        .iter()
        .map(|span| {
            now += span;
            now
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Of the due times between two looks those fire that the policy names, each once.
    #[test]
    fn due_times_fire_as_the_model_says(
        schedule in schedule(),
        catch_up in catch_up(),
        set in 0..100_u64,
        spans in proptest::collection::vec(1..80_u64, 1..12),
    ) {
        let looks = looks(set, &spans);
        let expected = fired_by_looking(&schedule, catch_up, set, &looks);
        let found = fired_by_steps(&schedule, catch_up, set, &looks);
        prop_assert_eq!(found, expected);
    }

    /// A schedule's next minute is the first that fits, looked at one by one.
    #[test]
    fn schedules_have_the_minutes_they_say(text in cron(), start in 0..4_000_000_u64) {
        let cron: Cron = text.parse().unwrap();
        let start = start * 11 * MINUTE;
        let next = cron.after(start).unwrap();
        prop_assert!(next > start && next.is_multiple_of(MINUTE));
        prop_assert!(matches(&text, next / MINUTE), "{} at {}", text, next);
        let looked = (next / MINUTE - start / MINUTE - 1).min(500);
        for back in 1..=looked {
            prop_assert!(!matches(&text, next / MINUTE - back), "{} at {}", text, next);
        }
    }

    /// The same of cron schedules as of others, in minutes.
    #[test]
    fn minutes_fire_as_the_model_says(
        minute in field(0, 59),
        catch_up in catch_up(),
        set in 0..5_000_u64,
        spans in proptest::collection::vec(1..300_u64, 1..6),
    ) {
        let text = format!("{minute} * * * *");
        let schedule = Schedule::Cron(&text);
        let catch_up = match catch_up {
            CatchUp::Skip { late_ms } => CatchUp::Skip { late_ms: late_ms * MINUTE },
            other => other,
        };
        let set = set * MINUTE;
        let spans: Vec<u64> = spans.iter().map(|span| span * MINUTE).collect();
        let looks = looks(set, &spans);
        let found = fired_by_steps(&schedule, catch_up, set, &looks);
        let due: Vec<u64> = (set / MINUTE + 1..=looks[looks.len() - 1] / MINUTE)
            .filter(|minute| matches(&text, *minute))
            .map(|minute| minute * MINUTE)
            .collect();
        let mut expected = Vec::new();
        let mut from = set;
        for now in looks {
            let between = due.iter().copied().filter(|due| *due > from && *due <= now);
            match catch_up {
                CatchUp::Once => expected.extend(between.take(1).map(|due| (due, now))),
                CatchUp::All => expected.extend(between.map(|due| (due, now))),
                CatchUp::Skip { late_ms } => expected.extend(
                    between.filter(|due| due + late_ms >= now).map(|due| (due, now)),
                ),
            }
            from = now;
        }
        prop_assert_eq!(found, expected);
    }

    /// No schedule and no instant makes it panic or go back.
    #[test]
    fn the_ends_of_time_are_no_trouble(
        delay_ms in prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)],
        period_ms in prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)],
        late_ms in prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)],
        set in prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)],
        now in prop_oneof![any::<u64>(), Just(u64::MAX)],
    ) {
        for schedule in [
            Schedule::Once { delay_ms },
            Schedule::Every { delay_ms, period_ms },
            Schedule::Cron("0 0 29 2 *"),
        ] {
            for catch_up in [CatchUp::Once, CatchUp::All, CatchUp::Skip { late_ms }] {
                let (timing, due) = Timing::begin(&schedule, catch_up, set).unwrap();
                let Some(due) = due else { continue };
                for next in [timing.after_firing(due, now), timing.after_missing(due, now)] {
                    prop_assert!(next.is_none_or(|next| next > due));
                }
            }
        }
    }
}

#[test]
fn late_ones_catch_up_as_they_are_told() {
    let schedule = Schedule::Every {
        delay_ms: 10,
        period_ms: 10,
    };
    for (catch_up, expected) in [
        (CatchUp::Once, vec![10]),
        (CatchUp::All, vec![10, 20, 30, 40, 50]),
        (CatchUp::Skip { late_ms: 15 }, vec![40, 50]),
        (CatchUp::Skip { late_ms: 0 }, vec![]),
    ] {
        let fired = fired_by_steps(&schedule, catch_up, 0, &[54]);
        let due: Vec<u64> = fired.iter().map(|(due, _)| *due).collect();
        assert_eq!(due, expected, "{catch_up:?}");
    }
}

#[test]
fn a_bad_cron_schedule_is_no_timer() {
    let set = |text| Timing::begin(&Schedule::Cron(text), CatchUp::Once, 0);
    let error = set("* * 32 * *").unwrap_err();
    assert!(
        matches!(&error, BadCron::Field { field, .. } if *field == "day of month"),
        "{error}"
    );
    assert!(matches!(set("0 0 30 2 *"), Err(BadCron::Never(_))));
}
