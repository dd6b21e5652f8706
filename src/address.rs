//! Where a connection leads: [`Address`].
//!
//! One type for every kind of transport, so that a program need not know which it got. An address is a value: nothing is
//! looked up, opened or connected by having one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::option;
use std::path::{Path, PathBuf};

/// The address of an end of a connection, or of a port.
///
/// Printed, it can be read again by whatever takes an address. What would not do in a line of text (a name that is no
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
