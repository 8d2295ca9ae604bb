//! `phoenix broadcast`

use std::time::Duration;

use phoenix_core::AgentId;
use phoenix_gateway::api::{AgentAnswer, Broadcast, Outcome};

use super::send::{DEFAULT_TIMEOUT, How, millis};
use crate::args;
use crate::error::{CliError, Exit};
use crate::output::Table;
use crate::payload::{self, As};
use crate::session::Session;

/// Arguments of `phoenix broadcast`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 all have answered, or sent with --async; 1 somebody failed or was \
                        not reached; 4 somebody has not answered in time."
)]
pub(crate) struct BroadcastArgs {
    /// The handler
    method: String,
    /// What each gets: JSON, a word, @FILE or - for standard input
    #[arg(allow_negative_numbers = true)]
    payload: Option<String>,
    /// An agent, as kind/key; once for each
    #[arg(long = "to", value_name = "AGENT", required = true, value_parser = args::agent)]
    agents: Vec<AgentId>,
    /// How long to wait for all answers [default: 5s]
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    timeout: Option<Duration>,
    #[command(flatten)]
    how: How,
    /// Send it at most once to each, and wait for no answers
    #[arg(long = "async")]
    and_go: bool,
    /// How PAYLOAD is to be read, where that does not show
    #[arg(long = "as", value_name = "TYPE")]
    as_what: Option<As>,
}

pub(crate) async fn run(args: &BroadcastArgs, node: &mut Session) -> Result<Exit, CliError> {
    let payload = payload::read(args.payload.as_deref(), args.as_what)?;
    let broadcast = Broadcast {
        agents: args.agents.iter().map(|it| it.as_str().into()).collect(),
        method: args.method.as_str().into(),
        content_type: payload.content_type,
        payload: payload.bytes.as_ref().into(),
        lane: args.how.lane.as_deref().map(Into::into),
        ttl: args.how.ttl.map(millis),
        message_type: args.how.message_type.as_deref().map(Into::into),
    };
    if args.and_go {
        let accepted = node
            .client
            .broadcast_and_go(&broadcast, args.timeout)
            .await?;
        if node.json {
            node.out.json(&accepted)?;
        } else {
            node.out.line(&format!("sent to {}", accepted.accepted))?;
        }
        return Ok(Exit::Ok);
    }
    let timeout = args.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let answers = node.client.broadcast(&broadcast, timeout).await?;
    if node.json {
        node.out.json(&answers)?;
    } else {
        let mut table = Table::new(&["AGENT", "ANSWER"]);
        for AgentAnswer { agent, outcome } in &answers.answers {
            table.row([agent.clone(), sentence(outcome)]);
        }
        node.out.table(&table, "nobody was asked")?;
    }
    let ended = |is: fn(&Outcome) -> bool| answers.answers.iter().any(|it| is(&it.outcome));
    Ok(if ended(|it| matches!(it, Outcome::Unknown)) {
        Exit::Unknown
    } else if ended(|it| !matches!(it, Outcome::Ok { .. })) {
        Exit::Failed
    } else {
        Exit::Ok
    })
}

fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok { payload } => match (&payload.json, payload.bytes) {
            (Some(json), _) => json.to_string(),
            (None, 0) => String::new(),
            (None, bytes) => format!("({bytes} bytes)"),
        },
        Outcome::Failed { failure } => format!("failed: {}: {}", failure.code, failure.message),
        Outcome::Bounced { reason } => format!("bounced: {reason}"),
        Outcome::Deadlock => "deadlock".to_owned(),
        Outcome::Unavailable { reason } => format!("unavailable: {reason}"),
        Outcome::Unknown => "unknown: nothing was heard in time".to_owned(),
    }
}
