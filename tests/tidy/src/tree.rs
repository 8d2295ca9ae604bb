//! The tree under test: its packages, as cargo sees them, and its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// Workspaces of the tree. The excluded ones build for Wasm only, or with a
/// tool of their own, but the rules hold for them too.
const WORKSPACES: [&str; 3] = ["", "tests/guests", "tests/fuzz"];

/// What kept the tree from being read.
#[derive(Debug)]
pub enum TreeError {
    /// `cargo metadata` did not answer.
    Metadata {
        /// For which manifest.
        manifest: PathBuf,
        /// What it said.
        said: String,
    },
    /// A file or directory could not be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl std::fmt::Display for TreeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Metadata { manifest, said } => {
                write!(f, "cargo metadata of {}: {said}", manifest.display())
            }
            Self::Read { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for TreeError {}

/// The source tree.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
    packages: Vec<Package>,
}

/// A package of the tree.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its directory, from the root of the tree, with `/` between the parts.
    pub dir: String,
    /// What it says it depends on.
    pub dependencies: Vec<Dependency>,
}

/// One line of a package's dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name of the package depended on.
    pub name: String,
    /// What it is needed for.
    pub kind: DependencyKind,
}

/// What a dependency is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyKind {
    /// The crate itself.
    Normal,
    /// Its tests.
    Dev,
    /// Its build script.
    Build,
}

impl Package {
    /// Where its manifest is, from the root of the tree.
    pub fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.dir)
    }

    /// Whether it only tests: what lies under `tests/` at the root.
    pub fn is_test(&self) -> bool {
        self.dir.starts_with("tests/")
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<MetadataDependency>,
}

#[derive(Deserialize)]
struct MetadataDependency {
    name: String,
    kind: Option<String>,
}

impl Tree {
    /// Reads the tree this crate lies in.
    pub fn read() -> Result<Self, TreeError> {
        let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .skip(2)
            .take(1)
            .collect();
        let mut packages = Vec::new();
        for workspace in WORKSPACES {
            let manifest = root.join(workspace).join("Cargo.toml");
            if manifest.exists() {
                packages.extend(metadata(&root, &manifest)?);
            }
        }
        Ok(Self { root, packages })
    }

    /// Its packages, those of the excluded workspaces included.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The text of a file, named from the root.
    pub fn text(&self, file: &str) -> Result<String, TreeError> {
        let path = self.root.join(file);
        fs::read_to_string(&path).map_err(|error| TreeError::Read { path, error })
    }

    /// Whether there is a file or directory of that name.
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The Rust files of a package, from the root, sorted. Directories with a
    /// manifest of their own are other packages, or templates of some.
    pub fn rust_files(&self, package: &Package) -> Result<Vec<String>, TreeError> {
        let mut found = Vec::new();
        self.collect(&package.dir, "rs", &mut found)?;
        found.sort();
        Ok(found)
    }

    /// The Markdown files at the root and in `docs`.
    pub fn documents(&self) -> Result<Vec<String>, TreeError> {
        let mut found = Vec::new();
        if self.exists("docs") {
            self.collect("docs", "md", &mut found)?;
        }
        found.extend(
            entries(&self.root)?
                .into_iter()
                .filter(|path| path.extension().is_some_and(|end| end == "md"))
                .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())),
        );
        found.sort();
        Ok(found)
    }

    fn collect(&self, dir: &str, end: &str, into: &mut Vec<String>) -> Result<(), TreeError> {
        for path in entries(&self.root.join(dir))? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let below = format!("{dir}/{name}");
            if path.is_dir() {
                let other = path.join("Cargo.toml").exists();
                if !other && name != "target" && !name.starts_with('.') {
                    self.collect(&below, end, into)?;
                }
            } else if path.extension().is_some_and(|found| found == end) {
                into.push(below);
            }
        }
        Ok(())
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, TreeError> {
    let failed = |error| TreeError::Read {
        path: dir.to_owned(),
        error,
    };
    fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
        .collect()
}

fn metadata(root: &Path, manifest: &Path) -> Result<Vec<Package>, TreeError> {
    let failed = |said: String| TreeError::Metadata {
        manifest: manifest.to_owned(),
        said,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Without dependencies it needs no network and no lock file.
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .arg("--manifest-path")
        .arg(manifest)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    metadata
        .packages
        .into_iter()
        .map(|package| {
            let dir = package
                .manifest_path
                .parent()
                .and_then(|dir| dir.strip_prefix(root).ok())
                .and_then(|dir| dir.to_str())
                .ok_or_else(|| failed(format!("{} lies outside the tree", package.name)))?
                .replace('\\', "/");
            Ok(Package {
                name: package.name,
                dir,
                dependencies: package.dependencies.into_iter().map(dependency).collect(),
            })
        })
        .collect()
}

fn dependency(found: MetadataDependency) -> Dependency {
    Dependency {
        name: found.name,
        kind: match found.kind.as_deref() {
            Some("dev") => DependencyKind::Dev,
            Some("build") => DependencyKind::Build,
            _ => DependencyKind::Normal,
        },
    }
}
