//! The sample agent `alerts`.
