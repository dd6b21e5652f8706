//! What can go wrong with HTTP: [`HttpError`].

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};

use crate::failure::{Cancelled, Failure, errors};

/// Why a request has no response, or a body no end.
///
/// # Examples
///
/// ```
/// use torsade::http::{Body, HttpError};
///
/// torsade::testing::run(async |_reactor| {
///     let failure = Body::from("too long").read(3).await.unwrap_err();
///     assert!(matches!(failure.downcast_ref(), Some(HttpError::TooLarge { limit: 3 })));
///     assert_eq!(failure.to_string(), "the body is larger than 3 bytes");
///     Ok(())
/// });
/// ```
#[derive(Debug)]
#[non_exhaustive]
#[doc(alias("ResponseFailed", "RequestNotSent", "PageRedirect"))]
#[doc(alias = "ResponseNeverReceived")]
pub enum HttpError {
    /// The URL cannot be requested.
    #[doc(alias = "SchemeNotSupported")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The request failed.
    Failed {
        /// What was being done.
        phase: Phase,
        /// The URL that was requested; after redirects, the last one.
        url: String,
        /// Why it failed.
        cause: Failure,
    },
    /// Something was not finished in time.
    TimedOut {
        /// What was being done.
        phase: Phase,
        /// The URL that was requested; after redirects, the last one.
        url: String,
        /// The time limit.
        limit: Duration,
    },
    /// The response has an error status, and the function wants a page.
    #[doc(alias = "web.error.Error")]
    Status {
        /// The URL that was requested; after redirects, the last one.
        url: String,
        /// The status.
        status: StatusCode,
        /// The response's headers.
        headers: Box<HeaderMap>,
        /// The response's body; empty if it is larger than a page may be, or breaks off.
        body: Bytes,
    },
    /// A redirect is not followed.
    #[doc(alias("InfiniteRedirection", "RedirectWithNoLocation"))]
    Redirect {
        /// The URL that redirects.
        url: String,
        /// Why it is not followed.
        problem: String,
    },
    /// A body is larger than its limit.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The body of a message from the peer broke off.
    #[doc(alias("PartialDownloadError", "PotentialDataLoss"))]
    Broken {
        /// Why.
        cause: Failure,
    },
    /// A [`BodyWriter`](super::BodyWriter) was dropped before it finished the body.
    Unfinished,
    /// The body is not read any more, so nothing can be written to it.
    NotRead,
    /// The request does not ask for another protocol.
    NoUpgrade,
}

/// What a request is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It waits for a connection of the pool, or for a new one.
    Connecting,
    /// It sends its head and body.
    Sending,
    /// It waits for the head of the response.
    Waiting,
    /// It reads the body of the response.
    Reading,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Sending => "sending the request",
            Self::Waiting => "waiting for the response",
            Self::Reading => "reading the body",
        })
    }
}

impl HttpError {
    pub(super) fn url(url: impl ToString, problem: impl ToString) -> Self {
        let (url, problem) = (url.to_string(), problem.to_string());
        Self::Url { url, problem }
    }

    /// Returns the failure of a phase; a cancel and the failure of an earlier phase as they are.
    pub(super) fn failed(phase: Phase, url: &Uri, cause: Failure) -> Failure {
        let url = url.to_string();
        match cause.downcast_ref() {
            Some(Self::Failed { .. } | Self::TimedOut { .. }) => cause,
            _ if cause.is::<Cancelled>() => cause,
            _ => Self::Failed { phase, url, cause }.into(),
        }
    }

    pub(super) fn timed_out(phase: Phase, url: &Uri, limit: Duration) -> Failure {
        let url = url.to_string();
        Self::TimedOut { phase, url, limit }.into()
    }
}

errors! {
    enum HttpError {
        Url { url, problem }: "cannot request {url:?}: {problem}";
        Failed { phase, url }: "{phase} failed for {url}", source cause;
        TimedOut { phase, url, limit }: "{phase} took longer than {limit:?} for {url}";
        Status { url, status }: "the status of {url} is {status}";
        Redirect { url, problem }: "the redirect of {url} is not followed: {problem}";
        TooLarge { limit }: "the body is larger than {limit} bytes";
        Broken: "the body of the message broke off", source cause;
        Unfinished: "the body was not finished by its writer";
        NotRead: "the body is not read any more";
        NoUpgrade: "the request does not ask for another protocol";
    }
}

// Otherwise `?` would not convert the error: see `failure::convert`.
impl Unpin for HttpError {}
