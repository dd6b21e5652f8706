//! A listening socket that was given: by this program's own code, or by whoever started it.
//!
//! # Invariants
//!
//! 1. A socket that was given is listened with once; clones of its endpoint share it.
//! 2. Adopted sockets are closed and nothing else: nothing is shut down and no file is removed, so
//!    other processes that have them go on.

use std::fmt;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use super::activation::{self, Which};
use crate::address::Address;
use crate::driver::{Listener, Socket};
use crate::failure::Failure;
use crate::net::errors::{AlreadyAdopted, CannotAdopt};
use crate::reactor::Reactor;

/// A socket that listens already, to be listened with.
#[derive(Clone, Debug)]
pub(in crate::net) struct Given {
    what: What,
    /// What it must be, if that was said.
    family: Option<Family>,
}

/// A descriptor that this program gave, until it is taken. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::net) struct Adopted(Arc<Mutex<Option<OwnedFd>>>);

impl Adopted {
    pub(in crate::net) fn new(fd: OwnedFd) -> Self {
        Self(Arc::new(Mutex::new(Some(fd))))
    }

    fn take(&self) -> Result<OwnedFd, Failure> {
        let fd = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        fd.ok_or_else(|| Failure::new(AlreadyAdopted))
    }

    /// Takes the descriptor as a connected stream socket; returns its peer as well.
    pub(in crate::net) fn connection(
        &self,
        reactor: &Reactor,
        location: &'static Location<'static>,
    ) -> Result<(Socket, Address), Failure> {
        let fd = self.take().map_err(|failure| failure.moved(location))?;
        let adopted = reactor.inner().driver().adopt_connection(fd);
        adopted.map_err(|why| {
            let error = CannotAdopt::new("a stream socket that is connected", why);
            Failure::at(error, location)
        })
    }
}

#[derive(Clone, Debug)]
enum What {
    Owned(Adopted),
    #[cfg_attr(
        not(any(doc, feature = "systemd")),
        expect(dead_code, reason = "it has no values without the feature")
    )]
    Inherited(Which),
}

/// A kind of address, by the name that descriptions have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Family {
    Inet,
    Inet6,
    Unix,
}

impl Given {
    /// One that this program has.
    pub(in crate::net) fn owned(fd: OwnedFd) -> Self {
        Self {
            what: What::Owned(Adopted::new(fd)),
            family: None,
        }
    }

    /// Names a socket that the process was started with.
    #[cfg(any(doc, feature = "systemd"))]
    pub(in crate::net) fn inherited(which: Which, family: Option<Family>) -> Self {
        Self {
            what: What::Inherited(which),
            family,
        }
    }

    /// Takes the socket (invariant 1).
    pub(in crate::net) fn listen(&self, reactor: &Reactor) -> Result<Listener, Failure> {
        match &self.what {
            What::Owned(adopted) => self.adopt(reactor, adopted.take()?),
            What::Inherited(which) => {
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
        let wanted = self
            .family
            .map_or("a stream socket that listens", Family::listener);
        let adopted = reactor.inner().driver().adopt_listener(fd);
        let listener = adopted.map_err(|why| Failure::new(CannotAdopt::new(wanted, why)))?;
        let found = Family::of(&listener.local_addr()?);
        if self.family.is_some_and(|family| family != found) {
            let found = Ok(found.listener().into());
            return Err(Failure::new(CannotAdopt { wanted, found }));
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
            Self::Inet => "a TCP socket of IPv4 that listens",
            Self::Inet6 => "a TCP socket of IPv6 that listens",
            Self::Unix => "a UNIX socket that listens",
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

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Owned(_) => return f.write_str("an adopted socket"),
            What::Inherited(which) => which.fmt(f)?,
        }
        match self.family {
            Some(family) => write!(f, ":domain={family}"),
            None => Ok(()),
        }
    }
}
