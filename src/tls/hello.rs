//! A client's first message, before its server has a configuration.

use rustls::server::Acceptor;

use super::error::{TlsError, is_tls};
use super::server::ClientHello;

/// Reads the name that the client asks for, when its first message is whole.
pub(super) fn first_name(
    received: &[u8],
    output: &mut Vec<u8>,
) -> Result<Option<Option<String>>, TlsError> {
    match usual_name(received) {
        Some(name) => Ok(Some(name.map(str::to_owned))),
        None => Ok(first_message(received, output)?.map(|hello| hello.server_name)),
    }
}

/// Reads the name in a first message that is one record, which spares a second parse of everything
/// in it. Returns `None` where the message or the name is not a usual one.
fn usual_name(received: &[u8]) -> Option<Option<&str>> {
    let (header, mut message) = received.split_at_checked(5)?;
    let length = u16::from_be_bytes([header[3], header[4]]);
    if header[0] != HANDSHAKE || usize::from(length) != message.len() {
        return None;
    }
    if take(&mut message, 1)? != [CLIENT_HELLO] || take_list(&mut message, 3)?.len() < 34 {
        return None;
    }
    if !message.is_empty() {
        return None;
    }
    // The version and the random bytes, then three lists.
    let mut hello = &received[5 + 4 + 2 + 32..];
    take_list(&mut hello, 1)?;
    take_list(&mut hello, 2)?;
    take_list(&mut hello, 1)?;
    let mut extensions = take_list(&mut hello, 2)?;
    while !extensions.is_empty() {
        let kind = take(&mut extensions, 2)?;
        let mut content = take_list(&mut extensions, 2)?;
        if kind == SERVER_NAME {
            let mut names = take_list(&mut content, 2)?;
            let is_host = take(&mut names, 1)? == [HOST_NAME];
            let name = std::str::from_utf8(take_list(&mut names, 2)?).ok()?;
            let is_usual = is_host && names.is_empty() && content.is_empty() && is_usual(name);
            return is_usual.then_some(Some(name));
        }
    }
    Some(None)
}

/// Returns whether this is a host name of the usual form.
fn is_usual(name: &str) -> bool {
    let is_usual = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_part = |part: &str| {
        (1..64).contains(&part.len()) && !part.starts_with('-') && !part.ends_with('-')
    };
    // Nothing that begins with a letter is an address.
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() < 254
        && name.bytes().all(is_usual)
        && name.split('.').all(is_part)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(first)
}

/// Takes a list off whose length is in front of it, in so many bytes.
fn take_list<'a>(bytes: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let length = take(bytes, width)?;
    let length = length
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    take(bytes, length)
}

/// Reads a client's first message, when it is whole. If it cannot be accepted, the alert that says
/// why is put into `output`.
pub(super) fn first_message(
    received: &[u8],
    output: &mut Vec<u8>,
) -> Result<Option<ClientHello>, TlsError> {
    if !is_tls(received) {
        let found = received[..received.len().min(16)].to_vec();
        return Err(TlsError::NotTls { found });
    }
    if !is_record_whole(received) {
        return Ok(None);
    }
    let mut acceptor = Acceptor::default();
    let mut rest = received;
    loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                return Ok(Some(ClientHello {
                    server_name: hello.server_name().map(str::to_owned),
                    alpn: match hello.alpn() {
                        Some(names) => names.map(<[u8]>::to_vec).collect(),
                        None => Vec::new(),
                    },
                }));
            }
            Ok(None) if rest.is_empty() => return Ok(None),
            Ok(None) => {
                let read = acceptor.read_tls(&mut rest);
                if !matches!(read, Ok(1..)) {
                    let problem = String::from("the first message is too long");
                    return Err(TlsError::Violation { problem });
                }
            }
            Err((error, mut alert)) => {
                let _ = alert.write_all(output);
                return Err(TlsError::of(error, received));
            }
        }
    }
}

/// Returns whether the last of the records that have begun is whole, so that there is something new
/// to parse: a client that sends its message byte by byte costs no more than others.
fn is_record_whole(mut bytes: &[u8]) -> bool {
    loop {
        let [_, _, _, high, low, rest @ ..] = bytes else {
            return bytes.is_empty();
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match rest.len().cmp(&length) {
            std::cmp::Ordering::Less => return false,
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Greater => bytes = &rest[length..],
        }
    }
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: [u8; 2] = [0, 0];
const HOST_NAME: u8 = 0;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    fn hello(name: &str) -> Vec<u8> {
        use rustls::client::UnbufferedClientConnection;
        use rustls::pki_types::ServerName;
        use rustls::unbuffered::ConnectionState;

        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = UnbufferedClientConnection::new(config.into(), name).unwrap();
        let mut out = vec![0; 4096];
        let status = client.process_tls_records(&mut []);
        let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else {
            panic!("a client begins");
        };
        let count = data.encode(&mut out).unwrap();
        out.truncate(count);
        out
    }

    #[test]
    fn the_name_is_the_one_that_the_library_finds() {
        for name in ["localhost", "a.example", "x-1.b2.example"] {
            assert_eq!(usual_name(&hello(name)), Some(Some(name)));
            let all = first_message(&hello(name), &mut Vec::new()).unwrap();
            assert_eq!(all.unwrap().server_name.as_deref(), Some(name));
        }
        assert_eq!(usual_name(&hello("127.0.0.1")), Some(None));
    }

    #[test]
    fn the_library_reads_what_is_not_usual() {
        assert_eq!(usual_name(&hello("UPPER.example")), None);
        let mut two = hello("a.example");
        two.push(HANDSHAKE);
        assert_eq!(usual_name(&two), None);
        let name = hello("a.example");
        for length in 0..name.len() {
            assert_eq!(usual_name(&name[..length]), None);
            let mut shorter = name[..length].to_vec();
            if let [_, _, _, high, low, rest @ ..] = &mut shorter[..] {
                [*high, *low] = (rest.len() as u16).to_be_bytes();
                assert_eq!(usual_name(&shorter), None);
            }
        }
    }
}
