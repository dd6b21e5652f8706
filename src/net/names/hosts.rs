//! A table of host names, for tests and for fixed names: [`HostsTable`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::{LookupError, LookupErrorKind, NameResolver};
use crate::defer::{Deferred, Listeners, execute};
use crate::failure::Failure;
use crate::index::SortedVec;
use crate::reactor::Reactor;
use crate::repeat::defer_later;

/// A resolver that knows only the names added to it; all others fail with
/// [`LookupErrorKind::NoSuchName`]. It is the default of an in-memory reactor, and is empty then.
///
/// Clones share the table. Names are compared without case.
///
/// # Examples
///
/// ```
/// use torsade::net::{HostsTable, LookupError, LookupErrorKind};
///
/// torsade::testing::run(async |reactor| {
///     let hosts = HostsTable::new();
///     hosts.add("server.example", [[127, 0, 0, 1]]);
///     hosts.fail("broken.example", LookupErrorKind::TryAgain);
///     reactor.set_resolver(hosts.clone());
///
///     let port = reactor.serve("127.0.0.1:0", async |_conn| Ok(()))?;
///     let to = ("Server.Example", port.local_addr().port().unwrap());
///     let conn = reactor.connect_stream(to).await?;
///     assert_eq!(conn.peer(), port.local_addr());
///     drop(conn);
///     port.stop().await?;
///
///     let failure = reactor.connect_stream("broken.example:80").await.unwrap_err();
///     assert!(failure.trap::<LookupError>()?.is_temporary());
///     Ok(())
/// });
/// ```
#[derive(Clone, Default)]
pub struct HostsTable(Rc<Table>);

#[derive(Default)]
struct Table {
    entries: RefCell<SortedVec<String, Entry>>,
    delay: Cell<Duration>,
    /// Look-ups that are never answered.
    waiting: Listeners<Vec<SocketAddr>>,
}

#[derive(Clone)]
enum Entry {
    Addresses(Vec<IpAddr>),
    Error(LookupErrorKind),
    Silence,
}

impl HostsTable {
    /// Creates an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a name with its addresses, or replaces those of the name.
    pub fn add<A: Into<IpAddr>>(&self, name: &str, addresses: impl IntoIterator<Item = A>) {
        let addresses = addresses.into_iter().map(Into::into).collect();
        self.put(name, Entry::Addresses(addresses));
    }

    /// Makes look-ups of a name fail with an error of this kind.
    pub fn fail(&self, name: &str, kind: LookupErrorKind) {
        self.put(name, Entry::Error(kind));
    }

    /// Makes look-ups of a name wait until they are cancelled, for example by a time limit.
    pub fn never_answer(&self, name: &str) {
        self.put(name, Entry::Silence);
    }

    /// Sets the delay of all later answers. Default: none.
    pub fn set_delay(&self, delay: Duration) {
        self.0.delay.set(delay);
    }

    /// Returns whether the table has an entry for the name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.entries.borrow().get(&key(name)).is_some()
    }

    fn put(&self, name: &str, entry: Entry) {
        self.0.entries.borrow_mut().insert(key(name), entry);
    }
}

impl NameResolver for HostsTable {
    fn resolve(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let entry = self.0.entries.borrow().get(&key(host)).cloned();
        let answer = match entry {
            Some(Entry::Addresses(ips)) => {
                Ok(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
            }
            Some(Entry::Error(kind)) => Err(LookupError::new(host, kind)),
            Some(Entry::Silence) => return self.0.waiting.join(),
            None => Err(LookupError::new(host, LookupErrorKind::NoSuchName)),
        };
        let answer = answer.map_err(Failure::from);
        if self.0.delay.get().is_zero() {
            return execute(|| answer);
        }
        defer_later(reactor, self.0.delay.get(), || answer)
    }
}

impl fmt::Debug for HostsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.entries.borrow();
        f.debug_tuple("HostsTable")
            .field(&entries.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish()
    }
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
