//! The header of the PROXY protocol: a parser that gets bytes and does no I/O.
//!
//! # The idea
//!
//! A proxy sends the client's address before all other bytes: in a line of text (version 1) or in
//! binary (version 2). Only the header may be read from the connection, since the bytes after it
//! belong to another handler, and the header does not begin with its length. So a [`Header`] knows
//! a lower bound of the bytes that remain ([`Header::wants`]): a reader that never reads more than
//! that never reads too much.
//!
//! | version | begins with | consists of |
//! |---|---|---|
//! | 1 | `PROXY` | the family, two addresses, two ports, CR LF |
//! | 2 | CR LF CR LF NUL CR LF `QUIT` LF | command, family, length; addresses; fields of any kind |
//!
//! # Invariants
//!
//! 1. For a valid header, `wants` is never zero and never more than the bytes that remain.
//! 2. The result does not depend on how the bytes are split. (If several things are invalid, any of
//!    them may be reported.)
//! 3. A header stores at most [`LONGEST`] bytes.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address::{Address, path_of};

/// A header that is being read.
#[derive(Debug, Default)]
pub(super) struct Header {
    bytes: Vec<u8>,
}

/// The content of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// No addresses: those of the connection are valid.
    Nothing,
    /// The client's address, and the address that the client connected to.
    Addresses { peer: Address, host: Address },
}

/// The error of an invalid header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadHeader {
    problem: &'static str,
    found: Vec<u8>,
}

/// Reads a header from its first byte on, at most `piece` bytes at a time, for tests with arbitrary
/// bytes. Returns the announced addresses, and the number of bytes that belong to the header;
/// `None` if the header is incomplete.
///
/// # Errors
///
/// The text of the error of an invalid header.
#[cfg(feature = "testing")]
#[doc(hidden)]
#[allow(clippy::type_complexity, reason = "it has one caller")]
pub fn read_header(
    bytes: &[u8],
    piece: usize,
) -> Result<Option<(Option<(Address, Address)>, usize)>, String> {
    let (mut header, mut used) = (Header::new(), 0);
    loop {
        let count = header.wants().min(piece.max(1)).min(bytes.len() - used);
        if count == 0 {
            return Ok(None);
        }
        let content = header.feed(&bytes[used..used + count]);
        used += count;
        match content {
            Ok(None) => {}
            Ok(Some(Content::Nothing)) => return Ok(Some((None, used))),
            Ok(Some(Content::Addresses { peer, host })) => {
                return Ok(Some((Some((peer, host)), used)));
            }
            Err(bad) => return Err(bad.to_string()),
        }
    }
}

impl Header {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Returns a lower bound of the bytes that remain (invariant 1).
    pub(super) fn wants(&self) -> usize {
        let had = self.bytes.len();
        if had < SHORTEST {
            return SHORTEST - had;
        }
        if self.bytes.starts_with(MAGIC) {
            let whole = self.whole_binary().unwrap_or(FIXED);
            return whole.saturating_sub(had).max(1);
        }
        self.line_wants()
    }

    /// Takes the next bytes, at most as many as `wants` returns. Returns the content once the
    /// header is complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Content>, BadHeader> {
        debug_assert!(
            bytes.len() <= self.wants(),
            "more than was wanted: {bytes:?}"
        );
        self.bytes.extend_from_slice(bytes);
        self.look().map_err(|problem| self.bad(problem))
    }

    /// Returns whether no byte has arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns an error with the bytes that have arrived.
    pub(super) fn bad(&self, problem: &'static str) -> BadHeader {
        BadHeader {
            problem,
            found: self.bytes.clone(),
        }
    }

    fn look(&self) -> Result<Option<Content>, &'static str> {
        let begun = self.bytes.len().min(MAGIC.len());
        if self.bytes[..begun] == MAGIC[..begun] {
            return self.look_at_binary();
        }
        let begun = self.bytes.len().min(WORD.len());
        if self.bytes[..begun] == WORD[..begun] {
            return self.look_at_line();
        }
        Err("it does not begin like a PROXY header")
    }

    /// Returns the length of a whole header of version 2, once it is known.
    fn whole_binary(&self) -> Option<usize> {
        let length = self.bytes.get(14..FIXED)?;
        Some(FIXED + usize::from(u16::from_be_bytes([length[0], length[1]])))
    }

    fn look_at_binary(&self) -> Result<Option<Content>, &'static str> {
        let bytes = &self.bytes[..];
        let command = match bytes.get(12) {
            None => return Ok(None),
            Some(0x20) => Command::Local,
            Some(0x21) => Command::Proxy,
            Some(byte) if byte >> 4 == 2 => return Err("the command is neither LOCAL nor PROXY"),
            Some(_) => return Err("the version is not 2"),
        };
        let Some(whole) = self.whole_binary() else {
            return Ok(None);
        };
        if whole > LONGEST {
            return Err("the header is too long");
        }
        if bytes.len() < whole {
            return Ok(None);
        }
        if command == Command::Local {
            return Ok(Some(Content::Nothing));
        }
        let (family, kind) = (bytes[13] >> 4, bytes[13] & 15);
        if family > 3 || kind > 2 {
            return Err("the address family is unknown");
        }
        if family == 0 || kind == 0 {
            return Ok(Some(Content::Nothing));
        }
        let rest = &bytes[FIXED..];
        let short = "the header is too short for its addresses";
        let (content, fields) = match family {
            1 => {
                let (ends, fields) = rest.split_first_chunk::<12>().ok_or(short)?;
                let [a, b, c, d, e, f, g, h, ports @ ..] = *ends;
                let (peer, host) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
                (ip_ends(peer, host, ports), fields)
            }
            2 => {
                let (ends, fields) = rest.split_first_chunk::<36>().ok_or(short)?;
                let (peer, host) = ends[..32].split_at(16);
                let [.., a, b, c, d] = *ends;
                (ip_ends(ip6(peer), ip6(host), [a, b, c, d]), fields)
            }
            _ => {
                let (ends, fields) = rest.split_first_chunk::<216>().ok_or(short)?;
                let (peer, host) = ends.split_at(108);
                let content = Content::Addresses {
                    peer: unix_end(peer),
                    host: unix_end(host),
                };
                (content, fields)
            }
        };
        self.check_fields(fields)?;
        Ok(Some(content))
    }

    /// Checks the fields after the addresses; only the checksum is used.
    fn check_fields(&self, mut fields: &[u8]) -> Result<(), &'static str> {
        let mut has_checksum = false;
        while !fields.is_empty() {
            let Some(([kind, high, low], rest)) = fields.split_first_chunk::<3>() else {
                return Err("a field is incomplete");
            };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length > rest.len() {
                return Err("a field is incomplete");
            }
            let (value, after) = rest.split_at(length);
            if *kind == CHECKSUM {
                // Each checksum takes a walk over the whole header.
                if has_checksum {
                    return Err("there are two checksums");
                }
                has_checksum = true;
                let Ok(said) = <[u8; 4]>::try_from(value) else {
                    return Err("the checksum is not four bytes long");
                };
                let start = self.bytes.len() - rest.len();
                if self.checksum_without(start) != u32::from_be_bytes(said) {
                    return Err("the checksum is wrong");
                }
            }
            fields = after;
        }
        Ok(())
    }

    /// Returns the CRC-32C of the whole header, with zeros for the four bytes at `start`.
    fn checksum_without(&self, start: usize) -> u32 {
        let mut sum = u32::MAX;
        for (at, byte) in self.bytes.iter().enumerate() {
            let is_sum = (start..start + 4).contains(&at);
            sum ^= if is_sum { 0 } else { u32::from(*byte) };
            for _ in 0..8 {
                let odd = sum & 1 == 1;
                sum = (sum >> 1) ^ if odd { CASTAGNOLI } else { 0 };
            }
        }
        !sum
    }

    fn look_at_line(&self) -> Result<Option<Content>, &'static str> {
        let Some(line) = self.bytes.strip_suffix(b"\r\n") else {
            let so_far = self.bytes.strip_suffix(b"\r").unwrap_or(&self.bytes);
            if !so_far.iter().all(|byte| matches!(byte, b' '..=b'~')) {
                return Err("the line is not plain text");
            }
            if self.bytes.len() + self.wants() > LONGEST_LINE {
                return Err("the line is too long");
            }
            return Ok(None);
        };
        let Ok(line) = std::str::from_utf8(line) else {
            return Err("the line is not plain text");
        };
        if !line.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err("the line is not plain text");
        }
        // Any text may follow this word.
        if line == "PROXY UNKNOWN" || line.starts_with("PROXY UNKNOWN ") {
            return Ok(Some(Content::Nothing));
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [_, family, peer, host, peer_port, host_port] = words[..] else {
            return Err("the line does not have six words");
        };
        let (peer, host) = match family {
            "TCP4" => (literal::<Ipv4Addr>(peer), literal::<Ipv4Addr>(host)),
            "TCP6" => (literal::<Ipv6Addr>(peer), literal::<Ipv6Addr>(host)),
            _ => return Err("the address family is unknown"),
        };
        let (Some(peer), Some(host)) = (peer, host) else {
            return Err("an address is not of the address family");
        };
        let (Some(peer_port), Some(host_port)) = (port(peer_port), port(host_port)) else {
            return Err("a port is not a number up to 65535");
        };
        Ok(Some(Content::Addresses {
            peer: (peer, peer_port).into(),
            host: (host, host_port).into(),
        }))
    }

    /// Returns a lower bound of the bytes that remain of a line: the shortest words that are
    /// missing, and the end of the line.
    fn line_wants(&self) -> usize {
        let is_ending = self.bytes.ends_with(b"\r");
        let mut words = self.bytes.split(|byte| *byte == b' ').skip(1);
        let address = match words.next() {
            Some(b"TCP4") => "0.0.0.0".len(),
            Some(b"TCP6") => "::".len(),
            Some(b"UNKNOW") => return "N\r\n".len(),
            _ if is_ending => return 1,
            _ => return 2,
        };
        if is_ending {
            return 1;
        }
        let mut left = "\r\n".len();
        let (mut present, least) = (words.collect::<Vec<_>>(), [address, address, 1, 1]);
        let last = present.pop().map_or(0, <[u8]>::len);
        for (location, least) in least.into_iter().enumerate() {
            left += match location.cmp(&present.len()) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => least.saturating_sub(last),
                std::cmp::Ordering::Greater => " ".len() + least,
            };
        }
        left
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.found[..self.found.len().min(SHOWN)];
        let more = if self.found.len() > SHOWN { ".." } else { "" };
        write!(
            f,
            "invalid PROXY header ({}): \"{}\"{more}",
            self.problem,
            shown.escape_ascii()
        )
    }
}

impl Error for BadHeader {}

fn ip_ends(peer: impl Into<IpAddr>, host: impl Into<IpAddr>, ports: [u8; 4]) -> Content {
    let [a, b, c, d] = ports;
    Content::Addresses {
        peer: (peer, u16::from_be_bytes([a, b])).into(),
        host: (host, u16::from_be_bytes([c, d])).into(),
    }
}

fn ip6(bytes: &[u8]) -> Ipv6Addr {
    <[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
}

/// Decodes the name of a UNIX socket, which is padded with zeros.
fn unix_end(bytes: &[u8]) -> Address {
    let end = bytes.iter().rposition(|byte| *byte != 0);
    match (bytes, end) {
        (_, None) => Address::Unnamed,
        ([0, ..], Some(end)) => Address::from_abstract(&bytes[1..=end]),
        (_, Some(_)) => {
            let path = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            Address::from_path(path_of(path.into()))
        }
    }
}

fn literal<I: FromStr + Into<IpAddr>>(word: &str) -> Option<IpAddr> {
    word.parse::<I>().ok().map(Into::into)
}

fn port(word: &str) -> Option<u16> {
    let is_number = word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| word.parse().ok()).flatten()
}

/// The beginning of version 2.
const MAGIC: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The beginning of version 1.
const WORD: &[u8] = b"PROXY ";
/// The length of the shortest header, of either version.
const SHORTEST: usize = 12;
/// The number of bytes of version 2 before its addresses.
const FIXED: usize = 16;
/// The longest line, with its end.
const LONGEST_LINE: usize = 107;
/// The longest header, in bytes: enough for certificates.
const LONGEST: usize = 16 * 1024;
/// The type of the field with the checksum.
const CHECKSUM: u8 = 3;
/// The polynomial of CRC-32C, with its bits reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;
/// The number of bytes that an error shows.
const SHOWN: usize = 64;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use crate::driver::Random;

    /// Parses a header that arrives in pieces of `size`; returns the content, and the length of the
    /// header.
    fn read(bytes: &[u8], mut size: impl FnMut(usize) -> usize) -> (String, usize) {
        let mut header = Header::new();
        let mut at = 0;
        loop {
            let left = &bytes[at..];
            if left.is_empty() {
                return (format!("wants {}", header.wants()), at);
            }
            let most = header.wants().min(left.len());
            let count = size(most).clamp(1, most);
            at += count;
            match header.feed(&left[..count]) {
                Ok(None) => assert!(header.bytes.len() < LONGEST),
                Ok(Some(Content::Nothing)) => return ("nothing".into(), at),
                Ok(Some(Content::Addresses { peer, host })) => {
                    return (format!("{peer} to {host}"), at);
                }
                Err(bad) => return (bad.problem.into(), at),
            }
        }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [MAGIC, &[command, family], &length, rest].concat()
    }

    fn unix(peer: &[u8], host: &[u8]) -> Vec<u8> {
        let mut rest = [0; 216];
        rest[..peer.len()].copy_from_slice(peer);
        rest[108..108 + host.len()].copy_from_slice(host);
        rest.into()
    }

    /// Builds a header of version 2 whose last field is a checksum.
    fn with_checksum(content: u32) -> Vec<u8> {
        let rest = [V4, b"\x04\x00\x01\x00\x03\x00\x04", &content.to_be_bytes()].concat();
        binary(0x21, 0x11, &rest)
    }

    const V4: &[u8] = b"\x0a\x00\x00\x07\xc0\x00\x02\x01\xc3\x51\x00\x50";
    const ENDS: &str = "10.0.0.7:50001 to 192.0.2.1:80";

    fn good() -> Vec<(Vec<u8>, String)> {
        let long_name = format!("unix:@a to unix:{}", "b".repeat(108));
        let v6 = [&[0x20, 1][..], &[0; 13], &[7], &[0; 15], &[1, 0, 9, 1, 0]].concat();
        let mut long = V4.to_vec();
        long.extend([0xee, 0x20, 0]);
        long.extend([b'x'; 0x2000]);
        let line = |text: &str| format!("{text}\r\n").into_bytes();
        let good = [
            (line("PROXY TCP4 10.0.0.7 192.0.2.1 50001 80"), ENDS),
            (
                line("PROXY TCP4 1.1.1.1 2.2.2.2 1 2"),
                "1.1.1.1:1 to 2.2.2.2:2",
            ),
            (
                line("PROXY TCP4 255.255.255.255 255.255.255.254 65535 65534"),
                "255.255.255.255:65535 to 255.255.255.254:65534",
            ),
            (line("PROXY TCP6 :: ::1 0 9"), "[::]:0 to [::1]:9"),
            (
                line("PROXY TCP6 ffff:f:f:f:f:f:f:ffff 2001:db8::1 65535 65535"),
                "[ffff:f:f:f:f:f:f:ffff]:65535 to [2001:db8::1]:65535",
            ),
            (line("PROXY UNKNOWN"), "nothing"),
            (line("PROXY UNKNOWN what ever 1 2 3 4 5"), "nothing"),
            (
                line(&format!("PROXY UNKNOWN {}", "f".repeat(91))),
                "nothing",
            ),
            (binary(0x20, 0, b""), "nothing"),
            (binary(0x20, 0x55, b"whatever it is"), "nothing"),
            (binary(0x21, 0, b""), "nothing"),
            (binary(0x21, 0x10, b"x"), "nothing"),
            (binary(0x21, 0x11, V4), ENDS),
            (binary(0x21, 0x12, V4), ENDS),
            (
                binary(0x21, 0x11, &[V4, b"\x04\x00\x02ab\x01\x00\x00"].concat()),
                ENDS,
            ),
            (binary(0x21, 0x11, &long), ENDS),
            (binary(0x21, 0x21, &v6), "[2001::7]:9 to [::1]:256"),
            (
                binary(0x21, 0x31, &unix(b"/run/a", b"")),
                "unix:/run/a to unnamed",
            ),
            (binary(0x21, 0x32, &unix(b"\0a", &[b'b'; 108])), &long_name),
            (with_checksum(with_checksum(0).sum()), ENDS),
        ];
        good.into_iter()
            .map(|(bytes, content): (_, &str)| (bytes, content.into()))
            .collect()
    }

    /// Builds a header with two checksums, of which the first is right.
    fn with_two_checksums() -> Vec<u8> {
        let fields = [V4, b"\x03\x00\x04\0\0\0\0\x03\x00\x04\0\0\0\0"].concat();
        let mut bytes = binary(0x21, 0x11, &fields);
        let start = bytes.len() - 11;
        let header = Header {
            bytes: bytes.clone(),
        };
        bytes[start..start + 4].copy_from_slice(&header.checksum_without(start).to_be_bytes());
        bytes
    }

    trait Sum {
        fn sum(self) -> u32;
    }

    impl Sum for Vec<u8> {
        fn sum(self) -> u32 {
            let start = self.len() - 4;
            Header { bytes: self }.checksum_without(start)
        }
    }

    #[test]
    fn good_headers_say_the_same_in_whatever_pieces_and_leave_the_rest() {
        let mut rng = Random::new(7);
        for (bytes, content) in good() {
            let whole = [&bytes[..], b"the rest"].concat();
            let expected = (content, bytes.len());
            assert_eq!(read(&whole, |most| most), expected);
            assert_eq!(read(&whole, |_| 1), expected);
            for _ in 0..200 {
                let size = |most| rng.below(most) + 1;
                assert_eq!(read(&whole, size), expected);
            }
        }
    }

    #[test]
    fn a_header_that_is_cut_off_wants_more_and_says_nothing() {
        for (bytes, _) in good() {
            for end in 1..bytes.len().min(400) {
                let (content, at) = read(&bytes[..end], |most| most);
                assert!(content.starts_with("wants"), "{content}");
                assert_eq!(at, end);
            }
        }
    }

    #[test]
    fn the_error_of_a_bad_header_says_what_is_wrong() {
        let line = |text: &str| format!("{text}\r\n").into_bytes();
        let begins = "it does not begin like a PROXY header";
        let address = "an address is not of the address family";
        let port = "a port is not a number up to 65535";
        let family = "the address family is unknown";
        let words = "the line does not have six words";
        let plain = "the line is not plain text";
        for (bytes, problem) in [
            (b"G".to_vec(), begins),
            (line("PROXYTCP4 1.1.1.1 2.2.2.2 1 2"), begins),
            (line("proxy TCP4 1.1.1.1 2.2.2.2 1 2"), begins),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), begins),
            (line("PROXY TCP5 1.1.1.1 2.2.2.2 1 2"), family),
            (line("PROXY tcp4 1.1.1.1 2.2.2.2 1 2"), family),
            (line("PROXY TCP4 1.1.1.256 2.2.2.2 1 2"), address),
            (line("PROXY TCP4 01.1.1.1 2.2.2.2 1 2"), address),
            (line("PROXY TCP4 ::1 2.2.2.2.2.2 1 2"), address),
            (line("PROXY TCP6 1.1.1.1 ::1 1 2"), address),
            (line("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2"), port),
            (line("PROXY TCP4 1.1.1.1 2.2.2.2 65536 2"), port),
            (line("PROXY TCP4 1.1.1.1 2.2.2.2  2 1"), words),
            (line("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3"), words),
            (line("PROXY TCP4 1.1.1.1 2.2.2.2 1"), words),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n..".to_vec(), plain),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r..".to_vec(), plain),
            (b"PROXY UNKNOWN\x80\r\n".to_vec(), plain),
            (
                line(&format!("PROXY UNKNOWN {}", "f".repeat(92))),
                "the line is too long",
            ),
            (binary(0x11, 0x11, V4), "the version is not 2"),
            (
                binary(0x22, 0x11, V4),
                "the command is neither LOCAL nor PROXY",
            ),
            (binary(0x21, 0x41, V4), family),
            (binary(0x21, 0x13, V4), family),
            (
                binary(0x21, 0x11, &V4[1..]),
                "the header is too short for its addresses",
            ),
            (
                binary(0x21, 0x21, V4),
                "the header is too short for its addresses",
            ),
            (
                binary(0x21, 0x31, V4),
                "the header is too short for its addresses",
            ),
            (
                binary(0x21, 0x11, &[V4, b"\x04\x00"].concat()),
                "a field is incomplete",
            ),
            (
                binary(0x21, 0x11, &[V4, b"\x04\x00\x02a"].concat()),
                "a field is incomplete",
            ),
            (
                binary(0x21, 0x11, &[V4, b"\x03\x00\x01a"].concat()),
                "the checksum is not four bytes long",
            ),
            (with_checksum(1), "the checksum is wrong"),
            (with_two_checksums(), "there are two checksums"),
            (
                binary(0x20, 0, &[0; LONGEST])[..16].into(),
                "the header is too long",
            ),
        ] {
            assert_eq!(
                read(&bytes, |most| most).0,
                problem,
                "{}",
                bytes.escape_ascii()
            );
            assert_eq!(read(&bytes, |_| 1).0, problem, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn noise_is_read_without_harm() {
        let mut rng = Random::new(11);
        for _ in 0..5_000 {
            let (mut bytes, _) = good().swap_remove(rng.below(20));
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.next_u64() as u8;
            }
            let whole = read(&bytes, |most| most).0;
            let pieces = read(&bytes, |most| rng.below(most) + 1).0;
            let is_good = |content: &str| content == "nothing" || content.contains(" to ");
            if is_good(&whole) || is_good(&pieces) {
                assert_eq!(whole, pieces, "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn the_checksum_is_the_one_everybody_has() {
        let nine = b"123456789\0\0\0\0".to_vec();
        // The check value of CRC-32C is that of the nine digits alone.
        let mut header = Header { bytes: nine };
        header.bytes.truncate(9);
        assert_eq!(header.checksum_without(9), 0xe306_9283);
    }

    #[test]
    fn a_bad_header_shows_what_came_and_not_too_much_of_it() {
        let mut header = Header::new();
        let bad = header.feed(b"GET / HTTP/1").unwrap_err();
        let words =
            "invalid PROXY header (it does not begin like a PROXY header): \"GET / HTTP/1\"";
        assert_eq!(bad.to_string(), words);
        let found = vec![0; 100];
        let bad = Header { bytes: found }.bad("too slow").to_string();
        assert!(bad.ends_with(r#"\x00".."#), "{bad}");
        assert!(bad.len() < 300);
    }
}
