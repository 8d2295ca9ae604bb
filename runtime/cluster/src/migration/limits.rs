//! The bounds of migrations.

use phoenix_core::Millis;

/// The bounds of migrations. All spans are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationLimits {
    /// Bytes of the frozen agent in one message, default 256 KiB.
    pub part_bytes: usize,
    /// Parts handed to the transport in one go, default 64.
    pub burst_parts: usize,
    /// Largest frozen agent, default 512 MiB. Memory is taken as parts arrive, and no
    /// more ahead than has come, or 4 MiB.
    pub image_bytes: u64,
    /// How long a target may take to fetch and compile the component, default
    /// 60 s. The agent runs meanwhile.
    pub prepare_within: Millis,
    /// How long the source waits, frozen, until the target has its copy, default 60 s.
    pub stage_within: Millis,
    /// How long the target waits for the next part, default 30 s.
    pub part_within: Millis,
    /// How long the other side may be disconnected before it counts as gone, default 5 s.
    pub silence: Millis,
    /// How long the other side may be connected and not take the next step, default 60 s.
    pub patience: Millis,
    /// After how long a message without an answer is sent again, default 1 s.
    pub resend: Millis,
    /// How long the source waits after the transport refused a part, default 20 ms.
    pub part_pause: Millis,
    /// After how long a directory in doubt is asked again, default 100 ms; it doubles each time.
    pub ask_again: Millis,
    /// Longest wait between two requests to the directory, default 5 s.
    pub ask_again_at_most: Millis,
    /// How long a request to the directory may go unanswered before it is repeated, default 1 s.
    pub answer_within: Millis,
    /// Migrations a node may take part in at a time, as source and as target each, default 1,024.
    pub active: usize,
    /// Ended attempts remembered, so that late messages get the right answer, default 8,192.
    pub finished: usize,
}

impl Default for MigrationLimits {
    fn default() -> Self {
        Self {
            part_bytes: 256 << 10,
            burst_parts: 64,
            image_bytes: 512 << 20,
            prepare_within: Millis(60_000),
            stage_within: Millis(60_000),
            part_within: Millis(30_000),
            silence: Millis(5_000),
            patience: Millis(60_000),
            resend: Millis(1_000),
            part_pause: Millis(20),
            ask_again: Millis(100),
            ask_again_at_most: Millis(5_000),
            answer_within: Millis(1_000),
            active: 1_024,
            finished: 8_192,
        }
    }
}
