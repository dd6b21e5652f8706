//! The access log of a server: one event of `tracing` for each response.

use std::time::Instant;

use http::request::Parts;
use http::{HeaderName, header};
use tracing::Level;

use crate::clock::Clock;
use crate::reactor::Reactor;
use crate::transport::Transport;

/// What is logged of a request, when its response has ended.
pub(super) struct LogEntry {
    begun: Option<Instant>,
    head: Parts,
    pub(super) status: u16,
    /// The number of bytes of the body that were given to the connection.
    pub(super) bytes: u64,
}

impl LogEntry {
    /// Begins an entry, if anybody takes the log.
    pub(super) fn begin(head: &Parts) -> Option<Box<Self>> {
        let is_taken = tracing::enabled!(target: "torsade::http::access", Level::INFO);
        is_taken.then(|| {
            Box::new(Self {
                begun: Reactor::current().map(|reactor| reactor.now()),
                head: head.clone(),
                status: 0,
                bytes: 0,
            })
        })
    }

    /// Logs the entry. What the peer has sent is escaped.
    pub(super) fn log(&self, transport: &Transport) {
        let now = Reactor::current().map(|reactor| reactor.now());
        let took = self.begun.zip(now).map(|(begun, now)| now - begun);
        let text = |name: HeaderName| {
            let value = self.head.headers.get(name);
            value
                .map_or(&b"-"[..], |value| value.as_bytes())
                .escape_ascii()
        };
        tracing::info!(
            target: "torsade::http::access",
            peer = %transport.peer(),
            method = %self.head.method,
            target = %self.head.uri.to_string().escape_debug(),
            version = ?self.head.version,
            status = self.status,
            bytes = self.bytes,
            seconds = took.unwrap_or_default().as_secs_f64(),
            referer = %text(header::REFERER),
            user_agent = %text(header::USER_AGENT),
        );
    }
}
