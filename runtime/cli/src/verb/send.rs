//! `phoenix send`

use std::time::Duration;

use phoenix_core::{AgentId, ClientId};
use phoenix_gateway::api::{Message, Verdict};

use super::advice;
use crate::args;
use crate::error::{CliError, Exit};
use crate::payload::{self, As};
use crate::session::Session;

/// Arguments of `phoenix send`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 applied, 1 dead or refused, 4 unknown.")]
pub(crate) struct SendArgs {
    /// The agent, as kind/key
    #[arg(value_parser = args::agent)]
    agent: AgentId,
    /// The handler
    method: String,
    /// What it gets: JSON, a word, @FILE or - for standard input
    #[arg(allow_negative_numbers = true)]
    payload: Option<String>,
    /// How long to wait for what becomes of it
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = args::span)]
    timeout: Duration,
    /// Send under this name, which agents see as client/ID
    #[arg(long, value_name = "ID", value_parser = client)]
    client: Option<ClientId>,
    /// The message's number from this client to this agent, from 1 without
    /// gaps: sent again under its number, it is applied once
    #[arg(long, value_name = "N", requires = "client",
          value_parser = clap::value_parser!(u64).range(1..))]
    sequence: Option<u64>,
    /// How PAYLOAD is to be read, where that does not show
    #[arg(long = "as", value_name = "TYPE")]
    as_what: Option<As>,
}

fn client(text: &str) -> Result<ClientId, String> {
    ClientId::new(text).ok_or_else(|| "use 1 to 64 of a-z A-Z 0-9 - _ .".to_owned())
}

fn random_client() -> Result<ClientId, CliError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .ok()
        .and_then(|()| ClientId::new(&format!("cli-{}", data_encoding::HEXLOWER.encode(&bytes))))
        .ok_or_else(|| CliError::failed("the system gives no random bytes for a client's id"))
}

pub(crate) async fn run(args: &SendArgs, node: &mut Session) -> Result<Exit, CliError> {
    let payload = payload::read(args.payload.as_deref(), args.as_what)?;
    let client = match &args.client {
        Some(client) => client.clone(),
        None => random_client()?,
    };
    let message = Message {
        agent: args.agent.as_str().into(),
        method: args.method.as_str().into(),
        content_type: payload.content_type,
        payload: payload.bytes.as_ref().into(),
        sequence: args.sequence,
    };
    let sent = node.client.send(&client, &[message], args.timeout).await;
    let verdicts = match sent {
        Ok(verdicts) => verdicts,
        Err(error) => return Err(advice::about_agent(error, &args.agent, node).await),
    };
    let Some(verdict) = verdicts.first() else {
        return Err(CliError::failed("the node has no word about the message"));
    };
    if node.json {
        node.out.json(verdict)?;
    } else {
        node.out.line(&sentence(verdict))?;
    }
    Ok(match verdict {
        Verdict::Applied => Exit::Ok,
        Verdict::Dead { .. } | Verdict::Refused { .. } => Exit::Failed,
        Verdict::Unknown => Exit::Unknown,
    })
}

pub(super) fn sentence(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Applied => "applied".to_owned(),
        Verdict::Dead { code, detail } if detail.is_empty() => format!("dead: {code}"),
        Verdict::Dead { code, detail } => format!("dead: {code}: {detail}"),
        Verdict::Refused {
            expected: Some(expected),
            reason,
        } => format!("refused: {reason}; the next number is {expected}"),
        Verdict::Refused { reason, .. } => format!("refused: {reason}"),
        Verdict::Unknown => "unknown: nothing was heard in time; it may yet be applied".to_owned(),
    }
}
