//! A port of datagrams, seen from outside: [`DatagramPort`].

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use super::convert::ToDatagramAddress;
use super::engine::{DatagramConn, DatagramHandler};
use super::errors::{MulticastJoinError, PortClosed};
use crate::address::Address;
use crate::defer::Deferred;
use crate::driver::{Change, Datagrams, Interface, Question};
use crate::failure::Failure;

/// A port of datagrams: send from it, close it, set it up. Clones are handles to the same one; dropping them changes
/// nothing.
///
/// Nobody's code runs inside its methods.
#[doc(alias(
    "IUDPTransport",
    "IMulticastTransport",
    "IUNIXDatagramTransport",
    "IListeningPort",
    "UDPServer",
    "MulticastServer"
))]
#[derive(Clone)]
pub struct DatagramPort(Rc<DatagramConn>);

impl<U: DatagramHandler> DatagramConn<U> {
    /// The inert handle.
    pub(super) fn port(self: &Rc<Self>) -> DatagramPort {
        DatagramPort(self.clone())
    }
}

impl DatagramPort {
    /// Sends a datagram to an address. When the system takes no more for now, it waits in the port's queue.
    ///
    /// # Order
    ///
    /// It leaves inside this call, unless it has to wait; datagrams leave in the order they were written.
    ///
    /// # Errors
    ///
    /// [`MessageTooLong`], [`InvalidAddress`] for text that is no literal address and for an address of another family,
    /// [`QueueFull`] when more than [`DatagramOptions::queue`] waits already, [`PortClosed`], and [`SendFailed`] for
    /// what else the system has against it. None of them changes the port; that nobody got it is not among them.
    ///
    /// [`MessageTooLong`]: super::MessageTooLong
    /// [`InvalidAddress`]: super::InvalidAddress
    /// [`QueueFull`]: super::QueueFull
    /// [`SendFailed`]: super::SendFailed
    /// [`DatagramOptions::queue`]: super::DatagramOptions::queue
    #[doc(alias("sendto", "send_to", "write_to"))]
    #[track_caller]
    pub fn write(&self, data: impl AsRef<[u8]>, to: impl ToDatagramAddress) -> Result<(), Failure> {
        let to = to.to_datagram_address()?;
        self.0.core().write(data.as_ref(), Some(&to))
    }

    /// Sends a datagram to the one the port is connected to.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::write`].
    #[doc(alias = "send")]
    #[track_caller]
    pub fn write_connected(&self, data: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.0.core().write(data.as_ref(), None)
    }

    /// Connects the port: from now on it receives from this address only, and is told when nobody is there.
    ///
    /// # Errors
    ///
    /// [`AlreadyConnected`](super::AlreadyConnected), [`InvalidAddress`](super::InvalidAddress), [`PortClosed`]; for
    /// a UNIX socket what [`Reactor::connect`](crate::Reactor::connect) fails with.
    #[track_caller]
    pub fn connect(&self, to: impl ToDatagramAddress) -> Result<(), Failure> {
        self.0.core().connect(&to.to_datagram_address()?)
    }

    /// Closes the port; the Deferred fires when it is closed. What is queued is sent first, as long as no more than
    /// the time of [`Grace::stalled`](crate::reactor::Grace::stalled) goes by without a datagram being sent. What is left
    /// then is reported as [`DatagramsNotSent`](super::DatagramsNotSent).
    ///
    /// Stopping it again is no error: each Deferred fires.
    #[doc(alias("stopListening", "loseConnection", "close"))]
    #[track_caller]
    pub fn stop(&self) -> Deferred<()> {
        self.0.core().stop()
    }

    /// Stops delivering; what comes meanwhile is kept by the system, as far as it has room.
    #[doc(alias("pauseProducing", "stopReading"))]
    pub fn pause_producing(&self) {
        self.0.core().set_paused(true);
    }

    /// Goes on delivering.
    #[doc(alias("resumeProducing", "startReading"))]
    pub fn resume_producing(&self) {
        self.0.core().set_paused(false);
    }

    /// Where it is bound, with the real port when port 0 was asked for. It stays known after the end.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> Address {
        self.0.core().local_addr()
    }

    /// Whom it is connected to, if it is.
    pub fn peer(&self) -> Option<Address> {
        self.0.core().peer()
    }

    /// Is it open, and not about to close?
    pub fn is_listening(&self) -> bool {
        self.0.core().is_open()
    }

    /// Does more wait to be sent than should? Then the next write is refused.
    pub fn is_full(&self) -> bool {
        self.0.core().is_full()
    }

    /// How many bytes wait to be sent; each datagram counts for 64 more.
    pub fn queued(&self) -> usize {
        self.0.core().queued()
    }

    /// May it send to broadcast addresses?
    ///
    /// # Errors
    ///
    /// The system's, or [`PortClosed`]: so do all that follow.
    #[doc(alias("setBroadcastAllowed", "SO_BROADCAST"))]
    #[track_caller]
    pub fn set_broadcast(&self, allowed: bool) -> Result<(), Failure> {
        self.change(Change::Broadcast(allowed))
    }

    /// See [`DatagramPort::set_broadcast`].
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[doc(alias = "getBroadcastAllowed")]
    #[track_caller]
    pub fn broadcast(&self) -> Result<bool, Failure> {
        self.ask(Question::Broadcast).map(|yes| yes != 0)
    }

    /// How many routers what is sent to one address may pass.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[doc(alias("IP_TTL", "IPV6_UNICAST_HOPS", "hop_limit"))]
    #[track_caller]
    pub fn set_ttl(&self, ttl: u32) -> Result<(), Failure> {
        self.change(Change::Ttl(ttl))
    }

    /// See [`DatagramPort::set_ttl`].
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[track_caller]
    pub fn ttl(&self) -> Result<u32, Failure> {
        self.ask(Question::Ttl)
    }
}

/// Multicast.
impl DatagramPort {
    /// Joins a group, on the interface that the system chooses.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`MulticastJoinError`], which has the system's number, or [`PortClosed`].
    #[doc(alias("joinGroup", "join_multicast_v4", "join_multicast_v6"))]
    #[track_caller]
    pub fn join_group(&self, group: impl Into<IpAddr>) -> Deferred<()> {
        self.join_group_on(group, Interface::Any)
    }

    /// Joins a group on one interface.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::join_group`].
    #[doc(alias = "joinGroup")]
    #[track_caller]
    pub fn join_group_on(
        &self,
        group: impl Into<IpAddr>,
        interface: impl Into<Interface>,
    ) -> Deferred<()> {
        let group = group.into();
        self.membership(group, Change::Join(group, interface.into()))
    }

    /// Leaves a group.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::join_group`].
    #[doc(alias("leaveGroup", "leave_multicast_v4", "leave_multicast_v6"))]
    #[track_caller]
    pub fn leave_group(&self, group: impl Into<IpAddr>) -> Deferred<()> {
        self.leave_group_on(group, Interface::Any)
    }

    /// Leaves a group on one interface.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::join_group`].
    #[doc(alias = "leaveGroup")]
    #[track_caller]
    pub fn leave_group_on(
        &self,
        group: impl Into<IpAddr>,
        interface: impl Into<Interface>,
    ) -> Deferred<()> {
        let group = group.into();
        self.membership(group, Change::Leave(group, interface.into()))
    }

    /// How many routers what is sent to a group may pass: 1, none, unless this is called.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[doc(alias("setTTL", "IP_MULTICAST_TTL", "IPV6_MULTICAST_HOPS"))]
    #[track_caller]
    pub fn set_multicast_ttl(&self, ttl: u32) -> Result<(), Failure> {
        self.change(Change::MulticastTtl(ttl))
    }

    /// See [`DatagramPort::set_multicast_ttl`].
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[doc(alias = "getTTL")]
    #[track_caller]
    pub fn multicast_ttl(&self) -> Result<u32, Failure> {
        self.ask(Question::MulticastTtl)
    }

    /// Does what is sent to a group come to the group's members on this host, too? It does unless this is called.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[doc(alias("setLoopbackMode", "IP_MULTICAST_LOOP", "set_multicast_loop"))]
    #[track_caller]
    pub fn set_loopback_mode(&self, on: bool) -> Result<(), Failure> {
        self.change(Change::Loopback(on))
    }

    /// See [`DatagramPort::set_loopback_mode`].
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[doc(alias = "getLoopbackMode")]
    #[track_caller]
    pub fn loopback_mode(&self) -> Result<bool, Failure> {
        self.ask(Question::Loopback).map(|yes| yes != 0)
    }

    /// Which interface what is sent to a group leaves by: for IPv4 its address, for IPv6 its number.
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[doc(alias("setOutgoingInterface", "IP_MULTICAST_IF", "set_multicast_if"))]
    #[track_caller]
    pub fn set_outgoing_interface(&self, interface: impl Into<Interface>) -> Result<(), Failure> {
        self.change(Change::Interface(interface.into()))
    }

    /// See [`DatagramPort::set_outgoing_interface`].
    ///
    /// # Errors
    ///
    /// As for [`DatagramPort::set_broadcast`].
    #[doc(alias = "getOutgoingInterface")]
    #[track_caller]
    pub fn outgoing_interface(&self) -> Result<Interface, Failure> {
        let is_v4 = self.local_addr().ip().is_some_and(|ip| ip.is_ipv4());
        Ok(match self.ask(Question::Interface)? {
            0 => Interface::Any,
            bits if is_v4 => Interface::Address(bits.into()),
            index => Interface::Index(index),
        })
    }

    #[track_caller]
    fn membership(&self, group: IpAddr, change: Change) -> Deferred<()> {
        let changed = self.0.core().with_socket(|socket| socket.change(change));
        match changed {
            Some(Ok(())) => Deferred::succeed(()),
            Some(Err(error)) => Deferred::fail(MulticastJoinError { group, error }),
            None => Deferred::fail(PortClosed),
        }
    }

    #[track_caller]
    fn change(&self, change: Change) -> Result<(), Failure> {
        self.on_socket(|socket| socket.change(change))
    }

    #[track_caller]
    fn ask(&self, question: Question) -> Result<u32, Failure> {
        self.on_socket(|socket| socket.ask(question))
    }

    #[track_caller]
    fn on_socket<R>(&self, f: impl FnOnce(&Datagrams) -> io::Result<R>) -> Result<R, Failure> {
        match self.0.core().with_socket(f) {
            Some(result) => Ok(result?),
            None => Err(Failure::new(PortClosed)),
        }
    }
}

impl fmt::Debug for DatagramPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramPort")
            .field("address", &self.local_addr())
            .field("is_listening", &self.is_listening())
            .field("queued", &self.queued())
            .finish()
    }
}
