//! The types of endpoints' text that a program registers.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

use super::fields::{EndpointFields, is_built_in};
use super::{ClientEndpoint, ServerEndpoint};
use crate::failure::Failure;
use crate::index::SortedVec;
use crate::reactor::Reactor;
use crate::report;

/// The registered parsers of one kind of endpoint, by name.
struct Names<E>(RefCell<SortedVec<String, Rc<Read<E>>>>);

/// A parser: makes an endpoint of the fields of a text.
type Read<E> = dyn Fn(&mut EndpointFields<'_>) -> Result<E, Failure>;

impl ClientEndpoint {
    /// Registers a parser for text that begins with `name` and a colon, for all text that `reactor`
    /// connects to.
    ///
    /// `read` takes out the fields that it knows; a field that remains is an error. Registering a
    /// name again replaces its parser. Names consist of ASCII letters, digits and hyphens and are
    /// compared without case. A host of that name is written `tcp:NAME:PORT` from then on.
    ///
    /// # Panics
    ///
    /// Panics if the name is empty, has other characters, or is a built-in type (`tcp`, `unix`,
    /// ...).
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::net::ClientEndpoint;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |_conn| Ok(()))?;
    ///     let number = port.local_addr().port().unwrap();
    ///     ClientEndpoint::register(&reactor, "here", |fields| {
    ///         Ok(ClientEndpoint::host("localhost", fields.port()?))
    ///     });
    ///     let conn = reactor.connect_stream(format!("here:{number}")).await?;
    ///     assert_eq!(conn.peer(), port.local_addr());
    ///     drop(conn);
    ///     port.stop().await
    /// });
    /// ```
    #[doc(alias("IStreamClientEndpointStringParserWithReactor", "clientFromString"))]
    #[track_caller]
    pub fn register(
        reactor: &Reactor,
        name: &str,
        read: impl Fn(&mut EndpointFields<'_>) -> Result<Self, Failure> + 'static,
    ) {
        register::<Self>(reactor, name, Rc::new(read));
    }
}

impl ServerEndpoint {
    /// Registers a parser for text that `reactor` listens at: see [`ClientEndpoint::register`].
    ///
    /// # Panics
    ///
    /// Panics if the name is empty, has other characters, or is a built-in type (`tcp`, `unix`,
    /// ...).
    #[doc(alias("IStreamServerEndpointStringParser", "serverFromString"))]
    #[track_caller]
    pub fn register(
        reactor: &Reactor,
        name: &str,
        read: impl Fn(&mut EndpointFields<'_>) -> Result<Self, Failure> + 'static,
    ) {
        register::<Self>(reactor, name, Rc::new(read));
    }
}

#[track_caller]
fn register<E: 'static>(reactor: &Reactor, name: &str, read: Rc<Read<E>>) {
    let name = checked(name);
    let names = || Names::<E>(RefCell::default());
    let names = reactor.inner().extension_or(names);
    let old = names.0.borrow_mut().insert(name, read);
    report::discard(old, Location::caller());
}

/// Returns the parser that is registered for a name in lower case.
pub(super) fn named<E: 'static>(reactor: &Reactor, name: &str) -> Option<Rc<Read<E>>> {
    let names = reactor.inner().extension::<Names<E>>()?;
    names.0.borrow().get(name).cloned()
}

/// Returns the registered names, sorted.
pub(super) fn names<E: 'static>(reactor: &Reactor) -> Vec<String> {
    let names = reactor.inner().extension::<Names<E>>();
    names.map_or_else(Vec::new, |names| {
        let names = names.0.borrow();
        names.iter().map(|(name, _)| name.clone()).collect()
    })
}

#[track_caller]
fn checked(name: &str) -> String {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    assert!(
        !name.is_empty() && name.bytes().all(is_usual),
        "{name:?} cannot be the type of an endpoint: only ASCII letters, digits and hyphens are allowed"
    );
    let name = name.to_ascii_lowercase();
    assert!(
        !is_built_in(&name),
        "{name:?} is a built-in type of endpoint"
    );
    name
}
