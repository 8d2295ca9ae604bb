//! The terms of subscriptions, checked and compiled once for all that have the same.

use smol_str::SmolStr;

use crate::AgentId;
use crate::topics::wire::{
    BadRequest, DEFAULT_IN_FLIGHT, Form, Overflow, Reliability, Subscribe, method,
};
use crate::topics::{Filter, Template, Transform};

/// On which terms a subscription gets events.
#[derive(Debug)]
pub(super) struct Terms {
    /// As they were said, without pattern, name and `replay`: those of two subscriptions
    /// are the same if this is.
    pub(super) said: Subscribe,
    /// The same as bytes, by which they are found.
    pub(super) key: Vec<u8>,
    pub(super) method: SmolStr,
    pub(super) filter: Option<Filter>,
    pub(super) to: To,
    pub(super) transform: Option<Transform>,
    pub(super) delivery: Option<Reliability>,
    pub(super) overflow: Overflow,
    pub(super) in_flight: u32,
    pub(super) form: Form,
}

/// To whom events go.
#[derive(Debug)]
pub(super) enum To {
    /// To the agent that subscribed.
    Subscriber,
    /// To this one.
    Agent(AgentId),
    /// To the one that the event says.
    Template(Template),
}

impl Terms {
    /// Compiles terms whose fields are each checked.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub(super) fn new(mut said: Subscribe) -> Result<Self, BadRequest> {
        said.pattern = String::new();
        said.name = None;
        said.replay = None;
        if said.group.is_some() && said.overflow.unwrap_or_default() != Overflow::Block {
            let why = "events of a queue group wait for a member: leave it out, or write block";
            return Err(BadRequest::field("overflow", why));
        }
        let field = |field| move |bad: String| BadRequest::field(field, bad);
        let filter = said.filter.as_deref().map(Filter::new).transpose();
        let filter = filter.map_err(|bad| field("filter")(bad.to_string()))?;
        let transform = said.transform.as_ref().map(Transform::new).transpose();
        let transform = transform.map_err(|bad| field("transform")(bad.to_string()))?;
        let to = match &said.to {
            None => To::Subscriber,
            Some(to) if to.contains(['{', '}']) => {
                let bad = |bad: crate::topics::BadTemplate| field("to")(bad.to_string());
                if said.group.is_some() {
                    let why = "a member of a queue group is one agent: write its id";
                    return Err(BadRequest::field("to", why));
                }
                To::Template(Template::new(to).map_err(bad)?)
            }
            Some(to) => {
                let bad = |bad: crate::BadAgentId| field("to")(bad.to_string());
                To::Agent(AgentId::new(to).map_err(bad)?)
            }
        };
        Ok(Self {
            key: rmp_serde::to_vec_named(&said).unwrap_or_default(),
            method: said.method.as_deref().unwrap_or(method::ON_EVENT).into(),
            delivery: said.delivery,
            overflow: said.overflow.unwrap_or_default(),
            in_flight: said.in_flight.unwrap_or(DEFAULT_IN_FLIGHT),
            form: said.form.unwrap_or(Form::Event),
            filter,
            to,
            transform,
            said,
        })
    }

    /// Whether its messages have verdicts.
    pub(super) fn is_reliable(&self) -> bool {
        self.delivery != Some(Reliability::AtMostOnce)
    }

    /// Whether all of its messages go to one receiver, in one stream: an end of one is an
    /// end of all before it.
    pub(super) fn is_one_stream(&self) -> bool {
        match self.to {
            To::Subscriber | To::Agent(_) => true,
            To::Template(_) => false,
        }
    }

    /// Whether messages on these terms and on others differ in nothing but whom they are to.
    pub(super) fn sends_as(&self, other: &Self) -> bool {
        self.method == other.method
            && self.form == other.form
            && self.delivery == other.delivery
            && self.said.transform == other.said.transform
    }
}
