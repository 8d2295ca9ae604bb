//! The `phoenix` command: one file a verb.
//!
//! Verbs that operate a node are clients of its HTTP API and know nothing else
//! of it; `phoenix node` is the node. What people write (arguments, the config
//! file, policies, payloads) is read by functions of their own, so that tests
//! can throw anything at them.
//!
//! **Invariant**: nothing that came from an agent or another node reaches the
//! terminal without its control characters escaped, and no input makes this
//! program panic.
//!
//! Start with [`args::Cli`] and `verb`. `docs/cli.md` describes exit codes and
//! the shapes of `--json`.

pub mod args;
pub mod config;
pub mod declaration;
mod demo;
mod error;
pub mod output;
pub mod payload;
pub mod policy;
mod samples;
mod session;
mod verb;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use error::{CliError, Exit};

/// Runs the command line `args`, whose first is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match args::parse(args.clone()) {
        Ok(cli) => cli,
        Err(refused) => return say_usage(&refused, &args),
    };
    let json = cli.global.json;
    match verb::run(cli) {
        Ok(code) => code,
        Err(error) => {
            error.report(json);
            error.exit().into()
        }
    }
}

/// Help and versions go to standard output and are no failure; what is wrong
/// with the arguments goes to standard error.
fn say_usage(refused: &clap::Error, args: &[OsString]) -> ExitCode {
    match refused.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has seen enough is no failure either.
            let _ = refused.print();
            Exit::Ok.into()
        }
        _ if args.iter().any(|arg| arg == "--json") => {
            let rendered = refused.render().to_string();
            let text = rendered.trim();
            CliError::usage(text.strip_prefix("error: ").unwrap_or(text)).report(true);
            Exit::Usage.into()
        }
        _ => {
            let _ = refused.print();
            Exit::Usage.into()
        }
    }
}
