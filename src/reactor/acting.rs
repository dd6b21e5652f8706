//! For which connection user code runs at the moment, so that a report can name it.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::{Inner, Reactor, WeakReactor};
use crate::address::Address;

/// The key of the connection, or [`NOBODY`].
#[derive(Debug)]
pub(super) struct Acting(Cell<usize>);

impl Inner {
    /// From now on user code runs for the connection with this key; gives the one before.
    #[inline]
    pub(crate) fn act_for(&self, key: usize) -> usize {
        self.acting.0.replace(key)
    }

    /// The peer of the connection for which user code runs.
    pub(super) fn acting_peer(&self) -> Option<Address> {
        self.handler(self.acting.0.get())?.peer()
    }
}

impl Default for Acting {
    fn default() -> Self {
        Self(Cell::new(NOBODY))
    }
}

pin_project! {
    /// A future that runs for a connection.
    pub(crate) struct ActingFor<F> {
        key: usize,
        reactor: WeakReactor,
        #[pin]
        future: F,
    }
}

impl Reactor {
    /// Has `future` run for the connection with this key.
    pub(crate) fn acting_for<F: Future>(&self, key: usize, future: F) -> ActingFor<F> {
        let reactor = self.downgrade();
        ActingFor {
            key,
            reactor,
            future,
        }
    }
}

impl<F: Future> Future for ActingFor<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(reactor) = this.reactor.upgrade() else {
            return this.future.poll(cx);
        };
        let _restore = Restore {
            before: reactor.inner().act_for(*this.key),
            reactor: &reactor,
        };
        this.future.poll(cx)
    }
}

/// Restores what was before, also after a panic.
struct Restore<'a> {
    reactor: &'a Reactor,
    before: usize,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.reactor.inner().act_for(self.before);
    }
}

/// No connection's key.
pub(crate) const NOBODY: usize = usize::MAX;
