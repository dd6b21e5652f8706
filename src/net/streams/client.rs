//! The state machine of clients that connect more than once: [`Core`].
//!
//! # The idea
//!
//! A [`Core`] makes one connection after another. It keeps the state and calls its [`Hooks`],
//! which decide, when an attempt or a connection has ended, whether to connect again, and when.
//! [`Connector`](super::Connector) passes the hooks on to a factory;
//! [`ClientService`](crate::services::ClientService) has its own.
//!
//! # States
//!
//! | state | `connect` | `connect_after` | `stop` | the loop |
//! |---|---|---|---|---|
//! | `Idle` | `Connecting` | `Waiting` | | |
//! | `Waiting` | `Connecting` | | `Idle` | the delay is over: `Connecting` |
//! | `Connecting` | | | `Cancelling` | made: `Connected`; failed: `Idle` |
//! | `Cancelling` | | | | made: `Connected`, and closed; failed: `Idle` |
//! | `Connected` | | | (closes it) | lost: `Idle` |
//!
//! An empty field means that nothing happens.
//!
//! # Invariants
//!
//! 1. Hooks are called from the loop's turn, or by a Deferred that a hook has made, while nothing
//!    is borrowed, after the state has changed. A user's value is taken out while it is used
//!    ([`call`]).
//! 2. `ended` is called once for each attempt, after the protocol's own `connection_lost`. The
//!    state is then `Idle`.
//! 3. `step` is the delay of `Waiting`, or the attempt of `Connecting` and `Cancelling` once it has
//!    begun; `connection` is the transport of `Connected`.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::defer::Deferred;
use crate::failure::{Cancelled, Failure};
use crate::net::endpoint::ClientEndpoint;
use crate::protocol::{Handle, Protocol};
use crate::reactor::{Reactor, WeakReactor};
use crate::repeat::defer_later;
use crate::report;
use crate::transport::{ConnectionError, Transport};

/// A client's state, connection and hooks.
pub(crate) struct Core {
    pub(crate) reactor: WeakReactor,
    pub(crate) endpoint: ClientEndpoint,
    pub(crate) location: &'static Location<'static>,
    hooks: Box<dyn Hooks>,
    state: Cell<State>,
    step: RefCell<Option<Deferred<()>>>,
    connection: RefCell<Option<Transport>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Waiting,
    Connecting,
    Cancelling,
    Connected,
}

pub(crate) enum Ended {
    /// The delay, since the reactor has ended.
    Delay,
    Attempt,
    Connection,
}

pub(crate) trait Hooks {
    /// Called before each attempt, even one that was cancelled since `connect`.
    fn starting(&self, _core: &Rc<Core>) {}

    /// Starts an attempt. The result is `None` if there was no protocol for the connection.
    fn attempt(&self, core: &Rc<Core>, reactor: &Reactor) -> Deferred<Option<Made>>;

    fn ended(&self, core: &Rc<Core>, what: Ended, reason: Failure);
}

/// A new connection, and the Deferred of its end.
pub(crate) type Made = (Option<Transport>, Deferred<Failure>);

pub(crate) fn made<P: Protocol>(handle: &Handle<P>) -> Made {
    (handle.transport(), handle.closed())
}

impl Core {
    pub(crate) fn new(
        reactor: &Reactor,
        endpoint: ClientEndpoint,
        location: &'static Location<'static>,
        hooks: impl Hooks + 'static,
    ) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.downgrade(),
            endpoint,
            location,
            hooks: Box::new(hooks),
            state: Cell::new(State::Idle),
            step: RefCell::default(),
            connection: RefCell::default(),
        })
    }

    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// Starts an attempt, in the loop's turn.
    pub(crate) fn connect(self: &Rc<Self>) {
        if matches!(self.state(), State::Idle | State::Waiting) && self.post(Self::begin) {
            self.state.set(State::Connecting);
            self.cancel_step();
        }
    }

    /// Starts an attempt after a delay.
    pub(crate) fn connect_after(self: &Rc<Self>, delay: Duration) {
        if let (State::Idle, Some(reactor)) = (self.state(), self.reactor.upgrade()) {
            self.state.set(State::Waiting);
            let this = self.clone();
            let delay = defer_later(&reactor, delay, || ());
            let delay = delay.add_both(move |result| match (this.state(), result) {
                (State::Waiting, Ok(())) => this.connect(),
                (State::Waiting, Err(failure)) => this.ended(Ended::Delay, failure),
                _ => {}
            });
            self.keep(&[State::Waiting], delay);
        }
    }

    /// Ends a delay at once; cancels an attempt, in the loop's turn; or closes the connection.
    pub(crate) fn stop(self: &Rc<Self>) {
        match self.state() {
            State::Waiting => {
                self.state.set(State::Idle);
                self.cancel_step();
            }
            State::Connecting => {
                self.state.set(State::Cancelling);
                // Cancelling calls a hook, from which this call may come.
                self.post(|this| {
                    if this.state() == State::Cancelling {
                        this.cancel_step();
                    }
                });
            }
            State::Connected => {
                let connection = self.connection.borrow().clone();
                if let Some(connection) = connection {
                    connection.lose_connection();
                }
            }
            State::Idle | State::Cancelling => {}
        }
    }

    /// Calls `f` in the loop's turn; returns `false` if the reactor is gone.
    fn post(self: &Rc<Self>, f: fn(&Rc<Self>)) -> bool {
        let (this, reactor) = (self.clone(), self.reactor.upgrade());
        reactor.is_some_and(|reactor| {
            let executor = reactor.inner().executor();
            executor.call(self.location, move || f(&this));
            true
        })
    }

    /// Stores the step under way, unless it has ended already.
    fn keep(&self, states: &[State], step: Deferred<()>) {
        if states.contains(&self.state()) {
            let old = self.step.replace(Some(step));
            drop(old);
        }
    }

    fn cancel_step(&self) {
        let step = self.step.take();
        if let Some(step) = step {
            step.cancel();
        }
    }

    fn begin(self: &Rc<Self>) {
        self.hooks.starting(self);
        match self.reactor.upgrade() {
            Some(_) if self.state() == State::Cancelling => self.cancelled(),
            Some(reactor) => {
                let (this, attempt) = (self.clone(), self.hooks.attempt(self, &reactor));
                let attempt = attempt.add_both(move |made| match made {
                    Ok(made) => this.made(made),
                    Err(failure) => this.ended(Ended::Attempt, failure),
                });
                self.keep(&[State::Connecting, State::Cancelling], attempt);
            }
            None => {}
        }
    }

    fn made(self: &Rc<Self>, made: Option<Made>) {
        let is_cancelled = self.state() == State::Cancelling;
        match made {
            Some((connection, closed)) => {
                self.state.set(State::Connected);
                drop(self.step.take());
                drop(self.connection.replace(connection));
                let this = self.clone();
                drop(closed.add_both(move |reason| {
                    let (Ok(reason) | Err(reason)) = reason;
                    this.ended(Ended::Connection, reason);
                }));
                if is_cancelled {
                    // It was cancelled too late, or by its own protocol, in `connection_made`.
                    self.stop();
                }
            }
            None if is_cancelled => self.cancelled(),
            // There is no protocol, so the connection was closed normally.
            None => {
                let reason = Failure::at(ConnectionError::Done, self.location);
                self.ended(Ended::Connection, reason);
            }
        }
    }

    fn cancelled(self: &Rc<Self>) {
        self.ended(Ended::Attempt, Failure::at(Cancelled, self.location));
    }

    fn ended(self: &Rc<Self>, what: Ended, reason: Failure) {
        self.state.set(State::Idle);
        drop(self.step.take());
        drop(self.connection.take());
        self.hooks.ended(self, what, reason);
    }
}

/// Takes a user's value out, uses it, and puts it back. Returns `None` if the value is in use
/// already, or absent; fails with a panic.
pub(crate) fn call<T, R>(
    slot: &Cell<Option<T>>,
    location: &'static Location<'static>,
    call: impl FnOnce(&mut T) -> R,
) -> Result<Option<R>, Failure> {
    let Some(mut value) = slot.take() else {
        return Ok(None);
    };
    let result = report::catch_rarely(location, || call(&mut value));
    slot.set(Some(value));
    result.map(Some)
}
