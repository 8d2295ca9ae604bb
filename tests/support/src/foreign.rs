//! Agents in other languages, where their tools are installed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::guests::{root, target_dir};

/// A language whose usual tool makes components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// By componentize-js.
    JavaScript,
    /// By componentize-py.
    Python,
}

impl Language {
    fn directory(self) -> PathBuf {
        root().join(match self {
            Self::JavaScript => "tests/guests/javascript",
            Self::Python => "tests/guests/python",
        })
    }

    fn tool(self) -> &'static str {
        match self {
            Self::JavaScript => {
                "componentize-js (npm install -g @bytecodealliance/componentize-js)"
            }
            Self::Python => "componentize-py (pip install componentize-py)",
        }
    }
}

/// What a guest's build.sh exits with if its tool is not installed.
const NO_TOOL: i32 = 3;

/// The agent in this language, or `None`, said on standard error, where the
/// tool to build it is not installed; nothing is installed. It is built again only when its sources
/// or the contract are newer than what was built last.
pub fn foreign(language: Language) -> Option<Vec<u8>> {
    let target = target_dir().join("foreign");
    fs::create_dir_all(&target).expect("the target directory can be written");
    let lock = fs::File::create(target.join(".lock")).expect("the target directory can be written");
    lock.lock().expect("the target directory can be locked");
    let output = target.join(format!("{language:?}.wasm"));
    if !is_fresh(&output, &language.directory()) {
        let script = language.directory().join("build.sh");
        // Written beside the output and renamed, so that a build broken off leaves nothing.
        let unfinished = target.join(format!("{language:?}.unfinished.wasm"));
        let built = Command::new(&script)
            .arg(&unfinished)
            .output()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", script.display()));
        if built.status.code() == Some(NO_TOOL) {
            skipped(&format!(
                "the {language:?} agent, which needs {}",
                language.tool()
            ));
            return None;
        }
        assert!(
            built.status.success(),
            "{} failed:\n{}{}",
            script.display(),
            String::from_utf8_lossy(&built.stdout),
            String::from_utf8_lossy(&built.stderr)
        );
        fs::rename(&unfinished, &output).expect("the script wrote its output");
    }
    Some(fs::read(&output).expect("the component was built"))
}

/// Says what is left out. Past `eprintln!`, whose output the test harness keeps
/// to itself when a test passes.
fn skipped(what: &str) {
    let line = format!("skipped: {what}\n");
    // Where there is no standard error nobody waits for the line.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn is_fresh(output: &Path, sources: &Path) -> bool {
    let Ok(built) = fs::metadata(output).and_then(|m| m.modified()) else {
        return false;
    };
    let newer = |path: PathBuf| {
        let changed = fs::metadata(path).and_then(|m| m.modified());
        changed.unwrap_or_else(|_| SystemTime::now()) > built
    };
    let files = fs::read_dir(sources).expect("the guest has a directory");
    !files.flatten().any(|file| newer(file.path())) && !newer(root().join("wit/agent.wit"))
}
