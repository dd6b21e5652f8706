//! Endpoints behind a proxy: HAProxy's PROXY protocol, versions 1 and 2.
//!
//! `header` parses a header; `accept` reads it and passes the connection on. This file has the
//! options.
//!
//! # Invariants
//!
//! 1. A connection is passed on only after a valid header has arrived.
//! 2. Only the header is read here, so no bytes have to be passed on with the socket.
//! 3. A connection leaves this module within the header's timeout: passed on, closed, or closed
//!    with its port.

mod accept;
mod header;

#[cfg(feature = "testing")]
#[doc(hidden)]
pub use self::header::read_header;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

pub(super) use self::accept::Proxied;
use crate::address::{Address, EndpointError};

/// The peers that may send a PROXY header, and the header's timeout. See
/// [`ServerEndpoint::proxied`](super::ServerEndpoint::proxied).
///
/// # Examples
///
/// ```
/// use std::net::Ipv4Addr;
/// use std::time::Duration;
/// use torsade::net::ProxyOptions;
///
/// let options = ProxyOptions::new()
///     .trust("10.0.0.0/8".parse()?)
///     .trust(Ipv4Addr::LOCALHOST.into())
///     .timeout(Duration::from_secs(3));
/// # Ok::<(), torsade::Failure>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ProxyOptions {
    /// The trusted networks; `None` if every peer is trusted.
    trusted: Option<Vec<Network>>,
    timeout: Duration,
}

/// A network of IP addresses with a common prefix: `10.0.0.0/8`, `2001:db8::/32`, or a single
/// address.
///
/// # Examples
///
/// ```
/// use std::net::Ipv4Addr;
/// use torsade::net::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains(Ipv4Addr::new(10, 1, 2, 3)));
/// assert!(!network.contains(Ipv4Addr::new(11, 0, 0, 0)));
/// # Ok::<(), torsade::Failure>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl ProxyOptions {
    /// Creates the default options: every peer is trusted, and the timeout is ten seconds.
    pub fn new() -> Self {
        Self {
            trusted: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// Trusts the peers in this network. The first call ends the default, which trusts every peer;
    /// further calls add networks. Connections from all other IP addresses are closed.
    ///
    /// Peers of a UNIX socket are always trusted: the mode of the socket's file decides who may
    /// connect.
    #[doc(alias("set_real_ip_from", "expect-proxy"))]
    pub fn trust(mut self, network: Network) -> Self {
        self.trusted.get_or_insert_default().push(network);
        self
    }

    /// Sets the header's timeout. Default: ten seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn trusts(&self, peer: &Address) -> bool {
        match (&self.trusted, peer.ip()) {
            (Some(trusted), Some(ip)) => trusted.iter().any(|network| network.contains(ip)),
            _ => true,
        }
    }
}

impl Network {
    /// Returns whether the network contains the address. An IPv4 address that is mapped to IPv6
    /// (`::ffff:10.0.0.1`) counts as the IPv4 address.
    pub fn contains(&self, ip: impl Into<IpAddr>) -> bool {
        let differ = match (self.address, ip.into().to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                u128::from(own.to_bits() ^ ip.to_bits()) << (128 - 32)
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => own.to_bits() ^ ip.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= self.bits.into()
    }
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self { address, bits }
    }
}

impl From<Ipv4Addr> for Network {
    fn from(address: Ipv4Addr) -> Self {
        IpAddr::V4(address).into()
    }
}

impl From<Ipv6Addr> for Network {
    fn from(address: Ipv6Addr) -> Self {
        IpAddr::V6(address).into()
    }
}

impl FromStr for Network {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let bad = || EndpointError::Network { text: text.into() };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let Some(bits) = bits else {
            return Ok(address.into());
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let is_number = bits.bytes().all(|byte| byte.is_ascii_digit());
        let number = bits.parse().ok();
        match number.filter(|bits| is_number && *bits <= most) {
            Some(bits) => Ok(Self { address, bits }),
            None => Err(bad()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    fn is_in(ip: &str, network: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.contains(ip.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        for (ip, network, inside) in [
            ("10.255.0.1", "10.0.0.0/8", true),
            ("11.0.0.1", "10.0.0.0/8", false),
            ("10.0.0.1", "10.255.0.0/8", true),
            ("192.0.2.129", "192.0.2.128/25", true),
            ("192.0.2.127", "192.0.2.128/25", false),
            ("1.2.3.4", "0.0.0.0/0", true),
            ("::1", "0.0.0.0/0", false),
            ("1.2.3.4", "::/0", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.2", "127.0.0.1/32", false),
            ("::ffff:10.0.0.1", "10.0.0.0/8", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8::1", "2001:db8::/32", true),
            ("2001:db9::1", "2001:db8::/32", false),
            ("::1", "::1", true),
            ("::2", "::1", false),
        ] {
            assert_eq!(is_in(ip, network), inside, "{ip} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "home",
            "10/8",
            "::1/",
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is not")), "{error}");
        }
    }

    #[test]
    fn unless_somebody_is_named_everybody_is_believed() {
        let peer = |text: &str| Address::from((text.parse::<IpAddr>().unwrap(), 1));
        let options = ProxyOptions::new();
        assert!(options.trusts(&peer("192.0.2.1")));
        let options = options.trust("10.0.0.0/8".parse().unwrap());
        let options = options.trust(Ipv6Addr::LOCALHOST.into());
        assert!(options.trusts(&peer("10.0.0.9")) && options.trusts(&peer("::1")));
        assert!(!options.trusts(&peer("192.0.2.1")));
        assert!(
            options.trusts(&Address::Unnamed),
            "a UNIX socket has a mode for that"
        );
    }
}
