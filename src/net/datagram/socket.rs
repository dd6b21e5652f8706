//! A port of datagrams for async code: [`UdpSocket`].
//!
//! # Invariants
//!
//! 1. The loop reads nothing ahead: a datagram is read when somebody who awaits one is polled. So a receive that is
//!    dropped while it waits loses nothing.
//! 2. What nobody reads costs two wakes, then the driver is not asked any more until somebody does.
//! 3. Whoever waits is woken, however many there are; one of them gets it.
//! 4. A task that never has to wait is made to yield now and then.
//! 5. A future that is dropped leaves no waker behind, however long nothing comes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use futures::{Sink, Stream};

use super::DatagramPort;
use super::convert::ToDatagramAddress;
use super::engine::{DatagramConn, DatagramHandler, Got};
use super::errors::{PortClosed, truncated};
use crate::address::Address;
use crate::debug::Thing;
use crate::driver::Arrived;
use crate::failure::Failure;
use crate::index::Indexed;
use crate::net::errors::ConnectionRefused;
use crate::reactor::Reactor;
use crate::task::{self, Wait, budget, own_waker};

/// A UDP or UNIX socket, for async code: send to, receive from, connect.
///
/// Its methods take `&self`, so that several tasks may use one. It is futures' [`Stream`] of whole datagrams with their
/// senders, and a [`Sink`] of datagrams with their receivers. Dropping it closes the port.
///
/// # Cancel safety
///
/// Every method may be dropped while it waits: what was not reported as received is still there, what was not reported
/// as sent was not sent.
///
/// # Examples
///
/// ```
/// use torsade::testing;
///
/// testing::run(async |reactor| {
///     let one = reactor.bind_datagram("127.0.0.1:0")?;
///     let other = reactor.bind_datagram("127.0.0.1:0")?;
///     one.connect(other.local_addr())?;
///     one.send(b"hello").await?;
///     let (count, from) = other.recv_from(&mut [0; 100]).await?;
///     assert_eq!((count, from), (5, one.local_addr()));
///     Ok(())
/// });
/// ```
#[doc(alias("UnixDatagram", "DatagramEndpoint"))]
pub struct UdpSocket {
    conn: Rc<DatagramConn<Awaited>>,
}

/// The user of a port that is awaited.
pub(super) struct Awaited {
    readers: Wakers,
    writers: Wakers,
    /// There may be something to read.
    readable: Cell<bool>,
    /// Nobody read what there was, so we asked not to be told again (invariant 2).
    ignored: Cell<bool>,
    /// Nobody is there, and nobody was told.
    refused: Cell<bool>,
}

/// Who waits. They are all woken together.
#[derive(Default)]
struct Wakers {
    /// Futures, by their numbers.
    futures: RefCell<Indexed<Waker>>,
    /// Tasks that poll the socket itself, as a stream or a sink.
    tasks: RefCell<Vec<Waker>>,
    /// The last number.
    last: Cell<u64>,
}

/// Where one future waits. Dropping it takes its waker away (invariant 5).
struct Place<'a> {
    wakers: &'a Wakers,
    number: u64,
}

impl UdpSocket {
    pub(super) fn user() -> Awaited {
        Awaited {
            readers: Wakers::default(),
            writers: Wakers::default(),
            readable: Cell::new(true),
            ignored: Cell::new(false),
            refused: Cell::new(false),
        }
    }

    pub(super) fn new(conn: Rc<DatagramConn<Awaited>>) -> Self {
        Self { conn }
    }

    /// Sends a datagram, waiting until the system takes it.
    ///
    /// # Order
    ///
    /// After what was given to the [`Sink`] before.
    ///
    /// # Errors
    ///
    /// [`MessageTooLong`](super::MessageTooLong), [`InvalidAddress`](super::InvalidAddress), [`PortClosed`], and
    /// [`SendFailed`](super::SendFailed) for what else the system has against it.
    #[track_caller]
    pub fn send_to(
        &self,
        data: &[u8],
        to: impl ToDatagramAddress,
    ) -> impl Future<Output = Result<(), Failure>> {
        asked_at(Location::caller(), async move {
            let to = to.to_datagram_address()?;
            let location = self.conn.user().writers.location();
            poll_fn(|cx| self.poll_send(cx, &location, data, Some(&to))).await
        })
    }

    /// Sends a datagram to the one it is connected to.
    ///
    /// # Errors
    ///
    /// As for [`UdpSocket::send_to`]; and [`ConnectionRefused`] when nobody was there for an earlier one: then this
    /// one was not sent.
    #[track_caller]
    pub fn send(&self, data: &[u8]) -> impl Future<Output = Result<(), Failure>> {
        asked_at(Location::caller(), async move {
            let location = self.conn.user().writers.location();
            poll_fn(|cx| match self.refusal() {
                Some(refusal) => Poll::Ready(Err(refusal)),
                None => self.poll_send(cx, &location, data, None),
            })
            .await
        })
    }

    /// Receives a datagram into `buf`: how many bytes it had, and who sent it.
    ///
    /// # Errors
    ///
    /// [`Truncated`](super::Truncated) when it had more bytes than `buf`, which then has the first ones;
    /// [`ConnectionRefused`] when it is connected and nobody is there (it can be used on); [`PortClosed`].
    #[track_caller]
    pub fn recv_from(
        &self,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<(usize, Address), Failure>> {
        asked_at(Location::caller(), async move {
            let location = self.conn.user().readers.location();
            let receive = |cx: &mut Context<'_>| {
                self.poll_receive(cx, Some(&location), |conn| conn.core().receive(buf))
            };
            let arrived = poll_fn(receive).await?;
            match arrived.size > arrived.count {
                true => Err(truncated(arrived)),
                false => Ok((arrived.count, arrived.from)),
            }
        })
    }

    /// Receives a datagram into `buf`, when there is no question who sent it.
    ///
    /// # Errors
    ///
    /// As for [`UdpSocket::recv_from`].
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> impl Future<Output = Result<usize, Failure>> {
        let received = self.recv_from(buf);
        async { Ok(received.await?.0) }
    }

    /// Connects: from now on it receives from this address only, and is told when nobody is there.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::connect`].
    #[track_caller]
    pub fn connect(&self, to: impl ToDatagramAddress) -> Result<(), Failure> {
        self.port().connect(to)
    }

    /// Where it is bound, with the real port when port 0 was asked for.
    pub fn local_addr(&self) -> Address {
        self.conn.core().local_addr()
    }

    /// The port's inert handle: to set it up, to join groups, to close it from elsewhere.
    pub fn port(&self) -> DatagramPort {
        self.conn.port()
    }

    fn poll_send(
        &self,
        cx: &Context<'_>,
        location: &Place<'_>,
        data: &[u8],
        to: Option<&Address>,
    ) -> Poll<Result<(), Failure>> {
        let core = self.conn.core();
        if budget::is_spent(cx) {
            return Poll::Pending;
        }
        if core.send(data, to)? {
            budget::spend(data.len());
            return Poll::Ready(Ok(()));
        }
        if !core.is_open() {
            return Poll::Ready(Err(Failure::new(PortClosed)));
        }
        self.wait_for_room(cx, Some(location));
        Poll::Pending
    }

    fn poll_receive(
        &self,
        cx: &Context<'_>,
        location: Option<&Place<'_>>,
        receive: impl FnOnce(&DatagramConn<Awaited>) -> Got,
    ) -> Poll<Result<Arrived, Failure>> {
        let (core, user) = (self.conn.core(), self.conn.user());
        if budget::is_spent(cx) {
            return Poll::Pending;
        }
        if let Some(refusal) = self.refusal() {
            return Poll::Ready(Err(refusal));
        }
        if !core.is_open() {
            budget::spend(0);
            return Poll::Ready(Err(Failure::new(PortClosed)));
        }
        if user.readable.get() && core.may_read() {
            match receive(&self.conn) {
                Got::Datagram(arrived) => {
                    budget::spend(arrived.size);
                    return Poll::Ready(Ok(arrived));
                }
                Got::Refused(error) => return Poll::Ready(Err(self.refused_by(error))),
                Got::Failed(error) => return Poll::Ready(Err(error.into())),
                Got::Nothing => {}
            }
        }
        // The driver will say when there is something, or may be read again.
        user.readable.set(false);
        if user.ignored.replace(false) {
            core.ask_for_attention();
        }
        user.readers.add(cx, location);
        task::note_wait(|| Rc::new(Waits::new(&self.conn, |user| &user.readers)));
        Poll::Pending
    }

    fn wait_for_room(&self, cx: &Context<'_>, location: Option<&Place<'_>>) {
        let user = self.conn.user();
        user.writers.add(cx, location);
        task::note_wait(|| Rc::new(Waits::new(&self.conn, |user| &user.writers)));
    }

    /// What nobody was told yet.
    fn refusal(&self) -> Option<Failure> {
        let refused = self.conn.user().refused.replace(false);
        refused.then(|| self.refused_by(io::ErrorKind::ConnectionRefused.into()))
    }

    fn refused_by(&self, error: io::Error) -> Failure {
        let address = self.conn.core().peer().unwrap_or(Address::Unnamed);
        Failure::new(ConnectionRefused { address, error })
    }

    fn poll_flushed(&self, cx: &Context<'_>) -> Poll<Result<(), Failure>> {
        if self.conn.core().has_lost() {
            return Poll::Ready(Err(Failure::new(PortClosed)));
        }
        if self.conn.core().queued() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.wait_for_room(cx, None);
        Poll::Pending
    }
}

/// Has what fails name the line that asked for it.
async fn asked_at<T>(
    location: &'static Location<'static>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    work.await.map_err(|failure| failure.moved(location))
}

impl Wakers {
    /// A place for a future.
    fn location(&self) -> Place<'_> {
        self.last.set(self.last.get() + 1);
        Place {
            wakers: self,
            number: self.last.get(),
        }
    }

    fn add(&self, cx: &Context<'_>, location: Option<&Place<'_>>) {
        let new = &*own_waker(cx);
        let is_new = match location {
            Some(location) => {
                let futures = self.futures.borrow();
                let old = futures.get(location.number);
                old.is_none_or(|old| !old.will_wake(new))
            }
            None => !self.tasks.borrow().iter().any(|one| one.will_wake(new)),
        };
        if !is_new {
            return;
        }
        let new = new.clone();
        let old = match location {
            Some(location) => self.futures.borrow_mut().insert(location.number, new),
            None => {
                self.tasks.borrow_mut().push(new);
                None
            }
        };
        drop(old);
    }

    fn wake(&self) {
        let (futures, tasks) = (self.futures.take(), self.tasks.take());
        for waker in futures.chain(tasks) {
            waker.wake();
        }
    }

    fn is_empty(&self) -> bool {
        self.futures.borrow().is_empty() && self.tasks.borrow().is_empty()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let gone = self.wakers.futures.borrow_mut().remove(self.number);
        drop(gone);
    }
}

impl DatagramHandler for Awaited {
    fn readable(conn: &Rc<DatagramConn<Self>>, _reactor: &Reactor) {
        let user = conn.user();
        if user.readable.replace(true) {
            user.ignored.set(true);
        }
        user.readers.wake();
    }

    fn refused(conn: &Rc<DatagramConn<Self>>, _reactor: &Reactor) {
        conn.user().refused.set(true);
        conn.user().readers.wake();
    }

    fn room(conn: &Rc<DatagramConn<Self>>, _reactor: &Reactor, _was_full: bool) {
        conn.user().writers.wake();
    }

    fn closed(conn: &Rc<DatagramConn<Self>>) -> Result<(), Failure> {
        conn.user().readers.wake();
        conn.user().writers.wake();
        Ok(())
    }

    fn wants_datagrams(&self) -> bool {
        !self.ignored.get()
    }
}

impl Stream for &UdpSocket {
    /// A whole datagram, and who sent it.
    type Item = Result<(Vec<u8>, Address), Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut data = Vec::new();
        let receive = |conn: &DatagramConn<Awaited>| {
            let Some(reactor) = conn.core().reactor() else {
                return Got::Nothing;
            };
            let mut buffer = reactor.inner().take_read_buffer();
            let usual = buffer.len();
            let got = conn.core().receive_whole(&mut buffer);
            if let Got::Datagram(arrived) = &got {
                data.extend_from_slice(&buffer[..arrived.count]);
            }
            if buffer.len() == usual {
                reactor.inner().give_back_read_buffer(buffer);
            }
            got
        };
        let arrived = self.poll_receive(cx, None, receive);
        arrived.map(|arrived| match arrived {
            Ok(arrived) if arrived.size > arrived.count => Some(Err(truncated(arrived))),
            Ok(arrived) => Some(Ok((data, arrived.from))),
            Err(failure) if failure.is::<PortClosed>() => None,
            Err(failure) => Some(Err(failure)),
        })
    }
}

impl Stream for UdpSocket {
    /// A whole datagram, and who sent it.
    type Item = Result<(Vec<u8>, Address), Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut &*self).poll_next(cx)
    }
}

macro_rules! is_sink {
    ($($socket:ty),+) => {
        $(impl<B: AsRef<[u8]>, A: ToDatagramAddress> Sink<(B, A)> for $socket {
            type Error = Failure;

            fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
                if self.conn.core().is_full() {
                    self.wait_for_room(cx, None);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            }

            fn start_send(self: Pin<&mut Self>, (data, to): (B, A)) -> Result<(), Failure> {
                let to = to.to_datagram_address()?;
                self.conn.core().write(data.as_ref(), Some(&to))
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
                self.poll_flushed(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
                self.poll_flushed(cx)
            }
        })+
    };
}

is_sink!(UdpSocket, &UdpSocket);

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.conn.core().begin_to_stop();
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UdpSocket").field(&self.port()).finish()
    }
}

/// What a task notes that waits for a socket.
struct Waits {
    conn: Weak<DatagramConn<Awaited>>,
    wakers: fn(&Awaited) -> &Wakers,
}

impl Waits {
    fn new(conn: &Rc<DatagramConn<Awaited>>, wakers: fn(&Awaited) -> &Wakers) -> Self {
        Self {
            conn: Rc::downgrade(conn),
            wakers,
        }
    }
}

impl Wait for Waits {
    fn look(&self) -> Option<Thing> {
        let conn = self.conn.upgrade()?;
        let is_waiting = !(self.wakers)(conn.user()).is_empty();
        conn.core().thing().filter(|_| is_waiting)
    }
}
