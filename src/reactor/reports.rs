//! The reports of a reactor: its hooks are called with them, and its panic policy is applied.

use std::rc::Rc;

use super::{Inner, OnPanic, Reactor, State, Stopped};
use crate::clock::ClockStopped;
use crate::report::{self, Origin, Report};

/// A function that is called with panics and unhandled failures.
pub(super) type Hook = Rc<dyn Fn(&Report)>;

/// # Reports
impl Reactor {
    /// Calls `hook` with every panic and unhandled failure. Without a hook, the reactor writes them
    /// to `tracing` or standard error (see [`report`]).
    ///
    /// Each call adds a hook; all hooks are called, in the order in which they were added, until
    /// the reactor ends. When a hook panics, the report and the panic are written as without a
    /// hook. A test that expects reports needs no hook: see
    /// [`testing::take_reports`](crate::testing::take_reports).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{cell::RefCell, rc::Rc};
    /// # use torsade::{Deferred, Failure};
    /// # fn main() -> Result<(), Failure> {
    /// let reports = Rc::new(RefCell::new(Vec::new()));
    /// let log = reports.clone();
    /// torsade::run(async |reactor| {
    ///     reactor.on_report(move |report| log.borrow_mut().push(report.failure().to_string()));
    ///     drop(Deferred::<()>::fail(Failure::new("an unhandled error")));
    ///     Ok(())
    /// })?;
    /// assert_eq!(*reports.borrow(), ["an unhandled error"]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("flushLoggedErrors", "log.err", "logError"))]
    pub fn on_report(&self, hook: impl Fn(&Report) + 'static) {
        self.0.hooks.borrow_mut().push(Rc::new(hook));
    }

    /// Returns the function that receives reports while this reactor runs.
    pub(super) fn sink(&self) -> report::Sink {
        let weak = self.downgrade();
        Rc::new(move |mut report| {
            let Some(reactor) = weak.upgrade() else {
                return report::by_default(&report);
            };
            report.set_connection(|| reactor.0.current_peer());
            if reactor.0.is_redundant(&report) {
                return;
            }
            let hooks = reactor.0.hooks.borrow().clone();
            if hooks.is_empty() {
                report::by_default(&report);
            }
            // Nothing unwinds out of a report, not even out of a hook.
            for hook in hooks {
                if let Err(panic) = report::catch_rarely(report.location(), || hook(&report)) {
                    report::by_default(&report);
                    let location = report.location();
                    report::hook_panicked(&panic, location);
                }
            }
            if !report.is_panic() || report.origin() == Origin::Caught {
                return;
            }
            match reactor.0.policy.get() {
                OnPanic::Report => {}
                OnPanic::Stop => {
                    let _ = reactor.stop();
                }
                OnPanic::Abort => std::process::abort(),
                OnPanic::Unwind => {
                    if !reactor.0.is_unwinding() {
                        reactor.0.unwinding.set(Some(report.failure().clone()));
                    }
                }
            }
        })
    }
}

impl Inner {
    /// Returns whether the report only says that a Deferred was still awaited when the reactor
    /// ended, and ended with it.
    fn is_redundant(&self, report: &Report) -> bool {
        let failure = report.failure();
        matches!(self.state.get(), State::Stopping | State::Ended)
            && matches!(report.origin(), Origin::Deferred | Origin::Task)
            && (failure.find::<Stopped>().is_some() || failure.find::<ClockStopped>().is_some())
    }
}
