//! One run of cargo over one or more agents.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::contract::World;
use crate::environment::cargo;
use crate::error::BuildError;
use crate::metadata::{Metadata, Package, no_cargo};
use crate::{PROFILE, TARGET};

/// The profile `agent`, for workspaces that do not define it: small, fast, and
/// a panic is a trap the host reports.
const PROFILE_KEYS: [&str; 7] = [
    "profile.agent.inherits=\"release\"",
    "profile.agent.opt-level=3",
    "profile.agent.lto=true",
    "profile.agent.codegen-units=1",
    "profile.agent.panic=\"abort\"",
    "profile.agent.strip=\"debuginfo\"",
    "profile.agent.debug=false",
];

/// A build to be run: which packages, how, and where to.
#[derive(Clone, Debug)]
pub struct Build {
    manifest_dir: PathBuf,
    packages: Vec<String>,
    profile: String,
    target: String,
    target_dir: Option<PathBuf>,
    locked: bool,
    verbose: bool,
    any_world: bool,
}

/// A component that was built.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The package it was built from.
    pub package: String,
    /// Where cargo wrote it. A later build replaces it.
    pub wasm: PathBuf,
    /// Its bytes as they were when this build ended.
    pub bytes: Vec<u8>,
    /// The world it exports; `None` if the build was told to take any.
    pub world: Option<World>,
}

impl Build {
    /// A build of the crate in `manifest_dir`, the directory of its Cargo.toml.
    pub fn new(manifest_dir: impl Into<PathBuf>) -> Self {
        Self {
            manifest_dir: manifest_dir.into(),
            packages: Vec::new(),
            profile: PROFILE.to_owned(),
            target: TARGET.to_owned(),
            target_dir: None,
            locked: true,
            verbose: false,
            any_world: false,
        }
    }

    /// Builds these packages of the workspace instead of the directory's own.
    pub fn packages<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.packages = names.into_iter().map(Into::into).collect();
        self
    }

    /// Uses this cargo profile instead of [`PROFILE`], which need not be defined.
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = name.into();
        self
    }

    /// Compiles for another target than [`TARGET`]. Those that give core modules
    /// need [`Build::any_world`] too.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// Builds into `dir` instead of cargo's own choice. Runs that share it wait
    /// for one another. See [`crate::shared_target_dir`].
    pub fn target_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.target_dir = Some(dir.into());
        self
    }

    /// Whether a Cargo.lock that is there must fit as it is, which is the
    /// default. Otherwise cargo brings it up to date.
    pub fn locked(mut self, locked: bool) -> Self {
        self.locked = locked;
        self
    }

    /// Lets cargo write its progress and the compiler's errors to standard
    /// error as they come. Otherwise they are part of the error.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Takes components that are no agents too: parts of tests.
    pub fn any_world(mut self) -> Self {
        self.any_world = true;
        self
    }

    /// Builds. The answer has one artifact a package, in the order they were named.
    pub fn run(&self) -> Result<Vec<Artifact>, BuildError> {
        let metadata = Metadata::read(&self.manifest_dir)?;
        let packages = metadata.select(&self.manifest_dir, &self.packages)?;
        for package in &packages {
            package.check_cdylib()?;
        }
        // Held until the components are read: another run may replace them.
        let _lock = self.target_dir.as_deref().map(lock).transpose()?;
        packages
            .iter()
            .map(|package| {
                let stdout = self.cargo_rustc(&metadata, package)?;
                self.artifact(package, &Built::read(&stdout)?)
            })
            .collect()
    }

    /// One package at a time, so that its dependencies' features, and with
    /// them its bytes, do not depend on what is built beside it. Of its crate
    /// types only the component's is built: beside an `rlib` cargo would leave
    /// link-time optimisation out.
    fn cargo_rustc(&self, metadata: &Metadata, package: &Package) -> Result<Vec<u8>, BuildError> {
        let mut command = cargo();
        command
            .args(["rustc", "--lib", "--crate-type", "cdylib"])
            .args(["--package", &package.name])
            .args(["--target", &self.target])
            .args(["--profile", &self.profile])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(&self.manifest_dir);
        if self.profile == PROFILE && !defines_profile(&metadata.workspace_root) {
            for key in PROFILE_KEYS {
                command.args(["--config", key]);
            }
        }
        if let Some(dir) = &self.target_dir {
            command.arg("--target-dir").arg(dir);
        }
        if self.locked && metadata.workspace_root.join("Cargo.lock").is_file() {
            command.arg("--locked");
        }
        if self.verbose {
            command.stderr(Stdio::inherit());
        }
        let output = command
            .output()
            .map_err(|source| no_cargo(&command, source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(self.diagnose(metadata, package, said))
    }

    /// Why cargo failed.
    fn diagnose(&self, metadata: &Metadata, package: &Package, output: String) -> BuildError {
        if target_is_missing(&self.manifest_dir, &self.target) {
            return BuildError::TargetMissing {
                target: self.target.clone(),
            };
        }
        if output.contains("--locked was passed") {
            return BuildError::LockOutdated {
                workspace: metadata.workspace_root.clone(),
                output,
            };
        }
        BuildError::Compile {
            package: package.name.clone(),
            output,
        }
    }

    fn artifact(&self, package: &Package, built: &Built) -> Result<Artifact, BuildError> {
        let wasm = built
            .wasm_of(package)
            .ok_or_else(|| BuildError::NoArtifact {
                package: package.name.clone(),
            })?;
        let bytes = std::fs::read(&wasm).map_err(|source| BuildError::File {
            action: "read",
            path: wasm.clone(),
            source,
        })?;
        let world = match World::of(&bytes) {
            Ok(world) => Some(world),
            Err(_) if self.any_world => None,
            Err(misfit) => {
                return Err(BuildError::NoAgent {
                    package: package.name.clone(),
                    wasm,
                    misfit,
                });
            }
        };
        Ok(Artifact {
            package: package.name.clone(),
            wasm,
            bytes,
            world,
        })
    }
}

/// Whether the workspace's manifest has a `[profile.agent]`. A line is enough
/// to know it by: if it is written otherwise, the profile's defaults win.
fn defines_profile(workspace: &Path) -> bool {
    let text = std::fs::read_to_string(workspace.join("Cargo.toml")).unwrap_or_default();
    let header = format!("[profile.{PROFILE}]");
    text.lines().any(|line| {
        let line: String = line.split_whitespace().collect();
        line.starts_with(&header)
    })
}

/// Whether the toolchain in use in `dir` has no standard library for `target`.
fn target_is_missing(dir: &Path, target: &str) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(dir)
        .output();
    output.is_ok_and(|output| {
        let libdir = String::from_utf8_lossy(&output.stdout);
        output.status.success() && !Path::new(libdir.trim()).is_dir()
    })
}

/// Waits until no other run uses the target directory.
fn lock(dir: &Path) -> Result<File, BuildError> {
    let path = dir.join(".phoenix-build.lock");
    let failed = |source| BuildError::File {
        action: "lock",
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// What cargo says it built.
struct Built(Vec<CompilerArtifact>);

#[derive(Deserialize)]
struct CompilerArtifact {
    manifest_path: PathBuf,
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
}

impl Built {
    fn read(stdout: &[u8]) -> Result<Self, BuildError> {
        let answer = |source| BuildError::Answer {
            verb: "rustc",
            source,
        };
        let mut artifacts = Vec::new();
        // Lines that are not JSON come from build scripts and macros that print.
        for line in stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| line.starts_with(b"{"))
        {
            let message: Message = serde_json::from_slice(line).map_err(answer)?;
            if message.reason == "compiler-artifact" {
                artifacts.push(serde_json::from_slice(line).map_err(answer)?);
            }
        }
        Ok(Self(artifacts))
    }

    fn wasm_of(&self, package: &Package) -> Option<PathBuf> {
        self.0
            .iter()
            .filter(|artifact| artifact.manifest_path == package.manifest_path)
            .flat_map(|artifact| &artifact.filenames)
            .find(|file| file.extension() == Some(OsStr::new("wasm")))
            .cloned()
    }
}
