//! An agent of the typed world made with plain wit-bindgen and no SDK: it
//! proves that the contract can be spoken by hand, in any language that has
//! WIT bindings.
//!
//! Numbers are JSON; texts are taken as they are, with or without quotes.
//!
//! | method | payload | answer |
//! |---|---|---|
//! | `add` | number | the new total |
//! | `total` | | the total; taken even while a handler is pending |
//! | `send` | `to method [payload]` | |
//! | `tell` | `token to...` | adds one to the totals of several, to hear of it unless the token is `-` |
//! | `told` | | what was heard: token, whom, and how it ended |
//! | `ask` | `to method [payload]` | what the other agent answered, or `ask-failed` |
//! | `later` | milliseconds | the total, when the timer has fired |
//! | `tick` | milliseconds | adds one to the total again and again |
//! | `untick` | | ends that |
//! | `tick-all` | milliseconds | the same, each due time that passed made up for |
//! | `tick-by` | cron schedule | the same by a schedule, and not if it is a minute late |
//! | `alarms` | `count at over to` | sets so many timers, due from `at` on, milliseconds since 1970, within `over`; each adds one to the total of `to` |
//! | `rung` | | how many of them fired, and how often in all |
//! | `spawn` | agent id | |
//! | `log` | text | |
//! | `publish` | topic | |
//! | `whoami` | | id, source and turn |
//! | `now`, `random` | | what the context says |
//! | `fail` | text | the failure `asked-to-fail` |
//! | `stop` | text | ends the agent |

use std::cell::RefCell;
use std::collections::BTreeMap;

wit_bindgen::generate!({
    path: "../../../wit/agent.wit",
    world: "agent",
});

use exports::phoenix::agent::handler::{Body, Guest, Outcome, Payload};
use phoenix::agent::timers::CatchUp;
use phoenix::agent::types::{
    Answer, ContentType, Delivery, Failure, Lane, Level, Message, MessageEnd, Reply, SendOptions,
    Timer,
};
use phoenix::agent::{context, log, messaging, pubsub, timers};

/// Timers below those of `alarms` belong to `later` and are named by the request they answer.
const TICK: u64 = u64::MAX;
const ALARMS: u64 = 1 << 63;

#[derive(Default)]
struct State {
    total: i64,
    /// Asks without an answer, and the request each was made for.
    asks: Vec<(u64, Option<u64>)>,
    /// Requests whose `later` timer has not fired.
    waiting: Vec<u64>,
    /// What `tell` was told.
    told: Vec<String>,
    /// How often each of `alarms` fired.
    rung: BTreeMap<u64, u64>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

struct Typed;

impl Guest for Typed {
    fn init(config: Payload) -> Result<(), String> {
        let total = match text(&config).as_str() {
            "" => 0,
            given => given
                .parse()
                .map_err(|_| format!("the configuration is no number: {given}"))?,
        };
        STATE.with_borrow_mut(|state| state.total = total);
        Ok(())
    }

    fn handle(input: Body) -> Outcome {
        STATE.with_borrow_mut(|state| match input {
            Body::Message(message) => state.message(&message),
            Body::Reply(reply) => state.reply(reply),
            Body::Timer(timer) => state.timer(&timer),
            Body::Bounced(bounce) => {
                let text = format!(
                    "{} {} came back: {}",
                    bounce.to, bounce.method, bounce.reason
                );
                log::write(Level::Warn, &text);
                Outcome::Ok(json(""))
            }
            Body::Verdict(verdict) => {
                let end = match verdict.end {
                    MessageEnd::Applied => "applied".to_owned(),
                    MessageEnd::NotApplied(why) => format!("not applied: {why}"),
                    MessageEnd::Unsure(why) => format!("unsure: {why}"),
                };
                state
                    .told
                    .push(format!("{} {} {end}", verdict.token, verdict.to));
                Outcome::Ok(json(""))
            }
        })
    }
}

impl State {
    fn message(&mut self, message: &Message) -> Outcome {
        let pending = !self.asks.is_empty() || !self.waiting.is_empty();
        if pending && message.method != "total" {
            return Outcome::Deferred;
        }
        let given = text(&message.payload);
        match message.method.as_str() {
            "add" => match given.parse::<i64>() {
                Ok(by) => {
                    self.total = self.total.wrapping_add(by);
                    number(self.total)
                }
                Err(_) => failed("bad-payload", &format!("`{given}` is no number")),
            },
            "total" => number(self.total),
            "send" => match address(&given) {
                Some((to, method, rest)) => {
                    messaging::send(to, method, &json(rest), Delivery::ExactlyOnce);
                    done()
                }
                None => failed("bad-payload", "write `to method [payload]`"),
            },
            // On the lane `low`, for 30 seconds.
            "send-low" => match address(&given) {
                Some((to, method, rest)) => {
                    let options = SendOptions {
                        delivery: None,
                        lane: Some(Lane::Low),
                        message_type: None,
                        ttl_ms: 30_000,
                        report_expired: false,
                        give_up_ms: 0,
                        retry: None,
                    };
                    messaging::send_with(to, method, &json(rest), &options);
                    done()
                }
                None => failed("bad-payload", "write `to method [payload]`"),
            },
            "tell" => match tell(&given) {
                Some((token, to)) => {
                    let options = SendOptions {
                        delivery: None,
                        lane: None,
                        message_type: None,
                        ttl_ms: 0,
                        report_expired: false,
                        give_up_ms: 0,
                        retry: None,
                    };
                    messaging::multicast(&to, "add", &json("1"), &options, token);
                    done()
                }
                None => failed("bad-payload", "write `token to...`, with `-` for none"),
            },
            "told" => answer(&format!("{:?}", self.told)),
            "ask" => match address(&given) {
                Some((to, method, rest)) => {
                    let ask = messaging::ask(to, method, &json(rest), 5_000);
                    context::waits(context::turn(), ask);
                    self.asks.push((ask, message.request));
                    Outcome::Pending
                }
                None => failed("bad-payload", "write `to method [payload]`"),
            },
            "later" => match (given.parse(), message.request) {
                (Ok(delay), Some(request)) => {
                    timers::set(request, delay, 0, "later", &json(""));
                    self.waiting.push(request);
                    Outcome::Pending
                }
                (Ok(_), None) => done(),
                (Err(_), _) => failed("bad-payload", &format!("`{given}` is no number")),
            },
            "tick" => {
                let period = given.parse().unwrap_or(1_000);
                timers::set(TICK, period, period, "tick", &json(""));
                done()
            }
            "tick-all" => {
                let period_ms = given.parse().unwrap_or(1_000);
                let every = timers::Every {
                    delay_ms: period_ms,
                    period_ms,
                };
                let schedule = timers::Schedule::Every(every);
                timers::set_with(TICK, &schedule, CatchUp::All, "tick", &json(""));
                done()
            }
            "tick-by" => {
                let schedule = timers::Schedule::Cron(given);
                timers::set_with(TICK, &schedule, CatchUp::Skip(60_000), "tick", &json(""));
                done()
            }
            "alarms" => match alarms(&given) {
                Some(([count, at, over], to)) => {
                    let now = context::now() / 1_000_000;
                    for alarm in 0..count {
                        let due = at + alarm * over / count;
                        let delay = due.saturating_sub(now);
                        timers::set(ALARMS | alarm, delay, 0, "alarm", &json(to));
                    }
                    done()
                }
                None => failed("bad-payload", "write `count at over to`"),
            },
            "rung" => {
                let times: u64 = self.rung.values().sum();
                answer(&format!("[{},{times}]", self.rung.len()))
            }
            "untick" => {
                timers::cancel(TICK);
                done()
            }
            "spawn" => {
                messaging::spawn(&given, &json("0"));
                done()
            }
            "log" => {
                log::write(Level::Info, &given);
                done()
            }
            "publish" => {
                pubsub::publish(&given, &json("0"));
                done()
            }
            "whoami" => answer(&format!(
                "{{\"id\":\"{}\",\"source\":\"{}\",\"turn\":{}}}",
                context::id(),
                message.source,
                context::turn()
            )),
            "now" => answer(&context::now().to_string()),
            "random" => answer(&context::random().to_string()),
            "fail" => failed("asked-to-fail", &given),
            "stop" => {
                messaging::stop(&given);
                done()
            }
            other => failed("no-such-method", other),
        }
    }

    fn reply(&mut self, reply: Reply) -> Outcome {
        let Some(at) = self.asks.iter().position(|(ask, _)| *ask == reply.ask) else {
            return failed("no-such-ask", &reply.ask.to_string());
        };
        let (_, request) = self.asks.remove(at);
        if let Some(request) = request {
            match reply.answer {
                Answer::Ok(payload) => messaging::reply(request, Ok(&payload)),
                other => messaging::reply(request, Err(&failure(other))),
            }
        }
        context::finished();
        done()
    }

    fn timer(&mut self, timer: &Timer) -> Outcome {
        if timer.id == TICK {
            self.total += 1;
            return done();
        }
        if timer.id >= ALARMS {
            *self.rung.entry(timer.id).or_default() += 1;
            let to = text(&timer.payload);
            messaging::send(&to, "add", &json("1"), Delivery::ExactlyOnce);
            return done();
        }
        if let Some(at) = self.waiting.iter().position(|id| *id == timer.id) {
            self.waiting.remove(at);
            messaging::reply(timer.id, Ok(&json(&self.total.to_string())));
            context::finished();
        }
        done()
    }
}

/// How an ask that got no answer looks to whoever waits behind it.
fn failure(answer: Answer) -> Failure {
    let message = match answer {
        Answer::Failed(failure) => return failure,
        Answer::Ok(_) => "ok".to_owned(),
        Answer::Timeout => "timeout".to_owned(),
        Answer::Bounced(why) => format!("bounced: {why}"),
        Answer::Deadlock => "deadlock".to_owned(),
        Answer::Unavailable(why) => format!("unavailable: {why}"),
        Answer::Abandoned => "abandoned".to_owned(),
    };
    Failure {
        code: "ask-failed".to_owned(),
        message,
        details: json(""),
    }
}

fn alarms(text: &str) -> Option<([u64; 3], &str)> {
    let (numbers, to) = text.rsplit_once(' ')?;
    let numbers: Option<Vec<u64>> = numbers.split(' ').map(|it| it.parse().ok()).collect();
    Some((numbers?.try_into().ok()?, to))
}

fn tell(text: &str) -> Option<(Option<u64>, Vec<String>)> {
    let mut words = text.split(' ');
    let token = match words.next()? {
        "-" => None,
        token => Some(token.parse().ok()?),
    };
    Some((token, words.map(str::to_owned).collect()))
}

fn address(text: &str) -> Option<(&str, &str, &str)> {
    let (to, rest) = text.split_once(' ')?;
    Some(match rest.split_once(' ') {
        Some((method, payload)) => (to, method, payload),
        None => (to, rest, ""),
    })
}

fn text(payload: &Payload) -> String {
    String::from_utf8_lossy(&payload.bytes)
        .trim()
        .trim_matches('"')
        .to_owned()
}

fn json(text: &str) -> Payload {
    Payload {
        content_type: if text.is_empty() {
            ContentType::None
        } else {
            ContentType::Json
        },
        bytes: text.as_bytes().to_vec(),
    }
}

fn answer(text: &str) -> Outcome {
    Outcome::Ok(json(text))
}

fn number(value: i64) -> Outcome {
    answer(&value.to_string())
}

fn done() -> Outcome {
    Outcome::Ok(json(""))
}

fn failed(code: &str, message: &str) -> Outcome {
    Outcome::Failed(Failure {
        code: code.to_owned(),
        message: message.to_owned(),
        details: json(""),
    })
}

export!(Typed);
