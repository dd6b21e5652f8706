//! The system's resolver, called in threads: [`SystemResolver`].

use std::fmt;
use std::net::SocketAddr;

use dns_lookup::{AddrInfoHints, LookupErrorKind as SystemKind, SockType};

use super::{LookupError, LookupErrorKind, NameResolver};
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::threads::{PoolError, ThreadPool};

/// A resolver that calls the system's `getaddrinfo`, which reads the hosts file and asks the DNS as
/// the machine is configured, and sorts the addresses (RFC 6724).
///
/// `getaddrinfo` blocks, so it is called in a few threads that do nothing else: slow answers delay
/// only other look-ups. A look-up that is cancelled before it starts is removed from the queue; one
/// that has started keeps its thread until the system returns.
#[derive(Clone)]
pub struct SystemResolver {
    pool: ThreadPool,
}

impl SystemResolver {
    /// Creates a resolver with the default limits: eight look-ups at a time, and 500 that wait.
    pub fn new() -> Self {
        Self::with_limits(THREADS, WAITING)
    }

    /// Creates a resolver with other limits. While `waiting` look-ups wait, further ones fail with
    /// [`LookupErrorKind::TooMany`].
    ///
    /// # Panics
    ///
    /// Panics if `at_once` is zero.
    #[track_caller]
    pub fn with_limits(at_once: usize, waiting: usize) -> Self {
        let pool = ThreadPool::builder()
            .name("torsade-names")
            .max(at_once)
            .queue_limit(waiting);
        Self { pool: pool.build() }
    }
}

impl NameResolver for SystemResolver {
    fn resolve(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let (name, host) = (host.to_owned(), host.to_owned());
        let found = self.pool.spawn_blocking(reactor, move || ask(name, port));
        found.add_errback(move |failure| {
            if let Some(PoolError::Full { .. }) = failure.downcast_ref() {
                return Err(LookupError::new(host, LookupErrorKind::TooMany).into());
            }
            Err(failure)
        })
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SystemResolver").field(&self.pool).finish()
    }
}

/// Calls `getaddrinfo`, which blocks.
fn ask(host: String, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let found = dns_lookup::getaddrinfo(Some(&host), None, Some(hints));
    let found = found.map_err(|error| explain(host, error))?;
    let mut addresses = Vec::new();
    // Addresses that are not IP addresses are skipped.
    for info in found.flatten() {
        let mut address = info.sockaddr;
        address.set_port(port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn explain(host: String, error: dns_lookup::LookupError) -> LookupError {
    let kind = match error.kind() {
        SystemKind::NoName | SystemKind::NoData => LookupErrorKind::NoSuchName,
        SystemKind::Again => LookupErrorKind::TryAgain,
        _ => LookupErrorKind::Other,
    };
    LookupError {
        code: Some(error.error_num()),
        message: Some(std::io::Error::from(error).to_string()),
        ..LookupError::new(host, kind)
    }
}

/// The default number of look-ups at a time.
const THREADS: usize = 8;

/// The default number of look-ups that may wait.
const WAITING: usize = 500;
