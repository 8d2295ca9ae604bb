//! What the API is allowed to use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the API listens, where its files are, and its limits.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The node's data directory, which must be there.
    pub data_dir: PathBuf,
    /// Its bounds.
    pub limits: Limits,
}

/// The API's bounds. At each of them a request gets a problem that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub max_connections: usize,
    /// Requests at once; more are refused with `overloaded`.
    pub max_requests: usize,
    /// Headers of a request.
    pub max_headers: usize,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// Bytes of a body that is no component.
    pub max_body: usize,
    /// Bytes of a component.
    pub max_component: usize,
    /// Bytes of all bodies held at once; more are refused with `overloaded`.
    pub max_buffered: usize,
    /// Messages in a batch.
    pub max_batch: usize,
    /// Agents, log lines or dead letters in one answer.
    pub max_page: u32,
    /// How long a connection may take to send a request's head, idle time included.
    pub header_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a call or send waits unless the request says otherwise.
    pub default_timeout: Duration,
    /// The longest wait a request may ask for.
    pub max_timeout: Duration,
    /// How long everything else may take: deploying and migrating among it.
    pub control_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            max_requests: 256,
            max_headers: 64,
            max_header_bytes: 16 << 10,
            max_body: 8 << 20,
            max_component: 64 << 20,
            max_buffered: 256 << 20,
            max_batch: 10_000,
            max_page: 10_000,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            default_timeout: Duration::from_secs(5),
            max_timeout: Duration::from_secs(3_600),
            control_timeout: Duration::from_secs(120),
        }
    }
}
