//! Guest mode: a reactor that another loop drives, and code that runs for a reactor outside its turns.
//!
//! # The idea
//!
//! A host loop (of tokio, calloop, glib, a game, or a plain `poll`) waits for the reactor's descriptor and for
//! [`Reactor::poll_timeout`], then turns the reactor once. What the host's code asks of the reactor between two turns makes
//! the descriptor readable (`HostNotifier`); [`Reactor::start`] and [`Reactor::finish`] stand for the two ends of a run.
//!
//! # Invariants
//!
//! 1. A hosted run goes through the same states and events as [`Reactor::run`], by the same functions.
//! 2. A descriptor that was handed out never becomes another one.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use super::signals::Wants;
use super::{FOREVER, Reactor, ReactorError, State};
use crate::context;
use crate::failure::Failure;
use crate::report;
use crate::task::{Entered, Executor};

impl Reactor {
    /// Begins a run that another loop drives: fires the startup event, and listens for signals if
    /// [told to](crate::ReactorBuilder::stops_on_signals).
    ///
    /// The host loop then repeats three steps until [`Reactor::has_ended`]: it waits until the reactor's descriptor
    /// ([`AsFd`]) is readable or [`Reactor::poll_timeout`] has passed, whichever comes first; calls
    /// [`Reactor::run_until_current`]; and calls `do_iteration(Some(Duration::ZERO))` ([`Reactor::do_iteration`]; with
    /// `None` it would wait). The descriptor may be watched level-triggered or edge-triggered. Whatever the host's code asks for in between (`spawn`, `call_later`, `connect`,
    /// `write`, `stop`) makes the descriptor readable, so it needs no care.
    ///
    /// A signal interrupts the host's wait, on Unix with `EINTR`. That is no error: the host goes on with the other two
    /// steps, in which the reactor finds the signal.
    ///
    /// [`Reactor::stop`] works as in a run of the reactor's own: the turns that follow fire the shutdown event and close what
    /// is open. A host that leaves its loop first calls [`Reactor::finish`].
    ///
    /// [`ReactorBuilder::ends_by_signal`](crate::ReactorBuilder::ends_by_signal) has no effect here, for the process is the host's. A host that is to end by the
    /// signal looks at [`Reactor::stopped_by`] when the reactor has ended, does what it has left to do, and calls
    /// [`Signal::raise`](crate::Signal::raise).
    ///
    /// # Errors
    ///
    /// [`ReactorError::AlreadyRunning`] when this reactor runs, or any reactor is in a turn on this thread;
    /// [`ReactorError::NotRestartable`] when it has ended; the system's, when it refuses to listen for signals.
    ///
    /// # Panics
    ///
    /// With a startup trigger's panic, under [`OnPanic::Unwind`](super::OnPanic::Unwind).
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
    ///     let timeout = reactor.poll_timeout().and_then(|timeout| Timespec::try_from(timeout).ok());
    ///     match poll(&mut [PollFd::new(&reactor, PollFlags::IN)], timeout.as_ref()) {
    ///         Ok(_) | Err(Errno::INTR) => {} // a signal came: the reactor looks at it
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

    /// Ends a run that was begun with [`Reactor::start`]: stops the reactor if it was not stopped, then turns and waits here
    /// until the shutdown event is over.
    ///
    /// It returns at once when the reactor has ended.
    ///
    /// # Errors
    ///
    /// [`ReactorError::NotRunning`] when the reactor was not started, or has crashed since;
    /// [`ReactorError::AlreadyRunning`] when it runs by itself, or any reactor is in a turn on this thread.
    ///
    /// # Panics
    ///
    /// With a user's panic, under [`OnPanic::Unwind`](super::OnPanic::Unwind).
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
        // One that has not started yet stops as soon as it has.
        inner.pace.stop_once_started();
        while inner.pace.is_hosted() {
            let turn = self.begin_turn();
            self.current_things();
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

    /// Makes this reactor the current one of this thread until the guard is dropped, outside a turn.
    ///
    /// Meanwhile [`spawn`](crate::spawn()), [`Reactor::current`] and everything built on them work as in a turn, and what is
    /// not handled is reported to this reactor. Nothing runs before the reactor's next turn. Guards are dropped in the
    /// reverse order of their making.
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
            _entered: self.inner().executor.enter(),
            _diverted: report::divert(self.sink()),
            local: PhantomData,
        }
    }

    /// The reactor of this thread: the one whose turn the present callback or task runs in, or that was
    /// [entered](Reactor::enter).
    pub fn current() -> Option<Self> {
        context::with(|thread| thread.reactor.get()).map(Self)
    }

    /// Makes this the reactor of the thread; gives the one before.
    pub(super) fn make_current(&self) -> Option<Self> {
        let before = context::with(|thread| thread.reactor.replace(Some(self.0.clone())));
        before.map(Self)
    }

    /// The reactor of the thread is again the one that was before.
    pub(super) fn restore_current(before: Option<Self>) {
        let before = before.map(|reactor| reactor.0);
        let left = context::with(|thread| thread.reactor.replace(before));
        drop(left);
    }

    /// In a hosted run, acts on what asks for its end.
    pub(super) fn look_at_hosted_end(&self) {
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

/// The guard of [`Reactor::enter`].
pub struct EnterGuard {
    before: Option<Reactor>,
    _diverted: report::Diverted,
    _entered: Entered,
    /// It belongs to its thread.
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
