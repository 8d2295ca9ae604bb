//! What both machines need: repeating a request, and knowing the connection to the other side.

use phoenix_core::Millis;

use super::MigrationLimits;

/// A request to the directory that is repeated until it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    /// Which of the machine's requests; answers to others are stale.
    pub(super) request: u32,
    at: Millis,
    wait: Millis,
}

impl Asking {
    pub(super) fn new(request: u32, now: Millis, limits: &MigrationLimits) -> Self {
        Self {
            request,
            at: now + limits.answer_within,
            wait: limits.ask_again,
        }
    }

    /// The directory could not say.
    pub(super) fn in_doubt(&mut self, now: Millis, limits: &MigrationLimits) {
        self.at = now + self.wait;
        self.wait = (self.wait + self.wait).min(limits.ask_again_at_most);
    }

    /// Whether it is time to ask again; if so the next time is set.
    pub(super) fn due(&mut self, now: Millis, limits: &MigrationLimits) -> bool {
        let due = now >= self.at;
        if due {
            self.at = now + self.wait.max(limits.answer_within);
            self.wait = (self.wait + self.wait).min(limits.ask_again_at_most);
        }
        due
    }

    pub(super) fn deadline(&self) -> Millis {
        self.at
    }
}

/// The connection to the other side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    boot: Option<u64>,
    down_since: Option<Millis>,
}

impl Link {
    /// `boot` is the other side's, if it is connected.
    pub(super) fn new(boot: Option<u64>, now: Millis) -> Self {
        Self {
            boot,
            down_since: boot.is_none().then_some(now),
        }
    }

    pub(super) fn connected(&mut self, boot: u64) {
        self.boot = Some(boot);
        self.down_since = None;
    }

    pub(super) fn disconnected(&mut self, now: Millis) {
        self.down_since.get_or_insert(now);
    }

    /// The boot counter the other side last connected with.
    pub(super) fn boot(&self) -> Option<u64> {
        self.boot
    }

    /// When the other side counts as gone, if it is connected from `since` on
    /// and does nothing, or not connected.
    pub(super) fn gone_at(&self, since: Millis, limits: &MigrationLimits) -> Millis {
        let patience = since + limits.patience;
        match self.down_since {
            Some(down) => patience.min(down.max(since) + limits.silence),
            None => patience,
        }
    }
}
