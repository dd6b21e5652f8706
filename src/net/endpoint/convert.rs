//! Types that convert to an endpoint: [`ToServerEndpoint`] and [`ToClientEndpoint`].

use std::borrow::Borrow;
use std::path::{Path, PathBuf};

use super::custom::{StreamClientEndpoint, StreamServerEndpoint};
use super::describe;
use super::{ClientEndpoint, Destination, ListenTarget, ServerEndpoint};
use crate::address::Address;
use crate::failure::Failure;
use crate::net::options::{ConnectOptions, ListenOptions};
use crate::reactor::Reactor;

/// A type that converts to a [`ServerEndpoint`]: text, an address, a host and a port, several
/// addresses (the first free one is bound), the path of a UNIX socket, an endpoint that the program
/// defines; and a pair of any of these and [`ListenOptions`], by value or by reference.
///
/// Host names are not looked up; the only accepted name is `localhost`.
///
/// # Examples
///
/// ```
/// use torsade::net::ListenOptions;
///
/// torsade::testing::run(async |reactor| {
///     let options = ListenOptions::new().max_connections(2);
///     let port = reactor.serve(("127.0.0.1:0", options), async |_conn| Ok(()))?;
///     assert_eq!(port.max_connections(), Some(2));
///     port.stop().await
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an endpoint to listen at",
    note = "give text (\"127.0.0.1:80\", \"tcp:80\"), an address, or a `ServerEndpoint`"
)]
pub trait ToServerEndpoint {
    /// Returns the endpoint. Text may have a type registered at `reactor`
    /// ([`ServerEndpoint::register`]).
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint) for text that cannot be
    /// parsed.
    fn into_server_endpoint(self, reactor: &Reactor) -> Result<ServerEndpoint, Failure>;
}

/// A type that converts to a [`ClientEndpoint`]: text, an address, a host and a port, several
/// addresses (each is tried), the path of a UNIX socket, an endpoint that the program defines; and
/// a pair of any of these and [`ConnectOptions`], by value or by reference.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::net::{ConnectError, ConnectOptions};
///
/// torsade::testing::run(async |reactor| {
///     // On an in-memory reactor these addresses never answer.
///     let options = ConnectOptions::new().timeout(Duration::from_secs(2));
///     let failure = reactor.connect_stream(("192.0.2.1:80", options)).await.unwrap_err();
///     assert!(matches!(failure.trap()?, ConnectError::TimedOut { .. }));
///     Ok(())
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an endpoint to connect to",
    note = "give text (\"example.org:80\", \"tcp:example.org:80\"), an address, or a `ClientEndpoint`"
)]
pub trait ToClientEndpoint {
    /// Returns the endpoint. Text may have a type registered at `reactor`
    /// ([`ClientEndpoint::register`]).
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint) for text that cannot be
    /// parsed.
    fn into_client_endpoint(self, reactor: &Reactor) -> Result<ClientEndpoint, Failure>;
}

/// Implements both traits for types that convert to an endpoint of either kind.
macro_rules! is_endpoint {
    ($([$($generics:tt)*] $kind:ty: |$this:ident, $reactor:ident| $server:expr, $client:expr;)+) => {
        $(impl<$($generics)*> ToServerEndpoint for $kind {
            fn into_server_endpoint(self, $reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
                let $this = self;
                $server
            }
        }

        impl<$($generics)*> ToClientEndpoint for $kind {
            fn into_client_endpoint(self, $reactor: &Reactor) -> Result<ClientEndpoint, Failure> {
                let $this = self;
                $client
            }
        })+
    };
}

/// Implements both traits for types that convert to several addresses.
macro_rules! is_addresses {
    ($([$($generics:tt)*] $kind:ty: |$this:ident| $addresses:expr;)+) => {
        is_endpoint! {
            $([$($generics)*] $kind: |$this, _reactor|
                Ok(ServerEndpoint::at(ListenTarget::Addresses($addresses))),
                Ok(ClientEndpoint::to(Destination::Addresses($addresses)));)+
        }
    };
}

/// Implements both traits for types that convert to one address, and for references to them.
macro_rules! is_an_address {
    ($($kind:ty),+ $(,)?) => {
        is_addresses! {
            $([] $kind: |one| vec![Address::from(one)];
            [] &$kind: |one| vec![Address::from(one.clone())];)+
        }
    };
}

/// Implements both traits for text.
macro_rules! is_text {
    ($($kind:ty),+) => {
        is_endpoint! {
            $([] $kind: |text, reactor|
                describe::server(AsRef::<str>::as_ref(&text), Some(reactor)),
                describe::client(AsRef::<str>::as_ref(&text), Some(reactor));)+
        }
    };
}

/// Implements both traits for pairs of a host and a port.
macro_rules! is_a_host {
    ($($kind:ty),+) => {
        is_endpoint! {
            $([] $kind: |host, _reactor|
                describe::listening_addresses(host.0.as_ref(), host.1)
                    .map(|addresses| ServerEndpoint::at(ListenTarget::Addresses(addresses))),
                Ok(ClientEndpoint::host(&*host.0, host.1));)+
        }
    };
}

crate::address::for_each_address!(is_an_address);
is_an_address!(PathBuf);

is_addresses! {
    [] &Path: |path| vec![Address::from(path)];
    [A: Clone + Into<Address>] &[A]: |all| all.iter().cloned().map(Into::into).collect();
    [A: Clone + Into<Address>] &Vec<A>: |all| all.iter().cloned().map(Into::into).collect();
    [A: Into<Address>] Vec<A>: |all| all.into_iter().map(Into::into).collect();
    [A: Into<Address>, const N: usize] [A; N]: |all| all.map(Into::into).into();
    [A: Clone + Into<Address>, const N: usize] &[A; N]: |all| all.clone().map(Into::into).into();
}

is_text!(&str, &&str, String, &String);
is_a_host!((&str, u16), &(&str, u16), (String, u16), &(String, u16));

impl ToServerEndpoint for ServerEndpoint {
    fn into_server_endpoint(self, _reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
        Ok(self)
    }
}

impl ToServerEndpoint for &ServerEndpoint {
    fn into_server_endpoint(self, _reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
        Ok(self.clone())
    }
}

impl ToClientEndpoint for ClientEndpoint {
    fn into_client_endpoint(self, _reactor: &Reactor) -> Result<ClientEndpoint, Failure> {
        Ok(self)
    }
}

impl ToClientEndpoint for &ClientEndpoint {
    fn into_client_endpoint(self, _reactor: &Reactor) -> Result<ClientEndpoint, Failure> {
        Ok(self.clone())
    }
}

/// Implements the traits for pairs of an endpoint and options. Options of the endpoint itself, such
/// as those in its text, take precedence.
macro_rules! is_pair {
    ($($listen:ty, $connect:ty;)+) => {
        $(impl<E: ToServerEndpoint> ToServerEndpoint for (E, $listen) {
            fn into_server_endpoint(self, reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
                let mut endpoint = self.0.into_server_endpoint(reactor)?;
                endpoint.options = endpoint.options.or(self.1.borrow());
                Ok(endpoint)
            }
        }

        impl<E: ToClientEndpoint> ToClientEndpoint for (E, $connect) {
            fn into_client_endpoint(self, reactor: &Reactor) -> Result<ClientEndpoint, Failure> {
                let mut endpoint = self.0.into_client_endpoint(reactor)?;
                endpoint.options = endpoint.options.or(self.1.borrow());
                Ok(endpoint)
            }
        })+
    };
}

is_pair! {
    ListenOptions, ConnectOptions;
    &ListenOptions, &ConnectOptions;
}

impl<E: StreamClientEndpoint> ToClientEndpoint for E {
    fn into_client_endpoint(self, _reactor: &Reactor) -> Result<ClientEndpoint, Failure> {
        Ok(ClientEndpoint::custom(self))
    }
}

impl<E: StreamServerEndpoint> ToServerEndpoint for E {
    fn into_server_endpoint(self, _reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
        Ok(ServerEndpoint::custom(self))
    }
}
