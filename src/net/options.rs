//! How to listen and how to connect, where the defaults do not fit.

#[cfg(unix)]
use std::io;
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::address::Address;
use crate::driver::{Bind, Buffers, SocketHook};
use crate::reactor::Reactor;
#[cfg(unix)]
use crate::report;
use crate::transport::{ConnConfig, ConnCounter, Limits, PATIENCE, Patience};

/// How to listen. By default the backlog is 1024, addresses are used again at once, and everybody may connect to a UNIX
/// socket. What does not concern the kind of the address is passed over.
///
/// Options are given with the endpoint, as a pair: `reactor.listen(("127.0.0.1:80", options), ..)`. What the endpoint's text
/// sets (`tcp:80:backlog=7`), or what [`ServerEndpoint::options`](crate::net::ServerEndpoint::options) sets, comes before the
/// options of the pair, and these come before the defaults, each option by itself.
///
/// # Examples
///
/// ```
/// use torsade::net::ListenOptions;
/// use torsade::transport::Limits;
///
/// let options = ListenOptions::new().backlog(4096).limits(Limits { high: 1 << 20, ..Limits::default() });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ListenOptions {
    // None of what was not set: the other options decide, then the defaults.
    linger: Option<Duration>,
    backlog: Option<i32>,
    reuse_address: Option<bool>,
    reuse_port: Option<bool>,
    dual_stack: Option<bool>,
    buffers: Buffers,
    mode: Option<u32>,
    lock_file: Option<bool>,
    limits: Option<Limits>,
    max_connections: Option<usize>,
    send_timeout: Option<Option<Duration>>,
    close_timeout: Option<Option<Duration>>,
    reset_on_error: Option<bool>,
    hook: Option<SocketHook>,
}

/// How to connect. By default an attempt may take 30 seconds, the whole a minute, the next address is tried after a quarter
/// of a second without an answer, and the system chooses our address.
///
/// Options are given with the endpoint, as a pair: `reactor.connect(("example.org:80", options), ..)`. What the endpoint's
/// text sets (`tcp:host:80:timeout=5`), or what [`ClientEndpoint::options`](crate::net::ClientEndpoint::options) sets, comes
/// before the options of the pair, and these come before the defaults, each option by itself.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::net::ConnectOptions;
///
/// let options = ConnectOptions::new().timeout(Duration::from_secs(5)).bind(([127, 0, 0, 1], 0));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ConnectOptions {
    // None of what was not set: the other options decide, then the defaults.
    linger: Option<Duration>,
    buffers: Buffers,
    timeout: Option<Duration>,
    overall: Option<Duration>,
    attempt_delay: Option<Duration>,
    bind: Option<Address>,
    lock_file: Option<bool>,
    limits: Option<Limits>,
    send_timeout: Option<Option<Duration>>,
    close_timeout: Option<Option<Duration>>,
    hook: Option<SocketHook>,
}

/// [`ListenOptions`] with the defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct ListenConfig {
    pub(super) linger: Duration,
    pub(super) patience: Patience,
    pub(super) resets_on_error: bool,
    pub(super) bind: Bind,
    pub(super) limits: Limits,
    pub(super) max_connections: Option<usize>,
}

/// [`ConnectOptions`] with the defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct ConnectConfig {
    pub(super) linger: Duration,
    pub(super) patience: Patience,
    pub(super) buffers: Buffers,
    pub(super) timeout: Duration,
    pub(super) overall: Duration,
    pub(super) attempt_delay: Duration,
    pub(super) bind: Option<Address>,
    pub(super) lock_file: bool,
    pub(super) limits: Limits,
    pub(super) hook: Option<SocketHook>,
}

/// What can be set of connections, however they come about.
macro_rules! connection_options {
    ($options:ident) => {
        impl $options {
            /// Returns options that set nothing.
            pub fn new() -> Self {
                Self::default()
            }

            /// How many bytes the system may hold that were written and not yet acknowledged. (The system may round it, and Linux
            /// holds twice as much.) Without, the system decides, and changes it as it sees fit.
            #[doc(alias = "SO_SNDBUF")]
            pub fn send_buffer(mut self, bytes: usize) -> Self {
                self.buffers.send = Some(bytes);
                self
            }

            /// How many bytes the system may hold that came and were not yet read; as for [`send_buffer`](Self::send_buffer).
            #[doc(alias = "SO_RCVBUF")]
            pub fn receive_buffer(mut self, bytes: usize) -> Self {
                self.buffers.receive = Some(bytes);
                self
            }

            /// Sets how long the socket stays when a connection has ended in good order, until the peer has closed its side as
            /// well: 2 seconds unless set. Nobody waits for it, but the end of the reactor does.
            ///
            /// What the peer still sends is read and thrown away meanwhile, 1 MiB at most; then the peer is read no more.
            #[doc(alias = "SO_LINGER")]
            pub fn linger(mut self, limit: Duration) -> Self {
                self.linger = Some(limit);
                self
            }

            /// Resets a connection whose peer accepts no byte for this long while bytes are queued for it: without limit
            /// unless set, since a peer may well take its time.
            ///
            /// The connection is lost with [`ConnectionError::SendTimedOut`](crate::transport::ConnectionError::SendTimedOut), and what it had queued is reported
            /// as [`ConnectionError::NotSent`](crate::transport::ConnectionError::NotSent).
            #[doc(alias("write_timeout", "SO_SNDTIMEO"))]
            pub fn send_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
                self.send_timeout = Some(limit.into());
                self
            }

            /// Sets the same limit for a connection of which one side is closed while bytes are queued: 60 seconds unless set,
            /// `None` for no limit.
            ///
            /// The program closes its side by [`lose_connection`](crate::Transport::lose_connection),
            /// [`lose_write`](crate::Transport::lose_write) or dropping a [`Connection`](crate::Connection). A peer that has closed
            /// its side and still does not read waits for nothing.
            #[doc(alias("lingering_timeout", "SO_LINGER"))]
            pub fn close_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
                self.close_timeout = Some(limit.into());
                self
            }
        }
    };
}

connection_options!(ListenOptions);
connection_options!(ConnectOptions);

impl ListenOptions {
    /// Sets how many connections the system keeps waiting to be accepted: 1024 by default, and never more than the system's
    /// own limit (`somaxconn` on Linux).
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.backlog = Some(backlog);
        self
    }

    /// May the address be used again while old connections to it are still dying?
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = Some(reuse);
        self
    }

    /// May others, in this process or another one, listen at the same address, so that the system shares the connections
    /// out? All of them must say so. (Not on Windows.)
    #[doc(alias = "SO_REUSEPORT")]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = Some(reuse);
        self
    }

    /// Does an IPv6 address take IPv4 connections as well? Their peers' addresses are then of the kind `::ffff:127.0.0.1`.
    #[doc(alias("IPV6_V6ONLY", "bindv6only"))]
    pub fn dual_stack(mut self, both: bool) -> Self {
        self.dual_stack = Some(both);
        self
    }

    /// Resets the connection when the handler of [`Reactor::serve`](crate::Reactor::serve) returns an error or panics,
    /// so that half an answer cannot look whole to the peer.
    ///
    /// Unless set, what the handler has written by then is sent, and the connection is closed in good order.
    #[doc(alias("abort_on_error", "RST"))]
    pub fn reset_on_error(mut self, reset: bool) -> Self {
        self.reset_on_error = Some(reset);
        self
    }

    /// Who may connect to a UNIX socket: the mode of its file, whatever the process's mask is. By default it is
    /// `0o666`: everybody who gets to the directory. Only the nine bits of a file's permissions count.
    ///
    /// The mode holds from the beginning: nobody can connect before it is set.
    #[doc(alias("chmod", "umask", "permissions"))]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode & 0o777);
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

    /// How much each connection may queue.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets how many connections the port may have at a time; without, any number. While it has so many it accepts none, and
    /// what comes waits in the system's queue ([`backlog`](Self::backlog)). It can be changed later
    /// ([`Port::set_max_connections`](crate::Port::set_max_connections)).
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = Some(limit);
        self
    }

    /// Has `f` called with the socket before it is bound and listens, for options that have no method here. Of a socket that
    /// listens already, of standard input and output, and in memory, it is not called.
    ///
    /// What it fails with is why the call that listens fails; so is a panic.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// use torsade::net::ListenOptions;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let options = ListenOptions::new()
    ///         .configure_socket(|socket| Ok(rustix::net::sockopt::set_ip_ttl(socket, 7)?));
    ///     let port = reactor.listen(("127.0.0.1:0", &options), |_peer| Quiet)?;
    ///     let ttl = port.with_fd(|socket| rustix::net::sockopt::ip_ttl(socket))??;
    ///     assert_eq!(ttl, 7);
    ///     port.stop().await
    /// })
    /// # }
    /// # struct Quiet;
    /// # impl torsade::Protocol for Quiet {
    /// #     fn data_received(&mut self, _: &mut torsade::Context<'_, Self>, _: &[u8]) {}
    /// # }
    /// ```
    #[cfg(unix)]
    #[doc(alias("setsockopt", "SO_BINDTODEVICE", "IP_FREEBIND"))]
    #[track_caller]
    pub fn configure_socket(
        mut self,
        f: impl Fn(BorrowedFd<'_>) -> io::Result<()> + 'static,
    ) -> Self {
        self.hook = Some(hook(f, Location::caller()));
        self
    }

    /// Fills in from `other` what these options do not set.
    pub(super) fn or(self, other: &Self) -> Self {
        Self {
            linger: self.linger.or(other.linger),
            backlog: self.backlog.or(other.backlog),
            reuse_address: self.reuse_address.or(other.reuse_address),
            reuse_port: self.reuse_port.or(other.reuse_port),
            dual_stack: self.dual_stack.or(other.dual_stack),
            buffers: or(self.buffers, other.buffers),
            mode: self.mode.or(other.mode),
            lock_file: self.lock_file.or(other.lock_file),
            limits: self.limits.or(other.limits),
            max_connections: self.max_connections.or(other.max_connections),
            send_timeout: self.send_timeout.or(other.send_timeout),
            close_timeout: self.close_timeout.or(other.close_timeout),
            reset_on_error: self.reset_on_error.or(other.reset_on_error),
            hook: self.hook.or_else(|| other.hook.clone()),
        }
    }

    /// Fills in the defaults; `locks` is the default for the lock file.
    pub(super) fn config(self, locks: bool) -> ListenConfig {
        let default = Bind::default();
        ListenConfig {
            linger: self.linger.unwrap_or(PATIENCE),
            patience: patience(self.send_timeout, self.close_timeout),
            resets_on_error: self.reset_on_error.unwrap_or(false),
            bind: Bind {
                backlog: self.backlog.unwrap_or(default.backlog),
                reuse_address: self.reuse_address.unwrap_or(default.reuse_address),
                reuse_port: self.reuse_port.unwrap_or(default.reuse_port),
                dual_stack: self.dual_stack.unwrap_or(default.dual_stack),
                buffers: self.buffers,
                mode: self.mode.unwrap_or(default.mode),
                lock_file: self.lock_file.unwrap_or(locks),
                hook: self.hook,
            },
            limits: self.limits.unwrap_or_default(),
            max_connections: self.max_connections,
        }
    }
}

impl ListenConfig {
    /// What the connections of a port have in common.
    pub(super) fn conn_config(
        &self,
        reactor: &Reactor,
        location: &'static Location<'static>,
    ) -> Rc<ConnConfig> {
        Rc::new(ConnConfig {
            limits: self.limits,
            linger: self.linger,
            patience: self.patience,
            resets_on_error: self.resets_on_error,
            counter: Some(ConnCounter::new(reactor, self.max_connections)),
            ..ConnConfig::new(reactor, location)
        })
    }
}

impl ConnectOptions {
    /// How long the attempt at one address may take, and how long the look-up of a name.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
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
        self.attempt_delay = Some(delay);
        self
    }

    /// Must the server's lock be held, for a UNIX socket? Then connecting fails with
    /// [`ConnectionRefused`](crate::net::ConnectionRefused) unless a process that is alive has `PATH.lock`.
    #[doc(alias("checkPID", "lockfile"))]
    pub fn lock_file(mut self, lock: bool) -> Self {
        self.lock_file = Some(lock);
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
        self.limits = Some(limits);
        self
    }

    /// Has `f` called with the socket before it is bound and connects, for options that have no method here: once for each
    /// address that is tried. In memory it is not called.
    ///
    /// What it fails with is why that attempt fails; so is a panic. See [`ListenOptions::configure_socket`].
    #[cfg(unix)]
    #[doc(alias("setsockopt", "SO_BINDTODEVICE", "SO_MARK"))]
    #[track_caller]
    pub fn configure_socket(
        mut self,
        f: impl Fn(BorrowedFd<'_>) -> io::Result<()> + 'static,
    ) -> Self {
        self.hook = Some(hook(f, Location::caller()));
        self
    }

    /// Fills in from `other` what these options do not set.
    pub(super) fn or(self, other: &Self) -> Self {
        Self {
            linger: self.linger.or(other.linger),
            buffers: or(self.buffers, other.buffers),
            timeout: self.timeout.or(other.timeout),
            overall: self.overall.or(other.overall),
            attempt_delay: self.attempt_delay.or(other.attempt_delay),
            bind: self.bind.or_else(|| other.bind.clone()),
            lock_file: self.lock_file.or(other.lock_file),
            limits: self.limits.or(other.limits),
            send_timeout: self.send_timeout.or(other.send_timeout),
            close_timeout: self.close_timeout.or(other.close_timeout),
            hook: self.hook.or_else(|| other.hook.clone()),
        }
    }

    /// Fills in the defaults.
    pub(super) fn config(self) -> ConnectConfig {
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        ConnectConfig {
            linger: self.linger.unwrap_or(PATIENCE),
            patience: patience(self.send_timeout, self.close_timeout),
            buffers: self.buffers,
            timeout,
            overall: self.overall.unwrap_or_else(|| timeout.saturating_mul(2)),
            attempt_delay: self.attempt_delay.unwrap_or(ATTEMPT_DELAY),
            bind: self.bind,
            lock_file: self.lock_file.unwrap_or(false),
            limits: self.limits.unwrap_or_default(),
            hook: self.hook,
        }
    }
}

/// The limits that were set, and the defaults.
fn patience(open: Option<Option<Duration>>, closing: Option<Option<Duration>>) -> Patience {
    let default = Patience::default();
    Patience {
        open: open.unwrap_or(default.open),
        closing: closing.unwrap_or(default.closing),
    }
}

/// What the driver calls, which does not unwind.
#[cfg(unix)]
fn hook(
    f: impl Fn(BorrowedFd<'_>) -> io::Result<()> + 'static,
    location: &'static Location<'static>,
) -> SocketHook {
    SocketHook(Rc::new(move |socket| {
        let done = report::catch_rarely(location, || f(socket));
        done.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }))
}

/// The sizes of `one`, and of `other` where that sets none.
fn or(one: Buffers, other: Buffers) -> Buffers {
    Buffers {
        send: one.send.or(other.send),
        receive: one.receive.or(other.receive),
    }
}

/// How long the attempt at one address may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long an attempt may be without an answer before the next one is started.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
