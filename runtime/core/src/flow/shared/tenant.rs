//! The side that spends.

use crate::Millis;
use crate::flow::shared::{LeaseAsk, LeaseGrant, LeaseId, LimitName, TenantLife, capacity, usable};
use crate::flow::{Ready, SharedRatePolicy};

/// A node's share of a rate that all nodes keep together.
///
/// It asks for more than one message needs only where more has come of late:
/// the slice it asks for is twice as large each time one did not last, half as
/// large each time one ended with most of it left. While a large one is being
/// spent it asks for the next ahead of time, so that nothing waits for the owner.
#[derive(Debug)]
pub struct RateTenant {
    limit: LimitName,
    part: u16,
    life: TenantLife,
    lease: Millis,
    /// Largest slice there can be.
    most: u64,
    /// Asks made in this life.
    asks: u64,
    /// Units a slice should have.
    want: u64,
    /// The most that something wanted which could not pass since the last ask.
    needed: u64,
    slices: [Slice; 2],
    /// Units of the slice that came last, and how many were spent since.
    last: Last,
    /// Until when the last slice that was spent would have been good.
    ran_out: Millis,
    asked: Option<Asked>,
    /// The owner had too little: no other ask before this.
    not_before: Millis,
    now: Millis,
    granted: u64,
    lapsed: u64,
}

/// Units that may pass until an instant. An empty one has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slice {
    left: u64,
    of: u64,
    until: Millis,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    of: u64,
    least: u64,
    spent: u64,
}

#[derive(Debug)]
struct Asked {
    ask: LeaseAsk,
    at: Millis,
    /// When it is sent again if nothing is heard.
    again: Millis,
}

/// A tenant as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedView {
    /// Which limit.
    pub limit: LimitName,
    /// Units that may pass now.
    pub left: u64,
    /// Whether it waits for the owner's answer.
    pub asked: bool,
    /// Units it had from the owner.
    pub granted: u64,
    /// How many of them ended unspent.
    pub lapsed: u64,
}

impl RateTenant {
    /// One that has nothing yet. `part` tells the node's tenants of one limit
    /// apart; `life` is greater than that of any tenant the node made before.
    pub fn new(policy: &SharedRatePolicy, part: u16, life: TenantLife, now: Millis) -> Self {
        let most = capacity(policy) / policy.rate.parts();
        Self {
            limit: policy.name.clone(),
            part,
            life,
            lease: policy.lease,
            most: u64::try_from(most).unwrap_or(u64::MAX),
            asks: 0,
            want: 1,
            needed: 0,
            slices: [Slice::default(); 2],
            last: Last::default(),
            ran_out: Millis(0),
            asked: None,
            not_before: Millis(0),
            now,
            granted: 0,
            lapsed: 0,
        }
    }

    /// When `cost` units may pass: now, or when to ask again if no grant comes
    /// before. Call [`RateTenant::poll`] after it.
    pub fn ready(&mut self, now: Millis, cost: u64) -> Ready {
        self.advance(now);
        if self.fits(cost) != Ready::Now || cost <= self.left() {
            return self.fits(cost);
        }
        self.needed = self.needed.max(cost);
        let again = match &self.asked {
            Some(asked) => asked.again,
            None if self.now < self.not_before => self.not_before,
            // The ask that is to be sent now.
            None => self.now + self.resend(),
        };
        Ready::At(again.max(self.now + Millis(1)))
    }

    /// Whether `cost` units could ever pass at once.
    pub(in crate::flow) fn fits(&self, cost: u64) -> Ready {
        if cost <= self.most {
            Ready::Now
        } else {
            Ready::TooMuch(self.most)
        }
    }

    /// Lets `cost` units pass, if they may; says whether they did.
    pub fn take(&mut self, now: Millis, cost: u64) -> bool {
        let may = self.ready(now, cost) == Ready::Now;
        if may {
            self.spend(cost);
        }
        may
    }

    /// What is to be sent to the owner now; to be called after whatever else is,
    /// and at [`RateTenant::wake`].
    pub fn poll(&mut self, now: Millis) -> Option<LeaseAsk> {
        self.advance(now);
        let again = self.now + self.resend();
        if let Some(asked) = &mut self.asked {
            if self.now < asked.again {
                return None;
            }
            asked.again = again;
            return Some(asked.ask.clone());
        }
        if self.now < self.not_before || !self.wants_more() {
            return None;
        }
        if self.needed > 0 && self.now < self.ran_out {
            self.want = self.want.saturating_mul(2).min(self.most);
        }
        let least = std::mem::take(&mut self.needed).max(1);
        self.asks += 1;
        let ask = LeaseAsk {
            limit: self.limit.clone(),
            part: self.part,
            id: LeaseId {
                life: self.life,
                number: self.asks,
            },
            want: self.want.max(least),
            least,
        };
        self.asked = Some(Asked {
            ask: ask.clone(),
            at: self.now,
            again,
        });
        Some(ask)
    }

    /// Takes a grant. Afterwards, what waits may ask again.
    pub fn granted(&mut self, grant: &LeaseGrant, now: Millis) {
        self.advance(now);
        // Any other answers an ask that was answered, or given up: its tokens are lost.
        let Some(asked) = self.asked.take_if(|asked| asked.ask.id == grant.id) else {
            return;
        };
        if grant.tokens == 0 {
            self.not_before = self.now + grant.retry_after.max(Millis(1));
            return;
        }
        self.granted = self.granted.saturating_add(grant.tokens);
        let until = asked.at + usable(grant.valid_for);
        if until <= self.now {
            self.lapsed = self.lapsed.saturating_add(grant.tokens);
            return;
        }
        self.last = Last {
            of: grant.tokens,
            least: asked.ask.least,
            spent: 0,
        };
        self.put(Slice {
            left: grant.tokens,
            of: grant.tokens,
            until,
        });
    }

    /// When [`RateTenant::poll`] next has something to send, if nothing else happens before.
    pub fn wake(&self) -> Millis {
        match &self.asked {
            Some(asked) => asked.again,
            None if self.wants_more() => self.not_before.max(self.now),
            None => Millis::NEVER,
        }
    }

    /// What it has.
    pub fn view(&self, now: Millis) -> SharedView {
        let now = self.now.max(now);
        let left = |is_over: bool| {
            let slices = self.slices.iter();
            let those = slices.filter(|slice| (slice.until <= now) == is_over);
            those.fold(0, |sum: u64, slice| sum.saturating_add(slice.left))
        };
        SharedView {
            limit: self.limit.clone(),
            left: left(false),
            asked: self
                .asked
                .as_ref()
                .is_some_and(|asked| !self.is_worthless(asked, now)),
            granted: self.granted,
            lapsed: self.lapsed.saturating_add(left(true)),
        }
    }

    fn left(&self) -> u64 {
        let [one, other] = &self.slices;
        one.left.saturating_add(other.left)
    }

    /// Whether something could not pass, or what is spent by more than what it
    /// was asked for runs low.
    fn wants_more(&self) -> bool {
        let Last { of, least, spent } = self.last;
        self.needed > 0 || (spent > least && self.left() <= of / 2 && self.has_slot())
    }

    fn has_slot(&self) -> bool {
        self.slices.iter().any(|slice| slice.of == 0)
    }

    fn resend(&self) -> Millis {
        Millis(self.lease.0 / 4).max(Millis(1))
    }

    /// Lets time pass: slices end, and asks whose grant would be worth nothing.
    fn advance(&mut self, now: Millis) {
        self.now = self.now.max(now);
        for slice in &mut self.slices {
            if slice.of > 0 && slice.until <= self.now {
                self.lapsed = self.lapsed.saturating_add(slice.left);
                if slice.left > slice.of / 2 {
                    self.want = (self.want / 2).max(1);
                }
                *slice = Slice::default();
            }
        }
        let asked = self.asked.as_ref();
        if asked.is_some_and(|asked| self.is_worthless(asked, self.now)) {
            self.asked = None;
        }
    }

    /// Whether a grant that comes now could not be spent any more.
    fn is_worthless(&self, asked: &Asked, now: Millis) -> bool {
        asked.at + usable(self.lease) <= now
    }

    /// Spends what ends first, first.
    fn spend(&mut self, cost: u64) {
        self.last.spent = self.last.spent.saturating_add(cost);
        self.slices.sort_unstable_by_key(|slice| slice.until);
        let mut cost = cost;
        for slice in &mut self.slices {
            let part = cost.min(slice.left);
            cost -= part;
            slice.left -= part;
            if slice.of > 0 && slice.left == 0 {
                self.ran_out = self.ran_out.max(slice.until);
                *slice = Slice::default();
            }
        }
    }

    fn put(&mut self, new: Slice) {
        self.slices.sort_unstable_by_key(|slice| slice.until);
        let [earlier, later] = &mut self.slices;
        if earlier.of == 0 {
            *earlier = new;
        } else if later.of == 0 {
            *later = new;
        } else {
            // There is no third: the two that end last become one, that ends as
            // the earlier of them does.
            later.left = later.left.saturating_add(new.left);
            later.of = later.of.saturating_add(new.of);
            later.until = later.until.min(new.until);
        }
    }
}
