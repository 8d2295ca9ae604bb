//! Kinds and components on disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use phoenix_core::control::{HandlerInfo, KindInfo};
use phoenix_core::flow::{FlowField, FlowFields, FlowValue};
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::taxonomy::{Consistency, Guarantee, Ordering, Overrides};
use phoenix_core::{
    AgentId, Digest, KindName, KindPolicy, Lane, Millis, Overflow, Schedule, SpawnPolicy,
};
use phoenix_store::{KindError, KindStore};

const COMPONENT: &[u8] = b"\0asm and so on";

fn kind(name: &str, component: &[u8]) -> KindInfo {
    KindInfo {
        kind: KindName::new(name).unwrap(),
        component: Digest::of(component),
        component_bytes: component.len() as u64,
        framed: true,
        handlers: vec![
            HandlerInfo {
                name: "add".into(),
                interleave: false,
            },
            HandlerInfo {
                name: "total".into(),
                interleave: true,
            },
        ],
        policy: Box::new(KindPolicy::default()),
    }
}

fn kind_file(dir: &Path) -> std::path::PathBuf {
    dir.join("kinds/counter.kind")
}

fn component_file(dir: &Path) -> std::path::PathBuf {
    dir.join(format!("components/{}.wasm", Digest::of(COMPONENT)))
}

#[test]
fn kinds_come_back_in_order_with_all_they_had() {
    let dir = tempfile::tempdir().unwrap();
    let store = KindStore::open(dir.path()).unwrap();
    let mut visitor = kind("visitor", COMPONENT);
    let mut flow = FlowFields::default();
    for (name, value) in [
        ("rate.amount", FlowValue::Number(37)),
        ("rate.unit", FlowValue::Text("bytes".to_owned())),
        ("breaker.probes", FlowValue::Number(38)),
    ] {
        assert!(flow.set(FlowField::named(name).unwrap(), value));
    }
    // No field at its default: one that is not written would show.
    *visitor.policy = KindPolicy {
        spawn: SpawnPolicy::Explicit,
        movable: true,
        durable: true,
        snapshot_every: SnapshotEvery {
            turns: 37,
            bytes: 38_000,
        },
        memory_bytes: 1 << 20,
        table_elements: 11,
        turn_deadline: Millis(12),
        turn_slice: Millis(13),
        max_message: 14,
        batch_messages: 15,
        batch_bytes: 1_600,
        turn_effects: 17,
        answer_bytes: 1_800,
        mailbox_messages: 19,
        mailbox_bytes: 2_000,
        mailbox_high: 91,
        mailbox_low: 33,
        overflow: Overflow::Redirect(AgentId::new("spare/1").unwrap()),
        spill_bytes: 5_000,
        outbox_messages: 21,
        outbox_bytes: 2_200,
        open_asks: 23,
        open_requests: 24,
        timers: 25,
        streams: 26,
        turn_log_bytes: 27,
        rollback_bytes: 28,
        idle_after: Millis(29),
        max_attempts: 30,
        give_up_after: Millis(31),
        retry: Schedule::Linear {
            first: Millis(32),
            step: Millis(33),
            most: Millis(34),
        },
        retry_jitter: 35,
        retry_attempts: 36,
        treatment: Overrides {
            priority: Some(Lane::Bulk),
            consistency: Some(Consistency::Eventual),
            ordering: Some(Ordering::Fifo),
            delivery: Some(Guarantee::AtMostOnce),
        },
        flow: Some(Arc::new(flow.build().unwrap())),
        subscriptions: r#"[{"pattern": "logs.line", "to": "visitor/{data.ip}"}]"#
            .parse()
            .unwrap(),
    };
    let counter = kind("counter", b"another");
    store.save(&visitor, COMPONENT).unwrap();
    store.save(&counter, b"another").unwrap();
    let store = KindStore::open(dir.path()).unwrap();
    assert_eq!(store.list().unwrap(), [counter, visitor.clone()]);
    assert_eq!(store.component(&visitor.component).unwrap(), COMPONENT);
}

#[test]
fn deploying_again_replaces_the_kind_and_keeps_the_old_component() {
    let dir = tempfile::tempdir().unwrap();
    let store = KindStore::open(dir.path()).unwrap();
    let (old, new) = (kind("counter", COMPONENT), kind("counter", b"newer"));
    store.save(&old, COMPONENT).unwrap();
    store.save(&new, b"newer").unwrap();
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&new));
    store.component(&old.component).unwrap();
    assert_eq!(store.collect(|digest| *digest == old.component).unwrap(), 0);
    assert_eq!(store.collect(|_| false).unwrap(), 1);
    store.component(&old.component).unwrap_err();
    store.component(&new.component).unwrap();
    assert!(store.remove(&new.kind).unwrap());
    assert!(!store.remove(&new.kind).unwrap());
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn a_component_that_is_not_the_kinds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = KindStore::open(dir.path()).unwrap();
    let error = store
        .save(&kind("counter", COMPONENT), b"other")
        .unwrap_err();
    assert!(matches!(error, KindError::WrongComponent { .. }), "{error}");
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn every_damage_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = KindStore::open(dir.path()).unwrap();
    let info = kind("counter", COMPONENT);
    store.save(&info, COMPONENT).unwrap();
    let file = kind_file(dir.path());
    let whole = fs::read(&file).unwrap();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x04;
        fs::write(&file, &damaged).unwrap();
        let error = store.list().unwrap_err().to_string();
        assert!(error.contains("counter.kind"), "{error}");
        fs::write(&file, &whole[..byte]).unwrap();
        store.list().unwrap_err();
    }
    fs::write(&file, &whole).unwrap();
    fs::rename(&file, dir.path().join("kinds/visitor.kind")).unwrap();
    let error = store.list().unwrap_err().to_string();
    assert!(error.contains("holds the kind counter"), "{error}");
    let file = component_file(dir.path());
    for damaged in [&b"\0asm and so in"[..], b"", b"\0asm"] {
        fs::write(&file, damaged).unwrap();
        let error = store.component(&info.component).unwrap_err();
        assert!(matches!(error, KindError::Damaged { .. }), "{error}");
    }
}

#[test]
fn deploying_again_mends_a_damaged_component() {
    let dir = tempfile::tempdir().unwrap();
    let store = KindStore::open(dir.path()).unwrap();
    let info = kind("counter", COMPONENT);
    store.save(&info, COMPONENT).unwrap();
    fs::write(component_file(dir.path()), b"damaged").unwrap();
    store.save(&info, COMPONENT).unwrap();
    assert_eq!(store.component(&info.component).unwrap(), COMPONENT);
}

#[test]
fn what_a_crash_left_half_written_is_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = KindStore::open(dir.path()).unwrap();
    store.save(&kind("counter", COMPONENT), COMPONENT).unwrap();
    let left = dir.path().join("kinds/visitor.kind.unfinished");
    fs::write(&left, b"half").unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    let store = KindStore::open(dir.path()).unwrap();
    assert!(!left.exists());
    assert_eq!(store.list().unwrap().len(), 1);
}
