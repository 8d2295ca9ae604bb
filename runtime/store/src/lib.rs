//! phoenix-store
