//! The codec: both ways, however the bytes are cut, and what is wrong with messages.

use std::env;

use torsade::protocols::FrameBuffer;
use torsade::testing::Random;

use super::codec::{Frames, decode};
use super::*;

/// Messages of each kind, as they are sent and received.
fn messages() -> Vec<(Message, Terms)> {
    let attributes = Attributes {
        origin: 2,
        path: vec![
            sequence(&[65001, 4_200_000_001]),
            Segment {
                is_set: true,
                numbers: vec![3, 70000],
            },
        ],
        next_hop: Some([10, 0, 0, 1].into()),
        med: Some(7),
        local_pref: None,
        is_atomic: true,
        aggregator: Some((4_200_000_001, [1, 1, 1, 1].into())),
        communities: vec![0xffff_ff01, 65001 << 16 | 20],
    };
    let routes = |attributes| {
        Message::Update(Update {
            withdrawn: vec![prefix("192.0.2.128/25"), prefix("0.0.0.0/0")],
            attributes,
            announced: vec![
                prefix("10.1.0.0/16"),
                prefix("10.1.2.3/32"),
                prefix("128.0.0.0/1"),
            ],
            error: None,
        })
    };
    let internal = Attributes {
        path: Vec::new(),
        local_pref: Some(100),
        ..attributes.clone()
    };
    // 400 numbers: a long attribute, in two segments of 255 numbers at most.
    let long = Attributes {
        path: vec![sequence(&[9; 255]), sequence(&[8; 145])],
        ..attributes.clone()
    };
    vec![
        (
            Message::Open(Open {
                asn: 4_200_000_001,
                hold: 90,
                id: [1, 2, 3, 4].into(),
                has_four_octets: true,
                has_refresh: true,
                families: vec![(1, 1), (2, 1)],
            }),
            WIDE,
        ),
        (
            Message::Open(Open {
                asn: 65002,
                hold: 0,
                id: [1, 2, 3, 4].into(),
                has_four_octets: false,
                has_refresh: false,
                families: vec![(1, 1)],
            }),
            WIDE,
        ),
        (routes(attributes.clone()), WIDE),
        (routes(attributes), NARROW),
        (routes(internal), INTERNAL),
        (routes(long), WIDE),
        (Message::Update(Update::default()), WIDE),
        (
            Message::Notification(Notification::cease(2, "good night")),
            WIDE,
        ),
        (Message::Keepalive, WIDE),
        (Message::Refresh { afi: 1, safi: 1 }, WIDE),
    ]
}

fn found(bytes: &[u8], mut size: impl FnMut() -> usize) -> Vec<Result<Vec<u8>, Notification>> {
    let mut buffer = FrameBuffer::new(Frames::new());
    let (mut found, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(size().clamp(1, rest.len()));
        buffer.feed(piece);
        while let Some(frame) = buffer.next_frame() {
            found.push(frame);
        }
        rest = left;
    }
    found
}

#[test]
fn each_message_is_received_as_it_was_sent_however_the_bytes_are_cut() {
    let messages = messages();
    let all: Vec<u8> = messages
        .iter()
        .flat_map(|(message, terms)| encoded(message, *terms))
        .collect();
    let mut random = Random::new(1);
    for round in 0..100 {
        let frames = found(&all, || match round {
            0 => 1,
            round => 1 + random.below(round),
        });
        assert_eq!(frames.len(), messages.len());
        for (frame, (message, terms)) in frames.into_iter().zip(&messages) {
            assert_eq!(decode(&frame.unwrap(), *terms).as_ref(), Ok(message));
        }
    }
}

#[test]
fn an_open_is_written_byte_for_byte_as_the_rfcs_say() {
    let message = decode(&good_open(), WIDE).unwrap();
    assert_eq!(encoded(&message, WIDE), good_open());
    let Message::Open(open) = message else {
        panic!("{message:?}");
    };
    assert_eq!((open.asn, open.hold, open.id), (65002, 9, [2; 4].into()));
    assert!(open.has_four_octets && open.has_refresh);
    assert_eq!(open.families, [(1, 1)]);
}

#[test]
fn what_makes_the_networks_unknown_is_an_error_with_its_notification() {
    let mut random = Random::new(2);
    for (bytes, expected) in fatal_faults() {
        for size in [1, 7, 5000] {
            let first = found(&bytes, || 1 + random.below(size)).swap_remove(0);
            let error = first.and_then(|frame| decode(&frame, WIDE)).unwrap_err();
            assert_eq!(error, expected, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_faulty_open_has_its_notification() {
    for (bytes, code, data) in [
        (open(3, 65002, 9, [2; 4], &[]), 1, &[0, 4][..]),
        (open(5, 65002, 9, [2; 4], &[]), 1, &[0, 4]),
        (open(4, 65002, 9, [2; 4], &[1, 1, 0]), 4, &[]),
        (open(4, 65002, 9, [2; 4], &[2]), 0, &[]),
        (open(4, 65002, 9, [2; 4], &[2, 9, 1]), 0, &[]),
        (open(4, 65002, 9, [2; 4], &[2, 2, 65, 4]), 0, &[]),
        (open(4, 65002, 9, [2; 4], &[2, 4, 65, 2, 0, 1]), 0, &[]),
        (frame(1, &[4, 0, 1, 0, 9, 2, 2, 2, 2, 7, 2]), 0, &[]),
    ] {
        let expected = Notification::new(2, code, data);
        assert_eq!(decode(&bytes, WIDE), Err(expected), "{bytes:?}");
    }
    // A capability that is unknown is none of this speaker's business (RFC 5492).
    assert!(decode(&open(4, 65002, 9, [2; 4], &[2, 4, 70, 2, 0, 1]), WIDE).is_ok());
}

#[test]
fn networks_with_faulty_attributes_are_treated_as_withdrawn() {
    for (attributes, terms, expected) in lesser_faults() {
        let attributes: Vec<_> = attributes.iter().map(Vec::as_slice).collect();
        let bytes = update(&[8, 9], &attributes, NETWORK);
        let message = decode(&bytes, terms);
        let is_missing = expected.subcode == 3;
        let withdrawn = Update {
            withdrawn: vec![prefix("9.0.0.0/8"), prefix("10.7.0.0/16")],
            error: Some(expected),
            ..Update::default()
        };
        assert_eq!(message, Ok(Message::Update(withdrawn)), "{attributes:?}");
        // Without a network that could be withdrawn the session ends.
        if !is_missing {
            assert!(decode(&update(&[8, 9], &attributes, &[]), terms).is_err());
        }
    }
}

#[test]
fn lesser_attributes_that_are_faulty_unknown_or_repeated_are_dropped() {
    let expected = Attributes {
        path: vec![sequence(&[65002])],
        next_hop: Some([10, 0, 0, 1].into()),
        ..Attributes::default()
    };
    for attribute in [
        &[0x40, 6, 1, 0][..],
        &[0xc0, 7, 7, 0, 0, 0, 1, 1, 1, 1],
        &[0xc0, 7, 6, 0, 1, 1, 1, 1, 1],
        &[0x40, 5, 4, 0, 0, 0, 9],
        &[0x40, 5, 1, 9],
        &[0x80, 9, 3, 0, 0, 1],
        &[0x80, 10, 0],
        &[0xc0, 17, 1, 0],
        &[0xc0, 200, 2, 1, 2],
        &[0x80, 201, 0],
        &[0x40, 1, 1, 2],
        &[0x40, 3, 1, 2],
    ] {
        let bytes = update(&[], &[ORIGIN, PATH, NEXT_HOP, attribute], NETWORK);
        let update = Update {
            attributes: expected.clone(),
            announced: vec![prefix("10.7.0.0/16")],
            ..Update::default()
        };
        let message = Ok(Message::Update(update));
        assert_eq!(decode(&bytes, WIDE), message, "{attribute:?}");
    }
}

#[test]
fn numbers_of_four_octets_pass_through_peers_that_know_two() {
    let narrow = |path: &[u8], rest: &[&[u8]]| {
        let path = [&[0x40, 2, path.len() as u8], path].concat();
        let bytes = update(&[], &[&[ORIGIN, &path, NEXT_HOP], rest].concat(), NETWORK);
        match decode(&bytes, NARROW) {
            Ok(Message::Update(update)) => update.attributes,
            other => panic!("{other:?}"),
        }
    };
    let trans = [0x5b, 0xa0];
    let old = [&[2, 3, 0, 1][..], &trans, &trans].concat();
    let as4 = [0xc0, 17, 10, 2, 2, 0, 1, 0x11, 0x70, 0, 1, 0x11, 0x71];
    assert_eq!(narrow(&old, &[&as4]).path, [sequence(&[1, 70000, 70001])]);
    // A longer one than the path itself counts for nothing.
    assert_eq!(narrow(&old[..0], &[&as4]).path, []);
    // An aggregator that is not AS_TRANS: somebody has aggregated who knows nothing of the rest.
    let aggregator = [0xc0, 7, 6, 0, 5, 1, 1, 1, 1];
    let as4_aggregator = [0xc0, 18, 8, 0, 1, 0x11, 0x70, 1, 1, 1, 1];
    let read = narrow(&old, &[&as4, &aggregator, &as4_aggregator]);
    assert_eq!(read.path, [sequence(&[1, 23456, 23456])]);
    assert_eq!(read.aggregator, Some((5, [1; 4].into())));
    let aggregator = [0xc0, 7, 6, 0x5b, 0xa0, 1, 1, 1, 1];
    let read = narrow(&old, &[&as4, &aggregator, &as4_aggregator]);
    assert_eq!(read.aggregator, Some((70000, [1; 4].into())));
    assert_eq!(read.path, [sequence(&[1, 70000, 70001])]);
}

#[test]
fn networks_of_the_multiprotocol_attributes_are_read() {
    let reach = [0x80, 14, 12, 0, 1, 1, 4, 10, 0, 0, 9, 0, 16, 10, 7];
    let unreach = [0x80, 15, 5, 0, 1, 1, 8, 9];
    let six = [0x80, 15, 4, 0, 2, 1, 0];
    let bytes = update(&[], &[ORIGIN, PATH, &reach, &unreach], &[]);
    let expected = Update {
        withdrawn: vec![prefix("9.0.0.0/8")],
        attributes: Attributes {
            path: vec![sequence(&[65002])],
            next_hop: Some([10, 0, 0, 9].into()),
            ..Attributes::default()
        },
        announced: vec![prefix("10.7.0.0/16")],
        error: None,
    };
    assert_eq!(decode(&bytes, WIDE), Ok(Message::Update(expected)));
    // A next hop that is no host's.
    let mut group = reach;
    group[7] = 224;
    let bytes = update(&[], &[ORIGIN, PATH, &group], &[]);
    let error = Notification::new(3, 8, [224, 0, 0, 9]);
    let message = decode(&bytes, WIDE);
    assert!(
        matches!(&message, Ok(Message::Update(update)) if update.error == Some(error)),
        "{message:?}"
    );
    // Another family is not for this speaker.
    let bytes = update(&[], &[&six], &[]);
    assert_eq!(decode(&bytes, WIDE), Ok(Message::Update(Update::default())));
}

#[test]
fn many_networks_are_announced_in_messages_that_fit() {
    let networks: Vec<_> = (0..2000_u32).map(|n| Prefix::new(n.into(), 32)).collect();
    let attributes = Attributes {
        path: vec![sequence(&[65001])],
        next_hop: Some([10, 0, 0, 1].into()),
        ..Attributes::default()
    };
    let mut found = Vec::new();
    for message in codec::announce(&networks, &attributes) {
        let bytes = encoded(&message, WIDE);
        assert!(bytes.len() <= 4096);
        let Ok(Message::Update(update)) = decode(&bytes, WIDE) else {
            panic!("{message:?}");
        };
        assert_eq!(update.attributes, attributes);
        found.extend(update.announced);
    }
    assert_eq!(found, networks);
}

/// `TORSADE_MESSAGES=1000000 cargo test --release --test examples bgp::messages` tries a million.
#[test]
fn random_and_mutated_messages_are_decoded_or_refused() {
    let count: u64 = env::var("TORSADE_MESSAGES").map_or(20_000, |text| text.parse().unwrap());
    let mut seeds: Vec<Vec<u8>> = messages()
        .iter()
        .map(|(message, terms)| encoded(message, *terms))
        .collect();
    seeds.extend(fatal_faults().into_iter().map(|(bytes, _)| bytes));
    seeds.extend(lesser_faults().into_iter().map(|(attributes, ..)| {
        let attributes: Vec<_> = attributes.iter().map(Vec::as_slice).collect();
        update(&[8, 9], &attributes, NETWORK)
    }));
    let mut random = Random::new(3);
    let mut accepted = 0;
    for _ in 0..count {
        let mut bytes = match random.below(10) {
            0 => {
                let body: Vec<u8> = (0..random.below(80))
                    .map(|_| random.below(256) as u8)
                    .collect();
                frame(random.below(6) as u8, &body)
            }
            _ => seeds[random.below(seeds.len())].clone(),
        };
        for _ in 0..random.below(4) {
            let at = 18 + random.below(bytes.len().saturating_sub(18));
            match random.below(3) {
                _ if at >= bytes.len() => {}
                0 => bytes[at] = random.below(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.below(256) as u8),
            }
        }
        let terms = random.pick(&[WIDE, NARROW, INTERNAL]);
        accepted += u64::from(decode(&bytes, terms).is_ok());
    }
    assert!(accepted > count / 20, "{accepted} of {count} are messages");
}
