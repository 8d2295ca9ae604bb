//! Waiting for what takes long, as long as it goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::PATIENCE;

/// Fails a test once nothing has changed for too long, however long the whole takes.
pub struct Progress {
    what: &'static str,
    last: Vec<u64>,
    since: Instant,
}

impl Progress {
    /// Nothing has been seen yet.
    pub fn towards(what: &'static str) -> Self {
        Self {
            what,
            last: Vec::new(),
            since: Instant::now(),
        }
    }

    /// This is how far it is; `why` says what may keep it.
    pub fn at(&mut self, now: Vec<u64>, why: impl FnOnce() -> String) {
        if now != self.last {
            (self.last, self.since) = (now, Instant::now());
        }
        assert!(
            self.since.elapsed() < PATIENCE,
            "no progress towards {}: it stands at {:?}\n{}",
            self.what,
            self.last,
            why()
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Tells a test's loops to end when its thread panics: a scope waits for them all.
pub struct StopOnPanic<'a>(pub &'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
