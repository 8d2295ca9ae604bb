//! The agents, and what they are told.

use phoenix_core::{ContentType, Payload};
use phoenix_support::{agent, guest};

use crate::Random;
use crate::peers::{Told, json};

/// An agent to be told things.
pub(crate) struct Subject {
    pub(crate) kind: &'static str,
    pub(crate) component: fn() -> &'static [u8],
    senders: &'static [&'static str],
    /// Makes a method and its payload; given as well how much it was told so far.
    write: fn(&mut Random, &mut Sequence) -> (&'static str, Payload),
    pub(crate) sends: bool,
    pub(crate) traps: bool,
}

/// A sequence of messages, as far as it has come.
pub(crate) struct Sequence {
    /// Messages so far.
    written: u64,
    /// Whether handlers may wait. Turns of a batch that were deferred are counted, so that
    /// what draws by the turn's number draws something else in another batch; and timers
    /// that come due meanwhile come in another order.
    waits: bool,
    /// Whether others may be told while one waits, in whatever order that comes to.
    mixes: bool,
}

impl Sequence {
    /// Anything.
    pub(crate) fn any() -> Self {
        Self {
            written: 0,
            waits: true,
            mixes: true,
        }
    }

    /// One that leads to the same in all batches.
    pub(crate) fn in_any_batches(random: &mut Random) -> Self {
        Self {
            written: 0,
            waits: random.chance(50),
            mixes: false,
        }
    }
}

impl Subject {
    pub(crate) fn tell(&self, random: &mut Random, sequence: &mut Sequence) -> Told {
        sequence.written += 1;
        let (method, payload) = (self.write)(random, sequence);
        Told {
            from: random.one_of(self.senders),
            method,
            payload,
            is_request: random.chance(60),
        }
    }
}

const CLIENTS: &[&str] = &["client/a", "client/b", "other/c", "other/d"];
const VISITORS: &[&str] = &["visitor/a", "visitor/b", "visitor/c", "client/d"];

fn pack(value: u64) -> Payload {
    Payload {
        content_type: ContentType::MessagePack,
        bytes: rmp_serde::to_vec(&value).unwrap().as_slice().into(),
    }
}

fn none() -> Payload {
    Payload::default()
}

fn status(random: &mut Random) -> u64 {
    [200, 200, 304, 404, 500, 503][random.below(6) as usize]
}

/// A number that mostly follows on the last, and a time near the last.
fn count(random: &mut Random, sequence: &Sequence) -> (u64, u64) {
    let n = (sequence.written + random.below(3)).saturating_sub(random.below(3));
    let at = 1_000_000 + sequence.written * 20 + random.below(100) - random.below(60);
    (n, at)
}

fn text(random: &mut Random) -> String {
    let words = ["a", "bee", "sea", "dee", "elephant", "f", "gee", "hay", "i"];
    let count = random.below(6);
    let text: Vec<&str> = (0..count).map(|_| random.one_of(&words)).collect();
    text.join(" ")
}

pub(crate) fn counter() -> Subject {
    Subject {
        kind: "counter",
        component: || agent("counter"),
        senders: CLIENTS,
        write: |random, _| match random.below(10) {
            0..4 => ("add", json(&random.below(100).to_string())),
            4..6 => ("add", pack(random.next() >> 8)),
            6 => ("add", json(r#"{"by": 2}"#)),
            7 => ("add", json(r#""five""#)),
            8 => ("total", none()),
            _ => ("subtract", json("1")),
        },
        sends: false,
        traps: false,
    }
}

pub(crate) fn visitor() -> Subject {
    Subject {
        kind: "visitor",
        component: || agent("visitor"),
        senders: CLIENTS,
        write: |random, sequence| {
            let (n, at) = count(random, sequence);
            let (status, bytes) = (status(random), random.below(10_000));
            // Sessions end half an hour after an event.
            let at = at + random.below(4) * 1_000;
            let event =
                format!(r#"{{"n": {n}, "at": {at}, "status": {status}, "bytes": {bytes}}}"#);
            match random.below(10) {
                0 => ("report", none()),
                1 => ("event", json(r#"{"n": 1}"#)),
                _ => ("event", json(&event)),
            }
        },
        sends: true,
        traps: false,
    }
}

pub(crate) fn site() -> Subject {
    Subject {
        kind: "site",
        component: || agent("site"),
        senders: VISITORS,
        write: |random, sequence| {
            let (n, _) = count(random, sequence);
            let (status, bytes) = (status(random), random.below(10_000));
            let sessions = random.below(3) as i64 - 1;
            let visit = format!(
                r#"{{"n": {n}, "status": {status}, "bytes": {bytes}, "sessions": {sessions}}}"#
            );
            match random.below(10) {
                0 => ("report", none()),
                _ => ("visit", json(&visit)),
            }
        },
        sends: false,
        traps: false,
    }
}

pub(crate) fn alerts() -> Subject {
    Subject {
        kind: "alerts",
        component: || agent("alerts"),
        senders: VISITORS,
        write: |random, sequence| {
            let (n, at) = count(random, sequence);
            let status = status(random);
            let fault = format!(r#"{{"n": {n}, "at": {at}, "status": {status}}}"#);
            match random.below(10) {
                0 => ("report", none()),
                1 => ("alerts", json(&random.below(3).to_string())),
                _ => ("fault", json(&fault)),
            }
        },
        sends: false,
        traps: false,
    }
}

pub(crate) fn typed() -> Subject {
    Subject {
        kind: "typed",
        component: || guest("typed"),
        senders: CLIENTS,
        write: |random, sequence| {
            let millis = json(&random.below(2_000).to_string());
            match random.below(14) {
                0..4 => ("add", json(&random.below(100).to_string())),
                4 => ("add", json("nothing")),
                5 => ("send", json("\"peer/a add 1\"")),
                6 => ("send-low", json("\"peer/b add 2\"")),
                7 if sequence.waits => ("ask", json("\"peer/a total\"")),
                8 if sequence.waits => ("later", millis),
                9 if sequence.mixes => ("tick", millis),
                9 | 10 if sequence.mixes => ("total", none()),
                11 if sequence.mixes || !sequence.waits => ("random", none()),
                11 => ("now", none()),
                12 => ("fail", json("\"so\"")),
                13 => ("untick", none()),
                _ => ("log", json("\"a line\"")),
            }
        },
        sends: true,
        traps: false,
    }
}

pub(crate) fn padded() -> Subject {
    Subject {
        kind: "padded",
        component: || guest("padded"),
        senders: CLIENTS,
        write: |random, _| match random.below(30) {
            0 => ("read_all", json("\"\"")),
            _ => ("keep", json(&format!("{:?}", text(random)))),
        },
        sends: false,
        traps: false,
    }
}

pub(crate) fn plain_rust() -> Subject {
    Subject {
        kind: "plain-rust",
        component: || guest("plain-rust"),
        senders: CLIENTS,
        write: |random, _| {
            let methods = ["everything", "print", "words", "clocks", "environment"];
            (random.one_of(&methods), json(&text(random)))
        },
        sends: false,
        traps: false,
    }
}

pub(crate) fn medley() -> Subject {
    Subject {
        kind: "medley",
        component: || guest("medley"),
        senders: CLIENTS,
        write: |random, sequence| {
            let text = text(random);
            let to = random.one_of(&["peer/a", "peer/b", "peer/c"]);
            let millis = random.below(2_000);
            let own = sequence.mixes || !sequence.waits;
            match random.below(16) {
                0..3 => (
                    "words",
                    json(&format!(r#"{{"text": "{text}", "to": "{to}"}}"#)),
                ),
                3 if own => ("draw", none()),
                4 => ("clocks", none()),
                5 | 6 => ("sums", json(&random.below(12).to_string())),
                7..9 => ("pad", json(&format!("{text:?}"))),
                9 => ("grow", json(&random.below(100).to_string())),
                10 if own => {
                    let name = random.one_of(&["x", "y"]);
                    let asked =
                        format!(r#"{{"name": "{name}", "millis": {millis}, "to": "{to}"}}"#);
                    ("remind", json(&asked))
                }
                11 | 12 if sequence.waits => (
                    "ask",
                    json(&format!(r#"{{"to": "{to}", "millis": {}}}"#, millis + 1)),
                ),
                13 => ("trap", json(&format!("{text:?}"))),
                _ => ("report", none()),
            }
        },
        sends: true,
        traps: true,
    }
}
