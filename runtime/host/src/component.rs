//! An admitted component, from which instances are made.

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
use crate::instance::{BEGIN_AGAIN, Instance};
use crate::reading::Stack;
use crate::state::State;
use crate::typed::bindings::AgentPre;

/// An admitted component. Cheap to instantiate, shared by all agents of its kinds.
pub struct Component {
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

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("digest", &self.digest)
            .field("framed", &self.framed())
            .field("movable", &self.movable())
            .finish_non_exhaustive()
    }
}

impl Component {
    /// The digest of the component's bytes as they were deployed.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it exports `agent-framed`, not `agent`.
    pub fn framed(&self) -> bool {
        matches!(self.world, World::Framed { .. })
    }

    /// Its handlers, where it describes itself.
    pub fn handlers(&self) -> &[HandlerInfo] {
        &self.handlers
    }

    /// Whether its agents can be put into snapshots.
    pub fn movable(&self) -> bool {
        self.movable.is_ok()
    }

    /// The hash of the memory its instances begin with; zeros if it is not movable.
    pub fn base_hash(&self) -> Digest {
        self.movable
            .as_ref()
            .map_or(Digest([0; 32]), |movable| movable.base.hash)
    }

    /// Makes a new instance. Takes a place for it first, so that a full host costs nothing.
    pub fn instantiate(self: &Arc<Self>, policy: &KindPolicy) -> Result<Instance, InstanceError> {
        self.begin(policy, BEGIN_AGAIN).map_err(late)
    }

    /// Makes an instance within this time.
    pub(crate) fn begin(
        self: &Arc<Self>,
        policy: &KindPolicy,
        deadline: Duration,
    ) -> Result<Instance, InstanceError> {
        Instance::begin(Arc::clone(self), policy, deadline, self.permit()?)
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

    /// Makes an instance ahead of the image that is to be put into it.
    pub fn make_room(self: &Arc<Self>, policy: &KindPolicy) -> Result<Room, InstanceError> {
        self.instantiate(policy).map(Room)
    }

    /// Makes an instance that goes on where an image was taken. The image is
    /// checked whole before anything is made.
    pub fn restore(
        self: &Arc<Self>,
        policy: &KindPolicy,
        image: &[u8],
    ) -> Result<Instance, RestoreError> {
        let image = self.check(policy, image)?;
        let mut instance = self.instantiate(policy)?;
        instance.load(&image)?;
        Ok(instance)
    }

    /// The same, where room was made by [`Component::make_room`] under this policy.
    pub fn restore_into(
        &self,
        room: Room,
        policy: &KindPolicy,
        image: &[u8],
    ) -> Result<Instance, RestoreError> {
        let image = self.check(policy, image)?;
        let mut instance = room.0;
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

/// An instance that no turn was put to, ready to become any agent of its component.
pub struct Room(Instance);

impl Room {
    /// The instance, for an agent that has not begun.
    pub fn into_instance(self) -> Instance {
        self.0
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Room").field(&self.0).finish()
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
