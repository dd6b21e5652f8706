//! Listening sockets that were opened before: by the program, or by the process that started it.
//!
//! # Invariants
//!
//! 1. An adopted socket is listened with once; clones of its endpoint share it.
//! 2. An adopted socket is only closed: it is not shut down and its file is not removed, so other
//!    processes that share the socket go on.

use std::fmt;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use super::activation::{self, InheritedFd};
use crate::address::Address;
use crate::driver::{Listener, NotAdopted, Socket};
use crate::failure::Failure;
use crate::net::errors::ListenError;
use crate::reactor::Reactor;

/// A listening socket that was opened before.
#[derive(Clone, Debug)]
pub(in crate::net) struct OpenListener {
    what: Origin,
    /// The required address family, if the endpoint names one.
    family: Option<Family>,
}

/// A descriptor that the program passed, until it is taken. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::net) struct AdoptedFd(Arc<Mutex<Option<OwnedFd>>>);

impl AdoptedFd {
    pub(in crate::net) fn new(fd: OwnedFd) -> Self {
        Self(Arc::new(Mutex::new(Some(fd))))
    }

    fn take(&self) -> Result<OwnedFd, Failure> {
        let fd = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        fd.ok_or_else(|| Failure::new(ListenError::AlreadyAdopted))
    }

    /// Takes the descriptor as a connected stream socket; also returns its peer.
    pub(in crate::net) fn connection(
        &self,
        reactor: &Reactor,
        location: &'static Location<'static>,
    ) -> Result<(Socket, Address), Failure> {
        let fd = self.take().map_err(|failure| failure.moved(location))?;
        let adopted = reactor.inner().driver().adopt_connection(fd);
        adopted.map_err(|why| {
            let error = ListenError::not_adoptable("a connected stream socket", why);
            Failure::at(error, location)
        })
    }
}

#[derive(Clone, Debug)]
enum Origin {
    Owned(AdoptedFd),
    #[cfg_attr(
        not(any(doc, feature = "systemd")),
        expect(dead_code, reason = "it has no values without the feature")
    )]
    Inherited(InheritedFd),
}

/// An address family, as endpoints' text names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Family {
    Inet,
    Inet6,
    Unix,
}

impl OpenListener {
    /// Wraps a descriptor of the program.
    pub(in crate::net) fn owned(fd: OwnedFd) -> Self {
        Self {
            what: Origin::Owned(AdoptedFd::new(fd)),
            family: None,
        }
    }

    /// Names a socket that the process was started with.
    #[cfg(any(doc, feature = "systemd"))]
    pub(in crate::net) fn inherited(which: InheritedFd, family: Option<Family>) -> Self {
        Self {
            what: Origin::Inherited(which),
            family,
        }
    }

    /// Takes the socket (invariant 1).
    pub(in crate::net) fn listen(&self, reactor: &Reactor) -> Result<Listener, Failure> {
        match &self.what {
            Origin::Owned(adopted) => self.adopt(reactor, adopted.take()?),
            Origin::Inherited(which) => {
                let (number, fd) = activation::take_given(which)?;
                let adopted = self.adopt(reactor, fd);
                if adopted.is_err() {
                    activation::give_back(number);
                }
                adopted
            }
        }
    }

    fn adopt(&self, reactor: &Reactor, fd: OwnedFd) -> Result<Listener, Failure> {
        let expected = self
            .family
            .map_or("a listening stream socket", Family::listener);
        let adopted = reactor.inner().driver().adopt_listener(fd);
        let listener =
            adopted.map_err(|why| Failure::new(ListenError::not_adoptable(expected, why)))?;
        let found = Family::of(&listener.local_addr()?);
        if self.family.is_some_and(|family| family != found) {
            let found = NotAdopted::WrongKind(found.listener().into());
            return Err(Failure::new(ListenError::not_adoptable(expected, found)));
        }
        Ok(listener)
    }
}

impl Family {
    #[cfg(any(doc, feature = "systemd"))]
    pub(in crate::net) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix("AF_").unwrap_or(text);
        [Self::Inet, Self::Inet6, Self::Unix]
            .into_iter()
            .find(|family| family.to_string() == text)
    }

    fn of(address: &Address) -> Self {
        match address {
            Address::Ip(address) if address.is_ipv6() => Self::Inet6,
            Address::Ip(_) => Self::Inet,
            _ => Self::Unix,
        }
    }

    fn listener(self) -> &'static str {
        match self {
            Self::Inet => "a listening IPv4 TCP socket",
            Self::Inet6 => "a listening IPv6 TCP socket",
            Self::Unix => "a listening UNIX socket",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "INET",
            Self::Inet6 => "INET6",
            Self::Unix => "UNIX",
        })
    }
}

impl fmt::Display for OpenListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Origin::Owned(_) => return f.write_str("an adopted socket"),
            Origin::Inherited(which) => which.fmt(f)?,
        }
        match self.family {
            Some(family) => write!(f, ":domain={family}"),
            None => Ok(()),
        }
    }
}
