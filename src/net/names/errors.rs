//! The error of looking up a host name: [`LookupError`].

use std::error::Error;
use std::fmt;

/// The error of looking up a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookupError {
    /// The host name.
    pub host: String,
    /// The kind of error.
    pub kind: LookupErrorKind,
    /// The system's error code (`EAI_…`), if the system was asked.
    pub code: Option<i32>,
    /// The system's message, if the system was asked; for an invalid name, the reason.
    pub message: Option<String>,
}

/// The kind of a [`LookupError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LookupErrorKind {
    /// The text cannot be a host name. Nothing was looked up.
    InvalidName,
    /// The name does not exist, or has no address. A retry will not help.
    NoSuchName,
    /// No answer was available. A later retry may succeed.
    TryAgain,
    /// A time limit of [`ConnectOptions`](crate::net::ConnectOptions) expired before the answer.
    TimedOut,
    /// The queue of waiting look-ups is full.
    TooMany,
    /// Another error, described by [`LookupError::message`].
    Other,
}

impl LookupError {
    /// Creates the error of a look-up of `host`, for a [`NameResolver`](super::NameResolver) that
    /// the program implements.
    pub fn new(host: impl Into<String>, kind: LookupErrorKind) -> Self {
        Self {
            host: host.into(),
            kind,
            code: None,
            message: None,
        }
    }

    /// Returns whether a later retry may succeed.
    pub fn is_temporary(&self) -> bool {
        use LookupErrorKind as Kind;
        !matches!(self.kind, Kind::InvalidName | Kind::NoSuchName)
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.kind {
            LookupErrorKind::InvalidName => "it is not a host name",
            LookupErrorKind::NoSuchName => "the name does not exist",
            LookupErrorKind::TryAgain => "no answer is available now",
            LookupErrorKind::TimedOut => "the time limit expired",
            LookupErrorKind::TooMany => "too many look-ups are waiting",
            LookupErrorKind::Other => "the look-up failed",
        };
        write!(f, "cannot look up {:?}: {problem}", self.host)?;
        match &self.message {
            Some(message) => write!(f, " ({message})"),
            None => Ok(()),
        }
    }
}

impl Error for LookupError {}
