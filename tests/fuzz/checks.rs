//! What must hold of the decoders for any input. The fuzz targets call these functions, and so does
//! a plain test, with the inputs in `corpus`.
#![allow(dead_code, reason = "each target uses one function")]

use torsade::net::{ToClientEndpoint, ToServerEndpoint};
use torsade::protocols::irc::IrcCodec;
use torsade::protocols::{
    Decoder, Encoder, FrameBuffer, FrameError, LengthCodec, LineCodec, NetstringCodec,
};
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
pub(super) const ALL: [(&str, Check); 6] = [
    ("bgp", bgp),
    ("endpoints", endpoints),
    ("framing", framing),
    ("irc", irc),
    ("proxy_header", proxy_header),
    ("resp", resp),
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
            let whole = LengthCodec::u16().offset(2).adjust(-4).keep_header();
            codec(&whole.limit(limit), text, size, limit);
        }
        _ => codec(
            &LengthCodec::u16().offset(1).adjust(3).limit(limit),
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
