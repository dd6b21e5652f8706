//! Reading text: the one parser of addresses and descriptions.
//!
//! # Invariants
//!
//! 1. What is not understood is an error that says what was found and where; nothing is passed over.
//! 2. `quote` and the parser are each other's reverse: a quoted text is one field, with that value.

use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::Location;
use std::str::FromStr;
use std::time::Duration;

#[cfg(unix)]
use super::super::activation::Which;
#[cfg(unix)]
use super::super::adopt::{Family, Given};
use super::super::custom::{client_named, client_names, server_named, server_names};
use super::super::proxied::{Network, ProxyOptions};
use super::place::host;
use super::{ClientEndpoint, ConnectOptions, ListenOptions, Places, ServerEndpoint};
use crate::address::{Address, hex_bytes, literal, path_of, socket_addr};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report;

/// Text that describes no endpoint: what was found, and where.
#[doc(alias = "InvalidAddressError")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEndpoint {
    text: String,
    at: usize,
    problem: String,
}

/// Takes away the meaning of what would end a field, so that any text can be one.
///
/// # Examples
///
/// ```
/// use torsade::net::quote;
///
/// assert_eq!(quote(r"C:\here"), r"C\:\\here");
/// ```
#[doc(alias = "quoteStringArgument")]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, ':' | '\\' | '=') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted
}

/// Where to listen.
pub(super) fn server(text: &str, names: Option<&Reactor>) -> Result<ServerEndpoint, Failure> {
    match text.split_once(':') {
        Some((kind, rest)) if kind.eq_ignore_ascii_case(PROXIED) => {
            let endpoint = described(rest, names, Some(ProxyOptions::new()));
            endpoint.map_err(|failure| as_part_of(text, rest, failure))
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

fn undecorated(
    text: &str,
    names: Option<&Reactor>,
    proxy: &mut Option<ProxyOptions>,
) -> Result<ServerEndpoint, Failure> {
    if let Some(address) = socket_addr(text) {
        return Ok(ServerEndpoint::new(address));
    }
    if let Some((reactor, name)) = names.zip(name_of(text)) {
        if let Some(read) = server_named(reactor, &name) {
            let mut fields = EndpointFields::after(text, name.len() + 1)?;
            if let Some(behind) = proxy {
                *behind = fields.proxy()?;
            }
            let endpoint = fields.read_by(&*read)?;
            return Ok(endpoint);
        }
    }
    let Some((kind, mut fields)) = EndpointFields::read(text)? else {
        let (name, port) = name_and_port(text, || others(names, server_names, "server"))?;
        let addresses = listening(name, port).ok_or_else(|| not_a_literal(text, 0, name))?;
        return Ok(ServerEndpoint::at(Places::Addresses(addresses)));
    };
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
        Kind::Systemd | Kind::Fd => ServerEndpoint::at(Places::Given(fields.given(kind)?)),
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
        if let Some(read) = client_named(reactor, &name) {
            let mut fields = EndpointFields::after(text, name.len() + 1)?;
            return fields.read_by(&*read);
        }
    }
    let Some((kind, mut fields)) = EndpointFields::read(text)? else {
        let (name, port) = name_and_port(text, || others(names, client_names, "client"))?;
        return Ok(ClientEndpoint::to(host(name.into(), port)));
    };
    let mut options = ConnectOptions::new();
    let mut endpoint = match kind {
        Kind::Tcp => {
            let name = fields.wanted("host")?;
            let port = fields.port()?;
            if let Some(seconds) = fields.number::<u32>("timeout")? {
                options = options.timeout(Duration::from_secs(seconds.into()));
            }
            if let Some(field) = fields.named("bindAddress") {
                let bind = literal(&field.value, 0)
                    .ok_or_else(|| not_a_literal(text, field.at, &field.value))?;
                options = options.bind(bind);
            }
            ClientEndpoint::to(host(name.value, port))
        }
        Kind::Unix => {
            let address = fields.unix_address()?;
            if let Some(seconds) = fields.number::<u32>("timeout")? {
                options = options.timeout(Duration::from_secs(seconds.into()));
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
                "one listens at \"stdio\", and does not connect; see `Reactor::stdio`",
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

/// What a description is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Tcp6,
    Unix,
    #[cfg(unix)]
    Systemd,
    #[cfg(unix)]
    Fd,
    #[cfg(unix)]
    Stdio,
}

/// Types that mean something to those who know Twisted: no hosts, also as long as there is nothing for them.
const RESERVED: [&str; 2] = ["ssl", "tls"];

/// The types, in the order in which an error lists them.
const KINDS: &[(&str, Kind)] = &[
    ("tcp", Kind::Tcp),
    ("tcp6", Kind::Tcp6),
    ("unix", Kind::Unix),
    #[cfg(unix)]
    ("systemd", Kind::Systemd),
    #[cfg(unix)]
    ("fd", Kind::Fd),
    #[cfg(unix)]
    ("stdio", Kind::Stdio),
];

/// What stands before the rest where proxies connect. It is no type to connect to, and there may be a host of this name.
const PROXIED: &str = "haproxy";

/// The fields of an endpoint's text, taken apart: see [`Reactor::register_client_endpoint`]. What is used is taken out, so that
/// in the end what is left was not understood.
///
/// Fields are separated by colons; one with an equals sign has a name. A backslash takes away the meaning of what follows it
/// ([`quote`]).
#[derive(Debug)]
pub struct EndpointFields<'a> {
    text: &'a str,
    left: Vec<Field>,
}

/// One field.
#[derive(Debug)]
struct Field {
    key: Option<String>,
    value: String,
    /// Where it begins.
    at: usize,
}

impl<'a> EndpointFields<'a> {
    /// Takes a description apart; `None` when the text is something else.
    fn read(text: &'a str) -> Result<Option<(Kind, Self)>, Failure> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Ok(None);
        };
        let lower = kind.to_ascii_lowercase();
        if RESERVED.contains(&&*lower) {
            let problem = format!("there is no TLS here, so nothing that is {kind:?}");
            return Err(bad(text, 0, problem));
        }
        let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == lower) else {
            return Ok(None);
        };
        let fields = Self::after(text, text.len() - rest.len())?;
        Ok(Some((*kind, fields)))
    }

    /// The fields of `text` from `start` on.
    fn after(text: &'a str, start: usize) -> Result<Self, Failure> {
        let left = split(text, start)?;
        Ok(Self { text, left })
    }

    /// Has somebody make an endpoint of them, who takes out what there is. A single empty field is nothing.
    fn read_by<E>(&mut self, read: &dyn Fn(&mut Self) -> Result<E, Failure>) -> Result<E, Failure> {
        self.left
            .retain(|field| field.key.is_some() || !field.value.is_empty());
        let made = report::catch(Location::caller(), || read(self));
        let endpoint = made.and_then(|made| made)?;
        self.nothing_left()?;
        Ok(endpoint)
    }

    /// Takes out the field of this name, and returns its value.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.named(name).map(|field| field.value)
    }

    /// Takes out the field of this name, or the first one without a name, and returns its value.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`] when there is none, or it is empty.
    pub fn required(&mut self, name: &str) -> Result<String, Failure> {
        self.wanted(name).map(|field| field.value)
    }

    /// Takes out the field that is called `port`, or the first one without a name, and returns the number in it.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`] when there is none, or it is no port.
    pub fn port(&mut self) -> Result<u16, Failure> {
        let field = self.wanted("port")?;
        port(self.text, field.at, &field.value)
    }

    /// Takes out the field of this name, and returns the number in it; `None` when there is no such field.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`] when it is no number of this type.
    pub fn number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, Failure> {
        let Some(field) = self.named(name) else {
            return Ok(None);
        };
        match field.value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                let problem = format!("the {name} is a number, not {:?}", field.value);
                Err(self.bad(field.at, problem))
            }
        }
    }

    /// Returns the error of text that says something impossible.
    pub fn error(&self, problem: impl Into<String>) -> Failure {
        self.bad(0, problem)
    }

    /// Takes out the field that is called `key`.
    fn named(&mut self, key: &str) -> Option<Field> {
        self.take_where(|found| found == Some(key))
    }

    fn take_where(&mut self, is_it: impl Fn(Option<&str>) -> bool) -> Option<Field> {
        let found = self
            .left
            .iter()
            .position(|field| is_it(field.key.as_deref()));
        found.map(|index| self.left.remove(index))
    }

    /// The same for a field that must be there, with something in it. It may have no key: then it is the first of those.
    fn wanted(&mut self, key: &str) -> Result<Field, Failure> {
        let field = self
            .named(key)
            .or_else(|| self.take_where(|found| found.is_none()));
        match field {
            Some(field) if !field.value.is_empty() => Ok(field),
            Some(field) => Err(self.bad(field.at, format!("the {key} is empty"))),
            None => Err(self.bad(self.text.len(), format!("the {key} is missing"))),
        }
    }

    /// The name of a UNIX socket, which must be there.
    fn unix_address(&mut self) -> Result<Address, Failure> {
        if let Some(field) = self.named("path-hex") {
            return Ok(Address::from_path(path_of(self.bytes(&field)?)));
        }
        if let Some(field) = self.named("abstract-hex") {
            return Ok(Address::Abstract(self.bytes(&field)?));
        }
        let keyed = self.named("path").or_else(|| self.named("address"));
        let is_keyed = keyed.is_some();
        let field = match keyed {
            Some(field) => field,
            None => self.wanted("path")?,
        };
        if field.value.is_empty() {
            return Err(self.bad(field.at, "the path is empty"));
        }
        match field.value.strip_prefix('@') {
            Some(name) if !is_keyed => Ok(Address::from_abstract(name)),
            _ => Ok(Address::from_path(field.value)),
        }
    }

    /// What a field says in hexadecimal.
    fn bytes(&self, field: &Field) -> Result<Vec<u8>, Failure> {
        hex_bytes(&field.value).ok_or_else(|| {
            let problem = format!(
                "pairs of hexadecimal digits are wanted, not {:?}",
                field.value
            );
            self.bad(field.at, problem)
        })
    }

    /// The mode of a file, if it is there.
    fn mode(&mut self) -> Result<Option<u32>, Failure> {
        let Some(field) = self.named("mode") else {
            return Ok(None);
        };
        let mode = u32::from_str_radix(&field.value, 8).ok();
        match mode.filter(|mode| *mode <= 0o777 && !field.value.starts_with('+')) {
            Some(mode) => Ok(Some(mode)),
            None => {
                let problem = format!(
                    "the mode is an octal number up to 777, not {:?}",
                    field.value
                );
                Err(self.bad(field.at, problem))
            }
        }
    }

    /// Whom to believe for whom they connect, and how long they may take to say so.
    fn proxy(&mut self) -> Result<ProxyOptions, Failure> {
        let mut options = ProxyOptions::new();
        if let Some(field) = self.named("trust") {
            for network in field.value.split(',') {
                let network = network.parse::<Network>();
                let network = network.map_err(|error| self.bad(field.at, error.to_string()))?;
                options = options.trust(network);
            }
        }
        if let Some(seconds) = self.number::<u32>("headertimeout")? {
            options = options.timeout(Duration::from_secs(seconds.into()));
        }
        Ok(options)
    }

    /// 1 or 0, if it is there.
    fn yes_or_no(&mut self, key: &str) -> Result<Option<bool>, Failure> {
        let Some(field) = self.named(key) else {
            return Ok(None);
        };
        match field.value.as_str() {
            "1" => Ok(Some(true)),
            "0" => Ok(Some(false)),
            other => Err(self.bad(field.at, format!("the {key} is 0 or 1, not {other:?}"))),
        }
    }

    /// A socket that this process was given when it was started.
    #[cfg(unix)]
    fn given(&mut self, kind: Kind) -> Result<Given, Failure> {
        let which = if kind == Kind::Fd {
            let field = self.wanted("number")?;
            match field.value.parse::<u16>() {
                Ok(number) => Which::Number(number.into()),
                Err(_) => {
                    let problem = format!("the descriptor is a number, not {:?}", field.value);
                    return Err(self.bad(field.at, problem));
                }
            }
        } else {
            match (self.number("index")?, self.named("name")) {
                (Some(index), None) => Which::Index(index),
                (None, Some(field)) => Which::Name(field.value),
                _ => {
                    let at = self.text.len();
                    return Err(self.bad(at, "an index or a name is wanted, one of the two"));
                }
            }
        };
        let family = match self.named("domain") {
            None => None,
            Some(field) => match Family::read(&field.value) {
                Some(family) => Some(family),
                None => {
                    let problem =
                        format!("the domain is INET, INET6 or UNIX, not {:?}", field.value);
                    return Err(self.bad(field.at, problem));
                }
            },
        };
        Ok(Given::inherited(which, family))
    }

    /// Refuses what nobody took.
    fn nothing_left(&self) -> Result<(), Failure> {
        let Some(field) = self.left.first() else {
            return Ok(());
        };
        let problem = match &field.key {
            Some(key) => format!("nothing is called {key:?} here, or it is said twice"),
            None => format!("nothing is known of a field {:?} here", field.value),
        };
        Err(self.bad(field.at, problem))
    }

    fn bad(&self, at: usize, problem: impl Into<String>) -> Failure {
        bad(self.text, at, problem)
    }
}

/// Does this mean something already at the beginning of text?
pub(in crate::net) fn is_built_in(name: &str) -> bool {
    name == PROXIED || KINDS.iter().any(|(kind, _)| *kind == name)
}

/// What text begins with, in lower case, if there is a colon after it.
fn name_of(text: &str) -> Option<String> {
    let (name, _) = text.split_once(':')?;
    Some(name.to_ascii_lowercase())
}

/// The fields of `text` from `start` on.
fn split(text: &str, start: usize) -> Result<Vec<Field>, Failure> {
    let mut fields = Vec::new();
    let mut field = (None, String::new(), start);
    let mut end = |(key, value, at)| fields.push(Field { key, value, at });
    let mut chars = text[start..].char_indices();
    while let Some((at, char)) = chars.next() {
        let at = start + at;
        match char {
            ':' => end(std::mem::replace(&mut field, (None, String::new(), at + 1))),
            '=' if field.0.is_none() => field.0 = Some(std::mem::take(&mut field.1)),
            '\\' => match chars.next() {
                Some((_, char)) => field.1.push(char),
                None => return Err(bad(text, at, "a backslash ends the text")),
            },
            char => field.1.push(char),
        }
    }
    end(field);
    Ok(fields)
}

/// What else text may begin with than the names that this crate gives a meaning.
fn others(
    reactor: Option<&Reactor>,
    registered: fn(&Reactor) -> Vec<String>,
    side: &str,
) -> String {
    let Some(reactor) = reactor else {
        return format!(
            ", or, in text that is given to a reactor, one registered with its `register_{side}_endpoint`"
        );
    };
    let registered = registered(reactor);
    match registered.is_empty() {
        true => format!(", or one registered with `register_{side}_endpoint`"),
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

fn port(text: &str, at: usize, found: &str) -> Result<u16, Failure> {
    found.parse().map_err(|_| {
        let problem = format!("the port is a number up to {}, not {found:?}", u16::MAX);
        bad(text, at, problem)
    })
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
fn as_part_of(text: &str, end: &str, failure: Failure) -> Failure {
    match failure.check::<BadEndpoint>() {
        Some(found) => bad(text, text.len() - end.len() + found.at, &*found.problem),
        None => failure,
    }
}

/// What is there once, and has no port, has nobody who could connect in somebody's name.
#[cfg(unix)]
pub(in crate::net) fn no_proxy(text: &str) -> Failure {
    bad(text, 0, "no proxy connects to standard input and output")
}

fn bad(text: &str, at: usize, problem: impl Into<String>) -> Failure {
    Failure::from(BadEndpoint {
        text: text.into(),
        at,
        problem: problem.into(),
    })
}

impl BadEndpoint {
    /// What was to be read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where in the text, in bytes from its beginning.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, at, problem } = self;
        write!(f, "bad endpoint {text:?}, at byte {at}: {problem}")
    }
}

impl Error for BadEndpoint {}
