//! Why a crate did not become a component.

use std::path::PathBuf;

use crate::contract::Misfit;

/// Why a crate did not become a component. Nothing but cargo's own target
/// directory has been changed. [`BuildError::help`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The directory is no crate.
    #[error("there is no Cargo.toml in {}", dir.display())]
    NoManifest {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The manifest is a workspace without a package of its own, and none was named.
    #[error("{} is a workspace and names no package of its own", manifest.display())]
    NoPackage {
        /// The workspace's manifest.
        manifest: PathBuf,
        /// Packages that could be named.
        members: Vec<String>,
    },
    /// The workspace has no package of that name.
    #[error("the workspace of {} has no package `{package}`", manifest.display())]
    UnknownPackage {
        /// What was asked for.
        package: String,
        /// The manifest that was read.
        manifest: PathBuf,
        /// Packages there are.
        members: Vec<String>,
    },
    /// The package has no library.
    #[error("`{package}` has no library: an agent is a library with a src/lib.rs")]
    NoLibrary {
        /// The package.
        package: String,
        /// Its manifest.
        manifest: PathBuf,
    },
    /// The package's library is not a `cdylib`.
    #[error("the library of `{package}` is built as {found}, which does not become a component")]
    NotCdylib {
        /// The package.
        package: String,
        /// Its manifest.
        manifest: PathBuf,
        /// The crate types it has.
        found: String,
    },
    /// The toolchain cannot compile for Wasm.
    #[error("the Rust toolchain in use has no `{target}` target")]
    TargetMissing {
        /// The target.
        target: String,
    },
    /// The lock file is older than the manifests.
    #[error("Cargo.lock no longer fits the manifests of {}", workspace.display())]
    LockOutdated {
        /// The workspace's root.
        workspace: PathBuf,
        /// What cargo wrote.
        output: String,
    },
    /// Cargo could not read the crate.
    #[error("cargo cannot read the crate{}", tail(output))]
    Manifest {
        /// What cargo wrote.
        output: String,
    },
    /// The crate does not compile. Cargo has said why, in `output` or, when the
    /// build was verbose, on standard error.
    #[error("`{package}` does not compile{}", tail(output))]
    Compile {
        /// What was being built.
        package: String,
        /// What cargo wrote, empty if it went to standard error.
        output: String,
    },
    /// Cargo succeeded without writing a component.
    #[error("cargo built `{package}` and wrote no .wasm file for it")]
    NoArtifact {
        /// The package.
        package: String,
    },
    /// The component does not speak the contract.
    #[error("{} is no agent: {misfit}", wasm.display())]
    NoAgent {
        /// The package.
        package: String,
        /// The component.
        wasm: PathBuf,
        /// What is wrong with it.
        misfit: Misfit,
    },
    /// Cargo itself could not be started.
    #[error("cannot start `{program}`")]
    NoCargo {
        /// What was started.
        program: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Cargo answered with something this crate does not read.
    #[error("cannot read cargo's answer to `cargo {verb}`")]
    Answer {
        /// The cargo command.
        verb: &'static str,
        /// Where reading failed.
        source: serde_json::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl BuildError {
    /// What to do about it, for a person, where something can be said.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoManifest { .. } => {
                "give the directory of a crate, or create one with `phoenix new NAME`".into()
            }
            Self::NoPackage { members, .. } => {
                format!("name one of its packages: {}", listed(members))
            }
            Self::UnknownPackage {
                package, members, ..
            } => match nearest(package, members) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its packages are {}", listed(members)),
            },
            Self::NoLibrary { manifest, .. } | Self::NotCdylib { manifest, .. } => format!(
                "these lines in {} make it one:\n\n[lib]\ncrate-type = [\"cdylib\"]\n",
                manifest.display()
            ),
            Self::TargetMissing { target } => format!(
                "run `rustup target add {target}`; a rust-toolchain.toml beside Cargo.toml with\n\n\
                 [toolchain]\nchannel = \"stable\"\ntargets = [\"{target}\"]\n\n\
                 makes rustup install it by itself"
            ),
            Self::LockOutdated { workspace, .. } => format!(
                "run `cargo update --workspace` in {} and keep the new Cargo.lock",
                workspace.display()
            ),
            Self::NoAgent {
                misfit: Misfit::NoExport { .. },
                ..
            } => "put `#[agent]` on an `impl` block of the crate, with \
                  `use phoenix_sdk::prelude::*;` above; without the SDK, export the world \
                  `phoenix:agent/agent` or `phoenix:agent/agent-framed`"
                .into(),
            Self::NoAgent {
                misfit: Misfit::Version { .. },
                ..
            } => "build it with the SDK of the same version as the `phoenix` binary".into(),
            Self::NoCargo { .. } => {
                "install Rust from https://rustup.rs, or set CARGO to the cargo to use".into()
            }
            _ => return None,
        })
    }

    /// The message, its causes and its help as one text, for callers that only print.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        if let Some(help) = self.help() {
            text.push_str("\nhelp: ");
            text.push_str(&help);
        }
        text
    }
}

/// Cargo's output as the end of a message, if there is any.
fn tail(output: &str) -> String {
    if output.trim().is_empty() {
        String::new()
    } else {
        format!(":\n{}", output.trim_end())
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

/// The name that differs least from `wanted`, if it differs little.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a String> {
    names
        .iter()
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= wanted.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let here = (diagonal + usize::from(x != y))
                .min(left + 1)
                .min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("counter", "counter"), 0);
        assert_eq!(distance("conter", "counter"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let error = BuildError::UnknownPackage {
            package: "conter".into(),
            manifest: "Cargo.toml".into(),
            members: vec!["visitor".into(), "counter".into()],
        };
        assert_eq!(error.help().unwrap(), "did you mean `counter`?");
    }
}
