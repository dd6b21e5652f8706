//! The spans of connections: [`ConnectionSpans`].

use std::cell::RefCell;

use tracing::{Level, Span, span_enabled};

use super::Inner;
use crate::index::Indexed;

/// The spans of the connections that had a hook called while a subscriber was interested, by their
/// keys.
#[derive(Default)]
pub(super) struct ConnectionSpans(RefCell<Indexed<Span>>);

impl Inner {
    /// Returns the span of a connection, which is made when it is first asked for.
    #[cold]
    pub(crate) fn connection_span(&self, key: usize) -> Option<Span> {
        let known = self.connection_spans.0.borrow().get(key as u64).cloned();
        if known.is_some() || !span_enabled!(target: "torsade::net", Level::INFO, peer, endpoint) {
            return known;
        }
        let handler = self.handler(key)?;
        let peer = handler.peer()?;
        let endpoint = handler.local_addr();
        let endpoint = endpoint.as_ref().map(tracing::field::display);
        let span = tracing::info_span!(target: "torsade::net", "connection", %peer, endpoint);
        self.set_connection_span(key, span.clone());
        Some(span)
    }

    /// Takes the span of a connection that ends, or that gets another key.
    #[cold]
    pub(crate) fn take_connection_span(&self, key: usize) -> Option<Span> {
        self.connection_spans.0.borrow_mut().remove(key as u64)
    }

    /// Gives a connection its span.
    #[cold]
    pub(crate) fn set_connection_span(&self, key: usize, span: Span) {
        let before = self
            .connection_spans
            .0
            .borrow_mut()
            .insert(key as u64, span);
        drop(before);
    }
}
