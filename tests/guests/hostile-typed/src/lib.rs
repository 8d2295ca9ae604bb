//! The misdeeds that need the typed world: imports called with what is not
//! there, or too often. It proves that the host bounds what it is handed
//! before it takes it.
//!
//! `add` and `total` count, as in `hostile`.

use std::cell::Cell;

wit_bindgen::generate!({
    path: "../../../wit/agent.wit",
    world: "agent",
});

use exports::phoenix::agent::handler::{Body, Guest, Outcome, Payload};
use phoenix::agent::types::{ContentType, Delivery, Failure, Level};
use phoenix::agent::{context, log, messaging, timers};

thread_local! {
    static TOTAL: Cell<i64> = const { Cell::new(0) };
}

struct HostileTyped;

impl Guest for HostileTyped {
    fn init(config: Payload) -> Result<(), String> {
        match text(&config).as_str() {
            "fail" => Err("as it was told to".into()),
            "spin" => spin(),
            "trap" => core::arch::wasm32::unreachable(),
            _ => Ok(()),
        }
    }

    fn handle(input: Body) -> Outcome {
        let Body::Message(message) = input else {
            return done();
        };
        let given = text(&message.payload);
        TOTAL.set(TOTAL.get() + 1);
        match message.method.as_str() {
            "add" => {
                TOTAL.set(TOTAL.get() - 1 + given.parse::<i64>().unwrap_or(0));
                return number(TOTAL.get());
            }
            "total" => {
                TOTAL.set(TOTAL.get() - 1);
                return number(TOTAL.get());
            }
            "log-2-gib" => log::write(Level::Error, claimed()),
            "send-2-gib" => messaging::send(claimed(), "x", &none(), Delivery::AtMostOnce),
            "log-flood" => {
                let line = "\x1b[2J".repeat(1_024);
                for _ in 0..100_000 {
                    log::write(Level::Error, &line);
                }
            }
            "million-effects" => {
                for id in 0..1_000_000 {
                    timers::cancel(id);
                }
            }
            "many-asks" => {
                for _ in 0..900 {
                    messaging::ask(&given, "spam", &none(), 3_600_000);
                }
            }
            "forge-reply" => messaging::reply(context::turn() + 1_000, Ok(&none())),
            "reply-twice" => {
                let request = message.request.unwrap_or(0);
                messaging::reply(request, Ok(&none()));
                messaging::reply(request, Ok(&none()));
            }
            "reply-and-answer" => messaging::reply(message.request.unwrap_or(0), Ok(&none())),
            "finished" => context::finished(),
            "pending-for-ever" => return Outcome::Pending,
            "deferred-for-ever" => return Outcome::Deferred,
            "bad-deadline" => {
                messaging::ask(&given, "spam", &none(), 0);
            }
            "spin" => spin(),
            other => {
                return Outcome::Failed(Failure {
                    code: "no-such-method".into(),
                    message: other.into(),
                    details: none(),
                });
            }
        }
        done()
    }
}

/// A text of 2 GiB by its length, of a few bytes in truth.
fn claimed() -> &'static str {
    let start = "short".as_ptr();
    // SAFETY: none for the claimed length; only the host is handed it, and it is to refuse.
    unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(start, 0x7fff_ffff)) }
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

fn text(payload: &Payload) -> String {
    String::from_utf8_lossy(&payload.bytes)
        .trim()
        .trim_matches('"')
        .to_owned()
}

fn none() -> Payload {
    Payload {
        content_type: ContentType::None,
        bytes: Vec::new(),
    }
}

fn done() -> Outcome {
    Outcome::Ok(none())
}

fn number(value: i64) -> Outcome {
    Outcome::Ok(Payload {
        content_type: ContentType::Json,
        bytes: value.to_string().into_bytes(),
    })
}

export!(HostileTyped);
