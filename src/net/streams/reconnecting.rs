//! A client factory that reconnects: [`Reconnecting`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::backoff::{Backoff, Retry};
use super::client::{Core, State};
use super::connector::{ClientFactory, Connector};
use crate::address::Address;
use crate::failure::Failure;

/// A [`ClientFactory`] that connects again whenever a connection is lost or cannot be made, after
/// delays that grow.
///
/// The delays start over when a connection is made and has a protocol. They are those of
/// [`Backoff::new`] by default; Twisted's factory waits for 1 second, then *e* times as long each
/// time, up to an hour.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use torsade::net::{Backoff, ClientFactory, Connector, Reconnecting};
/// # use torsade::{Address, Context, Protocol};
/// # struct Quiet;
/// # impl Protocol for Quiet {
/// #     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
/// # }
/// # struct Make;
/// # impl ClientFactory for Make {
/// #     type Protocol = Quiet;
/// #     fn build_protocol(&mut self, _peer: Address) -> Option<Quiet> { Some(Quiet) }
/// # }
/// torsade::testing::run(async |reactor| {
///     let policy = Backoff::new().max_delay(Duration::from_secs(10));
///     let factory = Reconnecting::new(Make).backoff(policy).max_retries(3);
///     let retries = factory.retries();
///     Connector::start(&reactor, "127.0.0.1:1", factory)?;
///     retries.stop_trying();
///     Ok(())
/// });
/// ```
#[derive(Debug)]
pub struct Reconnecting<F> {
    factory: F,
    retries: Retries,
}

/// A handle to the retries of a [`Reconnecting`] factory. Clones are handles to the same factory.
#[derive(Clone, Debug, Default)]
pub struct Retries(Rc<Trying>);

#[derive(Debug, Default)]
struct Trying {
    retry: Retry,
    is_stopped: Cell<bool>,
    /// Not a strong handle: the connector owns the factory, which owns this.
    core: RefCell<Weak<Core>>,
}

impl<F: ClientFactory> Reconnecting<F> {
    /// Wraps a factory so that it reconnects.
    pub fn new(factory: F) -> Self {
        Self::with_retries(|_| factory)
    }

    /// Wraps the factory that `make` returns. `make` gets the handle to the retries of the new
    /// factory, so that the wrapped factory and its protocols can stop or reset them.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::net::{ClientFactory, Connector, Reconnecting, Retries};
    /// # use torsade::{Address, Context, Failure, Protocol};
    /// # struct Quiet;
    /// # impl Protocol for Quiet {
    /// #     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
    /// # }
    /// struct Patient { retries: Retries }
    ///
    /// impl ClientFactory for Patient {
    ///     type Protocol = Quiet;
    ///
    ///     fn build_protocol(&mut self, _peer: Address) -> Option<Quiet> { Some(Quiet) }
    ///
    ///     fn connection_lost(&mut self, _connector: &Connector, _reason: Failure) {
    ///         // Only attempts are repeated, not connections.
    ///         self.retries.stop_trying();
    ///     }
    /// }
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let factory = Reconnecting::with_retries(|retries| Patient { retries });
    ///     Connector::start(&reactor, "127.0.0.1:1", factory)?;
    ///     Ok(())
    /// });
    /// ```
    pub fn with_retries(make: impl FnOnce(Retries) -> F) -> Self {
        let retries = Retries::default();
        Self {
            factory: make(retries.clone()),
            retries,
        }
    }

    /// Sets the delays between attempts.
    #[must_use]
    pub fn backoff(self, policy: Backoff) -> Self {
        self.retries.0.retry.policy.set(policy);
        self
    }

    /// Sets how many consecutive retries are made. Default: no limit. After the last one has
    /// failed, no further attempt starts.
    #[doc(alias = "maxRetries")]
    #[must_use]
    pub fn max_retries(self, most: u32) -> Self {
        self.retries.0.retry.most.set(Some(most));
        self
    }

    /// Returns a handle that counts, resets and stops the retries.
    pub fn retries(&self) -> Retries {
        self.retries.clone()
    }

    /// Connects after a delay, unless the inner factory connects already.
    fn retry(&self, connector: &Connector) {
        let core = connector.core();
        if self.retries.is_trying() && core.state() == State::Idle {
            let reactor = core.reactor.upgrade();
            let delay = reactor.and_then(|reactor| self.retries.0.retry.next(&reactor));
            if let Some(delay) = delay {
                core.connect_after(delay);
            }
        }
    }
}

impl Retries {
    /// Returns the number of consecutive retries: since the last connection with a protocol, or the
    /// last [`reset`](Self::reset).
    pub fn count(&self) -> u32 {
        self.0.retry.count.get()
    }

    /// Sets the number of consecutive retries to zero, so that the delays start over.
    #[doc(alias = "resetDelay")]
    pub fn reset(&self) {
        self.0.retry.count.set(0);
    }

    /// Stops retrying, now and when the connection is lost. A delay under way ends without an
    /// attempt, and an attempt under way is cancelled; an established connection stays open.
    /// [`Retries::continue_trying`] undoes this.
    #[doc(alias = "stopTrying")]
    pub fn stop_trying(&self) {
        self.0.is_stopped.set(true);
        let core = self.0.core.borrow().upgrade();
        if let Some(core) = core.filter(|core| core.state() != State::Connected) {
            core.stop();
        }
    }

    /// Resumes retrying, from the next time a connection is lost or cannot be made. This starts no
    /// attempt; call [`Connector::connect`] for that.
    #[doc(alias = "continueTrying")]
    pub fn continue_trying(&self) {
        self.0.is_stopped.set(false);
    }

    /// Returns whether the factory retries: `false` from [`Retries::stop_trying`] until
    /// [`Retries::continue_trying`].
    pub fn is_trying(&self) -> bool {
        !self.0.is_stopped.get()
    }
}

impl<F: ClientFactory> ClientFactory for Reconnecting<F> {
    type Protocol = F::Protocol;

    fn build_protocol(&mut self, peer: Address) -> Option<F::Protocol> {
        let protocol = self.factory.build_protocol(peer);
        // A connection without a protocol is no success.
        if protocol.is_some() {
            self.retries.reset();
        }
        protocol
    }

    fn started_connecting(&mut self, connector: &Connector) {
        let core = Rc::downgrade(connector.core());
        self.retries.0.core.replace(core);
        self.factory.started_connecting(connector);
    }

    fn connection_failed(&mut self, connector: &Connector, reason: Failure) {
        self.factory.connection_failed(connector, reason);
        self.retry(connector);
    }

    fn connection_lost(&mut self, connector: &Connector, reason: Failure) {
        self.factory.connection_lost(connector, reason);
        self.retry(connector);
    }

    fn started(&mut self) {
        self.factory.started();
    }

    fn stopped(&mut self) {
        self.factory.stopped();
    }
}
