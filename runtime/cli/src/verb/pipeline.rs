//! `phoenix pipeline`

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use phoenix_core::AgentId;
use phoenix_core::patterns::pipeline::{DeadLetters, KIND, Status};
use phoenix_gateway::api::ContentType;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::deploy::text_file;
use crate::declaration::pipeline_of;
use crate::error::{CliError, Exit};
use crate::output::Table;
use crate::session::Session;

/// How long a pipeline's answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of `phoenix pipeline`.
#[derive(Debug, clap::Args)]
pub(crate) struct PipelineArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Give it the stages that a TOML file declares, also while messages are on their way
    Define {
        /// Its name: messages are pushed to pipeline/NAME
        #[arg(value_parser = pipeline)]
        name: AgentId,
        /// The file
        file: PathBuf,
    },
    /// Show its stages and what became of messages
    Status {
        /// Its name
        #[arg(value_parser = pipeline)]
        name: AgentId,
    },
    /// Begin nothing more until it is resumed
    Halt {
        /// Its name
        #[arg(value_parser = pipeline)]
        name: AgentId,
        /// Why, for whoever looks at its status
        #[arg(long)]
        reason: Option<String>,
    },
    /// Go on, and try anew what it halted at
    Resume {
        /// Its name
        #[arg(value_parser = pipeline)]
        name: AgentId,
        /// Leave out the message that it halted at
        #[arg(long)]
        skip: bool,
    },
    /// Show messages that were put aside
    DeadLetters {
        /// Its name
        #[arg(value_parser = pipeline)]
        name: AgentId,
    },
}

fn pipeline(name: &str) -> Result<AgentId, String> {
    named(KIND, name)
}

/// The agent of that kind and name, which may be written as the agent.
pub(super) fn named(kind: &str, name: &str) -> Result<AgentId, String> {
    let prefix = format!("{kind}/");
    let name = name.strip_prefix(&prefix).unwrap_or(name);
    AgentId::new(&format!("{prefix}{name}")).map_err(|error| error.to_string())
}

pub(crate) async fn run(args: &PipelineArgs, node: &mut Session) -> Result<Exit, CliError> {
    let status: Status = match &args.verb {
        Verb::Define { name, file } => {
            let (shown, text) = text_file(file)?;
            let declared = pipeline_of(&shown, &text)?;
            ask(node, name, "define", &declared, TIMEOUT).await?
        }
        Verb::Status { name } => ask(node, name, "status", &serde_json::json!({}), TIMEOUT).await?,
        Verb::Halt { name, reason } => {
            let halt = serde_json::json!({ "reason": reason });
            ask(node, name, "halt", &halt, TIMEOUT).await?
        }
        Verb::Resume { name, skip } => {
            let resume = serde_json::json!({ "skip": skip });
            ask(node, name, "resume", &resume, TIMEOUT).await?
        }
        Verb::DeadLetters { name } => {
            let none = serde_json::json!({});
            let dead = ask(node, name, "dead_letters", &none, TIMEOUT).await?;
            return dead_letters(&dead, node);
        }
    };
    show(&status, node)
}

/// Asks a built-in agent in JSON.
pub(super) async fn ask<T: DeserializeOwned>(
    node: &Session,
    agent: &AgentId,
    method: &str,
    body: &impl Serialize,
    timeout: Duration,
) -> Result<T, CliError> {
    let body = serde_json::to_vec(body)
        .map_err(|error| CliError::failed(format!("cannot write the request: {error}")))?;
    let asked = node.client.ask(
        agent,
        method,
        ContentType::Json,
        Bytes::from(body),
        timeout,
        None,
    );
    let answer = asked.await?;
    answer
        .decode()
        .map_err(|error| CliError::failed(format!("{agent} answered something else: {error}")))
}

fn show(status: &Status, node: &mut Session) -> Result<Exit, CliError> {
    if node.json {
        node.out.json(status)?;
        return Ok(Exit::Ok);
    }
    let reason = status.reason.as_deref().map(|reason| format!(": {reason}"));
    node.out
        .line(&format!("{}{}", status.state, reason.unwrap_or_default()))?;
    node.out.line(&format!(
        "{} of {} messages in it; {} taken, {} done, {} skipped, {} dead, {} retries",
        status.in_flight,
        status.max_in_flight,
        status.taken,
        status.done,
        status.skipped,
        status.dead,
        status.retries
    ))?;
    let mut table = Table::new(&["STAGE", "TO", ">WAITING", ">WORKING", ">RETRYING", "ERROR"]);
    for stage in &status.stages {
        table.row([
            stage.name.clone(),
            stage.to.clone(),
            stage.waiting.to_string(),
            stage.working.to_string(),
            stage.retrying.to_string(),
            stage.error.clone().unwrap_or_default(),
        ]);
    }
    node.out.table(&table, "it has no stages yet")?;
    Ok(Exit::Ok)
}

fn dead_letters(dead: &DeadLetters, node: &mut Session) -> Result<Exit, CliError> {
    if node.json {
        node.out.json(dead)?;
        return Ok(Exit::Ok);
    }
    for letter in &dead.letters {
        node.out.line(&format!(
            "{} from {} at {}: {}",
            letter.number, letter.source, letter.stage, letter.error
        ))?;
        node.out.line(&format!("    {}", letter.data))?;
    }
    if dead.more > 0 {
        node.out.line(&format!("and {} more", dead.more))?;
    }
    Ok(Exit::Ok)
}
