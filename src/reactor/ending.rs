//! The end of a run: waiting for the stop, the warning about forgotten ports, and ending the
//! process by the signal that stopped the reactor.
//!
//! # Invariants
//!
//! 1. The shutdown event is fired after the tasks that waited for the stop have ended, or after
//!    [`Grace::total`](super::Grace::total).
//! 2. If `main` has waited for the stop, the shutdown event is fired after `main` has returned.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::FusedFuture;

use super::{Inner, Reactor, State, WeakReactor};
use crate::clock::DelayedCall;
use crate::failure::Failure;
use crate::report::{self, Origin, Subsystem};
use crate::slots::Ordered;
use crate::task::{Executor, WaitedTask, own_waker};

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
    /// The tasks that have waited for the stop (invariant 1), and the limit of their time.
    tasks: RefCell<Vec<WaitedTask>>,
    limit: Cell<Option<DelayedCall>>,
    /// Whether the shutdown event waits for `main` or tasks.
    is_pending: Cell<bool>,
    /// Whether the process ends by the signal that has stopped the reactor.
    by_signal: Cell<bool>,
}

impl Ending {
    /// Begins a run.
    pub(super) fn begin(&self) {
        self.main_awaited_stop.set(false);
        self.is_pending.set(false);
        self.drop_tasks();
    }

    pub(super) fn set_polls_main(&self, polls: bool) {
        self.polls_main.set(polls);
    }

    /// Wakes the waiting tasks in the order in which they began to wait. Returns whether there were
    /// any.
    fn wake_waiting(&self, executor: &Executor) -> bool {
        let waiting = self.waiting.borrow_mut().take_all();
        let any = !waiting.is_empty();
        if any {
            let tasks = executor.tasks_of(&waiting);
            self.tasks.borrow_mut().extend(tasks);
        }
        for waker in waiting {
            report::contain_rarely(Origin::Call, Location::caller(), || waker.wake());
        }
        any
    }

    /// Returns where a task that waited for the stop was spawned, while there is one that has not
    /// ended.
    fn unfinished(&self, executor: &Executor) -> Option<&'static Location<'static>> {
        loop {
            let location = executor.alive(self.tasks.borrow().last()?);
            if location.is_some() {
                return location;
            }
            let ended = self.tasks.borrow_mut().pop();
            drop(ended);
        }
    }

    fn drop_tasks(&self) {
        drop(self.tasks.take());
        if let Some(limit) = self.limit.take() {
            limit.cancel();
        }
    }
}

impl Reactor {
    /// Waits until the reactor is stopped, by [`Reactor::stop`] or by a signal. The `main` of a
    /// server awaits this last.
    ///
    /// The result is always `Ok`, so that `main` can return it. While the reactor is stopping, and
    /// when it has ended, the future is ready at once.
    ///
    /// # Order
    ///
    /// The waiting tasks continue before the shutdown event is fired, while all connections and
    /// ports are still open. The event waits until these tasks have ended, so code that follows
    /// `stopped().await` can close what it has opened. `main` may take as long as it needs. Spawned
    /// tasks have the time of [`Grace::total`](super::Grace::total): after that a warning names one
    /// that is left, and those that are left are dropped. A second signal ends the process.
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
            if ending.wake_waiting(&inner.executor) {
                return;
            }
            inner.pace.cancel_stop();
            if ending.unfinished(&inner.executor).is_some() {
                let (weak, total) = (self.downgrade(), inner.grace().total);
                let limit = self.limit(total, move || {
                    if let Some(reactor) = weak.upgrade() {
                        reactor.give_up_tasks(total);
                    }
                });
                ending.limit.set(Some(limit));
            }
            ending.is_pending.set(true);
        }
        if ending.is_pending.get()
            && !(ending.main_awaited_stop.get() && inner.pace.main_waits())
            && ending.unfinished(&inner.executor).is_none()
        {
            ending.is_pending.set(false);
            ending.drop_tasks();
            self.fire_shutdown();
        }
    }

    /// Waits no longer for the tasks that waited for the stop.
    fn give_up_tasks(&self, limit: Duration) {
        let inner = self.inner();
        if let Some(location) = inner.ending.unfinished(&inner.executor) {
            report::warn(
                Subsystem::Reactor,
                format_args!(
                    "the task spawned at {location} has waited for the stop and not ended within \
                     {limit:?}: it is dropped"
                ),
            );
        }
        inner.ending.drop_tasks();
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
                    "`main` has returned, so the port that was opened at {location} closes before a \
                     peer has connected; a server's `main` ends with `reactor.stopped().await`"
                ),
            );
        }
    }
}

impl Inner {
    /// The time since the run began.
    fn has_run_for(&self) -> Duration {
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
const BUSY_AFTER: Duration = Duration::from_secs(1);
