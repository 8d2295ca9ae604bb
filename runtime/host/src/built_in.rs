//! Agents whose program is part of the node.
//!
//! A program is code of the node's own, but what it is given is not: a panic in one ends
//! the batch as a guest's trap does, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::control::HandlerInfo;
use phoenix_core::program::{self, Broken, BuiltIn, Limits, Program};
use phoenix_core::{Digest, KindPolicy};

use crate::error::{Fault, FaultKind, InstanceError, RestoreError, SnapshotRefused, short};
use crate::image;
use crate::instance::Answer;

/// What a hash of a program's state is for.
const HASH: &str = "phoenix 2026 built-in agent memory";

/// A kind that is part of the node.
pub(crate) struct BuiltInComponent {
    program: Arc<dyn BuiltIn>,
    digest: Digest,
    base_hash: Digest,
    handlers: Vec<HandlerInfo>,
}

impl std::fmt::Debug for BuiltInComponent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BuiltInComponent")
            .field(&self.program)
            .finish()
    }
}

impl BuiltInComponent {
    pub(crate) fn new(program: Arc<dyn BuiltIn>) -> Result<Self, InstanceError> {
        let digest = program::digest(&*program);
        let base = caught(|| program.begin().saved()).map_err(began)?;
        Ok(Self {
            handlers: program.handlers(),
            base_hash: hash(&digest, &base),
            digest,
            program,
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn base_hash(&self) -> Digest {
        self.base_hash
    }

    pub(crate) fn handlers(&self) -> &[HandlerInfo] {
        &self.handlers
    }

    pub(crate) fn begin(
        self: &Arc<Self>,
        policy: &KindPolicy,
    ) -> Result<BuiltInInstance, InstanceError> {
        let program = caught(|| self.program.begin()).map_err(began)?;
        Ok(self.instance(program, policy))
    }

    /// The instance that an image was taken of.
    pub(crate) fn restore(
        self: &Arc<Self>,
        policy: &KindPolicy,
        image: &[u8],
    ) -> Result<BuiltInInstance, RestoreError> {
        let saved = image::saved::read(image, &short(&self.digest), policy.memory_bytes)?;
        let program = caught(|| self.program.load(&saved))
            .map_err(|fault| RestoreError::Fault(Box::new(fault)))?
            .map_err(image::ImageError::Program)?;
        let needed = program.memory_bytes();
        if needed > policy.memory_bytes {
            return Err(RestoreError::Memory {
                needed,
                limit: policy.memory_bytes,
            });
        }
        Ok(self.instance(program, policy))
    }

    fn instance(
        self: &Arc<Self>,
        program: Box<dyn Program>,
        policy: &KindPolicy,
    ) -> BuiltInInstance {
        BuiltInInstance {
            component: Arc::clone(self),
            program,
            limits: Limits::from(policy),
            failed: false,
        }
    }
}

/// One agent whose program is part of the node.
pub(crate) struct BuiltInInstance {
    component: Arc<BuiltInComponent>,
    program: Box<dyn Program>,
    limits: Limits,
    failed: bool,
}

impl std::fmt::Debug for BuiltInInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuiltInInstance")
            .field("component", &self.component)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl BuiltInInstance {
    pub(crate) fn run_under(&mut self, policy: &KindPolicy) {
        self.limits = Limits::from(policy);
    }

    pub(crate) fn turns(&mut self, frame: &[u8]) -> Result<Answer, Fault> {
        if self.failed {
            return Err(Fault::host("the instance has failed before"));
        }
        self.failed = true;
        let answer = caught(|| program::run(&mut *self.program, frame, &self.limits))?;
        let answer = answer.map_err(broken)?;
        self.failed = false;
        Ok(Answer {
            frame: Bytes::from(answer),
            ..Answer::default()
        })
    }

    pub(crate) fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), SnapshotRefused> {
        let saved = self.saved().ok_or(SnapshotRefused::Failed)?;
        image::saved::write(out, &short(&self.component.digest), &saved);
        Ok(())
    }

    pub(crate) fn memory_hash(&mut self) -> Digest {
        match self.saved() {
            Some(saved) => hash(&self.component.digest, &saved),
            None => Digest([0; 32]),
        }
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.program.memory_bytes()
    }

    pub(crate) fn unmovable(&self) -> Option<String> {
        self.failed.then(|| SnapshotRefused::Failed.to_string())
    }

    /// What its program is saved as; `None` if it has failed, or fails in this.
    fn saved(&mut self) -> Option<Vec<u8>> {
        if self.failed {
            return None;
        }
        let saved = caught(|| self.program.saved());
        self.failed = saved.is_err();
        saved.ok()
    }
}

fn hash(component: &Digest, saved: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(HASH);
    hasher.update(&component.0);
    hasher.update(saved);
    Digest(*hasher.finalize().as_bytes())
}

fn began(fault: Fault) -> InstanceError {
    InstanceError::Fault(Box::new(fault))
}

fn broken(broken: Broken) -> Fault {
    let kind = match &broken {
        Broken::Frame(_) => FaultKind::Host,
        Broken::Effects(_) | Broken::Answer(_) | Broken::Memory { .. } => FaultKind::Limit,
    };
    Fault {
        kind,
        ..Fault::host(broken.to_string())
    }
}

/// Calls a program, and makes a fault of a panic in it. What it has touched is to be
/// dropped then.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        let said = said.unwrap_or_else(|| "it said nothing".to_owned());
        Fault {
            kind: FaultKind::Trap,
            ..Fault::host(format!("the program panicked: {said}"))
        }
    })
}
