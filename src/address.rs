//! The address of one end of a connection, of any kind of transport: [`Address`]. An address is a
//! plain value; creating one neither looks up, opens nor connects anything.

use crate::failure::errors;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::option;
#[cfg(unix)]
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address of one end of a connection, or of a port.
///
/// `Display` writes a text that [`FromStr`] parses and that is accepted wherever an endpoint is.
/// The name of a UNIX socket is written in hexadecimal (`unix:path-hex=2f61ff`) if it is not UTF-8
/// or contains control characters, so that a peer's name cannot corrupt a log.
///
/// # Examples
///
/// ```
/// use torsade::Address;
///
/// let address = Address::from(([127, 0, 0, 1], 80));
/// assert_eq!(address.port(), Some(80));
/// assert_eq!(address.to_string(), "127.0.0.1:80");
/// assert_eq!(Address::from_path("/run/chat.sock").to_string(), "unix:/run/chat.sock");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The path of a UNIX socket in the file system.
    Path(PathBuf),
    /// A name in Linux's abstract socket namespace, without its leading NUL.
    #[doc(alias("abstract namespace", "sun_path"))]
    Abstract(Vec<u8>),
    /// No address: a pipe, a terminal, or the end of a UNIX connection whose socket was not bound.
    Unnamed,
}

impl Address {
    /// Creates the address of a UNIX socket from its path in the file system. Creates no file.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self::Path(path.into())
    }

    /// Creates the address of a UNIX socket from its name in Linux's abstract socket namespace.
    pub fn from_abstract(name: impl Into<Vec<u8>>) -> Self {
        Self::Abstract(name.into())
    }

    /// Returns the IP address and port; `None` unless the address is [`Ip`](Self::Ip).
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            _ => None,
        }
    }

    /// Returns the IP address; `None` unless the address is [`Ip`](Self::Ip).
    pub fn ip(&self) -> Option<IpAddr> {
        self.inet().map(|address| address.ip())
    }

    /// Returns the port number; `None` unless the address is [`Ip`](Self::Ip).
    pub fn port(&self) -> Option<u16> {
        self.inet().map(|address| address.port())
    }

    /// Returns the path; `None` unless the address is [`Path`](Self::Path).
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<SocketAddrV4> for Address {
    fn from(address: SocketAddrV4) -> Self {
        Self::Ip(address.into())
    }
}

impl From<SocketAddrV6> for Address {
    fn from(address: SocketAddrV6) -> Self {
        Self::Ip(address.into())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Address {
    fn from(address: (I, u16)) -> Self {
        Self::Ip(address.into())
    }
}

impl PartialEq<SocketAddr> for Address {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.inet().as_ref() == Some(other)
    }
}

impl PartialEq<Address> for SocketAddr {
    fn eq(&self, other: &Address) -> bool {
        other == self
    }
}

/// Makes an address usable where the standard library accepts addresses. An address that is not an
/// IP address fails with [`io::ErrorKind::InvalidInput`].
impl std::net::ToSocketAddrs for Address {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.inet() {
            Some(address) => Ok(Some(address).into_iter()),
            None => Err(not_inet(self)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Path(path) => match plain(path.as_os_str().as_encoded_bytes()) {
                // Without the key, the path would be parsed as an abstract name.
                Some(path) if path.starts_with('@') => {
                    f.write_str("unix:path=")?;
                    f.write_str(&quote(path))
                }
                Some(path) => {
                    f.write_str("unix:")?;
                    f.write_str(&quote(path))
                }
                None => {
                    f.write_str("unix:path-hex=")?;
                    hex(f, path.as_os_str().as_encoded_bytes())
                }
            },
            Self::Abstract(name) => match plain(name) {
                Some(name) => {
                    f.write_str("unix:@")?;
                    f.write_str(&quote(name))
                }
                None => {
                    f.write_str("unix:abstract-hex=")?;
                    hex(f, name)
                }
            },
            Self::Unnamed => f.write_str("unnamed"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses the text that an [`Address`] prints: `127.0.0.1:80`, `[::1]:80`, `[fe80::1%2]:80`,
/// `unix:/run/chat`, `unix:@name`, `unix:path-hex=2f61`, `unix:abstract-hex=6162`, `unnamed`. An
/// IPv6 zone may also be the name of a network interface: `[fe80::1%eth0]:80`. Host names are not
/// looked up.
///
/// # Examples
///
/// ```
/// use torsade::Address;
///
/// for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/chat", "unix:@name", "unnamed"] {
///     let address: Address = text.parse()?;
///     assert_eq!(address.to_string(), text);
/// }
/// assert_eq!(
///     "localhost:80".parse::<Address>().unwrap_err().to_string(),
///     "\"localhost:80\" is not an address: \
///      expected an IP address and a port, or `unix:` and a path",
/// );
/// # Ok::<(), torsade::net::EndpointError>(())
/// ```
impl FromStr for Address {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text == "unnamed" {
            return Ok(Self::Unnamed);
        }
        let bad = |problem| EndpointError::Address {
            text: text.into(),
            problem,
        };
        let Some(field) = text.strip_prefix("unix:") else {
            return socket_addr(text)
                .map(Self::Ip)
                .ok_or_else(|| bad("expected an IP address and a port, or `unix:` and a path"));
        };
        match split_fields(field, 0).as_deref() {
            Ok([field]) => unix_address(field).map_err(bad),
            _ => Err(bad(
                "in the name of a UNIX socket, a colon and a backslash must be escaped with a backslash",
            )),
        }
    }
}

/// The error of reading an address, an endpoint or a network from text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// The text is not an [`Address`].
    Address {
        /// The text.
        text: String,
        /// The reason.
        problem: &'static str,
    },
    /// The text does not describe an endpoint.
    Endpoint {
        /// The text.
        text: String,
        /// The position of the error in the text, in bytes from its beginning.
        position: usize,
        /// The reason.
        problem: String,
    },
    /// The text is not a network, such as `10.0.0.0/8`, or an IP address.
    Network {
        /// The text.
        text: String,
    },
}

errors! {
    enum EndpointError {
        Address { text, problem }: "{text:?} is not an address: {problem}";
        Endpoint { text, position, problem }:
            "{text:?} is not an endpoint: at byte {position}: {problem}";
        Network { text }: "{text:?} is not an IP address or a network such as 10.0.0.0/8";
    }
}

/// Parses an IP address and a port. An IPv6 zone may be a number or the name of a network
/// interface.
pub(crate) fn socket_addr(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(port)?;
    let port = port.parse().ok()?;
    host.starts_with('[').then(|| literal(host, port)).flatten()
}

/// Parses an IP address, which may be in brackets and have a zone if it is IPv6, and adds the port.
pub(crate) fn literal(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let (None, Ok(ip)) = (bare, text.parse::<Ipv4Addr>()) {
        return Some(SocketAddr::new(ip.into(), port));
    }
    let text = bare.unwrap_or(text);
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    let ip = ip.parse::<Ipv6Addr>().ok()?;
    let zone = zone.map_or(Some(0), zone_number)?;
    Some(SocketAddrV6::new(ip, port, 0, zone).into())
}

/// Returns the number of a network interface, given its number or its name.
fn zone_number(zone: &str) -> Option<u32> {
    if zone.bytes().all(|byte| byte.is_ascii_digit()) {
        return zone.parse().ok();
    }
    // `getaddrinfo` translates the interface name; with this flag it never asks a name server.
    let hints = dns_lookup::AddrInfoHints {
        flags: NUMERIC_HOST,
        ..dns_lookup::AddrInfoHints::default()
    };
    let text = format!("fe80::1%{zone}");
    let found = dns_lookup::getaddrinfo(Some(&text), None, Some(hints)).ok()?;
    found.flatten().find_map(|info| match info.sockaddr {
        SocketAddr::V6(address) if address.scope_id() != 0 => Some(address.scope_id()),
        _ => None,
    })
}

/// Escapes text so that it is one field of an endpoint's text: a backslash is put before `:`, `=`
/// and `\`.
///
/// # Examples
///
/// ```
/// use torsade::net::quote;
///
/// assert_eq!(quote(r"C:\here"), r"C\:\\here");
/// ```
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

/// A field of an endpoint's text.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) key: Option<String>,
    pub(crate) value: String,
    /// The position in the text.
    pub(crate) at: usize,
}

/// Splits `text` into fields, from the byte `start`; [`quote`] is the inverse. Fails with the
/// position of a backslash at the end.
pub(crate) fn split_fields(text: &str, start: usize) -> Result<Vec<Field>, usize> {
    let mut fields = Vec::new();
    let mut field = (None, String::new(), start);
    let mut end = |(key, value, at)| fields.push(Field { key, value, at });
    let mut chars = text[start..].char_indices();
    while let Some((at, char)) = chars.next() {
        let at = start + at;
        match char {
            ':' => end(std::mem::replace(&mut field, (None, String::new(), at + 1))),
            '=' if field.0.is_none() => field.0 = Some(std::mem::take(&mut field.1)),
            '\\' => field.1.push(chars.next().ok_or(at)?.1),
            char => field.1.push(char),
        }
    }
    end(field);
    Ok(fields)
}

/// The keys of the field that names a UNIX socket. The key may be missing.
pub(crate) const UNIX_KEYS: [&str; 4] = ["path-hex", "abstract-hex", "path", "address"];

/// Returns the address of a UNIX socket from the field that names it, or the problem with it.
pub(crate) fn unix_address(field: &Field) -> Result<Address, &'static str> {
    let bytes = || hex_bytes(&field.value).ok_or(NOT_HEX);
    match (field.key.as_deref(), field.value.strip_prefix('@')) {
        (None, Some(name)) => Ok(Address::from_abstract(name)),
        (Some("abstract-hex"), _) => bytes().map(Address::Abstract),
        (None | Some("path" | "address" | "path-hex"), _) if field.value.is_empty() => {
            Err("the path is empty")
        }
        (None | Some("path" | "address"), _) => Ok(Address::from_path(&field.value)),
        (Some("path-hex"), _) => Ok(Address::Path(path_of(bytes()?))),
        _ => Err("expected the field `path`, `path-hex` or `abstract-hex`"),
    }
}

/// A problem of [`unix_address`].
pub(crate) const NOT_HEX: &str = "expected pairs of hexadecimal digits";

/// Decodes pairs of hexadecimal digits.
fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        let is_pair = pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_pair.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    });
    pairs.collect()
}

/// Converts bytes to a path.
pub(crate) fn path_of(bytes: Vec<u8>) -> PathBuf {
    #[cfg(unix)]
    return std::ffi::OsString::from_vec(bytes).into();
    #[cfg(not(unix))]
    return String::from_utf8_lossy(&bytes).into_owned().into();
}

/// `AI_NUMERICHOST`: never asks a name server.
#[cfg(unix)]
const NUMERIC_HOST: i32 = libc::AI_NUMERICHOST;
#[cfg(not(unix))]
const NUMERIC_HOST: i32 = 4;

/// Returns the error of an address that should be an IP address and is not.
pub(crate) fn not_inet(found: &Address) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{found} is not an IP address"),
    )
}

/// Returns the name as text, if it can be printed unchanged.
fn plain(name: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(name).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
/// Calls a macro with the types, except paths, whose values are one address each.
macro_rules! for_each_address {
    ($use_types:ident) => {
        $use_types!(
            $crate::address::Address,
            std::net::SocketAddr,
            std::net::SocketAddrV4,
            std::net::SocketAddrV6,
            (std::net::IpAddr, u16),
            (std::net::Ipv4Addr, u16),
            (std::net::Ipv6Addr, u16),
            ([u8; 4], u16),
        );
    };
}
pub(crate) use for_each_address;
