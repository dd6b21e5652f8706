//! What may stand for an endpoint: the addresses of `std`, our own, text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};

use super::describe;
use super::{ClientEndpoint, ConnectOptions, Destination, ListenOptions, ServerEndpoint};
use crate::address::Address;
use crate::failure::Failure;

/// What one can listen at: text, an address, several of them (the first that is free is taken), the path of a UNIX
/// socket, a [`ServerEndpoint`].
///
/// Listening looks no name up: of names only `localhost` is understood.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no place to listen at",
    note = "give text (\"127.0.0.1:80\", \"tcp:80\"), an address, or a `ServerEndpoint`"
)]
pub trait ToServerEndpoint {
    /// The endpoint; where it says nothing itself, `options` hold.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`](super::BadEndpoint) for text that cannot be understood.
    fn to_server_endpoint(&self, options: &ListenOptions) -> Result<ServerEndpoint, Failure>;
}

/// What one can connect to: text, an address, several of them (each is tried), the path of a UNIX socket, a
/// [`ClientEndpoint`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing to connect to",
    note = "give text (\"example.org:80\", \"tcp:example.org:80\"), an address, or a `ClientEndpoint`"
)]
pub trait ToClientEndpoint {
    /// The endpoint; where it says nothing itself, `options` hold.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`](super::BadEndpoint) for text that cannot be understood.
    fn to_client_endpoint(&self, options: &ConnectOptions) -> Result<ClientEndpoint, Failure>;
}

macro_rules! is_an_address {
    ($($kind:ty),+ $(,)?) => {
        $(impl ToServerEndpoint for $kind {
            fn to_server_endpoint(&self, options: &ListenOptions) -> Result<ServerEndpoint, Failure> {
                [Address::from(self.clone())].to_server_endpoint(options)
            }
        }

        impl ToClientEndpoint for $kind {
            fn to_client_endpoint(&self, options: &ConnectOptions) -> Result<ClientEndpoint, Failure> {
                [Address::from(self.clone())].to_client_endpoint(options)
            }
        })+
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

impl<A: Clone + Into<Address>> ToServerEndpoint for [A] {
    fn to_server_endpoint(&self, options: &ListenOptions) -> Result<ServerEndpoint, Failure> {
        let addresses = self.iter().cloned().map(Into::into).collect();
        Ok(ServerEndpoint::with(addresses, options))
    }
}

impl<A: Clone + Into<Address>> ToClientEndpoint for [A] {
    fn to_client_endpoint(&self, options: &ConnectOptions) -> Result<ClientEndpoint, Failure> {
        let addresses = self.iter().cloned().map(Into::into).collect();
        Ok(ClientEndpoint::with(
            Destination::Addresses(addresses),
            options,
        ))
    }
}

impl ToServerEndpoint for Path {
    fn to_server_endpoint(&self, options: &ListenOptions) -> Result<ServerEndpoint, Failure> {
        Address::from(self).to_server_endpoint(options)
    }
}

impl ToClientEndpoint for Path {
    fn to_client_endpoint(&self, options: &ConnectOptions) -> Result<ClientEndpoint, Failure> {
        Address::from(self).to_client_endpoint(options)
    }
}

impl ToServerEndpoint for str {
    fn to_server_endpoint(&self, options: &ListenOptions) -> Result<ServerEndpoint, Failure> {
        describe::server(self, options)
    }
}

impl ToClientEndpoint for str {
    fn to_client_endpoint(&self, options: &ConnectOptions) -> Result<ClientEndpoint, Failure> {
        describe::client(self, options)
    }
}

impl ToServerEndpoint for (&str, u16) {
    fn to_server_endpoint(&self, options: &ListenOptions) -> Result<ServerEndpoint, Failure> {
        let addresses = describe::listening_addresses(self.0, self.1)?;
        Ok(ServerEndpoint::with(addresses, options))
    }
}

impl ToClientEndpoint for (&str, u16) {
    fn to_client_endpoint(&self, options: &ConnectOptions) -> Result<ClientEndpoint, Failure> {
        Ok(ClientEndpoint::with(host(self.0.into(), self.1), options))
    }
}

impl ToServerEndpoint for ServerEndpoint {
    fn to_server_endpoint(&self, _options: &ListenOptions) -> Result<ServerEndpoint, Failure> {
        Ok(self.clone())
    }
}

impl ToClientEndpoint for ClientEndpoint {
    fn to_client_endpoint(&self, _options: &ConnectOptions) -> Result<ClientEndpoint, Failure> {
        Ok(self.clone())
    }
}

impl ToServerEndpoint for String {
    fn to_server_endpoint(&self, options: &ListenOptions) -> Result<ServerEndpoint, Failure> {
        self.as_str().to_server_endpoint(options)
    }
}

impl ToClientEndpoint for String {
    fn to_client_endpoint(&self, options: &ConnectOptions) -> Result<ClientEndpoint, Failure> {
        self.as_str().to_client_endpoint(options)
    }
}

impl<T: ToServerEndpoint + ?Sized> ToServerEndpoint for &T {
    fn to_server_endpoint(&self, options: &ListenOptions) -> Result<ServerEndpoint, Failure> {
        (**self).to_server_endpoint(options)
    }
}

impl<T: ToClientEndpoint + ?Sized> ToClientEndpoint for &T {
    fn to_client_endpoint(&self, options: &ConnectOptions) -> Result<ClientEndpoint, Failure> {
        (**self).to_client_endpoint(options)
    }
}

/// A host by its name, or by its literal address, which need not be looked up.
pub(super) fn host(name: String, port: u16) -> Destination {
    match literal(&name) {
        Some(ip) => Destination::Addresses(vec![(ip, port).into()]),
        None => Destination::Host { name, port },
    }
}

/// An IP address, also in brackets.
pub(in crate::net) fn literal(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}
