//! A factory whose connections come back: [`Reconnecting`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::backoff::Backoff;
use super::connector::{ClientFactory, Connector, ConnectorState};
use crate::address::Address;
use crate::clock::{Clock, DelayedCall};
use crate::failure::Failure;

/// A [`ClientFactory`] that connects again, whenever a connection was lost or could not be made, after waits that grow.
///
/// The waits begin anew when a connection has been made and has a protocol. They are those of [`Backoff::new`] unless told
/// otherwise; Twisted's factory waits for 1 second, *e* times as long each time, up to an hour.
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
///     let policy = Backoff::new().longest(Duration::from_secs(10));
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

/// How often a [`Reconnecting`] factory has tried again, and the way to end that. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct Retries(Rc<Trying>);

#[derive(Debug, Default)]
struct Trying {
    count: Cell<u32>,
    is_over: Cell<bool>,
    connector: RefCell<Option<Connector>>,
    timer: RefCell<Option<DelayedCall>>,
}

impl<F: ClientFactory> Reconnecting<F> {
    /// Makes a factory connect again.
    pub fn new(factory: F) -> Self {
        Self {
            factory,
            backoff: Backoff::new(),
            most: None,
            retries: Retries::default(),
        }
    }

    /// Sets how long it waits.
    #[must_use]
    pub fn backoff(mut self, policy: Backoff) -> Self {
        self.backoff = policy;
        self
    }

    /// Sets how often in a row it tries again. Without, there is no limit.
    #[doc(alias = "maxRetries")]
    #[must_use]
    pub fn max_retries(mut self, most: u32) -> Self {
        self.most = Some(most);
        self
    }

    /// The way to look at it, and to end it, from outside.
    pub fn retries(&self) -> Retries {
        self.retries.clone()
    }

    fn retry(&self, connector: &Connector) {
        let trying = &self.retries.0;
        if trying.is_over.get() || connector.state() != ConnectorState::Disconnected {
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
            // It may be connecting because somebody else has asked for that.
            let _ = again.connect();
        });
        let old = trying.timer.replace(Some(timer));
        if let Some(old) = old {
            old.cancel();
        }
    }
}

impl Retries {
    /// How often in a row it has tried again.
    pub fn count(&self) -> u32 {
        self.0.count.get()
    }

    /// Lets the waits begin anew.
    #[doc(alias = "resetDelay")]
    pub fn reset(&self) {
        self.0.count.set(0);
    }

    /// Does not try again: neither now nor when the connection is lost. An attempt under way is given up; a connection
    /// goes on. [`Retries::continue_trying`] takes it back.
    #[doc(alias = "stopTrying")]
    pub fn stop_trying(&self) {
        self.0.is_over.set(true);
        if let Some(timer) = self.0.timer.take() {
            timer.cancel();
        }
        let connector = self.0.connector.borrow().clone();
        if let Some(connector) = connector {
            // That there is nothing to give up is as well.
            let _ = connector.stop_connecting();
        }
    }

    /// Tries again after all, the next time a connection is lost or cannot be made. Nothing is connected by this: where
    /// there is no connection, [`Connector::connect`] makes one.
    #[doc(alias = "continueTrying")]
    pub fn continue_trying(&self) {
        self.0.is_over.set(false);
    }

    /// Was it not told to stop?
    pub fn is_trying(&self) -> bool {
        !self.0.is_over.get()
    }
}

impl<F: ClientFactory> ClientFactory for Reconnecting<F> {
    type Protocol = F::Protocol;

    fn build_protocol(&mut self, peer: Address) -> Option<F::Protocol> {
        let protocol = self.factory.build_protocol(peer);
        // A connection that nobody wanted is no success.
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
