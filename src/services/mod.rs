//! Services: parts of a program that start and stop in order.
//!
//! # The idea
//!
//! A [`Service`] can be started and stopped; stopping may take time. A [`MultiService`] starts its
//! members in order and stops them in reverse order. [`attach`] ties a service to a reactor: the
//! service starts at once, and when the reactor shuts down, it stops the service first, and closes
//! connections when the service has stopped.
//!
//! | service | while it runs |
//! |---|---|
//! | [`MultiService`] | its members run |
//! | [`ClientService`] | it is connected, or tries to connect |
//! | [`PortService`] | a port is open, for streams or for datagrams |
//! | [`TimerService`] | a function is called at intervals |
//! | [`Cooperator`] | its tasks run |
//!
//! # Rules
//!
//! 1. Starting a running service, and stopping a stopped one, does nothing and is not an error.
//! 2. A stopped service can be started again.
//! 3. Stopping never fails: errors are reported. The Deferred of each call fires when the service
//!    has stopped.
//!
//! The [glossary](crate::guide::glossary) defines the terms: [stop and
//! stopped](crate::guide::glossary#stop-stopped).

mod client;
mod multi;
mod port;
mod timer;

use std::rc::Rc;

#[doc(alias("ReconnectingClientFactory", "reconnect"))]
pub use self::client::ClientService;
#[doc(alias("IServiceCollection", "addService", "getServiceNamed"))]
pub use self::multi::MultiService;
#[doc(alias(
    "StreamServerEndpointService",
    "TCPServer",
    "UNIXServer",
    "UDPServer",
    "MulticastServer",
    "UNIXDatagramServer",
    "strports"
))]
pub use self::port::PortService;
pub use self::port::ServicePort;
#[doc(alias("LoopingCall"))]
pub use self::timer::TimerService;
use crate::defer::Deferred;
use crate::failure::{Failure, errors};
pub use crate::net::Backoff;
use crate::reactor::{Phase, Reactor};
use crate::repeat::Cooperator;

/// A part of a program that can be started and stopped.
#[doc(alias("IService", "startService", "stopService"))]
pub trait Service {
    /// Starts the service, unless it runs already.
    ///
    /// # Errors
    ///
    /// Fails with the reason why the service does not start.
    #[doc(alias("startService", "privilegedStartService"))]
    fn start(&self) -> Result<(), Failure>;

    /// Stops the service. The Deferred fires when the service has stopped.
    #[doc(alias = "stopService")]
    fn stop(&self) -> Deferred<()>;

    /// Returns whether the service was started and [`stop`](Self::stop) was not called since.
    #[doc(alias = "running")]
    fn is_running(&self) -> bool;

    /// Returns the service as a [`MultiService`], if it is one. The default is `None`.
    ///
    /// A [`MultiService`] with this service as a member starts and stops the members of the
    /// returned service itself, and calls neither [`start`](Self::start) nor [`stop`](Self::stop)
    /// of this one; so services can be nested to any depth without recursion. A wrapper that only
    /// forwards to a `MultiService` overrides this method.
    fn as_multi(&self) -> Option<&MultiService> {
        None
    }
}

/// The error of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceError {
    /// The [`MultiService`] has a member of this name already.
    NameTaken {
        /// The name.
        name: String,
    },
    /// The function that makes the protocols of a [`ClientService`] returned `None` for a
    /// connection.
    NoProtocol,
}

errors! {
    enum ServiceError {
        NameTaken { name }: "the service has a member called {name:?} already";
        NoProtocol: "no protocol was made for the connection";
    }
}

/// Work that is added before the service starts waits for the start; work that is added after it
/// has stopped is refused.
impl Service for Cooperator {
    fn start(&self) -> Result<(), Failure> {
        Self::start(self);
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        Self::stop(self);
        Deferred::succeed(())
    }

    fn is_running(&self) -> bool {
        Self::is_running(self)
    }
}

impl<S: Service + ?Sized> Service for Rc<S> {
    fn start(&self) -> Result<(), Failure> {
        (**self).start()
    }

    fn stop(&self) -> Deferred<()> {
        (**self).stop()
    }

    fn is_running(&self) -> bool {
        (**self).is_running()
    }

    fn as_multi(&self) -> Option<&MultiService> {
        (**self).as_multi()
    }
}

/// Starts a service, and stops it when the reactor shuts down.
///
/// The shutdown waits until the service has stopped, before it closes connections.
///
/// # Errors
///
/// Fails with the reason why the service does not start. The reactor then does not stop it either.
///
/// # Examples
///
/// ```
/// use torsade::services::{self, MultiService, PortService};
///
/// # fn main() -> Result<(), torsade::Failure> {
/// torsade::run(async |reactor| {
///     let all = MultiService::new();
///     all.add(PortService::new(&reactor, |reactor| {
///         reactor.serve("127.0.0.1:0", async |_conn| Ok(()))
///     }))?;
///     services::attach(&reactor, all)?;
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias("Application", "setServiceParent"))]
#[track_caller]
pub fn attach(reactor: &Reactor, service: impl Service + 'static) -> Result<(), Failure> {
    let service = Rc::new(service);
    service.start()?;
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move || {
        // The shutdown goes on whatever the result.
        service.stop()
    });
    Ok(())
}
