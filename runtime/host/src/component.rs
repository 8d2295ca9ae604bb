//! What agents of a kind are made of: a component, or a program that is part of the node.

use std::sync::Arc;

use phoenix_core::control::HandlerInfo;
use phoenix_core::program::BuiltIn;
use phoenix_core::{Digest, KindPolicy};

use crate::built_in::BuiltInComponent;
use crate::error::{InstanceError, RestoreError};
use crate::instance::Instance;
use crate::wasm::WasmComponent;

/// What agents of a kind are made of. Cheap to instantiate, shared by all agents of its kinds.
#[derive(Debug)]
pub struct Component(Form);

#[derive(Debug)]
enum Form {
    Wasm(Arc<WasmComponent>),
    BuiltIn(Arc<BuiltInComponent>),
}

impl Component {
    pub(crate) fn wasm(component: WasmComponent) -> Self {
        Self(Form::Wasm(Arc::new(component)))
    }

    /// A kind that is part of the node. Its agents take none of the places of the
    /// [`Host`](crate::Host), and no deadline ends their turns: they bound themselves.
    pub fn built_in(program: Arc<dyn BuiltIn>) -> Result<Self, InstanceError> {
        BuiltInComponent::new(program).map(|it| Self(Form::BuiltIn(Arc::new(it))))
    }

    /// The digest of the component's bytes as they were deployed; of a built-in one's
    /// name and version.
    pub fn digest(&self) -> Digest {
        match &self.0 {
            Form::Wasm(wasm) => wasm.digest(),
            Form::BuiltIn(built_in) => built_in.digest(),
        }
    }

    /// Whether it exports `agent-framed`, not `agent`.
    pub fn framed(&self) -> bool {
        match &self.0 {
            Form::Wasm(wasm) => wasm.framed(),
            Form::BuiltIn(_) => true,
        }
    }

    /// Its handlers, where it describes itself.
    pub fn handlers(&self) -> &[HandlerInfo] {
        match &self.0 {
            Form::Wasm(wasm) => wasm.handlers(),
            Form::BuiltIn(built_in) => built_in.handlers(),
        }
    }

    /// Whether its agents can be put into snapshots.
    pub fn movable(&self) -> bool {
        match &self.0 {
            Form::Wasm(wasm) => wasm.movable(),
            Form::BuiltIn(_) => true,
        }
    }

    /// The hash of the memory its instances begin with; zeros if it is not movable.
    pub fn base_hash(&self) -> Digest {
        match &self.0 {
            Form::Wasm(wasm) => wasm.base_hash(),
            Form::BuiltIn(built_in) => built_in.base_hash(),
        }
    }

    /// Makes a new instance. Takes a place for it first, so that a full host costs nothing.
    pub fn instantiate(&self, policy: &KindPolicy) -> Result<Instance, InstanceError> {
        match &self.0 {
            Form::Wasm(wasm) => wasm.instantiate(policy).map(Instance::wasm),
            Form::BuiltIn(built_in) => built_in.begin(policy).map(Instance::built_in),
        }
    }

    /// Makes an instance ahead of the image that is to be put into it.
    pub fn make_room(&self, policy: &KindPolicy) -> Result<Room, InstanceError> {
        self.instantiate(policy).map(Room)
    }

    /// Makes an instance that goes on where an image was taken. The image is
    /// checked whole before anything is made.
    pub fn restore(&self, policy: &KindPolicy, image: &[u8]) -> Result<Instance, RestoreError> {
        match &self.0 {
            Form::Wasm(wasm) => wasm.restore(policy, image).map(Instance::wasm),
            Form::BuiltIn(built_in) => built_in.restore(policy, image).map(Instance::built_in),
        }
    }

    /// The same, where room was made by [`Component::make_room`] under this policy.
    pub fn restore_into(
        &self,
        room: Room,
        policy: &KindPolicy,
        image: &[u8],
    ) -> Result<Instance, RestoreError> {
        match (&self.0, room.0.into_wasm()) {
            (Form::Wasm(wasm), Some(instance)) => wasm
                .restore_into(instance, policy, image)
                .map(Instance::wasm),
            // A built-in one's room is worth nothing beside its image.
            _ => self.restore(policy, image),
        }
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
