//! The handle of a server: [`HttpPort`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use super::watch::Watch;
use crate::address::Address;
use crate::defer::{Deferred, Listeners};
use crate::net::Port;

/// A handle to a port that serves HTTP. Clones are handles to the same port; dropping them does not
/// close it.
#[derive(Clone)]
#[doc(alias = "IListeningPort")]
pub struct HttpPort {
    pub(super) port: Port,
    pub(super) connections: Rc<Connections>,
}

impl HttpPort {
    /// Returns the address that the port listens at.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> Address {
        self.port.local_addr()
    }

    /// Returns the port below, whose accepting can be paused and limited. Stopping that port does
    /// not end its connections.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Closes the port, and each connection once the requests that it has made are answered; after
    /// `limit` also those that are not answered. The Deferred fires when all are closed, with the
    /// number of connections that the limit has cut off.
    ///
    /// Peers that speak HTTP/2 are sent `GOAWAY`. Idle connections are closed at once.
    ///
    /// # Errors
    ///
    /// As for [`Port::stop`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::http;
    ///
    /// torsade::testing::run(async |_reactor| {
    ///     let port = http::serve("127.0.0.1:0", async |_request| Ok("hello"))?;
    ///     assert_eq!(port.stop(Duration::from_secs(10)).await?, 0);
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("graceful_shutdown", "stopListening", "stopFactory"))]
    #[track_caller]
    pub fn stop(&self, limit: Duration) -> Deferred<usize> {
        let connections = self.connections.clone();
        let ended = connections.ended.join();
        connections.stopping.set(Some(limit));
        let watches = connections.watches.borrow().clone();
        for (_, watch) in &watches {
            watch.stop(limit);
        }
        self.port.stop().add_callback(move |()| {
            connections.check();
            ended
        })
    }
}

/// The open connections of a server.
#[derive(Default)]
pub(super) struct Connections {
    watches: RefCell<Slab<Rc<Watch>>>,
    /// The limit of a stop that was requested.
    stopping: Cell<Option<Duration>>,
    cut_off: Cell<usize>,
    /// The Deferreds of stops.
    ended: Listeners<usize>,
}

impl Connections {
    /// Enters a connection, until the entry is dropped.
    pub(super) fn enter(self: &Rc<Self>, watch: &Rc<Watch>) -> Entry {
        let key = self.watches.borrow_mut().insert(watch.clone());
        if let Some(limit) = self.stopping.get() {
            watch.stop(limit);
        }
        Entry(self.clone(), key)
    }

    /// Fires the Deferreds of stops when no connection is left.
    fn check(&self) {
        if self.stopping.get().is_some() && self.watches.borrow().is_empty() {
            for resolver in self.ended.resolvers() {
                resolver.callback(self.cut_off.get());
            }
        }
    }
}

/// The entry of a connection.
pub(super) struct Entry(Rc<Connections>, usize);

impl Drop for Entry {
    fn drop(&mut self) {
        let Self(connections, key) = self;
        let watch = connections.watches.borrow_mut().remove(*key);
        let count = connections.cut_off.get() + usize::from(watch.was_cut_off.get());
        connections.cut_off.set(count);
        connections.check();
    }
}

impl fmt::Debug for HttpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.port.fmt(f)
    }
}
