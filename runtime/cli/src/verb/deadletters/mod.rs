//! `phoenix deadletters`

mod change;
mod read;

use phoenix_core::control::{LetterFilter, LetterId, Letters};
use phoenix_core::{AgentId, DeadReason, KindName, NodeId};

use crate::args;
use crate::error::{CliError, Exit};
use crate::session::Session;

/// Arguments of `phoenix deadletters`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Without a verb it lists them.")]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List dead letters, oldest first
    List(ListArgs),
    /// Show all about one dead letter
    Show(ShowArgs),
    /// Send dead letters again; one whose message is applied is gone
    Replay(ReplayArgs),
    /// Throw dead letters away
    Purge(PurgeArgs),
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
struct FilterArgs {
    /// Those for agents of this kind
    #[arg(long, value_name = "KIND", value_parser = args::kind)]
    kind: Option<KindName>,
    /// Those for this agent
    #[arg(long, value_name = "AGENT", value_parser = args::agent)]
    agent: Option<AgentId>,
    /// Those that ended for this reason
    #[arg(long, value_name = "REASON", value_parser = clap::builder::PossibleValuesParser::new(DeadReason::CODES))]
    reason: Option<String>,
    /// Those of this node
    #[arg(long, value_name = "NODE", value_parser = args::node)]
    node: Option<NodeId>,
}

impl FilterArgs {
    fn filter(&self) -> LetterFilter {
        LetterFilter {
            node: self.node,
            kind: self.kind.clone(),
            agent: self.agent.clone(),
            reason: self.reason.as_deref().map(Into::into),
        }
    }
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Which one, as in node-1.3.9
    letter: LetterId,
}

/// What is to be changed: one letter, all, or those that a filter takes.
#[derive(Debug, clap::Args)]
struct TargetArgs {
    /// Which one, as in node-1.3.9
    #[arg(conflicts_with_all = ["all", "kind", "agent", "reason", "node"])]
    letter: Option<LetterId>,
    /// All of them, or all that fit what else is given
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

impl TargetArgs {
    fn letters(&self) -> Result<Letters, CliError> {
        let filter = self.filter.filter();
        match self.letter {
            Some(letter) => Ok(Letters::One(letter)),
            None if self.all || filter != LetterFilter::default() => Ok(Letters::Matching(filter)),
            None => Err(CliError::usage("this does not say which dead letters").help(
                "name one, as in node-1.3.9, or choose by --kind, --agent, --reason, --node or --all",
            )),
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A message that is sent again is a new one of yours, applied once however \
                  often it is replayed; its receiver sees it as the original sender's. Nobody \
                  is told its answer.\n\n\
                  Exit status: 0 all applied, 1 some dead or refused, 4 some unknown."
)]
struct ReplayArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// At most so many of each node
    #[arg(long, value_name = "N", default_value_t = 1_000, conflicts_with = "letter",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// How long to wait for what becomes of them
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = args::span)]
    timeout: std::time::Duration,
}

#[derive(Debug, clap::Args)]
struct PurgeArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Yes, for good
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(args: &DeadLettersArgs, node: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        None => read::list(&args.list, node).await,
        Some(Verb::List(list)) => read::list(list, node).await,
        Some(Verb::Show(show)) => read::show(show.letter, node).await,
        Some(Verb::Replay(replay)) => change::replay(replay, node).await,
        Some(Verb::Purge(purge)) => change::purge(purge, node).await,
    }
}
