//! One function a route.

pub(super) mod agents;
pub(super) mod broadcast;
pub(super) mod cluster;
pub(super) mod dead_letters;
pub(super) mod flow;
pub(super) mod kinds;
pub(super) mod messages;
pub(super) mod topics;
