//! Rules for documents: what they point at is there.

use std::collections::BTreeMap;

use crate::Fault;

/// Directories of the tree; a path in a code span that begins with one is checked.
const ROOTS: [&str; 7] = [
    "runtime/", "sdk/", "agents/", "tests/", "wit/", "docs/", ".ci/",
];

/// Checks the relative links, their anchors, and the paths in code spans of
/// `document`. `exists` knows the files, named from the root, where documents
/// lie; `documents` has the texts that anchors may point into.
pub fn check(
    document: &str,
    documents: &BTreeMap<String, String>,
    exists: impl Fn(&str) -> bool,
) -> Vec<Fault> {
    let Some(text) = documents.get(document) else {
        return vec![Fault::new(document, 1, "the document is missing: write it")];
    };
    let mut faults = Vec::new();
    for (line, prose) in prose(text) {
        let (plain, spans) = split_code(prose);
        for target in targets(&plain) {
            if let Some(wrong) = wrong_link(document, target, documents, &exists) {
                faults.push(Fault::new(document, line, wrong));
            }
        }
        for span in spans {
            let path = span.trim_end_matches('/');
            let is_path = ROOTS.iter().any(|root| span.starts_with(root))
                && span
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_path && !exists(path) {
                faults.push(Fault::new(
                    document,
                    line,
                    format!("`{span}` is not in the tree: name what is there now"),
                ));
            }
        }
    }
    faults
}

fn wrong_link(
    document: &str,
    target: &str,
    documents: &BTreeMap<String, String>,
    exists: &impl Fn(&str) -> bool,
) -> Option<String> {
    let elsewhere = ["http://", "https://", "mailto:"];
    if elsewhere.iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    if target.starts_with('/') {
        return Some(format!(
            "the link to {target} begins at the file system's root: make it relative to this file"
        ));
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        document.to_owned()
    } else {
        resolve(document, path)
    };
    if !exists(&path) {
        return Some(format!(
            "the link to {path} leads nowhere: mend the path or remove the link"
        ));
    }
    let text = documents.get(&path)?;
    if anchor.is_empty() || anchors(text).iter().any(|found| found == anchor) {
        return None;
    }
    Some(format!(
        "{path} has no heading #{anchor}: name one of its headings, in lower case with hyphens"
    ))
}

/// What `path` in `document` names, from the root.
fn resolve(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The lines that are not inside a fenced block, numbered from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        if !fence && !fenced {
            found.push((at + 1, line));
        }
        fenced ^= fence;
    }
    found
}

/// The line without its code spans, and the spans.
fn split_code(line: &str) -> (String, Vec<&str>) {
    let mut plain = String::new();
    let mut spans = Vec::new();
    for (at, part) in line.split('`').enumerate() {
        if at % 2 == 0 {
            plain.push_str(part);
        } else {
            spans.push(part);
        }
    }
    (plain, spans)
}

/// What the links of a line point at: `[text](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    let mut found: Vec<_> = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .collect();
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        found.extend(target.split_whitespace().next());
    }
    found
}

/// The anchors of a document's headings, as forges make them.
fn anchors(text: &str) -> Vec<String> {
    prose(text)
        .into_iter()
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<Fault> {
        let documents = BTreeMap::from([
            ("README.md".to_owned(), text.to_owned()),
            ("OTHER.md".to_owned(), "# A `code` heading\n".to_owned()),
        ]);
        check("README.md", &documents, |path| {
            ["README.md", "OTHER.md", "runtime/core", "wit/agent.wit"].contains(&path)
        })
    }

    #[test]
    fn what_leads_nowhere_is_found() {
        for bad in [
            "one\n\nsee [x](MISSING.md) there",
            "\n\nsee [x](runtime/gone/)",
            "\n\n[x]: gone.md",
            "\n\nsee [x](OTHER.md#no-such-heading)",
            "\n\nsee [x](#here)",
            "\n\nsee [x](/etc/hosts)",
            "\n\nsee `runtime/gone/src/lib.rs`",
        ] {
            let faults = faults(bad);
            assert_eq!(faults.len(), 1, "{bad}: {faults:?}");
            assert_eq!(faults[0].line, 3, "{bad}");
        }
    }

    #[test]
    fn what_is_there_or_is_no_link_passes() {
        for good in [
            "[x](OTHER.md), [y](./wit/agent.wit), [z](runtime/core/), <https://a.b>",
            "[x](https://example.org/MISSING.md) [y](mailto:a@b.c)",
            "[x](OTHER.md#a-code-heading) and [up](#here)\n# Here",
            "```\n[x](MISSING.md) `tests/gone`\n```",
            "`[x](MISSING.md)` and `tests/{a,b}/*` and `tests → anything`",
            "`runtime/core`, `wit/agent.wit`",
        ] {
            assert_eq!(faults(good), [], "{good}");
        }
    }

    #[test]
    fn links_are_relative_to_their_document() {
        let text = "[x](../README.md) [y](api.md)\n[z](README.md)";
        let documents = BTreeMap::from([("docs/cli.md".to_owned(), text.to_owned())]);
        let faults = check("docs/cli.md", &documents, |path| {
            ["README.md", "docs/api.md"].contains(&path)
        });
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].line, 2);
    }

    #[test]
    fn a_missing_document_is_a_fault() {
        let faults = check("GONE.md", &BTreeMap::new(), |_| true);
        assert_eq!(faults.len(), 1);
    }
}
