//! The async interface of a datagram port: [`UdpSocket`].
//!
//! # Invariants
//!
//! 1. The loop reads nothing ahead: a datagram is read while a future that receives is polled. So a
//!    receive that is dropped while it waits loses no datagram.
//! 2. An unread datagram costs two wakes; then the driver is not polled for it again until a task
//!    receives.
//! 3. All waiting tasks are woken, and one of them gets the datagram.
//! 4. A task that never has to wait yields when its budget is used up.
//! 5. A dropped future leaves no waker behind, even if no datagram ever arrives.

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
use super::engine::{DatagramConn, DatagramHandler, ReadResult};
use super::errors::DatagramError;
use crate::address::Address;
use crate::debug::DumpItem;
use crate::driver::Arrived;
use crate::failure::Failure;
use crate::index::Indexed;
use crate::net::errors::ConnectError;
use crate::reactor::Reactor;
use crate::task::{self, Wait, budget, own_waker};

/// A UDP or UNIX datagram socket for async code.
///
/// The methods take `&self`, so several tasks may share a socket. `UdpSocket` is a
/// [`Stream`](futures::Stream) of whole datagrams with their senders' addresses, and a
/// [`Sink`](futures::Sink) of datagrams with their destinations. Dropping the socket closes its
/// port.
///
/// # Cancel safety
///
/// The future of every method may be dropped while it waits: a datagram that was not returned is
/// still in the socket, and a datagram whose send did not complete was not sent.
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
pub struct UdpSocket {
    conn: Rc<DatagramConn<AsyncHandler>>,
}

/// The handler of a port that async code uses.
pub(super) struct AsyncHandler {
    readers: Wakers,
    writers: Wakers,
    /// Whether the socket may be readable.
    readable: Cell<bool>,
    /// Whether no task read an arrived datagram, so that the interest in reading was removed
    /// (invariant 2).
    is_unread: Cell<bool>,
    /// Whether the peer refused a datagram and no task has received the error.
    refused: Cell<bool>,
}

/// The wakers of waiting tasks. All are woken together.
#[derive(Default)]
struct Wakers {
    /// The wakers of futures, by number.
    futures: RefCell<Indexed<Waker>>,
    /// The wakers of tasks that poll the socket as a stream or a sink.
    tasks: RefCell<Vec<Waker>>,
    /// The last number that was assigned.
    last: Cell<u64>,
}

/// The registration of one future. Dropping it removes its waker (invariant 5).
struct WakerSlot<'a> {
    wakers: &'a Wakers,
    number: u64,
}

impl UdpSocket {
    pub(super) fn handler() -> AsyncHandler {
        AsyncHandler {
            readers: Wakers::default(),
            writers: Wakers::default(),
            readable: Cell::new(true),
            is_unread: Cell::new(false),
            refused: Cell::new(false),
        }
    }

    pub(super) fn new(conn: Rc<DatagramConn<AsyncHandler>>) -> Self {
        Self { conn }
    }

    /// Sends a datagram, and waits until the system accepts it.
    ///
    /// # Order
    ///
    /// The datagram is sent after those that were passed to the [`Sink`](futures::Sink) before.
    ///
    /// # Errors
    ///
    /// Fails with [`DatagramError::TooLong`]; with [`DatagramError::InvalidAddress`] for text that
    /// is not a literal address and for an address of another family; with
    /// [`DatagramError::Closed`]; and with [`DatagramError::SendFailed`] for any other error of the
    /// system.
    #[track_caller]
    pub fn send_to(
        &self,
        data: &[u8],
        to: impl ToDatagramAddress,
    ) -> impl Future<Output = Result<(), Failure>> {
        asked_at(Location::caller(), async move {
            let to = to.to_datagram_address()?;
            let location = self.conn.handler().writers.location();
            poll_fn(|cx| self.poll_send(cx, &location, data, Some(&to))).await
        })
    }

    /// Sends a datagram to the address that the socket is connected to, and waits until the system
    /// accepts it.
    ///
    /// # Errors
    ///
    /// Fails as [`UdpSocket::send_to`] does; with [`DatagramError::InvalidAddress`] when the socket
    /// is not connected; and with [`ConnectError::Refused`] when the peer refused an earlier
    /// datagram: then this one was not sent.
    #[track_caller]
    pub fn send(&self, data: &[u8]) -> impl Future<Output = Result<(), Failure>> {
        asked_at(Location::caller(), async move {
            let location = self.conn.handler().writers.location();
            poll_fn(|cx| match self.refusal() {
                Some(refusal) => Poll::Ready(Err(refusal)),
                None => self.poll_send(cx, &location, data, None),
            })
            .await
        })
    }

    /// Receives a datagram into `buf`. Returns its length in bytes and its sender's address.
    ///
    /// # Errors
    ///
    /// Fails with [`DatagramError::Truncated`] when the datagram is longer than `buf`, which then
    /// holds its first bytes; with [`ConnectError::Refused`] when the socket is connected and
    /// nothing listens at the peer's address (the socket stays usable); with
    /// [`DatagramError::Closed`]; and with any other error of the system.
    #[track_caller]
    pub fn recv_from(
        &self,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<(usize, Address), Failure>> {
        asked_at(Location::caller(), async move {
            let location = self.conn.handler().readers.location();
            let receive = |cx: &mut Context<'_>| {
                self.poll_receive(cx, Some(&location), |conn| conn.core().receive(buf))
            };
            let arrived = poll_fn(receive).await?;
            match arrived.size > arrived.count {
                true => Err(Failure::new(DatagramError::truncated(arrived))),
                false => Ok((arrived.count, arrived.from)),
            }
        })
    }

    /// Receives a datagram into `buf`. Returns its length in bytes.
    ///
    /// # Errors
    ///
    /// Fails as [`UdpSocket::recv_from`] does.
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> impl Future<Output = Result<usize, Failure>> {
        let received = self.recv_from(buf);
        async { Ok(received.await?.0) }
    }

    /// Connects the socket: from now on it receives from this address only, and sending and
    /// receiving fail with [`ConnectError::Refused`] when nothing listens there.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::connect`] does.
    #[track_caller]
    pub fn connect(&self, to: impl ToDatagramAddress) -> Result<(), Failure> {
        self.port().connect(to)
    }

    /// Returns the local address, with the port number that the system chose if port 0 was
    /// requested.
    pub fn local_addr(&self) -> Address {
        self.conn.core().local_addr()
    }

    /// Returns the port's inert handle, to configure the socket, to join multicast groups, or to
    /// close the socket from other code.
    pub fn port(&self) -> DatagramPort {
        self.conn.port()
    }

    fn poll_send(
        &self,
        cx: &Context<'_>,
        location: &WakerSlot<'_>,
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
            return Poll::Ready(Err(Failure::new(DatagramError::Closed)));
        }
        self.wait_for_room(cx, Some(location));
        Poll::Pending
    }

    fn poll_receive(
        &self,
        cx: &Context<'_>,
        location: Option<&WakerSlot<'_>>,
        receive: impl FnOnce(&DatagramConn<AsyncHandler>) -> ReadResult,
    ) -> Poll<Result<Arrived, Failure>> {
        let (core, handler) = (self.conn.core(), self.conn.handler());
        if budget::is_spent(cx) {
            return Poll::Pending;
        }
        if let Some(refusal) = self.refusal() {
            return Poll::Ready(Err(refusal));
        }
        if !core.is_open() {
            budget::spend(0);
            return Poll::Ready(Err(Failure::new(DatagramError::Closed)));
        }
        if handler.readable.get() && core.may_read() {
            match receive(&self.conn) {
                ReadResult::Datagram(arrived) => {
                    budget::spend(arrived.size);
                    return Poll::Ready(Ok(arrived));
                }
                ReadResult::Refused(error) => return Poll::Ready(Err(self.refused_by(error))),
                ReadResult::Failed(error) => return Poll::Ready(Err(error.into())),
                ReadResult::Nothing => {}
            }
        }
        // The driver reports when the socket is readable again.
        handler.readable.set(false);
        if handler.is_unread.replace(false) {
            core.ask_for_attention();
        }
        handler.readers.add(cx, location);
        task::note_wait(|| Rc::new(Waits::new(&self.conn, |handler| &handler.readers)));
        Poll::Pending
    }

    fn wait_for_room(&self, cx: &Context<'_>, location: Option<&WakerSlot<'_>>) {
        let handler = self.conn.handler();
        handler.writers.add(cx, location);
        task::note_wait(|| Rc::new(Waits::new(&self.conn, |handler| &handler.writers)));
    }

    /// Takes the refusal that no task has received.
    fn refusal(&self) -> Option<Failure> {
        let refused = self.conn.handler().refused.replace(false);
        refused.then(|| self.refused_by(io::ErrorKind::ConnectionRefused.into()))
    }

    fn refused_by(&self, error: io::Error) -> Failure {
        let address = self.conn.core().peer().unwrap_or(Address::Unnamed);
        Failure::new(ConnectError::Refused { address, error })
    }

    fn poll_flushed(&self, cx: &Context<'_>) -> Poll<Result<(), Failure>> {
        if self.conn.core().has_unsent() {
            return Poll::Ready(Err(Failure::new(DatagramError::Closed)));
        }
        if self.conn.core().queued() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.wait_for_room(cx, None);
        Poll::Pending
    }
}

/// Moves the location of a failure to the caller of the method.
async fn asked_at<T>(
    location: &'static Location<'static>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    work.await.map_err(|failure| failure.moved(location))
}

impl Wakers {
    /// Returns an unused registration for a future.
    fn location(&self) -> WakerSlot<'_> {
        self.last.set(self.last.get() + 1);
        WakerSlot {
            wakers: self,
            number: self.last.get(),
        }
    }

    fn add(&self, cx: &Context<'_>, location: Option<&WakerSlot<'_>>) {
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

impl Drop for WakerSlot<'_> {
    fn drop(&mut self) {
        let gone = self.wakers.futures.borrow_mut().remove(self.number);
        drop(gone);
    }
}

impl DatagramHandler for AsyncHandler {
    fn readable(conn: &Rc<DatagramConn<Self>>, _reactor: &Reactor) {
        let handler = conn.handler();
        if handler.readable.replace(true) {
            handler.is_unread.set(true);
        }
        handler.readers.wake();
    }

    fn refused(conn: &Rc<DatagramConn<Self>>, _reactor: &Reactor) {
        conn.handler().refused.set(true);
        conn.handler().readers.wake();
    }

    fn writable(conn: &Rc<DatagramConn<Self>>, _reactor: &Reactor, _was_full: bool) {
        conn.handler().writers.wake();
    }

    fn closed(conn: &Rc<DatagramConn<Self>>) -> Result<(), Failure> {
        conn.handler().readers.wake();
        conn.handler().writers.wake();
        Ok(())
    }

    fn wants_datagrams(&self) -> bool {
        !self.is_unread.get()
    }
}

impl Stream for &UdpSocket {
    /// A whole datagram and its sender's address.
    type Item = Result<(Vec<u8>, Address), Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut data = Vec::new();
        let receive = |conn: &DatagramConn<AsyncHandler>| {
            let Some(reactor) = conn.core().reactor() else {
                return ReadResult::Nothing;
            };
            let mut buffer = reactor.inner().take_read_buffer();
            let usual = buffer.len();
            let got = conn.core().receive_growing(&mut buffer);
            if let ReadResult::Datagram(arrived) = &got {
                data.extend_from_slice(&buffer[..arrived.count]);
            }
            if buffer.len() == usual {
                reactor.inner().give_back_read_buffer(buffer);
            }
            got
        };
        let arrived = self.poll_receive(cx, None, receive);
        arrived.map(|arrived| match arrived {
            Ok(arrived) if arrived.size > arrived.count => {
                Some(Err(Failure::new(DatagramError::truncated(arrived))))
            }
            Ok(arrived) => Some(Ok((data, arrived.from))),
            Err(failure) if matches!(failure.downcast_ref(), Some(DatagramError::Closed)) => None,
            Err(failure) => Some(Err(failure)),
        })
    }
}

impl Stream for UdpSocket {
    /// A whole datagram and its sender's address.
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

/// The record of a task that waits for a socket, for dumps.
struct Waits {
    conn: Weak<DatagramConn<AsyncHandler>>,
    wakers: fn(&AsyncHandler) -> &Wakers,
}

impl Waits {
    fn new(conn: &Rc<DatagramConn<AsyncHandler>>, wakers: fn(&AsyncHandler) -> &Wakers) -> Self {
        Self {
            conn: Rc::downgrade(conn),
            wakers,
        }
    }
}

impl Wait for Waits {
    fn look(&self) -> Option<DumpItem> {
        let conn = self.conn.upgrade()?;
        let is_waiting = !(self.wakers)(conn.handler()).is_empty();
        conn.core().dump_item().filter(|_| is_waiting)
    }
}
