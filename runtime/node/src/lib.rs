//! phoenix-node
