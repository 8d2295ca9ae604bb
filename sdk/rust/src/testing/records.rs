//! What an agent under test has done.

use phoenix_wit::timer::Timing;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bounced::Bounced;
use crate::options::SendOptions;
use crate::payload::Payload;
use crate::request::Request;
use crate::schedule::Schedule;
use crate::time::Timestamp;
use crate::topics::{PublishOptions, Subscription};
use crate::{Delivery, Level};

/// A message the agent sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whom to.
    pub to: String,
    /// For which handler.
    pub method: String,
    /// What it carries.
    pub payload: Payload,
    /// How hard the node would try.
    pub delivery: Delivery,
    /// In which way it was sent; [`SendOptions::default`] but for the delivery if
    /// nothing was said.
    pub options: SendOptions,
}

/// An ask of the agent's that has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What [`TestContext::reply`](super::TestContext::reply) answers it by.
    pub ask: u64,
    /// Whom it asks.
    pub to: String,
    /// Which handler.
    pub method: String,
    /// What with.
    pub payload: Payload,
    /// When it times out.
    pub deadline: Timestamp,
}

/// An event the agent published.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// On which topic.
    pub topic: String,
    /// The event.
    pub payload: Payload,
    /// What more was said of it; [`PublishOptions::default`] if nothing was.
    pub options: PublishOptions,
}

/// A subscription of the agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// To which pattern.
    pub pattern: String,
    /// Its name: the pattern, if it was given none.
    pub name: String,
    /// On which terms, as they would leave the agent.
    pub options: Payload,
}

/// An agent the agent created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawned {
    /// Its address.
    pub agent: String,
    /// What its `#[init]` gets.
    pub config: Payload,
}

/// A line of the agent's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// How serious it is.
    pub level: Level,
    /// The line.
    pub text: String,
}

/// A timer that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its number; `TimerId::named("flush").number()` for a named one.
    pub id: u64,
    /// When it comes due next.
    pub due: Timestamp,
    /// As it was set.
    pub schedule: Schedule,
    /// The handler it calls.
    pub method: String,
    /// What with.
    pub payload: Payload,
    pub(super) timing: Timing,
    /// Whether its firing waits for a waiting handler to end.
    pub(super) is_firing: bool,
}

impl Timer {
    /// Is over with its due time, and waits for the next one; `false` if there is none.
    pub(super) fn advance(&mut self, next: impl FnOnce(&Timing, u64) -> Option<u64>) -> bool {
        self.is_firing = false;
        let next = next(&self.timing, self.due.as_millis());
        next.inspect(|next| self.due = Timestamp::from_millis(*next))
            .is_some()
    }
}

impl Subscribed {
    pub(super) fn new(pattern: &str, options: Payload) -> Self {
        #[derive(serde::Deserialize)]
        struct Named {
            name: Option<String>,
        }
        let named = match options.bytes() {
            [] => None,
            bytes => rmp_serde::from_slice::<Named>(bytes).ok(),
        };
        Self {
            pattern: pattern.to_owned(),
            name: named
                .and_then(|it| it.name)
                .unwrap_or_else(|| pattern.to_owned()),
            options,
        }
    }

    /// Whether it is on these terms.
    pub fn is(&self, subscription: impl Into<Subscription>) -> bool {
        let subscription = subscription.into();
        let packed = if subscription.is_plain() {
            Vec::new()
        } else {
            rmp_serde::to_vec_named(&subscription)
                .unwrap_or_else(|why| panic!("a subscription is a map: {why}"))
        };
        self.pattern == subscription.pattern && self.options.bytes() == packed
    }
}

impl Sent {
    /// The message as it comes back, for that reason: what
    /// [`TestContext::bounce`](super::TestContext::bounce) gives the agent. Only
    /// `gave-up` leaves it open whether it was applied.
    pub fn bounced(self, why: &str) -> Bounced {
        Bounced {
            to: self.to,
            method: self.method,
            payload: self.payload,
            why: why.to_owned(),
            unsure: why == "gave-up",
        }
    }

    /// Whether it is `request`, sent to `to`.
    pub fn is<A: Serialize, R, E>(&self, to: &str, request: &Request<A, R, E>) -> bool {
        self.to == to && carries(&self.method, &self.payload, request)
    }

    /// Its argument, or a tuple of them.
    ///
    /// # Panics
    /// If it carries something else.
    #[track_caller]
    pub fn arguments<T: DeserializeOwned>(&self) -> T {
        read(&self.method, &self.payload)
    }
}

impl Asked {
    /// Whether it asks `to` for `request`.
    pub fn is<A: Serialize, R, E>(&self, to: &str, request: &Request<A, R, E>) -> bool {
        self.to == to && carries(&self.method, &self.payload, request)
    }

    /// Its argument, or a tuple of them.
    ///
    /// # Panics
    /// If it carries something else.
    #[track_caller]
    pub fn arguments<T: DeserializeOwned>(&self) -> T {
        read(&self.method, &self.payload)
    }
}

impl Published {
    /// The event.
    ///
    /// # Panics
    /// If it is something else.
    #[track_caller]
    pub fn event<T: DeserializeOwned>(&self) -> T {
        read(&self.topic, &self.payload)
    }
}

impl Spawned {
    /// The configuration.
    ///
    /// # Panics
    /// If it is something else.
    #[track_caller]
    pub fn config<T: DeserializeOwned>(&self) -> T {
        read(&self.agent, &self.config)
    }
}

fn carries<A: Serialize, R, E>(
    method: &str,
    payload: &Payload,
    request: &Request<A, R, E>,
) -> bool {
    let carried = Payload::message_pack(request.arguments());
    method == request.method() && carried.is_ok_and(|carried| carried == *payload)
}

#[track_caller]
pub(super) fn read<T: DeserializeOwned>(what: &str, payload: &Payload) -> T {
    payload.decode().unwrap_or_else(|why| {
        panic!(
            "the payload of `{what}` is no {}: {why}: {payload:?}",
            std::any::type_name::<T>()
        )
    })
}
