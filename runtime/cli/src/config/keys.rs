//! Every key: its name, what it is for, what its values look like.

use std::net::SocketAddr;

use phoenix_core::attributes::Format;
use phoenix_gateway::units::{parse_duration, parse_size};
use phoenix_node::PeerCompression;
use tracing_subscriber::EnvFilter;

use super::{Config, LogFormat, Secret};

/// A key of the configuration.
pub struct Key {
    /// Its name in the file; `PHOENIX_` and the name in upper case in the environment.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What its values look like.
    pub accepted: &'static str,
    /// Its value unless set.
    pub default: &'static str,
    /// Whether its value is kept out of messages.
    pub secret: bool,
    pub(super) set: fn(&mut Config, &str) -> Option<()>,
}

impl Key {
    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!(
            "PHOENIX_{}",
            self.name.replace('-', "_").to_ascii_uppercase()
        )
    }
}

/// The key of that name.
pub fn named(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

macro_rules! key {
    ($name:literal, $default:literal, $accepted:expr, $about:literal, $set:expr) => {
        Key {
            name: $name,
            about: $about,
            accepted: $accepted,
            default: $default,
            secret: false,
            set: $set,
        }
    };
}

const HOST_PORT: &str = "host:port, such as 10.0.0.5:7401";

/// All of them, in the order in which they are documented.
pub static KEYS: [Key; 29] = [
    key!(
        "data",
        "phoenix-data",
        "a directory",
        "where everything the node keeps lies",
        |config, text| {
            config.data = (!text.is_empty() && !text.contains('\0')).then(|| text.into())?;
            Some(())
        }
    ),
    key!(
        "listen",
        "127.0.0.1:7401",
        "host:port, such as 10.0.0.5:7401, or none for a node that stays alone",
        "where the node listens for other nodes",
        |config, text| {
            config.listen = match text {
                "none" => None,
                _ => Some(host_port(text)?),
            };
            Some(())
        }
    ),
    key!(
        "advertise",
        "the same as listen",
        HOST_PORT,
        "the address other nodes are told",
        |config, text| {
            config.advertise = Some(host_port(text)?);
            Some(())
        }
    ),
    key!(
        "api",
        "127.0.0.1:7400",
        "a loopback address and port, such as 127.0.0.1:7400 or [::1]:0",
        "where the HTTP API listens; port 0 for any",
        |config, text| {
            let address: SocketAddr = text.parse().ok()?;
            config.api = address.ip().is_loopback().then_some(address)?;
            Some(())
        }
    ),
    Key {
        name: "join",
        about: "a token from `phoenix token`, to join a cluster with; needed once",
        accepted: "a join token, as `phoenix token` prints it",
        default: "none",
        secret: true,
        set: |config, text| {
            let printable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            config.join = Some(Secret(printable.then(|| text.to_owned())?));
            Some(())
        },
    },
    key!(
        "peer-format",
        "compact",
        "compact, msgpack, protobuf or json",
        "the format messages are written in for other nodes; all but compact are CloudEvents",
        |config, text| {
            config.peer_format = match text {
                "compact" => None,
                word => Some(Format::of_word(word)?),
            };
            Some(())
        }
    ),
    key!(
        "peer-compression",
        "auto",
        "auto, none, lz4 or zstd; auto leaves what stays on the machine as it is",
        "how what goes to other nodes is compressed, from 4 KiB on",
        |config, text| {
            config.peer_compression = match text {
                "auto" => PeerCompression::Auto,
                "none" => PeerCompression::None,
                "lz4" => PeerCompression::Lz4,
                "zstd" => PeerCompression::Zstd,
                _ => return None,
            };
            Some(())
        }
    ),
    key!(
        "workers",
        "auto",
        "a number from 1 to 256, or auto for one a core",
        "threads that run agents",
        |config, text| {
            config.workers = auto(text, 1, 256)?.and_then(|number| usize::try_from(number).ok());
            Some(())
        }
    ),
    key!(
        "max-resident",
        "auto",
        "a number of agents from 1 to 10000000, or auto for what the machine holds",
        "agents in Wasm memory at once; more hibernate",
        |config, text| {
            config.max_resident =
                auto(text, 1, 10_000_000)?.and_then(|number| u32::try_from(number).ok());
            Some(())
        }
    ),
    key!(
        "max-agent-memory",
        "1GiB",
        "a size from 64KiB to 4GiB, such as 64MiB",
        "largest linear memory any kind may allow its agents",
        |config, text| {
            config.max_agent_memory = size(text, 64 << 10, 4 << 30)?;
            Some(())
        }
    ),
    key!(
        "log-lines",
        "10000",
        "a number from 1 to 10000000",
        "lines of log kept in memory for `phoenix logs`",
        |config, text| {
            config.log_lines = count(text, 1, 10_000_000)?;
            Some(())
        }
    ),
    key!(
        "dead-letters",
        "1000",
        "a number from 1 to 10000000",
        "dead letters kept in memory",
        |config, text| {
            config.dead_letters = count(text, 1, 10_000_000)?;
            Some(())
        }
    ),
    key!(
        "migration-timeout",
        "10s",
        "a span of time from 100ms to 1h, such as 10s",
        "how long a migration may take before it is given up",
        |config, text| {
            config.migration_timeout = span(text, 100, 3_600_000)?;
            Some(())
        }
    ),
    key!(
        "max-shipment",
        "256MiB",
        "a size from 1MiB to 8GiB, such as 256MiB",
        "largest snapshot and mailbox one moving agent may have",
        |config, text| {
            config.max_shipment = size(text, 1 << 20, 8 << 30)?;
            Some(())
        }
    ),
    key!(
        "max-spill",
        "16GiB",
        "a size from 1MiB to 1024GiB, such as 16GiB",
        "messages kept on disk for mailboxes that are full, all together",
        |config, text| {
            config.max_spill = size(text, 1 << 20, 1 << 40)?;
            Some(())
        }
    ),
    key!(
        "restore",
        "lazy",
        "lazy or eager",
        "whether durable agents are restored with their first message, or when the node starts",
        |config, text| {
            config.restore_eagerly = match text {
                "lazy" => false,
                "eager" => true,
                _ => return None,
            };
            Some(())
        }
    ),
    key!(
        "memory-budget",
        "auto",
        "a size from 0 to 1024GiB, such as 4GiB, or auto for a quarter of the memory there is",
        "memory for agents that sleep, all together; beyond it the longest asleep are on disk",
        |config, text| {
            config.memory_budget = match text {
                "auto" => None,
                _ => Some(size(text, 0, 1 << 40)?),
            };
            Some(())
        }
    ),
    key!(
        "sleep-disk",
        "64GiB",
        "a size from 1MiB to 16384GiB, such as 64GiB",
        "disk for agents that sleep and are not durable, all together",
        |config, text| {
            config.sleep_disk = size(text, 1 << 20, 1 << 44)?;
            Some(())
        }
    ),
    key!(
        "drain-timeout",
        "30s",
        "a span of time from 0 to 1h, such as 30s",
        "how long a stopping node takes to move its agents away",
        |config, text| {
            config.drain_timeout = span(text, 0, 3_600_000)?;
            Some(())
        }
    ),
    key!(
        "drain-durable",
        "stay",
        "stay or move",
        "what becomes of a stopping node's durable agents: they wait in its journal until it \
         is started again, or move to other nodes as all do",
        |config, text| {
            config.drain_durable = match text {
                "stay" => false,
                "move" => true,
                _ => return None,
            };
            Some(())
        }
    ),
    key!(
        "log",
        "info",
        "error, warn, info, debug or trace, or tracing's directives, such as info,phoenix_net=debug",
        "which lines the node logs to standard error",
        |config, text| {
            // Its parser may panic on other letters behind a space.
            let fits =
                !text.trim().is_empty() && text.is_ascii() && text.parse::<EnvFilter>().is_ok();
            config.log = fits.then(|| text.to_owned())?;
            Some(())
        }
    ),
    key!(
        "log-format",
        "human",
        "human or json",
        "how the node logs",
        |config, text| {
            config.log_format = match text {
                "human" => LogFormat::Human,
                "json" => LogFormat::Json,
                _ => return None,
            };
            Some(())
        }
    ),
    key!(
        "api-max-body",
        "8MiB",
        "a size from 1KiB to 1GiB, such as 8MiB",
        "largest body of a request that deploys nothing",
        |config, text| {
            config.api_limits.max_body = bytes(text, 1 << 10, 1 << 30)?;
            Some(())
        }
    ),
    key!(
        "api-max-component",
        "64MiB",
        "a size from 1KiB to 1GiB, such as 64MiB",
        "largest component",
        |config, text| {
            config.api_limits.max_component = bytes(text, 1 << 10, 1 << 30)?;
            Some(())
        }
    ),
    key!(
        "api-max-buffered",
        "256MiB",
        "a size from 1MiB to 64GiB, such as 256MiB",
        "bodies of all requests at once",
        |config, text| {
            config.api_limits.max_buffered = bytes(text, 1 << 20, 64 << 30)?;
            Some(())
        }
    ),
    key!(
        "api-max-batch",
        "10000",
        "a number from 1 to 1000000",
        "messages in one batch",
        |config, text| {
            config.api_limits.max_batch = count(text, 1, 1_000_000)?;
            Some(())
        }
    ),
    key!(
        "api-max-requests",
        "256",
        "a number from 1 to 100000",
        "requests at once",
        |config, text| {
            config.api_limits.max_requests = count(text, 1, 100_000)?;
            Some(())
        }
    ),
    key!(
        "api-max-connections",
        "512",
        "a number from 1 to 100000",
        "connections at once",
        |config, text| {
            config.api_limits.max_connections = count(text, 1, 100_000)?;
            Some(())
        }
    ),
    key!(
        "api-timeout",
        "2m",
        "a span of time from 1ms to 1d, such as 500ms, 30s or 5m",
        "how long a request may take that sends no messages",
        |config, text| {
            config.api_limits.control_timeout = span(text, 1, 86_400_000)?;
            Some(())
        }
    ),
];

/// `host:port` with a host that can be looked up or dialled.
fn host_port(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let name = |host: &str| {
        !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    (text.parse::<SocketAddr>().is_ok() || name(host)).then(|| text.to_owned())
}

fn number(text: &str, low: u64, high: u64) -> Option<u64> {
    let number = text.replace('_', "").parse().ok()?;
    (low..=high).contains(&number).then_some(number)
}

fn count(text: &str, low: u64, high: u64) -> Option<usize> {
    usize::try_from(number(text, low, high)?).ok()
}

/// A number, or nothing for `auto`.
fn auto(text: &str, low: u64, high: u64) -> Option<Option<u64>> {
    match text {
        "auto" => Some(None),
        _ => number(text, low, high).map(Some),
    }
}

fn size(text: &str, low: u64, high: u64) -> Option<u64> {
    let size = parse_size(text)?;
    (low..=high).contains(&size).then_some(size)
}

fn bytes(text: &str, low: u64, high: u64) -> Option<usize> {
    usize::try_from(size(text, low, high)?).ok()
}

fn span(text: &str, low_ms: u64, high_ms: u64) -> Option<std::time::Duration> {
    let span = parse_duration(text)?;
    (u128::from(low_ms)..=u128::from(high_ms))
        .contains(&span.as_millis())
        .then_some(span)
}
