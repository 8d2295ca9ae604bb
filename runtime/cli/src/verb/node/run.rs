//! A node's life: start, serve, drain, stop.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use phoenix_gateway::{BindError, Gateway, GatewayConfig};
use phoenix_node::{Drained, Node, NodeConfig, StartError};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing_subscriber::EnvFilter;

use super::signals::Signals;
use crate::config::{Config, LogFormat};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::output::escape::escape;

/// How often the node is asked whether an operator wants it to stop.
const SHUTDOWN_POLL: Duration = Duration::from_millis(100);
/// How long requests under way may take to end once agents are away.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// How long a start that is given up may take to come to an end in order.
const START_GRACE: Duration = Duration::from_secs(2);
/// Threads that serve the API. Agents have workers of their own.
const API_THREADS: usize = 2;

pub(super) fn run(config: Config, json: bool) -> Result<ExitCode, CliError> {
    start_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(API_THREADS)
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(live(config, json));
    // A start that was given up may still wait for another node.
    runtime.shutdown_background();
    ended
}

fn start_log(config: &Config) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&config.log).map_err(CliError::usage)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(CliError::failed)
}

async fn live(config: Config, json: bool) -> Result<ExitCode, CliError> {
    let failed = |error: io::Error| CliError::failed(format!("cannot listen to signals: {error}"));
    let mut signals = Signals::new().map_err(failed)?;
    let wanted = Wanted::of(&config);
    let gateway_config = GatewayConfig {
        listen: config.api,
        data_dir: config.data.clone(),
        limits: config.api_limits.clone(),
    };
    let drain_timeout = config.drain_timeout;
    tracing::info!(data = %config.data.display(), "starting");
    // Starting compiles, and joining speaks to another node: both wait.
    let mut starting = spawn_blocking(move || Node::start(config.into()));
    let node = tokio::select! {
        started = &mut starting => started.map_err(CliError::failed)?.map_err(cannot_start)?,
        signal = signals.next() => return give_up(signal, starting, &mut signals).await,
    };
    let node = Arc::new(node);
    let gateway = open_api(gateway_config, wanted.api.is_some(), &node)
        .await
        .map_err(cannot_bind)?;
    say_ready(&node, &gateway, &wanted, json)?;
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "stopping: agents move away or sleep"),
        () = shutdown_wanted(&node) => tracing::info!("stopping, as an operator asked"),
        () = declared_dead(&node) => {
            tracing::error!("stopping: the node was declared dead");
            stop(node, gateway, Duration::ZERO).await;
            return Err(CliError::failed("this node was declared dead, and its agents live elsewhere")
                .help("start it again: it joins its cluster anew"));
        }
        why = journal_failed(&node) => {
            tracing::error!(%why, "stopping: the journal failed");
            stop(node, gateway, Duration::ZERO).await;
            return Err(CliError::failed(format!("the journal failed, and the node has stopped: {why}"))
                .help("see to the disk, then start it again: what was acknowledged is in the journal"));
        }
    }
    tokio::select! {
        () = stop(node, gateway, drain_timeout) => Ok(Exit::Ok.into()),
        signal = signals.next() => {
            tracing::warn!(signal, "ended at once");
            // Nothing is waited for, threads least of all.
            std::process::exit(Exit::Failed as i32)
        }
    }
}

/// Ends a node that has not started yet: in order if that is soon, else at once.
async fn give_up(
    signal: &str,
    starting: JoinHandle<Result<Node, StartError>>,
    signals: &mut Signals,
) -> Result<ExitCode, CliError> {
    tracing::info!(signal, "stopping: the start is given up");
    let in_order = async {
        if let Ok(Ok(node)) = starting.await {
            // Nothing can have come to it: there was no API.
            let _ = spawn_blocking(move || node.stop()).await;
        }
    };
    tokio::select! {
        () = in_order => {}
        () = tokio::time::sleep(START_GRACE) => {}
        _ = signals.next() => {}
    }
    Err(CliError::failed(format!(
        "{signal} came before the node was ready"
    )))
}

/// Defaults that are given up where they are taken.
struct Wanted {
    /// The API's address, if nobody chose it.
    api: Option<SocketAddr>,
    /// Where to listen for other nodes, if nobody chose it.
    listen: Option<String>,
}

impl Wanted {
    fn of(config: &Config) -> Self {
        Self {
            api: config.api_default.then_some(config.api),
            listen: config.listen.clone().filter(|_| config.listen_default),
        }
    }

    /// The defaults that are not where the node listens.
    fn missed(&self, api: SocketAddr, address: &str) -> [Option<String>; 2] {
        let port = |address: &str| {
            let port = address.rsplit_once(':').map(|(_, port)| port);
            port.map(ToOwned::to_owned)
        };
        [
            self.api
                .filter(|wanted| *wanted != api)
                .map(|wanted| wanted.to_string()),
            self.listen
                .clone()
                .filter(|wanted| port(wanted) != port(address)),
        ]
    }
}

/// Opens the API, on any port if its own is taken and nobody chose it.
async fn open_api(config: GatewayConfig, default: bool, node: &Node) -> Result<Gateway, BindError> {
    let any = GatewayConfig {
        listen: SocketAddr::new(config.listen.ip(), 0),
        ..config.clone()
    };
    match Gateway::bind(config, node.control(), phoenix_node::event_codec()).await {
        Err(BindError::Address { source, .. })
            if default && source.kind() == io::ErrorKind::AddrInUse =>
        {
            Gateway::bind(any, node.control(), phoenix_node::event_codec()).await
        }
        bound => bound,
    }
}

/// Says where the node is, on standard output, once it can be used.
fn say_ready(node: &Node, gateway: &Gateway, wanted: &Wanted, json: bool) -> Result<(), CliError> {
    let mut out = Output::new();
    let (name, api, address) = (node.id().to_string(), gateway.address(), node.address());
    let missed = wanted.missed(api, &address);
    if json {
        let mut ready = serde_json::json!({
            "node": name, "api": api.to_string(), "address": address,
        });
        let missed: Vec<_> = missed.into_iter().flatten().collect();
        if let (Some(fields), false) = (ready.as_object_mut(), missed.is_empty()) {
            fields.insert("instead_of".to_owned(), missed.into());
        }
        out.json(&ready)?;
    } else {
        let [api_missed, listen_missed] = missed.map(|missed| {
            missed.map_or_else(String::new, |wanted| format!(" (instead of {wanted})"))
        });
        let others = if address.is_empty() {
            "alone".to_owned()
        } else {
            format!("other nodes at {address}{listen_missed}")
        };
        out.line(&format!(
            "{name} is ready: API at http://{api}{api_missed}, {others}"
        ))?;
    }
    match out.flush() {
        // A node that nobody listens to runs on.
        Err(error) if error.exit() != Exit::Ok => Err(error),
        _ => Ok(()),
    }
}

async fn shutdown_wanted(node: &Node) {
    while !node.shutdown_wanted() {
        tokio::time::sleep(SHUTDOWN_POLL).await;
    }
}

async fn declared_dead(node: &Node) {
    while !node.declared_dead() {
        tokio::time::sleep(SHUTDOWN_POLL).await;
    }
}

/// Why the journal failed, once it has.
async fn journal_failed(node: &Node) -> std::sync::Arc<str> {
    loop {
        if let Some(why) = node.journal_failure() {
            return why;
        }
        tokio::time::sleep(SHUTDOWN_POLL).await;
    }
}

/// Drains while the API still answers, tells clients that still wait, then
/// closes it.
async fn stop(node: Arc<Node>, gateway: Gateway, drain_timeout: Duration) {
    let draining = Arc::clone(&node);
    match spawn_blocking(move || draining.drain(drain_timeout)).await {
        Ok(drained) => say_lost(&drained),
        Err(error) => tracing::error!(%error, "the node did not drain in order"),
    }
    node.dismiss_clients();
    if !gateway.close(CLOSE_GRACE).await {
        tracing::warn!("requests that did not end were cut");
    }
    let stopped = spawn_blocking(move || {
        if let Some(node) = Arc::into_inner(node) {
            node.stop();
        }
    });
    if stopped.await.is_err() {
        tracing::error!("the node did not stop in order");
    }
}

/// Logs which agents end with the node.
fn say_lost(drained: &Drained) {
    let lost = drained.lost;
    if lost == 0 {
        return;
    }
    if drained.alone {
        tracing::warn!(lost, "agents end with the node: no other node is there");
        return;
    }
    let mut names: Vec<_> = drained
        .named
        .iter()
        .map(|(agent, why)| escape(&format!("{agent} ({why})")).into_owned())
        .collect();
    let unnamed = lost.saturating_sub(names.len() as u64);
    if unnamed > 0 {
        names.push(format!("{unnamed} more"));
    }
    let agents = names.join(", ");
    tracing::warn!(
        lost,
        agents,
        "agents could not move away and end with the node"
    );
}

impl From<Config> for NodeConfig {
    fn from(config: Config) -> Self {
        Self {
            listen: config.listen,
            listen_default: config.listen_default,
            advertise: config.advertise,
            join: config.join.map(|token| token.0),
            peer_format: config.peer_format,
            peer_compression: config.peer_compression,
            workers: config.workers,
            max_resident: config.max_resident,
            max_memory_bytes: config.max_agent_memory,
            // Components are compiled by this program, in a process of its own.
            compiler: std::env::current_exe()
                .ok()
                .map(|program| (program, vec![super::COMPILE_VERB.to_owned()])),
            log_lines: config.log_lines,
            dead_letters: config.dead_letters,
            migration_timeout: config.migration_timeout,
            max_shipment: config.max_shipment,
            max_spill: config.max_spill,
            restore_eagerly: config.restore_eagerly,
            memory_budget: config.memory_budget,
            sleep_disk: config.sleep_disk,
            drain_durable: config.drain_durable,
            ..Self::alone(config.data)
        }
    }
}

fn cannot_start(error: StartError) -> CliError {
    let help = match &error {
        StartError::InUse { .. } => {
            "stop that node, or give this one a directory of its own with `--data DIR`"
        }
        StartError::Data { .. } => "choose another directory with `--data DIR`",
        StartError::Join(_) => {
            "a token works once and not for long: get a new one with `phoenix token` on a running \
             node, and see that its address can be reached from here"
        }
        StartError::Listen(_) => {
            "choose another address with `--listen HOST:PORT`; port 0 takes a free one"
        }
        StartError::Kind { .. } => "deploy it again, or start with another data directory",
        StartError::Host(_) | StartError::Thread(_) => {
            "the machine may be short of memory or threads"
        }
    };
    CliError::failed(error).help(help)
}

fn cannot_bind(error: BindError) -> CliError {
    let suggestion = error.suggestion();
    let message = match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    CliError::failed(message).help(suggestion)
}
