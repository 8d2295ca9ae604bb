//! Messages between nodes as bytes, version 4.
//!
//! A stream is a sequence of frames: a length of four bytes, little-endian,
//! then so many bytes. The first of them are flags:
//!
//! | bits | meaning |
//! |---|---|
//! | 0, 1 | compression: 0 none, 1 LZ4 (a block), 2 Zstandard (a frame) |
//! | 2, 3 | form: 0 compact, 1 MessagePack, 2 Protocol Buffers, 3 JSON |
//! | 4 to 7 | 0; a reader refuses others |
//!
//! A compressed frame goes on with the length of what is compressed, four bytes,
//! little-endian. Content in compact form is a message's tag and its fields:
//! numbers are LEB128, texts and byte strings carry their length, lists their
//! count; a list of envelopes or acknowledgements goes on to the end of its
//! frame. Content in another form is a batch of events (see [`crate::formats`]),
//! each an envelope to deliver; everything else is compact always.
//!
//! The version is agreed when a connection is made, not repeated in each frame,
//! and so are form and compression. Flags say what was done to each frame, so
//! that small ones can be left as they are.
//!
//! Reading distrusts every byte: lengths are checked against what is left and
//! counts against [`MAX_ITEMS`] before anything is allocated, nothing nests, and
//! nothing panics. Writing splits long lists of envelopes and acknowledgements
//! into several frames and refuses a message that fits into none.

mod ask_notice;
mod batcher;
pub(crate) mod codec;
mod control;
mod envelope;
mod events;
mod flags;
mod flow;
mod input;
mod migration;
mod names;
mod output;
mod pack;

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::{Acknowledgement, Envelope, Member, PeerMessage};

use crate::formats::Form;
pub use batcher::{BatchLimits, Due, FrameBatcher, Full, PATIENCE, Place};
use codec::{Wire, record};
use envelope::{ReadRun, Run};
pub use input::{Input, Malformed};
pub use output::{Chunks, Output};
pub use pack::Packing;
use pack::{Packer, Unpacker};

/// The version of this format. Nodes of different versions do not connect.
pub const VERSION: u16 = 5;

/// Most items one list in a frame may have.
pub const MAX_ITEMS: usize = codec::MAX_LIST;

/// Bytes of a frame's length.
pub const HEADER: usize = 4;

/// Most bytes of a frame, unless a transport is told otherwise: 16 MiB.
pub const FRAME_BYTES: usize = 16 << 20;

/// A frame that grows past this many bytes is ended and the list goes on in another:
/// the receiver can work on the first while the rest is under way.
const SPLIT_AT: usize = 256 << 10;

/// A message that fits into no frame. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {bytes} bytes is over the bound of {bound} bytes for a frame")]
pub struct TooLarge {
    /// What it takes.
    pub bytes: usize,
    /// What a frame may take.
    pub bound: usize,
}

mod tag {
    pub(super) const DELIVER: u8 = 0;
    pub(super) const ACKNOWLEDGE: u8 = 1;
    pub(super) const ANSWER: u8 = 2;
    pub(super) const MOVED: u8 = 3;
    pub(super) const MARKER: u8 = 4;
    pub(super) const MARKER_SEEN: u8 = 5;
    pub(super) const MIGRATION: u8 = 6;
    pub(super) const DIRECTORY_ASK: u8 = 7;
    pub(super) const DIRECTORY_ANSWER: u8 = 8;
    pub(super) const COMPONENT_WANTED: u8 = 9;
    pub(super) const COMPONENT_PART: u8 = 10;
    pub(super) const KIND: u8 = 11;
    pub(super) const MEMBERS: u8 = 12;
    pub(super) const CONTROL_ASK: u8 = 13;
    pub(super) const CONTROL_ANSWER: u8 = 14;
    pub(super) const LEAVING: u8 = 15;
    pub(super) const FORWARD: u8 = 16;
    pub(super) const FORWARD_VERDICTS: u8 = 17;
    pub(super) const COMPONENT_MISSING: u8 = 18;
    pub(super) const DECLARED_DEAD: u8 = 19;
    pub(super) const ASK_NOTICE: u8 = 20;
    pub(super) const FLOWS: u8 = 21;
    pub(super) const LEASE_ASK: u8 = 22;
    pub(super) const LEASE_GRANT: u8 = 23;
}

record!(Member { node, address });

/// Writes to one peer as was agreed with it.
#[derive(Debug)]
pub struct Encoder {
    form: Form,
    packer: Packer,
}

impl Encoder {
    /// Writes so.
    pub fn new(packing: &Packing) -> Self {
        Self {
            form: packing.form,
            packer: Packer::new(packing),
        }
    }

    /// Appends `message` to `out` as one or more frames of at most `bound` bytes
    /// each, compressed or not, and says how many. If it is too large, `out` is
    /// as it was.
    pub fn encode(
        &mut self,
        message: &PeerMessage,
        bound: usize,
        out: &mut Output,
    ) -> Result<usize, TooLarge> {
        let before = out.mark();
        let frames = match (message, self.form) {
            (PeerMessage::Deliver(envelopes), Form::Events(format)) => {
                events::encode(format, envelopes, &mut self.packer, bound, out)
            }
            _ => compact(message, &mut self.packer, bound, out),
        };
        if frames.is_err() {
            out.rewind(&before);
        }
        frames
    }
}

/// Appends `message` to `out` in compact form and not compressed, as one or more
/// frames of at most `bound` bytes each, and says how many. If it is too large,
/// `out` is as it was.
pub fn encode(message: &PeerMessage, bound: usize, out: &mut Output) -> Result<usize, TooLarge> {
    let before = out.mark();
    let frames = compact(message, &mut Packer::default(), bound, out);
    if frames.is_err() {
        out.rewind(&before);
    }
    frames
}

fn compact(
    message: &PeerMessage,
    packer: &mut Packer,
    bound: usize,
    out: &mut Output,
) -> Result<usize, TooLarge> {
    match message {
        PeerMessage::Deliver(envelopes) | PeerMessage::Forward { envelopes, .. } => {
            let mut run = Run::default();
            list(
                message,
                envelopes,
                packer,
                bound,
                out,
                |envelope, first, out| {
                    if first {
                        run = Run::default();
                    }
                    run.put_envelope(envelope, out);
                },
            )
        }
        PeerMessage::Acknowledge(acknowledgements)
        | PeerMessage::ForwardVerdicts {
            acknowledgements, ..
        } => {
            let mut run = Run::default();
            list(
                message,
                acknowledgements,
                packer,
                bound,
                out,
                |one, first, out| {
                    if first {
                        run = Run::default();
                    }
                    run.put_acknowledgement(one, out);
                },
            )
        }
        single => {
            let frame = out.begin_frame(flags::COMPACT);
            put_head(single, out);
            out.end_frame(&frame, packer, bound).map(|()| 1)
        }
    }
}

/// Writes a message's `items` into as many frames as they need, each with the
/// message's head. `put` is told whether the item is the first of its frame.
fn list<'a, T>(
    message: &PeerMessage,
    items: &'a [T],
    packer: &mut Packer,
    bound: usize,
    out: &mut Output,
    mut put: impl FnMut(&'a T, bool, &mut Output),
) -> Result<usize, TooLarge> {
    let mut frames = 0;
    let mut rest = items;
    while !rest.is_empty() {
        let frame = out.begin_frame(flags::COMPACT);
        put_head(message, out);
        let mut taken = 0;
        for item in rest.iter().take(MAX_ITEMS) {
            let before = out.mark();
            put(item, taken == 0, out);
            if taken > 0 && out.frame_len(&frame) > bound {
                out.rewind(&before);
                break;
            }
            taken += 1;
            if out.frame_len(&frame) >= SPLIT_AT {
                break;
            }
        }
        out.end_frame(&frame, packer, bound)?;
        frames += 1;
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(frames)
}

/// Writes what is said of the way to an agent that moved.
fn put_path(message: &PeerMessage, out: &mut Output) {
    match message {
        PeerMessage::Moved {
            agent,
            to,
            generation,
        } => {
            out.byte(tag::MOVED);
            agent.put(out);
            to.put(out);
            generation.put(out);
        }
        PeerMessage::Marker {
            agent,
            origin,
            marker,
        } => {
            out.byte(tag::MARKER);
            agent.put(out);
            origin.put(out);
            marker.put(out);
        }
        PeerMessage::MarkerSeen { agent, marker } => {
            out.byte(tag::MARKER_SEEN);
            agent.put(out);
            marker.put(out);
        }
        _ => {}
    }
}

/// Writes what is said of flow control.
fn put_flow(message: &PeerMessage, out: &mut Output) {
    match message {
        PeerMessage::Flows(flows) => {
            out.byte(tag::FLOWS);
            flows.put(out);
        }
        PeerMessage::LeaseAsk(ask) => {
            out.byte(tag::LEASE_ASK);
            ask.put(out);
        }
        PeerMessage::LeaseGrant(grant) => {
            out.byte(tag::LEASE_GRANT);
            grant.put(out);
        }
        _ => {}
    }
}

/// Writes the tag and all that is not a list of envelopes or acknowledgements.
fn put_head(message: &PeerMessage, out: &mut Output) {
    match message {
        PeerMessage::Deliver(_) => out.byte(tag::DELIVER),
        PeerMessage::Forward { origin, .. } => {
            out.byte(tag::FORWARD);
            origin.put(out);
        }
        PeerMessage::Acknowledge(_) => out.byte(tag::ACKNOWLEDGE),
        PeerMessage::ForwardVerdicts { hops, .. } => {
            out.byte(tag::FORWARD_VERDICTS);
            out.byte(*hops);
        }
        PeerMessage::Answer { ask, reply } => {
            out.byte(tag::ANSWER);
            ask.put(out);
            reply.put(out);
        }
        PeerMessage::Moved { .. } | PeerMessage::Marker { .. } | PeerMessage::MarkerSeen { .. } => {
            put_path(message, out);
        }
        PeerMessage::Migration(step) => {
            out.byte(tag::MIGRATION);
            step.put(out);
        }
        PeerMessage::DirectoryAsk { id, command } => {
            out.byte(tag::DIRECTORY_ASK);
            id.put(out);
            command.put(out);
        }
        PeerMessage::DirectoryAnswer { id, answer } => {
            out.byte(tag::DIRECTORY_ANSWER);
            id.put(out);
            answer.put(out);
        }
        PeerMessage::ComponentWanted { component } => {
            out.byte(tag::COMPONENT_WANTED);
            component.put(out);
        }
        PeerMessage::ComponentMissing { component } => {
            out.byte(tag::COMPONENT_MISSING);
            component.put(out);
        }
        PeerMessage::ComponentPart {
            component,
            offset,
            total,
            bytes,
        } => {
            out.byte(tag::COMPONENT_PART);
            component.put(out);
            offset.put(out);
            total.put(out);
            bytes.put(out);
        }
        PeerMessage::Kind(kind) => {
            out.byte(tag::KIND);
            kind.put(out);
        }
        PeerMessage::Members(members) => {
            out.byte(tag::MEMBERS);
            members.put(out);
        }
        PeerMessage::ControlAsk { id, request } => {
            out.byte(tag::CONTROL_ASK);
            id.put(out);
            request.put(out);
        }
        PeerMessage::ControlAnswer { id, response } => {
            out.byte(tag::CONTROL_ANSWER);
            id.put(out);
            response.put(out);
        }
        PeerMessage::DeclaredDead { node, boot } => {
            out.byte(tag::DECLARED_DEAD);
            node.put(out);
            boot.put(out);
        }
        PeerMessage::Leaving => out.byte(tag::LEAVING),
        PeerMessage::AskNotice { hops, notice } => {
            out.byte(tag::ASK_NOTICE);
            out.byte(*hops);
            notice.put(out);
        }
        PeerMessage::Flows(_) | PeerMessage::LeaseAsk(_) | PeerMessage::LeaseGrant(_) => {
            put_flow(message, out);
        }
    }
}

/// Reads from one peer.
#[derive(Debug)]
pub struct Decoder {
    bound: usize,
    unpacker: Unpacker,
}

impl Decoder {
    /// Reads frames that are no longer than `bound` bytes once they are unpacked.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            unpacker: Unpacker::default(),
        }
    }

    /// Reads a frame's bytes, without their length.
    pub fn decode(&mut self, mut frame: Bytes) -> Result<PeerMessage, Malformed> {
        let flags = flags::Flags::read(&mut frame, self.bound)?;
        let content = match flags.unpacked {
            Some(length) => self.unpacker.unpack(flags.compression, frame, length)?,
            None => frame,
        };
        match flags.form {
            Form::Compact => {
                let mut input = Input::new(content);
                let message = single(&mut input)?;
                input.end()?;
                Ok(message)
            }
            Form::Events(format) => events::decode(format, content),
        }
    }
}

/// Reads a frame's bytes, without their length, which are no more than
/// [`FRAME_BYTES`] once they are unpacked.
pub fn decode(frame: Bytes) -> Result<PeerMessage, Malformed> {
    Decoder::new(FRAME_BYTES).decode(frame)
}

fn single(input: &mut Input) -> Result<PeerMessage, Malformed> {
    Ok(match input.byte("a message")? {
        tag::DELIVER => PeerMessage::Deliver(envelopes(input)?),
        tag::FORWARD => PeerMessage::Forward {
            origin: Wire::get(input)?,
            envelopes: envelopes(input)?,
        },
        tag::ACKNOWLEDGE => PeerMessage::Acknowledge(acknowledgements(input)?),
        tag::FORWARD_VERDICTS => PeerMessage::ForwardVerdicts {
            hops: input.byte("hops")?,
            acknowledgements: acknowledgements(input)?,
        },
        tag::ANSWER => PeerMessage::Answer {
            ask: Wire::get(input)?,
            reply: Wire::get(input)?,
        },
        tag::MOVED => PeerMessage::Moved {
            agent: Wire::get(input)?,
            to: Wire::get(input)?,
            generation: Wire::get(input)?,
        },
        tag::MARKER => PeerMessage::Marker {
            agent: Wire::get(input)?,
            origin: Wire::get(input)?,
            marker: Wire::get(input)?,
        },
        tag::MARKER_SEEN => PeerMessage::MarkerSeen {
            agent: Wire::get(input)?,
            marker: Wire::get(input)?,
        },
        tag::MIGRATION => PeerMessage::Migration(Wire::get(input)?),
        tag::DIRECTORY_ASK => PeerMessage::DirectoryAsk {
            id: Wire::get(input)?,
            command: Wire::get(input)?,
        },
        tag::DIRECTORY_ANSWER => PeerMessage::DirectoryAnswer {
            id: Wire::get(input)?,
            answer: Wire::get(input)?,
        },
        tag::COMPONENT_WANTED => PeerMessage::ComponentWanted {
            component: Wire::get(input)?,
        },
        tag::COMPONENT_MISSING => PeerMessage::ComponentMissing {
            component: Wire::get(input)?,
        },
        tag::COMPONENT_PART => PeerMessage::ComponentPart {
            component: Wire::get(input)?,
            offset: Wire::get(input)?,
            total: Wire::get(input)?,
            bytes: Wire::get(input)?,
        },
        tag::KIND => PeerMessage::Kind(Wire::get(input)?),
        tag::MEMBERS => PeerMessage::Members(Wire::get(input)?),
        tag::CONTROL_ASK => PeerMessage::ControlAsk {
            id: Wire::get(input)?,
            request: Wire::get(input)?,
        },
        tag::CONTROL_ANSWER => PeerMessage::ControlAnswer {
            id: Wire::get(input)?,
            response: Wire::get(input)?,
        },
        tag::DECLARED_DEAD => PeerMessage::DeclaredDead {
            node: Wire::get(input)?,
            boot: Wire::get(input)?,
        },
        tag::LEAVING => PeerMessage::Leaving,
        tag::FLOWS => PeerMessage::Flows(Wire::get(input)?),
        tag::LEASE_ASK => PeerMessage::LeaseAsk(Wire::get(input)?),
        tag::LEASE_GRANT => PeerMessage::LeaseGrant(Wire::get(input)?),
        tag::ASK_NOTICE => PeerMessage::AskNotice {
            hops: input.byte("hops")?,
            notice: Wire::get(input)?,
        },
        found => {
            return Err(Malformed::Unknown {
                what: "message",
                found: found.into(),
            });
        }
    })
}

fn envelopes(input: &mut Input) -> Result<Vec<Arc<Envelope>>, Malformed> {
    let mut run = ReadRun::default();
    let mut list = Vec::new();
    while input.remaining() > 0 {
        if list.len() == MAX_ITEMS {
            return Err(Malformed::Range("a list of envelopes"));
        }
        list.push(Arc::new(run.envelope(input)?));
    }
    Ok(list)
}

fn acknowledgements(input: &mut Input) -> Result<Vec<Acknowledgement>, Malformed> {
    let mut run = ReadRun::default();
    let mut list = Vec::new();
    while input.remaining() > 0 {
        if list.len() == MAX_ITEMS {
            return Err(Malformed::Range("a list of acknowledgements"));
        }
        list.push(run.acknowledgement(input)?);
    }
    Ok(list)
}
