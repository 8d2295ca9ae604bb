//! Fairness, stability and order, with members that are slow, fail, join and leave.

use std::collections::VecDeque;

use proptest::prelude::{
    ProptestConfig, Strategy as _, any, prop_assert, prop_assert_eq, prop_assume, prop_oneof,
    proptest,
};

use super::*;

const BY_KEY: Strategy = Strategy::ConsistentHash(None);

fn group(strategy: Strategy, members: impl IntoIterator<Item = (MemberId, u32)>) -> Group {
    let mut group = Group::new(strategy);
    for (member, weight) in members {
        assert!(group.join(member, weight, 100));
    }
    group
}

fn saved(group: &Group) -> Vec<u8> {
    let mut out = Vec::new();
    group.save(&mut out).unwrap();
    out
}

/// How many of 10,000 messages each member gets, if each answers after `took(member)`.
fn shares(group: &mut Group, took: impl Fn(MemberId) -> u64) -> BTreeMap<MemberId, u64> {
    let mut shares = BTreeMap::new();
    let mut due: BTreeSet<(u64, MessageId)> = BTreeSet::new();
    let mut now = 1_000;
    for message in 0..10_000 {
        now += 1;
        while let Some((at, done)) = due.first().copied().filter(|(at, _)| *at <= now) {
            due.remove(&(at, done));
            assert!(group.verdict(done, true, Millis(at)).is_some());
        }
        let Choice::To(member) = group.offer(message, None, Millis(now)) else {
            panic!("{message} waits: {group:?}");
        };
        *shares.entry(member).or_default() += 1;
        due.insert((now + took(member), message));
    }
    shares
}

proptest! {
    // Each case is 10,000 messages; what follows below is exact, and of 10,000 cases.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn round_robin_is_fair(members in 1..40_u64, took in 0..50_u64) {
        let mut group = group(Strategy::RoundRobin, (0..members).map(|it| (it * 7, 1)));
        let shares = shares(&mut group, |member| took + member % 3);
        let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
        prop_assert_eq!(shares.len() as u64, members);
        prop_assert!(*most as f64 <= *least as f64 * 1.1, "{:?}", shares);
    }

    #[test]
    fn weights_are_kept(weights in proptest::collection::vec(1..20_u32, 1..12)) {
        let members = weights.iter().enumerate().map(|(id, weight)| (id as u64, *weight));
        let mut group = group(Strategy::Weighted, members);
        let shares = shares(&mut group, |_| 3);
        let total: u32 = weights.iter().sum();
        for (id, weight) in weights.iter().enumerate() {
            let wanted = 10_000.0 * f64::from(*weight) / f64::from(total);
            let got = shares[&(id as u64)] as f64;
            prop_assert!((got - wanted).abs() <= wanted * 0.05 + 1.0, "{weights:?}: {shares:?}");
        }
    }

    #[test]
    fn a_member_that_joins_moves_few_keys_and_all_of_them_to_itself(
        members in proptest::collection::btree_set(any::<u64>(), 1..32),
        joins in any::<u64>(),
    ) {
        prop_assume!(!members.contains(&joins));
        let mut group = group(BY_KEY, members.iter().map(|it| (*it, 1)));
        let owners = |group: &mut Group| -> Vec<MemberId> {
            let owner = |key: u64| {
                let Choice::To(member) = group.offer(key, Some(&format!("key-{key}")), Millis(1))
                else { panic!("it waits") };
                group.verdict(key, true, Millis(1)).unwrap();
                member
            };
            (0..10_000).map(owner).collect()
        };
        let before = owners(&mut group);
        group.join(joins, 1, 100);
        let after = owners(&mut group);
        let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        prop_assert!(moved.iter().all(|(_, to)| **to == joins));
        let bound = 1.5 * 10_000.0 / members.len() as f64;
        prop_assert!((moved.len() as f64) <= bound, "{} of {members:?}", moved.len());
        // And every member has a part.
        let mut all = members;
        all.insert(joins);
        let owned: BTreeSet<u64> = after.into_iter().collect();
        prop_assert_eq!(owned, all);
        group.leave(joins);
        prop_assert_eq!(owners(&mut group), before);
    }
}

/// Who gets so many messages, each of which is applied at once.
fn given(group: &mut Group, messages: u64, key: impl Fn(u64) -> Option<String>) -> Vec<MemberId> {
    let give = |message| {
        let Choice::To(member) = group.offer(message, key(message).as_deref(), Millis(1)) else {
            panic!("{message} waits");
        };
        group.verdict(message, true, Millis(1)).unwrap();
        member
    };
    (0..messages).map(give).collect()
}

fn counted(given: &[MemberId]) -> BTreeMap<MemberId, u64> {
    let mut counts = BTreeMap::new();
    for member in given {
        *counts.entry(*member).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn by_round_robin_no_member_is_more_than_one_ahead(
        members in proptest::collection::btree_set(any::<u64>(), 1..12),
        rounds in 1..12_u64,
        more in 0..12_u64,
    ) {
        let mut group = group(Strategy::RoundRobin, members.iter().map(|it| (*it, 1)));
        let messages = rounds * members.len() as u64 + more;
        let counts = counted(&given(&mut group, messages, |_| None));
        prop_assert_eq!(counts.len(), members.len());
        let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", counts);
    }

    #[test]
    fn by_weights_each_round_is_exact(
        weights in proptest::collection::btree_map(any::<u64>(), 1..9_u32, 1..8),
        rounds in 1..4_u64,
    ) {
        let mut group = group(Strategy::Weighted, weights.clone());
        let round: u64 = weights.values().map(|it| u64::from(*it)).sum();
        let counts = counted(&given(&mut group, rounds * round, |_| None));
        for (member, weight) in weights {
            prop_assert_eq!(counts[&member], rounds * u64::from(weight));
        }
    }

    #[test]
    fn keys_move_to_a_member_that_joins_alone_and_back_when_it_leaves(
        members in proptest::collection::btree_set(any::<u64>(), 1..12),
        joins in any::<u64>(),
        seed in any::<u32>(),
    ) {
        prop_assume!(!members.contains(&joins));
        let mut group = group(BY_KEY, members.iter().map(|it| (*it, 1)));
        let key = |at| Some(format!("{seed}-{at}"));
        let before = given(&mut group, 40, key);
        group.join(joins, 1, 100);
        let after = given(&mut group, 40, key);
        for (from, to) in before.iter().zip(&after) {
            prop_assert!(from == to || *to == joins);
        }
        group.leave(joins);
        prop_assert_eq!(given(&mut group, 40, key), before);
    }
}

#[test]
fn what_a_key_hashes_to_does_not_change_between_versions() {
    let mut group = group(BY_KEY, (1..=5).map(|it| (it, 1)));
    let keys = ["a", "b", "10.0.0.1", "grün", ""];
    let members: Vec<Choice> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| group.offer(at as u64, Some(key), Millis(1)))
        .collect();
    let expected = PINNED.map(Choice::To);
    assert_eq!(members, expected);
}

const PINNED: [MemberId; 5] = [4, 5, 1, 5, 2];

#[test]
fn the_fewest_outstanding_are_chosen_and_equals_take_turns() {
    let mut group = group(Strategy::LeastOutstanding, [(1, 1), (2, 1), (3, 1)]);
    let mut offer = |message| group.offer(message, None, Millis(1));
    let first: Vec<Choice> = (0..4).map(&mut offer).collect();
    assert_eq!(first, [1, 2, 3, 1].map(Choice::To));
    group.verdict(1, true, Millis(2)).unwrap();
    assert_eq!(group.offer(4, None, Millis(2)), Choice::To(2));
    assert_eq!(group.offer(5, None, Millis(2)), Choice::To(3));
    // Slow members get as much as they can do.
    let shares = shares(
        &mut self::group(Strategy::LeastOutstanding, [(1, 1), (2, 1)]),
        |member| if member == 1 { 4 } else { 40 },
    );
    assert!(shares[&1] > 6 * shares[&2], "{shares:?}");
}

#[test]
fn the_quickest_lately_is_chosen_and_the_slow_one_is_tried_again() {
    let mut group = group(Strategy::ResponseTime, [(1, 1), (2, 1)]);
    let shares = shares(&mut group, |member| if member == 1 { 2 } else { 60 });
    assert!(shares[&1] > 10 * shares[&2] && shares[&2] > 0, "{shares:?}");
    for message in 0..20_000 {
        group.verdict(message, true, Millis(20_000));
    }
    // After a while nothing is known of either: both are tried.
    let later = Millis(2_000_000);
    let both: BTreeSet<_> = (20_000..20_002)
        .map(|it| format!("{:?}", group.offer(it, None, later)))
        .collect();
    assert_eq!(both.len(), 2);
}

#[test]
fn a_member_has_as_many_under_way_as_it_may() {
    let mut group = Group::new(Strategy::RoundRobin);
    assert_eq!(group.offer(1, None, Millis(1)), Choice::Nobody);
    group.join(1, 1, 2);
    group.join(2, 1, 1);
    let choices: Vec<Choice> = (1..5).map(|it| group.offer(it, None, Millis(1))).collect();
    assert_eq!(
        choices,
        [Choice::To(1), Choice::To(2), Choice::To(1), Choice::Wait]
    );
    assert_eq!(
        group.offer(2, None, Millis(1)),
        Choice::To(2),
        "it is under way"
    );
    assert_eq!(group.verdict(2, true, Millis(1)), Some(2));
    assert_eq!(
        group.verdict(2, true, Millis(1)),
        None,
        "it has its verdict"
    );
    assert_eq!(group.offer(4, None, Millis(1)), Choice::To(2));
    for member in 3..=MAX_MEMBERS as u64 {
        assert!(group.join(member, 1, 1));
    }
    assert!(!group.join(9_999, 1, 1));
}

#[test]
fn a_message_that_failed_goes_to_another_member_until_all_have_tried() {
    let mut group = group(Strategy::RoundRobin, [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(group.offer(7, None, Millis(1)), Choice::To(1));
    for member in [2, 3] {
        group.verdict(7, false, Millis(1)).unwrap();
        assert_eq!(group.offer(7, None, Millis(1)), Choice::Wait);
        assert_eq!(group.outstanding(), 1);
        assert_eq!(
            group.retry(Millis(1)),
            Some(Retry::Send { message: 7, member })
        );
        assert_eq!(group.retry(Millis(1)), None);
    }
    group.verdict(7, false, Millis(1)).unwrap();
    assert_eq!(group.retry(Millis(1)), Some(Retry::GaveUp { message: 7 }));
    assert_eq!((group.retry(Millis(1)), group.outstanding()), (None, 0));
}

#[test]
fn a_member_that_leaves_keeps_what_it_was_sent() {
    let mut group = group(BY_KEY, [(1, 1), (2, 1)]);
    let Choice::To(first) = group.offer(1, Some("k"), Millis(1)) else {
        panic!("it waits");
    };
    group.leave(first);
    assert_eq!(group.members(), 1);
    // The key is with it until the verdict.
    assert_eq!(group.offer(2, Some("k"), Millis(1)), Choice::Wait);
    assert_eq!(group.verdict(1, true, Millis(1)), Some(first));
    assert_eq!(group.offer(2, Some("k"), Millis(1)), Choice::To(3 - first));
    // Left with something failed, and nobody else.
    group.leave(3 - first);
    group.verdict(2, false, Millis(1)).unwrap();
    assert_eq!(group.retry(Millis(1)), Some(Retry::GaveUp { message: 2 }));
    assert_eq!(group.offer(3, Some("k"), Millis(1)), Choice::Nobody);
    assert_eq!(
        group,
        Group {
            last: group.last,
            ..Group::new(BY_KEY)
        },
        "nothing is left"
    );
}

/// What happens to a group, at random.
#[derive(Clone, Debug)]
enum Step {
    Offer(u8),
    Apply(usize),
    Fail(usize),
    Join(u8),
    Leave(u8),
    Wait(u16),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..6_u8).prop_map(Step::Offer),
        6 => any::<usize>().prop_map(Step::Apply),
        1 => any::<usize>().prop_map(Step::Fail),
        1 => (0..5_u8).prop_map(Step::Join),
        1 => (0..5_u8).prop_map(Step::Leave),
        1 => any::<u16>().prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..80)
}

/// What the test knows, kept apart: each member's messages in order, and where keys are.
#[derive(Default)]
struct World {
    queues: BTreeMap<MemberId, VecDeque<(MessageId, u8)>>,
    /// Messages that are neither applied nor given up, by key.
    open: BTreeMap<u8, BTreeSet<MessageId>>,
    /// The messages offered so far that a key applied first, in order.
    first: BTreeMap<u8, Vec<MessageId>>,
    tried: BTreeMap<MessageId, Vec<MemberId>>,
    failed: BTreeSet<MessageId>,
    live: BTreeSet<MemberId>,
}

impl World {
    fn send(&mut self, message: MessageId, key: u8, member: MemberId, by_key: bool) {
        let elsewhere = |(other, queue): (&MemberId, &VecDeque<(MessageId, u8)>)| {
            *other != member && queue.iter().any(|(_, it)| *it == key)
        };
        assert!(
            !by_key || !self.queues.iter().any(elsewhere),
            "key {key} is with two members"
        );
        assert!(self.live.contains(&member), "{member} has left");
        let tried = self.tried.entry(message).or_default();
        assert!(!tried.contains(&member), "{member} has tried {message}");
        tried.push(member);
        self.failed.remove(&message);
        self.queues
            .entry(member)
            .or_default()
            .push_back((message, key));
        self.open.entry(key).or_default().insert(message);
    }

    fn retries(
        &mut self,
        group: &mut Group,
        key_of: &BTreeMap<MessageId, u8>,
        now: u64,
        by_key: bool,
    ) {
        while let Some(retry) = group.retry(Millis(now)) {
            match retry {
                Retry::Send { message, member } => {
                    self.send(message, key_of[&message], member, by_key);
                }
                Retry::GaveUp { message } => {
                    let tried = &self.tried[&message];
                    assert!(self.live.iter().all(|it| tried.contains(it)), "{message}");
                    assert!(self.failed.remove(&message));
                    self.open
                        .entry(key_of[&message])
                        .or_default()
                        .remove(&message);
                }
            }
        }
    }
}

fn run(strategy: Strategy, steps: &[Step], fails: bool) {
    let by_key = matches!(strategy, Strategy::ConsistentHash(_));
    let mut group = group(strategy, []);
    let mut world = World::default();
    let mut key_of = BTreeMap::new();
    let (mut message, mut now) = (0, 1);
    for (at, step) in steps.iter().enumerate() {
        now += 1;
        match *step {
            Step::Offer(key) => {
                message += 1;
                let name = format!("k{key}");
                match group.offer(message, Some(&name), Millis(now)) {
                    Choice::To(member) => {
                        key_of.insert(message, key);
                        let open = world.open.entry(key).or_default();
                        let waits = world.failed.iter().any(|it| open.contains(it));
                        assert!(!by_key || !waits, "{message} overtakes what failed");
                        world.send(message, key, member, by_key);
                    }
                    Choice::Nobody => assert!(world.live.is_empty()),
                    Choice::Wait => assert!(!world.live.is_empty()),
                }
            }
            // Members have the messages in the order in which they were sent.
            Step::Apply(at) | Step::Fail(at) => {
                let busy: Vec<MemberId> = world
                    .queues
                    .iter()
                    .filter(|(_, it)| !it.is_empty())
                    .map(|(it, _)| *it)
                    .collect();
                let Some(at) = at.checked_rem(busy.len()) else {
                    continue;
                };
                let member = busy[at];
                let (done, key) = world.queues.get_mut(&member).unwrap().pop_front().unwrap();
                let applied = !fails || !matches!(step, Step::Fail(_));
                assert_eq!(group.verdict(done, applied, Millis(now)), Some(member));
                if applied {
                    world.open.entry(key).or_default().remove(&done);
                    world.first.entry(key).or_default().push(done);
                } else {
                    world.failed.insert(done);
                }
                world.retries(&mut group, &key_of, now, by_key);
            }
            Step::Join(member) => {
                assert!(group.join(member.into(), u32::from(member) + 1, 4));
                world.live.insert(member.into());
                world.retries(&mut group, &key_of, now, by_key);
            }
            Step::Leave(member) => {
                group.leave(member.into());
                world.live.remove(&u64::from(member));
                world.retries(&mut group, &key_of, now, by_key);
            }
            Step::Wait(span) => now += u64::from(span),
        }
        assert_eq!(group.members(), world.live.len());
        let under_way: usize = world.queues.values().map(VecDeque::len).sum();
        assert_eq!(group.outstanding(), under_way + world.failed.len());
        if at % 5 > 0 {
            continue;
        }
        // Saved and loaded, it is the same and goes on alike.
        let bytes = saved(&group);
        let loaded = Group::load(&bytes).unwrap();
        assert_eq!(loaded, group);
        assert_eq!(saved(&loaded), bytes);
        group = loaded;
    }
    if by_key && !fails {
        for (key, applied) in world.first {
            assert!(applied.is_sorted(), "key {key}: {applied:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_keys_messages_are_with_one_member_and_in_order(steps in steps(), fails in any::<bool>()) {
        run(BY_KEY, &steps, fails);
    }

    #[test]
    fn no_message_is_lost_or_sent_twice_to_one(
        steps in steps(),
        strategy in proptest::sample::select(&[
            Strategy::RoundRobin,
            Strategy::Weighted,
            Strategy::LeastOutstanding,
            Strategy::ResponseTime,
        ][..]),
    ) {
        run(strategy, &steps, true);
    }

    #[test]
    fn damaged_bytes_are_no_group_and_no_panic(steps in steps(), at in any::<usize>(), bit in 0..8) {
        let mut group = group(BY_KEY, [(1, 1), (2, 3)]);
        for (message, step) in steps.iter().enumerate() {
            if let Step::Offer(key) = step {
                group.offer(message as u64, Some(&key.to_string()), Millis(1));
            }
        }
        let mut bytes = saved(&group);
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        if let Ok(mut loaded) = Group::load(&bytes) {
            loaded.offer(9_999, Some("a"), Millis(5));
            while loaded.retry(Millis(5)).is_some() {}
        }
    }
}

#[test]
fn a_saved_group_that_contradicts_itself_is_refused() {
    assert!(Group::load(b"").is_err());
    let mut group = group(BY_KEY, [(1, 1)]);
    group.offer(1, Some("k"), Millis(1));
    group.members.clear();
    let error = Group::load(&saved(&group)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the saved queue group is damaged: message 1 is sent to nobody"
    );
}
