//! What came about, counted by name: a simulation in which a thing never happens
//! proves nothing about it.

use std::collections::BTreeMap;
use std::fmt;

use phoenix_net::memory::Harm;

use crate::Cluster;

/// How often what came about.
#[derive(Clone, Debug, Default)]
pub struct Seen(BTreeMap<String, u64>);

impl Seen {
    pub(super) fn add(&mut self, what: &str, times: u64) {
        *self.0.entry(what.to_owned()).or_default() += times;
    }

    pub(super) fn see_network(&mut self, harm: Harm) {
        self.add("lost", harm.lost);
        self.add("repeated", harm.repeated);
        self.add("overtaken", harm.overtaken);
        self.add("broken connections", harm.broken);
    }

    pub(super) fn see_nodes(&mut self, cluster: &Cluster, nodes: usize) {
        for name in [
            "hibernations",
            "wakes",
            "migrations",
            "forwarded",
            "spilled",
            "snapshots",
        ] {
            let clients = (1..=nodes).map(|node| cluster.client(node));
            self.add(name, clients.map(|it| it.counter(name)).sum());
        }
    }

    /// How often that came about.
    pub fn times(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// All that was seen by either.
    pub fn join(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.add(what, *times);
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.0 {
            writeln!(f, "{times:>9}  {what}")?;
        }
        Ok(())
    }
}
