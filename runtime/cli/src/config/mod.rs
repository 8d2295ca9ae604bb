//! A node's configuration: `phoenix.toml`, then `PHOENIX_*`, then flags.
//!
//! Each source is read into named texts that remember where they were found
//! ([`sources`]); the last source that names a key wins; the winners are
//! checked once, by the table in [`keys`], and become a [`Config`]. So every
//! message can say where the value stands, what it is and what it may be.
//!
//! `docs/config.md` lists the keys.

mod error;
pub mod keys;
mod sources;
pub mod toml_file;

use std::path::PathBuf;
use std::time::Duration;

use phoenix_core::attributes::Format;
use phoenix_gateway::Limits;
use phoenix_gateway::units::show_size;
use phoenix_node::PeerCompression;

pub use error::ConfigError;
pub use sources::{ConfigFile, Origin, Surroundings};

use sources::{Found, gather};

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything the node keeps lies.
    pub data: PathBuf,
    /// Where the transport listens for other nodes, `host:port`; `None` for a
    /// node that stays alone.
    pub listen: Option<String>,
    /// Whether that is a default nobody chose, so that another address will do.
    pub listen_default: bool,
    /// The address other nodes are told, where it differs from `listen`.
    pub advertise: Option<String>,
    /// The API's address, on loopback.
    pub api: std::net::SocketAddr,
    /// Whether that is a default nobody chose.
    pub api_default: bool,
    /// A token to join a cluster with.
    pub join: Option<Secret>,
    /// The format messages are written in for other nodes; `None` for Phoenix's own.
    pub peer_format: Option<Format>,
    /// How what goes to other nodes is compressed.
    pub peer_compression: PeerCompression,
    /// Worker threads; `None` for one a core.
    pub workers: Option<usize>,
    /// Agents in Wasm memory at once; `None` for what the machine holds.
    pub max_resident: Option<u32>,
    /// Largest linear memory any kind may allow, bytes.
    pub max_agent_memory: u64,
    /// Lines of log kept in memory.
    pub log_lines: usize,
    /// Dead letters kept in memory.
    pub dead_letters: usize,
    /// How long a migration may take.
    pub migration_timeout: Duration,
    /// Bytes one moving agent may be.
    pub max_shipment: u64,
    /// Bytes of spilled messages kept on disk.
    pub max_spill: u64,
    /// Whether durable agents are restored when the node starts.
    pub restore_eagerly: bool,
    /// Bytes of memory sleeping agents may take; `None` for a quarter of what there is.
    pub memory_budget: Option<u64>,
    /// Bytes of disk sleeping agents may take that are not durable.
    pub sleep_disk: u64,
    /// How long a draining node takes to move its agents away.
    pub drain_timeout: Duration,
    /// Whether it moves those that are durable, which could wait for its next start.
    pub drain_durable: bool,
    /// Which log lines are written, in tracing's directives.
    pub log: String,
    /// How they are written.
    pub log_format: LogFormat,
    /// The API's bounds.
    pub api_limits: Limits,
}

/// How a node writes its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Human,
    /// A JSON object a line.
    Json,
}

/// A text that stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("phoenix-data"),
            listen: Some("127.0.0.1:7401".to_owned()),
            listen_default: true,
            advertise: None,
            api: phoenix_gateway::DEFAULT_API,
            api_default: true,
            join: None,
            peer_format: None,
            peer_compression: PeerCompression::Auto,
            workers: None,
            max_resident: None,
            max_agent_memory: 1 << 30,
            log_lines: 10_000,
            dead_letters: 1_000,
            migration_timeout: Duration::from_secs(10),
            max_shipment: 256 << 20,
            max_spill: 16 << 30,
            restore_eagerly: false,
            memory_budget: None,
            sleep_disk: 64 << 30,
            drain_timeout: Duration::from_secs(30),
            drain_durable: false,
            log: "info".to_owned(),
            log_format: LogFormat::Human,
            api_limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads and checks everything. `flags` are key and value in the order given.
    pub fn load(
        surroundings: &Surroundings,
        flags: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let found = gather(surroundings, flags)?;
        let mut config = Self::default();
        for (key, found) in &found {
            apply(&mut config, key, found)?;
        }
        let chosen = |name| found.iter().any(|(key, _)| key.name == name);
        // A port that others are told of is not exchanged for another.
        config.listen_default = !chosen("listen") && !chosen("advertise");
        config.api_default = !chosen("api");
        config.check_together(&found)?;
        Ok(config)
    }

    /// What one value alone cannot show to be wrong.
    fn check_together(&self, found: &[Set]) -> Result<(), ConfigError> {
        self.check_listen(found)?;
        let limits = &self.api_limits;
        for (name, most) in [
            ("api-max-body", limits.max_body),
            ("api-max-component", limits.max_component),
        ] {
            if most > limits.max_buffered {
                return Err(no_room(found, name, most, limits.max_buffered));
            }
        }
        Ok(())
    }

    fn check_listen(&self, found: &[Set]) -> Result<(), ConfigError> {
        let unspecified = self
            .listen
            .as_deref()
            .and_then(|listen| listen.parse::<std::net::SocketAddr>().ok())
            .is_some_and(|address| address.ip().is_unspecified());
        if unspecified
            && self.advertise.is_none()
            && let Some((key, found)) = set(found, "listen")
        {
            return Err(ConfigError::value(key, found, "an address others can dial")
                .help("keep it and set `advertise` to the address other nodes reach"));
        }
        Ok(())
    }
}

/// A key and what it was set to.
type Set = (&'static keys::Key, Found);

/// What a key was set to, if it was.
fn set<'a>(found: &'a [Set], name: &str) -> Option<&'a Set> {
    found.iter().find(|(key, _)| key.name == name)
}

/// One body may be larger than all bodies together.
fn no_room(found: &[Set], name: &str, most: usize, buffered: usize) -> ConfigError {
    let (most, buffered) = (show_size(most as u64), show_size(buffered as u64));
    // The one that was set is the mistake; if both were, the part is.
    if let Some((key, found)) = set(found, name) {
        let accepted = format!("no more than `api-max-buffered`, which is {buffered}");
        return ConfigError::value(key, found, &accepted)
            .help(&format!("lower `{name}`, or raise `api-max-buffered`"));
    }
    let accepted = format!("no less than `{name}`, which is {most}");
    let help = format!("raise `api-max-buffered`, or lower `{name}`");
    match set(found, "api-max-buffered") {
        Some((key, found)) => ConfigError::value(key, found, &accepted).help(&help),
        None => ConfigError::of_variable("api-max-buffered", &accepted).help(&help),
    }
}

/// The data directory alone, for verbs that operate a node.
pub fn data_dir(surroundings: &Surroundings, flag: Option<&str>) -> Result<PathBuf, ConfigError> {
    let flags: Vec<_> = flag
        .map(|dir| ("data", dir.to_owned()))
        .into_iter()
        .collect();
    let mut config = Config::default();
    for (key, found) in &gather(surroundings, &flags)? {
        if key.name == "data" {
            apply(&mut config, key, found)?;
        }
    }
    Ok(config.data)
}

fn apply(config: &mut Config, key: &'static keys::Key, found: &Found) -> Result<(), ConfigError> {
    let set = found
        .text
        .as_deref()
        .and_then(|text| (key.set)(config, text));
    set.ok_or_else(|| ConfigError::value(key, found, key.accepted))
}

#[cfg(test)]
mod tests;
