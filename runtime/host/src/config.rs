//! What a host can be told.

use std::path::PathBuf;

use crate::pages::PageFinder;

/// How a host is set up. Every bound has a unit; the defaults suit one node on one machine.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where compiled components are kept; without it every start compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// Agents in Wasm memory at a time. Without it, computed at start from
    /// `vm.max_map_count`, the address space and the pool's sizes, and logged.
    pub max_resident: Option<u32>,
    /// Largest linear memory an agent may have, bytes: a slot of the pool. A
    /// kind's policy may give less, never more. At most 4 GiB.
    pub max_memory_bytes: u64,
    /// Largest table an agent may have, elements of 8 bytes.
    pub max_table_elements: u32,
    /// What a component may cost before it is admitted.
    pub admission: AdmissionLimits,
    /// How changed pages are found; without it, the best the kernel has.
    pub page_finder: Option<PageFinder>,
    /// Compile for the plainest CPU of this architecture instead of this
    /// machine's. Slower; agents behave the same either way, and a test proves it.
    pub baseline_cpu: bool,
}

/// What a component may cost before it is admitted.
#[derive(Clone, Debug)]
pub struct AdmissionLimits {
    /// Bytes of the component as deployed.
    pub component_bytes: u64,
    /// Time for checking it, and again for compiling it, milliseconds.
    pub compile_ms: u64,
    /// Memory of one compiler process, bytes; not enforced without one.
    pub compile_memory_bytes: u64,
    /// Compiler processes at a time. Whoever finds as many at work waits, as
    /// long as `compile_ms` and no longer.
    pub compilers: u32,
    /// The program that checks and compiles, and its arguments: one that calls
    /// [`crate::compile_worker`]. It is killed at its bounds. Without it the caller
    /// checks and a thread compiles, which can only be left behind when it takes too long; then
    /// nothing else is compiled until it ends.
    pub compiler: Option<CompilerProgram>,
}

/// A program that compiles components, see [`AdmissionLimits::compiler`].
#[derive(Clone, Debug)]
pub struct CompilerProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            cache_dir: None,
            max_resident: None,
            max_memory_bytes: 4 << 30,
            max_table_elements: 100_000,
            admission: AdmissionLimits::default(),
            page_finder: None,
            baseline_cpu: false,
        }
    }
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            component_bytes: 64 << 20,
            compile_ms: 60_000,
            compile_memory_bytes: 2 << 30,
            compilers: 2,
            compiler: None,
        }
    }
}
