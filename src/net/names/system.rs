//! The system's own look-up, in threads of its own.

use std::fmt;
use std::net::SocketAddr;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType};

use super::{LookupFailed, LookupProblem, NameResolver};
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::threads::{PoolError, ThreadPool};

/// Asks the system: its hosts file, the DNS, whatever it is set up to ask, in the order it prefers (RFC 6724).
///
/// The system's function blocks, so it is called in a few threads that do nothing else: slow answers keep other look-ups
/// waiting, and nothing besides. A look-up that was cancelled before it was begun is taken out of the queue; one that was
/// begun keeps its thread until the system gives up.
#[derive(Clone)]
pub struct SystemResolver {
    pool: ThreadPool,
}

impl SystemResolver {
    /// With the usual limits: eight look-ups at a time, and 500 that wait.
    pub fn new() -> Self {
        Self::with_limits(THREADS, WAITING)
    }

    /// With other limits. What comes when `waiting` look-ups wait fails with [`LookupProblem::TooMany`].
    ///
    /// # Panics
    ///
    /// When `at_once` is zero.
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
                return Err(LookupFailed::new(host, LookupProblem::TooMany).into());
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

/// Blocks until the system has answered.
fn ask(host: String, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let found = dns_lookup::getaddrinfo(Some(&host), None, Some(hints));
    let found = found.map_err(|error| explain(host, error))?;
    let mut addresses = Vec::new();
    // What is no IP address is of no use here.
    for info in found.flatten() {
        let mut address = info.sockaddr;
        address.set_port(port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn explain(host: String, error: LookupError) -> LookupFailed {
    let problem = match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => LookupProblem::NoSuchName,
        LookupErrorKind::Again => LookupProblem::TryAgain,
        _ => LookupProblem::Other,
    };
    LookupFailed {
        code: Some(error.error_num()),
        said: Some(std::io::Error::from(error).to_string()),
        ..LookupFailed::new(host, problem)
    }
}

/// So many look-ups at a time.
const THREADS: usize = 8;

/// So many may wait.
const WAITING: usize = 500;
