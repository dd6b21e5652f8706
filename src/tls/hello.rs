//! A client's first message, before its server has a configuration.

use rustls::server::Acceptor;

use super::error::{TlsError, is_tls};
use super::server::ClientHello;

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
