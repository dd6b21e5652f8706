//! TLS for every stream endpoint of a reactor, for tests.

use std::rc::Rc;

use crate::net::endpoint::{Destination, ListenTarget};
use crate::net::{ClientEndpoint, ServerEndpoint};
use crate::reactor::Reactor;
use crate::report;
use crate::tls::{ClientConfig, ServerConfig};
use std::panic::Location;

/// The configurations of endpoints that have no configuration.
struct Everywhere {
    server: Rc<ServerConfig>,
    client: ClientConfig,
}

impl Reactor {
    /// Puts every endpoint without a TLS configuration in TLS.
    #[track_caller]
    pub(crate) fn use_tls_everywhere(&self, server: ServerConfig, client: ClientConfig) {
        let server = Rc::new(server);
        let old = self
            .inner()
            .insert_extension(Rc::new(Everywhere { server, client }));
        report::discard(old, Location::caller());
    }
}

pub(in crate::net) fn put_server_in_tls(reactor: &Reactor, endpoint: &mut ServerEndpoint) {
    // A custom endpoint uses others, which are in TLS.
    let is_plain = endpoint.tls.is_none() && !matches!(endpoint.at, ListenTarget::Custom(_));
    let everywhere = reactor.inner().extension::<Everywhere>();
    if let Some(all) = everywhere.filter(|_| is_plain) {
        endpoint.tls = Some(all.server.clone());
    }
}

pub(in crate::net) fn put_client_in_tls(reactor: &Reactor, endpoint: &mut ClientEndpoint) {
    let is_plain = endpoint.tls.is_none() && !matches!(endpoint.to, Destination::Custom(_));
    let everywhere = reactor.inner().extension::<Everywhere>();
    if let Some(all) = everywhere.filter(|_| is_plain) {
        endpoint.tls = Some(all.client.clone());
    }
}
