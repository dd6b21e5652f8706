//! The parser of endpoints' text: addresses and descriptions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::Location;

use super::fields::{EndpointFields, KINDS, Kind, PROXIED, bad, port};
use super::registered;
use super::{ClientEndpoint, ConnectOptions, ListenOptions, ListenTarget, ServerEndpoint};
#[cfg(any(doc, feature = "proxy-protocol"))]
use crate::address::EndpointError;
use crate::address::{Address, literal, socket_addr};
use crate::failure::Failure;
#[cfg(unix)]
#[cfg(any(doc, feature = "systemd"))]
use crate::net::adopted::activation::InheritedFd;
#[cfg(unix)]
#[cfg(any(doc, feature = "systemd"))]
use crate::net::adopted::given::{Family, OpenListener};
use crate::net::proxied::ProxyOptions;
use crate::reactor::Reactor;

impl ServerEndpoint {
    /// Parses text: an address or a description.
    ///
    /// Types registered with [`ServerEndpoint::register`] belong to a reactor and are not known
    /// here. To use them, pass the text to a method of the reactor (`listen`, `serve`, `bind`), or
    /// parse it with [`into_server_endpoint`](super::ToServerEndpoint::into_server_endpoint).
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint).
    #[track_caller]
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let location = Location::caller();
        server(text, None).map_err(|failure| failure.moved(location))
    }
}

impl ClientEndpoint {
    /// Parses text: an address or a description.
    ///
    /// Types registered with [`ClientEndpoint::register`] belong to a reactor and are not known
    /// here. To use them, pass the text to a method of the reactor (`connect`, `connect_stream`),
    /// or parse it with [`into_client_endpoint`](super::ToClientEndpoint::into_client_endpoint).
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint).
    #[track_caller]
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let location = Location::caller();
        client(text, None).map_err(|failure| failure.moved(location))
    }
}

/// Parses the text of a server endpoint.
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

/// Parses the text of a server endpoint, without the prefix of proxies.
fn described(
    text: &str,
    names: Option<&Reactor>,
    mut proxy: Option<ProxyOptions>,
) -> Result<ServerEndpoint, Failure> {
    let mut endpoint = without_prefixes(text, names, &mut proxy)?;
    #[cfg(unix)]
    if proxy.is_some() && matches!(endpoint.at, ListenTarget::Stdio) {
        return Err(no_proxy(text));
    }
    endpoint.proxy = proxy;
    Ok(endpoint)
}

#[cfg_attr(
    not(any(doc, feature = "proxy-protocol")),
    expect(unused_variables, reason = "nothing is proxied without the feature")
)]
fn without_prefixes(
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
            registered_types(names, registered::names::<ServerEndpoint>, "ServerEndpoint")
        })?;
        let addresses = listening(name, port).ok_or_else(|| not_a_literal(text, 0, name))?;
        return Ok(ServerEndpoint::at(ListenTarget::Addresses(addresses)));
    };
    #[cfg(any(doc, feature = "proxy-protocol"))]
    if let Some(behind) = proxy {
        *behind = fields.proxy()?;
    }
    let mut options = ListenOptions::new();
    #[cfg(feature = "tls")]
    let mut tls = None;
    let mut endpoint = match kind {
        #[cfg(not(feature = "tls"))]
        Kind::Tls | Kind::Ssl => return Err(not_built(text, "tls")),
        #[cfg(feature = "tls")]
        Kind::Tls | Kind::Ssl => {
            let dir = fields.directory();
            let port = match &dir {
                Some(_) => fields.number("port")?.unwrap_or(443),
                None => fields.port()?,
            };
            tls = Some(crate::net::tls::server(&mut fields, dir.as_deref())?);
            tcp(
                &mut fields,
                port,
                Ipv4Addr::UNSPECIFIED.into(),
                &mut options,
            )?
        }
        Kind::Tcp | Kind::Tcp6 => {
            let any = match kind {
                Kind::Tcp6 => Ipv6Addr::UNSPECIFIED.into(),
                _ => Ipv4Addr::UNSPECIFIED.into(),
            };
            let port = fields.port()?;
            tcp(&mut fields, port, any, &mut options)?
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
            ServerEndpoint::at(ListenTarget::OpenListener(given(&mut fields, kind)?))
        }
        #[cfg(unix)]
        Kind::Stdio => {
            fields
                .left
                .retain(|field| field.key.is_some() || !field.value.is_empty());
            ServerEndpoint::at(ListenTarget::Stdio)
        }
    };
    endpoint.options = options;
    #[cfg(feature = "tls")]
    if let Some(config) = tls {
        endpoint = endpoint.tls(config);
    }
    fields.nothing_left()?;
    Ok(endpoint)
}

/// Reads the fields of a TCP port, after its number.
fn tcp(
    fields: &mut EndpointFields<'_>,
    port: u16,
    any: IpAddr,
    options: &mut ListenOptions,
) -> Result<ServerEndpoint, Failure> {
    let addresses = match fields.named("interface") {
        Some(field) => listening(&field.value, port)
            .ok_or_else(|| not_a_literal(fields.text, field.at, &field.value))?,
        None => vec![Address::from((any, port))],
    };
    if let Some(backlog) = fields.number("backlog")? {
        *options = std::mem::take(options).backlog(backlog);
    }
    Ok(ServerEndpoint::at(ListenTarget::Addresses(addresses)))
}

/// Parses the text of a client endpoint.
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
            registered_types(names, registered::names::<ClientEndpoint>, "ClientEndpoint")
        })?;
        return Ok(ClientEndpoint::host(name, port));
    };
    let mut options = ConnectOptions::new();
    #[cfg(feature = "tls")]
    let mut tls = None;
    let mut endpoint = match kind {
        #[cfg(not(feature = "tls"))]
        Kind::Tls | Kind::Ssl => return Err(not_built(text, "tls")),
        #[cfg(feature = "tls")]
        Kind::Tls | Kind::Ssl => {
            let endpoint = host(&mut fields, &mut options)?;
            tls = Some(crate::net::tls::client(&mut fields)?);
            endpoint
        }
        Kind::Tcp => host(&mut fields, &mut options)?,
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
                "\"tcp6\" is a type for listening; to connect, use \"tcp\"",
            ));
        }
        #[cfg(unix)]
        Kind::Systemd | Kind::Fd => {
            return Err(fields.bad(0, "inherited sockets are for listening, not for connecting"));
        }
        #[cfg(unix)]
        Kind::Stdio => {
            return Err(fields.bad(
                0,
                "\"stdio\" is a type for listening; to connect, use `net::Stdio`",
            ));
        }
    };
    endpoint.options = options;
    #[cfg(feature = "tls")]
    {
        endpoint.tls = tls;
    }
    fields.nothing_left()?;
    Ok(endpoint)
}

/// Reads the fields of a connection to a host.
fn host(
    fields: &mut EndpointFields<'_>,
    options: &mut ConnectOptions,
) -> Result<ClientEndpoint, Failure> {
    let name = fields.wanted("host")?;
    let port = fields.port()?;
    if let Some(limit) = fields.seconds("timeout")? {
        *options = std::mem::take(options).timeout(limit);
    }
    if let Some(field) = fields.named("bindAddress") {
        let bind = literal(&field.value, 0)
            .ok_or_else(|| not_a_literal(fields.text, field.at, &field.value))?;
        *options = std::mem::take(options).bind(bind);
    }
    Ok(ClientEndpoint::host(name.value, port))
}

/// Returns the addresses to listen at for a host and a port.
pub(super) fn listening_addresses(name: &str, port: u16) -> Result<Vec<Address>, Failure> {
    listening(name, port).ok_or_else(|| not_a_literal(name, 0, name))
}

/// Returns the text before the first colon, in lower case.
fn name_of(text: &str) -> Option<String> {
    let (name, _) = text.split_once(':')?;
    Some(name.to_ascii_lowercase())
}

/// Returns the end of an error's text, which names the registered types.
fn registered_types(
    reactor: Option<&Reactor>,
    registered: fn(&Reactor) -> Vec<String>,
    side: &str,
) -> String {
    let Some(reactor) = reactor else {
        return format!(
            ", or a type registered with `{side}::register` if a reactor reads the text"
        );
    };
    let registered = registered(reactor);
    match registered.is_empty() {
        true => format!(", or a type registered with `{side}::register`"),
        false => format!(", or a registered type: {}", registered.join(", ")),
    }
}

/// Splits text that is a host and a port.
fn name_and_port(
    text: &str,
    registered_types: impl FnOnce() -> String,
) -> Result<(&str, u16), Failure> {
    let Some((name, number)) = text.rsplit_once(':') else {
        return Err(bad(
            text,
            text.len(),
            "expected a host and a port, separated by a colon",
        ));
    };
    // Before the port is parsed: the last field of a description may be anything.
    if name.contains(':') && literal(name, 0).is_none() {
        let kinds: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let problem = format!(
            "expected a host and a port, or an endpoint whose type is one of {}, {PROXIED}{}",
            kinds.join(", "),
            registered_types()
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

/// Returns the addresses to listen at for a literal address or `localhost`.
fn listening(name: &str, port: u16) -> Option<Vec<Address>> {
    if name.eq_ignore_ascii_case("localhost") {
        // By RFC 6761, 6.3, the name always means this host.
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
        _ => format!("{found:?} is not an IP address, and host names are not looked up here"),
    };
    bad(text, at, problem)
}

/// Converts an error in the end of a text to an error in the whole text.
#[cfg(any(doc, feature = "proxy-protocol"))]
fn as_part_of(text: &str, end: &str, failure: Failure) -> Failure {
    match failure.downcast_ref() {
        Some(EndpointError::Endpoint {
            position, problem, ..
        }) => bad(text, text.len() - end.len() + position, &**problem),
        _ => failure,
    }
}

/// Returns the error of `stdio:` behind a proxy: it is one connection, and no proxy can make it.
#[cfg(unix)]
pub(in crate::net) fn no_proxy(text: &str) -> Failure {
    bad(
        text,
        0,
        "standard input and output cannot be behind a proxy",
    )
}

/// Returns the error of a type whose crate feature is off.
#[cfg(not(all(feature = "proxy-protocol", feature = "systemd", feature = "tls")))]
fn not_built(text: &str, feature: &str) -> Failure {
    bad(
        text,
        0,
        format!("this type needs the crate feature `{feature}`"),
    )
}

/// Parses the fields of a socket that the process was started with.
#[cfg(all(unix, feature = "systemd"))]
fn given(fields: &mut EndpointFields<'_>, kind: Kind) -> Result<OpenListener, Failure> {
    let which = if kind == Kind::Fd {
        let field = fields.wanted("number")?;
        match field.value.parse::<u16>() {
            Ok(number) => InheritedFd::Number(number.into()),
            Err(_) => {
                let problem = format!("the descriptor must be a number, not {:?}", field.value);
                return Err(fields.bad(field.at, problem));
            }
        }
    } else {
        match (fields.number("index")?, fields.named("name")) {
            (Some(index), None) => InheritedFd::Index(index),
            (None, Some(field)) => InheritedFd::Name(field.value),
            _ => {
                let at = fields.text.len();
                return Err(fields.bad(at, "expected either an index or a name"));
            }
        }
    };
    let family = fields.one_of("domain", "INET, INET6 or UNIX", Family::read)?;
    Ok(OpenListener::inherited(which, family))
}
