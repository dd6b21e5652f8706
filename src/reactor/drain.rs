//! The end of a reactor: bytes that were written before are sent, within limits.
//!
//! A program that writes its last bytes and returns expects them to arrive. When the triggers
//! *before* the shutdown are done, the loop therefore continues until the bytes queued by then have
//! been sent, within the limits of [`Grace`]. Bytes not sent then are lost, and each connection
//! that loses some reports it. Then everything is closed, and the end waits once more, for the
//! sockets that linger because bytes of their peers are unread.
//!
//! # Invariants
//!
//! 1. Each handler waits for its own peer: a peer that accepts nothing does not cost the others
//!    time.
//! 2. When [`Grace::total`] is over, only handlers that ask for it
//!    ([`Tracked::drains_without_limit`]) are waited for.
//!
//! [`Tracked::drains_without_limit`]: super::Tracked::is_patient

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::handler::TRACKED;
use super::{Inner, Reactor, Tracked};
use crate::clock::DelayedCall;
use crate::defer::{Deferred, Resolver};

/// The time limits of a reactor that stops: how long it still sends queued bytes, and waits for
/// threads.
///
/// When a reactor stops, the bytes queued on its connections are still sent, whether the program
/// has closed the connections or not. `run` returns when the system has accepted all of them, or
/// after these times. A connection with queued bytes left is then reset (a pipe, for instance, is
/// closed, because it has no reset), and the loss is reported as
/// [`ConnectionError::NotSent`](crate::ConnectionError::NotSent).
///
/// For standard output of this process ([`net::Stdio`](crate::net::Stdio)) the reactor waits
/// without limit, as a program that writes to it with blocking calls would; a second SIGINT or
/// SIGTERM ends such a program as well.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::Reactor;
/// use torsade::reactor::Grace;
///
/// let grace = Grace { stalled: Duration::from_secs(1), ..Grace::default() };
/// let reactor = Reactor::builder().grace(grace).build()?;
/// assert_eq!(grace.total, Duration::from_secs(60));
/// # drop(reactor);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// Longest time for which a peer may accept no byte before its connection is given up. Default:
    /// 5 seconds.
    pub stalled: Duration,
    /// Longest time to send the bytes of all connections together. Default: 60 seconds.
    ///
    /// It is also the limit for spawned tasks and handlers that have waited for
    /// [`Reactor::stopped`]: the stop waits for each of them, also after `main` has returned. Set
    /// it to your drain limit, or let the handlers wait for a [`locks::Event`](crate::locks::Event)
    /// that `main` sets.
    pub total: Duration,
    /// Longest real time, after the shutdown triggers, to wait for work that is still running on
    /// the reactor's own [thread pool](super::Reactor::thread_pool). Default: 500 milliseconds.
    ///
    /// The loop does not run during that time, so calls to the reactor from that work fail. Work
    /// that is still running afterwards is reported, and its thread continues; work that no thread
    /// has begun is reported and dropped.
    #[doc(alias = "shutdown_timeout")]
    pub threads: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        Self {
            stalled: Duration::from_secs(5),
            total: Duration::from_secs(60),
            threads: Duration::from_millis(500),
        }
    }
}

/// The state of a reactor's end while it sends the last bytes.
#[derive(Default)]
pub(super) struct Drain {
    grace: Cell<Grace>,
    waiting: Cell<Option<(Resolver<()>, DelayedCall)>>,
    stage: Cell<Stage>,
    /// When the end began to wait: the total time counts from then.
    begun: Cell<Option<Instant>>,
    /// The source that was waited for at the last check: as long as it has bytes to send, the
    /// others need not be checked.
    last_found: Cell<Option<usize>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The reactor is not ending.
    #[default]
    Idle,
    Waiting,
    /// The total time is over (invariant 2).
    Overdue,
}

impl Reactor {
    /// Sets the time limits of a later [`stop`](Self::stop); see [`Grace`].
    pub fn set_grace(&self, grace: Grace) {
        self.inner().drain.grace.set(grace);
    }

    /// Returns a Deferred that fires when the queued bytes have been sent, or the time for that is
    /// over.
    pub(super) fn drained(&self) -> Deferred<()> {
        let inner = self.inner();
        inner.attend_all(self);
        inner.drain.stage.set(Stage::Waiting);
        for (_, dump_item) in inner.all_tracked() {
            dump_item.begin_to_drain(self);
        }
        if !inner.is_draining() {
            inner.drain.stage.set(Stage::Idle);
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        let weak = self.downgrade();
        let now = inner.clock_now();
        let begun = inner.drain.begun.get().unwrap_or(now);
        inner.drain.begun.set(Some(begun));
        let spent = now.saturating_duration_since(begun);
        let left = inner.drain.grace.get().total.saturating_sub(spent);
        let limit = self.limit(left, move || {
            if let Some(reactor) = weak.upgrade() {
                reactor.inner().drain.stage.set(Stage::Overdue);
            }
        });
        inner.drain.waiting.set(Some((resolver, limit)));
        deferred
    }
}

impl Inner {
    /// Returns how long a peer may accept nothing, while the end of the reactor waits for the last
    /// bytes.
    pub(crate) fn grace_to_drain(&self) -> Option<Duration> {
        (self.drain.stage.get() != Stage::Idle).then(|| self.drain.grace.get().stalled)
    }

    /// Returns the limits of the reactor's end.
    pub(crate) fn grace(&self) -> Grace {
        self.drain.grace.get()
    }

    /// Checks whether the last bytes have been sent, if the end waits for that.
    pub(super) fn check_drain(&self) {
        if self.drain.stage.get() != Stage::Idle && !self.is_draining() {
            self.drain.finish();
        }
    }

    fn is_draining(&self) -> bool {
        let is_overdue = self.drain.stage.get() == Stage::Overdue;
        let is_awaited = |dump_item: &dyn Tracked| {
            dump_item.is_draining() && (!is_overdue || dump_item.drains_without_limit())
        };
        let last = self.drain.last_found.get();
        if last
            .and_then(|key| self.find(key))
            .is_some_and(|last| is_awaited(&*last))
        {
            return true;
        }
        let handlers = self.handlers.borrow();
        let mut keys = handlers.iter().map(|(key, it)| (key, it.as_tracked()));
        let found = keys
            .find(|(_, dump_item)| is_awaited(*dump_item))
            .map(|(key, _)| key);
        let found = found.or_else(|| {
            let tracked = self.tracked.borrow();
            let mut all = tracked.iter();
            let found = all.find(|(_, dump_item)| is_awaited(&***dump_item));
            found.map(|(key, _)| key | TRACKED)
        });
        self.drain.last_found.set(found);
        found.is_some()
    }
}

impl Drain {
    /// Resets the state, because the reactor has crashed.
    pub(super) fn reset_drain(&self) {
        self.stage.set(Stage::Idle);
        self.begun.set(None);
        if let Some((resolver, limit)) = self.waiting.take() {
            limit.cancel();
            resolver.drop_silently();
        }
    }

    /// Ends the wait.
    fn finish(&self) {
        self.stage.set(Stage::Idle);
        let waiting = self.waiting.take();
        if let Some((resolver, limit)) = waiting {
            limit.cancel();
            resolver.callback(());
        }
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use std::panic::Location;
    use std::rc::Rc;

    use super::*;
    use crate::failure::Failure;

    /// A source that counts how often it is asked whether it drains.
    #[derive(Default)]
    struct CountingSource {
        drains: Cell<bool>,
        count: Cell<usize>,
    }

    impl Tracked for CountingSource {
        fn lose(self: Rc<Self>, _reactor: Option<&Reactor>, _reason: &Failure) {}

        fn is_draining(&self) -> bool {
            self.count.set(self.count.get() + 1);
            self.drains.get()
        }

        fn kind(&self) -> &'static str {
            "asked"
        }

        fn location(&self) -> &'static Location<'static> {
            Location::caller()
        }
    }

    #[test]
    fn while_one_source_drains_the_idle_ones_are_not_asked_again() {
        let reactor = Reactor::in_memory().unwrap();
        let inner = reactor.inner();
        let sources: Vec<Rc<CountingSource>> = (0..100).map(|_| Rc::default()).collect();
        for source in &sources {
            inner.track(source.clone()).unwrap();
        }
        let (first, last) = (&sources[98], &sources[99]);
        first.drains.set(true);
        last.drains.set(true);
        let drained = reactor.drained();
        let asked = || sources.iter().map(|it| it.count.get()).sum::<usize>();
        let before = asked();
        for _ in 0..50 {
            inner.check_drain();
        }
        assert_eq!(asked() - before, 50);
        // When this source is done the next one is found, and in the end none.
        first.drains.set(false);
        inner.check_drain();
        assert!(inner.grace_to_drain().is_some());
        last.drains.set(false);
        inner.check_drain();
        assert!(inner.grace_to_drain().is_none());
        drop(drained);
    }
}
