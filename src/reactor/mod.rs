//! The event loop: [`Reactor`].
//!
//! # The idea
//!
//! A [`Reactor`] is a cheap handle: clones refer to the same reactor. The reactor owns a *driver*
//! (which calls the operating system, or imitates it in memory), a heap of timers, an executor for
//! tasks and calls, and a table of *handlers*, which own the sockets and descriptors that the
//! driver watches. Other modules add methods to `Reactor`: `listen` and `connect`, for instance,
//! are in [`net`](crate::net).
//!
//! # One turn
//!
//! ```text
//!    run_until_current                                        do_iteration
//!  ┌────────────────────────────────────────────────────┐   ┌───────────────────────────────┐
//!  │ 1 calls from other threads that have arrived       │   │ 5 flush write queues           │
//!  │ 2 new timers enter the heap; the clock is read     │──▶│ 6 wait: 0 if tasks are ready,  │
//!  │ 3 due timers, by deadline, then by order of call   │   │   else until the next deadline │
//!  │ 4 tasks that were ready when step 4 began          │   │ 7 each ready handler, once     │
//!  └────────────────────────────────────────────────────┘   └───────────────────────────────┘
//!           ▲                                                              │
//!           └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! Before step 1 the listeners for [signals](crate::signals) get the signals that have arrived.
//!
//! A step that takes long, or has processed a large number of entries, stops in the middle of its
//! list and continues there in the next turn. So does a connection with much to do, after all
//! others. A time limit that has come due takes effect at the end of step 4, after the driver has
//! been polled once more and the tasks that this woke have run: a result that arrived in time is
//! never discarded.
//!
//! # States
//!
//! | state      | `run`            | `stop`             | next state                                  |
//! |------------|------------------|--------------------|---------------------------------------------|
//! | `New`      | starts           | fails: `NotRunning`| `Running` by `run`                          |
//! | `Running`  | fails: `AlreadyRunning` | begins the shutdown | `Stopping` by `stop`, `New` by `crash` |
//! | `Stopping` | fails: `AlreadyRunning` | fails: `NotRunning` | `Ended` after all triggers, `New` by `crash` |
//! | `Ended`    | fails: `NotRestartable` | fails: `NotRunning` | –                                      |
//!
//! # Invariants
//!
//! 1. User code runs in a turn, and nothing of the reactor is borrowed while it runs.
//! 2. A task or call that becomes ready during a step waits for the next turn, so a task or call
//!    that re-schedules itself does not keep others from running.
//! 3. A handler's key is valid until the handler is removed, and never names another handler.
//! 4. A reactor that has ended holds no task, timer, handler or call, and accepts none.
//!
//! The [glossary](crate::guide::glossary) defines the terms:
//! [reactor](crate::guide::glossary#reactor), [turn](crate::guide::glossary#turn),
//! [step](crate::guide::glossary#step), [event](crate::guide::glossary#event),
//! [hook](crate::guide::glossary#hook), [driver](crate::guide::glossary#driver),
//! [stop](crate::guide::glossary#stop-stopped), [grace](crate::guide::glossary#grace).

mod acting;
mod budget;
mod builder;
mod closing;
mod connection_spans;
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
mod main_waker;
#[cfg(all(test, torsade_loom))]
mod model;
mod pace;
mod registration;
mod remote;
mod remote_resolver;
mod remote_work;
mod reports;
mod requests;
mod share;
mod signals;
mod threads;
mod turn;
#[cfg(feature = "tokio-rt")]
mod turn_context;
mod unknown_keys;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::acting::{Acting, NO_CONNECTION};
use self::budget::Budget;
use self::builder::Debug;
pub use self::builder::ReactorBuilder;
#[cfg(unix)]
#[doc(alias("IReadDescriptor", "IWriteDescriptor", "IReactorFDSet"))]
pub use self::descriptor::Descriptor;
#[cfg(unix)]
pub use self::descriptor::{AnyWatch, Watch};
use self::drain::Drain;
#[doc(alias("drain", "graceful shutdown", "SO_LINGER"))]
pub use self::drain::Grace;
#[cfg(any(doc, feature = "debug"))]
#[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
pub use self::dump::{Dump, Node};
use self::ending::Ending;
pub use self::errors::{ReactorError, Stopped};
use self::events::Triggers;
pub use self::events::{Phase, Trigger};
use self::extensions::Extensions;
pub use self::guest::EnterGuard;
pub(crate) use self::handler::{Handler, Tracked};
use self::pace::Pace;
pub(crate) use self::registration::{Registration, Released, Retry};
pub use self::remote::Remote;
pub use self::remote_resolver::RemoteResolver;
pub use self::remote_work::RemoteTask;
use self::requests::Requests;
use self::signals::SignalState;
pub(crate) use self::signals::{ListensToSignals, PendingSignals};
use self::threads::Threads;
#[cfg(feature = "tokio-rt")]
pub(crate) use self::turn_context::TurnContext;
use self::unknown_keys::UnknownKeys;
use crate::bytes::BufferPool;
use crate::cells;
use crate::clock::sealed::HasTimers;
use crate::clock::{Clock, DelayedCall, Timers};
#[cfg(any(doc, feature = "debug"))]
#[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
pub use crate::debug::Blocked;
#[cfg(unix)]
pub use crate::driver::Interest;
#[doc(alias("epollreactor", "pollreactor", "kqreactor", "iocpreactor"))]
pub use crate::driver::Poller;
use crate::driver::{Driver, Rng};
use crate::failure::{Failure, errors};
use crate::slots::Slots;
use crate::task::{Executor, Task, TaskInfo};

/// Runs `main` on a new reactor until `main` returns or the reactor is stopped.
///
/// This is the usual entry point of a program (Twisted's `react`). It makes a reactor that SIGINT
/// and SIGTERM (and on Windows SIGBREAK) stop in good order, runs `main`, and then runs the
/// shutdown triggers. `main` may borrow from the caller.
///
/// When the reactor is stopped before `main` has returned, `run` drops `main`'s future and returns
/// `Ok`.
///
/// The `main` of a server awaits [`Reactor::stopped`] last. If `main` returns earlier, its ports
/// are closed; within the first second, a warning names each port that had no connection.
///
/// After Ctrl-C this function returns `Ok`, so the exit status of most programs is 0 then. With
/// [`ReactorBuilder::ends_by_signal`] the process ends by the signal instead, as a shell expects.
///
/// There is no `twistd`: a service manager starts, restarts and logs the program;
/// [`services`](crate::services) starts and stops the parts of a program in order.
///
/// [`ReactorBuilder::run`] does the same with other settings.
///
/// # Errors
///
/// Fails with the failure that `main` returned; with the system's error when the reactor could not
/// be made; with [`ReactorError::AlreadyRunning`] when a reactor is running on this thread; and
/// with [`ConnectionError::NotSent`](crate::ConnectionError::NotSent) when bytes written to
/// standard output through [`net::Stdio`](crate::net::Stdio) could not be written, unless the
/// reader of standard output closed it.
///
/// Bytes that `main` has written to other connections are sent before this function returns, within
/// the limits of [`Grace`]. Bytes that could not be sent are [reported](crate::report).
///
/// # Panics
///
/// Panics when `main` panics, after the shutdown triggers.
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

/// An event loop, and the handle to it that a program holds.
///
/// Clones are handles to the same reactor. A reactor belongs to one thread; [`Reactor::remote`]
/// returns a handle for other threads. Several reactors may exist on a thread, and one of them runs
/// at a time.
///
/// | to run a reactor               | use                                              |
/// |--------------------------------|--------------------------------------------------|
/// | as the `main` of a program     | [`torsade::run`](run()), [`ReactorBuilder::run`] |
/// | until a future has a value     | [`Reactor::run_until`]                           |
/// | until it is stopped            | [`Reactor::run`]                                 |
/// | in the loop of another library | [`Reactor::start`]                               |
/// | one turn at a time             | [`Reactor::iterate`]                             |
/// | in a test                      | [`testing::run`](crate::testing::run())          |
///
/// A reactor that ends, by [`Reactor::stop`] or because the future it ran has finished, drops
/// everything it holds. A reactor that is never run is freed with its last handle. Tasks, calls,
/// protocols and descriptors that the reactor holds and that hold a handle to it are a reference
/// cycle: they keep such a reactor alive.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::{Clock, Reactor};
///
/// # fn main() -> Result<(), torsade::Failure> {
/// let reactor = Reactor::new()?;
/// let slept = reactor.run_until(async {
///     let reactor = Reactor::current().expect("a reactor is running");
///     reactor.sleep(Duration::from_millis(1)).await.is_ok()
/// })?;
/// assert!(slept);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Reactor(Rc<Inner>);

/// The main future. Its type is erased, so that the loop is compiled once for each type of result.
type MainFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A handle that does not keep the reactor alive.
#[derive(Clone)]
pub(crate) struct WeakReactor(Weak<Inner>);

pub(crate) struct Inner {
    driver: Driver,
    rng: Rng,
    timers: Timers,
    executor: Rc<Executor>,
    handlers: RefCell<Slots<Rc<dyn Handler>>>,
    /// Objects that end with the reactor and are not handlers.
    tracked: RefCell<Slots<Rc<dyn Tracked>>>,
    /// Handlers that have something to do before the loop waits.
    requests: Rc<Requests>,
    /// Reusable write queues.
    buffers: Rc<BufferPool>,
    /// The buffer of the loop; empty while it is lent to a reader.
    read_buffer: Cell<Option<Box<[u8]>>>,
    /// The buffers of all connections in TLS.
    #[cfg(feature = "tls")]
    tls_buffers: crate::driver::SharedScratch,
    /// An empty buffer for a frame that is being encoded.
    frame_buffer: Cell<Vec<u8>>,
    triggers: Triggers,
    drain: Drain,
    budget: Budget,
    /// Bytes for standard output that were lost.
    lost_output: Cell<Option<Failure>>,
    threads: Threads,
    unknown_keys: UnknownKeys,
    ending: Ending,
    signals: SignalState,
    #[cfg(feature = "tokio-rt")]
    turn_context: Rc<turn_context::TurnContextSlot>,
    extensions: Extensions,
    connection_spans: connection_spans::ConnectionSpans,
    state: Cell<State>,
    /// Number of the run; one more after each crash.
    run: Cell<u64>,
    /// The current time, where only `advance` moves it.
    manual: Option<Cell<Instant>>,
    pace: Pace,
    policy: Cell<OnPanic>,
    hooks: RefCell<Vec<reports::Hook>>,
    /// Counts the handles of other threads: one less than the strong count.
    remotes: Arc<()>,
    /// The reactor is in memory and runs a test, which fails when no event can come any more.
    is_closed_world: Cell<bool>,
    /// The panic that `run` ends with.
    unwinding: Cell<Option<Failure>>,
    stops_on_signals: Cell<bool>,
    dumps_on_signal: Cell<bool>,
    /// The task information of `main`, while the reactor runs in debug mode.
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

/// What a panic in user code does to the reactor, after it was [reported](crate::report).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnPanic {
    /// Continues the loop.
    #[default]
    Report,
    /// Stops the reactor, as [`Reactor::stop`] does.
    Stop,
    /// Aborts the process.
    Abort,
    /// Ends the reactor without shutdown triggers: when the turn is over, `run` panics with the
    /// first panic of the turn. For tests.
    Unwind,
}

/// # Construction
impl Reactor {
    /// Makes a reactor that uses the operating system's sockets and clock. It does not run yet.
    ///
    /// # Errors
    ///
    /// Fails when the system refuses a poller, for instance because the process has no descriptors
    /// left, and with [`ReactorError::PollerUnavailable`] when the environment variable
    /// `TORSADE_POLLER` names a poller that is not available.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Makes a reactor with an in-memory network and virtual time.
    ///
    /// When there is nothing to do, the clock jumps to the next deadline. While the reactor waits
    /// for work on threads, its time stands still ([`Reactor::spawn_blocking`] says for how long).
    ///
    /// # Errors
    ///
    /// Fails as [`Reactor::new`] does: other threads still need a descriptor to wake the reactor.
    #[cfg(any(doc, feature = "testing"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
    pub fn in_memory() -> io::Result<Self> {
        Self::builder().in_memory().build()
    }

    /// Returns the poller that the reactor waits with; `None` in memory.
    /// [`ReactorBuilder::poller`] chooses the poller.
    pub fn poller(&self) -> Option<Poller> {
        self.0.driver.poller()
    }

    /// Returns a builder for a reactor with other settings: debug mode, a watchdog, another clock.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), torsade::Failure> {
    /// use torsade::{OnPanic, Reactor};
    ///
    /// let reactor = Reactor::builder()
    ///     .debug(true)
    ///     .on_panic(OnPanic::Stop)
    ///     .stops_on_signals(true)
    ///     .build()?;
    /// reactor.run_until(async {})?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ReactorBuilder {
        ReactorBuilder::default()
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
            #[cfg(feature = "tls")]
            tls_buffers: Rc::default(),
            frame_buffer: Cell::default(),
            triggers: Triggers::default(),
            drain: Drain::default(),
            budget: Budget::default(),
            lost_output: Cell::new(None),
            threads: Threads::default(),
            unknown_keys: UnknownKeys::default(),
            ending: Ending::default(),
            signals: SignalState::default(),
            #[cfg(feature = "tokio-rt")]
            turn_context: Rc::default(),
            extensions: Extensions::default(),
            connection_spans: Default::default(),
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
}

/// # Running and stopping
impl Reactor {
    /// Runs the reactor until [`Reactor::stop`] or [`Reactor::crash`] is called, or until a signal
    /// stops it ([`ReactorBuilder::stops_on_signals`]).
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::AlreadyRunning`] when this or another reactor is running on this
    /// thread; with [`ReactorError::NotRestartable`] when the reactor has ended; and with
    /// [`ConnectionError::NotSent`](crate::ConnectionError::NotSent) when bytes written to standard
    /// output through [`net::Stdio`](crate::net::Stdio) could not be written, unless the reader of
    /// standard output closed it.
    ///
    /// # Panics
    ///
    /// Panics with the panic of user code, under [`OnPanic::Unwind`].
    #[doc(alias("mainLoop", "startRunning"))]
    #[track_caller]
    pub fn run(&self) -> Result<(), Failure> {
        match self.run_until(std::future::pending::<()>()) {
            Err(failure) if failure.is::<Stopped>() => Ok(()),
            other => other,
        }
    }

    /// Runs the reactor until `main` has finished, then stops it as [`Reactor::stop`] does. `main`
    /// may borrow from the caller.
    ///
    /// When the result would be [`Stopped`] because of a signal, and
    /// [`ReactorBuilder::ends_by_signal`] is set, the process ends by that signal instead.
    ///
    /// # Errors
    ///
    /// Fails with [`Stopped`] when the reactor was stopped or crashed first, and with the errors of
    /// [`Reactor::run`]. [`ConnectionError::NotSent`](crate::ConnectionError::NotSent) replaces the
    /// result of `main`, because part of the program's output is missing.
    ///
    /// # Panics
    ///
    /// Panics when `main` panics, and as [`Reactor::run`] does.
    #[doc(alias("block_on", "run_until_complete"))]
    #[track_caller]
    pub fn run_until<T>(&self, main: impl Future<Output = T>) -> Result<T, Failure> {
        match self.run_to_the_end(Box::pin(main))? {
            (_, Some(lost)) => Err(lost),
            (Some(value), None) => Ok(value),
            (None, None) => {
                self.end_by_signal();
                Err(Stopped.into())
            }
        }
    }

    /// Runs `main`, and returns its result if it finished, and the loss of standard output if there
    /// was one.
    #[track_caller]
    fn run_to_the_end<T>(
        &self,
        main: MainFuture<'_, T>,
    ) -> Result<(Option<T>, Option<Failure>), Failure> {
        let result = self.turn_until(main)?;
        self.rethrow();
        match result.transpose() {
            Ok(value) => Ok((value, self.0.lost_output.take())),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Stops the reactor: the shutdown triggers run from the loop's next turn on, then `run`
    /// returns.
    ///
    /// Bytes that are queued on connections are sent between the triggers *before* the shutdown and
    /// those *during* it, within the limits of [`Grace`].
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::NotRunning`] when the reactor is not running, or is stopping
    /// already.
    pub fn stop(&self) -> Result<(), ReactorError> {
        if self.0.state.get() != State::Running {
            return Err(ReactorError::NotRunning);
        }
        self.0.state.set(State::Stopping);
        self.0.pace.request_stop();
        self.0.executor.host().request_added();
        Ok(())
    }

    /// Leaves the loop after this turn, without shutdown triggers, if the reactor runs.
    /// Connections, tasks and timers stay, and the reactor can be run again.
    pub fn crash(&self) {
        if matches!(self.0.state.get(), State::Running | State::Stopping) {
            self.0.state.set(State::New);
            self.0.run.set(self.0.run.get() + 1);
            self.0.pace.cancel_stop();
            self.0.drain.reset_drain();
            self.0.executor.call(Location::caller(), || {});
        }
    }

    /// Returns whether the reactor is running: from the *during* phase of its startup event until
    /// [`Reactor::stop`].
    pub fn is_running(&self) -> bool {
        self.0.state.get() == State::Running
    }

    /// Returns whether the reactor has ended and cannot be run again.
    pub fn has_ended(&self) -> bool {
        self.0.state.get() == State::Ended
    }
}

/// # Tasks and calls
impl Reactor {
    /// Starts a future, as [`Reactor::spawn`] does, and gives the task a name that reports and
    /// dumps show.
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

    /// Starts a future as a task. Its first poll is in the loop's next
    /// [batch](crate::guide::glossary#batch).
    ///
    /// A panic of a task that is not awaited is reported, and so is its error in
    /// `Result<(), Failure>` or the other types that [`Task`] lists. An error in a result of any
    /// other type is dropped.
    #[track_caller]
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.0.executor.spawn(future, Location::caller())
    }

    /// Calls `f` in the loop's next [batch](crate::guide::glossary#batch), in order with other such
    /// calls and with the tasks that are ready. A panic in `f` is reported.
    #[doc(alias = "callLater(0)")]
    #[track_caller]
    pub fn call_soon(&self, f: impl FnOnce() + 'static) {
        self.0.executor.call(Location::caller(), f);
    }

    /// Calls `f` soon when the reactor is running, otherwise after its startup event.
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

    /// Returns a handle to this reactor for other threads.
    #[doc(alias("callFromThread", "call_from_thread"))]
    pub fn remote(&self) -> Remote {
        Remote::new(self.0.executor.inbox().clone(), self.0.remotes.clone())
    }

    /// Returns a handle for other threads that does not keep an in-memory reactor waiting for them.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn uncounted_remote(&self) -> Remote {
        Remote::new(self.0.executor.inbox().clone(), Arc::default())
    }

    /// Marks the reactor as one that runs a test, which fails when no event can come any more. In
    /// memory only.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn close_world(&self) {
        if self.0.driver.is_virtual() {
            self.0.is_closed_world.set(true);
            self.0.executor.counted_wakers().count();
        }
    }

    pub(crate) fn downgrade(&self) -> WeakReactor {
        WeakReactor(Rc::downgrade(&self.0))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Returns everything that is alive in the reactor: the kind of each object, and where it was
    /// made.
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
        left.extend(tracked.map(|(_, dump_item)| (dump_item.kind(), dump_item.location())));
        left
    }
}

/// What the layers above need of a reactor.
impl Inner {
    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Returns the source of random numbers.
    pub(crate) fn rng(&self) -> &Rng {
        &self.rng
    }

    pub(crate) fn executor(&self) -> &Rc<Executor> {
        &self.executor
    }

    /// Records that bytes for standard output were lost, so that `run` fails.
    pub(crate) fn note_lost_output(&self, failure: Failure) {
        self.lost_output.set(Some(failure));
    }

    pub(crate) fn buffers(&self) -> &Rc<BufferPool> {
        &self.buffers
    }

    /// Returns the task information of `main`.
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

    /// Returns the buffers that all connections in TLS use in turn.
    #[cfg(feature = "tls")]
    pub(crate) fn tls_buffers(&self) -> crate::driver::SharedScratch {
        self.tls_buffers.clone()
    }

    /// Returns an empty buffer.
    pub(crate) fn take_frame_buffer(&self) -> Vec<u8> {
        self.frame_buffer.take()
    }

    /// Keeps the memory of a buffer for the next frame, unless it is large.
    pub(crate) fn give_back_frame_buffer(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() <= FRAME_BUFFER {
            self.frame_buffer.set(buffer);
        }
    }

    pub(crate) fn give_back_read_buffer(&self, buffer: Box<[u8]>) {
        self.read_buffer.set(Some(buffer));
    }

    /// Returns whether there are handles for other threads.
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
    /// Calls `f` when an operation takes longer than `limit`: every time limit is made of this. The
    /// owner of the limit cancels or resets the call when the operation finishes or makes progress.
    ///
    /// Unlike the calls of [`Clock::call_later`], `f` runs after everything that arrived in time,
    /// also when the loop notices that late: the driver is polled first, and the tasks that this
    /// wakes run.
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

/// The descriptor of the reactor's poller: it is readable when there is something to do, see
/// [`Reactor::start`]. It stays the same for the reactor's whole life, and may be watched
/// level-triggered or edge-triggered.
///
/// poll(2) has no descriptor: with [`Poller::Poll`] a thread waits for the reactor and makes this
/// one readable. That thread is started when the descriptor is first requested, and each turn then
/// costs two thread switches.
///
/// The descriptor of an in-memory reactor becomes readable only when another thread has sent a call
/// or when something was requested outside a turn.
#[cfg(unix)]
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.executor.host().set_has_host();
        self.0.prepare_to_lend();
        self.0.driver.as_fd()
    }
}

impl Drop for Inner {
    /// Frees a reactor that never ran to its end.
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

/// The capacity of the largest buffer for frames that is kept, in bytes.
const FRAME_BUFFER: usize = 16 * 1024;

/// Largest number of bytes of one read.
const READ_BUFFER: usize = 64 * 1024;

/// The wait of the loop when there is no deadline.
const FOREVER: Duration = Duration::MAX;
