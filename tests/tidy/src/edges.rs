//! Which room may depend on which, and where vendor crates live.
//!
//! ```text
//! cli → node → {host, store, net, gateway, bus, consensus} → cluster → core
//! agents → sdk → wit ← host, core          tests → anything, nothing → tests
//! ```
//!
//! What is not in [`Room::may_use`] is forbidden.

use crate::{Dependency, DependencyKind, Fault, Package, manifest};

/// A room of the house: a place with one owner and one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// The contract.
    Wit,
    /// What authors write agents with.
    Sdk,
    /// Building crates into components.
    Build,
    /// Sample agents.
    Agents,
    /// Pure decisions, and the ports.
    Core,
    /// Pure decisions about many nodes.
    Cluster,
    /// One of the crates that touch the world, by its directory.
    Adapter(&'static str),
    /// Wires it all.
    Node,
    /// The binary.
    Cli,
    /// What tests share.
    Support,
    /// The other tests.
    Tests,
}

/// The rooms in braces.
const ADAPTERS: [&str; 6] = ["host", "store", "net", "gateway", "bus", "consensus"];

/// Vendor crates, by prefix of their names, and the one room that knows them.
const HOMES: [(&str, &str); 18] = [
    ("wasmtime", "host"),
    ("cranelift", "host"),
    ("quinn", "net"),
    ("rustls", "net"),
    ("rcgen", "net"),
    ("h2", "net"),
    ("tokio-rustls", "net"),
    ("redb", "store"),
    ("raft-engine", "store"),
    ("openraft", "consensus"),
    ("axum", "gateway"),
    ("hyper", "gateway"),
    ("tower", "gateway"),
    ("http-body", "gateway"),
    ("async-nats", "bus"),
    ("rdkafka", "bus"),
    ("lapin", "bus"),
    ("redis", "bus"),
];

/// Crates that bring the outside world, by prefix of their names: no part of
/// core or cluster may know them.
const WORLDLY: [&str; 13] = [
    "tokio",
    "mio",
    "socket2",
    "libc",
    "rustix",
    "nix",
    "getrandom",
    "rand",
    "fastrand",
    "parking_lot",
    "crossbeam",
    "tempfile",
    "chrono",
];

impl Room {
    fn of(dir: &str) -> Option<Self> {
        Some(match dir.split_once('/') {
            None if dir == "wit" => Self::Wit,
            Some(("sdk", "build")) => Self::Build,
            Some(("sdk", _)) => Self::Sdk,
            Some(("agents", _)) => Self::Agents,
            Some(("runtime", "core")) => Self::Core,
            Some(("runtime", "cluster")) => Self::Cluster,
            Some(("runtime", "node")) => Self::Node,
            Some(("runtime", "cli")) => Self::Cli,
            Some(("runtime", other)) => {
                Self::Adapter(ADAPTERS.into_iter().find(|adapter| *adapter == other)?)
            }
            Some(("tests", "support")) => Self::Support,
            Some(("tests", _)) => Self::Tests,
            _ => return None,
        })
    }

    /// Whether a crate of this room may depend on one of `other`.
    fn may_use(self, other: Self) -> bool {
        match self {
            Self::Wit => false,
            Self::Build => other == Self::Wit,
            Self::Sdk => matches!(other, Self::Sdk | Self::Wit),
            Self::Agents => matches!(other, Self::Agents | Self::Sdk),
            Self::Core => other == Self::Wit,
            Self::Cluster => other == Self::Core,
            Self::Adapter("host") => matches!(other, Self::Cluster | Self::Core | Self::Wit),
            Self::Adapter(_) => matches!(other, Self::Cluster | Self::Core),
            Self::Node => matches!(other, Self::Adapter(_) | Self::Cluster | Self::Core),
            Self::Cli => matches!(
                other,
                Self::Node | Self::Adapter("gateway") | Self::Build | Self::Cluster | Self::Core
            ),
            Self::Support | Self::Tests => true,
        }
    }

    /// What to do instead of depending on `other`.
    fn advice(self, other: Self) -> &'static str {
        match (self, other) {
            (_, Self::Tests | Self::Support) => {
                "product code knows no test crate; tests of a crate may have phoenix-support as a dev-dependency"
            }
            (Self::Adapter(_), Self::Adapter(_)) => {
                "crates of this row never depend on each other: make the shared need a trait in phoenix-core and let phoenix-node join the two"
            }
            (Self::Cli, Self::Adapter(_)) => {
                "only phoenix-node names concrete adapters: ask it, or add what is missing to its public interface"
            }
            (_, Self::Wit) => {
                "the frame format is known to core, host and sdk only: use the types phoenix-core re-exports"
            }
            (Self::Agents, _) => "agents know the SDK and nothing behind it",
            _ => {
                "the arrow points the other way: move what is needed down, or put a trait into phoenix-core that the upper room implements"
            }
        }
    }
}

/// Checks every dependency of `package`, whose manifest is `text`, among `packages`.
pub fn check(package: &Package, packages: &[Package], text: &str) -> Vec<Fault> {
    let Some(room) = Room::of(&package.dir) else {
        return vec![Fault::new(
            &package.manifest(),
            1,
            format!(
                "{} lies in no room the rules know: give it a place in tests/tidy/src/edges.rs and in ARCHITECTURE.md",
                package.dir
            ),
        )];
    };
    package
        .dependencies
        .iter()
        .filter_map(|dependency| {
            let target = packages
                .iter()
                .find(|package| package.name == dependency.name);
            let wrong = match target {
                Some(target) => wrong_room(room, package, dependency, target),
                None => wrong_vendor(room, package, dependency),
            }?;
            let line = manifest::line_of(text, &dependency.name);
            Some(Fault::new(&package.manifest(), line, wrong))
        })
        .collect()
}

fn wrong_room(
    room: Room,
    package: &Package,
    dependency: &Dependency,
    target: &Package,
) -> Option<String> {
    let other = Room::of(&target.dir)?;
    let for_tests = dependency.kind == DependencyKind::Dev && other == Room::Support;
    if for_tests || room.may_use(other) {
        return None;
    }
    Some(format!(
        "{} ({}) must not depend on {} ({}): {}",
        package.name,
        package.dir,
        target.name,
        target.dir,
        room.advice(other)
    ))
}

fn wrong_vendor(room: Room, package: &Package, dependency: &Dependency) -> Option<String> {
    let free = dependency.kind == DependencyKind::Dev;
    if free || matches!(room, Room::Tests | Room::Support) {
        return None;
    }
    let named = |prefix: &&str| is_of(&dependency.name, prefix);
    if let Some((_, home)) = HOMES.iter().find(|(prefix, _)| named(prefix))
        && room != Room::Adapter(home)
    {
        return Some(format!(
            "{} ({}) must not depend on {}: it is known in runtime/{home} only; put a type of ours in front of it there",
            package.name, package.dir, dependency.name
        ));
    }
    if matches!(room, Room::Core | Room::Cluster) && WORLDLY.iter().any(named) {
        return Some(format!(
            "{} ({}) must not depend on {}: decisions do no I/O; take time, randomness and events as arguments and give back actions",
            package.name, package.dir, dependency.name
        ));
    }
    None
}

/// Whether `name` is the crate `family` or one of its family, as `quinn-proto` is of quinn.
fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRS: [(&str, &str); 17] = [
        ("phoenix-wit", "wit"),
        ("phoenix-sdk", "sdk/rust"),
        ("phoenix-macros", "sdk/macros"),
        ("phoenix-build", "sdk/build"),
        ("counter", "agents/counter"),
        ("phoenix-core", "runtime/core"),
        ("phoenix-cluster", "runtime/cluster"),
        ("phoenix-host", "runtime/host"),
        ("phoenix-store", "runtime/store"),
        ("phoenix-net", "runtime/net"),
        ("phoenix-gateway", "runtime/gateway"),
        ("phoenix-bus", "runtime/bus"),
        ("phoenix-consensus", "runtime/consensus"),
        ("phoenix-node", "runtime/node"),
        ("phoenix", "runtime/cli"),
        ("phoenix-support", "tests/support"),
        ("bench", "tests/bench"),
    ];

    /// The faults of a tree in which `from` depends on `to`.
    fn faults(from: &str, kind: DependencyKind, to: &str) -> Vec<Fault> {
        let packages: Vec<_> = DIRS
            .iter()
            .map(|(name, dir)| Package {
                name: (*name).to_owned(),
                dir: (*dir).to_owned(),
                dependencies: if *name == from {
                    vec![Dependency {
                        name: to.to_owned(),
                        kind,
                    }]
                } else {
                    Vec::new()
                },
            })
            .collect();
        let text = format!("[package]\nname = \"{from}\"\n[dependencies]\n{to}.workspace = true\n");
        let package = packages
            .iter()
            .find(|package| package.name == from)
            .unwrap();
        check(package, &packages, &text)
    }

    #[test]
    fn forbidden_edges_are_found_at_their_line() {
        for (from, to) in [
            ("phoenix-core", "phoenix-cluster"),
            ("phoenix-core", "phoenix-node"),
            ("phoenix-cluster", "phoenix-host"),
            ("phoenix-host", "phoenix-store"),
            ("phoenix-net", "phoenix-gateway"),
            ("phoenix-bus", "phoenix-consensus"),
            ("phoenix-store", "phoenix-node"),
            ("phoenix-gateway", "phoenix"),
            ("phoenix-node", "phoenix"),
            ("phoenix", "phoenix-host"),
            ("phoenix", "phoenix-sdk"),
            ("phoenix-wit", "phoenix-core"),
            ("phoenix-node", "phoenix-wit"),
            ("phoenix-net", "phoenix-wit"),
            ("phoenix-sdk", "phoenix-core"),
            ("phoenix-sdk", "phoenix-build"),
            ("counter", "phoenix-wit"),
            ("counter", "phoenix-node"),
            ("phoenix-node", "phoenix-support"),
            ("phoenix-core", "bench"),
            ("phoenix-node", "wasmtime"),
            ("phoenix", "wasmtime-wasi"),
            ("phoenix-node", "quinn-proto"),
            ("phoenix-gateway", "rustls"),
            ("phoenix-host", "redb"),
            ("phoenix-node", "axum"),
            ("phoenix", "hyper-util"),
            ("phoenix-core", "tokio"),
            ("phoenix-cluster", "getrandom"),
            ("phoenix-core", "rand_chacha"),
        ] {
            let found = faults(from, DependencyKind::Normal, to);
            assert_eq!(found.len(), 1, "{from} → {to}");
            assert_eq!(found[0].line, 4, "{from} → {to}");
            assert!(found[0].message.contains(to), "{}", found[0]);
            let build = faults(from, DependencyKind::Build, to);
            assert_eq!(build.len(), 1, "build of {from} → {to}");
        }
    }

    #[test]
    fn documented_edges_pass() {
        for (from, to) in [
            ("phoenix", "phoenix-node"),
            ("phoenix", "phoenix-gateway"),
            ("phoenix", "phoenix-build"),
            ("phoenix-node", "phoenix-host"),
            ("phoenix-node", "phoenix-core"),
            ("phoenix-host", "phoenix-cluster"),
            ("phoenix-host", "phoenix-wit"),
            ("phoenix-cluster", "phoenix-core"),
            ("phoenix-core", "phoenix-wit"),
            ("phoenix-sdk", "phoenix-wit"),
            ("phoenix-sdk", "phoenix-macros"),
            ("counter", "phoenix-sdk"),
            ("bench", "phoenix-host"),
            ("bench", "phoenix-support"),
            ("bench", "wasmtime"),
            ("phoenix-host", "wasmtime-wasi"),
            ("phoenix-net", "quinn-proto"),
            ("phoenix-gateway", "axum"),
            ("phoenix-node", "tokio"),
            ("phoenix-core", "hashbrown"),
            ("phoenix-core", "nixie"),
        ] {
            assert_eq!(
                faults(from, DependencyKind::Normal, to),
                [],
                "{from} → {to}"
            );
        }
    }

    #[test]
    fn tests_of_a_crate_may_use_the_support_crate_and_any_vendor() {
        for (from, to) in [
            ("phoenix-core", "phoenix-support"),
            ("phoenix-node", "phoenix-support"),
            ("phoenix-store", "tokio"),
            ("phoenix", "axum"),
        ] {
            assert_eq!(faults(from, DependencyKind::Dev, to), [], "{from} → {to}");
        }
        assert_eq!(
            faults("phoenix-host", DependencyKind::Dev, "phoenix-net").len(),
            1
        );
        assert_eq!(
            faults("phoenix-core", DependencyKind::Dev, "bench").len(),
            1
        );
    }

    #[test]
    fn a_crate_without_a_room_is_a_fault() {
        let package = Package {
            name: "stray".to_owned(),
            dir: "runtime/stray".to_owned(),
            dependencies: Vec::new(),
        };
        assert_eq!(check(&package, &[], "").len(), 1);
    }
}
