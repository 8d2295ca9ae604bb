//! Envelopes as batches of events, for peers that are written to so.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::attributes::{CloudEvent, Format, Nonce};
use phoenix_core::{Envelope, NodeId, PeerMessage};

use super::flags;
use super::output::Output;
use super::pack::Packer;
use super::{MAX_ITEMS, Malformed, SPLIT_AT, TooLarge};
use crate::formats::{self, EventLimits, Form};

/// A reader makes nothing of the id of a message that has none.
const NO_ID: Nonce = Nonce {
    node: NodeId(0),
    boot: 0,
    serial: 0,
};

/// A reader's bounds on a frame of events; the frame's own bound is its bytes'.
const LIMITS: EventLimits = EventLimits {
    bytes: usize::MAX,
    events: MAX_ITEMS,
    nesting: EventLimits::NESTING,
};

/// Writes envelopes into as many frames as they need.
pub(super) fn encode(
    format: Format,
    envelopes: &[Arc<Envelope>],
    packer: &mut Packer,
    bound: usize,
    out: &mut Output,
) -> Result<usize, TooLarge> {
    let mut frames = 0;
    let mut rest = envelopes;
    let mut events = Vec::new();
    while !rest.is_empty() {
        let mut bytes = 0;
        events.clear();
        for envelope in rest.iter().take(MAX_ITEMS) {
            events.push(CloudEvent::of(envelope, NO_ID));
            bytes += envelope.size();
            if bytes >= SPLIT_AT {
                break;
            }
        }
        let taken = fitting(format, &events, packer, bound, out)?;
        frames += 1;
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(frames)
}

/// Writes a frame of as many of `events` as fit into one, halving them until
/// they do, and says how many.
fn fitting(
    format: Format,
    mut events: &[CloudEvent],
    packer: &mut Packer,
    bound: usize,
    out: &mut Output,
) -> Result<usize, TooLarge> {
    loop {
        let frame = out.begin_frame(flags::of_form(Form::Events(format)));
        out.raw(&formats::encode_batch(format, events));
        match out.end_frame(&frame, packer, bound) {
            Ok(()) => return Ok(events.len()),
            Err(too_large) if events.len() < 2 => return Err(too_large),
            Err(_) => events = events.get(..events.len() / 2).unwrap_or_default(),
        }
    }
}

/// Reads a frame of events.
pub(super) fn decode(format: Format, content: Bytes) -> Result<PeerMessage, Malformed> {
    let events = formats::decode_batch(format, content, &LIMITS)
        .map_err(|bad| Malformed::Event(Box::new(bad)))?;
    let envelopes = events
        .iter()
        .map(|event| Envelope::from_event(event).map(Arc::new))
        .collect::<Result<_, _>>()
        .map_err(|bad| Malformed::Attribute(Box::new(bad)))?;
    Ok(PeerMessage::Deliver(envelopes))
}
