//! Publications and subscriptions: messages to the owners of topics.

use std::sync::Arc;

use phoenix_wit::{ContentType, Delivery, Effect};
use serde::Serialize;

use crate::agent::committing::{Commit, bound};
use crate::agent::{Actions, Agent, BadAnswer, Terms, cause, is_reliable};
use crate::topics::wire::{self, BadRequest, method};
use crate::topics::{PublishOptions, subscription};
use crate::{AgentId, Body, Envelope, KindPolicy, Payload};

/// What an effect says to an owner.
struct Said<'a> {
    owner: AgentId,
    method: &'static str,
    delivery: Delivery,
    what: What<'a>,
}

enum What<'a> {
    Publish(wire::Publish<'a>),
    Subscribe(Box<wire::Subscribe>),
    Unsubscribe(wire::Unsubscribe),
}

/// Reads an effect; `None` if it is about no topic.
fn said<'a>(effect: &Effect<'a>) -> Result<Option<Said<'a>>, BadRequest> {
    Ok(Some(match *effect {
        Effect::Publish {
            topic,
            payload,
            options,
        } => {
            let (publish, topic, delivery) = PublishOptions::publication(topic, payload, options)?;
            Said {
                owner: wire::owner_of_topic(&topic),
                method: method::PUBLISH,
                delivery,
                what: What::Publish(publish),
            }
        }
        Effect::Subscribe { pattern, options } => {
            let (subscribe, pattern) = subscription(pattern, options)?;
            Said {
                owner: wire::owner_of_pattern(&pattern),
                method: method::SUBSCRIBE,
                delivery: Delivery::ExactlyOnce,
                what: What::Subscribe(Box::new(subscribe)),
            }
        }
        Effect::Unsubscribe { pattern, name } => {
            let named = wire::Subscribe {
                name: (!name.is_empty()).then(|| name.to_owned()),
                ..wire::Subscribe::to_pattern(pattern)
            };
            Said {
                owner: wire::owner_of_pattern(&named.check()?),
                method: method::UNSUBSCRIBE,
                delivery: Delivery::ExactlyOnce,
                what: What::Unsubscribe(wire::Unsubscribe { name: named.name() }),
            }
        }
        _ => return Ok(None),
    }))
}

impl Said<'_> {
    fn payload(&self) -> Payload {
        let bytes = match &self.what {
            What::Publish(publish) => {
                let mut bytes = Vec::with_capacity(publish.data.bytes.len() + 64);
                publish.write(&mut bytes);
                bytes
            }
            What::Subscribe(subscribe) => packed(subscribe),
            What::Unsubscribe(unsubscribe) => packed(unsubscribe),
        };
        Payload {
            content_type: ContentType::MessagePack,
            bytes: bytes.into(),
        }
    }
}

fn packed<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing to a vector does not fail.
    rmp_serde::to_vec_named(value).unwrap_or_default()
}

/// Checks an effect about a topic, whatever it is about.
#[cold]
pub(super) fn check(effect: &Effect<'_>, policy: &KindPolicy) -> Result<(), BadAnswer> {
    if let Effect::Publish { payload, .. } = effect {
        let (bytes, most) = (payload.bytes.len() as u64, policy.max_message.into());
        bound("bytes", "message", bytes, most)?;
    }
    said(effect)?;
    Ok(())
}

/// Whom an effect about a topic speaks to.
pub(super) fn owner(effect: &Effect<'_>) -> Option<AgentId> {
    said(effect).ok()?.map(|said| said.owner)
}

impl Agent {
    /// Tells the owner of an effect's topics.
    #[cold]
    pub(super) fn tell_owner<'a>(
        &mut self,
        effect: &Effect<'a>,
        commit: &mut Commit<'a>,
        out: &mut Actions,
    ) {
        // `check` has been over it.
        let Ok(Some(said)) = said(effect) else { return };
        let body = Body::Message {
            method: said.method.into(),
            payload: said.payload(),
            ask: None,
        };
        let extras = commit.cause.as_ref().map(|cause| cause::put(None, cause));
        if is_reliable(said.delivery) {
            let at = self.stream(&said.owner, commit.lane);
            let terms = Terms {
                extras,
                ..Terms::until(commit.now + commit.policy.give_up_after)
            };
            self.push(at, || body, terms, commit.now, out);
        } else if let Some(stream) = self.loose_stream(said.owner.as_str(), commit.lane) {
            out.send.push(Arc::new(Envelope {
                stream,
                sequence: None,
                body,
                extras,
            }));
        }
    }
}
