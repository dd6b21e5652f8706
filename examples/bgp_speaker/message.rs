//! The messages of BGP-4 as values, and what the codec must know of a session to read them.

use std::fmt;
use std::net::Ipv4Addr;

/// The AS number of two octets that stands for one of four (RFC 6793).
pub(super) const AS_TRANS: u16 = 23456;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Open(Open),
    Update(Update),
    Notification(Notification),
    Keepalive,
    /// A request to send all routes of a family again (RFC 2918).
    Refresh {
        afi: u16,
        safi: u8,
    },
}

/// The first message of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// The AS number, of four octets where the capability says so.
    pub(super) asn: u32,
    /// The proposed hold time in seconds.
    pub(super) hold: u16,
    pub(super) id: Ipv4Addr,
    pub(super) has_four_octets: bool,
    pub(super) has_refresh: bool,
    /// The families that the multiprotocol capability names (RFC 4760); without the capability,
    /// IPv4 unicast.
    pub(super) families: Vec<(u16, u8)>,
}

/// A set of routes that have the same attributes, and routes that are withdrawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) withdrawn: Vec<Prefix>,
    pub(super) attributes: Attributes,
    pub(super) announced: Vec<Prefix>,
    /// Why the announced routes are treated as withdrawn, and listed there (RFC 7606): what
    /// RFC 4271 would have answered.
    pub(super) error: Option<Notification>,
}

/// The path attributes that this speaker understands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) origin: u8,
    pub(super) path: Vec<Segment>,
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) med: Option<u32>,
    pub(super) local_pref: Option<u32>,
    pub(super) is_atomic: bool,
    pub(super) aggregator: Option<(u32, Ipv4Addr)>,
    pub(super) communities: Vec<u32>,
}

/// A part of a path: AS numbers in order, or a set of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) is_set: bool,
    pub(super) numbers: Vec<u32>,
}

/// A network. Bits after the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    address: Ipv4Addr,
    length: u8,
}

/// An error that ends the session, as the NOTIFICATION to the peer describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notification {
    pub(super) code: u8,
    pub(super) subcode: u8,
    pub(super) data: Vec<u8>,
}

/// What was agreed on, which decides how an UPDATE is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Both sides know AS numbers of four octets.
    pub(super) has_four_octets: bool,
    /// Both sides belong to the same AS.
    pub(super) is_internal: bool,
}

impl Terms {
    /// Before the peers have said anything.
    pub(super) const BEFORE_OPEN: Self = Self {
        has_four_octets: true,
        is_internal: false,
    };
}

impl Prefix {
    pub(super) fn new(address: Ipv4Addr, length: u8) -> Self {
        let mask = (u64::MAX << (32 - u32::from(length.min(32)))) as u32;
        let address = Ipv4Addr::from(u32::from(address) & mask);
        Self { address, length }
    }

    pub(super) fn address(self) -> Ipv4Addr {
        self.address
    }

    pub(super) fn length(self) -> u8 {
        self.length
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, length)| {
            Some((address.parse().ok()?, length.parse::<u8>().ok()?))
        });
        match parsed {
            Some((address, length @ ..=32)) => Ok(Self::new(address, length)),
            _ => Err(format!("not an IPv4 prefix: {text}")),
        }
    }
}

impl Notification {
    pub(super) fn new(code: u8, subcode: u8, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        Self {
            code,
            subcode,
            data,
        }
    }

    /// The session ends without an error. The text is for the peer's operator (RFC 9003).
    pub(super) fn cease(subcode: u8, text: &str) -> Self {
        let mut data = Vec::new();
        if !text.is_empty() {
            let text = &text.as_bytes()[..text.len().min(255)];
            data.push(text.len() as u8);
            data.extend_from_slice(text);
        }
        Self::new(6, subcode, data)
    }

    /// Returns the names of the code and of the subcode.
    fn names(&self) -> (&'static str, &'static str) {
        // The subcodes from 1 on.
        let (code, subcodes) = match self.code {
            1 => ("message header", "marker,length,type"),
            2 => (
                "OPEN",
                "version,peer AS,identifier,optional parameter,,hold time,capability",
            ),
            3 => (
                "UPDATE",
                "attribute list,unrecognized well-known attribute,missing attribute,\
                 attribute flags,attribute length,ORIGIN,,NEXT_HOP,optional attribute,network,\
                 AS_PATH",
            ),
            4 => ("hold timer expired", ""),
            5 => (
                "unexpected message",
                "in OpenSent,in OpenConfirm,in Established",
            ),
            6 => (
                "cease",
                "too many prefixes,shutdown,peer removed,reset,connection rejected,\
                 other configuration change,connection collision,out of resources",
            ),
            _ => ("unknown", ""),
        };
        let index = usize::from(self.subcode).checked_sub(1);
        let subcode = index.and_then(|index| subcodes.split(',').nth(index));
        (code, subcode.unwrap_or(""))
    }
}

impl Update {
    /// Returns whether this says that all routes were sent (RFC 4724).
    pub(super) fn is_end(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next_hop = self.next_hop.unwrap_or(Ipv4Addr::UNSPECIFIED);
        write!(f, "next-hop {next_hop} path")?;
        for segment in &self.path {
            let numbers: Vec<_> = segment.numbers.iter().map(u32::to_string).collect();
            match segment.is_set {
                true => write!(f, " {{{}}}", numbers.join(","))?,
                false => write!(f, " {}", numbers.join(" "))?,
            }
        }
        let origin = ["IGP", "EGP", "incomplete"].get(usize::from(self.origin));
        write!(f, " origin {}", origin.unwrap_or(&"?"))?;
        if let Some(med) = self.med {
            write!(f, " med {med}")?;
        }
        if let Some(preference) = self.local_pref {
            write!(f, " local-pref {preference}")?;
        }
        if let Some((asn, id)) = self.aggregator {
            write!(f, " aggregator {asn} {id}")?;
        }
        if self.is_atomic {
            f.write_str(" atomic")?;
        }
        for community in &self.communities {
            write!(f, " community {}:{}", community >> 16, community & 0xffff)?;
        }
        Ok(())
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, subcode) = self.names();
        write!(f, "{}/{} {code}", self.code, self.subcode)?;
        if !subcode.is_empty() {
            write!(f, ": {subcode}")?;
        }
        match &self.data[..] {
            [] => Ok(()),
            [length, text @ ..] if self.code == 6 && text.len() == usize::from(*length) => {
                write!(f, " \"{}\"", text.escape_ascii())
            }
            data => write!(f, " ({} bytes of data)", data.len()),
        }
    }
}

impl std::error::Error for Notification {}
