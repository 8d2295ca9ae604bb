//! Expressions against CEL's other implementation, and by hand.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use phoenix_wit::ContentType;
use proptest::prelude::*;

use super::*;
use crate::Millis;
use crate::topics::{Key, TopicName};

const DATA: &str = r#"{
    "level": "error", "n": 7, "price": 12.5, "big": 18446744073709551615, "ok": true,
    "none": null, "list": [1, 2, 3], "names": ["ann", "bob"], "map": {"a": 1, "b": {"c": [5]}},
    "empty": [], "text": "grün", "items": [{"id": 1, "tag": "x"}, {"id": 2}]
}"#;

fn on<T>(data: &str, look: impl FnOnce(&EventView<'_>) -> T) -> T {
    let topic = TopicName::new("logs.web").unwrap();
    let attributes = [("host", Value::Text("h1".into())), ("shard", Value::Int(3))];
    let event = EventView::new(
        &topic,
        "visitor/1.2.3.4",
        Millis(1_700_000_000_000),
        ContentType::Json,
        data.as_bytes(),
    );
    look(
        &event
            .with_key(Some("k"))
            .with_number(42)
            .with_attributes(attributes),
    )
}

fn value(text: &str) -> Result<Value<'static>, Fault> {
    let expression = Expression::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    on(DATA, |event| {
        expression
            .evaluate(event, EXPRESSION_BUDGET)
            .map(Value::into_owned)
    })
}

#[test]
fn what_is_true_is_true() {
    for text in [
        "topic == 'logs.web' && publisher.startsWith('visitor/')",
        "type == null && key == 'k' && number == 42 && time > 1600000000000",
        "attributes.host == 'h1' && attributes['shard'] + 1 == 4",
        "data.level == \"error\" && data.n > 6 && data.n < 7.5 && data.n == 7u",
        "data.price * 2.0 == 25.0 && data.price / 2.0 < 6.5",
        "data.big == 18446744073709551615u && data.big > data.n && data.none == null",
        "7 / 2 == 3 && -7 / 2 == -3 && -7 % 3 == -1 && 2 + 3 * 4 == 14 && 10 - 4 - 3 == 3",
        "-9223372036854775808 < 0 && -(1) == -1 && !(1 > 2) && - - 1 == 1",
        "data.n in data.list || 2 in data.list",
        "'a' in data.map && !('z' in data.map) && data.map.b.c[0] == 5",
        "has(data.level) && !has(data.missing) && has(data.map.b.c)",
        "data.missing == 1 || data.ok",
        "data.ok || data.missing == 1",
        "!(data.missing == 1 && false)",
        "data.list.all(x, x > 0) && data.list.exists(x, x == 3) && data.list.exists_one(x, x > 2)",
        "data.list.map(x, x * 2) == [2, 4, 6] && data.list.filter(x, x != 2) == [1, 3]",
        "data.list.map(x, x > 1, x * 10) == [20, 30]",
        "data.items.exists(it, it.tag == 'x')",
        "data.map.all(k, k != 'z') && data.list.exists(x, data.list.exists(y, y == x + 2))",
        "data.list.map(x, data.list.map(x, x + 1))[0][0] == 2",
        "size(data.text) == 4 && data.text.size() == 4 && 'ü' in ['ü'] && size(data.map) == 2",
        "data.level.contains('rr') && data.level.endsWith('or') && data.level.matches('^e.*r$')",
        "matches(data.text, 'gr.n') && data.names == ['ann', 'bob'] && data.names != []",
        "int('12') == 12 && int(2.9) == 2 && uint(3) == 3u && double('1.5') == 1.5",
        "string(12) + 'x' == '12x' && string(true) == 'true' && bool('true')",
        "[1, 2] + [3] == data.list && {'a': 1}.a == 1 && {1: 'x'}[1] == 'x' && {'a': 1} == {'a': 1.0}",
        "(data.ok ? 1 : 2) == 1 && (false ? 1 : true ? 2 : 3) == 2",
        r"'\u00fc\n\x41\101\'' == 'ü\nAA\'' && r'\n'.size() == 2 && '''a'b''' == 'a\'b'",
        r"b'\xff\101' == b'\377A' && size(b'ü') == 2 && b'a' + b'b' == b'ab'",
        "1.0e3 == 1000.0 && .5 == 0.5 && 0x10 == 16 && 1 != '1' && [1] != [2] && null != false",
        "data\n  // the level\n  .level == 'error'",
        "'a' < 'b' && false < true && b'a' <= b'a' && 2u >= 1u",
    ] {
        assert_eq!(value(text), Ok(Value::Bool(true)), "{text}");
    }
}

#[test]
fn what_has_no_value_is_told_where_and_why() {
    for (text, part) in [
        (
            "data.missing",
            "line 1, column 6: there is no field `missing`",
        ),
        ("data.level.x", "column 12: `.` has no meaning for a text"),
        ("data['nope']", "there is no key 'nope'"),
        ("data.list[3]", "there is no element 3 in a list of 3"),
        ("data.list[-1]", "there is no element -1"),
        (
            "data.n + 1.5",
            "column 8: `+` has no meaning for an int and a double",
        ),
        ("data.level < 1", "`<` has no meaning for a text and an int"),
        (
            "9223372036854775807 + 1",
            "`+` gives more than 64 bits can hold",
        ),
        ("-data.list[0] / 0", "divided by zero"),
        ("!data.n", "`!` has no meaning for an int"),
        ("data.n && true", "`&&` has no meaning for an int"),
        ("data.n.all(x, true)", "`all` has no meaning for an int"),
        ("data.list.exists(x, x.y)", "`.` has no meaning for an int"),
        ("int('a')", "'a' is not to be had as an int"),
        ("int(1e30)", "not to be had as an int"),
        ("uint(-1)", "-1 is not to be had as a uint"),
        ("size(1)", "`size` has no meaning for an int"),
        (
            "{data.level: 1, 'error': 2}",
            "the key 'error' is there twice",
        ),
        ("\n data.missing", "line 2, column 7"),
    ] {
        let error = value(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let expression = Expression::new("data.a == 1").unwrap();
    let error = on("{", |event| {
        expression.evaluate(event, 100).unwrap_err().to_string()
    });
    assert!(error.contains("no good JSON"), "{error}");
}

#[test]
fn what_is_no_expression_is_told_where_and_what_is_one() {
    for (text, expected) in [
        (
            "",
            "line 1, column 1, at `the end`: it ends where a value is missing",
        ),
        (
            "data.a ==",
            "line 1, column 10, at `the end`: it ends where a value is missing",
        ),
        (
            "data.a\n  = 1",
            "line 2, column 3, at `= 1`: `=` is no operator: compare with `==`",
        ),
        (
            "data.a & 1",
            "column 8, at `& 1`: `&` is no operator: write `&&`",
        ),
        ("data.a | 1", "`|` is no operator: write `||`"),
        ("data.a # 1", "at `# 1`: no expression has this character"),
        (
            "(data.ok",
            "it ends where `)` after what is in parentheses is missing",
        ),
        (
            "data.ok)",
            "column 8, at `)`: this is not an operator or the end",
        ),
        (
            "[1, 2",
            "`]` after the last value, or a comma before the next one is missing",
        ),
        ("{'a' 1}", "this is not `:` after a key, as in {'a': 1}"),
        ("{'a': 1, 'a': 2}", "this key is there twice"),
        (
            "{1.5: 1}",
            "a double is no key: keys are texts, whole numbers and bools",
        ),
        ("data.", "it ends where the name of a field is missing"),
        (
            "ip == 'x'",
            "`ip` is no variable: there are topic, publisher, type, key, time, number, attributes, data",
        ),
        ("data.list.all(x, y)", "`y` is no variable"),
        (
            "data.list.all(1, y)",
            "this is not a variable's name, as in data.list.all(x, x > 0)",
        ),
        ("data.list.all(x)", "this is not `,` after the variable"),
        ("now()", "`now` is no function: there are size, contains"),
        ("data.a.upper()", "`upper` is no function"),
        (
            "contains('a', 'b')",
            "call `contains` on a text, as in data.name.contains('a')",
        ),
        (
            "data.a.int()",
            "write `int` before its value, as in int(data.name)",
        ),
        (
            "size()",
            "`size` of 0 values, the one before the dot included: it takes 1",
        ),
        ("has(data)", "`has` asks for a field, as in has(data.name)"),
        ("while", "`while` is a word of the language"),
        ("'abc", "the text that begins here needs ' at its end"),
        ("'a\nb'", "a text ends on its line"),
        (r"'\q'", r"column 2, at `\q'`: escapes are"),
        (r"'\ud800'", "this is no character of Unicode"),
        ("12x", "this is no number"),
        (
            "9223372036854775808",
            "this is more than an int of 64 bits can be",
        ),
        (
            "99999999999999999999",
            "this is more than a number of 64 bits can be",
        ),
        ("data.a.matches(data.b)", "a pattern is a text in quotes"),
        (
            "data.a.matches('(')",
            "this is no good pattern: error: unclosed group",
        ),
        (
            "data.a.matches('(?:a{1000}){1000}')",
            "this is no good pattern: compiled it is more than 524288 bytes",
        ),
        (
            "data.a ? 1",
            "it ends where `:` between the two of a choice",
        ),
    ] {
        let error = Expression::new(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn length_parts_and_depth_are_bounded_before_anything_recurses() {
    let long = "(".repeat(100_000);
    let error = Expression::new(&long).unwrap_err().to_string();
    assert_eq!(error, "an expression of 100000 bytes: it may have 4096");
    for (open, inner, close) in [
        ("(", "true", ")"),
        ("!", "true", ""),
        ("-", "data.n", ""),
        ("[", "", "]"),
        ("data[", "1", "]"),
        ("{1:", "1", "}"),
        ("size(", "1", ")"),
        ("true?true:", "true", ""),
        ("", "data", ".a"),
        ("", "1", "+1"),
        ("data.all(x,", "true", ")"),
        ("", "data", ".map(x,x)"),
    ] {
        let nested = |n| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
        assert!(Expression::new(&nested(20)).is_ok(), "{}", nested(20));
        for n in [49, 300] {
            let error = Expression::new(&nested(n)).unwrap_err().to_string();
            assert!(error.contains("nested more than 48 deep"), "{error}");
        }
    }
    let patterns = |n| vec!["key.matches('^a')"; n].join(" || ");
    assert!(Expression::new(&patterns(8)).is_ok());
    let error = Expression::new(&patterns(9)).unwrap_err().to_string();
    assert!(
        error.contains("more than 8 patterns: join some with `|`"),
        "{error}"
    );
    assert!(Expression::new(r"key.matches(r'^\w+@\w{1,5}\.\w+$')").is_ok());
    // What stands side by side is not deep.
    let wide = vec!["data.ok"; 250].join(" && ");
    assert_eq!(value(&wide), Ok(Value::Bool(true)));
    let many = vec!["key"; 600].join(",");
    let error = Expression::new(&format!("[{many}]"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 512 parts"), "{error}");
}

#[test]
fn what_costs_too_much_is_cut_off() {
    let list: Vec<String> = (0..100).map(|it| it.to_string()).collect();
    let data = format!(
        r#"{{"l": [{}], "t": "{}"}}"#,
        list.join(","),
        "a".repeat(100_000)
    );
    for text in [
        "data.l.all(a, data.l.all(b, data.l.all(c, true)))",
        "data.l.map(a, data.l.map(b, data.l))",
        "data.l.all(a, data.l + data.l != [])",
        "data.t + data.t + data.t == 'a'",
        "data.t.matches('(a|aa)*b')",
        "data.l.exists(a, data.t.contains('b'))",
        // An error in a part does not hide that it was cut off.
        "data.nope || data.l.all(a, data.l.all(b, data.l.all(c, true))) || true",
    ] {
        let expression = Expression::new(text).unwrap();
        let fault = on(&data, |event| {
            expression.evaluate(event, EXPRESSION_BUDGET).unwrap_err()
        });
        assert_eq!(fault, Fault::CutOff { budget: 10_000 }, "{text}");
        assert_eq!(fault.to_string(), "it took more than 10000 steps");
    }
}

/// Writes random expressions over [`DATA`] and random data of the same form.
struct Writer(u64);

impl Writer {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn one_of(&mut self, choices: &[&str]) -> String {
        let at = self.below(choices.len() as u64) as usize;
        choices[at].to_owned()
    }

    fn test(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.one_of(&[
                "true",
                "false",
                "data.ok",
                "data.nope",
                "has(data.nope)",
                "has(data.s)",
            ]);
        }
        let d = depth - 1;
        match self.below(16) {
            0 | 1 => format!("({} && {})", self.test(d), self.test(d)),
            2 | 3 => format!("({} || {})", self.test(d), self.test(d)),
            4 => format!("!{}", self.test(d)),
            5 | 6 => {
                let op = self.one_of(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({} {op} {})", self.int(d), self.int(d))
            }
            7 => {
                let op = self.one_of(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({} {op} {})", self.text(d), self.text(d))
            }
            8 => {
                let op = self.one_of(&["==", "!=", "<", ">"]);
                format!("({} {op} {})", self.double(d), self.double(d))
            }
            9 => format!("({} in {})", self.int(d), self.list(d)),
            10 => format!("({} == {})", self.list(d), self.list(d)),
            11 => {
                let function = self.one_of(&["contains", "startsWith", "endsWith"]);
                format!("{}.{function}({})", self.text(d), self.text(d))
            }
            12 => {
                let name = self.one_of(&["all", "exists", "exists_one"]);
                let op = self.one_of(&["==", ">", "<"]);
                format!("{}.{name}(x, x {op} {})", self.list(d), self.int(d))
            }
            13 => format!("({} ? {} : {})", self.test(d), self.test(d), self.test(d)),
            14 => {
                let pattern = self.one_of(&["^a", "b+", "[a-c]*$", "(ab|c)"]);
                format!("{}.matches('{pattern}')", self.text(d))
            }
            _ => format!("({} in data.m)", self.text(d)),
        }
    }

    fn int(&mut self, depth: u32) -> String {
        if depth == 0 {
            let number = self.below(7).to_string();
            return self.one_of(&[
                "data.a",
                "data.b",
                "data.m.x",
                "data.nope",
                &number,
                "-2",
                "9223372036854775807",
            ]);
        }
        let d = depth - 1;
        match self.below(8) {
            0..=3 => {
                let op = self.one_of(&["+", "-", "*", "/", "%"]);
                format!("({} {op} {})", self.int(d), self.int(d))
            }
            4 => format!("size({})", self.text(d)),
            5 => format!("size({})", self.list(d)),
            6 => format!("{}[{}]", self.list(d), self.int(d)),
            _ => format!("({} ? {} : {})", self.test(d), self.int(d), self.int(d)),
        }
    }

    fn double(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.one_of(&["data.d", "1.5", "0.0", "double(data.a)"]);
        }
        let d = depth - 1;
        // No division by zero: the other implementation has no order with what is no number.
        if self.below(4) == 0 {
            return format!("({} / 4.0)", self.double(d));
        }
        let op = self.one_of(&["+", "-", "*"]);
        format!("({} {op} {})", self.double(d), self.double(d))
    }

    fn text(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.one_of(&["data.s", "data.t", "'a'", "'ab'", "''", "'x'", "data.nope"]);
        }
        let d = depth - 1;
        match self.below(3) {
            0 => format!("({} + {})", self.text(d), self.text(d)),
            1 => format!("string({})", self.int(d)),
            _ => self.text(0),
        }
    }

    fn list(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.one_of(&["data.l", "[]", "[1, 2]", "[data.a, data.b]"]);
        }
        let d = depth - 1;
        match self.below(5) {
            0 => format!("({} + {})", self.list(d), self.list(d)),
            1 => format!("[{}, {}]", self.int(d), self.int(d)),
            2 => format!("{}.map(y, y + {})", self.list(d), self.int(d)),
            3 => format!("{}.filter(z, z > {})", self.list(d), self.int(d)),
            _ => self.list(0),
        }
    }

    fn data(&mut self) -> String {
        let mut data = String::from("{");
        for name in ["a", "b"] {
            let number = i64::try_from(self.below(9)).unwrap() - 3;
            write!(data, r#""{name}": {number}, "#).unwrap();
        }
        let (ok, double) = (self.below(2) == 0, self.below(40));
        write!(data, r#""ok": {ok}, "d": {double}.25, "#).unwrap();
        let (s, t) = (
            self.one_of(&["", "a", "ab", "cab"]),
            self.one_of(&["a", "x", "abba"]),
        );
        write!(data, r#""s": "{s}", "t": "{t}", "#).unwrap();
        let list: Vec<String> = (0..self.below(4))
            .map(|_| self.below(6).to_string())
            .collect();
        let map = self.one_of(&["{}", r#"{"x": 1}"#, r#"{"a": 2, "x": 5}"#]);
        write!(data, r#""l": [{}], "m": {map}}}"#, list.join(", ")).unwrap();
        data
    }
}

/// The same value to CEL's other implementation.
fn theirs(value: &Value<'_>) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(it) => cel::Value::Bool(*it),
        Value::Int(it) => cel::Value::Int(*it),
        Value::Uint(it) => cel::Value::UInt(*it),
        Value::Double(it) => cel::Value::Float(*it),
        Value::Text(it) => it.as_ref().into(),
        Value::Bytes(it) => it.to_vec().into(),
        Value::List(list) => cel::Value::List(Arc::new(list.iter().map(theirs).collect())),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| match key {
                Key::Text(key) => (cel::objects::Key::from(key.as_ref()), theirs(value)),
                other => panic!("{other:?} is no key of JSON"),
            });
            cel::Value::Map(cel::objects::Map {
                map: Arc::new(entries.collect()),
            })
        }
    }
}

fn their_test(text: &str, data: &Value<'_>) -> Option<bool> {
    let program = cel::Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut context = cel::Context::default();
    context.add_variable_from_value("data", theirs(data));
    match program.execute(&context) {
        Ok(cel::Value::Bool(it)) => Some(it),
        _ => None,
    }
}

fn our_test(text: &str, data: &str) -> Option<bool> {
    let expression = Expression::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    on(data, |event| match expression.evaluate(event, 1_000_000) {
        Ok(Value::Bool(it)) => Some(it),
        Ok(_) | Err(Fault::NoValue { .. }) => None,
        Err(fault) => panic!("{text}: {fault}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn expressions_are_what_another_implementation_says(seed in 1..u64::MAX) {
        let mut writer = Writer(seed);
        for _ in 0..8 {
            writer.below(2);
        }
        let text = writer.test(4);
        let data = writer.data();
        let value = Value::read(ContentType::Json, data.as_bytes()).unwrap();
        prop_assert_eq!(our_test(&text, &data), their_test(&text, &value), "{} of {}", text, data);
        // The same as MessagePack.
        let packed = value.write(ContentType::MessagePack).unwrap();
        prop_assert_eq!(Value::read(ContentType::MessagePack, &packed).unwrap(), value);
    }

    /// No text makes the compiler panic, and what it accepts evaluates to something.
    #[test]
    fn any_text_is_refused_or_evaluated(
        parts in proptest::collection::vec(
            proptest::sample::select(&[
                "data", ".", "a", "(", ")", "[", "]", "{", "}", "1", "1u", "1.5", "'x'", "\"", "'",
                "\\", "b'", "+", "-", "*", "/", "%", "?", ":", ",", "!", "==", "&&", "||", "in", " ",
                "ü", "has", "size", "all", "x", "matches", "0x", "e", "\n", "//", "true", "=", "<",
            ][..]),
            0..24,
        ),
    ) {
        let text = parts.concat();
        match Expression::new(&text) {
            Ok(expression) => {
                on(DATA, |event| expression.evaluate(event, EXPRESSION_BUDGET).is_ok());
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

/// What the writer writes is varied: neither side answers the same all the time.
#[test]
fn random_expressions_are_true_false_and_without_a_value() {
    let mut answers: BTreeMap<Option<bool>, u32> = BTreeMap::new();
    for seed in 1..2_000_u64 {
        let mut writer = Writer(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (text, data) = (writer.test(4), writer.data());
        *answers.entry(our_test(&text, &data)).or_default() += 1;
    }
    assert!(
        answers.len() == 3 && answers.values().all(|it| *it > 100),
        "{answers:?}"
    );
}
