//! One message to several receivers: its payload is shared, and in which way it is sent
//! is found out once.

use std::sync::Arc;

use phoenix_wit::Effect;

use crate::agent::committing::{Commit, bound};
use crate::agent::how::{self, How};
use crate::agent::{Actions, Agent, BadAnswer, Terms, cause, is_reliable};
use crate::{AgentId, Body, Envelope, KindPolicy};

/// Checks a multicast but for the tables it goes to.
#[cold]
pub(super) fn check(effect: &Effect<'_>, policy: &KindPolicy) -> Result<(), BadAnswer> {
    let Effect::Multicast {
        to,
        message_type,
        payload,
        options,
        token,
        ..
    } = *effect
    else {
        return Ok(());
    };
    let (bytes, most) = (payload.bytes.len() as u64, policy.max_message.into());
    bound("bytes", "message", bytes, most)?;
    how::attributes(message_type)?;
    let treated = how::treated(options, message_type, &policy.treatment);
    match token {
        Some(token) if !is_reliable(treated.delivery.delivery()) => {
            return Err(BadAnswer::NothingToHear(token));
        }
        _ => {}
    }
    to.iter()
        .try_for_each(|to| AgentId::check(to).map_err(Into::into))
}

impl Agent {
    /// Sends a message to each of its receivers.
    #[cold]
    pub(super) fn multicast<'a>(
        &mut self,
        effect: &Effect<'a>,
        commit: &mut Commit<'a>,
        out: &mut Actions,
    ) {
        let Effect::Multicast {
            to,
            method,
            message_type,
            payload,
            options,
            token,
        } = *effect
        else {
            return;
        };
        let kind = &commit.policy.treatment;
        let mut how = How::of(options, message_type, kind, commit.now);
        if let Some(cause) = &commit.cause {
            how.extras = Some(cause::put(how.extras, cause));
        }
        let lane = how.lane;
        let give_up = commit.now + commit.policy.give_up_after;
        let give_up = how.give_up.unwrap_or(give_up);
        let body = Body::Message {
            method: commit.method(method),
            payload: commit.payload(payload),
            ask: None,
        };
        out.send.reserve(to.len());
        for to in to.iter() {
            let known = self.outbox.find(to, lane);
            if how.is_reliable {
                // `check` has been over them.
                let Some(at) = known.or_else(|| self.begin_stream(to, lane)) else {
                    continue;
                };
                let terms = Terms {
                    give_up,
                    retry: how.retry.clone(),
                    extras: how.extras.clone(),
                    token,
                };
                self.push(at, || body.clone(), terms, commit.now, out);
            } else {
                let known = known.and_then(|at| self.outbox.key(at)).cloned();
                let Some(stream) = known.or_else(|| self.loose_stream(to, lane)) else {
                    continue;
                };
                out.send.push(Arc::new(Envelope {
                    stream,
                    sequence: None,
                    body: body.clone(),
                    extras: how.extras.clone(),
                }));
            }
        }
    }
}
