//! Where agents are compiled to when cargo runs inside cargo.

use std::path::{Path, PathBuf};

/// The directory beside the profiles of the outer target directory.
const NAME: &str = "phoenix-agents";

/// Files cargo puts at the root of a target directory.
const MARKS: [&str; 2] = ["CACHEDIR.TAG", ".rustc_info.json"];

/// The target directory agents share, `<target>/phoenix-agents`: one for dev
/// and release, for build scripts and tests, so that each agent is compiled
/// once. It is never the outer target directory itself, whose lock the outer
/// cargo holds while a build script runs.
///
/// It is found from `OUT_DIR` in a build script, else from the running
/// program's own place, else from `CARGO_TARGET_DIR`; failing all, it is
/// `fallback` itself.
pub fn shared_target_dir(fallback: &Path) -> PathBuf {
    let out_dir = std::env::var_os("OUT_DIR").map(PathBuf::from);
    let exe = std::env::current_exe().ok();
    out_dir
        .or(exe)
        .and_then(|path| shared_target_dir_of(&path))
        .or_else(|| {
            std::env::var_os("CARGO_TARGET_DIR").map(|target| PathBuf::from(target).join(NAME))
        })
        .unwrap_or_else(|| fallback.to_owned())
}

/// As [`shared_target_dir`], for a path that lies in the outer target directory.
pub fn shared_target_dir_of(path: &Path) -> Option<PathBuf> {
    // The outermost one: the shared directory is itself a target directory inside it.
    path.ancestors()
        .filter(|dir| MARKS.iter().any(|mark| dir.join(mark).is_file()))
        .last()
        .map(|target| target.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_target_directory_is_found() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("target");
        let deep = target.join("debug/build/x-1/out");
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(shared_target_dir_of(&deep), None);
        std::fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        assert_eq!(
            shared_target_dir_of(&deep),
            Some(target.join("phoenix-agents"))
        );
        let inner = target.join("phoenix-agents/debug");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(target.join("phoenix-agents/.rustc_info.json"), "").unwrap();
        assert_eq!(
            shared_target_dir_of(&inner),
            Some(target.join("phoenix-agents"))
        );
    }
}
