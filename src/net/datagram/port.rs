//! The inert handle of a datagram port: [`DatagramPort`].

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use super::convert::ToDatagramAddress;
use super::engine::{Core, DatagramConn, DatagramHandler};
use super::errors::DatagramError;
use crate::address::Address;
use crate::defer::Deferred;
use crate::driver::{Change, Datagrams, Interface, OptionName};
use crate::failure::Failure;

/// A handle to an open datagram port, to send datagrams and to configure and close the port. Clones
/// are handles to the same port; dropping them does not close it.
///
/// No user code runs inside its methods.
#[derive(Clone)]
pub struct DatagramPort(Rc<DatagramConn>);

impl<U: DatagramHandler> DatagramConn<U> {
    /// Returns the port's inert handle.
    pub(super) fn port(self: &Rc<Self>) -> DatagramPort {
        DatagramPort(self.clone())
    }
}

impl DatagramPort {
    pub(super) fn core(&self) -> &Core {
        self.0.core()
    }

    /// Sends a datagram to an address, or queues it if the system does not accept it now.
    ///
    /// # Order
    ///
    /// The datagram is sent inside this call, unless it must wait. Datagrams to one address are
    /// sent in the order in which they were written.
    ///
    /// # Errors
    ///
    /// Fails with [`DatagramError::TooLong`]; with [`DatagramError::InvalidAddress`] for text that
    /// is not a literal address and for an address of another family; with
    /// [`DatagramError::QueueFull`] when more than
    /// [`DatagramOptions::queue`](super::DatagramOptions::queue) bytes are queued already; with
    /// [`DatagramError::Closed`]; and with [`DatagramError::SendFailed`] for any other error of the
    /// system. No error closes the port. The error of a datagram that has waited in the queue is
    /// reported ([`Reactor::on_report`](crate::Reactor::on_report)). A datagram that is lost on its
    /// way is not an error.
    #[doc(alias("sendto", "send_to", "write_to"))]
    #[track_caller]
    pub fn write(&self, data: impl AsRef<[u8]>, to: impl ToDatagramAddress) -> Result<(), Failure> {
        let to = to.to_datagram_address()?;
        self.0.core().write(data.as_ref(), Some(&to))
    }

    /// Sends a datagram to the address that the port is connected to.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::write`] does, and with [`DatagramError::InvalidAddress`] when the
    /// port is not connected.
    #[doc(alias = "send")]
    #[track_caller]
    pub fn write_connected(&self, data: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.0.core().write(data.as_ref(), None)
    }

    /// Connects the port: from now on the port receives from this address only,
    /// [`write_connected`](Self::write_connected) sends to it, and the protocol's
    /// [`connection_refused`](super::DatagramProtocol::connection_refused) is called when nothing
    /// listens there. [`DatagramOptions::connect`](super::DatagramOptions::connect) connects a port
    /// when it opens.
    ///
    /// # Errors
    ///
    /// Fails with [`DatagramError::AlreadyConnected`], [`DatagramError::InvalidAddress`] or
    /// [`DatagramError::Closed`], and with a [`ConnectError`](crate::net::ConnectError) when the
    /// system refuses the address.
    #[track_caller]
    pub fn connect(&self, to: impl ToDatagramAddress) -> Result<(), Failure> {
        self.0.core().connect(&to.to_datagram_address()?)
    }

    /// Closes the port after the queued datagrams have been sent. The Deferred fires when the port
    /// is closed. When no datagram could be sent for
    /// [`Grace::stalled`](crate::reactor::Grace::stalled), five seconds by default, the port is
    /// closed all the same, and the datagrams that are left are reported as
    /// [`DatagramError::NotSent`].
    ///
    /// `stop` may be called again: each Deferred fires.
    #[doc(alias("stopListening", "loseConnection", "close"))]
    #[track_caller]
    pub fn stop(&self) -> Deferred<()> {
        self.0.core().stop()
    }

    /// Pauses receiving. Meanwhile the system queues datagrams up to the size of its buffer, and
    /// then drops them.
    #[doc(alias("pauseProducing", "stopReading"))]
    pub fn pause_producing(&self) {
        self.0.core().set_paused(true);
    }

    /// Resumes receiving.
    #[doc(alias("resumeProducing", "startReading"))]
    pub fn resume_producing(&self) {
        self.0.core().set_paused(false);
    }

    /// Returns the local address, with the port number that the system chose if port 0 was
    /// requested; also after the port has been closed.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> Address {
        self.0.core().local_addr()
    }

    /// Returns the peer's address, if the port is connected.
    pub fn peer(&self) -> Option<Address> {
        self.0.core().peer()
    }

    /// Returns whether the port is open and not closing.
    pub fn is_listening(&self) -> bool {
        self.0.core().is_open()
    }

    /// Returns whether more bytes are queued than
    /// [`DatagramOptions::queue`](super::DatagramOptions::queue) allows, so that a write that would
    /// have to wait fails.
    pub fn is_full(&self) -> bool {
        self.0.core().is_full()
    }

    /// Returns the number of bytes in the send queue. Each datagram counts as its length and 64
    /// bytes.
    pub fn queued(&self) -> usize {
        self.0.core().queued()
    }

    /// Sets whether the port may send to broadcast addresses (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// Fails with the system's error, or with [`DatagramError::Closed`].
    #[doc(alias("setBroadcastAllowed", "SO_BROADCAST"))]
    #[track_caller]
    pub fn set_broadcast(&self, allowed: bool) -> Result<(), Failure> {
        self.change(Change::Broadcast(allowed))
    }

    /// Returns whether the port may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[doc(alias = "getBroadcastAllowed")]
    #[track_caller]
    pub fn broadcast(&self) -> Result<bool, Failure> {
        self.option(OptionName::Broadcast).map(|yes| yes != 0)
    }

    /// Sets the number of hops that unicast datagrams may take (`IP_TTL`). Default: the system's,
    /// mostly 64.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[doc(alias("IP_TTL", "IPV6_UNICAST_HOPS", "hop_limit"))]
    #[track_caller]
    pub fn set_ttl(&self, ttl: u32) -> Result<(), Failure> {
        self.change(Change::Ttl(ttl))
    }

    /// Returns the number of hops that unicast datagrams may take.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[track_caller]
    pub fn ttl(&self) -> Result<u32, Failure> {
        self.option(OptionName::Ttl)
    }
}

/// Multicast.
impl DatagramPort {
    /// Joins a multicast group, on the interface that the system chooses.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`DatagramError::MulticastJoin`] or [`DatagramError::Closed`].
    #[doc(alias("joinGroup", "join_multicast_v4", "join_multicast_v6"))]
    #[track_caller]
    pub fn join_group(&self, group: impl Into<IpAddr>) -> Deferred<()> {
        self.join_group_on(group, Interface::Any)
    }

    /// Joins a multicast group on one interface.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::join_group`] does.
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

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::join_group`] does.
    #[doc(alias("leaveGroup", "leave_multicast_v4", "leave_multicast_v6"))]
    #[track_caller]
    pub fn leave_group(&self, group: impl Into<IpAddr>) -> Deferred<()> {
        self.leave_group_on(group, Interface::Any)
    }

    /// Leaves a multicast group on one interface.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::join_group`] does.
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

    /// Sets the number of hops that multicast datagrams may take. Default: 1, the local network
    /// only.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[doc(alias("setTTL", "IP_MULTICAST_TTL", "IPV6_MULTICAST_HOPS"))]
    #[track_caller]
    pub fn set_multicast_ttl(&self, ttl: u32) -> Result<(), Failure> {
        self.change(Change::MulticastTtl(ttl))
    }

    /// Returns the number of hops that multicast datagrams may take.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[doc(alias = "getTTL")]
    #[track_caller]
    pub fn multicast_ttl(&self) -> Result<u32, Failure> {
        self.option(OptionName::MulticastTtl)
    }

    /// Sets whether multicast datagrams are also delivered to members of the group on this host.
    /// Default: `true`.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[doc(alias("setLoopbackMode", "IP_MULTICAST_LOOP", "set_multicast_loop"))]
    #[track_caller]
    pub fn set_loopback_mode(&self, on: bool) -> Result<(), Failure> {
        self.change(Change::Loopback(on))
    }

    /// Returns whether multicast datagrams are also delivered to members of the group on this host.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[doc(alias = "getLoopbackMode")]
    #[track_caller]
    pub fn loopback_mode(&self) -> Result<bool, Failure> {
        self.option(OptionName::Loopback).map(|yes| yes != 0)
    }

    /// Sets the interface by which multicast datagrams are sent: for IPv4 by its address, for IPv6
    /// by its index. Default: [`Interface::Any`].
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[doc(alias("setOutgoingInterface", "IP_MULTICAST_IF", "set_multicast_if"))]
    #[track_caller]
    pub fn set_outgoing_interface(&self, interface: impl Into<Interface>) -> Result<(), Failure> {
        self.change(Change::Interface(interface.into()))
    }

    /// Returns the interface by which multicast datagrams are sent.
    ///
    /// # Errors
    ///
    /// Fails as [`DatagramPort::set_broadcast`] does.
    #[doc(alias = "getOutgoingInterface")]
    #[track_caller]
    pub fn outgoing_interface(&self) -> Result<Interface, Failure> {
        let is_v4 = self.local_addr().ip().is_some_and(|ip| ip.is_ipv4());
        Ok(match self.option(OptionName::Interface)? {
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
            Some(Err(error)) => Deferred::fail(DatagramError::MulticastJoin { group, error }),
            None => Deferred::fail(DatagramError::Closed),
        }
    }

    #[track_caller]
    fn change(&self, change: Change) -> Result<(), Failure> {
        self.on_socket(|socket| socket.change(change))
    }

    #[track_caller]
    fn option(&self, name: OptionName) -> Result<u32, Failure> {
        self.on_socket(|socket| socket.option(name))
    }

    #[track_caller]
    fn on_socket<R>(&self, f: impl FnOnce(&Datagrams) -> io::Result<R>) -> Result<R, Failure> {
        match self.0.core().with_socket(f) {
            Some(result) => Ok(result?),
            None => Err(Failure::new(DatagramError::Closed)),
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
