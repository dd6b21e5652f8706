//! What may stand for an endpoint: the addresses of `std`, our own, text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};

use super::describe;
use super::{ClientEndpoint, Destination, Places, ServerEndpoint};
use crate::address::{Address, literal};
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

/// Implements both traits for types of which several addresses can be made.
macro_rules! is_addresses {
    ($([$($generics:tt)*] $kind:ty: |$this:ident| $addresses:expr;)+) => {
        $(impl<$($generics)*> ToServerEndpoint for $kind {
            fn into_server_endpoint(self, _reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
                let $this = self;
                Ok(ServerEndpoint::at(Places::Addresses($addresses)))
            }
        }

        impl<$($generics)*> ToClientEndpoint for $kind {
            fn into_client_endpoint(self, _reactor: &Reactor) -> Result<ClientEndpoint, Failure> {
                let $this = self;
                Ok(ClientEndpoint::to(Destination::Addresses($addresses)))
            }
        })+
    };
}

/// Implements both traits for a type of which one address can be made, and for references to it.
macro_rules! is_an_address {
    ($($kind:ty),+ $(,)?) => {
        is_addresses! {
            $([] $kind: |one| vec![Address::from(one)];
            [] &$kind: |one| vec![Address::from(one.clone())];)+
        }
    };
}

is_an_address!(
    Address,
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    PathBuf,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16),
    ([u8; 4], u16),
);

is_addresses! {
    [] &Path: |path| vec![Address::from(path)];
    [A: Clone + Into<Address>] &[A]: |all| all.iter().cloned().map(Into::into).collect();
    [A: Clone + Into<Address>] &Vec<A>: |all| all.iter().cloned().map(Into::into).collect();
    [A: Into<Address>] Vec<A>: |all| all.into_iter().map(Into::into).collect();
    [A: Into<Address>, const N: usize] [A; N]: |all| all.map(Into::into).into();
    [A: Clone + Into<Address>, const N: usize] &[A; N]: |all| all.clone().map(Into::into).into();
}

/// Implements both traits for text.
macro_rules! is_text {
    ($($kind:ty),+ $(,)?) => {
        $(impl ToServerEndpoint for $kind {
            fn into_server_endpoint(self, reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
                let text: &str = self.as_ref();
                describe::server(text, Some(reactor))
            }
        }

        impl ToClientEndpoint for $kind {
            fn into_client_endpoint(self, reactor: &Reactor) -> Result<ClientEndpoint, Failure> {
                let text: &str = self.as_ref();
                describe::client(text, Some(reactor))
            }
        })+
    };
}

is_text!(&str, &&str, String, &String);

/// Implements both traits for a host and a port.
macro_rules! is_a_host {
    ($($kind:ty),+ $(,)?) => {
        $(impl ToServerEndpoint for $kind {
            fn into_server_endpoint(self, _reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
                let addresses = describe::listening_addresses(self.0.as_ref(), self.1)?;
                Ok(ServerEndpoint::at(Places::Addresses(addresses)))
            }
        }

        impl ToClientEndpoint for $kind {
            fn into_client_endpoint(self, _reactor: &Reactor) -> Result<ClientEndpoint, Failure> {
                let name: &str = self.0.as_ref();
                Ok(ClientEndpoint::to(host(name.into(), self.1)))
            }
        })+
    };
}

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

/// A host by its name, or by its literal address, which need not be looked up.
pub(super) fn host(name: String, port: u16) -> Destination {
    match literal(&name, port) {
        Some(address) => Destination::Addresses(vec![address.into()]),
        None => Destination::Host { name, port },
    }
}
