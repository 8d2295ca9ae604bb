//! Frames no node would send: nothing panics, and no answer is half written.
#![allow(
    missing_docs,
    clippy::indexing_slicing,
    reason = "the agents here are examples, and a test fails by panicking"
)]

mod common;

use common::{Guest, borrowed, json, packed, read};
use phoenix_sdk::prelude::*;
use phoenix_sdk::{ContentType, Payload};
use phoenix_wit::{FrameWriter, Input, Reply, Turn};
use proptest::prelude::*;

/// One handler of each kind.
#[derive(Default)]
pub struct Everything {
    total: u64,
    names: Vec<String>,
}

#[agent]
impl Everything {
    fn add(&mut self, by: u64) -> u64 {
        self.total = self.total.wrapping_add(by);
        self.total
    }

    #[interleave]
    fn names(&self) -> &[String] {
        &self.names
    }

    fn note(&mut self, name: &str, ctx: &mut Context, times: Option<u8>) -> usize {
        for _ in 0..times.unwrap_or(1) {
            ctx.send("a/b", Request::new("noted", name));
        }
        self.names.push(name.to_owned());
        self.names.len()
    }

    async fn fetch(&mut self, ctx: &mut Context, of: String) -> Result<u64, AskError> {
        let got: u64 = ctx.ask(of, Request::new("total", ()).returns()).await?;
        self.total = self.total.wrapping_add(got);
        Ok(self.total)
    }

    #[interleave]
    async fn shared(this: State<Self>, ctx: &mut Context) -> Result<u64, AskError> {
        let got: u64 = ctx.ask("x/y", Request::new("total", ()).returns()).await?;
        Ok(this.with_mut(|it| {
            it.total = it.total.wrapping_add(got);
            it.total
        }))
    }
}

const METHODS: [&str; 7] = ["add", "names", "note", "fetch", "shared", "", "unknown"];

fn payloads() -> impl Strategy<Value = Payload> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..24);
    prop_oneof![
        Just(Payload::none()),
        any::<u64>().prop_map(packed),
        ".{0,12}".prop_map(packed),
        (".{0,6}", any::<Option<u8>>()).prop_map(packed),
        Just(json("5")),
        Just(json("\"name\"")),
        Just(json(r#"{"name": "x", "times": 3}"#)),
        (0..4_u8, bytes).prop_map(|(kind, bytes)| {
            let kind = [
                ContentType::None,
                ContentType::MessagePack,
                ContentType::Json,
                ContentType::Binary,
            ][usize::from(kind)];
            Payload::new(kind, bytes)
        }),
    ]
}

/// An input by what kind it is, which method and ask it names, what it carries.
type Script = Vec<(u8, usize, u64, Payload)>;

fn scripts() -> impl Strategy<Value = Script> {
    let step = (0..10_u8, 0..METHODS.len(), 0..12_u64, payloads());
    proptest::collection::vec(step, 0..40)
}

fn input(kind: u8, method: usize, ask: u64, payload: &Payload) -> Input<'_> {
    let (method, payload) = (METHODS[method], borrowed(payload));
    match kind {
        0 => Input::Init { config: payload },
        1 => Input::Describe,
        2 => Input::Timer {
            id: ask,
            method,
            payload,
        },
        3 => Input::Reply {
            ask,
            reply: Reply::Ok(payload),
        },
        4 => Input::Reply {
            ask,
            reply: Reply::Timeout,
        },
        9 => Input::Bounced {
            to: "site/main",
            method,
            payload,
            reason: "overflow",
            unsure: false,
        },
        _ => Input::Message {
            source: "client/test",
            method,
            payload,
            request: kind.is_multiple_of(2),
            deadline: 0,
        },
    }
}

fn frame(script: &Script) -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), "every/thing", 3);
    for (number, (kind, method, ask, payload)) in (0..).zip(script) {
        writer.push(&Turn {
            number,
            now: number,
            input: input(*kind, *method, *ask, payload),
        });
    }
    writer.finish()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut guest = Guest::<Everything>::new();
        guest.runtime.turns(&bytes);
        guest.runtime.turns(&bytes);
    }

    #[test]
    fn damaged_frames_never_panic(
        script in scripts(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = frame(&script);
        let at = at.index(bytes.len());
        bytes[at] = with;
        let mut guest = Guest::<Everything>::new();
        guest.runtime.turns(&bytes);
        guest.runtime.turns(&bytes[..cut.index(bytes.len())]);
    }

    /// Every request gets exactly one answer, now or later, and the pending count is
    /// that of the requests and messages that have begun and not ended.
    #[test]
    fn the_books_balance(script in scripts()) {
        let mut guest = Guest::<Everything>::new();
        let bytes = frame(&script);
        let answers = read(&guest.runtime.turns(&bytes), u32::try_from(script.len()).unwrap());
        let mut open = std::collections::BTreeSet::new();
        for (number, (answer, step)) in (0_u64..).zip(answers.iter().zip(&script)) {
            for (request, _) in &answer.replies {
                prop_assert!(open.remove(request), "{request} was not open");
            }
            let waits = step.0 > 4 && step.0.is_multiple_of(2);
            if answer.ended == common::Ended::Pending && waits {
                open.insert(number);
            }
            if answer.ended == common::Ended::Deferred {
                prop_assert!(answer.effects.is_empty());
            }
            prop_assert!(open.len() <= usize::from(answer.pending));
        }
    }

    /// The same frames give the same answers, however often.
    #[test]
    fn answers_repeat(script in scripts()) {
        let bytes = frame(&script);
        let mut first = Guest::<Everything>::new();
        let mut second = Guest::<Everything>::new();
        for _ in 0..2 {
            prop_assert_eq!(first.runtime.turns(&bytes), second.runtime.turns(&bytes));
        }
    }
}

#[test]
fn a_frame_of_another_version_gets_no_answer() {
    let mut guest = Guest::<Everything>::new();
    let mut bytes = frame(&vec![]);
    assert_eq!(guest.runtime.turns(&bytes).len(), 8);
    bytes[0] = 9;
    assert!(guest.runtime.turns(&bytes).is_empty());
    assert!(guest.runtime.turns(&[]).is_empty());
}

#[test]
fn a_count_that_lies_reserves_nothing() {
    let mut guest = Guest::<Everything>::new();
    let mut bytes = frame(&vec![]);
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(guest.runtime.turns(&bytes).is_empty());
}
