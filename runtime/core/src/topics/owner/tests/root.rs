use phoenix_wit::Reply;
use serde_json::json;

use super::*;

fn packed(bytes: &[u8]) -> Payload<'_> {
    Payload::message_pack(bytes)
}

/// Puts what the owner asked to the root, and the answer to the owner.
fn pass_asks(owner: &mut World, root: &mut World) {
    while let Some((ask, _, question)) = owner.asks.pop() {
        let outcome = root.put(owner.agent, "enter", packed(&question));
        let Outcome::Ok(answer) = outcome else {
            panic!("{outcome:?}");
        };
        owner.turn(|it, _, out| it.root_answered(ask, Reply::Ok(answer.as_wit()), out));
    }
}

/// Puts what the root sends to an owner.
fn pass_changes(root: &mut World, owners: &mut [&mut World]) {
    root.settle();
    for message in std::mem::take(&mut root.messages) {
        assert_eq!(message.method, "rooted");
        let owner = owners.iter_mut().find(|it| it.agent == message.to).unwrap();
        let outcome = owner.put("topic/.root", "rooted", packed(&message.bytes));
        assert_eq!(outcome, Outcome::DONE);
    }
}

#[test]
fn patterns_that_begin_with_a_wildcard_are_heard_in_all_spaces() {
    let mut root = World::of("topic/.root");
    let (mut a, mut b) = (World::of("topic/a"), World::of("topic/b"));
    let answer = root.subscribe("s/1", &json!({"pattern": "*.x"}));
    assert_eq!(answer, json!({"name": "*.x"}));
    // Nothing is taken before the root has answered.
    let fields = json!({"topic": "a.x", "data": 1});
    assert_eq!(a.ask("p/1", "publish", &fields), Err("deferred".to_owned()));
    pass_asks(&mut a, &mut root);
    a.publish("a.x", 1);
    assert_eq!(a.numbers("s/1"), [1]);

    // What comes later is told those that are known.
    root.subscribe("s/2", &json!({"pattern": ">"}));
    pass_changes(&mut root, &mut [&mut a]);
    a.publish("a.y", 2);
    assert_eq!((a.numbers("s/1"), a.numbers("s/2")), (vec![1], vec![2]));
    b.ask("p/1", "publish", &json!({"topic": "b.x"}))
        .unwrap_err();
    pass_asks(&mut b, &mut root);
    b.publish("b.x", 1);
    assert_eq!((b.numbers("s/1"), b.numbers("s/2")), (vec![1], vec![1]));

    root.ask("s/1", "unsubscribe", &json!({"name": "*.x"}))
        .unwrap();
    pass_changes(&mut root, &mut [&mut a, &mut b]);
    for world in [&mut a, &mut b] {
        world.messages.clear();
        world.save_and_load();
    }
    a.publish("a.x", 3);
    b.publish("b.x", 3);
    for world in [&a, &b] {
        let to: Vec<_> = world.messages.iter().map(|it| it.to.as_str()).collect();
        assert_eq!(to, ["s/2"]);
    }
    let listed = root.ask("client/c", "list", &json!({})).unwrap();
    assert_eq!(listed["spaces"], json!(["a", "b"]));
    let error = root
        .ask("client/c", "publish", &json!({"topic": "a.x"}))
        .unwrap_err();
    assert!(error.contains("it belongs to topic/a"), "{error}");
}

#[test]
fn an_owner_asks_until_it_has_all() {
    let mut root = World::of("topic/.root");
    for n in 0..1_200 {
        root.subscribe(&format!("s/{n}"), &json!({"pattern": "*.x"}));
        root.settle();
    }
    let mut a = World::of("topic/a");
    let fields = json!({"topic": "a.x"});
    a.ask("p/1", "publish", &fields).unwrap_err();
    // The root cannot be asked at first.
    let (ask, ..) = a.asks.pop().unwrap();
    a.turn(|it, _, out| it.root_answered(ask, Reply::Timeout, out));
    assert!(a.asks.is_empty());
    a.now += 1_000;
    a.tick();
    a.is_moved = true;
    let mut pages = 0;
    while let Some(asked) = a.asks.first().cloned() {
        pages += 1;
        // An answer to an earlier question counts for nothing.
        a.turn(|it, _, out| it.root_answered(asked.0 - 1, Reply::Timeout, out));
        pass_one(&mut a, &mut root);
        // What changes meanwhile comes after.
        root.subscribe(&format!("late/{pages}"), &json!({"pattern": "*.x"}));
    }
    assert_eq!(pages, 3);
    pass_changes(&mut root, &mut [&mut a]);
    a.room = 10_000;
    a.publish("a.x", 1);
    assert_eq!(a.messages.len(), 1_203);
}

fn pass_one(owner: &mut World, root: &mut World) {
    let (ask, _, question) = owner.asks.remove(0);
    let Outcome::Ok(answer) = root.put(owner.agent, "enter", packed(&question)) else {
        panic!("not answered");
    };
    owner.turn(|it, _, out| it.root_answered(ask, Reply::Ok(answer.as_wit()), out));
}

#[test]
fn an_owner_that_began_anew_says_so() {
    let mut root = World::of("topic/.root");
    let mut a = World::of("topic/a");
    a.ask("s/1", "subscribe", &json!({"pattern": "a.b"}))
        .unwrap_err();
    pass_asks(&mut a, &mut root);
    a.subscribe("s/1", &json!({"pattern": "a.b"}));
    a.publish("a.b", 1);
    assert_eq!(a.messages[0].event().mark, None);

    let mut anew = World::unborn("topic/a");
    anew.now = 9_000;
    anew.turn(|owner, _, out| owner.enter(out));
    anew.ask("s/1", "subscribe", &json!({"pattern": "a.b"}))
        .unwrap_err();
    pass_asks(&mut anew, &mut root);
    anew.subscribe("s/1", &json!({"pattern": "a.b"}));
    for data in 1..3 {
        anew.publish("a.b", data);
    }
    let events: Vec<_> = anew.messages.iter().map(Message::event).collect();
    assert_eq!((events[0].epoch, events[0].number), (9_000, 1));
    assert!(events[0].mark.unwrap().epoch);
    assert_eq!(events[1].mark, None);
}

#[test]
fn only_owners_talk_so() {
    let mut root = World::of("topic/.root");
    let error = root
        .ask("s/1", "enter", &json!({"epoch": 1, "after": null}))
        .unwrap_err();
    assert!(
        error.starts_with("forbidden: `enter` is between owners"),
        "{error}"
    );
    let mut a = World::new();
    let fields = json!({"version": 9, "set": null, "ended": null});
    let error = a.ask("client/c", "rooted", &fields).unwrap_err();
    assert!(error.starts_with("forbidden"), "{error}");
}

#[test]
fn changes_wait_for_room_to_tell_them() {
    let mut root = World::of("topic/.root");
    let question = rmp_serde::to_vec_named(&json!({"epoch": 1, "after": null})).unwrap();
    for n in 0..50 {
        root.put(&format!("topic/t{n}"), "enter", packed(&question));
    }
    root.room = super::super::sends::KEPT_MESSAGES + 10;
    root.subscribe("s/1", &json!({"pattern": "*"}));
    assert_eq!(root.messages.len(), 10);
    root.is_moved = true;
    root.settle();
    let mut to: Vec<_> = root.messages.iter().map(|it| it.to.clone()).collect();
    assert_eq!(to.len(), 50);
    to.dedup();
    assert_eq!(to.len(), 50);
}
