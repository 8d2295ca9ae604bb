use phoenix_wit::{ContentType, Payload};

use super::*;

fn json(text: &str) -> Payload<'_> {
    Payload {
        content_type: ContentType::Json,
        bytes: text.as_bytes(),
    }
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

#[test]
fn a_topic_belongs_to_its_first_token_and_a_wild_pattern_to_the_root() {
    for (pattern, owner) in [
        ("orders", "topic/orders"),
        ("orders.eu", "topic/orders"),
        ("orders.*", "topic/orders"),
        ("orders.>", "topic/orders"),
        ("*.eu", "topic/.root"),
        ("*", "topic/.root"),
        (">", "topic/.root"),
    ] {
        let pattern = TopicPattern::new(pattern).unwrap();
        assert_eq!(owner_of_pattern(&pattern).as_str(), owner);
        if let Some(topic) = pattern.only() {
            assert_eq!(owner_of_topic(&topic).as_str(), owner);
        }
    }
    // The longest there can be; and no topic is the root's.
    let long = name(&"A-z_0".repeat(51));
    assert_eq!(space_of(&long).len(), MAX_TOPIC);
    assert_eq!(owner_of_topic(&long).key(), long.as_str());
    TopicName::new(ROOT).unwrap_err();
}

#[test]
fn events_are_published_in_both_forms() {
    let text = r#"{"topic":"a.b","type":"t","key":"k\n1","data":{"x":[1]},"ttl_ms":5}"#;
    let error = Publish::decode(json(text)).unwrap_err().to_string();
    assert!(error.starts_with("field `key`: `k\\n1` is"), "{error}");
    let text = text.replace("\\n", "");
    let text = text.replace(
        "ttl_ms",
        "attributes\":{\"n\":1,\"f\":0.5,\"b\":true,\"s\":\"\u{fc}\"},\"ttl_ms",
    );
    let (read, topic) = Publish::decode(json(&text)).unwrap();
    assert_eq!((topic.as_str(), read.data), ("a.b", json(r#"{"x":[1]}"#)));
    assert_eq!(read.attributes["n"], Attribute::Int(1));
    assert_eq!(read.attributes["f"], Attribute::Float(0.5));

    let mut packed = Vec::new();
    read.write(&mut packed);
    let (again, _) = Publish::decode(Payload::message_pack(&packed)).unwrap();
    assert_eq!(again, read);

    // Data in each form, and none.
    for data in [
        Payload::message_pack(b"\x93\x01\xc0\xa1x"),
        json("[1, 2]"),
        Payload {
            content_type: ContentType::Binary,
            bytes: b"\xc1",
        },
        Payload::NONE,
    ] {
        let topic = name("a");
        let event = Publish::new(&topic, data);
        let mut packed = Vec::new();
        event.write(&mut packed);
        let (again, _) = Publish::decode(Payload::message_pack(&packed)).unwrap();
        assert_eq!(again, event);
    }
}

#[test]
fn what_cannot_be_published_is_told_which_field_and_why() {
    for (text, part) in [
        ("{", "`publish` cannot be read: EOF"),
        ("{}", "missing field `topic`"),
        (
            r#"{"topic":"a","dta":1}"#,
            "unknown field `dta`, expected one of `topic`, `format`",
        ),
        (
            r#"{"topic":"a..b"}"#,
            "field `topic`: `a..b` is no topic's name: at byte 2",
        ),
        (
            r#"{"topic":"a","format":"xml"}"#,
            "unknown variant `xml`, expected one of `none`",
        ),
        (
            r#"{"topic":"a","format":"binary","data":1}"#,
            "field `format`: in a JSON message",
        ),
        (
            r#"{"topic":"a","ttl_ms":0}"#,
            "field `ttl_ms`: 0: it must be 1 to",
        ),
        (r#"{"topic":"a","type":""}"#, "field `type`: `` is 0 bytes"),
        (
            r#"{"topic":"a","attributes":{"a-b":1}}"#,
            "`a-b` is no attribute's name",
        ),
        (
            r#"{"topic":"a","attributes":{"a":[1]}}"#,
            "did not match any variant",
        ),
    ] {
        let error = Publish::decode(json(text)).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    // Data that would say more than it may, or less than it does.
    for (content_type, data, part) in [
        (
            ContentType::Json,
            &br#"1,"publisher":"admin/a""#[..],
            "it is no JSON: trailing",
        ),
        (ContentType::Json, b"", "it is no JSON: EOF"),
        (
            ContentType::MessagePack,
            b"\x01\xa9publisher",
            "more bytes follow its value",
        ),
        (
            ContentType::MessagePack,
            b"\x92\x01",
            "it is no MessagePack",
        ),
        (ContentType::MessagePack, b"", "it is no MessagePack"),
    ] {
        let topic = name("a");
        let mut packed = Vec::new();
        Publish::new(
            &topic,
            Payload {
                content_type,
                bytes: data,
            },
        )
        .write(&mut packed);
        let error = Publish::decode(Payload::message_pack(&packed)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let topic = name("a");
    let many = vec![0; MAX_EVENT_DATA + 1];
    let event = Publish::new(
        &topic,
        Payload {
            content_type: ContentType::Binary,
            bytes: &many,
        },
    );
    let error = event.check().unwrap_err().to_string();
    assert_eq!(error, "field `data`: 983041 bytes: it may have 983040");
}

#[test]
fn data_is_bounded_in_depth_however_deep_it_goes() {
    let topic = name("a");
    let published = |content_type, data: &[u8]| {
        let mut packed = Vec::new();
        let bytes = data;
        let data = Payload {
            content_type,
            bytes,
        };
        Publish::new(&topic, data).write(&mut packed);
        Publish::decode(Payload::message_pack(&packed)).map(|_| ())
    };
    for depth in [1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 400_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let packed = [vec![0x91; depth - 1], vec![0x90]].concat();
        let is_taken = depth <= MAX_DEPTH;
        let of_json = published(ContentType::Json, deep.as_bytes());
        assert_eq!(of_json.is_ok(), is_taken, "{depth}");
        let as_json = format!(r#"{{"topic":"a","data":{deep}}}"#);
        assert_eq!(Publish::decode(json(&as_json)).is_ok(), is_taken, "{depth}");
        let of_packed = published(ContentType::MessagePack, &packed);
        assert_eq!(of_packed.is_ok(), is_taken, "{depth}");
        if is_taken {
            let data = Payload::message_pack(&packed);
            let (format, _) = ReadData::of(data, ContentType::Json);
            assert_eq!(format, Format::MessagePack);
        }
    }
    // Brackets in texts are none.
    let text = format!(r#"["\\\"{}"]"#, "[".repeat(1_000));
    published(ContentType::Json, text.as_bytes()).unwrap();
}

#[test]
fn subscriptions_are_read_with_all_their_terms() {
    let text = r#"{"pattern":"a.*","name":"n","method":"m","filter":"data.x > 1\n && true",
        "group":"g","strategy":"consistent-hash:ip","weight":3,"delivery":"exactly-once",
        "overflow":"drop-oldest","in_flight":7,"replay":"last 5","form":"data",
        "to":"visitor/{data.ip}"}"#;
    let read = Subscribe::decode(json(text)).unwrap();
    assert_eq!(
        read.strategy,
        Some(Strategy::ConsistentHash(Some("ip".into())))
    );
    assert_eq!(read.replay, Some(Replay::Last(5)));
    let (content_type, bytes) = encode(ContentType::None, &read);
    let packed = Payload {
        content_type,
        bytes: &bytes,
    };
    assert_eq!(Subscribe::decode(packed), Ok(read));

    let least = Subscribe::decode(json(r#"{"pattern":"a"}"#)).unwrap();
    assert_eq!(least, Subscribe::to_pattern("a"));
    assert_eq!(least.name(), "a");
    let to = Subscribe::decode(json(r#"{"pattern":"a","to":"b/c"}"#)).unwrap();
    assert_eq!(to.name(), "a b/c");
}

#[test]
fn terms_that_cannot_be_are_told_which_and_what_is_accepted() {
    for (fields, part) in [
        (
            r#""overflow":"spill""#,
            "`spill` is no overflow policy: write block, drop-oldest",
        ),
        (
            r#""delivery":"once""#,
            "`once` is no delivery: write at-most-once",
        ),
        (
            r#""replay":"last -1""#,
            "`last -1` is no replay: write new, all, `last N`",
        ),
        (r#""replay":"from x""#, "`from x` is no replay"),
        (r#""replay":"from 3""#, "`a.>` has wildcards: use `all`"),
        (r#""form":"raw""#, "`raw` is no form: write event or data"),
        (
            r#""strategy":"best""#,
            "`best` is no strategy: write round-robin",
        ),
        (r#""strategy":"consistent-hash:""#, "is no strategy"),
        (
            r#""strategy":"round-robin""#,
            "field `group`: a strategy and a weight",
        ),
        (
            r#""in_flight":0"#,
            "field `in_flight`: 0: it must be 1 to 65536",
        ),
        (
            r#""group":"g","weight":1001"#,
            "field `weight`: 1001: it must be 1 to 1000",
        ),
        (
            r#""delivery":"at-most-once","in_flight":1"#,
            "at-most-once has no verdicts",
        ),
        (r#""name":"""#, "field `name`"),
        (
            r#""to":"nobody""#,
            "field `to`: `nobody` is no agent id: write kind/key",
        ),
        (r#""until":1"#, "unknown field `until`"),
    ] {
        let text = format!(r#"{{"pattern":"a.>",{fields}}}"#);
        let error = Subscribe::decode(json(&text)).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let error = Subscribe::decode(json(r#"{"pattern":"a.>.b"}"#)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("field `pattern`: `a.>.b` is no pattern"),
        "{text}"
    );
}

#[test]
fn what_operators_say_is_bounded() {
    let read = |text: &str| Configure::decode(json(text)).map(|(read, _)| read);
    let kept = read(r#"{"pattern":"a.>","log":{"age_ms":5,"count":6,"bytes":7}}"#).unwrap();
    let bounds = LogBounds {
        age_ms: Some(5),
        count: Some(6),
        bytes: Some(7),
    };
    assert_eq!((kept.log, kept.retain), (Some(bounds), false));
    let error = read(r#"{"pattern":"a","log":{"count":0}}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field `log.count`: 0: it must be 1 to 1000000"
    );
    let error = Read::decode(json(r#"{"pattern":"a","wait_ms":60001}"#)).unwrap_err();
    assert!(error.to_string().contains("0 to 60000"), "{error}");
    assert_eq!(List::decode(Payload::NONE), Ok(List::default()));
    let error = Declare::decode(json(
        r#"{"kind":"k","version":1,"subscriptions":[{"pattern":"a"}]}"#,
    ));
    assert!(error.unwrap_err().to_string().contains("field `to`"));
    Unsubscribe::decode(json(r#"{"name":"a"}"#)).unwrap();
}

#[test]
fn data_is_in_the_event_as_it_was_published() {
    let mut attributes = EventAttributes::new();
    attributes.insert("n".into(), Attribute::Int(3));
    let head = EventHead {
        topic: "a.b",
        publisher: "counter/x",
        epoch: 9,
        number: 3,
        offset: Some(2),
        time: 1_000,
        event_type: Some("t"),
        key: Some("k"),
        attributes: Some(&attributes),
        mark: Some(Mark {
            gap: Some(Gap { from: 1, to: 2 }),
            ..Mark::default()
        }),
    };
    let (content_type, bytes) = head.with_data(json(r#"{ "x": 1.50 }"#));
    assert_eq!(content_type, ContentType::Json);
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        concat!(
            r#"{"topic":"a.b","publisher":"counter/x","epoch":9,"number":3,"offset":2,"#,
            r#""time":1000,"type":"t","key":"k","attributes":{"n":3},"#,
            r#""mark":{"gap":{"from":1,"to":2}},"data":{ "x": 1.50 }}"#
        )
    );
    let read: Received<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(read.attributes, attributes);

    let (content_type, bytes) = head.with_data(Payload::message_pack(b"\x93\x01\xc0\xa1x"));
    assert_eq!(content_type, ContentType::MessagePack);
    let read: Received<(u8, (), String)> = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(read.data, Some((1, (), "x".to_owned())));
    assert_eq!(read.mark, head.mark);

    let binary = Payload {
        content_type: ContentType::Binary,
        bytes: b"\xff\x00",
    };
    let (_, bytes) = head.with_data(binary);
    let read: Received<serde_bytes::ByteBuf> = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(read.data.unwrap().as_slice(), b"\xff\x00");

    let (_, bytes) = head.with_data(Payload::NONE);
    let read: Received<u8> = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(read.data, None);
}

#[test]
fn readers_get_data_in_the_form_of_the_answer() {
    let packed = Payload::message_pack(b"\x81\xa1x\x01");
    let value = |text: &str| ReadData::Value(serde_json::from_str(text).unwrap());
    let in_json = |data| ReadData::of(data, ContentType::Json);
    assert_eq!(in_json(packed), (Format::MessagePack, value(r#"{"x":1}"#)));
    assert_eq!(in_json(json("[1]")), (Format::Json, value("[1]")));
    assert_eq!(in_json(Payload::NONE), (Format::None, value("null")));
    // Bytes within, which JSON does not have.
    let bytes = Payload::message_pack(b"\xc4\x02\xff\x00");
    let (format, data) = in_json(bytes);
    assert_eq!((format, data), (Format::Binary, value("\"c402ff00\"")));
    let (format, data) = ReadData::of(packed, ContentType::MessagePack);
    assert_eq!(format, Format::MessagePack);
    let (_, written) = encode(ContentType::MessagePack, &data);
    assert_eq!(rmp_serde::from_slice::<ReadData>(&written).unwrap(), data);
}
