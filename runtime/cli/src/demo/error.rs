//! Why a demo has no result, and what to do about it.

use std::io;
use std::path::Path;

use miette::Diagnostic;

use super::drive::DriveError;
use super::log::Counted;
use super::process::ProcessError;
use super::source::SourceError;

/// Malformed lines that are quoted where a log holds no others.
const SHOWN: usize = 10;

/// Why a demo has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// The log cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No line of it is what it should be.
    #[error("{log} holds no line of the Combined Log Format\n{lines}")]
    NoEvents {
        /// Its name.
        log: String,
        /// Its first lines' mistakes.
        lines: String,
    },
    /// The operating system gives no runtime.
    #[error("the demo cannot start")]
    Runtime(#[source] io::Error),
    /// There is no place for the nodes' data.
    #[error("there is no room for the nodes' data in {directory}")]
    Directory {
        /// Where it should be.
        directory: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A node does not run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A node does not do what it is asked.
    #[error("{what}: {text}")]
    Request {
        /// What was asked.
        what: String,
        /// What was answered.
        text: String,
    },
    /// The log could not be fed.
    #[error("the demo was broken off")]
    Drive(#[from] DriveError),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The result could not be written.
    #[error("the result cannot be written")]
    Output(#[source] io::Error),
    /// The result could not be turned into JSON.
    #[error("the result cannot be written as JSON")]
    Json(#[source] serde_json::Error),
}

impl DemoError {
    /// For a log of malformed lines only.
    pub(super) fn no_events(path: Option<&Path>, counted: &Counted) -> Self {
        let log = path.map_or_else(|| "the log".into(), |path| path.display().to_string());
        Self::NoEvents {
            log,
            lines: super::malformed(counted, SHOWN),
        }
    }
}

impl Diagnostic for DemoError {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        let text = match self {
            Self::Source(SourceError::Open(error)) => error.advice(),
            Self::Source(SourceError::Read { .. }) => {
                "check that the file is whole: fetch it again, or try `gzip -t` on it".into()
            }
            Self::NoEvents { .. } => "a line looks like this: 192.0.2.7 - - \
                 [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 512 \"-\" \"curl/8.6\""
                .into(),
            Self::Directory { .. } => "set TMPDIR to a directory that you may write to".into(),
            Self::Process(_) | Self::Request { .. } | Self::Drive(_) => {
                "run it again with --keep to have the nodes' logs afterwards".into()
            }
            Self::Runtime(_) | Self::Interrupted | Self::Output(_) | Self::Json(_) => return None,
        };
        Some(Box::new(text))
    }
}
