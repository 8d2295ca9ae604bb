//! phoenix-net
