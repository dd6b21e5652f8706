//! Framing against Twisted's (`twisted_framing.py`): random streams, cut at random places, give the
//! same frames, or both sides refuse them.
//!
//! `TORSADE_STREAMS` sets how many streams of each kind are tried. Default: 200.

use std::env;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::thread;

use support::foreign::{script, twisted};
use torsade::Context;
use torsade::protocols::{
    Decoder, Encoder, FrameError, FrameProtocol, LengthCodec, LineCodec, NetstringCodec,
};
use torsade::testing::{Random, Wire};

const KINDS: [&str; 6] = ["lines", "only", "netstrings", "int8", "int16", "int32"];

/// A stream of one kind, in pieces.
struct Stream {
    kind: &'static str,
    limit: usize,
    pieces: Vec<Vec<u8>>,
}

struct Noting<C>(C, Vec<String>);

impl<C> FrameProtocol for Noting<C>
where
    C: for<'a> Decoder<Frame<'a> = &'a [u8], Error = FrameError> + 'static,
{
    type Codec = C;
    fn codec(&mut self) -> &mut C {
        &mut self.0
    }
    fn frame_received(&mut self, _cx: &mut Context<'_, Self>, frame: &[u8]) {
        self.1.push(hex(frame));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a stream of mostly valid frames, some of them damaged, in pieces that are mostly short.
fn stream(random: &mut Random, kind: &'static str) -> Stream {
    // Not 0: Twisted's netstrings fail on that.
    let limit = random.pick(&[1, 5, 20, 255]);
    let mut text = Vec::new();
    for _ in 0..random.below(8) {
        let most = if random.below(10) == 0 {
            limit + 3
        } else {
            limit
        };
        let alphabet: &[u8] = random.pick(&[&b"a:,0\r\n"[..], b"abc", b"\r\n", b"\0\xff1"]);
        let frame: Vec<u8> = (0..random.below(most + 1))
            .map(|_| random.pick(alphabet))
            .collect();
        let huge = usize::MAX;
        // What one side cannot send the other one may still receive: it is written by hand.
        let sent = match kind {
            "netstrings" => NetstringCodec::new().limit(huge).encode(&frame, &mut text),
            "int8" => LengthCodec::u8().limit(huge).encode(&frame, &mut text),
            "int16" => LengthCodec::u16().limit(huge).encode(&frame, &mut text),
            "int32" => LengthCodec::u32().limit(huge).encode(&frame, &mut text),
            _ => LineCodec::delimited(&b"\r\n"[..]).encode(&frame, &mut text),
        };
        if sent.is_err() {
            text.extend_from_slice(&frame);
        }
    }
    if random.below(3) == 0 && !text.is_empty() {
        let at = random.below(text.len());
        match random.below(3) {
            0 => text[at] ^= 1 << random.below(8),
            1 => drop(text.remove(at)),
            _ => text.insert(at, random.pick(b"\r\n:,019\0\xff")),
        }
    }
    // Twisted sees that an unfinished line or length is too long a few bytes later than we do.
    text.extend_from_slice(match kind {
        "lines" | "only" => b"\r\n",
        "netstrings" => b"!",
        _ => b"",
    });
    let (mut pieces, mut rest) = (Vec::new(), &text[..]);
    while !rest.is_empty() {
        let most = random.pick(&[1, 2, 7, 400]);
        let (piece, left) = rest.split_at(rest.len().min(1 + random.below(most)));
        pieces.push(piece.to_vec());
        rest = left;
    }
    Stream {
        kind,
        limit,
        pieces,
    }
}

/// Returns what our side makes of a stream, in the form in which the script prints it.
fn ours(stream: &Stream) -> String {
    fn run<C>(stream: &Stream, codec: C) -> String
    where
        C: for<'a> Decoder<Frame<'a> = &'a [u8], Error = FrameError> + 'static,
    {
        let mut wire = Wire::new(Noting(codec, Vec::new()));
        for piece in &stream.pieces {
            wire.send(piece);
        }
        let is_closed = wire.is_closed();
        let frames = match is_closed {
            false => wire.with_protocol(|noting, _| noting.1.join(",")),
            true => return String::from("refused"),
        };
        format!("{frames};open")
    }
    let limit = stream.limit;
    match stream.kind {
        "netstrings" => run(stream, NetstringCodec::new().limit(limit)),
        "int8" => run(stream, LengthCodec::u8().limit(limit)),
        "int16" => run(stream, LengthCodec::u16().limit(limit)),
        "int32" => run(stream, LengthCodec::u32().limit(limit)),
        _ => run(stream, LineCodec::delimited(&b"\r\n"[..]).limit(limit)),
    }
}

#[test]
fn random_streams_give_the_frames_that_twisted_finds_or_both_refuse_them() {
    let Some(twisted) = twisted() else { return };
    let count: usize = env::var("TORSADE_STREAMS").map_or(200, |text| text.parse().unwrap());
    let mut random = Random::new(14);
    let streams: Vec<_> = (0..count)
        .flat_map(|_| KINDS)
        .map(|kind| stream(&mut random, kind))
        .collect();
    let mut child = Command::new(twisted)
        .arg(script("twisted_framing.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text: String = streams
        .iter()
        .map(|stream| {
            let pieces: Vec<_> = stream.pieces.iter().map(|piece| hex(piece)).collect();
            // `LineOnlyReceiver` counts half a delimiter as a part of the line, so what it refuses
            // depends on the pieces.
            let between = if stream.kind == "only" { "" } else { "," };
            format!(
                "{} {} {}\n",
                stream.kind,
                stream.limit,
                pieces.join(between)
            )
        })
        .collect();
    let mut input = BufWriter::new(child.stdin.take().unwrap());
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert_eq!(theirs.lines().count(), streams.len());
    let mut refused = 0;
    for (stream, theirs) in streams.iter().zip(theirs.lines()) {
        let ours = ours(stream);
        let is_same = match theirs.ends_with(";refused") {
            true => ours == "refused",
            false => ours == theirs,
        };
        refused += usize::from(ours == "refused");
        let pieces: Vec<_> = stream
            .pieces
            .iter()
            .map(|piece| piece.escape_ascii())
            .collect();
        let (kind, limit) = (stream.kind, stream.limit);
        assert!(
            is_same,
            "{kind}, limit {limit}: {pieces:?}\nours: {ours}\ntheirs: {theirs}"
        );
    }
    // Neither all nor none: else nothing was compared.
    assert!(
        (streams.len() / 10..streams.len() * 9 / 10).contains(&refused),
        "{refused}"
    );
}
