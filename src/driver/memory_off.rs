//! Replaces the in-memory driver in a build without the feature `testing`: types that have no
//! values.
//!
//! The rest of `driver` is the same with and without the feature. A type without values takes no
//! space in the enums that have it, and the compiler removes every match arm for it, so the
//! in-memory driver costs such a build nothing.

use std::io::{self, IoSlice};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::options::{Arrived, Change, OptionName};
use super::poller::{Event, Interest, Waking};
use super::relay::Relays;
#[cfg(unix)]
use super::sockets::passing::Passing;
use crate::address::Address;

/// Implements methods of a type that has no values: none of them can be called.
macro_rules! never {
    ($kind:ty: $(fn $name:ident(&self $(, $argument:ident: $type:ty)*) $(-> $result:ty)?;)+) => {
        impl $kind {
            $(pub(super) fn $name(&self $(, $argument: $type)*) $(-> $result)? {
                $(let _ = $argument;)*
                match *self {}
            })+
        }
    };
}

#[derive(Debug)]
pub(crate) enum Memory {}

/// The ID of a socket that cannot exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketId;

#[derive(Debug)]
pub(crate) enum Socket {}

#[derive(Debug)]
pub(crate) enum Listener {}

#[derive(Debug)]
pub(crate) enum Datagrams {}

/// How an enum holds a [`Socket`].
pub(crate) type Owned = Socket;

never! { Memory:
    fn now(&self) -> Instant;
    fn set_now(&self, now: Instant);
    fn waker(&self) -> Waking;
    fn wait_outside(&self, limit: Duration, events: &mut Vec<Event>) -> io::Result<Option<Duration>>;
    fn wait(&self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;
    fn relays(&self) -> &Relays;
    fn next_arrival(&self) -> Option<Instant>;
    fn add(&self, socket_id: SocketId, key: usize, interest: Interest) -> io::Result<()>;
    fn set_interest(&self, socket_id: SocketId, key: usize, interest: Interest) -> io::Result<()>;
    fn remove(&self, socket_id: SocketId);
    fn listen(&self, addr: &Address, backlog: i32) -> io::Result<Listener>;
    fn connect(&self, addr: &Address, bind: Option<&Address>) -> io::Result<Owned>;
    fn datagrams(&self, addr: &Address, share: bool) -> io::Result<Datagrams>;
}

never! { Socket:
    fn socket_id(&self) -> SocketId;
    fn read(&self, into: &mut [u8]) -> io::Result<usize>;
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    fn is_local(&self) -> bool;
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    fn peer_has_shut(&self) -> bool;
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    fn take_error(&self) -> Option<io::Error>;
    fn connected(&self) -> io::Result<bool>;
    fn local_addr(&self) -> Address;
    fn peer_addr(&self) -> io::Result<Address>;
    fn set_nodelay(&self, on: bool);
    fn nodelay(&self) -> bool;
    fn set_keepalive(&self, on: bool);
    fn set_keepalive_times(&self, times: (Duration, Duration, u32));
    fn keepalive_times(&self) -> (Duration, Duration, u32);
    fn keepalive(&self) -> bool;
    fn reset_on_close(&self);
}

#[cfg(unix)]
never! { Socket:
    fn passing(&self) -> Option<&Passing>;
}

never! { Listener:
    fn socket_id(&self) -> SocketId;
    fn accept(&self) -> io::Result<(Owned, Address)>;
    fn local_addr(&self) -> Address;
}

never! { Datagrams:
    fn socket_id(&self) -> SocketId;
    fn receive(&self, into: &mut [u8]) -> io::Result<Arrived>;
    fn next_size(&self) -> Option<usize>;
    fn send(&self, bytes: &[u8], to: Option<&Address>) -> io::Result<()>;
    fn connect(&self, to: &Address) -> io::Result<()>;
    fn take_error(&self) -> Option<io::Error>;
    fn local_addr(&self) -> Address;
    fn change(&self, change: Change) -> io::Result<()>;
    fn option(&self, name: OptionName) -> u32;
}

#[cfg(unix)]
impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}
