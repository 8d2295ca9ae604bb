//! `phoenix token`

use std::time::Duration;

use crate::args;
use crate::error::{CliError, Exit};
use crate::session::Session;

/// Arguments of `phoenix token`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// How long the token may be used
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = args::span)]
    valid_for: Duration,
}

pub(crate) async fn run(args: &TokenArgs, node: &mut Session) -> Result<Exit, CliError> {
    let token = node.client.join_token(args.valid_for).await?;
    if node.json {
        node.out.json(&token)?;
    } else {
        node.out.line(&token.token)?;
    }
    Ok(Exit::Ok)
}
