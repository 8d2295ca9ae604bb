//! From the bytes of a component to something agents are made of.

use std::sync::{Arc, Weak};
use std::time::Duration;

use phoenix_core::{Digest, KindPolicy};
use wasmtime::component::{Component as Code, Linker};

use crate::access::AccessorExports;
use crate::base::BaseImage;
use crate::capacity::places as places_of;
use crate::component::Component;
use crate::describe::{self, Description};
use crate::engine::Shared;
use crate::error::{AdmitError, Fault, InstanceError};
use crate::instrument::Plan;
use crate::limits;
use crate::prepare::Prepared;
use crate::reading::Stack;
use crate::state::State;
use crate::typed::bindings::AgentPre;
use crate::wasi::denied;
use crate::wasm::{Movable, WasmComponent, World};

/// What components are kept in use by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    digest: Digest,
    movable: bool,
    memory_bytes: u64,
    table_elements: u32,
}

pub(crate) fn admit(
    shared: &Arc<Shared>,
    bytes: &[u8],
    policy: &KindPolicy,
) -> Result<Arc<Component>, AdmitError> {
    let limit = shared.admission.component_bytes;
    if bytes.len() as u64 > limit {
        return Err(AdmitError::TooLarge {
            found: bytes.len() as u64,
            limit,
        });
    }
    let digest = Digest::of(bytes);
    // Bounds of memory decide what a beginning agent gets, and so its base.
    let known = Known {
        digest,
        movable: policy.movable,
        memory_bytes: policy.memory_bytes,
        table_elements: policy.table_elements,
    };
    if let Some(component) = shared.admitted.lock().get(&known).and_then(Weak::upgrade) {
        return Ok(component);
    }
    let prepared = shared.compiler.prepare(bytes, policy.movable)?;
    let code = compiled(shared, &prepared)?;
    check_needs(&code, policy, shared)?;
    let component = first_run(shared, digest, &prepared, &code, policy)?;
    let mut admitted = shared.admitted.lock();
    admitted.retain(|_, component| component.strong_count() > 0);
    admitted.insert(known, Arc::downgrade(&component));
    Ok(component)
}

/// Loads the code from the cache, or compiles it and keeps it there.
fn compiled(shared: &Shared, prepared: &Prepared) -> Result<Code, AdmitError> {
    let entry = shared
        .cache
        .as_ref()
        .map(|cache| (cache, cache.entry(&Digest::of(&prepared.bytes))));
    if let Some((cache, entry)) = &entry
        && let Some(code) = cache.load(entry)
    {
        match load(shared, &code) {
            Ok(component) => return Ok(component),
            Err(error) => tracing::warn!(%error, "cached code does not fit, it is compiled anew"),
        }
    }
    let code = shared
        .compiler
        .compile(&shared.engine, prepared.bytes.clone())?;
    if let Some((cache, entry)) = &entry
        && let Err(error) = cache.store(entry, &code)
    {
        tracing::warn!(%error, "compiled code cannot be cached");
    }
    load(shared, &code).map_err(|error| AdmitError::Host(format!("{error:#}")))
}

fn load(shared: &Shared, code: &[u8]) -> wasmtime::Result<Code> {
    // SAFETY: the bytes are what `Engine::precompile_component` gave this node:
    // either just now, from its own thread or its own compiler program, or
    // earlier, and then a MAC under the node's private key vouches that they are
    // unchanged. They are copied, so nothing can change them later. wasmtime
    // itself checks that its version and the engine's settings fit.
    unsafe { Code::deserialize(&shared.engine, code) }
}

/// Places an agent of it takes.
fn places(code: &Code) -> u32 {
    // Nothing is said of components that import modules, and those are refused.
    code.resources_required()
        .map_or(1, |needs| places_of(needs.num_memories, needs.num_tables))
}

/// What the component needs from its beginning must be there.
fn check_needs(component: &Code, policy: &KindPolicy, shared: &Shared) -> Result<(), AdmitError> {
    let Some(needs) = component.resources_required() else {
        return Ok(());
    };
    let advice = |field: &str| format!(": raise {field} in the kind's policy");
    // wasmtime counts pages of 64 KiB here.
    let memory = needs
        .max_initial_memory_size
        .unwrap_or(0)
        .saturating_mul(64 << 10);
    let memory_limit = policy.memory_bytes.min(shared.max_memory_bytes);
    let table = needs.max_initial_table_size.unwrap_or(0);
    let table_limit = u64::from(policy.table_elements.min(shared.max_table_elements));
    let checks = [
        (
            "bytes of memory",
            memory,
            memory_limit,
            advice("memory-bytes"),
        ),
        (
            "table elements",
            table,
            table_limit,
            advice("table-elements"),
        ),
        (
            "memories",
            needs.num_memories.into(),
            limits::MAX_MEMORIES as u64,
            String::new(),
        ),
        (
            "tables",
            needs.num_tables.into(),
            limits::MAX_TABLES as u64,
            String::new(),
        ),
        (
            "places for agents (one for each memory and for every four tables)",
            places(component).into(),
            shared.permits.limit().into(),
            ": raise max-resident".to_owned(),
        ),
    ];
    for (what, needed, limit, advice) in checks {
        if needed > limit {
            return Err(AdmitError::Needs {
                what,
                needed,
                limit,
                advice,
            });
        }
    }
    Ok(())
}

/// Links the component, begins a first instance, reads the base image from it
/// and asks it to describe itself.
fn first_run(
    shared: &Arc<Shared>,
    digest: Digest,
    prepared: &Prepared,
    code: &Code,
    policy: &KindPolicy,
) -> Result<Arc<Component>, AdmitError> {
    let exports = match &prepared.plan {
        Ok(plan) => Ok((
            AccessorExports::find(code, plan.globals)
                .ok_or_else(|| AdmitError::Host("the accessor is not there".to_owned()))?,
            plan,
        )),
        Err(reason) => Err(reason.clone()),
    };
    let trial = Arc::new(WasmComponent {
        host: Arc::clone(shared),
        digest,
        handlers: Vec::new(),
        world: link(shared, prepared, code)?,
        places: places(code),
        movable: Err("it is being admitted".to_owned()),
    });
    let tried = try_out(&trial, policy, exports.as_ref().ok())?;
    // The instance is gone, and with it the only other reference.
    let mut component = Arc::into_inner(trial)
        .ok_or_else(|| AdmitError::Host("the first instance is still there".to_owned()))?;
    component.handlers = tried.description.handlers;
    component.movable = match (exports, tried.base) {
        (Ok((exports, _)), Some(base)) => Ok(Movable {
            exports,
            stack: tried.stack,
            base: Arc::new(base),
        }),
        (Ok(_), None) => Err("its base image was not read".to_owned()),
        (Err(reason), _) => Err(reason),
    };
    Ok(Arc::new(Component::wasm(component)))
}

fn link(shared: &Shared, prepared: &Prepared, code: &Code) -> Result<World, AdmitError> {
    let refused = |error: wasmtime::Error| AdmitError::Import {
        name: format!("{error:#}"),
    };
    let mut linker: Linker<State> = shared.linker.clone();
    denied::add_to_linker(&mut linker, &shared.engine, code).map_err(refused)?;
    let pre = linker.instantiate_pre(code).map_err(refused)?;
    if prepared.framed {
        let turns = code
            .get_export_index(None, "turns")
            .ok_or_else(|| AdmitError::Host("`turns` is gone".to_owned()))?;
        return Ok(World::Framed { pre, turns });
    }
    AgentPre::new(pre)
        .map(World::Typed)
        .map_err(|error| AdmitError::World {
            found: "phoenix:agent/handler".to_owned(),
            problem: format!("its `handler` is of another type ({error:#}); "),
        })
}

/// What a first instance showed.
#[derive(Default)]
struct Tried {
    base: Option<BaseImage>,
    stack: Option<Stack>,
    description: Description,
}

/// Begins a first instance, reads the base image from it and asks it to describe itself.
fn try_out(
    trial: &Arc<WasmComponent>,
    policy: &KindPolicy,
    exports: Option<&(AccessorExports, &Plan)>,
) -> Result<Tried, AdmitError> {
    let failed = |step, fault: Fault| AdmitError::FirstRun {
        step,
        message: fault.to_string(),
        backtrace: fault.backtrace,
    };
    let deadline = Duration::from_millis(policy.turn_deadline.0);
    let mut instance = trial.begin(policy, deadline).map_err(|error| match error {
        InstanceError::Fault(fault) => failed("began", *fault),
        InstanceError::Full { .. } | InstanceError::Late { .. } => AdmitError::Full,
    })?;
    let unreadable = |error| failed("showed its memory", Fault::of(&error));
    let mut tried = Tried::default();
    if let Some((exports, plan)) = exports {
        let base = instance.read_base(exports, plan.globals);
        tried.base = Some(base.map_err(unreadable)?);
    }
    if !trial.framed() {
        return Ok(tried);
    }
    let answer = instance
        .turns(&describe::frame(), Some(deadline))
        .map_err(|fault| failed("described itself", fault))?;
    tried.description = describe::read(&answer.frame).map_err(AdmitError::Description)?;
    if let (Some((exports, plan)), Some(base)) = (exports, tried.base.take()) {
        let declared = tried.description.stack;
        tried.stack = declared.and_then(|stack| find_stack(stack, plan, &base));
        let base = Arc::new(base);
        let common = instance.read_common(exports, &base, tried.stack);
        let common = common.map_err(unreadable)?;
        tried.base = Arc::into_inner(base).map(|base| base.with_dictionary(&common));
    }
    Ok(tried)
}

/// Which global is the stack pointer of a stack between these addresses.
///
/// At rest it points to the stack's high end, as it does in the base. One that
/// is named so is believed; otherwise exactly one global must have that value.
fn find_stack((low, high): (u32, u32), plan: &Plan, base: &BaseImage) -> Option<Stack> {
    let fits = low < high && u64::from(high) <= u64::from(base.wasm_pages) << 16;
    let at_rest = |global: &&usize| base.globals.get(**global) == Some(&u64::from(high));
    let mut candidates = plan.stack_pointers.iter().filter(at_rest);
    match (candidates.next(), candidates.next()) {
        (Some(pointer), None) if fits => Some(Stack {
            low,
            high,
            pointer: *pointer,
        }),
        _ => None,
    }
}
