//! What may stand for an endpoint: the addresses of `std`, our own, text.

use std::path::{Path, PathBuf};

use super::custom::{StreamClientEndpoint, StreamServerEndpoint};
use super::describe;
use super::{ClientEndpoint, Destination, Places, ServerEndpoint};
use crate::address::Address;
use crate::failure::Failure;
use crate::reactor::Reactor;

/// What one can listen at: text, an address, several of them (the first that is free is taken), the path of a UNIX
/// socket, a [`ServerEndpoint`], or a type that implements it.
///
/// Listening looks no name up: of names only `localhost` is understood.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no place to listen at",
    note = "give text (\"127.0.0.1:80\", \"tcp:80\"), an address, or a `ServerEndpoint`"
)]
pub trait ToServerEndpoint {
    /// Returns the endpoint. Text is read with the names that `reactor` knows.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`](super::BadEndpoint) for text that cannot be understood.
    fn into_server_endpoint(self, reactor: &Reactor) -> Result<ServerEndpoint, Failure>;
}

/// What one can connect to: text, an address, several of them (each is tried), the path of a UNIX socket, a
/// [`ClientEndpoint`], or a type that implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing to connect to",
    note = "give text (\"example.org:80\", \"tcp:example.org:80\"), an address, or a `ClientEndpoint`"
)]
pub trait ToClientEndpoint {
    /// Returns the endpoint. Text is read with the names that `reactor` knows.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`](super::BadEndpoint) for text that cannot be understood.
    fn into_client_endpoint(self, reactor: &Reactor) -> Result<ClientEndpoint, Failure>;
}

/// Implements both traits for types that can be made into an endpoint of either kind.
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

/// The same for types of which several addresses can be made.
macro_rules! is_addresses {
    ($([$($generics:tt)*] $kind:ty: |$this:ident| $addresses:expr;)+) => {
        is_endpoint! {
            $([$($generics)*] $kind: |$this, _reactor|
                Ok(ServerEndpoint::at(Places::Addresses($addresses))),
                Ok(ClientEndpoint::to(Destination::Addresses($addresses)));)+
        }
    };
}

/// The same for types of which one address can be made, and for references to them.
macro_rules! is_an_address {
    ($($kind:ty),+ $(,)?) => {
        is_addresses! {
            $([] $kind: |one| vec![Address::from(one)];
            [] &$kind: |one| vec![Address::from(one.clone())];)+
        }
    };
}

/// The same for text.
macro_rules! is_text {
    ($($kind:ty),+) => {
        is_endpoint! {
            $([] $kind: |text, reactor|
                describe::server(AsRef::<str>::as_ref(&text), Some(reactor)),
                describe::client(AsRef::<str>::as_ref(&text), Some(reactor));)+
        }
    };
}

/// The same for a host and a port.
macro_rules! is_a_host {
    ($($kind:ty),+) => {
        is_endpoint! {
            $([] $kind: |host, _reactor|
                describe::listening_addresses(host.0.as_ref(), host.1)
                    .map(|addresses| ServerEndpoint::at(Places::Addresses(addresses))),
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
