//! What a request says of how a message is to be sent.

use std::sync::Arc;

use phoenix_core::attributes::Attributes;
use phoenix_core::taxonomy::{Guarantee, Overrides};
use phoenix_core::{
    ClientOptions, Lane, MAX_CLIENT_GIVE_UP, MAX_CLIENT_KEY, MAX_CLIENT_TTL, Millis,
};

use crate::server::fault::Fault;
use crate::suggest::{did_you_mean, shown};

/// The words of a request, as far as they are there.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server::handlers) struct Said<'a> {
    pub(in crate::server::handlers) key: Option<&'a str>,
    pub(in crate::server::handlers) lane: Option<&'a str>,
    pub(in crate::server::handlers) delivery: Option<&'a str>,
    pub(in crate::server::handlers) ttl: Option<Millis>,
    pub(in crate::server::handlers) report_expired: bool,
    pub(in crate::server::handlers) give_up: Option<Millis>,
    pub(in crate::server::handlers) message_type: Option<&'a str>,
}

impl Said<'_> {
    /// What they mean, each within its bounds; nothing, if nothing is said.
    pub(in crate::server::handlers) fn options(&self) -> Result<Option<Box<ClientOptions>>, Fault> {
        let options = ClientOptions {
            overrides: Overrides {
                priority: self
                    .lane
                    .map(|text| word("lane", text, Lane::of_word, LANES, Lane::ACCEPTED))
                    .transpose()?,
                delivery: self
                    .delivery
                    .map(|text| {
                        let accepted = Guarantee::ACCEPTED;
                        word("delivery", text, Guarantee::of_word, GUARANTEES, accepted)
                    })
                    .transpose()?,
                ..Overrides::NONE
            },
            ttl: self
                .ttl
                .map(|span| within("ttl", span, MAX_CLIENT_TTL))
                .transpose()?,
            report_expired: self.report_expired,
            give_up: self
                .give_up
                .map(|span| within("give_up", span, MAX_CLIENT_GIVE_UP))
                .transpose()?,
            key: self.key.map(key).transpose()?,
            attributes: self.message_type.map(of_type).transpose()?,
            ..ClientOptions::default()
        };
        Ok(options.boxed())
    }
}

const LANES: [&str; 4] = ["high", "normal", "low", "bulk"];
const GUARANTEES: [&str; 3] = ["exactly-once", "at-least-once", "at-most-once"];

fn word<T, const N: usize>(
    field: &str,
    text: &str,
    of_word: impl Fn(&str) -> Option<T>,
    words: [&'static str; N],
    accepted: &str,
) -> Result<T, Fault> {
    of_word(text).ok_or_else(|| {
        let fault = Fault::invalid(format!(
            "`{field}` is `{}`: it must be {accepted}",
            shown(text)
        ));
        match did_you_mean(text, words) {
            Some(help) => fault.suggest(help),
            None => fault,
        }
    })
}

fn within(field: &str, span: Millis, most: Millis) -> Result<Millis, Fault> {
    if (1..=most.0).contains(&span.0) {
        return Ok(span);
    }
    Err(Fault::invalid(format!(
        "`{field}` is {} ms: it must be 1 to {} ms",
        span.0, most.0
    )))
}

fn key(text: &str) -> Result<Arc<str>, Fault> {
    let fits = (1..=MAX_CLIENT_KEY).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits {
        return Ok(text.into());
    }
    Err(Fault::invalid(format!(
        "the key `{}` cannot name a message: it must be 1 to {MAX_CLIENT_KEY} bytes without control \
         characters",
        shown(text)
    )))
}

fn of_type(text: &str) -> Result<Arc<Attributes>, Fault> {
    let attributes = Attributes::of_type(text).map_err(|bad| Fault::invalid(bad.to_string()))?;
    Ok(Arc::new(attributes))
}
