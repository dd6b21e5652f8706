//! How to listen and how to connect, where the defaults do not fit.

use std::net::SocketAddr;
use std::time::Duration;

use crate::transport::Limits;

/// How to listen. The defaults are Twisted's: a backlog of 50, and addresses used again at once.
///
/// # Examples
///
/// ```
/// use torsade::net::tcp::ListenOptions;
/// use torsade::transport::Limits;
///
/// let options = ListenOptions::new().backlog(1024).limits(Limits { high: 1 << 20, ..Limits::default() });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ListenOptions {
    pub(super) backlog: i32,
    pub(super) reuse_address: bool,
    pub(super) limits: Limits,
}

/// How to connect. By default an attempt may take 30 seconds, and the system chooses our address.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::net::tcp::ConnectOptions;
///
/// let options = ConnectOptions::new().timeout(Duration::from_secs(5)).bind(([127, 0, 0, 1], 0).into());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ConnectOptions {
    pub(super) timeout: Duration,
    pub(super) bind: Option<SocketAddr>,
    pub(super) limits: Limits,
}

impl ListenOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            backlog: 50,
            reuse_address: true,
            limits: Limits::default(),
        }
    }

    /// How many connections the system keeps waiting to be accepted.
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.backlog = backlog;
        self
    }

    /// May the address be used again while old connections to it are still dying?
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = reuse;
        self
    }

    /// How much each connection may queue.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            bind: None,
            limits: Limits::default(),
        }
    }

    /// How long the attempt at one address may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Our own address.
    #[doc(alias = "bindAddress")]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// How much the connection may queue.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}
