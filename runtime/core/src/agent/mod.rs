//! The state machine every agent is to its worker.
