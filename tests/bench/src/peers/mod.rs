//! The other sides: what Phoenix is measured against.

pub(crate) mod bare;
pub(crate) mod erlang;
pub(crate) mod nats;
pub(crate) mod quic;
pub(crate) mod redis;
