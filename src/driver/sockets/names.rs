//! Names of the machine's sockets: converts addresses to and from the system's form.

#[cfg(unix)]
use std::ffi::OsStr;
use std::io;
#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;

#[cfg(unix)]
use rustix::net::SocketAddrUnix;
use socket2::SockAddr;

use crate::address::{Address, not_inet};

/// Converts an address from the system's form.
pub(in crate::driver) fn of(addr: &SockAddr) -> Address {
    if let Some(addr) = addr.as_socket() {
        return Address::Ip(addr);
    }
    #[cfg(unix)]
    if let Some(path) = addr.as_pathname() {
        return Address::from_path(path);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = addr.as_abstract_namespace() {
        return Address::Abstract(name.to_owned());
    }
    Address::Unnamed
}

/// Converts the address of a UNIX socket from the system's form.
#[cfg(unix)]
pub(in crate::driver) fn of_unix(addr: &SocketAddrUnix) -> Address {
    if let Some(path) = addr.path_bytes() {
        // The kernel may count the terminating null byte.
        let path = path.strip_suffix(b"\0").unwrap_or(path);
        return Address::from_path(OsStr::from_bytes(path));
    }
    // A socket without a name may have an empty one.
    #[cfg(target_os = "linux")]
    if let Some(name) = addr.abstract_name().filter(|name| !name.is_empty()) {
        return Address::from_abstract(name);
    }
    Address::Unnamed
}

/// Converts an address to the system's form.
pub(in crate::driver) fn any(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Ip(address) => Ok((*address).into()),
        address => as_unix(address, "address of a receiver"),
    }
}

/// Converts the address of a UNIX socket to the system's form. A name that does not fit is an error
/// and is never truncated.
#[cfg(unix)]
pub(super) fn unix(address: &Address) -> io::Result<SockAddr> {
    check(address)?;
    as_unix(address, "name of a UNIX socket")
}

fn as_unix(address: &Address, wanted: &str) -> io::Result<SockAddr> {
    match address {
        Address::Path(path) => SockAddr::unix(path),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Address::Abstract(name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", &name[..]].concat())),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{address} is not the {wanted}"),
        )),
    }
}

/// Refuses an address that no socket can be bound to. A name that is too long is never truncated.
pub(in crate::driver) fn check(address: &Address) -> io::Result<()> {
    let (what, length) = match address {
        Address::Ip(_) => return Ok(()),
        Address::Path(path) => {
            let path = path.as_os_str().as_encoded_bytes();
            if path.is_empty() || path.contains(&0) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a socket's path must not be empty or contain a NUL",
                ));
            }
            ("path", path.len())
        }
        Address::Abstract(name) => ("name", name.len()),
        Address::Unnamed => return Err(not_inet(address)),
    };
    if length > LONGEST_NAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "a socket's {what} has at most {LONGEST_NAME} bytes, and this one has {length}"
            ),
        ));
    }
    Ok(())
}

/// The longest name of a UNIX socket, in bytes. One more byte is for the null byte.
#[cfg(any(target_os = "linux", target_os = "android", not(unix)))]
const LONGEST_NAME: usize = 107;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const LONGEST_NAME: usize = 103;
