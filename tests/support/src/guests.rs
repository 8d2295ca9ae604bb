//! Agents and guests as components.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use phoenix_build::{Build, shared_target_dir};

/// Components by workspace and package.
type Components = HashMap<(PathBuf, String), &'static [u8]>;

/// Those built by this process.
static BUILT: LazyLock<Mutex<Components>> = LazyLock::new(Mutex::default);

/// The component of a sample agent, a directory of `agents/`.
pub fn agent(name: &str) -> &'static [u8] {
    built(&root(), name)
}

/// The component of a test guest, a directory of `tests/guests/`.
pub fn guest(name: &str) -> &'static [u8] {
    built(&root().join("tests/guests"), name)
}

/// The guest `hostile-table`, which is written in WebAssembly's own text: its
/// misdeeds need instructions that no Rust compiles to.
pub fn hostile_table() -> Vec<u8> {
    let path = root().join("tests/guests/hostile-table/agent.wat");
    wat::parse_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The guest `adapter`, a core module that speaks WASI preview 1, joined to
/// the adapter that wasmtime ships for such modules.
pub fn adapter() -> &'static [u8] {
    static ADAPTER: OnceLock<Vec<u8>> = OnceLock::new();
    ADAPTER.get_or_init(|| {
        let build = build(&root().join("tests/guests"), "adapter")
            .target("wasm32-unknown-unknown")
            .any_world();
        let module = run(&build);
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .expect("the guest carries the world it was compiled for")
            .adapter(
                wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
            .expect("the adapter fits this encoder")
            .encode()
            .expect("the adapter has all that the guest imports")
    })
}

/// The root of the source tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies at tests/support")
        .to_owned()
}

/// Where guests are built, with those of other tests and the agents of the
/// `phoenix` binary.
pub(crate) fn target_dir() -> PathBuf {
    shared_target_dir(&root().join("target/phoenix-agents"))
}

/// Builds `package` of `workspace` unless this process has done so already. Of
/// several processes one builds, and the others find cargo's work done.
fn built(workspace: &Path, package: &str) -> &'static [u8] {
    // A panic while it was held was a build that failed; the map is whole.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (workspace.to_owned(), package.to_owned());
    if let Some(bytes) = built.get(&key) {
        return bytes;
    }
    let bytes = &*run(&build(workspace, package)).leak();
    built.insert(key, bytes);
    bytes
}

fn build(workspace: &Path, package: &str) -> Build {
    Build::new(workspace)
        .packages([package])
        .target_dir(target_dir())
}

fn run(build: &Build) -> Vec<u8> {
    match build.run() {
        Ok(mut artifacts) => artifacts.remove(0).bytes,
        Err(error) => panic!("{}", error.report()),
    }
}
