//! One agent in Wasm memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use phoenix_core::{Digest, KindPolicy};
use wasmtime::component::TypedFunc;
use wasmtime::{Store, component};

use crate::capacity::Permit;
use crate::engine::TICK;
use crate::error::{Fault, FaultKind, InstanceError, SnapshotRefused, is_full, is_late};
use crate::frame;
use crate::image::Image;
use crate::instance::Answer;
use crate::limits::AgentLimits;
use crate::log::GuestLine;
use crate::reading::{Purpose, Reading};
use crate::state::State;
use crate::typed::{self, TypedTurn};
use crate::wasi::WasiState;
use crate::wasm::component::{WasmComponent, World};

/// Ticks further away than any node runs.
const NEVER: u64 = 1 << 40;

/// Longest an instance may take to begin once one of its component has.
///
/// What a beginning does is the same every time, so it ends as the first did,
/// which the turn's deadline bounded. How long that takes depends on load, and
/// load may not decide whether an agent comes back: this bound is far from any
/// deadline, and past it the agent is to be tried again.
pub(crate) const BEGIN_AGAIN: Duration = Duration::from_secs(60);

/// Fuel for the accessor's calls, which lend the host all of a guest's memory.
const READING_FUEL: usize = 1 << 30;

/// One agent in Wasm memory. After a [`Fault`] it can only be dropped.
pub(crate) struct WasmInstance {
    // Declared, and so dropped, before the permit that its place goes back with.
    store: Store<State>,
    instance: component::Instance,
    entry: Entry,
    component: Arc<WasmComponent>,
    policy: Bounds,
    /// Dead stack that the last snapshot left out and this instance has yet to zero.
    residue: Vec<(u32, u32)>,
    failed: bool,
    _permit: Permit,
}

/// What of a kind's policy an instance needs.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bounds {
    memory_bytes: u64,
    table_elements: u32,
    log_bytes: u32,
    answer_bytes: u32,
    turn_effects: u32,
}

impl Bounds {
    fn of(policy: &KindPolicy, component: &WasmComponent) -> Self {
        Self {
            memory_bytes: policy.memory_bytes.min(component.host.max_memory_bytes),
            table_elements: policy.table_elements.min(component.host.max_table_elements),
            log_bytes: policy.turn_log_bytes,
            answer_bytes: policy.answer_bytes,
            turn_effects: policy.turn_effects,
        }
    }
}

enum Entry {
    Framed(TypedFunc<(&'static [u8],), (Vec<u8>,)>),
    Typed(typed::bindings::exports::phoenix::agent::handler::Guest),
}

impl std::fmt::Debug for WasmInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("component", &self.component.digest)
            .field("memory_bytes", &self.memory_bytes())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl WasmInstance {
    pub(crate) fn begin(
        component: Arc<WasmComponent>,
        policy: &KindPolicy,
        deadline: Duration,
        permit: Permit,
    ) -> Result<Self, InstanceError> {
        let bounds = Bounds::of(policy, &component);
        Self::begin_within(component, bounds, deadline, permit)
    }

    fn begin_within(
        component: Arc<WasmComponent>,
        policy: Bounds,
        deadline: Duration,
        permit: Permit,
    ) -> Result<Self, InstanceError> {
        let mut store = open(&component, policy, deadline);
        match enter(&component.world, &mut store) {
            Ok((instance, entry)) => Ok(Self {
                store,
                instance,
                entry,
                component,
                policy,
                residue: Vec::new(),
                failed: false,
                _permit: permit,
            }),
            Err(error) if is_full(&error) => Err(component.full()),
            Err(error) => {
                let fault = with_log(&mut store, &error);
                Err(InstanceError::Fault(Box::new(fault)))
            }
        }
    }

    /// Lets it run under this policy from the next turn on. What memory it has beyond
    /// that it keeps, and gets no more.
    pub(crate) fn run_under(&mut self, policy: &KindPolicy) {
        self.bound(Bounds::of(policy, &self.component));
    }

    fn bound(&mut self, bounds: Bounds) {
        if self.policy == bounds {
            return;
        }
        self.policy = bounds;
        let state = self.store.data_mut();
        state.limits.set(bounds.memory_bytes, bounds.table_elements);
        state.typed.bound(bounds.turn_effects, bounds.answer_bytes);
        self.store.set_hostcall_fuel(bounds.answer_bytes as usize);
    }

    /// Runs a batch of turns. Without a deadline, as in a replay, it may run for ever.
    ///
    /// Nothing of a failed batch may be acted on, and the instance must be dropped.
    pub(crate) fn turns(
        &mut self,
        frame: &[u8],
        deadline: Option<Duration>,
    ) -> Result<Answer, Fault> {
        let head = frame::Head::read(frame)
            .ok_or_else(|| Fault::host("the frame given to the agent is no input frame"))?;
        if self.failed {
            return Err(Fault::host("the instance has failed before"));
        }
        self.failed = true;
        self.zero_residue()?;
        let state = self.store.data_mut();
        state.wasi.begin(head.seed, head.turn, head.now);
        state
            .wasi
            .log
            .begin(u64::from(self.policy.log_bytes) * u64::from(head.count));
        self.store.set_epoch_deadline(ticks(deadline));
        let result = match &self.entry {
            Entry::Framed(turns) => {
                // The same function, for a frame that lives as long as this call only.
                let turns: TypedFunc<(&[u8],), (Vec<u8>,)> = *turns;
                turns
                    .call(&mut self.store, (frame,))
                    .map(|(answer,)| answer)
            }
            Entry::Typed(guest) => typed::turns(&mut self.store, guest, frame),
        };
        match result {
            Ok(answer) => {
                let (log, log_cut) = self.store.data_mut().wasi.log.finish();
                if !frame::answers(&answer, head.count) {
                    return Err(bad_answer(log, log_cut));
                }
                self.failed = false;
                Ok(Answer {
                    frame: Bytes::from(answer),
                    log,
                    log_cut,
                })
            }
            Err(error) => Err(with_log(&mut self.store, &error)),
        }
    }

    /// Appends the memory image to `out`; on an error `out` is as it was.
    ///
    /// Dead shadow stack is left out, and zeroed here too before the next turn,
    /// so that this instance and one restored from the image stay the same.
    pub(crate) fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), SnapshotRefused> {
        if let Some(held) = self.held() {
            return Err(held);
        }
        let before = out.len();
        let mut reading = self.read(Purpose::Image)?;
        let component = Arc::clone(&self.component);
        let base = match &component.movable {
            Ok(movable) => &movable.base,
            Err(reason) => return Err(SnapshotRefused::Unmovable(reason.clone())),
        };
        let globals = reading
            .globals
            .get(..base.globals.len())
            .unwrap_or_default();
        reading.encoder.finish(
            out,
            base,
            reading.wasm_pages,
            &self.store.data().typed.kept,
            globals,
        );
        let is_tangled = self.store.data().wasi.handles.tangled;
        if !is_tangled {
            std::mem::swap(&mut self.residue, &mut reading.residue);
        }
        reading.reuse();
        // Of a snapshot that is refused nothing remains: no dead stack is zeroed either.
        if is_tangled && let Err(refused) = self.start_over(out.get(before..).unwrap_or_default()) {
            out.truncate(before);
            return Err(refused);
        }
        Ok(())
    }

    /// A hash over the agent's state: the same for the same state on every node.
    /// Zeros if the component is not movable or the instance has failed.
    pub(crate) fn memory_hash(&mut self) -> Digest {
        let component = Arc::clone(&self.component);
        let Ok(movable) = &component.movable else {
            return Digest([0; 32]);
        };
        let hasher = blake3::Hasher::new_derive_key("phoenix 2025 agent memory");
        let Ok(reading) = self.read(Purpose::Hash(Box::new(hasher))) else {
            return Digest([0; 32]);
        };
        let mut digest = Digest([0; 32]);
        if let Purpose::Hash(hasher) = &reading.purpose {
            let mut hasher = hasher.clone();
            hasher.update(&movable.base.hash.0);
            hasher.update(&reading.wasm_pages.to_le_bytes());
            let kept = &self.store.data().typed.kept;
            hasher.update(&kept.pending.to_le_bytes());
            hasher.update(&(kept.open.len() as u64).to_le_bytes());
            for request in &kept.open {
                hasher.update(&request.to_le_bytes());
            }
            for global in reading.globals.iter().take(movable.base.globals.len()) {
                hasher.update(&global.to_le_bytes());
            }
            digest = Digest(*hasher.finalize().as_bytes());
        }
        reading.reuse();
        digest
    }

    /// Bytes of linear memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.store.data().limits.used
    }

    /// Why the agent cannot be put into a snapshot now, if it cannot.
    pub(crate) fn unmovable(&self) -> Option<String> {
        self.held().map(|held| held.to_string())
    }

    fn held(&self) -> Option<SnapshotRefused> {
        if let Err(reason) = &self.component.movable {
            return Some(SnapshotRefused::Unmovable(reason.clone()));
        }
        if self.failed {
            return Some(SnapshotRefused::Failed);
        }
        let held = self.store.data().wasi.handles.held()?;
        Some(SnapshotRefused::Held(held))
    }

    /// Shows memory and globals to a new reading.
    fn read(&mut self, purpose: Purpose) -> Result<Box<Reading>, SnapshotRefused> {
        let component = Arc::clone(&self.component);
        let movable = match &component.movable {
            Ok(movable) => movable,
            Err(reason) => return Err(SnapshotRefused::Unmovable(reason.clone())),
        };
        if self.failed {
            return Err(SnapshotRefused::Failed);
        }
        let finder = &component.host.finder;
        let reading = match purpose {
            Purpose::Base(_) => Reading::of_base(),
            other => Reading::of_changes(other, &movable.base, finder, movable.stack),
        };
        self.failed = true;
        self.store.set_epoch_deadline(NEVER);
        self.store.set_hostcall_fuel(READING_FUEL);
        let result = movable
            .exports
            .read(&mut self.store, &self.instance, reading);
        self.store
            .set_hostcall_fuel(self.policy.answer_bytes as usize);
        let reading = result.map_err(|error| SnapshotRefused::Host(error.to_string()))?;
        self.failed = false;
        Ok(reading)
    }

    fn zero_residue(&mut self) -> Result<(), Fault> {
        if self.residue.is_empty() {
            return Ok(());
        }
        if let Ok(movable) = &self.component.movable {
            self.store.set_epoch_deadline(NEVER);
            movable
                .exports
                .wipe(&mut self.store, &self.instance, &self.residue)
                .map_err(|error| Fault::of(&error))?;
        }
        self.residue.clear();
        Ok(())
    }

    /// Makes this instance anew from the image just taken of it. Handle numbers
    /// come back in an order that depends on history, and guests keep them in
    /// memory; a fresh start gives the same order as the image's other restores.
    fn start_over(&mut self, image: &[u8]) -> Result<(), SnapshotRefused> {
        let refused = |error: String| SnapshotRefused::Host(error);
        let component = Arc::clone(&self.component);
        let limits = crate::image::ImageLimits {
            memory_bytes: u64::MAX,
            globals: usize::MAX,
        };
        let dictionary = match &component.movable {
            Ok(movable) => movable.base.dictionary.as_ref(),
            Err(_) => None,
        };
        let image = crate::image::decode_with(image, &limits, dictionary)
            .map_err(|error| refused(error.to_string()))?;
        // It may have more than it may get.
        let bounds = self.policy;
        let roomy = Bounds {
            memory_bytes: u64::MAX,
            table_elements: u32::MAX,
            ..bounds
        };
        let mut store = open(&component, roomy, BEGIN_AGAIN);
        // Until here this instance is as it was.
        let (instance, entry) = match enter(&component.world, &mut store) {
            Ok(entered) => entered,
            Err(error) if is_full(&error) || is_late(&error) => return Err(SnapshotRefused::Full),
            Err(error) => {
                self.failed = true;
                return Err(refused(error.to_string()));
            }
        };
        self.failed = true;
        self.store = store;
        self.instance = instance;
        self.entry = entry;
        self.policy = roomy;
        self.residue.clear();
        let loaded = self.load(&image);
        self.bound(bounds);
        loaded.map_err(|fault| refused(fault.to_string()))?;
        self.failed = false;
        Ok(())
    }

    /// Puts a checked image into this fresh instance.
    pub(crate) fn load(&mut self, image: &Image<'_>) -> Result<(), InstanceError> {
        let component = Arc::clone(&self.component);
        let fault = |fault: Fault| InstanceError::Fault(Box::new(fault));
        let movable = match &component.movable {
            Ok(movable) => movable,
            Err(reason) => return Err(fault(Fault::host(reason.clone()))),
        };
        self.store.set_epoch_deadline(NEVER);
        let done = movable
            .exports
            .restore(&mut self.store, &self.instance, &movable.base, image);
        match done {
            Ok(true) => {}
            Ok(false) => {
                return Err(fault(Fault {
                    kind: FaultKind::Memory,
                    ..Fault::host("the memory cannot grow to the snapshot's size")
                }));
            }
            Err(error) if is_full(&error) => return Err(component.full()),
            Err(error) => return Err(fault(Fault::of(&error))),
        }
        let state = self.store.data_mut();
        state.typed.kept = image.kept.clone();
        // What it says when it begins it has said when it began.
        state.wasi.log.discard();
        Ok(())
    }

    /// Reads the base image of a component that is being admitted.
    pub(crate) fn read_base(
        &mut self,
        exports: &crate::access::AccessorExports,
        globals: usize,
    ) -> wasmtime::Result<crate::base::BaseImage> {
        self.store.set_epoch_deadline(NEVER);
        self.store.set_hostcall_fuel(READING_FUEL);
        let mut reading = exports.read(&mut self.store, &self.instance, Reading::of_base())?;
        self.store
            .set_hostcall_fuel(self.policy.answer_bytes as usize);
        let shown = reading.globals.get(..globals).unwrap_or_default().to_vec();
        let purpose = std::mem::replace(&mut reading.purpose, Purpose::Image);
        reading.reuse();
        match purpose {
            Purpose::Base(builder) => Ok(builder.finish(shown)),
            _ => Err(wasmtime::format_err!("the reading changed its purpose")),
        }
    }
}

impl WasmInstance {
    /// Reads what changes in every agent of a component that is being admitted.
    pub(crate) fn read_common(
        &mut self,
        exports: &crate::access::AccessorExports,
        base: &Arc<crate::base::BaseImage>,
        stack: Option<crate::reading::Stack>,
    ) -> wasmtime::Result<Vec<u8>> {
        let finder = &self.component.host.finder;
        let reading = Reading::of_changes(Purpose::Image, base, finder, stack);
        self.store.set_epoch_deadline(NEVER);
        self.store.set_hostcall_fuel(READING_FUEL);
        let mut reading = exports.read(&mut self.store, &self.instance, reading)?;
        let changes = reading.encoder.take_changes();
        reading.reuse();
        Ok(changes)
    }
}

fn open(component: &WasmComponent, policy: Bounds, deadline: Duration) -> Store<State> {
    let mut store = Store::new(
        &component.host.engine,
        State {
            limits: AgentLimits::new(policy.memory_bytes, policy.table_elements),
            wasi: WasiState::new(),
            reading: None,
            typed: TypedTurn::new(policy.turn_effects, policy.answer_bytes),
        },
    );
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(policy.answer_bytes as usize);
    store.set_max_component_handles(crate::limits::MAX_HANDLES);
    store.set_epoch_deadline(ticks(Some(deadline)));
    let state = store.data_mut();
    // Until the first turn the digest alone decides what the guest sees.
    let seed = component.digest.0.first_chunk::<8>().copied();
    state
        .wasi
        .begin(u64::from_le_bytes(seed.unwrap_or_default()), 0, 0);
    state.wasi.log.begin(u64::from(policy.log_bytes));
    store
}

fn enter(
    world: &World,
    store: &mut Store<State>,
) -> wasmtime::Result<(component::Instance, Entry)> {
    match world {
        World::Framed { pre, turns } => {
            let instance = pre.instantiate(&mut *store)?;
            let turns = instance.get_typed_func(&mut *store, turns)?;
            Ok((instance, Entry::Framed(turns)))
        }
        World::Typed(pre) => {
            let instance = pre.instance_pre().instantiate(&mut *store)?;
            let agent = typed::bindings::Agent::new(&mut *store, &instance)?;
            let guest = agent.phoenix_agent_handler().clone();
            Ok((instance, Entry::Typed(guest)))
        }
    }
}

fn ticks(deadline: Option<Duration>) -> u64 {
    match deadline {
        // One more, since the tick under way is a part of one only.
        Some(span) => nanos(span)
            .div_ceil(const { nanos(TICK) })
            .saturating_add(1)
            .min(NEVER),
        None => NEVER,
    }
}

/// In 64 bits, which suffice for 584 years: a division in 128 is felt in every turn.
const fn nanos(span: Duration) -> u64 {
    span.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(span.subsec_nanos() as u64)
}

fn with_log(store: &mut Store<State>, error: &wasmtime::Error) -> Fault {
    let (log, log_cut) = store.data_mut().wasi.log.finish();
    Fault {
        log,
        log_cut,
        ..Fault::of(error)
    }
}

fn bad_answer(log: Vec<GuestLine>, log_cut: u64) -> Fault {
    Fault {
        kind: FaultKind::BadAnswer,
        message: "the agent's answer does not begin as an answer frame with as many turns as it \
                  was given"
            .to_owned(),
        backtrace: String::new(),
        log,
        log_cut,
    }
}
