//! The API over real connections, with a node behind it that is none.

mod client;
mod fake;
mod guard;
mod http;
mod limits;
mod routes;
