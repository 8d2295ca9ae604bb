//! What messages say of those that caused them: the message that a turn handles is
//! the cause of what the turn sends.
//!
//! Most messages are part of no trace and no undertaking, and say nothing: for them
//! one look at a turn's message is all that is done.

use std::sync::Arc;

use crate::Extras;
use crate::agent::Input;
use crate::attributes::Attributes;

/// What is sent in the turn of that number, which `input` brought, says of its causes;
/// nothing, unless the input is part of a trace or of an undertaking.
#[inline]
pub(super) fn of(input: &Input, seed: u64, turn: u64) -> Option<Arc<Attributes>> {
    match input {
        Input::Envelope(envelope, _) if envelope.extras.is_some() => {
            Attributes::caused_by(envelope, span(seed, turn)).shared()
        }
        _ => None,
    }
}

/// What a message carries that was sent because of another one.
#[cold]
pub(super) fn put(extras: Option<Box<Extras>>, cause: &Arc<Attributes>) -> Box<Extras> {
    let mut extras = extras.unwrap_or_default();
    extras.attributes = Some(match &extras.attributes {
        Some(own) => Arc::new(own.following(cause)),
        None => cause.clone(),
    });
    extras
}

/// The number of an agent's turn among all spans of a trace. (SplitMix64, Steele et
/// al., 2014.)
fn span(seed: u64, turn: u64) -> u64 {
    let mut bits = seed.rotate_left(32) ^ turn;
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // No span has the number 0.
    (bits ^ (bits >> 31)).max(1)
}
