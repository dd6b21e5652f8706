//! Policies: limits and observers of a connection, whatever its handler.
//!
//! # The idea
//!
//! A policy belongs to the connection, not to its protocol. So it applies in the same way to a
//! protocol, to the protocols of a factory and to an async handler, and it stays when the
//! connection is handed to another protocol. Here are the observer trait and the settings from
//! which the connections of a port begin; `policed` carries them out.

mod log;
mod rate;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use self::log::{Recording, TrafficLog};
pub use self::rate::RateLimits;
pub(in crate::transport) use self::rate::{Buckets, Direction, Total};
use super::Transport;
use crate::address::Address;
use crate::failure::Failure;

/// An observer of a connection's traffic, which may also end the connection.
///
/// It is added to one connection with [`Transport::add_policy`], or to all connections of a port,
/// or of a client endpoint, with [`ListenOptions::policy`](crate::net::ListenOptions::policy) or
/// [`ConnectOptions::policy`](crate::net::ConnectOptions::policy). It sees the bytes of protocols
/// and of async handlers alike, and stays when the connection is handed to another protocol. It
/// does not see the bytes of a file that [`Transport::send_file`] sends. All methods do nothing by
/// default.
///
/// # Order
///
/// Policies are called in the order in which they were added. `received` is called before the
/// handler gets the bytes, `sent` after the system has accepted them, `closed` after the handler's
/// last hook. A panic in a policy ends the connection with the panic as the reason.
///
/// # Examples
///
/// A connection may receive a kilobyte at most:
///
/// ```
/// use torsade::transport::Policy;
/// use torsade::{Transport, testing};
///
/// struct Quota {
///     left: usize,
///     transport: Option<Transport>,
/// }
///
/// impl Policy for Quota {
///     fn connected(&mut self, transport: &Transport) {
///         self.transport = Some(transport.clone());
///     }
///     fn received(&mut self, bytes: &[u8]) {
///         self.left = self.left.saturating_sub(bytes.len());
///         if let (0, Some(transport)) = (self.left, &self.transport) {
///             transport.abort_connection();
///         }
///     }
/// }
///
/// testing::run(async |reactor| {
///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
///         conn.transport().add_policy(Quota { left: 1024, transport: None });
///         let all = conn.read_to_end(&mut Vec::new()).await;
///         assert!(all.is_err());
///         Ok(())
///     })?;
///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
///     let sent = conn.write_all(&[0; 100_000]).await;
///     let read = conn.read(&mut [0]).await;
///     assert!(sent.is_err() || read.is_err());
///     port.stop().await
/// });
/// ```
pub trait Policy: 'static {
    /// Called when the connection begins, and again with the next transport when it has been handed
    /// to another protocol.
    fn connected(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Called for bytes that were received.
    fn received(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// Called for bytes that the system has accepted for sending.
    fn sent(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// Called once after [`connected`](Policy::connected), when the connection has ended; or, with
    /// [`ConnectionError::HandedOver`](crate::ConnectionError::HandedOver) as the reason, when the
    /// connection is given to a port or an endpoint that has other policies.
    fn closed(&mut self, reason: &Failure) {
        let _ = reason;
    }
}

/// Makes an observer for a connection.
#[derive(Clone)]
pub(crate) struct MakePolicy(pub(crate) Rc<Make>);

type Make = dyn Fn(&Address) -> Box<dyn Policy>;

/// The policies that the connections of one port, or of one call of `connect`, begin with; `None`
/// where an option is not set.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolicyConfig {
    pub(crate) idle: Option<Option<Duration>>,
    pub(crate) frame: Option<Option<Duration>>,
    pub(crate) rates: Option<RateLimits>,
    /// The limits for all connections together.
    pub(crate) total_rates: Option<RateLimits>,
    pub(crate) make: Vec<MakePolicy>,
}

impl PolicyConfig {
    /// Fills in the options that are not set from `other`; all observers are kept.
    pub(crate) fn or(mut self, other: &Self) -> Self {
        self.make.extend(other.make.iter().cloned());
        Self {
            idle: self.idle.or(other.idle),
            frame: self.frame.or(other.frame),
            rates: self.rates.or(other.rates),
            total_rates: self.total_rates.or(other.total_rates),
            make: self.make,
        }
    }

    fn is_empty(&self) -> bool {
        let has_limit = self.idle.flatten().is_some() || self.frame.flatten().is_some();
        let has_rate = |rates: Option<RateLimits>| !rates.unwrap_or_default().is_empty();
        !has_limit && !has_rate(self.rates) && !has_rate(self.total_rates) && self.make.is_empty()
    }
}

impl fmt::Debug for MakePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakePolicy")
    }
}

/// What [`PolicyConfig`] becomes when a port is opened: the connections share the total limits.
pub(crate) struct SharedPolicies {
    pub(super) config: PolicyConfig,
    pub(super) total: Rc<Total>,
}

impl SharedPolicies {
    /// Returns `None` where there is no policy.
    pub(crate) fn of(config: &PolicyConfig, now: Instant) -> Option<Rc<Self>> {
        (!config.is_empty()).then(|| {
            Rc::new(Self {
                total: Rc::new(Total::new(config.total_rates.unwrap_or_default(), now)),
                config: config.clone(),
            })
        })
    }
}
