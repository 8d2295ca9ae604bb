//! The node's clock: whatever is decided by time is decided by what this says.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use phoenix_core::{Millis, Nanos};

/// Nanoseconds since 1970-01-01 UTC, never going back while the process lives:
/// the wall clock at the first call, and from then on the monotonic one.
pub(crate) fn now() -> Nanos {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, wall) = START.get_or_init(|| {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        (Instant::now(), nanos(wall))
    });
    Nanos(wall.saturating_add(nanos(start.elapsed())))
}

/// The same in milliseconds.
pub(crate) fn now_ms() -> Millis {
    now().millis()
}

fn nanos(span: Duration) -> u64 {
    // For 584 years; in 128 bits it takes longer to work out than to read the clock.
    span.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(span.subsec_nanos()))
}
