//! Access to the reports of a test's reactor: [`take_reports`], [`expect_panics`].

use std::cell::RefCell;
use std::rc::Rc;

use crate::reactor::{OnPanic, Reactor};
use crate::report::Report;

/// Returns the panics and unhandled failures that were reported since the last call, and removes
/// them from the list of reports that fail the test.
///
/// The list is kept in [`run`](super::run) and [`run_on`](super::run_on); for any other reactor it
/// is empty. Hooks added with [`Reactor::on_report`] are called as well.
///
/// # Examples
///
/// ```
/// use torsade::{Deferred, Failure, testing};
///
/// testing::run(async |reactor| {
///     drop(Deferred::<()>::fail(Failure::new("unhandled")));
///     let reports = testing::take_reports(&reactor);
///     assert_eq!(reports[0].failure().to_string(), "unhandled");
///     Ok(())
/// });
/// ```
pub fn take_reports(reactor: &Reactor) -> Vec<Report> {
    reactor
        .inner()
        .extension::<Collected>()
        .map(|collected| collected.take())
        .unwrap_or_default()
}

/// Lets the test continue after a panic in a callback, task, timer or hook: from now on panics are
/// reported, and [`take_reports`] returns them. Reports that are not taken fail the test at its
/// end.
///
/// Without this call a panic ends the test at once. An unhandled failure never ends the test at
/// once, so a test that expects a failure and no panic needs [`take_reports`] alone.
///
/// # Examples
///
/// ```
/// use torsade::testing;
///
/// testing::run(async |reactor| {
///     testing::expect_panics(&reactor);
///     reactor.call_soon(|| panic!("broken"));
///     torsade::yield_now().await;
///     let reports = testing::take_reports(&reactor);
///     assert!(reports[0].is_panic());
///     assert_eq!(reports[0].failure().to_string(), "panicked: broken");
///     Ok(())
/// });
/// ```
pub fn expect_panics(reactor: &Reactor) {
    reactor.set_on_panic(OnPanic::Report);
}

/// Collects the reactor's reports for [`take_reports`].
pub(super) fn collect(reactor: &Reactor) -> Rc<Collected> {
    let collected = Rc::new(Collected::default());
    let old = reactor.inner().insert_extension(collected.clone());
    drop(old);
    let log = collected.clone();
    reactor.on_report(move |report| log.0.borrow_mut().push(report.clone()));
    collected
}

/// The reports that the test has not taken yet.
#[derive(Default)]
pub(super) struct Collected(RefCell<Vec<Report>>);

impl Collected {
    pub(super) fn take(&self) -> Vec<Report> {
        self.0.take()
    }
}
