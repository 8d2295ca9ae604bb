//! Rust source with its comments and literals blanked out, so that what is
//! left can be searched as code. A lexer, not a parser: attributes inside macro
//! definitions count as well as any.

/// Source text in which comments, strings and characters are spaces. Every
/// character stays at its place, so lines and positions are those of the file.
#[derive(Clone, Debug)]
pub struct RustText {
    code: Vec<char>,
    original: Vec<char>,
}

/// An attribute, `#[…]` or `#![…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Position of the `#`.
    pub start: usize,
    /// Position behind the closing bracket.
    pub end: usize,
    /// Whether it belongs to what encloses it: `#![…]`.
    pub inner: bool,
    /// Position of the first character between the brackets.
    pub body: usize,
}

impl RustText {
    /// Blanks `text`.
    pub fn new(text: &str) -> Self {
        let original: Vec<char> = text.chars().collect();
        let code = blank(&original);
        Self { code, original }
    }

    /// Lines of the file.
    pub fn lines(&self) -> usize {
        let newlines = self.original.iter().filter(|c| **c == '\n').count();
        newlines + usize::from(self.original.last().is_some_and(|c| *c != '\n'))
    }

    /// The line a position is on, counted from 1.
    pub fn line_of(&self, at: usize) -> usize {
        1 + self
            .original
            .iter()
            .take(at)
            .filter(|c| **c == '\n')
            .count()
    }

    /// The code from `start` to `end`.
    pub fn code(&self, start: usize, end: usize) -> String {
        self.code.iter().take(end).skip(start).collect()
    }

    /// What the file has from `start` to `end`, comments and literals included.
    pub fn original(&self, start: usize, end: usize) -> String {
        self.original.iter().take(end).skip(start).collect()
    }

    /// Positions at which the word `word` stands in `start..end`.
    pub fn words(&self, word: &str, start: usize, end: usize) -> Vec<usize> {
        let wanted: Vec<char> = word.chars().collect();
        let end = end.min(self.code.len());
        (start..end)
            .filter(|at| {
                self.code.get(*at..at + wanted.len()) == Some(wanted.as_slice())
                    && at + wanted.len() <= end
                    && !self.is_word(at.wrapping_sub(1))
                    && !self.is_word(at + wanted.len())
            })
            .collect()
    }

    /// The first position from `at` on that is not white space.
    pub fn skip_space(&self, mut at: usize) -> usize {
        while self.code.get(at).is_some_and(|c| c.is_whitespace()) {
            at += 1;
        }
        at
    }

    /// The character of code at `at`.
    pub fn at(&self, at: usize) -> Option<char> {
        self.code.get(at).copied()
    }

    /// The position behind the bracket that closes the one at `open`.
    pub fn close(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for (at, c) in self.code.iter().enumerate().skip(open) {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
        }
        self.code.len()
    }

    /// All attributes, in order.
    pub fn attributes(&self) -> Vec<Attribute> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.code.len() {
            match self.attribute(at) {
                Some(attribute) => {
                    at = attribute.end;
                    found.push(attribute);
                }
                None => at += 1,
            }
        }
        found
    }

    /// The attribute that begins at `at`, if one does.
    pub fn attribute(&self, at: usize) -> Option<Attribute> {
        if self.at(at) != Some('#') {
            return None;
        }
        let mut open = self.skip_space(at + 1);
        let inner = self.at(open) == Some('!');
        if inner {
            open = self.skip_space(open + 1);
        }
        (self.at(open) == Some('[')).then(|| Attribute {
            start: at,
            end: self.close(open),
            inner,
            body: open + 1,
        })
    }

    /// The position behind the item that begins at `at`: behind its block or its semicolon.
    pub fn item_end(&self, at: usize) -> usize {
        let mut at = at;
        while let Some(c) = self.at(at) {
            match c {
                '{' => return self.close(at),
                ';' => return at + 1,
                '(' | '[' => at = self.close(at),
                _ => at += 1,
            }
        }
        at
    }

    fn is_word(&self, at: usize) -> bool {
        self.code
            .get(at)
            .is_some_and(|c| c.is_alphanumeric() || *c == '_')
    }
}

/// Replaces comments and the insides of literals by spaces.
fn blank(text: &[char]) -> Vec<char> {
    let mut code = text.to_vec();
    let mut at = 0;
    while at < text.len() {
        let (from, to) = literal(text, at);
        for c in code.iter_mut().take(to).skip(from) {
            if *c != '\n' {
                *c = ' ';
            }
        }
        at = to.max(at + 1);
    }
    code
}

/// The comment or literal that begins at `at`, as the part of it to blank; an
/// empty part if none begins here.
fn literal(text: &[char], at: usize) -> (usize, usize) {
    let get = |at: usize| text.get(at).copied();
    match (get(at), get(at + 1)) {
        (Some('/'), Some('/')) => (at, find(text, at, |c| c == '\n')),
        (Some('/'), Some('*')) => (at, block_comment(text, at)),
        (Some('"'), _) => {
            let hashes = text
                .iter()
                .take(at)
                .rev()
                .take_while(|c| **c == '#')
                .count();
            let raw = at > hashes && raw_prefix(text, at - hashes - 1);
            let end = if raw {
                raw_string(text, at, hashes)
            } else {
                quoted(text, at, '"')
            };
            (at + 1, end)
        }
        (Some('\''), Some('\\')) => (at + 1, quoted(text, at, '\'')),
        // A lifetime has no second quote right behind its first character.
        (Some('\''), Some(_)) if get(at + 2) == Some('\'') => (at + 1, at + 3),
        _ => (at, at),
    }
}

fn find(text: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    text.iter()
        .skip(from)
        .position(|c| wanted(*c))
        .map_or(text.len(), |more| from + more)
}

/// Whether the character at `at` is the `r` of a raw string, as in `r"`, `br#"` and `cr"`.
fn raw_prefix(text: &[char], at: usize) -> bool {
    let letter = |at: usize| {
        text.get(at)
            .is_some_and(|c| c.is_alphanumeric() || *c == '_')
    };
    if text.get(at) != Some(&'r') {
        return false;
    }
    match at.checked_sub(1).and_then(|before| text.get(before)) {
        Some('b' | 'c') => at < 2 || !letter(at - 2),
        _ => at == 0 || !letter(at - 1),
    }
}

fn block_comment(text: &[char], from: usize) -> usize {
    let mut depth = 0usize;
    let mut at = from;
    while at < text.len() {
        match (text.get(at), text.get(at + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                at += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The position behind the quote that ends the literal opened at `open`.
fn quoted(text: &[char], open: usize, quote: char) -> usize {
    let mut at = open + 1;
    while let Some(c) = text.get(at) {
        match *c {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The position behind the quote that ends the raw string opened at `open`.
fn raw_string(text: &[char], open: usize, hashes: usize) -> usize {
    let mut at = open + 1;
    while at < text.len() {
        at = find(text, at, |c| c == '"') + 1;
        let closing = text.iter().skip(at).take_while(|c| **c == '#').count();
        if closing >= hashes {
            return at.min(text.len());
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        let text = RustText::new(text);
        text.code(0, usize::MAX)
    }

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        for (text, wanted) in [
            ("a // todo!\nb", "a         \nb"),
            ("a /* x /* y */ z */ b", "a                   b"),
            (r#"f("to\"do", x)"#, r#"f("       , x)"#),
            (r##"f(r#"a"b"#, x)"##, r##"f(r#"    #, x)"##),
            (r#"f(br"\", x)"#, r#"f(br"  , x)"#),
            ("f('\"', 'a', '\\'', b)", "f('  , '  , '   , b)"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("r#fn(\"x\")", "r#fn(\"  )"),
        ] {
            assert_eq!(code(text), wanted, "{text}");
        }
    }

    #[test]
    fn words_are_whole() {
        let text = RustText::new("todo todos my_todo todo");
        assert_eq!(text.words("todo", 0, usize::MAX), [0, 19]);
    }

    #[test]
    fn items_end_at_their_block_or_semicolon() {
        let text = RustText::new("fn f(x: [u8; 4]) { if y { z; } } mod m; x");
        assert_eq!(
            text.code(0, text.item_end(0)),
            "fn f(x: [u8; 4]) { if y { z; } }"
        );
        assert_eq!(text.code(33, text.item_end(33)), "mod m;");
    }
}
