//! Shows how far the demo is: one live line on a terminal, else a line now and
//! then. Everything goes to standard error; standard output is the result's.

use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior};

use super::movement::Moved;
use super::outcome::grouped;
use super::pace::Pace;
use super::roster::Roster;
use crate::output::escape::escape_lines;

/// Between two looks, on a terminal.
const LIVE: Duration = Duration::from_millis(100);

/// Between two lines, elsewhere.
const PLAIN: Duration = Duration::from_secs(5);

/// Where progress is shown.
pub(super) struct Progress {
    /// None where standard error is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins.
    pub(super) fn new() -> Self {
        let bar = std::io::stderr()
            .is_terminal()
            .then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(LIVE);
        }
        Self { bar }
    }

    /// Shows nothing on a terminal.
    #[cfg(test)]
    pub(super) fn hidden() -> Self {
        Self {
            bar: Some(ProgressBar::hidden()),
        }
    }

    /// Says what is being done now.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(text.to_owned());
                bar.tick();
            }
            None => line(text),
        }
    }

    /// Says something that stays.
    pub(super) fn keep(&self, text: &str) {
        let text = escape_lines(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => line(&text),
        }
    }

    /// Shows how far the feed is, until it is dropped.
    pub(super) async fn watch(&self, events: u64, pace: &Pace, roster: &Roster, moved: &Rc<Moved>) {
        if let Some(bar) = &self.bar {
            let template = "{bar:24} {percent:>3}% {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_length(events);
        }
        let every = if self.bar.is_some() { LIVE } else { PLAIN };
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is due at once, when there is nothing to tell yet.
        ticks.tick().await;
        let begun = Instant::now();
        loop {
            ticks.tick().await;
            let fed = pace.applied();
            let rate = fed
                .saturating_mul(1_000)
                .checked_div(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX))
                .unwrap_or(0);
            let text = format!(
                "{} of {} events, {}/s, {} agents, {} moved, {} put to sleep",
                grouped(fed),
                grouped(events),
                grouped(rate),
                grouped(roster.len() as u64),
                grouped(pace.moved()),
                grouped(moved.put_to_sleep.get()),
            );
            match &self.bar {
                Some(bar) => {
                    bar.set_position(fed);
                    bar.set_message(text);
                }
                None => line(&text),
            }
        }
    }
}

/// The live line goes, whatever the reason; what stays was said by `keep`.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A closed standard error is no reason to stop.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
