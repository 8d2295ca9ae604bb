//! What an entry of an agent's log says: the format, version 1.
//!
//! An entry says what was committed, so that the agent can be had again from a
//! snapshot and the entries after it without deciding anything anew: every outcome is
//! the recorded one. Numbers are LEB128 varints, texts and bytes have their length
//! before them.
//!
//! | what | |
//! |---|---|
//! | version, kind | a byte each |
//! | incarnation, epoch | who committed it: three numbers and two |
//! | now | nanoseconds since 1970-01-01 UTC |
//! | … | by kind |
//!
//! Of a batch of **turns** there follow: a byte of flags, which say also whether a
//! checkpoint of the memory was taken right before it; the terms it ran under, if they
//! are others than those before; its first turn's number; the frame and the
//! answer, byte for byte; each input in order, with why it was not put to the guest or
//! what the frame does not say of it; the numbers its effects got in their streams; the
//! streams that moved on, with their watermarks; and at times a hash of the memory
//! after it, which proves a replay. A message's method and payload stand in the frame
//! alone, and of an input that was skipped the payload is not kept.

mod terms;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use phoenix_wit::{FrameReader, Input as Framed};

use crate::agent::{Closed as How, Input, MessageVerdict, Skip};
use crate::snapshot::SnapshotError;
use crate::snapshot::codec::{Reader, Writer};
use crate::{
    AgentId, Body, Data, Digest, Envelope, Epoch, Incarnation, Lane, Millis, Nanos, Payload,
    Sender, SkipReason,
};

pub use terms::Terms;

/// The version this node writes and the only one it reads.
pub const RECORD_VERSION: u8 = 1;

const TURNS: u8 = 1;
const GIVEN_UP: u8 = 2;
const CLOSED: u8 = 3;
const HEARD: u8 = 4;
const TERMS: u8 = 5;
const BEGINS: u8 = 6;
const ANEW: u8 = 7;
const STOPS: u8 = 8;

/// Of a batch: its terms follow.
const HAS_TERMS: u8 = 1;
/// A hash of the memory follows.
const HAS_HASH: u8 = 1 << 1;
/// A checkpoint was taken right before it.
const AFTER_CHECKPOINT: u8 = 1 << 2;

/// Why an entry cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is not of a version this node reads.
    #[error("entry version {0}, and {RECORD_VERSION} is read")]
    Version(u8),
    /// It is of no known kind.
    #[error("an entry of the unknown kind {0}")]
    Kind(u8),
    /// It ends too early.
    #[error("the entry ends before its {0}")]
    Short(&'static str),
    /// Something in it cannot be.
    #[error("the entry's {0} is invalid")]
    Invalid(&'static str),
    /// Bytes are left behind it.
    #[error("the entry has {0} bytes too many")]
    Trailing(usize),
}

impl From<SnapshotError> for RecordError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Version(version) => Self::Version(version),
            SnapshotError::Short(what) => Self::Short(what),
            SnapshotError::Invalid(what) => Self::Invalid(what),
            // Said of whole snapshots alone.
            SnapshotError::Damaged => Self::Invalid("hash"),
            SnapshotError::Trailing(bytes) => Self::Trailing(bytes),
        }
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which life of the agent it is of.
    pub incarnation: Incarnation,
    /// Who committed it.
    pub epoch: Epoch,
    /// The time it was committed at; that of the turns, if it is of any.
    pub now: Nanos,
    /// What was committed.
    pub says: Says,
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// A life began with this, of which something is to be kept before its `init` ran:
    /// else the batch of that says so.
    Begins(Box<Payload>),
    /// A batch of turns.
    Turns(Box<Turns>),
    /// An input that faulted alone as often as it may, and was given up.
    GivenUp(Box<GivenUp>),
    /// Messages that ended before their turn.
    Closed(Vec<Closed>),
    /// Verdicts on what the agent sent.
    Heard(Vec<Heard>),
    /// From here on the agent runs under other terms.
    Terms(Box<Terms>),
    /// The life ends here, and another begins with what its streams have heard.
    Anew(Box<Anew>),
    /// No turn follows: the agent ends, for this reason, when what it sent has its
    /// verdicts.
    Stops(Arc<str>),
}

/// A new life, whose streams go on where they are: what had its verdict in the last one
/// is not applied in this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anew {
    /// Which life it is; the entry itself is of the last one.
    pub incarnation: Incarnation,
    /// What it begins with.
    pub config: Payload,
}

impl Record {
    /// The batch it is of, if it is of one.
    pub fn turns(&self) -> Option<&Turns> {
        match &self.says {
            Says::Turns(turns) => Some(turns),
            _ => None,
        }
    }
}

/// A batch of turns that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    /// The terms it ran under; `None` if they are those of the entry before, or of the
    /// snapshot.
    pub terms: Option<Terms>,
    /// Whether a checkpoint of the memory was taken since the batch before, whatever for:
    /// that zeroes dead stack, and what is put together there later has the zeros in its
    /// padding. A replay has to take one there too.
    pub after_checkpoint: bool,
    /// The number of its first turn.
    pub first: u64,
    /// The frame, exactly as it was put to the guest; empty if all inputs were skipped.
    pub frame: Bytes,
    /// The guest's answer: outcomes and effects. Empty if there was no frame.
    pub answer: Bytes,
    /// The inputs in order, those of the frame and those that were skipped.
    pub inputs: Vec<Put>,
    /// The numbers that effects got in their streams, in the order in which the answer
    /// has those that are kept until they have a verdict; empty if nobody noted them, for
    /// a replay gives them again.
    pub numbers: Vec<u64>,
    /// Streams whose messages are applied further than before.
    pub moved: Vec<Moved>,
    /// BLAKE3 of the memory after it; not with each batch.
    pub memory: Option<Digest>,
}

/// One input of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// What it was. An envelope comes back without its place in the agent's tables.
    pub input: Input,
    /// Why it is not in the frame, if it is not.
    pub skip: Option<Skip>,
}

/// An input that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The input.
    pub input: Input,
    /// What the last fault was: a trap, or a deadline that passed.
    pub why: Arc<str>,
    /// How often it was tried.
    pub attempts: u32,
    /// Up to which number all of its stream had their verdicts before; 0 if it is of none.
    pub through: u64,
}

/// A stream whose messages are applied up to `through`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Who speaks on it.
    pub sender: Sender,
    /// On which lane.
    pub lane: Lane,
    /// Applied, or closed, up to this number.
    pub through: u64,
}

/// A message that will never be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Who sent it.
    pub sender: Sender,
    /// On which lane.
    pub lane: Lane,
    /// Its number there.
    pub number: u64,
    /// When its sender gives it up: how long the stream is remembered.
    pub give_up: Millis,
    /// Up to which number all of the stream had their verdicts before.
    pub through: u64,
    /// Why. What a person reads of a dead letter's reason is not kept.
    pub reason: SkipReason,
    /// What goes on to another receiver in its place, as it stands in the outbox.
    pub forward: Option<Arc<Envelope>>,
}

/// A verdict on messages the agent sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who they were for.
    pub receiver: AgentId,
    /// On which lane.
    pub lane: Lane,
    /// The number of the message; of the last, if it is of several.
    pub number: u64,
    /// How they ended.
    pub verdict: Verdict,
}

/// How messages ended that the agent sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of them above this number were applied.
    Applied {
        /// The number.
        after: u64,
    },
    /// It went on to another receiver, which answers for it.
    Redirected,
    /// It was closed unapplied: why, in words.
    Skipped(Arc<str>),
    /// It was never taken, for this reason: turned down, or refused each time.
    Unavailable(Arc<str>),
    /// The agent gave it up.
    GivenUp {
        /// Whether it may have left, so that nobody knows what became of it.
        may_have_left: bool,
    },
}

/// Appends `record` to `out`.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    let mut w = Writer(out);
    w.u8(RECORD_VERSION);
    w.u8(match record.says {
        Says::Turns(_) => TURNS,
        Says::GivenUp(_) => GIVEN_UP,
        Says::Closed(_) => CLOSED,
        Says::Heard(_) => HEARD,
        Says::Terms(_) => TERMS,
        Says::Begins(_) => BEGINS,
        Says::Anew(_) => ANEW,
        Says::Stops(_) => STOPS,
    });
    w.incarnation(record.incarnation);
    w.number(record.epoch.generation);
    w.number(record.epoch.term);
    w.number(record.now.0);
    match &record.says {
        Says::Turns(turns) => turns.encode(&mut w),
        Says::GivenUp(given_up) => {
            w.input(&given_up.input, false);
            w.text(&given_up.why);
            w.number(given_up.attempts.into());
            w.number(given_up.through);
        }
        Says::Closed(all) => {
            w.number(all.len() as u64);
            for closed in all {
                w.sender(&closed.sender);
                w.u8(closed.lane as u8);
                w.number(closed.number);
                w.number(closed.give_up.0);
                w.number(closed.through);
                w.closed(&How::bare(&closed.reason));
                w.u8(u8::from(closed.forward.is_some()));
                if let Some(forward) = &closed.forward {
                    w.envelope(forward);
                }
            }
        }
        Says::Heard(all) => {
            w.number(all.len() as u64);
            for heard in all {
                w.text(heard.receiver.as_str());
                w.u8(heard.lane as u8);
                w.number(heard.number);
                heard.verdict.encode(&mut w);
            }
        }
        Says::Terms(terms) => terms.encode(&mut w),
        Says::Begins(config) => w.payload(config),
        Says::Anew(anew) => {
            w.incarnation(anew.incarnation);
            w.payload(&anew.config);
        }
        Says::Stops(why) => w.text(why),
    }
}

/// Reads an entry. Payloads are slices of `bytes`.
pub fn decode(bytes: &Bytes) -> Result<Record, RecordError> {
    let mut r = Reader::new(bytes, bytes.len());
    match r.u8("version")? {
        RECORD_VERSION => {}
        other => return Err(RecordError::Version(other)),
    }
    let kind = r.u8("kind")?;
    let incarnation = r.incarnation()?;
    let epoch = Epoch {
        generation: r.number("epoch")?,
        term: r.number("epoch")?,
    };
    let now = Nanos(r.number("now")?);
    let says = match kind {
        TURNS => Says::Turns(Box::new(Turns::decode(&mut r)?)),
        GIVEN_UP => Says::GivenUp(Box::new(GivenUp {
            input: get_input(&mut r, None)?,
            why: r.text("reason")?.into(),
            attempts: u32::try_from(r.number("attempts")?)
                .map_err(|_| RecordError::Invalid("attempts"))?,
            through: r.number("watermark")?,
        })),
        CLOSED => Says::Closed(list(&mut r, 7, "closed messages", |r| {
            Ok(Closed {
                sender: r.sender()?,
                lane: r.lane()?,
                number: r.number("number")?,
                give_up: Millis(r.number("give-up")?),
                through: r.number("watermark")?,
                reason: match r.closed()? {
                    How::For(reason) => reason,
                    How::Quietly | How::Unknown => return Err(RecordError::Invalid("reason")),
                },
                forward: if r.flag("redirect")? {
                    Some(Arc::new(r.envelope()?))
                } else {
                    None
                },
            })
        })?),
        HEARD => Says::Heard(list(&mut r, 6, "verdicts", |r| {
            Ok(Heard {
                receiver: r.agent()?,
                lane: r.lane()?,
                number: r.number("number")?,
                verdict: Verdict::decode(r)?,
            })
        })?),
        TERMS => Says::Terms(Box::new(Terms::decode(&mut r)?)),
        BEGINS => Says::Begins(Box::new(r.payload()?)),
        ANEW => Says::Anew(Box::new(Anew {
            incarnation: r.incarnation()?,
            config: r.payload()?,
        })),
        STOPS => Says::Stops(r.text("stop")?.into()),
        other => return Err(RecordError::Kind(other)),
    };
    if !r.is_empty() {
        return Err(RecordError::Trailing(bytes.len() - r.at(bytes.len())));
    }
    Ok(Record {
        incarnation,
        epoch,
        now,
        says,
    })
}

impl Verdict {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Applied { after } => {
                w.u8(0);
                w.number(*after);
            }
            Self::Redirected => w.u8(1),
            Self::Skipped(why) => {
                w.u8(2);
                w.text(why);
            }
            Self::Unavailable(why) => {
                w.u8(5);
                w.text(why);
            }
            Self::GivenUp { may_have_left } => w.u8(3 + u8::from(*may_have_left)),
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(match r.u8("verdict")? {
            0 => Self::Applied {
                after: r.number("verdict")?,
            },
            1 => Self::Redirected,
            2 => Self::Skipped(r.text("verdict")?.into()),
            3 => Self::GivenUp {
                may_have_left: false,
            },
            4 => Self::GivenUp {
                may_have_left: true,
            },
            5 => Self::Unavailable(r.text("verdict")?.into()),
            _ => return Err(RecordError::Invalid("verdict")),
        })
    }
}

impl Turns {
    /// How many were put to the guest.
    pub fn count(&self) -> u32 {
        let put = self.inputs.iter().filter(|put| put.skip.is_none());
        u32::try_from(put.count()).unwrap_or(u32::MAX)
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let flag = |is_there, bit| if is_there { bit } else { 0 };
        w.u8(flag(self.terms.is_some(), HAS_TERMS)
            | flag(self.memory.is_some(), HAS_HASH)
            | flag(self.after_checkpoint, AFTER_CHECKPOINT));
        if let Some(terms) = &self.terms {
            terms.encode(w);
        }
        w.number(self.first);
        w.bytes(&self.frame);
        w.bytes(&self.answer);
        w.number(self.inputs.len() as u64);
        for put in &self.inputs {
            w.u8(skip_number(put.skip));
            w.input(&put.input, put.skip.is_none());
        }
        w.number(self.numbers.len() as u64);
        for number in &self.numbers {
            w.number(*number);
        }
        w.number(self.moved.len() as u64);
        for moved in &self.moved {
            w.sender(&moved.sender);
            w.u8(moved.lane as u8);
            w.number(moved.through);
        }
        if let Some(memory) = &self.memory {
            w.0.extend_from_slice(&memory.0);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        let flags = r.u8("flags")?;
        if flags & !(HAS_TERMS | HAS_HASH | AFTER_CHECKPOINT) != 0 {
            return Err(RecordError::Invalid("flags"));
        }
        let terms = if flags & HAS_TERMS != 0 {
            Some(Terms::decode(r)?)
        } else {
            None
        };
        let first = r.number("turn")?;
        let frame = r.bytes("frame")?;
        let answer = r.bytes("answer")?;
        let mut framed = if frame.is_empty() {
            None
        } else {
            Some(FrameReader::new(&frame).map_err(|_| RecordError::Invalid("frame"))?)
        };
        let mut inputs = Vec::new();
        for _ in 0..r.count(2, "inputs")? {
            let skip = skip_of(r.u8("skip")?)?;
            let turn = match (&mut framed, skip) {
                (_, Some(_)) => None,
                (None, None) => return Err(RecordError::Invalid("frame")),
                (Some(framed), None) => {
                    let turn = framed.next_turn();
                    let turn = turn.map_err(|_| RecordError::Invalid("frame"))?;
                    Some(turn.ok_or(RecordError::Invalid("frame"))?.input)
                }
            };
            let input = get_input(r, turn.map(|turn| (turn, &frame)))?;
            inputs.push(Put { input, skip });
        }
        if let Some(framed) = &mut framed
            && framed.next_turn() != Ok(None)
        {
            return Err(RecordError::Invalid("frame"));
        }
        Ok(Self {
            terms,
            after_checkpoint: flags & AFTER_CHECKPOINT != 0,
            first,
            frame,
            answer,
            inputs,
            numbers: list(r, 1, "numbers", |r| Ok(r.number("number")?))?,
            moved: list(r, 3, "streams", |r| {
                Ok(Moved {
                    sender: r.sender()?,
                    lane: r.lane()?,
                    through: r.number("watermark")?,
                })
            })?,
            memory: if flags & HAS_HASH != 0 {
                Some(Digest(r.array("memory hash")?))
            } else {
                None
            },
        })
    }
}

/// A list of things that take at least `least` bytes each.
fn list<T>(
    r: &mut Reader<'_>,
    least: usize,
    what: &'static str,
    mut one: impl FnMut(&mut Reader<'_>) -> Result<T, RecordError>,
) -> Result<Vec<T>, RecordError> {
    (0..r.count(least, what)?).map(|_| one(r)).collect()
}

fn skip_number(skip: Option<Skip>) -> u8 {
    match skip {
        None => 0,
        Some(Skip::Expired) => 1,
        Some(Skip::Cancelled) => 2,
        Some(Skip::LateReply) => 3,
        Some(Skip::Nothing) => 4,
        Some(Skip::Missed) => 5,
    }
}

fn skip_of(number: u8) -> Result<Option<Skip>, RecordError> {
    Ok(match number {
        0 => None,
        1 => Some(Skip::Expired),
        2 => Some(Skip::Cancelled),
        3 => Some(Skip::LateReply),
        4 => Some(Skip::Nothing),
        5 => Some(Skip::Missed),
        _ => return Err(RecordError::Invalid("skip")),
    })
}

/// Reads an input; of one that is in the frame, `turn` is what that says of it.
fn get_input(r: &mut Reader<'_>, turn: Option<(Framed<'_>, &Bytes)>) -> Result<Input, RecordError> {
    Ok(match r.u8("input")? {
        0 => Input::Init {
            config: Box::new(r.payload()?),
        },
        1 => Input::Envelope(Arc::new(envelope(r, turn)?), None),
        2 => Input::Ended {
            ask: r.number("ask")?,
            reply: Box::new(r.reply()?),
        },
        3 => Input::Timer {
            id: r.number("timer")?,
            due: Millis(r.number("due")?),
        },
        4 => Input::Abandoned {
            ask: r.number("ask")?,
        },
        5 => Input::Verdict(match turn {
            None => Box::new(MessageVerdict::decode(r)?),
            Some((Framed::Verdict { token, to, verdict }, _)) => {
                MessageVerdict::of_wit(token, to, verdict).ok_or(RecordError::Invalid("frame"))?
            }
            Some(_) => return Err(RecordError::Invalid("frame")),
        }),
        _ => return Err(RecordError::Invalid("input")),
    })
}

fn envelope(
    r: &mut Reader<'_>,
    turn: Option<(Framed<'_>, &Bytes)>,
) -> Result<Envelope, RecordError> {
    let Some((turn, frame)) = turn else {
        return Ok(r.envelope()?);
    };
    let framed = match turn {
        Framed::Message {
            method, payload, ..
        } => Some((
            method,
            Payload {
                content_type: payload.content_type,
                bytes: Data::in_place(payload.bytes)
                    .unwrap_or_else(|| frame.slice_ref(payload.bytes).into()),
            },
        )),
        _ => None,
    };
    let is_message = framed.is_some();
    let envelope = r.framed_envelope(framed.unwrap_or_default())?;
    if matches!(envelope.body, Body::Message { .. }) != is_message {
        return Err(RecordError::Invalid("frame"));
    }
    Ok(envelope)
}
