//! Topics: each request is one question to an owner.

use std::time::Duration;

use phoenix_core::control::{Request, Response};
use phoenix_core::topics::wire::{self, Attribute, Listing, Publish, Published, Read, Subscribe};
use phoenix_core::topics::{TopicName, TopicPattern};
use phoenix_core::{ContentType, Failure, Millis, Payload, Reply};
use phoenix_gateway::Limits;
use phoenix_gateway::api::{self, Replay};
use phoenix_gateway::client::{NewEvent, ReadFrom};

use crate::fake::{FakeControl, alice, json};
use crate::http::serve;

fn pattern(text: &str) -> TopicPattern {
    TopicPattern::new(text).unwrap()
}

/// Whom the last request asked, as whom, for what, and with what.
fn asked(control: &FakeControl) -> (String, String, String, Payload) {
    match control.last() {
        Request::Call {
            client,
            agent,
            method,
            payload,
            ..
        } => {
            let (client, agent) = (client.as_str().to_owned(), agent.to_string());
            (client, agent, method.to_string(), payload)
        }
        other => panic!("{other:?}"),
    }
}

fn answers(control: &FakeControl, value: &impl serde::Serialize) {
    control.reply(Reply::Ok(json(&serde_json::to_string(value).unwrap())));
}

#[tokio::test]
async fn an_event_is_published_with_all_that_was_said_of_it() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let published = Published {
        topic: "orders.eu".to_owned(),
        epoch: 1,
        number: 12,
        offset: Some(3),
        matched: 2,
    };
    let packed = rmp_serde::to_vec_named(&published).unwrap();
    control.reply(Reply::Ok(Payload {
        content_type: ContentType::MessagePack,
        bytes: packed.into(),
    }));
    let event = NewEvent {
        content_type: api::ContentType::Json,
        data: "{\"total\": 5}".into(),
        event_type: Some("order.created".to_owned()),
        key: Some("a key/with?odd=parts".to_owned()),
        attributes: [
            ("big".to_owned(), Attribute::Bool(true)),
            ("n".to_owned(), Attribute::Int(-7)),
        ]
        .into(),
        retain: true,
        ttl: Some(Duration::from_secs(60)),
    };
    let topic = TopicName::new("orders.eu").unwrap();
    let client = served.client();
    let said = client.publish(&topic, &event, Duration::from_secs(2)).await;
    assert_eq!(said.unwrap(), published);
    let (client, agent, method, payload) = asked(&control);
    assert_eq!(
        (&*client, &*agent, &*method),
        ("operator", "topic/orders", "publish")
    );
    let (read, name) = Publish::decode(payload.as_wit()).unwrap();
    assert_eq!(name, topic);
    assert_eq!(read.data.content_type, ContentType::Json);
    assert_eq!(read.data.bytes, b"{\"total\": 5}");
    assert_eq!(read.event_type.as_deref(), Some("order.created"));
    assert_eq!(read.key.as_deref(), event.key.as_deref());
    assert_eq!(read.attributes, event.attributes);
    assert_eq!((read.retain, read.ttl_ms), (true, Some(60_000)));
}

#[tokio::test]
async fn events_are_waited_for() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let events = value(
        r#"{"epoch": 2, "next": 12, "events": [{"topic": "orders.eu", "publisher": "client/a",
            "number": 12, "time": 1, "format": "json", "data": {"total": 5}}]}"#,
    );
    answers(&control, &events);
    let from = ReadFrom {
        after: Some(11),
        epoch: Some(2),
    };
    let wait = Duration::from_secs(30);
    let client = served.client();
    let read = client.events(&pattern("orders.>"), from, 7, wait).await;
    let read = read.unwrap();
    assert_eq!((read.next, read.epoch, read.events.len()), (12, 2, 1));
    let (_, agent, method, payload) = asked(&control);
    assert_eq!((&*agent, &*method), ("topic/orders", "read"));
    let (question, _) = Read::decode(payload.as_wit()).unwrap();
    assert_eq!(
        question,
        Read {
            pattern: "orders.>".to_owned(),
            after: Some(11),
            epoch: Some(2),
            max: 7,
            wait_ms: 30_000,
        }
    );
    let Request::Call { timeout, .. } = control.last() else {
        panic!("{:?}", control.last());
    };
    assert!(timeout > Millis(30_000), "the owner's word comes first");
}

fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn what_is_kept_and_who_subscribes_is_told_the_owner() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let client = served.client();
    control.reply(Reply::Ok(Payload::default()));
    let bounds = wire::LogBounds {
        count: Some(1_000),
        ..wire::LogBounds::default()
    };
    client
        .configure(&pattern("orders.*"), Some(&bounds), true)
        .await
        .unwrap();
    let (_, agent, method, payload) = asked(&control);
    assert_eq!((&*agent, &*method), ("topic/orders", "configure"));
    let (kept, _) = wire::Configure::decode(payload.as_wit()).unwrap();
    assert_eq!((kept.log, kept.retain), (Some(bounds), true));

    answers(&control, &value(r#"{"name": "mine"}"#));
    let subscription = Subscribe {
        to: Some("visitor/{data.ip}".to_owned()),
        replay: Some(Replay::Last(5)),
        ..Subscribe::to_pattern("*.line")
    };
    let said = client.subscribe(&subscription).await.unwrap();
    assert_eq!(said.name, "mine");
    let (_, agent, method, payload) = asked(&control);
    assert_eq!((&*agent, &*method), ("topic/.root", "subscribe"));
    assert_eq!(Subscribe::decode(payload.as_wit()).unwrap(), subscription);

    answers(&control, &value(r#"{"was": true}"#));
    let ended = client.unsubscribe(&pattern("*.line"), "mine").await;
    assert!(ended.unwrap().was);
    let (client, agent, method, payload) = asked(&control);
    assert_eq!(
        (&*client, &*agent, &*method),
        ("operator", "topic/.root", "unsubscribe")
    );
    let ended = wire::Unsubscribe::decode(payload.as_wit()).unwrap();
    assert_eq!(ended.name, "mine");
}

#[tokio::test]
async fn every_space_is_listed_by_its_owner() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    control.script(|request| {
        if let Request::Agents { kind, .. } = request {
            assert_eq!(kind.as_ref().unwrap().as_str(), "topic");
            let owners = ["topic/.root", "topic/a", "topic/b", "topic/c"].map(alice);
            return Some(Ok(Response::Agents(owners.to_vec())));
        }
        let Request::Call { agent, .. } = request else {
            return None;
        };
        let listing = match agent.key() {
            "b" => return Some(Ok(Response::Called(Reply::Timeout))),
            space => Listing {
                space: space.to_owned(),
                number: 3,
                ..Listing::default()
            },
        };
        let text = serde_json::to_string(&listing).unwrap();
        Some(Ok(Response::Called(Reply::Ok(json(&text)))))
    });
    let client = served.client();
    let list = client.topics(None).await.unwrap();
    let spaces: Vec<_> = list
        .spaces
        .iter()
        .map(|it| (&*it.space, it.number))
        .collect();
    assert_eq!(spaces, [("a", 3), ("c", 3)]);
    assert_eq!(list.silent, ["b"]);
    assert_eq!(client.space("c", Some("c.d")).await.unwrap().number, 3);
    let (_, agent, method, payload) = asked(&control);
    assert_eq!((&*agent, &*method), ("topic/c", "list"));
    assert_eq!(&payload.bytes[..], b"{\"after\":\"c.d\"}");
}

#[tokio::test]
async fn subscriptions_are_listed_by_their_owner() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let client = served.client();
    let page = value(
        r#"{"space": "orders", "epoch": 1, "number": 12, "next": 40, "subscriptions": [
            {"name": "mine", "pattern": "orders.>", "subscriber": "counter/a", "method": "on_event",
             "form": "event", "filter": "data.n > 1", "overflow": "block", "in_flight": 2,
             "max_in_flight": 256, "behind": 7, "at_most": true,
             "counts": {"sent": 3, "filtered": 1, "filter_failed": 0, "filter_cut_off": 0,
                "no_receiver": 0, "transform_failed": 0, "dropped": 0, "missed": 0,
                "not_applied": 0, "redelivered": 0, "given_up": 0}}]}"#,
    );
    answers(&control, &page);
    let said = client.subscriptions(Some("orders"), Some(7), 3).await;
    assert_eq!(serde_json::to_value(said.unwrap()).unwrap(), page);
    let (client_name, agent, method, payload) = asked(&control);
    assert_eq!(
        (&*client_name, &*agent, &*method),
        ("operator", "topic/orders", "subscriptions")
    );
    let question = wire::ListSubscriptions::decode(payload.as_wit()).unwrap();
    assert_eq!((question.after, question.max), (Some(7), 3));

    client.subscriptions(None, None, 100).await.unwrap();
    assert_eq!(asked(&control).1, "topic/.root");
}

#[tokio::test]
async fn what_is_no_topic_is_said_where_it_is_none() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let json = ("content-type", "application/json");
    for (line, body, said) in [
        ("POST /v1/topics/a..b/publish", "1", "at byte 2"),
        ("POST /v1/topics/a.%2A/publish", "1", "at byte 2"),
        ("POST /v1/topics/a.b/publish", "{", "no JSON"),
        (
            "POST /v1/topics/a.b/publish?attributes=7",
            "1",
            "attributes",
        ),
        ("POST /v1/topics/a.b/publish?ttl=soon", "1", "ttl"),
        (
            "GET /v1/topics/a.%3E.b/events",
            "",
            "must be the last token",
        ),
        ("GET /v1/topics/a/events?wait=long", "", "wait"),
        ("PUT /v1/topics/a", "{\"logs\": {}}", "logs"),
        (
            "PUT /v1/subscriptions",
            "{\"pattern\": \"a..b\"}",
            "pattern",
        ),
        ("PUT /v1/subscriptions", "{\"pattern\": \"a\"}", "`to`"),
        (
            "PUT /v1/subscriptions",
            "{\"pattern\": \"a\", \"to\": \"nobody\"}",
            "to",
        ),
        ("GET /v1/topics?space=a..b", "", "at byte 2"),
        ("GET /v1/subscriptions?space=a..b", "", "at byte 2"),
        ("GET /v1/subscriptions?from=1", "", "from"),
    ] {
        let problem = served.ask(line, &[json], body.as_bytes()).await.problem();
        assert_eq!(problem.code, "invalid", "{line}: {problem:?}");
        assert!(problem.detail.contains(said), "{line}: {problem:?}");
    }
    assert_eq!(control.count(), 0, "no owner was asked");
    // What only the owner can tell is the request's fault as well.
    control.reply(Reply::Failed(Box::new(Failure {
        code: wire::BadRequest::CODE.into(),
        message: "field `filter`: at 3: no such thing".into(),
        details: Payload::default(),
    })));
    let body = b"{\"pattern\": \"a\", \"to\": \"b/c\", \"filter\": \"1 +\"}";
    let problem = served.ask("PUT /v1/subscriptions", &[json], body).await;
    let problem = problem.problem();
    assert_eq!(
        (&*problem.code, &*problem.detail),
        ("invalid", "field `filter`: at 3: no such thing")
    );
}
