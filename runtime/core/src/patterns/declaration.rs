//! What declarations of pipelines and sagas have in common.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::shown;
use crate::{AgentId, Millis, Schedule};

/// Longest name of a pipeline's stage or a saga's step, bytes.
pub const MAX_NAME: usize = 64;
/// Longest name of a handler, bytes.
pub const MAX_METHOD: usize = 128;
/// Most tries of one message, the first included.
pub const MAX_ATTEMPTS: u32 = 1_000;
/// Longest time that one answer can be waited for.
pub(super) const MAX_TIMEOUT: Millis = Millis(3_600_000);
/// How long an answer is waited for if nothing is said.
pub(super) const TIMEOUT: Millis = Millis(5_000);
/// When what failed is tried again if nothing is said.
const SCHEDULE: Schedule = Schedule::Exponential {
    first: Millis(100),
    most: Millis(60_000),
};

/// A declaration that cannot be: where, and what may stand there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct BadDeclaration {
    /// Where it is wrong, as in ``stage 2 `price`, timeout_ms``.
    pub place: String,
    /// What is wrong, and what is accepted.
    pub why: String,
}

/// How often something is tried, and when again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Tries, the first included: 2 to [`MAX_ATTEMPTS`].
    pub attempts: u32,
    /// The waits between them, as [`Schedule`] is written; `exponential:100ms..60s` if
    /// nothing is said.
    #[serde(default)]
    pub schedule: Option<String>,
}

/// A checked [`Retry`]; one try if nothing was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tries {
    pub(super) most: u32,
    schedule: Schedule,
}

impl Tries {
    /// As often as what must be done at last is tried, if nothing is said.
    pub(super) const OFTEN: Self = Self {
        most: 20,
        schedule: SCHEDULE,
    };

    /// One try.
    pub(super) const ONCE: Self = Self {
        most: 1,
        schedule: SCHEDULE,
    };

    pub(super) fn of(
        retry: Option<&Retry>,
        field: &str,
        place: &Place<'_>,
    ) -> Result<Self, BadDeclaration> {
        let Some(retry) = retry else {
            return Ok(Self::ONCE);
        };
        let attempts = retry.attempts.into();
        place.range(
            &format!("{field}.attempts"),
            attempts,
            2,
            MAX_ATTEMPTS.into(),
        )?;
        let schedule = match &retry.schedule {
            None => SCHEDULE,
            Some(text) => text.parse().map_err(|bad| {
                let why = format!("`{}`: {bad}", shown(text));
                place.bad(&format!("{field}.schedule"), why)
            })?,
        };
        let most = retry.attempts;
        Ok(Self { most, schedule })
    }

    /// When the next try is due after so many, if there is one.
    pub(super) fn next(self, tries: u32, now: u64) -> Option<u64> {
        let wait = self.schedule.wait(tries).0.max(1);
        (tries < self.most).then(|| now.saturating_add(wait.saturating_mul(1_000_000)))
    }
}

/// Where in a declaration something stands.
pub(super) struct Place<'a> {
    /// `stage`, `step`.
    pub(super) what: &'static str,
    /// Counted from 1; 0 for the whole.
    pub(super) number: usize,
    pub(super) name: &'a str,
}

impl Place<'_> {
    pub(super) fn bad(&self, field: &str, why: impl fmt::Display) -> BadDeclaration {
        let place = match (self.number, self.name) {
            (0, _) => field.to_owned(),
            (number, "") => format!("{} {number}, {field}", self.what),
            (number, name) => format!("{} {number} `{}`, {field}", self.what, shown(name)),
        };
        let why = why.to_string();
        BadDeclaration { place, why }
    }

    pub(super) fn range(
        &self,
        field: &str,
        found: u64,
        least: u64,
        most: u64,
    ) -> Result<(), BadDeclaration> {
        if (least..=most).contains(&found) {
            return Ok(());
        }
        Err(self.bad(
            field,
            format_args!("{found}, and it may be {least} to {most}"),
        ))
    }

    /// The name itself: what logs and status call it by.
    pub(super) fn check_name(&self, field: &str) -> Result<(), BadDeclaration> {
        let is_taken = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
        if (1..=MAX_NAME).contains(&self.name.len()) && self.name.bytes().all(is_taken) {
            return Ok(());
        }
        let why = format!(
            "`{}` is none: use 1 to {MAX_NAME} of a-z, A-Z, 0-9, -, _ and .",
            shown(self.name)
        );
        Err(self.bad(field, why))
    }

    pub(super) fn check_method(&self, field: &str, method: &str) -> Result<(), BadDeclaration> {
        if (1..=MAX_METHOD).contains(&method.len()) && !method.chars().any(char::is_control) {
            return Ok(());
        }
        let why = format!(
            "`{}` is no handler's name: use 1 to {MAX_METHOD} bytes, as in resize",
            shown(method)
        );
        Err(self.bad(field, why))
    }

    pub(super) fn agent(&self, field: &str, agent: &str) -> Result<(), BadDeclaration> {
        AgentId::check(agent).map_err(|why| self.bad(field, why))
    }

    pub(super) fn timeout(&self, field: &str, timeout: Option<u32>) -> Result<u32, BadDeclaration> {
        let timeout = timeout.map_or(TIMEOUT.0, u64::from);
        self.range(field, timeout, 1, MAX_TIMEOUT.0)?;
        Ok(u32::try_from(timeout).unwrap_or(u32::MAX))
    }
}
