use proptest::prelude::*;
use serde_json::json;

use super::*;

/// An owner with something of everything.
fn rich() -> World {
    let mut world = World::new();
    world
        .ask(
            "client/c",
            "configure",
            &json!({"pattern": "a.log.*", "log": {"count": 3}}),
        )
        .unwrap();
    world
        .ask(
            "client/c",
            "configure",
            &json!({"pattern": "a.last", "retain": true}),
        )
        .unwrap();
    for (agent, fields) in [
        (
            "s/1",
            json!({"pattern": "a.>", "filter": "number > 0", "in_flight": 1, "overflow": "drop-oldest"}),
        ),
        (
            "s/2",
            json!({"pattern": "a.log.x", "name": "n", "in_flight": 1}),
        ),
        (
            "s/3",
            json!({"pattern": "a.*", "delivery": "at-most-once", "transform": {"project": ["x"]}}),
        ),
        (
            "client/c",
            json!({"pattern": "a.*", "to": "v/{data.x}", "overflow": "drop-newest", "in_flight": 1}),
        ),
    ] {
        world.ask(agent, "subscribe", &fields).unwrap();
    }
    let declare =
        json!({"kind": "k", "version": 4, "subscriptions": [{"pattern": "a.d", "to": "k/x"}]});
    world.ask("sys/node", "declare", &declare).unwrap();
    for n in 0..6 {
        let topic = ["a.log.x", "a.log.y", "a.last"][n % 3];
        let fields = json!({"topic": topic, "key": "k", "type": "t", "data": {"x": n},
            "attributes": {"b": true, "i": -1, "f": 0.5, "s": "é"}, "ttl_ms": 10_000});
        world.ask("client/c", "publish", &fields).unwrap();
    }
    world.subscribe(
        "s/4",
        &json!({"pattern": "a.>", "replay": "all", "in_flight": 2}),
    );
    world.subscribe("s/5", &json!({"pattern": "a.*", "in_flight": 1}));
    world
        .ask(
            "client/c",
            "read",
            &json!({"pattern": "a.q", "wait_ms": 50}),
        )
        .unwrap_err();
    world.subscribe("s/6", &json!({"pattern": "a.gone"}));
    world
        .ask("s/6", "unsubscribe", &json!({"name": "a.gone"}))
        .unwrap();
    world
}

#[test]
fn a_saved_owner_goes_on_as_it_would_have() {
    let mut one = rich();
    let mut other = rich();
    other.save_and_load();
    other.is_moved = true;
    for world in [&mut one, &mut other] {
        world.now += 40;
        world.publish("a.log.x", 9);
        world.settle();
        world.now += 100;
        world.settle();
        world.publish("a.d", 10);
    }
    assert_eq!(one.messages, other.messages);
    assert_eq!(one.replies, other.replies);
    assert_eq!(one.save(), other.save());
    assert_eq!(one.owner.memory_bytes(), other.owner.memory_bytes());
}

#[test]
fn what_is_cut_off_or_longer_is_refused() {
    let saved = rich().save();
    for end in 0..saved.len() {
        let error = Owner::load(&saved[..end]).unwrap_err();
        assert!(error.starts_with("topics: "), "{end}: {error}");
    }
    let longer = [saved.as_slice(), &[0]].concat();
    let error = Owner::load(&longer).unwrap_err();
    assert_eq!(error, "topics: bytes are left after the owner's state");
}

/// What is loaded works: none of these may panic.
fn work(owner: Owner) {
    let mut world = World::new();
    world.owner = owner;
    world.now = 5_000;
    world.room = 100;
    let _ = world.owner.memory_bytes();
    for fields in [
        json!({"pattern": "a.>", "replay": "all"}),
        json!({"pattern": "a.log.x", "replay": "from 2"}),
        json!({"pattern": "a.*", "replay": "since 5"}),
    ] {
        let _ = world.ask("s/9", "subscribe", &fields);
    }
    for topic in ["a.log.x", "a.last", "a.b"] {
        let _ = world.ask(
            "client/c",
            "publish",
            &json!({"topic": topic, "data": {"x": 1}}),
        );
    }
    let tokens: Vec<u64> = world.owner.tokens.keys().copied().take(20).collect();
    for token in tokens {
        world.owner.ended(token, false);
    }
    let _ = world.ask("s/1", "unsubscribe", &json!({"name": "a.>"}));
    let _ = world.ask("client/c", "read", &json!({"pattern": "a.>", "after": 0}));
    let _ = world.ask("client/c", "list", &json!({}));
    for _ in 0..5 {
        world.now += 10;
        world.tick();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(owner) = Owner::load(&bytes) {
            work(owner);
        }
    }

    #[test]
    fn no_change_to_a_saved_one_makes_it_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static SAVED: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| rich().save());
        let mut saved = SAVED.clone();
        for (at, byte) in changes {
            let at = at.index(saved.len());
            saved[at] = byte;
        }
        if let Ok(owner) = Owner::load(&saved) {
            // What is taken is what would be written.
            let mut again = Vec::new();
            owner.save(&mut again);
            prop_assert_eq!(again, saved);
            work(owner);
        }
    }

    #[test]
    fn no_message_makes_it_panic(
        method in proptest::sample::select(vec![
            "publish", "subscribe", "unsubscribe", "declare", "configure", "read", "list",
        ]),
        content_type in proptest::sample::select(vec![
            ContentType::None, ContentType::MessagePack, ContentType::Json, ContentType::Binary,
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        source in proptest::sample::select(vec!["s/1", "client/c", "sys/node", "", "nobody"]),
    ) {
        let mut world = World::new();
        let payload = Payload { content_type, bytes: &bytes };
        world.put(source, method, payload);
        world.save_and_load();
    }
}
