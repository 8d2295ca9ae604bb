//! The format of an agent's snapshot: everything the agent is, sealed by a hash.
//!
//! A snapshot is the same bytes asleep in memory and on its way between nodes.
//! In this order: version, flags, the attempt that it is shipped by (of a durable
//! agent), component digest, agent id, incarnation,
//! seed, turn, `now`, pending handlers, why it stopped, the marks its mailbox has to
//! fall to if its senders hold, streams that arrive with what was closed ahead of
//! its turn, or where the table that has them ends ([`streams`]), streams that leave with what has no verdict, open asks, open requests,
//! timers, the mailbox (of a moving agent), the memory image, and BLAKE3 over all
//! of it. Spilled messages are not in it: they follow a moving agent as messages.
//!
//! The memory image is the host's own format; here it is bytes.

pub(crate) mod codec;
pub mod streams;
mod timing;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::agent::{Agent, Amount, Holding, Input, Kept, MessageVerdict, OpenAsk, Timer};
use crate::{AgentId, Digest, Envelope, MigrationId, Millis, Nanos, StreamKey};
use codec::{Reader, Writer};
use streams::Beside;

/// The version this node writes and the only one it reads.
pub const SNAPSHOT_VERSION: u8 = 5;

/// Bytes of the hash that seals a snapshot.
const SEAL: usize = 32;

/// The agent's `init` has committed.
const BEGUN: u8 = 1;
/// It is shipped by an attempt to move it, which follows.
const SHIPPED: u8 = 1 << 1;
/// Its streams that arrive are in a table beside it.
const STREAMS_BESIDE: u8 = 1 << 2;

/// A message of the outbox has its verdict.
const CLOSED: u8 = 1;
/// A message of the outbox has left.
const SENT: u8 = 1 << 1;
/// It has left more than once: how often follows.
const RETRIED: u8 = 1 << 2;
/// It is sent again in a way of its own, which follows.
const OWN_RETRY: u8 = 1 << 3;
/// Its agent wants to hear of it by a token, which follows.
const TOKEN: u8 = 1 << 4;

/// Why a snapshot cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is not of a version this node reads.
    #[error("snapshot version {0}, and {SNAPSHOT_VERSION} is read")]
    Version(u8),
    /// It ends too early.
    #[error("the snapshot ends before its {0}")]
    Short(&'static str),
    /// Something in it cannot be.
    #[error("the snapshot's {0} is invalid")]
    Invalid(&'static str),
    /// Its hash is not that of its bytes.
    #[error("the snapshot is damaged: its hash is not that of its bytes")]
    Damaged,
    /// Bytes are left behind it.
    #[error("the snapshot has {0} bytes too many")]
    Trailing(usize),
}

/// A snapshot, read.
#[derive(Debug)]
pub struct Snapshot {
    /// The agent, without its memory. Its outbox is sent again.
    pub agent: Agent,
    /// The component it runs, as deployed.
    pub component: Digest,
    /// The memory, in the host's format. Empty if the agent has not begun.
    pub image: Bytes,
    /// The attempt to move it that it was shipped by, if it says so: whose copy counts
    /// is then the directory's to say.
    pub shipped_by: Option<MigrationId>,
}

/// Writes a snapshot into `out`, whose old content is dropped.
pub fn encode(agent: &Agent, component: &Digest, image: &[u8], out: &mut Vec<u8>) {
    encode_with(agent, component, image, (None, None), out);
}

/// The same of one that is shipped, and says by which attempt: so that a node which
/// finds it in its journal knows that it may be a copy that never counted.
pub fn encode_shipped(
    agent: &Agent,
    component: &Digest,
    image: &[u8],
    shipped_by: Option<MigrationId>,
    out: &mut Vec<u8>,
) {
    encode_with(agent, component, image, (shipped_by, None), out);
}

/// The same without the streams that arrive, if there is a table that has them.
pub fn encode_beside(
    agent: &Agent,
    component: &Digest,
    image: &[u8],
    beside: Option<Beside>,
    out: &mut Vec<u8>,
) {
    encode_with(agent, component, image, (None, beside), out);
}

fn encode_with(
    agent: &Agent,
    component: &Digest,
    image: &[u8],
    (shipped_by, beside): (Option<MigrationId>, Option<Beside>),
    out: &mut Vec<u8>,
) {
    out.clear();
    let mut w = Writer(out);
    w.u8(SNAPSHOT_VERSION);
    let begun = if agent.begun { BEGUN } else { 0 };
    let shipped = if shipped_by.is_some() { SHIPPED } else { 0 };
    let streams = if beside.is_some() { STREAMS_BESIDE } else { 0 };
    w.u8(begun | shipped | streams);
    if let Some(migration) = shipped_by {
        w.0.extend_from_slice(&migration.0.to_le_bytes());
    }
    w.0.extend_from_slice(&component.0);
    w.text(agent.id.as_str());
    w.incarnation(agent.incarnation);
    w.0.extend_from_slice(&agent.seed.to_le_bytes());
    w.number(agent.turn);
    w.number(agent.now.0);
    w.number(u64::from(agent.pending));
    w.u8(u8::from(agent.stopped.is_some()));
    if let Some(why) = &agent.stopped {
        w.text(why);
    }
    w.u8(u8::from(agent.holding.is_some()));
    if let Some(Holding { low, high }) = agent.holding {
        w.number(low.messages);
        w.number(low.bytes);
        w.number(high);
    }
    w.number(agent.inbound.forgotten().0);
    match beside {
        Some(beside) => beside.encode(&mut w),
        None => w.streams(&agent.inbound),
    }
    w.number(agent.outbox.floor());
    w.number(agent.outbox.stream_count() as u64);
    for stream in agent.outbox.iter() {
        w.text(stream.key.receiver.as_str());
        w.u8(stream.key.lane as u8);
        w.number(stream.next);
        w.number(stream.kept.len() as u64);
        for kept in &stream.kept {
            let closed = if kept.closed { CLOSED } else { 0 };
            let tries = match kept.tries {
                0 => 0,
                1 => SENT,
                _ => RETRIED,
            };
            let retry = if kept.retry.is_some() { OWN_RETRY } else { 0 };
            let token = if kept.token.is_some() { TOKEN } else { 0 };
            w.u8(closed | tries | retry | token);
            if kept.tries > 1 {
                w.number(kept.tries.into());
            }
            if let Some(retry) = &kept.retry {
                w.retry(retry);
            }
            if let Some(token) = kept.token {
                w.number(token.get());
            }
            w.envelope(&kept.envelope);
        }
    }
    encode_tables(agent, &mut w);
    w.number(agent.mailbox.len() as u64);
    for input in agent.mailbox.iter() {
        w.input(input, false);
    }
    w.bytes(image);
    let seal = Digest::of(out);
    out.extend_from_slice(&seal.0);
}

/// Open asks, requests and timers, each in the order of its numbers.
fn encode_tables(agent: &Agent, w: &mut Writer<'_>) {
    let mut asks: Vec<_> = agent.asks.iter().collect();
    asks.sort_unstable_by_key(|(id, _)| **id);
    w.number(asks.len() as u64);
    for (id, ask) in asks {
        w.number(*id);
        w.number(ask.deadline.0);
        w.u8(u8::from(ask.ended));
        w.number(ask.made.0);
        w.text(ask.stream.receiver.as_str());
        w.u8(ask.stream.lane as u8);
        w.number(ask.number);
        w.u8(u8::from(ask.waiter.is_some()));
        if let Some(handler) = ask.waiter {
            w.number(handler);
        }
    }
    let mut requests: Vec<_> = agent.requests.iter().collect();
    requests.sort_unstable_by_key(|(turn, _)| **turn);
    w.number(requests.len() as u64);
    for (turn, ask) in requests {
        w.number(*turn);
        w.ask(ask);
    }
    w.number(agent.timers.len() as u64);
    for (id, timer) in agent.timers.iter() {
        w.number(*id);
        w.number(timer.due.0);
        w.timing(&timer.timing);
        w.text(&timer.method);
        w.payload(&timer.payload);
    }
}

/// Appends one message, as it stands in a snapshot, to `out`.
pub fn encode_envelope(envelope: &Envelope, out: &mut Vec<u8>) {
    Writer(out).envelope(envelope);
}

/// Reads what [`encode_envelope`] wrote. Payloads are slices of `bytes`.
pub fn decode_envelope(bytes: &Bytes) -> Result<Envelope, SnapshotError> {
    let mut r = Reader::new(bytes, bytes.len());
    let envelope = r.envelope()?;
    if !r.is_empty() {
        return Err(SnapshotError::Trailing(bytes.len() - r.at(bytes.len())));
    }
    Ok(envelope)
}

/// The agent a snapshot is of, without reading all of it or checking its hash.
pub fn peek_agent(snapshot: &[u8]) -> Option<&str> {
    let shipped = usize::from(snapshot.get(1)? & SHIPPED != 0);
    let rest = snapshot.get(2 + 16 * shipped + 32..)?;
    // An id is at most 320 bytes, so its length takes one or two bytes.
    let (length, at) = match rest {
        [low, ..] if *low < 0x80 => (usize::from(*low), 1),
        [low, high, ..] if *high < 0x80 => (usize::from(*low & 0x7f) | usize::from(*high) << 7, 2),
        _ => return None,
    };
    std::str::from_utf8(rest.get(at..at + length)?).ok()
}

/// The attempt to move its agent that a snapshot was shipped by, likewise.
pub fn peek_attempt(snapshot: &[u8]) -> Option<MigrationId> {
    let head = Bytes::copy_from_slice(snapshot.get(..2 + 16)?);
    let mut r = Reader::new(&head, head.len());
    r.u8("version").ok()?;
    flags(&mut r).ok()?.1
}

/// Turns committed by the agent a snapshot is of, likewise.
pub fn peek_turns(snapshot: &[u8]) -> Option<u64> {
    let whole = Bytes::copy_from_slice(snapshot.get(..snapshot.len().min(1_024))?);
    let mut r = Reader::new(&whole, whole.len());
    r.u8("version").ok()?;
    flags(&mut r).ok()?;
    r.array::<32>("component").ok()?;
    r.agent().ok()?;
    r.incarnation().ok()?;
    r.array::<8>("seed").ok()?;
    r.number("turn").ok()
}

/// Reads a snapshot and checks its hash.
pub fn decode(bytes: &Bytes) -> Result<Snapshot, SnapshotError> {
    decode_beside(bytes, &[])
}

/// The same with what [`Beside`] names of the table that has its streams.
pub fn decode_beside(bytes: &Bytes, table: &[Bytes]) -> Result<Snapshot, SnapshotError> {
    let end = bytes
        .len()
        .checked_sub(SEAL)
        .ok_or(SnapshotError::Short("hash"))?;
    match bytes.first() {
        Some(&SNAPSHOT_VERSION) => {}
        Some(&version) => return Err(SnapshotError::Version(version)),
        None => return Err(SnapshotError::Short("version")),
    }
    let (body, seal) = bytes.split_at(end);
    if Digest::of(body).0 != seal {
        return Err(SnapshotError::Damaged);
    }
    let mut r = Reader::new(bytes, end);
    r.u8("version")?;
    let (flags, shipped_by) = flags(&mut r)?;
    let component = Digest(r.array("component")?);
    let id = r.agent()?;
    let incarnation = r.incarnation()?;
    let seed = u64::from_le_bytes(r.array("seed")?);
    let mut agent = Agent::bare(id, incarnation, seed);
    agent.begun = flags & BEGUN != 0;
    agent.turn = r.number("turn")?;
    agent.now = Nanos(r.number("now")?);
    agent.pending =
        u16::try_from(r.number("pending")?).map_err(|_| SnapshotError::Invalid("pending"))?;
    if r.flag("stop")? {
        agent.stopped = Some(r.text("stop")?.into());
    }
    if r.flag("marks")? {
        agent.holding = Some(Holding {
            low: Amount {
                messages: r.number("marks")?,
                bytes: r.number("marks")?,
            },
            high: r.number("marks")?,
        });
    }
    let forgotten = Millis(r.number("give-up")?);
    agent.inbound.restore_forgotten(forgotten);
    let adopted = if flags & STREAMS_BESIDE != 0 {
        Beside::decode(&mut r)?.read(&mut agent, table)?
    } else {
        streams::decode(&mut agent, &mut r)?
    };
    decode_outbox(&mut agent, &mut r)?;
    decode_tables(&mut agent, &mut r)?;
    decode_mailbox(&mut agent, &mut r)?;
    for (at, first) in adopted {
        // Only now: what was in the mailbox did not come from their senders.
        agent.inbound.begin_adopted(at, first);
    }
    // Whoever made the snapshot still has what came with it.
    agent.mark_shipped();
    let image = r.bytes("image")?;
    if !r.is_empty() {
        return Err(SnapshotError::Trailing(end - r.at(end)));
    }
    Ok(Snapshot {
        agent,
        component,
        image,
        shipped_by,
    })
}

/// Passes what stands between the flags and the streams that arrive.
fn skip_head(r: &mut Reader<'_>) -> Result<(), SnapshotError> {
    r.array::<32>("component")?;
    r.agent()?;
    r.incarnation()?;
    r.array::<8>("seed")?;
    for what in ["turn", "now", "pending"] {
        r.number(what)?;
    }
    if r.flag("stop")? {
        r.text("stop")?;
    }
    if r.flag("marks")? {
        for _ in 0..3 {
            r.number("marks")?;
        }
    }
    Ok(())
}

/// The flags, and the attempt that it is shipped by.
fn flags(r: &mut Reader<'_>) -> Result<(u8, Option<MigrationId>), SnapshotError> {
    let flags = r.u8("flags")?;
    if flags & !(BEGUN | SHIPPED | STREAMS_BESIDE) != 0 {
        return Err(SnapshotError::Invalid("flags"));
    }
    let shipped_by = if flags & SHIPPED != 0 {
        Some(MigrationId(u128::from_le_bytes(r.array("attempt")?)))
    } else {
        None
    };
    Ok((flags, shipped_by))
}

fn decode_outbox(agent: &mut Agent, r: &mut Reader<'_>) -> Result<(), SnapshotError> {
    let floor = r.number("floor")?;
    agent.outbox.restore_floor(floor);
    for _ in 0..r.count(4, "outbox")? {
        let key = StreamKey::shared(agent.sender(), r.agent()?, r.lane()?);
        let next = r.number("next")?;
        if next == 0 {
            return Err(SnapshotError::Invalid("next"));
        }
        let mut kept = VecDeque::new();
        let mut expected = None;
        for _ in 0..r.count(4, "outbox")? {
            let marks = r.u8("outbox")?;
            if marks & !(CLOSED | SENT | RETRIED | OWN_RETRY | TOKEN) != 0 {
                return Err(SnapshotError::Invalid("outbox"));
            }
            let tries = match marks & (SENT | RETRIED) {
                RETRIED => u32::try_from(r.number("outbox")?)
                    .ok()
                    .filter(|tries| *tries > 1)
                    .ok_or(SnapshotError::Invalid("outbox"))?,
                SENT => 1,
                0 => 0,
                _ => return Err(SnapshotError::Invalid("outbox")),
            };
            let retry = if marks & OWN_RETRY != 0 {
                Some(Box::new(r.retry()?))
            } else {
                None
            };
            let token = if marks & TOKEN != 0 {
                Some(r.token()?)
            } else {
                None
            };
            let mut envelope = r.envelope()?;
            let sequence = envelope.sequence.ok_or(SnapshotError::Invalid("outbox"))?;
            let in_order = expected.is_none_or(|expected| expected == sequence.number);
            if !in_order || sequence.number >= next || envelope.stream != key {
                return Err(SnapshotError::Invalid("outbox"));
            }
            envelope.stream = key.clone();
            expected = Some(sequence.number + 1);
            kept.push_back(Kept {
                envelope: Arc::new(envelope),
                closed: marks & CLOSED != 0,
                tries,
                // What came back of these tries is not known any more.
                refused: 0,
                refusal: None,
                retry,
                token,
            });
        }
        if expected.is_some_and(|expected| expected != next) {
            return Err(SnapshotError::Invalid("outbox"));
        }
        agent.outbox.restore(key, next, kept);
    }
    Ok(())
}

fn decode_tables(agent: &mut Agent, r: &mut Reader<'_>) -> Result<(), SnapshotError> {
    for _ in 0..r.count(8, "asks")? {
        let id = r.number("ask")?;
        let deadline = Millis(r.number("deadline")?);
        let ended = r.flag("ask")?;
        let made = Millis(r.number("ask")?);
        let stream = StreamKey::shared(agent.sender(), r.agent()?, r.lane()?);
        let number = r.number("ask")?;
        let waiter = if r.flag("handler")? {
            Some(r.number("handler")?)
        } else {
            None
        };
        let mut open = OpenAsk::new(stream, number, made, deadline, waiter);
        open.ended = ended;
        agent.asks.insert(id, open);
        agent.probe_by(Millis(0));
    }
    for _ in 0..r.count(4, "requests")? {
        let turn = r.number("request")?;
        agent.requests.insert(turn, r.ask()?);
    }
    for _ in 0..r.count(6, "timers")? {
        let id = r.number("timer")?;
        let timer = Timer {
            due: Millis(r.number("due")?),
            timing: r.timing()?,
            method: r.text("method")?.into(),
            payload: r.payload()?,
        };
        agent.timers.set(id, timer);
    }
    Ok(())
}

fn decode_mailbox(agent: &mut Agent, r: &mut Reader<'_>) -> Result<(), SnapshotError> {
    for _ in 0..r.count(2, "mailbox")? {
        match r.u8("mailbox")? {
            0 => agent.mailbox.push_init(r.payload()?),
            1 => {
                let envelope = r.envelope()?;
                let id: &AgentId = &agent.id;
                if envelope.receiver() != id {
                    return Err(SnapshotError::Invalid("mailbox"));
                }
                agent.readmit(Arc::new(envelope));
            }
            2 => {
                let ask = r.number("ask")?;
                let reply = Box::new(r.reply()?);
                agent.mailbox.push_urgent(Input::Ended { ask, reply });
            }
            3 => {
                let id = r.number("timer")?;
                let due = Millis(r.number("due")?);
                agent.timers.enqueue(id, due);
                agent.mailbox.push_urgent(Input::Timer { id, due });
            }
            4 => {
                let ask = r.number("ask")?;
                agent.mailbox.push_urgent(Input::Abandoned { ask });
            }
            5 => {
                let verdict = Box::new(MessageVerdict::decode(r)?);
                agent.mailbox.push_urgent(Input::Verdict(verdict));
            }
            _ => return Err(SnapshotError::Invalid("mailbox")),
        }
    }
    Ok(())
}
