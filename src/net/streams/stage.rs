//! A stage between a port and its acceptor: it does something with each connection first, and then
//! passes it on, or closes it. The PROXY header and the TLS handshake are such stages.
//!
//! # Invariants
//!
//! 1. The inner acceptor is taken out while it is called.
//! 2. A connection is listed here from its accept until it is passed on or lost; those that are
//!    listed are aborted when the port is stopped.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::accept::{self, Accepted, Acceptor};
use crate::address::Address;
use crate::cells;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report::{self, Origin, WarnOnce};
use crate::transport::Transport;

/// The state that a port and the connections in the stage share.
pub(in crate::net) struct Stage {
    /// `None` while it is being called, and after the port is closed.
    inner: Cell<Option<Box<dyn Acceptor>>>,
    listed: RefCell<Slab<Transport>>,
    /// When the last warning about a closed connection was logged: at most one a second.
    warned: Cell<Option<Instant>>,
    said: WarnOnce,
    /// The words before the address of a peer whose connection is closed.
    who: &'static str,
    /// The name of the missing stage, for the log: a header, a handshake.
    lacks: &'static str,
    location: &'static Location<'static>,
}

impl Stage {
    pub(in crate::net) fn before(
        inner: Box<dyn Acceptor>,
        (who, lacks): (&'static str, &'static str),
        location: &'static Location<'static>,
    ) -> Rc<Self> {
        Rc::new(Self {
            inner: Cell::new(Some(inner)),
            listed: RefCell::default(),
            warned: Cell::new(None),
            said: WarnOnce::new(),
            who,
            lacks,
            location,
        })
    }

    pub(in crate::net) fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Lists a connection; returns its key in the list.
    pub(in crate::net) fn enter(&self, transport: Transport) -> usize {
        self.listed.borrow_mut().insert(transport)
    }

    /// Removes a connection from the list, if it is there.
    pub(in crate::net) fn leave(&self, key: usize) {
        let left = self.listed.borrow_mut().try_remove(key);
        drop(left);
    }

    /// Returns how many connections are listed.
    pub(in crate::net) fn count(&self) -> usize {
        self.listed.borrow().len()
    }

    /// Returns whether the inner acceptor wants a connection besides those that are listed, and
    /// `coming` others.
    pub(in crate::net) fn wants(&self, coming: usize) -> bool {
        let coming = coming + self.count();
        cells::with(&self.inner, |inner| {
            inner.as_ref().is_none_or(|inner| inner.wants(coming))
        })
    }

    /// Passes a connection on: `pass` calls the inner acceptor with it.
    pub(in crate::net) fn pass_on(
        &self,
        accepted: Accepted,
        pass: impl FnOnce(&mut dyn Acceptor, Accepted),
    ) {
        let inner = self.inner.take();
        let Some(mut inner) = inner else {
            return accepted.reset();
        };
        report::contain_rarely(Origin::Protocol, self.location, || {
            pass(&mut *inner, accepted);
        });
        self.inner.set(Some(inner));
    }

    pub(in crate::net) fn started(
        &self,
        location: &'static Location<'static>,
    ) -> Result<(), Failure> {
        let inner = self.inner.take();
        let Some(mut inner) = inner else {
            return Ok(());
        };
        let started = inner.started(location);
        self.inner.set(Some(inner));
        started
    }

    pub(in crate::net) fn stopped(
        &self,
        location: &'static Location<'static>,
    ) -> Result<(), Failure> {
        let listed = self.listed.take();
        for (_, transport) in listed {
            transport.abort_connection();
        }
        accept::end(self.inner.take(), location)
    }

    /// Logs that a connection is closed, and why.
    pub(in crate::net) fn log_closed(
        &self,
        reactor: &Reactor,
        peer: &Address,
        why: &dyn fmt::Display,
    ) {
        let now = reactor.now();
        let (last, lacks) = (self.warned.get(), self.lacks);
        if last.is_none_or(|last| now.duration_since(last) >= WARN_INTERVAL) {
            self.warned.set(Some(now));
            tracing::warn!(target: "torsade::net", %peer, %why, "closed a connection without {lacks}");
            if !report::is_logged() {
                self.said.write(format_args!(
                    "closed the connection of {}{peer}: {why} (reported once for each port)",
                    self.who
                ));
            }
        } else {
            tracing::debug!(target: "torsade::net", %peer, %why, "closed a connection without {lacks}");
        }
    }
}

/// The shortest time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(1);
