//! No argument, file, variable or log makes the program panic.
//!
//! `PHOENIX_FUZZ_CASES` says how many cases there are in all, 100,000 unless it
//! is set. A case that fails prints its seed; `PHOENIX_FUZZ_SEED` repeats it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod arguments;
mod files;
mod generate;
mod logs;

/// The reader of the demo's logs, which is private to the program.
#[path = "."]
mod demo {
    use std::path::Path;

    #[path = "../../src/demo/log/mod.rs"]
    #[allow(dead_code, unused_imports, reason = "only the reader is wanted")]
    mod log;
    #[path = "../../src/demo/random.rs"]
    #[allow(dead_code, reason = "what makes logs up needs it")]
    mod random;

    /// Counts a log; the error is what its owner is told.
    pub(super) fn count(path: &Path) -> Result<u64, String> {
        let input =
            log::open(path).map_err(|refused| format!("{refused}: {}", refused.advice()))?;
        let counted = log::Count::all(log::LogReader::new(input));
        counted
            .map(|counted| counted.total.events)
            .map_err(|broken| broken.to_string())
    }
}
