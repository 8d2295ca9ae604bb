//! A flow policy as people write it and nodes keep it: names with values.
//!
//! The names are those that errors of [`FlowPolicy::validate`] use. A limiter is
//! there if one of its fields is set; the others have their defaults then.

use std::collections::BTreeMap;

use crate::flow::shared::LimitName;
use crate::flow::{
    BreakerPolicy, BulkheadPolicy, FlowPolicy, Rate, RatePolicy, SharedRatePolicy, Unit,
    WindowPolicy,
};
use crate::{BadPolicy, Millis};

/// One field of a flow policy.
#[derive(Debug)]
pub struct FlowField {
    /// Its name: the limiter's, a dot, and its own.
    pub name: &'static str,
    /// What its values look like.
    pub form: FlowForm,
    /// What it is for, in a few words.
    pub about: &'static str,
}

/// What a field's values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowForm {
    /// A plain number.
    Count,
    /// A number of messages, or of bytes.
    Amount,
    /// A span of time, milliseconds.
    Span,
    /// `messages` or `bytes`.
    Unit,
    /// The name of a limit.
    Name,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowValue {
    /// A number; of milliseconds for a span.
    Number(u64),
    /// A word.
    Text(String),
}

/// Fields that make no flow policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFlow {
    /// A limiter lacks a field that has no default.
    #[error("`{field}` is missing: {limiter} needs it")]
    Missing {
        /// Which field.
        field: &'static str,
        /// Which limiter.
        limiter: &'static str,
    },
    /// A word is none that the field takes.
    #[error("`{field}` is `{found}`: it must be {accepted}")]
    Word {
        /// Which field.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        accepted: &'static str,
    },
    /// A number does not fit.
    #[error(transparent)]
    Number(#[from] BadPolicy),
}

macro_rules! fields {
    ($($name:literal $form:ident $about:literal,)*) => {
        /// Every field, in the order in which policies are shown.
        pub static FLOW_FIELDS: [FlowField; [$($name),*].len()] = [$(FlowField {
            name: $name,
            form: FlowForm::$form,
            about: $about,
        }),*];
    };
}

fields! {
    "rate.amount" Amount "how many may pass in `rate.per` in the long run",
    "rate.per" Span "in how long, default 1s",
    "rate.burst" Amount "how many may pass at once after a rest, default `rate.amount`",
    "rate.unit" Unit "what is counted, default messages",
    "window.limit" Amount "how many may pass in any `window.per`",
    "window.per" Span "how long a window is, default 1s",
    "window.unit" Unit "what is counted, default messages",
    "shared.name" Name "the limit; those who name the same one share it, on all nodes",
    "shared.amount" Amount "how many may pass in `shared.per` through all nodes together",
    "shared.per" Span "in how long, default 1s",
    "shared.burst" Amount "how many may pass at once after a rest; default the least there may be",
    "shared.lease" Span "how long a node may spend what it was leased, default 500ms",
    "shared.unit" Unit "what is counted, default messages",
    "breaker.window" Span "how long an outcome counts, default 10s",
    "breaker.calls" Count "how many must have ended before it decides, default 20",
    "breaker.failures" Count "what share of them must have failed, percent, default 50",
    "breaker.open-for" Span "how long it is open at first, default 5s",
    "breaker.open-at-most" Span "how long it is open at most, default 60s",
    "breaker.probes" Count "how many messages pass as probes, default 3",
    "breaker.probe-timeout" Span "how long a probe may be unheard of, default 30s",
    "bulkhead.concurrent" Count "how many messages may be under way, default 100",
    "bulkhead.waiting" Count "how many may wait, default 1000",
    "bulkhead.longest-wait" Span "how long one may wait, default 10s",
}

const MESSAGES: &str = "messages";
const BYTES: &str = "bytes";
const UNITS: &str = "messages or bytes";
const SECOND: u64 = 1_000;
const LEASE: u64 = 500;

impl FlowField {
    /// The field of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FLOW_FIELDS.iter().find(|field| field.name == name)
    }
}

impl FlowForm {
    /// Whether a value of the right sort may be read as this.
    fn accepts(self, value: &FlowValue) -> bool {
        let is_word = matches!(self, Self::Unit | Self::Name);
        is_word == matches!(value, FlowValue::Text(_))
    }
}

/// A policy's fields, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFields(BTreeMap<&'static str, FlowValue>);

impl FlowFields {
    /// Those of a policy.
    pub fn of(policy: &FlowPolicy) -> Self {
        let mut fields = Self::default();
        if let Some(RatePolicy { unit, rate, burst }) = &policy.rate {
            fields.number("rate.amount", rate.amount);
            fields.number("rate.per", rate.per.0);
            fields.number("rate.burst", *burst);
            fields.unit("rate.unit", *unit);
        }
        if let Some(WindowPolicy { unit, limit, per }) = &policy.window {
            fields.number("window.limit", *limit);
            fields.number("window.per", per.0);
            fields.unit("window.unit", *unit);
        }
        if let Some(SharedRatePolicy {
            name,
            unit,
            rate,
            burst,
            lease,
        }) = &policy.shared
        {
            fields.text("shared.name", name.as_str());
            fields.number("shared.amount", rate.amount);
            fields.number("shared.per", rate.per.0);
            fields.number("shared.burst", *burst);
            fields.number("shared.lease", lease.0);
            fields.unit("shared.unit", *unit);
        }
        if let Some(BreakerPolicy {
            window,
            calls,
            failures,
            open_for,
            open_at_most,
            probes,
            probe_timeout,
        }) = &policy.breaker
        {
            fields.number("breaker.window", window.0);
            fields.number("breaker.calls", (*calls).into());
            fields.number("breaker.failures", (*failures).into());
            fields.number("breaker.open-for", open_for.0);
            fields.number("breaker.open-at-most", open_at_most.0);
            fields.number("breaker.probes", (*probes).into());
            fields.number("breaker.probe-timeout", probe_timeout.0);
        }
        if let Some(BulkheadPolicy {
            concurrent,
            waiting,
            longest_wait,
        }) = &policy.bulkhead
        {
            fields.number("bulkhead.concurrent", (*concurrent).into());
            fields.number("bulkhead.waiting", (*waiting).into());
            fields.number("bulkhead.longest-wait", longest_wait.0);
        }
        fields
    }

    /// Sets a field; says whether the value is of the sort that the field takes.
    pub fn set(&mut self, field: &'static FlowField, value: FlowValue) -> bool {
        let is_taken = field.form.accepts(&value);
        if is_taken {
            self.0.insert(field.name, value);
        }
        is_taken
    }

    /// Names and values, in the order in which policies are shown.
    pub fn iter(&self) -> impl Iterator<Item = (&'static FlowField, &FlowValue)> {
        FLOW_FIELDS
            .iter()
            .filter_map(|field| Some((field, self.0.get(field.name)?)))
    }

    /// Whether no field is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The policy they make, checked.
    pub fn build(&self) -> Result<FlowPolicy, BadFlow> {
        let policy = FlowPolicy {
            rate: self.has("rate.").then(|| self.rate()).transpose()?,
            window: self.has("window.").then(|| self.window()).transpose()?,
            shared: self.has("shared.").then(|| self.shared()).transpose()?,
            breaker: self.has("breaker.").then(|| self.breaker()).transpose()?,
            bulkhead: self.has("bulkhead.").then(|| self.bulkhead()).transpose()?,
        };
        policy.validate()?;
        Ok(policy)
    }

    fn rate(&self) -> Result<RatePolicy, BadFlow> {
        let amount = self.needed("rate.amount", "a token bucket")?;
        Ok(RatePolicy {
            unit: self.unit_of("rate.unit")?,
            rate: Rate {
                amount,
                per: Millis(self.or("rate.per", SECOND)),
            },
            burst: self.or("rate.burst", amount),
        })
    }

    fn window(&self) -> Result<WindowPolicy, BadFlow> {
        Ok(WindowPolicy {
            unit: self.unit_of("window.unit")?,
            limit: self.needed("window.limit", "a sliding window")?,
            per: Millis(self.or("window.per", SECOND)),
        })
    }

    fn shared(&self) -> Result<SharedRatePolicy, BadFlow> {
        const LIMITER: &str = "a shared rate";
        let name = match self.0.get("shared.name") {
            Some(FlowValue::Text(name)) => name,
            _ => {
                return Err(BadFlow::Missing {
                    field: "shared.name",
                    limiter: LIMITER,
                });
            }
        };
        let mut policy = SharedRatePolicy {
            name: LimitName::new(name).map_err(|_| BadFlow::Word {
                field: "shared.name",
                found: crate::id::shown(name),
                accepted: "1 to 64 of a-z, 0-9, - and _, beginning with a letter, as in payments",
            })?,
            unit: self.unit_of("shared.unit")?,
            rate: Rate {
                amount: self.needed("shared.amount", LIMITER)?,
                per: Millis(self.or("shared.per", SECOND)),
            },
            burst: 0,
            lease: Millis(self.or("shared.lease", LEASE)),
        };
        policy.burst = self.or("shared.burst", policy.least_burst());
        Ok(policy)
    }

    fn breaker(&self) -> Result<BreakerPolicy, BadFlow> {
        let usual = BreakerPolicy::default();
        Ok(BreakerPolicy {
            window: Millis(self.or("breaker.window", usual.window.0)),
            calls: self.small("breaker.calls", usual.calls)?,
            failures: self.small("breaker.failures", usual.failures)?,
            open_for: Millis(self.or("breaker.open-for", usual.open_for.0)),
            open_at_most: Millis(self.or(
                "breaker.open-at-most",
                usual.open_at_most.0.max(self.or("breaker.open-for", 0)),
            )),
            probes: self.small("breaker.probes", usual.probes)?,
            probe_timeout: Millis(self.or("breaker.probe-timeout", usual.probe_timeout.0)),
        })
    }

    fn bulkhead(&self) -> Result<BulkheadPolicy, BadFlow> {
        let usual = BulkheadPolicy::default();
        Ok(BulkheadPolicy {
            concurrent: self.small("bulkhead.concurrent", usual.concurrent)?,
            waiting: self.small("bulkhead.waiting", usual.waiting)?,
            longest_wait: Millis(self.or("bulkhead.longest-wait", usual.longest_wait.0)),
        })
    }

    fn has(&self, limiter: &str) -> bool {
        self.0.keys().any(|name| name.starts_with(limiter))
    }

    fn read(&self, name: &str) -> Option<u64> {
        match self.0.get(name)? {
            FlowValue::Number(number) => Some(*number),
            FlowValue::Text(_) => None,
        }
    }

    fn or(&self, name: &str, usual: u64) -> u64 {
        self.read(name).unwrap_or(usual)
    }

    fn small(&self, name: &'static str, usual: u32) -> Result<u32, BadFlow> {
        let number = self.or(name, usual.into());
        u32::try_from(number).map_err(|_| {
            BadFlow::Number(BadPolicy {
                field: name,
                found: number,
                accepted: "a whole number below 4,294,967,296".to_owned(),
            })
        })
    }

    fn needed(&self, field: &'static str, limiter: &'static str) -> Result<u64, BadFlow> {
        self.read(field).ok_or(BadFlow::Missing { field, limiter })
    }

    fn unit_of(&self, field: &'static str) -> Result<Unit, BadFlow> {
        match self.0.get(field) {
            None => Ok(Unit::Messages),
            Some(FlowValue::Text(word)) if word == MESSAGES => Ok(Unit::Messages),
            Some(FlowValue::Text(word)) if word == BYTES => Ok(Unit::Bytes),
            Some(FlowValue::Text(word)) => Err(BadFlow::Word {
                field,
                found: crate::id::shown(word),
                accepted: UNITS,
            }),
            Some(FlowValue::Number(number)) => Err(BadFlow::Word {
                field,
                found: number.to_string(),
                accepted: UNITS,
            }),
        }
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.0.insert(name, FlowValue::Number(number));
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.0.insert(name, FlowValue::Text(text.to_owned()));
    }

    fn unit(&mut self, name: &'static str, unit: Unit) {
        self.text(
            name,
            match unit {
                Unit::Messages => MESSAGES,
                Unit::Bytes => BYTES,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, FlowValue)]) -> FlowFields {
        let mut fields = FlowFields::default();
        for (name, value) in list {
            assert!(fields.set(FlowField::named(name).unwrap(), value.clone()));
        }
        fields
    }

    fn number(number: u64) -> FlowValue {
        FlowValue::Number(number)
    }

    fn text(text: &str) -> FlowValue {
        FlowValue::Text(text.to_owned())
    }

    #[test]
    fn a_limiter_is_there_if_one_of_its_fields_is() {
        assert!(FlowFields::default().build().unwrap().is_empty());
        let policy = fields(&[("breaker.calls", number(5))]).build().unwrap();
        let breaker = policy.breaker.unwrap();
        assert_eq!((breaker.calls, breaker.failures), (5, 50));
        assert!(policy.rate.is_none() && policy.bulkhead.is_none());
        let policy = fields(&[("rate.amount", number(7))]).build().unwrap();
        let rate = policy.rate.unwrap();
        assert_eq!((rate.burst, rate.rate.per), (7, Millis(1_000)));
        let long = fields(&[("breaker.open-for", number(90_000))]).build();
        assert_eq!(long.unwrap().breaker.unwrap().open_at_most, Millis(90_000));
    }

    #[test]
    fn a_policy_reads_back_as_it_is_shown() {
        let policy = fields(&[
            ("rate.amount", number(7)),
            ("rate.unit", text("bytes")),
            ("window.limit", number(9)),
            ("shared.name", text("payments")),
            ("shared.amount", number(100)),
            ("breaker.probes", number(1)),
            ("bulkhead.waiting", number(0)),
        ])
        .build()
        .unwrap();
        let shown = FlowFields::of(&policy);
        assert_eq!(shown.iter().count(), FLOW_FIELDS.len(), "all are shown");
        assert_eq!(shown.build().unwrap(), policy);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (list, message) in [
            (
                vec![("rate.burst", number(5))],
                "`rate.amount` is missing: a token bucket needs it",
            ),
            (
                vec![("window.per", number(5))],
                "`window.limit` is missing: a sliding window needs it",
            ),
            (
                vec![("shared.amount", number(5))],
                "`shared.name` is missing: a shared rate needs it",
            ),
            (
                vec![("shared.amount", number(5)), ("shared.name", text("A b"))],
                "`shared.name` is `A b`: it must be 1 to 64 of a-z, 0-9, - and _, beginning with a letter, as in payments",
            ),
            (
                vec![("rate.amount", number(5)), ("rate.unit", text("calls"))],
                "`rate.unit` is `calls`: it must be messages or bytes",
            ),
            (
                vec![("breaker.failures", number(101))],
                "breaker.failures is 101: it must be 1 to 100",
            ),
            (
                vec![("bulkhead.concurrent", number(1 << 40))],
                "bulkhead.concurrent is 1099511627776: it must be a whole number below 4,294,967,296",
            ),
        ] {
            assert_eq!(fields(&list).build().unwrap_err().to_string(), message);
        }
        let mut empty = FlowFields::default();
        let unit = FlowField::named("rate.unit").unwrap();
        assert!(!empty.set(unit, number(1)) && empty.is_empty());
    }
}
