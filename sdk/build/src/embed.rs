//! Agents as part of a host program, for build scripts.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::build::{Artifact, Build};
use crate::error::BuildError;
use crate::metadata::Metadata;
use crate::target_dir::shared_target_dir;

/// An error as a build script's `main` shows it: its text, its causes, what to do.
pub struct Report(String);

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<BuildError> for Report {
    fn from(error: BuildError) -> Self {
        Self(error.report())
    }
}

/// For a build script: builds `packages` of the workspace at `workspace` into
/// the shared target directory and writes `agents.rs` to `OUT_DIR`, which holds
///
/// ```text
/// pub const AGENTS: &[(&str, &[u8])] = &[("counter", include_bytes!("counter.wasm")), …];
/// ```
///
/// and is taken in with `include!(concat!(env!("OUT_DIR"), "/agents.rs"));`.
/// Cargo is told to run the script again when a source file of theirs, a
/// manifest of these, or the lock file changes, and for nothing else.
pub fn embed(workspace: &Path, packages: &[&str]) -> Result<Vec<Artifact>, Report> {
    let out_dir = std::env::var_os("OUT_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    for name in ["Cargo.toml", "Cargo.lock"] {
        rerun_if_changed(&workspace.join(name))?;
    }
    let names: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
    for package in Metadata::read(workspace)?.select(workspace, &names)? {
        // Known before the build, so that a crate that does not compile is tried again.
        rerun_if_changed(package.manifest_path.parent().unwrap_or(workspace))?;
    }
    let artifacts = Build::new(workspace)
        .packages(names)
        .target_dir(shared_target_dir(&out_dir.join("phoenix-agents")))
        .run()?;
    let mut text = String::from("pub const AGENTS: &[(&str, &[u8])] = &[");
    for artifact in &artifacts {
        for source in sources(&artifact.wasm)? {
            rerun_if_changed(&source)?;
        }
        let file = format!("{}.wasm", artifact.package);
        write_if_changed(&out_dir.join(&file), &artifact.bytes)?;
        let _ = write!(
            text,
            "({:?}, include_bytes!({file:?}) as &[u8]),",
            artifact.package
        );
    }
    text.push_str("];\n");
    write_if_changed(&out_dir.join("agents.rs"), text.as_bytes())?;
    Ok(artifacts)
}

/// The files a component was made from and the manifests they lie under, by
/// the dependency file cargo writes beside it. Registry crates are not among
/// them: the lock file stands for those.
fn sources(wasm: &Path) -> Result<BTreeSet<PathBuf>, BuildError> {
    let path = wasm.with_extension("d");
    let text = std::fs::read_to_string(&path).map_err(|source| BuildError::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let mut files = BTreeSet::new();
    for file in dependencies(&text) {
        let manifest = file
            .ancestors()
            .skip(1)
            .map(|dir| dir.join("Cargo.toml"))
            .find(|manifest| manifest.is_file());
        files.extend(manifest);
        files.insert(file);
    }
    Ok(files)
}

/// The prerequisites in a dependency file: `output: a b\ c`, where a backslash
/// makes the next space part of the name.
fn dependencies(text: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in text.lines() {
        let Some((_, list)) = line.split_once(": ") else {
            continue;
        };
        let mut name = String::new();
        let mut characters = list.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if characters.peek() == Some(&' ') => {
                    characters.next();
                    name.push(' ');
                }
                ' ' => files.push(std::mem::take(&mut name)),
                other => name.push(other),
            }
        }
        files.push(name);
    }
    files.retain(|name| !name.is_empty());
    files.into_iter().map(PathBuf::from).collect()
}

fn rerun_if_changed(path: &Path) -> Result<(), BuildError> {
    // Standard output is how a build script speaks to cargo.
    writeln!(
        std::io::stdout().lock(),
        "cargo::rerun-if-changed={}",
        path.display()
    )
    .map_err(|source| BuildError::File {
        action: "tell cargo to watch",
        path: path.to_owned(),
        source,
    })
}

/// Leaves a file of the same content alone, so that nothing that includes it is rebuilt.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    std::fs::write(path, bytes).map_err(|source| BuildError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependency_files_are_read_as_cargo_writes_them() {
        let text = "/t/x.wasm: /a/lib.rs /b/with\\ space.rs\n";
        assert_eq!(
            dependencies(text),
            [
                PathBuf::from("/a/lib.rs"),
                PathBuf::from("/b/with space.rs")
            ]
        );
        assert!(dependencies("").is_empty());
    }

    #[test]
    fn an_unchanged_file_keeps_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_if_changed(&path, b"one").unwrap();
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        write_if_changed(&path, b"one").unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().modified().unwrap(),
            before
        );
        write_if_changed(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
