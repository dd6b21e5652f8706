//! How to listen and how to connect, where the defaults do not fit.

use std::time::Duration;

use crate::address::Address;
use crate::driver::{Bind, Buffers};
use crate::transport::{Limits, PATIENCE};

/// How to listen. The defaults are Twisted's: a backlog of 50, addresses used again at once, UNIX sockets that
/// everybody may connect to. What does not concern the kind of the address is passed over.
///
/// # Examples
///
/// ```
/// use torsade::net::ListenOptions;
/// use torsade::transport::Limits;
///
/// let options = ListenOptions::new().backlog(1024).limits(Limits { high: 1 << 20, ..Limits::default() });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ListenOptions {
    pub(super) linger: Duration,
    pub(super) bind: Bind,
    /// None where the endpoint decides.
    pub(super) lock_file: Option<bool>,
    pub(super) limits: Limits,
}

/// How to connect. By default an attempt may take 30 seconds, the whole a minute, the next address is tried after a quarter
/// of a second without an answer, and the system chooses our address.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::net::ConnectOptions;
///
/// let options = ConnectOptions::new().timeout(Duration::from_secs(5)).bind(([127, 0, 0, 1], 0));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ConnectOptions {
    pub(super) linger: Duration,
    pub(super) buffers: Buffers,
    pub(super) timeout: Duration,
    pub(super) overall: Option<Duration>,
    pub(super) attempt_delay: Duration,
    pub(super) bind: Option<Address>,
    pub(super) lock_file: bool,
    pub(super) limits: Limits,
}

impl ListenOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            bind: Bind::default(),
            lock_file: None,
            limits: Limits::default(),
            linger: PATIENCE,
        }
    }

    /// How many connections the system keeps waiting to be accepted.
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.bind.backlog = backlog;
        self
    }

    /// May the address be used again while old connections to it are still dying?
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.bind.reuse_address = reuse;
        self
    }

    /// May others, in this process or another one, listen at the same address, so that the system shares the connections
    /// out? All of them must say so. (Not on Windows.)
    #[doc(alias = "SO_REUSEPORT")]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.bind.reuse_port = reuse;
        self
    }

    /// Does an IPv6 address take IPv4 connections as well? Their peers' addresses are then of the kind `::ffff:127.0.0.1`.
    #[doc(alias("IPV6_V6ONLY", "bindv6only"))]
    pub fn dual_stack(mut self, both: bool) -> Self {
        self.bind.dual_stack = both;
        self
    }

    /// How many bytes the system may hold that were written and not yet acknowledged. (The system may round it, and Linux
    /// holds twice as much.) Without, the system decides, and changes it as it sees fit.
    #[doc(alias = "SO_SNDbind.buffers")]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.bind.buffers.send = Some(bytes);
        self
    }

    /// How many bytes the system may hold that came and were not yet read; as for [`send_buffer`](Self::send_buffer).
    #[doc(alias = "SO_RCVbind.buffers")]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.bind.buffers.receive = Some(bytes);
        self
    }

    /// How long the socket may stay when a connection has ended in good order, until the peer has got all: 2 seconds unless
    /// told. Nobody waits for it.
    #[doc(alias = "SO_LINGER")]
    pub fn linger(mut self, limit: Duration) -> Self {
        self.linger = limit;
        self
    }

    /// Who may connect to a UNIX socket: the mode of its file, whatever the process's mask is. By default it is
    /// `0o666`: everybody who gets to the directory. Only the nine bits of a file's permissions count.
    ///
    /// The mode holds from the beginning: nobody can connect before it is set.
    #[doc(alias("chmod", "umask", "permissions"))]
    pub fn mode(mut self, mode: u32) -> Self {
        self.bind.mode = mode & 0o777;
        self
    }

    /// Is a lock beside a UNIX socket's file, `PATH.lock`, to say whose it is? By default not, but with a description
    /// (`unix:PATH`) it is, unless that says otherwise.
    ///
    /// While the process lives nobody else who asks for the lock listens there. When it has died, the next one takes
    /// the lock over and removes the file that was left behind; without a lock a file in the way is an error. It is the
    /// lock of Twisted's `wantPID` and of [`DeferredFilesystemLock`](crate::locks::DeferredFilesystemLock).
    #[doc(alias("wantPID", "lockfile"))]
    pub fn lock_file(mut self, lock: bool) -> Self {
        self.lock_file = Some(lock);
        self
    }

    /// What the driver is told; `text` if the endpoint was given as text.
    pub(super) fn settled(mut self, text: bool) -> Self {
        self.bind.lock_file = self.lock_file.unwrap_or(text);
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
            overall: None,
            attempt_delay: Duration::from_millis(250),
            bind: None,
            lock_file: false,
            limits: Limits::default(),
            linger: PATIENCE,
            buffers: Buffers::default(),
        }
    }

    /// How long the attempt at one address may take, and how long the look-up of a name.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long the whole may take, with the look-up and all attempts: twice as long as one, unless told.
    pub fn overall_timeout(mut self, timeout: Duration) -> Self {
        self.overall = Some(timeout);
        self
    }

    /// How long an attempt may be without an answer before the next address is tried as well (RFC 8305).
    ///
    /// An attempt that fails is followed by the next one at once.
    #[doc(alias("attemptDelay", "happy_eyeballs_delay"))]
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay;
        self
    }

    /// How many bytes the system may hold that were written and not yet acknowledged. (The system may round it, and Linux
    /// holds twice as much.) Without, the system decides, and changes it as it sees fit.
    #[doc(alias = "SO_SNDbuffers")]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.buffers.send = Some(bytes);
        self
    }

    /// How many bytes the system may hold that came and were not yet read; as for [`send_buffer`](Self::send_buffer).
    #[doc(alias = "SO_RCVbuffers")]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.buffers.receive = Some(bytes);
        self
    }

    /// How long the socket may stay when a connection has ended in good order, until the peer has got all: 2 seconds unless
    /// told. Nobody waits for it.
    #[doc(alias = "SO_LINGER")]
    pub fn linger(mut self, limit: Duration) -> Self {
        self.linger = limit;
        self
    }

    /// Must the server's lock be held, for a UNIX socket? Then connecting fails with
    /// [`ConnectionRefused`](crate::net::ConnectionRefused) unless a process that is alive has `PATH.lock`.
    #[doc(alias("checkPID", "lockfile"))]
    pub fn lock_file(mut self, lock: bool) -> Self {
        self.lock_file = lock;
        self
    }

    /// Our own address. A UNIX socket's is a path or a name of its own kind; the file it makes is left there.
    #[doc(alias = "bindAddress")]
    pub fn bind(mut self, address: impl Into<Address>) -> Self {
        self.bind = Some(address.into());
        self
    }

    /// How much the connection may queue.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(super) fn overall(&self) -> Duration {
        let twice = || self.timeout.saturating_mul(2);
        self.overall.unwrap_or_else(twice)
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
