//! Hostile peers of an HTTP server: its memory stays bounded, and others are served.
//!
//! Run at full size as `attacks` are, with `http` in place of that word.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use torsade::http::{Body, Bytes, Request, Response, Server};
use torsade::net::ListenOptions;
use torsade::{Failure, Port, Reactor};

use crate::attacks::{Attack, FLAT, HERE, Listen, flood, is_full, size, trickle, under_attack};

/// Serves with the default limits, but those of time shortened; counts the requests.
fn server() -> Listen {
    Box::new(
        |_reactor: &Reactor,
         options: ListenOptions,
         count: Rc<Cell<usize>>|
         -> Result<Port, Failure> {
            let large = Bytes::from(vec![b'x'; 1 << 20]);
            let limit = size().frame_timeout;
            let server = Server::new()
                .head_timeout(limit)
                .idle_timeout(limit)
                .body_timeout(limit);
            let port = server.serve((HERE, options), async move |request: Request<Body>| {
                count.set(count.get() + 1);
                if request.uri().path() == "/large" {
                    return Ok(Response::new(Body::from(large.clone())));
                }
                Ok(Response::new(request.into_body().read(1000).await?.into()))
            })?;
            Ok(port.port().clone())
        },
    )
}

/// How many peers attack at once where many do.
fn peers() -> usize {
    if is_full() { 1_000 } else { 10 }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// What a client of HTTP/2 begins with, with this setting and value.
fn preface(setting: u16, value: u32) -> Vec<u8> {
    let settings = [&setting.to_be_bytes()[..], &value.to_be_bytes()].concat();
    [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(4, 0, 0, &settings),
    ]
    .concat()
}

const INITIAL_WINDOW: u16 = 4;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The head of a request, of the method `GET` (0x82) or `POST` (0x83).
fn head(method: u8, path: &str) -> Vec<u8> {
    let path = [&[0x04, path.len() as u8], path.as_bytes()].concat();
    [&[method, 0x86, 0x41, 4], &b"here"[..], &path].concat()
}

/// Sends pieces on one connection after the other until so many bytes are written.
fn blast(to: SocketAddr, open: &[u8], piece: &[u8], total: usize) -> Attack {
    let (mut attack, mut sent) = (Attack::default(), 0);
    while sent < total {
        let mut conn = TcpStream::connect(to).unwrap();
        conn.set_write_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        attack.connections += 1;
        let mut result = conn.write_all(open);
        while result.is_ok() && sent < total {
            result = conn.write_all(piece);
            sent += piece.len();
        }
        attack.refused += usize::from(result.is_err());
    }
    attack
}

#[test]
fn heads_that_come_a_byte_at_a_time_are_cut_off() {
    let opens = [
        &b"GET / HTTP/1.1\r\nHost: here\r\nX: "[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\xff",
    ];
    let all = peers();
    let attack = move |to: Vec<SocketAddr>| {
        let to: Vec<_> = opens.iter().map(|open| (to[0], open.to_vec())).collect();
        trickle(&to, all / 2, size().frame_timeout / 10)
    };
    let flat = FLAT + (24 << 10) * all as isize;
    let (attack, requests) = under_attack("http: a byte at a time", &[&server()], flat, attack);
    assert_eq!((attack.refused, requests), (all, 0));
}

#[test]
fn heads_without_end_are_refused() {
    for (what, open, line) in [
        (
            "http: headers without end",
            &b"GET / HTTP/1.1\r\nHost: here\r\n"[..],
            &b"x: yyyy\r\n"[..],
        ),
        (
            "http: a header without end",
            b"GET / HTTP/1.1\r\nHost: here\r\nx: ",
            b"y",
        ),
        ("http: a target without end", b"GET /", b"x"),
        ("http: empty lines without end", b"", b"\r\n"),
        ("http: spaces without end", b"", b" "),
    ] {
        let attack =
            move |to: Vec<SocketAddr>| blast(to[0], open, &line.repeat(8_000), size().bytes);
        let (attack, requests) = under_attack(what, &[&server()], 2 * FLAT, attack);
        assert_eq!(requests, 0, "{what}");
        // What the sockets hold is too little to see it otherwise.
        let is_endless = line == b"\r\n" || !is_full();
        assert!(attack.connections > 1 || is_endless, "{what}");
    }
}

#[test]
fn bodies_without_end_are_refused_and_not_kept() {
    let head = "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (what, open, piece) in [
        (
            "http: an extension without end",
            format!("{head}1;"),
            "x".repeat(8_000),
        ),
        (
            "http: trailers without end",
            format!("{head}0\r\n"),
            "x: y\r\n".repeat(2_000),
        ),
        (
            "http: chunks of one byte",
            head.to_owned(),
            "1\r\nx\r\n".repeat(2_000),
        ),
    ] {
        let attack = move |to: Vec<SocketAddr>| {
            blast(to[0], open.as_bytes(), piece.as_bytes(), size().bytes)
        };
        let (attack, _) = under_attack(what, &[&server()], 2 * FLAT, attack);
        assert!(attack.connections > 1 || !is_full(), "{what}");
    }
}

#[test]
fn garbage_is_refused() {
    let mut state = 1_u32;
    let attack = move |to: Vec<SocketAddr>| {
        flood(to[0], b"", size().bytes / 5, |chunk| {
            for byte in chunk {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
        })
    };
    let (attack, requests) = under_attack("http: garbage", &[&server()], 2 * FLAT, attack);
    assert!(attack.connections > 1 || !is_full());
    assert_eq!(requests, 0);
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    let open = preface(INITIAL_WINDOW, 65_535);
    let attack = move |to: Vec<SocketAddr>| {
        let mut attack = Attack::default();
        for _ in 0..if is_full() { 200 } else { 3 } {
            let mut conn = TcpStream::connect(to[0]).unwrap();
            conn.set_write_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut result = conn.write_all(&open);
            for stream in 0..100 {
                let pairs: Vec<u8> = (0..100)
                    .flat_map(|number| {
                        let stream = (stream * 100 + number) * 2 + 1;
                        let flags = END_STREAM | END_HEADERS;
                        let mut pair = frame(HEADERS, flags, stream, &head(0x82, "/"));
                        pair.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
                        pair
                    })
                    .collect();
                result = result.and_then(|()| conn.write_all(&pairs));
            }
            attack.connections += 1;
            // What the server has said before it closed is read.
            let patience = Some(Duration::from_secs(10));
            conn.set_read_timeout(patience).unwrap();
            let mut said = Vec::new();
            let is_closed = match conn.read_to_end(&mut said) {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            attack.refused += usize::from(result.is_err() || is_closed);
        }
        attack
    };
    let (attack, requests) = under_attack("http2: resets", &[&server()], 2 * FLAT, attack);
    assert_eq!(attack.refused, attack.connections);
    assert!(requests <= 200 * attack.connections, "{requests} requests");
}

#[test]
fn frames_that_cost_the_peer_nothing_are_bounded() {
    let begin = |method| {
        let head = frame(HEADERS, END_HEADERS, 1, &head(method, "/"));
        [preface(INITIAL_WINDOW, 65_535), head].concat()
    };
    let block = [0, 1, b'x', 1, b'y'].repeat(3_275);
    let without_end = [
        preface(INITIAL_WINDOW, 65_535),
        frame(HEADERS, 0, 1, &head(0x82, "/")),
    ]
    .concat();
    for (what, open, piece) in [
        (
            "http2: continuations",
            without_end,
            frame(CONTINUATION, 0, 1, &block),
        ),
        (
            "http2: empty continuations",
            begin(0x83),
            frame(CONTINUATION, 0, 1, b"").repeat(1_000),
        ),
        (
            "http2: empty data",
            begin(0x83),
            frame(DATA, 0, 1, b"").repeat(1_000),
        ),
        (
            "http2: pings",
            begin(0x83),
            frame(PING, 0, 0, &[0; 8]).repeat(500),
        ),
        (
            "http2: settings",
            begin(0x83),
            frame(4, 0, 0, b"").repeat(1_000),
        ),
        (
            "http2: windows",
            begin(0x83),
            frame(WINDOW, 0, 1, &1_u32.to_be_bytes()).repeat(500),
        ),
    ] {
        let attack = move |to: Vec<SocketAddr>| blast(to[0], &open, &piece, size().bytes / 5);
        let (attack, requests) = under_attack(what, &[&server()], 4 * FLAT, attack);
        assert!(requests <= attack.connections, "{what}: {requests}");
    }
}

#[test]
fn peers_that_read_nothing_are_cut_off() {
    let get = "GET /large HTTP/1.1\r\nHost: here\r\n\r\n"
        .repeat(20)
        .into_bytes();
    let streams = |window: u32| {
        let heads = (0..100_u32).flat_map(|number| {
            frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                number * 2 + 1,
                &head(0x82, "/large"),
            )
        });
        let most = frame(WINDOW, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        [preface(INITIAL_WINDOW, window), most, heads.collect()].concat()
    };
    for (what, open) in [
        ("http: reads nothing", get),
        ("http2: reads nothing", streams(0x7fff_ffff)),
        ("http2: gives no window", streams(0)),
    ] {
        let all = peers();
        let attack = move |to: Vec<SocketAddr>| {
            let mut conns: Vec<_> = (0..all)
                .map(|_| TcpStream::connect(to[0]).unwrap())
                .collect();
            for conn in &mut conns {
                conn.write_all(&open).unwrap();
            }
            // The peers' side is closed by the server, though they do not read.
            let begun = Instant::now();
            while !conns.is_empty() && begun.elapsed() < 4 * size().frame_timeout {
                std::thread::park_timeout(Duration::from_millis(10));
                conns.retain(|conn| matches!(conn.take_error(), Ok(None)));
            }
            Attack {
                connections: all,
                refused: all,
            }
        };
        // The queue of a connection, and with HTTP/2 the states of a hundred streams.
        let flat = FLAT + (400 << 10) * all as isize;
        under_attack(what, &[&server()], flat, attack);
    }
}
