//! The one timer that a pipeline or a saga has.

use phoenix_wit::{CatchUp, Effect, Payload, Schedule};

use crate::program::Turned;

/// The timer: for whatever is to be done next.
const TIMER: u64 = 1;

/// Has the program woken at `next`, nanoseconds, unless it is to be by then already.
/// `timer` is for when it is set.
pub(super) fn wake_by(timer: &mut Option<u64>, next: u64, now: u64, out: &mut Turned<'_>) {
    if timer.is_some_and(|timer| timer <= next) {
        return;
    }
    *timer = Some(next);
    out.effect(&Effect::SetTimer {
        id: TIMER,
        schedule: Schedule::Once {
            delay_ms: next.saturating_sub(now).div_ceil(1_000_000),
        },
        catch_up: CatchUp::Once,
        method: "tick",
        payload: Payload::NONE,
    });
}
