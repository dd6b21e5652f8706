//! Sockets that somebody else has made, adopted from this program's own code: to listen with, and connections.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::rc::Rc;

use crate::address::Address;
use crate::defer::Deferred;
use crate::driver::Socket;
use crate::failure::{Cancelled, Failure};
use crate::net::endpoint::ServerEndpoint;
use crate::net::errors::CannotAdopt;
use crate::net::streams::port::Port;
use crate::protocol::{BuildProtocol, Handle, IntoProtocol, Protocol, Seated, handle, visit};
use crate::reactor::Reactor;
use crate::report;
use crate::stream::Connection;
use crate::transport::{Conn, Terms};

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
        Connection::of_socket(self, socket, peer, &terms)
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
            ..Terms::new(self, place)
        };
        Ok((socket, peer, Rc::new(terms)))
    }
}
