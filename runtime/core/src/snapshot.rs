//! The format of an agent's snapshot.
