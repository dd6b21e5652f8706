//! Work that leaves the loop's thread, and comes back: `call_in_thread`, `defer_to_thread`.
//!
//! Each piece of work has a source in the reactor's table while somebody may wait for it, so it is seen by dumps and by
//! tests, and is told when the reactor ends. What it came to travels through the inbox.
//!
//! # Invariants
//!
//! 1. A result meets its Deferred on the loop's thread, in a turn. One that nobody waits for any more is dropped there.
//!    Only when the loop is gone is it dropped by the thread that made it.
//! 2. Calling queued work off drops its closure on the loop's thread. Work that has begun goes on, and is told by its token.
//! 3. In memory, time stands still while work is awaited: what happens does not depend on how long it takes. It goes on when
//!    all of that work waits for this very loop; and when work has really taken longer than five seconds and than a
//!    deadline was away, as on the machine: so a limit for work that never ends is one.
//! 4. The end of a reactor waits for its pool no longer than its patience; what still runs then is reported. Before it waits
//!    the inbox is closed, so work that waits for the loop is told at once.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::handler::arrived_at;
use super::{Inner, Reactor, Stopped, Tracked, WeakReactor};
use crate::defer::{Deferred, Resolver};
use crate::driver::Event;
use crate::failure::{Cancelled, Failure, errors};
use crate::report::{self, Origin};
use crate::sync::Shared;
use crate::task::{AwaitedWork, Inbox, Phase};
use crate::threads::{CancelToken, NeverBegun, ObservedPool, Place, ThreadPool, Ticket};

/// A reactor's own pool, and what it is to be like.
pub(super) struct Threads {
    pool: RefCell<Option<ThreadPool>>,
    max: Cell<usize>,
    patience: Cell<Duration>,
    /// How many pieces of work are awaited.
    awaited: Cell<usize>,
    /// In memory: work that was given and may not have ended, and the pools that do it.
    given: RefCell<Vec<(Shared<AwaitedWork>, ObservedPool)>>,
    /// In memory: how long time has stood still for it, in real time, since any came or ended.
    stood: Cell<Duration>,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            pool: RefCell::default(),
            max: Cell::new(USUAL_MAX),
            patience: Cell::new(PATIENCE),
            awaited: Cell::new(0),
            given: RefCell::default(),
            stood: Cell::new(Duration::ZERO),
        }
    }
}

impl Reactor {
    /// Does work on another thread, and gives what comes of it: for everything that blocks, or takes long.
    ///
    /// A panic in `f` is a failure like any other. Cancelling the Deferred takes work that has not begun out of the
    /// queue; work that has begun goes on, and its result is dropped on this thread ([`Reactor::defer_to_thread_with`]
    /// lets it know).
    ///
    /// In memory time stands still meanwhile, unless the work itself waits for this reactor
    /// ([`Remote::blocking_call`](super::Remote::blocking_call), [`RemoteTask::join`](super::RemoteTask::join)). Work that has
    /// really taken longer than five seconds no longer keeps a deadline from coming that is nearer than that: so a limit ends
    /// the waiting for work that never ends. Task-locals that are declared [`shared`](crate::task::TaskLocal::shared) go
    /// along.
    ///
    /// # Errors
    ///
    /// What `f` returns; its panic; [`Stopped`] when the reactor ends first; `PoolRefused` when the system gives
    /// no thread.
    ///
    /// # Examples
    ///
    /// ```
    /// torsade::testing::run(async |reactor| {
    ///     let sum = reactor.defer_to_thread(|| Ok((0..100_000_u64).sum::<u64>())).await?;
    ///     assert_eq!(sum, 4_999_950_000);
    ///
    ///     let failure = reactor.defer_to_thread::<u32>(|| Ok("x".parse()?)).await.unwrap_err();
    ///     failure.trap::<std::num::ParseIntError>()?;
    ///     Ok(())
    /// });
    /// ```
    ///
    /// What is not `Send` stays here:
    ///
    /// ```compile_fail,E0277
    /// # let reactor = torsade::Reactor::new().unwrap();
    /// let mine = std::rc::Rc::new(1);
    /// let _ = reactor.defer_to_thread(move || Ok(*mine));
    /// ```
    #[doc(alias("deferToThread", "run_in_executor", "to_thread"))]
    #[track_caller]
    pub fn defer_to_thread<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Deferred<T> {
        self.defer_to_thread_pool(&self.thread_pool(), f)
    }

    /// As [`Reactor::defer_to_thread`], for work that cannot fail: gives what `f` returns, whatever that is.
    ///
    /// # Examples
    ///
    /// ```
    /// torsade::testing::run(async |reactor| {
    ///     assert_eq!(reactor.spawn_blocking(|| 6 * 7).await?, 42);
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("deferToThread", "to_thread"))]
    #[track_caller]
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Deferred<T> {
        self.defer_to_thread(move || Ok(f()))
    }

    /// As [`Reactor::defer_to_thread`], for work that looks now and then whether anybody still waits for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::Clock;
    /// use torsade::clock::TimedOut;
    ///
    /// torsade::run(async |reactor| {
    ///     let counting = reactor.defer_to_thread_with(|token| {
    ///         let mut count = 0_u64;
    ///         while count < u64::MAX {
    ///             token.check()?;
    ///             count += 1;
    ///         }
    ///         Ok(count)
    ///     });
    ///     let failure = counting.timeout(Duration::from_millis(1), &reactor).await.unwrap_err();
    ///     failure.trap::<TimedOut>()?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), torsade::Failure>(())
    /// ```
    #[doc(alias("deferToThread", "CancellationToken"))]
    #[track_caller]
    pub fn defer_to_thread_with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&CancelToken) -> Result<T, Failure> + Send + 'static,
    ) -> Deferred<T> {
        self.defer_to_thread_pool_with(&self.thread_pool(), f)
    }

    /// As [`Reactor::defer_to_thread`], in a pool of one's own.
    ///
    /// # Errors
    ///
    /// Also `PoolRefused` when the pool is closed or its queue is full, and
    /// [`NeverBegun`] when it was stopped before the work was begun.
    #[doc(alias = "deferToThreadPool")]
    #[track_caller]
    pub fn defer_to_thread_pool<T: Send + 'static>(
        &self,
        pool: &ThreadPool,
        f: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Deferred<T> {
        self.defer_to_thread_pool_with(pool, move |_| f())
    }

    /// As [`Reactor::defer_to_thread_with`], in a pool of one's own.
    #[doc(alias = "deferToThreadPool")]
    #[track_caller]
    pub fn defer_to_thread_pool_with<T: Send + 'static>(
        &self,
        pool: &ThreadPool,
        f: impl FnOnce(&CancelToken) -> Result<T, Failure> + Send + 'static,
    ) -> Deferred<T> {
        self.give_to_thread(pool, true, f)
    }

    /// The same; `is_heard` says whether anybody has a use for the answer.
    #[track_caller]
    fn give_to_thread<T: Send + 'static>(
        &self,
        pool: &ThreadPool,
        is_heard: bool,
        f: impl FnOnce(&CancelToken) -> Result<T, Failure> + Send + 'static,
    ) -> Deferred<T> {
        let place = Location::caller();
        let (deferred, resolver) = Deferred::pair();
        let awaited = match Awaited::new(self, pool, resolver, is_heard, place) {
            Ok(awaited) => awaited,
            Err(failure) => {
                report::discard(f, place);
                return Deferred::fail(failure);
            }
        };
        let token = awaited.token.clone();
        let landing = awaited.landing(self);
        let ends = Ends(awaited.work.clone());
        let work = move || {
            let call = || report::catch_rarely(place, || f(&token)).and_then(|result| result);
            let result = AwaitedWork::run(&ends.0, call);
            let is_panic = result.as_ref().is_err_and(Failure::is_panic);
            landing.land(result);
            drop(ends);
            !is_panic
        };
        match pool.submit(place, Box::new(work)) {
            Ok(ticket) => drop(awaited.ticket.replace(Some(ticket))),
            Err((refused, work)) => {
                if let Some(resolver) = awaited.leave(self) {
                    resolver.forsake();
                }
                report::discard(work, place);
                return Deferred::fail(Failure::at(refused, place));
            }
        }
        let (weak, reactor) = (Rc::downgrade(&awaited), self.downgrade());
        deferred.on_cancel(move || {
            if let (Some(awaited), Some(reactor)) = (weak.upgrade(), reactor.upgrade()) {
                awaited.give_up(&reactor);
            }
        })
    }

    /// Does work on another thread; nobody waits for it. A panic in it is reported here.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
    /// let done = Arc::new(AtomicBool::new(false));
    /// let note = done.clone();
    /// torsade::testing::run(async move |reactor| {
    ///     reactor.call_in_thread(move || note.store(true, Ordering::SeqCst));
    ///     Ok(())
    /// });
    /// assert!(done.load(Ordering::SeqCst));
    /// ```
    #[doc(alias("callInThread", "spawn_blocking"))]
    #[track_caller]
    pub fn call_in_thread(&self, f: impl FnOnce() + Send + 'static) {
        let place = Location::caller();
        let called = self.give_to_thread(&self.thread_pool(), false, move |_| {
            f();
            Ok(())
        });
        drop(called.add_errback(move |failure| {
            // That the reactor ends is no news, and what is left then is told by whoever stops the pool.
            if !failure.is::<Stopped>() && !failure.is::<NeverBegun>() {
                report::deliver(Origin::Thread, failure, place);
            }
        }));
    }

    /// As [`Reactor::call_in_thread`]; then, on the same thread, calls `on_result` with what came of it.
    ///
    /// To have the result on this thread, use [`Reactor::defer_to_thread`].
    #[doc(alias = "callInThreadWithCallback")]
    #[track_caller]
    pub fn call_in_thread_with_callback<T: 'static>(
        &self,
        on_result: impl FnOnce(Result<T, Failure>) + Send + 'static,
        f: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) {
        let place = Location::caller();
        self.call_in_thread(move || {
            on_result(report::catch_rarely(place, f).and_then(|result| result));
        });
    }

    /// Makes several calls one after the other on one other thread. A panic in one is reported, and the rest is dropped.
    #[doc(alias = "callMultipleInThread")]
    #[track_caller]
    pub fn call_multiple_in_thread(
        &self,
        calls: impl IntoIterator<Item = Box<dyn FnOnce() + Send>>,
    ) {
        let calls: Vec<_> = calls.into_iter().collect();
        self.call_in_thread(move || {
            for call in calls {
                call();
            }
        });
    }

    /// The reactor's own pool. It is made when it is first asked for, and stopped with the reactor.
    #[doc(alias = "getThreadPool")]
    pub fn thread_pool(&self) -> ThreadPool {
        let threads = &self.inner().threads;
        let mut pool = threads.pool.borrow_mut();
        let make = || ThreadPool::builder().max(threads.max.get()).build();
        pool.get_or_insert_with(make).clone()
    }

    /// How many threads the reactor's own pool may have: ten unless told.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[doc(alias("suggestThreadPoolSize", "max_blocking_threads"))]
    #[track_caller]
    pub fn suggest_thread_pool_size(&self, max: usize) {
        assert!(max > 0, "a pool of no threads does no work");
        let threads = &self.inner().threads;
        threads.max.set(max);
        let pool = threads.pool.borrow().clone();
        if let Some(pool) = pool {
            pool.adjust(0, max);
        }
    }

    /// How long the end of the reactor waits for work in its own pool: half a second unless told.
    ///
    /// It waits after the shutdown triggers, when the loop is gone: work that asks something of it is refused. What was
    /// given is done meanwhile; what then still runs is reported and left to itself, what was not begun is reported and
    /// dropped. Who is to have the result of work waits for it *before* shutdown
    /// ([`Reactor::add_system_event_trigger`]).
    #[doc(alias = "shutdown_timeout")]
    pub fn set_thread_patience(&self, patience: Duration) {
        self.inner().threads.patience.set(patience);
    }
}

impl Inner {
    /// Is there work on another thread that somebody waits for?
    pub(crate) fn awaits_threads(&self) -> bool {
        self.threads.awaited.get() > 0
    }

    /// Does work that is awaited go on by itself? Not when all of it waits for this loop, or for threads that do.
    pub(super) fn awaited_work_goes_on(&self) -> bool {
        if !self.awaits_threads() {
            return false;
        }
        let mut given = self.threads.given.borrow_mut();
        given.retain(|(work, _)| work.phase() != Phase::Ended);
        // How much work of each pool waits. There are few pools, and there may be much work.
        let mut waiting: Vec<(&ObservedPool, usize)> = Vec::new();
        for (work, pool) in given.iter() {
            if work.phase() != Phase::Waiting {
                continue;
            }
            match waiting.iter_mut().find(|(other, _)| other.is_same(pool)) {
                Some((_, count)) => *count += 1,
                None => waiting.push((pool, 1)),
            }
        }
        let has_free_thread = |pool: &ObservedPool| {
            let entry = waiting.iter().find(|(other, _)| other.is_same(pool));
            entry.map_or(0, |(_, count)| *count) < pool.threads()
        };
        given.iter().any(|(work, pool)| match work.phase() {
            _ if work.is_given_up() => false,
            Phase::Running => true,
            Phase::Queued => has_free_thread(pool),
            Phase::Waiting | Phase::Ended => false,
        })
    }

    /// How long time has to stand still for work of other threads, in real time, before it may go on to a deadline that
    /// is so far away.
    pub(super) fn standing_left(&self, deadline: Duration) -> Duration {
        deadline
            .max(STANDS_FOR)
            .saturating_sub(self.threads.stood.get())
    }

    /// Time has stood still so long for work of other threads.
    pub(super) fn note_stood(&self, time: Duration) {
        let stood = &self.threads.stood;
        stood.set(stood.get().saturating_add(time));
    }

    /// Time goes on, or there is other work to stand still for.
    pub(super) fn stands_anew(&self) {
        self.threads.stood.set(Duration::ZERO);
    }

    /// Waits for work of other threads, while time stands still; but see invariant 3.
    pub(super) fn stand_still(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let deadline = self.timers.next_deadline();
        let Some(deadline) = deadline.filter(|_| self.manual.is_none()) else {
            return self.driver.wait(None, events);
        };
        let left = self.standing_left(deadline.saturating_duration_since(self.clock_now()));
        if let Some(stood) = self.driver.wait_outside(left, events)? {
            self.note_stood(stood);
            if stood >= left {
                self.stands_anew();
                self.driver.set_now(deadline);
            }
        }
        Ok(())
    }

    /// Stops the reactor's own pool, and tells what it leaves behind.
    pub(super) fn stop_threads(&self) {
        let pool = self.threads.pool.take();
        let Some(pool) = pool else { return };
        let left = pool.stop_unanswered(self.threads.patience.get());
        for place in left.running {
            let failure = Failure::at(StillRunning, place);
            report::deliver(Origin::Thread, failure, place);
        }
        // One report for all the work that was given at one place.
        let mut told = HashSet::new();
        for place in left.dropped.into_iter().filter(|place| told.insert(*place)) {
            let failure = Failure::at(NeverBegun, place);
            report::deliver(Origin::Thread, failure, place);
        }
    }
}

/// When the reactor ended this work was still running on its thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StillRunning;

errors! {
    StillRunning: "the work still ran on its thread when the reactor ended";
}

/// Work that is awaited.
struct Awaited<T: Send + 'static> {
    key: Cell<usize>,
    place: Place,
    pool: ThreadPool,
    /// Its place in the pool's queue, if the pool took it.
    ticket: RefCell<Option<Ticket>>,
    token: CancelToken,
    work: Shared<AwaitedWork>,
    /// Empty when it is over.
    resolver: Cell<Option<Resolver<T>>>,
    /// Has anybody a use for the answer?
    is_heard: bool,
    reactor: WeakReactor,
}

impl<T: Send + 'static> Awaited<T> {
    fn new(
        reactor: &Reactor,
        pool: &ThreadPool,
        resolver: Resolver<T>,
        is_heard: bool,
        place: Place,
    ) -> Result<Rc<Self>, Failure> {
        let inner = reactor.inner();
        let work = AwaitedWork::new(inner.executor().inbox().clone());
        if inner.driver().is_virtual() {
            let mut given = inner.threads.given.borrow_mut();
            if given.len() == given.capacity() {
                given.retain(|(work, _)| work.phase() != Phase::Ended);
            }
            given.push((work.clone(), pool.observe()));
        }
        inner.stands_anew();
        let awaited = Rc::new(Self {
            work,
            key: Cell::new(0),
            place,
            pool: pool.clone(),
            ticket: RefCell::default(),
            token: CancelToken::new(),
            resolver: Cell::new(Some(resolver)),
            is_heard,
            reactor: reactor.downgrade(),
        });
        inner.threads.awaited.set(inner.threads.awaited.get() + 1);
        let source = awaited.clone();
        match inner.track(source) {
            Ok(key) => awaited.key.set(key),
            Err(error) => {
                let resolver = awaited.resolver.take();
                if let Some(resolver) = resolver {
                    resolver.forsake();
                }
                return Err(Failure::at(error, place));
            }
        }
        Ok(awaited)
    }

    /// The way back for the result.
    fn landing(&self, reactor: &Reactor) -> Landing<T> {
        Landing {
            inbox: reactor.inner().executor().inbox().clone(),
            key: self.key.get(),
            place: self.place,
            is_sent: false,
            result: PhantomData,
        }
    }

    /// The result has come.
    fn land(&self, reactor: &Reactor, result: Result<T, Failure>) {
        match self.leave(reactor) {
            Some(resolver) => resolver.resolve(result),
            None => report::discard(result, self.place),
        }
    }

    /// Nobody waits any more.
    fn give_up(&self, reactor: &Reactor) {
        self.token.cancel();
        let Some(resolver) = self.leave(reactor) else {
            return;
        };
        let ticket = self.ticket.take();
        let job = ticket.and_then(|ticket| self.pool.take_back(&ticket));
        if let Some(job) = job {
            job.call_off();
        }
        resolver.errback(Failure::at(Cancelled, self.place));
    }

    /// Leaves the reactor's table. Whoever gets the resolver is the one who ends it.
    fn leave(&self, reactor: &Reactor) -> Option<Resolver<T>> {
        let resolver = self.resolver.take()?;
        reactor.inner().untrack(self.key.get());
        Some(resolver)
    }
}

impl<T: Send + 'static> Tracked for Awaited<T> {
    fn as_any(self: Rc<Self>) -> Option<Rc<dyn Any>> {
        Some(self)
    }

    fn lose(self: Rc<Self>, _reactor: Option<&Reactor>, reason: &Failure) {
        self.token.cancel();
        let resolver = self.resolver.take();
        match resolver {
            // That the reactor ends is no news to a Deferred that was dropped long ago.
            Some(resolver) if resolver.is_unheard() => resolver.forsake(),
            Some(resolver) => {
                if let (true, Some(ticket)) = (self.is_heard, &*self.ticket.borrow()) {
                    ticket.note_answered();
                }
                resolver.errback(reason.clone());
            }
            None => {}
        }
    }

    fn kind(&self) -> &'static str {
        "work in a thread"
    }

    fn about(&self) -> String {
        let ticket = self.ticket.borrow();
        let is_queued = ticket.as_ref().is_some_and(Ticket::is_queued);
        String::from(match self.work.phase() {
            _ if is_queued => "waits for a thread",
            Phase::Waiting => "waits for this loop",
            _ => "runs",
        })
    }

    fn place(&self) -> Place {
        self.place
    }
}

impl<T: Send + 'static> Drop for Awaited<T> {
    fn drop(&mut self) {
        if let Some(reactor) = self.reactor.upgrade() {
            let awaited = &reactor.inner().threads.awaited;
            awaited.set(awaited.get() - 1);
            reactor.inner().stands_anew();
        }
        self.work.give_up();
    }
}

/// Ends work, once its result is on the way, or when it is dropped.
struct Ends(Shared<AwaitedWork>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Carries a result to the loop; when it is dropped without one, that the work was never begun.
struct Landing<T: Send + 'static> {
    inbox: Shared<Inbox>,
    key: usize,
    place: Place,
    is_sent: bool,
    result: PhantomData<fn(T)>,
}

impl<T: Send + 'static> Landing<T> {
    fn land(mut self, result: Result<T, Failure>) {
        self.send(result);
    }

    fn send(&mut self, result: Result<T, Failure>) {
        self.is_sent = true;
        let (key, place) = (self.key, self.place);
        let call = move || match arrived_at::<Awaited<T>>(key) {
            Some((reactor, awaited)) => awaited.land(&reactor, result),
            // Nobody waits: it is dropped here (invariant 1).
            None => report::discard(result, place),
        };
        if let Err(call) = self.inbox.push_call(Box::new(call), place) {
            report::discard(call, place);
        }
    }
}

impl<T: Send + 'static> Drop for Landing<T> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.send(Err(Failure::at(NeverBegun, self.place)));
        }
    }
}

/// As many threads as Twisted's reactor has.
const USUAL_MAX: usize = 10;

/// For so long, in real time, work of other threads may take without time going on in memory, whatever is due.
const STANDS_FOR: Duration = Duration::from_secs(5);

/// How long the end of a reactor waits for its threads.
const PATIENCE: Duration = Duration::from_millis(500);
