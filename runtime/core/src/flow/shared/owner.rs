//! The side that leases.

use std::collections::BTreeMap;

use crate::flow::shared::{LeaseAsk, LeaseGrant, bucket};
use crate::flow::{SharedRatePolicy, TokenBucket};
use crate::{Millis, NodeId};

/// Tenants an owner leases to at a time; others are told to come later. An ask takes time in proportion to those there are.
pub const MAX_TENANTS: usize = 1_024;

/// Longest time a tenant is told to wait before it asks again.
const LONGEST_RETRY: Millis = Millis(10_000);

/// Leases slices of a shared rate to nodes.
///
/// Among tenants that find too little there, the first to ask is the first to
/// get: what it needs is kept for it. Where there is more than is needed, none
/// gets more than an equal share of what there is.
#[derive(Debug)]
pub struct RateOwner {
    bucket: TokenBucket,
    lease: Millis,
    tenants: BTreeMap<(NodeId, u16), Seat>,
    /// Tenants told to wait so far: orders those that do.
    order: u64,
    /// When seats that are over were last removed.
    cleared: Millis,
    now: Millis,
}

/// What is remembered of a tenant.
#[derive(Debug)]
struct Seat {
    /// The answer to the last ask, in case it is asked again.
    answer: LeaseGrant,
    waits: Option<Waits>,
    /// When it is forgotten if it does not ask again.
    until: Millis,
}

/// What is kept for one that was told to wait.
#[derive(Clone, Copy, Debug)]
struct Waits {
    order: u64,
    least: u64,
}

impl RateOwner {
    /// One that has nothing to lease yet. By now no other may lease in this name.
    pub fn new(policy: &SharedRatePolicy, now: Millis) -> Self {
        Self {
            bucket: bucket(policy, now),
            lease: policy.lease,
            tenants: BTreeMap::new(),
            order: 0,
            cleared: now,
            now,
        }
    }

    /// Answers an ask that came from `node`; `None` for one that came after a later one.
    pub fn asked(&mut self, node: NodeId, ask: &LeaseAsk, now: Millis) -> Option<LeaseGrant> {
        self.now = self.now.max(now);
        self.clear();
        let tenant = (node, ask.part);
        let mut waits = None;
        if let Some(seat) = self.tenants.get(&tenant) {
            if ask.id < seat.answer.id {
                return None;
            }
            if ask.id == seat.answer.id {
                return Some(seat.answer.clone());
            }
            waits = seat.waits;
        } else if self.tenants.len() >= MAX_TENANTS {
            return Some(self.answer(ask, 0, self.lease));
        }
        let (answer, waits) = self.lease(tenant, ask, waits);
        let until = self.now + answer.retry_after + self.lease + self.lease;
        let seat = Seat {
            answer: answer.clone(),
            waits,
            until,
        };
        self.tenants.insert(tenant, seat);
        Some(answer)
    }

    /// Whole units that could be leased now.
    pub fn level(&self, now: Millis) -> u64 {
        self.bucket.level(now.max(self.now))
    }

    /// Tenants heard of lately, and how many of them were told to wait.
    pub fn tenants(&self) -> (usize, usize) {
        let waiting = self.tenants.values().filter(|seat| seat.waits.is_some());
        (self.tenants.len(), waiting.count())
    }

    /// What a new ask gets, and whether its tenant waits then.
    fn lease(
        &mut self,
        tenant: (NodeId, u16),
        ask: &LeaseAsk,
        waits: Option<Waits>,
    ) -> (LeaseGrant, Option<Waits>) {
        let least = ask.least.clamp(1, self.bucket.burst().max(1));
        let order = waits.map_or(u64::MAX, |waits| waits.order);
        let kept = self.kept_before(tenant, order);
        let level = self.bucket.level(self.now);
        let free = u64::try_from(u128::from(level).saturating_sub(kept)).unwrap_or(0);
        if free >= least {
            let others = self.tenants.keys().filter(|other| **other != tenant);
            let share = free / (others.count() as u64 + 1);
            let tokens = ask.want.min(share).max(least);
            if self.bucket.take(self.now, tokens) {
                return (self.answer(ask, tokens, Millis(0)), None);
            }
        }
        let order = waits.map_or(self.order, |waits| waits.order);
        self.order += u64::from(waits.is_none());
        let there = self.bucket.when_filled(self.now, kept + u128::from(least));
        let retry_after = self.now.until(there).clamp(Millis(1), LONGEST_RETRY);
        let answer = self.answer(ask, 0, retry_after);
        (answer, Some(Waits { order, least }))
    }

    /// What is kept for those who wait longer than one of that order.
    fn kept_before(&self, tenant: (NodeId, u16), order: u64) -> u128 {
        let others = self.tenants.iter().filter(|(other, _)| **other != tenant);
        others
            .filter(|(_, seat)| self.is_kept(seat))
            .filter_map(|(_, seat)| seat.waits)
            .filter(|waits| waits.order < order)
            .map(|waits| u128::from(waits.least))
            .sum()
    }

    /// Whether what a tenant waits for is still kept: it had been told to come,
    /// and a lease's time later it has not.
    fn is_kept(&self, seat: &Seat) -> bool {
        self.now + self.lease <= seat.until
    }

    fn answer(&self, ask: &LeaseAsk, tokens: u64, retry_after: Millis) -> LeaseGrant {
        LeaseGrant {
            limit: ask.limit.clone(),
            part: ask.part,
            id: ask.id,
            tokens,
            valid_for: self.lease,
            retry_after,
        }
    }

    /// Forgets tenants that have not asked for long; at most once in a lease's time.
    fn clear(&mut self) {
        if self.cleared + self.lease <= self.now {
            self.cleared = self.now;
            let now = self.now;
            self.tenants.retain(|_, seat| now <= seat.until);
        }
    }
}
