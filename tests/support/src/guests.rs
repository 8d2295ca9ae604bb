//! Agents and guests as components.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use phoenix_build::{Build, shared_target_dir};

/// Components built by this process, by workspace and package.
static BUILT: Mutex<Option<HashMap<(PathBuf, String), &'static [u8]>>> = Mutex::new(None);

/// The component of a sample agent, a directory of `agents/`.
pub fn agent(name: &str) -> &'static [u8] {
    built(&root(), name)
}

/// The component of a test guest, a directory of `tests/guests/`.
pub fn guest(name: &str) -> &'static [u8] {
    built(&root().join("tests/guests"), name)
}

/// The root of the source tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies at tests/support")
        .to_owned()
}

/// Builds `package` of `workspace` unless this process has done so already. Of
/// several processes one builds, and the others find cargo's work done.
fn built(workspace: &Path, package: &str) -> &'static [u8] {
    // A panic while it was held was a build that failed; the map is whole.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    let key = (workspace.to_owned(), package.to_owned());
    if let Some(bytes) = built.get(&key) {
        return bytes;
    }
    let artifact = Build::new(workspace)
        .packages([package])
        .target_dir(shared_target_dir(&root().join("target/phoenix-agents")))
        .run()
        .unwrap_or_else(|error| panic!("{}", error.report()))
        .remove(0);
    let bytes = &*artifact.bytes.leak();
    built.insert(key, bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_agent_builds_and_is_built_once() {
        let first = agent("counter");
        assert_eq!(
            phoenix_build::World::of(first),
            Ok(phoenix_build::World::Framed)
        );
        assert!(std::ptr::eq(first, agent("counter")));
    }
}
