//! Policies of flow control as people write them: as a kind's policy, names with
//! values that have units. They are fields of a kind's policy too.

use phoenix_core::flow::{
    BadFlow, FLOW_FIELDS, FlowField, FlowFields, FlowForm, FlowPolicy, FlowValue,
};

use crate::api::{Policy, PolicyValue};
use crate::policy::PolicyError;
use crate::suggest::{nearest, shown};
use crate::units::{DURATION_FORM, parse_millis, parse_size};

/// The policy that these fields make.
pub fn policy(fields: &Policy) -> Result<FlowPolicy, PolicyError> {
    let mut read = FlowFields::default();
    for (name, value) in &fields.0 {
        set(&mut read, named(name)?, value)?;
    }
    build(&read)
}

/// Every field of the limiters that `policy` has, with its value.
pub fn shape(policy: &FlowPolicy) -> Policy {
    let fields = FlowFields::of(policy);
    let shown = fields.iter().map(|(field, value)| {
        let value = match value {
            FlowValue::Number(number) => PolicyValue::Number(*number),
            FlowValue::Text(text) => PolicyValue::Text(text.clone()),
        };
        (field.name.to_owned(), value)
    });
    Policy(shown.collect())
}

/// Whether a field takes a value, other fields left aside.
pub fn check(name: &str, value: &PolicyValue) -> Result<(), PolicyError> {
    set(&mut FlowFields::default(), named(name)?, value)
}

fn named(name: &str) -> Result<&'static FlowField, PolicyError> {
    let names = || FLOW_FIELDS.iter().map(|field| field.name);
    FlowField::named(name).ok_or_else(|| PolicyError::Unknown {
        name: shown(name),
        near: nearest(name, names()),
        fields: names().collect(),
    })
}

/// Sets a field to what was written.
pub(crate) fn set(
    fields: &mut FlowFields,
    field: &'static FlowField,
    value: &PolicyValue,
) -> Result<(), PolicyError> {
    if read(field.form, value).is_some_and(|read| fields.set(field, read)) {
        return Ok(());
    }
    Err(PolicyError::Value {
        field: field.name,
        found: value.to_string(),
        accepted: accepted(field.form).to_owned(),
    })
}

/// The policy that fields make, or what is wrong with them together.
pub(crate) fn build(fields: &FlowFields) -> Result<FlowPolicy, PolicyError> {
    fields.build().map_err(|bad| match bad {
        BadFlow::Missing { field, limiter } => PolicyError::Missing { field, limiter },
        BadFlow::Word {
            field,
            found,
            accepted,
        } => PolicyError::Value {
            field,
            found: format!("`{}`", shown(&found)),
            accepted: accepted.to_owned(),
        },
        BadFlow::Number(bad) => PolicyError::Value {
            field: bad.field,
            found: bad.found.to_string(),
            accepted: bad.accepted,
        },
    })
}

fn read(form: FlowForm, value: &PolicyValue) -> Option<FlowValue> {
    let number = match (form, value) {
        (FlowForm::Unit | FlowForm::Name, PolicyValue::Text(text)) => {
            return Some(FlowValue::Text(text.clone()));
        }
        (FlowForm::Count | FlowForm::Amount | FlowForm::Span, PolicyValue::Number(number)) => {
            Some(*number)
        }
        (FlowForm::Count, PolicyValue::Text(text)) => text.replace('_', "").parse().ok(),
        (FlowForm::Amount, PolicyValue::Text(text)) => parse_size(text),
        (FlowForm::Span, PolicyValue::Text(text)) => parse_millis(text),
        _ => None,
    };
    number.map(FlowValue::Number)
}

fn accepted(form: FlowForm) -> &'static str {
    match form {
        FlowForm::Count => "a whole number",
        FlowForm::Amount => {
            "a whole number of messages, or a number of bytes such as 65536, 64KiB or 16MiB"
        }
        FlowForm::Span => DURATION_FORM,
        FlowForm::Unit => "messages or bytes",
        FlowForm::Name => "1 to 64 of a-z, 0-9, - and _, beginning with a letter, as in payments",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(&str, &str)]) -> Result<FlowPolicy, PolicyError> {
        let fields = list
            .iter()
            .map(|(name, value)| ((*name).to_owned(), PolicyValue::from(*value)));
        policy(&Policy(fields.collect()))
    }

    #[test]
    fn every_field_is_documented_as_it_is() {
        let text = include_str!("../../../docs/flow.md");
        for field in &FLOW_FIELDS {
            let row = format!("| `{}` | ", field.name);
            assert!(text.contains(&row), "docs/flow.md lacks: {row}");
        }
    }

    #[test]
    fn values_have_units() {
        let policy = of(&[
            ("rate.amount", "1MiB"),
            ("rate.per", "1.5s"),
            ("rate.unit", "bytes"),
            ("breaker.calls", "5"),
        ])
        .unwrap();
        let rate = policy.rate.unwrap();
        assert_eq!((rate.rate.amount, rate.rate.per.0), (1 << 20, 1_500));
        assert_eq!(crate::flow::policy(&shape(&policy)).unwrap(), policy);
    }

    #[test]
    fn a_beginner_is_told_what_is_wrong() {
        for (list, part, suggestion) in [
            (
                &[("rate.amout", "5")][..],
                "a policy has no field `rate.amout`",
                "did you mean `rate.amount`?",
            ),
            (
                &[("overflow", "reject")],
                "a policy has no field `overflow`",
                "the fields are rate.amount, ",
            ),
            (
                &[("rate.amount", "fast")],
                "`rate.amount` is `fast`: it must be a whole number of messages",
                "write `rate.amount` as",
            ),
            (
                &[("rate.amount", "5"), ("rate.per", "5")],
                "`rate.per` is `5`: it must be a span of time with its unit",
                "write `rate.per` as",
            ),
            (
                &[("rate.burst", "5")],
                "`rate.amount` is missing: a token bucket needs it",
                "give `rate.amount` too",
            ),
            (
                &[("shared.name", "P"), ("shared.amount", "5")],
                "`shared.name` is `P`: it must be 1 to 64",
                "write `shared.name` as",
            ),
            (
                &[("breaker.failures", "101")],
                "`breaker.failures` is 101: it must be 1 to 100",
                "write `breaker.failures` as 1 to 100",
            ),
        ] {
            let error = of(list).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            let help = error.suggestion();
            assert!(help.contains(suggestion), "{help}");
        }
    }
}
