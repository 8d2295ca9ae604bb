//! Every format keeps every event, and none is fooled.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use phoenix_core::attributes::{BadEvent, Nonce, Value};
use phoenix_core::{Envelope, NodeId, PeerMessage};
use phoenix_net::formats::{
    self, CloudEvent, Codecs, Compression, EventCodec, EventLimits, Form, Format,
};
use phoenix_net::wire::{Decoder, Encoder, Output, Packing, TooLarge};

use crate::generate::Generator;

/// Cases of each property; a case is its number.
const CASES: u64 = 10_000;

const NONCE: Nonce = Nonce {
    node: NodeId(1),
    boot: 2,
    serial: 3,
};

/// Runs a property, and says which case broke it.
fn for_cases(cases: u64, property: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for case in 0..cases {
        if let Err(broken) = std::panic::catch_unwind(|| property(case)) {
            eprintln!("case {case} (the seed of its generator)");
            std::panic::resume_unwind(broken);
        }
    }
}

fn decode(format: Format, bytes: Bytes) -> Result<CloudEvent, BadEvent> {
    formats::decode(format, bytes, &EventLimits::default())
}

#[test]
fn an_envelope_is_the_same_event_in_every_format() {
    for_cases(CASES, |case| {
        let envelope = Generator(case).plain_envelope();
        let event = CloudEvent::of(&envelope, NONCE);
        for format in Format::ALL {
            let again = decode(format, formats::encode(format, &event)).unwrap();
            assert_eq!(again, event, "{format}");
        }
        assert_eq!(Envelope::from_event(&event), Ok(envelope));
    });
}

#[test]
fn an_envelope_is_the_same_event_in_headers() {
    for_cases(CASES, |case| {
        let event = CloudEvent::of(&Generator(case).plain_envelope(), NONCE);
        let headers = event.headers();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let body = event.data.clone().unwrap_or_default();
        let again = CloudEvent::from_headers(headers, body).unwrap();
        // Headers are texts, and a body is there or has no bytes.
        let texts = |event: &CloudEvent| -> Vec<(String, String)> {
            let extensions = event.extensions.iter();
            extensions
                .map(|(name, value)| (name.to_owned(), value.to_string()))
                .collect()
        };
        assert_eq!(texts(&again), texts(&event));
        let data = |event: &CloudEvent| event.data.clone().unwrap_or_default();
        assert_eq!(data(&again), data(&event));
        let rest = CloudEvent {
            extensions: event.extensions.clone(),
            data: event.data.clone(),
            ..again
        };
        assert_eq!(rest, event);
    });
}

#[test]
fn a_batch_is_its_events() {
    let codecs = Codecs::default();
    for_cases(CASES / 10, |case| {
        let mut generator = Generator(case);
        let events: Vec<CloudEvent> = (0..case % 9)
            .map(|_| CloudEvent::of(&generator.plain_envelope(), NONCE))
            .collect();
        for format in Format::ALL {
            let bytes = codecs.encode_batch(format, &events);
            assert_eq!(
                codecs.decode_batch(format, bytes),
                Ok(events.clone()),
                "{format}"
            );
        }
    });
}

/// Frames written so, without their lengths.
pub(crate) fn frames_of(message: &PeerMessage, encoder: &mut Encoder, bound: usize) -> Vec<Bytes> {
    let mut out = Output::new();
    let count = encoder.encode(message, bound, &mut out).unwrap();
    let mut bytes = out.into_bytes();
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = bytes.get_u32_le() as usize;
        assert!(length <= bound);
        frames.push(bytes.split_to(length));
    }
    assert_eq!(frames.len(), count);
    frames
}

fn every_packing() -> Vec<Packing> {
    let mut packings = Vec::new();
    for form in Form::ALL {
        for compression in Compression::ALL {
            packings.push(Packing {
                form,
                compression,
                from: 64,
            });
        }
    }
    packings
}

#[test]
fn frames_are_read_whatever_their_form_and_compression() {
    let packings = every_packing();
    for_cases(CASES / 10, |case| {
        let packing = &packings[case as usize % packings.len()];
        let mut encoder = Encoder::new(packing);
        let mut decoder = Decoder::new(1 << 20);
        let mut generator = Generator(case);
        // Two of each, as what is kept between frames must not show.
        for variant in (0..Generator::VARIANTS).chain(0..Generator::VARIANTS) {
            let message = match variant {
                0 => {
                    let list = (0..3).map(|_| Arc::new(generator.plain_envelope()));
                    PeerMessage::Deliver(list.collect())
                }
                variant => generator.message(variant),
            };
            let frames = frames_of(&message, &mut encoder, 1 << 20);
            if let [frame] = &frames[..] {
                assert_eq!(decoder.decode(frame.clone()), Ok(message), "{packing:?}");
            }
        }
    });
}

#[test]
fn lists_are_split_whatever_their_form_and_compression() {
    let envelopes: Vec<Arc<Envelope>> = (0..300)
        .map(|seed| Arc::new(Generator(seed).plain_envelope()))
        .collect();
    let message = PeerMessage::Deliver(envelopes.clone());
    for packing in every_packing() {
        let mut encoder = Encoder::new(&packing);
        let mut decoder = Decoder::new(40_000);
        let mut again = Vec::new();
        for frame in frames_of(&message, &mut encoder, 40_000) {
            let Ok(PeerMessage::Deliver(part)) = decoder.decode(frame) else {
                panic!("{packing:?}");
            };
            again.extend(part);
        }
        assert_eq!(again, envelopes, "{packing:?}");
        // A message that fits into no frame leaves nothing of those before it.
        let mut out = Output::new();
        let refused = encoder.encode(&message, 15_000, &mut out);
        assert!(
            matches!(refused, Err(TooLarge { bound: 15_000, .. })),
            "{packing:?}"
        );
        assert!(out.is_empty());
    }
}

#[test]
fn what_does_not_get_smaller_is_left_as_it_is() {
    let noise: Bytes = (0..20_000_u32)
        .map(|at| {
            at.wrapping_mul(2_654_435_761)
                .rotate_left(at % 31)
                .to_be_bytes()[0]
                ^ (at % 251) as u8
        })
        .collect();
    let part = |bytes: &Bytes| PeerMessage::ComponentPart {
        component: phoenix_core::Digest([0; 32]),
        offset: 0,
        total: 0,
        bytes: bytes.clone(),
    };
    for compression in [Compression::Lz4, Compression::Zstd] {
        let packing = Packing {
            compression,
            ..Packing::default()
        };
        let mut encoder = Encoder::new(&packing);
        let flags =
            |bytes: &Bytes, encoder: &mut Encoder| frames_of(&part(bytes), encoder, 1 << 20)[0][0];
        assert_eq!(flags(&noise, &mut encoder), 0, "nothing to save");
        assert_eq!(
            flags(&Bytes::from(vec![7; 1_000]), &mut encoder),
            0,
            "too small"
        );
        assert_ne!(flags(&Bytes::from(vec![7; 10_000]), &mut encoder), 0);
    }
}

#[test]
fn the_json_of_the_specification_is_read() {
    let event = decode(
        Format::Json,
        Bytes::from_static(
            br#"{
                "specversion" : "1.0",
                "type" : "com.example.someevent",
                "source" : "/mycontext",
                "subject": null,
                "id" : "C234-1234-1234",
                "time" : "2018-04-05T17:31:00Z",
                "comexampleextension1" : "value",
                "comexampleothervalue" : 5,
                "datacontenttype" : "application/json",
                "data" : { "appinfoA" : "abc", "appinfoB" : 123, "appinfoC" : true }
            }"#,
        ),
    )
    .unwrap();
    assert_eq!(event.subject, None);
    assert_eq!(
        event.extensions.get("comexampleothervalue"),
        Some(&Value::Integer(5))
    );
    let data = event.data.as_deref().unwrap();
    assert_eq!(
        data,
        br#"{ "appinfoA" : "abc", "appinfoB" : 123, "appinfoC" : true }"#
    );
    let data = |text: &'static str| {
        let head = r#"{"specversion":"1.0","type":"t","source":"/s","id":"1","#;
        let event = decode(Format::Json, format!("{head}{text}}}").into()).unwrap();
        let content_type = event.data_content_type.map(|it| it.to_string());
        (content_type, event.data.map(|it| it.to_vec()))
    };
    let some =
        |content_type: &str, data: &[u8]| (Some(content_type.to_owned()), Some(data.to_vec()));
    // Data without a media type is JSON; a text then keeps its quotes.
    assert_eq!(
        data(r#""data":"I'm just a string""#),
        some("application/json", b"\"I'm just a string\"")
    );
    assert_eq!(data(r#""data":null"#), some("application/json", b"null"));
    assert_eq!(
        data(r#""data":"<much wow=\"xml\"/>","datacontenttype":"application/xml""#),
        some("application/xml", b"<much wow=\"xml\"/>")
    );
    assert_eq!(
        data(r#""data_base64":"\u002f\/8=","datacontenttype":"application/x""#),
        some("application/x", b"\xff\xff")
    );
    assert_eq!(data(r#""comexample":true"#), (None, None));
}

/// The smallest event, in the schema's own bytes.
const PROTOBUF: &[u8] = b"\x0a\x011\x12\x02/s\x1a\x031.0\x22\x01t";

#[test]
fn the_protobuf_of_the_schema_is_read_and_written() {
    let mut bytes = PROTOBUF.to_vec();
    for (name, value) in [
        // Field 5: the name, and in field 2 the value under the number of its type.
        (&b"flag"[..], &b"\x08\x01"[..]),
        (b"count", b"\x10\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        (b"note", b"\x1a\x01x"),
        (b"raw", b"\x22\x02\xff\xfe"),
        (b"dataschema", b"\x2a\x05urn:x"),
        (b"where", b"\x32\x02/x"),
        (b"time", b"\x3a\x08\x08\xd4\xba\x99\xd6\x05\x10\x00"),
        (b"nothing", b""),
    ] {
        let entry = [
            &[0x0a, name.len() as u8][..],
            name,
            &[0x12, value.len() as u8],
            value,
        ]
        .concat();
        bytes.extend([0x2a, entry.len() as u8]);
        bytes.extend(entry);
    }
    bytes.extend(b"\x32\x02\x00\x01");
    let event = decode(Format::Protobuf, bytes.into()).unwrap();
    assert_eq!(event.time.unwrap().to_string(), "2018-04-05T17:31:00Z");
    assert_eq!(event.data_schema.as_deref(), Some("urn:x"));
    assert_eq!(event.data.as_deref(), Some(&b"\x00\x01"[..]));
    let value = |name: &str| event.extensions.get(name).map(ToString::to_string);
    for (name, expected) in [
        ("flag", Some("true")),
        ("count", Some("-5")),
        ("note", Some("x")),
        ("raw", Some("//4=")),
        ("where", Some("/x")),
        ("nothing", None),
    ] {
        assert_eq!(value(name).as_deref(), expected, "{name}");
    }
    let small = decode(Format::Protobuf, Bytes::from_static(PROTOBUF)).unwrap();
    assert_eq!(formats::encode(Format::Protobuf, &small), PROTOBUF);
    let batch = formats::encode_batch(Format::Protobuf, std::slice::from_ref(&small));
    assert_eq!(
        batch,
        [&[0x0a, PROTOBUF.len() as u8][..], PROTOBUF].concat()
    );
    // A message within the message: its bytes, and where its schema is.
    let any = b"\x42\x14\x0a\x0eexample.com/ab\x12\x02\x08\x01";
    let event = decode(Format::Protobuf, [PROTOBUF, any].concat().into()).unwrap();
    assert_eq!(event.data.as_deref(), Some(&b"\x08\x01"[..]));
    assert_eq!(
        event.data_content_type.as_deref(),
        Some("application/protobuf")
    );
    assert_eq!(event.data_schema.as_deref(), Some("https://example.com/ab"));
}

#[test]
fn the_message_pack_of_other_writers_is_read() {
    // As a tool may write it: long heads for short things, and numbers of all widths.
    let mut bytes = vec![0xdf, 0, 0, 0, 10];
    let mut put = |name: &str, value: &[u8]| {
        bytes.extend([0xd9, name.len() as u8]);
        bytes.extend(name.as_bytes());
        bytes.extend(value);
    };
    put("specversion", b"\xa31.0");
    put("id", b"\xdb\0\0\0\x011");
    put("source", b"\xda\0\x02/s");
    put("type", b"\xd9\x01t");
    put("subject", b"\xc0");
    put("small", b"\xd0\x80");
    put("large", b"\xcf\0\0\0\0\x7f\xff\xff\xff");
    put("negative", b"\xff");
    put("flag", b"\xc3");
    put("data", b"\xa2ok");
    let event = decode(Format::MessagePack, bytes.into()).unwrap();
    let value = |name: &str| event.extensions.get(name).map(ToString::to_string);
    assert_eq!(value("small").as_deref(), Some("-128"));
    assert_eq!(value("large").as_deref(), Some("2147483647"));
    assert_eq!(value("negative").as_deref(), Some("-1"));
    assert_eq!(value("flag").as_deref(), Some("true"));
    assert_eq!(
        (event.subject, event.data.as_deref()),
        (None, Some(&b"ok"[..]))
    );
}

#[test]
fn a_malformed_attribute_is_named_in_every_format() {
    let head = r#"{"specversion":"1.0","type":"t","source":"/s","id":"1","#;
    for (rest, name) in [
        (r#""id":"2""#, "id"),
        (r#""time":"noon""#, "time"),
        (r#""note":[]"#, "note"),
        (r#""note":{}"#, "note"),
        (r#""note":1.5"#, "note"),
        (r#""note":2147483648"#, "note"),
        (r#""note":-2147483649"#, "note"),
        (r#""note":"\u0000""#, "note"),
        (r#""Note":1"#, "Note"),
        (r#""data":1,"data":2"#, "data"),
        (r#""data":1,"data_base64":"""#, "data_base64"),
        (r#""data_base64":"%""#, "data_base64"),
        (r#""data":1,"datacontenttype":"text/plain""#, "data"),
        (r#""dataschema":"/x""#, "dataschema"),
    ] {
        let json = Bytes::from(format!("{head}{rest}}}"));
        let Err(BadEvent::Attribute(bad)) = decode(Format::Json, json.clone()) else {
            panic!("{rest}");
        };
        assert_eq!(&*bad.name, name, "{bad}");
        let batch = Bytes::from([b"[", &json[..], b"]"].concat());
        let refused = formats::decode_batch(Format::Json, batch, &EventLimits::default());
        assert_eq!(refused, Err(BadEvent::Attribute(bad).of_batch(0)));
    }
    let missing = decode(Format::Json, Bytes::from_static(b"{}")).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "attribute `specversion` is missing: it must be the text 1.0"
    );
    for (value, name) in [
        (&b"\xa4note\xcb\0\0\0\0\0\0\0\0"[..], "note"),
        (b"\xa4note\x90", "note"),
        (b"\xa4note\x80", "note"),
        (b"\xa4note\xc4\x01x", "note"),
        (b"\xa4note\xd4\x01x", "note"),
        (b"\xa4note\xce\xff\xff\xff\xff", "note"),
        (b"\xa4note\xa1\n", "note"),
        (b"\xa4time\xa4noon", "time"),
        (b"\xa4data\x01", "data"),
        (b"\xa2id\x01", "id"),
    ] {
        let bytes = [&[0x81], value].concat();
        let Err(BadEvent::Attribute(bad)) = decode(Format::MessagePack, bytes.into()) else {
            panic!("{value:?}");
        };
        assert_eq!(&*bad.name, name, "{bad}");
    }
    for (entry, name) in [
        (&b"\x2a\x0c\x0a\x04time\x12\x04\x1a\x02no"[..], "time"),
        (
            b"\x2a\x15\x0a\x04time\x12\x0d\x3a\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "time",
        ),
        (b"\x2a\x0b\x0a\x04Note\x12\x03\x1a\x01x", "Note"),
        (b"\x2a\x09\x0a\x02id\x12\x03\x1a\x01x", "id"),
    ] {
        let bytes = Bytes::from([PROTOBUF, entry].concat());
        let refused = decode(Format::Protobuf, bytes);
        let Err(BadEvent::Attribute(bad)) = refused else {
            panic!("{entry:?}: {refused:?}");
        };
        assert_eq!(&*bad.name, name, "{bad}");
    }
}

#[test]
fn what_is_of_no_format_is_an_error_that_says_where() {
    let json = |text: &'static str| decode(Format::Json, text.into()).unwrap_err().to_string();
    assert!(
        json("").starts_with("it is no event in json: EOF"),
        "{}",
        json("")
    );
    assert!(
        json("{\n  oops}").ends_with("at byte 4"),
        "{}",
        json("{\n  oops}")
    );
    json("[]");
    json("1");
    json("{\"id\":\"1\"}x");
    let whole = formats::encode(
        Format::MessagePack,
        &decode(Format::Protobuf, Bytes::from_static(PROTOBUF)).unwrap(),
    );
    for at in 0..whole.len() {
        decode(Format::MessagePack, whole.slice(..at)).unwrap_err();
    }
    let longer = Bytes::from([&whole[..], &[0]].concat());
    let refused = decode(Format::MessagePack, longer).unwrap_err().to_string();
    assert!(
        refused.ends_with(&format!("at byte {}", whole.len())),
        "{refused}"
    );
    for bad in [
        &b"\x0b"[..],
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x01\xff",
        b"\xff",
    ] {
        let refused = decode(Format::Protobuf, Bytes::from([PROTOBUF, bad].concat()));
        assert!(
            matches!(refused, Err(BadEvent::Syntax { .. })),
            "{bad:?}: {refused:?}"
        );
    }
}

#[test]
fn bounds_are_held() {
    let event = decode(Format::Protobuf, Bytes::from_static(PROTOBUF)).unwrap();
    let limits = EventLimits {
        bytes: 1_000,
        events: 3,
        nesting: 4,
    };
    for format in Format::ALL {
        let three = formats::encode_batch(format, &vec![event.clone(); 3]);
        assert!(formats::decode_batch(format, three, &limits).is_ok());
        let four = formats::encode_batch(format, &vec![event.clone(); 4]);
        let refused = formats::decode_batch(format, four, &limits);
        let expected = BadEvent::TooMuch {
            what: "events in a batch",
            found: 4,
            bound: 3,
        };
        assert_eq!(refused, Err(expected), "{format}");
        let long = Bytes::from(vec![b' '; 1_001]);
        let refused = formats::decode(format, long, &limits);
        assert!(matches!(
            refused,
            Err(BadEvent::TooMuch { what: "bytes", .. })
        ));
    }
    let data = |data: &str| {
        let json =
            format!(r#"{{"specversion":"1.0","type":"t","source":"/s","id":"1","data":{data}}}"#);
        formats::decode(Format::Json, json.into(), &limits)
    };
    assert!(data("[[[]]]").is_ok());
    assert!(data(r#""[[[[[[[[\"[[[[""#).is_ok(), "a text nests nothing");
    let expected = BadEvent::TooMuch {
        what: "levels of nesting",
        found: 5,
        bound: 4,
    };
    assert_eq!(data("[[[[]]]]"), Err(expected));
}
