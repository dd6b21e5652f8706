//! A service that keeps a port open: [`PortService`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::Service;
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::net::Port;
use crate::net::datagram::DatagramPort;
use crate::reactor::Reactor;
use crate::report;

/// A service that opens a port when it is started, and closes the port when it is stopped.
///
/// Accepted connections stay open. The function that is given to [`new`](Self::new) decides the
/// kind of port: see [`ServicePort`]. Clones are handles to the same service.
///
/// # Examples
///
/// ```
/// use torsade::services::{PortService, Service};
///
/// torsade::testing::run(async |reactor| {
///     let service = PortService::new(&reactor, |reactor| {
///         reactor.serve("127.0.0.1:7000", async |_conn| Ok(()))
///     });
///     service.start()?;
///     assert_eq!(service.port().unwrap().local_addr().port(), Some(7000));
///     service.stop().await
/// });
/// ```
///
/// A datagram port:
///
/// ```
/// # use torsade::net::datagram::{DatagramPort, DatagramProtocol};
/// # use torsade::{Address, Context, Reactor};
/// # struct Sink;
/// # impl DatagramProtocol for Sink {
/// #     fn datagram_received(
/// #         &mut self,
/// #         _: &mut Context<'_, Self, DatagramPort>,
/// #         _: &[u8],
/// #         _: Address,
/// #     ) {
/// #     }
/// # }
/// use torsade::services::{PortService, Service};
///
/// torsade::testing::run(async |reactor| {
///     let open = |reactor: &Reactor| reactor.listen_datagram("127.0.0.1:7000", Sink);
///     let service = PortService::new(&reactor, open);
///     service.start()?;
///     assert_eq!(service.port().unwrap().local_addr().port(), Some(7000));
///     service.stop().await
/// });
/// ```
pub struct PortService<K: ServicePort = Port>(Rc<Inner<K>>);

/// A port that a [`PortService`] can close: a [`Port`] or a [`DatagramPort`].
pub trait ServicePort: Clone + 'static {
    /// Closes the port. The Deferred of each call fires when the port is closed.
    fn close(&self) -> Deferred<()>;

    /// Returns whether the port is open and not closing.
    fn is_open(&self) -> bool;
}

struct Inner<K> {
    reactor: Reactor,
    /// The program's function; `None` while it is being called.
    open: Cell<Option<Box<Open<K>>>>,
    port: RefCell<Option<K>>,
    location: &'static Location<'static>,
}

type Open<K> = dyn FnMut(&Reactor) -> Result<K, Failure>;

impl<K: ServicePort> PortService<K> {
    /// Creates a service. `open` opens the port, each time the service is started.
    #[track_caller]
    pub fn new(
        reactor: &Reactor,
        open: impl FnMut(&Reactor) -> Result<K, Failure> + 'static,
    ) -> Self {
        Self(Rc::new(Inner {
            reactor: reactor.clone(),
            open: Cell::new(Some(Box::new(open))),
            port: RefCell::default(),
            location: Location::caller(),
        }))
    }

    /// Returns the port, while it is open.
    pub fn port(&self) -> Option<K> {
        self.last().filter(K::is_open)
    }

    fn last(&self) -> Option<K> {
        self.0.port.borrow().clone()
    }
}

impl<K: ServicePort> Service for PortService<K> {
    fn start(&self) -> Result<(), Failure> {
        if self.is_running() {
            return Ok(());
        }
        let Some(mut open) = self.0.open.take() else {
            return Ok(());
        };
        let opened = report::catch_rarely(self.0.location, || open(&self.0.reactor));
        self.0.open.set(Some(open));
        let port = opened.and_then(|opened| opened)?;
        drop(self.0.port.replace(Some(port)));
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        // The port fires the Deferred of each call.
        match self.last() {
            Some(port) => port.close(),
            None => Deferred::succeed(()),
        }
    }

    fn is_running(&self) -> bool {
        self.port().is_some()
    }
}

impl ServicePort for Port {
    fn close(&self) -> Deferred<()> {
        self.stop()
    }

    fn is_open(&self) -> bool {
        self.is_listening()
    }
}

impl ServicePort for DatagramPort {
    fn close(&self) -> Deferred<()> {
        self.stop()
    }

    fn is_open(&self) -> bool {
        self.is_listening()
    }
}

impl<K: ServicePort> Clone for PortService<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: ServicePort> fmt::Debug for PortService<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortService")
            .field("is_running", &self.is_running())
            .finish_non_exhaustive()
    }
}
