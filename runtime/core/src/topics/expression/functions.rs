//! What CEL's operators and functions do with values.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::evaluate::{Cost, Error, Seen, What};
use super::tree::{Function, Operator};
use crate::id::shown;
use crate::topics::value::{Key, Value};

/// A number of either kind.
#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Double(f64),
}

fn number(value: &Value<'_>) -> Option<Number> {
    Some(match value {
        Value::Int(it) => Number::Whole((*it).into()),
        Value::Uint(it) => Number::Whole((*it).into()),
        Value::Double(it) => Number::Double(*it),
        _ => return None,
    })
}

/// By value, whatever the kinds; `None` if one is no number at all.
fn compare(one: Number, other: Number) -> Option<Ordering> {
    match (one, other) {
        (Number::Whole(one), Number::Whole(other)) => Some(one.cmp(&other)),
        (Number::Double(one), Number::Double(other)) => one.partial_cmp(&other),
        (Number::Whole(one), Number::Double(other)) => compare_mixed(one, other),
        (Number::Double(one), Number::Whole(other)) => {
            compare_mixed(other, one).map(Ordering::reverse)
        }
    }
}

fn compare_mixed(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Exact: whole numbers here have 65 bits, and beyond 2^127 the cast gives the bound.
    let order = whole.cmp(&whole_part(double));
    Some(order.then_with(|| 0.0.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal)))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "cutting off the fraction is what it is for; out of range it saturates"
)]
fn whole_part(double: f64) -> i128 {
    double.trunc() as i128
}

#[expect(
    clippy::cast_precision_loss,
    reason = "CEL's double(int) gives the nearest one"
)]
fn nearest(whole: i128) -> f64 {
    whole as f64
}

/// A value as a map's key or an index; a double that is whole counts as that number.
pub(super) fn key<'k>(value: &'k Value<'_>) -> Option<Key<'k>> {
    Some(match value {
        Value::Bool(it) => Key::Bool(*it),
        Value::Text(it) => Key::Text(Cow::Borrowed(it)),
        Value::Double(it) if it.fract() == 0.0 => Key::Int(whole_part(*it)),
        Value::Int(it) => Key::Int((*it).into()),
        Value::Uint(it) => Key::Int((*it).into()),
        _ => return None,
    })
}

pub(super) fn shown_key(key: &Key<'_>) -> Box<str> {
    match key {
        Key::Bool(it) => it.to_string().into(),
        Key::Int(it) => it.to_string().into(),
        Key::Text(it) => format!("'{}'", shown(it)).into(),
    }
}

/// Whether two values are equal; those of different types are not, but for numbers.
pub(super) fn is_equal(one: &Value<'_>, other: &Value<'_>, cost: &mut Cost) -> Result<bool, Error> {
    cost.steps(1)?;
    if let (Some(one), Some(other)) = (number(one), number(other)) {
        return Ok(compare(one, other) == Some(Ordering::Equal));
    }
    Ok(match (one, other) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Text(one), Value::Text(other)) => {
            one.len() == other.len() && {
                cost.bytes(one.len())?;
                one == other
            }
        }
        (Value::Bytes(one), Value::Bytes(other)) => {
            one.len() == other.len() && {
                cost.bytes(one.len())?;
                one == other
            }
        }
        (Value::List(one), Value::List(other)) => {
            if one.len() != other.len() {
                return Ok(false);
            }
            for (one, other) in one.iter().zip(other) {
                if !is_equal(one, other, cost)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(one), Value::Map(other)) => {
            if one.len() != other.len() {
                return Ok(false);
            }
            for ((key, one), (other_key, other)) in one.iter().zip(other.iter()) {
                if key != other_key || !is_equal(one, other, cost)? {
                    return Ok(false);
                }
            }
            true
        }
        _ => false,
    })
}

/// How two values are ordered: `None` if they have no order, `Some(None)` if one of them
/// is a double that is no number.
pub(super) fn order(
    one: &Value<'_>,
    other: &Value<'_>,
    cost: &mut Cost,
) -> Result<Option<Option<Ordering>>, Error> {
    if let (Some(one), Some(other)) = (number(one), number(other)) {
        return Ok(Some(compare(one, other)));
    }
    Ok(match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Some(Some(one.cmp(other))),
        (Value::Text(one), Value::Text(other)) => {
            cost.bytes(one.len().min(other.len()))?;
            Some(Some(one.cmp(other)))
        }
        (Value::Bytes(one), Value::Bytes(other)) => {
            cost.bytes(one.len().min(other.len()))?;
            Some(Some(one.cmp(other)))
        }
        _ => None,
    })
}

pub(super) fn negate(value: &Value<'_>) -> Result<Value<'static>, What> {
    match value {
        Value::Int(it) => it.checked_neg().map(Value::Int).ok_or(What::Overflow("-")),
        Value::Double(it) => Ok(Value::Double(-it)),
        other => Err(What::NotFor("-", other.kind())),
    }
}

pub(super) fn arithmetic<'v>(
    operator: Operator,
    left: Seen<'v>,
    right: Seen<'v>,
    cost: &mut Cost,
    at: u32,
) -> Result<Seen<'v>, Error> {
    let symbol = operator.symbol();
    let is_by_zero = matches!(operator, Operator::Divide | Operator::Remainder);
    let made = match (&*left, &*right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) if is_by_zero => {
            return Err(What::ByZero.at(at));
        }
        (Value::Int(one), Value::Int(other)) => {
            let (one, other) = (*one, *other);
            let made = match operator {
                Operator::Add => one.checked_add(other),
                Operator::Subtract => one.checked_sub(other),
                Operator::Multiply => one.checked_mul(other),
                Operator::Divide => one.checked_div(other),
                _ => one.checked_rem(other),
            };
            Value::Int(made.ok_or_else(|| What::Overflow(symbol).at(at))?)
        }
        (Value::Uint(one), Value::Uint(other)) => {
            let (one, other) = (*one, *other);
            let made = match operator {
                Operator::Add => one.checked_add(other),
                Operator::Subtract => one.checked_sub(other),
                Operator::Multiply => one.checked_mul(other),
                Operator::Divide => one.checked_div(other),
                _ => one.checked_rem(other),
            };
            Value::Uint(made.ok_or_else(|| What::Overflow(symbol).at(at))?)
        }
        (Value::Double(one), Value::Double(other)) if operator != Operator::Remainder => {
            Value::Double(match operator {
                Operator::Add => one + other,
                Operator::Subtract => one - other,
                Operator::Multiply => one * other,
                _ => one / other,
            })
        }
        _ if operator == Operator::Add => return join(left, right, cost, at),
        (one, other) => return Err(What::NotForBoth(symbol, one.kind(), other.kind()).at(at)),
    };
    Ok(Cow::Owned(made))
}

/// Texts, bytes and lists one after the other.
fn join<'v>(left: Seen<'v>, right: Seen<'v>, cost: &mut Cost, at: u32) -> Result<Seen<'v>, Error> {
    let made = match (&*left, &*right) {
        (Value::Text(one), Value::Text(other)) => {
            cost.bytes(one.len() + other.len())?;
            Value::Text(format!("{one}{other}").into())
        }
        (Value::Bytes(one), Value::Bytes(other)) => {
            cost.bytes(one.len() + other.len())?;
            Value::Bytes([&**one, &**other].concat().into())
        }
        (Value::List(one), Value::List(other)) => {
            let mut list = Vec::new();
            for it in one.iter().chain(other) {
                cost.copy(it)?;
                list.push(it.clone());
            }
            Value::List(list)
        }
        (one, other) => return Err(What::NotForBoth("+", one.kind(), other.kind()).at(at)),
    };
    Ok(Cow::Owned(made))
}

/// Calls a function; those of one argument do not look at the second.
pub(super) fn call<'v>(
    function: Function,
    first: &Value<'v>,
    second: &Value<'v>,
    cost: &mut Cost,
    at: u32,
) -> Result<Value<'v>, Error> {
    match function {
        Function::Size => size(first, cost).map_err(|it| it.unwrap_or_else(|what| what.at(at))),
        Function::Contains => texts("contains", first, second, cost, at, |a, b| a.contains(b)),
        Function::StartsWith => texts("startsWith", first, second, cost, at, |a, b| {
            a.starts_with(b)
        }),
        Function::EndsWith => texts("endsWith", first, second, cost, at, |a, b| a.ends_with(b)),
        Function::Int => as_int(first).map_err(|it| it.at(at)),
        Function::Uint => as_uint(first).map_err(|it| it.at(at)),
        Function::Double => as_double(first).map_err(|it| it.at(at)),
        Function::Text => {
            cost.bytes(size_of(first))?;
            as_text(first).map_err(|it| it.at(at))
        }
        Function::Bool => as_bool(first).map_err(|it| it.at(at)),
    }
}

fn size(value: &Value<'_>, cost: &mut Cost) -> Result<Value<'static>, Result<Error, What>> {
    let size = match value {
        Value::Text(it) => {
            cost.bytes(it.len()).map_err(Ok)?;
            it.chars().count()
        }
        Value::Bytes(it) => it.len(),
        Value::List(it) => it.len(),
        Value::Map(it) => it.len(),
        other => return Err(Err(What::NotFor("size", other.kind()))),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn size_of(value: &Value<'_>) -> usize {
    match value {
        Value::Text(it) => it.len(),
        Value::Bytes(it) => it.len(),
        _ => 0,
    }
}

fn texts<'v>(
    name: &'static str,
    first: &Value<'_>,
    second: &Value<'_>,
    cost: &mut Cost,
    at: u32,
    is: fn(&str, &str) -> bool,
) -> Result<Value<'v>, Error> {
    match (first, second) {
        (Value::Text(first), Value::Text(second)) => {
            cost.bytes(first.len() + second.len())?;
            Ok(Value::Bool(is(first, second)))
        }
        (one, other) => Err(What::NotForBoth(name, one.kind(), other.kind()).at(at)),
    }
}

fn as_int(value: &Value<'_>) -> Result<Value<'static>, What> {
    let int = match value {
        Value::Int(it) => Some(*it),
        Value::Uint(it) => i64::try_from(*it).ok(),
        Value::Double(it) if it.is_nan() => None,
        Value::Double(it) => i64::try_from(whole_part(*it)).ok(),
        Value::Text(it) => it.parse().ok(),
        other => return Err(What::NotFor("int", other.kind())),
    };
    int.map(Value::Int).ok_or_else(|| not_as("an int", value))
}

fn as_uint(value: &Value<'_>) -> Result<Value<'static>, What> {
    let uint = match value {
        Value::Int(it) => u64::try_from(*it).ok(),
        Value::Uint(it) => Some(*it),
        // What is between -1 and 0 would become 0.
        Value::Double(it) if it.is_nan() || *it < 0.0 => None,
        Value::Double(it) => u64::try_from(whole_part(*it)).ok(),
        Value::Text(it) => it.parse().ok(),
        other => return Err(What::NotFor("uint", other.kind())),
    };
    uint.map(Value::Uint).ok_or_else(|| not_as("a uint", value))
}

fn as_double(value: &Value<'_>) -> Result<Value<'static>, What> {
    let double = match value {
        Value::Int(it) => Some(nearest((*it).into())),
        Value::Uint(it) => Some(nearest((*it).into())),
        Value::Double(it) => Some(*it),
        Value::Text(it) => it.parse().ok(),
        other => return Err(What::NotFor("double", other.kind())),
    };
    let double = double.ok_or_else(|| not_as("a double", value))?;
    Ok(Value::Double(double))
}

fn as_text<'v>(value: &Value<'v>) -> Result<Value<'v>, What> {
    let text = match value {
        Value::Bool(it) => it.to_string().into(),
        Value::Int(it) => it.to_string().into(),
        Value::Uint(it) => it.to_string().into(),
        Value::Double(it) => it.to_string().into(),
        Value::Text(it) => it.clone(),
        Value::Bytes(it) => match std::str::from_utf8(it) {
            Ok(text) => text.to_owned().into(),
            Err(_) => return Err(not_as("a text", value)),
        },
        other => return Err(What::NotFor("string", other.kind())),
    };
    Ok(Value::Text(text))
}

fn as_bool(value: &Value<'_>) -> Result<Value<'static>, What> {
    let it = match value {
        Value::Bool(it) => Some(*it),
        Value::Text(it) => match &**it {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        other => return Err(What::NotFor("bool", other.kind())),
    };
    it.map(Value::Bool).ok_or_else(|| not_as("a bool", value))
}

fn not_as(kind: &'static str, value: &Value<'_>) -> What {
    let value = match value {
        Value::Text(it) => format!("'{}'", shown(it)),
        Value::Double(it) => it.to_string(),
        Value::Int(it) => it.to_string(),
        Value::Uint(it) => it.to_string(),
        other => other.kind().to_owned(),
    };
    What::NotAs(kind, value.into())
}
