//! Whose turn it is on a worker: agents share its time, not its turns.
//!
//! A worker cannot stop a turn, and what one costs is known when it is over. So
//! who runs is decided by what each agent has had. [`Schedule`] is a start-time
//! fair queue (Goyal, Vin and Cheng, 1996): a virtual clock goes as fast as each of
//! those who want to run would be served if all of them were at once, and an
//! agent's [`Share`] notes when, by that clock, what it has had is paid for. It
//! stands in the queue at that instant, or at the present one if that is later,
//! and the earliest runs. So one that has had little goes ahead of one that has had
//! much, and agents that wait get equal time to within one turn of each.
//!
//! That does not help an agent that answers and is asked again at once: it is
//! never waiting when the next turn is chosen, and would meet a long turn of another's
//! with every request. Iyer and Druschel (2001) saw this at disks, called it
//! deceptive idleness, and wait for whoever may be back soon. Here: an agent that
//! has come back quickly from outside is expected for a while, and meanwhile one
//! that is ahead of its share and runs for longer than that waits, for as long as
//! its last batch took at most. The worker may stand idle for that, at most half
//! of the time, and only while somebody who is expected keeps coming.
//!
//! Everything here is time by the caller's clock; nothing reads one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::Nanos;

/// How long a batch is to run while others wait, nanoseconds.
const BATCH: u64 = 200_000;
/// What a turn of an agent that has had none is taken to cost, nanoseconds.
const UNKNOWN_TURN: u32 = 8_000;
/// Agents that are expected at a time.
const MAX_EXPECTED: usize = 8;
/// Longest absence after which an agent is expected again, nanoseconds. A turn
/// that is longer is relieved at a kind's default slice.
const MAX_ABSENCE: u32 = 4_000_000;
/// How long an agent is expected at least, nanoseconds: a thread may have to wake.
const LEAST_PATIENCE: u64 = 50_000;
/// How often its usual absence an agent is expected for.
const PATIENCE: u64 = 4;

/// What one agent has had of its worker, and what is known of its habits.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The virtual instant at which what it has had is paid for; while it waits,
    /// its place in the queue.
    paid: u64,
    /// When its last turn ended.
    ended: Nanos,
    /// How long it usually stays away before it is asked again from outside,
    /// nanoseconds; more than [`MAX_ABSENCE`] if it is not known to come back.
    absence: u32,
    /// What a turn of it costs, nanoseconds; zero if it has had none.
    turn: u32,
    /// What its last batch cost, nanoseconds.
    batch: u32,
    /// Whether it may be among those expected.
    expected: bool,
}

impl Share {
    /// What a turn of it costs as far as is known, nanoseconds.
    pub fn usual_turn(&self) -> u32 {
        match self.turn {
            0 => UNKNOWN_TURN,
            known => known,
        }
    }

    /// Notes that it was asked from outside at that instant.
    fn came(&mut self, at: Nanos) {
        if self.turn == 0 {
            return;
        }
        let longest = u64::from(2 * MAX_ABSENCE);
        let absence = narrow(at.0.saturating_sub(self.ended.0).min(longest));
        self.absence = match self.absence {
            u32::MAX => absence,
            usual => approach(usual, absence),
        };
    }
}

/// Who is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This one runs.
    Run(u32),
    /// Somebody waits, and is to do so until then unless another comes.
    Wait(Nanos),
    /// Nobody wants to run.
    Nobody,
}

/// An agent that wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// From this virtual instant on.
    from: u64,
    /// Of equals the one that came first.
    number: u64,
    slot: u32,
    /// How long it may run, by what its last batch cost.
    batch: u32,
}

/// An agent that may be back soon.
#[derive(Clone, Copy, Debug)]
struct Expected {
    slot: u32,
    /// Where it will stand in the queue, or later.
    paid: u64,
    absence: u32,
    until: Nanos,
}

/// Who runs next on one worker. Agents are known by their slots; each may be in it
/// once at a time.
#[derive(Debug, Default)]
pub struct Schedule {
    /// The virtual clock, nanoseconds.
    clock: u64,
    /// The instant it was set at last.
    now: Nanos,
    /// Those who have had no more than their share, in the order they came.
    woken: VecDeque<Entry>,
    /// Those who go on, or have had more.
    others: BinaryHeap<Reverse<Entry>>,
    expected: Vec<Expected>,
    entered: u64,
    /// When the last of those is paid for that have left.
    left: u64,
}

impl Schedule {
    /// The share of an agent that begins, or is back. It stands where those that left
    /// stood: to end and begin anew is no way to be rid of what one has had.
    pub fn begin(&self) -> Share {
        Share {
            paid: self.left,
            ended: Nanos(0),
            absence: u32::MAX,
            turn: 0,
            batch: 0,
            expected: false,
        }
    }

    /// An agent leaves, for good or for a while.
    pub fn end(&mut self, share: &Share) {
        self.left = self.left.max(share.paid);
    }

    /// How many want to run.
    #[inline]
    pub fn len(&self) -> usize {
        self.woken.len() + self.others.len()
    }

    /// Whether nobody wants to run.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.woken.is_empty() && self.others.is_empty()
    }

    /// Lets time pass up to `now`, spent on a turn if `running`.
    #[inline]
    pub fn pass(&mut self, now: Nanos, running: bool) {
        let span = now.0.saturating_sub(self.now.0);
        if span == 0 {
            return;
        }
        self.now = now;
        let sharers = self.sharers() + u64::from(running);
        self.clock += if sharers > 1 { span / sharers } else { span };
        if !self.expected.is_empty() {
            self.expected.retain(|agent| agent.until > now);
        }
    }

    /// How many want to run. Those expected count as one: they wait at the same time.
    #[inline]
    fn sharers(&self) -> u64 {
        (self.woken.len() + self.others.len()) as u64 + u64::from(!self.expected.is_empty())
    }

    /// An agent that had nothing to run has something now; since `came`, if it
    /// came from outside the worker.
    #[inline]
    pub fn wake(&mut self, slot: u32, share: &mut Share, came: Option<Nanos>) {
        if let Some(came) = came {
            share.came(came);
        }
        if share.expected {
            share.expected = false;
            self.expected.retain(|agent| agent.slot != slot);
        }
        if share.paid <= self.clock {
            share.paid = self.clock;
            let entry = self.entry(slot, share);
            self.woken.push_back(entry);
        } else {
            self.go_on(slot, share);
        }
    }

    /// An agent that has just run has more to run.
    #[inline]
    pub fn go_on(&mut self, slot: u32, share: &Share) {
        let entry = self.entry(slot, share);
        self.others.push(Reverse(entry));
    }

    #[inline]
    fn entry(&mut self, slot: u32, share: &Share) -> Entry {
        self.entered += 1;
        Entry {
            from: share.paid,
            number: self.entered,
            slot,
            batch: share.batch,
        }
    }

    /// An agent that has just run has nothing more to run, and waits for nobody but
    /// whoever asks it from outside.
    #[inline]
    pub fn rest(&mut self, slot: u32, share: &mut Share) {
        if share.absence > MAX_ABSENCE || self.expected.len() >= MAX_EXPECTED {
            return;
        }
        let patience = (PATIENCE * u64::from(share.absence)).max(LEAST_PATIENCE);
        share.expected = true;
        self.expected.push(Expected {
            slot,
            paid: share.paid,
            absence: share.absence,
            until: Nanos(share.ended.0.saturating_add(patience)),
        });
    }

    /// Chooses who runs next, and takes it out of the queue.
    #[inline]
    pub fn choose(&mut self) -> Next {
        let woken = self.woken.front();
        let entry = match self.others.peek() {
            Some(Reverse(other)) if woken.is_none_or(|woken| other.from < woken.from) => {
                let other = *other;
                if let Some(until) = self.wait(&other) {
                    return Next::Wait(until);
                }
                self.others.pop();
                other
            }
            _ => match self.woken.pop_front() {
                Some(woken) => woken,
                None => return Next::Nobody,
            },
        };
        self.clock = self.clock.max(entry.from);
        Next::Run(entry.slot)
    }

    /// Until when the first in the queue has to wait for those who are expected.
    fn wait(&self, entry: &Entry) -> Option<Nanos> {
        let ahead = entry.from.saturating_sub(self.clock);
        if ahead == 0 {
            return None;
        }
        let until = self
            .expected
            .iter()
            .filter(|agent| agent.paid < entry.from && agent.absence < entry.batch)
            .map(|agent| agent.until)
            .filter(|until| *until > self.now)
            .max()?;
        let paid = self
            .now
            .0
            .saturating_add(ahead.saturating_mul(self.sharers()));
        Some(until.min(Nanos(paid)))
    }

    /// How many turns an agent's next batch may have: as many as it can do in a
    /// short time while others wait, and any number if nobody does.
    #[inline]
    pub fn turns(&self, share: &Share) -> u32 {
        if self.sharers() == 0 {
            return u32::MAX;
        }
        narrow(BATCH / u64::from(share.usual_turn())).max(1)
    }

    /// An agent has had `cost` nanoseconds of the worker, for a batch of so many
    /// turns: its guest's time, and the time of all that was done on its behalf.
    #[inline]
    pub fn charge(&mut self, share: &mut Share, cost: u64, turns: u32) {
        share.paid = share.paid.saturating_add(cost);
        share.ended = self.now;
        share.batch = narrow(cost);
        let turn = match turns {
            0 => return,
            1 => share.batch,
            _ => share.batch / turns,
        };
        share.turn = match share.turn {
            0 => turn,
            known => approach(known, turn),
        }
        .max(1);
    }
}

/// A quarter of the way from what is usual to what was seen.
fn approach(usual: u32, seen: u32) -> u32 {
    if seen >= usual {
        usual + (seen - usual) / 4
    } else {
        usual - (usual - seen) / 4
    }
}

fn narrow(nanos: u64) -> u32 {
    u32::try_from(nanos).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const MICRO: u64 = 1_000;
    const MILLI: u64 = 1_000_000;

    /// A worker whose turns take as long as they are told to.
    struct Worker {
        schedule: Schedule,
        now: u64,
        shares: BTreeMap<u32, Share>,
        /// What each agent has had.
        had: BTreeMap<u32, u64>,
        /// How long the worker stood idle though somebody wanted to run.
        waited: u64,
    }

    impl Worker {
        fn new() -> Self {
            Self {
                schedule: Schedule::default(),
                now: 1_000 * MILLI,
                shares: BTreeMap::new(),
                had: BTreeMap::new(),
                waited: 0,
            }
        }

        fn wake(&mut self, slot: u32, came: Option<u64>) {
            self.schedule.pass(Nanos(self.now), false);
            let begin = self.schedule.begin();
            let share = self.shares.entry(slot).or_insert(begin);
            self.schedule.wake(slot, share, came.map(Nanos));
        }

        /// Who runs next, if anybody does by `until`.
        fn next(&mut self, until: u64) -> Option<u32> {
            loop {
                self.schedule.pass(Nanos(self.now), false);
                match self.schedule.choose() {
                    Next::Run(slot) => return Some(slot),
                    Next::Nobody => return None,
                    Next::Wait(Nanos(at)) => {
                        assert!(at > self.now, "it waits for the past");
                        let end = at.min(until);
                        self.waited += end.saturating_sub(self.now);
                        self.now = self.now.max(end);
                        if at > until {
                            return None;
                        }
                    }
                }
            }
        }

        /// Runs a turn of the agent that is next.
        fn run(&mut self, slot: u32, cost: u64, more: bool) {
            self.now += cost;
            self.schedule.pass(Nanos(self.now), true);
            *self.had.entry(slot).or_default() += cost;
            let share = self.shares.get_mut(&slot).unwrap();
            self.schedule.charge(share, cost, 1);
            if more {
                self.schedule.go_on(slot, share);
            } else {
                self.schedule.rest(slot, share);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Those that always have something to run get equal time, to within a turn of
        /// each, whatever their turns cost.
        #[test]
        fn who_waits_gets_equal_time(
            costs in prop::collection::vec(prop::collection::vec(1..MILLI, 1..8), 2..6),
        ) {
            let mut worker = Worker::new();
            for slot in 0..costs.len() as u32 {
                worker.wake(slot, None);
            }
            for turn in 0..500 {
                let slot = worker.next(u64::MAX).unwrap();
                let its = &costs[slot as usize];
                worker.run(slot, its[turn % its.len()], true);
                for (a, b) in (0..costs.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
                    let longest = |of: usize| costs[of].iter().max().unwrap();
                    let had = |of: usize| worker.had.get(&(of as u32)).copied().unwrap_or(0);
                    let apart = had(a).abs_diff(had(b));
                    prop_assert!(
                        apart <= longest(a) + longest(b),
                        "{a} had {} and {b} had {} after {turn} turns", had(a), had(b),
                    );
                }
            }
            prop_assert_eq!(worker.waited, 0);
        }

        /// One that waits gets what it would get if the worker were divided among all
        /// who want to run, to within a turn of each, while others come and go.
        #[test]
        fn who_waits_gets_its_share_while_others_come_and_go(
            others in prop::collection::vec((1..400 * MICRO, 1..3_000 * MICRO), 1..6),
            cost in 1..400 * MICRO,
            first in 0..2_000 * MICRO,
        ) {
            let mut worker = Worker::new();
            let begin = worker.now;
            let mut due: Vec<u64> = others.iter().map(|(_, pause)| begin + pause).collect();
            let steady = others.len() as u32;
            let slack: u64 = others.iter().map(|(cost, _)| cost).sum::<u64>() + cost;
            let (mut waits, mut fair, mut last) = (false, 0_u64, begin);
            while worker.now < begin + 40 * MILLI {
                if !waits && worker.now >= begin + first {
                    worker.wake(steady, None);
                    (waits, last) = (true, worker.now);
                }
                for (slot, due) in due.iter_mut().enumerate() {
                    if *due <= worker.now {
                        *due = u64::MAX;
                        worker.wake(slot as u32, None);
                    }
                }
                let want = due.iter().filter(|due| **due == u64::MAX).count() as u64 + u64::from(waits);
                match worker.next(u64::MAX) {
                    Some(slot) if slot == steady => worker.run(slot, cost, true),
                    Some(slot) => {
                        let (cost, pause) = others[slot as usize];
                        worker.run(slot, cost, false);
                        due[slot as usize] = worker.now + pause;
                    }
                    None => worker.now += MICRO,
                }
                if waits {
                    fair += (worker.now - last) / want.max(1);
                    last = worker.now;
                    let had = worker.had.get(&steady).copied().unwrap_or(0);
                    prop_assert!(had + slack >= fair, "it had {had} and should have had {fair}");
                }
            }
        }
    }

    /// An agent that is asked again so long after each answer, beside one whose turns
    /// take so long and never cease: how long its answers take, and what the other had.
    fn closed_loop(pause: u64, own: u64, hog: u64, rounds: u64) -> (Vec<u64>, Worker) {
        const HOG: u32 = 1;
        const ASKED: u32 = 2;
        let mut worker = Worker::new();
        worker.wake(HOG, None);
        let mut asked = worker.now;
        let mut is_waiting = false;
        let mut took = Vec::new();
        while took.len() < rounds as usize {
            if !is_waiting && asked <= worker.now {
                worker.wake(ASKED, Some(asked));
                is_waiting = true;
            }
            let until = if is_waiting { u64::MAX } else { asked };
            match worker.next(until) {
                Some(HOG) => worker.run(HOG, hog, true),
                Some(slot) => {
                    worker.run(slot, own, false);
                    took.push(worker.now - asked);
                    asked = worker.now + pause;
                    is_waiting = false;
                }
                None => worker.now = worker.now.max(asked),
            }
        }
        (took, worker)
    }

    #[test]
    fn one_that_is_asked_again_at_once_is_answered_as_usual() {
        for (pause, own, hog) in [
            (5 * MICRO, 2 * MICRO, 300 * MICRO),
            (2 * MICRO, MICRO, 20 * MICRO),
            (20 * MICRO, 5 * MICRO, 5 * MILLI),
            (400 * MICRO, 10 * MICRO, 4 * MILLI),
            (400 * MICRO, 10 * MICRO, 150 * MICRO),
        ] {
            let rounds = 5_000;
            let (took, worker) = closed_loop(pause, own, hog, rounds);
            // From the middle on, when its habits are known.
            let mut late = took[2_500..].to_vec();
            late.sort_unstable();
            let usual = pause + own;
            let median = late[late.len() / 2] + pause;
            let case = format!("{pause} {own} {hog}");
            assert!(
                median <= 2 * usual,
                "{case}: {median} where {usual} is usual"
            );
            let mean = late.iter().sum::<u64>() / late.len() as u64 + pause;
            assert!(mean <= 2 * usual + usual / 4, "{case}: {mean} on average");
            // The other is not shut out, and does not pay for more than it had.
            let had = worker.had[&1];
            let all = worker.now - 1_000 * MILLI;
            assert!(had * 5 >= all * 2, "{case}: the other had {had} of {all}");
            assert!(worker.waited <= had + hog, "{case}: {} idle", worker.waited);
        }
    }

    #[test]
    fn one_that_has_had_little_goes_first() {
        let mut worker = Worker::new();
        worker.wake(1, None);
        let hog = worker.next(u64::MAX).unwrap();
        worker.run(hog, 500 * MICRO, true);
        worker.wake(2, None);
        worker.wake(3, None);
        let mut order = Vec::new();
        while let Some(next) = worker.next(u64::MAX) {
            worker.run(next, MICRO, false);
            order.push(next);
        }
        assert_eq!(order, [2, 3, 1]);
    }

    /// Nobody is kept waiting by ever new agents that have had nothing.
    #[test]
    fn ever_new_agents_starve_nobody() {
        let mut worker = Worker::new();
        worker.wake(0, None);
        let hog = worker.next(u64::MAX).unwrap();
        worker.run(hog, MILLI, true);
        let mut new = 1..;
        for slot in new.by_ref().take(3) {
            worker.wake(slot, None);
        }
        for _ in 0..3_000 {
            let next = worker.next(u64::MAX).unwrap();
            worker.run(next, 10 * MICRO, next == hog);
            if next != hog {
                worker.wake(new.next().unwrap(), None);
            }
        }
        let had = worker.had[&hog] - MILLI;
        assert!(
            had > 6 * MILLI,
            "it had {had} of 30 ms, three others waiting"
        );
    }

    #[test]
    fn who_does_not_come_back_is_not_waited_for_twice() {
        let (hog, asked, pause) = (1, 2, 5 * MICRO);
        let mut worker = Worker::new();
        for _ in 0..10 {
            worker.wake(asked, Some(worker.now));
            assert_eq!(worker.next(u64::MAX), Some(asked));
            worker.run(asked, MICRO, false);
            worker.now += pause;
        }
        worker.wake(hog, None);
        for _ in 0..100 {
            assert_eq!(worker.next(u64::MAX), Some(hog));
            worker.run(hog, MILLI, true);
        }
        assert!(worker.waited <= LEAST_PATIENCE, "{} idle", worker.waited);
    }

    #[test]
    fn to_end_is_no_way_to_be_rid_of_what_one_has_had() {
        let mut worker = Worker::new();
        worker.wake(1, None);
        worker.wake(2, None);
        for _ in 0..10 {
            let next = worker.next(u64::MAX).unwrap();
            worker.run(next, if next == 1 { MILLI } else { MICRO }, true);
            if next == 1 {
                // It ends, and begins anew at once.
                let share = worker.shares.remove(&1).unwrap();
                worker.schedule.end(&share);
                worker.shares.insert(1, worker.schedule.begin());
            }
        }
        assert_eq!(worker.had[&1], MILLI);
    }

    #[test]
    fn batches_are_short_while_others_wait() {
        let mut schedule = Schedule::default();
        let (mut alone, mut other) = (schedule.begin(), schedule.begin());
        schedule.charge(&mut alone, 256 * 20 * MICRO, 256);
        assert_eq!(schedule.turns(&alone), u32::MAX);
        schedule.wake(2, &mut other, None);
        assert_eq!(schedule.turns(&alone), 10, "of 20 µs each");
        assert_eq!(schedule.turns(&other), 25, "nothing is known of it");
        schedule.charge(&mut alone, 300 * MILLI, 1);
        assert_eq!(schedule.turns(&alone), 1);
    }
}
