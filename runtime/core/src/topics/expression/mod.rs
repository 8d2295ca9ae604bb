//! Expressions over an event, in CEL, the Common Expression Language
//! (<https://github.com/google/cel-spec>).
//!
//! ```text
//!   data.level == 'error' && !(attributes.host in ['a', 'b'])
//!   data.items.exists(it, it.price > 10.0) || data.note.matches('^urgent')
//!   has(data.ip) ? data.ip : 'unknown'
//! ```
//!
//! | variable | what it is |
//! |---|---|
//! | `topic`, `publisher` | texts |
//! | `type`, `key` | texts, or null where the event has none |
//! | `time` | when the owner took it, milliseconds since 1970-01-01 UTC |
//! | `number` | the owner's number of it, or null before it has one |
//! | `attributes` | a map of bools, numbers and texts |
//! | `data` | the JSON or MessagePack that was published; null if nothing was |
//!
//! All of CEL's operators, and `has`, `size`, `contains`, `startsWith`, `endsWith`,
//! `matches`, `int`, `uint`, `double`, `string`, `bool`, `all`, `exists`, `exists_one`,
//! `map` and `filter`. Whole numbers of data are ints and others doubles; they compare by
//! value, and mix in no other way, as CEL has it. There are no timestamps, durations,
//! messages or types as values, and the pattern of `matches` stands in the expression.
//!
//! **Bounds.** An expression has at most [`MAX_EXPRESSION`] bytes,
//! [`MAX_EXPRESSION_NODES`] parts and [`MAX_EXPRESSION_DEPTH`] levels, which the parser
//! counts before it recurses. Evaluating costs a step for each part that is looked at and
//! for each 16 bytes or each value that is compared, copied or searched; at the budget it
//! is cut off. So what an evaluation can make is bounded by what it may cost. Patterns are
//! matched in linear time and are bounded when they are compiled.
//!
//! It is our own because the crate `cel` 0.15, which is the other implementation that the
//! tests compare it with, bounds neither: a hundred parentheses overflow the stack of its
//! generated parser, no evaluation can be cut off, and every variable of an event would
//! have to be made a value of its own before each.

mod evaluate;
mod functions;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;
mod tree;

use crate::topics::value::Value;
use crate::topics::view::EventView;

use evaluate::Cost;
use tree::{Form, Function, Node};

/// Longest expression, bytes.
pub const MAX_EXPRESSION: usize = 4_096;
/// Most parts of one.
pub const MAX_EXPRESSION_NODES: usize = 512;
/// Deepest one.
pub const MAX_EXPRESSION_DEPTH: usize = 48;
/// Most patterns of one.
pub const MAX_PATTERNS: usize = 8;
/// Most memory that a pattern takes once compiled, bytes.
pub const MAX_PATTERN_BYTES: usize = 512 << 10;
/// Steps that one evaluation may take.
pub const EXPRESSION_BUDGET: u32 = 10_000;

/// An expression, compiled.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Box<str>,
    root: Node,
}

/// A text that is no expression. Nothing has been kept of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExpression {
    /// It is too long.
    #[error("an expression of {bytes} bytes: it may have {MAX_EXPRESSION}")]
    Long {
        /// Its bytes.
        bytes: usize,
    },
    /// Something in it is wrong.
    #[error("line {line}, column {column}, at `{near}`: {what}")]
    At {
        /// The line, from 1.
        line: usize,
        /// The character in it, from 1.
        column: usize,
        /// What stands there, or `the end`.
        near: String,
        /// What is wrong, and what would be accepted.
        what: String,
    },
}

/// Why an expression has no value for an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It took more steps than it may.
    #[error("it took more than {budget} steps")]
    CutOff {
        /// The steps it may take.
        budget: u32,
    },
    /// A part of it has no value.
    #[error("line {line}, column {column}: {what}")]
    NoValue {
        /// The line, from 1.
        line: usize,
        /// The character in it, from 1.
        column: usize,
        /// Why.
        what: String,
    },
}

impl BadExpression {
    fn at(text: &str, at: usize, what: impl Into<String>) -> Self {
        let (line, column) = place(text, at);
        let rest = text.get(at..).unwrap_or_default().trim_end();
        let near = rest.chars().take_while(|c| !c.is_control()).take(16);
        let near: String = near.collect();
        let near = if rest.is_empty() {
            "the end".into()
        } else {
            near
        };
        let what = what.into();
        Self::At {
            line,
            column,
            near,
            what,
        }
    }
}

/// Line and column of a byte, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (line, column)
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// Says where it is wrong and what would be accepted there.
    pub fn new(text: &str) -> Result<Self, BadExpression> {
        let root = parser::parse(text)?;
        let text = text.into();
        Ok(Self { text, root })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its value for an event.
    ///
    /// # Errors
    ///
    /// It has none, or would cost more than `budget`; see [`EXPRESSION_BUDGET`].
    pub fn evaluate<'v>(
        &'v self,
        event: &'v EventView<'_>,
        budget: u32,
    ) -> Result<Value<'v>, Fault> {
        let mut cost = Cost::new(budget);
        match evaluate::evaluate(&self.root, event, &mut cost) {
            Ok(value) => Ok(value.into_owned()),
            Err(evaluate::Error::CutOff) => Err(Fault::CutOff { budget }),
            Err(evaluate::Error::NoValue { at, what }) => {
                let (line, column) = place(&self.text, at as usize);
                let what = what.to_string();
                Err(Fault::NoValue { line, column, what })
            }
        }
    }

    /// Refuses an expression whose value is never a bool.
    pub(super) fn check_test(&self) -> Result<(), BadExpression> {
        let Some(kind) = kind(&self.root) else {
            return Ok(());
        };
        let what =
            format!("this is {kind}: a filter is true or false, as in data.level == 'error'");
        Err(BadExpression::at(&self.text, 0, what))
    }
}

/// What the value of a part always is, where that is known and no bool.
fn kind(node: &Node) -> Option<&'static str> {
    use tree::Variable::{Attributes, Data, Key, Number, Publisher, Time, Topic, Type};
    match &node.form {
        Form::Constant(Value::Bool(_)) => None,
        Form::Constant(value) => Some(value.kind()),
        Form::Variable(Data) => None,
        Form::Variable(Attributes) => Some("a map"),
        Form::Variable(Time | Number) => Some("an int"),
        Form::Variable(Topic | Publisher | Type | Key) => Some("a text"),
        Form::Negate(_) => Some("a number"),
        Form::Binary(operator, _) if !operator.is_test() => Some("a number, a text or a list"),
        Form::Choice(parts) => {
            let [_, then, otherwise] = &**parts;
            kind(then).and(kind(otherwise))
        }
        Form::List(_) => Some("a list"),
        Form::Map(_) => Some("a map"),
        Form::Call(Function::Size | Function::Int, _) => Some("an int"),
        Form::Call(Function::Uint, _) => Some("a uint"),
        Form::Call(Function::Double, _) => Some("a double"),
        Form::Call(Function::Text, _) => Some("a text"),
        Form::Macro(it) if matches!(it.kind, tree::MacroKind::Map | tree::MacroKind::Filter) => {
            Some("a list")
        }
        _ => None,
    }
}
