//! A port that is open while its service runs.

use std::cell::{Cell, RefCell};
use std::fmt;

use super::Service;
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::net::Port;
use crate::reactor::Reactor;

/// Opens a port when it is started, and closes it when it is stopped. Connections that were accepted go on.
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
pub struct PortService {
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
        Self {
            reactor: reactor.clone(),
            open: Cell::new(Some(Box::new(open))),
            port: RefCell::default(),
        }
    }

    /// The port, while it runs.
    pub fn port(&self) -> Option<Port> {
        self.port.borrow().clone()
    }
}

impl Service for PortService {
    fn start(&self) -> Result<(), Failure> {
        if self.is_running() {
            return Ok(());
        }
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let opened = open(&self.reactor);
        self.open.set(Some(open));
        self.port.replace(Some(opened?));
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        let port = self.port.take();
        port.map_or_else(|| Deferred::succeed(()), |port| port.stop())
    }

    fn is_running(&self) -> bool {
        self.port.borrow().is_some()
    }
}

impl fmt::Debug for PortService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortService")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
