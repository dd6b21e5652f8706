//! A client factory that reconnects: [`Reconnecting`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::backoff::Backoff;
use super::connector::{ClientFactory, Connector};
use crate::address::Address;
use crate::clock::{Clock, DelayedCall};
use crate::failure::Failure;
use crate::net::errors::ConnectorState;

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
#[doc(alias = "ReconnectingClientFactory")]
#[derive(Debug)]
pub struct Reconnecting<F> {
    factory: F,
    backoff: Backoff,
    most: Option<u32>,
    retries: Retries,
}

/// A handle to the retries of a [`Reconnecting`] factory. Clones are handles to the same factory.
#[derive(Clone, Debug, Default)]
pub struct Retries(Rc<Trying>);

#[derive(Debug, Default)]
struct Trying {
    count: Cell<u32>,
    is_stopped: Cell<bool>,
    connector: RefCell<Option<Connector>>,
    timer: RefCell<Option<DelayedCall>>,
}

impl<F: ClientFactory> Reconnecting<F> {
    /// Wraps a factory so that it reconnects.
    pub fn new(factory: F) -> Self {
        Self {
            factory,
            backoff: Backoff::new(),
            most: None,
            retries: Retries::default(),
        }
    }

    /// Sets the delays between attempts.
    #[must_use]
    pub fn backoff(mut self, policy: Backoff) -> Self {
        self.backoff = policy;
        self
    }

    /// Sets the number of consecutive retries. Default: no limit.
    #[doc(alias = "maxRetries")]
    #[must_use]
    pub fn max_retries(mut self, most: u32) -> Self {
        self.most = Some(most);
        self
    }

    /// Returns a handle that counts, resets and stops the retries.
    pub fn retries(&self) -> Retries {
        self.retries.clone()
    }

    fn retry(&self, connector: &Connector) {
        let trying = &self.retries.0;
        if trying.is_stopped.get() || connector.state() != ConnectorState::Disconnected {
            return;
        }
        let count = trying.count.get();
        if self.most.is_some_and(|most| count >= most) {
            return;
        }
        let Some(reactor) = connector.reactor() else {
            return;
        };
        trying.count.set(count.saturating_add(1));
        let rng = reactor.inner().rng().part();
        let wait: Duration = self.backoff.wait(count.saturating_add(1), rng);
        let again = connector.clone();
        let timer = reactor.call_later(wait, move || {
            // Other code may have called `connect` already.
            let _ = again.connect();
        });
        let old = trying.timer.replace(Some(timer));
        if let Some(old) = old {
            old.cancel();
        }
    }
}

impl Retries {
    /// Returns the number of consecutive retries.
    pub fn count(&self) -> u32 {
        self.0.count.get()
    }

    /// Starts the delays over.
    #[doc(alias = "resetDelay")]
    pub fn reset(&self) {
        self.0.count.set(0);
    }

    /// Stops retrying, now and when the connection is lost. An attempt under way is cancelled; an
    /// established connection stays open. [`Retries::continue_trying`] undoes this.
    #[doc(alias = "stopTrying")]
    pub fn stop_trying(&self) {
        self.0.is_stopped.set(true);
        if let Some(timer) = self.0.timer.take() {
            timer.cancel();
        }
        let connector = self.0.connector.borrow().clone();
        if let Some(connector) = connector {
            // There may be no attempt to cancel.
            let _ = connector.stop_connecting();
        }
    }

    /// Resumes retrying, from the next time a connection is lost or cannot be made. This starts no
    /// attempt; call [`Connector::connect`] for that.
    #[doc(alias = "continueTrying")]
    pub fn continue_trying(&self) {
        self.0.is_stopped.set(false);
    }

    /// Returns whether it retries, that is, whether [`Retries::stop_trying`] was not called.
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
        self.retries.0.connector.replace(Some(connector.clone()));
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
        drop(self.retries.0.connector.take());
        self.factory.stopped();
    }
}
