//! phoenix-cluster
