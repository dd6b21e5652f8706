//! One turn of the loop, and the turns of whole runs, of host loops and of tests.
//!
//! A task that yields must not cost a system call, so while tasks are ready the driver is polled
//! only now and then: after a number of tasks, or an amount of time, whichever comes first.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::events::when_done;
use super::pace::Limits;
use super::share::Slice;
use super::signals::Wants;
use super::{FOREVER, Inner, MainFuture, Reactor, ReactorError, State};
use crate::clock::Due;
use crate::debug::{self, Watchdog, Watching};
use crate::defer::Deferred;
use crate::driver::Event;
use crate::failure::{Failure, Panicked};
use crate::report::{self, Origin};
use crate::sync::Ordering;
use crate::task::{Executor, InTurn, Locals, TaskInfo, budget};

/// The result of the main future: `None` when the loop ended first.
type Main<T> = Option<Result<T, Box<dyn Any + Send>>>;

/// # Single turns
impl Reactor {
    /// Runs steps 1 to 4 of a [turn](crate::reactor#one-turn): everything that needs no I/O.
    ///
    /// For a loop that drives the reactor: see [`Reactor::start`].
    ///
    /// # Panics
    ///
    /// Panics when called from inside a turn.
    #[doc(alias = "runUntilCurrent")]
    pub fn run_until_current(&self) {
        let entered = self.begin_turn();
        self.run_current();
        drop(entered);
        self.rethrow();
    }

    /// Runs steps 5 to 7 of a [turn](crate::reactor#one-turn): flushes write queues, waits for I/O,
    /// and handles its events.
    ///
    /// Waits at most for `delay` (`None`: no limit) and at most until the next deadline; does not
    /// wait if tasks are ready.
    ///
    /// For a loop that drives the reactor: see [`Reactor::start`].
    ///
    /// # Panics
    ///
    /// Panics when called from inside a turn.
    #[doc(alias = "doIteration")]
    pub fn do_iteration(&self, delay: Option<Duration>) {
        let entered = self.begin_turn();
        self.io(delay.unwrap_or(FOREVER), true);
        drop(entered);
        self.rethrow();
    }

    /// Runs one whole [turn](crate::reactor#one-turn), and waits for I/O at most for `delay`.
    ///
    /// # Panics
    ///
    /// Panics when called from inside a turn.
    #[doc(alias = "reactor.iterate")]
    pub fn iterate(&self, delay: Duration) {
        let entered = self.begin_turn();
        self.run_current();
        self.io(delay, true);
        drop(entered);
        self.rethrow();
    }

    /// Returns how long a host loop may wait for the reactor's descriptor: zero when something is
    /// ready, otherwise the time until the next deadline; `None` when there is no timer.
    ///
    /// After a [`Reactor::do_iteration`] that found events, the result is zero as well: one call
    /// handles at most 1,024 of them, and an edge-triggered host is notified of the rest only once.
    /// (Twisted's name is `timeout`. Here [`Clock::timeout`](crate::Clock::timeout) limits a
    /// future.)
    #[doc(alias = "timeout")]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let inner = self.inner();
        if inner.has_work() || inner.pace.found_events.get() {
            return Some(Duration::ZERO);
        }
        let next = [inner.timers.next_deadline(), inner.driver.next_arrival()];
        let deadline = next.into_iter().flatten().min()?;
        Some(deadline.saturating_duration_since(inner.clock_now()))
    }

    /// Advances the clock of a reactor in memory or with manual time by `step`. All timers that
    /// become due are called, each at its own deadline, and the loop turns until nothing is ready.
    ///
    /// # Panics
    ///
    /// Panics when the reactor's time is real time, and when called from inside a turn, that is,
    /// from a task, a callback or a hook. On an in-memory reactor these wait with
    /// [`Clock::sleep`](crate::Clock::sleep), for which the running reactor moves its time.
    #[track_caller]
    pub fn advance(&self, step: Duration) {
        let inner = self.inner();
        assert!(
            !Executor::is_in_turn(),
            "`advance` was called inside a turn: a task, a callback or a hook waits with \
             `reactor.sleep(..).await`, or `call_later`, and `advance` is called outside of `run`"
        );
        assert!(
            inner.manual.is_some() || inner.driver.is_virtual(),
            "the time of this reactor is real time, which cannot be advanced: use `Reactor::in_memory` or `ReactorBuilder::manual_time`"
        );
        let end = inner.clock_now() + step;
        loop {
            self.settle();
            let next = [inner.timers.next_deadline(), inner.driver.next_arrival()];
            match next.into_iter().flatten().min() {
                Some(next) if next <= end => inner.set_now(next.max(inner.clock_now())),
                _ => break,
            }
        }
        inner.set_now(end);
        self.settle();
    }

    /// Runs turns until there is nothing left to do without waiting or advancing the clock. Panics
    /// inside a turn, and when there is still something to do after a million turns.
    #[track_caller]
    pub(crate) fn settle(&self) {
        for _ in 0..MAX_TURNS {
            let entered = self.begin_turn();
            self.run_current();
            let events = self.io(Duration::ZERO, true);
            drop(entered);
            self.rethrow();
            let due = self
                .inner()
                .timers
                .next_deadline()
                .is_some_and(|at| at <= self.inner().clock_now());
            if events == 0 && !due && !self.inner().has_work() {
                return;
            }
        }
        panic!(
            "after a million turns the reactor still has work: something schedules itself again without end"
        );
    }

    /// Runs user code as in a turn, and carries out its requests; for tests.
    #[track_caller]
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn in_turn<R>(&self, f: impl FnOnce() -> R) -> R {
        let turn = self.begin_turn();
        let result = f();
        drop(turn);
        self.rethrow();
        result
    }

    /// Resumes a panic that has to leave the loop; see [`OnPanic::Unwind`](super::OnPanic::Unwind).
    /// A panic that the loop itself has found begins here, so that the panic hook reports it.
    #[track_caller]
    pub(super) fn rethrow(&self) {
        let Some(failure) = self.inner().unwinding.take() else {
            return;
        };
        match failure
            .downcast_ref::<Panicked>()
            .and_then(Panicked::take_payload)
        {
            Some(payload) => resume_unwind(payload),
            None => panic!("{failure}"),
        }
    }

    /// Turns the loop until `main` is done or the reactor has stopped.
    #[track_caller]
    pub(super) fn turn_until<T>(&self, main: MainFuture<'_, T>) -> Result<Main<T>, Failure> {
        let inner = self.inner();
        if inner.state.get() == State::Ended {
            return Err(ReactorError::NotRestartable.into());
        }
        if inner.state.get() != State::New || inner.pace.is_hosted() || Executor::is_in_turn() {
            return Err(ReactorError::AlreadyRunning.into());
        }
        let wants = Wants {
            stops: inner.stops_on_signals.get(),
            dumps: inner.dumps_on_signal.get(),
        };
        let _listening = inner.listen_for_run(wants)?;
        let _entered = self.begin_turn();
        inner.pace.waker.is_woken().store(true, Ordering::SeqCst);
        let location = Location::caller();
        let info =
            debug::is_on().then(|| TaskInfo::new(location, Some("main".into()), Locals::default()));
        inner.main.set(info);
        let _guarded = inner.debug.watchdog.as_ref().map(|dog| dog.start_thread());
        let result = self.turns(main, location);
        inner.main.set(None);
        inner.pace.main_waits.set(false);
        if inner.state.get() == State::Ended {
            inner.shut_down(Some(self));
        }
        Ok(result)
    }

    fn turns<T>(&self, main: MainFuture<'_, T>, location: &'static Location<'static>) -> Main<T> {
        let inner = self.inner();
        self.fire_startup();
        let mut result = None;
        let mut main = Some(main);
        let waker = Waker::from(inner.pace.waker.clone());
        loop {
            self.run_current_without_limits(true);
            inner
                .pace
                .main_waits
                .set(inner.pace.started.get() && main.is_some());
            if inner.pace.main_is_woken() {
                // A swap, because a store would not acquire what was done before a wake that found
                // the flag set.
                inner.pace.waker.is_woken().swap(false, Ordering::SeqCst);
                if let Some(future) = &mut main {
                    let mut cx = Context::from_waker(&waker);
                    let info = inner.main_info();
                    let entered = info.as_ref().map(TaskInfo::enter);
                    let measured = debug::measure(location);
                    budget::renew();
                    inner.ending.set_polls_main(true);
                    let polled = catch_unwind(AssertUnwindSafe(|| {
                        inner
                            .executor
                            .counted_wakers()
                            .poll(&mut cx, |cx| future.as_mut().poll(cx))
                    }));
                    inner.ending.set_polls_main(false);
                    drop((measured, entered));
                    match polled {
                        Ok(Poll::Pending) => {}
                        Ok(Poll::Ready(value)) => result = Some(Ok(value)),
                        Err(panic) => result = Some(Err(panic)),
                    }
                }
                if result.is_some() {
                    inner.pace.main_waits.set(false);
                    report::contain(Origin::Destructor, location, || main = None);
                    let _ = self.stop();
                }
            }
            inner.fire_limits();
            if self.is_over() {
                report::contain(Origin::Destructor, location, || main = None);
                return result;
            }
            self.io(FOREVER, false);
        }
    }

    /// Begins a run with the startup event.
    pub(super) fn fire_startup(&self) {
        let pace = &self.inner().pace;
        pace.started.set(false);
        pace.signalled.set(false);
        let start = pace.starts.get() + 1;
        pace.starts.set(start);
        pace.began_at.set(Some(self.inner().clock_now()));
        self.inner().ending.begin();
        // Work that an earlier run began, before it crashed, does not belong to this run.
        let run = self.inner().run.get();
        let at_once: fn(&Self) -> Deferred<()> = |_| Deferred::succeed(());
        let running = move |reactor: &Self| {
            if reactor.inner().run.get() == run {
                reactor.inner().state.set(State::Running);
            }
        };
        let end = move |reactor: &Self| {
            let pace = &reactor.inner().pace;
            // Also when the reactor has crashed meanwhile: the crash ends the run then.
            if pace.starts.get() == start {
                pace.started.set(true);
            }
        };
        self.fire("startup", at_once, Box::new(running), Box::new(end));
    }

    /// Acts on requests for the end: a signal, `stop`, a panic that has to leave the loop. Returns
    /// whether the run is over.
    pub(super) fn is_over(&self) -> bool {
        let inner = self.inner();
        let is_stopping = inner.state.get() == State::Stopping;
        if inner.signals.take_stop(is_stopping) {
            inner.pace.signalled.set(true);
        }
        // A run that has not started cannot be stopped: it stops as soon as it has.
        if inner.pace.started.get() && inner.pace.signalled.replace(false) {
            let _ = self.stop();
        }
        self.check_stop();
        if inner.is_unwinding() {
            inner.state.set(State::Ended);
        }
        match inner.state.get() {
            State::Ended => true,
            // The reactor has crashed, if it was running before.
            State::New => inner.pace.started.get(),
            State::Running | State::Stopping => false,
        }
    }

    pub(super) fn fire_shutdown(&self) {
        let run = self.inner().run.get();
        self.fire(
            "shutdown",
            Self::drained,
            Box::new(move |reactor| {
                if reactor.inner().run.get() == run {
                    reactor.inner().close_all(Some(reactor));
                }
            }),
            Box::new(move |reactor| {
                let weak = reactor.downgrade();
                let is_still = move || weak.upgrade().filter(|it| it.inner().run.get() == run);
                if is_still().is_some() {
                    // The lingering sockets.
                    let done = move |result| match result {
                        Ok(()) => {
                            if let Some(reactor) = is_still() {
                                reactor.inner().state.set(State::Ended);
                            }
                        }
                        Err(failure) => {
                            report::deliver(Origin::Deferred, failure, Location::caller());
                        }
                    };
                    when_done(reactor.drained(), Box::new(done));
                }
            }),
        );
    }

    /// Runs steps 1 to 4. Signals come before messages of other threads.
    pub(super) fn run_current(&self) {
        self.run_current_without_limits(false);
        self.inner().fire_limits();
        self.check_hosted_end();
    }

    /// Runs steps 1 to 4 for a loop that polls a future of its own before time limits take effect.
    /// With `several`, runs some batches of tasks in a row while there is nothing else to do: the
    /// other steps would find only what the passing of time brings.
    fn run_current_without_limits(&self, several: bool) {
        self.dispatch_signals();
        let inner = self.inner();
        inner.pace.note_run(inner.collect());
        inner.pass_time();
        inner.run_tasks(self, several);
    }

    /// Runs steps 5 to 7. Returns the number of events, and of sources attended to.
    pub(super) fn io(&self, delay: Duration, polls: bool) -> usize {
        let inner = self.inner();
        if inner.state.get() == State::Ended {
            return 0;
        }
        let attended = inner.attend_all(self);
        inner.keep_within_budget(self);
        inner.check_drain();
        if inner.pace.has_events() {
            return attended + self.dispatch_ready();
        }
        // The last bytes may have been sent just now, so that there is no reason left to wait.
        let ready = inner.has_work() || inner.state.get() == State::Ended;
        let polls = polls || inner.timers.holds_limits() || inner.has_backlog();
        if ready && !polls && !inner.is_time_to_poll() {
            return attended;
        }
        let mut timeout = if ready { Duration::ZERO } else { delay };
        // In memory time stands still while another thread does work for this one.
        let stands =
            timeout == FOREVER && inner.driver.is_virtual() && inner.awaited_work_continues();
        if timeout > Duration::ZERO && !stands {
            if let Some(deadline) = inner.timers.next_deadline() {
                // With manual time, waiting never reaches a deadline.
                let left = deadline.saturating_duration_since(inner.clock_now());
                if inner.manual.is_none() || left == Duration::ZERO {
                    timeout = timeout.min(left);
                }
            }
        }
        let mut events = inner.pace.take_events();
        let waited = match timeout {
            FOREVER if stands => inner.wait_for_threads(&mut events),
            FOREVER if cfg!(feature = "testing") && inner.is_closed_world.get() => {
                self.wait_in_closed_world(&mut events)
            }
            FOREVER => inner.driver.wait(None, &mut events),
            timeout => inner.driver.wait(Some(timeout), &mut events),
        };
        if let Err(error) = waited {
            report::waiting_failed(&error);
        }
        inner.pace.ran.set(0);
        // Where tasks use up their budgets, the first one after a poll may be enough.
        let has_spent = inner.pace.has_spent.take();
        let polled_at = has_spent.then(|| inner.timers.now());
        inner.pace.polled_at.set(polled_at);
        inner.pace.found_events.set(!events.is_empty());
        inner.executor.host().clear();
        inner.sync_time();
        inner.pace.put_events(events, 0);
        attended + self.dispatch_ready()
    }

    /// Handles a test in memory in which nothing is ready, no timer is set, and no thread works for
    /// the loop. The test is over: at once when no other code can wake it, or else after a while.
    fn wait_in_closed_world(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let inner = self.inner();
        let limit = if inner.has_remotes() {
            REMOTE_PATIENCE
        } else if inner.executor.counted_wakers().any_kept()
            || inner.awaits_threads()
            || inner.signals.has_listeners()
        {
            WAKER_PATIENCE
        } else {
            Duration::ZERO
        };
        let waited = inner.driver.wait_outside(limit, events)?;
        if waited.is_some_and(|waited| waited >= limit) {
            inner.is_closed_world.set(false);
            let location = Location::caller();
            let text = format!(
                "the test cannot go on: nothing is ready, no timer is set, and no thread does work for it
{}",
                self.tree()
            );
            let old = inner.unwinding.replace(Some(Failure::at(text, location)));
            drop(old);
        }
        Ok(())
    }

    /// Runs step 7, or a part of it.
    fn dispatch_ready(&self) -> usize {
        let inner = self.inner();
        let count = inner.dispatch_ready(self);
        if !inner.pace.has_events() {
            inner.note_poll();
        }
        inner.check_drain();
        count
    }

    /// Marks this thread as being in a turn of this reactor.
    #[track_caller]
    pub(super) fn begin_turn(&self) -> impl Drop {
        assert!(
            !Executor::is_in_turn(),
            "a reactor is in a turn on this thread already"
        );
        let turn = self.inner().executor.begin_turn();
        TurnGuard {
            _watching: match debug::IS_BUILT {
                true => self.inner().debug.watchdog.as_ref().map(Watchdog::watch),
                false => None,
            },
            _turn: turn,
            _sink_guard: report::redirect(self.sink()),
            before: self.make_current(),
            #[cfg(feature = "tokio-rt")]
            _context: self.inner().turn_context.enter(),
        }
    }
}

/// The guard of [`Reactor::begin_turn`].
struct TurnGuard {
    before: Option<Reactor>,
    #[cfg(feature = "tokio-rt")]
    _context: super::turn_context::TurnContextGuard,
    _watching: Option<Watching>,
    _sink_guard: report::SinkGuard,
    _turn: InTurn,
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        Reactor::restore_current(self.before.take());
    }
}

impl Inner {
    /// Runs steps 2 and 3.
    fn pass_time(&self) {
        self.sync_time();
        if !self.timers.is_idle() {
            self.timers.absorb();
            let mut slice = Slice::new(&self.timers, TIMERS_PER_CLOCK);
            self.timers
                .fire_due_and_hold_limits(fire, || slice.is_over_after(1));
        }
    }

    /// Records that the driver was polled, and its events have been handled.
    fn note_poll(&self) {
        if !self.timers.holds_limits() {
            return;
        }
        // Limits that take effect already are not delayed by another poll.
        let Limits::Polling(polls) = self.pace.limits.get() else {
            return;
        };
        let left = self.has_backlog() || self.executor.has_messages_left();
        let found = self.pace.found_events.get() || left;
        // Events that arrived in time may take more than one poll: an answer and the end after it,
        // or more sources than the driver reports at once.
        self.pace.limits.set(if found && polls + 1 < MAX_POLLS {
            Limits::Polling(polls + 1)
        } else {
            self.timers.release_limits();
            // The woken tasks are queued behind the rest of a batch.
            Limits::RunningTasks(1 + u32::from(self.executor.is_in_batch()))
        });
    }

    /// Lets time limits take effect, if what came before them has been handled.
    fn fire_limits(&self) {
        if let Limits::Released = self.pace.limits.get() {
            self.pace.limits.set(Limits::Polling(0));
            let mut slice = Slice::new(&self.timers, LIMITS_PER_CLOCK);
            if !self.timers.fire_limits(fire, || slice.is_over_after(1)) {
                self.pace.limits.set(Limits::Released);
            }
        }
    }

    /// Sets the time of the timers, where it does not pass by itself.
    fn sync_time(&self) {
        if self.manual.is_some() || self.driver.is_virtual() {
            self.timers.set_now(self.clock_now());
        }
    }

    /// Runs step 4, once or a few times. In a long batch, written bytes are flushed now and then,
    /// while they are still in the processor's caches.
    fn run_tasks(&self, reactor: &Reactor, several: bool) {
        let mut slice = Slice::new(&self.timers, TASKS_PER_POLL);
        // No task changes the first two; a task that changes the last adds a request.
        let several = several
            && self.executor.is_ready()
            && matches!(self.pace.limits.get(), Limits::Polling(_))
            && !self.pace.has_events()
            && self.has_nothing_else();
        // After the first batch, which may be long.
        let most = match several {
            true => self.executor.batch_len() + TASKS_PER_TURN,
            false => 0,
        };
        let (inbox, host) = (&**self.executor.inbox(), &**self.executor.host());
        let ran = self.executor.run_batches(
            TASKS_PER_FLUSH,
            |_| {
                // Before the budget is renewed for those that are attended to.
                let is_time_to_poll = budget::is_used_up() && self.is_time_to_poll_after_spent();
                self.attend_few(reactor);
                is_time_to_poll || slice.is_over_after(TASKS_PER_FLUSH)
            },
            |ran| {
                ran < most
                    && !inbox.has_messages()
                    && (!host.takes_requests() || self.has_nothing_else())
            },
        );
        // A turn in which only the main future runs, or a connection goes on writing, counts as
        // well: in memory no time passes that would make the loop poll the driver.
        self.pace.note_run(ran.max(1));
        match self.pace.limits.get() {
            _ if self.executor.is_in_batch() => {}
            Limits::RunningTasks(1) => self.pace.limits.set(Limits::Released),
            Limits::RunningTasks(batches) => {
                self.pace.limits.set(Limits::RunningTasks(batches - 1))
            }
            _ => {}
        }
    }

    #[inline]
    fn has_nothing_else(&self) -> bool {
        !self.pace.main_is_woken() && !self.pace.stop_requested.get() && !self.has_attention()
    }

    /// Returns whether there is anything to do without waiting.
    pub(crate) fn has_work(&self) -> bool {
        self.executor.is_ready()
            || self.pace.main_is_woken()
            || self.pace.stop_requested.get()
            || self.has_attention()
            || self.pace.has_events()
            || self.executor.inbox().has_messages()
            || self.signals.has_pending()
            || self.timers.holds_limits()
    }

    /// Returns when the next timer is due, or the next item in flight arrives in an in-memory
    /// network.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let next = [self.timers.next_deadline(), self.driver.next_arrival()];
        next.into_iter().flatten().min()
    }

    fn is_time_to_poll(&self) -> bool {
        if self.pace.ran.get() >= TASKS_PER_POLL {
            return true;
        }
        let now = self.timers.now();
        match self.pace.polled_at.get() {
            Some(polled_at) => now.saturating_duration_since(polled_at) >= TIME_PER_POLL,
            None => {
                self.pace.polled_at.set(Some(now));
                false
            }
        }
    }

    /// Returns whether the driver is to be polled now that a task has used up its budget: others
    /// may wait, and beside that task the poll costs little.
    #[cold]
    fn is_time_to_poll_after_spent(&self) -> bool {
        let now = self.timers.now();
        self.pace.has_spent.set(true);
        let Some(polled_at) = self.pace.polled_at.get() else {
            self.pace.polled_at.set(Some(now));
            return false;
        };
        let is_time = now.saturating_duration_since(polled_at) >= TIME_PER_POLL_OF_SPENT;
        if is_time {
            self.pace.ran.set(TASKS_PER_POLL);
        }
        is_time
    }

    fn set_now(&self, now: Instant) {
        match &self.manual {
            Some(manual) => manual.set(now),
            None => self.driver.set_now(now),
        }
    }
}

/// Runs what is due.
fn fire(due: Due) {
    budget::renew();
    match due {
        Due::Call(call, location) => drop(report::contain(Origin::DelayedCall, location, call)),
        Due::Wake(waker) => waker.wake(),
    }
}

/// After this many tasks the driver is polled, although more tasks are ready.
const TASKS_PER_POLL: usize = 64;
/// After this many tasks of a batch, their written bytes are flushed.
const TASKS_PER_FLUSH: usize = 16;
/// The most tasks between two checks of the timers and of messages of other threads.
const TASKS_PER_TURN: usize = 32;
/// After this many timers the clock is read.
const TIMERS_PER_CLOCK: usize = 8;
/// After this much time the driver is polled as well.
const TIME_PER_POLL: Duration = Duration::from_micros(50);
/// After this much time the driver is polled when a task has used up its budget.
const TIME_PER_POLL_OF_SPENT: Duration = Duration::from_micros(10);
/// After this many time limits the clock is read.
const LIMITS_PER_CLOCK: usize = 8;
/// In an idle test in memory: how long threads that have a handle may take to act.
const REMOTE_PATIENCE: Duration = Duration::from_secs(10);
/// In an idle test in memory: how long code may take that has a waker and may be in another thread,
/// or that sends a signal.
const WAKER_PATIENCE: Duration = Duration::from_secs(2);
/// The most polls of the driver before a time limit takes effect, while each poll finds events.
const MAX_POLLS: u32 = 4;
/// More turns than any test needs to become idle.
const MAX_TURNS: usize = 1_000_000;
