//! Kinds that are part of the node.
//!
//! They are there before anything is deployed or recovered, on every node alike: none is
//! announced to others, fetched, listed among the deployed ones or taken away. Otherwise
//! their agents are as any others.

use std::sync::Arc;

use phoenix_core::control::KindInfo;
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::patterns::pipeline::Pipelines;
use phoenix_core::patterns::saga::Sagas;
use phoenix_core::program::BuiltIn;
use phoenix_core::topics::owner::Topics;
use phoenix_core::{KindName, KindPolicy, Millis};
use phoenix_host::Component;

use crate::kinds::{Kind, Kinds};
use crate::start::StartError;

/// Those of every node.
fn own() -> Vec<Arc<dyn BuiltIn>> {
    vec![Arc::new(Topics), Arc::new(Pipelines), Arc::new(Sagas)]
}

/// What agents of these kinds may use: one of them serves many others, so it hears from
/// more, sends more at once and keeps more than an author's agent does by default.
fn policy() -> KindPolicy {
    KindPolicy {
        durable: true,
        // What they keep is written anew with each snapshot.
        snapshot_every: SnapshotEvery {
            turns: 100_000,
            bytes: 32 << 20,
        },
        memory_bytes: 512 << 20,
        // Nothing ends their turns: they bound themselves.
        turn_deadline: Millis(60_000),
        max_message: 16 << 20,
        batch_messages: 1_024,
        batch_bytes: 4 << 20,
        turn_effects: 20_000,
        answer_bytes: 64 << 20,
        mailbox_messages: 100_000,
        mailbox_bytes: 128 << 20,
        outbox_messages: 200_000,
        outbox_bytes: 256 << 20,
        open_asks: 10_000,
        open_requests: 10_000,
        timers: 10_000,
        streams: 1_000_000,
        rollback_bytes: 32 << 20,
        ..KindPolicy::default()
    }
}

/// Makes the node's own kinds, and those that are given, known to it.
pub(crate) fn install(given: &[Arc<dyn BuiltIn>], kinds: &Kinds) -> Result<(), StartError> {
    for program in own().iter().chain(given) {
        let failed = |reason: String| StartError::Kind {
            kind: program.kind().to_owned(),
            reason,
        };
        let kind = KindName::new(program.kind()).map_err(|bad| failed(bad.to_string()))?;
        let component =
            Component::built_in(program.clone()).map_err(|error| failed(error.to_string()))?;
        let info = KindInfo {
            kind,
            component: component.digest(),
            component_bytes: 0,
            framed: component.framed(),
            handlers: component.handlers().to_vec(),
            policy: Box::new(policy()),
        };
        kinds.install_built_in(Arc::new(Kind::new(info, Arc::new(component))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_policy_is_valid() {
        policy().validate().unwrap();
    }
}
