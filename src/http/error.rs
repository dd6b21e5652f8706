//! The errors of HTTP: [`HttpError`].

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};

use crate::failure::{Cancelled, Failure, errors};

/// The errors of requests, responses and their bodies.
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
pub enum HttpError {
    /// The URL cannot be requested: it is not a URL, or not one of a scheme that is supported.
    #[doc(alias = "SchemeNotSupported")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A request of an [`Agent`](super::Agent) failed.
    Failed {
        /// The phase in which it failed.
        phase: Phase,
        /// The URL that was requested; after redirects, the last one.
        url: String,
        /// The cause: an error of connecting or of the connection, `BodyBroken`, or `TooLarge`.
        cause: Failure,
    },
    /// A time limit of the [`Agent`](super::Agent) or [`Server`](super::Server) passed.
    TimedOut {
        /// The phase in which it passed.
        phase: Phase,
        /// The URL that was requested; after redirects, the last one. At a server, the path of the
        /// request.
        url: String,
        /// The time limit.
        limit: Duration,
    },
    /// The response's status is not one of success, which `get_page` and `download_page` need, or
    /// not one that [`Agent::upgrade`](super::Agent::upgrade) needs.
    #[doc(alias = "web.error.Error")]
    Status {
        /// The URL that was requested; after redirects, the last one.
        url: String,
        /// The status.
        status: StatusCode,
        /// The response's headers.
        headers: Box<HeaderMap>,
        /// The response's body; empty if it is larger than
        /// [`max_page`](super::Agent::max_page), or if reading it failed.
        body: Bytes,
    },
    /// A redirect cannot be followed: there were too many, its target is not an HTTP URL, or the
    /// request's body cannot be sent again.
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
    /// The body of a message from the peer ended too early, or is malformed.
    #[doc(alias("PartialDownloadError", "PotentialDataLoss"))]
    BodyBroken {
        /// The error of hyper.
        cause: Failure,
    },
    /// Reading a body failed because its [`BodyWriter`](super::BodyWriter) was dropped before
    /// [`finish`](super::BodyWriter::finish).
    WriterDropped,
    /// Writing to a body failed because the body was dropped.
    BodyDropped,
    /// [`upgrade`](super::upgrade) failed: the request does not ask for another protocol over
    /// HTTP/1, or its upgrade was taken already.
    NoUpgrade,
}

/// A phase of a request, in which an [`HttpError`] occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a connection of the agent, or opening one.
    Connecting,
    /// Sending the request's head and body.
    Sending,
    /// Waiting for the head of the response.
    Waiting,
    /// Reading the body of the response; at a server, that of the request.
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
        BodyBroken: "the body of the message ended too early, or is malformed", source cause;
        WriterDropped: "the body's writer was dropped before `finish`";
        BodyDropped: "the body was dropped";
        NoUpgrade: "the request does not ask for another protocol";
    }
}

// Otherwise `?` would not convert the error: see `failure::convert`.
impl Unpin for HttpError {}
