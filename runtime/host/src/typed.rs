//! The typed world: a call a turn, effects recorded as they are imported.

use std::num::NonZeroU64;

use phoenix_wit::timer::Cron;
use phoenix_wit::{
    AnswerWriter, Backoff, CatchUp, ContentType, Delivery, Effect, Failure, FrameReader, Input,
    Lane, Level, Outcome, Payload, ReceiverList, Reply, Retry, Schedule, SendOptions, Turn,
    Verdict,
};
use wasmtime::{Result, Store};

use crate::error::{BadToken, GuestLimit, NoRequest};
use crate::state::State;

#[allow(
    missing_docs,
    reason = "generated from WIT, whose comments it carries over only in part"
)]
#[allow(clippy::all, reason = "generated")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "phoenix:agent/agent",
        imports: { default: trappable },
    });
}

use bindings::exports::phoenix::agent::handler::Guest;
use bindings::phoenix::agent::types as wit;
use bindings::phoenix::agent::{context, log, messaging, pubsub, timers};

/// Bits of an ask's number that count the asks of one turn; the rest is the turn.
const ASK_BITS: u32 = 20;

/// Bytes an effect takes in an answer frame besides its texts and payload, at most.
const EFFECT_BYTES: usize = 48;

/// What the host remembers of a typed agent from turn to turn.
///
/// It travels in the agent's image. A framed agent keeps such things itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Handlers that have begun and not finished.
    pub(crate) pending: u16,
    /// Requests taken in earlier turns and not answered, ascending.
    pub(crate) open: Vec<u64>,
}

/// Requests a typed agent may leave open. A kind's `open-requests` is the
/// bound that counts; this one keeps images small whatever that says.
pub(crate) const MAX_OPEN: usize = 65_536;

/// The state of a typed agent's batch.
#[derive(Default)]
pub(crate) struct TypedTurn {
    /// What the host remembers from turn to turn. Part of the agent's state.
    pub(crate) kept: Kept,
    /// Effects one turn may have.
    max_effects: u32,
    /// Bytes one batch's answer may have.
    max_answer: u32,
    writer: Option<AnswerWriter>,
    written: usize,
    effects: u32,
    asks: u64,
    /// The request of the turn under way, until it is answered.
    request: Option<u64>,
    /// Milliseconds for which that request's sender still waits.
    left_ms: Option<u32>,
    id: String,
    seed: u64,
    turn: u64,
    now: u64,
    random: Option<blake3::OutputReader>,
}

impl TypedTurn {
    pub(crate) fn new(max_effects: u32, max_answer: u32) -> Self {
        Self {
            max_effects,
            max_answer,
            ..Self::default()
        }
    }

    /// Other bounds from now on.
    pub(crate) fn bound(&mut self, max_effects: u32, max_answer: u32) {
        (self.max_effects, self.max_answer) = (max_effects, max_answer);
    }

    fn record(&mut self, size: usize, effect: &Effect<'_>) -> Result<()> {
        let count = u32::try_from(effect.count()).unwrap_or(u32::MAX);
        if count > self.max_effects.saturating_sub(self.effects) {
            return Err(GuestLimit::Effects(self.max_effects).into());
        }
        self.effects += count;
        self.grow(size)?;
        if let Some(writer) = &mut self.writer {
            writer.effect(effect);
        }
        Ok(())
    }

    /// A request is answered once.
    fn close(&mut self, request: u64) -> Result<()> {
        if self.request == Some(request) {
            self.request = None;
            return Ok(());
        }
        match self.kept.open.binary_search(&request) {
            Ok(place) => {
                self.kept.open.remove(place);
                Ok(())
            }
            Err(_) => Err(NoRequest(request).into()),
        }
    }

    fn grow(&mut self, size: usize) -> Result<()> {
        self.written = self.written.saturating_add(size + EFFECT_BYTES);
        if self.written > self.max_answer as usize {
            return Err(GuestLimit::Answer(self.max_answer).into());
        }
        Ok(())
    }
}

/// Runs the turns of a frame one after the other and gives the answer frame.
pub(crate) fn turns(store: &mut Store<State>, guest: &Guest, frame: &[u8]) -> Result<Vec<u8>> {
    let mut reader = FrameReader::new(frame)?;
    let typed = &mut store.data_mut().typed;
    typed.id.clear();
    typed.id.push_str(reader.id());
    typed.seed = reader.seed();
    typed.writer = Some(AnswerWriter::new(Vec::new()));
    typed.written = 0;
    while let Some(turn) = reader.next_turn()? {
        one(store, guest, &turn)?;
    }
    let writer = store.data_mut().typed.writer.take();
    Ok(writer.map(AnswerWriter::finish).unwrap_or_default())
}

fn one(store: &mut Store<State>, guest: &Guest, turn: &Turn<'_>) -> Result<()> {
    let typed = &mut store.data_mut().typed;
    typed.turn = turn.number;
    typed.now = turn.now;
    typed.effects = 0;
    typed.asks = 0;
    typed.random = None;
    (typed.request, typed.left_ms) = match turn.input {
        Input::Message {
            request: true,
            deadline,
            ..
        } => {
            let left = deadline.saturating_sub(turn.now).div_ceil(1_000_000);
            (Some(turn.number), u32::try_from(left).ok())
        }
        _ => (None, None),
    };
    let outcome = match body(turn) {
        Called::Init(config) => match guest.call_init(&mut *store, &config)? {
            Ok(()) => wit::Outcome::Ok(owned(Payload::NONE)),
            Err(message) => wit::Outcome::Failed(wit::Failure {
                code: "init".to_owned(),
                message,
                details: owned(Payload::NONE),
            }),
        },
        Called::Handle(body) => guest.call_handle(&mut *store, &body)?,
        // Typed agents have no way to describe themselves.
        Called::Describe => wit::Outcome::Ok(owned(Payload::NONE)),
    };
    let typed = &mut store.data_mut().typed;
    if matches!(outcome, wit::Outcome::Pending) {
        typed.kept.pending = typed.kept.pending.saturating_add(1);
        // Turn numbers ascend, so the list stays sorted.
        typed.kept.open.extend(typed.request.take());
        if typed.kept.open.len() > MAX_OPEN {
            return Err(GuestLimit::Open(MAX_OPEN).into());
        }
    }
    let (size, outcome) = match &outcome {
        wit::Outcome::Ok(payload) => (payload.bytes.len(), Outcome::Ok(lent(payload))),
        wit::Outcome::Failed(f) => (
            f.code.len() + f.message.len() + f.details.bytes.len(),
            Outcome::Failed(failure(f)),
        ),
        wit::Outcome::Pending => (0, Outcome::Pending),
        wit::Outcome::Deferred => (0, Outcome::Deferred),
    };
    typed.grow(size)?;
    if let Some(writer) = &mut typed.writer {
        writer.outcome(&outcome, typed.kept.pending);
    }
    Ok(())
}

enum Called {
    Init(wit::Payload),
    Handle(wit::Body),
    Describe,
}

fn body(turn: &Turn<'_>) -> Called {
    Called::Handle(match turn.input {
        Input::Init { config } => return Called::Init(owned(config)),
        Input::Describe => return Called::Describe,
        Input::Message {
            source,
            method,
            payload,
            request,
            deadline,
        } => wit::Body::Message(wit::Message {
            source: source.to_owned(),
            method: method.to_owned(),
            payload: owned(payload),
            request: request.then_some(turn.number),
            deadline: request.then_some(deadline),
        }),
        Input::Reply { ask, reply } => wit::Body::Reply(wit::Reply {
            ask,
            answer: match reply {
                Reply::Ok(payload) => wit::Answer::Ok(owned(payload)),
                Reply::Failed(f) => wit::Answer::Failed(wit::Failure {
                    code: f.code.to_owned(),
                    message: f.message.to_owned(),
                    details: owned(f.details),
                }),
                Reply::Timeout => wit::Answer::Timeout,
                Reply::Bounced(why) => wit::Answer::Bounced(why.to_owned()),
                Reply::Deadlock => wit::Answer::Deadlock,
                Reply::Unavailable(why) => wit::Answer::Unavailable(why.to_owned()),
                Reply::Abandoned => wit::Answer::Abandoned,
            },
        }),
        Input::Bounced {
            to,
            method,
            payload,
            reason,
            unsure,
        } => wit::Body::Bounced(wit::Bounce {
            to: to.to_owned(),
            method: method.to_owned(),
            payload: owned(payload),
            reason: reason.to_owned(),
            unsure,
        }),
        Input::Verdict { token, to, verdict } => wit::Body::Verdict(wit::Verdict {
            token,
            to: to.to_owned(),
            end: match verdict {
                Verdict::Applied => wit::MessageEnd::Applied,
                Verdict::NotApplied { reason } => wit::MessageEnd::NotApplied(reason.to_owned()),
                Verdict::Unsure { reason } => wit::MessageEnd::Unsure(reason.to_owned()),
            },
        }),
        Input::Timer {
            id,
            method,
            payload,
        } => wit::Body::Timer(wit::Timer {
            id,
            method: method.to_owned(),
            payload: owned(payload),
        }),
    })
}

fn owned(payload: Payload<'_>) -> wit::Payload {
    wit::Payload {
        content_type: match payload.content_type {
            ContentType::None => wit::ContentType::None,
            ContentType::MessagePack => wit::ContentType::MessagePack,
            ContentType::Json => wit::ContentType::Json,
            ContentType::Binary => wit::ContentType::Binary,
        },
        bytes: payload.bytes.to_vec(),
    }
}

fn lent(payload: &wit::Payload) -> Payload<'_> {
    Payload {
        content_type: match payload.content_type {
            wit::ContentType::None => ContentType::None,
            wit::ContentType::MessagePack => ContentType::MessagePack,
            wit::ContentType::Json => ContentType::Json,
            wit::ContentType::Binary => ContentType::Binary,
        },
        bytes: &payload.bytes,
    }
}

fn failure(failure: &wit::Failure) -> Failure<'_> {
    Failure {
        code: &failure.code,
        message: &failure.message,
        details: lent(&failure.details),
    }
}

fn of_delivery(delivery: wit::Delivery) -> Delivery {
    match delivery {
        wit::Delivery::AtMostOnce => Delivery::AtMostOnce,
        wit::Delivery::ExactlyOnce => Delivery::ExactlyOnce,
        wit::Delivery::AtLeastOnce => Delivery::AtLeastOnce,
    }
}

fn of_options(options: &wit::SendOptions) -> SendOptions {
    SendOptions {
        delivery: options.delivery.map(of_delivery),
        lane: options.lane.map(|lane| match lane {
            wit::Lane::High => Lane::High,
            wit::Lane::Normal => Lane::Normal,
            wit::Lane::Low => Lane::Low,
            wit::Lane::Bulk => Lane::Bulk,
        }),
        ttl_ms: options.ttl_ms,
        report_expired: options.report_expired,
        give_up_ms: options.give_up_ms,
        retry: options.retry.map(|retry| Retry {
            attempts: retry.attempts,
            backoff: match retry.backoff {
                wit::Backoff::Fixed(wait) => Backoff::Fixed { wait },
                wit::Backoff::Linear(it) => Backoff::Linear {
                    first: it.first,
                    step: it.step,
                    most: it.most,
                },
                wit::Backoff::Exponential(it) => Backoff::Exponential {
                    first: it.first,
                    most: it.most,
                },
            },
        }),
    }
}

impl wit::Host for State {}

impl messaging::Host for State {
    fn send(
        &mut self,
        to: String,
        method: String,
        payload: wit::Payload,
        delivery: wit::Delivery,
    ) -> Result<()> {
        let size = to.len() + method.len() + payload.bytes.len();
        self.typed.record(
            size,
            &Effect::Send {
                to: &to,
                method: &method,
                payload: lent(&payload),
                delivery: of_delivery(delivery),
            },
        )
    }

    fn send_with(
        &mut self,
        to: String,
        method: String,
        payload: wit::Payload,
        options: wit::SendOptions,
    ) -> Result<()> {
        let message_type = options.message_type.as_deref().unwrap_or_default();
        let said = of_options(&options).to_bytes();
        // What is wrong with them is said where they are wrong.
        SendOptions::read(&said)?;
        let texts = to.len() + method.len() + message_type.len();
        let size = texts + payload.bytes.len() + said.len();
        self.typed.record(
            size,
            &Effect::SendWith {
                to: &to,
                method: &method,
                message_type,
                payload: lent(&payload),
                options: &said,
            },
        )
    }

    fn multicast(
        &mut self,
        to: Vec<String>,
        method: String,
        payload: wit::Payload,
        options: wit::SendOptions,
        token: Option<u64>,
    ) -> Result<()> {
        let token = match token {
            None => None,
            Some(token) if options.delivery == Some(wit::Delivery::AtMostOnce) => {
                return Err(BadToken::Unheard(token).into());
            }
            Some(token) => Some(NonZeroU64::new(token).ok_or(BadToken::Zero)?),
        };
        let message_type = options.message_type.as_deref().unwrap_or_default();
        let said = of_options(&options).to_bytes();
        SendOptions::read(&said)?;
        let to: ReceiverList = to.into_iter().collect();
        let texts = to.bytes() + method.len() + message_type.len();
        let size = texts + payload.bytes.len() + said.len();
        self.typed.record(
            size,
            &Effect::Multicast {
                to: to.receivers(),
                method: &method,
                message_type,
                payload: lent(&payload),
                options: &said,
                token,
            },
        )
    }

    fn ask(
        &mut self,
        to: String,
        method: String,
        payload: wit::Payload,
        deadline_ms: u32,
    ) -> Result<u64> {
        let ask = (self.typed.turn << ASK_BITS) | self.typed.asks;
        self.typed.asks += 1;
        let size = to.len() + method.len() + payload.bytes.len();
        self.typed.record(
            size,
            &Effect::Ask {
                ask,
                to: &to,
                method: &method,
                payload: lent(&payload),
                deadline_ms: deadline_ms.min(self.typed.left_ms.unwrap_or(u32::MAX)),
                waiter: None,
            },
        )?;
        Ok(ask)
    }

    fn reply(
        &mut self,
        request: u64,
        answer: std::result::Result<wit::Payload, wit::Failure>,
    ) -> Result<()> {
        self.typed.close(request)?;
        let (size, answer) = match &answer {
            Ok(payload) => (payload.bytes.len(), Ok(lent(payload))),
            Err(f) => (
                f.code.len() + f.message.len() + f.details.bytes.len(),
                Err(failure(f)),
            ),
        };
        self.typed.record(size, &Effect::Reply { request, answer })
    }

    fn spawn(&mut self, id: String, config: wit::Payload) -> Result<()> {
        self.typed.record(
            id.len() + config.bytes.len(),
            &Effect::Spawn {
                agent: &id,
                config: lent(&config),
            },
        )
    }

    fn stop(&mut self, reason: String) -> Result<()> {
        self.typed
            .record(reason.len(), &Effect::Stop { reason: &reason })
    }
}

impl pubsub::Host for State {
    fn publish(&mut self, topic: String, payload: wit::Payload) -> Result<()> {
        self.typed.record(
            topic.len() + payload.bytes.len(),
            &Effect::Publish {
                topic: &topic,
                payload: lent(&payload),
                options: Payload::NONE,
            },
        )
    }

    fn publish_with(
        &mut self,
        topic: String,
        payload: wit::Payload,
        options: wit::Payload,
    ) -> Result<()> {
        self.typed.record(
            topic.len() + payload.bytes.len() + options.bytes.len(),
            &Effect::Publish {
                topic: &topic,
                payload: lent(&payload),
                options: lent(&options),
            },
        )
    }

    fn subscribe(&mut self, pattern: String) -> Result<()> {
        let (pattern, options) = (&*pattern, Payload::NONE);
        self.typed
            .record(pattern.len(), &Effect::Subscribe { pattern, options })
    }

    fn subscribe_with(&mut self, pattern: String, options: wit::Payload) -> Result<()> {
        let (pattern, options) = (&*pattern, lent(&options));
        let size = pattern.len() + options.bytes.len();
        self.typed
            .record(size, &Effect::Subscribe { pattern, options })
    }

    fn unsubscribe(&mut self, pattern: String) -> Result<()> {
        self.unsubscribe_named(pattern, String::new())
    }

    fn unsubscribe_named(&mut self, pattern: String, name: String) -> Result<()> {
        let (pattern, name) = (&*pattern, &*name);
        self.typed.record(
            pattern.len() + name.len(),
            &Effect::Unsubscribe { pattern, name },
        )
    }
}

impl timers::Host for State {
    fn set(
        &mut self,
        id: u64,
        delay_ms: u64,
        period_ms: u64,
        method: String,
        payload: wit::Payload,
    ) -> Result<()> {
        self.typed.record(
            method.len() + payload.bytes.len(),
            &Effect::SetTimer {
                id,
                schedule: match period_ms {
                    0 => Schedule::Once { delay_ms },
                    _ => Schedule::Every {
                        delay_ms,
                        period_ms,
                    },
                },
                catch_up: CatchUp::Once,
                method: &method,
                payload: lent(&payload),
            },
        )
    }

    fn set_with(
        &mut self,
        id: u64,
        schedule: timers::Schedule,
        catch_up: timers::CatchUp,
        method: String,
        payload: wit::Payload,
    ) -> Result<()> {
        let mut size = method.len() + payload.bytes.len();
        let schedule = match &schedule {
            timers::Schedule::Once(delay_ms) => Schedule::Once {
                delay_ms: *delay_ms,
            },
            timers::Schedule::Every(every) => Schedule::Every {
                delay_ms: every.delay_ms,
                period_ms: every.period_ms,
            },
            timers::Schedule::Cron(text) => {
                // What is wrong with it is said where it is wrong.
                text.parse::<Cron>()?;
                size += text.len();
                Schedule::Cron(text)
            }
        };
        self.typed.record(
            size,
            &Effect::SetTimer {
                id,
                schedule,
                catch_up: match catch_up {
                    timers::CatchUp::Once => CatchUp::Once,
                    timers::CatchUp::All => CatchUp::All,
                    timers::CatchUp::Skip(late_ms) => CatchUp::Skip { late_ms },
                },
                method: &method,
                payload: lent(&payload),
            },
        )
    }

    fn cancel(&mut self, id: u64) -> Result<()> {
        self.typed.record(0, &Effect::CancelTimer { id })
    }
}

impl context::Host for State {
    fn id(&mut self) -> Result<String> {
        Ok(self.typed.id.clone())
    }
    fn now(&mut self) -> Result<u64> {
        Ok(self.typed.now)
    }
    fn random(&mut self) -> Result<u64> {
        let (seed, turn) = (self.typed.seed, self.typed.turn);
        let generator = self
            .typed
            .random
            .get_or_insert_with(|| crate::wasi::generator("phoenix 2025 agent random", seed, turn));
        let mut bytes = [0; 8];
        generator.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    fn turn(&mut self) -> Result<u64> {
        Ok(self.typed.turn)
    }
    fn finished(&mut self) -> Result<()> {
        let pending = &mut self.typed.kept.pending;
        *pending = pending.saturating_sub(1);
        Ok(())
    }
    fn waits(&mut self, handler: u64, ask: u64) -> Result<()> {
        self.typed.record(0, &Effect::Wait { ask, handler })
    }
}

impl log::Host for State {
    fn write(&mut self, level: wit::Level, text: String) -> Result<()> {
        let level = match level {
            wit::Level::Error => Level::Error,
            wit::Level::Warn => Level::Warn,
            wit::Level::Info => Level::Info,
            wit::Level::Debug => Level::Debug,
            wit::Level::Trace => Level::Trace,
        };
        self.wasi.log.line(level, &text);
        Ok(())
    }
}
