//! Looking up host names: [`NameResolver`] and [`Reactor::resolve`].
//!
//! # The idea
//!
//! Some names are answered here, whatever the resolver: literal addresses, `localhost` and the
//! names below it (RFC 6761), and text that cannot be a host name. All other names are passed to
//! the reactor's resolver: the system's on the machine ([`SystemResolver`]), a table in memory
//! ([`HostsTable`]), or one that the program implements.
//!
//! # Invariants
//!
//! 1. A name that is answered here never leaves the loop's thread, and takes no time.
//! 2. An answer has at least one address; an empty answer becomes [`LookupErrorKind::NoSuchName`].
//! 3. A panic of a program's resolver is the failure of the look-up.

mod errors;
mod hosts;
mod system;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::Location;
use std::rc::Rc;

pub use self::errors::{LookupError, LookupErrorKind};
pub use self::hosts::HostsTable;
pub use self::system::SystemResolver;
use crate::address::literal;
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report;

/// A resolver of host names to addresses. [`Reactor::set_resolver`] installs one.
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
/// use torsade::net::{HostsTable, NameResolver};
/// use torsade::{Deferred, Reactor};
///
/// /// Looks in a table first, then asks the system.
/// struct Both(HostsTable, torsade::net::SystemResolver);
///
/// impl NameResolver for Both {
///     fn resolve(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
///         if self.0.contains(host) {
///             return self.0.resolve(reactor, host, port);
///         }
///         self.1.resolve(reactor, host, port)
///     }
/// }
/// ```
pub trait NameResolver: 'static {
    /// Returns the addresses of `host`, with `port`, in the order in which to try them.
    ///
    /// `host` is a name of ASCII letters, digits, hyphens, underscores and dots. Literal addresses,
    /// `localhost` and invalid names never get here. The Deferred is cancelled when the answer is
    /// not needed any more; a later answer is dropped.
    ///
    /// # Errors
    ///
    /// Any failure, which becomes that of the connect or of [`Reactor::resolve`]; a [`LookupError`]
    /// lets callers distinguish the kinds. An empty answer counts as
    /// [`LookupErrorKind::NoSuchName`].
    fn resolve(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>>;
}

impl Reactor {
    /// Looks up a host: a name, or a literal address, which is returned unchanged.
    ///
    /// The addresses have port 0 ([`SocketAddr::set_port`] sets another one), so that a link-local
    /// IPv6 address keeps its zone: `fe80::1%eth0` is the address with that interface's index.
    ///
    /// # Errors
    ///
    /// [`LookupError`], whose [`kind`](LookupError::kind) distinguishes an invalid name, a name
    /// that does not exist, and a missing answer.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::net::{HostsTable, LookupError, LookupErrorKind};
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let hosts = HostsTable::new();
    ///     hosts.add("mail.example", [[192, 0, 2, 1], [192, 0, 2, 2]]);
    ///     reactor.set_resolver(hosts);
    ///
    ///     let found = reactor.resolve("mail.example").await?;
    ///     assert_eq!(found[0].ip().to_string(), "192.0.2.1");
    ///     assert_eq!(reactor.resolve("::1").await?[0].to_string(), "[::1]:0");
    ///
    ///     let failure = reactor.resolve("nowhere.example").await.unwrap_err();
    ///     assert_eq!(failure.trap::<LookupError>()?.kind, LookupErrorKind::NoSuchName);
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("getHostByName", "lookup_host", "getaddrinfo", "nameResolver"))]
    #[track_caller]
    pub fn resolve(&self, host: &str) -> Deferred<Vec<SocketAddr>> {
        let location = Location::caller();
        let found = look_up(self, host, 0, location);
        found.add_errback(move |failure| Err(failure.moved(location)))
    }

    /// Sets the resolver of all later look-ups.
    #[doc(alias("installResolver", "installNameResolver"))]
    pub fn set_resolver(&self, resolver: impl NameResolver) {
        let old = self
            .inner()
            .insert_extension(Rc::new(CurrentResolver(Rc::new(resolver))));
        report::discard(old, Location::caller());
    }
}

/// The reactor's resolver.
struct CurrentResolver(Rc<dyn NameResolver>);

/// Looks up the addresses of a host.
pub(super) fn look_up(
    reactor: &Reactor,
    host: &str,
    port: u16,
    location: &'static Location<'static>,
) -> Deferred<Vec<SocketAddr>> {
    if let Some(address) = literal(host, port) {
        return Deferred::succeed(vec![address]);
    }
    if let Some(problem) = problem_of(host) {
        let mut error = LookupError::new(host, LookupErrorKind::InvalidName);
        error.message = Some(problem.into());
        return Deferred::fail(Failure::at(error, location));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if is_below(name, "localhost") {
        // IPv4 comes first, as when listening at `localhost`.
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Deferred::succeed(both.map(|ip| SocketAddr::new(ip, port)).into());
    }
    if is_below(name, "invalid") {
        return Deferred::fail(LookupError::new(host, LookupErrorKind::NoSuchName));
    }
    let resolver = resolver_of(reactor);
    let found = report::catch_rarely(location, || resolver.resolve(reactor, host, port));
    let host = host.to_owned();
    match found {
        Ok(found) => found.add_callback(move |found| match found.is_empty() {
            true => Err(LookupError::new(host, LookupErrorKind::NoSuchName).into()),
            false => Ok(found),
        }),
        Err(panic) => Deferred::fail(panic),
    }
}

fn resolver_of(reactor: &Reactor) -> Rc<dyn NameResolver> {
    let inner = reactor.inner();
    let current = inner.extension_or(|| match inner.driver().is_virtual() {
        true => CurrentResolver(Rc::new(HostsTable::new())),
        false => CurrentResolver(Rc::new(SystemResolver::new())),
    });
    current.0.clone()
}

/// Returns why `host` cannot be a host name, if it cannot.
fn problem_of(host: &str) -> Option<&'static str> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let problem = if name.is_empty() {
        "it is empty"
    } else if !name.is_ascii() {
        "it is not ASCII; give its form that begins with `xn--`"
    } else if name.len() > LONGEST_NAME {
        "it has more than 253 characters"
    } else if name.split('.').any(str::is_empty) {
        "it has an empty part"
    } else if name.split('.').any(|part| part.len() > LONGEST_PART) {
        "a part of it has more than 63 characters"
    } else if is_number(name) {
        "it is a number in an old notation of addresses; write four decimal numbers, as in `127.0.0.1`"
    } else if has_zone(name) {
        "its zone is the name of no network interface"
    } else if !name.bytes().all(is_usual) {
        "it has characters that no host name has"
    } else {
        return None;
    };
    Some(problem)
}

/// Returns whether the name ends in a number. The system would read `127.1`, `0x7f.1` and
/// `2130706433` as addresses; no top-level domain is a number.
fn is_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Returns whether the name is an IPv6 address with an invalid zone.
fn has_zone(name: &str) -> bool {
    name.split_once('%')
        .is_some_and(|(ip, _)| literal(ip.trim_start_matches('['), 0).is_some())
}

fn is_usual(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Returns whether the name is `domain` or below it.
fn is_below(name: &str, domain: &str) -> bool {
    let last = name.rsplit('.').next();
    last.is_some_and(|last| last.eq_ignore_ascii_case(domain))
}

/// The limit of RFC 1035, without the final dot.
const LONGEST_NAME: usize = 253;
const LONGEST_PART: usize = 63;
