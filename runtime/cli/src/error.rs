//! What went wrong, what to do about it, and the exit status it means.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Report,
};
use phoenix_gateway::client::ClientError;

use crate::output::escape::{escape, escape_json, escape_lines};

/// Exit statuses. `docs/cli.md` lists them; they are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// It failed; nothing was done, or what was done is said.
    Failed = 1,
    /// The arguments or the configuration are wrong; nothing was done.
    Usage = 2,
    /// There was no node to ask; nothing was done.
    Unreachable = 3,
    /// It may or may not have been done.
    Unknown = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error as it is told to whoever ran the command.
#[derive(Debug)]
pub(crate) struct CliError {
    exit: Exit,
    code: String,
    message: String,
    help: Option<String>,
    place: Option<Box<Place>>,
    /// Another part's diagnostic, shown as it is.
    report: Option<Report>,
}

/// Where in a file the error is.
#[derive(Debug)]
struct Place {
    source: NamedSource<String>,
    label: LabeledSpan,
}

impl CliError {
    fn new(exit: Exit, code: &str, message: impl fmt::Display) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.to_string(),
            help: None,
            place: None,
            report: None,
        }
    }

    /// It could not be done.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    /// The arguments, or a file they name, are wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// Whoever read the output has seen enough.
    pub(crate) fn closed_pipe() -> Self {
        Self::new(Exit::Ok, "closed-pipe", "")
    }

    /// What to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `help`, unless there is better advice already.
    pub(crate) fn help_if(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Where in the text of which file it is.
    pub(crate) fn at(mut self, file: &str, text: &str, span: std::ops::Range<usize>) -> Self {
        // The text is shown, and may hold anything: the span moves with what is escaped.
        let parts = text
            .get(..span.start)
            .zip(text.get(span.clone()))
            .zip(text.get(span.end..));
        let Some(((before, within), after)) = parts else {
            return self;
        };
        let [before, within, after] = [before, within, after].map(escape_lines);
        let label = Some("here".to_owned());
        self.place = Some(Box::new(Place {
            label: LabeledSpan::new(label, before.len(), within.len().max(1)),
            source: NamedSource::new(escape(file), [before, within, after].concat()),
        }));
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Says it on standard error.
    pub(crate) fn report(&self, json: bool) {
        if self.exit == Exit::Ok {
            return;
        }
        let text = if json {
            self.as_json()
        } else {
            self.rendered(io::stderr().is_terminal())
        };
        // There is nobody left to tell if this fails.
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
    }

    fn as_json(&self) -> String {
        let mut error = serde_json::json!({ "code": self.code, "message": self.message });
        if let (Some(fields), Some(help)) = (error.as_object_mut(), &self.help) {
            fields.insert("suggestion".to_owned(), help.clone().into());
        }
        let text = serde_json::json!({ "error": error }).to_string();
        escape_json(&text).into_owned()
    }

    pub(crate) fn rendered(&self, terminal: bool) -> String {
        /// Columns of a message that goes to no terminal.
        const WIDTH: usize = 100;
        let handler = if terminal {
            GraphicalReportHandler::new()
        } else {
            GraphicalReportHandler::new_themed(GraphicalTheme::none()).with_width(WIDTH)
        };
        // The lines around a mistake may hold a join token.
        let handler = handler.with_context_lines(0);
        let mut text = String::new();
        let rendered = match &self.report {
            Some(report) => handler.render_report(&mut text, report.as_ref()),
            None => handler.render_report(&mut text, self),
        };
        match rendered {
            Ok(()) => text,
            Err(fmt::Error) => self.message.clone(),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_lines(&self.message))
    }
}

impl std::error::Error for CliError {}

impl Diagnostic for CliError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_ref()?;
        Some(Box::new(escape_lines(help)))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        let place = self.place.as_ref()?;
        Some(&place.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        Some(Box::new(std::iter::once(place.label.clone())))
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit = if error.is_unreachable() {
            Exit::Unreachable
        } else if error.is_unknown() {
            Exit::Unknown
        } else {
            Exit::Failed
        };
        let code = match (&error, exit) {
            (ClientError::Refused(problem), _) => problem.code.clone(),
            (_, Exit::Unreachable) => "unreachable".to_owned(),
            (_, Exit::Unknown) => "unknown".to_owned(),
            _ => "failed".to_owned(),
        };
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(exit, &code, message).help_if(error.suggestion())
    }
}

impl From<Report> for CliError {
    fn from(report: Report) -> Self {
        let message = report.to_string();
        let help = report.help().map(|help| help.to_string());
        let mut error = Self::failed(message).help_if(help);
        error.report = Some(report);
        error
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::closed_pipe()
        } else {
            Self::failed(format!("cannot write the answer: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_drive_no_terminal_in_either_form() {
        let harmful = "a\u{9b}31m\u{202e}b\u{1b}[2J";
        let error = CliError::failed(harmful).help(harmful);
        for text in [error.as_json(), error.rendered(false), error.rendered(true)] {
            for c in ['\u{9b}', '\u{202e}'] {
                assert!(!text.contains(c), "{text:?}");
            }
            assert!(!text.contains("\u{1b}[2J"), "{text:?}");
        }
        let json: serde_json::Value = serde_json::from_str(&error.as_json()).unwrap();
        assert_eq!(json["error"]["message"], harmful, "it is the same text");
        assert_eq!(json["error"]["suggestion"], harmful);
    }
}
