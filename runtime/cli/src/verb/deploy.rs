//! `phoenix deploy`

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use phoenix_core::{KindName, KindPolicy};
use phoenix_gateway::api::Policy;
use phoenix_gateway::policy::changed;
use phoenix_gateway::suggest::did_you_mean;
use phoenix_gateway::units::show_size;

use crate::args;
use crate::error::{CliError, Exit};
use crate::policy::{check, of_text};
use crate::samples;
use crate::session::Session;

/// Largest component that is read, in bytes. The node's own limit is lower and
/// says so itself.
const MAX_COMPONENT: u64 = 1 << 30;
/// Largest policy file, in bytes.
const MAX_POLICY: u64 = 1 << 20;

/// Arguments of `phoenix deploy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A policy file is TOML with the fields' names, as in \
                        `memory-bytes = \"64MiB\"`; `phoenix kinds --json` shows all of them.")]
pub(crate) struct DeployArgs {
    /// The component, as `phoenix build` makes it
    #[arg(required_unless_present = "sample")]
    file: Option<PathBuf>,
    /// Deploy a sample agent that comes with this program instead
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    sample: Option<String>,
    /// The kind's name [default: the file's name without its extension]
    #[arg(long, value_name = "NAME", value_parser = args::kind)]
    kind: Option<KindName>,
    /// What the kind's agents may use
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Set one field of the policy, as in idle-after=5s
    #[arg(long, value_name = "FIELD=VALUE", value_parser = args::setting)]
    set: Vec<(String, String)>,
}

/// What can be known to be right before a node is asked.
pub(crate) struct Deployment {
    kind: KindName,
    component: Bytes,
    policy: Policy,
}

/// Reads the files and checks the policy.
pub(crate) fn prepare(args: &DeployArgs) -> Result<Deployment, CliError> {
    let policy = policy(args)?;
    let (component, name) = match (&args.sample, &args.file) {
        (Some(sample), _) => (sample_component(sample)?, sample.replace('_', "-")),
        (None, Some(file)) => (read(file, MAX_COMPONENT)?.into(), stem(file)),
        (None, None) => return Err(CliError::usage("there is nothing to deploy")),
    };
    let kind = match &args.kind {
        Some(kind) => kind.clone(),
        None => KindName::new(&name).map_err(|error| {
            CliError::usage(error).help("give the kind's name with `--kind NAME`")
        })?,
    };
    Ok(Deployment {
        kind,
        component,
        policy,
    })
}

fn stem(file: &Path) -> String {
    file.file_stem()
        .map(|stem| stem.to_string_lossy().replace('_', "-"))
        .unwrap_or_default()
}

fn sample_component(name: &str) -> Result<Bytes, CliError> {
    samples::component(name)
        .map(Bytes::from_static)
        .ok_or_else(|| {
            CliError::usage(format!("there is no sample `{name}`")).help(
                did_you_mean(name, samples::names())
                    .unwrap_or_else(|| "`phoenix kinds --samples` lists them".to_owned()),
            )
        })
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let failed =
        |error: std::io::Error| CliError::usage(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(CliError::usage(format!(
            "{} is over {}",
            path.display(),
            show_size(most)
        )));
    }
    Ok(bytes)
}

/// The policy's changes: the file's, then those of `--set`.
fn policy(args: &DeployArgs) -> Result<Policy, CliError> {
    let mut policy = match &args.policy {
        Some(path) => policy_file(path)?,
        None => Policy::default(),
    };
    for (field, value) in &args.set {
        check(field, value).map_err(|error| {
            CliError::usage(format!("--set {field}={value}: {error}")).help(error.suggestion())
        })?;
        policy.0.insert(field.clone(), value.as_str().into());
    }
    // Bounds that do not fit one another show only now.
    changed(&KindPolicy::default(), &policy)
        .map_err(|error| CliError::usage(&error).help(error.suggestion()))?;
    Ok(policy)
}

pub(super) fn policy_file(path: &Path) -> Result<Policy, CliError> {
    let (name, text) = text_file(path)?;
    of_text(&name, &text)
}

/// A file that somebody wrote: its name, as it is shown, and its text.
pub(super) fn text_file(path: &Path) -> Result<(String, String), CliError> {
    let name = path.display().to_string();
    let text = String::from_utf8(read(path, MAX_POLICY)?)
        .map_err(|_| CliError::usage(format!("{name} is not UTF-8")))?;
    Ok((name, text))
}

pub(crate) async fn run(deployment: Deployment, node: &mut Session) -> Result<Exit, CliError> {
    let Deployment {
        kind,
        component,
        policy,
    } = deployment;
    let deployed = node.client.deploy(&kind, component, &policy).await?;
    if node.json {
        node.out.json(&deployed)?;
    } else {
        node.out.line(&format!(
            "{} is deployed ({}, {})",
            deployed.kind,
            show_size(deployed.component_bytes),
            deployed.component.get(..12).unwrap_or_default(),
        ))?;
    }
    Ok(Exit::Ok)
}
