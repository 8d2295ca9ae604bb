//! Effects that are well formed and claim what is not theirs, or too much.

use phoenix_wit::{
    AnswerWriter, CatchUp, ContentType, Delivery, Effect, Level, Payload, Schedule, Turn,
};

/// The claims, by method name. The payload is the address of a victim.
pub const EFFECTS: &[&str] = &[
    "million-effects",
    "many-effects",
    "send-flood",
    "self-flood",
    "ask-flood",
    "timer-flood",
    "spawn-flood",
    "log-flood",
    "log-escapes",
    "large-message",
    "forge-source",
    "forge-reply",
    "forge-reply-twice",
    "forge-address",
    "forge-ask",
    "forge-deadline",
];

/// Sends a flood puts into one turn: under the default limit of 1,000 effects.
const FLOOD: u32 = 900;

/// Writes the effects of `method` into the current turn.
pub fn claim(answer: &mut AnswerWriter, turn: &Turn<'_>, method: &str, victim: &str) {
    let spam = Payload {
        content_type: ContentType::Binary,
        bytes: b"spam",
    };
    let send = |to, method| Effect::Send {
        to,
        method,
        payload: spam,
        delivery: Delivery::ExactlyOnce,
    };
    match method {
        "million-effects" => repeat(answer, 1_000_000, |id| Effect::CancelTimer { id }),
        "many-effects" => repeat(answer, 1_001, |id| Effect::CancelTimer { id }),
        "send-flood" => repeat(answer, FLOOD, |_| send(victim, "spam")),
        "self-flood" => {
            repeat(answer, FLOOD, |_| send(victim, "spam"));
            answer.effect(&Effect::SetTimer {
                id: 1,
                schedule: Schedule::Once { delay_ms: 0 },
                catch_up: CatchUp::Once,
                method: "self-flood",
                payload: Payload {
                    content_type: ContentType::Binary,
                    bytes: victim.as_bytes(),
                },
            });
        }
        "ask-flood" => repeat(answer, FLOOD, |ask| Effect::Ask {
            ask: turn.number << 32 | ask,
            to: victim,
            method: "spam",
            payload: spam,
            deadline_ms: 3_600_000,
            waiter: None,
        }),
        "timer-flood" => repeat(answer, FLOOD, |id| Effect::SetTimer {
            id: turn.number << 32 | id,
            schedule: Schedule::Every {
                delay_ms: 0,
                period_ms: 1,
            },
            catch_up: CatchUp::Once,
            method: "total",
            payload: Payload::NONE,
        }),
        "spawn-flood" => {
            for i in 0..FLOOD {
                let agent = format!("{victim}-{}-{i}", turn.number);
                answer.effect(&Effect::Spawn {
                    agent: &agent,
                    config: spam,
                });
            }
        }
        "log-flood" => {
            let line = "x".repeat(60_000);
            for _ in 0..60 {
                answer.effect(&log(&line));
            }
        }
        "log-escapes" => {
            answer.effect(&log("\x1b[2J\x1b[H\x1b]0;an agent named your window\x07"));
            answer.effect(&log("one\r\ntwo\u{8}\u{9b}31m\u{202e}three\0four"));
            answer.effect(&log("\x1b]52;c;cm0gLXJmIH4=\x07\x1bP+q\x1b\\"));
        }
        "large-message" => {
            let bytes = vec![7; (1 << 20) + 1];
            answer.effect(&Effect::Send {
                to: victim,
                method: "spam",
                payload: Payload {
                    content_type: ContentType::Binary,
                    bytes: &bytes,
                },
                delivery: Delivery::ExactlyOnce,
            });
        }
        _ => forge(answer, turn, method, victim, spam),
    }
}

/// Claims to be, or to be owed something by, somebody else. A frame has no
/// field for the sender, so the claim is put wherever a sloppy reader could
/// take it for one.
fn forge(
    answer: &mut AnswerWriter,
    turn: &Turn<'_>,
    method: &str,
    victim: &str,
    spam: Payload<'_>,
) {
    let send = |to, method, delivery| Effect::Send {
        to,
        method,
        payload: spam,
        delivery,
    };
    match method {
        "forge-source" => {
            answer.effect(&send(victim, "source=sys/node", Delivery::ExactlyOnce));
            answer.effect(&send(victim, "spam\0sys/node", Delivery::AtMostOnce));
            answer.effect(&Effect::Send {
                to: victim,
                method: "spam",
                payload: Payload {
                    content_type: ContentType::Json,
                    bytes: br#"{"source":"sys/node","epoch":[9,9],"sequence":1}"#,
                },
                delivery: Delivery::ExactlyOnce,
            });
        }
        "forge-reply" => {
            for request in [turn.number + 1_000, u64::MAX, 0] {
                answer.effect(&Effect::Reply {
                    request,
                    answer: Ok(spam),
                });
            }
        }
        "forge-reply-twice" => {
            for _ in 0..2 {
                answer.effect(&Effect::Reply {
                    request: turn.number,
                    answer: Ok(spam),
                });
            }
        }
        "forge-address" => {
            const ADDRESSES: [&str; 9] = [
                "",
                "/",
                "kind",
                "kind/",
                "/key",
                "sys/node",
                "client/somebody",
                "../../etc/passwd",
                "kind/key\n\x1b[2J",
            ];
            for to in ADDRESSES {
                answer.effect(&send(to, "spam", Delivery::ExactlyOnce));
                answer.effect(&Effect::Spawn {
                    agent: to,
                    config: spam,
                });
            }
        }
        "forge-ask" => {
            for _ in 0..2 {
                answer.effect(&Effect::Ask {
                    ask: 1,
                    to: victim,
                    method: "spam",
                    payload: spam,
                    deadline_ms: 1,
                    waiter: None,
                });
            }
        }
        "forge-deadline" => {
            for (ask, deadline_ms) in [(1, 0), (2, u32::MAX)] {
                answer.effect(&Effect::Ask {
                    ask,
                    to: victim,
                    method: "spam",
                    payload: spam,
                    deadline_ms,
                    waiter: None,
                });
            }
        }
        _ => {}
    }
}

fn log(text: &str) -> Effect<'_> {
    Effect::Log {
        level: Level::Error,
        text,
    }
}

fn repeat<'a>(answer: &mut AnswerWriter, times: u32, effect: impl Fn(u64) -> Effect<'a>) {
    for i in 0..times {
        answer.effect(&effect(u64::from(i)));
    }
}
