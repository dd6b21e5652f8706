//! The event loop: [`Reactor`].
//!
//! # The idea
//!
//! A reactor is a value and a cheap handle: clones are the same reactor. It owns a *driver* (the machine, or one
//! in memory), a heap of timers, an executor for tasks and calls, and a table of *sources*, the things it
//! watches. Rooms above bring the verbs: `listen`, `connect` and the like are methods of `Reactor` that live
//! where the work is done.
//!
//! # One turn
//!
//! ```text
//!    run_until_current                                        do_iteration
//!  ┌────────────────────────────────────────────────────┐   ┌───────────────────────────────┐
//!  │ 1 what other threads sent, as many as were there   │   │ 5 flush what was written       │
//!  │ 2 new timers into the heap; the time is read       │──▶│ 6 wait: 0 if tasks are ready,  │
//!  │ 3 due timers, by deadline then by order of asking  │   │   else until the next deadline │
//!  │ 4 tasks that were ready when step 4 began          │   │ 7 each ready source, once      │
//!  └────────────────────────────────────────────────────┘   └───────────────────────────────┘
//!           ▲                                                              │
//!           └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! Before step 1 those who listen to [signals](crate::signals) are told what came.
//!
//! A step that takes long, or has gone through a great many, stops in the middle of its list and
//! goes on there in the next turn; a source that has used its share and has more to do stands
//! behind all others (the private module `share`). A time limit that has come due takes effect at
//! the end of step 4, when the driver has been looked at since and the tasks that this woke have
//! run: so a result that came in time is never given up.
//!
//! # Life
//!
//! | state      | `run`                    | `stop`              | becomes                                     |
//! |------------|--------------------------|---------------------|---------------------------------------------|
//! | `New`      | starts                   | `ReactorError::NotRunning` | `Running` by `run`                          |
//! | `Running`  | `ReactorError::AlreadyRunning`  | asks for the end    | `Stopping` by `stop`, `New` by `crash`      |
//! | `Stopping` | `ReactorError::AlreadyRunning`  | `ReactorError::NotRunning` | `Ended` after all triggers, `New` by `crash`|
//! | `Ended`    | `ReactorError::NotRestartable`  | `ReactorError::NotRunning` | –                                           |
//!
//! # Invariants
//!
//! 1. User code runs from a turn; nothing of the reactor is borrowed while it does.
//! 2. What becomes ready during a step waits for the next turn, so nothing that re-schedules itself starves
//!    anything.
//! 3. A source's key is good until the source is removed, and never names another one.
//! 4. When a reactor has ended it holds no task, timer, source or call, and can be given none.

mod acting;
mod budget;
mod builder;
mod closing;
#[cfg(unix)]
mod descriptor;
mod drain;
mod dump;
mod ending;
mod errors;
mod events;
mod extensions;
mod guest;
mod handler;
#[cfg(all(test, torsade_loom))]
mod model;
mod registration;
mod remote;
mod remote_resolver;
mod remote_work;
mod reports;
mod requests;
mod share;
mod signals;
mod strays;
mod threads;
mod turn;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{Location, resume_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::acting::{Acting, NO_CONNECTION};
use self::budget::Budget;
use self::builder::Debug;
pub use self::builder::ReactorBuilder;
#[cfg(unix)]
pub use self::descriptor::{AnyWatch, Descriptor, Watch};
use self::drain::Drain;
pub use self::drain::Grace;
#[cfg(any(doc, feature = "debug"))]
#[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
pub use self::dump::{Dump, Node};
use self::ending::Ending;
pub use self::errors::ReactorError;
use self::events::Triggers;
pub use self::events::{Phase, Trigger};
use self::extensions::Extensions;
pub use self::guest::EnterGuard;
pub(crate) use self::handler::{Handler, Tracked};
pub(crate) use self::registration::{Registration, Retry};
pub use self::remote::Remote;
pub use self::remote_resolver::RemoteResolver;
pub use self::remote_work::RemoteTask;
use self::requests::Requests;
use self::signals::SignalState;
pub(crate) use self::signals::{ListensToSignals, Received};
use self::strays::Strays;

use self::threads::Threads;
use self::turn::Pace;
use crate::bytes::BufferPool;
use crate::cells;
use crate::clock::sealed::HasTimers;
use crate::clock::{Clock, DelayedCall, Timers};
#[cfg(any(doc, feature = "debug"))]
#[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
pub use crate::debug::Blocked;
#[cfg(unix)]
pub use crate::driver::Interest;
pub use crate::driver::Poller;
use crate::driver::{Driver, Rng};
use crate::failure::{Failure, errors};
use crate::slots::Slots;
use crate::task::{Executor, Task, TaskInfo};

/// Runs `main` on a new reactor, until it returns or the reactor is stopped.
///
/// The front door (Twisted's `react`): it makes a reactor, has SIGINT and SIGTERM (and on Windows SIGBREAK) stop it in
/// good order, runs `main`, then the shutdown triggers. `main` may borrow from the caller.
///
/// A reactor that was stopped before `main` was done gives `Ok`; `main`'s future is dropped.
///
/// A server's `main` ends with [`Reactor::stopped`]. One that has opened a port and returns at once closes it again; when
/// nobody has connected by then, that is reported.
///
/// After Ctrl-C this returns `Ok`, so the exit status of most programs is 0 then; [`ReactorBuilder::ends_by_signal`](crate::ReactorBuilder::ends_by_signal) has the
/// process end by the signal instead, as a shell expects.
///
/// There is no `twistd`: a program is a binary of its own, which a service manager starts, restarts
/// and logs. What `twistd` and `Application` do inside the program is in
/// [`services`](crate::services).
///
/// A program that needs other settings, such as [`ReactorBuilder::dumps_on_signal`], is run in the
/// same way by [`ReactorBuilder::run`].
///
/// # Errors
///
/// What `main` returned, or why the reactor could not be made; [`ConnectionError::NotSent`](crate::transport::ConnectionError::NotSent) when
/// what was written to standard output through [`net::Stdio`](crate::net::Stdio) could not be written (but not when its reader left).
///
/// What `main` has written to other connections is sent before this returns, within the limits of
/// [`Grace`]; what is not is reported.
///
/// # Panics
///
/// When `main` panics, after the shutdown triggers.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::{Clock, Failure};
///
/// fn main() -> Result<(), Failure> {
///     torsade::run(async |reactor| {
///         reactor.sleep(Duration::from_millis(1)).await?;
///         println!("a millisecond later");
///         Ok(())
///     })
/// }
/// ```
#[doc(alias("react", "twistd"))]
#[track_caller]
pub fn run(main: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) -> Result<(), Failure> {
    Reactor::builder().run(main)
}

/// An event loop, and everything one can ask of it.
///
/// Clones are handles to the same reactor. It belongs to one thread; [`Reactor::remote`] gives what other
/// threads may hold. Several reactors may live on a thread, one of them runs at a time.
///
/// A reactor that ends by [`Reactor::stop`], or when what it was run for is done, lets go of everything it held.
/// One that is never run is freed with its last handle; calls, tasks, protocols and descriptors given to it that
/// hold a handle themselves keep it alive.
#[derive(Clone)]
pub struct Reactor(Rc<Inner>);

/// A handle that does not keep the reactor alive.
#[derive(Clone)]
pub(crate) struct WeakReactor(Weak<Inner>);

pub(crate) struct Inner {
    driver: Driver,
    rng: Rng,
    timers: Timers,
    executor: Rc<Executor>,
    handlers: RefCell<Slots<Rc<dyn Handler>>>,
    /// What ends with the reactor and is no handler.
    tracked: RefCell<Slots<Rc<dyn Tracked>>>,
    /// The handlers that have something to do before the loop waits.
    requests: Rc<Requests>,
    /// Queues for bytes on their way out.
    buffers: Rc<BufferPool>,
    /// Lent to whoever reads; empty meanwhile.
    read_buffer: Cell<Option<Box<[u8]>>>,
    triggers: Triggers,
    drain: Drain,
    budget: Budget,
    /// Something that was written to standard output did not get there.
    lost_output: Cell<Option<Failure>>,
    threads: Threads,
    strays: Strays,
    ending: Ending,
    signals: SignalState,
    extensions: Extensions,
    state: Cell<State>,
    /// Which run it is: one more after each crash.
    run: Cell<u64>,
    /// Time moves by `advance` only; this is what it is.
    manual: Option<Cell<Instant>>,
    pace: Pace,
    policy: Cell<OnPanic>,
    hooks: RefCell<Vec<reports::Hook>>,
    /// How many handles other threads may have: one more than this counts.
    remotes: Arc<()>,
    /// It is in memory and runs a test, which fails when nothing can come any more.
    is_closed_world: Cell<bool>,
    /// A panic that is to leave `run`.
    unwinding: Cell<Option<Failure>>,
    stops_on_signals: Cell<bool>,
    dumps_on_signal: Cell<bool>,
    /// What it is run for, while it runs in debug mode.
    main: Cell<Option<Rc<TaskInfo>>>,
    debug: Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Running,
    Stopping,
    Ended,
}

/// What a panic in user code does to the reactor, besides being reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnPanic {
    /// Nothing: the loop goes on.
    #[default]
    Report,
    /// The reactor is stopped.
    Stop,
    /// The process is aborted.
    Abort,
    /// The panic, the first if there are several, goes on out of `run` when its turn is over. The reactor ends
    /// without shutdown triggers. What tests want.
    Unwind,
}

impl Reactor {
    /// A new reactor on this machine.
    ///
    /// # Errors
    ///
    /// When the system gives no poller, as when there are no descriptors left.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// A new reactor with a network of its own in memory, and virtual time: when there is nothing to do, the
    /// clock jumps to the next deadline. While it awaits work in threads its time stands still.
    ///
    /// # Errors
    ///
    /// As [`Reactor::new`]: other threads still need a way to wake it.
    #[cfg(any(doc, feature = "testing"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
    pub fn in_memory() -> io::Result<Self> {
        Self::builder().in_memory().build()
    }

    /// Returns the poller that the reactor waits with; none in memory.
    ///
    /// See [`ReactorBuilder::poller`].
    pub fn poller(&self) -> Option<Poller> {
        self.0.driver.poller()
    }

    fn with_driver(driver: Driver, manual: bool, debug: Debug) -> Self {
        let now = driver.now();
        let waking = driver.waker();
        let executor = Executor::new(move || waking.wake());
        let timers = match manual || driver.is_virtual() {
            true => Timers::new(now),
            false => Timers::passing(now, Instant::now),
        };
        timers.notify(executor.host().clone());
        Self(Rc::new_cyclic(|reactor| Inner {
            requests: Requests::new(WeakReactor(reactor.clone()), executor.host().clone()),
            timers,
            rng: driver.rng(),
            driver,
            handlers: RefCell::new(Slots::new()),
            tracked: RefCell::new(Slots::new()),
            buffers: Rc::default(),
            read_buffer: Cell::new(None),
            triggers: Triggers::default(),
            drain: Drain::default(),
            budget: Budget::default(),
            lost_output: Cell::new(None),
            threads: Threads::default(),
            strays: Strays::default(),
            ending: Ending::default(),
            signals: SignalState::default(),
            extensions: Extensions::default(),
            state: Cell::new(State::New),
            run: Cell::new(0),
            manual: manual.then(|| Cell::new(now)),
            pace: Pace::new(executor.inbox().clone()),
            executor,
            policy: Cell::new(OnPanic::Report),
            hooks: RefCell::default(),
            remotes: Arc::default(),
            is_closed_world: Cell::new(false),
            unwinding: Cell::new(None),
            stops_on_signals: Cell::new(false),
            dumps_on_signal: Cell::new(false),
            main: Cell::new(None),
            debug,
        }))
    }

    /// Runs until [`Reactor::stop`] or [`Reactor::crash`].
    ///
    /// # Errors
    ///
    /// [`ReactorError::AlreadyRunning`] when this or another reactor runs on this thread; [`ReactorError::NotRestartable`] when
    /// it has been stopped before; [`ConnectionError::NotSent`](crate::transport::ConnectionError::NotSent) when what was written to standard
    /// output through [`net::Stdio`](crate::net::Stdio) could not be written (but not when its reader left).
    ///
    /// # Panics
    ///
    /// With a user's panic, under [`OnPanic::Unwind`].
    #[doc(alias("mainLoop", "startRunning"))]
    #[track_caller]
    pub fn run(&self) -> Result<(), Failure> {
        match self.run_until(std::future::pending::<()>()) {
            Err(failure) if failure.is::<Stopped>() => Ok(()),
            other => other,
        }
    }

    /// Runs until `main` is done, then stops as [`Reactor::stop`] does. `main` may borrow from the caller.
    ///
    /// Where the result would be [`Stopped`] because of a signal, and
    /// [`ReactorBuilder::ends_by_signal`] is set, the process ends by that signal instead.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when the reactor was stopped or crashed first, and those of [`Reactor::run`]. With
    /// [`ConnectionError::NotSent`](crate::transport::ConnectionError::NotSent) the result of `main` is lost: nobody saw all that was printed.
    ///
    /// # Panics
    ///
    /// When `main` panics, and as [`Reactor::run`].
    #[doc(alias("block_on", "run_until_complete"))]
    #[track_caller]
    pub fn run_until<T>(&self, main: impl Future<Output = T>) -> Result<T, Failure> {
        match self.run_to_the_end(main)? {
            (_, Some(lost)) => Err(lost),
            (Some(value), None) => Ok(value),
            (None, None) => {
                self.end_by_signal();
                Err(Stopped.into())
            }
        }
    }

    /// What `main` gave, if it was done, and what did not get to standard output.
    #[track_caller]
    fn run_to_the_end<T>(
        &self,
        main: impl Future<Output = T>,
    ) -> Result<(Option<T>, Option<Failure>), Failure> {
        let result = self.turn_until(main)?;
        self.rethrow();
        match result.transpose() {
            Ok(value) => Ok((value, self.0.lost_output.take())),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Stops the reactor: the shutdown triggers run from the loop's next turn, then `run` returns.
    ///
    /// What was written to connections before is sent between the triggers *before* the shutdown and those *during* it,
    /// within the limits of [`Grace`].
    ///
    /// # Errors
    ///
    /// [`ReactorError::NotRunning`] when it does not run, or has been told to stop.
    pub fn stop(&self) -> Result<(), ReactorError> {
        if self.0.state.get() != State::Running {
            return Err(ReactorError::NotRunning);
        }
        self.0.state.set(State::Stopping);
        self.0.pace.ask_to_stop();
        self.0.executor.host().work_added();
        Ok(())
    }

    /// Leaves the loop after this turn, without shutdown triggers; everything stays, and it can be run again.
    pub fn crash(&self) {
        if matches!(self.0.state.get(), State::Running | State::Stopping) {
            self.0.state.set(State::New);
            self.0.run.set(self.0.run.get() + 1);
            self.0.pace.stop_is_off();
            self.0.drain.give_up();
            self.0.executor.call(Location::caller(), || {});
        }
    }

    /// Is it running? From the startup event's *during* phase until it is told to stop.
    pub fn is_running(&self) -> bool {
        self.0.state.get() == State::Running
    }

    /// Has it ended for good?
    pub fn has_ended(&self) -> bool {
        self.0.state.get() == State::Ended
    }

    /// As [`Reactor::spawn`], with a name: reports and dumps show it.
    #[doc(alias("task::Builder", "set_name"))]
    #[track_caller]
    pub fn spawn_named<T: 'static>(
        &self,
        name: impl Into<Arc<str>>,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let location = Location::caller();
        self.0
            .executor
            .spawn_named(Some(name.into()), future, location)
    }

    /// Starts a future. It is first polled by the loop's turn.
    ///
    /// Of a task that nobody awaits, a panic and an error in `Result<(), Failure>` or the other
    /// types that [`Task`] lists are reported; an error in a result of any other type is dropped
    /// unseen.
    #[track_caller]
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.0.executor.spawn(future, Location::caller())
    }

    /// Calls `f` from the loop's next batch: first come, first served, together with the tasks that are ready.
    #[doc(alias = "callLater(0)")]
    #[track_caller]
    pub fn call_soon(&self, f: impl FnOnce() + 'static) {
        self.0.executor.call(Location::caller(), f);
    }

    /// Calls `f` soon when the reactor runs, otherwise after its startup event.
    fn call_when_running(&self, f: impl FnOnce() + 'static) {
        if matches!(self.0.state.get(), State::Running | State::Stopping) {
            self.call_soon(f);
        } else {
            self.add_system_event_trigger(Phase::After, "startup", f);
        }
    }

    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn set_on_panic(&self, policy: OnPanic) {
        self.0.policy.set(policy);
    }

    /// Returns a handle for other threads.
    #[doc(alias("callFromThread", "call_from_thread"))]
    pub fn remote(&self) -> Remote {
        Remote::new(self.0.executor.inbox().clone(), self.0.remotes.clone())
    }

    /// A handle for other threads that does not count as one by which something may come.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn uncounted_remote(&self) -> Remote {
        Remote::new(self.0.executor.inbox().clone(), Arc::default())
    }

    /// In memory: a test runs here, and is to fail when nothing can come any more.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn close_world(&self) {
        if self.0.driver.is_virtual() {
            self.0.is_closed_world.set(true);
            self.0.executor.others().count();
        }
    }

    pub(crate) fn downgrade(&self) -> WeakReactor {
        WeakReactor(Rc::downgrade(&self.0))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// What is alive in it: for each thing its kind, and where it was made.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn leftovers(&self) -> Vec<(&'static str, &'static Location<'static>)> {
        let mut left: Vec<_> = self
            .0
            .executor
            .tasks()
            .into_iter()
            .map(|location| ("task", location))
            .collect();
        left.extend(
            self.0
                .timers
                .pending()
                .into_iter()
                .map(|(kind, _, location)| (kind, location)),
        );
        let tracked = self.0.all_tracked().into_iter();
        left.extend(tracked.map(|(_, thing)| (thing.kind(), thing.location())));
        left
    }
}

/// What rooms above need of a reactor.
impl Inner {
    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Where chance comes from.
    pub(crate) fn rng(&self) -> &Rng {
        &self.rng
    }

    pub(crate) fn executor(&self) -> &Rc<Executor> {
        &self.executor
    }

    /// Something that was written to standard output did not get there: `run` fails.
    pub(crate) fn note_lost_output(&self, failure: Failure) {
        self.lost_output.set(Some(failure));
    }

    pub(crate) fn buffers(&self) -> &Rc<BufferPool> {
        &self.buffers
    }

    /// What it is run for.
    fn main_info(&self) -> Option<Rc<TaskInfo>> {
        let info = self.main.take();
        self.main.set(info.clone());
        info
    }

    /// Lends the loop's read buffer.
    pub(crate) fn take_read_buffer(&self) -> Box<[u8]> {
        self.read_buffer
            .take()
            .unwrap_or_else(|| vec![0; READ_BUFFER].into_boxed_slice())
    }

    pub(crate) fn give_back_read_buffer(&self, buffer: Box<[u8]>) {
        self.read_buffer.set(Some(buffer));
    }

    /// Are there handles for other threads?
    fn has_remotes(&self) -> bool {
        Arc::strong_count(&self.remotes) > 1
    }

    fn is_unwinding(&self) -> bool {
        cells::is_some(&self.unwinding)
    }

    fn clock_now(&self) -> Instant {
        match &self.manual {
            Some(now) => now.get(),
            None => self.driver.now(),
        }
    }
}

impl WeakReactor {
    pub(crate) fn upgrade(&self) -> Option<Reactor> {
        self.0.upgrade().map(Reactor)
    }
}

impl Reactor {
    /// Calls `f` when something takes longer than `limit`: what every time limit is made of.
    /// Whoever has the limit cancels or resets the call when that something is done or moves on.
    ///
    /// Unlike what [`Clock::call_later`] calls, `f` runs after everything that came in time, also
    /// when the loop sees that late: I/O is looked at first, and the tasks run which that wakes.
    #[track_caller]
    pub(crate) fn limit(&self, limit: Duration, f: impl FnOnce() + 'static) -> DelayedCall {
        self.timers().limit(limit, Location::caller(), f)
    }
}

impl HasTimers for Reactor {
    fn timers(&self) -> &Timers {
        &self.0.timers
    }
}

impl Clock for Reactor {}

/// The poller's descriptor: readable when there is something to do; see [`Reactor::start`]. It is the same for the
/// reactor's whole life, and may be watched level-triggered or edge-triggered.
///
/// On [`Poller::Poll`], which has no descriptor of its own, a thread waits for the reactor and makes
/// this one readable; it is started when the descriptor is first asked for, and each turn then costs
/// two switches between threads.
///
/// Of a reactor in memory it tells only that another thread has called, or that something was asked for outside a turn.
#[cfg(unix)]
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.executor.host().set_has_host();
        self.0.prepare_to_lend();
        self.0.driver.as_fd()
    }
}

impl Drop for Inner {
    /// The last handle of a reactor that never ran to its end.
    fn drop(&mut self) {
        self.shut_down(None);
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("state", &self.0.state.get())
            .field("handlers", &self.0.handlers.borrow().len())
            .finish_non_exhaustive()
    }
}

/// The reactor was stopped before what it was run for was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped;

errors! {
    Stopped: "the reactor was stopped";
}

/// How much one read takes at most.
const READ_BUFFER: usize = 64 * 1024;

/// How far ahead the loop looks when nothing tells it how long to wait.
const FOREVER: Duration = Duration::MAX;
