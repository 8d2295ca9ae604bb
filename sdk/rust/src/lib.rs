//! phoenix-sdk
