//! An expression's text as tokens.

use super::BadExpression;
use crate::topics::value::Value;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'s> {
    /// A name, or a word that operators are written with.
    Name(&'s str),
    /// A number, a text or bytes.
    Literal(Value<'static>),
    /// The digits of 2^63, which is a number only after a minus.
    LowestInt,
    /// An operator or a bracket.
    Symbol(&'static str),
    /// There is no more.
    End,
}

/// What operators and brackets are written with; longer ones first.
const SYMBOLS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}", "=", "&",
];

const LITERALS: &str = "write a number as 12, 12u, 0xff or 1.5, a text as 'a' or \"a\"";
const ESCAPES: &str = r#"escapes are \\ \" \' \` \? \a \b \f \n \r \t \v, \x and two hexadecimal digits, \u and four, \U and eight, or three octal digits"#;

/// Reads tokens off a text.
pub(super) struct Lexer<'s> {
    text: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(text: &'s str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token, and where it begins.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'s>), BadExpression> {
        self.skip_blanks();
        let at = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok((at, Token::End));
        };
        if let Some((prefix, raw, bytes)) = text_prefix(rest) {
            self.at += prefix;
            return Ok((at, Token::Literal(self.text_literal(at, raw, bytes)?)));
        }
        let dot_digit = first == '.' && rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
        if first.is_ascii_digit() || dot_digit {
            return Ok((at, self.number(at)?));
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok((at, Token::Name(name)));
        }
        let symbol = SYMBOLS.into_iter().find(|it| rest.starts_with(it));
        let advice = match symbol {
            Some("=") => "`=` is no operator: compare with `==`",
            Some("&") => "`&` is no operator: write `&&` for and",
            Some(symbol) => {
                self.at += symbol.len();
                return Ok((at, Token::Symbol(symbol)));
            }
            None if first == '|' => "`|` is no operator: write `||` for or",
            None => "no expression has this character outside of a text in quotes",
        };
        Err(self.wrong(at, advice))
    }

    fn rest(&self) -> &'s str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, at: usize, what: impl Into<String>) -> BadExpression {
        BadExpression::at(self.text, at, what)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        let len = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n' | '\x0c'));
            if !self.rest().starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn number(&mut self, at: usize) -> Result<Token<'s>, BadExpression> {
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_hex = word.starts_with("0x") || word.starts_with("0X");
        if !is_hex {
            // `1.size()` is a number and a call: a fraction has digits.
            let fraction = self.rest().strip_prefix('.');
            if fraction.is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit())) {
                self.at += 1;
                self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            }
            let so_far = self.text.get(at..self.at).unwrap_or_default();
            if so_far.ends_with(['e', 'E']) && self.rest().starts_with(['+', '-']) {
                self.at += 1;
                self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            }
        }
        let word = self.text.get(at..self.at).unwrap_or_default();
        number(word, is_hex)
            .ok_or_else(|| self.wrong(at, format!("this is no number: {LITERALS}")))?
            .map_err(|what| self.wrong(at, what))
    }

    /// A text in quotes, which begin here.
    fn text_literal(
        &mut self,
        begin: usize,
        raw: bool,
        bytes: bool,
    ) -> Result<Value<'static>, BadExpression> {
        let rest = self.rest();
        let quote = rest.get(..1).unwrap_or_default();
        let end = match rest.get(..3) {
            Some(three) if three == quote.repeat(3) => three,
            _ => quote,
        };
        self.at += end.len();
        let mut text: Vec<u8> = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(end) {
                self.at += end.len();
                break;
            }
            let Some(first) = rest.chars().next() else {
                return Err(self.wrong(
                    begin,
                    format!("the text that begins here needs {end} at its end"),
                ));
            };
            if first == '\n' && end.len() == 1 {
                return Err(self.wrong(
                    begin,
                    "a text ends on its line: write \\n, or three quotes around it",
                ));
            }
            if first == '\\' && !raw {
                self.escape(&mut text, bytes)?;
            } else {
                self.at += first.len_utf8();
                push_char(&mut text, first);
            }
        }
        if bytes {
            return Ok(Value::Bytes(text.into()));
        }
        // Escapes of a text are characters, so that this never fails.
        String::from_utf8(text)
            .map(|text| Value::Text(text.into()))
            .map_err(|_| self.wrong(begin, ESCAPES))
    }

    fn escape(&mut self, text: &mut Vec<u8>, bytes: bool) -> Result<(), BadExpression> {
        let at = self.at;
        let mut rest = self.rest().chars().skip(1);
        let Some(letter) = rest.next() else {
            return Err(self.wrong(at, ESCAPES));
        };
        let plain = match letter {
            '\\' | '"' | '\'' | '`' | '?' => Some(letter),
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            _ => None,
        };
        if let Some(plain) = plain {
            self.at += 2;
            push_char(text, plain);
            return Ok(());
        }
        let (skipped, digits, radix) = match letter {
            'x' | 'X' => (2, 2, 16),
            'u' if !bytes => (2, 4, 16),
            'U' if !bytes => (2, 8, 16),
            '0'..='3' => (1, 3, 8),
            _ => return Err(self.wrong(at, ESCAPES)),
        };
        let start = at + skipped;
        let number = self
            .text
            .get(start..start + digits)
            .filter(|it| it.chars().all(|c| c.is_digit(radix)))
            .and_then(|it| u32::from_str_radix(it, radix).ok());
        let number = number.ok_or_else(|| self.wrong(at, ESCAPES))?;
        self.at = start + digits;
        match (bytes, u8::try_from(number), char::from_u32(number)) {
            (true, Ok(byte), _) => text.push(byte),
            (false, _, Some(character)) => push_char(text, character),
            _ => return Err(self.wrong(at, "this is no character of Unicode")),
        }
        Ok(())
    }
}

fn push_char(text: &mut Vec<u8>, character: char) {
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Whether a text in quotes begins here: the length of what stands before its quote,
/// whether it is raw, and whether it is bytes.
fn text_prefix(rest: &str) -> Option<(usize, bool, bool)> {
    let quote = rest.find(['"', '\''])?;
    let (raw, bytes) = match rest.get(..quote)? {
        "" => (false, false),
        "r" | "R" => (true, false),
        "b" | "B" => (false, true),
        "br" | "bR" | "Br" | "BR" | "rb" | "rB" | "Rb" | "RB" => (true, true),
        _ => return None,
    };
    Some((quote, raw, bytes))
}

/// A number; `None` if the word has not the form of one.
fn number(word: &str, is_hex: bool) -> Option<Result<Token<'static>, &'static str>> {
    let (digits, unsigned) = match word.strip_suffix(['u', 'U']) {
        Some(digits) => (digits, true),
        None => (word, false),
    };
    let (digits, radix) = if is_hex {
        (digits.get(2..)?, 16)
    } else {
        (digits, 10)
    };
    if digits.is_empty() {
        return None;
    }
    if digits.chars().all(|c| c.is_digit(radix)) {
        let number = u64::from_str_radix(digits, radix).ok();
        return Some(match (number, unsigned) {
            (Some(number), true) => Ok(Token::Literal(Value::Uint(number))),
            (Some(number), false) if number == 1 << 63 => Ok(Token::LowestInt),
            (Some(number), false) => i64::try_from(number)
                .map(|it| Token::Literal(Value::Int(it)))
                .map_err(
                    |_| "this is more than an int of 64 bits can be: write it with a u, as a uint",
                ),
            (None, _) => Err("this is more than a number of 64 bits can be"),
        });
    }
    let is_double = !unsigned
        && word.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && word
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let number: f64 = is_double.then(|| word.parse().ok())??;
    Some(Ok(Token::Literal(Value::Double(number))))
}
