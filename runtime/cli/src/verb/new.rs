//! `phoenix new`

use std::path::PathBuf;
use std::process::ExitCode;

use phoenix_build::{ScaffoldError, scaffold};

use super::build::with_causes;
use crate::error::{CliError, Exit};
use crate::output::Output;

/// Arguments of `phoenix new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The agent's name: its kind, its crate, its directory
    name: String,
    /// Where to create it [default: a directory of that name here]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The directory of the crate phoenix-sdk, or of its source tree [default: that of the
    /// source tree around, or of the one this program was built from]
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

pub(crate) fn run(args: &NewArgs, json: bool) -> Result<ExitCode, CliError> {
    let name = &args.name;
    let dir = args.path.clone().unwrap_or_else(|| PathBuf::from(name));
    scaffold(name, &dir, args.sdk.as_deref()).map_err(|error| refused(&error))?;
    let shown = dir.display();
    let mut out = Output::new();
    if json {
        out.json(&serde_json::json!({ "name": name, "path": shown.to_string() }))?;
    } else {
        out.line(&format!("{name} is created in {shown}"))?;
        out.line(&format!("test it:   cd {shown} && cargo test"))?;
        out.line(&format!("build it:  phoenix build {shown}"))?;
    }
    out.flush()?;
    Ok(Exit::Ok.into())
}

fn refused(error: &ScaffoldError) -> CliError {
    let message = with_causes(error);
    let refused = match error {
        ScaffoldError::Name { .. } | ScaffoldError::NoSdk { .. } => CliError::usage(message),
        _ => CliError::failed(message),
    };
    let help = match error {
        ScaffoldError::Exists { .. } => Some("choose another place with `--path DIR`".to_owned()),
        ScaffoldError::SdkUnknown => error.help().map(|help| format!("{help}, with `--sdk DIR`")),
        _ => error.help(),
    };
    refused.help_if(help)
}
