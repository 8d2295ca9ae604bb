//! Answer frames: what a guest gives back.

use std::num::NonZeroU64;

use crate::wire::{self, Bytes, FrameError};
use crate::{
    CatchUp, ContentType, Effect, FRAME_VERSION, Failure, Payload, Receivers, Schedule,
    SendOptions, short,
};

const SEND: u8 = 0;
const ASK: u8 = 1;
const REPLY: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 4;
const UNSUBSCRIBE: u8 = 5;
const SET_TIMER: u8 = 6;
const CANCEL_TIMER: u8 = 7;
const SPAWN: u8 = 8;
const STOP: u8 = 9;
const LOG: u8 = 10;
const WAIT: u8 = 11;
const SEND_WITH: u8 = 12;
const MULTICAST: u8 = 13;

/// Schedules of timers.
const ONCE: u8 = 0;
const EVERY: u8 = 1;
const CRON: u8 = 2;

/// What becomes of their due times that passed.
const FIRST: u8 = 0;
const ALL: u8 = 1;
const SKIP: u8 = 2;

/// In place of the handler that waits for an ask: none does, as far as is known.
const NO_HANDLER: u64 = u64::MAX;

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Done; if the message was a request, this is its answer.
    Ok(Payload<'a>),
    /// The handler's own error; memory and effects stand.
    Failed(Failure<'a>),
    /// The handler waits for the answer to an ask.
    Pending,
    /// Not taken while another handler is pending.
    Deferred,
}

/// Writes an answer frame, turn by turn: effects as they happen, then the outcome.
#[derive(Debug)]
pub struct AnswerWriter {
    buf: Vec<u8>,
    count: u32,
    turn_at: usize,
    effects: u32,
    /// The last ask, and where in `buf` it says which handler waits for it.
    last_ask: Option<(u64, usize)>,
}

/// Bytes of an ask's numbers before the handler that waits for it.
const BEFORE_WAITER: usize = 12;

/// Bytes of a turn's header, its length field included.
const TURN_HEAD: usize = 16;

/// Bytes of an effect's kind and length.
const EFFECT_HEAD: usize = 5;

impl AnswerWriter {
    /// Starts a frame in `buf`, whose old content is dropped and whose room is reused.
    pub fn new(mut buf: Vec<u8>) -> Self {
        buf.clear();
        buf.extend_from_slice(&[FRAME_VERSION, 0, 0, 0, 0, 0, 0, 0]);
        let turn_at = buf.len();
        buf.extend_from_slice(&[0; TURN_HEAD]);
        Self {
            buf,
            count: 0,
            turn_at,
            effects: 0,
            last_ask: None,
        }
    }

    /// Adds an effect to the current turn.
    #[inline]
    pub fn effect(&mut self, effect: &Effect<'_>) {
        self.write_effect(effect);
    }

    /// Adds an effect whose payload `write` appends to what it is given; the payload
    /// in `effect` is to be none. Nothing is added if it fails.
    #[inline(always)]
    pub fn effect_with<E>(
        &mut self,
        effect: &Effect<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<ContentType, E>,
    ) -> Result<(), E> {
        let at = self.buf.len();
        let content_type_at = self.write_effect(effect);
        match write(&mut self.buf) {
            Ok(content_type) => {
                let len = self.buf.len() - at - EFFECT_HEAD;
                wire::patch_u32(&mut self.buf, at + 1, len);
                if let Some(byte) = self.buf.get_mut(content_type_at) {
                    *byte = content_type as u8;
                }
                Ok(())
            }
            Err(error) => {
                self.buf.truncate(at);
                self.effects -= 1;
                self.last_ask = None;
                Err(error)
            }
        }
    }

    /// Adds the effects of another writer's current turn.
    pub fn append(&mut self, other: &Self) {
        let effects = other.buf.get(other.turn_at + TURN_HEAD..).unwrap_or(&[]);
        self.buf.extend_from_slice(effects);
        self.effects += other.effects;
    }

    /// Says that only the end of `ask` lets the handler go on which the turn of the
    /// number `handler` began: nothing else wakes it, and it waits for nothing else.
    /// Where asks wait for each other in a circle the host can then tell.
    ///
    /// Of the last ask of the current turn it is said in that effect, of another one
    /// in an effect of its own.
    #[inline]
    pub fn wait(&mut self, ask: u64, handler: u64) {
        if let Some((last, at)) = self.last_ask
            && last == ask
            && at > self.turn_at
            && let Some(place) = self.buf.get_mut(at..)
            && let Some(place) = place.first_chunk_mut()
        {
            *place = handler.to_le_bytes();
            return;
        }
        self.effect(&Effect::Wait { ask, handler });
    }

    /// Writes an effect and says where the content type of its payload stands.
    #[inline(always)]
    fn write_effect(&mut self, effect: &Effect<'_>) -> usize {
        if let Effect::Send {
            to,
            method,
            payload,
            delivery,
        } = *effect
        {
            self.record(SEND, [delivery as u8], [to, method], payload)
        } else {
            self.rarer_effect(effect)
        }
    }

    /// Everything but sending, which callers need not carry with them.
    #[inline(never)]
    fn rarer_effect(&mut self, effect: &Effect<'_>) -> usize {
        match *effect {
            Effect::Send {
                to,
                method,
                payload,
                delivery,
            } => self.record(SEND, [delivery as u8], [to, method], payload),
            Effect::SendWith {
                to,
                method,
                message_type,
                payload,
                options,
            } => self.record(SEND_WITH, *options, [to, method, message_type], payload),
            Effect::Multicast {
                to,
                method,
                message_type,
                payload,
                options,
                token,
            } => {
                const TOKEN: usize = SendOptions::BYTES;
                let mut numbers = [0; TOKEN + 12];
                numbers[..TOKEN].copy_from_slice(options);
                let token = token.map_or(0, NonZeroU64::get);
                numbers[TOKEN..TOKEN + 8].copy_from_slice(&token.to_le_bytes());
                let to = to.as_bytes();
                numbers[TOKEN + 8..].copy_from_slice(&wire::u32_of(to.len()));
                let texts = [method, message_type];
                self.record_with(MULTICAST, numbers, texts, to, payload)
            }
            Effect::Ask {
                ask,
                to,
                method,
                payload,
                deadline_ms,
                waiter,
            } => {
                let mut numbers = [0; BEFORE_WAITER + 8];
                numbers[..8].copy_from_slice(&ask.to_le_bytes());
                numbers[8..12].copy_from_slice(&deadline_ms.to_le_bytes());
                numbers[12..].copy_from_slice(&waiter.unwrap_or(NO_HANDLER).to_le_bytes());
                self.last_ask = Some((ask, self.buf.len() + EFFECT_HEAD + BEFORE_WAITER));
                self.record(ASK, numbers, [to, method], payload)
            }
            Effect::Reply { request, answer } => {
                let (status, code, message, payload) = match answer {
                    Ok(payload) => (0, "", "", payload),
                    Err(f) => (1, f.code, f.message, f.details),
                };
                let mut numbers = [0; 9];
                numbers[..8].copy_from_slice(&request.to_le_bytes());
                numbers[8] = status;
                self.record(REPLY, numbers, [code, message], payload)
            }
            Effect::Publish {
                topic,
                payload,
                options,
            } => {
                let [a, b, c, d] = wire::u32_of(options.bytes.len());
                let numbers = [options.content_type as u8, a, b, c, d];
                self.record_with(PUBLISH, numbers, [topic], options.bytes, payload)
            }
            Effect::Subscribe { pattern, options } => {
                self.record(SUBSCRIBE, [], [pattern], options)
            }
            Effect::Unsubscribe { pattern, name } => self.plain(UNSUBSCRIBE, [], [pattern, name]),
            Effect::SetTimer {
                id,
                schedule,
                catch_up,
                method,
                payload,
            } => {
                let (numbers, cron) = timer_numbers(id, schedule, catch_up);
                self.record(SET_TIMER, numbers, [method, cron], payload)
            }
            Effect::CancelTimer { id } => self.plain(CANCEL_TIMER, id.to_le_bytes(), []),
            Effect::Spawn { agent, config } => self.record(SPAWN, [], [agent], config),
            Effect::Stop { reason } => self.plain(STOP, [], [reason]),
            Effect::Log { level, text } => self.plain(LOG, [level as u8], [text]),
            Effect::Wait { ask, handler } => {
                let mut numbers = [0; 16];
                numbers[..8].copy_from_slice(&ask.to_le_bytes());
                numbers[8..].copy_from_slice(&handler.to_le_bytes());
                self.plain(WAIT, numbers, [])
            }
        }
    }

    /// Ends the current turn with its outcome and the number of handlers pending after it.
    #[inline]
    pub fn outcome(&mut self, outcome: &Outcome<'_>, pending: u16) {
        let effects_len = self.buf.len() - self.turn_at - TURN_HEAD;
        let (tag, payload) = match outcome {
            Outcome::Ok(payload) => (0, *payload),
            Outcome::Failed(failure) => (1, self.failure(failure)),
            Outcome::Pending => (2, Payload::NONE),
            Outcome::Deferred => (3, Payload::NONE),
        };
        short::push(&mut self.buf, payload.bytes);
        let len = self.buf.len() - self.turn_at - 4;
        let written = self.buf.get_mut(self.turn_at..);
        if let Some(head) = written.and_then(<[u8]>::first_chunk_mut::<TURN_HEAD>) {
            head[..4].copy_from_slice(&wire::u32_of(len));
            head[4..8].copy_from_slice(&wire::u32_of(effects_len));
            head[8..12].copy_from_slice(&self.effects.to_le_bytes());
            head[12..14].copy_from_slice(&pending.to_le_bytes());
            head[14] = tag;
            head[15] = payload.content_type as u8;
        }
        self.count += 1;
        self.effects = 0;
        self.turn_at = self.buf.len();
        self.buf.extend_from_slice(&[0; TURN_HEAD]);
    }

    /// Writes a failure's texts and gives its payload.
    #[cold]
    fn failure<'f>(&mut self, failure: &Failure<'f>) -> Payload<'f> {
        let texts = [failure.code, failure.message].map(wire::short);
        for text in texts {
            self.buf.extend_from_slice(&wire::text_len(text));
        }
        for text in texts {
            self.buf.extend_from_slice(text.as_bytes());
        }
        failure.details
    }

    /// Bytes written so far, with the room for the next turn's header.
    pub fn bytes(&self) -> usize {
        self.buf.len()
    }

    /// The frame. Effects of a turn without an outcome are dropped.
    pub fn finish(mut self) -> Vec<u8> {
        self.buf.truncate(self.turn_at);
        wire::patch_u32(&mut self.buf, 4, self.count as usize);
        self.buf
    }

    /// Writes one effect and says where the content type of its payload stands.
    #[inline(always)]
    fn record<const N: usize, const T: usize>(
        &mut self,
        kind: u8,
        numbers: [u8; N],
        texts: [&str; T],
        payload: Payload<'_>,
    ) -> usize {
        self.record_with(kind, numbers, texts, &[], payload)
    }

    /// The same of one that has more between its texts and its payload.
    #[inline(always)]
    fn record_with<const N: usize, const T: usize>(
        &mut self,
        kind: u8,
        numbers: [u8; N],
        texts: [&str; T],
        more: &[u8],
        payload: Payload<'_>,
    ) -> usize {
        self.effects += 1;
        let texts = texts.map(wire::short);
        let text_bytes: usize = texts.iter().map(|text| text.len()).sum();
        let len = N + 1 + 2 * T + text_bytes + more.len() + payload.bytes.len();
        let content_type_at = self.buf.len() + EFFECT_HEAD + N;
        let [a, b, c, d] = wire::u32_of(len);
        self.buf.extend_from_slice(&[kind, a, b, c, d]);
        self.buf.extend_from_slice(&numbers);
        self.buf.push(payload.content_type as u8);
        for text in texts {
            self.buf.extend_from_slice(&wire::text_len(text));
        }
        for text in texts {
            short::push(&mut self.buf, text.as_bytes());
        }
        if !more.is_empty() {
            self.buf.extend_from_slice(more);
        }
        short::push(&mut self.buf, payload.bytes);
        content_type_at
    }

    fn plain<const N: usize, const T: usize>(
        &mut self,
        kind: u8,
        numbers: [u8; N],
        texts: [&str; T],
    ) -> usize {
        self.record(kind, numbers, texts, Payload::NONE)
    }
}

/// How a timer that is set stands in a frame, and its cron schedule.
fn timer_numbers(id: u64, schedule: Schedule<'_>, catch_up: CatchUp) -> ([u8; 34], &str) {
    let (how, delay_ms, period_ms, cron) = match schedule {
        Schedule::Once { delay_ms } => (ONCE, delay_ms, 0, ""),
        Schedule::Every {
            delay_ms,
            period_ms,
        } => (EVERY, delay_ms, period_ms, ""),
        Schedule::Cron(text) => (CRON, 0, 0, text),
    };
    let (catch_up, late_ms) = match catch_up {
        CatchUp::Once => (FIRST, 0),
        CatchUp::All => (ALL, 0),
        CatchUp::Skip { late_ms } => (SKIP, late_ms),
    };
    let mut numbers = [0; 34];
    numbers[..8].copy_from_slice(&id.to_le_bytes());
    numbers[8] = how;
    numbers[9] = catch_up;
    numbers[10..18].copy_from_slice(&delay_ms.to_le_bytes());
    numbers[18..26].copy_from_slice(&period_ms.to_le_bytes());
    numbers[26..].copy_from_slice(&late_ms.to_le_bytes());
    (numbers, cron)
}

/// Reads an answer frame.
#[derive(Clone, Debug)]
pub struct AnswerReader<'a> {
    left: u32,
    bytes: Bytes<'a>,
}

/// One turn's answer.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// How the turn ended.
    pub outcome: Outcome<'a>,
    /// Handlers pending after it.
    pub pending: u16,
    /// What it asks the host to do.
    pub effects: Effects<'a>,
}

/// The effects of one turn, read one at a time.
#[derive(Clone, Debug)]
pub struct Effects<'a> {
    left: u32,
    bytes: Bytes<'a>,
    /// The last message's texts: those of the next are mostly the same, and then
    /// need not be looked over again.
    to: &'a str,
    method: &'a str,
}

impl<'a> AnswerReader<'a> {
    /// Reads the header and checks that the answer has `turns` turns.
    pub fn new(frame: &'a [u8], turns: u32) -> Result<Self, FrameError> {
        let mut bytes = Bytes::new(frame);
        let version = bytes.u8("version")?;
        if version != FRAME_VERSION {
            return Err(FrameError::Version {
                found: version,
                expected: FRAME_VERSION,
            });
        }
        bytes.take(3, "header")?;
        let left = bytes.u32("turn count")?;
        if left != turns {
            return Err(FrameError::Count {
                what: "turns",
                found: u64::from(left),
                expected: u64::from(turns),
            });
        }
        Ok(Self { left, bytes })
    }

    /// The next turn's answer, or `None` at the frame's end.
    #[inline(always)]
    pub fn next_answer(&mut self) -> Result<Option<Answer<'a>>, FrameError> {
        if self.left == 0 {
            self.bytes.end("the last answer")?;
            return Ok(None);
        }
        self.left -= 1;
        let len = self.bytes.u32("answer length")? as usize;
        let mut r = Bytes::new(self.bytes.take(len, "answer")?);
        let effects_len = r.u32("effects length")? as usize;
        let effect_count = r.u32("effect count")?;
        let pending = r.u16("pending")?;
        let tag = r.u8("outcome")?;
        let content_type = wire::content_type(r.u8("content type")?)?;
        let effects = Effects {
            left: effect_count,
            bytes: Bytes::new(r.take(effects_len, "effects")?),
            to: "",
            method: "",
        };
        let outcome = match tag {
            0 => Outcome::Ok(Payload {
                content_type,
                bytes: r.rest(),
            }),
            1 => {
                let (code, message) = (r.u16("code length")?, r.u16("message length")?);
                Outcome::Failed(Failure {
                    code: r.text(code, "code")?,
                    message: r.text(message, "message")?,
                    details: Payload {
                        content_type,
                        bytes: r.rest(),
                    },
                })
            }
            2 => Outcome::Pending,
            3 => Outcome::Deferred,
            found => {
                return Err(FrameError::Unknown {
                    what: "outcome",
                    found,
                });
            }
        };
        r.end("the outcome")?;
        Ok(Some(Answer {
            outcome,
            pending,
            effects,
        }))
    }
}

impl<'a> Effects<'a> {
    /// Effects not read yet, by the header's word.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The next effect, or `None` after the last.
    #[inline(always)]
    pub fn next_effect(&mut self) -> Result<Option<Effect<'a>>, FrameError> {
        if self.left == 0 {
            self.bytes.end("the last effect")?;
            return Ok(None);
        }
        self.left -= 1;
        let kind = self.bytes.u8("effect kind")?;
        let len = self.bytes.u32("effect length")? as usize;
        let r = Bytes::new(self.bytes.take(len, "effect")?);
        let effect = if kind == SEND {
            self.send(r)?
        } else {
            rarer_effect(kind, r)?
        };
        Ok(Some(effect))
    }

    #[inline(always)]
    fn send(&mut self, mut r: Bytes<'a>) -> Result<Effect<'a>, FrameError> {
        let delivery = wire::delivery(r.u8("delivery")?)?;
        let content_type = wire::content_type(r.u8("content type")?)?;
        let (to, method) = (r.u16("text length")?, r.u16("text length")?);
        wire::again(r.take(usize::from(to), "text")?, "text", &mut self.to)?;
        wire::again(
            r.take(usize::from(method), "text")?,
            "text",
            &mut self.method,
        )?;
        Ok(Effect::Send {
            to: self.to,
            method: self.method,
            payload: Payload {
                content_type,
                bytes: r.rest(),
            },
            delivery,
        })
    }
}

/// Everything but sending.
fn rarer_effect(kind: u8, mut r: Bytes<'_>) -> Result<Effect<'_>, FrameError> {
    let effect = match kind {
        SEND_WITH => {
            let options = r.chunk("options")?;
            SendOptions::read(options)?;
            let ([to, method, message_type], payload) = texts(&mut r)?;
            Effect::SendWith {
                to,
                method,
                message_type,
                payload,
                options,
            }
        }
        MULTICAST => multicast(&mut r)?,
        ASK => {
            let (ask, deadline_ms) = (r.u64("ask")?, r.u32("deadline")?);
            let waiter = Some(r.u64("handler")?).filter(|handler| *handler != NO_HANDLER);
            let ([to, method], payload) = texts(&mut r)?;
            Effect::Ask {
                ask,
                to,
                method,
                payload,
                deadline_ms,
                waiter,
            }
        }
        REPLY => reply(&mut r)?,
        PUBLISH => {
            let content_type = wire::content_type(r.u8("options")?)?;
            let length = r.u32("length of options")? as usize;
            let ([topic], mut payload) = texts(&mut r)?;
            let mut rest = Bytes::new(payload.bytes);
            let bytes = rest.take(length, "options")?;
            payload.bytes = rest.rest();
            Effect::Publish {
                topic,
                payload,
                options: Payload {
                    content_type,
                    bytes,
                },
            }
        }
        SUBSCRIBE => {
            let ([pattern], options) = texts(&mut r)?;
            Effect::Subscribe { pattern, options }
        }
        UNSUBSCRIBE => {
            let ([pattern, name], payload) = texts(&mut r)?;
            nothing(payload)?;
            Effect::Unsubscribe { pattern, name }
        }
        SET_TIMER => {
            let (id, how, catch_up) = (r.u64("timer")?, r.u8("schedule")?, r.u8("catch-up")?);
            let (delay_ms, period_ms) = (r.u64("delay")?, r.u64("period")?);
            let late_ms = r.u64("lateness")?;
            let ([method, cron], payload) = texts(&mut r)?;
            Effect::SetTimer {
                id,
                schedule: schedule(how, delay_ms, period_ms, cron)?,
                catch_up: self::catch_up(catch_up, late_ms)?,
                method,
                payload,
            }
        }
        CANCEL_TIMER => {
            let id = r.u64("timer")?;
            r.u8("content type")?;
            Effect::CancelTimer { id }
        }
        SPAWN => {
            let ([agent], config) = texts(&mut r)?;
            Effect::Spawn { agent, config }
        }
        STOP => Effect::Stop {
            reason: plain(&mut r)?,
        },
        LOG => {
            let level = wire::level(r.u8("log level")?)?;
            Effect::Log {
                level,
                text: plain(&mut r)?,
            }
        }
        WAIT => {
            let (ask, handler) = (r.u64("ask")?, r.u64("handler")?);
            r.u8("content type")?;
            Effect::Wait { ask, handler }
        }
        found => {
            return Err(FrameError::Unknown {
                what: "effect",
                found,
            });
        }
    };
    r.end("the effect")?;
    Ok(effect)
}

fn multicast<'a>(r: &mut Bytes<'a>) -> Result<Effect<'a>, FrameError> {
    let options = r.chunk("options")?;
    SendOptions::read(options)?;
    let token = NonZeroU64::new(r.u64("token")?);
    let length = r.u32("length of receivers")? as usize;
    let ([method, message_type], mut payload) = texts(r)?;
    let mut rest = Bytes::new(payload.bytes);
    let to = Receivers::read(rest.take(length, "receivers")?)?;
    payload.bytes = rest.rest();
    Ok(Effect::Multicast {
        to,
        method,
        message_type,
        payload,
        options,
        token,
    })
}

fn schedule(
    how: u8,
    delay_ms: u64,
    period_ms: u64,
    cron: &str,
) -> Result<Schedule<'_>, FrameError> {
    Ok(match how {
        ONCE => Schedule::Once { delay_ms },
        EVERY => Schedule::Every {
            delay_ms,
            period_ms,
        },
        CRON => Schedule::Cron(cron),
        found => {
            return Err(FrameError::Unknown {
                what: "schedule",
                found,
            });
        }
    })
}

fn catch_up(what: u8, late_ms: u64) -> Result<CatchUp, FrameError> {
    Ok(match what {
        FIRST => CatchUp::Once,
        ALL => CatchUp::All,
        SKIP => CatchUp::Skip { late_ms },
        found => {
            return Err(FrameError::Unknown {
                what: "catch-up policy",
                found,
            });
        }
    })
}

fn reply<'a>(r: &mut Bytes<'a>) -> Result<Effect<'a>, FrameError> {
    let request = r.u64("request")?;
    let status = r.u8("reply status")?;
    let ([code, message], payload) = texts(r)?;
    Ok(Effect::Reply {
        request,
        answer: match status {
            0 => Ok(payload),
            1 => Err(Failure {
                code,
                message,
                details: payload,
            }),
            found => {
                return Err(FrameError::Unknown {
                    what: "reply status",
                    found,
                });
            }
        },
    })
}

fn texts<'a, const N: usize>(r: &mut Bytes<'a>) -> Result<([&'a str; N], Payload<'a>), FrameError> {
    let content_type = wire::content_type(r.u8("content type")?)?;
    let mut lengths = [0u16; N];
    for length in &mut lengths {
        *length = r.u16("text length")?;
    }
    let mut texts = [""; N];
    for (text, length) in texts.iter_mut().zip(lengths) {
        *text = r.text(length, "text")?;
    }
    Ok((
        texts,
        Payload {
            content_type,
            bytes: r.rest(),
        },
    ))
}

fn plain<'a>(r: &mut Bytes<'a>) -> Result<&'a str, FrameError> {
    let ([text], payload) = texts(r)?;
    nothing(payload)?;
    Ok(text)
}

fn nothing(payload: Payload<'_>) -> Result<(), FrameError> {
    if payload.bytes.is_empty() {
        return Ok(());
    }
    Err(FrameError::Trailing {
        what: "the effect",
        left: payload.bytes.len(),
    })
}
