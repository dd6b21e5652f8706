//! The access log of a server: one event of `tracing` for each response.

use std::time::Instant;

use http::{HeaderValue, Method, Request, Uri, Version, header};
use tracing::Level;

use crate::clock::Clock;
use crate::reactor::Reactor;
use crate::transport::Transport;

/// What is logged of a request, when its response has ended.
pub(super) struct LogEntry {
    begun: Option<Instant>,
    method: Method,
    uri: Uri,
    version: Version,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    pub(super) status: u16,
    /// The number of bytes of the body that were given to the connection.
    pub(super) bytes: u64,
}

impl LogEntry {
    /// Begins an entry, if anybody takes the log.
    pub(super) fn begin<B>(request: &Request<B>) -> Option<Box<Self>> {
        if !tracing::enabled!(target: "torsade::http::access", Level::INFO) {
            return None;
        }
        let header = |name| request.headers().get(name).cloned();
        Some(Box::new(Self {
            begun: Reactor::current().map(|reactor| reactor.now()),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            referer: header(header::REFERER),
            user_agent: header(header::USER_AGENT),
            status: 0,
            bytes: 0,
        }))
    }

    /// Logs the entry. What the peer has sent is escaped.
    pub(super) fn log(&self, transport: &Transport) {
        let now = Reactor::current().map(|reactor| reactor.now());
        let took = self.begun.zip(now).map(|(begun, now)| now - begun);
        let text = |value: &Option<HeaderValue>| {
            let bytes = value.as_ref().map_or(&b"-"[..], HeaderValue::as_bytes);
            bytes.escape_ascii().to_string()
        };
        tracing::info!(
            target: "torsade::http::access",
            peer = %transport.peer(),
            method = %self.method,
            target = %self.uri.to_string().escape_debug(),
            version = ?self.version,
            status = self.status,
            bytes = self.bytes,
            seconds = took.unwrap_or_default().as_secs_f64(),
            referer = %text(&self.referer),
            user_agent = %text(&self.user_agent),
        );
    }
}
