//! What `cargo metadata` says about a workspace.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::environment::cargo;
use crate::error::BuildError;

/// A workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_root: PathBuf,
}

/// A member of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) targets: Vec<Target>,
}

/// What a member builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    pub(crate) crate_types: Vec<String>,
}

impl Metadata {
    /// Reads the workspace of the manifest in `dir`. Dependencies are not looked at.
    pub(crate) fn read(dir: &Path) -> Result<Self, BuildError> {
        let manifest = dir.join("Cargo.toml");
        if !manifest.is_file() {
            return Err(BuildError::NoManifest {
                dir: dir.to_owned(),
            });
        }
        let mut command = cargo();
        let output = command
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(dir)
            .output()
            .map_err(|source| no_cargo(&command, source))?;
        if !output.status.success() {
            return Err(BuildError::Manifest {
                output: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        serde_json::from_slice(&output.stdout).map_err(|source| BuildError::Answer {
            verb: "metadata",
            source,
        })
    }

    /// The packages of these names or, if there are none, the one whose manifest lies in `dir`.
    pub(crate) fn select(&self, dir: &Path, names: &[String]) -> Result<Vec<&Package>, BuildError> {
        let manifest = dir.join("Cargo.toml");
        if names.is_empty() {
            let wanted = manifest.canonicalize().unwrap_or_else(|_| manifest.clone());
            let own = self
                .packages
                .iter()
                .find(|p| p.manifest_path.canonicalize().is_ok_and(|m| m == wanted));
            return match own {
                Some(package) => Ok(vec![package]),
                None => Err(BuildError::NoPackage {
                    manifest,
                    members: self.names(),
                }),
            };
        }
        names
            .iter()
            .map(|name| {
                let found = self.packages.iter().find(|package| package.name == *name);
                found.ok_or_else(|| BuildError::UnknownPackage {
                    package: name.clone(),
                    manifest: manifest.clone(),
                    members: self.names(),
                })
            })
            .collect()
    }

    fn names(&self) -> Vec<String> {
        self.packages.iter().map(|p| p.name.clone()).collect()
    }
}

impl Package {
    /// Checks that the package is a library that becomes a component.
    pub(crate) fn check_cdylib(&self) -> Result<(), BuildError> {
        const LIBRARIES: [&str; 5] = ["lib", "rlib", "dylib", "cdylib", "staticlib"];
        let library = self
            .targets
            .iter()
            .find(|target| target.kind.iter().any(|k| LIBRARIES.contains(&k.as_str())));
        match library {
            None => Err(BuildError::NoLibrary {
                package: self.name.clone(),
                manifest: self.manifest_path.clone(),
            }),
            Some(library) if !library.crate_types.iter().any(|t| t == "cdylib") => {
                Err(BuildError::NotCdylib {
                    package: self.name.clone(),
                    manifest: self.manifest_path.clone(),
                    found: library.crate_types.join(", "),
                })
            }
            Some(_) => Ok(()),
        }
    }
}

/// The error for a command that could not be started.
pub(crate) fn no_cargo(command: &std::process::Command, source: std::io::Error) -> BuildError {
    BuildError::NoCargo {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
}
