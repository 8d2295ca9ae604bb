//! An expression, compiled.

use regex::Regex;

use crate::topics::value::Value;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it stands, bytes from the beginning of the text.
    pub(super) at: u32,
    /// How deep it is, itself included.
    pub(super) depth: usize,
    pub(super) form: Form,
}

/// What a part is.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Constant(Value<'static>),
    Variable(Variable),
    /// What a macro goes through: the number of the macro, from the outside in.
    Local(usize),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Two parts or more, in order.
    And(Vec<Node>),
    Or(Vec<Node>),
    Binary(Operator, Box<[Node; 2]>),
    /// Condition, then, otherwise.
    Choice(Box<[Node; 3]>),
    Field(Box<Node>, Box<str>),
    Has(Box<Node>, Box<str>),
    Index(Box<[Node; 2]>),
    List(Vec<Node>),
    Map(Vec<[Node; 2]>),
    Call(Function, Vec<Node>),
    /// A pattern is compiled with the expression.
    Matches(Box<Node>, Box<Regex>),
    Macro(Box<Macro>),
}

/// Goes through a list, or the keys of a map.
#[derive(Clone, Debug)]
pub(super) struct Macro {
    pub(super) kind: MacroKind,
    /// The number of its variable.
    pub(super) local: usize,
    pub(super) range: Node,
    /// What is asked of each.
    pub(super) body: Node,
    /// What a `map` of three makes of those for which the body is true.
    pub(super) result: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl MacroKind {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "exists" => Self::Exists,
            "exists_one" | "existsOne" => Self::ExistsOne,
            "map" => Self::Map,
            "filter" => Self::Filter,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// The operator and how strongly it binds.
    pub(super) fn of(symbol: &str) -> Option<(Self, u8)> {
        Some(match symbol {
            "==" => (Self::Equal, 1),
            "!=" => (Self::Unequal, 1),
            "<" => (Self::Less, 1),
            "<=" => (Self::LessOrEqual, 1),
            ">" => (Self::Greater, 1),
            ">=" => (Self::GreaterOrEqual, 1),
            "in" => (Self::In, 1),
            "+" => (Self::Add, 2),
            "-" => (Self::Subtract, 2),
            "*" => (Self::Multiply, 3),
            "/" => (Self::Divide, 3),
            "%" => (Self::Remainder, 3),
            _ => return None,
        })
    }

    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }

    /// Whether it answers with a bool.
    pub(super) fn is_test(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, Unequal};
        matches!(
            self,
            Equal | Unequal | Less | LessOrEqual | Greater | GreaterOrEqual | In
        )
    }
}

/// What is known of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Topic,
    Publisher,
    Type,
    Key,
    Time,
    Number,
    Attributes,
    Data,
}

/// The variables' names.
pub(super) const VARIABLES: [(&str, Variable); 8] = [
    ("topic", Variable::Topic),
    ("publisher", Variable::Publisher),
    ("type", Variable::Type),
    ("key", Variable::Key),
    ("time", Variable::Time),
    ("number", Variable::Number),
    ("attributes", Variable::Attributes),
    ("data", Variable::Data),
];

/// What is called by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Uint,
    Double,
    Text,
    Bool,
}

/// The functions' names, how many they take, and whether they may be called on the
/// first, as in `data.name.size()`, or as in `size(data.name)`.
pub(super) const FUNCTIONS: [(&str, Function, usize, bool, bool); 9] = [
    ("size", Function::Size, 1, true, true),
    ("contains", Function::Contains, 2, true, false),
    ("startsWith", Function::StartsWith, 2, true, false),
    ("endsWith", Function::EndsWith, 2, true, false),
    ("int", Function::Int, 1, false, true),
    ("uint", Function::Uint, 1, false, true),
    ("double", Function::Double, 1, false, true),
    ("string", Function::Text, 1, false, true),
    ("bool", Function::Bool, 1, false, true),
];
