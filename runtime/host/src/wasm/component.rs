//! A component, admitted, from which instances are made.

use std::sync::Arc;
use std::time::Duration;

use phoenix_core::control::HandlerInfo;
use phoenix_core::{Digest, KindPolicy};
use wasmtime::component::{ComponentExportIndex, InstancePre};

use crate::access::AccessorExports;
use crate::base::BaseImage;
use crate::capacity::Permit;
use crate::engine::Shared;
use crate::error::{FaultKind, InstanceError, RestoreError, hex, short};
use crate::image::{self, Image, ImageLimits};
use crate::reading::Stack;
use crate::state::State;
use crate::typed::bindings::AgentPre;
use crate::wasm::instance::{BEGIN_AGAIN, WasmInstance};

/// An admitted component. Cheap to instantiate, shared by all agents of its kinds.
pub(crate) struct WasmComponent {
    pub(crate) host: Arc<Shared>,
    pub(crate) digest: Digest,
    pub(crate) handlers: Vec<HandlerInfo>,
    pub(crate) world: World,
    /// Places each of its agents takes.
    pub(crate) places: u32,
    /// How its memory is reached, or why it is not.
    pub(crate) movable: Result<Movable, String>,
}

/// Which world a component exports, ready to be instantiated.
pub(crate) enum World {
    Framed {
        pre: InstancePre<State>,
        turns: ComponentExportIndex,
    },
    Typed(AgentPre<State>),
}

/// What snapshots of an instrumented component need.
pub(crate) struct Movable {
    pub(crate) exports: AccessorExports,
    pub(crate) base: Arc<BaseImage>,
    pub(crate) stack: Option<Stack>,
}

impl std::fmt::Debug for WasmComponent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("digest", &self.digest)
            .field("framed", &self.framed())
            .field("movable", &self.movable())
            .finish_non_exhaustive()
    }
}

impl WasmComponent {
    /// The digest of the component's bytes as they were deployed.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it exports `agent-framed`, not `agent`.
    pub(crate) fn framed(&self) -> bool {
        matches!(self.world, World::Framed { .. })
    }

    /// Its handlers, where it describes itself.
    pub(crate) fn handlers(&self) -> &[HandlerInfo] {
        &self.handlers
    }

    /// Whether its agents can be put into snapshots.
    pub(crate) fn movable(&self) -> bool {
        self.movable.is_ok()
    }

    /// The hash of the memory its instances begin with; zeros if it is not movable.
    pub(crate) fn base_hash(&self) -> Digest {
        self.movable
            .as_ref()
            .map_or(Digest([0; 32]), |movable| movable.base.hash)
    }

    /// Makes a new instance. Takes a place for it first, so that a full host costs nothing.
    pub(crate) fn instantiate(
        self: &Arc<Self>,
        policy: &KindPolicy,
    ) -> Result<WasmInstance, InstanceError> {
        self.begin(policy, BEGIN_AGAIN).map_err(late)
    }

    /// Makes an instance within this time.
    pub(crate) fn begin(
        self: &Arc<Self>,
        policy: &KindPolicy,
        deadline: Duration,
    ) -> Result<WasmInstance, InstanceError> {
        WasmInstance::begin(Arc::clone(self), policy, deadline, self.permit()?)
    }

    fn permit(&self) -> Result<Permit, InstanceError> {
        let permit = self.host.permits.take(self.places);
        permit.ok_or_else(|| self.full())
    }

    /// The host has no room for another of these.
    pub(crate) fn full(&self) -> InstanceError {
        InstanceError::Full {
            limit: self.host.permits.limit(),
        }
    }

    /// Makes an instance that goes on where an image was taken. The image is
    /// checked whole before anything is made.
    pub(crate) fn restore(
        self: &Arc<Self>,
        policy: &KindPolicy,
        image: &[u8],
    ) -> Result<WasmInstance, RestoreError> {
        let image = self.check(policy, image)?;
        let mut instance = self.instantiate(policy)?;
        instance.load(&image)?;
        Ok(instance)
    }

    /// The same, into an instance that was made before under this policy.
    pub(crate) fn restore_into(
        &self,
        mut instance: WasmInstance,
        policy: &KindPolicy,
        image: &[u8],
    ) -> Result<WasmInstance, RestoreError> {
        let image = self.check(policy, image)?;
        instance.load(&image)?;
        Ok(instance)
    }

    /// Reads an image, and checks that it is one of this component's.
    fn check<'a>(&self, policy: &KindPolicy, image: &'a [u8]) -> Result<Image<'a>, RestoreError> {
        let movable = match &self.movable {
            Ok(movable) => movable,
            Err(reason) => return Err(RestoreError::Unmovable(reason.clone())),
        };
        let limits = ImageLimits {
            memory_bytes: self.host.max_memory_bytes,
            globals: movable.base.globals.len(),
        };
        let dictionary = movable.base.dictionary.as_ref();
        let image = image::decode_with(image, &limits, dictionary)?;
        let expected = short(&movable.base.hash);
        if image.base != expected || image.wasm_pages < movable.base.wasm_pages {
            return Err(RestoreError::Base {
                found: hex(&image.base),
                expected: hex(&expected),
            });
        }
        let needed = u64::from(image.wasm_pages) << 16;
        if needed > policy.memory_bytes {
            return Err(RestoreError::Memory {
                needed,
                limit: policy.memory_bytes,
            });
        }
        Ok(image)
    }
}

/// A beginning that has ended before and takes too long now is no fault of the guest.
fn late(error: InstanceError) -> InstanceError {
    match error {
        InstanceError::Fault(fault) if fault.kind == FaultKind::Deadline => {
            InstanceError::Late { limit: BEGIN_AGAIN }
        }
        other => other,
    }
}
