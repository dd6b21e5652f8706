//! The network in memory: its listeners, its connections, and who watches them.
//!
//! Everything is in one table and is named by a [`Place`]; sockets and listeners only hold the name. Each
//! change of a place's state notes it in `changed`; telling looks at those only, and keeps the ones that are
//! still ready, which is what makes it level-triggered.
//!
//! # Invariants
//!
//! 1. A watched place that has something to tell is in `changed`, under the key it is watched with.
//! 2. `peer` goes both ways: if A's peer is B then B's peer is A.
//! 3. An address in `taken` belongs to a listener or to the end of a client that is open.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
#[cfg(unix)]
use std::os::fd::OwnedFd;

use slab::Slab;

use super::super::{Event, Interest};
use super::end::{CAPACITY, End, Watch};
use super::post::Post;
use crate::address::Address;

/// A network.
#[derive(Debug, Default)]
pub(super) struct Net {
    ends: Slab<End>,
    doors: Slab<Door>,
    pub(super) posts: Slab<Post>,
    /// What may have something to tell, in the order it is told.
    changed: BTreeSet<(usize, Place)>,
    taken: BTreeSet<Address>,
    /// How many ports were handed out.
    handed_out: usize,
    /// How many ports for datagrams were.
    pub(super) posted: usize,
}

/// The name of a thing that can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A listener.
    Door(usize),
    /// An end of a connection.
    End(usize),
    /// A socket for datagrams.
    Post(usize),
}

/// What can go wrong, by the names of the machine's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    AlreadyExists,
    BrokenPipe,
    InUse,
    Invalid,
    NoAddress,
    NoDestination,
    NotAllowed,
    NotConnected,
    NotFound,
    Refused,
    Reset,
    TooLong,
    WouldBlock,
    WrongFamily,
}

/// What a place could tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) hangup: bool,
}

/// A listener.
#[derive(Debug)]
struct Door {
    addr: Address,
    backlog: usize,
    /// Ends whose connection is made and was not accepted.
    queue: VecDeque<usize>,
    watch: Option<Watch>,
}

/// Who is listening and connecting.
impl Net {
    /// Listens, and says at which address.
    pub(super) fn listen(
        &mut self,
        addr: Address,
        backlog: i32,
    ) -> Result<(usize, Address), Fault> {
        let addr = self.bind(addr)?;
        let door = self.doors.insert(Door {
            addr: addr.clone(),
            backlog: usize::try_from(backlog).unwrap_or(0).max(1),
            queue: VecDeque::new(),
            watch: None,
        });
        Ok((door, addr))
    }

    /// Makes a connection, or an end that was refused or is never answered.
    pub(super) fn connect(
        &mut self,
        addr: &Address,
        bind: Option<&Address>,
    ) -> Result<usize, Fault> {
        let Address::Ip(addr) = addr else {
            return self.connect_unix(addr, bind);
        };
        let remote = SocketAddr::new(here(addr.ip()), addr.port());
        let from = match bind {
            Some(bind) => bind.inet().ok_or(Fault::WrongFamily)?,
            None => SocketAddr::new(remote.ip(), 0),
        };
        if from.is_ipv4() != remote.is_ipv4() {
            return Err(Fault::WrongFamily);
        }
        let from = if from.ip().is_unspecified() {
            SocketAddr::new(remote.ip(), from.port())
        } else {
            from
        };
        let local = self.bind(from.into())?;
        let remote = Address::Ip(remote);
        let end = End::new(local.clone(), remote.clone(), true);
        let client = self.ends.insert(end);
        let Some(id) = self.door_to(&remote).filter(|door| self.has_room(*door)) else {
            match remote.ip().is_some_and(is_silent) {
                true => self.ends[client].calling = true,
                false => self.ends[client].die(Fault::Refused),
            }
            return Ok(client);
        };
        self.join(client, id, End::new(remote, local, false));
        Ok(client)
    }

    /// The same by a name of the UNIX kind, where everything is known at once.
    fn connect_unix(&mut self, addr: &Address, bind: Option<&Address>) -> Result<usize, Fault> {
        let door = self.door_to(addr).ok_or(match addr {
            Address::Path(_) => Fault::NotFound,
            _ => Fault::Refused,
        })?;
        if !self.has_room(door) {
            return Err(Fault::WouldBlock);
        }
        let local = match bind {
            Some(Address::Ip(_)) => return Err(Fault::WrongFamily),
            Some(bind) => self.bind(bind.clone())?,
            None => Address::Unnamed,
        };
        let end = End::new(local.clone(), addr.clone(), true);
        let client = self.ends.insert(end);
        self.join(client, door, End::new(addr.clone(), local, false));
        Ok(client)
    }

    /// Who listens there.
    fn door_to(&self, addr: &Address) -> Option<usize> {
        let mut doors = self.doors.iter();
        doors.find_map(|(id, door)| covers(&door.addr, addr).then_some(id))
    }

    fn has_room(&self, door: usize) -> bool {
        self.doors[door].queue.len() < self.doors[door].backlog
    }

    /// Makes a client's connection with a listener.
    fn join(&mut self, client: usize, door: usize, server: End) {
        let server = self.ends.insert(server);
        self.doors[door].queue.push_back(server);
        self.ends[server].peer = Some(client);
        self.ends[client].peer = Some(server);
        self.touch(Place::Door(door));
    }

    /// The next connection of a listener.
    pub(super) fn accept(&mut self, door: usize) -> Result<(usize, Address), Fault> {
        let end = self.doors[door].queue.pop_front();
        let end = end.ok_or(Fault::WouldBlock)?;
        Ok((end, self.ends[end].remote.clone()))
    }

    /// Stops listening. Who was not accepted is reset.
    pub(super) fn close_door(&mut self, door: usize) {
        self.ignore(Place::Door(door));
        let door = self.doors.remove(door);
        self.taken.remove(&door.addr);
        for end in door.queue {
            if let Some(peer) = self.ends[end].peer {
                self.kill(peer, Fault::Reset);
            }
            self.close(end);
        }
    }

    /// Takes `addr`, or a free port of it.
    fn bind(&mut self, addr: Address) -> Result<Address, Fault> {
        let free = |net: &Self, addr: &Address| {
            let listening = |(_, door): (_, &Door)| overlap(&door.addr, addr);
            !net.taken.contains(addr) && !net.doors.iter().any(listening)
        };
        let addr = match addr {
            Address::Ip(wanted) if wanted.port() == 0 => {
                let ports = (0..PORTS).map(|n| FIRST_PORT + ((self.handed_out + n) % PORTS) as u16);
                let mut all = ports
                    .map(|port| SocketAddr::new(wanted.ip(), port).into())
                    .enumerate();
                let (tried, addr) = all
                    .find(|(_, addr)| free(self, addr))
                    .ok_or(Fault::NoAddress)?;
                self.handed_out += tried + 1;
                addr
            }
            addr => Some(addr)
                .filter(|addr| free(self, addr))
                .ok_or(Fault::InUse)?,
        };
        self.taken.insert(addr.clone());
        Ok(addr)
    }
}

/// What sockets do.
impl Net {
    /// One end.
    pub(super) fn end(&mut self, end: usize) -> &mut End {
        &mut self.ends[end]
    }

    pub(super) fn read(&mut self, end: usize, into: &mut [u8]) -> Result<usize, Fault> {
        let count = self.ends[end].read(into)?;
        // There is room now: the peer may be writable.
        if let Some(peer) = self.ends[end].peer {
            self.touch(Place::End(peer));
        }
        Ok(count)
    }

    pub(super) fn write(&mut self, end: usize, bytes: &[u8]) -> Result<usize, Fault> {
        self.ends[end].may_write()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let Some(peer) = self.ends[end].peer else {
            if self.ends[end].is_unix {
                return Err(Fault::BrokenPipe);
            }
            // It closed: what comes is answered by a reset, and the write itself has gone well.
            self.kill(end, Fault::Reset);
            return Ok(bytes.len());
        };
        let inbox = &mut self.ends[peer];
        let count = inbox.room().min(bytes.len());
        if count == 0 {
            return Err(Fault::WouldBlock);
        }
        inbox.inbox.extend(&bytes[..count]);
        self.touch(Place::End(peer));
        Ok(count)
    }

    /// Writes one byte and a descriptor with it.
    #[cfg(unix)]
    pub(super) fn write_with(
        &mut self,
        end: usize,
        byte: &[u8],
        descriptor: OwnedFd,
    ) -> Result<usize, Fault> {
        self.ends[end].may_write()?;
        let (Some(peer), Some(byte)) = (self.ends[end].peer, byte.first()) else {
            return Err(Fault::BrokenPipe);
        };
        if self.ends[peer].room() == 0 {
            return Err(Fault::WouldBlock);
        }
        self.ends[peer].come_with(*byte, descriptor);
        self.touch(Place::End(peer));
        Ok(1)
    }

    pub(super) fn shutdown(&mut self, end: usize, how: Shutdown) -> Result<(), Fault> {
        let this = &mut self.ends[end];
        if this.dead {
            return Err(Fault::NotConnected);
        }
        this.deaf |= how != Shutdown::Write;
        this.shut |= how != Shutdown::Read;
        let (shut, peer) = (this.shut, this.peer);
        self.touch(Place::End(end));
        if let Some(peer) = peer.filter(|_| shut) {
            self.ends[peer].ended = true;
            self.touch(Place::End(peer));
        }
        Ok(())
    }

    /// Closes one end; the other finds the end of the stream, or a reset if bytes were left unread.
    pub(super) fn close(&mut self, end: usize) {
        self.ignore(Place::End(end));
        let this = self.ends.remove(end);
        if this.called {
            self.taken.remove(&this.local);
        }
        let Some(peer) = this.peer else { return };
        if (this.reset_on_close && !this.is_unix) || !this.inbox.is_empty() {
            self.kill(peer, Fault::Reset);
        } else {
            self.ends[peer].peer = None;
            self.ends[peer].ended = true;
            self.touch(Place::End(peer));
        }
    }

    /// Ends a connection by force, seen from `end`.
    fn kill(&mut self, end: usize, fault: Fault) {
        self.ends[end].die(fault);
        self.touch(Place::End(end));
    }
}

/// Who watches.
impl Net {
    pub(super) fn watch(
        &mut self,
        place: Place,
        key: usize,
        interest: Interest,
    ) -> Result<(), Fault> {
        let watch = self.watch_of(place);
        if watch.is_some() {
            return Err(Fault::AlreadyExists);
        }
        *watch = Some(Watch::new(key, interest));
        self.touch(place);
        Ok(())
    }

    pub(super) fn change(
        &mut self,
        place: Place,
        key: usize,
        interest: Interest,
    ) -> Result<(), Fault> {
        if self.watch_of(place).is_none() {
            return Err(Fault::NotFound);
        }
        self.ignore(place);
        self.watch(place, key, interest)
    }

    pub(super) fn ignore(&mut self, place: Place) {
        if let Some(watch) = self.watch_of(place).take() {
            self.changed.remove(&(watch.key, place));
        }
    }

    /// Appends what is ready and asked for, in the order of the keys.
    pub(super) fn tell(&mut self, events: &mut Vec<Event>) {
        let mut changed = mem::take(&mut self.changed);
        changed.retain(|&(key, place)| {
            let ready = self.ready(place);
            let Some(watch) = self.watch_of(place) else {
                return false;
            };
            let event = Event {
                key,
                readable: ready.hangup || (ready.readable && watch.interest.reads()),
                writable: ready.hangup || (ready.writable && watch.interest.writes()),
                hangup: ready.hangup,
            };
            if watch.spent || !(event.readable || event.writable) {
                return false;
            }
            watch.spent = watch.interest == Interest::Nothing;
            events.push(event);
            !watch.spent
        });
        self.changed = changed;
    }

    fn ready(&self, place: Place) -> Ready {
        match place {
            Place::Door(door) => Ready {
                readable: !self.doors[door].queue.is_empty(),
                writable: false,
                hangup: false,
            },
            Place::End(end) => {
                let end = &self.ends[end];
                end.ready(end.peer.map(|peer| self.ends[peer].room()))
            }
            Place::Post(post) => self.post_ready(post),
        }
    }

    /// The state of `place` changed.
    pub(super) fn touch(&mut self, place: Place) {
        if let Some(watch) = *self.watch_of(place) {
            self.changed.insert((watch.key, place));
        }
    }

    fn watch_of(&mut self, place: Place) -> &mut Option<Watch> {
        match place {
            Place::Door(door) => &mut self.doors[door].watch,
            Place::End(end) => &mut self.ends[end].watch,
            Place::Post(post) => &mut self.posts[post].watch,
        }
    }
}

impl Watch {
    fn new(key: usize, interest: Interest) -> Self {
        Self {
            key,
            interest,
            spent: false,
        }
    }
}

impl From<Fault> for io::Error {
    /// The error the machine would give, number and all.
    #[cfg(unix)]
    fn from(fault: Fault) -> Self {
        Self::from_raw_os_error(match fault {
            Fault::AlreadyExists => libc::EEXIST,
            Fault::BrokenPipe => libc::EPIPE,
            Fault::InUse => libc::EADDRINUSE,
            Fault::Invalid => libc::EINVAL,
            Fault::NoAddress => libc::EADDRNOTAVAIL,
            Fault::NoDestination => libc::EDESTADDRREQ,
            Fault::NotAllowed => libc::EACCES,
            Fault::NotConnected => libc::ENOTCONN,
            Fault::NotFound => libc::ENOENT,
            Fault::Refused => libc::ECONNREFUSED,
            Fault::Reset => libc::ECONNRESET,
            Fault::TooLong => libc::EMSGSIZE,
            Fault::WouldBlock => libc::EAGAIN,
            Fault::WrongFamily => libc::EAFNOSUPPORT,
        })
    }

    /// The kind of error the machine would give.
    #[cfg(not(unix))]
    fn from(fault: Fault) -> Self {
        use io::ErrorKind as K;
        Self::from(match fault {
            Fault::AlreadyExists => K::AlreadyExists,
            Fault::BrokenPipe => K::BrokenPipe,
            Fault::InUse => K::AddrInUse,
            Fault::Invalid => K::InvalidInput,
            Fault::NoAddress => K::AddrNotAvailable,
            Fault::NoDestination => K::NotConnected,
            Fault::NotAllowed => K::PermissionDenied,
            Fault::NotConnected => K::NotConnected,
            Fault::NotFound => K::NotFound,
            Fault::Refused => K::ConnectionRefused,
            Fault::Reset => K::ConnectionReset,
            Fault::TooLong => K::InvalidInput,
            Fault::WouldBlock => K::WouldBlock,
            Fault::WrongFamily => K::InvalidInput,
        })
    }
}

/// Where one gets to by connecting to `ip`: any address means this host.
pub(super) fn here(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether nobody answers there, not even by refusing: what is set aside for documentation (RFC 5737, RFC 3849).
fn is_silent(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(
            ip.octets(),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _]
        ),
        IpAddr::V6(ip) => ip.segments()[..2] == [0x2001, 0xdb8],
    }
}

/// Whether a listener at `door` takes connections to `addr`.
fn covers(door: &Address, addr: &Address) -> bool {
    match (door, addr) {
        (Address::Ip(door), Address::Ip(addr)) => {
            door.port() == addr.port()
                && door.is_ipv4() == addr.is_ipv4()
                && (door.ip() == addr.ip() || door.ip().is_unspecified())
        }
        (door, addr) => door == addr,
    }
}

/// Whether two addresses cannot both be listened at.
fn overlap(one: &Address, other: &Address) -> bool {
    covers(one, other) || covers(other, one)
}

/// Ports that are handed out, in turn, to who asks for none in particular.
pub(super) const FIRST_PORT: u16 = 32_768;
pub(super) const PORTS: usize = 32_768;

const _: () = assert!(FIRST_PORT as usize + PORTS == 1 << 16 && CAPACITY > 0);
