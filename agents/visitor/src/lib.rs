//! The sample agent `visitor`.
