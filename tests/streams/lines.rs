//! Protocols that receive lines and other frames: wherever the bytes are cut and wherever a frame
//! pauses, closes or hands on the connection, each frame is delivered once, in order, before the
//! end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use support::{Anywhere, Log, MS, Spy, expect_reports, how, some_turns, until};
use torsade::protocol::Input;
use torsade::protocols::{Decoded, Decoder, LineProtocol, Lines};
use torsade::testing::{self, Wire};
use torsade::transport::Limits;
use torsade::{Clock, ConnectionError, Context, Deferred, Failure, Handle, Protocol, Reactor};

type Act<P> = Rc<dyn Fn(&mut P, &mut Context<'_, P>, usize)>;

/// Notes lines, and then does something that depends on how many there were.
struct Reader {
    log: Log,
    count: usize,
    act: Act<Self>,
}

impl Reader {
    fn new(log: &Log, act: impl Fn(&mut Self, &mut Context<'_, Self>, usize) + 'static) -> Self {
        Self {
            log: log.clone(),
            count: 0,
            act: Rc::new(act),
        }
    }

    fn note(&mut self, cx: &mut Context<'_, Self>, what: &str, line: &[u8]) {
        self.log
            .note(format_args!("{what} {}", line.escape_ascii()));
        self.count += 1;
        let act = self.act.clone();
        act(self, cx, self.count);
    }
}

impl LineProtocol for Reader {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        self.note(cx, "line", line);
    }

    fn line_length_exceeded(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        self.note(cx, "too long", line);
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.log.note("eof");
        cx.lose_connection();
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.note(format_args!("lost {}", how(&reason)));
    }
}

/// Finds netstrings of at most nine bytes.
struct Netstring;

impl Decoder for Netstring {
    type Frame<'a> = &'a [u8];
    type Owned = Vec<u8>;
    type Error = &'static str;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, &'a [u8], &'static str> {
        let length = match input[0] {
            digit @ b'0'..=b'9' => usize::from(digit - b'0') + 3,
            _ => {
                return Decoded::Bad {
                    error: "no digit",
                    bytes: &input[..1],
                    length: 1,
                };
            }
        };
        match input.get(length - 1) {
            None => Decoded::More,
            Some(_) => Decoded::Frame {
                frame: &input[2..length - 1],
                length,
            },
        }
    }
}

/// The same as [`Reader`], for netstrings.
struct Strings {
    log: Log,
    count: usize,
    act: Act<Self>,
}

impl Protocol for Strings {
    fn input_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
        while let Some(frame) = input.next_frame(&mut Netstring) {
            let frame = frame.expect("what was sent is well-formed");
            self.log
                .note(format_args!("frame {}", frame.escape_ascii()));
            self.count += 1;
            let act = self.act.clone();
            act(self, cx, self.count);
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

const TEXT: &[u8] = b"one\r\n\ntwo\r\nthree\nfour\r\nrest";
const LINES: [&str; 5] = ["line one", "line ", "line two", "line three", "line four"];
const STRINGS: &[u8] = b"3:one,0:,3:two,5:three,4:four,9:unfin";
const FRAMES: [&str; 5] = [
    "frame one",
    "frame ",
    "frame two",
    "frame three",
    "frame four",
];

/// Sends `text`, cut at each place or in pieces of each size, to what `build` makes.
fn each_cut<P: Protocol>(
    text: &[u8],
    mut build: impl FnMut(&Log) -> P,
    mut check: impl FnMut(&mut Wire<P>, &Log, &str),
) {
    let cuts = (0..=text.len()).map(|at| vec![&text[..at], &text[at..]]);
    let sizes = (1..=text.len()).map(|size| text.chunks(size).collect());
    for pieces in cuts.chain(sizes) {
        let log = Log::new();
        let mut wire = Wire::new(build(&log));
        for piece in &pieces {
            wire.send(piece);
        }
        let lengths: Vec<_> = pieces.iter().map(|piece| piece.len()).collect();
        check(&mut wire, &log, &format!("{lengths:?}"));
    }
}

/// Resumes again and again, and sees that each time one frame more is delivered and nothing else.
fn resumed_one_by_one<P: Protocol>(wire: &mut Wire<P>, log: &Log, frames: &[&str], cut: &str) {
    wire.send_eof();
    for count in 1..=frames.len() {
        assert_eq!(log.all(), frames[..count], "cut {cut}");
        wire.advance(Duration::from_secs(1));
        assert_eq!(log.all(), frames[..count], "cut {cut}: it is paused");
        wire.transport().resume_producing();
        wire.advance(Duration::ZERO);
    }
    let mut all = frames.to_vec();
    all.extend(["eof", "lost done"]);
    assert_eq!(log.all(), all, "cut {cut}");
}

#[test]
fn pausing_at_each_line_stops_at_once_and_resuming_continues_with_the_next_line() {
    each_cut(
        TEXT,
        |log| Lines::new(Reader::new(log, |_, cx, _| cx.pause_producing())),
        |wire, log, cut| resumed_one_by_one(wire, log, &LINES, cut),
    );
}

#[test]
fn pausing_at_each_frame_of_another_kind_is_the_same() {
    each_cut(
        STRINGS,
        |log| Strings {
            log: log.clone(),
            count: 0,
            act: Rc::new(|_, cx, _| cx.pause_producing()),
        },
        |wire, log, cut| resumed_one_by_one(wire, log, &FRAMES, cut),
    );
}

#[test]
fn resuming_in_the_same_hook_changes_nothing() {
    each_cut(
        TEXT,
        |log| {
            Lines::new(Reader::new(log, |_, cx, _| {
                cx.pause_producing();
                cx.resume_producing();
            }))
        },
        |_, log, cut| assert_eq!(log.all(), LINES, "cut {cut}"),
    );
}

/// Records each byte separately.
fn bytes(log: &Log) -> Spy {
    let to = log.clone();
    Spy::new(&Log::new()).on_data(move |_, data| {
        for byte in data {
            to.note(byte.escape_ascii());
        }
    })
}

#[test]
fn the_successor_named_at_a_frame_is_given_all_bytes_behind_it() {
    for at in 1..=LINES.len() {
        let build = |log: &Log| {
            Lines::new(Reader::new(log, move |me, cx, count| {
                if count == at {
                    cx.become_protocol(bytes(&me.log), b"");
                }
            }))
        };
        let ends: Vec<_> = memchr_all(TEXT);
        each_cut(TEXT, build, |_, log, cut| {
            let mut all: Vec<String> = LINES[..at].iter().map(ToString::to_string).collect();
            all.extend(
                TEXT[ends[at - 1] + 1..]
                    .iter()
                    .map(|byte| byte.escape_ascii().to_string()),
            );
            assert_eq!(log.all(), all, "named at {at}, cut {cut}");
        });
    }
}

fn memchr_all(text: &[u8]) -> Vec<usize> {
    (0..text.len()).filter(|at| text[*at] == b'\n').collect()
}

#[test]
fn a_successor_named_while_paused_gets_the_held_bytes_when_it_resumes() {
    each_cut(
        TEXT,
        |log| {
            Lines::new(Reader::new(log, |_, cx, count| {
                if count == 2 {
                    cx.pause_producing();
                    cx.call_later(MS, |me, cx| cx.become_protocol(bytes(&me.log), b"and "));
                }
            }))
        },
        |wire, log, cut| {
            wire.send_eof();
            wire.advance(MS);
            assert_eq!(log.take(), LINES[..2], "cut {cut}");
            // The transport of the first one is over.
            let resumed = wire.handle().transport();
            assert!(resumed.is_none_or(|transport| !transport.is_connected()));
            assert!(log.is_empty(), "cut {cut}: it is still paused");
        },
    );
}

#[test]
fn closing_at_each_frame_stops_delivery() {
    for at in 1..=LINES.len() {
        for is_abort in [false, true] {
            let build = |log: &Log| {
                Lines::new(Reader::new(log, move |_, cx, count| match is_abort {
                    true if count == at => cx.abort_connection(),
                    false if count == at => cx.lose_connection(),
                    _ => {}
                }))
            };
            each_cut(TEXT, build, |wire, log, cut| {
                let mut all = LINES[..at].to_vec();
                all.push(if is_abort {
                    "lost aborted"
                } else {
                    "lost done"
                });
                assert_eq!(log.all(), all, "closed at {at}, cut {cut}");
                assert!(wire.is_closed());
            });
        }
    }
}

#[test]
fn a_line_that_is_too_long_is_passed_with_its_bytes_and_the_next_line_follows() {
    for (text, limit, expected) in [
        (
            &b"abcdef\r\nok\r\n"[..],
            5,
            &["too long abcdef", "line ok"][..],
        ),
        (b"abcde\r\nok\n", 5, &["line abcde", "line ok"]),
        (b"a\nbcdefgh\n", 3, &["line a", "too long bcdefgh"]),
        (b"abcdefgh", 3, &["too long abcdefgh"]),
    ] {
        let log = Log::new();
        let reader = Lines::with_limit(Reader::new(&log, |_, _, _| {}), limit);
        let mut wire = Wire::new(reader);
        wire.send(text);
        assert_eq!(log.all(), expected);
    }
    // However it is cut: its beginning, once, and what follows.
    each_cut(
        b"abcdefgh\r\nok\r\n",
        |log| Lines::with_limit(Reader::new(log, |_, _, _| {}), 3),
        |_, log, cut| {
            let all = log.all();
            assert!(
                all.len() == 2 && all[0].starts_with("too long abcd") && all[1] == "line ok",
                "cut {cut}: {all:?}"
            );
        },
    );
}

#[test]
fn unless_it_is_overridden_a_line_too_long_ends_the_connection() {
    struct Plain(Log);
    impl LineProtocol for Plain {
        fn line_received(&mut self, _cx: &mut Context<'_, Self>, line: &[u8]) {
            self.0.note(line.escape_ascii());
        }
    }
    let log = Log::new();
    let mut wire = Wire::new(Lines::with_limit(Plain(log.clone()), 4));
    wire.send("fine\nnot fine\nnever\n");
    assert!(wire.is_closed());
    assert_eq!(log.all(), ["fine"]);
}

#[test]
fn a_panic_at_a_line_ends_the_delivery() {
    let reactor = Reactor::in_memory().unwrap();
    testing::run_on(reactor, async |reactor| {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let to = log.clone();
        let port = reactor.listen(Anywhere, move |_| {
            Lines::new(Reader::new(&to, |_, _, count| {
                assert!(count != 2, "the second")
            }))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(TEXT).await?;
        until(|| log.count("line ") == 1).await;
        some_turns().await;
        assert_eq!(log.all()[..2], LINES[..2]);
        assert_eq!(log.all().len(), 3, "{:?}", log.all());
        assert_eq!(reports.borrow().len(), 1);
        drop(conn);
        port.stop().await
    });
}

#[test]
fn the_protocols_own_methods_can_be_called_later() {
    struct Own(Log);
    impl Own {
        fn tick(&mut self, cx: &mut Context<'_, Self>) {
            self.0.note("tick");
            cx.send_line("tick");
        }
        fn observed(&mut self, cx: &mut Context<'_, Self>, number: Result<u32, Failure>) {
            self.0
                .note(format_args!("told {}", number.unwrap_or_default()));
            cx.handle().post(Self::posted);
        }
        fn posted(&mut self, cx: &mut Context<'_, Self>) {
            self.0.note("posted");
            cx.lose_connection();
        }
    }
    impl LineProtocol for Own {
        fn line_received(&mut self, cx: &mut Context<'_, Self>, _line: &[u8]) {
            cx.call_later(MS, Self::tick);
            let (later, resolver) = Deferred::pair();
            cx.when(later, Self::observed);
            cx.reactor()
                .call_later(2 * MS, move || resolver.callback(7));
        }
    }
    let log = Log::new();
    let mut wire = Wire::new(Lines::new(Own(log.clone())));
    wire.send("go\n");
    wire.advance(MS);
    assert_eq!(wire.take_received(), b"tick\r\n");
    wire.advance(MS);
    assert_eq!(log.all(), ["tick", "told 7", "posted"]);
    assert!(wire.is_closed());
}

#[test]
fn a_line_protocol_has_an_ordinary_handle() {
    struct Kept(Rc<RefCell<Option<Handle<Self>>>>, u32);
    impl LineProtocol for Kept {
        fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
            self.0.replace(Some(cx.handle()));
        }
        fn line_received(&mut self, _cx: &mut Context<'_, Self>, line: &[u8]) {
            self.1 += line.len() as u32;
        }
    }
    testing::run(async |reactor| {
        let slot: Rc<RefCell<Option<Handle<Kept>>>> = Rc::default();
        let kept = slot.clone();
        let port = reactor.listen(Anywhere, move |_| Lines::new(Kept(kept.clone(), 0)))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"12345\n").await?;
        until(|| slot.borrow().is_some()).await;
        let handle: Handle<Kept> = slot.take().unwrap();
        some_turns().await;
        assert_eq!(handle.ask(|kept, _| kept.1).await?, 5);
        assert!(handle.is_connected());
        let closed = handle.closed();
        handle.transport().unwrap().lose_connection();
        assert_eq!(how(&closed.await?), "done");
        assert!(!handle.is_connected());
        assert_eq!(how(&handle.closed().await?), "done");
        let failure = handle.ask(|kept, _| kept.1).await.unwrap_err();
        assert!(
            matches!(failure.find(), Some(ConnectionError::Done)),
            "{failure:?}"
        );
        assert!(conn.read(&mut [0]).await? == 0);
        drop(conn);
        port.stop().await
    });
}

#[test]
fn bytes_can_be_put_in_by_hand() {
    let log = Log::new();
    let mut wire = Wire::new(Lines::new(Reader::new(&log, |_, cx, count| {
        if count == 1 {
            cx.pause_producing();
        }
    })));
    wire.send("half");
    wire.handle()
        .post(|lines, cx| lines.data_received(cx, b" and half\r\nmore\r\nend"));
    wire.advance(Duration::ZERO);
    assert_eq!(log.take(), ["line half and half"]);
    wire.handle()
        .post(|lines, cx| lines.data_received(cx, b"i"));
    wire.advance(Duration::ZERO);
    assert!(log.is_empty(), "it is paused");
    wire.transport().resume_producing();
    wire.send("ng\r\n");
    assert_eq!(log.all(), ["line more", "line ending"]);
}

on_transports! {
    async fn paused_lines_come_before_the_end_that_came_meanwhile(reactor) {
        let log = Log::new();
        let handle: Rc<RefCell<Option<Handle<Reader>>>> = Rc::default();
        let (to, kept) = (log.clone(), handle.clone());
        let port = reactor.listen(Anywhere, move |_| {
            let kept = kept.clone();
            Lines::new(Reader::new(&to, move |_, cx, _| {
                kept.replace(Some(cx.handle()));
                cx.pause_producing();
            }))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(TEXT).await?;
        conn.close().await?;
        for count in 1..=LINES.len() {
            until(|| log.all().len() == count).await;
            some_turns().await;
            assert_eq!(log.all(), LINES[..count]);
            let transport = handle.borrow().as_ref().and_then(Handle::transport);
            transport.unwrap().resume_producing();
        }
        until(|| log.has("lost done")).await;
        assert_eq!(log.all()[LINES.len()..], ["eof", "lost done"]);
        drop(conn);
        port.stop().await?;
    }

    async fn a_successor_gets_the_rest_of_the_read_bytes_and_then_the_end_of_file(reactor) {
        let log = Log::new();
        let to = log.clone();
        let port = reactor.listen(Anywhere, move |_| {
            Lines::new(Reader::new(&to, |me, cx, count| {
                if count == 3 {
                    cx.send_line("switching");
                    let next = Spy::named(&me.log, "next").on_data(|cx, data| cx.write(data));
                    cx.become_protocol(next, b"");
                }
            }))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(TEXT).await?;
        let mut answer = vec![0; "switching\r\nthree\nfour\r\nrest".len()];
        conn.read_exact(&mut answer).await?;
        assert_eq!(answer.escape_ascii().to_string(), "switching\\r\\nthree\\nfour\\r\\nrest");
        conn.close().await?;
        until(|| log.has("next lost done")).await;
        assert_eq!(log.all()[3..], [
            "next made", "next data three\\nfour\\r\\nrest", "next eof", "next lost done",
        ]);
        drop(conn);
        port.stop().await?;
    }

    async fn a_hand_over_of_a_paused_connection_delivers_after_it_resumes(reactor) {
        let log = Log::new();
        let next = Rc::new(Cell::new(None));
        let (to, kept) = (log.clone(), next.clone());
        let port = reactor.listen(Anywhere, move |_| {
            let kept = kept.clone();
            Lines::new(Reader::new(&to, move |me, cx, _| {
                let kept = kept.clone();
                cx.pause_producing();
                let next = Spy::named(&me.log, "next").on_made(move |cx| kept.set(Some(cx.clone())));
                cx.become_protocol(next, b"");
            }))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"go\nrest").await?;
        conn.close().await?;
        until(|| log.has("next made")).await;
        some_turns().await;
        assert_eq!(log.all(), ["line go", "next made"]);
        next.take().unwrap().resume_producing();
        until(|| log.has("next lost done")).await;
        assert_eq!(log.all()[2..], ["next data rest", "next eof", "next lost done"]);
        drop(conn);
        port.stop().await?;
    }

    async fn a_full_connection_gets_no_line_until_there_is_space(reactor) {
        let log = Log::new();
        let most = Rc::new(Cell::new(0));
        let (to, seen) = (log.clone(), most.clone());
        let port = reactor.listen(Anywhere, move |_| {
            let seen = seen.clone();
            Lines::new(Reader::new(&to, move |_, cx, _| {
                cx.write([b'x'; 10_000]);
                seen.set(seen.get().max(cx.queued()));
            }))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all("\n".repeat(1000).as_bytes()).await?;
        conn.close().await?;
        let mut all = Vec::new();
        conn.read_to_end(&mut all).await?;
        assert_eq!(all.len(), 1000 * 10_000);
        assert!(most.get() <= Limits::default().high + 10_000, "{}", most.get());
        drop(conn);
        until(|| log.has("lost done")).await;
        port.stop().await?;
    }

    async fn many_lines_in_one_chunk_leave_turns_for_other_connections(reactor) {
        let log = Log::new();
        let to = log.clone();
        let port = reactor.listen(Anywhere, move |_| Lines::new(Reader::new(&to, |_, _, _| {})))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all("\n".repeat(2000).as_bytes()).await?;
        conn.close().await?;
        until(|| !log.is_empty()).await;
        // Tasks that the first line wakes run long before the last line, and so do timers.
        assert!(log.all().len() < 1000, "{} lines in a row", log.all().len());
        reactor.sleep(Duration::ZERO).await?;
        assert!(log.all().len() < 1000, "{} lines before a timer", log.all().len());
        until(|| log.has("lost done")).await;
        assert_eq!(log.count("line "), 2000);
        drop(conn);
        port.stop().await?;
    }

    async fn a_connection_that_breaks_is_first_given_the_lines_it_has_sent(reactor) {
        let log = Log::new();
        let to = log.clone();
        let port = reactor.listen(Anywhere, move |_| Lines::new(Reader::new(&to, |_, _, _| {})))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all("\n".repeat(2000).as_bytes()).await?;
        until(|| !log.is_empty()).await;
        conn.transport().abort_connection();
        until(|| log.all().iter().any(|note| note.starts_with("lost"))).await;
        assert_eq!(log.count("line "), 2000);
        drop(conn);
        port.stop().await?;
    }
}
