//! `phoenix flow`

mod change;
pub(super) mod show;

use std::path::PathBuf;

use phoenix_core::NodeId;
use phoenix_core::flow::{BadFlowTarget, FLOW_FIELDS, FlowTarget};

use crate::args;
use crate::error::{CliError, Exit};
use crate::session::Session;

/// Arguments of `phoenix flow`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Without a verb it lists them.")]
pub(crate) struct FlowArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Attach a policy, in place of the one that was
    #[command(after_help = set_help())]
    Set(SetArgs),
    /// List policies and the gates they make
    List(ListArgs),
    /// Take away a policy that was attached
    Clear(ClearArgs),
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// To what: agent:KIND/KEY, kind:NAME, topic:SPACE or node:NODE
    #[arg(value_parser = target)]
    target: FlowTarget,
    /// What it limits, as in rate.amount=100
    #[arg(value_name = "FIELD=VALUE", value_parser = args::setting)]
    fields: Vec<(String, String)>,
    /// A TOML file with more of them
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// What is attached to this: agent:KIND/KEY, kind:NAME, topic:SPACE or node:NODE
    #[arg(value_parser = target)]
    target: Option<FlowTarget>,
    /// At this node only
    #[arg(long, value_name = "NODE", value_parser = args::node)]
    node: Option<NodeId>,
}

#[derive(Debug, clap::Args)]
struct ClearArgs {
    /// From what: agent:KIND/KEY, kind:NAME, topic:SPACE or node:NODE
    #[arg(value_parser = target)]
    target: FlowTarget,
}

fn target(text: &str) -> Result<FlowTarget, BadFlowTarget> {
    text.parse()
}

/// What may be set, for people.
fn set_help() -> String {
    let width = FLOW_FIELDS.iter().map(|field| field.name.len()).max();
    let width = width.unwrap_or(0);
    let lines = FLOW_FIELDS
        .iter()
        .map(|field| format!("  {:width$}  {}", field.name, field.about));
    format!(
        "Fields:\n{}\n\nA limiter is there if one of its fields is given; the others have their \
         defaults then. What comes to a gate and may not pass now waits there if it has a \
         bulkhead with places, else it is its sender's to send again; whoever asks is told at \
         once.",
        lines.collect::<Vec<_>>().join("\n")
    )
}

pub(crate) async fn run(args: &FlowArgs, node: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        None => show::list(args.list.target.as_ref(), args.list.node, node).await,
        Some(Verb::List(list)) => show::list(list.target.as_ref(), list.node, node).await,
        Some(Verb::Set(set)) => change::set(set, node).await,
        Some(Verb::Clear(clear)) => change::clear(&clear.target, node).await,
    }
}
