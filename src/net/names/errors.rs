//! Why a name was not found.

use crate::failure::errors;

use std::error::Error;
use std::fmt;

/// A host's name could not be looked up.
#[doc(alias("DNSLookupError", "UnknownHostError", "gaierror"))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookupFailed {
    /// The name.
    pub host: String,
    /// What went wrong.
    pub problem: LookupProblem,
    /// The number that the system gave (`EAI_…`), if it was asked.
    pub code: Option<i32>,
    /// What the system said, if it was asked.
    pub said: Option<String>,
}

/// What went wrong with a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LookupProblem {
    /// There is no such name, or it has no address. Asking again will not help.
    NoSuchName,
    /// No answer could be had now. Asking again later may help.
    TryAgain,
    /// It took too long.
    TimedOut,
    /// Too many look-ups wait already.
    TooMany,
    /// Something else: [`LookupFailed::said`] tells what.
    Other,
}

/// What cannot be the name of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHostName {
    host: String,
    problem: &'static str,
}

impl LookupFailed {
    /// A failure to look `host` up, for resolvers of one's own.
    pub fn new(host: impl Into<String>, problem: LookupProblem) -> Self {
        Self {
            host: host.into(),
            problem,
            code: None,
            said: None,
        }
    }

    /// May asking again later help?
    pub fn may_pass(&self) -> bool {
        !matches!(self.problem, LookupProblem::NoSuchName)
    }
}

impl BadHostName {
    pub(super) fn new(host: &str, problem: &'static str) -> Self {
        Self {
            host: host.to_owned(),
            problem,
        }
    }

    /// What was to be looked up.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for LookupFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            LookupProblem::NoSuchName => "there is no such name",
            LookupProblem::TryAgain => "no answer could be had now",
            LookupProblem::TimedOut => "it took too long",
            LookupProblem::TooMany => "too many look-ups wait already",
            LookupProblem::Other => "it failed",
        };
        write!(f, "cannot look up {:?}: {problem}", self.host)?;
        match &self.said {
            Some(said) => write!(f, " ({said})"),
            None => Ok(()),
        }
    }
}

impl Error for LookupFailed {}

errors! {
    BadHostName { host, problem }: "{host:?} is no host's name: {problem}";
}
