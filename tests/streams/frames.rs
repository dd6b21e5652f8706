//! Frames of every codec, as calls of a protocol and as a stream: the same however the bytes are
//! cut, with raw data in between, with pauses, hand-overs and errors.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Poll;

use futures::{FutureExt, SinkExt, StreamExt, TryStreamExt};

use support::{Anywhere, Log, MS, Spy, how, some_turns, until};
use torsade::net::ListenOptions;
use torsade::protocol::Input;
use torsade::protocols::{
    Decoded, Decoder, Encoder, FrameError, FrameProtocol, FrameState, LengthCodec, LineCodec,
    NetstringCodec, Rejected,
};
use torsade::testing::{Random, Wire};
use torsade::{Connection, Context, Failure, Port, Reactor};

type Act<C> = Rc<dyn Fn(&mut Noting<C>, &mut Context<'_, Noting<C>>, usize)>;

/// Records what it receives, and then does something that depends on the number of frames so far.
struct Noting<C: 'static> {
    log: Log,
    codec: C,
    count: usize,
    act: Act<C>,
    /// The number of bytes of raw data that are still to come.
    raw: usize,
}

impl<C> Noting<C> {
    fn new(log: &Log, codec: C) -> Self {
        Self::acting(log, codec, |_, _, _| {})
    }

    fn acting(
        log: &Log,
        codec: C,
        act: impl Fn(&mut Self, &mut Context<'_, Self>, usize) + 'static,
    ) -> Self {
        Self {
            log: log.clone(),
            codec,
            count: 0,
            act: Rc::new(act),
            raw: 0,
        }
    }
}

/// The requirements of the tests on a codec.
trait Codec:
    for<'a> Decoder<Frame<'a> = &'a [u8], Owned = Vec<u8>, Error = FrameError>
    + for<'a> Encoder<&'a [u8], Error = FrameError>
    + Clone
    + Unpin
    + 'static
{
    /// Leaves the raw mode.
    fn set_framed(&mut self) {}
}

impl Codec for LineCodec {
    fn set_framed(&mut self) {
        self.set_line_mode();
    }
}
impl Codec for NetstringCodec {}
impl Codec for LengthCodec {}

impl<C: Codec> FrameProtocol for Noting<C> {
    type Codec = C;

    fn codec(&mut self) -> &mut C {
        &mut self.codec
    }

    fn frame_received(&mut self, cx: &mut Context<'_, Self>, frame: &[u8]) {
        self.log.note(frame.escape_ascii());
        self.count += 1;
        let act = self.act.clone();
        act(self, cx, self.count);
    }

    fn frame_rejected(&mut self, _cx: &mut Context<'_, Self>, rejected: Rejected<'_, FrameError>) {
        self.log.note(format_args!("rejected: {}", rejected.error));
    }

    fn raw_received(&mut self, _cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
        let data = input.take_up_to(self.raw);
        for byte in data {
            self.log.note(format_args!("raw {}", byte.escape_ascii()));
        }
        self.raw -= data.len();
        if self.raw == 0 {
            self.codec.set_framed();
        }
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.log.note("eof");
        cx.lose_connection();
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.note(format_args!("lost {}", how(&reason)));
    }
}

/// Calls `check` with ways to cut the text: at each place, in pieces of each size, and at random.
fn each_cut(text: &[u8], mut check: impl FnMut(&[&[u8]])) {
    for at in 0..=text.len() {
        check(&[&text[..at], &text[at..]]);
        check(&text.chunks(at + 1).collect::<Vec<_>>());
    }
    let mut random = Random::new(text.len() as u64);
    for _ in 0..50 {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(1 + random.below(rest.len().min(9)));
            pieces.push(piece);
            rest = left;
        }
        check(&pieces);
    }
}

/// Frames of all kinds, encoded, with what follows them.
fn encoded<C: Codec>(codec: &C, frames: &[&str], rest: &[u8]) -> Vec<u8> {
    let (mut codec, mut text) = (codec.clone(), Vec::new());
    for frame in frames {
        codec.encode(frame.as_bytes(), &mut text).unwrap();
    }
    text.extend_from_slice(rest);
    text
}

/// Runs a check with each codec.
macro_rules! with_each_codec {
    ($check:ident) => {{
        $check(LineCodec::new());
        $check(LineCodec::delimited(&b"##"[..]));
        $check(NetstringCodec::new());
        $check(LengthCodec::u8());
        $check(LengthCodec::u16());
        $check(LengthCodec::u32().little_endian());
        $check(LengthCodec::u16().offset(2).length_adjustment(-4));
    }};
}

const FRAMES: [&str; 5] = ["one", "", "two", "three", "four"];

#[test]
fn each_frame_is_received_once_however_the_bytes_are_cut() {
    fn check<C: Codec>(codec: C) {
        each_cut(&encoded(&codec, &FRAMES, b"5"), |pieces| {
            let log = Log::new();
            let mut wire = Wire::new(Noting::new(&log, codec.clone()));
            pieces.iter().for_each(|piece| wire.send(piece));
            assert_eq!(log.take(), FRAMES);
            wire.send_eof();
            assert_eq!(log.take(), ["eof", "lost done"]);
        });
    }
    with_each_codec!(check);
}

#[test]
fn pausing_at_a_frame_stops_at_once_and_loses_nothing() {
    fn check<C: Codec>(codec: C) {
        each_cut(&encoded(&codec, &FRAMES, b""), |pieces| {
            let log = Log::new();
            let protocol = Noting::acting(&log, codec.clone(), |_, cx, _| cx.pause_producing());
            let mut wire = Wire::new(protocol);
            pieces.iter().for_each(|piece| wire.send(piece));
            wire.send_eof();
            for count in 1..=FRAMES.len() {
                assert_eq!(log.all(), FRAMES[..count]);
                wire.transport().resume_producing();
                wire.advance(std::time::Duration::ZERO);
            }
            assert_eq!(log.all()[FRAMES.len()..], ["eof", "lost done"]);
        });
    }
    with_each_codec!(check);
}

#[test]
fn the_next_protocol_gets_the_bytes_behind_the_frame() {
    fn check<C: Codec>(codec: C) {
        let text = encoded(&codec, &FRAMES, b"and the rest");
        let behind = encoded(&codec, &FRAMES[3..], b"and the rest");
        each_cut(&text, |pieces| {
            let log = Log::new();
            let received = Rc::new(RefCell::new(Vec::new()));
            let to = received.clone();
            let protocol = Noting::acting(&log, codec.clone(), move |_, cx, count| {
                let to = to.clone();
                if count == 3 {
                    let next = Spy::new(&Log::new())
                        .on_data(move |_, data| to.borrow_mut().extend_from_slice(data));
                    cx.become_protocol(next, b"");
                }
            });
            let mut wire = Wire::new(protocol);
            pieces.iter().for_each(|piece| wire.send(piece));
            assert_eq!(log.take(), FRAMES[..3]);
            assert_eq!(*received.borrow(), behind);
        });
    }
    with_each_codec!(check);
}

#[test]
fn raw_data_of_known_length_ends_in_the_middle_of_a_chunk() {
    let text = b"raw 3\r\n\r\n!raw 0\r\nraw 1\r\n?end\r\n";
    each_cut(text, |pieces| {
        let log = Log::new();
        let mut wire = Wire::new(Noting::acting(&log, LineCodec::new(), |me, _, _| {
            let last = me.log.all().pop().unwrap();
            if let Some(length) = last.strip_prefix("raw ") {
                me.raw = length.parse().unwrap();
                me.codec.set_raw_mode();
            }
        }));
        pieces.iter().for_each(|piece| wire.send(piece));
        let all = [
            "raw 3", "raw \\r", "raw \\n", "raw !", "raw 0", "raw 1", "raw ?", "end",
        ];
        assert_eq!(log.all(), all);
    });
}

#[test]
fn many_switches_in_one_chunk_take_time_in_proportion_and_no_stack() {
    let log = Log::new();
    let mut wire = Wire::new(Noting::acting(&log, LineCodec::new(), |me, _, _| {
        me.raw = 1;
        me.codec.set_raw_mode();
    }));
    wire.send("\n.".repeat(100_000));
    assert_eq!(log.all().len(), 200_000);
}

#[test]
fn raw_data_that_is_not_taken_is_passed_again_with_what_follows() {
    struct Waits {
        lines: LineCodec,
        log: Log,
    }
    impl FrameProtocol for Waits {
        type Codec = LineCodec;
        fn codec(&mut self) -> &mut LineCodec {
            &mut self.lines
        }
        fn frame_received(&mut self, _cx: &mut Context<'_, Self>, line: &[u8]) {
            self.log.note(line.escape_ascii());
            self.lines.set_raw_mode();
        }
        fn raw_received(&mut self, _cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
            if input.peek().ends_with(b"!") {
                self.log.note(input.take().escape_ascii());
                self.lines.set_line_mode();
            }
        }
    }
    let (log, lines) = (Log::new(), LineCodec::new());
    let mut wire = Wire::new(Waits {
        lines,
        log: log.clone(),
    });
    wire.send("go\n1");
    wire.send("2");
    assert_eq!(log.all(), ["go"]);
    wire.send("3!");
    wire.send("on\n");
    assert_eq!(log.all(), ["go", "123!", "on"]);
}

#[test]
fn raw_data_is_dropped_unless_it_is_requested() {
    struct Deaf(LineCodec);
    impl FrameProtocol for Deaf {
        type Codec = LineCodec;
        fn codec(&mut self) -> &mut LineCodec {
            &mut self.0
        }
        fn frame_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
            cx.send_line(line);
            self.0.set_raw_mode();
        }
    }
    let mut wire = Wire::new(Deaf(LineCodec::new()));
    wire.send("one\ntwo\nthree\n");
    wire.send_eof();
    assert_eq!(wire.take_received(), b"one\r\n");
    assert!(wire.is_closed());
}

#[test]
fn after_bytes_that_are_no_netstring_the_connection_is_closed() {
    let log = Log::new();
    let mut wire = Wire::new(Noting::new(&log, NetstringCodec::new()));
    wire.send("2:ok,2:no;2:ok,");
    assert!(wire.is_closed());
    let error = "rejected: a netstring has the byte 0x3b in place of a comma";
    assert_eq!(log.all(), ["ok", error, "lost done"]);
}

#[test]
fn a_frame_that_is_too_long_closes_the_connection_unless_the_protocol_goes_on() {
    struct Plain(LengthCodec);
    impl FrameProtocol for Plain {
        type Codec = LengthCodec;
        fn codec(&mut self) -> &mut LengthCodec {
            &mut self.0
        }
        fn frame_received(&mut self, cx: &mut Context<'_, Self>, frame: &[u8]) {
            self.send(cx, frame).unwrap();
        }
    }
    let text = b"\x02ok\x04four\x02on";
    let mut wire = Wire::new(Plain(LengthCodec::u8().limit(3)));
    wire.send(text);
    assert!(wire.is_closed());
    assert_eq!(wire.take_received(), b"\x02ok");
    let log = Log::new();
    let mut wire = Wire::new(Noting::new(&log, LengthCodec::u8().limit(3)));
    wire.send(text);
    let error = "rejected: a frame of 4 bytes is longer than 3 bytes";
    assert_eq!(log.all(), ["ok", error, "on"]);
}

#[test]
fn a_frame_that_cannot_be_sent_is_an_error_and_nothing_is_sent() {
    let log = Log::new();
    let mut wire = Wire::new(Noting::acting(&log, LineCodec::new(), |me, cx, _| {
        let sent = me.send(cx, &b"two\nlines"[..]);
        assert_eq!(sent, Err(FrameError::ContainsDelimiter { position: 3 }));
    }));
    wire.send("go\n");
    assert_eq!(wire.take_received(), b"");
}

#[test]
fn the_state_of_a_conversation_decides_who_receives_a_frame() {
    struct Sums {
        strings: LengthCodec,
        state: FrameState<Self>,
        sum: u32,
    }
    impl Sums {
        fn add(&mut self, cx: &mut Context<'_, Self>, number: &[u8]) -> FrameState<Self> {
            match std::str::from_utf8(number).unwrap().parse::<u32>() {
                Ok(number) => self.sum += number,
                Err(_) => return FrameState::<Self>::new(Self::multiply),
            }
            self.send(cx, self.sum.to_string()).unwrap();
            self.state
        }
        fn multiply(&mut self, cx: &mut Context<'_, Self>, number: &[u8]) -> FrameState<Self> {
            self.sum *= std::str::from_utf8(number).unwrap().parse::<u32>().unwrap();
            self.send(cx, self.sum.to_string()).unwrap();
            FrameState::DONE
        }
    }
    impl FrameProtocol for Sums {
        type Codec = LengthCodec;
        fn codec(&mut self) -> &mut LengthCodec {
            &mut self.strings
        }
        fn frame_received(&mut self, cx: &mut Context<'_, Self>, frame: &[u8]) {
            self.state = self.state.receive(self, cx, frame);
        }
    }
    let mut wire = Wire::new(Sums {
        strings: LengthCodec::u8(),
        state: FrameState::<Sums>::new(Sums::add),
        sum: 0,
    });
    wire.send(b"\x012\x0240\x01*\x013\x015");
    assert_eq!(wire.take_received(), b"\x012\x0242\x03126");
    assert!(wire.is_closed());
}

/// Answers frames with their contents, and counts the empty ones.
struct Echo<C>(C, Box<dyn FnMut()>);

impl<C> FrameProtocol for Echo<C>
where
    C: for<'a> Decoder<Frame<'a> = &'a [u8], Error = FrameError> + 'static,
{
    type Codec = C;
    fn codec(&mut self) -> &mut C {
        &mut self.0
    }
    fn frame_received(&mut self, cx: &mut Context<'_, Self>, frame: &[u8]) {
        match frame {
            [] => (self.1)(),
            frame => cx.write(frame),
        }
    }
}

/// A codec that skips empty frames, and counts them.
struct Skipping(LengthCodec, Rc<Cell<usize>>);

impl Decoder for Skipping {
    type Frame<'a> = &'a [u8];
    type Owned = Vec<u8>;
    type Error = FrameError;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, &'a [u8], FrameError> {
        if input.first() == Some(&0) {
            self.1.set(self.1.get() + 1);
            return Decoded::Skip(1);
        }
        self.0.decode(input)
    }
}

/// Polls a future once.
async fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.poll_unpin(cx))).await
}

/// A client and the server's connection.
async fn ends(reactor: &Reactor) -> Result<(Connection, Connection), Failure> {
    let mut port = reactor.bind(Anywhere)?;
    let client = reactor.connect_stream(port.local_addr());
    futures::future::try_join(client, port.accept()).await
}

/// Sends a million empty frames (in TLS, where each byte costs much more in a debug build, a fifth
/// of them), and meanwhile asks on another connection: fewer than `limit` of
/// them are received between a question and its answer.
async fn flood_beside_another(
    reactor: &Reactor,
    port: Port,
    empty: &Cell<usize>,
    limit: usize,
) -> Result<(), Failure> {
    empty.set(0);
    let mut flood = reactor.connect_stream(port.local_addr()).await?;
    let mut other = reactor.connect_stream(port.local_addr()).await?;
    let many = match flood.transport().tls() {
        None => 1_000_000,
        Some(_) => 200_000,
    };
    let flooding = reactor.spawn(async move {
        let sent = flood.write_all(&vec![0; many]).await;
        sent.map(|()| flood)
    });
    let mut most = 0;
    for _ in 0..20 {
        let before = empty.get();
        other.write_all(b"\x04ping").await?;
        let mut answer = [0; 4];
        other.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"ping");
        most = most.max(empty.get() - before);
    }
    assert!(
        most < limit,
        "{most} empty frames came before the answer to another"
    );
    let flood = flooding.await??;
    until(|| empty.get() == many).await;
    drop((flood, other));
    port.stop().await?;
    Ok(())
}

on_transports! {
    async fn frames_are_a_stream_and_a_sink(reactor) {
        async fn check<C: Codec>(reactor: &Reactor, codec: C) -> Result<(), Failure> {
            let (client, server) = ends(reactor).await?;
            let (mut client, mut server) = (client.framed(codec.clone()), server.framed(codec));
            for frame in FRAMES {
                client.send(frame.as_bytes()).await?;
            }
            client.close().await?;
            for frame in FRAMES {
                assert_eq!(server.next().await.unwrap()?, frame.as_bytes());
            }
            assert!(server.next().await.is_none());
            assert!(server.next().await.is_none());
            Ok(())
        }
        check(&reactor, LineCodec::new()).await?;
        check(&reactor, LineCodec::delimited(&b"##"[..])).await?;
        check(&reactor, NetstringCodec::new()).await?;
        check(&reactor, LengthCodec::u8()).await?;
        check(&reactor, LengthCodec::u16()).await?;
        check(&reactor, LengthCodec::u32().little_endian()).await?;
        check(&reactor, LengthCodec::u16().offset(2).length_adjustment(-4)).await?;
    }

    async fn the_adapters_of_streams_and_sinks_work(reactor) {
        let (client, server) = ends(&reactor).await?;
        let (reader, writer) = server.split();
        let echo = reactor.spawn(async move {
            let strings = reader.framed(NetstringCodec::new());
            strings.map_ok(|string| string.to_ascii_uppercase())
                .forward(writer.framed(LineCodec::new()))
                .await
        });
        let (reader, writer) = client.split();
        let mut writer = writer.framed(NetstringCodec::new());
        let frames = futures::stream::iter(FRAMES.map(Ok));
        SinkExt::<&str>::send_all(&mut writer, &mut { frames }).await?;
        SinkExt::<&str>::close(&mut writer).await?;
        let lines: Vec<_> = reader.framed(LineCodec::new()).try_collect().await?;
        assert_eq!(lines, FRAMES.map(|frame| frame.to_ascii_uppercase().into_bytes()));
        echo.await??;
    }

    async fn codecs_of_the_crate_asynchronous_codec_work_on_a_connection(reactor) {
        use asynchronous_codec::{Framed, LinesCodec};

        let (client, server) = ends(&reactor).await?;
        let (mut client, mut server) =
            (Framed::new(client, LinesCodec), Framed::new(server, LinesCodec));
        let sending = async {
            for frame in FRAMES {
                client.send(format!("{frame}\n")).await?;
            }
            client.close().await
        };
        let receiving = async {
            for frame in FRAMES {
                let line = server.next().await.unwrap()?;
                assert_eq!(line, format!("{frame}\n"));
            }
            assert!(server.next().await.is_none());
            Ok(())
        };
        futures::future::try_join(sending, receiving).await?;
    }

    async fn raw_data_is_read_between_two_frames(reactor) {
        let (mut client, server) = ends(&reactor).await?;
        client.write_all(b"3\r\nab\ncd\r\n!").await?;
        client.close().await?;
        let mut lines = server.framed(LineCodec::new());
        assert_eq!(lines.next().await.unwrap()?, b"3");
        let mut raw = [0; 3];
        lines.get_mut().read_exact(&mut raw).await?;
        assert_eq!(&raw, b"ab\n");
        assert_eq!(lines.next().await.unwrap()?, b"cd");
        let mut rest = Vec::new();
        lines.into_inner().read_to_end(&mut rest).await?;
        assert_eq!(rest, b"!");
    }

    async fn bytes_that_are_read_raw_are_not_taken_for_searched(reactor) {
        let (mut client, server) = ends(&reactor).await?;
        let mut lines = server.framed(LineCodec::new());
        client.write_all(b"0123456789").await?;
        assert!(poll_once(Box::pin(lines.next())).await.is_pending());
        some_turns().await;
        assert!(poll_once(Box::pin(lines.next())).await.is_pending());
        let mut raw = [0; 10];
        lines.get_mut().read_exact(&mut raw).await?;
        client.write_all(b"line\n").await?;
        assert_eq!(lines.next().await.unwrap()?, b"line");
    }

    async fn a_stream_goes_on_after_a_frame_that_is_too_long_and_ends_after_what_is_fatal(reactor) {
        let (mut client, server) = ends(&reactor).await?;
        client.write_all(b"\x04four\x02ok").await?;
        let mut frames = server.framed(LengthCodec::u8().limit(3));
        let error = frames.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let inner = error.get_ref().and_then(|error| error.downcast_ref::<FrameError>());
        assert_eq!(inner, Some(&FrameError::FrameTooLong { length: 4, limit: 3 }));
        assert_eq!(frames.next().await.unwrap()?, b"ok");
        let mut strings = frames.into_inner().framed(NetstringCodec::new());
        client.write_all(b"x1:x,").await?;
        let error = strings.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(strings.next().await.is_none());
    }

    async fn next_with_ends_after_what_is_fatal_too(reactor) {
        let (mut client, server) = ends(&reactor).await?;
        client.write_all(b"x1:x,").await?;
        let mut strings = server.framed(NetstringCodec::new());
        assert!(strings.next_with(|frame| frame.is_err()).await.unwrap()?);
        assert!(strings.next_with(|_| panic!("nothing follows")).await.is_none());
        assert!(strings.next().await.is_none());
    }

    async fn the_end_of_file_within_a_frame_is_an_error(reactor) {
        let (mut client, server) = ends(&reactor).await?;
        client.write_all(b"1:x,5:hel").await?;
        client.close().await?;
        let mut strings = server.framed(NetstringCodec::new());
        assert_eq!(strings.next().await.unwrap()?, b"x");
        let error = strings.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        let inner = error.get_ref().and_then(|error| error.downcast_ref::<FrameError>());
        assert_eq!(inner, Some(&FrameError::Incomplete { received: 5 }));
        assert!(strings.next().await.is_none());
    }

    async fn a_frame_larger_than_the_queue_is_sent_whole(reactor) {
        let (client, server) = ends(&reactor).await?;
        let (mut client, mut server) =
            (client.framed(NetstringCodec::new().limit(9 << 20)), server.framed(NetstringCodec::new().limit(9 << 20)));
        let big: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
        let sending = async {
            client.send(&big).await?;
            client.send("end").await?;
            client.flush().await
        };
        let receiving = async {
            assert!(server.next().await.unwrap()? == big);
            assert_eq!(server.next().await.unwrap()?, b"end");
            Ok(())
        };
        futures::future::try_join(sending, receiving).await?;
    }

    async fn a_flood_of_empty_frames_does_not_hold_up_another_connection(reactor) {
        let empty = Rc::new(Cell::new(0));
        let count = empty.clone();
        let protocols = reactor.listen(Anywhere, move |_| {
            let count = count.clone();
            Echo(LengthCodec::u8(), Box::new(move || count.set(count.get() + 1)))
        })?;
        flood_beside_another(&reactor, protocols, &empty, 2_000).await?;
        // With a policy the loop attends to the connection each time that it waits for a frame.
        let timed = ListenOptions::new().frame_timeout(3_600_000 * MS);
        for options in [ListenOptions::new(), timed] {
            let count = empty.clone();
            let handlers = reactor.serve((Anywhere, options), async move |conn| {
                let mut frames = conn.framed(LengthCodec::u8());
                while let Some(frame) = frames.next().await {
                    match &frame?[..] {
                        [] => count.set(count.get() + 1),
                        frame => frames.get_mut().write_all(frame).await?,
                    }
                }
                Ok(())
            })?;
            // I/O is polled when a task has used up its budget of 128 frames four times, on the
            // machine after ten microseconds; for an answer three times.
            flood_beside_another(&reactor, handlers, &empty, 3 * 5 * 128).await?;
        }
    }

    async fn a_flood_of_skipped_frames_does_not_hold_up_another_connection(reactor) {
        let skipped = Rc::new(Cell::new(0));
        let count = skipped.clone();
        let protocols = reactor.listen(Anywhere, move |_| {
            Echo(Skipping(LengthCodec::u8(), count.clone()), Box::new(|| {}))
        })?;
        flood_beside_another(&reactor, protocols, &skipped, 2_000).await?;
        let count = skipped.clone();
        let handlers = reactor.serve(Anywhere, async move |conn| {
            let mut frames = conn.framed(Skipping(LengthCodec::u8(), count.clone()));
            while let Some(frame) = frames.next().await {
                frames.get_mut().write_all(&frame?).await?;
            }
            Ok(())
        })?;
        flood_beside_another(&reactor, handlers, &skipped, 2_000).await?;
    }
}
