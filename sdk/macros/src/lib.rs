//! phoenix-macros
