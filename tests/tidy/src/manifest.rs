//! Rules for manifests.

use crate::{Fault, Package};

/// Checks that a package takes the workspace's lints.
pub fn lints(package: &Package, text: &str) -> Vec<Fault> {
    let mut section = "";
    let mut at = None;
    for (number, line) in lines(text) {
        if let Some(name) = header(line) {
            section = name;
            if section == "lints" {
                at = Some(number);
            }
        }
        let line: String = line.split_whitespace().collect();
        if line == "lints.workspace=true" && section.is_empty()
            || line == "workspace=true" && section == "lints"
        {
            return Vec::new();
        }
    }
    vec![Fault::new(
        &package.manifest(),
        at.unwrap_or(1),
        "the package does not take the workspace's lints: add `[lints]` with `workspace = true`",
    )]
}

/// Checks that the `clippy.toml` of a crate repeats the root's settings: clippy
/// reads the nearest file only.
pub fn clippy(file: &str, text: &str, root: &str) -> Vec<Fault> {
    lines(root)
        .filter(|(_, setting)| !setting.is_empty() && !setting.starts_with('#'))
        .filter(|(_, setting)| !lines(text).any(|(_, line)| line == *setting))
        .map(|(_, setting)| {
            Fault::new(
                file,
                1,
                format!("`{setting}` of the root's clippy.toml is not repeated: clippy reads the nearest file only, add the line"),
            )
        })
        .collect()
}

/// The line on which a manifest names `dependency`; 1 if it cannot be found.
pub fn line_of(text: &str, dependency: &str) -> usize {
    let mut section = "";
    for (number, line) in lines(text) {
        if let Some(name) = header(line) {
            section = name;
            if section.strip_suffix(dependency).is_some_and(|rest| {
                rest.ends_with("dependencies.") || rest.ends_with("dependencies.\"")
            }) {
                return number;
            }
            continue;
        }
        let key = line.split(['=', '.']).next().unwrap_or("").trim();
        let renamed = line.contains(&format!("package = \"{dependency}\""));
        if section.ends_with("dependencies") && (key.trim_matches('"') == dependency || renamed) {
            return number;
        }
    }
    1
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.split(" #").next().unwrap_or(line).trim()))
}

fn header(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> Package {
        Package {
            name: "phoenix-x".to_owned(),
            dir: "runtime/x".to_owned(),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn a_package_without_the_workspaces_lints_is_found() {
        for (bad, line) in [
            ("[package]\nname = \"x\"\n", 1),
            ("[package]\nname = \"x\"\n\n[lints]\nworkspace = false\n", 4),
            ("[package]\n[lints.rust]\nunsafe_code = \"allow\"\n", 1),
            (
                "[package]\nversion.workspace = true\n[dependencies]\nworkspace = true\n",
                1,
            ),
        ] {
            let faults = lints(&package(), bad);
            assert_eq!(faults.len(), 1, "{bad}");
            assert_eq!(faults[0].line, line, "{bad}");
            assert_eq!(faults[0].file, "runtime/x/Cargo.toml");
        }
    }

    #[test]
    fn either_spelling_takes_the_workspaces_lints() {
        for good in [
            "[package]\n\n[lints]\nworkspace = true # all of them\n",
            "lints.workspace = true\n[package]\n",
        ] {
            assert_eq!(lints(&package(), good), [], "{good}");
        }
    }

    #[test]
    fn a_setting_of_the_root_that_is_not_repeated_is_found() {
        let root = "# why\nallow-unwrap-in-tests = true\ntoo-many-lines-threshold = 100\n";
        let faults = clippy("x/clippy.toml", "allow-unwrap-in-tests = true\n", root);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].message.contains("too-many-lines-threshold"));
        assert_eq!(clippy("x/clippy.toml", root, root), []);
    }

    #[test]
    fn the_line_of_a_dependency_is_found_however_it_is_written() {
        let text = "[package]\nname = \"tokio\"\n[dependencies]\nbytes = \"1\"\ntokio.workspace = true\nweb = { package = \"axum\", version = \"1\" }\n[dev-dependencies.quinn]\nworkspace = true\n";
        assert_eq!(line_of(text, "tokio"), 5);
        assert_eq!(line_of(text, "axum"), 6);
        assert_eq!(line_of(text, "quinn"), 7);
        assert_eq!(line_of(text, "redb"), 1);
    }
}
