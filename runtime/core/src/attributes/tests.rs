use std::num::NonZeroU64;

use super::*;
use crate::{
    AgentId, Ask, Body, Bounce, ClientId, ContentType, Expiry, Extras, Incarnation, NodeId,
    Original, Payload, Reply, ReplyTo, Sender, Sequence, StreamKey,
};
use bytes::Bytes;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A good value of every attribute that a client may set.
const GOOD: [(&str, &str); 17] = [
    ("id", "A234-1234-1234"),
    ("source", "https://example.com/cart"),
    ("type", "com.example.order.created"),
    ("subject", "order 7"),
    ("time", "2018-04-05T17:31:00Z"),
    ("datacontenttype", "text/xml; charset=utf-8"),
    ("dataschema", "https://example.com/order.xsd"),
    ("traceparent", TRACE),
    ("tracestate", "rojo=00f067aa0ba902b7"),
    ("causationid", "A234-1234-1233"),
    ("correlationid", "cart 12"),
    ("priority", "high"),
    ("delivery", "at-least-once"),
    ("consistency", "eventual"),
    ("ordering", "fifo"),
    ("partitionkey", "eu"),
    ("deadline", "2026-01-01T12:00:00.250Z"),
];

fn all() -> Attributes {
    let mut attributes = Attributes::new();
    for (name, value) in GOOD {
        attributes.set(name, &Value::text(value)).unwrap();
    }
    attributes
        .set("comexamplecount", &Value::Integer(-5))
        .unwrap();
    attributes
        .set("comexampleflag", &Value::Boolean(true))
        .unwrap();
    attributes.set("comexamplenote", &Value::text("")).unwrap();
    attributes.check().unwrap();
    attributes
}

#[test]
fn what_is_set_is_said_again() {
    let attributes = all();
    let mut again = Attributes::new();
    for (name, value) in attributes.fields() {
        again.set(name, &value).unwrap();
    }
    assert_eq!(again, attributes);
    let said = attributes.fields();
    for (name, value) in GOOD {
        assert!(said.contains(&(name, Value::text(value))), "{name}");
    }
    assert_eq!(said.len(), GOOD.len() + 3);
    assert_eq!(attributes.deadline(), Some(Millis(1_767_268_800_250)));
    assert_eq!(attributes.overrides().priority, Some(Lane::High));
    assert!(attributes.size() > 300);
}

#[test]
fn every_malformed_attribute_is_named_with_its_value_and_what_it_must_be() {
    let long = "x".repeat(MAX_TEXT + 1);
    let bad: &[(&str, &[&str], &str)] = &[
        ("id", &["", "a\nb", &long], "text"),
        ("source", &["a b", "é", "", "1:x"], "URI-reference"),
        ("type", &["", "\u{85}"], "text"),
        ("subject", &["", "\0"], "text"),
        (
            "time",
            &["yesterday", "2018-04-05", "1970-13-01T00:00:00Z"],
            "time",
        ),
        ("datacontenttype", &["json", "a/b c"], "media type"),
        ("dataschema", &["/relative", "a b:c"], "URI"),
        (
            "traceparent",
            &["", "00-0-0-0", &TRACE.to_uppercase()],
            "W3C",
        ),
        ("tracestate", &["a", "A=1", "a=1,a=2"], "key=value"),
        ("causationid", &[""], "text"),
        ("correlationid", &[""], "text"),
        (
            "priority",
            &["urgent", "High", ""],
            "high, normal, low or bulk",
        ),
        (
            "delivery",
            &["twice"],
            "exactly-once, at-least-once or at-most-once",
        ),
        ("consistency", &["none"], "strong, causal or eventual"),
        ("ordering", &["sorted"], "total, causal, fifo or unordered"),
        ("partitionkey", &[""], "text"),
        ("deadline", &["soon", "1969-12-31T23:59:59Z"], "time"),
        ("phxincarnation", &["1.2.3"], "host"),
        ("phxanything", &["x"], "host"),
        ("specversion", &["1.0"], "host"),
        ("sequence", &["1"], "host"),
        ("method", &["add"], "host"),
        ("redirectedfrom", &["order/6"], "host"),
        ("expirytime", &["2026-01-01T12:00:00Z"], "host"),
        ("expiryreport", &["true"], "host"),
        ("Name", &["x"], "a-z and 0-9"),
        ("data", &["x"], "a-z and 0-9"),
        ("data_base64", &["x"], "a-z and 0-9"),
        ("comexamplenote", &["a\tb"], "control characters"),
        ("comexamplelong", &[&long], "2,048"),
    ];
    for (name, values, accepted) in bad {
        for value in *values {
            let mut attributes = Attributes::new();
            let error = attributes.set(name, &Value::text(*value)).unwrap_err();
            assert_eq!(&*error.name, *name);
            let shown: String = value
                .chars()
                .take(80)
                .flat_map(char::escape_debug)
                .collect();
            assert_eq!(error.found.as_deref(), Some(shown.as_str()));
            assert!(error.accepted.contains(accepted), "{error}");
            assert!(attributes.is_empty(), "{name} was set");
        }
    }
    // A number is none of the texts.
    for (name, _) in GOOD {
        let error = Attributes::new().set(name, &Value::Integer(7)).unwrap_err();
        assert_eq!((&*error.name, error.found.as_deref()), (name, Some("7")));
    }
}

#[test]
fn a_trace_state_needs_its_parent() {
    let mut attributes = Attributes::new();
    attributes.set("tracestate", &Value::text("a=b")).unwrap();
    let error = attributes.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "attribute `traceparent` is missing: it must be there where a tracestate is"
    );
    attributes.set("traceparent", &Value::text(TRACE)).unwrap();
    attributes.check().unwrap();
    attributes.set_trace_parent(None);
    attributes.check().unwrap();
}

#[test]
fn custom_extensions_are_bounded_in_number_and_bytes() {
    let mut attributes = Attributes::new();
    for at in 0..MAX_CUSTOM {
        attributes
            .set(&format!("x{at}"), &Value::Integer(1))
            .unwrap();
    }
    let error = attributes.set("onemore", &Value::Integer(1)).unwrap_err();
    assert!(error.accepted.contains("24"), "{error}");
    let mut attributes = Attributes::new();
    let big = Value::text("x".repeat(MAX_TEXT - 2));
    for at in 0..4 {
        attributes.set(&format!("x{at}"), &big).unwrap();
    }
    let error = attributes.set("y", &Value::Boolean(true)).unwrap_err();
    assert!(error.accepted.contains("8,192"), "{error}");
    assert_eq!(attributes.custom().len(), 4);
}

const LIFE: Incarnation = Incarnation {
    generation: 2,
    boot: 1,
    count: 300,
};

const NONCE: Nonce = Nonce {
    node: NodeId(3),
    boot: 4,
    serial: 5,
};

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn message(method: &str) -> Envelope {
    Envelope {
        stream: StreamKey::shared(
            Sender::Agent(id("visitor/192.0.2.7"), LIFE),
            id("counter/alice"),
            Lane::Normal,
        ),
        sequence: Some(Sequence {
            number: 42,
            base: NonZeroU64::new(40).unwrap(),
            give_up: Millis(1_767_268_800_000),
        }),
        body: Body::Message {
            method: method.into(),
            payload: Payload {
                content_type: ContentType::Json,
                bytes: "{\"by\":5}".into(),
            },
            ask: None,
        },
        extras: None,
    }
}

/// `envelope` says this of itself.
fn say(envelope: &mut Envelope, attributes: Attributes) {
    envelope.extras.get_or_insert_default().attributes = attributes.shared();
}

fn extension<'a>(event: &'a CloudEvent, name: &str) -> Option<&'a str> {
    event
        .extensions
        .get(name)
        .and_then(Value::as_text)
        .map(AsRef::as_ref)
}

#[test]
fn a_message_without_attributes_is_an_event_with_all_of_them() {
    let envelope = message("add");
    let event = CloudEvent::of(&envelope, NONCE);
    assert_eq!(&*event.id, "2.1.300/normal/42/counter/alice");
    assert_eq!(&*event.source, "/agents/visitor/192.0.2.7");
    assert_eq!(&*event.event_type, "phoenix.agent.counter.add");
    assert_eq!(event.subject.as_deref(), Some("counter/alice"));
    assert_eq!(event.time, None);
    assert_eq!(event.data_content_type.as_deref(), Some("application/json"));
    assert_eq!(event.data.as_deref(), Some(&b"{\"by\":5}"[..]));
    assert_eq!(extension(&event, "priority"), Some("normal"));
    assert_eq!(extension(&event, "delivery"), Some("exactly-once"));
    assert_eq!(extension(&event, "sequence"), Some("00000000000000000042"));
    assert_eq!(extension(&event, "method"), None, "the type says it");
    assert_eq!(Envelope::from_event(&event), Ok(envelope));
}

#[test]
fn a_handler_that_no_type_can_name_is_named_apart() {
    for method in ["", "Add", "add/x", "50%\n", "message", &"x".repeat(65)] {
        let envelope = message(method);
        let event = CloudEvent::of(&envelope, NONCE);
        assert_eq!(&*event.event_type, "phoenix.agent.counter.message");
        assert_eq!(extension(&event, "method").is_some(), method != "message");
        assert_eq!(Envelope::from_event(&event), Ok(envelope), "{method}");
    }
}

#[test]
fn only_messages_without_an_identity_take_the_nonce() {
    let mut envelope = message("add");
    envelope.sequence = None;
    let once = CloudEvent::of(&envelope, NONCE);
    assert_eq!(&*once.id, "once/3.4.5");
    assert_eq!(extension(&once, "delivery"), Some("at-most-once"));
    assert_eq!(Envelope::from_event(&once), Ok(envelope.clone()));
    if let Body::Message { ask, .. } = &mut envelope.body {
        *ask = Some(Box::new(Ask {
            id: 9,
            reply_to: ReplyTo::Client(NodeId(1)),
            deadline: Millis::NEVER,
        }));
    }
    let ask = CloudEvent::of(&envelope, NONCE);
    assert_eq!(&*ask.id, "ask/node-1/9");
    assert_eq!(extension(&ask, "deadline"), None, "it is never");
    assert_eq!(Envelope::from_event(&ask), Ok(envelope.clone()));
    envelope.body = Body::Reply {
        ask: 9,
        asker: LIFE,
        reply: Reply::Bounced("no agent\n".into()),
    };
    let reply = CloudEvent::of(&envelope, NONCE);
    assert_eq!(&*reply.event_type, "phoenix.ask.reply.bounced");
    assert_eq!(extension(&reply, "phxreason"), Some("no agent%0A"));
    assert_eq!(Envelope::from_event(&reply), Ok(envelope));
}

#[test]
fn a_message_that_is_sent_on_says_whose_it_is_and_when_it_is_over() {
    let mut envelope = message("add");
    for (sender, number) in [
        (Sender::Agent(id("a/b@c"), LIFE), Some(7)),
        (
            Sender::Client(ClientId::new("demo-1").unwrap(), NodeId(7)),
            None,
        ),
        (Sender::System, Some(1)),
    ] {
        for report in [false, true] {
            envelope.extras = Some(Box::new(Extras {
                expiry: Some(Expiry {
                    at: Millis(1_767_268_800_250),
                    report,
                }),
                original: Some(Original {
                    sender: sender.clone(),
                    receiver: id("order/6"),
                    number,
                    redirects: 2,
                }),
                attributes: None,
            }));
            let event = CloudEvent::of(&envelope, NONCE);
            assert_eq!(extension(&event, "redirectedfrom"), Some("order/6"));
            assert_eq!(
                extension(&event, "expirytime"),
                Some("2026-01-01T12:00:00.250Z")
            );
            assert_eq!(Envelope::from_event(&event).as_ref(), Ok(&envelope));
        }
    }
}

#[test]
fn a_message_that_came_back_is_an_event_too() {
    let mut envelope = message("add");
    envelope.body = Body::Bounce(Box::new(Bounce {
        to: id("order/6"),
        method: "Add\n".into(),
        payload: Payload::default(),
        reason: "no-credit".into(),
        unsure: true,
    }));
    let event = CloudEvent::of(&envelope, NONCE);
    assert_eq!(&*event.event_type, "phoenix.agent.message.bounced");
    assert_eq!(Envelope::from_event(&event), Ok(envelope));
}

#[test]
fn a_clients_identity_of_its_own_is_kept_and_an_agents_is_not_believed() {
    let mut envelope = message("add");
    let mut attributes = all();
    // What the envelope itself says.
    attributes.set_overrides(Overrides::NONE);
    say(&mut envelope, attributes);
    let event = CloudEvent::of(&envelope, NONCE);
    assert_eq!(&*event.id, "2.1.300/normal/42/counter/alice");
    assert_eq!(&*event.source, "/agents/visitor/192.0.2.7");
    let client = Sender::Client(ClientId::new("demo-1").unwrap(), NodeId(7));
    envelope.stream = StreamKey::shared(client, id("counter/alice"), Lane::Normal);
    let event = CloudEvent::of(&envelope, NONCE);
    assert_eq!(&*event.id, "A234-1234-1234");
    assert_eq!(&*event.source, "https://example.com/cart");
    assert_eq!(extension(&event, "phxsender"), Some("/clients/demo-1"));
    assert_eq!(extension(&event, "phxreceiver"), Some("counter/alice"));
    assert_eq!(event.subject.as_deref(), Some("order 7"));
    assert_eq!(extension(&event, "method"), Some("add"));
    assert_eq!(extension(&event, "traceparent"), Some(TRACE));
    // Its media type is not that of its content type: it comes back as bytes.
    let mut again = Envelope::from_event(&event).unwrap();
    if let Body::Message { payload, .. } = &mut again.body {
        assert_eq!(payload.content_type, ContentType::Binary);
        payload.content_type = ContentType::Json;
    }
    assert_eq!(again, envelope);
}

#[test]
fn a_peers_malformed_event_is_refused_by_name() {
    let good = CloudEvent::of(&message("add"), NONCE);
    let with = |name: &'static str, value: &str| {
        let mut event = good.clone();
        let mut extensions = Extensions::new();
        for (other, value) in good.extensions.iter().filter(|(other, _)| *other != name) {
            extensions.insert(other, value.clone()).unwrap();
        }
        extensions.insert(name, Value::text(value)).unwrap();
        event.extensions = extensions;
        (name, event)
    };
    let changed = |name: &'static str, change: fn(&mut CloudEvent)| {
        let mut event = good.clone();
        change(&mut event);
        (name, event)
    };
    for (name, event) in [
        changed("source", |event| event.source = "/agents/Visitor/x".into()),
        changed("source", |event| {
            event.source = "/agents/visitor/%zz".into()
        }),
        changed("subject", |event| event.subject = Some("alice".into())),
        changed("subject", |event| event.subject = None),
        changed("id", |event| event.id = "once/1.2.3".into()),
        changed("type", |event| event.event_type = "com.example".into()),
        with("phxincarnation", "1.2"),
        with("phxincarnation", "1.2.3.4"),
        with("phxincarnation", "+1.2.3"),
        with("sequence", "0"),
        with("sequence", "99999999999999999999"),
        with("sequence", "3"),
        with("phxbase", "x"),
        with("priority", "urgent"),
        with("phxgiveup", "never"),
        with("phxask", "-1"),
        with("phxreply", "maybe"),
        with("delivery", "twice"),
        with("traceparent", "x"),
        with("expirytime", "x"),
        with("expiryreport", "perhaps"),
        with("phxoriginal", "nobody"),
        with("phxbounced", "nobody"),
    ] {
        let error = Envelope::from_event(&event).unwrap_err();
        assert_eq!(&*error.name, name, "{error}");
    }
}

fn from_outside() -> EventBuilder {
    let mut event = EventBuilder::new();
    event.set("specversion", Value::text("1.0")).unwrap();
    event.set("id", Value::text("A1")).unwrap();
    event.set("source", Value::text("/cart")).unwrap();
    event
        .set("type", Value::text("phoenix.data.order.created"))
        .unwrap();
    event.set("subject", Value::text("order/7")).unwrap();
    event
}

#[test]
fn a_clients_event_becomes_a_message() {
    let mut event = from_outside();
    event
        .set(
            "datacontenttype",
            Value::text("application/json; charset=utf-8"),
        )
        .unwrap();
    event.set("sequence", Value::text("007")).unwrap();
    event
        .set("deadline", Value::text("2026-01-01T12:00:00Z"))
        .unwrap();
    event.set("priority", Value::text("low")).unwrap();
    event
        .set("expirytime", Value::text("2026-01-01T12:00:00.5Z"))
        .unwrap();
    event.set("expiryreport", Value::Boolean(true)).unwrap();
    event.set("comexamplenote", Value::text("x")).unwrap();
    event.set_data(Bytes::from_static(b"{}"));
    let event = event.build().unwrap();
    let client = ClientEvent::new(&event, &Target::default()).unwrap();
    assert_eq!(client.message.agent, id("order/7"));
    assert_eq!(&*client.message.method, "created");
    assert_eq!(client.message.payload.content_type, ContentType::Json);
    assert_eq!(client.message.sequence, Some(7));
    assert_eq!(client.deadline(), Some(Millis(1_767_268_800_000)));
    let expiry = Expiry {
        at: Millis(1_767_268_800_500),
        report: true,
    };
    assert_eq!(client.expiry, Some(expiry));
    let said = &client.attributes;
    assert_eq!(said.id().map(AsRef::as_ref), Some("A1"));
    assert_eq!(said.source().map(AsRef::as_ref), Some("/cart"));
    assert_eq!(
        said.message_type().map(AsRef::as_ref),
        Some("phoenix.data.order.created")
    );
    assert_eq!(said.subject(), None, "it is the receiver");
    assert_eq!(
        said.content_type().map(AsRef::as_ref),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(said.overrides().priority, Some(Lane::Low));
    assert_eq!(said.custom().len(), 1);

    // A path goes before what the event says.
    let target = Target {
        agent: Some(id("counter/alice")),
        method: Some("add".into()),
    };
    let client = ClientEvent::new(&event, &target).unwrap();
    assert_eq!(client.message.agent, id("counter/alice"));
    assert_eq!(&*client.message.method, "add");
    assert_eq!(
        client.attributes.subject().map(AsRef::as_ref),
        Some("order/7")
    );
}

#[test]
fn a_clients_malformed_event_is_refused_by_name() {
    for (name, value) in [
        ("phxincarnation", Value::text("1.2.3")),
        ("phxreplyto", Value::text("node-1")),
        ("sequence", Value::text("0")),
        ("sequence", Value::text("1e3")),
        ("sequence", Value::Integer(-1)),
        ("method", Value::Integer(1)),
        ("method", Value::text("%")),
        ("priority", Value::text("urgent")),
        ("traceparent", Value::text("x")),
        ("expirytime", Value::text("x")),
        ("expiryreport", Value::Integer(1)),
        ("redirectedfrom", Value::text("order/6")),
    ] {
        let mut event = from_outside();
        event.set(name, value).unwrap();
        let event = event.build().unwrap();
        let error = ClientEvent::new(&event, &Target::default()).unwrap_err();
        assert_eq!(&*error.name, name, "{error}");
    }
    let event = from_outside().build().unwrap();
    for (name, change) in [
        (
            "subject",
            (|event| event.subject = None) as fn(&mut CloudEvent),
        ),
        ("subject", |event| event.subject = Some("alice".into())),
        ("type", |event| {
            event.event_type = "com.example.created".into()
        }),
        ("id", |event| event.id = "x".repeat(MAX_TEXT + 1).into()),
    ] {
        let mut event = event.clone();
        change(&mut event);
        let error = ClientEvent::new(&event, &Target::default()).unwrap_err();
        assert_eq!(&*error.name, name, "{error}");
    }
}

#[test]
fn a_builder_wants_each_attribute_once_and_in_form() {
    for missing in ["specversion", "id", "source", "type"] {
        let mut event = EventBuilder::new();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/"),
            ("type", "t"),
        ] {
            if name != missing {
                event.set(name, Value::text(value)).unwrap();
            }
        }
        let error = event.build().unwrap_err();
        assert_eq!((&*error.name, error.found), (missing, None));
    }
    for (name, value) in [
        ("specversion", Value::text("0.3")),
        ("specversion", Value::Integer(1)),
        ("specversion", Value::text("1.0")),
        ("id", Value::text("")),
        ("id", Value::Integer(5)),
        ("id", Value::text("again")),
        ("source", Value::text("a b")),
        ("time", Value::text("noon")),
        ("time", Value::Boolean(true)),
        ("datacontenttype", Value::text("json")),
        ("dataschema", Value::text("/x")),
        ("data", Value::text("x")),
        ("Upper", Value::text("x")),
    ] {
        let mut event = from_outside();
        let error = event.set(name, value).unwrap_err();
        assert_eq!(&*error.name, name);
    }
    let mut event = from_outside();
    let time = || Value::text("2018-04-05T17:31:00Z");
    event.set("time", time()).unwrap();
    event.set("time", time()).unwrap_err();
}

#[test]
fn an_event_in_headers() {
    let headers: &[(&str, &[u8])] = &[
        ("Host", b"webhook.example.com"),
        ("CE-SpecVersion", b"1.0"),
        ("ce-type", b"com.example.someevent"),
        ("ce-time", b"2018-04-05T03:56:24Z"),
        ("ce-id", b"1234-1234-1234"),
        ("ce-source", b"/mycontext/subcontext"),
        ("ce-subject", b"Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("ce-comexamplenote", b"\"a \\\"b\\\" %41\""),
        ("Content-Type", b"application/json; charset=utf-8"),
    ];
    assert!(CloudEvent::is_in_headers(
        headers.iter().map(|header| header.0)
    ));
    assert!(!CloudEvent::is_in_headers([
        "host",
        "ce-id",
        "content-type",
        "c",
        "cé-"
    ]));
    let body = Bytes::from_static(b"{}");
    let event = CloudEvent::from_headers(headers.iter().copied(), body.clone()).unwrap();
    assert_eq!(event.subject.as_deref(), Some("Euro \u{20AC} \u{1F600}"));
    assert_eq!(extension(&event, "comexamplenote"), Some("a \"b\" A"));
    assert!(event.has_json());
    let written = event.headers();
    let find = |name: &str| {
        let mut found = written.iter().filter(|(header, _)| header == name);
        found.next().map(|(_, value)| value.as_str())
    };
    assert_eq!(find("ce-subject"), Some("Euro%20%E2%82%AC%20%F0%9F%98%80"));
    assert_eq!(
        find("content-type"),
        Some("application/json; charset=utf-8")
    );
    let again = written
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert_eq!(CloudEvent::from_headers(again, body), Ok(event));
}

#[test]
fn malformed_headers_are_named() {
    let good: Vec<(&str, &[u8])> = vec![
        ("ce-specversion", b"1.0"),
        ("ce-type", b"t"),
        ("ce-id", b"1"),
        ("ce-source", b"/"),
    ];
    for (header, value, name) in [
        ("ce-datacontenttype", &b"text/plain"[..], "datacontenttype"),
        ("ce-note", b"\xff", "note"),
        ("ce-note", "é".as_bytes(), "note"),
        ("ce-note", b"%C0%A0", "note"),
        ("ce-note", b"%0A", "note"),
        ("ce-id", b"2", "id"),
        ("ce-", b"x", ""),
        ("ce-no-te", b"x", "no-te"),
        ("content-type", b"json", "datacontenttype"),
    ] {
        let mut headers = good.clone();
        headers.push((header, value));
        let error = CloudEvent::from_headers(headers, Bytes::new()).unwrap_err();
        assert_eq!(&*error.name, name, "{error}");
    }
    let event = CloudEvent::from_headers(good, Bytes::new()).unwrap();
    assert_eq!(event.data, None, "no body and no media type are no data");
}

#[test]
fn content_modes() {
    for (content_type, mode) in [
        ("application/json", ContentMode::Binary),
        (
            "application/cloudevents+json; charset=UTF-8",
            ContentMode::Structured(Format::Json),
        ),
        (
            "Application/CloudEvents-Batch+Protobuf",
            ContentMode::Batch(Format::Protobuf),
        ),
        (
            "application/cloudevents+msgpack",
            ContentMode::Structured(Format::MessagePack),
        ),
    ] {
        assert_eq!(ContentMode::of(content_type), Ok(mode));
    }
    let error = ContentMode::of("application/cloudevents+avro").unwrap_err();
    assert!(error.to_string().contains("+avro") && error.to_string().contains("+json"));
}

#[test]
fn what_a_turn_sends_follows_what_caused_it() {
    let mut cause = message("add");
    assert!(Attributes::caused_by(&cause, 7).is_empty());
    say(&mut cause, all());
    let effect = Attributes::caused_by(&cause, 7);
    assert_eq!(
        effect.trace_parent().map(|parent| parent.to_string()),
        Some(TRACE.replace("00f067aa0ba902b7", "0000000000000007"))
    );
    assert_eq!(
        effect.trace_state(),
        cause.attributes().unwrap().trace_state()
    );
    assert_eq!(effect.correlation().map(AsRef::as_ref), Some("cart 12"));
    assert_eq!(
        effect.causation().map(AsRef::as_ref),
        Some("2.1.300/normal/42/counter/alice")
    );
    assert_eq!(
        (effect.id(), effect.custom().len()),
        (None, 0),
        "nothing else is passed on"
    );
}

#[test]
fn what_a_message_says_of_itself_counts() {
    let plain = message("add");
    let mut said = plain.clone();
    say(&mut said, all());
    assert!(said.size() > plain.size() + 300);
}
