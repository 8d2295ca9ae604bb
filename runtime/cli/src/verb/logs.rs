//! `phoenix logs`

use std::time::{Duration, SystemTime};

use phoenix_core::{AgentId, NodeId};
use phoenix_gateway::api::LogLine;

use crate::args;
use crate::error::{CliError, Exit};
use crate::session::Session;

/// How often a followed log is asked for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

/// Arguments of `phoenix logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// Lines of this agent only, as kind/key
    #[arg(value_parser = args::agent)]
    agent: Option<AgentId>,
    /// Lines of this node [default: the agent's, or the one that is asked]
    #[arg(long, value_name = "NODE", value_parser = args::node)]
    node: Option<NodeId>,
    /// Go on with new lines until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Lines after this number
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// At most so many; a followed log begins with so many
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(crate) async fn run(args: &LogsArgs, node: &mut Session) -> Result<Exit, CliError> {
    let mut after = args.after;
    loop {
        let page = node
            .client
            .logs(args.agent.as_ref(), args.node, after, Some(args.limit))
            .await?;
        if node.json && !args.follow {
            node.out.json(&page)?;
            return Ok(Exit::Ok);
        }
        for line in &page.lines {
            // Followed, there is no end to wait for: an object a line.
            if node.json {
                node.out.json(line)?;
            } else {
                node.out.line(&sentence(line))?;
            }
        }
        if !args.follow {
            return Ok(Exit::Ok);
        }
        node.out.flush()?;
        let more = page.lines.len() >= args.limit as usize;
        after = page.next.or(after);
        if !more {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }
}

fn sentence(line: &LogLine) -> String {
    let at = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(line.at_ms))
        .map_or_else(|| line.at_ms.to_string(), stamp);
    let level = line.level.to_uppercase();
    let whose = line.agent.as_deref().unwrap_or("-");
    format!("{at} {level:<5} {whose} {}", line.text)
}

/// An instant, or milliseconds where it lies beyond the year 9999.
pub(super) fn stamp(at: SystemTime) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    match write!(text, "{}", humantime::format_rfc3339_millis(at)) {
        Ok(()) => text,
        Err(_) => "later than year 9999".to_owned(),
    }
}
