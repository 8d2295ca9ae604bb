//! phoenix-gateway
