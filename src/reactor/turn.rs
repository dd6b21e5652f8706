//! One turn of the loop, and turning it for whole runs, for foreign loops and for tests.
//!
//! A task that yields must not cost a system call, so while tasks are ready the driver is only
//! looked at now and then: after so many tasks, or so much time, whichever comes first.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::share::Slice;
use super::signals::Wants;
use super::{FOREVER, Inner, Reactor, ReactorError, State};
use crate::clock::Due;
use crate::debug::{self, Watchdog, Watching};
use crate::defer::Deferred;
use crate::driver::Event;
use crate::failure::{Failure, Panicked};
use crate::report::{self, Origin};
use crate::sync::{AtomicBool, Ordering, Shared};
use crate::task::{Executor, InTurn, Inbox, Locals, TaskInfo, budget};

/// When the loop must next look at the driver, although there is enough to do.
pub(super) struct Pace {
    /// Tasks and calls from other threads run since the driver was last looked at.
    ran: Cell<usize>,
    /// When that was, as far as anybody wanted to know.
    looked: Cell<Option<Instant>>,
    /// Wakes what the loop is run for.
    waker: Arc<MainWaker>,
    /// What the loop is run for is waiting to be woken.
    main_waits: Cell<bool>,
    /// `stop` was called and the shutdown event has not been fired.
    stop_asked: Cell<bool>,
    /// The startup event of this run is over.
    started: Cell<bool>,
    /// How many runs have begun.
    starts: Cell<u64>,
    /// When the last one did.
    began_at: Cell<Option<Instant>>,
    /// A signal asks for the end, and the run has not started yet.
    signalled: Cell<bool>,
    /// The run was begun with [`Reactor::start`].
    hosted: Cell<bool>,
    /// The last look at the driver found something: there may be more.
    found_events: Cell<bool>,
    /// Events of the last wait, and how many of them have been dealt with.
    events: Cell<Vec<Event>>,
    told: Cell<usize>,
    /// There are some that have not.
    has_events: Cell<bool>,
    /// How far the loop has come with seeing what came before the time limits that are held.
    limits: Cell<Limits>,
}

/// What the loop has done for the time limits that have come due; see
/// [`Timers`](crate::clock::Timers).
#[derive(Clone, Copy, Debug)]
enum Limits {
    /// It has looked at the driver so often, and each time has found something.
    Looking(u32),
    /// There is nothing more to be seen; the tasks that were woken are to run, to the end of so
    /// many batches.
    Looked(u32),
    /// Those have run: the limits take effect.
    Ripe,
}

impl Pace {
    pub(super) fn new(inbox: Shared<Inbox>) -> Self {
        Self {
            waker: Arc::new(MainWaker {
                woken: AtomicBool::new(false),
                inbox,
            }),
            main_waits: Cell::new(false),
            ran: Cell::new(0),
            looked: Cell::new(None),
            stop_asked: Cell::new(false),
            started: Cell::new(false),
            starts: Cell::new(0),
            began_at: Cell::new(None),
            signalled: Cell::new(false),
            hosted: Cell::new(false),
            found_events: Cell::new(false),
            events: Cell::default(),
            told: Cell::new(0),
            has_events: Cell::new(false),
            limits: Cell::new(Limits::Looking(0)),
        }
    }

    /// Are there events of the last wait that have not been dealt with?
    pub(super) fn has_events(&self) -> bool {
        self.has_events.get()
    }

    /// Takes them out, with how many of them have been dealt with; [`Pace::put_events`] follows.
    pub(super) fn lend_events(&self) -> (Vec<Event>, usize) {
        (self.events.take(), self.told.get())
    }

    /// A list for a new wait: all events of the last one have been dealt with.
    fn take_events(&self) -> Vec<Event> {
        let mut events = self.events.take();
        events.clear();
        events
    }

    /// Puts back the events of the last wait, of which so many have been dealt with.
    pub(super) fn put_events(&self, events: Vec<Event>, told: usize) {
        self.has_events.set(told < events.len());
        self.told.set(told);
        self.events.set(events);
    }

    fn note_run(&self, count: usize) {
        self.ran.set(self.ran.get() + count);
    }

    pub(super) fn ask_to_stop(&self) {
        self.stop_asked.set(true);
    }

    /// Stops the run as soon as its startup event is over.
    pub(super) fn stop_once_started(&self) {
        self.signalled.set(true);
    }

    pub(super) fn is_asked_to_stop(&self) -> bool {
        self.stop_asked.get()
    }

    /// Is there something that the loop is run for, and that is not done?
    pub(super) fn main_waits(&self) -> bool {
        self.main_waits.get()
    }

    pub(super) fn began_at(&self) -> Option<Instant> {
        self.began_at.get()
    }

    pub(super) fn is_hosted(&self) -> bool {
        self.hosted.get()
    }

    pub(super) fn set_hosted(&self, hosted: bool) {
        self.hosted.set(hosted);
    }

    /// The shutdown event is not to be fired after all.
    pub(super) fn stop_is_off(&self) {
        self.stop_asked.set(false);
    }

    /// What the loop is run for was woken, and has not been polled since.
    fn main_is_woken(&self) -> bool {
        self.main_waits.get() && self.waker.woken.load(Ordering::SeqCst)
    }
}

/// The waker of what the loop is run for.
#[derive(Debug)]
struct MainWaker {
    woken: AtomicBool,
    inbox: Shared<Inbox>,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) && !Executor::is_current(&self.inbox) {
            self.inbox.wake();
        }
    }
}

/// What came of the main future: nothing when the loop ended first.
type Main<T> = Option<Result<T, Box<dyn Any + Send>>>;

/// # Single turns
impl Reactor {
    /// Runs steps 1 to 4 of a turn: everything that needs no I/O. See the [module](crate::reactor).
    ///
    /// For loops that drive a reactor from outside: see [`Reactor::start`].
    ///
    /// # Panics
    ///
    /// Panics when called from inside a turn.
    #[doc(alias = "runUntilCurrent")]
    pub fn run_until_current(&self) {
        let entered = self.begin_turn();
        self.current_things();
        drop(entered);
        self.rethrow();
    }

    /// Runs steps 5 to 7 of a turn: flushes write queues, waits for I/O, and handles it.
    ///
    /// It waits for at most `delay` (`None`: without limit), not at all if tasks are ready, and not
    /// longer than until the next deadline.
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

    /// Runs one whole turn, waiting for I/O for at most `delay`.
    ///
    /// # Panics
    ///
    /// Panics when called from inside a turn.
    #[doc(alias = "reactor.iterate")]
    pub fn iterate(&self, delay: Duration) {
        let entered = self.begin_turn();
        self.current_things();
        self.io(delay, true);
        drop(entered);
        self.rethrow();
    }

    /// Returns how long the loop may sleep: zero when something is ready, else the time until the
    /// next deadline; `None` when there is no timer.
    ///
    /// After a [`Reactor::do_iteration`] that found events it is zero as well: one call handles at
    /// most 1,024 of them, and an edge-triggered host is notified of the rest only once. (Twisted
    /// calls it `timeout`, which here limits a future: [`Clock::timeout`](crate::Clock::timeout).)
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

    /// Advances the clock of a reactor in memory or with manual time by `step`: all timers that
    /// become due run, each at its own deadline, and so does everything that follows from them.
    ///
    /// # Panics
    ///
    /// Panics when the reactor's time is the real one, and when called from inside a turn.
    #[track_caller]
    pub fn advance(&self, step: Duration) {
        let inner = self.inner();
        assert!(
            inner.manual.is_some() || inner.driver.is_virtual(),
            "time moves by itself on this reactor: use `Reactor::in_memory` or `ReactorBuilder::with_manual_time`"
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

    /// Runs turns until there is nothing left to do without waiting or advancing the clock. It
    /// panics inside a turn, and when there is still something to do after a million turns.
    #[track_caller]
    pub(crate) fn settle(&self) {
        for _ in 0..A_MILLION {
            let entered = self.begin_turn();
            self.current_things();
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
            "after a million turns there is still something to do: something re-schedules itself for ever"
        );
    }

    /// Runs user code as from a turn, and what it asks for at the end of that; for tests.
    #[track_caller]
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn in_turn<R>(&self, f: impl FnOnce() -> R) -> R {
        let turn = self.begin_turn();
        let result = f();
        drop(turn);
        self.rethrow();
        result
    }

    /// Goes on with a panic that is to leave the loop; see
    /// [`OnPanic::Unwind`](super::OnPanic::Unwind). What the loop itself has found begins here, so
    /// that the hook for panics tells of it.
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
    pub(super) fn turn_until<T>(&self, main: impl Future<Output = T>) -> Result<Main<T>, Failure> {
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
        inner.pace.waker.woken.store(true, Ordering::SeqCst);
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

    fn turns<T>(
        &self,
        main: impl Future<Output = T>,
        location: &'static Location<'static>,
    ) -> Main<T> {
        let inner = self.inner();
        self.fire_startup();
        let mut result = None;
        let mut main = pin!(Some(main));
        let waker = Waker::from(inner.pace.waker.clone());
        loop {
            self.current_things_but_limits(true);
            inner
                .pace
                .main_waits
                .set(inner.pace.started.get() && main.is_some());
            if inner.pace.main_is_woken() {
                // A swap, for a store would not show us what a wake that found the flag up was
                // about.
                inner.pace.waker.woken.swap(false, Ordering::SeqCst);
                if let Some(future) = main.as_mut().as_pin_mut() {
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
                            .poll(&mut cx, |cx| future.poll(cx))
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
                    report::contain(Origin::Destructor, location, || main.set(None));
                    let _ = self.stop();
                }
            }
            inner.fire_limits();
            if self.is_over() {
                report::contain(Origin::Destructor, location, || main.set(None));
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
        // What an earlier run set going, before it crashed, is no business of this one.
        let run = self.inner().run.get();
        let at_once = |_: &Self| Deferred::succeed(());
        let running = move |reactor: &Self| {
            if reactor.inner().run.get() == run {
                reactor.inner().state.set(State::Running);
            }
        };
        self.fire("startup", at_once, running, move |reactor| {
            let pace = &reactor.inner().pace;
            // Also when it has crashed meanwhile: that is what ends the run.
            if pace.starts.get() == start {
                pace.started.set(true);
            }
        });
    }

    /// Acts on what asks for the end: a signal, `stop`, a panic that is to leave the loop. Returns
    /// whether the run is over.
    pub(super) fn is_over(&self) -> bool {
        let inner = self.inner();
        let is_stopping = inner.state.get() == State::Stopping;
        if inner.signals.take_stop(is_stopping) {
            inner.pace.signalled.set(true);
        }
        // Before it has started it cannot be stopped: then as soon as it has.
        if inner.pace.started.get() && inner.pace.signalled.replace(false) {
            let _ = self.stop();
        }
        self.look_at_stop();
        if inner.is_unwinding() {
            inner.state.set(State::Ended);
        }
        match inner.state.get() {
            State::Ended => true,
            // Crashed, if it was running before.
            State::New => inner.pace.started.get(),
            State::Running | State::Stopping => false,
        }
    }

    pub(super) fn fire_shutdown(&self) {
        let run = self.inner().run.get();
        self.fire(
            "shutdown",
            Self::drained,
            move |reactor| {
                if reactor.inner().run.get() == run {
                    reactor.inner().close_all(Some(reactor));
                }
            },
            move |reactor| {
                let weak = reactor.downgrade();
                let is_still = move || weak.upgrade().filter(|it| it.inner().run.get() == run);
                if is_still().is_some() {
                    // What lingers.
                    drop(reactor.drained().map(move |()| {
                        if let Some(reactor) = is_still() {
                            reactor.inner().state.set(State::Ended);
                        }
                    }));
                }
            },
        );
    }

    /// Steps 1 to 4. What the system has to say comes before what other threads have.
    pub(super) fn current_things(&self) {
        self.current_things_but_limits(false);
        self.inner().fire_limits();
        self.look_at_hosted_end();
    }

    /// The same, for a loop that polls a future of its own before time limits take effect. With
    /// `several` it runs some batches of tasks in a row, while there is nothing else to do: the
    /// other steps would find nothing but what time alone brings.
    fn current_things_but_limits(&self, several: bool) {
        self.dispatch_signals();
        let inner = self.inner();
        inner.pace.note_run(inner.collect());
        inner.pass_time();
        inner.run_tasks(self, several);
    }

    /// Steps 5 to 7. Gives the number of events, and the sources attended to.
    pub(super) fn io(&self, delay: Duration, looks: bool) -> usize {
        let inner = self.inner();
        if inner.state.get() == State::Ended {
            return 0;
        }
        let attended = inner.attend_all(self);
        inner.keep_within_budget(self);
        inner.look_at_drain();
        if inner.pace.has_events() {
            return attended + self.tell_ready();
        }
        // The last bytes may have left just now, and with them the reason to wait for anything.
        let ready = inner.has_work() || inner.state.get() == State::Ended;
        let looks = looks || inner.timers.holds_limits() || inner.has_backlog();
        if ready && !looks && !inner.is_time_to_look() {
            return attended;
        }
        let mut timeout = if ready { Duration::ZERO } else { delay };
        // In memory time stands still while another thread does work for this one.
        let stands =
            timeout == FOREVER && inner.driver.is_virtual() && inner.awaited_work_goes_on();
        if timeout > Duration::ZERO && !stands {
            if let Some(deadline) = inner.timers.next_deadline() {
                // With manual time a deadline is never reached by waiting.
                let left = deadline.saturating_duration_since(inner.clock_now());
                if inner.manual.is_none() || left == Duration::ZERO {
                    timeout = timeout.min(left);
                }
            }
        }
        let mut events = inner.pace.take_events();
        let waited = match timeout {
            FOREVER if stands => inner.stand_still(&mut events),
            FOREVER if inner.is_closed_world.get() => self.wait_in_closed_world(&mut events),
            FOREVER => inner.driver.wait(None, &mut events),
            timeout => inner.driver.wait(Some(timeout), &mut events),
        };
        if let Err(error) = waited {
            report::waiting_failed(&error);
        }
        inner.pace.ran.set(0);
        inner.pace.looked.set(None);
        inner.pace.found_events.set(!events.is_empty());
        inner.executor.host().clear();
        inner.sync_time();
        inner.pace.put_events(events, 0);
        attended + self.tell_ready()
    }

    /// In memory nothing is ready, no time is awaited, and no thread does work for this one. The
    /// test that runs here is over: at once when nobody else can wake it, or else after a while.
    fn wait_in_closed_world(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let inner = self.inner();
        let limit = if inner.has_remotes() {
            OTHERS_MAY_COME
        } else if inner.executor.counted_wakers().any_kept()
            || inner.awaits_threads()
            || inner.signals.has_listeners()
        {
            SOMEBODY_MAY_COME
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

    /// Step 7, or a part of it.
    fn tell_ready(&self) -> usize {
        let inner = self.inner();
        let count = inner.tell_ready(self);
        if !inner.pace.has_events() {
            inner.note_look();
        }
        inner.look_at_drain();
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
        In {
            _watching: self.inner().debug.watchdog.as_ref().map(Watchdog::watch),
            _turn: turn,
            _diverted: report::divert(self.sink()),
            before: self.make_current(),
        }
    }
}

/// The guard of [`Reactor::begin_turn`].
struct In {
    before: Option<Reactor>,
    _watching: Option<Watching>,
    _diverted: report::Diverted,
    _turn: InTurn,
}

impl Drop for In {
    fn drop(&mut self) {
        Reactor::restore_current(self.before.take());
    }
}

impl Inner {
    /// Steps 2 and 3.
    fn pass_time(&self) {
        self.sync_time();
        if !self.timers.is_idle() {
            self.timers.absorb();
            let mut slice = Slice::new(&self.timers, TIMERS_PER_LOOK);
            self.timers
                .fire_due_and_hold_limits(fire, || slice.is_over_after(1));
        }
    }

    /// The driver was looked at, and what it told has been dealt with.
    fn note_look(&self) {
        if !self.timers.holds_limits() {
            return;
        }
        // Those that are released already are not put off by another look, however often there is
        // one.
        let Limits::Looking(looks) = self.pace.limits.get() else {
            return;
        };
        let left = self.has_backlog() || self.executor.has_messages_left();
        let found = self.pace.found_events.get() || left;
        // What came in time may take more than one look: an answer and the end after it, or
        // more sources than the driver tells of at once.
        self.pace.limits.set(if found && looks + 1 < MOST_LOOKS {
            Limits::Looking(looks + 1)
        } else {
            self.timers.release_limits();
            // What was woken stands behind what is left of a batch.
            Limits::Looked(1 + u32::from(self.executor.is_in_batch()))
        });
    }

    /// Time limits take effect, if what came before them has been seen.
    fn fire_limits(&self) {
        if let Limits::Ripe = self.pace.limits.get() {
            self.pace.limits.set(Limits::Looking(0));
            let mut slice = Slice::new(&self.timers, LIMITS_PER_LOOK);
            if !self.timers.fire_limits(fire, || slice.is_over_after(1)) {
                self.pace.limits.set(Limits::Ripe);
            }
        }
    }

    /// Tells the timers the time, where it does not pass by itself.
    fn sync_time(&self) {
        if self.manual.is_some() || self.driver.is_virtual() {
            self.timers.set_now(self.clock_now());
        }
    }

    /// Step 4, once or a few times. In a long batch what was written is flushed now and then, while
    /// it is still in the processor's caches.
    fn run_tasks(&self, reactor: &Reactor, several: bool) {
        let mut slice = Slice::new(&self.timers, TASKS_PER_LOOK);
        // After the first batch, which may be long.
        let mut most = 0;
        let ran = self.executor.run_batches(
            TASKS_PER_FLUSH,
            |_| {
                self.attend_few(reactor);
                slice.is_over_after(TASKS_PER_FLUSH)
            },
            |ran| {
                if most == 0 {
                    most = ran + TASKS_PER_TURN;
                }
                several && ran < most && self.has_nothing_else()
            },
        );
        // A turn in which only the main future runs, or a connection goes on writing, counts as
        // well: in memory no time goes by that would have us look.
        self.pace.note_run(ran.max(1));
        match self.pace.limits.get() {
            _ if self.executor.is_in_batch() => {}
            Limits::Looked(1) => self.pace.limits.set(Limits::Ripe),
            Limits::Looked(batches) => self.pace.limits.set(Limits::Looked(batches - 1)),
            _ => {}
        }
    }

    fn has_nothing_else(&self) -> bool {
        !self.pace.main_is_woken()
            && matches!(self.pace.limits.get(), Limits::Looking(_))
            && !self.pace.stop_asked.get()
            && !self.executor.inbox().has_messages()
            && !self.has_attention()
            && !self.pace.has_events()
    }

    /// Is there anything to do without waiting?
    pub(crate) fn has_work(&self) -> bool {
        self.executor.is_ready()
            || self.pace.main_is_woken()
            || self.pace.stop_asked.get()
            || self.has_attention()
            || self.pace.has_events()
            || self.executor.inbox().has_messages()
            || self.signals.has_pending()
            || self.timers.holds_limits()
    }

    /// When the next timer is due, or the next thing arrives that is under way in a network in
    /// memory.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let next = [self.timers.next_deadline(), self.driver.next_arrival()];
        next.into_iter().flatten().min()
    }

    fn is_time_to_look(&self) -> bool {
        if self.pace.ran.get() >= TASKS_PER_LOOK {
            return true;
        }
        let now = self.timers.now();
        match self.pace.looked.get() {
            Some(looked) => now.saturating_duration_since(looked) >= TIME_PER_LOOK,
            None => {
                self.pace.looked.set(Some(now));
                false
            }
        }
    }

    fn set_now(&self, now: Instant) {
        match &self.manual {
            Some(manual) => manual.set(now),
            None => self.driver.set_now(now),
        }
    }
}

/// Runs what has come due.
fn fire(due: Due) {
    budget::renew();
    match due {
        Due::Call(call, location) => drop(report::contain(Origin::DelayedCall, location, call)),
        Due::Wake(waker) => waker.wake(),
    }
}

/// After so many tasks the driver is looked at, although more tasks are ready.
const TASKS_PER_LOOK: usize = 64;
/// After so many tasks of a batch, what they have written is flushed.
const TASKS_PER_FLUSH: usize = 16;
/// So many tasks run, at most, between two looks at the timers and at what other threads sent.
const TASKS_PER_TURN: usize = 16;
/// After so many timers the time is looked at.
const TIMERS_PER_LOOK: usize = 8;
/// After so much time as well.
const TIME_PER_LOOK: Duration = Duration::from_micros(50);
/// After so many time limits the time is looked at.
const LIMITS_PER_LOOK: usize = 8;
/// In a test in memory that has come to rest: how long threads that have a handle may take to do
/// something.
const OTHERS_MAY_COME: Duration = Duration::from_secs(10);
/// And how long others may take: who has a waker and may be in another thread, or sends a signal.
const SOMEBODY_MAY_COME: Duration = Duration::from_secs(2);
/// How often the driver is looked at, at most, before a time limit takes effect, while each look
/// finds something.
const MOST_LOOKS: u32 = 4;
/// More turns than any test needs to come to rest.
const A_MILLION: usize = 1_000_000;
