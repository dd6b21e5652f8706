//! Sockets that somebody else has made: adopted from this program's own code, or inherited from whoever started it.
//!
//! # Invariants
//!
//! 1. A socket that was given is listened with once; clones of its endpoint share it.
//! 2. Adopted sockets are closed and nothing else: nothing is shut down and no file is removed, so other processes that
//!    have them go on.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::rc::Rc;

use super::activation::{self, Which};
use super::endpoint::ServerEndpoint;
use super::port::Port;
use crate::address::Address;
use crate::defer::Deferred;
use crate::driver::{Listener, NotAdopted, Socket};
use crate::failure::{Cancelled, Failure};
use crate::protocol::{BuildProtocol, Handle, IntoProtocol, Protocol, Seated, handle, visit};
use crate::reactor::Reactor;
use crate::report;
use crate::stream::Connection;
use crate::transport::{Conn, Terms};
use std::sync::{Arc, Mutex, PoisonError};

/// A socket that listens already, to be listened with.
#[derive(Clone, Debug)]
pub(super) struct Given {
    what: What,
    /// What it must be, if that was said.
    family: Option<Family>,
}

#[derive(Clone, Debug)]
enum What {
    /// Empty once it has been taken.
    Owned(Arc<Mutex<Option<OwnedFd>>>),
    Inherited(Which),
}

/// A kind of address, by the name that descriptions have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Inet,
    Inet6,
    Unix,
}

/// A descriptor cannot be adopted: it is not what it should be, or the system would not.
#[doc(alias("UnsupportedAddressFamily", "UnsupportedSocketType"))]
#[derive(Debug)]
pub struct CannotAdopt {
    wanted: &'static str,
    found: Result<String, io::Error>,
}

/// A socket that was given has been listened with already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlreadyListened;

impl Reactor {
    /// Listens with a socket that somebody else has bound and that listens already, with a protocol for each
    /// connection made by `build`: a `TcpListener` or `UnixListener` of `std`, or any `OwnedFd`.
    ///
    /// To serve it with an async function or a factory, give [`ServerEndpoint::adopt`] to [`Reactor::serve`] or
    /// [`Reactor::listen_factory`]. The socket is made non-blocking, for all processes that share it, and closed on exec.
    /// Stopping the port closes it and no more: a UNIX socket's file stays, and others that have the socket go on accepting.
    ///
    /// # Errors
    ///
    /// [`CannotAdopt`] when it is no stream socket that listens.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Failure, Protocol};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) { cx.write(data) }
    /// # }
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    ///     let port = reactor.adopt_listener(listener, |_peer| Echo)?;
    ///     assert!(port.local_addr().port().is_some());
    ///     port.stop().await
    /// })
    /// # }
    /// ```
    #[doc(alias("adoptStreamPort", "from_std"))]
    #[track_caller]
    pub fn adopt_listener<R: IntoProtocol + 'static>(
        &self,
        listener: impl Into<OwnedFd>,
        build: impl BuildProtocol<R> + 'static,
    ) -> Result<Port, Failure> {
        self.listen(ServerEndpoint::adopt(listener), build)
    }

    /// Takes over a connection that somebody else has made, with a protocol: a `TcpStream` or `UnixStream` of `std`, or
    /// any `OwnedFd`. Gives the protocol's [`Handle`] when its `connection_made` has run.
    ///
    /// The socket is made non-blocking, for all processes that share it, and closed on exec.
    ///
    /// # Errors
    ///
    /// [`CannotAdopt`] when it is no stream socket that is connected.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Failure, Protocol};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) { cx.write(data) }
    /// # }
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let (one, other) = std::os::unix::net::UnixStream::pair()?;
    ///     reactor.adopt_connection(one, Echo).await?;
    ///     let mut conn = reactor.adopt_stream(other)?;
    ///     conn.write_all(b"hello\n").await?;
    ///     assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("adoptStreamConnection", "from_std"))]
    #[track_caller]
    pub fn adopt_connection<P: Protocol>(
        &self,
        socket: impl Into<OwnedFd>,
        protocol: P,
    ) -> Deferred<Handle<P>> {
        let place = Location::caller();
        let (socket, peer, terms) = match self.adopt(socket.into(), place) {
            Ok(adopted) => adopted,
            Err(failure) => return Deferred::fail(failure),
        };
        let (deferred, resolver) = Deferred::pair();
        let slot = Rc::new(Cell::new(Some((socket, protocol, resolver))));
        let (later, reactor) = (slot.clone(), self.downgrade());
        self.inner().executor().call(place, move || {
            let (Some(reactor), Some((socket, protocol, resolver))) =
                (reactor.upgrade(), later.take())
            else {
                return;
            };
            let made = Conn::new(&reactor, socket, peer, &terms, Seated::new(protocol));
            resolver.resolve(made.map(|conn| {
                conn.begin(&reactor, || {
                    visit(&conn, &reactor, |protocol, cx| protocol.connection_made(cx));
                });
                handle(&conn)
            }));
        });
        // Whatever becomes of the call, becomes of what it holds.
        let slot = Rc::downgrade(&slot);
        deferred.on_cancel(move || {
            let held = slot.upgrade().and_then(|slot| slot.take());
            if let Some((socket, protocol, resolver)) = held {
                drop(socket);
                report::discard(protocol, place);
                resolver.errback(Failure::at(Cancelled, place));
            }
        })
    }

    /// Takes over a connection that somebody else has made, to be read and written by async code. See
    /// [`Reactor::adopt_connection`].
    ///
    /// # Errors
    ///
    /// [`CannotAdopt`] when it is no stream socket that is connected.
    #[doc(alias("adoptStreamConnection", "from_std"))]
    #[track_caller]
    pub fn adopt_stream(&self, socket: impl Into<OwnedFd>) -> Result<Connection, Failure> {
        let place = Location::caller();
        let (socket, peer, terms) = self.adopt(socket.into(), place)?;
        let conn = Conn::new(self, socket, peer, &terms, Connection::seat())?;
        conn.begin(self, || {});
        Ok(Connection::new(conn))
    }

    fn adopt(
        &self,
        fd: OwnedFd,
        place: &'static Location<'static>,
    ) -> Result<(Socket, Address, Rc<Terms>), Failure> {
        let adopted = self.inner().driver().adopt_connection(fd);
        let (socket, peer) = adopted.map_err(|why| {
            let error = CannotAdopt::new("a stream socket that is connected", why);
            Failure::at(error, place)
        })?;
        let terms = Terms {
            is_shared: true,
            ..Terms::new(place)
        };
        Ok((socket, peer, Rc::new(terms)))
    }
}

impl Given {
    /// One that this program has.
    pub(super) fn owned(fd: OwnedFd) -> Self {
        Self {
            what: What::Owned(Arc::new(Mutex::new(Some(fd)))),
            family: None,
        }
    }

    /// One that the process was started with.
    pub(super) fn inherited(which: Which, family: Option<Family>) -> Self {
        Self {
            what: What::Inherited(which),
            family,
        }
    }

    /// Takes the socket (invariant 1).
    pub(super) fn listen(&self, reactor: &Reactor) -> Result<Listener, Failure> {
        match &self.what {
            What::Owned(slot) => {
                let fd = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.adopt(reactor, fd.ok_or_else(|| Failure::new(AlreadyListened))?)
            }
            What::Inherited(which) => {
                let (number, fd) = activation::take_given(which)?;
                let adopted = self.adopt(reactor, fd);
                if adopted.is_err() {
                    activation::give_back(number);
                }
                adopted
            }
        }
    }

    fn adopt(&self, reactor: &Reactor, fd: OwnedFd) -> Result<Listener, Failure> {
        let wanted = self
            .family
            .map_or("a stream socket that listens", Family::listener);
        let adopted = reactor.inner().driver().adopt_listener(fd);
        let listener = adopted.map_err(|why| Failure::new(CannotAdopt::new(wanted, why)))?;
        let found = Family::of(&listener.local_addr()?);
        if self.family.is_some_and(|family| family != found) {
            let found = Ok(found.listener().into());
            return Err(Failure::new(CannotAdopt { wanted, found }));
        }
        Ok(listener)
    }
}

impl Family {
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix("AF_").unwrap_or(text);
        [Self::Inet, Self::Inet6, Self::Unix]
            .into_iter()
            .find(|family| family.to_string() == text)
    }

    fn of(address: &Address) -> Self {
        match address {
            Address::Ip(address) if address.is_ipv6() => Self::Inet6,
            Address::Ip(_) => Self::Inet,
            _ => Self::Unix,
        }
    }

    fn listener(self) -> &'static str {
        match self {
            Self::Inet => "a TCP socket of IPv4 that listens",
            Self::Inet6 => "a TCP socket of IPv6 that listens",
            Self::Unix => "a UNIX socket that listens",
        }
    }
}

impl CannotAdopt {
    pub(super) fn new(wanted: &'static str, why: NotAdopted) -> Self {
        let found = match why {
            NotAdopted::Is(found) => Ok(found),
            NotAdopted::Io(error) => Err(error),
        };
        Self { wanted, found }
    }
}

impl fmt::Display for CannotAdopt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Ok(found) => write!(f, "{} is wanted, and this is {found}", self.wanted),
            Err(_) => write!(f, "{} is wanted, and this cannot be looked at", self.wanted),
        }
    }
}

impl Error for CannotAdopt {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.found.as_ref().err()?)
    }
}

impl fmt::Display for AlreadyListened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the socket that was given has been listened with already")
    }
}

impl Error for AlreadyListened {}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "INET",
            Self::Inet6 => "INET6",
            Self::Unix => "UNIX",
        })
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = match &self.what {
            What::Owned(_) => return f.write_str("an adopted socket"),
            What::Inherited(which) => which,
        };
        match which {
            Which::Number(number) => write!(f, "fd:{number}")?,
            Which::Index(index) => write!(f, "systemd:index={index}")?,
            Which::Name(name) => write!(f, "systemd:name={}", super::quote(name))?,
        }
        match self.family {
            Some(family) => write!(f, ":domain={family}"),
            None => Ok(()),
        }
    }
}
