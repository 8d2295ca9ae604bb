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
#[command(
    after_help = "Exit status: 0 applied, or sent with --async; 1 dead or refused; 4 unknown."
)]
pub(crate) struct SendArgs {
    /// The agent, as kind/key
    #[arg(value_parser = args::agent)]
    agent: AgentId,
    /// The handler
    method: String,
    /// What it gets: JSON, a word, @FILE or - for standard input
    #[arg(allow_negative_numbers = true)]
    payload: Option<String>,
    /// How long to wait for what becomes of it [default: 5s]
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    timeout: Option<Duration>,
    /// Send under this name, which agents see as client/ID
    #[arg(long, value_name = "ID", value_parser = client)]
    client: Option<ClientId>,
    /// The message's number from this client to this agent on its lane, from 1
    /// without gaps: sent again under its number, it is applied once
    #[arg(long, value_name = "N", requires = "client",
          value_parser = clap::value_parser!(u64).range(1..))]
    sequence: Option<u64>,
    /// Names the message: sent again under its key within an hour, it is applied once
    #[arg(long, value_name = "KEY", conflicts_with = "sequence")]
    key: Option<String>,
    #[command(flatten)]
    how: How,
    /// How often it takes effect; more than once at most needs --sequence or --key
    #[arg(long, value_name = "GUARANTEE",
          value_parser = ["exactly-once", "at-least-once", "at-most-once"])]
    delivery: Option<String>,
    /// Keep it as a dead letter if its --ttl runs out
    #[arg(long, requires = "ttl")]
    report_expired: bool,
    /// After which time it is given up and refused [default: 10m]
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    give_up: Option<Duration>,
    /// Do not wait for what becomes of it
    #[arg(long = "async")]
    and_go: bool,
    /// How PAYLOAD is to be read, where that does not show
    #[arg(long = "as", value_name = "TYPE")]
    as_what: Option<As>,
}

/// How a message, or each of a broadcast's, is sent.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Which lane it takes; as its type and the agent's kind have it if not given
    #[arg(long, value_parser = ["high", "normal", "low", "bulk"])]
    pub(super) lane: Option<String>,
    /// After which time it is of no use and is not put to the agent, at most 1d
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    pub(super) ttl: Option<Duration>,
    /// Its type, as in phoenix.data.order.created
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) message_type: Option<String>,
}

/// How long a verdict or answers are waited for where nothing is said.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whole milliseconds, as the API has them.
pub(super) fn millis(span: Duration) -> u64 {
    span.as_millis().try_into().unwrap_or(u64::MAX)
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
    let client = match (&args.client, &args.key) {
        (Some(client), _) => client.clone(),
        // Whoever repeats it is to be the same as before.
        (None, Some(_)) => client("anonymous").map_err(CliError::failed)?,
        (None, None) => random_client()?,
    };
    let message = Message {
        agent: args.agent.as_str().into(),
        method: args.method.as_str().into(),
        content_type: payload.content_type,
        payload: payload.bytes.as_ref().into(),
        sequence: args.sequence,
        key: args.key.as_deref().map(Into::into),
        lane: args.how.lane.as_deref().map(Into::into),
        delivery: args.delivery.as_deref().map(Into::into),
        ttl: args.how.ttl.map(millis),
        report_expired: args.report_expired,
        give_up: args.give_up.map(millis),
        message_type: args.how.message_type.as_deref().map(Into::into),
    };
    if args.and_go {
        let messages = [message];
        let sent = node.client.send_and_go(&client, &messages, args.timeout);
        return match sent.await {
            Ok(accepted) if node.json => node.out.json(&accepted).map(|()| Exit::Ok),
            Ok(_) => node.out.line("sent").map(|()| Exit::Ok),
            Err(error) => Err(advice::about_agent(error, &args.agent, node).await),
        };
    }
    let timeout = args.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let sent = node.client.send(&client, &[message], timeout).await;
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
