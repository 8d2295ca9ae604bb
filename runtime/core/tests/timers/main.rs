//! Timers against a model that looks at every instant, one after the other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use std::collections::BTreeMap;

use phoenix_core::Millis;
use phoenix_core::timers::{CatchUp, Cron, Firing, TimerIndex, When};
use proptest::prelude::*;

const MINUTE: u64 = 60_000;

/// A timer that knows nothing but how to tell whether it is due at an instant.
#[derive(Clone, Debug)]
struct Naive {
    when: When,
    catch_up: CatchUp,
    /// Set at, or committed up to: due times up to here are over.
    over: u64,
    under_way: Option<u64>,
}

fn is_due(when: &When, instant: u64) -> bool {
    match when {
        When::Once(at) => at.0 == instant,
        When::Every { first, period } => {
            instant >= first.0 && (instant - first.0).is_multiple_of(period.0.max(1))
        }
        When::Cron(cron) => {
            instant.is_multiple_of(MINUTE) && matches(&cron.to_string(), instant / MINUTE)
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

impl Naive {
    /// The first due time that is not over, up to `until`.
    fn due(&self, until: u64) -> Option<u64> {
        (self.over + 1..=until).find(|instant| is_due(&self.when, *instant))
    }

    fn is_gone(&self) -> bool {
        matches!(self.when, When::Once(at) if at.0 <= self.over)
    }
}

#[derive(Default)]
struct Model {
    timers: BTreeMap<u8, Naive>,
}

impl Model {
    fn pop(&mut self, now: u64) -> Option<Firing<u8>> {
        for timer in self.timers.values_mut() {
            if let CatchUp::Skip { late } = timer.catch_up
                && timer.under_way.is_none()
            {
                while let Some(due) = timer.due(now)
                    && due + late.0 < now
                {
                    timer.over = due;
                }
            }
        }
        self.timers
            .retain(|_, timer| timer.under_way.is_some() || !timer.is_gone());
        let waiting = self
            .timers
            .iter()
            .filter(|(_, timer)| timer.under_way.is_none());
        let due = waiting
            .filter_map(|(key, timer)| Some((timer.due(now)?, *key)))
            .min();
        let (due, key) = due?;
        self.timers.get_mut(&key)?.under_way = Some(due);
        Some(Firing {
            key,
            due: Millis(due),
        })
    }

    fn fired(&mut self, key: u8, due: u64, now: u64) -> bool {
        let Some(timer) = self.timers.get_mut(&key) else {
            return false;
        };
        if timer.under_way != Some(due) {
            return false;
        }
        timer.under_way = None;
        timer.over = match timer.catch_up {
            CatchUp::Once => now.max(due),
            CatchUp::All | CatchUp::Skip { .. } => due,
        };
        if timer.is_gone() {
            self.timers.remove(&key);
        }
        true
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, When, CatchUp),
    Cancel(u8),
    /// Time passes, and so many that are due fire.
    Pass(u64, usize),
    /// So many fire and are undone.
    Undo(usize),
    /// So many are popped, and the node ends before they are committed.
    Crash(usize),
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

fn step() -> impl Strategy<Value = Step> {
    let when = prop_oneof![
        (0..200_u64).prop_map(|at| When::Once(Millis(at))),
        (1..200_u64, 0..40_u64).prop_map(|(first, period)| When::Every {
            first: Millis(first),
            period: Millis(period),
        }),
    ];
    let catch_up = prop_oneof![
        Just(CatchUp::Once),
        Just(CatchUp::All),
        (0..30_u64).prop_map(|late| CatchUp::Skip { late: Millis(late) }),
    ];
    prop_oneof![
        3 => (0..6_u8, when, catch_up).prop_map(|(key, when, catch)| Step::Set(key, when, catch)),
        1 => (0..6_u8).prop_map(Step::Cancel),
        4 => (0..60_u64, 0..12_usize).prop_map(|(span, most)| Step::Pass(span, most)),
        1 => (1..4_usize).prop_map(Step::Undo),
        1 => (0..4_usize).prop_map(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// The same timers fire for the same due times in the same order as in the model, and
    /// none twice for one, whatever is cancelled, undone or lost in between.
    #[test]
    fn timers_fire_as_the_model_says(steps in proptest::collection::vec(step(), 1..30)) {
        let mut index = TimerIndex::new();
        let mut model = Model::default();
        let mut now = 0;
        let mut committed = std::collections::BTreeSet::new();
        // What is set anew under a key is another timer.
        let mut life = [0_u32; 6];
        for step in steps {
            match step {
                Step::Set(key, when, catch_up) => {
                    // One whose time has passed is due at once.
                    let over = match &when {
                        When::Once(at) => at.0.wrapping_sub(1),
                        When::Every { first, .. } => first.0 - 1,
                        When::Cron(_) => now,
                    };
                    if matches!(when, When::Once(Millis(0))) {
                        continue;
                    }
                    index.set(key, when.clone(), catch_up, Millis(now));
                    let under_way = None;
                    model.timers.insert(key, Naive { when, catch_up, over, under_way });
                    life[usize::from(key)] += 1;
                }
                Step::Cancel(key) => {
                    index.cancel(&key);
                    model.timers.remove(&key);
                }
                Step::Pass(span, most) => {
                    now += span;
                    for _ in 0..most {
                        let popped = index.pop(Millis(now));
                        prop_assert_eq!(&popped, &model.pop(now));
                        let Some(Firing { key, due }) = popped else { break };
                        prop_assert!(due.0 <= now);
                        let mine = index.fired(&key, due, Millis(now));
                        prop_assert!(mine && model.fired(key, due.0, now));
                        let named = (key, life[usize::from(key)], due);
                        prop_assert!(committed.insert(named), "{:?} fired twice", named);
                        prop_assert!(!index.fired(&key, due, Millis(now)), "it was committed");
                    }
                }
                Step::Undo(most) => {
                    for _ in 0..most {
                        let Some(Firing { key, due }) = index.pop(Millis(now)) else { break };
                        index.put_back(&key, due);
                    }
                }
                Step::Crash(most) => {
                    for _ in 0..most {
                        index.pop(Millis(now));
                    }
                    let mut restored = TimerIndex::new();
                    for (key, timer) in index.iter() {
                        restored.restore(*key, timer.clone());
                    }
                    index = restored;
                }
            }
        }
        // What is too late is gone when it is next looked for, in both.
        while let Some(Firing { key, due }) = index.pop(Millis(now)) {
            prop_assert_eq!(model.pop(now), Some(Firing { key, due }));
            index.fired(&key, due, Millis(now));
            model.fired(key, due.0, now);
        }
        prop_assert_eq!(model.pop(now), None);
        prop_assert_eq!(index.len(), model.timers.len());
    }

    /// A schedule's next minute is the first that fits, looked at one by one.
    #[test]
    fn schedules_have_the_minutes_they_say(text in cron(), start in 0..4_000_000_u64) {
        let cron: Cron = text.parse().unwrap();
        let start = start * 11 * MINUTE;
        let next = cron.after(Millis(start)).unwrap().0;
        prop_assert!(next > start && next.is_multiple_of(MINUTE));
        prop_assert!(matches(&text, next / MINUTE), "{} at {}", text, next);
        let looked = (next / MINUTE - start / MINUTE - 1).min(3_000);
        for back in 1..=looked {
            prop_assert!(!matches(&text, next / MINUTE - back), "{} at {}", text, next);
        }
    }
}

#[test]
fn late_ones_catch_up_as_they_are_told() {
    for (catch_up, expected) in [
        (CatchUp::Once, vec![10]),
        (CatchUp::All, vec![10, 20, 30, 40, 50]),
        (CatchUp::Skip { late: Millis(15) }, vec![40, 50]),
        (CatchUp::Skip { late: Millis(0) }, vec![]),
    ] {
        let mut index = TimerIndex::new();
        let when = When::Every {
            first: Millis(10),
            period: Millis(10),
        };
        index.set(1, when, catch_up, Millis(0));
        let mut fired = Vec::new();
        while let Some(Firing { key, due }) = index.pop(Millis(54)) {
            assert!(index.fired(&key, due, Millis(54)));
            fired.push(due.0);
        }
        assert_eq!(fired, expected, "{catch_up:?}");
        assert_eq!(index.next_due(), Millis(60), "{catch_up:?}");
    }
}

#[test]
fn a_cancel_wins_until_the_commit() {
    let mut index = TimerIndex::new();
    let once = |at| When::Once(Millis(at));
    index.set("a", once(5), CatchUp::Once, Millis(0));
    let firing = index.pop(Millis(5)).unwrap();
    assert!(index.cancel(&"a"));
    assert!(!index.fired(&firing.key, firing.due, Millis(5)));
    // One that is set anew is another.
    index.set("a", once(5), CatchUp::Once, Millis(0));
    let firing = index.pop(Millis(5)).unwrap();
    index.set("a", once(9), CatchUp::Once, Millis(5));
    assert!(!index.fired(&firing.key, firing.due, Millis(5)));
    assert_eq!(index.next_due(), Millis(9));
}

#[test]
fn a_replay_commits_what_it_never_popped() {
    let mut index = TimerIndex::new();
    let when = When::Every {
        first: Millis(10),
        period: Millis(10),
    };
    index.set(1, when, CatchUp::All, Millis(0));
    assert!(index.fired(&1, Millis(10), Millis(12)));
    assert!(!index.fired(&1, Millis(10), Millis(12)));
    assert_eq!(index.pop(Millis(15)), None);
    assert_eq!(index.next_due(), Millis(20));
}

#[test]
fn a_hundred_thousand_in_one_second_fire_once_each() {
    let mut index = TimerIndex::new();
    for key in 0..100_000_u32 {
        let at = Millis(1_000 + u64::from(key.wrapping_mul(2_654_435_761) % 1_000));
        index.set(key, When::Once(at), CatchUp::Once, Millis(0));
    }
    let mut fired = vec![false; 100_000];
    let mut last = Millis(0);
    for now in 1_000..2_000 {
        while let Some(Firing { key, due }) = index.pop(Millis(now)) {
            assert!(due >= last);
            last = due;
            assert!(index.fired(&key, due, Millis(now)));
            assert!(!std::mem::replace(&mut fired[key as usize], true));
        }
        // The node ends in the middle of it.
        if now == 1_500 {
            let mut restored = TimerIndex::new();
            for (key, timer) in index.iter() {
                restored.restore(*key, timer.clone());
            }
            index = restored;
        }
    }
    assert!(fired.iter().all(|fired| *fired) && index.is_empty());
}
