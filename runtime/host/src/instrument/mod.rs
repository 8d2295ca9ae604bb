//! Rewrites a component, once, so that an agent's memory can be taken out and
//! put back.
//!
//! Three things are done, all through the component model's public means:
//!
//! 1. Every core module exports its mutable globals, and the one that defines
//!    the memory exports that, under reserved names ([`module`]).
//! 2. A generated *accessor* module is instantiated last. It imports those, and
//!    is lifted as the component's export [`ACCESSOR`] ([`accessor`]).
//! 3. A generated *stdio* module is instantiated before the user's modules. It
//!    takes the handles of the standard streams in every instance in the same
//!    order and gives them out as often as asked, so that they survive a
//!    restore by construction ([`stdio`]).
//!
//! What cannot be saved this way is refused by the name of the item
//! ([`Refusal`]): tables that change, references in globals, and the like. What
//! the usual tools emit contains none of it.

mod accessor;
mod component;
mod module;
mod refuse;
mod spaces;
mod stdio;
mod surface;
mod survey;
mod walk;

pub(crate) use accessor::GLOBALS_PER_CALL;
pub(crate) use refuse::Refusal;
pub(crate) use surface::Surface;
use wasmparser::{Validator, WasmFeatures, types::Types};

/// Version of the instrumentation, part of every snapshot: a change in what is
/// generated, or in the order of globals, is a new one.
pub(crate) const INSTRUMENTATION_VERSION: u8 = 1;

/// The core export that is added for a memory; reserved.
pub(crate) const CORE_MEMORY: &str = "phoenix:memory";
/// Prefix of the core exports that are added for globals; reserved.
pub(crate) const CORE_GLOBAL: &str = "phoenix:global-";
/// Prefix of the component imports and exports that are added; reserved.
pub(crate) const COMPONENT_PREFIX: &str = "phoenix-runtime";
/// The instance the accessor is exported as.
pub(crate) const ACCESSOR: &str = "phoenix-runtime-accessor";
/// The function through which the guest shows its globals.
pub(crate) const TAKE_GLOBALS: &str = "phoenix-runtime-globals";
/// The function through which the guest shows its memory.
pub(crate) const TAKE_MEMORY: &str = "phoenix-runtime-memory";

/// The proposals a component may use, the same set the engine compiles.
pub(crate) fn features() -> WasmFeatures {
    let mut features = WasmFeatures::WASM2;
    features.insert(
        WasmFeatures::EXTENDED_CONST
            | WasmFeatures::TAIL_CALL
            | WasmFeatures::RELAXED_SIMD
            | WasmFeatures::COMPONENT_MODEL,
    );
    features.remove(WasmFeatures::GC_TYPES);
    features
}

/// An instrumented component.
#[derive(Debug)]
pub(crate) struct Instrumented {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// What is saved of it besides memory.
    pub(crate) plan: Plan,
}

/// What is saved of a component besides its memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// How many mutable globals there are, of all core modules, in order.
    pub(crate) globals: usize,
    /// Which of them may be the stack pointer: 32-bit ones of the module that
    /// defines the memory. One named `__stack_pointer` excludes all others.
    pub(crate) stack_pointers: Vec<usize>,
}

/// Why a component could not be instrumented.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something in it cannot be saved.
    Refused(Refusal),
    /// It could not be read; validation should have found that.
    Broken(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<wasmparser::BinaryReaderError> for Failure {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl<E: std::fmt::Display> From<wasm_encoder::reencode::Error<E>> for Failure {
    fn from(error: wasm_encoder::reencode::Error<E>) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Checks that `bytes` is a component of the proposals agents may use.
///
/// Shared and further memories pass here, so that the survey can refuse them
/// by name; the engine compiles neither.
pub(crate) fn validate(bytes: &[u8]) -> Result<Types, wasmparser::BinaryReaderError> {
    let named = WasmFeatures::THREADS | WasmFeatures::MULTI_MEMORY;
    Validator::new_with_features(features() | named).validate_all(bytes)
}

/// Instruments a valid component.
pub(crate) fn instrument(bytes: &[u8], types: &Types) -> Result<Instrumented, Failure> {
    let survey = survey::survey(bytes, types)?;
    component::rewrite(bytes, &survey, types)
}
