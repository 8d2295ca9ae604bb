//! A rate that nodes share: a cluster of an owner and tenants whose clocks have
//! nothing to do with each other, and a network that loses, repeats, delays and
//! reorders. True time is in microseconds and known to nobody but the test.

use phoenix_core::flow::{
    LeaseAsk, LeaseGrant, LeaseId, LimitName, MAX_TENANTS, Rate, RateOwner, RateTenant, Ready,
    SharedRatePolicy, TenantLife, Unit,
};
use phoenix_core::{Millis, NodeId};
use proptest::prelude::*;

use crate::{CASES, extreme};

/// `SplitMix64`, by Steele, Lea and Flood.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A clock that shows whole milliseconds since a time of its own, and runs
/// faster or slower than true time by so many in a thousand.
#[derive(Clone, Copy)]
struct Clock {
    ahead: u64,
    faster: i64,
}

impl Clock {
    fn new(chance: &mut Chance, faster: i64) -> Self {
        Self {
            ahead: chance.below(1 << 40),
            faster,
        }
    }

    fn at(self, true_us: u64) -> Millis {
        let shown = u128::from(true_us) * u128::from(1_000_u64.saturating_add_signed(self.faster));
        let shown = u64::try_from(shown / 1_000).unwrap();
        Millis((self.ahead + shown) / 1_000)
    }
}

enum Message {
    Ask(NodeId, LeaseAsk),
    Grant(NodeId, LeaseGrant),
}

struct Node {
    id: NodeId,
    clock: Clock,
    boot: u64,
    tenant: RateTenant,
}

/// What the network does to messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Nothing, and takes no time for it.
    Still,
    /// They take a little time.
    Fair,
    /// Anything.
    Foul,
}

struct World {
    policy: SharedRatePolicy,
    chance: Chance,
    now: u64,
    /// While there is one, and its clock.
    owner: Option<(RateOwner, Clock)>,
    nodes: Vec<Node>,
    /// What is under way, and when it arrives.
    network: Vec<(u64, Message)>,
    weather: Weather,
    /// When something passed, and how much.
    passed: Vec<(u64, u64)>,
    by_node: Vec<u64>,
}

fn life(boot: u64) -> TenantLife {
    TenantLife { boot, count: 0 }
}

impl World {
    fn new(policy: &SharedRatePolicy, seed: u64, nodes: u32, weather: Weather) -> Self {
        let mut chance = Chance(seed);
        // Far enough from the beginning that no clock's is near.
        let now = 1_000_000_000 + chance.below(1_000_000);
        let clock = Clock::new(&mut chance, 0);
        let owner = RateOwner::new(policy, clock.at(now));
        let nodes: Vec<Node> = (1..=nodes)
            .map(|id| {
                let faster = i64::try_from(chance.below(3)).unwrap() - 1;
                let clock = Clock::new(&mut chance, faster);
                Node {
                    id: NodeId(id),
                    clock,
                    boot: 1,
                    tenant: RateTenant::new(policy, 0, life(1), clock.at(now)),
                }
            })
            .collect();
        Self {
            policy: policy.clone(),
            chance,
            now,
            owner: Some((owner, clock)),
            by_node: vec![0; nodes.len()],
            nodes,
            network: Vec::new(),
            weather,
            passed: Vec::new(),
        }
    }

    fn lease(&self) -> u64 {
        self.policy.lease.0 * 1_000
    }

    fn send(&mut self, message: Message) {
        if self.weather == Weather::Still {
            self.deliver(message);
            return;
        }
        if self.weather == Weather::Fair {
            let after = self.chance.below(self.lease() / 8);
            self.network.push((self.now + after, message));
            return;
        }
        if self.chance.one_in(6) {
            return;
        }
        while self.chance.one_in(5) {
            let after = self.chance.below(self.lease() * 4);
            let again = match &message {
                Message::Ask(node, ask) => Message::Ask(*node, ask.clone()),
                Message::Grant(node, grant) => Message::Grant(*node, grant.clone()),
            };
            self.network.push((self.now + after, again));
        }
        let scale = [8, 8, 2, 1][usize::try_from(self.chance.below(4)).unwrap()];
        let after = self.chance.below(self.lease() / scale);
        self.network.push((self.now + after, message));
    }

    /// Lets true time pass, and delivers what arrives meanwhile, in that order.
    fn live_for(&mut self, us: u64) {
        let until = self.now + us;
        loop {
            let arrivals = self.network.iter().enumerate();
            let due = arrivals
                .filter(|(_, (at, _))| *at <= until)
                .min_by_key(|(_, (at, _))| *at);
            let Some((which, _)) = due else { break };
            let (at, message) = self.network.swap_remove(which);
            self.now = self.now.max(at);
            self.deliver(message);
        }
        self.now = until;
    }

    fn deliver(&mut self, message: Message) {
        let now = self.now;
        match message {
            Message::Ask(from, ask) => {
                let Some((owner, clock)) = &mut self.owner else {
                    return;
                };
                if let Some(grant) = owner.asked(from, &ask, clock.at(now)) {
                    self.send(Message::Grant(from, grant));
                }
            }
            Message::Grant(to, grant) => {
                let node = self.nodes.iter_mut().find(|node| node.id == to);
                let node = node.unwrap();
                node.tenant.granted(&grant, node.clock.at(now));
            }
        }
    }

    /// Lets something pass at a node if it may, and sends what the node has to.
    fn pass(&mut self, which: usize, cost: u64) -> bool {
        let node = &mut self.nodes[which];
        let now = node.clock.at(self.now);
        let ready = node.tenant.ready(now, cost);
        if let Ready::At(until) = ready {
            assert!(until > now, "it would be asked again at once");
        }
        let passes = node.tenant.take(now, cost);
        assert_eq!(passes, ready == Ready::Now);
        if passes {
            self.passed.push((self.now, cost));
            self.by_node[which] += cost;
        }
        self.poll(which);
        passes
    }

    fn poll(&mut self, which: usize) {
        let node = &mut self.nodes[which];
        let now = node.clock.at(self.now);
        let wake = node.tenant.wake();
        if let Some(ask) = node.tenant.poll(now) {
            assert!(wake <= now, "it slept over {ask:?}");
            let from = node.id;
            self.send(Message::Ask(from, ask));
        }
    }

    fn crash(&mut self, which: usize) {
        let node = &mut self.nodes[which];
        node.boot += 1;
        // It comes back with a clock of another time, too.
        let faster = node.clock.faster;
        node.clock = Clock::new(&mut self.chance, faster);
        let now = node.clock.at(self.now);
        node.tenant = RateTenant::new(&self.policy, 0, life(node.boot), now);
    }

    fn change_owner(&mut self) {
        let clock = Clock::new(&mut self.chance, 0);
        let owner = RateOwner::new(&self.policy, clock.at(self.now));
        self.owner = Some((owner, clock));
    }

    /// Something bad, now and then.
    fn misfortune(&mut self) {
        if self.chance.one_in(40) {
            let which = self.chance.below(self.nodes.len() as u64);
            self.crash(usize::try_from(which).unwrap());
        }
        if self.owner.is_none() {
            if self.chance.one_in(3) {
                self.change_owner();
            }
        } else if self.chance.one_in(30) {
            self.owner = None;
        }
    }

    /// What a node could let pass at a time.
    fn left(&self, which: usize, at: u64) -> u64 {
        let node = &self.nodes[which];
        node.tenant.view(node.clock.at(at)).left
    }

    /// Makes a node lease enough for that and keep it.
    fn hoard(&mut self, which: usize, cost: u64) {
        let node = &mut self.nodes[which];
        node.tenant.ready(node.clock.at(self.now), cost);
        self.poll(which);
    }

    /// Lets all pass at a node that it has, and then all that can be leased.
    fn spend_all(&mut self, which: usize) {
        let left = self.left(which, self.now);
        self.pass(which, left);
        let owner = self.owner.as_ref();
        let level = owner.map_or(0, |(owner, clock)| owner.level(clock.at(self.now)));
        for cost in [level, level / 2, 1] {
            if !self.pass(which, cost) {
                self.pass(which, cost);
            }
        }
    }

    /// Lets time pass up to the last microsecond in which a node has anything,
    /// and then all nodes let all pass.
    fn spend_late(&mut self, which: usize) {
        if self.left(which, self.now) == 0 {
            return;
        }
        let (mut has, mut has_not) = (self.now, self.now + 4 * self.lease() + 10_000);
        while has + 1 < has_not {
            let middle = has.midpoint(has_not);
            if self.left(which, middle) > 0 {
                has = middle;
            } else {
                has_not = middle;
            }
        }
        self.live_for(has - self.now);
        let first = self.chance.below(self.nodes.len() as u64);
        for which in 0..self.nodes.len() {
            let which = (which + usize::try_from(first).unwrap()) % self.nodes.len();
            self.spend_all(which);
        }
    }

    /// Holds every window, from one passing to another, against the promise.
    fn check(&self) -> Result<(), TestCaseError> {
        let rate = self.policy.rate;
        // In parts of which a unit has `per` times 1,000: true time is in microseconds.
        let unit = i128::from(rate.per.0) * 1_000;
        let burst = i128::from(self.policy.burst) * unit;
        let mut sum = 0;
        // Of all windows the worst: what had passed before it, less what the rate
        // had brought.
        let mut least = i128::MAX;
        for (at, cost) in &self.passed {
            let brought = i128::from(*at) * i128::from(rate.amount);
            least = least.min(sum - brought);
            sum += i128::from(*cost) * unit;
            let over = sum - brought - least - burst;
            prop_assert!(over <= 0, "{} parts of {} too much", over, unit);
        }
        Ok(())
    }

    fn total(&self) -> u64 {
        self.by_node.iter().sum()
    }
}

/// What the rate brings in a lease's time and 1 ms.
fn lease_brings(policy: &SharedRatePolicy) -> u64 {
    (policy.rate.amount * (policy.lease.0 + 1)).div_ceil(policy.rate.per.0)
}

prop_compose! {
    /// A burst from the least that can be leased on, or from the least that is accepted.
    fn policy(leases: std::ops::Range<u64>, is_tight: bool)(
        (amount, per) in prop_oneof![
            (1_u64..10, 1_u64..50),
            (1_u64..200, 10_u64..50),
            (1_u64..200, 50_u64..1_000),
        ],
        lease in leases,
        more in prop_oneof![Just(0_u64), 0_u64..20, 0_u64..200],
    ) -> SharedRatePolicy {
        let mut policy = SharedRatePolicy {
            name: LimitName::new("payments").unwrap(),
            unit: Unit::Messages,
            rate: Rate { amount, per: Millis(per) },
            burst: 0,
            lease: Millis(lease),
        };
        let half = lease_brings(&policy);
        policy.burst = if is_tight { half + 1 } else { policy.least_burst() } + more;
        policy
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Whatever is lost, repeated, late or dead, and whoever owns the limit.
    #[test]
    fn all_nodes_together_never_exceed_it(
        policy in policy(10..200, true),
        seed in any::<u64>(),
        nodes in 1_u32..5,
        steps in 1_u32..120,
    ) {
        let mut world = World::new(&policy, seed, nodes, Weather::Foul);
        // What can be leased, to ask for as much of it as possible.
        let most = policy.burst - lease_brings(&policy);
        for _ in 0..steps {
            let scale = [1_000, world.lease() / 8, world.lease(), world.lease() * 3];
            let pause = scale[usize::try_from(world.chance.below(4)).unwrap()];
            let pause = world.chance.below(pause);
            world.live_for(pause);
            world.misfortune();
            for which in 0..world.nodes.len() {
                let cost = match world.chance.below(6) {
                    0 => continue,
                    1 => world.chance.below(most + 2),
                    2 => most,
                    _ => 1,
                };
                for _ in 0..world.chance.below(8) {
                    if !world.pass(which, cost) {
                        break;
                    }
                }
            }
        }
        world.check()?;
    }
}

/// What nodes may do that are out to let as much pass at once as they can.
#[derive(Clone, Copy, Debug)]
enum Evil {
    /// Nothing, for so many percent of the time the bucket takes to fill.
    Rest(u64),
    /// Lease all there is, and keep it.
    Grab(usize),
    /// Lease a little more than there is already, some percent of a lease later.
    Pile(usize, u64),
    /// Wait until the last moment, and spend what all nodes have and can get.
    SpendLate(usize),
    Spend(usize),
    Crash(usize),
    ChangeOwner,
}

fn evil() -> impl Strategy<Value = Evil> {
    let node = || 0_usize..3;
    prop_oneof![
        3 => (0_u64..130).prop_map(Evil::Rest),
        3 => node().prop_map(Evil::Grab),
        3 => (node(), 0_u64..70).prop_map(|(node, after)| Evil::Pile(node, after)),
        4 => node().prop_map(Evil::SpendLate),
        2 => node().prop_map(Evil::Spend),
        1 => node().prop_map(Evil::Crash),
        1 => Just(Evil::ChangeOwner),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Nodes that hoard, and spend all at once in the last moment, with a network
    /// that is on their side.
    #[test]
    fn hoarders_do_not_exceed_it(
        mut policy in policy(10..10_000, true),
        leases in 0_u64..500,
        seed in any::<u64>(),
        doings in prop::collection::vec(evil(), 1..40),
    ) {
        policy.burst += lease_brings(&policy) * leases / 100;
        let mut world = World::new(&policy, seed, 3, Weather::Still);
        let most = policy.burst - lease_brings(&policy);
        let fill = most * policy.rate.per.0 * 1_000 / policy.rate.amount;
        world.live_for(fill + 2_000);
        for doing in doings {
            match doing {
                Evil::Rest(percent) => world.live_for(fill * percent / 100),
                Evil::Grab(node) => world.hoard(node, most),
                Evil::Pile(node, percent) => {
                    world.live_for(world.lease() * percent / 100);
                    let left = world.left(node, world.now);
                    world.hoard(node, left + 1);
                }
                Evil::SpendLate(node) => world.spend_late(node),
                Evil::Spend(node) => world.spend_all(node),
                Evil::Crash(node) => world.crash(node),
                Evil::ChangeOwner => world.change_owner(),
            }
        }
        world.check()?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Where nothing goes wrong, what the rate brings does pass, and no node is
    /// left out.
    #[test]
    fn nodes_that_want_more_get_most_of_it(
        policy in policy(20..50, false),
        seed in any::<u64>(),
        nodes in 1_u32..5,
    ) {
        let mut world = World::new(&policy, seed, nodes, Weather::Fair);
        let began = world.now;
        let rate = policy.rate;
        // Long enough for many leases, and for many units to come.
        let span = (20 * world.lease()).max(u64::from(nodes) * 20_000 * rate.per.0 / rate.amount);
        let ends = began + span;
        while world.now < ends {
            // What waits asks again as soon as a grant comes.
            let arrivals = world.network.iter().map(|(at, _)| at - world.now);
            world.live_for(arrivals.min().unwrap_or(world.lease() / 8));
            for which in 0..world.nodes.len() {
                while world.pass(which, 1) {}
            }
        }
        world.check()?;
        let brought = (world.now - began) * rate.amount / (rate.per.0 * 1_000);
        let total = world.total();
        prop_assert!(total * 100 + 200 >= brought * 90, "{} of {} passed", total, brought);
        for passed in &world.by_node {
            prop_assert!(passed * 2 * u64::from(nodes) + 8 >= brought, "{:?}", world.by_node);
        }
    }
}

prop_compose! {
    fn any_policy()(
        (amount, per, burst, lease) in (extreme(), extreme(), extreme(), extreme()),
    ) -> SharedRatePolicy {
        SharedRatePolicy {
            name: LimitName::new("payments").unwrap(),
            unit: Unit::Bytes,
            rate: Rate { amount, per: Millis(per) },
            burst,
            lease: Millis(lease),
        }
    }
}

prop_compose! {
    fn any_id()(boot in extreme(), number in extreme()) -> LeaseId {
        LeaseId { life: life(boot), number }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn no_number_breaks_the_owner(
        policy in any_policy(),
        asks in prop::collection::vec((extreme(), 0_u32..3, any_id(), extreme(), extreme()), 1..20),
    ) {
        let mut owner = RateOwner::new(&policy, Millis(0));
        let mut latest = 0;
        for (now, node, id, want, least) in asks {
            latest = now.max(latest);
            let limit = policy.name.clone();
            let ask = LeaseAsk { limit, part: 0, id, want, least };
            let before = owner.level(Millis(now));
            prop_assert!(before <= policy.burst);
            let Some(grant) = owner.asked(NodeId(node), &ask, Millis(now)) else { continue };
            prop_assert_eq!(grant.id, id);
            prop_assert!(grant.tokens > 0 || grant.retry_after > Millis(0));
            let after = owner.level(Millis(now));
            prop_assert!(after == before || after == before - grant.tokens);
            prop_assert_eq!(owner.asked(NodeId(node), &ask, Millis(now)), Some(grant));
            prop_assert_eq!(owner.level(Millis(now)), after);
        }
    }

    #[test]
    fn no_number_breaks_a_tenant(
        policy in any_policy(),
        steps in prop::collection::vec(
            (extreme(), extreme(), prop::option::of(any_id()), extreme(), extreme(), extreme()),
            1..20,
        ),
    ) {
        let mut tenant = RateTenant::new(&policy, 0, life(1), Millis(0));
        let (mut granted, mut spent) = (0_u128, 0_u128);
        for (now, cost, id, tokens, valid_for, retry_after) in steps {
            let now = Millis(now);
            if tenant.take(now, cost) {
                spent += u128::from(cost);
            }
            let Some(ask) = tenant.poll(now) else { continue };
            prop_assert!(ask.want >= ask.least && ask.least > 0);
            let grant = LeaseGrant {
                limit: ask.limit,
                part: 0,
                id: id.unwrap_or(ask.id),
                tokens,
                valid_for: Millis(valid_for),
                retry_after: Millis(retry_after),
            };
            if grant.id == ask.id {
                granted += u128::from(tokens);
            }
            tenant.granted(&grant, now);
            tenant.granted(&grant, now);
            prop_assert!(spent <= granted);
            prop_assert!(u128::from(tenant.view(now).left) <= granted - spent);
        }
    }
}

fn ask(number: u64, want: u64, least: u64) -> LeaseAsk {
    LeaseAsk {
        limit: LimitName::new("payments").unwrap(),
        part: 0,
        id: LeaseId {
            life: life(1),
            number,
        },
        want,
        least,
    }
}

/// Ten a second; ten can be leased at a time.
fn ten() -> (SharedRatePolicy, RateOwner) {
    let policy = SharedRatePolicy {
        name: LimitName::new("payments").unwrap(),
        unit: Unit::Messages,
        rate: Rate {
            amount: 10,
            per: Millis(1_000),
        },
        burst: 12,
        lease: Millis(199),
    };
    let owner = RateOwner::new(&policy, Millis(0));
    (policy, owner)
}

#[test]
fn the_first_to_wait_is_the_first_to_get() {
    let (_, mut owner) = ten();
    let mut asks = |node, number, want, least, now| {
        let ask = ask(number, want, least);
        let grant = owner.asked(NodeId(node), &ask, Millis(now)).unwrap();
        (grant.tokens, grant.retry_after.0)
    };
    assert_eq!(asks(1, 1, 100, 1, 2_000), (10, 0), "all there is");
    assert_eq!(asks(2, 1, 5, 5, 2_000), (0, 500));
    assert_eq!(asks(3, 1, 1, 1, 2_000), (0, 600), "after the other");
    assert_eq!(asks(1, 2, 1, 1, 2_450), (0, 250), "there are 4: not for it");
    assert_eq!(asks(3, 2, 1, 1, 2_500), (0, 100), "nor for it yet");
    assert_eq!(asks(2, 2, 5, 5, 2_500), (5, 0));
    assert_eq!(asks(3, 3, 1, 1, 2_600), (1, 0));
    // A second one that does not come back is not waited for.
    assert_eq!(
        asks(2, 3, 3, 3, 2_600),
        (0, 400),
        "one is kept for the first"
    );
    assert_eq!(asks(3, 4, 2, 2, 3_000), (0, 100), "three of four are kept");
    assert_eq!(asks(3, 5, 5, 5, 3_200), (5, 0));
}

#[test]
fn what_is_plenty_is_shared_equally() {
    let (_, mut owner) = ten();
    for node in 1..=4 {
        let grant = owner.asked(NodeId(node), &ask(1, 1, 1), Millis(2_000));
        assert_eq!(grant.unwrap().tokens, 1);
    }
    // They are known now, and there are nine again.
    for (node, tokens) in [(1, 2), (2, 1), (3, 1), (4, 1)] {
        let grant = owner.asked(NodeId(node), &ask(2, 100, 1), Millis(2_390));
        assert_eq!(grant.unwrap().tokens, tokens, "node {node}");
    }
}

#[test]
fn an_owner_remembers_so_many_and_not_for_ever() {
    let (policy, mut owner) = ten();
    let nodes = u32::try_from(MAX_TENANTS).unwrap();
    for node in 0..nodes {
        owner.asked(NodeId(node), &ask(1, 1, 1), Millis(2_000));
    }
    assert_eq!(owner.tenants(), (MAX_TENANTS, MAX_TENANTS - 10));
    let late = owner.asked(NodeId(nodes), &ask(1, 1, 1), Millis(2_000));
    let late = late.unwrap();
    assert_eq!((late.tokens, late.retry_after), (0, policy.lease));
    assert_eq!(owner.tenants().0, MAX_TENANTS, "it is not one of them");
    // Each is told to come back within ten seconds; none does.
    let grant = owner.asked(NodeId(nodes), &ask(2, 1, 1), Millis(12_400));
    assert_eq!(grant.unwrap().tokens, 1);
    assert_eq!(owner.tenants(), (1, 0));
    let old = owner.asked(NodeId(nodes), &ask(1, 1, 1), Millis(12_400));
    assert_eq!(old, None, "it came after a later one");
}
