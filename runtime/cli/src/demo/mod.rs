//! `phoenix demo`: agents count an access log on several nodes while they move
//! to and fro, and what they counted is held against a plain count.
//!
//! ```text
//! source ──► log ──► feed ─────► visitor/ADDR ──► site/main, alerts/main
//!              │       ▲ pace            ▲
//!              │     movement ───────────┤ migrate, hibernate
//!              │     killing ────────────┘ kill, start again
//!              └► count ──► verify ◄── report() of every agent
//! ```
//!
//! Start with [`drive`], which is the demo on any [`cluster`]. [`nodes`] starts
//! real ones as processes, [`api`] speaks to them. [`log`] knows nothing of
//! agents, and the comparison shares no code with what it compares.

mod api;
mod cluster;
mod drive;
mod error;
#[cfg(test)]
mod fake;
mod feed;
mod interrupts;
mod killing;
mod lifeline;
mod log;
mod movement;
mod nodes;
mod outcome;
mod pace;
mod process;
mod progress;
mod random;
mod reports;
mod roster;
mod source;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::task::LocalSet;

use crate::output::escape::escape_lines;
use drive::{Plan, drive};
use error::DemoError;
use interrupts::Interrupts;
use log::{Counted, MALFORMED_KEPT};
use nodes::Nodes;
use outcome::{Outcome, grouped};
use progress::Progress;
use source::Source;

/// One migration for so many events, within [`MIGRATIONS`].
const EVENTS_A_MIGRATION: u64 = 20;

/// Kills, if they are asked for without a number.
const KILLS: &str = "10";

/// Fewest and most migrations, unless the command line says otherwise.
const MIGRATIONS: (u64, u64) = (500, 5_000);

/// Count an access log with agents that move while they count.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The log: Combined Log Format, plain or gzip. Without it one is made up. Lines that are
    /// malformed are left out; the first 1,000 are named on standard error, all are counted
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Lines of a made-up log
    #[arg(long, value_name = "N", default_value_t = 50_000, conflicts_with = "input",
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    lines: u64,
    /// What the made-up log, and the choice of agents to move and nodes to kill, come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Nodes to start, each a process of its own
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=16))]
    nodes: u32,
    /// Migrations to do meanwhile [default: one for 20 events, 500 at least, 5,000 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    migrations: Option<u64>,
    /// Kill a node at random and start it again, N times meanwhile, 10 unless said. Agents are durable
    /// then
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_value_t = 0,
          default_missing_value = KILLS, hide_default_value = true,
          value_parser = clap::value_parser!(u64).range(..=10_000))]
    kill: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Leave the nodes' data and logs where they are, and say where
    #[arg(long)]
    keep: bool,
    /// Run the command line that follows as long as standard input is open
    #[arg(long, hide = true)]
    as_node: bool,
    /// That command line
    #[arg(last = true, hide = true, requires = "as_node")]
    command: Vec<OsString>,
}

/// Runs the demo. Success is a verified result.
pub(crate) fn run(args: DemoArgs) -> miette::Result<ExitCode> {
    if args.as_node {
        return Ok(lifeline::run(args.command)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DemoError::Runtime)?;
    let outcome = runtime.block_on(LocalSet::new().run_until(demo(&args)));
    // A thread that still reads the log must not hold up the end.
    runtime.shutdown_background();
    let outcome = match outcome {
        Err(DemoError::Interrupted) => return Ok(ExitCode::from(130)),
        outcome => outcome?,
    };
    let text = if args.json {
        serde_json::to_string(&outcome).map_err(DemoError::Json)? + "\n"
    } else {
        escape_lines(&outcome.human()).into_owned()
    };
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(DemoError::Output)?;
    if args.json {
        for problem in outcome.remarks.iter().chain(&outcome.problems) {
            // Programs read the object; this is for whoever reads their log.
            let _ = writeln!(std::io::stderr().lock(), "{}", escape_lines(problem));
        }
    }
    Ok(if outcome.verified {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn demo(args: &DemoArgs) -> Result<Outcome, DemoError> {
    let progress = Progress::new();
    let plan = plan(args, &progress)?;
    let mut interrupts = Interrupts::new().map_err(DemoError::Runtime)?;
    let mut nodes = Nodes::new(args.keep)?;
    let outcome = tokio::select! {
        outcome = perform(&mut nodes, args, plan, &progress) => outcome,
        () = interrupts.next() => Err(DemoError::Interrupted),
    };
    progress.say("stopping the nodes");
    // A second interrupt drops them, which kills them.
    tokio::select! {
        () = nodes.stop() => {}
        () = interrupts.next() => {}
    }
    if let Some(directory) = nodes.leave() {
        progress.keep(&format!(
            "data and logs of the nodes are in {}",
            directory.display()
        ));
    }
    outcome
}

async fn perform(
    nodes: &mut Nodes,
    args: &DemoArgs,
    plan: Plan,
    progress: &Progress,
) -> Result<Outcome, DemoError> {
    progress.say("starting the nodes");
    let mut api = nodes.start(args.nodes).await?;
    if args.kill > 0 {
        api = api.among_kills();
    }
    progress.say("deploying the agents");
    api.deploy_samples(args.kill > 0).await?;
    progress.say("feeding");
    tokio::select! {
        outcome = drive(Rc::new(api), plan, progress) => Ok(outcome?),
        Err(died) = nodes.watch() => Err(died),
    }
}

/// Counts the log, before anything is started: what is wrong with it is said at once.
fn plan(args: &DemoArgs, progress: &Progress) -> Result<Plan, DemoError> {
    let source = match &args.input {
        Some(path) => Source::File(path.clone()),
        None => Source::Generated {
            seed: args.seed,
            lines: args.lines,
        },
    };
    progress.say("counting the log");
    let counted = source.count()?;
    if counted.total.events == 0 {
        return Err(DemoError::no_events(args.input.as_deref(), &counted));
    }
    if counted.malformed > 0 {
        progress.keep(&malformed(&counted, MALFORMED_KEPT));
    }
    let migrations = match args.migrations {
        // There is nowhere to go.
        _ if args.nodes == 1 => 0,
        Some(migrations) => migrations,
        None => (counted.total.events / EVENTS_A_MIGRATION).clamp(MIGRATIONS.0, MIGRATIONS.1),
    };
    Ok(Plan {
        source,
        counted: Rc::new(counted),
        migrations,
        kills: args.kill,
        seed: args.seed,
    })
}

/// The lines that are left out, the first of them by number: at most `most`.
fn malformed(counted: &Counted, most: usize) -> String {
    let mut text = match counted.malformed {
        1 => "1 line is malformed and left out:".to_owned(),
        lines => format!("{} lines are malformed and left out:", grouped(lines)),
    };
    let mut more = counted.malformed;
    for line in counted.malformed_lines.iter().take(most) {
        text.push_str(&format!("\n  line {}: {}", line.line, line.reason));
        more = more.saturating_sub(1);
    }
    if more > 0 {
        text.push_str(&format!("\n  and {} more", grouped(more)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::log::{Count, LogReader, MALFORMED_KEPT};
    use super::*;

    #[test]
    fn malformed_lines_are_named_and_the_rest_is_counted() {
        let text = "nonsense\n".repeat(MALFORMED_KEPT + 1_234);
        let counted = Count::all(LogReader::new(text.as_bytes())).unwrap();
        let said = malformed(&counted, MALFORMED_KEPT);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "2,234 lines are malformed and left out:");
        assert!(lines[1].starts_with("  line 1: "), "{}", lines[1]);
        assert!(
            lines[1_000].starts_with("  line 1000: "),
            "{}",
            lines[1_000]
        );
        assert_eq!(lines[1_001..], ["  and 1,234 more"]);
        let short = malformed(&counted, 2);
        assert_eq!(short.lines().count(), 4, "{short}");
        assert!(short.ends_with("\n  and 2,232 more"), "{short}");
    }
}
