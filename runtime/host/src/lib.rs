//! phoenix-host
