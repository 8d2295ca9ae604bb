//! `phoenix call`

use std::time::Duration;

use phoenix_core::AgentId;
use phoenix_gateway::api::ContentType;
use phoenix_gateway::client::Answer;

use super::advice;
use crate::args;
use crate::error::{CliError, Exit};
use crate::payload::{self, As};
use crate::session::Session;

/// Arguments of `phoenix call`.
#[derive(Debug, clap::Args)]
pub(crate) struct CallArgs {
    /// The agent, as kind/key
    #[arg(value_parser = args::agent)]
    agent: AgentId,
    /// The handler
    method: String,
    /// What it gets: JSON, a word, @FILE or - for standard input
    #[arg(allow_negative_numbers = true)]
    payload: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = args::span)]
    timeout: Duration,
    /// Which lane it takes; as the agent's kind has it if not given
    #[arg(long, value_parser = ["high", "normal", "low", "bulk"])]
    lane: Option<String>,
    /// How PAYLOAD is to be read, where that does not show
    #[arg(long = "as", value_name = "TYPE")]
    as_what: Option<As>,
}

pub(crate) async fn run(args: &CallArgs, node: &mut Session) -> Result<Exit, CliError> {
    let payload = payload::read(args.payload.as_deref(), args.as_what)?;
    let asked = node
        .client
        .ask(
            &args.agent,
            &args.method,
            payload.content_type,
            payload.bytes,
            args.timeout,
            args.lane.as_deref(),
        )
        .await;
    match asked {
        Ok(answer) if node.json => json(&answer, node)?,
        Ok(answer) => human(&answer, node)?,
        Err(error) => {
            return Err(advice::about_method(error, &args.agent, &args.method, node).await);
        }
    }
    Ok(Exit::Ok)
}

/// `{"content_type": …, "answer": …}`, or `base64` for what has no JSON form.
fn json(answer: &Answer, node: &mut Session) -> Result<(), CliError> {
    let content_type = answer.content_type;
    let shown = match answer.decode::<serde_json::Value>() {
        Ok(value) => serde_json::json!({ "content_type": content_type, "answer": value }),
        Err(_) => serde_json::json!({
            "content_type": content_type,
            "base64": data_encoding::BASE64.encode(&answer.bytes),
        }),
    };
    node.out.json(&shown)
}

/// The value alone; bytes that are no value as they are, unless a terminal shows them.
fn human(answer: &Answer, node: &mut Session) -> Result<(), CliError> {
    if answer.content_type == ContentType::None {
        return Ok(());
    }
    match answer.decode::<serde_json::Value>() {
        // An answer without a value says nothing.
        Ok(serde_json::Value::Null) => Ok(()),
        Ok(value) => {
            let text = serde_json::to_string_pretty(&value)
                .map_err(|error| CliError::failed(format!("cannot write the answer: {error}")))?;
            node.out.json_text(&text)
        }
        Err(_) => node.out.foreign_bytes(&answer.bytes),
    }
}
