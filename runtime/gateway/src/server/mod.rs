//! The server: it listens on loopback and hands each request to its handler.
//!
//! A request passes, in this order, [`guard`] (who may speak at all),
//! [`admission`] (is there room for it), `routes` (which handler), `extract`
//! and `body` (is it well-formed and within its limits), and reaches the node
//! by [`app::App::submit`]. Whatever goes wrong on the way is a
//! [`fault::Fault`], which becomes a problem document.

mod accept;
mod admission;
mod app;
mod body;
mod config;
mod extract;
mod fault;
mod guard;
mod handlers;
mod routes;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phoenix_core::Control;
use phoenix_core::attributes::EventCodec;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::token::{Token, TokenError, write_private};
use crate::{ADDRESS_FILE, TOKEN_FILE};

pub use config::{GatewayConfig, Limits};
pub use routes::listed as routes;

/// The running API of a node.
pub struct Gateway {
    address_file: AddressFile,
    server: accept::Server,
}

/// The file that says where the API listens, for as long as it does.
struct AddressFile {
    path: PathBuf,
    address: SocketAddr,
}

/// Why the API could not be opened. Nothing is listening.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Others than this machine could reach the address.
    #[error("the API cannot listen on {0}: it speaks plain HTTP and is for this machine alone")]
    NotLoopback(SocketAddr),
    /// The address could not be opened.
    #[error("the API cannot listen on {address}")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The token could not be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The file that says where the API listens could not be written.
    #[error("cannot write {}", path.display())]
    AddressFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl BindError {
    /// What to do about it.
    pub fn suggestion(&self) -> &'static str {
        match self {
            Self::NotLoopback(_) => {
                "listen on 127.0.0.1 or [::1]; reach it from elsewhere through an SSH tunnel"
            }
            Self::Address { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another node may be running here: choose another port with `--api`, or port 0 for a free \
                 one"
            }
            Self::Address { .. } => "choose an address of this machine, such as 127.0.0.1:7400",
            Self::Token(_) | Self::AddressFile { .. } => {
                "the data directory must be writable and its files readable by the node's user"
            }
        }
    }
}

impl Gateway {
    /// Listens, and serves `control` until [`Gateway::close`]; `events` reads and
    /// writes the events of clients. The token is in
    /// `api.token` of the data directory, where it lasts over restarts, and the
    /// actual address in `api.address` while the API is open.
    ///
    /// Must be called within a tokio runtime with I/O and time enabled.
    pub async fn bind(
        config: GatewayConfig,
        control: Arc<dyn Control>,
        events: Arc<dyn EventCodec>,
    ) -> Result<Self, BindError> {
        if !config.listen.ip().is_loopback() {
            return Err(BindError::NotLoopback(config.listen));
        }
        let token = Token::read_or_create(&config.data_dir.join(TOKEN_FILE))?;
        let failed = |source| BindError::Address {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let address_file = config.data_dir.join(ADDRESS_FILE);
        write_private(&address_file, &address.to_string()).map_err(|source| {
            BindError::AddressFile {
                path: address_file.clone(),
                source,
            }
        })?;
        let (cut, is_cut) = watch::channel(false);
        let router = routes::router(&token, config.limits.clone(), control, events, is_cut);
        Ok(Self {
            address_file: AddressFile {
                path: address_file,
                address,
            },
            server: accept::Server::start(listener, router, &config.limits, cut),
        })
    }

    /// Where it listens; the port is the actual one.
    pub fn address(&self) -> SocketAddr {
        self.address_file.address
    }

    /// Takes no new connections and lets requests under way end within `grace`.
    /// What still waits for the node then is answered with `unknown`; a client
    /// that does not take its answer is cut. True if nobody was.
    pub async fn close(self, grace: Duration) -> bool {
        drop(self.address_file);
        self.server.close(grace).await
    }
}

impl Drop for AddressFile {
    /// Removes the file unless another node has written it since.
    fn drop(&mut self) {
        let own = fs::read_to_string(&self.path)
            .is_ok_and(|text| text.trim() == self.address.to_string());
        if own && let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot remove the API's address file");
        }
    }
}
