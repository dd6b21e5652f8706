//! Services: parts of a program that start and stop in order.
//!
//! # The idea
//!
//! A [`Service`] is started and stopped; stopping may take its time. A [`MultiService`] starts its members in order and stops
//! them in the reverse order, and [`attach`] ties one to a reactor: it starts at once or when the reactor does, and the
//! reactor's shutdown waits for it to stop, before connections are lost.
//!
//! | service                                                 | while it runs                                          |
//! |---------------------------------------------------------|--------------------------------------------------------|
//! | [`MultiService`]                                        | its members do                                         |
//! | [`ClientService`]                                       | it is connected, or tries to be                        |
//! | [`PortService`]                                         | a port is open, of connections or of datagrams         |
//! | [`TimerService`]                                        | a function is called again and again                   |
//! | [`Cooperator`]                                          | it does its work                                       |
//!
//! # Rules
//!
//! 1. Starting what runs, and stopping what does not, changes nothing and is no error.
//! 2. A service can be started again when it has been stopped.
//! 3. Stopping never fails: what goes wrong is reported. Each call's Deferred fires when it has stopped.

mod client;
mod multi;
mod port;
mod timer;

use std::rc::Rc;

pub use self::client::{ClientService, NoProtocol};
pub use self::multi::{MultiService, NameTaken};
pub use self::port::{Closes, PortService};
pub use self::timer::TimerService;
use crate::defer::Deferred;
use crate::failure::Failure;
pub use crate::net::Backoff;
use crate::reactor::{Phase, Reactor};
use crate::repeat::Cooperator;

/// Something that is started and stopped.
#[doc(alias("IService", "startService", "stopService"))]
pub trait Service {
    /// Starts it, if it does not run.
    ///
    /// # Errors
    ///
    /// Why it does not run.
    #[doc(alias("startService", "privilegedStartService"))]
    fn start(&self) -> Result<(), Failure>;

    /// Stops it. The Deferred fires when it has stopped.
    #[doc(alias = "stopService")]
    fn stop(&self) -> Deferred<()>;

    /// Was it started, and not stopped since?
    #[doc(alias = "running")]
    fn is_running(&self) -> bool;

    /// The service of several that this one is, if it is one. `None` unless it is overridden.
    ///
    /// A [`MultiService`] goes through what is given here by itself, and calls neither [`start`](Self::start) nor
    /// [`stop`](Self::stop) of this one; so services can stand one inside the other to any depth and use no stack. A wrapper
    /// that only passes on to a `MultiService` overrides it.
    fn as_multi(&self) -> Option<&MultiService> {
        None
    }
}

/// Work that is added while the service does not run waits for it, or, once it has been stopped, is refused.
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

/// Starts a service, and has it stopped before the reactor shuts down.
///
/// # Errors
///
/// Why it does not run; then the reactor does not stop it either.
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
        // Whatever becomes of it, the rest of the shutdown goes on.
        service.stop()
    });
    Ok(())
}
