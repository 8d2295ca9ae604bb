//! The host: one wasmtime engine, its pool, and what all components share.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use phoenix_core::KindPolicy;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
};

use crate::admit;
use crate::cache::Cache;
use crate::capacity::{Capacity, MEMORIES_PER_PLACE, Permits, TABLES_PER_PLACE};
use crate::compile::Compiler;
use crate::component::Component;
use crate::config::{AdmissionLimits, HostConfig};
use crate::error::{AdmitError, HostStartError};
use crate::pages::{Finder, PageFinder};
use crate::state::State;
use crate::{instrument, limits};

/// Time between two calls of [`Host::tick`].
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Stack a guest may use on its worker's own, bytes. Worker threads need room
/// for it and for the host below it: 2 MiB do.
const WASM_STACK: usize = 1 << 20;

/// Bytes of a reset slot that stay resident for the next agent in it. More
/// saves page faults on waking and costs memory on every free slot.
const KEEP_RESIDENT: usize = 0;

/// What all components and instances of a host share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) finder: Arc<Finder>,
    pub(crate) cache: Option<Cache>,
    pub(crate) compiler: Compiler,
    pub(crate) admission: AdmissionLimits,
    pub(crate) max_memory_bytes: u64,
    pub(crate) max_table_elements: u32,
    /// Components in use.
    pub(crate) admitted: Mutex<HashMap<admit::Known, Weak<Component>>>,
}

/// A Wasm host. Cheap to clone; all clones are the same host.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("max_resident", &self.max_resident())
            .field("page_finder", &self.page_finder())
            .finish_non_exhaustive()
    }
}

impl Host {
    /// How often [`Host::tick`] is to be called. Deadlines are counted in ticks.
    pub const TICK: Duration = TICK;

    /// Slots above the number of resident agents, for those made anew in place.
    pub const SPARE_SLOTS: u32 = 16;

    /// Sets up the engine and its pool. Reserves address space, not memory.
    pub fn start(config: HostConfig) -> Result<Self, HostStartError> {
        check(&config)?;
        let max_resident = max_resident(&config);
        let failed = |error: wasmtime::Error| HostStartError::Engine {
            max_resident,
            reason: format!("{error:#}; set max-resident lower, or raise vm.max_map_count"),
        };
        let engine = settings(&config, max_resident.saturating_add(Self::SPARE_SLOTS))
            .and_then(|settings| Engine::new(&settings))
            .map_err(failed)?;
        let mut linker = Linker::new(&engine);
        define(&mut linker).map_err(failed)?;
        let cache = match &config.cache_dir {
            Some(directory) => Some(Cache::open(directory, &engine)?),
            None => None,
        };
        let finder = Finder::new(config.page_finder);
        tracing::info!(finder = ?finder.kind(), max_resident, "the Wasm host is ready");
        let compiler = Compiler::new(&config);
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                linker,
                permits: Permits::new(max_resident),
                finder: Arc::new(finder),
                cache,
                compiler,
                max_memory_bytes: config.max_memory_bytes,
                max_table_elements: config.max_table_elements,
                admission: config.admission,
                admitted: Mutex::new(HashMap::new()),
            }),
        })
    }

    /// Agents that can be in Wasm memory at a time.
    pub fn max_resident(&self) -> u32 {
        self.shared.permits.limit()
    }

    /// How changed pages are found here.
    pub fn page_finder(&self) -> PageFinder {
        self.shared.finder.kind()
    }

    /// How often the page finder was of no use and all of a memory was compared
    /// instead. Snapshots are the same; each cost more.
    pub fn page_finder_failures(&self) -> u64 {
        self.shared.finder.failures()
    }

    /// Checks, instruments and compiles a component, or takes it from the
    /// cache. Takes up to the admission's time limit; not for a worker's thread.
    pub fn admit(
        &self,
        component: &[u8],
        policy: &KindPolicy,
    ) -> Result<Arc<Component>, AdmitError> {
        admit::admit(&self.shared, component, policy)
    }

    /// Advances the clock that deadlines are counted in. To be called every
    /// [`Host::TICK`] by a thread that is never held up.
    pub fn tick(&self) {
        self.shared.engine.increment_epoch();
    }
}

fn check(config: &HostConfig) -> Result<(), HostStartError> {
    let ranges: [(&'static str, u64, u64, u64); 5] = [
        (
            "max-memory-bytes",
            config.max_memory_bytes,
            64 << 10,
            4 << 30,
        ),
        (
            "max-table-elements",
            config.max_table_elements.into(),
            1,
            10_000_000,
        ),
        (
            "max-resident",
            config.max_resident.unwrap_or(1).into(),
            1,
            1_000_000,
        ),
        ("compile-ms", config.admission.compile_ms, 1, 3_600_000),
        ("compilers", config.admission.compilers.into(), 1, 64),
    ];
    for (field, found, low, high) in ranges {
        if !(low..=high).contains(&found) {
            return Err(HostStartError::Config {
                field,
                found,
                accepted: format!("{low} to {high}"),
            });
        }
    }
    Ok(())
}

fn max_resident(config: &HostConfig) -> u32 {
    let capacity = Capacity::measure();
    let agents = config.max_resident.unwrap_or(capacity.agents);
    tracing::info!(
        agents,
        vm_max_map_count = capacity.max_map_count,
        address_space = capacity.address_space,
        configured = config.max_resident.is_some(),
        "agents that can be resident at a time"
    );
    if agents > capacity.agents {
        tracing::warn!(
            agents,
            fitting = capacity.agents,
            "more resident agents are configured than vm.max_map_count and the address space \
             have room for: instances may fail to begin"
        );
    }
    agents
}

/// The settings that decide what code does. A compiler process uses the same.
fn code_settings(baseline_cpu: bool) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(WASM_STACK)
        .memory_init_cow(true);
    // wasmtime turns more on by itself than agents need.
    config.wasm_features(!instrument::features(), false);
    config.wasm_features(instrument::features(), true);
    if baseline_cpu {
        // A target that is named gets nothing of this machine's own features.
        config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
    }
    Ok(config)
}

/// An engine to compile with only: the same code, no pool to speak of.
pub(crate) fn bare(baseline_cpu: bool) -> wasmtime::Result<Engine> {
    Engine::new(&code_settings(baseline_cpu)?)
}

pub(crate) fn settings(config: &HostConfig, slots: u32) -> wasmtime::Result<Config> {
    let mut engine = code_settings(config.baseline_cpu)?;
    let mut pool = PoolingAllocationConfig::default();
    let core_instances = u32::try_from(limits::MAX_INSTANCES).unwrap_or(u32::MAX);
    // An agent that needs more than comes with a place takes several, see `places`.
    pool.total_component_instances(slots)
        .total_memories(slots.saturating_mul(MEMORIES_PER_PLACE))
        .total_core_instances(slots.saturating_mul(core_instances))
        .total_tables(slots.saturating_mul(TABLES_PER_PLACE))
        .max_core_instances_per_component(core_instances)
        .max_tables_per_component(u32::try_from(limits::MAX_TABLES).unwrap_or(u32::MAX))
        .max_memories_per_component(u32::try_from(limits::MAX_MEMORIES).unwrap_or(u32::MAX))
        .max_tables_per_module(u32::try_from(limits::MAX_TABLES).unwrap_or(u32::MAX))
        .table_elements(config.max_table_elements as usize)
        .max_memory_size(usize::try_from(config.max_memory_bytes).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(engine)
}

/// What every component may import.
fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    crate::wasi::add_to_linker(linker)?;
    crate::typed::bindings::Agent::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    crate::access::add_to_linker(linker)
}
