//! Guest mode: a reactor that another loop drives, and code that runs for a reactor outside its
//! turns.
//!
//! # The idea
//!
//! A host loop (of tokio, calloop, glib, a game, or a plain `poll`) waits for the reactor's
//! descriptor and for [`Reactor::poll_timeout`], then turns the reactor once. Requests that the
//! host's code makes between two turns make the descriptor readable (`HostNotifier`);
//! [`Reactor::start`] and [`Reactor::finish`] begin and end a run.
//!
//! # Invariants
//!
//! 1. A hosted run goes through the same states and events as [`Reactor::run`], by the same
//!    functions.
//! 2. The descriptor that was handed out is never replaced.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use super::signals::Wants;
use super::{FOREVER, Reactor, ReactorError, State};
use crate::context;
use crate::failure::Failure;
use crate::report;
use crate::task::{Entered, Executor};

/// # Driving the reactor from another loop
impl Reactor {
    /// Begins a run that another loop drives: fires the startup event, and listens for signals if
    /// [`ReactorBuilder::stops_on_signals`](super::ReactorBuilder::stops_on_signals) is set.
    ///
    /// [Hosts](crate::guide::hosts) has recipes for tokio, calloop, glib and poll(2).
    ///
    /// The host loop then repeats three steps until [`Reactor::has_ended`] returns true:
    ///
    /// 1. It waits until the reactor's descriptor ([`AsFd`]) is readable or
    ///    [`Reactor::poll_timeout`] has passed, whichever comes first.
    /// 2. It calls [`Reactor::run_until_current`].
    /// 3. It calls [`Reactor::do_iteration`] with `Some(Duration::ZERO)`, which does not wait.
    ///
    /// The descriptor may be watched level-triggered or edge-triggered. Between two turns the
    /// host's code may use the reactor and its handles (`spawn`, `call_later`, `connect`, `write`,
    /// `stop`): each such call makes the descriptor readable.
    ///
    /// A signal interrupts the host's wait, on Unix with `EINTR`. That is no error: the host
    /// continues with steps 2 and 3, in which the reactor handles the signal.
    ///
    /// [`Reactor::stop`] works as it does in [`Reactor::run`]: the turns that follow fire the
    /// shutdown event and close what is open. A host that leaves its loop first calls
    /// [`Reactor::finish`].
    ///
    /// [`ReactorBuilder::ends_by_signal`](super::ReactorBuilder::ends_by_signal) has no effect
    /// here, because the process is the host's. A host that should end by the signal asks
    /// [`Reactor::stopped_by`] when the reactor has ended, and calls
    /// [`Signal::raise`](crate::Signal::raise).
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::AlreadyRunning`] when this reactor is running, or any reactor is
    /// in a turn on this thread; with [`ReactorError::NotRestartable`] when the reactor has ended;
    /// and with the system's error when it refuses to listen for signals.
    ///
    /// # Panics
    ///
    /// Panics with the panic of a startup trigger, under
    /// [`OnPanic::Unwind`](super::OnPanic::Unwind).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use rustix::event::{PollFd, PollFlags, Timespec, poll};
    /// use rustix::io::Errno;
    /// use torsade::{Clock, Reactor};
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let reactor = Reactor::new()?;
    /// reactor.start()?;
    /// let stopper = reactor.clone();
    /// reactor.call_later(Duration::from_millis(1), move || drop(stopper.stop()));
    ///
    /// let mut turns = 0;
    /// while !reactor.has_ended() {
    ///     let timeout = reactor.poll_timeout();
    ///     let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    ///     match poll(&mut [PollFd::new(&reactor, PollFlags::IN)], timeout.as_ref()) {
    ///         Ok(_) | Err(Errno::INTR) => {} // after a signal the reactor looks for it
    ///         Err(error) => return Err(std::io::Error::from(error).into()),
    ///     }
    ///     reactor.run_until_current();
    ///     reactor.do_iteration(Some(Duration::ZERO));
    ///     turns += 1;
    /// }
    /// assert!(turns < 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`AsFd`]: std::os::fd::AsFd
    #[doc(alias("startRunning", "guest mode"))]
    pub fn start(&self) -> Result<(), Failure> {
        let inner = self.inner();
        if inner.state.get() == State::Ended {
            return Err(ReactorError::NotRestartable.into());
        }
        let runs = inner.state.get() != State::New || inner.pace.is_hosted();
        if runs || Executor::is_in_turn() {
            return Err(ReactorError::AlreadyRunning.into());
        }
        let wants = Wants {
            stops: inner.stops_on_signals.get(),
            dumps: inner.dumps_on_signal.get(),
        };
        if let Err(error) = inner.begin_listening(wants) {
            inner.end_listening();
            return Err(error.into());
        }
        inner.pace.set_hosted(true);
        let turn = self.begin_turn();
        self.fire_startup();
        drop(turn);
        self.rethrow();
        Ok(())
    }

    /// Ends a run that was begun with [`Reactor::start`]: stops the reactor unless it has been
    /// stopped, then runs turns, and waits, until the shutdown event is over.
    ///
    /// Returns at once when the reactor has ended.
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::NotRunning`] when the reactor was not started, or has crashed
    /// since; and with [`ReactorError::AlreadyRunning`] when the reactor runs by itself, or any
    /// reactor is in a turn on this thread.
    ///
    /// # Panics
    ///
    /// Panics with the panic of user code, under [`OnPanic::Unwind`](super::OnPanic::Unwind).
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::{Phase, Reactor};
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let reactor = Reactor::new()?;
    /// reactor.start()?;
    /// reactor.add_system_event_trigger(Phase::Before, "shutdown", async || {
    ///     println!("all is saved");
    ///     Ok(())
    /// });
    /// reactor.finish()?;
    /// assert!(reactor.has_ended());
    /// # Ok(())
    /// # }
    /// ```
    pub fn finish(&self) -> Result<(), Failure> {
        let inner = self.inner();
        if Executor::is_in_turn() {
            return Err(ReactorError::AlreadyRunning.into());
        }
        if inner.state.get() == State::Ended {
            return Ok(());
        }
        if !inner.pace.is_hosted() {
            return Err(ReactorError::NotRunning.into());
        }
        // A run that has not started yet stops as soon as it has.
        inner.pace.stop_once_started();
        while inner.pace.is_hosted() {
            let turn = self.begin_turn();
            self.run_current();
            if inner.pace.is_hosted() {
                self.io(FOREVER, true);
            }
            drop(turn);
            self.rethrow();
        }
        match inner.state.get() {
            State::Ended => Ok(()),
            _ => Err(ReactorError::NotRunning.into()),
        }
    }

    /// Makes this reactor the current one of this thread until the guard is dropped: for code that
    /// runs outside the turns of the reactor.
    ///
    /// While the guard lives, [`spawn`](crate::spawn()), [`Reactor::current`] and everything built
    /// on them work as in a turn, and unhandled failures are reported to this reactor. Tasks and
    /// calls run only in the reactor's next turn. Guards must be dropped in the reverse order of
    /// their making.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Reactor;
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let reactor = Reactor::new()?;
    /// let task = {
    ///     let _guard = reactor.enter();
    ///     assert!(Reactor::current().is_some());
    ///     torsade::spawn(async { 42 })
    /// };
    /// assert!(Reactor::current().is_none());
    /// assert_eq!(reactor.run_until(task)??, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("Handle::enter", "set_event_loop"))]
    #[must_use = "the reactor is the current one for as long as the guard lives"]
    pub fn enter(&self) -> EnterGuard {
        EnterGuard {
            before: self.make_current(),
            #[cfg(feature = "tokio-rt")]
            _context: self.inner().turn_context.enter(),
            _entered: self.inner().executor.enter(),
            _sink_guard: report::redirect(self.sink()),
            local: PhantomData,
        }
    }

    /// Returns the current reactor of this thread: the one in whose turn the calling code runs, or
    /// the one that was [entered](Reactor::enter).
    pub fn current() -> Option<Self> {
        context::with(|thread| thread.reactor.get()).map(Self)
    }

    /// Makes this reactor the current one of the thread, and returns the earlier one.
    pub(super) fn make_current(&self) -> Option<Self> {
        let before = context::with(|thread| thread.reactor.replace(Some(self.0.clone())));
        before.map(Self)
    }

    /// Restores the earlier current reactor of the thread.
    pub(super) fn restore_current(before: Option<Self>) {
        let before = before.map(|reactor| reactor.0);
        let left = context::with(|thread| thread.reactor.replace(before));
        drop(left);
    }

    /// Ends a hosted run that has been asked to end.
    pub(super) fn check_hosted_end(&self) {
        let inner = self.inner();
        if !inner.pace.is_hosted() || !self.is_over() {
            return;
        }
        inner.pace.set_hosted(false);
        inner.end_listening();
        if inner.state.get() == State::Ended {
            inner.shut_down(Some(self));
        }
    }
}

/// The guard that [`Reactor::enter`] returns. Dropping it restores the earlier current reactor.
pub struct EnterGuard {
    before: Option<Reactor>,
    #[cfg(feature = "tokio-rt")]
    _context: super::turn_context::TurnContextGuard,
    _sink_guard: report::SinkGuard,
    _entered: Entered,
    /// The guard must stay on its thread.
    local: PhantomData<Rc<()>>,
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        Reactor::restore_current(self.before.take());
    }
}

impl fmt::Debug for EnterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").finish_non_exhaustive()
    }
}
