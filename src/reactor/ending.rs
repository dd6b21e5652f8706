//! The end of a run: waiting for the stop, the warning about forgotten ports, and ending the
//! process by the signal that stopped the reactor.
//!
//! # Invariants
//!
//! 1. Tasks that wait for the stop get a turn before the shutdown event is fired.
//! 2. If `main` has waited for the stop, the shutdown event is fired after `main` has returned.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::future::FusedFuture;

use super::{Inner, Reactor, State, WeakReactor};
use crate::failure::Failure;
use crate::report::{self, Origin, Subsystem};
use crate::slots::Ordered;
use crate::task::own_waker;

/// The tasks that wait until the reactor is stopped.
#[derive(Default)]
pub(super) struct Ending {
    /// The wakers. Keys are not used twice: a future that is polled or dropped in a later run finds
    /// its own waker, or none.
    waiting: RefCell<Ordered<Waker>>,
    /// Whether `main` is being polled.
    polls_main: Cell<bool>,
    /// Whether `main` has waited for the stop, and may have something left to do.
    main_awaited_stop: Cell<bool>,
    /// Whether the shutdown event is fired when `main` has returned.
    awaits_main: Cell<bool>,
    /// Whether the process ends by the signal that has stopped the reactor.
    by_signal: Cell<bool>,
}

impl Ending {
    /// Begins a run.
    pub(super) fn begin(&self) {
        self.main_awaited_stop.set(false);
        self.awaits_main.set(false);
    }

    pub(super) fn set_polls_main(&self, polls: bool) {
        self.polls_main.set(polls);
    }

    /// Wakes the waiting tasks in the order in which they began to wait. Returns whether there were
    /// any.
    fn wake_waiting(&self) -> bool {
        let waiting = self.waiting.borrow_mut().take_all();
        let any = !waiting.is_empty();
        for waker in waiting {
            report::contain_rarely(Origin::Call, Location::caller(), || waker.wake());
        }
        any
    }
}

impl Reactor {
    /// Waits until the reactor is stopped, by [`Reactor::stop`] or by a signal. The `main` of a
    /// server ends with this.
    ///
    /// The result is always `Ok`, so `main` returns in good order; it is ready at once while the
    /// reactor is stopping.
    ///
    /// # Order
    ///
    /// The waiting tasks continue before the shutdown event is fired, while all connections and
    /// ports are still open. When `main` itself waited, the shutdown event waits until `main` has
    /// returned; code that follows `stopped().await` in `main` may take its time. A second signal
    /// cuts it short. A spawned task that waits here continues as well, but is not waited for: unless
    /// `main` itself waits here too, the stop ends `main` and drops the task. So await a server in
    /// `main` (`server(reactor).await`, or `join!` for several) instead of spawning it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::{Clock, Failure};
    ///
    /// fn main() -> Result<(), Failure> {
    ///     torsade::run(async |reactor| {
    ///         let port = reactor.serve("127.0.0.1:0", async |_conn| Ok(()))?;
    ///         println!("listening on {}", port.local_addr());
    ///         # let stopper = reactor.clone();
    ///         # reactor.call_later(Duration::from_millis(1), move || stopper.stop().unwrap());
    ///         reactor.stopped().await // Ctrl-C
    ///     })
    /// }
    /// ```
    #[doc(alias("serve_forever", "wait_closed"))]
    pub fn stopped(&self) -> impl FusedFuture<Output = Result<(), Failure>> + Unpin + use<> {
        UntilStopped {
            reactor: self.downgrade(),
            key: None,
            is_over: false,
        }
    }

    pub(super) fn set_ends_by_signal(&self, ends: bool) {
        self.inner().ending.by_signal.set(ends);
    }

    /// Ends the process by the signal that stopped the reactor, if
    /// [`ReactorBuilder::ends_by_signal`] says so.
    pub(super) fn end_by_signal(&self) {
        if !self.inner().ending.by_signal.get() {
            return;
        }
        let Some(signal) = self.stopped_by() else {
            return;
        };
        let _ = std::io::stdout().flush();
        let _ = signal.raise();
        // This is the first process of a container, or the signal is ignored or blocked.
        std::process::exit(128 + signal.number());
    }

    /// Fires the shutdown event when a stop was requested and the tasks that wait for it have had
    /// their turn (invariants 1 and 2).
    pub(super) fn check_stop(&self) {
        let inner = self.inner();
        let ending = &inner.ending;
        if inner.pace.is_stop_requested() {
            inner.signals.set_stopping();
            if ending.wake_waiting() {
                return;
            }
            inner.pace.cancel_stop();
            if ending.main_awaited_stop.get() && inner.pace.main_waits() {
                ending.awaits_main.set(true);
            } else {
                self.fire_shutdown();
            }
        } else if ending.awaits_main.get() && !inner.pace.main_waits() {
            ending.awaits_main.set(false);
            self.fire_shutdown();
        }
    }

    /// Logs a warning when `main` has returned without a stop and there are ports that never had a
    /// connection.
    ///
    /// A program that listens and then does something else has either had connections by then, or
    /// was busy for a while.
    pub(super) fn warn_of_forgotten_ports(&self) {
        let inner = self.inner();
        if inner.state.get() != State::Running || inner.has_run_for() >= BUSY_AFTER {
            return;
        }
        let unused: Vec<_> = inner
            .all_handlers()
            .into_iter()
            .filter(|(_, handler)| handler.is_unused_port())
            .map(|(_, handler)| handler.location())
            .collect();
        for location in unused {
            report::warn(
                Subsystem::Reactor,
                format_args!(
                    "`main` has returned, so the port that was opened at {location} closes before \
                     anybody has connected; a server's `main` ends with `reactor.stopped().await`"
                ),
            );
        }
    }
}

impl Inner {
    /// The time since the run began.
    fn has_run_for(&self) -> std::time::Duration {
        let begun = self.pace.began_at();
        begun.map_or_else(Default::default, |begun| {
            self.clock_now().saturating_duration_since(begun)
        })
    }
}

/// The future of [`Reactor::stopped`].
struct UntilStopped {
    reactor: WeakReactor,
    /// The key of the waker, once there is one.
    key: Option<usize>,
    /// Whether it has been ready.
    is_over: bool,
}

impl UntilStopped {
    fn leave(&mut self) {
        let (Some(key), Some(reactor)) = (self.key.take(), self.reactor.upgrade()) else {
            return;
        };
        let left = reactor.inner().ending.waiting.borrow_mut().remove(key);
        drop(left);
    }
}

impl Future for UntilStopped {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(reactor) = self.reactor.upgrade() else {
            self.is_over = true;
            return Poll::Ready(Ok(()));
        };
        let ending = &reactor.inner().ending;
        if matches!(reactor.inner().state.get(), State::Stopping | State::Ended) {
            // Tasks that were woken have been taken out.
            self.key = None;
            self.is_over = true;
            if ending.polls_main.get() {
                ending.main_awaited_stop.set(true);
            }
            return Poll::Ready(Ok(()));
        }
        let waker = own_waker(cx).clone();
        let mut waiting = ending.waiting.borrow_mut();
        let old = match self.key.and_then(|key| waiting.get_mut(key)) {
            Some(old) => Some(std::mem::replace(old, waker)),
            None => {
                self.key = Some(waiting.push(waker));
                None
            }
        };
        drop(waiting);
        drop(old);
        Poll::Pending
    }
}

impl FusedFuture for UntilStopped {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

impl Drop for UntilStopped {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A `main` that ran longer than this did something besides listening.
const BUSY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);
