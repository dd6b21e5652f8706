//! How a reactor is made that is not like all others.

use std::fmt;
use std::io;
#[cfg(any(doc, feature = "debug"))]
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

#[cfg(any(doc, feature = "debug"))]
use super::Blocked;
use super::{Grace, OnPanic, Reactor};
use crate::debug::{self, Debugging, Told, Watchdog};
#[cfg(any(doc, feature = "testing"))]
use crate::driver::NetworkFaults;
use crate::driver::{Driver, Poller};
use crate::failure::Failure;
#[cfg(any(doc, feature = "debug"))]
use crate::report::{self, Origin};

/// Makes a [`Reactor`]; see [`Reactor::builder`].
#[must_use = "it makes nothing until `build` is called"]
pub struct ReactorBuilder {
    time: Time,
    #[cfg(any(doc, feature = "testing"))]
    faults: Option<NetworkFaults>,
    debug: Option<bool>,
    watchdog: Option<Option<Duration>>,
    on_blocked: Option<Told>,
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

/// What debug mode needs of a reactor.
#[cfg_attr(all(test, torsade_loom), derive(Default))]
pub(super) struct Debug {
    pub(super) watchdog: Option<Rc<Watchdog>>,
    _on: Option<Debugging>,
}

impl Reactor {
    /// A reactor with wishes: debug mode, a watchdog, another time.
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
        ReactorBuilder {
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
    /// Debug mode: remembers who made, fired and awaited what, so that a [`Failure`](crate::Failure) tells the way it has
    /// come and [`Reactor::dump`] who waits for what, and sets the watchdog on whoever blocks the loop.
    ///
    /// It costs time and memory. Without this wish the environment variable `TORSADE_DEBUG` decides (`1` or `0`), and
    /// where that is not set, debug mode is on in debug builds and off in release builds. It is on for all that is
    /// made on this thread while the reactor lives.
    #[doc(alias("setDebugging", "getDebugging", "set_debug"))]
    #[cfg(any(doc, feature = "debug"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
    pub fn debug(mut self, on: bool) -> Self {
        self.debug = Some(on);
        self
    }

    /// Names each callback or task that blocks the loop for longer than `limit`, in debug mode or not; none with `None`.
    ///
    /// What comes back is told with the time it took; what has not come back is told by a thread of the watchdog's own,
    /// which lives while the reactor runs. In debug mode the limit is 100 ms unless this says otherwise; not so where time
    /// does not pass by itself, for a machine that is slow proves nothing there. They go to `tracing` (target
    /// `torsade::watchdog`) or standard error, or where [`ReactorBuilder::on_blocked`] says.
    #[doc(alias = "slow_callback_duration")]
    #[cfg(any(doc, feature = "debug"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
    pub fn watchdog(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.watchdog = Some(limit.into());
        self
    }

    /// Has `hook` told what blocked the loop, when it has come back. It is called on the loop's thread, right after.
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

    /// Sets what a panic in user code does to the reactor, besides being reported. Default: [`OnPanic::Report`].
    pub fn on_panic(mut self, policy: OnPanic) -> Self {
        self.on_panic = policy;
        self
    }

    /// Sets whether SIGINT and SIGTERM, and on Windows SIGBREAK, stop the reactor while it runs. Default: true for
    /// [`run`](crate::run()) and [`ReactorBuilder::run`], false for other reactors.
    ///
    /// The first signal stops the reactor, a second one ends the process. Signals within 100 ms of the first count as one with
    /// it, and so do those that come before the loop could act on it; when a loop has not acted for three seconds, the next
    /// signal ends the process. The handlers that were installed before the run are restored after it; a program that ignored
    /// SIGINT before, or had a handler for it, keeps that. A signal that was blocked when the program was started is unblocked
    /// on the reactor's thread while it runs.
    ///
    /// While a [listener](crate::signals) on this reactor receives one of these signals, that signal does not stop the reactor.
    /// Once the reactor is stopping, for whatever reason, it counts again, so that a shutdown which hangs can always be cut
    /// short.
    #[doc(alias = "installSignalHandlers")]
    pub fn stops_on_signals(mut self, stops: bool) -> Self {
        self.stops_on_signals = Some(stops);
        self
    }

    /// Sets whether the process ends by the signal that stopped the reactor, once [`run`](crate::run()) or [`Reactor::run`] has
    /// done everything else. Default: false.
    ///
    /// Without it a program that was stopped by Ctrl-C returns from `main` with exit status 0. With it a shell sees that SIGINT
    /// ended the program, and ends a loop or a script that runs it. Standard output is flushed first; values that the callers
    /// of `run` hold are not dropped. The first process of a container cannot end by a signal: it exits with 128 plus the
    /// signal's number. See also [`Reactor::stopped_by`].
    ///
    /// A run that fails returns its failure in any case. For [`Reactor::run_until`] this holds where that would return
    /// [`Stopped`](super::Stopped) because of the signal; when its future was done, it returns the value also after a signal,
    /// and the caller asks [`Reactor::stopped_by`]. This does not hold for a run that another loop drives
    /// ([`Reactor::start`]).
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

    /// Has SIGUSR1 write [`Reactor::dump`] to standard error while the reactor runs.
    ///
    /// What SIGUSR1 did before comes back when the run is over. Windows has no such signal, and there nothing is written.
    #[cfg(any(doc, feature = "debug"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
    pub fn dumps_on_signal(mut self, dumps: bool) -> Self {
        self.dumps_on_signal = dumps;
        self
    }

    /// See [`Reactor::set_grace`].
    pub fn grace(mut self, grace: Grace) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how many bytes all connections together may hold: what is queued to be sent, and what has been read and not
    /// been used yet. Without limit unless set.
    ///
    /// When they hold more than that after the system has taken what it takes, the connection that holds the most is reset,
    /// and then the next one, until the others are within the budget. Their reason is [`ReactorError::OverBudget`](super::ReactorError::OverBudget), and
    /// what they had queued is reported. This is looked at once in a turn, so what is written during one turn may come on top.
    ///
    /// It is a last line of defence against many peers that do not read; the limits of each connection
    /// ([`Limits`](crate::transport::Limits), [`ListenOptions::send_timeout`](crate::net::ListenOptions::send_timeout)) come
    /// first.
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

    /// Chooses the system's call that the reactor waits with. A reactor in memory has none, and ignores this.
    ///
    /// Without it the environment variable `TORSADE_POLLER` decides, by a [name](Poller::name);
    /// where that is not set or empty, the reactor uses the first of [`Poller::available`], and
    /// [`Poller::Poll`] where the system (a sandbox, say) refuses that one.
    ///
    /// [`build`](Self::build) fails with a
    /// [`ReactorError::PollerUnavailable`](super::ReactorError::PollerUnavailable) when a poller was chosen, here or by the
    /// environment, that this system does not have or refuses.
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

    /// Makes a reactor on this machine's sockets whose time moves only by [`Reactor::advance`].
    pub fn with_manual_time(mut self) -> Self {
        self.time = Time::Manual;
        self
    }

    /// Makes an in-memory reactor: see [`Reactor::in_memory`].
    #[cfg(any(doc, feature = "testing"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
    pub fn in_memory(mut self) -> Self {
        self.time = Time::Virtual;
        self
    }

    /// Makes an in-memory reactor whose network is slow, breaks connections and loses datagrams, as `faults` says.
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
    /// As [`Reactor::new`].
    pub fn build(self) -> io::Result<Reactor> {
        let driver = match self.time {
            #[cfg(any(doc, feature = "testing"))]
            Time::Virtual => Driver::memory(self.faults)?,
            _ => driver_with(self.poller)?,
        };
        let is_debugged = debug::IS_BUILT && self.debug.unwrap_or_else(debug::is_default);
        let usual = (is_debugged && self.time == Time::Passing).then_some(LIMIT);
        let limit = self.watchdog.unwrap_or(usual);
        let tell = self
            .on_blocked
            .unwrap_or_else(|| Rc::new(|blocked| debug::print(&blocked)));
        let debug = Debug {
            watchdog: limit.map(|limit| Watchdog::new(limit, tell)),
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

    /// Makes the reactor and runs `main` on it, as [`torsade::run`](crate::run()) does: that is this
    /// with a builder that was given no wishes.
    ///
    /// # Errors
    ///
    /// As [`torsade::run`](crate::run()).
    ///
    /// # Panics
    ///
    /// When `main` panics, after the shutdown triggers.
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
        let (result, lost) = reactor.run_to_the_end(main)?;
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

/// How long something may keep the loop before it is named.
const LIMIT: Duration = Duration::from_millis(100);
