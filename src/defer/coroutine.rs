//! A future that became a Deferred: how it runs, and how a cancel reaches the place where it waits.
//!
//! # The idea
//!
//! Cancelling such a Deferred must not simply drop the future: the Deferred that the future awaits is cancelled
//! instead, the future sees the outcome at its `await`, and may clean up, go on, even succeed. So a coroutine
//! notes which Deferreds it is waiting for. A Deferred that is polled finds the coroutine it is polled in
//! through a thread local.
//!
//! # Invariants
//!
//! 1. What is noted is held weakly, and looked through when there is much of it: a coroutine that awaits a
//!    million Deferreds one after another remembers a handful.
//! 2. A coroutine that waits for no Deferred is dropped when it is cancelled.
//! 3. Each request to stop reaches one `await`. One that comes while the coroutine runs, or after the Deferred
//!    it waits for has woken it, is kept for the next.
//! 4. The future's panic becomes the Deferred's failure; that it was dropped unfinished becomes `Cancelled`.
//! 5. A request to stop that comes back to the coroutine it came from, which so waits for itself, ends it.
//! 6. Of several Deferreds that it awaits, the first that was polled is asked first.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::core::{self, Awaited, Canceller, Core};
use super::{Deferred, Resolver};
use crate::cells;
use crate::context;
use crate::debug::Thing;
use crate::failure::{Cancelled, Failure};
use crate::report;
use crate::task::{Executor, Task};

/// What is known of a future that runs as a Deferred.
#[derive(Default)]
pub(super) struct Coroutine {
    /// What it waits for, and some of what it has waited for (invariant 1).
    noted: RefCell<Vec<Weak<Core>>>,
    /// The [tick](now) of its last poll.
    polled_at: Cell<u64>,
    is_running: Cell<bool>,
    /// It was asked to stop and has not been told (invariant 3).
    is_asked: Cell<bool>,
    /// The round in which what it awaits is being asked to stop, else 0 (invariant 5).
    round: Cell<u64>,
    task: Cell<Option<Task<()>>>,
    /// The one inside which it was last polled: what it waits for, that one waits for as well.
    around: RefCell<Weak<Self>>,
}

/// What comes of asking a coroutine to stop.
pub(super) enum Verdict {
    /// It was dropped.
    Stopped,
    /// It decides itself, when these have been cancelled, in this order. There are none if it is about to run.
    Decides {
        awaited: Vec<Rc<Core>>,
        /// For [`Coroutine::was_asked`], when they have been.
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

    /// Asks it to stop, in a [round](new_round) of cancelling.
    pub(super) fn ask_to_stop(&self, round: u64) -> Verdict {
        self.look_through();
        let noted = self.noted.borrow();
        let cores = noted.iter().filter_map(Weak::upgrade);
        let (awaited, woken): (Vec<_>, Vec<_>) =
            cores.partition(|core| core.awaited() == Awaited::Yes);
        drop(noted);
        if self.is_running.get() || (awaited.is_empty() && !woken.is_empty()) {
            self.is_asked.set(true);
            return Verdict::Decides {
                awaited: Vec::new(),
                before: self.round.get(),
            };
        }
        if awaited.is_empty() || self.round.get() == round {
            self.end();
            return Verdict::Stopped;
        }
        let before = self.round.replace(round);
        Verdict::Decides { awaited, before }
    }

    /// All that it awaits has been asked to stop, and all that came of it has been done.
    pub(super) fn was_asked(&self, before: u64) {
        self.round.set(before);
    }

    /// The task it runs in, if that is known.
    pub(super) fn thing(&self) -> Option<Thing> {
        cells::with(&self.task, |task| task.as_ref().and_then(Task::thing))
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

    /// Is a coroutine being polled on this thread?
    #[inline]
    pub(super) fn is_polled_here() -> bool {
        context::with(|thread| thread.coroutine.is_set())
    }

    /// Notes that the coroutine being polled, if one is, waits for `core`.
    pub(super) fn note(core: &Rc<Core>) {
        let mut next: Option<Rc<Self>> = context::with(|thread| thread.coroutine.get());
        while let Some(coroutine) = next {
            let noted = coroutine.noted.borrow();
            let is_full = noted.len() == noted.capacity();
            drop(noted);
            if is_full {
                coroutine.look_through();
            }
            coroutine.noted.borrow_mut().push(Rc::downgrade(core));
            next = coroutine.around.borrow().upgrade();
        }
    }

    /// Keeps of what is noted only what matters, and that once.
    fn look_through(&self) {
        let polled_at = self.polled_at.get();
        let mut noted = self.noted.borrow_mut();
        noted.retain(|core| {
            let awaited = core.upgrade().map_or(Awaited::No, |core| core.awaited());
            match awaited {
                Awaited::No => false,
                Awaited::Yes => true,
                // It has seen the others, and left them alone.
                Awaited::Woken(tick) => tick >= polled_at,
            }
        });
        // Each once, where it came first: an order by address would differ from run to run.
        let mut order: Vec<_> = noted
            .iter()
            .map(|core| core.as_ptr().addr())
            .zip(0..)
            .collect();
        order.sort_unstable();
        order.dedup_by_key(|(address, _)| *address);
        if order.len() < noted.len() {
            order.sort_unstable_by_key(|(_, index)| *index);
            let mut kept = order.into_iter().map(|(_, index)| index).peekable();
            let mut index = 0..;
            noted.retain(|_| {
                kept.next_if_eq(&index.next().unwrap_or(usize::MAX))
                    .is_some()
            });
        }
    }
}

/// What [`Coroutine::run`] sets back.
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

/// Lets a future that is polled elsewhere be asked to stop, in the way a coroutine is.
#[derive(Clone, Default)]
pub(crate) struct Asking(Rc<Coroutine>);

impl Asking {
    /// Calls `poll`, which polls the future. That was made at `place`.
    pub(crate) fn poll<R>(
        &self,
        location: &'static Location<'static>,
        poll: impl FnOnce() -> Poll<R>,
    ) -> Poll<R> {
        let polled = self.0.run(poll);
        if polled.is_pending() && self.0.is_asked.take() {
            self.ask(location);
        }
        polled
    }

    /// Cancels the Deferreds that the future awaits; before its first poll and from inside one, those that it awaits
    /// after it.
    pub(crate) fn ask(&self, location: &'static Location<'static>) {
        if self.0.polled_at.get() == 0 {
            self.0.is_asked.set(true);
            return;
        }
        if let Verdict::Decides { awaited, before } = self.0.ask_to_stop(new_round()) {
            for core in awaited {
                core::cancel(&core, location);
            }
            self.0.was_asked(before);
        }
    }
}

/// The tick of this thread's coroutines: a number that grows whenever one of them is polled.
pub(super) fn now() -> u64 {
    context::with(|thread| thread.tick.get())
}

/// A number for all that one call to cancel leads to. None is 0.
pub(super) fn new_round() -> u64 {
    let next = |last: &Cell<u64>| {
        last.set(last.get() + 1);
        last.get()
    };
    context::with(|thread| next(&thread.round))
}

pin_project! {
    /// The future, and the end of the Deferred that it will resolve.
    struct Driven<T: 'static, F> {
        #[pin]
        future: F,
        coroutine: Rc<Coroutine>,
        // Empty once it was used.
        resolver: Option<Resolver<T>>,
        location: &'static Location<'static>,
    }

    impl<T: 'static, F> PinnedDrop for Driven<T, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(resolver) = this.resolver.take() {
                // Whoever dropped the task has cancelled what it was to bring.
                let cancelled = Failure::at(Cancelled, this.location);
                // That was the reactor at its end: it is no news that nobody handles this.
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
                if coroutine.is_asked.take() {
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
