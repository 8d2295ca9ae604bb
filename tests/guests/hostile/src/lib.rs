//! An agent that does wrong in every way it is told to. It proves that each
//! misdeed is contained: its own turn is undone, its neighbours go on.
//!
//! It speaks the framed world, because only there can an answer lie. The
//! method names the misdeed; `init`'s configuration may name one too, and is
//! then done before the first message. Between misdeeds it is an honest
//! counter (`add`, `total`, JSON numbers), by which a test sees that nothing
//! committed was lost.
//!
//! Misdeeds of a turn: see [`misdeed`]. Effects that claim too much: see
//! [`effects`]. Answers that lie: see [`lies`]. Memory of others: see [`residue`].

mod effects;
mod lies;
mod misdeed;
mod residue;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use phoenix_wit::{AnswerWriter, ContentType, Failure, FrameReader, Input, Outcome, Payload, Turn};

wit_bindgen::generate!({
    path: "../../../wit/agent.wit",
    world: "agent-framed",
});

/// What a description says: `{"handlers": []}` in MessagePack.
const DESCRIPTION: &[u8] = b"\x81\xa8handlers\x90";

thread_local! {
    static TOTAL: Cell<i64> = const { Cell::new(0) };
    /// Messages for no method of its own, by who the node says sent them: it is a
    /// victim's as well.
    static HEARD: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

struct Hostile;

impl Guest for Hostile {
    fn turns(frame: Vec<u8>) -> Vec<u8> {
        let mut reader = FrameReader::new(&frame).expect("the host's frames can be read");
        let mut answer = AnswerWriter::new(Vec::new());
        let mut lie = None;
        while let Some(turn) = reader.next_turn().expect("the host's turns can be read") {
            match turn.input {
                Input::Describe => {
                    answer.outcome(&Outcome::Ok(Payload::message_pack(DESCRIPTION)), 0);
                }
                Input::Init { config } => {
                    misdeed::commit(&text(config));
                    answer.outcome(&Outcome::Ok(Payload::NONE), 0);
                }
                Input::Message {
                    source,
                    method,
                    payload,
                    ..
                } => {
                    if !is_known(method) {
                        hear(source);
                    }
                    message(&mut answer, &turn, method, &text(payload), &mut lie);
                }
                Input::Timer {
                    method, payload, ..
                } => message(&mut answer, &turn, method, &text(payload), &mut lie),
                Input::Reply { .. } | Input::Bounced { .. } | Input::Verdict { .. } => {
                    answer.outcome(&Outcome::Ok(Payload::NONE), 0);
                }
            }
        }
        let honest = answer.finish();
        match lie {
            Some(lie) => lies::tell(&lie, honest),
            None => honest,
        }
    }
}

fn message(
    answer: &mut AnswerWriter,
    turn: &Turn<'_>,
    method: &str,
    given: &str,
    lie: &mut Option<String>,
) {
    let json = match method {
        "add" => {
            TOTAL.set(TOTAL.get().wrapping_add(given.parse().unwrap_or(0)));
            TOTAL.get().to_string()
        }
        "total" => TOTAL.get().to_string(),
        "heard" => heard(),
        "residue-write" => residue::write(given),
        "residue-seek" => residue::seek(given),
        "known" => known(),
        _ if lies::LIES.contains(&method) => {
            // Counted all the same, so that a test sees whether the turn was undone.
            TOTAL.set(TOTAL.get() + 1);
            *lie = Some(method.to_owned());
            String::new()
        }
        _ if misdeed::MISDEEDS.contains(&method) => {
            TOTAL.set(TOTAL.get() + 1);
            misdeed::commit(method);
            "\"survived\"".to_owned()
        }
        _ if effects::EFFECTS.contains(&method) => {
            TOTAL.set(TOTAL.get() + 1);
            effects::claim(answer, turn, method, given);
            String::new()
        }
        _ => {
            answer.outcome(
                &Outcome::Failed(Failure {
                    code: "no-such-method",
                    message: method,
                    details: Payload::NONE,
                }),
                0,
            );
            return;
        }
    };
    let payload = Payload {
        content_type: if json.is_empty() {
            ContentType::None
        } else {
            ContentType::Json
        },
        bytes: json.as_bytes(),
    };
    answer.outcome(&Outcome::Ok(payload), 0);
}

/// Its own methods that do no wrong.
const HARMLESS: &[&str] = &[
    "add",
    "total",
    "heard",
    "residue-write",
    "residue-seek",
    "known",
];

fn is_known(method: &str) -> bool {
    [HARMLESS, misdeed::MISDEEDS, effects::EFFECTS, lies::LIES]
        .iter()
        .any(|methods| methods.contains(&method))
}

fn hear(source: &str) {
    HEARD.with_borrow_mut(|heard| *heard.entry(source.to_owned()).or_default() += 1);
}

/// Who sent it what it has no method for, and how often, as a JSON object.
fn heard() -> String {
    let senders: Vec<String> = HEARD.with_borrow(|heard| {
        let heard = heard.iter();
        heard
            .map(|(source, n)| format!("\"{source}\":{n}"))
            .collect()
    });
    format!("{{{}}}", senders.join(","))
}

/// Every method that does wrong, as a JSON list, so that a test can run them all.
fn known() -> String {
    let names: Vec<String> = [misdeed::MISDEEDS, effects::EFFECTS, lies::LIES]
        .concat()
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    format!("[{}]", names.join(","))
}

fn text(payload: Payload<'_>) -> String {
    String::from_utf8_lossy(payload.bytes)
        .trim()
        .trim_matches('"')
        .to_owned()
}

export!(Hostile);
