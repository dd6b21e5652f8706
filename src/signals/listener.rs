//! A listener to signals, for a Deferred or for a stream.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::cells;
use crate::debug::{DumpItem, Id};
use crate::defer::{Deferred, Resolver, WaitSource, WaiterId};
use crate::failure::Failure;
use crate::reactor::{ListensToSignals, PendingSignals, Reactor, Tracked, WeakReactor};
use crate::signal::{Signal, SignalSet};
use crate::task::own_waker;

/// A listener that is called when a signal has arrived.
pub(super) struct Listener {
    /// Set once it is tracked.
    key: Cell<usize>,
    signals: SignalSet,
    location: &'static Location<'static>,
    /// The signals that have arrived; `None` before and after it listens.
    pending: RefCell<Option<PendingSignals>>,
    consumer: Consumer,
    reactor: WeakReactor,
}

/// The receiver of the signals.
enum Consumer {
    /// A Deferred, once; `None` after that.
    Deferred(Cell<Option<Resolver<Signal>>>),
    /// The task that reads the stream.
    Stream(Cell<Option<Waker>>),
}

impl Listener {
    /// Makes a listener that fires a Deferred, once.
    pub(super) fn for_deferred(
        reactor: &Reactor,
        signals: SignalSet,
        location: &'static Location<'static>,
    ) -> Result<Deferred<Signal>, Failure> {
        let listener = Self::begin(
            reactor,
            signals,
            Consumer::Deferred(Cell::default()),
            location,
        )?;
        let (deferred, resolver) =
            Deferred::in_queue(listener.clone(), WaiterId::default(), false, location);
        if let Consumer::Deferred(waits) = &listener.consumer {
            waits.set(Some(resolver));
        }
        Ok(deferred)
    }

    /// Makes the listener of a stream.
    pub(super) fn for_stream(
        reactor: &Reactor,
        signals: SignalSet,
        location: &'static Location<'static>,
    ) -> Result<Rc<Self>, Failure> {
        Self::begin(
            reactor,
            signals,
            Consumer::Stream(Cell::default()),
            location,
        )
    }

    fn begin(
        reactor: &Reactor,
        signals: SignalSet,
        consumer: Consumer,
        location: &'static Location<'static>,
    ) -> Result<Rc<Self>, Failure> {
        let listener = Rc::new(Self {
            key: Cell::new(0),
            signals,
            location,
            pending: RefCell::default(),
            consumer,
            reactor: reactor.downgrade(),
        });
        let inner = reactor.inner();
        let key = inner
            .track(listener.clone())
            .map_err(|error| Failure::at(error, location))?;
        listener.key.set(key);
        let weak = Rc::downgrade(&listener);
        match inner.listen_to(key, weak, signals) {
            Ok(pending) => {
                listener.pending.replace(Some(pending));
                Ok(listener)
            }
            Err(error) => {
                listener.end();
                Err(Failure::at(error, location))
            }
        }
    }

    /// Returns the next signal for a stream; `None` when there will be none.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Option<Signal>> {
        let pending = self.pending.borrow().clone();
        let Some(pending) = pending else {
            return Poll::Ready(None);
        };
        let mut arrived = pending.get();
        let signal = arrived.pop();
        pending.set(arrived);
        if signal.is_none() {
            if let Consumer::Stream(waker) = &self.consumer {
                drop(waker.replace(Some(own_waker(cx).clone())));
            }
            return Poll::Pending;
        }
        Poll::Ready(signal)
    }

    /// Returns the signals that it listens to.
    pub(super) fn signals(&self) -> SignalSet {
        self.signals
    }

    /// Stops listening.
    pub(super) fn end(&self) {
        drop(self.pending.take());
        if let Some(reactor) = self.reactor.upgrade() {
            reactor.inner().stop_listening(self.key.get());
            reactor.inner().untrack(self.key.get());
        }
    }

    fn wake(&self) {
        if let Consumer::Stream(waker) = &self.consumer {
            cells::wake(waker);
        }
    }
}

impl ListensToSignals for Listener {
    fn signal_arrived(self: Rc<Self>) {
        let Consumer::Deferred(waits) = &self.consumer else {
            return self.wake();
        };
        let pending = self.pending.borrow().clone();
        let mut arrived = pending.map(|pending| pending.get()).unwrap_or_default();
        let (Some(signal), Some(resolver)) = (arrived.pop(), waits.take()) else {
            return;
        };
        self.end();
        resolver.callback(signal);
    }
}

impl Tracked for Listener {
    fn lose(self: Rc<Self>, _reactor: Option<&Reactor>, reason: &Failure) {
        self.end();
        let Consumer::Deferred(waits) = &self.consumer else {
            return self.wake();
        };
        // The Deferred is still waiting; a Deferred that was dropped has left the wait source.
        if let Some(resolver) = waits.take() {
            resolver.errback(reason.clone());
        }
    }

    fn kind(&self) -> &'static str {
        "signal listener"
    }

    fn about(&self) -> String {
        let names: Vec<_> = self
            .signals
            .iter()
            .map(|signal| signal.to_string())
            .collect();
        names.join(", ")
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// The wait source of a Deferred that waits for a signal, so that a dropped Deferred stops
/// listening.
impl WaitSource for Listener {
    /// Nothing is ever offered.
    fn ask(self: Rc<Self>, _number: WaiterId) {}

    fn leave(&self, _number: WaiterId) {
        self.end();
        if let Consumer::Deferred(waits) = &self.consumer {
            // The Deferred was cancelled, so the resolver has no consumer.
            drop(waits.take());
        }
    }

    fn dump_item(self: Rc<Self>) -> DumpItem {
        DumpItem {
            id: Id::Source(self.key.get()),
            kind: self.kind(),
            name: None,
            location: self.location,
            about: self.about(),
            waits: Vec::new(),
        }
    }

    fn serve(self: Rc<Self>) {}
}
