//! Firing a Deferred from another thread: [`RemoteResolver`].
//!
//! The resolver itself stays in the reactor's table; its key and, through the inbox, the result are
//! sent between threads.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::handler::arrived_at;
use super::{Reactor, ReactorError, Remote, Stopped, Tracked};
use crate::defer::{Deferred, Resolver};
use crate::failure::{Cancelled, Failure};
use crate::report;
use crate::task::{Caller, RemoteCall};

/// Fires a Deferred from any thread; see [`RemoteResolver::pair`].
///
/// Firing sends the result to the reactor's thread, where the callbacks run in a turn of the loop.
/// A resolver that is dropped unfired abandons the Deferred.
#[must_use = "dropped unfired, it abandons its Deferred"]
pub struct RemoteResolver<T: Send + 'static> {
    remote: Remote,
    /// `None` when the reactor had ended.
    key: Option<usize>,
    is_cancelled: Arc<AtomicBool>,
    location: Caller,
    result: Option<Fired<T>>,
}

/// A result, and the line that fired the Deferred with it.
type Fired<T> = (Result<T, Failure>, Caller);

impl<T: Send + 'static> RemoteResolver<T> {
    /// Makes a Deferred and the resolver that fires it from another thread.
    ///
    /// For work in a pool of threads, [`Reactor::spawn_blocking`] is simpler. On an in-memory
    /// reactor virtual time goes on while the Deferred waits, because the reactor does not know
    /// which thread will fire it.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned)
    /// when the resolver is dropped unfired, and with [`Stopped`] when the reactor ends first, or
    /// has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use torsade::reactor::RemoteResolver;
    ///
    /// torsade::run(async |reactor| {
    ///     let (answer, resolver) = RemoteResolver::pair(&reactor);
    ///     let other = thread::spawn(move || resolver.callback(42));
    ///     assert_eq!(answer.await?, 42);
    ///     other.join().expect("it does not panic")?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), torsade::Failure>(())
    /// ```
    #[doc(alias("callFromThread", "promise", "thread-safe resolver"))]
    #[track_caller]
    pub fn pair(reactor: &Reactor) -> (Deferred<T>, Self) {
        let location = Location::caller();
        let (deferred, resolver) = Deferred::pair();
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let waiting = Rc::new(Waiting {
            key: Cell::new(None),
            resolver: Cell::new(Some(resolver)),
            is_cancelled: is_cancelled.clone(),
            location,
        });
        let source = waiting.clone();
        let key = reactor.inner().track(source).ok();
        waiting.key.set(key);
        let deferred = match key {
            Some(_) => {
                let (waiting, weak) = (Rc::downgrade(&waiting), reactor.downgrade());
                deferred.on_cancel(move || {
                    if let (Some(waiting), Some(reactor)) = (waiting.upgrade(), weak.upgrade()) {
                        waiting.is_cancelled.store(true, Ordering::SeqCst);
                        let cancelled = Err(Failure::at(Cancelled, location));
                        waiting.end(&reactor, Some((cancelled, location)));
                    }
                })
            }
            None => {
                let resolver = waiting.resolver.take();
                if let Some(resolver) = resolver {
                    resolver.errback(Failure::at(Stopped, location));
                }
                deferred
            }
        };
        let resolver = Self {
            remote: reactor.remote(),
            key,
            is_cancelled,
            location,
            result: None,
        };
        (deferred, resolver)
    }

    /// Fires the Deferred with a value.
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::Ended`] when the reactor has ended; the value is then dropped on
    /// this thread.
    #[track_caller]
    pub fn callback(self, value: T) -> Result<(), ReactorError> {
        self.resolve(Ok(value))
    }

    /// Fires the Deferred with a failure.
    ///
    /// # Errors
    ///
    /// Fails as [`callback`](Self::callback) does.
    #[track_caller]
    pub fn errback(self, failure: impl Into<Failure>) -> Result<(), ReactorError> {
        self.resolve(Err(failure.into()))
    }

    /// Fires the Deferred with a result. If the Deferred was cancelled before, the reactor's thread
    /// drops the result.
    ///
    /// # Errors
    ///
    /// Fails as [`callback`](Self::callback) does.
    #[track_caller]
    pub fn resolve(mut self, result: Result<T, Failure>) -> Result<(), ReactorError> {
        self.result = Some((result, Location::caller()));
        self.send()
    }

    /// Returns whether the Deferred was cancelled; the thread can then stop its work.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    /// Sends the result, or that there is none, once.
    fn send(&mut self) -> Result<(), ReactorError> {
        let (location, result) = (self.location, self.result.take());
        let Some(key) = self.key.take() else {
            report::discard(result, location);
            return Err(ReactorError::Ended);
        };
        let call = move || match arrived_at::<Waiting<T>>(key) {
            Some((reactor, waiting)) => waiting.end(&reactor, result),
            None => report::discard(result, location),
        };
        match self.remote.inbox.push_call(RemoteCall::new(call), location) {
            Ok(()) => Ok(()),
            Err(call) => {
                report::discard(call, location);
                Err(ReactorError::Ended)
            }
        }
    }
}

/// The Deferred's resolver, on the reactor's thread.
struct Waiting<T: Send + 'static> {
    key: Cell<Option<usize>>,
    /// `None` after the end.
    resolver: Cell<Option<Resolver<T>>>,
    is_cancelled: Arc<AtomicBool>,
    location: Caller,
}

impl<T: Send + 'static> Waiting<T> {
    /// Leaves the table and fires the Deferred; without a result, abandons it.
    fn end(&self, reactor: &Reactor, result: Option<Fired<T>>) {
        let resolver = self.resolver.take();
        if let Some(key) = self.key.take() {
            reactor.inner().untrack(key);
        }
        match (resolver, result) {
            (Some(resolver), Some((result, at))) => resolver.resolve_at(result, at),
            (resolver, result) => {
                drop(resolver);
                report::discard(result, self.location);
            }
        }
    }
}

impl<T: Send + 'static> Tracked for Waiting<T> {
    fn as_any(self: Rc<Self>) -> Option<Rc<dyn Any>> {
        Some(self)
    }

    fn lose(self: Rc<Self>, _reactor: Option<&Reactor>, reason: &Failure) {
        let resolver = self.resolver.take();
        match resolver {
            // A Deferred that was dropped long ago does not need the end of the reactor.
            Some(resolver) if resolver.has_no_consumer() => resolver.drop_silently(),
            Some(resolver) => resolver.resolve_at(Err(reason.clone()), self.location),
            None => {}
        }
    }

    fn kind(&self) -> &'static str {
        "Deferred for a thread"
    }

    fn location(&self) -> Caller {
        self.location
    }
}

impl<T: Send + 'static> Drop for RemoteResolver<T> {
    fn drop(&mut self) {
        if self.key.is_some() {
            // When the reactor has ended, the Deferred has failed already.
            let _ = self.send();
        }
    }
}

impl<T: Send + 'static> fmt::Debug for RemoteResolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteResolver")
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
