//! A future that runs as a Deferred, and how a cancel reaches the `await` at which it waits.
//!
//! # The idea
//!
//! Cancelling such a Deferred does not drop the future: the Deferred that the future awaits is
//! cancelled instead. The future sees the outcome at its `await`, and may clean up, continue, or
//! succeed. So a coroutine records which Deferreds it waits for. A Deferred that is polled finds
//! the current coroutine through a thread local.
//!
//! # Invariants
//!
//! 1. The records are weak references, and are cleaned when there are many: a coroutine that awaits
//!    a million Deferreds one after another keeps a handful of records.
//! 2. A coroutine that waits for no Deferred is dropped when it is cancelled.
//! 3. Each stop request reaches one `await`. A request that comes while the coroutine runs, or
//!    after the Deferred it waits for has woken it, is kept for the next `await`.
//! 4. A panic of the future becomes the Deferred's failure; a future dropped before its end fails
//!    the Deferred with `Cancelled`.
//! 5. A stop request that comes back to the coroutine it came from, which therefore waits for
//!    itself, ends the coroutine.
//! 6. Of several Deferreds that it awaits, the first one polled is cancelled first.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::core::{self, Awaited, Canceller, Core, GrantHold};
use super::{Deferred, Resolver};
use crate::cells;
use crate::context;
use crate::debug::DumpItem;
use crate::failure::{Cancelled, Failure};
use crate::index::Index;
use crate::report;
use crate::task::{Executor, Task};

/// The state of a future that runs as a Deferred.
#[derive(Default)]
pub(super) struct Coroutine {
    /// The Deferreds it waits for, and some that it has waited for (invariant 1).
    records: RefCell<Vec<Weak<Core>>>,
    /// The [tick](now) of the last poll.
    polled_at: Cell<u64>,
    is_running: Cell<bool>,
    /// A stop request was made and not delivered (invariant 3).
    has_request: Cell<bool>,
    /// The round in which the awaited Deferreds are being cancelled, otherwise 0 (invariant 5).
    round: Cell<u64>,
    task: Cell<Option<Task<()>>>,
    /// The coroutine inside which this one was last polled, and which waits for the same Deferreds.
    around: RefCell<Weak<Self>>,
}

/// The effect of a stop request on a coroutine.
pub(super) enum StopResult {
    /// The coroutine was dropped.
    Dropped,
    /// The coroutine decides itself, after these cores were cancelled in this order. Empty if the
    /// coroutine is about to run.
    Requested {
        awaited: Vec<Rc<Core>>,
        /// The value for [`Coroutine::end_request`] after that.
        before: u64,
    },
}

impl Coroutine {
    /// Runs `future` on this thread's reactor.
    pub(super) fn start<T: 'static>(
        future: impl Future<Output = Result<T, Failure>> + 'static,
        location: &'static Location<'static>,
    ) -> Deferred<T> {
        let Some(executor) = Executor::current() else {
            return Deferred::settled(Err(super::DeferredError::NoReactor.into()), location);
        };
        let (deferred, resolver) = Deferred::pair_at(location);
        let coroutine = Rc::new(Self::default());
        deferred.set_canceller(Canceller::Coroutine(coroutine.clone()));
        let driven = Driven {
            future,
            coroutine: coroutine.clone(),
            resolver: Some(resolver),
            location,
        };
        coroutine.task.set(Some(executor.spawn(driven, location)));
        deferred
    }

    /// Requests a stop, in a [round](new_round) of cancelling.
    pub(super) fn request_stop(&self, round: u64) -> StopResult {
        self.clean_records();
        let records = self.records.borrow();
        let cores = records.iter().filter_map(Weak::upgrade);
        let (awaited, woken): (Vec<_>, Vec<_>) =
            cores.partition(|core| core.awaited() == Awaited::Yes);
        drop(records);
        if self.is_running.get() || (awaited.is_empty() && !woken.is_empty()) {
            self.has_request.set(true);
            return StopResult::Requested {
                awaited: Vec::new(),
                before: self.round.get(),
            };
        }
        if awaited.is_empty() || self.round.get() == round {
            self.end();
            return StopResult::Dropped;
        }
        let before = self.round.replace(round);
        StopResult::Requested { awaited, before }
    }

    /// Records that everything it awaits was cancelled, and that the effects are done.
    pub(super) fn end_request(&self, before: u64) {
        self.round.set(before);
    }

    /// Returns the task that runs it, if that is known.
    pub(super) fn dump_item(&self) -> Option<DumpItem> {
        cells::with(&self.task, |task| task.as_ref().and_then(Task::dump_item))
    }

    /// Ends its task, if it has one.
    pub(super) fn end(&self) {
        if let Some(task) = self.task.take() {
            drop(task.cancel());
        }
    }

    /// Calls `poll` as a poll of this coroutine.
    fn run<R>(self: &Rc<Self>, poll: impl FnOnce() -> R) -> R {
        let tick = now() + 1;
        context::with(|thread| thread.tick.set(tick));
        self.polled_at.set(tick);
        self.is_running.set(true);
        let outer = context::with(|thread| thread.coroutine.replace(Some(self.clone())));
        let around = outer.as_ref().map(Rc::downgrade).unwrap_or_default();
        let old = self.around.replace(around);
        drop(old);
        let _running = Running {
            coroutine: self,
            outer,
        };
        poll()
    }

    /// Returns whether a coroutine is being polled on this thread.
    #[inline]
    pub(super) fn is_polled_here() -> bool {
        context::with(|thread| thread.coroutine.is_set())
    }

    /// Records that the coroutine being polled, if there is one, waits for `core`.
    pub(super) fn note(core: &Rc<Core>) {
        let mut next: Option<Rc<Self>> = context::with(|thread| thread.coroutine.get());
        while let Some(coroutine) = next {
            let records = coroutine.records.borrow();
            let is_full = records.len() == records.capacity();
            drop(records);
            if is_full {
                coroutine.clean_records();
            }
            coroutine.records.borrow_mut().push(Rc::downgrade(core));
            next = coroutine.around.borrow().upgrade();
        }
    }

    /// Removes records that are out of date or duplicate.
    fn clean_records(&self) {
        let polled_at = self.polled_at.get();
        let mut records = self.records.borrow_mut();
        records.retain(|core| {
            let awaited = core.upgrade().map_or(Awaited::No, |core| core.awaited());
            match awaited {
                Awaited::No => false,
                Awaited::Yes => true,
                // The coroutine has polled the other Deferreds since, without waiting for them.
                Awaited::Woken(tick) => tick >= polled_at,
            }
        });
        // Each core once, at its first position: an order by address would differ from run to run.
        let mut seen = Index::default();
        records.retain(|core| seen.add(core.as_ptr().addr() as u128));
    }
}

/// Restores on drop what [`Coroutine::run`] has set.
struct Running<'a> {
    coroutine: &'a Rc<Coroutine>,
    outer: Option<Rc<Coroutine>>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let outer = self.outer.take();
        let left = context::with(|thread| thread.coroutine.replace(outer));
        drop(left);
        self.coroutine.is_running.set(false);
    }
}

/// Makes a future that another module polls stoppable in the way a coroutine is.
#[derive(Clone, Default)]
pub(crate) struct StopHandle(Rc<Coroutine>);

impl StopHandle {
    /// Calls `poll`, which polls the future that was made at `location`.
    pub(crate) fn poll<R>(
        &self,
        location: &'static Location<'static>,
        poll: impl FnOnce() -> Poll<R>,
    ) -> Poll<R> {
        let polled = self.0.run(poll);
        if polled.is_pending() && self.0.has_request.take() {
            self.ask(location);
        }
        polled
    }

    /// Cancels the Deferreds that the future awaits; before the future's first poll and from inside
    /// a poll, the Deferreds that it awaits after that.
    pub(crate) fn ask(&self, location: &'static Location<'static>) {
        if self.0.polled_at.get() == 0 {
            self.0.has_request.set(true);
            return;
        }
        if let StopResult::Requested { awaited, before } = self.0.request_stop(new_round()) {
            let _hold = GrantHold::new();
            for core in awaited {
                core::cancel(&core, location);
            }
            self.0.end_request(before);
        }
    }
}

/// Returns the tick of this thread's coroutines: a number that grows with each poll of one.
pub(super) fn now() -> u64 {
    context::with(|thread| thread.tick.get())
}

/// Returns a number, never 0, for everything that one call to cancel leads to.
pub(super) fn new_round() -> u64 {
    let next = |last: &Cell<u64>| {
        last.set(last.get() + 1);
        last.get()
    };
    context::with(|thread| next(&thread.round))
}

pin_project! {
    /// The future, and the resolver of the Deferred that it fires.
    struct Driven<T: 'static, F> {
        #[pin]
        future: F,
        coroutine: Rc<Coroutine>,
        // `None` once it was used.
        resolver: Option<Resolver<T>>,
        location: &'static Location<'static>,
    }

    impl<T: 'static, F> PinnedDrop for Driven<T, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(resolver) = this.resolver.take() {
                // The code that dropped the task has cancelled its result.
                let cancelled = Failure::at(Cancelled, this.location);
                // The reactor has ended; an unhandled cancel need not be reported then.
                cancelled.note_reported();
                resolver.resolve_at(Err(cancelled), this.location);
            }
        }
    }
}

impl<T: 'static, F: Future<Output = Result<T, Failure>>> Future for Driven<T, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (future, coroutine) = (this.future, &*this.coroutine);
        let polled = report::catch(this.location, || coroutine.run(|| future.poll(cx)));
        let result = match polled {
            Ok(Poll::Pending) => {
                if coroutine.has_request.take() {
                    if let Some(resolver) = this.resolver {
                        resolver.cancel();
                    }
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(result)) => result,
            Err(failure) => Err(failure),
        };
        if let Some(resolver) = this.resolver.take() {
            resolver.resolve_at(result, this.location);
        }
        Poll::Ready(())
    }
}
