//! What the loop asks of the world: time, readiness, sockets, and being woken.
//!
//! A [`Driver`] is the machine or a model of one in memory. The loop above is the same under both: it names
//! sources by keys, waits, and is told which keys are ready. Nothing here calls anybody's code while something is
//! borrowed (only [`SocketHook`] calls any), so nothing here can be entered twice.
//!
//! The driver owns the poller and, in memory, the network and the clock. It does **not** own what is
//! registered: who adds a source removes it before its descriptor closes (see [`Driver::add`]).
//!
//! # Invariants
//!
//! 1. **Keys are the caller's** and come back as they were given. The two highest are this room's own.
//! 2. **Level**: what is ready and asked for is told by every wait until it is no longer so.
//! 3. **Nothing is quiet**: a source with [`Interest::Nothing`] tells a hang-up at most once each time that
//!    interest is set, so a peer that went away cannot keep the loop turning.
//! 4. **No wake is lost**: a wake ends the wait under way, or else the next one; several make one.
//! 5. **No early return**: on the machine a wait with a timeout ends early only with events, by a wake, by a
//!    signal, or after a day. In memory it ends exactly in time.
//! 6. **In memory the same calls give the same answers**, and events come in the order of their keys.
//!
//! # Files
//!
//! `machine` the machine · `poller` readiness, and being woken · `tcp` and `unix` sockets of
//! the machine · `passing` descriptors beside the bytes · `pair` two descriptors as one, `clerk` a thread for what no
//! poller takes · `child` other programs, `fork` how they begin, `orphans` those
//! whose reactor has ended · `adopt` sockets that somebody else has made · `socket` any kind of socket, `relay` one that is none, `sockopt` an option of
//! theirs · `datagram` the same for datagrams · `chance` numbers of chance ·
//! `memory` the model · `signals` what the system tells out of turn.

use std::fmt;
use std::io;
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::address::{Address, not_inet};
#[cfg(unix)]
pub(crate) use adopt::NotAdopted;
pub(crate) use chance::Chance;
pub use chance::Random;
#[cfg(unix)]
pub use child::ChildFd;
#[cfg(unix)]
pub(crate) use child::{Child, Launch, NotLaunched, Pty};
pub use datagram::Interface;
pub(crate) use datagram::{Arrived, Change, Datagrams, Question};
#[cfg(unix)]
pub(crate) use inherited::copy_of;
pub use memory::NetworkFaults;
#[cfg(unix)]
pub(crate) use passing::Passing;
use poller::{BELL, Borrowed};
pub(crate) use poller::{Event, Interest, Waking};
pub use poller::{Poller, PollerUnavailable};
pub(crate) use relay::{FarEnd, Written};
#[cfg(unix)]
pub(crate) use signals::with_blocked;
pub(crate) use signals::{Signals, raise};
pub(crate) use socket::{Listener, Socket};
#[cfg(unix)]
pub(crate) use unix::File as SocketFile;

#[cfg(unix)]
mod adopt;
#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "what comes beside bytes is read in C's terms, as no library's type has room for all of it"
)]
mod beside;
mod chance;
#[cfg(unix)]
mod child;
#[cfg(unix)]
mod clerk;
mod datagram;
#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "a child makes bare system calls until it is another program"
)]
mod fork;
#[cfg(unix)]
#[allow(unsafe_code, reason = "a descriptor is named by its number")]
mod inherited;
mod machine;
mod memory;
#[cfg(all(test, torsade_loom))]
mod model;
#[cfg(unix)]
mod orphans;
#[cfg(unix)]
mod pair;
#[cfg(unix)]
mod passing;
mod poller;
pub(crate) mod relay;
mod signals;
mod socket;
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "an option of Linux's has no safe function in the libraries in use"
)]
mod sockopt;
mod tcp;
#[cfg(all(test, unix, not(torsade_loom)))]
mod tests;
#[cfg(unix)]
mod unix;

/// The machine, or a model of it in memory.
#[derive(Debug)]
pub(crate) enum Driver {
    /// The machine's clock, poller and sockets.
    Machine(machine::Machine),
    /// Virtual time and a network in this process.
    Memory(memory::Memory),
}

impl Driver {
    /// Returns the machine this runs on, waited on with the poller that is the default.
    #[cfg(test)]
    pub(crate) fn machine() -> io::Result<Self> {
        Self::machine_with(None)
    }

    /// Returns the machine this runs on, waited on with `poller`, or else with the default one.
    pub(crate) fn machine_with(poller: Option<Poller>) -> io::Result<Self> {
        machine::Machine::new(poller).map(Self::Machine)
    }

    /// A new model with a network of its own, which may have faults; its clock starts at the present.
    pub(crate) fn memory(faults: Option<NetworkFaults>) -> io::Result<Self> {
        memory::Memory::new(faults).map(Self::Memory)
    }

    /// The machine, waited on through its poller.
    #[cfg(all(test, torsade_loom))]
    pub(crate) fn portable() -> Self {
        Self::Machine(machine::Machine::portable())
    }

    /// Returns the poller that is waited on; none in memory.
    pub(crate) fn poller(&self) -> Option<Poller> {
        match self {
            Self::Machine(machine) => Some(machine.selector().poller()),
            Self::Memory(_) => None,
        }
    }

    /// The time: monotonic, virtual in memory.
    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Machine(_) => Instant::now(),
            Self::Memory(memory) => memory.now(),
        }
    }

    /// Where chance comes from: in memory always the same.
    pub(crate) fn chance(&self) -> Chance {
        match self {
            Self::Machine(_) => Chance::new(),
            Self::Memory(_) => Chance::from_seed(0),
        }
    }

    fn relays(&self) -> &relay::Relays {
        match self {
            Self::Machine(machine) => machine.relays(),
            Self::Memory(memory) => memory.relays(),
        }
    }

    /// Whether time moves only when told to.
    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// When the next thing arrives that is under way in a network in memory.
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

    /// What another thread wakes this driver with.
    pub(crate) fn waker(&self) -> Waking {
        match self {
            Self::Machine(machine) => machine.selector().waker(),
            Self::Memory(memory) => memory.waker(),
        }
    }

    /// Appends what is ready, waiting for it if need be.
    ///
    /// `None` waits as long as it takes, a timeout of zero is a look. A signal may end the wait with no
    /// events. In memory a timeout is not waited for: if nothing is ready and nobody woke the driver, the
    /// clock moves by it at once; only `None` blocks, for the sake of other threads.
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

    /// In memory: appends what is ready, or waits for other threads to wake it, for so long in real time, while its clock
    /// stands still. Gives how long that was if nothing came.
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

    /// Starts telling about `source` under `key`.
    ///
    /// The caller keeps one promise: it removes the source before its descriptor closes, or never lends the
    /// descriptor out. Breaking it breaks no memory, but events may come for a key long after its source.
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
            (Self::Memory(memory), Name::Memory(place)) => memory.add(place, key, interest),
            (_, Name::Relay(relay)) => {
                relay.watch(self.relays(), key, interest);
                Ok(())
            }
            #[cfg(unix)]
            (Self::Machine(machine), Name::Pair(pair)) => pair.add(machine, key, interest),
            _ => Err(foreign()),
        }
    }

    /// Changes what is told about `source`, which was added before.
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
            (Self::Memory(memory), Name::Memory(place)) => {
                memory.set_interest(place, key, interest)
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

    /// Stops telling about `source`; one that was never added is left alone.
    pub(crate) fn remove(&self, source: &impl Source) -> io::Result<()> {
        match (self, source.name()) {
            (Self::Machine(machine), Name::Machine(fd)) => machine.selector().remove(fd),
            (Self::Memory(memory), Name::Memory(place)) => {
                memory.remove(place);
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

    /// As [`Driver::remove`], for a socket that is closed right after and whose descriptor was never lent out: where
    /// closing takes it off the poller by itself, this costs nothing.
    pub(crate) fn remove_closing(&self, socket: &Socket) -> io::Result<()> {
        match (self, socket.name()) {
            (Self::Machine(machine), Name::Machine(fd)) => machine.selector().remove_closing(fd),
            _ => self.remove(socket),
        }
    }

    /// Makes a new poller that watches only the sources whose keys are live.
    ///
    /// For the caller that is told of a key whose source is gone: the kernel has not forgotten a socket that was
    /// [closed](Driver::remove_closing), because a forked process has it too. When this fails all is as it was. In memory,
    /// and where closed sockets are taken off the poller one by one, it does nothing.
    pub(crate) fn rebuild(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        match self {
            Self::Machine(machine) => machine.selector().rebuild(is_live),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Prepares for the descriptor of the poller to be lent: rebuilds the poller as
    /// [`Driver::rebuild`] does, if the kernel may still watch a socket that was closed.
    ///
    /// It does nothing once the descriptor is lent.
    #[cfg(unix)]
    pub(crate) fn prepare_to_lend(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        match self {
            Self::Machine(machine) => machine.selector().prepare_to_lend(is_live),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Says the end of file to the peer. What has a descriptor of its own for writing is closed there.
    pub(crate) fn shut_write(&self, socket: &Socket) -> io::Result<()> {
        match (self, socket) {
            #[cfg(unix)]
            (Self::Machine(machine), Socket::Pair(pair)) => pair.remove_output(machine),
            _ => socket.shutdown(Shutdown::Write),
        }
    }

    /// Makes one of two descriptors, which may be of any kind.
    #[cfg(unix)]
    pub(crate) fn pair(&self, input: OwnedFd, output: OwnedFd) -> io::Result<Socket> {
        match self {
            Self::Machine(_) => {
                let pair = pair::Pair::new(Some(input), Some(output))?;
                Ok(Socket::Pair(Box::new(pair)))
            }
            Self::Memory(_) => Err(foreign()),
        }
    }

    /// Standard input and output; none while they are in use. In memory they are a connection to [`STDIO`].
    #[cfg(unix)]
    pub(crate) fn stdio(&self) -> io::Result<Option<Socket>> {
        match self {
            Self::Machine(_) => {
                let pair = pair::Pair::standard()?;
                Ok(pair.map(|pair| Socket::Pair(Box::new(pair))))
            }
            Self::Memory(_) => {
                let (stdio, buffers) = (Address::from_abstract(STDIO), Buffers::default());
                self.connect(&stdio, None, buffers).map(Some)
            }
        }
    }

    /// Listens for connections; port 0 takes a free one. An IPv6 address takes no IPv4 connections.
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
                check_name(address)?;
                memory.listen(address, bind.backlog).map(Listener::Memory)
            }
            _ => Err(not_inet(address)),
        }
    }

    /// Begins a connection to `address`, from `bind` if given.
    ///
    /// It is done when the socket becomes writable; [`Socket::connected`] says how it went. What is known to
    /// be wrong at once is returned. To a UNIX socket that has no room for one more it is
    /// [`io::ErrorKind::WouldBlock`], and there is nothing to wait on.
    pub(crate) fn connect(
        &self,
        address: &Address,
        bind: Option<&Address>,
        buffers: Buffers,
    ) -> io::Result<Socket> {
        self.connect_hooked(address, bind, buffers, None)
    }

    /// As [`Driver::connect`], with a hook for the socket.
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
                check_name(address)?;
                let socket = memory.connect(address, bind)?;
                Ok(Socket::Memory(Box::new(socket)))
            }
            _ => Err(not_inet(address)),
        }
    }

    /// Fails unless somebody alive holds the lock beside the socket's file. In memory nothing is locked.
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

/// The file that names a socket: here there is none.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) enum SocketFile {}

/// How a listener is bound.
#[derive(Clone, Debug)]
pub(crate) struct Bind {
    /// How many connections wait to be accepted.
    pub(crate) backlog: i32,
    /// Whether, on Unix, a port may be taken whose last connections are still fading away.
    pub(crate) reuse_address: bool,
    /// Whether others may listen at the same address, and share what comes.
    pub(crate) reuse_port: bool,
    /// Whether an IPv6 address takes IPv4 connections as well.
    pub(crate) dual_stack: bool,
    pub(crate) buffers: Buffers,
    /// Who may connect: the mode of a UNIX socket's file.
    pub(crate) mode: u32,
    /// Whether a lock beside a UNIX socket's file says whose it is.
    pub(crate) lock_file: bool,
    pub(crate) hook: Option<SocketHook>,
}

/// Is given each socket before it is bound, connected or listened with. In memory it is never called.
///
/// It is a user's code, and called with nothing borrowed. It must not unwind.
#[derive(Clone)]
pub(crate) struct SocketHook(pub(crate) Rc<SocketCall>);

type SocketCall = dyn Fn(Borrowed<'_>) -> io::Result<()>;

impl SocketHook {
    /// Calls the hook, if there is one.
    fn call(hook: Option<&Self>, socket: &socket2::Socket) -> io::Result<()> {
        #[cfg(unix)]
        let socket = socket.as_fd();
        #[cfg(windows)]
        let socket = std::os::windows::io::AsSocket::as_socket(socket);
        hook.map_or(Ok(()), |hook| (hook.0)(socket))
    }
}

impl fmt::Debug for SocketHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketHook")
    }
}

/// How many bytes the system holds of a connection, where that was said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) send: Option<usize>,
    pub(crate) receive: Option<usize>,
}

impl Default for Bind {
    fn default() -> Self {
        Self {
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            dual_stack: false,
            buffers: Buffers::default(),
            mode: 0o666,
            lock_file: false,
            hook: None,
        }
    }
}

/// How a thing is named to a driver. Only this room implements it.
pub(crate) trait Source {
    /// The name.
    fn name(&self) -> Name<'_>;
}

/// The name of a source: a descriptor, or a place in the network in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name<'a> {
    /// Something the machine's poller can watch.
    Machine(Borrowed<'a>),
    /// An end of a connection or a listener of a [`memory::Memory`].
    Memory(memory::Place),
    /// Queues in this process.
    Relay(&'a relay::Relay),
    /// Two descriptors, which know best how they are watched.
    #[cfg(unix)]
    Pair(&'a pair::Pair),
}

/// A descriptor of the machine's that is neither a [`Socket`] nor a [`Listener`]: a pipe, a datagram socket.
///
/// In memory it is [`io::ErrorKind::Unsupported`].
#[cfg(unix)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor<'a>(pub(crate) BorrowedFd<'a>);

#[cfg(unix)]
impl Source for Descriptor<'_> {
    fn name(&self) -> Name<'_> {
        Name::Machine(self.0)
    }
}

#[cfg(unix)]
impl AsFd for Driver {
    /// The poller's descriptor: readable when a wait would find something.
    ///
    /// In memory it tells only of wakes and signals, not of what goes on in the network there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Machine(machine) => machine.selector().lend(),
            Self::Memory(memory) => memory.as_fd(),
        }
    }
}

/// Refuses the two keys that are this room's own (invariant 1).
fn check_key(key: usize) -> io::Result<()> {
    if key >= BELL {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the two highest keys are reserved",
        ));
    }
    Ok(())
}

/// Refuses an address that no socket can be bound to. A name that is too long is never cut off.
fn check_name(address: &Address) -> io::Result<()> {
    let (what, length) = match address {
        Address::Ip(_) => return Ok(()),
        Address::Path(path) => {
            let path = path.as_os_str().as_encoded_bytes();
            if path.is_empty() || path.contains(&0) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a socket's path is not empty and has no NUL in it",
                ));
            }
            ("path", path.len())
        }
        Address::Abstract(name) => ("name", name.len()),
        Address::Unnamed => return Err(not_inet(address)),
    };
    if length > LONGEST_NAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a socket's {what} has room for {LONGEST_NAME} bytes, and this has {length}"),
        ));
    }
    Ok(())
}

/// The machine was given something of memory's, or the other way round.
fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the source is of another kind than the driver",
    )
}

/// Where in memory whoever plays the user of standard input and output listens.
#[cfg(unix)]
pub(crate) const STDIO: &str = "torsade standard input and output";

/// The longest name of a UNIX socket. One more byte is for the NUL.
#[cfg(any(target_os = "linux", target_os = "android", not(unix)))]
const LONGEST_NAME: usize = 107;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const LONGEST_NAME: usize = 103;
