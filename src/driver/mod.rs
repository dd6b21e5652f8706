//! The services that the loop needs of its environment: time, readiness, sockets, and wakes.
//!
//! A [`Driver`] is the machine, or a simulation of it in memory. The loop above is the same for
//! both: it registers sources under keys, waits, and gets the keys that are ready. No user code is
//! called here while something is borrowed (only [`SocketHook`] calls any), so no function here is
//! entered twice.
//!
//! The driver owns the poller and, in memory, the network and the clock. It does **not** own the
//! registered sources: the code that adds a source removes it before its descriptor closes (see
//! [`Driver::add`]).
//!
//! # Invariants
//!
//! 1. **Keys are the caller's** and are returned unchanged. The two highest are reserved.
//! 2. **Level-triggered**: every wait reports a source that is ready for its interest.
//! 3. **[`Interest::None`] reports at most one hang-up** each time it is set, so a peer that has
//!    closed cannot keep the loop turning.
//! 4. **No wake is lost**: a wake ends the present wait, or else the next one; several count as
//!    one.
//! 5. **No early return**: on the machine a wait with a timeout ends early only with events, by a
//!    wake, by a signal, or after a day. In memory it ends exactly in time.
//! 6. **In memory the same calls give the same answers**, and events come in the order of their
//!    keys.
//!
//! # Files
//!
//! `machine`: the machine · `memory`: the simulation · `poller`: readiness and wakes · `sockets`:
//! the machine's sockets · `descriptors`: other descriptors that are read and written · `children`:
//! child processes · `signals`: signals · `relay`: queues in this process · `source`: the sources
//! of events · `socket` and `datagrams`: sockets of either driver, `tls_socket`: those in TLS,
//! `options`: their options · `rng`: random numbers.

use std::io;
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

#[cfg(unix)]
use socket2::Domain;

use crate::address::{Address, not_inet};
#[cfg(unix)]
pub use children::ChildFd;
#[cfg(unix)]
pub(crate) use children::{Child, Launch, NotLaunched, Pty, Sockets};
pub(crate) use datagrams::Datagrams;
#[cfg(all(unix, any(doc, feature = "systemd")))]
pub(crate) use descriptors::inherited::copy_of;
#[cfg(unix)]
use descriptors::pair::Pair;
#[cfg(any(doc, feature = "testing"))]
pub use memory::NetworkFaults;
pub use options::Interface;
pub(crate) use options::{Arrived, Bind, Buffers, Change, OptionName, SocketHook};
pub use poller::Interest;
pub use poller::Poller;
pub(crate) use poller::{Event, Waking};
pub(crate) use relay::{FarEnd, Written};
#[cfg(any(doc, feature = "testing"))]
pub use rng::Random;
pub(crate) use rng::Rng;
#[cfg(unix)]
pub(crate) use signals::with_blocked;
pub(crate) use signals::{SignalSlot, raise};
pub(crate) use socket::{Listener, Socket, is_for_later};
pub(crate) use socket_cell::SocketCell;
#[cfg(unix)]
pub(crate) use sockets::adopt::NotAdopted;
#[cfg(unix)]
use sockets::adopt::{self, Kind};
#[cfg(unix)]
pub(crate) use sockets::passing::Passing;
#[cfg(unix)]
use sockets::unix;
#[cfg(unix)]
pub(crate) use sockets::unix::File as SocketFile;
use sockets::{datagram, names, tcp};
#[cfg(unix)]
pub(crate) use source::Descriptor;
pub(crate) use source::{Name, Source};
use source::{check_key, foreign};
#[cfg(feature = "tls")]
pub(crate) use tls_socket::{SharedScratch, TlsSocket};

#[cfg(unix)]
mod children;
mod datagrams;
#[cfg(unix)]
mod descriptors;
mod machine;
#[cfg(any(doc, feature = "testing"))]
mod memory;
#[cfg(not(any(doc, feature = "testing")))]
#[path = "memory_off.rs"]
mod memory;
#[cfg(all(test, torsade_loom))]
mod model;
mod options;
mod poller;
pub(crate) mod relay;
mod rng;
mod signals;
mod socket;
mod socket_cell;
mod sockets;
mod source;
#[cfg(all(test, unix, not(torsade_loom)))]
mod tests;
#[cfg(feature = "tls")]
mod tls_socket;

/// The machine, or a simulation of it in memory.
#[derive(Debug)]
#[cfg_attr(
    not(any(doc, feature = "testing")),
    allow(
        clippy::large_enum_variant,
        reason = "the other one has no values then"
    )
)]
pub(crate) enum Driver {
    /// The machine's clock, poller and sockets.
    Machine(machine::Machine),
    /// Virtual time and a network in this process.
    #[cfg_attr(
        not(any(doc, feature = "testing")),
        expect(dead_code, reason = "it has no values without the feature")
    )]
    Memory(memory::Memory),
}

impl Driver {
    /// Returns the machine, with its default poller.
    #[cfg(test)]
    pub(crate) fn machine() -> io::Result<Self> {
        Self::machine_with(None)
    }

    /// Returns the machine, with this poller or the default one.
    pub(crate) fn machine_with(poller: Option<Poller>) -> io::Result<Self> {
        machine::Machine::new(poller).map(Self::Machine)
    }

    /// Makes an in-memory driver, whose network may have faults; its clock starts at the present.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn memory(faults: Option<NetworkFaults>) -> io::Result<Self> {
        memory::Memory::new(faults).map(Self::Memory)
    }

    /// Returns the machine, waited on through the `polling` crate.
    #[cfg(all(test, torsade_loom))]
    pub(crate) fn portable() -> Self {
        Self::Machine(machine::Machine::portable())
    }

    /// Returns the poller that is waited on; `None` in memory.
    pub(crate) fn poller(&self) -> Option<Poller> {
        match self {
            Self::Machine(machine) => Some(machine.selector().poller()),
            Self::Memory(_) => None,
        }
    }

    /// Returns the time: monotonic, virtual in memory.
    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Machine(_) => Instant::now(),
            Self::Memory(memory) => memory.now(),
        }
    }

    /// Returns the generator of random numbers: in memory always the same.
    pub(crate) fn rng(&self) -> Rng {
        match self {
            Self::Machine(_) => Rng::new(),
            Self::Memory(_) => Rng::from_seed(0),
        }
    }

    fn relays(&self) -> &relay::Relays {
        match self {
            Self::Machine(machine) => machine.relays(),
            Self::Memory(memory) => memory.relays(),
        }
    }

    /// Returns whether time moves only when the program moves it.
    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// Returns when the next item in flight arrives in an in-memory network.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        match self {
            Self::Machine(_) => None,
            Self::Memory(memory) => memory.next_arrival(),
        }
    }

    /// Moves virtual time forward to `now`, never back. Does nothing on the machine.
    pub(crate) fn set_now(&self, now: Instant) {
        if let Self::Memory(memory) = self {
            memory.set_now(now);
        }
    }

    /// Returns the handle with which other threads wake this driver.
    pub(crate) fn waker(&self) -> Waking {
        match self {
            Self::Machine(machine) => machine.selector().waker(),
            Self::Memory(memory) => memory.waker(),
        }
    }

    /// Waits for ready sources, and appends their events.
    ///
    /// `None` waits without a limit; a timeout of zero does not wait. A signal may end the wait
    /// without events. In memory a timeout is not waited for: if nothing is ready and no wake is
    /// pending, the clock moves by it at once; only `None` blocks, until another thread wakes the
    /// driver.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        match self {
            Self::Machine(machine) => machine.wait(timeout, events),
            Self::Memory(memory) => memory.wait(timeout, events),
        }
    }

    /// In memory: appends the events of ready sources, or waits for a wake by another thread, for
    /// at most this real time, while the virtual clock stands still. Returns how long it waited if
    /// there were no events.
    pub(crate) fn wait_outside(
        &self,
        limit: Duration,
        events: &mut Vec<Event>,
    ) -> io::Result<Option<Duration>> {
        match self {
            Self::Machine(machine) => machine.wait(Some(limit), events).map(|()| None),
            Self::Memory(memory) => memory.wait_outside(limit, events),
        }
    }

    /// Registers `source` under `key`.
    ///
    /// The caller keeps one promise: it removes the source before its descriptor closes, or never
    /// lends the descriptor out. Breaking the promise causes no memory error, but events may come
    /// for a key long after its source is gone.
    pub(crate) fn add(
        &self,
        source: &impl Source,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        check_key(key)?;
        match (self, source.name()) {
            (Self::Machine(machine), Name::Machine(fd)) => {
                machine.selector().add(fd, key, interest)
            }
            (Self::Memory(memory), Name::Memory(location)) => memory.add(location, key, interest),
            (_, Name::Relay(relay)) => {
                relay.watch(self.relays(), key, interest);
                Ok(())
            }
            #[cfg(unix)]
            (Self::Machine(machine), Name::Pair(pair)) => pair.add(machine, key, interest),
            _ => Err(foreign()),
        }
    }

    /// Changes the interest of `source`, which was added before.
    pub(crate) fn set_interest(
        &self,
        source: &impl Source,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        check_key(key)?;
        match (self, source.name()) {
            (Self::Machine(machine), Name::Machine(fd)) => {
                machine.selector().set_interest(fd, key, interest)
            }
            (Self::Memory(memory), Name::Memory(location)) => {
                memory.set_interest(location, key, interest)
            }
            (_, Name::Relay(relay)) => {
                relay.watch(self.relays(), key, interest);
                Ok(())
            }
            #[cfg(unix)]
            (Self::Machine(machine), Name::Pair(pair)) => pair.set_interest(machine, key, interest),
            _ => Err(foreign()),
        }
    }

    /// Removes `source`; a source that was never added is ignored.
    pub(crate) fn remove(&self, source: &impl Source) -> io::Result<()> {
        match (self, source.name()) {
            (Self::Machine(machine), Name::Machine(fd)) => machine.selector().remove(fd),
            (Self::Memory(memory), Name::Memory(location)) => {
                memory.remove(location);
                Ok(())
            }
            (_, Name::Relay(relay)) => {
                relay.ignore();
                Ok(())
            }
            #[cfg(unix)]
            (Self::Machine(machine), Name::Pair(pair)) => pair.remove(machine),
            _ => Err(foreign()),
        }
    }

    /// Removes a socket like [`Driver::remove`], when it is closed right after and its descriptor
    /// was never lent out: where closing removes it from the poller by itself, this costs nothing.
    pub(crate) fn remove_closing(&self, socket: &Socket) -> io::Result<()> {
        match (self, socket.name()) {
            (Self::Machine(machine), Name::Machine(fd)) => machine.selector().remove_closing(fd),
            _ => self.remove(socket),
        }
    }

    /// Makes a new poller that watches only the sources whose keys are live.
    ///
    /// For a caller that gets a key whose source is gone: the kernel has not forgotten a socket
    /// that was [closed](Driver::remove_closing), because a forked process has it too. On failure
    /// nothing changes. In memory, and where closed sockets are removed from the poller one by one,
    /// it does nothing.
    pub(crate) fn rebuild(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        match self {
            Self::Machine(machine) => machine.selector().rebuild(is_live),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Prepares the poller's descriptor for lending: rebuilds the poller as [`Driver::rebuild`]
    /// does, if the kernel may still watch a socket that was closed.
    ///
    /// Does nothing once the descriptor is lent.
    #[cfg(unix)]
    pub(crate) fn prepare_to_lend(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        match self {
            Self::Machine(machine) => machine.selector().prepare_to_lend(is_live),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Sends the end of file to the peer. A separate descriptor for writing is closed.
    pub(crate) fn shut_write(&self, socket: &Socket) -> io::Result<()> {
        match (self, socket.base()) {
            #[cfg(unix)]
            (Self::Machine(machine), Socket::Pair(pair)) => pair.remove_output(machine),
            _ => socket.shutdown(Shutdown::Write),
        }
    }

    /// Makes a socket of two descriptors, which may be of any kind.
    #[cfg(unix)]
    pub(crate) fn pair(&self, input: OwnedFd, output: OwnedFd) -> io::Result<Socket> {
        match self {
            Self::Machine(_) => {
                let pair = Pair::new(Some(input), Some(output))?;
                Ok(Socket::Pair(Box::new(pair)))
            }
            Self::Memory(_) => Err(foreign()),
        }
    }

    /// Returns standard input and output as one socket; `None` while they are in use. In memory it
    /// is a connection to [`STDIO`].
    #[cfg(unix)]
    pub(crate) fn stdio(&self) -> io::Result<Option<Socket>> {
        match self {
            Self::Machine(_) => {
                let pair = Pair::standard()?;
                Ok(pair.map(|pair| Socket::Pair(Box::new(pair))))
            }
            Self::Memory(_) => {
                let (stdio, buffers) = (Address::from_abstract(STDIO), Buffers::default());
                self.connect(&stdio, None, buffers).map(Some)
            }
        }
    }

    /// Listens for connections; port 0 takes a free one. An IPv6 address accepts no IPv4
    /// connections.
    pub(crate) fn listen(&self, address: &Address, bind: &Bind) -> io::Result<Listener> {
        match (self, address) {
            (Self::Machine(_), Address::Ip(addr)) => {
                tcp::listen(*addr, bind).map(Listener::Machine)
            }
            #[cfg(unix)]
            (Self::Machine(_), Address::Path(_) | Address::Abstract(_)) => {
                unix::listen(address, bind).map(Listener::Unix)
            }
            (Self::Memory(memory), _) => {
                names::check(address)?;
                memory.listen(address, bind.backlog).map(Listener::Memory)
            }
            _ => Err(not_inet(address)),
        }
    }

    /// Begins a connection to `address`, from `bind` if given.
    ///
    /// The connection is established when the socket becomes writable; [`Socket::connected`]
    /// returns the result. Errors that are known at once are returned. For a UNIX listener whose
    /// queue is full the error is [`io::ErrorKind::WouldBlock`], and there is nothing to wait on.
    pub(crate) fn connect(
        &self,
        address: &Address,
        bind: Option<&Address>,
        buffers: Buffers,
    ) -> io::Result<Socket> {
        self.connect_hooked(address, bind, buffers, None)
    }

    /// Begins a connection like [`Driver::connect`], with a hook for the socket.
    pub(crate) fn connect_hooked(
        &self,
        address: &Address,
        bind: Option<&Address>,
        buffers: Buffers,
        hook: Option<&SocketHook>,
    ) -> io::Result<Socket> {
        match (self, address) {
            (Self::Machine(_), Address::Ip(addr)) => {
                let inet = |bind: &Address| bind.inet().ok_or_else(|| not_inet(bind));
                let bind = bind.map(inet).transpose()?;
                tcp::connect(*addr, bind, buffers, hook).map(Socket::Machine)
            }
            #[cfg(unix)]
            (Self::Machine(_), Address::Path(_) | Address::Abstract(_)) => {
                let stream = unix::connect(address, bind, hook)?;
                Ok(Socket::Unix(Box::new(stream)))
            }
            (Self::Memory(memory), _) => {
                names::check(address)?;
                let socket = memory.connect(address, bind)?;
                Ok(Socket::Memory(socket))
            }
            _ => Err(not_inet(address)),
        }
    }

    /// Makes a datagram socket bound to `address`; port 0 takes a free one, [`Address::Unnamed`]
    /// makes a UNIX socket without a name.
    ///
    /// Sockets that `share` may have the same address.
    pub(crate) fn datagrams(&self, address: &Address, share: bool) -> io::Result<Datagrams> {
        match self {
            Self::Machine(_) => datagram::bound(address, share).map(Datagrams::Machine),
            Self::Memory(memory) => memory.datagrams(address, share).map(Datagrams::Memory),
        }
    }

    /// Fails unless a running process holds the lock beside the socket's file. In memory nothing is
    /// locked.
    pub(crate) fn check_lock(&self, address: &Address) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Machine(_) => unix::check_lock(address),
            _ => {
                let _ = address;
                Ok(())
            }
        }
    }
}

/// Adoption of sockets that other code has made.
#[cfg(unix)]
impl Driver {
    /// Adopts a listening socket.
    pub(crate) fn adopt_listener(&self, fd: OwnedFd) -> Result<Listener, NotAdopted> {
        self.check_machine()?;
        let (socket, domain) = adopt::adopted(fd, Kind::Listener)?;
        Ok(if domain == Domain::UNIX {
            Listener::Unix(unix::Listener::adopted(socket))
        } else {
            Listener::Machine(socket)
        })
    }

    /// Adopts a connection; returns the peer's address.
    pub(crate) fn adopt_connection(&self, fd: OwnedFd) -> Result<(Socket, Address), NotAdopted> {
        self.check_machine()?;
        let (socket, domain) = adopt::adopted(fd, Kind::Connection)?;
        let peer = names::of(&socket.peer_addr()?);
        let socket = if domain == Domain::UNIX {
            Socket::Unix(Box::new(unix::Stream::new(socket)))
        } else {
            Socket::Machine(socket)
        };
        Ok((socket, peer))
    }

    /// Adopts a datagram socket; returns the address that it is connected to.
    pub(crate) fn adopt_datagrams(
        &self,
        fd: OwnedFd,
    ) -> Result<(Datagrams, Option<Address>), NotAdopted> {
        self.check_machine()?;
        let (socket, _) = adopt::adopted(fd, Kind::Datagrams)?;
        let peer = socket.peer_addr().ok().map(|peer| names::of(&peer));
        Ok((Datagrams::Machine(socket), peer))
    }

    fn check_machine(&self) -> io::Result<()> {
        match self {
            Self::Machine(_) => Ok(()),
            Self::Memory(_) => Err(foreign()),
        }
    }
}

/// The file of a socket: on this platform there is none.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) enum SocketFile {}

#[cfg(unix)]
impl AsFd for Driver {
    /// Returns the poller's descriptor: readable when a wait would find something.
    ///
    /// In memory it reports only wakes and signals, not events of the in-memory network.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Machine(machine) => machine.selector().lend(),
            Self::Memory(memory) => memory.as_fd(),
        }
    }
}

/// The address at which a test listens in memory for the program's standard input and output.
#[cfg(unix)]
pub(crate) const STDIO: &str = "torsade standard input and output";
