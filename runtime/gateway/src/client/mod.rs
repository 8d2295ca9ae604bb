//! The API from the other side: what the command line, the demo and tests use.
//!
//! ```no_run
//! # async fn example() -> Result<(), phoenix_gateway::client::ClientError> {
//! use phoenix_gateway::client::Client;
//!
//! let client = Client::of_data_dir("phoenix-data".as_ref(), None)?;
//! for kind in client.kinds().await?.kinds {
//!     println!("{}", kind.kind);
//! }
//! # Ok(()) }
//! ```

mod connection;
mod error;
mod operations;
mod topics;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::token::Token;
use crate::{ADDRESS_FILE, TOKEN_FILE};
use connection::Connections;

pub use error::ClientError;
pub use operations::{AgentFilter, Answer};
pub use topics::{NewEvent, ReadFrom};

/// A client of a node's API. Cheap to clone; clones share connections, which
/// are kept open between requests. Any number of requests may be under way.
#[derive(Clone)]
pub struct Client {
    connections: Arc<Connections>,
}

impl Client {
    /// A client of the API at `address`. Nothing is connected yet.
    pub fn new(address: SocketAddr, token: Token) -> Self {
        Self {
            connections: Arc::new(Connections::new(address, token)),
        }
    }

    /// A client of the node whose data directory is `dir`. The token is read
    /// from there, and so is the address unless one is given.
    pub fn of_data_dir(dir: &Path, address: Option<SocketAddr>) -> Result<Self, ClientError> {
        let address = match address {
            Some(address) => address,
            None => read_address(dir)?,
        };
        let path = dir.join(TOKEN_FILE);
        let token = Token::read(&path).map_err(ClientError::Token)?;
        Ok(Self::new(address, token))
    }

    /// Where the API is.
    pub fn address(&self) -> SocketAddr {
        self.connections.address()
    }

    /// The same client with another limit for what has none of its own: how
    /// long the node may take to answer. 150 s unless set.
    pub fn with_patience(self, patience: Duration) -> Self {
        let connections = (*self.connections).with_patience(patience);
        Self {
            connections: Arc::new(connections),
        }
    }
}

/// The address in `api.address` of the data directory, which is there while a
/// node is running.
fn read_address(dir: &Path) -> Result<SocketAddr, ClientError> {
    let path = dir.join(ADDRESS_FILE);
    let text = std::fs::read_to_string(&path).map_err(|source| ClientError::NoAddress {
        path: path.clone(),
        source,
    })?;
    text.trim()
        .parse()
        .map_err(|_| ClientError::BadAddress { path })
}

/// What may stand in a path segment or a query value as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

fn encode(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, PLAIN)
}
