//! Errors that reach whoever asked.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;

use phoenix_wit::ContentType;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::payload::{Format, Payload, PayloadError};

/// An error that reaches whoever asked: a code to match on, a sentence to read,
/// and details for programs.
///
/// ```
/// use phoenix_sdk::Failure;
///
/// let failure = Failure::new("not-found", "there is no account 7").with_details(&7);
/// assert_eq!(failure.code(), "not-found");
/// assert_eq!(failure.details_as::<u32>().unwrap(), 7);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    details: Payload,
}

/// What a handler may return as the error of its `Result`.
///
/// `#[derive(AgentError)]` writes it for an enum or a struct; [`Failure`],
/// [`AskError`](crate::AskError) and plain texts have it already.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler",
    label = "the caller could not be told about this error",
    note = "write `#[derive(Debug, AgentError)]` above `{Self}`, or return `Failure`"
)]
pub trait AgentError {
    /// What the caller gets.
    fn into_failure(self) -> Failure;
}

/// What a failure of another agent's can be read back as, by whoever asked it.
///
/// `#[derive(RemoteError)]` beside `#[derive(AgentError)]` writes it for an enum or a
/// struct: whatever a variant carries then has to be read as well as written. A variant
/// with `#[from]` is sent without what it carries, so it is read back only if it is
/// `#[error(transparent)]`.
#[diagnostic::on_unimplemented(
    message = "a failure cannot be read back as `{Self}`",
    label = "the other agent's error is not known by this type",
    note = "write `#[derive(RemoteError)]` above `{Self}`, or await the ask without `outcome`"
)]
pub trait RemoteError: Sized {
    /// The error, if the failure is one of this type's.
    fn from_failure(failure: &Failure) -> Option<Self>;
}

impl Failure {
    /// A failure with a stable code, such as `not-found`, and a sentence.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            details: Payload::none(),
        }
    }

    /// Adds details for programs. A value that serde cannot serialise is left out
    /// and the message says so.
    #[must_use]
    pub fn with_details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        match Payload::message_pack(details) {
            Ok(details) => self.details = details,
            Err(why) => self.message = format!("{} (no details: {why})", self.message).into(),
        }
        self
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details as they came.
    pub fn details(&self) -> &Payload {
        &self.details
    }

    /// The details as a value.
    pub fn details_as<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        self.details.decode()
    }

    pub(crate) fn as_wit(&self) -> phoenix_wit::Failure<'_> {
        phoenix_wit::Failure {
            code: &self.code,
            message: &self.message,
            details: self.details.as_wit(),
        }
    }

    /// The same failure with its details in the caller's format.
    pub(crate) fn in_format(mut self, format: Format) -> Self {
        self.put_in_format(format);
        self
    }

    /// Puts its details into the caller's format. What JSON cannot hold, a caller may
    /// still read as MessagePack.
    #[cold]
    pub(crate) fn put_in_format(&mut self, format: Format) {
        if format == Format::Json
            && self.details.content_type() == ContentType::MessagePack
            && let Ok(json) = crate::transcode::to_json(self.details.bytes())
        {
            self.details = Payload::new(ContentType::Json, json);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

impl From<phoenix_wit::Failure<'_>> for Failure {
    fn from(failure: phoenix_wit::Failure<'_>) -> Self {
        Self {
            code: failure.code.to_owned().into(),
            message: failure.message.to_owned().into(),
            details: failure.details.into(),
        }
    }
}

/// A text is a failure with the code `failed`.
impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new("failed", message)
    }
}

/// A text is a failure with the code `failed`.
impl From<&'static str> for Failure {
    fn from(message: &'static str) -> Self {
        Self::new("failed", message)
    }
}

impl RemoteError for Failure {
    fn from_failure(failure: &Failure) -> Option<Self> {
        Some(failure.clone())
    }
}

/// A failure with the code `failed`.
impl RemoteError for String {
    fn from_failure(failure: &Failure) -> Option<Self> {
        (failure.code() == "failed").then(|| failure.message().to_owned())
    }
}

impl RemoteError for Infallible {
    fn from_failure(_: &Failure) -> Option<Self> {
        None
    }
}

impl AgentError for Failure {
    fn into_failure(self) -> Failure {
        self
    }
}

impl AgentError for String {
    fn into_failure(self) -> Failure {
        self.into()
    }
}

impl AgentError for &'static str {
    fn into_failure(self) -> Failure {
        self.into()
    }
}

impl AgentError for Infallible {
    fn into_failure(self) -> Failure {
        match self {}
    }
}
