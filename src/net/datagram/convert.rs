//! Types that convert to the address of a datagram: those of `std`, [`Address`], literal text.

use std::path::{Path, PathBuf};

use super::errors::DatagramError;
use crate::address::{Address, literal, socket_addr};
use crate::failure::Failure;

/// An address that a datagram can be sent to, or that a port can be bound to: an [`Address`], an
/// address of `std`, or text that is a literal address (`"127.0.0.1:53"`, `"[::1]:53"`,
/// `"unix:/run/log"`).
///
/// Host names are not looked up, because a datagram would have to wait for the answer, and later
/// datagrams would overtake it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the address of a datagram",
    note = "give text (\"127.0.0.1:53\"), or an address"
)]
pub trait ToDatagramAddress {
    /// Returns the address.
    ///
    /// # Errors
    ///
    /// Fails with [`DatagramError::InvalidAddress`] for text that is not a literal address.
    fn to_datagram_address(&self) -> Result<Address, Failure>;
}

macro_rules! is_an_address {
    ($($kind:ty),+ $(,)?) => {
        $(impl ToDatagramAddress for $kind {
            #[inline]
            fn to_datagram_address(&self) -> Result<Address, Failure> {
                Ok(Address::from(self.clone()))
            }
        })+
    };
}

crate::address::for_each_address!(is_an_address);

impl ToDatagramAddress for str {
    fn to_datagram_address(&self) -> Result<Address, Failure> {
        if let Some(name) = self.strip_prefix("unix:") {
            return Ok(match name.strip_prefix('@') {
                Some(name) => Address::Abstract(name.as_bytes().to_owned()),
                None => Address::from_path(name),
            });
        }
        match socket_addr(self) {
            Some(address) => Ok(address.into()),
            None => Err(invalid(self, "a literal address and a port")),
        }
    }
}

impl ToDatagramAddress for (&str, u16) {
    fn to_datagram_address(&self) -> Result<Address, Failure> {
        match literal(self.0, self.1) {
            Some(address) => Ok(address.into()),
            None => Err(invalid(self.0, "a literal address")),
        }
    }
}

impl ToDatagramAddress for String {
    fn to_datagram_address(&self) -> Result<Address, Failure> {
        self.as_str().to_datagram_address()
    }
}

/// A path that begins with NUL is an abstract name.
impl ToDatagramAddress for Path {
    fn to_datagram_address(&self) -> Result<Address, Failure> {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            if let Some(name) = self.as_os_str().as_bytes().strip_prefix(b"\0") {
                return Ok(Address::Abstract(name.to_owned()));
            }
        }
        Ok(Address::from_path(self))
    }
}

impl ToDatagramAddress for PathBuf {
    fn to_datagram_address(&self) -> Result<Address, Failure> {
        self.as_path().to_datagram_address()
    }
}

impl<T: ToDatagramAddress + ?Sized> ToDatagramAddress for &T {
    fn to_datagram_address(&self) -> Result<Address, Failure> {
        (**self).to_datagram_address()
    }
}

#[track_caller]
pub(super) fn invalid(address: &(impl ToString + ?Sized), expected: &'static str) -> Failure {
    let address = address.to_string();
    Failure::new(DatagramError::InvalidAddress { address, expected })
}
