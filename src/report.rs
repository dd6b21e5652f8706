//! Reports of panics in user code, and of failures that no code has handled.
//!
//! # The idea
//!
//! A failure must not vanish. A [`Report`] is made when user code that a reactor calls panics, when
//! a Deferred or a task with a failure is dropped and nothing has received the failure, and when
//! bytes that were written could not be sent. [`Failure::report`] reports a failure that the
//! program has caught.
//!
//! Reports go to the hooks that were added with [`Reactor::on_report`](crate::Reactor::on_report).
//! Without a hook, or outside a reactor, they go to `tracing` (target `torsade::report`, level
//! `ERROR`) and, if `tracing` has no subscriber for them, to standard error.
//! [`OnPanic`](crate::OnPanic) says what a panic does besides.
//!
//! # Invariants
//!
//! 1. Nothing is borrowed while a hook runs; a hook may itself cause reports.
//! 2. Making a report never unwinds, even if the hook or a destructor panics.
//! 3. Outside a reactor (in a plain test, for instance), an unhandled panic of a callback is not
//!    reported: the panic continues in the call that fired, cancelled, paused or dropped the
//!    Deferred.
//! 4. One cause is reported once: clones of a failure, and failures that were made from it, count
//!    as one.

mod follow;
mod unwind;

use std::any::Any;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use self::follow::follow;
pub(crate) use self::unwind::{enter, leave, rethrow};
use crate::address::Address;
use crate::context;
use crate::debug::{self, Measured};
use crate::failure::Failure;
use crate::spans;

/// The record of a panic or of a failure that was not handled.
///
/// [`Reactor::on_report`](crate::Reactor::on_report) adds a hook that receives reports. `Display`
/// writes the origin, the line, the peer and the failure.
#[derive(Clone, Debug)]
pub struct Report {
    origin: Origin,
    failure: Failure,
    location: &'static Location<'static>,
    /// The text that the program passed to [`Failure::report`].
    doing: Option<Arc<str>>,
    connection: Option<Address>,
}

impl Report {
    /// Returns the kind of code that panicked or failed.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns the failure; a panic is a failure too.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Returns the line that made the Deferred or task, or added the timer or hook.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Returns the text that [`Failure::report`] got; `None` for other reports.
    pub fn doing(&self) -> Option<&str> {
        self.doing.as_deref()
    }

    /// Returns the peer of the connection whose protocol or handler panicked or failed; `None` for
    /// other code, and when the connection had ended before.
    pub fn connection(&self) -> Option<&Address> {
        self.connection.as_ref()
    }

    /// Returns whether the failure is a panic.
    pub fn is_panic(&self) -> bool {
        self.failure.is_panic()
    }

    /// Sets the peer of the connection, unless it is set.
    pub(crate) fn set_connection(&mut self, peer: impl FnOnce() -> Option<Address>) {
        if self.connection.is_none() {
            self.connection = peer();
        }
    }
}

impl Failure {
    /// Reports a failure that the program has caught, so that it is logged and the program can
    /// continue. [`report`](crate::report) says where reports go.
    ///
    /// `doing` completes the sentence "a failure ...": "while reading the settings". A report from
    /// inside a protocol's hook or a `serve` handler includes the connection's peer. The failure
    /// may be a caught panic; the reactor's policy for panics ([`OnPanic`](crate::OnPanic)) does
    /// not apply to it.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::{Failure, fail, testing};
    ///
    /// fn settings() -> Result<String, Failure> {
    ///     Err(fail!("no such file"))
    /// }
    ///
    /// testing::run(async |reactor| {
    ///     let settings = settings().unwrap_or_else(|failure| {
    ///         failure.report("while reading the settings");
    ///         String::new()
    ///     });
    ///     assert_eq!(settings, "");
    ///     let reports = testing::take_reports(&reactor);
    ///     assert_eq!(reports[0].doing(), Some("while reading the settings"));
    ///     assert!(reports[0].to_string().starts_with("a failure while reading the settings, "));
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("log.err", "logError", "twisted.logger.failure"))]
    #[track_caller]
    pub fn report(self, doing: impl fmt::Display) {
        // Its clones are not reported again.
        self.note_reported();
        send(Report {
            origin: Origin::Caught,
            failure: self,
            location: Location::caller(),
            doing: Some(doing.to_string().into()),
            connection: None,
        });
    }
}

/// The kind of code that panicked, or whose failure was not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A Deferred that was dropped while its result was a failure.
    Deferred,
    /// A task that is not awaited, such as a handler of [`Reactor::serve`](crate::Reactor::serve).
    Task,
    /// A call made with [`Clock::call_later`](crate::Clock::call_later).
    DelayedCall,
    /// Another call: of [`Reactor::call_soon`](crate::Reactor::call_soon), from another thread, of
    /// a looping call or of a service.
    Call,
    /// A hook of a protocol, a factory or a producer, or a closure posted to a protocol.
    Protocol,
    /// A connection that ended before all bytes written to it were sent, or a
    /// [policy](crate::transport::Policy) of a connection.
    Connection,
    /// A hook of a descriptor that the reactor watches.
    Descriptor,
    /// A [trigger](crate::Reactor::add_system_event_trigger) of a system event.
    Trigger,
    /// Work on a thread of a pool.
    Thread,
    /// The function that [`Deferred::on_cancel`](crate::Deferred::on_cancel) sets.
    Canceller,
    /// The destructor of a value that the program gave to the crate.
    Destructor,
    /// None: the program caught the failure and called [`Failure::report`].
    Caught,
}

/// The receiver of a thread's reports while a reactor runs on it.
pub(crate) type Sink = Rc<dyn Fn(Report)>;

/// Sets this thread's sink until the guard is dropped.
pub(crate) fn redirect(sink: Sink) -> SinkGuard {
    begin(Some(sink))
}

/// Lets panics unwind to the caller until the guard is dropped, even while a reactor runs. Failures
/// still go to its sink.
pub(crate) fn unwind_to_caller() -> SinkGuard {
    begin(None)
}

fn begin(sink: Option<Sink>) -> SinkGuard {
    let frame = Frame {
        sink,
        before: innermost(),
    };
    drop(context::with(|thread| {
        thread.sink.replace(Some(Rc::new(frame)))
    }));
    SinkGuard(())
}

/// A sink, or the setting that panics unwind to the caller; and the frame around it.
struct Frame {
    sink: Option<Sink>,
    before: Option<Rc<Self>>,
}

/// The guard of [`redirect`] and [`unwind_to_caller`].
#[must_use]
pub(crate) struct SinkGuard(());

impl Drop for SinkGuard {
    fn drop(&mut self) {
        let before = innermost().and_then(|frame| frame.before.clone());
        let ended = context::with(|thread| thread.sink.replace(before));
        drop(ended);
    }
}

/// Reports an unhandled failure, unless it was reported before: clones count as one failure.
pub(crate) fn deliver(origin: Origin, failure: Failure, location: &'static Location<'static>) {
    let is_kept = || {
        let may_unwind = matches!(origin, Origin::Deferred | Origin::Canceller) && !is_contained();
        may_unwind && unwind::keep(&failure)
    };
    if !failure.note_reported() || is_kept() {
        let _ = catch_rarely(location, || drop(failure));
        return;
    }
    send(Report {
        origin,
        failure,
        location,
        doing: None,
        connection: None,
    });
}

/// Passes a report to the sink, or to the default.
fn send(report: Report) {
    let location = report.location;
    // In the span in which the failure was made, unless this code is in another one.
    let span = report.failure.span().filter(|_| spans::current().is_none());
    let result = catch_rarely(location, || {
        spans::within(span.cloned(), || match innermost_sink() {
            Some(sink) => sink(report.clone()),
            None => by_default(&report),
        });
    });
    if let Err(failure) = result {
        // The sink is not called again: the first report and the sink's own panic go to the
        // default.
        let _ = catch_rarely(location, || by_default(&report));
        let report = Report { failure, ..report };
        let _ = catch_rarely(location, || by_default(&report));
        let _ = catch_rarely(location, || drop(report));
        return;
    }
    let _ = catch_rarely(location, || drop(report));
}

/// Handles a report without a sink.
pub(crate) fn by_default(report: &Report) {
    if tracing::enabled!(target: "torsade::report", tracing::Level::ERROR) {
        tracing::error!(target: "torsade::report", location = %report.location, "{report}");
    } else {
        // Not `eprintln!`, which panics when standard error is closed.
        let _ = writeln!(std::io::stderr(), "torsade: {report}");
    }
}

/// Returns whether a subscriber takes the warnings of `torsade::net`.
pub(crate) fn is_logged() -> bool {
    tracing::enabled!(target: "torsade::net", tracing::Level::WARN)
}

/// The part of the crate that a warning comes from, which is its target in `tracing`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subsystem {
    /// `torsade::net`.
    Net,
    /// `torsade::reactor`.
    Reactor,
}

/// Logs a warning; to standard error if `tracing` has no subscriber.
pub(crate) fn warn(from: Subsystem, what: fmt::Arguments<'_>) {
    match from {
        Subsystem::Net if is_logged() => tracing::warn!(target: "torsade::net", "{what}"),
        Subsystem::Reactor if is_reactor_logged() => {
            tracing::warn!(target: "torsade::reactor", "{what}");
        }
        Subsystem::Net | Subsystem::Reactor => {
            let _ = writeln!(std::io::stderr(), "torsade: {what}");
        }
    }
}

/// Logs that a hook for reports has panicked.
pub(crate) fn hook_panicked(panic: &Failure, location: &'static Location<'static>) {
    if tracing::enabled!(target: "torsade::report", tracing::Level::ERROR) {
        tracing::error!(target: "torsade::report", %panic, "the hook for reports panicked");
    } else {
        let _ = catch_rarely(location, || {
            writeln!(
                std::io::stderr(),
                "torsade: the hook for reports panicked: {panic}"
            )
        });
    }
}

/// Logs that a loop could not wait for its events.
pub(crate) fn waiting_failed(error: &std::io::Error) {
    if tracing::enabled!(target: "torsade::reactor", tracing::Level::ERROR) {
        tracing::error!(target: "torsade::reactor", %error, "waiting for events failed");
    } else {
        static WARNED: WarnOnce = WarnOnce::new();
        WARNED.write(format_args!(
            "waiting for events failed: {error} (reported once)"
        ));
    }
}

/// A warning that is written to standard error once at most, if `tracing` has no subscriber: its
/// cause may recur without end.
#[derive(Debug, Default)]
pub(crate) struct WarnOnce(AtomicBool);

impl WarnOnce {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Writes the warning, unless it was written before.
    pub(crate) fn write(&self, what: fmt::Arguments<'_>) {
        if !self.0.swap(true, Ordering::Relaxed) {
            let _ = writeln!(std::io::stderr(), "torsade: {what}");
        }
    }
}

fn is_reactor_logged() -> bool {
    tracing::enabled!(target: "torsade::reactor", tracing::Level::WARN)
}

/// Runs user code; a panic in it is reported and returns `None`.
pub(crate) fn contain<R>(
    origin: Origin,
    location: &'static Location<'static>,
    run: impl FnOnce() -> R,
) -> Option<R> {
    match catch(location, run) {
        Ok(value) => Some(value),
        Err(failure) => {
            deliver(origin, failure, location);
            None
        }
    }
}

/// Runs user code like [`contain`], for code that does not run often: see [`catch_rarely`].
pub(crate) fn contain_rarely<R>(
    origin: Origin,
    location: &'static Location<'static>,
    run: impl FnOnce() -> R,
) -> Option<R> {
    let (mut run, mut value) = (Some(run), None);
    contain_dyn(origin, location, &mut || {
        value = run.take().map(|run| run())
    });
    value
}

#[inline(never)]
fn contain_dyn(origin: Origin, location: &'static Location<'static>, run: &mut dyn FnMut()) {
    contain(origin, location, run);
}

/// Runs user code, measured if a watchdog watches; a panic in it becomes a failure made at
/// `location`.
///
/// All user code on a reactor's thread runs inside this function. Without a watchdog it costs one
/// load and two branches; a debug build, which is compiled more often than it runs, shares one copy
/// of it.
#[inline(always)]
pub(crate) fn catch<R>(
    location: &'static Location<'static>,
    run: impl FnOnce() -> R,
) -> Result<R, Failure> {
    match cfg!(debug_assertions) {
        true => catch_rarely(location, run),
        false => catch_here(location, run),
    }
}

#[inline(always)]
fn catch_here<R>(
    location: &'static Location<'static>,
    run: impl FnOnce() -> R,
) -> Result<R, Failure> {
    if !debug::IS_BUILT {
        return catch_unmeasured(|| location, run);
    }
    let measured = debug::measure(location);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => {
            if let Some(measured) = measured {
                measured.end();
            }
            Ok(value)
        }
        Err(payload) => Err(panicked(payload, measured, location)),
    }
}

/// Catches panics like [`catch`], without a watchdog. Only a panic reads the location.
#[inline(always)]
pub(crate) fn catch_unmeasured<R>(
    location: impl FnOnce() -> &'static Location<'static>,
    run: impl FnOnce() -> R,
) -> Result<R, Failure> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Ok(value),
        Err(payload) => Err(panicked(payload, None, location())),
    }
}

#[cold]
#[inline(never)]
fn panicked(
    payload: Box<dyn Any + Send>,
    measured: Option<Box<Measured>>,
    location: &'static Location<'static>,
) -> Failure {
    if let Some(measured) = measured {
        measured.end();
    }
    Failure::from_panic(payload, location)
}

/// Catches panics like [`catch`], for code that does not run often, with one copy of the landing
/// pad for all of it.
pub(crate) fn catch_rarely<R>(
    location: &'static Location<'static>,
    run: impl FnOnce() -> R,
) -> Result<R, Failure> {
    let (mut run, mut value) = (Some(run), None);
    catch_dyn(location, &mut || {
        if let Some(run) = run.take() {
            value = Some(run());
        }
    })?;
    match value {
        Some(value) => Ok(value),
        // It has not panicked, so there is a value.
        None => Err(Failure::from_panic(Box::new(()), location)),
    }
}

#[inline(never)]
fn catch_dyn(location: &'static Location<'static>, run: &mut dyn FnMut()) -> Result<(), Failure> {
    catch_here(location, run)
}

/// Drops a user's value; a panic in its destructor is reported.
pub(crate) fn discard<T>(value: T, location: &'static Location<'static>) {
    if std::mem::needs_drop::<T>() {
        let mut value = Some(value);
        contain_dyn(Origin::Destructor, location, &mut || value = None);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = match &self.connection {
            Some(peer) => format!(", connection with {peer}"),
            None => String::new(),
        };
        let (location, failure) = (self.location, &self.failure);
        if let Some(doing) = &self.doing {
            return write!(
                f,
                "a failure {doing}, reported at {location}{connection}: {failure:?}"
            );
        }
        let what = if self.is_panic() {
            "a panic"
        } else {
            "an unhandled failure"
        };
        let origin = match self.origin {
            Origin::Deferred => "a Deferred made",
            Origin::Task => "a task spawned",
            Origin::DelayedCall => "a delayed call made",
            Origin::Call => "a call made",
            Origin::Protocol => "a protocol registered",
            Origin::Connection => "a connection opened",
            Origin::Descriptor => "a descriptor registered",
            Origin::Trigger => "a system event trigger added",
            Origin::Thread => "work for a thread submitted",
            Origin::Canceller => "the canceller of a Deferred made",
            Origin::Destructor => "the destructor of a value passed",
            Origin::Caught => "a failure reported",
        };
        write!(
            f,
            "{what} in {origin} at {location}{connection}: {failure:?}"
        )
    }
}

fn innermost_sink() -> Option<Sink> {
    let mut next = innermost();
    while let Some(frame) = next {
        if let Some(sink) = &frame.sink {
            return Some(sink.clone());
        }
        next = frame.before.clone();
    }
    None
}

fn innermost() -> Option<Rc<Frame>> {
    context::with(|thread| thread.sink.get())
}

/// Returns whether there is a sink that handles panics.
fn is_contained() -> bool {
    innermost().is_some_and(|frame| frame.sink.is_some())
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_sink_gets_what_is_delivered_and_may_deliver_itself() {
        let got = Rc::new(RefCell::new(Vec::new()));
        let log = got.clone();
        let _guard = redirect(Rc::new(move |report: Report| {
            let text = report.failure().to_string();
            if text == "one" {
                deliver(Origin::Call, Failure::new("two"), report.location());
            }
            log.borrow_mut().push(text);
        }));
        deliver(Origin::Task, Failure::new("one"), Location::caller());
        assert_eq!(*got.borrow(), ["two", "one"]);
    }

    #[test]
    fn a_panic_is_contained_and_told_with_its_place() {
        let got = Rc::new(RefCell::new(Vec::new()));
        let log = got.clone();
        let _guard = redirect(Rc::new(move |report| log.borrow_mut().push(report)));
        let here = Location::caller();
        assert!(
            contain(Origin::Call, here, || std::panic::resume_unwind(Box::new(
                "oh"
            )))
            .is_none()
        );
        let reports = got.borrow();
        assert!(reports[0].is_panic());
        assert_eq!(reports[0].location(), here);
        assert!(
            reports[0]
                .to_string()
                .starts_with("a panic in a call made at ")
        );
    }

    #[test]
    fn a_sink_that_panics_does_no_harm() {
        let _guard = redirect(Rc::new(|_| std::panic::resume_unwind(Box::new("sink"))));
        deliver(Origin::Task, Failure::new("one"), Location::caller());
    }

    #[test]
    fn an_error_whose_destructor_panics_does_no_harm() {
        #[derive(Debug)]
        struct Bomb;
        impl fmt::Display for Bomb {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bomb")
            }
        }
        impl std::error::Error for Bomb {}
        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("boom"));
            }
        }
        let _guard = redirect(Rc::new(drop));
        deliver(Origin::Task, Failure::new(Bomb), Location::caller());
    }
}
