//! Where a connection leads: [`Address`].
//!
//! One type for every kind of transport, so that a program need not know which it got. An address is a value: nothing is
//! looked up, opened or connected by having one.

use crate::failure::errors;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::option;
#[cfg(unix)]
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address of an end of a connection, or of a port.
///
/// Printed, it can be read again ([`FromStr`]), also by whatever takes an address. What would not do in a line of text (a name that is no
/// UTF-8, or has control characters in it) is printed in hexadecimal, so a peer's name cannot upset a log.
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
#[doc(alias("IAddress", "IPv4Address", "IPv6Address", "UNIXAddress", "PipeAddress"))]
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A socket's name in the file system.
    Path(PathBuf),
    /// A name that Linux keeps outside the file system, without its leading NUL.
    #[doc(alias("abstract namespace", "sun_path"))]
    Abstract(Vec<u8>),
    /// None: the end of a UNIX connection that was not bound, a pipe, a terminal.
    Unnamed,
}

impl Address {
    /// The address of a UNIX socket with a name in the file system.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self::Path(path.into())
    }

    /// The address of a UNIX socket with a name that Linux keeps outside the file system.
    pub fn from_abstract(name: impl Into<Vec<u8>>) -> Self {
        Self::Abstract(name.into())
    }

    /// The IP address and port, where it has them.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            _ => None,
        }
    }

    /// The IP address, where it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.inet().map(|address| address.ip())
    }

    /// The port, where it has one.
    pub fn port(&self) -> Option<u16> {
        self.inet().map(|address| address.port())
    }

    /// The name in the file system, where it has one.
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

/// For what takes addresses as the standard library does. What is no IP address is
/// [`io::ErrorKind::InvalidInput`].
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
                // Without the key it would be taken for a name outside the file system.
                Some(path) if path.starts_with('@') => {
                    f.write_str("unix:path=")?;
                    quoted(f, path)
                }
                Some(path) => {
                    f.write_str("unix:")?;
                    quoted(f, path)
                }
                None => {
                    f.write_str("unix:path-hex=")?;
                    hex(f, path.as_os_str().as_encoded_bytes())
                }
            },
            Self::Abstract(name) => match plain(name) {
                Some(name) => {
                    f.write_str("unix:@")?;
                    quoted(f, name)
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

/// Reads what an [`Address`] prints as: `127.0.0.1:80`, `[::1]:80`, `[fe80::1%2]:80`, `unix:/run/chat`, `unix:@name`,
/// `unix:path-hex=2f61`, `unix:abstract-hex=6162`, `unnamed`. An IPv6 zone may be the name of a network interface as well:
/// `[fe80::1%eth0]:80`. No host's name is looked up.
///
/// # Examples
///
/// ```
/// use torsade::Address;
///
/// for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/chat", r"unix:a\:b", "unix:@name", "unnamed"] {
///     let address: Address = text.parse()?;
///     assert_eq!(address.to_string(), text);
/// }
/// assert_eq!(
///     "localhost:80".parse::<Address>().unwrap_err().to_string(),
///     "\"localhost:80\" is no address: an IP address and a port are wanted, or `unix:` and a path",
/// );
/// # Ok::<(), torsade::net::BadAddress>(())
/// ```
impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text == "unnamed" {
            return Ok(Self::Unnamed);
        }
        let bad = |problem| BadAddress {
            text: text.into(),
            problem,
        };
        let Some(field) = text.strip_prefix("unix:") else {
            return socket_addr(text)
                .map(Self::Ip)
                .ok_or_else(|| bad("an IP address and a port are wanted, or `unix:` and a path"));
        };
        let (key, value) = unquoted(field).ok_or_else(|| {
            bad("a colon or a backslash in the name of a UNIX socket has a backslash before it")
        })?;
        let bytes =
            || hex_bytes(&value).ok_or_else(|| bad("pairs of hexadecimal digits are wanted"));
        match (key.as_deref(), value.strip_prefix('@')) {
            (None, Some(name)) => Ok(Self::from_abstract(name)),
            (None | Some("path"), _) if value.is_empty() => Err(bad("the path is empty")),
            (None | Some("path"), _) => Ok(Self::from_path(value)),
            (Some("path-hex"), _) => Ok(Self::Path(path_of(bytes()?))),
            (Some("abstract-hex"), _) => Ok(Self::Abstract(bytes()?)),
            _ => Err(bad(
                "a UNIX socket is named by `path`, `path-hex` or `abstract-hex`",
            )),
        }
    }
}

/// Text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress {
    text: String,
    problem: &'static str,
}

impl BadAddress {
    /// Returns what was to be read.
    pub fn text(&self) -> &str {
        &self.text
    }
}

errors! {
    BadAddress { text, problem }: "{text:?} is no address: {problem}";
}

/// An IP address and a port, as text. An IPv6 zone may be a number or the name of a network interface.
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

/// An IP address as text, also in brackets when it is IPv6, with its zone; and a port.
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

/// The number of a network interface, from its number or its name.
fn zone_number(zone: &str) -> Option<u32> {
    if zone.bytes().all(|byte| byte.is_ascii_digit()) {
        return zone.parse().ok();
    }
    // The system's function knows the names; told that this is a number it asks nobody.
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

/// One field of a description, with its key if it has one, as [`quoted`] has written it.
fn unquoted(field: &str) -> Option<(Option<String>, String)> {
    let (mut key, mut value) = (None, String::new());
    let mut chars = field.chars();
    while let Some(char) = chars.next() {
        match char {
            ':' => return None,
            '=' if key.is_none() => key = Some(std::mem::take(&mut value)),
            '\\' => value.push(chars.next()?),
            char => value.push(char),
        }
    }
    Some((key, value))
}

/// What is said in pairs of hexadecimal digits.
pub(crate) fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        let is_pair = pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_pair.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    });
    pairs.collect()
}

/// The path that these bytes are.
pub(crate) fn path_of(bytes: Vec<u8>) -> PathBuf {
    #[cfg(unix)]
    return std::ffi::OsString::from_vec(bytes).into();
    #[cfg(not(unix))]
    return String::from_utf8_lossy(&bytes).into_owned().into();
}

/// `AI_NUMERICHOST`.
#[cfg(unix)]
const NUMERIC_HOST: i32 = libc::AI_NUMERICHOST;
#[cfg(not(unix))]
const NUMERIC_HOST: i32 = 4;

/// The error of an IP address wanted where there is none.
pub(crate) fn not_inet(found: &Address) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{found} is not an IP address"),
    )
}

/// A name that can be printed as it is.
fn plain(name: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(name).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// Writes what is a field of an endpoint's description, where a colon would end it and an equals sign its key.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for char in text.chars() {
        if matches!(char, ':' | '\\' | '=') {
            f.write_str("\\")?;
        }
        write!(f, "{char}")?;
    }
    Ok(())
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
/// Calls a macro with the types of which each value is one address, and no path.
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
