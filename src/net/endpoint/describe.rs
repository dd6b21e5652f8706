//! Reading text: the one parser of addresses and descriptions.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::Location;

#[cfg(any(doc, feature = "proxy-protocol"))]
use super::fields::BadEndpoint;
use super::fields::{EndpointFields, KINDS, Kind, PROXIED, bad, port};
use super::registered;
use super::{ClientEndpoint, ConnectOptions, ListenOptions, Places, ServerEndpoint};
use crate::address::{Address, literal, socket_addr};
use crate::failure::Failure;
#[cfg(unix)]
#[cfg(any(doc, feature = "systemd"))]
use crate::net::adopted::activation::Which;
#[cfg(unix)]
#[cfg(any(doc, feature = "systemd"))]
use crate::net::adopted::given::{Family, Given};
use crate::net::proxied::ProxyOptions;
use crate::reactor::Reactor;

impl ServerEndpoint {
    /// Reads text, which is an address or a description.
    ///
    /// It knows no reactor, so it does not know the names that a program has registered with
    /// [`ServerEndpoint::register`](crate::net::ServerEndpoint::register) either. For
    /// those, give the text itself to the reactor's method that listens (`listen`, `serve`, ...),
    /// or read it with [`into_server_endpoint`](super::ToServerEndpoint::into_server_endpoint).
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`].
    #[track_caller]
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let location = Location::caller();
        server(text, None).map_err(|failure| failure.moved(location))
    }
}

impl ClientEndpoint {
    /// Reads text, which is an address or a description.
    ///
    /// It knows no reactor, so it does not know the names that a program has registered with
    /// [`ClientEndpoint::register`](crate::net::ClientEndpoint::register) either. For
    /// those, give the text itself to the reactor's method that connects (`connect`,
    /// `connect_stream`, ...), or read it with
    /// [`into_client_endpoint`](super::ToClientEndpoint::into_client_endpoint).
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`].
    #[track_caller]
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let location = Location::caller();
        client(text, None).map_err(|failure| failure.moved(location))
    }
}

/// Where to listen.
pub(super) fn server(text: &str, names: Option<&Reactor>) -> Result<ServerEndpoint, Failure> {
    match text.split_once(':') {
        #[cfg_attr(
            not(any(doc, feature = "proxy-protocol")),
            expect(unused_variables, reason = "the rest is read with the feature")
        )]
        Some((kind, rest)) if kind.eq_ignore_ascii_case(PROXIED) => {
            #[cfg(not(any(doc, feature = "proxy-protocol")))]
            return Err(not_built(text, "proxy-protocol"));
            #[cfg(any(doc, feature = "proxy-protocol"))]
            described(rest, names, Some(ProxyOptions::new()))
                .map_err(|failure| as_part_of(text, rest, failure))
        }
        _ => described(text, names, None),
    }
}

/// The same without what says that proxies connect.
fn described(
    text: &str,
    names: Option<&Reactor>,
    mut proxy: Option<ProxyOptions>,
) -> Result<ServerEndpoint, Failure> {
    let mut endpoint = undecorated(text, names, &mut proxy)?;
    #[cfg(unix)]
    if proxy.is_some() && matches!(endpoint.at, Places::Stdio) {
        return Err(no_proxy(text));
    }
    endpoint.proxy = proxy;
    Ok(endpoint)
}

#[cfg_attr(
    not(any(doc, feature = "proxy-protocol")),
    expect(unused_variables, reason = "nothing is proxied without the feature")
)]
fn undecorated(
    text: &str,
    names: Option<&Reactor>,
    proxy: &mut Option<ProxyOptions>,
) -> Result<ServerEndpoint, Failure> {
    if let Some(address) = socket_addr(text) {
        return Ok(ServerEndpoint::new(address));
    }
    if let Some((reactor, name)) = names.zip(name_of(text)) {
        if let Some(read) = registered::named::<ServerEndpoint>(reactor, &name) {
            let mut fields = EndpointFields::after(text, name.len() + 1)?;
            #[cfg(any(doc, feature = "proxy-protocol"))]
            if let Some(behind) = proxy {
                *behind = fields.proxy()?;
            }
            return fields.read_by(&*read);
        }
    }
    let Some((kind, mut fields)) = EndpointFields::read(text)? else {
        let (name, port) = name_and_port(text, || {
            others(names, registered::names::<ServerEndpoint>, "Server")
        })?;
        let addresses = listening(name, port).ok_or_else(|| not_a_literal(text, 0, name))?;
        return Ok(ServerEndpoint::at(Places::Addresses(addresses)));
    };
    #[cfg(any(doc, feature = "proxy-protocol"))]
    if let Some(behind) = proxy {
        *behind = fields.proxy()?;
    }
    let mut options = ListenOptions::new();
    let mut endpoint = match kind {
        Kind::Tcp | Kind::Tcp6 => {
            let port = fields.port()?;
            let addresses = match fields.named("interface") {
                Some(field) => listening(&field.value, port)
                    .ok_or_else(|| not_a_literal(text, field.at, &field.value))?,
                None if kind == Kind::Tcp => vec![(Ipv4Addr::UNSPECIFIED, port).into()],
                None => vec![(Ipv6Addr::UNSPECIFIED, port).into()],
            };
            if let Some(backlog) = fields.number("backlog")? {
                options = options.backlog(backlog);
            }
            ServerEndpoint::at(Places::Addresses(addresses))
        }
        Kind::Unix => {
            let address = fields.unix_address()?;
            if let Some(mode) = fields.mode()? {
                options = options.mode(mode);
            }
            if let Some(backlog) = fields.number("backlog")? {
                options = options.backlog(backlog);
            }
            if let Some(lock) = fields.yes_or_no("lockfile")? {
                options = options.lock_file(lock);
            }
            ServerEndpoint {
                locks: true,
                ..ServerEndpoint::new(address)
            }
        }
        #[cfg(unix)]
        Kind::Systemd | Kind::Fd => {
            #[cfg(not(any(doc, feature = "systemd")))]
            return Err(not_built(text, "systemd"));
            #[cfg(any(doc, feature = "systemd"))]
            ServerEndpoint::at(Places::Given(given(&mut fields, kind)?))
        }
        #[cfg(unix)]
        Kind::Stdio => {
            fields
                .left
                .retain(|field| field.key.is_some() || !field.value.is_empty());
            ServerEndpoint::at(Places::Stdio)
        }
    };
    endpoint.options = options;
    fields.nothing_left()?;
    Ok(endpoint)
}

/// Where to connect to.
pub(super) fn client(text: &str, names: Option<&Reactor>) -> Result<ClientEndpoint, Failure> {
    if let Some(address) = socket_addr(text) {
        return Ok(ClientEndpoint::new(address));
    }
    if let Some((reactor, name)) = names.zip(name_of(text)) {
        if let Some(read) = registered::named::<ClientEndpoint>(reactor, &name) {
            let mut fields = EndpointFields::after(text, name.len() + 1)?;
            return fields.read_by(&*read);
        }
    }
    let Some((kind, mut fields)) = EndpointFields::read(text)? else {
        let (name, port) = name_and_port(text, || {
            others(names, registered::names::<ClientEndpoint>, "Client")
        })?;
        return Ok(ClientEndpoint::host(name, port));
    };
    let mut options = ConnectOptions::new();
    let mut endpoint = match kind {
        Kind::Tcp => {
            let name = fields.wanted("host")?;
            let port = fields.port()?;
            if let Some(limit) = fields.seconds("timeout")? {
                options = options.timeout(limit);
            }
            if let Some(field) = fields.named("bindAddress") {
                let bind = literal(&field.value, 0)
                    .ok_or_else(|| not_a_literal(text, field.at, &field.value))?;
                options = options.bind(bind);
            }
            ClientEndpoint::host(name.value, port)
        }
        Kind::Unix => {
            let address = fields.unix_address()?;
            if let Some(limit) = fields.seconds("timeout")? {
                options = options.timeout(limit);
            }
            if let Some(lock) = fields.yes_or_no("lockfile")? {
                options = options.lock_file(lock);
            }
            ClientEndpoint::new(address)
        }
        Kind::Tcp6 => {
            return Err(fields.bad(
                0,
                "one listens at \"tcp6\"; to connect, give the host to \"tcp\"",
            ));
        }
        #[cfg(unix)]
        Kind::Systemd | Kind::Fd => {
            return Err(fields.bad(
                0,
                "one listens with a socket that was given, and does not connect",
            ));
        }
        #[cfg(unix)]
        Kind::Stdio => {
            return Err(fields.bad(
                0,
                "one listens at \"stdio\", and does not connect; see `net::Stdio`",
            ));
        }
    };
    endpoint.options = options;
    fields.nothing_left()?;
    Ok(endpoint)
}

/// What to listen at for a name and a port.
pub(super) fn listening_addresses(name: &str, port: u16) -> Result<Vec<Address>, Failure> {
    listening(name, port).ok_or_else(|| not_a_literal(name, 0, name))
}

/// What text begins with, in lower case, if there is a colon after it.
fn name_of(text: &str) -> Option<String> {
    let (name, _) = text.split_once(':')?;
    Some(name.to_ascii_lowercase())
}

/// What else text may begin with than the names that this crate gives a meaning.
fn others(
    reactor: Option<&Reactor>,
    registered: fn(&Reactor) -> Vec<String>,
    side: &str,
) -> String {
    let Some(reactor) = reactor else {
        return format!(
            ", or, in text that is given to a reactor, one registered with `{side}Endpoint::register`"
        );
    };
    let registered = registered(reactor);
    match registered.is_empty() {
        true => format!(", or one registered with `{side}Endpoint::register`"),
        false => format!(", or a registered one: {}", registered.join(", ")),
    }
}

/// An address that is no description: a host and a port.
fn name_and_port(text: &str, others: impl FnOnce() -> String) -> Result<(&str, u16), Failure> {
    let Some((name, number)) = text.rsplit_once(':') else {
        return Err(bad(
            text,
            text.len(),
            "a host and a port are wanted, with a colon between",
        ));
    };
    // Before the port, for of a description the last field may be anything.
    if name.contains(':') && literal(name, 0).is_none() {
        let kinds: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let problem = format!(
            "neither a host and a port nor a description; its type would be one of {}, {PROXIED}{}",
            kinds.join(", "),
            others()
        );
        return Err(bad(text, 0, problem));
    }
    let at = text.len() - number.len();
    let number = port(text, at, number)?;
    if name.is_empty() {
        return Err(bad(text, 0, "the host is missing"));
    }
    Ok((name, number))
}

/// What to listen at for a host that need not be looked up.
fn listening(name: &str, port: u16) -> Option<Vec<Address>> {
    if name.eq_ignore_ascii_case("localhost") {
        // RFC 6761, 6.3: it is this host, whatever anybody's tables say.
        let both = [
            Address::from((Ipv4Addr::LOCALHOST, port)),
            Address::from((Ipv6Addr::LOCALHOST, port)),
        ];
        return Some(both.into());
    }
    literal(name, port).map(|address| vec![address.into()])
}

fn not_a_literal(text: &str, at: usize, found: &str) -> Failure {
    let problem = match found.split_once('%') {
        Some((ip, zone)) if literal(ip.trim_start_matches('['), 0).is_some() => {
            format!(
                "there is no network interface {:?}",
                zone.trim_end_matches(']')
            )
        }
        _ => format!("{found:?} is no IP address, and names are not looked up here"),
    };
    bad(text, at, problem)
}

/// What is wrong with the end of a text, as something wrong with the whole.
#[cfg(any(doc, feature = "proxy-protocol"))]
fn as_part_of(text: &str, end: &str, failure: Failure) -> Failure {
    match failure.downcast_ref::<BadEndpoint>() {
        Some(found) => bad(text, text.len() - end.len() + found.at, &*found.problem),
        None => failure,
    }
}

/// What is there once, and has no port, has nobody who could connect in somebody's name.
#[cfg(unix)]
pub(in crate::net) fn no_proxy(text: &str) -> Failure {
    bad(text, 0, "no proxy connects to standard input and output")
}

/// The kind is known, and this build has no code for it.
#[cfg(not(all(any(doc, feature = "proxy-protocol"), any(doc, feature = "systemd"))))]
fn not_built(text: &str, feature: &str) -> Failure {
    bad(
        text,
        0,
        format!("this needs the feature `{feature}` of the crate"),
    )
}

/// A socket that this process was given when it was started.
#[cfg(all(unix, any(doc, feature = "systemd")))]
fn given(fields: &mut EndpointFields<'_>, kind: Kind) -> Result<Given, Failure> {
    let which = if kind == Kind::Fd {
        let field = fields.wanted("number")?;
        match field.value.parse::<u16>() {
            Ok(number) => Which::Number(number.into()),
            Err(_) => {
                let problem = format!("the descriptor is a number, not {:?}", field.value);
                return Err(fields.bad(field.at, problem));
            }
        }
    } else {
        match (fields.number("index")?, fields.named("name")) {
            (Some(index), None) => Which::Index(index),
            (None, Some(field)) => Which::Name(field.value),
            _ => {
                let at = fields.text.len();
                return Err(fields.bad(at, "an index or a name is wanted, one of the two"));
            }
        }
    };
    let family = fields.one_of("domain", "INET, INET6 or UNIX", Family::read)?;
    Ok(Given::inherited(which, family))
}
