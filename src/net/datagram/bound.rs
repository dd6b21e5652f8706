//! The protocol of a datagram port: its [`ProtocolSlot`], and how the engine calls it.

use std::panic::Location;
use std::rc::Rc;

use tracing::{Level, Span, span_enabled};

use super::engine::{DatagramConn, DatagramHandler, ReadResult};
use super::errors::DatagramError;
use super::{DatagramPort, DatagramProtocol};
use crate::failure::Failure;
use crate::protocol::{self, Handle, ProtocolHost, ProtocolSlot, visit};
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// The slot of a datagram port's protocol.
type OnPort<P> = ProtocolSlot<P, DatagramPort>;

impl<P: DatagramProtocol> ProtocolHost for DatagramConn<OnPort<P>> {
    type Protocol = P;
    type Transport = DatagramPort;

    fn protocol_slot(&self) -> &OnPort<P> {
        self.handler()
    }

    fn host_reactor(&self) -> Option<Reactor> {
        self.core().reactor()
    }

    fn span(&self, _reactor: &Reactor) -> Option<Span> {
        let core = self.core();
        core.span.get_or(|| {
            let is_wanted = span_enabled!(target: "torsade::net", Level::INFO, endpoint);
            is_wanted.then(|| {
                let endpoint = core.local_addr();
                tracing::info_span!(target: "torsade::net", "datagrams", %endpoint)
            })
        })
    }

    fn host_location(&self) -> &'static Location<'static> {
        self.core().location()
    }

    fn is_closing(&self) -> bool {
        !self.core().is_open()
    }

    fn is_removed(&self) -> bool {
        self.core().is_closed()
    }

    /// A panic concerns one datagram; the port stays open.
    fn panicked(&self, _panic: Failure) {}

    fn inert_handle(self: &Rc<Self>) -> DatagramPort {
        self.port()
    }
}

impl<P: DatagramProtocol> DatagramHandler for OnPort<P> {
    fn readable(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor) {
        let lent = reactor.inner().take_read_buffer();
        let usual = lent.len();
        let mut buffer = lent;
        let mut budget = EVENT_BYTES;
        while budget > 0 && conn.core().may_read() {
            match conn.core().receive_growing(&mut buffer) {
                ReadResult::Datagram(arrived) => {
                    budget = budget.saturating_sub(arrived.size.max(MIN_COST));
                    if arrived.size > arrived.count {
                        report::deliver(
                            Origin::Protocol,
                            Failure::new(DatagramError::truncated(arrived)),
                            conn.core().location(),
                        );
                        continue;
                    }
                    let data = &buffer[..arrived.count];
                    visit(conn, reactor, |protocol, cx| {
                        protocol.datagram_received(cx, data, arrived.from)
                    });
                }
                ReadResult::Refused(_) => {
                    budget = budget.saturating_sub(MIN_COST);
                    Self::refused(conn, reactor);
                }
                ReadResult::Nothing | ReadResult::Failed(_) => break,
            }
        }
        if buffer.len() == usual {
            reactor.inner().give_back_read_buffer(buffer);
        }
    }

    fn refused(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor) {
        visit(conn, reactor, |protocol, cx| {
            protocol.connection_refused(cx)
        });
    }

    fn writable(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor, was_full: bool) {
        if was_full {
            visit(conn, reactor, |protocol, cx| protocol.write_ready(cx));
        }
    }

    fn closed(conn: &Rc<DatagramConn<Self>>) -> Result<(), Failure> {
        protocol::try_leave(&**conn, P::stopped)
    }

    fn discard(conn: &Rc<DatagramConn<Self>>) {
        protocol::leave(&**conn, |_| {});
    }

    fn wants_datagrams(&self) -> bool {
        true
    }
}

impl DatagramPort {
    /// Returns the handle of the port's protocol; `None` if the protocol is not a `P`, or if the
    /// port belongs to a [`UdpSocket`](super::UdpSocket).
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::net::datagram::{DatagramPort, DatagramProtocol};
    /// use torsade::{Address, Context};
    ///
    /// struct Counter(usize);
    ///
    /// impl DatagramProtocol for Counter {
    ///     fn datagram_received(
    ///         &mut self,
    ///         _: &mut Context<'_, Self, DatagramPort>,
    ///         _: &[u8],
    ///         _: Address,
    ///     ) {
    ///         self.0 += 1;
    ///     }
    /// }
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let port = reactor.listen_datagram("127.0.0.1:0", Counter(0))?;
    ///     let counter = port.handle::<Counter>().expect("the port has this protocol");
    ///     assert_eq!(counter.ask(|counter, _cx| counter.0).await?, 0);
    ///     port.stop().await
    /// });
    /// ```
    pub fn handle<P: DatagramProtocol>(&self) -> Option<Handle<P, Self>> {
        let conn = self
            .core()
            .typed_conn()?
            .downcast::<DatagramConn<OnPort<P>>>();
        Some(protocol::handle(&conn.ok()?))
    }
}

/// Calls the protocol's `started`, and returns its port.
pub(super) fn attach<P: DatagramProtocol>(
    reactor: &Reactor,
    conn: &Rc<DatagramConn<OnPort<P>>>,
) -> DatagramPort {
    let weak = Rc::downgrade(conn);
    conn.core().set_typed_conn(weak);
    visit(conn, reactor, |protocol, cx| protocol.started(cx));
    conn.port()
}

/// The largest number of bytes of datagrams that one event delivers.
const EVENT_BYTES: usize = 256 * 1024;
/// The smallest number of bytes that one datagram counts towards [`EVENT_BYTES`].
const MIN_COST: usize = 1024;
