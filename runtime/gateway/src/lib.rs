//! The node's HTTP API: for operators, for clients that feed agents, and for
//! whatever scrapes counters.
//!
//! [`Gateway::bind`] listens on loopback and turns each request into one call
//! of the [`Control`](phoenix_core::Control) port. [`client::Client`] is the
//! other end, which the `phoenix` command line uses. Both speak [`api`], whose
//! types are this boundary's own: a change of a core type does not change what
//! a program outside has to read. `docs/api.md` describes the API for people.
//!
//! ```text
//! HTTP request ─ guard (Host, Origin, token) ─ admission (limits) ─ handler ─ Control::submit
//!                                                                            └ oneshot ─ answer
//! ```
//!
//! **Invariant**: this crate decides nothing about agents. It does not know
//! what a node is made of, where agents live, or what a request costs; it
//! checks form, size and authority, and translates.
//!
//! Start with [`server`]; the routes are in `server/routes.rs`.

pub mod api;
pub mod client;
mod convert;
pub mod flow;
pub mod policy;
pub mod server;
pub mod suggest;
pub mod token;
pub mod units;

pub use server::{BindError, Gateway, GatewayConfig, Limits};

/// Where the API listens unless told otherwise.
pub const DEFAULT_API: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7400);

/// The file in a node's data directory that holds the API's token.
pub const TOKEN_FILE: &str = "api.token";

/// The file in a node's data directory that says where the API listens.
pub const ADDRESS_FILE: &str = "api.address";
