//! `phoenix completions`

use std::process::ExitCode;

use crate::args;
use crate::error::{CliError, Exit};
use crate::output::Output;

/// Arguments of `phoenix completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "bash: phoenix completions bash > ~/.local/share/bash-completion/completions/phoenix"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<ExitCode, CliError> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "phoenix", &mut script);
    let mut out = Output::new();
    out.bytes(&script)?;
    out.flush()?;
    Ok(Exit::Ok.into())
}
