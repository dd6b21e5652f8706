//! A service that calls a function at intervals: [`TimerService`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::Service;
use crate::clock::{Clock, ClockStopped};
use crate::defer::{Deferred, IntoOutcome, Resolver, maybe_deferred_at};
use crate::failure::Failure;
use crate::repeat::{Looping, LoopingCall};

/// A service that calls a function when it is started, and after each interval until it is stopped.
///
/// As with a [`LoopingCall`], the next call waits for the Deferred or future that the function
/// returns.
///
/// If the function fails, the failure is reported and the calls end; the service counts as running
/// until it is stopped. The Deferred of `stop` waits for a call that is running. Clones are handles
/// to the same service.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use torsade::VirtualClock;
/// use torsade::services::{Service, TimerService};
///
/// let clock = VirtualClock::new();
/// let count = Rc::new(Cell::new(0));
/// let seen = count.clone();
/// let beat = TimerService::new(&clock, Duration::from_secs(1), move || seen.set(seen.get() + 1));
/// beat.start()?;
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(count.get(), 4);
/// drop(beat.stop());
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(count.get(), 4);
/// # Ok::<(), torsade::Failure>(())
/// ```
#[derive(Clone)]
pub struct TimerService(Rc<Inner>);

struct Inner {
    /// Starts the calls; `None` while it is being called.
    begin: Cell<Option<Box<Begin>>>,
    /// The calls that were started last.
    running: RefCell<Option<(Looping, Rc<CallsEnd>)>>,
    is_wanted: Cell<bool>,
}

type Begin = dyn FnMut() -> (Looping, Deferred<()>);

/// The end of the calls, and the resolvers to fire then.
#[derive(Default)]
struct CallsEnd {
    is_finished: Cell<bool>,
    waiting: RefCell<Vec<Resolver<()>>>,
}

impl TimerService {
    /// Creates a service. `f` may return anything that a callback may.
    #[track_caller]
    pub fn new<V: 'static, R: IntoOutcome<V> + 'static>(
        clock: &(impl Clock + Clone + 'static),
        interval: Duration,
        f: impl FnMut() -> R + 'static,
    ) -> Self {
        let location = Location::caller();
        let clock = clock.clone();
        let slot = Rc::new(Cell::new(Some(f)));
        let begin = move || {
            let slot = slot.clone();
            let call = LoopingCall::new(move || {
                let mut lent = TakenFn {
                    f: slot.take(),
                    slot: slot.clone(),
                };
                match &mut lent.f {
                    Some(f) => maybe_deferred_at(location, f).map(drop),
                    // The function is being called, further up the call stack.
                    None => Deferred::succeed(()),
                }
            });
            let (looping, done) = call.start(&clock, interval);
            (looping, done.map(drop))
        };
        Self(Rc::new(Inner {
            begin: Cell::new(Some(Box::new(begin))),
            running: RefCell::default(),
            is_wanted: Cell::new(false),
        }))
    }
}

/// The function, taken out for a call. Dropping this puts it back.
struct TakenFn<F> {
    f: Option<F>,
    slot: Rc<Cell<Option<F>>>,
}

impl<F> Drop for TakenFn<F> {
    fn drop(&mut self) {
        if let Some(f) = self.f.take() {
            self.slot.set(Some(f));
        }
    }
}

impl Service for TimerService {
    fn start(&self) -> Result<(), Failure> {
        let inner = &self.0;
        if inner.is_wanted.replace(true) {
            return Ok(());
        }
        let Some(mut begin) = inner.begin.take() else {
            return Ok(());
        };
        let (looping, done) = begin();
        inner.begin.set(Some(begin));
        let over = Rc::new(CallsEnd::default());
        drop(inner.running.replace(Some((looping, over.clone()))));
        drop(done.add_both(move |result| {
            over.is_finished.set(true);
            let waiting = over.waiting.take();
            for resolver in waiting {
                resolver.callback(());
            }
            match result {
                // The clock has stopped, which is not a failure of the calls.
                Err(failure) if failure.is::<ClockStopped>() => Ok(()),
                // A failure that nothing handles is reported.
                result => result,
            }
        }));
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        self.0.is_wanted.set(false);
        let running = self.0.running.borrow().clone();
        let Some((looping, over)) = running else {
            return Deferred::succeed(());
        };
        looping.stop();
        if over.is_finished.get() {
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        over.waiting.borrow_mut().push(resolver);
        deferred
    }

    fn is_running(&self) -> bool {
        self.0.is_wanted.get()
    }
}

impl fmt::Debug for TimerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerService")
            .field("is_running", &self.is_running())
            .finish_non_exhaustive()
    }
}
