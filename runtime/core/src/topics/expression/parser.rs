//! Reads an expression: by precedence, every level counted, so that no text makes this
//! recurse deeper than [`MAX_EXPRESSION_DEPTH`].

use regex::RegexBuilder;

use super::lexer::{Lexer, Token};
use super::tree::{FUNCTIONS, Form, Function, Macro, MacroKind, Node, Operator, VARIABLES};
use super::{
    BadExpression, MAX_EXPRESSION, MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_NODES, MAX_PATTERN_BYTES,
    MAX_PATTERNS,
};
use crate::topics::value::{Key, Map, Value};

/// Words that CEL keeps for others.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
];

/// Reads all of a text.
pub(super) fn parse(text: &str) -> Result<Node, BadExpression> {
    if text.len() > MAX_EXPRESSION {
        let bytes = text.len();
        return Err(BadExpression::Long { bytes });
    }
    let mut lexer = Lexer::new(text);
    let (at, token) = lexer.next()?;
    let mut parser = Parser {
        text,
        lexer,
        at,
        token,
        nodes: 0,
        patterns: 0,
        depth: 0,
        locals: Vec::new(),
    };
    let node = parser.expression()?;
    match parser.token {
        Token::End => Ok(node),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser<'s> {
    text: &'s str,
    lexer: Lexer<'s>,
    /// Where the token that is next begins.
    at: usize,
    token: Token<'s>,
    nodes: usize,
    patterns: usize,
    /// Calls of itself that are open.
    depth: usize,
    /// The variables of the macros that are open.
    locals: Vec<&'s str>,
}

type Parsed = Result<Node, BadExpression>;

impl<'s> Parser<'s> {
    /// A choice, or what is between its signs.
    fn expression(&mut self) -> Parsed {
        self.enter()?;
        let condition = self.any_of()?;
        let at = self.at;
        let node = if self.eat("?")? {
            let then = self.any_of()?;
            self.expect(":", "between the two of a choice, as in `a ? b : c`")?;
            let otherwise = self.expression()?;
            self.node(at, Form::Choice(Box::new([condition, then, otherwise])))?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(node)
    }

    fn any_of(&mut self) -> Parsed {
        let first = self.all_of()?;
        self.chain(first, "||", Self::all_of, Form::Or)
    }

    fn all_of(&mut self) -> Parsed {
        let first = self.binary(1)?;
        self.chain(first, "&&", |it| it.binary(1), Form::And)
    }

    /// As many as there are, side by side: a long list of conditions is not deep.
    fn chain(
        &mut self,
        first: Node,
        symbol: &str,
        next: fn(&mut Self) -> Parsed,
        form: fn(Vec<Node>) -> Form,
    ) -> Parsed {
        let at = self.at;
        if !self.is(symbol) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.eat(symbol)? {
            parts.push(next(self)?);
        }
        self.node(at, form(parts))
    }

    /// Operators that bind as strongly as `least` or more.
    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((operator, strength)) = self.operator()
            && strength >= least
        {
            let at = self.at;
            self.advance()?;
            let right = if strength == 3 {
                self.unary()?
            } else {
                self.binary(strength + 1)?
            };
            left = self.node(at, Form::Binary(operator, Box::new([left, right])))?;
        }
        Ok(left)
    }

    fn operator(&self) -> Option<(Operator, u8)> {
        match &self.token {
            Token::Symbol(symbol) => Operator::of(symbol),
            Token::Name("in") => Operator::of("in"),
            _ => None,
        }
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at;
        if self.eat("!")? {
            self.enter()?;
            let inner = self.unary()?;
            self.depth -= 1;
            return self.node(at, Form::Not(Box::new(inner)));
        }
        if self.eat("-")? {
            let negative = match &self.token {
                Token::LowestInt => Some(Value::Int(i64::MIN)),
                Token::Literal(Value::Int(it)) => Some(Value::Int(-it)),
                Token::Literal(Value::Double(it)) => Some(Value::Double(-it)),
                _ => None,
            };
            if let Some(negative) = negative {
                self.advance()?;
                let node = self.node(at, Form::Constant(negative))?;
                return self.members(node);
            }
            self.enter()?;
            let inner = self.unary()?;
            self.depth -= 1;
            return self.node(at, Form::Negate(Box::new(inner)));
        }
        let primary = self.primary()?;
        self.members(primary)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at;
        match self.token.clone() {
            Token::Literal(value) => {
                self.advance()?;
                self.node(at, Form::Constant(value))
            }
            Token::Name(name) => {
                self.advance()?;
                self.named(at, name)
            }
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.expression()?;
                self.expect(")", "after what is in parentheses")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                self.advance()?;
                let elements = self.list_until("]")?;
                self.list(at, elements)
            }
            Token::Symbol("{") => {
                self.advance()?;
                self.map(at)
            }
            Token::LowestInt => Err(self.wrong(at, "this is more than an int of 64 bits can be")),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// A variable, a word that is a value, or a function.
    fn named(&mut self, at: usize, name: &'s str) -> Parsed {
        let value = match name {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ => None,
        };
        if let Some(value) = value {
            return self.node(at, Form::Constant(value));
        }
        if name == "in" || RESERVED.contains(&name) {
            return Err(self.wrong(
                at,
                format!("`{name}` is a word of the language, no variable"),
            ));
        }
        if self.is("(") {
            return self.function(at, name);
        }
        if let Some(local) = self.locals.iter().rposition(|it| *it == name) {
            return self.node(at, Form::Local(local));
        }
        match VARIABLES.iter().find(|(it, _)| *it == name) {
            Some((_, variable)) => self.node(at, Form::Variable(*variable)),
            None => Err(self.wrong(
                at,
                format!("`{name}` is no variable: there are {}", variables()),
            )),
        }
    }

    /// `size(x)` and the like, from the parenthesis on.
    fn function(&mut self, at: usize, name: &str) -> Parsed {
        self.advance()?;
        if name == "has" {
            return self.has(at);
        }
        let arguments = self.list_until(")")?;
        if name == "matches" {
            return self.matches(at, arguments);
        }
        let found = FUNCTIONS.iter().find(|(it, ..)| *it == name);
        match found {
            Some((_, function, count, _, true)) => {
                self.call(at, name, *function, *count, arguments)
            }
            Some(_) => Err(self.wrong(
                at,
                format!("call `{name}` on a text, as in data.name.{name}('a')"),
            )),
            None => Err(self.no_function(at, name)),
        }
    }

    fn has(&mut self, at: usize) -> Parsed {
        let inner_at = self.at;
        let inner = self.expression()?;
        self.expect(")", "after the field of `has`")?;
        match inner.form {
            Form::Field(of, name) => self.node(at, Form::Has(of, name)),
            _ => Err(self.wrong(inner_at, "`has` asks for a field, as in has(data.name)")),
        }
    }

    fn call(
        &mut self,
        at: usize,
        name: &str,
        function: Function,
        count: usize,
        arguments: Vec<Node>,
    ) -> Parsed {
        if arguments.len() != count {
            let given = arguments.len();
            return Err(self.wrong(
                at,
                format!(
                    "`{name}` of {given} values, the one before the dot included: it takes {count}"
                ),
            ));
        }
        self.node(at, Form::Call(function, arguments))
    }

    /// A pattern must stand in the expression: it is compiled once, and what it costs is
    /// known.
    fn matches(&mut self, at: usize, mut arguments: Vec<Node>) -> Parsed {
        let (Some(pattern), Some(text), true) =
            (arguments.pop(), arguments.pop(), arguments.is_empty())
        else {
            return Err(self.wrong(
                at,
                "`matches` takes a text and a pattern, as in data.name.matches('^a+$')",
            ));
        };
        let Form::Constant(Value::Text(source)) = &pattern.form else {
            return Err(self.wrong(
                pattern.at as usize,
                "a pattern is a text in quotes, as in data.name.matches('^a+$'): it is compiled \
                 with the expression",
            ));
        };
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            let what = format!("here it has more than {MAX_PATTERNS} patterns: join some with `|`");
            return Err(self.wrong(at, what));
        }
        let regex = RegexBuilder::new(source)
            .size_limit(MAX_PATTERN_BYTES)
            .dfa_size_limit(MAX_PATTERN_BYTES)
            .nest_limit(u32::try_from(MAX_EXPRESSION_DEPTH).unwrap_or(u32::MAX))
            .build();
        let regex = regex.map_err(|error| {
            let why = match &error {
                regex::Error::CompiledTooBig(_) => {
                    format!("compiled it is more than {MAX_PATTERN_BYTES} bytes")
                }
                // The last line says what is wrong, those before draw the place.
                other => other
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .to_owned(),
            };
            self.wrong(
                pattern.at as usize,
                format!("this is no good pattern: {why}"),
            )
        })?;
        self.node(at, Form::Matches(Box::new(text), Box::new(regex)))
    }

    /// Fields, indexes and calls after a value.
    fn members(&mut self, mut node: Node) -> Parsed {
        loop {
            let at = self.at;
            if self.eat("[")? {
                let index = self.expression()?;
                self.expect("]", "after an index")?;
                node = self.node(at, Form::Index(Box::new([node, index])))?;
            } else if self.eat(".")? {
                let at = self.at;
                let Token::Name(name) = self.token else {
                    return Err(self.unexpected("the name of a field"));
                };
                self.advance()?;
                node = if self.eat("(")? {
                    self.method(at, node, name)?
                } else {
                    self.node(at, Form::Field(Box::new(node), name.into()))?
                };
            } else {
                return Ok(node);
            }
        }
    }

    /// `x.size()` and the like, from behind the parenthesis on.
    fn method(&mut self, at: usize, of: Node, name: &'s str) -> Parsed {
        if let Some(kind) = MacroKind::of(name) {
            return self.comprehension(at, kind, name, of);
        }
        let mut arguments = vec![of];
        arguments.extend(self.list_until(")")?);
        if name == "matches" {
            return self.matches(at, arguments);
        }
        let found = FUNCTIONS.iter().find(|(it, ..)| *it == name);
        match found {
            Some((_, function, count, true, _)) => {
                self.call(at, name, *function, *count, arguments)
            }
            Some(_) => Err(self.wrong(
                at,
                format!("write `{name}` before its value, as in {name}(data.name)"),
            )),
            None => Err(self.no_function(at, name)),
        }
    }

    fn comprehension(&mut self, at: usize, kind: MacroKind, name: &str, range: Node) -> Parsed {
        let Token::Name(variable) = self.token else {
            return Err(self.unexpected(&format!(
                "a variable's name, as in data.list.{name}(x, x > 0)"
            )));
        };
        if RESERVED.contains(&variable) || ["in", "true", "false", "null"].contains(&variable) {
            return Err(self.wrong(
                self.at,
                format!("`{variable}` is a word of the language, no variable"),
            ));
        }
        self.advance()?;
        self.expect(
            ",",
            &format!("after the variable, as in data.list.{name}(x, x > 0)"),
        )?;
        let local = self.locals.len();
        self.locals.push(variable);
        let body = self.expression()?;
        let result = if kind == MacroKind::Map && self.eat(",")? {
            Some(self.expression()?)
        } else {
            None
        };
        self.locals.pop();
        self.expect(")", &format!("after what `{name}` asks of each"))?;
        self.node(
            at,
            Form::Macro(Box::new(Macro {
                kind,
                local,
                range,
                body,
                result,
            })),
        )
    }

    /// Values with commas between them, and what ends them.
    fn list_until(&mut self, end: &'static str) -> Result<Vec<Node>, BadExpression> {
        let mut list = Vec::new();
        while !self.is(end) {
            list.push(self.expression()?);
            if !self.eat(",")? {
                break;
            }
        }
        self.expect(end, "after the last value, or a comma before the next one")?;
        Ok(list)
    }

    /// A list of constants is a constant: it is not made anew for each event.
    fn list(&mut self, at: usize, elements: Vec<Node>) -> Parsed {
        if elements
            .iter()
            .all(|it| matches!(it.form, Form::Constant(_)))
        {
            let depth = elements.iter().map(|it| it.depth).max().unwrap_or(0);
            let values = elements.into_iter().filter_map(|it| match it.form {
                Form::Constant(value) => Some(value),
                _ => None,
            });
            let form = Form::Constant(Value::List(values.collect()));
            return self.deep_node(at, form, depth);
        }
        self.node(at, Form::List(elements))
    }

    fn map(&mut self, at: usize) -> Parsed {
        let mut entries = Vec::new();
        while !self.is("}") {
            let key = self.expression()?;
            self.expect(":", "after a key, as in {'a': 1}")?;
            entries.push([key, self.expression()?]);
            if !self.eat(",")? {
                break;
            }
        }
        self.expect("}", "after the last value, or a comma before the next key")?;
        if entries.is_empty() {
            return self.node(at, Form::Constant(Value::Map(Map::default())));
        }
        for (place, [key, _]) in entries.iter().enumerate() {
            let Form::Constant(value) = &key.form else {
                continue;
            };
            let Some(it) = Key::of(value.clone()) else {
                let what = format!(
                    "{} is no key: keys are texts, whole numbers and bools",
                    value.kind()
                );
                return Err(self.wrong(key.at as usize, what));
            };
            let is_same = |[other, _]: &[Node; 2]| match &other.form {
                Form::Constant(other) => Key::of(other.clone()).is_some_and(|other| other == it),
                _ => false,
            };
            if entries.iter().take(place).any(is_same) {
                return Err(self.wrong(key.at as usize, "this key is there twice"));
            }
        }
        self.node(at, Form::Map(entries))
    }

    fn node(&mut self, at: usize, form: Form) -> Parsed {
        let below = match &form {
            Form::Constant(_) | Form::Variable(_) | Form::Local(_) => 0,
            Form::Not(it)
            | Form::Negate(it)
            | Form::Field(it, _)
            | Form::Has(it, _)
            | Form::Matches(it, _) => it.depth,
            Form::And(parts) | Form::Or(parts) | Form::List(parts) | Form::Call(_, parts) => {
                deepest(parts)
            }
            Form::Binary(_, parts) | Form::Index(parts) => deepest(&**parts),
            Form::Choice(parts) => deepest(&**parts),
            Form::Map(entries) => deepest(entries.iter().flatten()),
            Form::Macro(it) => deepest([&it.range, &it.body].into_iter().chain(&it.result)),
        };
        self.deep_node(at, form, below)
    }

    fn deep_node(&mut self, at: usize, form: Form, below: usize) -> Parsed {
        self.nodes += 1;
        if self.nodes > MAX_EXPRESSION_NODES {
            let what = format!("here it has more than {MAX_EXPRESSION_NODES} parts");
            return Err(self.wrong(at, what));
        }
        let depth = below + 1;
        if depth > MAX_EXPRESSION_DEPTH {
            return Err(self.too_deep(at));
        }
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        Ok(Node { at, depth, form })
    }

    /// Counts a call of the parser by itself.
    fn enter(&mut self) -> Result<(), BadExpression> {
        self.depth += 1;
        if self.depth > MAX_EXPRESSION_DEPTH {
            return Err(self.too_deep(self.at));
        }
        Ok(())
    }

    fn too_deep(&self, at: usize) -> BadExpression {
        let what = format!("here it is nested more than {MAX_EXPRESSION_DEPTH} deep");
        self.wrong(at, what)
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(it) if it == symbol)
    }

    fn eat(&mut self, symbol: &str) -> Result<bool, BadExpression> {
        let is = self.is(symbol);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    fn expect(&mut self, symbol: &str, place: &str) -> Result<(), BadExpression> {
        if self.eat(symbol)? {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{symbol}` {place}")))
    }

    fn advance(&mut self) -> Result<(), BadExpression> {
        (self.at, self.token) = self.lexer.next()?;
        Ok(())
    }

    fn wrong(&self, at: usize, what: impl Into<String>) -> BadExpression {
        BadExpression::at(self.text, at, what)
    }

    fn unexpected(&self, wanted: &str) -> BadExpression {
        let what = match self.token {
            Token::End => format!("it ends where {wanted} is missing"),
            _ => format!("this is not {wanted}"),
        };
        self.wrong(self.at, what)
    }

    fn no_function(&self, at: usize, name: &str) -> BadExpression {
        let names: Vec<&str> = FUNCTIONS.iter().map(|(it, ..)| *it).collect();
        let names = names.join(", ");
        self.wrong(
            at,
            format!(
                "`{name}` is no function: there are {names}, matches, has, all, exists, exists_one, map, filter"
            ),
        )
    }
}

fn deepest<'n>(parts: impl IntoIterator<Item = &'n Node>) -> usize {
    parts.into_iter().map(|it| it.depth).max().unwrap_or(0)
}

/// The names of all variables.
pub(super) fn variables() -> String {
    let names: Vec<&str> = VARIABLES.iter().map(|(it, _)| *it).collect();
    names.join(", ")
}
