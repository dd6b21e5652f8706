//! The settings of a reactor, and how one is made: [`ReactorBuilder`].

use std::fmt;
use std::io;
#[cfg(any(doc, feature = "debug"))]
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

#[cfg(any(doc, feature = "debug"))]
use super::Blocked;
use super::{Grace, OnPanic, Reactor, errors};
use crate::debug::{self, BlockedHook, Debugging, Watchdog};
#[cfg(any(doc, feature = "testing"))]
use crate::driver::Driver;
#[cfg(any(doc, feature = "testing"))]
use crate::driver::NetworkFaults;
use crate::driver::Poller;
use crate::failure::Failure;
#[cfg(any(doc, feature = "debug"))]
use crate::report::{self, Origin};

/// The settings of a new [`Reactor`]. [`Reactor::builder`] returns them with their defaults.
#[must_use = "it makes nothing until `build` is called"]
pub struct ReactorBuilder {
    time: Time,
    #[cfg(any(doc, feature = "testing"))]
    faults: Option<NetworkFaults>,
    debug: Option<bool>,
    watchdog: Option<Option<Duration>>,
    on_blocked: Option<BlockedHook>,
    on_panic: OnPanic,
    stops_on_signals: Option<bool>,
    ends_by_signal: bool,
    dumps_on_signal: bool,
    grace: Grace,
    budget: Option<usize>,
    poller: Option<Poller>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Passing,
    Manual,
    #[cfg(any(doc, feature = "testing"))]
    Virtual,
}

/// The state of debug mode that a reactor holds.
#[cfg_attr(all(test, torsade_loom), derive(Default))]
pub(super) struct Debug {
    pub(super) watchdog: Option<Rc<Watchdog>>,
    _on: Option<Debugging>,
}

impl Default for ReactorBuilder {
    fn default() -> Self {
        Self {
            time: Time::Passing,
            #[cfg(any(doc, feature = "testing"))]
            faults: None,
            debug: None,
            watchdog: None,
            on_blocked: None,
            on_panic: OnPanic::default(),
            stops_on_signals: None,
            ends_by_signal: false,
            dumps_on_signal: false,
            grace: Grace::default(),
            budget: None,
            poller: None,
        }
    }
}

impl ReactorBuilder {
    /// Sets whether the reactor runs in debug mode.
    ///
    /// Debug mode records the lines that make, fire and await Deferreds and tasks, so that a
    /// [`Failure`](crate::Failure) shows its trace and [`Reactor::dump`] shows which task waits for
    /// what. It also starts the [watchdog](ReactorBuilder::watchdog). It costs time and memory.
    ///
    /// Default: the environment variable `TORSADE_DEBUG` (`1` or `0`); without it, on in debug
    /// builds and off in release builds. Debug mode applies to everything that is made on this
    /// thread while the reactor exists.
    #[doc(alias("setDebugging", "getDebugging", "set_debug"))]
    #[cfg(any(doc, feature = "debug"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
    pub fn debug(mut self, on: bool) -> Self {
        self.debug = Some(on);
        self
    }

    /// Sets the time after which a callback or task that blocks the loop is reported, in debug mode
    /// or not; `None` turns the watchdog off.
    ///
    /// Default: 100 ms in debug mode on reactors whose time is real time; otherwise `None`.
    ///
    /// A call that returns late is reported with its duration. A call that has not returned is
    /// reported by the watchdog's thread, which exists while the reactor runs. Reports go to
    /// `tracing` (target `torsade::watchdog`) or, without a subscriber, to standard error.
    /// [`ReactorBuilder::on_blocked`] receives the first kind instead.
    #[doc(alias = "slow_callback_duration")]
    #[cfg(any(doc, feature = "debug"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
    pub fn watchdog(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.watchdog = Some(limit.into());
        self
    }

    /// Sets the function that receives a [`Blocked`] for each callback or task that blocked the
    /// loop, after the call has returned. The function runs on the loop's thread. Default: the call
    /// is logged, as [`ReactorBuilder::watchdog`] says.
    #[cfg(any(doc, feature = "debug"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
    #[track_caller]
    pub fn on_blocked(mut self, hook: impl Fn(Blocked) + 'static) -> Self {
        let location = Location::caller();
        // It is called when a guard is dropped, perhaps by a panic, and must not unwind.
        self.on_blocked = Some(Rc::new(move |blocked| {
            report::contain_rarely(Origin::Call, location, || hook(blocked));
        }));
        self
    }

    /// Sets what a panic in user code does to the reactor, after it was reported. Default:
    /// [`OnPanic::Report`].
    pub fn on_panic(mut self, policy: OnPanic) -> Self {
        self.on_panic = policy;
        self
    }

    /// Sets whether SIGINT and SIGTERM, and on Windows SIGBREAK, stop the reactor while it runs.
    /// Default: true for [`run`](crate::run()) and [`ReactorBuilder::run`], false for other
    /// reactors.
    ///
    /// The first signal stops the reactor, a second one ends the process. Signals within 100 ms of
    /// the first count as one with it, and so do those that arrive before the loop could act on it.
    /// When a loop has not acted for three seconds, the next signal ends the process.
    ///
    /// The earlier handlers are restored after the run. If the program ignores SIGINT or has a
    /// handler for it when the run begins, that stays in effect, and SIGINT does not stop the
    /// reactor. A signal that was blocked when the program was started is unblocked on the
    /// reactor's thread while the reactor runs.
    ///
    /// While a [listener](crate::signals) on this reactor receives one of these signals, that
    /// signal does not stop the reactor. Once the reactor is stopping, for whatever reason, these
    /// signals count as stop signals in spite of listeners, so that a second one always ends a
    /// shutdown that hangs.
    #[doc(alias = "installSignalHandlers")]
    pub fn stops_on_signals(mut self, stops: bool) -> Self {
        self.stops_on_signals = Some(stops);
        self
    }

    /// Sets whether the process ends by the signal that stopped the reactor, at the end of
    /// [`run`](crate::run()) or [`Reactor::run`]. Default: false.
    ///
    /// Without this setting, a program that was stopped by Ctrl-C returns from `main` with exit
    /// status 0. With it, a shell sees that SIGINT ended the program, and a script that runs the
    /// program ends as well. Standard output is flushed first; values that the callers of `run`
    /// hold are not dropped. The first process of a container cannot end by a signal: it exits with
    /// 128 plus the signal's number.
    ///
    /// A run that fails returns its failure, also after a signal. [`Reactor::run_until`] ends the
    /// process only if the signal came before its future had finished; otherwise it returns the
    /// value, and [`Reactor::stopped_by`] returns the signal. The setting has no effect on a run
    /// that another loop drives ([`Reactor::start`]).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use torsade::{Failure, Reactor};
    /// # fn main() -> Result<(), Failure> {
    /// Reactor::builder().ends_by_signal(true).run(async |reactor| {
    ///     reactor.serve("127.0.0.1:4002", async |_conn| Ok(()))?;
    ///     reactor.stopped().await
    /// })
    /// # }
    /// ```
    #[doc(alias("_exitSignal", "WIFSIGNALED", "exit status"))]
    pub fn ends_by_signal(mut self, ends: bool) -> Self {
        self.ends_by_signal = ends;
        self
    }

    /// Sets whether SIGUSR1 writes [`Reactor::dump`] to standard error while the reactor runs.
    /// Default: false.
    ///
    /// The earlier action of SIGUSR1 is restored after the run. Windows has no such signal, and
    /// there nothing is written.
    #[cfg(any(doc, feature = "debug"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
    pub fn dumps_on_signal(mut self, dumps: bool) -> Self {
        self.dumps_on_signal = dumps;
        self
    }

    /// Sets the time limits of the reactor's end, as [`Reactor::set_grace`] does. Default:
    /// `Grace::default()`.
    pub fn grace(mut self, grace: Grace) -> Self {
        self.grace = grace;
        self
    }

    /// Sets the number of bytes that all connections together may hold: bytes queued for sending,
    /// and bytes that have been read and not been used. Default: `None`, which is no limit.
    ///
    /// Once in a turn, after queued bytes were sent as far as possible, the reactor compares the
    /// bytes that the connections hold with the budget. While they exceed it, the reactor resets
    /// the connection that holds the most. Such a connection ends with
    /// [`ReactorError::OverBudget`](super::ReactorError::OverBudget), and its queued bytes are
    /// reported. Bytes written during one turn may exceed the budget.
    ///
    /// The budget is the last defence against many peers that do not read. The limits of each
    /// connection ([`Limits`](crate::transport::Limits),
    /// [`ListenOptions::send_timeout`](crate::net::ListenOptions::send_timeout)) apply first.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Reactor;
    ///
    /// let reactor = Reactor::builder().buffer_budget(256 << 20).build()?;
    /// assert_eq!(reactor.dump().buffered, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias("memory limit", "max_buffered"))]
    pub fn buffer_budget(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.budget = bytes.into();
        self
    }

    /// Sets the system call that the reactor waits with. A reactor in memory has none and ignores
    /// this.
    ///
    /// When this is not set, the environment variable `TORSADE_POLLER` decides, by a
    /// [name](Poller::name). When that is not set or empty, the reactor uses the first of
    /// [`Poller::available`], and [`Poller::Poll`] where the system (a sandbox, for instance)
    /// refuses that one.
    ///
    /// [`build`](Self::build) fails with
    /// [`ReactorError::PollerUnavailable`](super::ReactorError::PollerUnavailable) when the poller
    /// that was chosen, here or by the environment, is one that this system does not have or
    /// refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Reactor;
    /// use torsade::reactor::Poller;
    ///
    /// # #[cfg(unix)] {
    /// let reactor = Reactor::builder().poller(Poller::Poll).build()?;
    /// assert_eq!(reactor.poller(), Some(Poller::Poll));
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias("installReactor", "event_loop_policy"))]
    pub fn poller(mut self, poller: Poller) -> Self {
        self.poller = Some(poller);
        self
    }

    /// Gives the reactor a clock that moves only by [`Reactor::advance`]. Its sockets are the
    /// operating system's: for tests that need real ones. Other tests use
    /// [`in_memory`](Self::in_memory).
    pub fn manual_time(mut self) -> Self {
        self.time = Time::Manual;
        self
    }

    /// Gives the reactor an in-memory network and virtual time: see [`Reactor::in_memory`].
    #[cfg(any(doc, feature = "testing"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
    pub fn in_memory(mut self) -> Self {
        self.time = Time::Virtual;
        self
    }

    /// Gives the reactor virtual time and an in-memory network with faults: it delays bytes, breaks
    /// connections and loses datagrams, as `faults` describes.
    #[cfg(any(doc, feature = "testing"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
    pub fn in_memory_with(mut self, faults: NetworkFaults) -> Self {
        self.faults = Some(faults);
        self.in_memory()
    }

    /// Makes the reactor.
    ///
    /// # Errors
    ///
    /// Fails as [`Reactor::new`] does, also for the poller that [`poller`](Self::poller) chose.
    pub fn build(self) -> io::Result<Reactor> {
        let driver = match self.time {
            #[cfg(any(doc, feature = "testing"))]
            Time::Virtual => Driver::memory(self.faults)?,
            _ => errors::driver_with(self.poller)?,
        };
        let is_debugged = debug::IS_BUILT && self.debug.unwrap_or_else(debug::is_default);
        let usual = (is_debugged && self.time == Time::Passing).then_some(LIMIT);
        let limit = self.watchdog.unwrap_or(usual);
        let tell = self
            .on_blocked
            .unwrap_or_else(|| Rc::new(|blocked| debug::print(&blocked)));
        let debug = Debug {
            watchdog: limit
                .filter(|_| debug::IS_BUILT)
                .map(|limit| Watchdog::new(limit, tell)),
            _on: is_debugged.then(Debugging::begin),
        };
        let reactor = Reactor::with_driver(driver, self.time == Time::Manual, debug);
        reactor.inner().policy.set(self.on_panic);
        let stops = self.stops_on_signals.unwrap_or(false);
        reactor.inner().stops_on_signals.set(stops);
        reactor.set_ends_by_signal(self.ends_by_signal);
        reactor.set_grace(self.grace);
        reactor.inner().budget.limit.set(self.budget);
        reactor.inner().dumps_on_signal.set(self.dumps_on_signal);
        Ok(reactor)
    }

    /// Makes the reactor and runs `main` on it, as [`torsade::run`](crate::run()) does with the
    /// default settings.
    ///
    /// # Errors
    ///
    /// Fails as [`torsade::run`](crate::run()) does.
    ///
    /// # Panics
    ///
    /// Panics when `main` panics, after the shutdown triggers.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::{Clock, Failure, Reactor};
    ///
    /// fn main() -> Result<(), Failure> {
    ///     let builder = Reactor::builder()
    ///         .dumps_on_signal(true)
    ///         .ends_by_signal(true)
    ///         .buffer_budget(256 << 20);
    ///     builder.run(async |reactor| {
    ///         reactor.sleep(Duration::from_millis(1)).await?;
    ///         println!("a millisecond later");
    ///         Ok(())
    ///     })
    /// }
    /// ```
    #[doc(alias = "react")]
    #[track_caller]
    pub fn run(
        mut self,
        main: impl AsyncFnOnce(Reactor) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.stops_on_signals.get_or_insert(true);
        let reactor = self.build()?;
        let main = main(reactor.clone());
        let main = async {
            let result = main.await;
            if result.is_ok() {
                reactor.warn_of_forgotten_ports();
            }
            result
        };
        let (result, lost) = reactor.run_to_the_end(Box::pin(main))?;
        result.unwrap_or(Ok(()))?;
        if let Some(lost) = lost {
            return Err(lost);
        }
        reactor.end_by_signal();
        Ok(())
    }
}

impl fmt::Debug for ReactorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReactorBuilder")
            .field("time", &self.time)
            .field("debug", &self.debug)
            .field("watchdog", &self.watchdog)
            .finish_non_exhaustive()
    }
}

/// The default of [`ReactorBuilder::watchdog`] in debug mode.
const LIMIT: Duration = Duration::from_millis(100);
