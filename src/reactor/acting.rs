//! The connection for which user code runs at the moment, so that a report can name it: [`Acting`].

use super::Inner;
use crate::address::Address;
use crate::context;
pub(crate) use crate::context::NO_CONNECTION;

/// A guard: until it is dropped, also by a panic, user code runs for a connection.
pub(crate) struct Acting {
    before: usize,
}

impl Acting {
    /// Records that user code runs for the connection with this key from now on.
    #[inline]
    pub(crate) fn begin(key: usize) -> Self {
        let before = context::with(|thread| thread.acting.replace(key));
        Self { before }
    }
}

impl Drop for Acting {
    #[inline]
    fn drop(&mut self) {
        context::with(|thread| thread.acting.set(self.before));
    }
}

impl Inner {
    /// Returns the peer of the connection for which user code runs.
    pub(super) fn current_peer(&self) -> Option<Address> {
        let key = context::with(|thread| thread.acting.get());
        self.handler(key)?.peer()
    }
}
