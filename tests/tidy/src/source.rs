//! Rules for Rust files: their length, silenced lints, unfinished code.

use std::collections::BTreeSet;

use crate::Fault;
use crate::rust_text::{Attribute, RustText};

/// Longest product file, in lines, its tests not counted.
pub const MAX_LINES: usize = 800;

/// Checks that every `allow` and `expect` attribute says why.
pub fn reasons(file: &str, text: &RustText) -> Vec<Fault> {
    let mut faults = Vec::new();
    for attribute in text.attributes() {
        for (lint, open) in silencers(text, &attribute) {
            let close = text.close(open);
            if !has_reason(text, open, close) {
                faults.push(Fault::new(
                    file,
                    text.line_of(attribute.start),
                    format!(
                        "`{lint}` without a reason: add `reason = \"…\"` with what makes it right here, or mend what the lint found"
                    ),
                ));
            }
        }
    }
    faults
}

/// The `allow(` and `expect(` of an attribute, with the position of the bracket.
fn silencers(text: &RustText, attribute: &Attribute) -> Vec<(&'static str, usize)> {
    let body = text.skip_space(attribute.body);
    let mut found = Vec::new();
    for lint in ["allow", "expect"] {
        for at in text.words(lint, body, attribute.end) {
            let conditional = text.words("cfg_attr", body, attribute.end).first() == Some(&body);
            let open = text.skip_space(at + lint.len());
            if (at == body || conditional) && text.at(open) == Some('(') {
                found.push((lint, open));
            }
        }
    }
    found
}

fn has_reason(text: &RustText, open: usize, close: usize) -> bool {
    text.words("reason", open, close).into_iter().any(|at| {
        let equals = text.skip_space(at + "reason".len());
        let given = text.original(equals + 1, close);
        let mut inside = given.split('"').skip(1);
        text.at(equals) == Some('=') && inside.next().is_some_and(|why| !why.trim().is_empty())
    })
}

/// Checks that nothing is left to be written.
pub fn unfinished(file: &str, text: &RustText) -> Vec<Fault> {
    let mut faults = Vec::new();
    for name in ["todo", "unimplemented"] {
        for at in text.words(name, 0, usize::MAX) {
            if text.at(text.skip_space(at + name.len())) == Some('!') {
                faults.push(Fault::new(
                    file,
                    text.line_of(at),
                    format!("`{name}!` in product code: write what is missing, or return an error that says it is not supported"),
                ));
            }
        }
    }
    faults
}

/// Checks the length of a product file.
pub fn length(file: &str, text: &RustText) -> Vec<Fault> {
    let lines = text.lines() - tests(text).lines;
    if lines <= MAX_LINES {
        return Vec::new();
    }
    vec![Fault::new(
        file,
        MAX_LINES + 1,
        format!(
            "{lines} lines without its tests, and {MAX_LINES} is the bound: move a type and what belongs to it to a file of its own"
        ),
    )]
}

/// What of a file is tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tests {
    /// Lines of test items, their attributes included.
    pub lines: usize,
    /// Modules for tests that lie in files of their own, by name.
    pub modules: BTreeSet<String>,
}

/// Finds the items under `#[cfg(test)]`.
pub fn tests(text: &RustText) -> Tests {
    let mut found = Tests::default();
    let mut counted_to = 0;
    for attribute in text.attributes() {
        if attribute.start < counted_to || !is_for_tests(text, &attribute) {
            continue;
        }
        if attribute.inner {
            found.lines = text.lines();
            return found;
        }
        let mut item = text.skip_space(attribute.end);
        while let Some(next) = text.attribute(item) {
            item = text.skip_space(next.end);
        }
        let end = text.item_end(item);
        found.lines += text.line_of(end.saturating_sub(1)) + 1 - text.line_of(attribute.start);
        counted_to = end;
        let code = text.code(item, end);
        if let Some(name) = code
            .rsplit("mod ")
            .next()
            .and_then(|rest| rest.strip_suffix(';'))
            .filter(|_| code.contains("mod "))
        {
            found.modules.insert(name.trim().to_owned());
        }
    }
    found
}

fn is_for_tests(text: &RustText, attribute: &Attribute) -> bool {
    let body: String = text
        .code(attribute.body, attribute.end)
        .split_whitespace()
        .collect();
    body == "cfg(test)]" || body.starts_with("cfg(all(test,")
}

/// The files of `files`, named from the root of the tree, that hold tests only:
/// those below a `tests` directory of their package, and those that a module
/// under `#[cfg(test)]` names.
pub fn test_files<'a>(
    package: &str,
    files: impl Iterator<Item = (&'a str, &'a RustText)>,
) -> Vec<String> {
    let mut stems = Vec::new();
    let mut names = Vec::new();
    for (file, text) in files {
        let dir = module_dir(file);
        for module in tests(text).modules {
            stems.push(format!("{dir}/{module}"));
        }
        names.push(file);
    }
    names
        .into_iter()
        .filter(|file| {
            let below = file.strip_prefix(package).unwrap_or(file);
            below.starts_with("/tests/")
                || below.starts_with("/benches/")
                || stems.iter().any(|stem| {
                    file.strip_prefix(stem.as_str())
                        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
                })
        })
        .map(str::to_owned)
        .collect()
}

/// The directory in which the modules that `file` declares lie.
fn module_dir(file: &str) -> &str {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    match stem.rsplit_once('/') {
        Some((dir, "mod" | "lib" | "main")) => dir,
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(faults: &[Fault]) -> Vec<usize> {
        faults.iter().map(|fault| fault.line).collect()
    }

    #[test]
    fn a_silenced_lint_needs_a_reason() {
        for bad in [
            "#[allow(dead_code)]\nfn f() {}",
            "#![allow(\n    dead_code,\n)]",
            "#[expect(clippy::unwrap_used)]",
            "#[expect(clippy::unwrap_used, reason = \"\")]",
            "#[cfg_attr(test, allow(dead_code))]",
            "#[allow(dead_code)] // reason = \"none\"",
            "macro_rules! m { () => { #[allow(unused)] fn f() {} } }",
        ] {
            let faults = reasons("a.rs", &RustText::new(bad));
            assert_eq!(lines_of(&faults), [1], "{bad}");
        }
    }

    #[test]
    fn a_reason_anywhere_in_the_attribute_will_do() {
        for good in [
            "#[allow(dead_code, reason = \"the table is complete\")]",
            "#![expect(\n    dead_code,\n    reason = \"the table is complete\"\n)]",
            "#[cfg_attr(test, allow(dead_code, reason = \"tests call it\"))]",
            "// #[allow(dead_code)]",
            "let s = \"#[allow(dead_code)]\";",
            "#[doc = \"allow(x)\"] fn allow(x: u8) {}",
            "#[error(\"x\")] Expect(u8)",
        ] {
            assert_eq!(reasons("a.rs", &RustText::new(good)), [], "{good}");
        }
    }

    #[test]
    fn unfinished_code_is_found_outside_comments_and_strings() {
        let bad = RustText::new("// todo!()\nlet s = \"todo!\";\ntodo!();\nunimplemented !()");
        assert_eq!(lines_of(&unfinished("a.rs", &bad)), [3, 4]);
    }

    #[test]
    fn the_bound_on_a_file_does_not_count_its_tests() {
        let product = "x();\n".repeat(MAX_LINES);
        let tests = format!(
            "#[cfg(test)]\n#[allow(x)]\nmod tests {{\n{}}}\n",
            "y();\n".repeat(100)
        );
        assert_eq!(length("a.rs", &RustText::new(&product)), []);
        assert_eq!(
            length("a.rs", &RustText::new(&format!("{product}{tests}"))),
            []
        );
        let faults = length("a.rs", &RustText::new(&format!("z();\n{product}{tests}")));
        assert_eq!(lines_of(&faults), [801]);
        assert!(faults[0].message.contains("801 lines"), "{faults:?}");
    }

    #[test]
    fn modules_of_tests_in_files_of_their_own_are_known() {
        let lib = RustText::new("mod a;\n#[cfg(test)]\nmod suite;\n");
        let a = RustText::new("#[cfg(test)]\nmod cases;\n");
        let empty = RustText::new("");
        let files = [
            ("p/src/lib.rs", &lib),
            ("p/src/a.rs", &a),
            ("p/src/a/cases.rs", &empty),
            ("p/src/suite/more.rs", &empty),
            ("p/src/suites.rs", &empty),
            ("p/tests/x.rs", &empty),
        ];
        assert_eq!(
            test_files("p", files.into_iter()),
            ["p/src/a/cases.rs", "p/src/suite/more.rs", "p/tests/x.rs"]
        );
    }

    #[test]
    fn a_file_for_tests_as_a_whole_has_no_product_lines() {
        let text = RustText::new("#![cfg(test)]\nfn f() {}\n");
        assert_eq!(super::tests(&text).lines, 2);
    }
}
