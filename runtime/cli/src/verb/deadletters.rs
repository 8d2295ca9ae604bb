//! `phoenix deadletters`

use std::time::{Duration, SystemTime};

use phoenix_core::NodeId;
use phoenix_gateway::api::DeadLetter;

use super::logs::stamp;
use crate::args;
use crate::error::{CliError, Exit};
use crate::session::Session;

/// Arguments of `phoenix deadletters`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadLettersArgs {
    /// Those of this node only
    #[arg(long, value_name = "NODE", value_parser = args::node)]
    node: Option<NodeId>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(crate) async fn run(args: &DeadLettersArgs, node: &mut Session) -> Result<Exit, CliError> {
    let list = node
        .client
        .dead_letters(args.node, Some(args.limit))
        .await?;
    if node.json {
        node.out.json(&list)?;
    } else if list.dead_letters.is_empty() {
        node.out.line("no dead letters")?;
    } else {
        for letter in &list.dead_letters {
            show(letter, node)?;
        }
    }
    Ok(Exit::Ok)
}

/// A line about the letter, and under it what it carried and what is known.
fn show(letter: &DeadLetter, node: &mut Session) -> Result<(), CliError> {
    let at = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(letter.at_ms))
        .map_or_else(|| letter.at_ms.to_string(), stamp);
    let method = match letter.method.as_str() {
        "" => "(a reply)",
        method => method,
    };
    node.out.line(&format!(
        "{}#{} {at} {} from {} to {} {method}, tried {} times",
        letter.node, letter.number, letter.reason, letter.from, letter.to, letter.attempts
    ))?;
    let payload = &letter.payload;
    let carried = match (&payload.json, &payload.base64) {
        (Some(json), _) => json.to_string(),
        (None, Some(base64)) => format!("{} bytes, base64 {base64}", payload.bytes),
        (None, None) => String::new(),
    };
    if !carried.is_empty() {
        node.out.line(&format!("    payload: {carried}"))?;
    }
    for line in letter.detail.lines() {
        node.out.line(&format!("    {line}"))?;
    }
    Ok(())
}
