//! The options of listening and connecting: [`ListenOptions`] and [`ConnectOptions`].

#[cfg(unix)]
use std::io;
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::address::Address;
use crate::clock::Clock;
use crate::driver::{Bind, Buffers, SocketHook};
use crate::reactor::Reactor;
#[cfg(unix)]
use crate::report;
use crate::transport::{
    ConnConfig, ConnCounter, DEFAULT_LINGER, Limits, MakePolicy, Policy, PolicyConfig, RateLimits,
    SendLimits, SharedPolicies,
};

/// The options of listening. By default the backlog is 1024, addresses can be reused at once, and
/// everyone may connect to a UNIX socket. Options that do not apply to the kind of address are
/// ignored.
///
/// Options are passed in a pair with the endpoint: `reactor.listen(("127.0.0.1:80", options), ..)`.
/// For each option, the value in the endpoint's text (`tcp:80:backlog=7`) or in its
/// [`ServerEndpoint::options`](crate::net::ServerEndpoint::options) takes precedence over that in
/// the pair, and the latter over the default.
///
/// # Examples
///
/// ```
/// use torsade::net::ListenOptions;
/// use torsade::transport::Limits;
///
/// let limits = Limits { high: 1 << 20, ..Limits::default() };
/// let options = ListenOptions::new().backlog(4096).limits(limits);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ListenOptions {
    // `None` where an option is not set: then the other options decide, then the defaults.
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
    max_per_peer: Option<usize>,
    policies: PolicyConfig,
    hook: Option<SocketHook>,
}

/// The options of connecting. By default the attempt at one address may take 30 seconds, and the
/// look-up and all attempts together a minute; the next address is tried after 250 milliseconds
/// without an answer, and the system chooses the local address.
///
/// Options are passed in a pair with the endpoint: `reactor.connect(("example.org:80", options),
/// ..)`. For each option, the value in the endpoint's text (`tcp:host:80:timeout=5`) or in its
/// [`ClientEndpoint::options`](crate::net::ClientEndpoint::options) takes precedence over that in
/// the pair, and the latter over the default.
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
    // `None` where an option is not set: then the other options decide, then the defaults.
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
    policies: PolicyConfig,
    hook: Option<SocketHook>,
}

/// [`ListenOptions`] with the defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct ListenConfig {
    pub(super) linger: Duration,
    pub(super) send_limits: SendLimits,
    pub(super) resets_on_error: bool,
    pub(super) bind: Bind,
    pub(super) limits: Limits,
    pub(super) max_connections: Option<usize>,
    pub(super) max_per_peer: Option<usize>,
    pub(super) policies: PolicyConfig,
}

/// [`ConnectOptions`] with the defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct ConnectConfig {
    pub(super) linger: Duration,
    pub(super) send_limits: SendLimits,
    pub(super) buffers: Buffers,
    pub(super) timeout: Duration,
    pub(super) overall: Duration,
    pub(super) attempt_delay: Duration,
    pub(super) bind: Option<Address>,
    pub(super) lock_file: bool,
    pub(super) limits: Limits,
    pub(super) policies: PolicyConfig,
    pub(super) hook: Option<SocketHook>,
}

/// The options of connections, both accepted and connected.
macro_rules! connection_options {
    ($options:ident) => {
        impl $options {
            /// Returns options that set nothing.
            pub fn new() -> Self {
                Self::default()
            }

            /// Sets the size of the system's send buffer, in bytes: how many written bytes may be
            /// unacknowledged (`SO_SNDBUF`). The system may round it, and Linux doubles it.
            /// Default: chosen and adjusted by the system.
            #[doc(alias = "SO_SNDBUF")]
            pub fn send_buffer(mut self, bytes: usize) -> Self {
                self.buffers.send = Some(bytes);
                self
            }

            /// Sets the size of the system's receive buffer, in bytes: how many received bytes may
            /// be unread (`SO_RCVBUF`). See [`send_buffer`](Self::send_buffer).
            #[doc(alias = "SO_RCVBUF")]
            pub fn receive_buffer(mut self, bytes: usize) -> Self {
                self.buffers.receive = Some(bytes);
                self
            }

            /// Sets how long the socket stays open after a connection was closed normally, until
            /// the peer has closed its side too. Default: 2 seconds. `connection_lost` does not
            /// wait for this; only the end of the reactor does.
            ///
            /// Meanwhile, bytes that the peer sends are read and discarded, at most 1 MiB; then
            /// nothing more is read.
            #[doc(alias = "SO_LINGER")]
            pub fn linger(mut self, limit: Duration) -> Self {
                self.linger = Some(limit);
                self
            }

            /// Resets a connection whose peer accepts no byte for this long while bytes are queued
            /// for it. Default: no limit, since a slow peer is not an error.
            ///
            /// The connection is lost with
            /// [`ConnectionError::SendTimedOut`](crate::transport::ConnectionError::SendTimedOut),
            /// and the bytes that it had queued are reported as
            /// [`ConnectionError::NotSent`](crate::transport::ConnectionError::NotSent).
            #[doc(alias("write_timeout", "SO_SNDTIMEO"))]
            pub fn send_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
                self.send_timeout = Some(limit.into());
                self
            }

            /// Resets a connection as [`send_timeout`](Self::send_timeout) does, but only once one
            /// of the two sides is closed. Default: 60 seconds; `None` means no limit. If both
            /// limits are set, the shorter one counts.
            ///
            /// The program closes its side with
            /// [`lose_connection`](crate::Transport::lose_connection),
            /// [`lose_write`](crate::Transport::lose_write), or by dropping a
            /// [`Connection`](crate::Connection). The peer's side is closed when it has sent its
            /// end of file.
            #[doc(alias("lingering_timeout", "SO_LINGER"))]
            pub fn close_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
                self.close_timeout = Some(limit.into());
                self
            }

            /// Ends a connection when no byte was received or sent for this long, with
            /// [`ConnectionError::Idle`](crate::transport::ConnectionError::Idle). Default: no
            /// limit. [`Transport::set_idle_timeout`](crate::Transport::set_idle_timeout) changes
            /// the limit of one connection.
            #[doc(alias("TimeoutFactory", "TimeoutMixin", "timeOut"))]
            pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
                self.policies.idle = Some(limit.into());
                self
            }

            /// Ends a connection when a frame of which a part has arrived is not complete after
            /// this long, with
            /// [`ConnectionError::FrameTimedOut`](crate::transport::ConnectionError::FrameTimedOut).
            /// Default: no limit.
            ///
            /// The limit applies to protocols that leave bytes in their
            /// [`Input`](crate::protocol::Input), and to async code that waits for a line or
            /// another frame.
            #[doc(alias("slowloris", "header_read_timeout"))]
            pub fn frame_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
                self.policies.frame = Some(limit.into());
                self
            }

            /// Limits how many bytes a second each connection receives and sends. Default: no
            /// limit.
            #[doc(alias("ThrottlingFactory", "throttle", "bandwidth"))]
            pub fn rate_limits(mut self, limits: RateLimits) -> Self {
                self.policies.rates = Some(limits);
                self
            }

            /// Adds an observer to each connection: `make` is called with the peer's address when
            /// the connection begins. The observers of the endpoint and those of the pair are all
            /// added.
            ///
            /// # Examples
            ///
            /// See [`TrafficLog`](crate::transport::TrafficLog).
            #[doc(alias = "TrafficLoggingFactory")]
            pub fn policy<P: Policy>(mut self, make: impl Fn(&Address) -> P + 'static) -> Self {
                let make = MakePolicy(Rc::new(move |peer| Box::new(make(peer))));
                self.policies.make.push(make);
                self
            }
        }
    };
}

connection_options!(ListenOptions);
connection_options!(ConnectOptions);

impl ListenOptions {
    /// Sets how many connections the system queues before they are accepted. Default: 1024; the
    /// system's own limit applies (`somaxconn` on Linux).
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.backlog = Some(backlog);
        self
    }

    /// Sets whether the address can be bound while old connections to it are in the state
    /// `TIME_WAIT` (`SO_REUSEADDR`). Default: `true`.
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = Some(reuse);
        self
    }

    /// Sets whether other sockets, in this process or another, may listen at the same address; the
    /// system distributes the connections among them (`SO_REUSEPORT`). All of them must set this.
    /// Default: `false`. Ignored on Windows, which has no such option.
    #[doc(alias("SO_REUSEPORT", "new_multi_thread"))]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = Some(reuse);
        self
    }

    /// Sets whether an IPv6 address also accepts IPv4 connections, whose peers' addresses then have
    /// the form `::ffff:127.0.0.1`. Default: `false`.
    #[doc(alias("IPV6_V6ONLY", "bindv6only"))]
    pub fn dual_stack(mut self, both: bool) -> Self {
        self.dual_stack = Some(both);
        self
    }

    /// Resets the connection when the handler of [`Reactor::serve`](crate::Reactor::serve) returns
    /// an error or panics, so that the peer cannot take half a response for a whole one. Default:
    /// `false`.
    ///
    /// Otherwise, the bytes that the handler has written by then are sent, and the connection is
    /// closed normally.
    #[doc(alias("abort_on_error", "RST"))]
    pub fn reset_on_error(mut self, reset: bool) -> Self {
        self.reset_on_error = Some(reset);
        self
    }

    /// Sets the mode of a UNIX socket's file, which decides who may connect, independently of the
    /// process's umask. Only the nine permission bits count. Default: `0o666`, everyone who can
    /// reach the directory.
    ///
    /// The mode is set before any peer can connect.
    #[doc(alias("chmod", "umask", "permissions"))]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode & 0o777);
        self
    }

    /// Sets whether a lock `PATH.lock` beside a UNIX socket's file names its owner. Default: `true`
    /// for text `unix:PATH`, `false` for all other endpoints, such as a path.
    ///
    /// While the owning process lives, no other process that uses the lock can listen there. After
    /// it has died, the next one takes the lock over and removes the stale file; without a lock an
    /// existing file is an error. The lock has the format of Twisted's `wantPID` and of
    /// [`DeferredFilesystemLock`](crate::locks::DeferredFilesystemLock).
    #[doc(alias("wantPID", "lockfile"))]
    pub fn lock_file(mut self, lock: bool) -> Self {
        self.lock_file = Some(lock);
        self
    }

    /// Sets how many written bytes each connection may queue. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the limit on the number of connections. Default: no limit. While the port has that many
    /// connections it accepts none, and new ones wait in the system's queue
    /// ([`backlog`](Self::backlog)).
    /// [`Port::set_max_connections`](crate::Port::set_max_connections) changes the limit later.
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = Some(limit);
        self
    }

    /// Sets the limit on the number of connections from one IP address. Default: no limit. A
    /// further connection is closed as soon as it has been accepted; nothing is called for it.
    ///
    /// Behind a proxy ([`ServerEndpoint::proxied`](crate::net::ServerEndpoint::proxied)) the
    /// client's address in the header counts. Peers of a UNIX socket have no IP address and are not
    /// limited.
    #[doc(alias("LimitConnectionsByPeer", "peerConnectionLimit"))]
    pub fn max_connections_per_peer(mut self, limit: usize) -> Self {
        self.max_per_peer = Some(limit);
        self
    }

    /// Limits how many bytes a second all connections of the port together receive and send.
    /// Default: no limit.
    #[doc(alias = "ThrottlingFactory")]
    pub fn total_rate_limits(mut self, limits: RateLimits) -> Self {
        self.policies.total_rates = Some(limits);
        self
    }

    /// Sets a function that is called with the socket before it is bound and listens, to set
    /// options that have no method here. The function is not called for a socket that listens
    /// already, for standard input and output, or for an in-memory socket.
    ///
    /// An error or a panic of the function is the error of the method that listens.
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

    /// Fills in the options that are not set from `other`.
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
            max_per_peer: self.max_per_peer.or(other.max_per_peer),
            policies: self.policies.or(&other.policies),
            hook: self.hook.or_else(|| other.hook.clone()),
        }
    }

    /// Fills in the defaults; `locks` is the default for the lock file.
    pub(super) fn config(self, locks: bool) -> ListenConfig {
        let default = Bind::default();
        ListenConfig {
            linger: self.linger.unwrap_or(DEFAULT_LINGER),
            send_limits: send_limits(self.send_timeout, self.close_timeout),
            resets_on_error: self.reset_on_error.unwrap_or(false),
            bind: Bind {
                backlog: self.backlog.unwrap_or(default.backlog),
                reuse_address: self.reuse_address.unwrap_or(default.reuse_address),
                reuse_port: self.reuse_port.unwrap_or(default.reuse_port),
                dual_stack: self.dual_stack.unwrap_or(default.dual_stack),
                peers_send_first: false,
                buffers: self.buffers,
                mode: self.mode.unwrap_or(default.mode),
                lock_file: self.lock_file.unwrap_or(locks),
                hook: self.hook,
            },
            limits: self.limits.unwrap_or_default(),
            max_connections: self.max_connections,
            max_per_peer: self.max_per_peer,
            policies: self.policies,
        }
    }
}

impl ListenConfig {
    /// Returns the configuration that the connections of a port share.
    pub(super) fn conn_config(
        &self,
        reactor: &Reactor,
        location: &'static Location<'static>,
    ) -> Rc<ConnConfig> {
        Rc::new(ConnConfig {
            limits: self.limits,
            linger: self.linger,
            send_limits: self.send_limits,
            resets_on_error: self.resets_on_error,
            counter: Some(ConnCounter::new(
                reactor,
                self.max_connections,
                self.max_per_peer,
            )),
            policies: SharedPolicies::of(&self.policies, reactor.now()),
            ..ConnConfig::new(reactor, location)
        })
    }
}

impl ConnectOptions {
    /// Sets the time limit for each address, and for the look-up of a host name. Default: 30
    /// seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time limit for the look-up and all attempts together. Default: twice the
    /// [`timeout`](Self::timeout).
    pub fn overall_timeout(mut self, timeout: Duration) -> Self {
        self.overall = Some(timeout);
        self
    }

    /// Sets how long an attempt may be without an answer before the next address is tried too (RFC
    /// 8305). Default: 250 milliseconds.
    ///
    /// When an attempt fails, the next one starts at once.
    #[doc(alias("attemptDelay", "happy_eyeballs_delay"))]
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = Some(delay);
        self
    }

    /// Sets whether the server of a UNIX socket must hold its lock ([`ListenOptions::lock_file`]):
    /// connecting fails with [`ConnectError::Refused`](crate::net::ConnectError::Refused) unless a
    /// living process holds `PATH.lock`. Default: `false`.
    #[doc(alias("checkPID", "lockfile"))]
    pub fn lock_file(mut self, lock: bool) -> Self {
        self.lock_file = Some(lock);
        self
    }

    /// Sets the local address. For a UNIX socket it is a path or an abstract name; the file that
    /// binding creates is not removed.
    #[doc(alias = "bindAddress")]
    pub fn bind(mut self, address: impl Into<Address>) -> Self {
        self.bind = Some(address.into());
        self
    }

    /// Sets how many written bytes the connection may queue. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets a function that is called with the socket before it is bound and connects, once for
    /// each address that is tried, to set options that have no method here. The function is not
    /// called for an in-memory socket.
    ///
    /// An error or a panic of the function is the error of that attempt. See
    /// [`ListenOptions::configure_socket`].
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

    /// Fills in the options that are not set from `other`.
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
            policies: self.policies.or(&other.policies),
            hook: self.hook.or_else(|| other.hook.clone()),
        }
    }

    /// Fills in the defaults.
    pub(super) fn config(self) -> ConnectConfig {
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        ConnectConfig {
            linger: self.linger.unwrap_or(DEFAULT_LINGER),
            send_limits: send_limits(self.send_timeout, self.close_timeout),
            buffers: self.buffers,
            timeout,
            overall: self.overall.unwrap_or_else(|| timeout.saturating_mul(2)),
            attempt_delay: self.attempt_delay.unwrap_or(ATTEMPT_DELAY),
            bind: self.bind,
            lock_file: self.lock_file.unwrap_or(false),
            limits: self.limits.unwrap_or_default(),
            policies: self.policies,
            hook: self.hook,
        }
    }
}

/// Returns the limits that are set, or the defaults.
fn send_limits(open: Option<Option<Duration>>, closing: Option<Option<Duration>>) -> SendLimits {
    let default = SendLimits::default();
    SendLimits {
        open: open.unwrap_or(default.open),
        closing: closing.unwrap_or(default.closing),
    }
}

/// Wraps the program's function for the driver, so that it does not unwind.
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

/// Returns the sizes of `one`, and those of `other` where `one` has none.
fn or(one: Buffers, other: Buffers) -> Buffers {
    Buffers {
        send: one.send.or(other.send),
        receive: one.receive.or(other.receive),
    }
}

/// The default time limit for each address.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The default time without an answer after which the next attempt starts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
