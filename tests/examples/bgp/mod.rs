//! The BGP speaker of the examples: its codec, its state machine, speakers in memory under virtual
//! time, and other implementations.

#[path = "../../../examples/bgp_speaker/codec.rs"]
mod codec;
#[path = "../../../examples/bgp_speaker/machine.rs"]
mod machine;
#[path = "../../../examples/bgp_speaker/message.rs"]
mod message;
#[path = "../../../examples/bgp_speaker/peer.rs"]
mod peer;
#[path = "../../../examples/bgp_speaker/session.rs"]
mod session;
#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../../../examples/bgp_speaker/speaker.rs"]
mod speaker;

mod messages;
#[cfg(target_os = "linux")]
mod others;
mod sessions;
mod states;

use self::message::{Attributes, Message, Notification, Open, Prefix, Segment, Terms, Update};

const WIDE: Terms = Terms {
    has_four_octets: true,
    is_internal: false,
};
const NARROW: Terms = Terms {
    has_four_octets: false,
    is_internal: false,
};
const INTERNAL: Terms = Terms {
    has_four_octets: true,
    is_internal: true,
};

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 1];
/// 10.7.0.0/16.
const NETWORK: &[u8] = &[16, 10, 7];

/// A message of any kind and body.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16 + 19).to_be_bytes();
    [&[0xff; 16][..], &length, &[kind], body].concat()
}

/// An UPDATE.
fn update(withdrawn: &[u8], attributes: &[&[u8]], announced: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let lengths = [withdrawn, &attributes].map(|bytes| (bytes.len() as u16).to_be_bytes());
    let body = [
        &lengths[0][..],
        withdrawn,
        &lengths[1],
        &attributes,
        announced,
    ];
    frame(2, &body.concat())
}

/// An OPEN of AS 65002 with these optional parameters.
fn open(version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let (asn, hold) = (asn.to_be_bytes(), hold.to_be_bytes());
    let length = [parameters.len() as u8];
    let body = [&[version][..], &asn, &hold, &id, &length, parameters];
    frame(1, &body.concat())
}

/// The OPEN of a good peer: AS 65002, id 2.2.2.2, hold time 9 s.
fn good_open() -> Vec<u8> {
    let capabilities = [2, 14, 1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0, 0xfd, 0xea];
    open(4, 65002, 9, [2; 4], &capabilities)
}

fn encoded(message: &Message, terms: Terms) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode(message, terms, &mut out);
    out
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn sequence(numbers: &[u32]) -> Segment {
    Segment {
        is_set: false,
        numbers: numbers.into(),
    }
}

/// Faults that end a session in any state, as bytes after a valid OPEN and KEEPALIVE, and the
/// NOTIFICATION that answers each.
fn fatal_faults() -> Vec<(Vec<u8>, Notification)> {
    let mut bad_marker = frame(4, &[]);
    bad_marker[15] = 0;
    let with_length = |length: u16, kind| {
        let mut bytes = frame(kind, &[0; 40]);
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let unknown: &[u8] = &[0x40, 99, 1, 7];
    let reach = |value: &[u8]| [&[0x80, 14, value.len() as u8], value].concat();
    let unreach = |value: &[u8]| [&[0x80, 15, value.len() as u8], value].concat();
    let twice = reach(&[0, 1, 1, 4, 10, 0, 0, 1, 0, 8, 10]);
    let bad = |code, subcode, data: &[u8]| Notification::new(code, subcode, data);
    let good = [ORIGIN, PATH, NEXT_HOP];
    vec![
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), bad(1, 1, &[])),
        (bad_marker, bad(1, 1, &[])),
        (with_length(0, 4), bad(1, 2, &[0, 0])),
        (with_length(17, 4), bad(1, 2, &[0, 17])),
        (with_length(18, 4), bad(1, 2, &[0, 18])),
        (with_length(4097, 2), bad(1, 2, &[16, 1])),
        (with_length(65535, 2), bad(1, 2, &[255, 255])),
        (frame(4, &[0]), bad(1, 2, &[0, 20])),
        (frame(2, &[0; 3]), bad(1, 2, &[0, 22])),
        (frame(3, &[6]), bad(1, 2, &[0, 20])),
        (frame(5, &[0, 1, 0]), bad(1, 2, &[0, 22])),
        (frame(1, &[4; 9]), bad(1, 2, &[0, 28])),
        (frame(0, &[]), bad(1, 3, &[0])),
        (frame(6, &[1, 2]), bad(1, 3, &[6])),
        // The lengths within an UPDATE do not fit.
        (frame(2, &[0, 9, 0, 0]), bad(3, 1, &[])),
        (frame(2, &[0, 0, 0, 9]), bad(3, 1, &[])),
        (update(&[33, 1, 2, 3, 4, 5], &[], &[]), bad(3, 10, &[])),
        (update(&[16, 10], &[], &[]), bad(3, 10, &[])),
        (update(&[], &good, &[33, 1, 2, 3, 4, 5]), bad(3, 10, &[])),
        (update(&[], &good, &[24, 10, 1]), bad(3, 10, &[])),
        // Attributes that a speaker must not ignore by the RFC.
        (
            update(&[], &[ORIGIN, PATH, NEXT_HOP, unknown], NETWORK),
            bad(3, 2, unknown),
        ),
        (update(&[], &[&twice, &twice], &[]), bad(3, 1, &[])),
        (
            update(&[], &[&reach(&[0, 1, 1, 4, 10])], &[]),
            bad(3, 9, &reach(&[0, 1, 1, 4, 10])),
        ),
        (
            update(&[], &[&unreach(&[0, 1, 1, 40, 1])], &[]),
            bad(3, 9, &unreach(&[0, 1, 1, 40, 1])),
        ),
        (
            update(&[], &[&[0xc0, 15, 3, 0, 1, 1]], &[]),
            bad(3, 4, &[0xc0, 15, 3, 0, 1, 1]),
        ),
        // A faulty attribute without networks that could be withdrawn.
        (
            update(&[], &[&[0x40, 1, 1, 3]], &[]),
            bad(3, 6, &[0x40, 1, 1, 3]),
        ),
        (update(&[], &[&[0x40, 1]], &[]), bad(3, 1, &[])),
    ]
}

/// Faults that withdraw the networks of an UPDATE: its attributes, and what RFC 4271 would have
/// answered.
fn lesser_faults() -> Vec<(Vec<Vec<u8>>, Terms, Notification)> {
    let good = || [ORIGIN, PATH, NEXT_HOP].map(<[u8]>::to_vec).to_vec();
    let with = |attribute: &[u8]| {
        let mut all = good();
        all.retain(|other| other[1] != attribute[1]);
        all.push(attribute.to_vec());
        all
    };
    let without = |kind: u8| {
        let mut all = good();
        all.retain(|other| other[1] != kind);
        all
    };
    let own = |subcode, attribute: &[u8]| {
        let error = Notification::new(3, subcode, attribute);
        (with(attribute), WIDE, error)
    };
    let internal = |subcode, attribute: &[u8]| {
        let mut all = with(attribute);
        if attribute[1] != 5 {
            all.insert(0, vec![0x40, 5, 4, 0, 0, 0, 100]);
        }
        (all, INTERNAL, Notification::new(3, subcode, attribute))
    };
    let missing = |kind: u8| (without(kind), WIDE, Notification::new(3, 3, [kind]));
    vec![
        // Flags.
        own(4, &[0x80, 1, 1, 0]),
        own(4, &[0xc0, 2, 6, 2, 1, 0, 0, 0xfd, 0xea]),
        own(4, &[0x00, 3, 4, 10, 0, 0, 1]),
        own(4, &[0x40, 4, 4, 0, 0, 0, 1]),
        own(4, &[0x80, 5, 4, 0, 0, 0, 1]),
        own(4, &[0xc0, 6, 0]),
        own(4, &[0x80, 8, 4, 0, 1, 0, 2]),
        // Lengths and values.
        own(5, &[0x40, 1, 2, 0, 0]),
        own(5, &[0x40, 1, 0]),
        own(6, &[0x40, 1, 1, 3]),
        own(11, &[0x40, 2, 5, 2, 1, 0, 0, 1]),
        own(11, &[0x40, 2, 2, 2, 0]),
        own(11, &[0x40, 2, 6, 3, 1, 0, 0, 0, 1]),
        own(11, &[0x40, 2, 6, 2, 1, 0, 0, 0, 0]),
        own(11, &[0x40, 2, 6, 2, 2, 0, 0, 0, 1]),
        own(5, &[0x40, 3, 3, 10, 0, 0]),
        own(
            5,
            &[0x40, 3, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        own(8, &[0x40, 3, 4, 0, 0, 0, 0]),
        own(8, &[0x40, 3, 4, 224, 0, 0, 1]),
        own(5, &[0x80, 4, 3, 0, 0, 1]),
        own(5, &[0xc0, 8, 0]),
        own(5, &[0xc0, 8, 6, 0, 1, 0, 2, 0, 3]),
        internal(5, &[0x40, 5, 3, 0, 0, 1]),
        internal(5, &[0x80, 9, 3, 0, 0, 1]),
        internal(5, &[0x80, 10, 0]),
        internal(5, &[0x80, 10, 6, 1, 1, 1, 1, 2, 2]),
        // Missing attributes.
        missing(1),
        missing(2),
        missing(3),
        (good(), INTERNAL, Notification::new(3, 3, [5])),
        // An attribute that is longer than all of them: the rest is not read.
        (
            [&good()[..], &[vec![0x80, 4, 40, 0]]].concat(),
            WIDE,
            Notification::new(3, 1, []),
        ),
        (
            [&good()[..], &[vec![0x80, 4]]].concat(),
            WIDE,
            Notification::new(3, 1, []),
        ),
        // The first fault counts.
        (
            vec![vec![0x40, 1, 1, 7], vec![0x40, 3, 1, 7]],
            WIDE,
            Notification::new(3, 6, [0x40, 1, 1, 7]),
        ),
    ]
}
