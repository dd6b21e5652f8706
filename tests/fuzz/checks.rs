//! What must hold of the decoders for any input. The fuzz targets call these functions, and so does
//! a plain test, with the inputs in `corpus`.
#![allow(dead_code, reason = "each target uses one function")]

use torsade::net::{ToClientEndpoint, ToServerEndpoint};
use torsade::protocols::irc::IrcCodec;
use torsade::protocols::{
    Decoder, Encoder, FrameBuffer, FrameError, LengthCodec, LineCodec, NetstringCodec,
};
use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig, exchange};
use torsade::{Address, Reactor, testing};

#[path = "../../examples/bgp_speaker/codec.rs"]
mod codec;
#[path = "../../examples/bgp_speaker/message.rs"]
mod message;
#[path = "../../examples/redis/resp.rs"]
mod resp;

/// A check, which panics if it fails.
type Check = fn(&[u8]);

/// The name of each check, and the check.
pub(super) const ALL: [(&str, Check); 7] = [
    ("bgp", bgp),
    ("endpoints", endpoints),
    ("framing", framing),
    ("irc", irc),
    ("proxy_header", proxy_header),
    ("resp", resp),
    ("tls", tls),
];

/// The codecs of frames: the same frames however the bytes are cut; a frame is sent as bytes that
/// are received as the same frame; no more is kept than the limit allows.
pub(super) fn framing(data: &[u8]) {
    let [kind, limit, size, text @ ..] = data else {
        return;
    };
    let (limit, size) = (usize::from(*limit), 1 + usize::from(*size));
    match kind % 8 {
        0 => codec(&LineCodec::new().limit(limit), text, size, limit),
        1 => codec(
            &LineCodec::delimited(&b"\r\n"[..]).limit(limit),
            text,
            size,
            limit,
        ),
        2 => codec(
            &LineCodec::delimited(&b"abab"[..]).limit(limit),
            text,
            size,
            limit,
        ),
        3 => codec(&NetstringCodec::new().limit(limit), text, size, limit),
        4 => codec(&LengthCodec::u8().limit(limit), text, size, limit),
        5 => codec(
            &LengthCodec::u32().little_endian().limit(limit),
            text,
            size,
            limit,
        ),
        6 => {
            let whole = LengthCodec::u16()
                .offset(2)
                .length_adjustment(-4)
                .keep_header();
            codec(&whole.limit(limit), text, size, limit);
        }
        _ => codec(
            &LengthCodec::u16()
                .offset(1)
                .length_adjustment(3)
                .limit(limit),
            text,
            size,
            limit,
        ),
    }
}

fn codec<C>(codec: &C, text: &[u8], size: usize, limit: usize)
where
    C: Decoder<Owned = Vec<u8>, Error = FrameError> + Clone,
    C: for<'a> Encoder<&'a [u8], Error = FrameError>,
{
    let found = |size: usize| {
        let mut buffer = FrameBuffer::new(codec.clone());
        let (mut frames, mut errors) = (Vec::new(), 0);
        for piece in text.chunks(size) {
            buffer.feed(piece);
            while let Some(frame) = buffer.next_frame() {
                match frame {
                    Ok(frame) => frames.push(frame),
                    Err(_) => errors += 1,
                }
            }
        }
        let rest = buffer.take_rest();
        // A header, or a delimiter, besides the frame.
        assert!(
            rest.len() <= limit + 24 || size > limit,
            "{} bytes are kept",
            rest.len()
        );
        (frames, errors)
    };
    let (frames, errors) = found(text.len().max(1));
    assert_eq!(found(size), (frames.clone(), errors));
    for frame in frames {
        assert!(frame.len() <= limit);
        let (mut encoder, mut sent) = (codec.clone(), Vec::new());
        // What carries half a delimiter, or a header that disagrees, need not be sent.
        if encoder.encode(&frame, &mut sent).is_ok() {
            let mut buffer = FrameBuffer::new(codec.clone());
            buffer.feed(&sent);
            let back = buffer.next_frame().expect("a frame that was sent is whole");
            assert_eq!(back.expect("it is valid"), frame);
        }
    }
}

/// A PROXY header: the same whether it arrives at once or byte by byte.
pub(super) fn proxy_header(data: &[u8]) {
    let whole = testing::read_header(data, usize::MAX);
    // That an incomplete header is invalid may be seen earlier in small pieces.
    let is_header = |read: &Result<Option<_>, String>| matches!(read, Ok(Some(_)));
    let in_pieces = testing::read_header(data, 1);
    if is_header(&whole) || is_header(&in_pieces) {
        assert_eq!(in_pieces, whole);
    }
    if let Ok(Some((_, used))) = whole {
        assert!(used <= data.len());
    }
}

/// Texts of endpoints and addresses: an error or a value; an address that is printed is parsed as
/// the same address.
pub(super) fn endpoints(data: &[u8]) {
    thread_local! {
        static REACTOR: Reactor = Reactor::in_memory().expect("it needs little");
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    REACTOR.with(|reactor| {
        let server = text.into_server_endpoint(reactor);
        let client = text.into_client_endpoint(reactor);
        for failure in [server.err(), client.err()].into_iter().flatten() {
            assert!(!failure.to_string().is_empty());
        }
    });
    if let Ok(address) = text.parse::<Address>() {
        let printed = address.to_string();
        let again = printed.parse::<Address>();
        assert_eq!(again.ok().as_ref(), Some(&address), "printed as {printed}");
    }
    let _ = text.parse::<torsade::net::Network>();
}

/// Replies of Redis: the same however the bytes are cut, and no more than the limit is kept.
pub(super) fn resp(data: &[u8]) {
    let [size, text @ ..] = data else {
        return;
    };
    let found = |size: usize| {
        let mut buffer = FrameBuffer::new(resp::Resp::with_limit(1024));
        let mut found = Vec::new();
        for piece in text.chunks(size) {
            buffer.feed(piece);
            while let Some(reply) = buffer.next_frame() {
                // A number that is none is not equal to itself.
                found.push(reply.map(|reply| reply.to_string()));
            }
        }
        found
    };
    assert_eq!(found(1 + usize::from(*size)), found(text.len().max(1)));
}

/// Messages of BGP: the same however the bytes are cut; a message that is sent as it was understood
/// is understood as the same.
pub(super) fn bgp(data: &[u8]) {
    let [size, terms, text @ ..] = data else {
        return;
    };
    let found = |size: usize| {
        let mut buffer = FrameBuffer::new(codec::Frames::new());
        let mut found = Vec::new();
        for piece in text.chunks(size) {
            buffer.feed(piece);
            while let Some(frame) = buffer.next_frame() {
                found.push(frame);
            }
        }
        found
    };
    let frames = found(text.len().max(1));
    assert_eq!(found(1 + usize::from(*size)), frames);
    let terms = message::Terms {
        has_four_octets: terms & 1 != 0,
        is_internal: terms & 2 != 0,
    };
    for frame in frames.into_iter().flatten() {
        let Ok(message) = codec::decode(&frame, terms) else {
            continue;
        };
        // What is sent has no attributes without networks, and no numbers of two octets for those
        // of four that somebody else has put beside them. A long path may become too long.
        let is_plain = match &message {
            message::Message::Update(update) => {
                !update.announced.is_empty() && update.error.is_none() && terms.has_four_octets
            }
            message::Message::Open(open) => open.families.len() < 30,
            _ => true,
        };
        if is_plain && frame.len() < 2000 {
            let mut sent = Vec::new();
            codec::encode(&message, terms, &mut sent);
            assert_eq!(codec::decode(&sent, terms), Ok(message));
        }
    }
}

/// IRC messages: the same however the bytes are cut; a message that is sent is one line, which is
/// received as the same message.
pub(super) fn irc(data: &[u8]) {
    let [size, text @ ..] = data else {
        return;
    };
    let found = |size: usize| {
        let mut buffer = FrameBuffer::new(IrcCodec::new());
        let mut found = Vec::new();
        for piece in text.chunks(size) {
            buffer.feed(piece);
            found.extend(std::iter::from_fn(|| buffer.next_frame()));
        }
        found
    };
    let messages = found(text.len().max(1));
    assert_eq!(found(1 + usize::from(*size)), messages);
    for message in messages.into_iter().flatten() {
        let mut sent = Vec::new();
        // What a server sent may be more than a client may send.
        if IrcCodec::new().encode(&message, &mut sent).is_ok() {
            assert_eq!(sent.iter().filter(|byte| **byte == b'\n').count(), 1);
            let mut buffer = FrameBuffer::new(IrcCodec::new());
            buffer.feed(&sent);
            assert_eq!(buffer.next_frame(), Some(Ok(message)));
        }
    }
}

thread_local! {
    /// Clients of TLS 1.3 and 1.2, and a server.
    static TLS: ([ClientConfig; 2], ServerConfig) = {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let identity = Identity::from_pem(made.cert.pem() + &made.signing_key.serialize_pem());
        let client = ClientConfig::new().roots(Roots::empty().pem(made.cert.pem()).unwrap());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let old = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let clients = [client, ClientConfig::from_rustls(old.into())];
        let clients = clients.map(|client| client.server_name("localhost"));
        (clients, ServerConfig::new(identity.unwrap()))
    };
}

/// TLS, with somebody between the ends who changes what they send: whatever he does, each receives
/// the beginning of what the other has sent, or all of it where it ends in good order.
pub(super) fn tls(data: &[u8]) {
    let [mode, size, text @ ..] = data else {
        return;
    };
    let content = [&b"GET /".repeat(20)[..], &b"page ".repeat(500)[..]];
    let (mut flights, is_raw) = (0_u8, mode & 1 == 0);
    let change = |flight: &mut Vec<u8>, is_client: bool| {
        // Bytes instead of what one end sends first, or small changes.
        match is_raw {
            true if is_client == (mode & 2 == 0) && flights < 2 => *flight = text.to_vec(),
            true => {}
            false => {
                for edit in text.chunks_exact(5).filter(|edit| edit[0] % 8 == flights) {
                    change_bytes(flight, edit);
                }
            }
        }
        flights += 1;
    };
    let ends = TLS.with(|(clients, server)| {
        let client = &clients[usize::from(mode & 4 != 0)];
        exchange(
            (client, server),
            content,
            1 + 40 * usize::from(*size),
            change,
        )
    });
    let ends = ends.expect("the ends begin");
    for ((got, has_ended), sent) in ends.iter().zip([content[1], content[0]]) {
        assert!(
            sent.starts_with(got),
            "{} bytes that were not sent",
            got.len()
        );
        assert!(
            !has_ended || got.len() == sent.len(),
            "{} bytes are missing",
            sent.len() - got.len()
        );
    }
    if text.is_empty() && !is_raw {
        assert!(
            ends.iter().all(|(_, has_ended)| *has_ended),
            "nothing has changed"
        );
    }
}

fn change_bytes(flight: &mut Vec<u8>, edit: &[u8]) {
    let at = usize::from(u16::from_be_bytes([edit[2], edit[3]])) % (flight.len() + 1);
    let value = edit[4];
    match edit[1] % 7 {
        0 if at < flight.len() => flight[at] ^= value,
        1 => flight.insert(at, value),
        2 if at < flight.len() => drop(flight.remove(at)),
        3 => flight.truncate(at),
        4 => {
            let end = (at + usize::from(value)).min(flight.len());
            let copy = flight[at..end].to_vec();
            flight.splice(at..at, copy);
        }
        5 => flight.rotate_left(at),
        _ => drop(flight.splice(at..at, [value, 3, 3, 0, 1, value])),
    }
}
