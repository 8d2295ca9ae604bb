//! Cargo started from inside cargo: what it must not inherit.

use std::ffi::OsStr;
use std::process::Command;

/// What cargo tells a build script or a test about the outer build. The inner
/// one is about another target, so each would mislead it; flags and wrappers
/// meant for the host's compiler would even break it.
const REMOVED: &[&str] = &[
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CLIPPY_ARGS",
    "DEBUG",
    "HOST",
    "MAKEFLAGS",
    "MFLAGS",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "TARGET",
];

const REMOVED_PREFIXES: &[&str] = &[
    "CARGO_BIN_EXE_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "DEP_",
];

/// Cargo, the one that runs the caller if there is one, in a clean environment.
///
/// A build script's `CARGO_MAKEFLAGS` stays: through it the inner cargo shares
/// the outer one's job tokens instead of doubling the load. Elsewhere it names
/// file descriptors that may be closed, so there it goes.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    let in_build_script = std::env::var_os("OUT_DIR").is_some();
    for (name, _) in std::env::vars_os() {
        if is_removed(&name) || (name == "CARGO_MAKEFLAGS" && !in_build_script) {
            command.env_remove(&name);
        }
    }
    command
}

fn is_removed(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        REMOVED.contains(&name) || REMOVED_PREFIXES.iter().any(|p| name.starts_with(p))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_build_is_forgotten_and_the_user_is_not() {
        for gone in [
            "RUSTFLAGS",
            "CARGO_CFG_TARGET_OS",
            "RUSTC_WORKSPACE_WRAPPER",
        ] {
            assert!(is_removed(OsStr::new(gone)), "{gone}");
        }
        for kept in [
            "PATH",
            "CARGO_HOME",
            "RUSTUP_TOOLCHAIN",
            "CARGO_NET_OFFLINE",
        ] {
            assert!(!is_removed(OsStr::new(kept)), "{kept}");
        }
    }
}
