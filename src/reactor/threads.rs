//! Work on other threads whose result returns to the loop: `spawn_blocking`.
//!
//! Each piece of work has an entry in the reactor's table while a Deferred waits for it, so dumps
//! and tests see it, and it is notified when the reactor ends. The result is sent through the
//! inbox.
//!
//! # Invariants
//!
//! 1. A result fires its Deferred on the loop's thread, in a turn. A result that no Deferred waits
//!    for is dropped there; only when the loop is gone does the thread that made it drop it.
//! 2. Cancelling queued work drops its closure on the loop's thread. Work that has begun continues,
//!    and its token is cancelled.
//! 3. In memory, time stands still while work is awaited, so the run does not depend on how long
//!    the work takes. Time advances when all of that work waits for this very loop; and when work
//!    has taken, in real time, longer than five seconds and than the time to the next deadline, so
//!    that a limit ends the waiting for work that never ends.
//! 4. The end of a reactor waits for its pool no longer than `Grace::threads`; work that still runs
//!    then is reported. The inbox is closed before that, so work that waits for the loop fails at
//!    once.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

#[cfg(doc)]
use super::Stopped;
use super::handler::arrived_at;
use super::{Inner, Reactor, ReactorError, Tracked, WeakReactor};
use crate::defer::{Deferred, Resolver};
use crate::driver::Event;
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};
use crate::sync::Shared;
use crate::task::{AwaitedWork, Inbox, Phase, RemoteCall};
use crate::threads::{Caller, CancelToken, ObservedPool, PoolError, ThreadPool, Ticket};

/// A reactor's own pool, and its settings.
#[derive(Default)]
pub(super) struct Threads {
    pool: RefCell<Option<ThreadPool>>,
    /// The number of pieces of work that are awaited.
    awaited: Cell<usize>,
    /// In memory: submitted work that may not have ended, and its pools.
    submitted: RefCell<Vec<(Shared<AwaitedWork>, ObservedPool)>>,
    /// In memory: how long time has stood still, in real time, since work was last submitted or
    /// ended.
    paused: Cell<Duration>,
}

/// # Threads
impl Reactor {
    /// Runs `f` on a thread of the reactor's own pool, and returns a Deferred with its result: for
    /// calls that block or take long.
    ///
    /// A panic in `f` becomes a [`Failure`]. Cancelling the Deferred removes `f` from the queue
    /// when no thread has begun it. If a thread has begun `f`, it continues: the Deferred's
    /// [`CancelToken`] is cancelled, which `f` can check with [`CancelToken::current`] to return
    /// early, and the result is dropped on the reactor's thread.
    /// [`ThreadPool::spawn_blocking`] uses another pool. Task-locals that are
    /// [`shared`](crate::task::TaskLocal::shared) are set in `f`.
    ///
    /// On an in-memory reactor virtual time stands still while the work runs, unless the work
    /// itself waits for this reactor ([`Remote::blocking_call`](super::Remote::blocking_call),
    /// [`RemoteTask::join`](super::RemoteTask::join)). After five seconds of real time (or as long
    /// as the virtual time to the next deadline, if that is longer) the clock moves to that
    /// deadline, so that a time limit ends the wait for work that never ends.
    ///
    /// # Errors
    ///
    /// Fails with what `f` returns; with its panic; with [`Stopped`] when the reactor ends first;
    /// and with [`PoolError::NoThread`] when the system refuses a thread.
    ///
    /// # Examples
    ///
    /// ```
    /// torsade::testing::run(async |reactor| {
    ///     let sum = reactor.spawn_blocking(|| Ok((0..100_000_u64).sum::<u64>())).await?;
    ///     assert_eq!(sum, 4_999_950_000);
    ///
    ///     let failure = reactor.spawn_blocking::<u32>(|| Ok("x".parse()?)).await.unwrap_err();
    ///     failure.trap::<std::num::ParseIntError>()?;
    ///     Ok(())
    /// });
    /// ```
    ///
    /// A closure that captures a value which is not `Send` does not compile:
    ///
    /// ```compile_fail,E0277
    /// # let reactor = torsade::Reactor::new().unwrap();
    /// let mine = std::rc::Rc::new(1);
    /// let _ = reactor.spawn_blocking(move || Ok(*mine));
    /// ```
    #[doc(alias(
        "deferToThread",
        "defer_to_thread",
        "callInThread",
        "call_in_thread",
        "callInThreadWithCallback",
        "run_in_executor",
        "to_thread"
    ))]
    #[doc(alias = "tokio::fs")]
    #[track_caller]
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Deferred<T> {
        self.thread_pool().spawn_blocking(self, f)
    }

    /// Returns the reactor's own thread pool. It has at most ten threads; [`ThreadPool::adjust`]
    /// changes that.
    ///
    /// The first call makes the pool. The end of the reactor stops it: see
    /// [`Grace::threads`](super::Grace::threads).
    #[doc(alias("getThreadPool", "suggestThreadPoolSize", "max_blocking_threads"))]
    pub fn thread_pool(&self) -> ThreadPool {
        let mut pool = self.inner().threads.pool.borrow_mut();
        let make = || ThreadPool::builder().max(USUAL_MAX).build();
        pool.get_or_insert_with(make).clone()
    }
}

impl ThreadPool {
    /// Runs `f` on a thread of this pool and returns its result to `reactor`: see
    /// [`Reactor::spawn_blocking`].
    ///
    /// # Errors
    ///
    /// Fails as [`Reactor::spawn_blocking`] does; with [`PoolError::Closed`] when the pool has been
    /// stopped; with [`PoolError::Full`] when its queue is full; and with [`PoolError::NotStarted`]
    /// when the pool was stopped before a thread began `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::threads::ThreadPool;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let pool = ThreadPool::new(0, 1);
    ///     assert_eq!(pool.spawn_blocking(&reactor, || Ok(6 * 7)).await?, 42);
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("deferToThreadPool", "defer_to_thread_pool"))]
    #[track_caller]
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        reactor: &Reactor,
        f: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Deferred<T> {
        let location = Location::caller();
        let (deferred, resolver) = Deferred::pair();
        let awaited = match Awaited::new(reactor, self, resolver, location) {
            Ok(awaited) => awaited,
            Err(failure) => {
                report::discard(f, location);
                return Deferred::fail(failure);
            }
        };
        let token = awaited.token.clone();
        let result_sender = awaited.result_sender(reactor);
        let ends = EndMark(awaited.work.clone());
        let work = move || {
            let call = || report::catch_rarely(location, || token.run(f)).and_then(|result| result);
            let result = AwaitedWork::run(&ends.0, call);
            let is_panic = result.as_ref().is_err_and(Failure::is_panic);
            result_sender.complete(result);
            drop(ends);
            !is_panic
        };
        match self.submit(location, Box::new(work)) {
            Ok(ticket) => drop(awaited.ticket.replace(Some(ticket))),
            Err((refused, work)) => {
                if let Some(resolver) = awaited.leave(reactor) {
                    resolver.drop_silently();
                }
                report::discard(work, location);
                return Deferred::fail(Failure::at(refused, location));
            }
        }
        let (weak, reactor) = (Rc::downgrade(&awaited), reactor.downgrade());
        deferred.on_cancel(move || {
            if let (Some(awaited), Some(reactor)) = (weak.upgrade(), reactor.upgrade()) {
                awaited.give_up(&reactor);
            }
        })
    }
}

impl Inner {
    /// Returns whether a Deferred waits for work on another thread.
    pub(crate) fn awaits_threads(&self) -> bool {
        self.threads.awaited.get() > 0
    }

    /// Returns whether awaited work continues by itself: not when all of it waits for this loop, or
    /// for threads that do.
    pub(super) fn awaited_work_continues(&self) -> bool {
        if !self.awaits_threads() {
            return false;
        }
        let mut submitted = self.threads.submitted.borrow_mut();
        submitted.retain(|(work, _)| work.phase() != Phase::Ended);
        // Counts the waiting work of each pool. There are few pools, and there may be much work.
        let mut waiting: Vec<(&ObservedPool, usize)> = Vec::new();
        for (work, pool) in submitted.iter() {
            if work.phase() != Phase::Waiting {
                continue;
            }
            match waiting.iter_mut().find(|(other, _)| other.ptr_eq(pool)) {
                Some((_, count)) => *count += 1,
                None => waiting.push((pool, 1)),
            }
        }
        let has_free_thread = |pool: &ObservedPool| {
            let entry = waiting.iter().find(|(other, _)| other.ptr_eq(pool));
            entry.map_or(0, |(_, count)| *count) < pool.threads()
        };
        submitted.iter().any(|(work, pool)| match work.phase() {
            _ if work.is_given_up() => false,
            Phase::Running => true,
            Phase::Queued => has_free_thread(pool),
            Phase::Waiting | Phase::Ended => false,
        })
    }

    /// Returns how long time still has to stand still, in real time, before it may advance to a
    /// deadline at this distance.
    pub(super) fn pause_left(&self, deadline: Duration) -> Duration {
        deadline
            .max(MAX_PAUSE)
            .saturating_sub(self.threads.paused.get())
    }

    /// Records that time has stood still this long for work of other threads.
    pub(super) fn note_pause(&self, time: Duration) {
        let paused = &self.threads.paused;
        paused.set(paused.get().saturating_add(time));
    }

    /// Restarts the count, because time has advanced or there is other work to stand still for.
    pub(super) fn restart_pause(&self) {
        self.threads.paused.set(Duration::ZERO);
    }

    /// Waits for work of other threads, while time stands still; but see invariant 3.
    pub(super) fn wait_for_threads(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let deadline = self.timers.next_deadline();
        let Some(deadline) = deadline.filter(|_| self.manual.is_none()) else {
            return self.driver.wait(None, events);
        };
        let left = self.pause_left(deadline.saturating_duration_since(self.clock_now()));
        if let Some(paused) = self.driver.wait_outside(left, events)? {
            self.note_pause(paused);
            if paused >= left {
                self.restart_pause();
                self.driver.set_now(deadline);
            }
        }
        Ok(())
    }

    /// Stops the reactor's own pool, and reports the work that it leaves behind.
    pub(super) fn stop_threads(&self) {
        let pool = self.threads.pool.take();
        let Some(pool) = pool else { return };
        let left = pool.stop_unanswered(self.grace().threads);
        for location in left.running {
            let failure = Failure::at(ReactorError::StillRunning, location);
            report::deliver(Origin::Thread, failure, location);
        }
        // One report for all the work that was submitted by one line.
        let mut reported: Vec<Caller> = Vec::new();
        for location in left.dropped {
            if reported.contains(&location) {
                continue;
            }
            reported.push(location);
            let failure = Failure::at(PoolError::NotStarted, location);
            report::deliver(Origin::Thread, failure, location);
        }
    }
}

/// Work that is awaited.
struct Awaited<T: Send + 'static> {
    key: Cell<usize>,
    location: Caller,
    pool: ThreadPool,
    /// The ticket in the pool's queue, if the pool accepted the work.
    ticket: RefCell<Option<Ticket>>,
    token: CancelToken,
    work: Shared<AwaitedWork>,
    /// `None` after the end.
    resolver: Cell<Option<Resolver<T>>>,
    reactor: WeakReactor,
}

impl<T: Send + 'static> Awaited<T> {
    fn new(
        reactor: &Reactor,
        pool: &ThreadPool,
        resolver: Resolver<T>,
        location: Caller,
    ) -> Result<Rc<Self>, Failure> {
        let inner = reactor.inner();
        let work = AwaitedWork::new(inner.executor().inbox().clone());
        if inner.driver().is_virtual() {
            let mut submitted = inner.threads.submitted.borrow_mut();
            if submitted.len() == submitted.capacity() {
                submitted.retain(|(work, _)| work.phase() != Phase::Ended);
            }
            submitted.push((work.clone(), pool.observe()));
        }
        inner.restart_pause();
        let awaited = Rc::new(Self {
            work,
            key: Cell::new(0),
            location,
            pool: pool.clone(),
            ticket: RefCell::default(),
            token: CancelToken::new(),
            resolver: Cell::new(Some(resolver)),
            reactor: reactor.downgrade(),
        });
        inner.threads.awaited.set(inner.threads.awaited.get() + 1);
        let source = awaited.clone();
        match inner.track(source) {
            Ok(key) => awaited.key.set(key),
            Err(error) => {
                let resolver = awaited.resolver.take();
                if let Some(resolver) = resolver {
                    resolver.drop_silently();
                }
                return Err(Failure::at(error, location));
            }
        }
        Ok(awaited)
    }

    /// Returns the sender of the result.
    fn result_sender(&self, reactor: &Reactor) -> ResultSender<T> {
        ResultSender {
            inbox: reactor.inner().executor().inbox().clone(),
            key: self.key.get(),
            location: self.location,
            is_sent: false,
            result: PhantomData,
        }
    }

    /// Handles the result, which has arrived.
    fn complete(&self, reactor: &Reactor, result: Result<T, Failure>) {
        match self.leave(reactor) {
            Some(resolver) => resolver.resolve(result),
            None => report::discard(result, self.location),
        }
    }

    /// Gives the work up, because no Deferred waits any more.
    fn give_up(&self, reactor: &Reactor) {
        self.token.cancel();
        let Some(resolver) = self.leave(reactor) else {
            return;
        };
        let ticket = self.ticket.take();
        let job = ticket.and_then(|ticket| self.pool.take_back(&ticket));
        if let Some(job) = job {
            job.cancel();
        }
        resolver.errback(Failure::at(Cancelled, self.location));
    }

    /// Leaves the reactor's table; the caller that gets the resolver has to fire it.
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
            // A Deferred that was dropped long ago does not need the end of the reactor.
            Some(resolver) if resolver.has_no_consumer() => resolver.drop_silently(),
            Some(resolver) => {
                if let Some(ticket) = &*self.ticket.borrow() {
                    ticket.set_answered();
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

    fn location(&self) -> Caller {
        self.location
    }
}

impl<T: Send + 'static> Drop for Awaited<T> {
    fn drop(&mut self) {
        if let Some(reactor) = self.reactor.upgrade() {
            let awaited = &reactor.inner().threads.awaited;
            awaited.set(awaited.get() - 1);
            reactor.inner().restart_pause();
        }
        self.work.give_up();
    }
}

/// Marks work as ended, once its result was sent, or when it is dropped.
struct EndMark(Shared<AwaitedWork>);

impl Drop for EndMark {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Sends a result to the loop; dropped without one, it reports that the work never began.
struct ResultSender<T: Send + 'static> {
    inbox: Shared<Inbox>,
    key: usize,
    location: Caller,
    is_sent: bool,
    result: PhantomData<fn(T)>,
}

impl<T: Send + 'static> ResultSender<T> {
    fn complete(mut self, result: Result<T, Failure>) {
        self.send(result);
    }

    fn send(&mut self, result: Result<T, Failure>) {
        self.is_sent = true;
        let (key, location) = (self.key, self.location);
        let call = move || match arrived_at::<Awaited<T>>(key) {
            Some((reactor, awaited)) => awaited.complete(&reactor, result),
            // No Deferred waits: the result is dropped here (invariant 1).
            None => report::discard(result, location),
        };
        if let Err(call) = self.inbox.push_call(RemoteCall::new(call), location) {
            report::discard(call, location);
        }
    }
}

impl<T: Send + 'static> Drop for ResultSender<T> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.send(Err(Failure::at(PoolError::NotStarted, self.location)));
        }
    }
}

/// The default maximum of threads, as in Twisted's reactor.
const USUAL_MAX: usize = 10;

/// How long work of other threads may take, in real time, while the time in memory stands still,
/// whatever is due.
const MAX_PAUSE: Duration = Duration::from_secs(5);
