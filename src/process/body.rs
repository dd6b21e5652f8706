//! The process behind the handle: a child of this process, or a fake one in memory.

use std::io;
use std::panic::Location;
use std::process::ExitStatus;

use super::Command;
use super::errors::ProcessError;
#[cfg(any(doc, feature = "testing"))]
use super::fake;
use super::fake::FakeHandle;
use crate::driver::{self, Interest, Launch, NotLaunched, Pty, Sockets};
use crate::reactor::{Reactor, Registration};

/// A process that has not been waited for.
pub(super) enum Body {
    Machine(driver::Child),
    #[cfg_attr(
        not(any(doc, feature = "testing")),
        expect(dead_code, reason = "it has no values without the feature")
    )]
    Fake(FakeHandle),
}

impl Body {
    /// Starts a program. Its end is an event of this registration.
    pub(super) fn launch(
        reactor: &Reactor,
        command: &Command,
        registration: &Registration,
        #[cfg_attr(
            not(any(doc, feature = "testing")),
            expect(unused_variables, reason = "only fake processes need it")
        )]
        location: &'static Location<'static>,
    ) -> Result<(Self, Sockets), ProcessError> {
        let driver = reactor.inner().driver();
        let checked = command.check().map_err(|error| NotLaunched {
            step: "checking the command",
            error,
        });
        let launched = checked.map(|()| command.launch());
        let launched = launched.and_then(|launch| match driver.is_virtual() {
            #[cfg(any(doc, feature = "testing"))]
            true => fake::launch(reactor, &launch, registration, location)
                .map(|(process, pipes)| (Self::Fake(process), pipes)),
            _ => Self::on_machine(reactor, &launch, registration),
        });
        launched.map_err(|why| ProcessError::not_started(command.program(), why))
    }

    fn on_machine(
        reactor: &Reactor,
        launch: &Launch<'_>,
        registration: &Registration,
    ) -> Result<(Self, Sockets), NotLaunched> {
        let launched = launch.start()?;
        match registration.add(reactor, &launched.child, Interest::Read) {
            Ok(()) => Ok((Self::Machine(launched.child), launched.pipes)),
            Err(error) => {
                launched.child.end();
                Err(NotLaunched {
                    step: "watching it",
                    error,
                })
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Machine(child) => child.pid(),
            Self::Fake(process) => process.pid(),
        }
    }

    /// Returns how the process ended, if it has; not to be called after that.
    pub(super) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        match self {
            Self::Machine(child) => child.try_wait(),
            Self::Fake(process) => Ok(process.status()),
        }
    }

    pub(super) fn signal(&self, number: i32, group: bool) -> io::Result<()> {
        match self {
            Self::Machine(child) => child.signal(number, group),
            Self::Fake(process) => {
                process.signal(number);
                Ok(())
            }
        }
    }

    /// Sets the size of a fake process's terminal. (The system notifies a real one.)
    pub(super) fn resize(&self, size: Pty) {
        if let Self::Fake(process) = self {
            process.resize(size);
        }
    }

    /// Sets whether the process is watched: it has ended and cannot be reaped yet, because a tracer
    /// has to see that first. No event comes until it is watched again.
    pub(super) fn set_watched(
        &self,
        reactor: &Reactor,
        registration: &Registration,
        watched: bool,
    ) -> io::Result<()> {
        let interest = Interest::of(watched, false);
        match self {
            Self::Machine(child) => registration.set_interest(reactor, child, interest),
            Self::Fake(_) => Ok(()),
        }
    }

    /// Removes the process from the poller, and its registration from the reactor's table.
    pub(super) fn unwatch(&self, reactor: &Reactor, registration: &Registration) {
        match self {
            Self::Machine(child) => registration.leave_with(reactor, child),
            Self::Fake(_) => registration.leave(reactor),
        }
    }

    /// Kills the process and waits for it.
    pub(super) fn end(self) {
        match self {
            Self::Machine(child) => child.end(),
            Self::Fake(process) => process.signal(libc::SIGKILL),
        }
    }

    /// Passes the process to the reaper, because its loop is gone.
    pub(super) fn abandon(self) {
        match self {
            Self::Machine(child) => child.abandon(),
            // The task of a fake process ends with the other tasks of its reactor.
            Self::Fake(_) => {}
        }
    }
}
