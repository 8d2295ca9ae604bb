//! Handlers that do not wait: what they take, what they answer, what is refused.
#![allow(missing_docs, reason = "the agents here are examples")]

mod common;

use std::collections::HashMap;

use common::{Ended, Guest, json, packed, request, send};
use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;
use phoenix_sdk::{Binary, ContentType, Payload};
use phoenix_wit::Input;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    name: String,
    #[serde(default)]
    count: u32,
}

#[derive(Default)]
pub struct Shop {
    items: Vec<Item>,
    log: Vec<String>,
}

type Aliased<T> = std::result::Result<T, Failure>;

#[agent]
impl Shop {
    pub fn count(&self) -> usize {
        self.items.len()
    }

    fn put(&mut self, item: Item) {
        self.items.push(item);
    }

    fn greet(&self, name: &str) -> String {
        format!("hello {name}")
    }

    fn join(&mut self, first: &str, ctx: &mut Context, second: String, times: u32) -> String {
        self.log.push(ctx.source().to_owned());
        format!("{first}{second}").repeat(times as usize)
    }

    fn sum(&self, values: &[u64]) -> u64 {
        values.iter().sum()
    }

    fn first(&self) -> Option<&Item> {
        self.items.first()
    }

    fn name(&self, at: usize) -> Result<&str, Failure> {
        match self.items.get(at) {
            Some(item) => Ok(&item.name),
            None => Err(Failure::new("not-found", format!("no item {at}")).with_details(&at)),
        }
    }

    fn aliased(&self, fail: bool) -> Aliased<u8> {
        if fail { Err("as told".into()) } else { Ok(1) }
    }

    fn r#type(&self, r#in: u8) -> u8 {
        r#in
    }

    fn size(&self, bytes: Binary) -> usize {
        bytes.0.len()
    }

    fn by_text(&self) -> HashMap<(u8, u8), u8> {
        HashMap::from([((1, 2), 3)])
    }

    fn maybe(&self, item: Option<Item>) -> bool {
        item.is_some()
    }

    #[skip]
    pub fn hidden(&self) -> u8 {
        Self::helper()
    }

    fn helper() -> u8 {
        1
    }
}

fn shop() -> TestContext<Shop> {
    TestContext::new("shop/main")
}

fn item(name: &str, count: u32) -> Item {
    Item {
        name: name.to_owned(),
        count,
    }
}

#[test]
fn takes_no_one_and_several_arguments() {
    let mut test = shop();
    assert_eq!(test.call(ShopRequests::count()), Ok(0));
    assert_eq!(test.call(ShopRequests::put(item("pen", 3))), Ok(()));
    assert_eq!(test.call(ShopRequests::count()), Ok(1));
    assert_eq!(
        test.call(ShopRequests::join("ab", "c".to_owned(), 2)),
        Ok("abcabc".to_owned())
    );
    assert_eq!(test.with(|shop| shop.log.clone()), ["client/test"]);
    assert_eq!(test.call(ShopRequests::sum(&vec![1, 2, 3])), Ok(6));
    assert_eq!(test.call(ShopRequests::r#type(9)), Ok(9));
}

#[test]
fn lends_answers_out_of_the_agent() {
    let mut test = shop();
    test.with_mut(|shop| shop.items.push(item("pen", 3)));
    assert_eq!(test.call(ShopRequests::name(0)), Ok("pen".to_owned()));
    let first: Option<Item> = test.call(Request::new("first", ()).returns()).unwrap();
    assert_eq!(first, Some(item("pen", 3)));
    let failure = test.call(ShopRequests::name(4)).unwrap_err();
    assert_eq!(
        (failure.code(), failure.message()),
        ("not-found", "no item 4")
    );
    assert_eq!(failure.details_as::<usize>(), Ok(4));
}

#[test]
fn a_result_under_another_name_is_a_result() {
    let mut test = shop();
    let aliased = |fail: bool| Request::new("aliased", fail).returns::<u8>();
    assert_eq!(test.call(aliased(false)), Ok(1));
    assert_eq!(test.call(aliased(true)), Err("as told".into()));
}

#[test]
fn the_names_of_raw_identifiers_are_plain() {
    let mut test = shop();
    assert_eq!(test.call_json("type", r#"{"in": 4}"#), Ok("4".to_owned()));
}

#[test]
fn json_is_answered_in_json_and_accepts_names() {
    let mut test = shop();
    test.call_json("put", r#"{"name": "pen"}"#).unwrap();
    assert_eq!(
        test.call_json("first", ""),
        Ok(r#"{"name":"pen","count":0}"#.to_owned())
    );
    for arguments in [
        r#"["a", "b", 2]"#,
        r#"{"first": "a", "second": "b", "times": 2}"#,
        r#"{"times": 2, "second": "b", "first": "a"}"#,
        r#"{"times": 2, "second": "b", "first": "\u0061"}"#,
    ] {
        assert_eq!(
            test.call_json("join", arguments),
            Ok(r#""abab""#.to_owned())
        );
    }
    assert_eq!(
        test.call_json("greet", r#""\u00e9""#),
        Ok("\"hello \u{e9}\"".to_owned())
    );
    assert_eq!(
        test.call_json("greet", r#"{"name": "bob"}"#),
        Ok(r#""hello bob""#.to_owned())
    );
    assert_eq!(
        test.call_json("put", r#"{"item": {"name": "a"}}"#),
        Ok("null".to_owned())
    );
    // A failure's details follow the caller's format too.
    let failure = test.call_json("name", "7").unwrap_err();
    assert_eq!(failure.details(), &json("7"));
}

#[test]
fn message_pack_accepts_names() {
    let mut test = shop();
    let named = HashMap::from([("name", "bob")]);
    let answer = test.call_raw("greet", &packed(named)).unwrap();
    assert_eq!(answer, packed("hello bob"));
}

#[test]
fn no_payload_reads_as_nil() {
    let mut test = shop();
    assert_eq!(test.call_raw("maybe", &Payload::none()), Ok(packed(false)));
    let failure = test.call_raw("put", &Payload::none()).unwrap_err();
    assert_eq!(failure.code(), "bad-payload");
    assert!(
        failure
            .message()
            .starts_with("`put(item: Item)` cannot read its empty payload")
    );
}

#[test]
fn handlers_without_arguments_take_every_kind_of_nothing() {
    let mut test = shop();
    let nil = Payload::new(ContentType::MessagePack, vec![0xc0]);
    for nothing in [Payload::none(), nil, packed([0_u8; 0])] {
        assert_eq!(test.call_raw("count", &nothing), Ok(packed(0_u8)));
    }
    for nothing in ["null", " [ ] ", "{}", ""] {
        assert_eq!(test.call_json("count", nothing), Ok("0".to_owned()));
    }
    let failure = test.call_json("count", "[1]").unwrap_err();
    assert_eq!(failure.code(), "bad-payload");
    assert!(
        failure.message().contains("takes no arguments"),
        "{failure}"
    );
}

#[test]
fn binary_payloads_are_one_argument() {
    let mut test = shop();
    let bytes = Payload::binary(vec![0xff; 300]);
    assert_eq!(test.call_raw("size", &bytes), Ok(packed(300_u32)));
    assert_eq!(test.call(ShopRequests::size(Binary(vec![1, 2]))), Ok(2));
    assert_eq!(test.call_json("size", "[1, 2, 3]"), Ok("3".to_owned()));
    let name = Payload::binary(b"bob".to_vec());
    assert_eq!(test.call_raw("greet", &name), Ok(packed("hello bob")));
    let failure = test
        .call_raw("greet", &Payload::binary(vec![0xff]))
        .unwrap_err();
    assert_eq!(failure.code(), "bad-payload");
}

#[test]
fn unknown_methods_are_told_what_there_is() {
    let mut test = shop();
    for method in ["lenn", "", "hidden", "helper"] {
        let failure = test.call_raw(method, &Payload::none()).unwrap_err();
        assert_eq!(failure.code(), "unknown-method");
        assert!(failure.message().contains("put(item: Item)"), "{failure}");
        assert!(!failure.message().contains("helper("), "{failure}");
    }
}

#[test]
fn bad_payloads_say_what_was_wrong() {
    let mut test = shop();
    let refused = |test: &mut TestContext<Shop>, method: &str, payload: &Payload, says: &str| {
        let failure = test.call_raw(method, payload).unwrap_err();
        assert_eq!(failure.code(), "bad-payload");
        assert!(failure.message().contains(says), "{failure}");
    };
    refused(&mut test, "name", &json("\"one\""), "expected usize");
    refused(&mut test, "name", &json("{"), "JSON payload");
    refused(&mut test, "join", &json(r#"["a", "b"]"#), "length");
    refused(&mut test, "join", &json(r#"["a", "b", 1, 2]"#), "trailing");
    refused(
        &mut test,
        "join",
        &json(r#"{"first": "a", "times": 1}"#),
        "`second`",
    );
    refused(
        &mut test,
        "join",
        &packed(("a", "b")),
        "MessagePack payload",
    );
    refused(&mut test, "name", &packed(-1), "integer");
    refused(
        &mut test,
        "name",
        &Payload::new(ContentType::MessagePack, vec![]),
        "MessagePack",
    );
    assert_eq!(test.with(|shop| shop.log.len()), 0);
}

#[test]
fn answers_that_json_cannot_hold_are_failures() {
    let mut test = shop();
    let failure = test.call_json("by_text", "").unwrap_err();
    assert_eq!(failure.code(), "bad-answer");
    let answer: HashMap<(u8, u8), u8> = test.call(ShopRequests::by_text()).unwrap();
    assert_eq!(answer[&(1, 2)], 3);
}

#[test]
fn a_batch_is_answered_in_order() {
    let mut guest = Guest::<Shop>::new();
    let (pen, none) = (packed(item("pen", 1)), Payload::none());
    let answers = guest.batch(&[
        request("count", &none),
        send("put", &pen),
        request("count", &none),
        send("nothing", &none),
        request("put", &pen),
        request("count", &none),
    ]);
    let ended: Vec<&Ended> = answers.iter().map(|answer| &answer.ended).collect();
    assert_eq!(ended[0], &Ended::Ok(packed(0_u8)));
    assert_eq!(ended[1], &Ended::Ok(Payload::none()));
    assert_eq!(ended[2], &Ended::Ok(packed(1_u8)));
    assert!(matches!(ended[3], Ended::Failed(failure) if failure.code() == "unknown-method"));
    assert_eq!(ended[4], &Ended::Ok(Payload::none()));
    assert_eq!(ended[5], &Ended::Ok(packed(2_u8)));
    assert!(answers.iter().all(|answer| answer.pending == 0));
}

#[test]
fn nobody_waiting_is_told_no_answer() {
    let mut guest = Guest::<Shop>::new();
    let answer = guest.one(send("count", &Payload::none()));
    assert_eq!(answer.ended, Ended::Ok(Payload::none()));
}

#[test]
fn describes_itself() {
    #[derive(Debug, Deserialize)]
    struct Description {
        handlers: Vec<Described>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Described {
        name: String,
        interleave: bool,
    }
    let mut guest = Guest::<Shop>::new();
    let Ended::Ok(payload) = guest.one(Input::Describe).ended else {
        panic!("a description is an answer");
    };
    let description: Description = payload.decode().unwrap();
    let names: Vec<&str> = description.handlers.iter().map(|it| &*it.name).collect();
    assert!(names.starts_with(&["count", "put", "greet"]), "{names:?}");
    assert!(names.contains(&"type"));
    assert!(!names.contains(&"hidden"));
    assert!(description.handlers.iter().all(|it| !it.interleave));
}
