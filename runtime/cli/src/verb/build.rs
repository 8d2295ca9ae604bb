//! `phoenix build`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phoenix_build::{Artifact, Build, BuildError, World};
use phoenix_gateway::units::show_size;

use crate::error::{CliError, Exit};
use crate::output::Output;

/// Arguments of `phoenix build`.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The crate's directory
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The package, in a workspace of several
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Copy the component to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fail rather than change Cargo.lock
    #[arg(long)]
    locked: bool,
}

pub(crate) fn run(args: &BuildArgs, json: bool) -> Result<ExitCode, CliError> {
    let mut build = Build::new(&args.dir).locked(args.locked).verbose(!json);
    if !args.package.is_empty() {
        build = build.packages(args.package.iter().map(String::as_str));
    }
    let artifacts = build.run().map_err(|error| refused(&error))?;
    if let Some(output) = &args.output {
        copy(&artifacts, output)?;
    }
    let mut out = Output::new();
    for artifact in &artifacts {
        let path = args.output.as_deref().unwrap_or(&artifact.wasm);
        say(artifact, path, json, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Ok.into())
}

fn refused(error: &BuildError) -> CliError {
    CliError::failed(with_causes(error)).help_if(error.help())
}

/// An error's message with those of its causes.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}

fn copy(artifacts: &[Artifact], output: &Path) -> Result<(), CliError> {
    let [artifact] = artifacts else {
        return Err(
            CliError::usage("--output names one file for several components")
                .help("build one package at a time, or leave --output out"),
        );
    };
    std::fs::write(output, &artifact.bytes)
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", output.display())))
}

fn say(artifact: &Artifact, path: &Path, json: bool, out: &mut Output) -> Result<(), CliError> {
    if json {
        return out.json(&serde_json::json!({
            "package": artifact.package,
            "component": path.display().to_string(),
            "component_bytes": artifact.bytes.len(),
            "world": artifact.world.map(|world| match world {
                World::Typed => "agent",
                World::Framed => "agent-framed",
            }),
        }));
    }
    out.line(&format!(
        "{} is built: {} ({})",
        artifact.package,
        path.display(),
        show_size(artifact.bytes.len() as u64)
    ))?;
    out.line(&format!(
        "deploy it with: phoenix deploy {} --kind {}",
        path.display(),
        artifact.package.replace('_', "-")
    ))
}
