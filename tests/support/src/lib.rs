//! phoenix-support
