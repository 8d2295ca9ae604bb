//! phoenix-build
