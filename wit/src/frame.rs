//! Input frames: what the host gives a guest.

use crate::wire::{self, Bytes, FrameError};
use crate::{ContentType, FRAME_VERSION, Failure, Payload, Reply, Verdict};

const INIT: u8 = 0;
const MESSAGE: u8 = 1;
const REPLY: u8 = 2;
const TIMER: u8 = 3;
const DESCRIBE: u8 = 4;
const BOUNCED: u8 = 5;
const VERDICT: u8 = 6;

/// Bytes of a turn's record before its texts, its length field not included.
const TURN_HEAD: usize = 32;

/// One turn as it is put to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<'a> {
    /// Counted from 0 at the agent's creation.
    pub number: u64,
    /// Nanoseconds since 1970-01-01 UTC, fixed for the turn.
    pub now: u64,
    /// What the turn is about.
    pub input: Input<'a>,
}

/// What a turn is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// The agent begins.
    Init {
        /// What it was spawned with.
        config: Payload<'a>,
    },
    /// Somebody's message.
    Message {
        /// Who sent it.
        source: &'a str,
        /// Which handler it is for.
        method: &'a str,
        /// What it carries.
        payload: Payload<'a>,
        /// Whether the sender waits for an answer. The request's number is the turn's.
        request: bool,
        /// When the sender stops waiting, nanoseconds since 1970-01-01 UTC; 0 if it
        /// does not wait.
        deadline: u64,
    },
    /// One of the agent's asks has ended.
    Reply {
        /// The agent's number for it.
        ask: u64,
        /// How it ended.
        reply: Reply<'a>,
    },
    /// One of the agent's timers is due.
    Timer {
        /// The agent's number for it.
        id: u64,
        /// The handler it names.
        method: &'a str,
        /// What it carries.
        payload: Payload<'a>,
    },
    /// A message the agent sent came back.
    Bounced {
        /// Whom it was for.
        to: &'a str,
        /// Which handler it was for.
        method: &'a str,
        /// What it carried.
        payload: Payload<'a>,
        /// Why it came back: a stable word, and more after a colon.
        reason: &'a str,
        /// Whether it may have been applied all the same.
        unsure: bool,
    },
    /// What became of a message that the agent sent with a token.
    Verdict {
        /// The token.
        token: u64,
        /// Whom the message was for.
        to: &'a str,
        /// What became of it.
        verdict: Verdict<'a>,
    },
    /// What handlers are there? Put at deployment only; changes nothing.
    Describe,
}

/// Writes an input frame.
#[derive(Debug)]
pub struct FrameWriter {
    buf: Vec<u8>,
    count: u32,
}

impl FrameWriter {
    /// Starts a frame for the agent `id` (at most [`crate::MAX_TEXT`] bytes, longer is cut) in `buf`,
    /// whose old content is dropped and whose room is reused.
    pub fn new(mut buf: Vec<u8>, id: &str, seed: u64) -> Self {
        let id = wire::short(id);
        buf.clear();
        buf.extend_from_slice(&[FRAME_VERSION, 0]);
        buf.extend_from_slice(&wire::text_len(id));
        buf.extend_from_slice(&0u32.to_le_bytes());
        buf.extend_from_slice(&seed.to_le_bytes());
        buf.extend_from_slice(id.as_bytes());
        Self { buf, count: 0 }
    }

    /// Adds a turn.
    #[inline]
    pub fn push(&mut self, turn: &Turn<'_>) {
        let none = Payload::default();
        let (kind, status, flag, id, a, b, payload) = match turn.input {
            Input::Init { config } => (INIT, 0, 0, 0, "", "", config),
            Input::Message {
                source,
                method,
                payload,
                request,
                deadline,
            } => (
                MESSAGE,
                0,
                u8::from(request),
                deadline,
                source,
                method,
                payload,
            ),
            Input::Timer {
                id,
                method,
                payload,
            } => (TIMER, 0, 0, id, "", method, payload),
            Input::Describe => (DESCRIBE, 0, 0, 0, "", "", none),
            Input::Bounced { .. } => return self.push_bounced(turn),
            Input::Verdict { token, to, verdict } => {
                let (status, reason) = match verdict {
                    Verdict::Applied => (0, ""),
                    Verdict::NotApplied { reason } => (1, reason),
                    Verdict::Unsure { reason } => (2, reason),
                };
                (VERDICT, status, 0, token, to, reason, none)
            }
            Input::Reply { ask, reply } => match reply {
                Reply::Ok(payload) => (REPLY, 0, 0, ask, "", "", payload),
                Reply::Failed(f) => (REPLY, 1, 0, ask, f.message, f.code, f.details),
                Reply::Timeout => (REPLY, 2, 0, ask, "", "", none),
                Reply::Bounced(why) => (REPLY, 3, 0, ask, why, "", none),
                Reply::Deadlock => (REPLY, 4, 0, ask, "", "", none),
                Reply::Unavailable(why) => (REPLY, 5, 0, ask, why, "", none),
                Reply::Abandoned => (REPLY, 6, 0, ask, "", "", none),
            },
        };
        let (a, b) = (wire::short(a), wire::short(b));
        let tail = a.len() + b.len() + payload.bytes.len();
        let marks = [kind, payload.content_type as u8, status, flag];
        self.buf.reserve(36 + tail);
        self.buf
            .extend_from_slice(&head(turn, marks, id, a, b, tail));
        self.buf.extend_from_slice(a.as_bytes());
        self.buf.extend_from_slice(b.as_bytes());
        self.buf.extend_from_slice(payload.bytes);
        self.count += 1;
    }

    /// Adds a turn about a message that came back, the only kind with three texts.
    #[cold]
    fn push_bounced(&mut self, turn: &Turn<'_>) {
        let Input::Bounced {
            to,
            method,
            payload,
            reason,
            unsure,
        } = turn.input
        else {
            return;
        };
        let (to, method, reason) = (wire::short(to), wire::short(method), wire::short(reason));
        let tail = to.len() + method.len() + reason.len() + payload.bytes.len();
        let marks = [BOUNCED, payload.content_type as u8, 0, u8::from(unsure)];
        let id = reason.len() as u64;
        self.buf
            .extend_from_slice(&head(turn, marks, id, to, method, tail));
        for bytes in [
            to.as_bytes(),
            method.as_bytes(),
            reason.as_bytes(),
            payload.bytes,
        ] {
            self.buf.extend_from_slice(bytes);
        }
        self.count += 1;
    }

    /// Turns written so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether no turn has been written.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The frame.
    pub fn finish(mut self) -> Vec<u8> {
        wire::patch_u32(&mut self.buf, 4, self.count as usize);
        self.buf
    }
}

/// A turn's record up to its texts, `tail` bytes of which follow with the rest.
#[inline(always)]
fn head(turn: &Turn<'_>, marks: [u8; 4], id: u64, a: &str, b: &str, tail: usize) -> [u8; 36] {
    let len = u32::try_from(TURN_HEAD + tail).unwrap_or(u32::MAX);
    let mut head = [0u8; 36];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..8].copy_from_slice(&marks);
    head[8..16].copy_from_slice(&turn.number.to_le_bytes());
    head[16..24].copy_from_slice(&turn.now.to_le_bytes());
    head[24..32].copy_from_slice(&id.to_le_bytes());
    head[32..34].copy_from_slice(&wire::text_len(a));
    head[34..36].copy_from_slice(&wire::text_len(b));
    head
}

/// Reads an input frame.
#[derive(Clone, Debug)]
pub struct FrameReader<'a> {
    id: &'a str,
    seed: u64,
    left: u32,
    bytes: Bytes<'a>,
    /// The last turn's texts: those of the next are mostly the same, and then need
    /// not be looked over again.
    source: &'a str,
    method: &'a str,
}

impl<'a> FrameReader<'a> {
    /// Reads the header.
    pub fn new(frame: &'a [u8]) -> Result<Self, FrameError> {
        let mut bytes = Bytes::new(frame);
        let version = bytes.u8("version")?;
        if version != FRAME_VERSION {
            return Err(FrameError::Version {
                found: version,
                expected: FRAME_VERSION,
            });
        }
        bytes.u8("header")?;
        let id = bytes.u16("id length")?;
        let left = bytes.u32("turn count")?;
        let seed = bytes.u64("seed")?;
        let id = bytes.text(id, "agent id")?;
        Ok(Self {
            id,
            seed,
            left,
            bytes,
            source: "",
            method: "",
        })
    }

    /// The agent the frame is for.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// The agent's random seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Turns not read yet, by the header's word.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The next turn, or `None` at the frame's end.
    #[inline(always)]
    pub fn next_turn(&mut self) -> Result<Option<Turn<'a>>, FrameError> {
        if self.left == 0 {
            self.bytes.end("the last turn")?;
            return Ok(None);
        }
        self.left -= 1;
        let len = self.bytes.u32("turn length")? as usize;
        let mut r = Bytes::new(self.bytes.take(len, "turn")?);
        // All at once, so that its fields need no looking at what is left.
        let mut head = Bytes::new(r.take(TURN_HEAD, "turn head")?);
        let kind = head.u8("turn kind")?;
        let content_type = wire::content_type(head.u8("content type")?)?;
        let status = head.u8("status")?;
        let flag = head.u8("flag")?;
        let number = head.u64("turn number")?;
        let now = head.u64("now")?;
        let id = head.u64("id")?;
        let (a, b) = (head.u16("text length")?, head.u16("text length")?);
        let a = r.take(usize::from(a), "source")?;
        let b = r.take(usize::from(b), "method")?;
        wire::again(a, "source", &mut self.source)?;
        wire::again(b, "method", &mut self.method)?;
        let (a, b) = (self.source, self.method);
        let bytes = r.rest();
        let input = if kind == MESSAGE {
            Input::Message {
                source: a,
                method: b,
                payload: Payload {
                    content_type,
                    bytes,
                },
                request: flag == 1,
                deadline: id,
            }
        } else {
            let payload = Payload {
                content_type,
                bytes,
            };
            input([kind, status, flag], id, a, b, payload)?
        };
        Ok(Some(Turn { number, now, input }))
    }
}

/// What a turn is about that is no message.
#[inline(never)]
fn input<'a>(
    [kind, status, flag]: [u8; 3],
    id: u64,
    a: &'a str,
    b: &'a str,
    payload: Payload<'a>,
) -> Result<Input<'a>, FrameError> {
    Ok(match kind {
        INIT => Input::Init { config: payload },
        TIMER => Input::Timer {
            id,
            method: b,
            payload,
        },
        DESCRIBE => Input::Describe,
        BOUNCED => {
            let mut rest = Bytes::new(payload.bytes);
            let length = u16::try_from(id).map_err(|_| FrameError::Short {
                what: "reason",
                needed: usize::try_from(id).unwrap_or(usize::MAX),
                left: payload.bytes.len(),
            })?;
            let reason = rest.text(length, "reason")?;
            Input::Bounced {
                to: a,
                method: b,
                payload: Payload {
                    content_type: payload.content_type,
                    bytes: rest.rest(),
                },
                reason,
                unsure: flag == 1,
            }
        }
        VERDICT => {
            if !payload.bytes.is_empty() {
                return Err(FrameError::Trailing {
                    what: "the verdict",
                    left: payload.bytes.len(),
                });
            }
            Input::Verdict {
                token: id,
                to: a,
                verdict: match status {
                    0 => Verdict::Applied,
                    1 => Verdict::NotApplied { reason: b },
                    2 => Verdict::Unsure { reason: b },
                    found => {
                        return Err(FrameError::Unknown {
                            what: "verdict",
                            found,
                        });
                    }
                },
            }
        }
        REPLY => Input::Reply {
            ask: id,
            reply: match status {
                0 => Reply::Ok(payload),
                1 => Reply::Failed(Failure {
                    code: b,
                    message: a,
                    details: payload,
                }),
                2 => Reply::Timeout,
                3 => Reply::Bounced(a),
                4 => Reply::Deadlock,
                5 => Reply::Unavailable(a),
                6 => Reply::Abandoned,
                found => {
                    return Err(FrameError::Unknown {
                        what: "reply status",
                        found,
                    });
                }
            },
        },
        found => {
            return Err(FrameError::Unknown {
                what: "turn kind",
                found,
            });
        }
    })
}

impl<'a> Payload<'a> {
    /// No payload.
    pub const NONE: Payload<'static> = Payload {
        content_type: ContentType::None,
        bytes: &[],
    };

    /// MessagePack bytes.
    pub fn message_pack(bytes: &'a [u8]) -> Self {
        Self {
            content_type: ContentType::MessagePack,
            bytes,
        }
    }
}
