//! A port that is open while its service runs.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::Service;
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::net::Port;
use crate::reactor::Reactor;
use crate::report;

/// Opens a port when it is started, and closes it when it is stopped. Connections that were accepted go on. Clones are
/// handles to the same one.
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
#[doc(alias("StreamServerEndpointService", "TCPServer", "UNIXServer", "strports"))]
#[derive(Clone)]
pub struct PortService(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    /// Empty while it is being called.
    open: Cell<Option<Box<Open>>>,
    port: RefCell<Option<Port>>,
}

type Open = dyn FnMut(&Reactor) -> Result<Port, Failure>;

impl PortService {
    /// `open` opens the port, each time the service is started.
    pub fn new(
        reactor: &Reactor,
        open: impl FnMut(&Reactor) -> Result<Port, Failure> + 'static,
    ) -> Self {
        Self(Rc::new(Inner {
            reactor: reactor.clone(),
            open: Cell::new(Some(Box::new(open))),
            port: RefCell::default(),
        }))
    }

    /// The port, while it is open.
    pub fn port(&self) -> Option<Port> {
        self.last().filter(Port::is_listening)
    }

    fn last(&self) -> Option<Port> {
        self.0.port.borrow().clone()
    }
}

impl Service for PortService {
    fn start(&self) -> Result<(), Failure> {
        if self.is_running() {
            return Ok(());
        }
        let Some(mut open) = self.0.open.take() else {
            return Ok(());
        };
        let opened = report::catch(Location::caller(), || open(&self.0.reactor));
        self.0.open.set(Some(open));
        let port = opened.and_then(|opened| opened)?;
        self.0.port.replace(Some(port));
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        // The port knows of all who wait for its end.
        match self.last() {
            Some(port) => port.stop(),
            None => Deferred::succeed(()),
        }
    }

    fn is_running(&self) -> bool {
        self.port().is_some()
    }
}

impl fmt::Debug for PortService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortService")
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}
