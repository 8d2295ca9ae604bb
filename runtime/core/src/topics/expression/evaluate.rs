//! What an expression's value is for an event, at a cost that is counted.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use super::functions;
use super::tree::{Form, Macro, MacroKind, Node, Operator, Variable};
use crate::id::shown;
use crate::topics::value::{Key, Map, Value};
use crate::topics::view::EventView;

/// A value that stands in the event or the expression, or was made.
pub(super) type Seen<'v> = Cow<'v, Value<'v>>;

/// Steps that may be taken.
#[derive(Debug)]
pub(super) struct Cost {
    left: u32,
}

/// Why a part has no value.
#[derive(Debug)]
pub(super) enum Error {
    /// No steps are left; nothing makes up for that.
    CutOff,
    /// It has none.
    NoValue { at: u32, what: What },
}

/// What is wrong; a text is made of it only if somebody wants to see it.
#[derive(Debug)]
pub(super) enum What {
    NoField(Box<str>),
    NoKey(Box<str>),
    NoElement { index: i128, len: usize },
    NotFor(&'static str, &'static str),
    NotForBoth(&'static str, &'static str, &'static str),
    Overflow(&'static str),
    ByZero,
    Twice(Box<str>),
    Data(Box<str>),
    NotAs(&'static str, Box<str>),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoField(name) => {
                write!(
                    f,
                    "there is no field `{name}`: ask with `has` whether there is"
                )
            }
            Self::NoKey(key) => write!(f, "there is no key {key}: ask with `in` whether there is"),
            Self::NoElement { index, len } => {
                write!(f, "there is no element {index} in a list of {len}")
            }
            Self::NotFor(name, kind) => write!(f, "`{name}` has no meaning for {kind}"),
            Self::NotForBoth(name, one, other) => {
                write!(f, "`{name}` has no meaning for {one} and {other}")
            }
            Self::Overflow(name) => write!(f, "`{name}` gives more than 64 bits can hold"),
            Self::ByZero => f.write_str("a whole number is divided by zero"),
            Self::Twice(key) => write!(f, "the key {key} is there twice"),
            Self::Data(why) => f.write_str(why),
            Self::NotAs(kind, value) => write!(f, "{value} is not to be had as {kind}"),
        }
    }
}

impl What {
    pub(super) fn at(self, at: u32) -> Error {
        Error::NoValue { at, what: self }
    }
}

impl Cost {
    pub(super) fn new(budget: u32) -> Self {
        Self { left: budget }
    }

    pub(super) fn steps(&mut self, steps: usize) -> Result<(), Error> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Error::CutOff)
            }
        }
    }

    /// Bytes that are compared, searched or copied.
    pub(super) fn bytes(&mut self, bytes: usize) -> Result<(), Error> {
        self.steps(bytes / 16)
    }

    /// A value that is copied.
    pub(super) fn copy(&mut self, value: &Value<'_>) -> Result<(), Error> {
        self.steps(1)?;
        match value {
            Value::Text(Cow::Owned(it)) => self.bytes(it.len()),
            Value::Bytes(Cow::Owned(it)) => self.bytes(it.len()),
            Value::List(list) => list.iter().try_for_each(|it| self.copy(it)),
            Value::Map(map) => map.iter().try_for_each(|(_, it)| self.copy(it)),
            _ => Ok(()),
        }
    }
}

pub(super) fn evaluate<'v>(
    root: &'v Node,
    event: &'v EventView<'_>,
    cost: &mut Cost,
) -> Result<Seen<'v>, Error> {
    let locals = Vec::new();
    Evaluation {
        event,
        cost,
        locals,
    }
    .value(root)
}

struct Evaluation<'v, 'a, 'c> {
    event: &'v EventView<'a>,
    cost: &'c mut Cost,
    /// What the macros that are open are at.
    locals: Vec<Seen<'v>>,
}

type Found<'v> = Result<Seen<'v>, Error>;

impl<'v> Evaluation<'v, '_, '_> {
    fn value(&mut self, node: &'v Node) -> Found<'v> {
        self.cost.steps(1)?;
        match &node.form {
            Form::Constant(value) => Ok(Cow::Borrowed(value)),
            Form::Variable(variable) => self.variable(*variable, node.at),
            Form::Local(local) => self.local(*local),
            Form::Not(inner) => Ok(bool(!self.test(inner, "!")?)),
            Form::Negate(inner) => {
                let value = self.value(inner)?;
                functions::negate(&value)
                    .map(Cow::Owned)
                    .map_err(|it| it.at(node.at))
            }
            Form::And(parts) => self.fold(parts, "&&", false),
            Form::Or(parts) => self.fold(parts, "||", true),
            Form::Binary(operator, parts) => {
                let [left, right] = &**parts;
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.binary(*operator, left, right, node.at)
            }
            Form::Choice(parts) => {
                let [condition, then, otherwise] = &**parts;
                let condition = self.test(condition, "?")?;
                self.value(if condition { then } else { otherwise })
            }
            Form::Field(of, name) => {
                let of = self.value(of)?;
                self.field(of, name, node.at)
            }
            Form::Has(of, name) => match &*self.value(of)? {
                Value::Map(map) => Ok(bool(map.field(name).is_some())),
                other => Err(What::NotFor("has", other.kind()).at(node.at)),
            },
            Form::Index(parts) => {
                let [of, index] = &**parts;
                let (of, index) = (self.value(of)?, self.value(index)?);
                self.index(of, &index, node.at)
            }
            Form::List(parts) => {
                let list: Result<Vec<_>, Error> = parts.iter().map(|it| self.owned(it)).collect();
                Ok(Cow::Owned(Value::List(list?)))
            }
            Form::Map(entries) => self.map(entries),
            Form::Call(function, parts) => {
                let mut arguments = [Cow::Owned(Value::Null), Cow::Owned(Value::Null)];
                for (argument, part) in arguments.iter_mut().zip(parts) {
                    *argument = self.value(part)?;
                }
                let [first, second] = &arguments;
                functions::call(*function, first, second, self.cost, node.at).map(Cow::Owned)
            }
            Form::Matches(of, pattern) => match &*self.value(of)? {
                Value::Text(text) => {
                    // The automaton may be as large as it likes within its bound; each byte
                    // is looked at once for each of its states in the worst case.
                    self.cost.steps(text.len())?;
                    Ok(bool(pattern.is_match(text)))
                }
                other => Err(What::NotFor("matches", other.kind()).at(node.at)),
            },
            Form::Macro(it) => self.comprehension(it, node.at),
        }
    }

    fn owned(&mut self, node: &'v Node) -> Result<Value<'v>, Error> {
        match self.value(node)? {
            Cow::Borrowed(value) => {
                self.cost.copy(value)?;
                Ok(value.clone())
            }
            Cow::Owned(value) => Ok(value),
        }
    }

    fn variable(&self, variable: Variable, at: u32) -> Found<'v> {
        let event = self.event;
        Ok(Cow::Borrowed(match variable {
            Variable::Topic => &event.topic,
            Variable::Publisher => &event.publisher,
            Variable::Type => &event.message_type,
            Variable::Key => &event.key,
            Variable::Time => &event.time,
            Variable::Number => &event.number,
            Variable::Attributes => &event.attributes,
            Variable::Data => event
                .data()
                .map_err(|error| What::Data(error.to_string().into()).at(at))?,
        }))
    }

    fn local(&mut self, local: usize) -> Found<'v> {
        match self.locals.get(local) {
            Some(Cow::Borrowed(value)) => Ok(Cow::Borrowed(value)),
            Some(Cow::Owned(value)) => {
                self.cost.copy(value)?;
                Ok(Cow::Owned(value.clone()))
            }
            None => Ok(Cow::Owned(Value::Null)),
        }
    }

    /// The value of a condition.
    fn test(&mut self, node: &'v Node, name: &'static str) -> Result<bool, Error> {
        match &*self.value(node)? {
            Value::Bool(it) => Ok(*it),
            other => Err(What::NotFor(name, other.kind()).at(node.at)),
        }
    }

    /// `&&` and `||`, in any order: the value that decides makes up for an error in
    /// another part, as CEL has it.
    fn fold(&mut self, parts: &'v [Node], name: &'static str, decides: bool) -> Found<'v> {
        let mut error = None;
        for part in parts {
            match self.test(part, name) {
                Ok(it) if it == decides => return Ok(bool(decides)),
                Ok(_) => {}
                Err(Error::CutOff) => return Err(Error::CutOff),
                Err(other) => error = error.or(Some(other)),
            }
        }
        error.map_or(Ok(bool(!decides)), Err)
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: Seen<'v>,
        right: Seen<'v>,
        at: u32,
    ) -> Found<'v> {
        let (one, other) = (left.kind(), right.kind());
        match operator {
            Operator::Equal => Ok(bool(functions::is_equal(&left, &right, self.cost)?)),
            Operator::Unequal => Ok(bool(!functions::is_equal(&left, &right, self.cost)?)),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => {
                let order = functions::order(&left, &right, self.cost)?;
                let Some(order) = order else {
                    return Err(What::NotForBoth(operator.symbol(), one, other).at(at));
                };
                // Nothing is less, equal or greater than what is no number.
                Ok(bool(order.is_some_and(|order| match operator {
                    Operator::Less => order == Ordering::Less,
                    Operator::LessOrEqual => order != Ordering::Greater,
                    Operator::Greater => order == Ordering::Greater,
                    _ => order != Ordering::Less,
                })))
            }
            Operator::In => match &*right {
                Value::List(list) => {
                    for it in list {
                        if functions::is_equal(&left, it, self.cost)? {
                            return Ok(bool(true));
                        }
                    }
                    Ok(bool(false))
                }
                Value::Map(map) => {
                    let key = functions::key(&left)
                        .ok_or_else(|| What::NotForBoth("in", one, other).at(at))?;
                    Ok(bool(map.get(&key).is_some()))
                }
                _ => Err(What::NotForBoth("in", one, other).at(at)),
            },
            _ => functions::arithmetic(operator, left, right, self.cost, at),
        }
    }

    fn field(&mut self, of: Seen<'v>, name: &str, at: u32) -> Found<'v> {
        let found = match of {
            Cow::Borrowed(Value::Map(map)) => map.field(name).map(Cow::Borrowed),
            Cow::Owned(Value::Map(mut map)) => map.take(name).map(Cow::Owned),
            other => return Err(What::NotFor(".", other.kind()).at(at)),
        };
        found.ok_or_else(|| What::NoField(shown(name).into()).at(at))
    }

    fn index(&mut self, of: Seen<'v>, index: &Value<'v>, at: u32) -> Found<'v> {
        let kinds = (of.kind(), index.kind());
        let wrong = || What::NotForBoth("[]", kinds.0, kinds.1).at(at);
        let key = functions::key(index).ok_or_else(wrong)?;
        match of {
            Cow::Borrowed(Value::Map(map)) => map.get(&key).map(Cow::Borrowed),
            Cow::Owned(Value::Map(map)) => map.get(&key).cloned().map(Cow::Owned),
            Cow::Borrowed(Value::List(list)) => {
                let place = element(&key, list.len(), at)?.ok_or_else(wrong)?;
                list.get(place).map(Cow::Borrowed)
            }
            Cow::Owned(Value::List(mut list)) => {
                let place = element(&key, list.len(), at)?.ok_or_else(wrong)?;
                Some(Cow::Owned(list.swap_remove(place)))
            }
            _ => return Err(wrong()),
        }
        .ok_or_else(|| What::NoKey(functions::shown_key(&key)).at(at))
    }

    fn map(&mut self, entries: &'v [[Node; 2]]) -> Found<'v> {
        let mut made = Map::default();
        let mut all = Vec::with_capacity(entries.len());
        for [key, value] in entries {
            let at = key.at;
            let key = self.owned(key)?;
            let kind = key.kind();
            let key = Key::of(key).ok_or_else(|| What::NotFor("{}", kind).at(at))?;
            if all.iter().any(|(other, _)| *other == key) {
                return Err(What::Twice(functions::shown_key(&key)).at(at));
            }
            self.cost.steps(all.len())?;
            all.push((key, self.owned(value)?));
        }
        if !all.is_empty() {
            made = Map::new(all);
        }
        Ok(Cow::Owned(Value::Map(made)))
    }

    fn comprehension(&mut self, it: &'v Macro, at: u32) -> Found<'v> {
        let range = self.value(&it.range)?;
        let mut state = Gathered::new(it.kind);
        match range {
            Cow::Borrowed(Value::List(list)) => {
                for element in list {
                    if self.step(it, Cow::Borrowed(element), &mut state)? {
                        break;
                    }
                }
            }
            Cow::Owned(Value::List(list)) => {
                for element in list {
                    if self.step(it, Cow::Owned(element), &mut state)? {
                        break;
                    }
                }
            }
            Cow::Borrowed(Value::Map(map)) => {
                for (key, _) in map.iter() {
                    self.cost.steps(1)?;
                    if self.step(it, Cow::Owned(key.clone().into_value()), &mut state)? {
                        break;
                    }
                }
            }
            Cow::Owned(Value::Map(map)) => {
                for key in map.into_keys() {
                    if self.step(it, Cow::Owned(key), &mut state)? {
                        break;
                    }
                }
            }
            other => return Err(What::NotFor(name(it.kind), other.kind()).at(at)),
        }
        state.end()
    }

    /// One element; whether no other needs to be looked at.
    fn step(
        &mut self,
        it: &'v Macro,
        element: Seen<'v>,
        state: &mut Gathered<'v>,
    ) -> Result<bool, Error> {
        self.locals.truncate(it.local);
        self.locals.push(element);
        let stop = self.one(it, state);
        self.locals.truncate(it.local);
        stop
    }

    fn one(&mut self, it: &'v Macro, state: &mut Gathered<'v>) -> Result<bool, Error> {
        if let (MacroKind::Map, None) = (it.kind, &it.result) {
            state.list.push(self.owned(&it.body)?);
            return Ok(false);
        }
        let is = match (self.test(&it.body, name(it.kind)), it.kind) {
            (Ok(is), _) => is,
            // As with `&&` and `||`: another element may decide.
            (Err(error @ Error::NoValue { .. }), MacroKind::All | MacroKind::Exists) => {
                state.error = state.error.take().or(Some(error));
                return Ok(false);
            }
            (Err(error), _) => return Err(error),
        };
        state.count += usize::from(is);
        match it.kind {
            MacroKind::All => state.decided = !is,
            MacroKind::Exists => state.decided = is,
            MacroKind::ExistsOne => {}
            MacroKind::Map => {
                if let (true, Some(result)) = (is, &it.result) {
                    state.list.push(self.owned(result)?);
                }
            }
            MacroKind::Filter => {
                if is && let Some(element) = self.locals.get(it.local) {
                    self.cost.copy(element)?;
                    state.list.push(element.clone().into_owned());
                }
            }
        }
        Ok(state.decided)
    }
}

/// What a macro has gathered.
struct Gathered<'v> {
    kind: MacroKind,
    list: Vec<Value<'v>>,
    count: usize,
    decided: bool,
    error: Option<Error>,
}

impl<'v> Gathered<'v> {
    fn new(kind: MacroKind) -> Self {
        Self {
            kind,
            list: Vec::new(),
            count: 0,
            decided: false,
            error: None,
        }
    }

    fn end(self) -> Found<'v> {
        let is = match self.kind {
            MacroKind::Map | MacroKind::Filter => return Ok(Cow::Owned(Value::List(self.list))),
            MacroKind::ExistsOne => self.count == 1,
            MacroKind::All => !self.decided,
            MacroKind::Exists => self.decided,
        };
        match self.error {
            Some(error) if !self.decided => Err(error),
            _ => Ok(bool(is)),
        }
    }
}

fn bool<'v>(it: bool) -> Seen<'v> {
    static TRUE: Value<'static> = Value::Bool(true);
    static FALSE: Value<'static> = Value::Bool(false);
    Cow::Borrowed(if it { &TRUE } else { &FALSE })
}

fn name(kind: MacroKind) -> &'static str {
    match kind {
        MacroKind::All => "all",
        MacroKind::Exists => "exists",
        MacroKind::ExistsOne => "exists_one",
        MacroKind::Map => "map",
        MacroKind::Filter => "filter",
    }
}

/// The place of an element; `None` if the key is no number.
fn element(key: &Key<'_>, len: usize, at: u32) -> Result<Option<usize>, Error> {
    let Key::Int(index) = *key else {
        return Ok(None);
    };
    let place = usize::try_from(index).ok().filter(|it| *it < len);
    place
        .map(Some)
        .ok_or_else(|| What::NoElement { index, len }.at(at))
}
