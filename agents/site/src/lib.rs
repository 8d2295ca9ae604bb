//! The sample agent `site`.
