//! `phoenix saga`

use std::path::PathBuf;
use std::time::Duration;

use phoenix_core::AgentId;
use phoenix_core::patterns::saga::{KIND, Report};

use super::deploy::text_file;
use super::pipeline::{ask, named};
use crate::args;
use crate::declaration::saga_of;
use crate::error::{CliError, Exit};
use crate::output::Table;
use crate::payload;
use crate::session::Session;

/// How long a saga's answer is waited for that comes at once.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of `phoenix saga`.
#[derive(Debug, clap::Args)]
pub(crate) struct SagaArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Begin the steps that a TOML file declares, and wait until all are done or undone
    Start(StartArgs),
    /// Show its steps
    Status {
        /// Its id
        #[arg(value_parser = saga)]
        id: AgentId,
    },
    /// Undo what was done, if not all is yet
    Cancel {
        /// Its id
        #[arg(value_parser = saga)]
        id: AgentId,
        /// Why, for whoever looks at its status
        #[arg(long)]
        reason: Option<String>,
    },
    /// Try again to undo what could not be undone
    Resume {
        /// Its id
        #[arg(value_parser = saga)]
        id: AgentId,
    },
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    /// Its id: the same again is the same saga
    #[arg(value_parser = saga)]
    id: AgentId,
    /// The file
    file: PathBuf,
    /// What the steps get that say nothing else: JSON, a word, @FILE or - for standard input
    #[arg(long, allow_negative_numbers = true)]
    input: Option<String>,
    /// Only begin
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// How long to wait for the end
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = args::span)]
    timeout: Duration,
}

fn saga(id: &str) -> Result<AgentId, String> {
    named(KIND, id)
}

pub(crate) async fn run(args: &SagaArgs, node: &mut Session) -> Result<Exit, CliError> {
    let none = serde_json::json!({});
    let report: Report = match &args.verb {
        Verb::Start(start) => begin(start, node).await?,
        Verb::Status { id } => ask(node, id, "status", &none, TIMEOUT).await?,
        Verb::Cancel { id, reason } => {
            let cancel = serde_json::json!({ "reason": reason });
            ask(node, id, "cancel", &cancel, TIMEOUT).await?
        }
        Verb::Resume { id } => ask(node, id, "resume", &none, TIMEOUT).await?,
    };
    show(&report, node)
}

async fn begin(args: &StartArgs, node: &Session) -> Result<Report, CliError> {
    let (shown, text) = text_file(&args.file)?;
    let declared = saga_of(&shown, &text)?;
    let input = payload::read(args.input.as_deref(), None)?;
    let input: serde_json::Value = if input.bytes.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_slice(&input.bytes)
            .map_err(|error| CliError::usage(format!("--input is no JSON: {error}")))?
    };
    let start = serde_json::json!({ "saga": declared, "input": input, "wait": !args.no_wait });
    ask(node, &args.id, "start", &start, args.timeout).await
}

fn show(report: &Report, node: &mut Session) -> Result<Exit, CliError> {
    if node.json {
        node.out.json(report)?;
        return Ok(Exit::Ok);
    }
    let failed = report.failed.as_ref();
    let failed = failed.map(|failed| format!(": step {} failed: {}", failed.step, failed.error));
    node.out
        .line(&format!("{}{}", report.state, failed.unwrap_or_default()))?;
    let mut table = Table::new(&["STEP", "STATE", "ANSWER"]);
    for step in &report.steps {
        let answer = match &step.answer {
            serde_json::Value::Null => String::new(),
            answer => answer.to_string(),
        };
        table.row([step.id.clone(), step.state.clone(), answer]);
    }
    node.out.table(&table, "it has not been started")?;
    Ok(Exit::Ok)
}
