//! Time limits, rate limits, limits on peers and observers: the same for protocols, factories and
//! async handlers, also after a hand-over.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use support::folder::Folder;
use support::{Anywhere, Log, Spy, expect_reports, how, until};
use torsade::net::{ConnectOptions, Incoming, ListenOptions, StreamServerEndpoint};
use torsade::protocols::{FrameProtocol, LengthCodec, LineProtocol, Lines};
use torsade::testing::{self, Wire};
use torsade::transport::{Policy, RateLimits, Recording, TrafficLog};
use torsade::{Clock, Connection, ConnectionError, Context, Failure, Port, Reactor, Transport};

const SECOND: Duration = Duration::from_secs(1);

/// Answers each line with the same line.
struct Echo(Log);

impl LineProtocol for Echo {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        cx.send_line(line);
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.0.note(format_args!("lost {reason}"));
    }
}

/// Notes all that an observer sees.
struct Notes(Log);

impl Policy for Notes {
    fn connected(&mut self, _transport: &Transport) {
        self.0.note("connected");
    }
    fn received(&mut self, bytes: &[u8]) {
        self.0
            .note(format_args!("received {}", bytes.escape_ascii()));
    }
    fn sent(&mut self, bytes: &[u8]) {
        self.0.note(format_args!("sent {}", bytes.escape_ascii()));
    }
    fn closed(&mut self, reason: &Failure) {
        self.0.note(format_args!("closed {}", how(reason)));
    }
}

/// Listens at any port with these options, and passes each connection on as it is.
struct Passes(ListenOptions);

impl StreamServerEndpoint for Passes {
    fn listen(
        &self,
        reactor: &Reactor,
        _options: &ListenOptions,
        incoming: Incoming,
    ) -> Result<Port, Failure> {
        reactor.serve((Anywhere, &self.0), async move |conn| {
            incoming.accept(conn);
            Ok(())
        })
    }
}

/// Succeeds only if the connection ended with this kind of error.
async fn ends_with(conn: &mut Connection, kind: ErrorKind) -> Result<(), Failure> {
    match conn.read_to_end(&mut Vec::new()).await {
        Err(error) if error.kind() == kind => Ok(()),
        other => Err(Failure::new(format!("{other:?} in place of {kind}"))),
    }
}

#[test]
fn an_idle_connection_ends_and_each_byte_in_either_direction_postpones_that() {
    let log = Log::new();
    let mut wire = Wire::new(Lines::new(Echo(log.clone())));
    assert_eq!(wire.transport().set_idle_timeout(10 * SECOND), None);
    for _ in 0..3 {
        wire.advance(9 * SECOND);
        wire.send("still ");
    }
    wire.advance(9 * SECOND);
    wire.transport().write("something");
    wire.advance(9 * SECOND);
    assert!(!wire.is_closed());
    wire.advance(SECOND);
    assert!(wire.is_closed());
    assert_eq!(log.all(), ["lost no byte was received or sent for 10s"]);
}

#[test]
fn a_limit_can_be_changed_and_removed_and_says_what_it_was() {
    let mut wire = Wire::new(Lines::new(Echo(Log::new())));
    let transport = wire.transport().clone();
    assert_eq!(transport.set_idle_timeout(10 * SECOND), None);
    wire.advance(9 * SECOND);
    assert_eq!(transport.set_idle_timeout(20 * SECOND), Some(10 * SECOND));
    wire.advance(19 * SECOND);
    assert_eq!(transport.set_idle_timeout(None), Some(20 * SECOND));
    wire.advance(1000 * SECOND);
    assert!(!wire.is_closed());
    assert_eq!(transport.set_frame_timeout(SECOND), None);
    assert_eq!(transport.set_frame_timeout(None), Some(SECOND));
    assert_eq!(transport.set_idle_timeout(SECOND), None);
    wire.advance(SECOND);
    assert!(wire.is_closed());
    assert_eq!(transport.set_idle_timeout(SECOND), None);
}

#[test]
fn a_frame_must_be_complete_in_time_however_many_bytes_of_it_arrive() {
    struct Frames(LengthCodec);
    impl FrameProtocol for Frames {
        type Codec = LengthCodec;
        fn codec(&mut self) -> &mut LengthCodec {
            &mut self.0
        }
        fn frame_received(&mut self, cx: &mut Context<'_, Self>, frame: &[u8]) {
            cx.write(frame);
        }
    }
    let mut wire = Wire::new(Frames(LengthCodec::u8()));
    wire.transport().set_frame_timeout(10 * SECOND);
    // Silence between two frames is no delay of one.
    wire.advance(100 * SECOND);
    // A peer that completes its frames may take nine seconds for each.
    for _ in 0..5 {
        wire.send(b"\x02a");
        wire.advance(9 * SECOND);
        wire.send(b"b\x02a");
        wire.advance(9 * SECOND);
        wire.send(b"b");
    }
    assert_eq!(wire.take_received(), b"ab".repeat(10));
    // One byte a second.
    wire.send(b"\xff");
    for _ in 0..9 {
        wire.advance(SECOND);
        wire.send("x");
    }
    assert!(!wire.is_closed());
    wire.advance(SECOND);
    assert!(wire.is_closed());
    let reason = wire.transport().reason().unwrap();
    assert_eq!(
        reason.to_string(),
        "the peer has not completed a frame within 10s"
    );
}

#[test]
fn a_frame_that_the_protocol_itself_holds_up_is_not_late() {
    struct Slow(Log);
    impl LineProtocol for Slow {
        fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
            self.0.note(line.escape_ascii());
            cx.pause_producing();
            cx.call_later(20 * SECOND, |_, cx| cx.resume_producing());
        }
    }
    let log = Log::new();
    let mut wire = Wire::new(Lines::new(Slow(log.clone())));
    wire.transport().set_frame_timeout(10 * SECOND);
    wire.send("one\ntwo\nthree\n");
    wire.advance(60 * SECOND);
    assert_eq!(log.all(), ["one", "two", "three"]);
    assert!(!wire.is_closed());
}

/// The options with which both kinds of server are tried.
fn each_server(reactor: &Reactor, options: &ListenOptions) -> Result<[Port; 3], Failure> {
    struct Makes(Log);
    impl torsade::Factory for Makes {
        type Protocol = Lines<Echo>;
        fn build_protocol(&mut self, _peer: torsade::Address) -> Option<Lines<Echo>> {
            Some(Lines::with_limit(Echo(self.0.clone()), 1 << 20))
        }
    }
    let log = Log::new();
    let to = log.clone();
    Ok([
        reactor.listen((Anywhere, options), move |_| {
            Lines::with_limit(Echo(to.clone()), 1 << 20)
        })?,
        reactor.listen_factory((Anywhere, options), Makes(log))?,
        reactor.serve((Anywhere, options), async |mut conn| {
            while let Some(line) = conn.read_line(1 << 20).await? {
                conn.send_line(line).await?;
            }
            Ok(())
        })?,
    ])
}

#[test]
fn time_limits_are_the_same_for_protocols_factories_and_async_handlers() {
    for in_frame in [false, true] {
        testing::run(async |reactor| {
            let options = match in_frame {
                true => ListenOptions::new().frame_timeout(10 * SECOND),
                false => ListenOptions::new().idle_timeout(10 * SECOND),
            };
            let reports = expect_reports(&reactor);
            for port in each_server(&reactor, &options)? {
                let mut conn = reactor.connect_stream(port.local_addr()).await?;
                conn.write_all(b"hello\nhal").await?;
                assert_eq!(conn.read_line(80).await?.unwrap(), b"hello");
                let start = reactor.now();
                assert_eq!(conn.read(&mut [0]).await?, 0);
                let lasted = reactor.now() - start;
                assert!(lasted.as_millis().abs_diff(10_000) < 50, "{lasted:?}");
                port.stop().await?;
            }
            // The async handler's error is reported, as any error of a handler.
            assert_eq!(reports.borrow().len(), 1);
            let report = format!("{:#}", reports.borrow()[0].failure());
            assert!(report.contains(match in_frame {
                true => "has not completed a frame within 10s",
                false => "no byte was received or sent for 10s",
            }));
            Ok(())
        });
    }
}

#[test]
fn a_client_may_have_a_limit_too() {
    testing::run(async |reactor| {
        let port = reactor.serve(Anywhere, async |mut conn| {
            conn.read_to_end(&mut Vec::new()).await?;
            Ok(())
        })?;
        let options = ConnectOptions::new().idle_timeout(5 * SECOND);
        let start = reactor.now();
        let mut conn = reactor.connect_stream((port.local_addr(), options)).await?;
        ends_with(&mut conn, ErrorKind::TimedOut).await?;
        assert_eq!((reactor.now() - start).as_secs(), 5);
        port.stop().await
    });
}

/// Sends `size` bytes through a server and back; returns how long that took.
async fn time_to_echo(
    reactor: &Reactor,
    conn: Connection,
    size: usize,
) -> Result<Duration, Failure> {
    let (mut reader, mut writer) = conn.split();
    let start = reactor.now();
    let sending = reactor.spawn(async move {
        let mut line = vec![b'x'; size - 1];
        line.push(b'\n');
        writer.write_all(&line).await?;
        Ok::<_, Failure>(writer)
    });
    let line = reader.read_line(size).await?.unwrap();
    assert_eq!(line.len(), size - 1);
    drop(sending.await??);
    Ok(reactor.now() - start)
}

#[test]
fn rates_are_kept_in_each_direction_for_every_kind_of_server() {
    for limits in [
        RateLimits {
            read: Some(20_000),
            write: None,
        },
        RateLimits {
            read: None,
            write: Some(20_000),
        },
        RateLimits {
            read: Some(20_000),
            write: Some(1 << 20),
        },
    ] {
        testing::run(async |reactor| {
            let options = ListenOptions::new().rate_limits(limits);
            for port in each_server(&reactor, &options)? {
                let conn = reactor.connect_stream(port.local_addr()).await?;
                let lasted = time_to_echo(&reactor, conn, 200_000).await?;
                // 200 kB at 20 kB a second, less what the bucket had at first.
                let seconds = lasted.as_secs_f64();
                assert!((9.5..=10.6).contains(&seconds), "{limits:?}: {seconds}");
                port.stop().await?;
                port.lose_connections(SECOND).await?;
            }
            Ok(())
        });
    }
}

#[test]
fn connections_share_a_total_rate_evenly() {
    testing::run(async |reactor| {
        let total = RateLimits {
            read: Some(100_000),
            write: None,
        };
        let options = ListenOptions::new().total_rate_limits(total);
        let received: Rc<RefCell<[usize; 4]>> = Rc::default();
        let (to, count) = (received.clone(), Cell::new(0));
        let port = reactor.listen((Anywhere, &options), move |_| {
            let (to, number) = (to.clone(), count.replace(count.get() + 1));
            Spy::new(&Log::new()).on_data(move |_, data| to.borrow_mut()[number] += data.len())
        })?;
        let mut floods = Vec::new();
        for _ in 0..4 {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            floods.push(reactor.spawn(async move { conn.write_all(&vec![0; 1 << 20]).await }));
        }
        reactor.sleep(10 * SECOND).await?;
        let all = *received.borrow();
        let sum: usize = all.iter().sum();
        assert!((950_000..=1_020_000).contains(&sum), "{all:?}");
        assert!(all.iter().all(|count| *count > sum / 8), "{all:?}");
        for flood in floods {
            flood.cancel().await;
        }
        port.stop().await?;
        port.lose_connections(Duration::ZERO).await?;
        Ok(())
    });
}

#[test]
fn a_rate_limit_does_not_keep_the_loop_busy() {
    for limits in [
        RateLimits {
            read: Some(100),
            write: None,
        },
        RateLimits {
            read: None,
            write: Some(100),
        },
    ] {
        let reactor = Reactor::new().unwrap();
        let options = ListenOptions::new().rate_limits(limits);
        let port = reactor
            .listen((Anywhere, options), |_| Lines::new(Echo(Log::new())))
            .unwrap();
        let mut client = TcpStream::connect(port.local_addr().inet().unwrap()).unwrap();
        client.write_all(&b"0123456789\n".repeat(100)).unwrap();
        testing::settle(&reactor);
        let begin = std::time::Instant::now();
        for _ in 0..10 {
            reactor.iterate(Duration::from_millis(20));
        }
        assert!(
            begin.elapsed() > Duration::from_millis(100),
            "{limits:?}: {:?}",
            begin.elapsed()
        );
    }
}

on_transports! {
    async fn a_file_is_sent_no_faster_than_the_rate(reactor) {
        let folder = Folder::create();
        let path = folder.path("file");
        std::fs::write(&path, vec![7; 60_000])?;
        let limits = RateLimits { read: None, write: Some(200_000) };
        let from = path.clone();
        let port = reactor.serve((Anywhere, ListenOptions::new().rate_limits(limits)), async move |conn| {
            conn.transport().send_file(std::fs::File::open(&from)?).await?;
            Ok(())
        })?;
        let start = reactor.now();
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let mut all = Vec::new();
        conn.read_to_end(&mut all).await?;
        assert_eq!(all, vec![7; 60_000]);
        // 60 kB, less the 25 kB of a full bucket, at 200 kB a second.
        assert!(reactor.now() - start > Duration::from_millis(150));
        drop(conn);
        port.stop().await?;
    }

    async fn observers_see_all_traffic_and_the_end_also_across_a_hand_over(reactor) {
        let log = Log::new();
        let to = log.clone();
        let options = ListenOptions::new().policy(move |_peer| Notes(to.clone()));
        let to = log.clone();
        let port = reactor.serve((Anywhere, options), async move |mut conn| {
            let line = conn.read_line(80).await?.unwrap();
            to.note(format_args!("read {}", line.escape_ascii()));
            conn.write_all(b"welcome\n").await?;
            let handle = conn.become_protocol(Lines::new(Echo(to.clone()))).await?;
            handle.closed().await?;
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"name\n").await?;
        assert_eq!(conn.read_line(80).await?.unwrap(), b"welcome");
        conn.write_all(b"echo\n").await?;
        assert_eq!(conn.read_line(80).await?.unwrap(), b"echo");
        drop(conn);
        until(|| log.has("closed done")).await;
        let all = log.take();
        let lost = "lost the connection was closed cleanly";
        assert_eq!(all, [
            "connected", "received name\\n", "read name", "sent welcome\\n", "connected",
            "received echo\\n", "sent echo\\r\\n", lost, "closed done",
        ]);
        port.stop().await?;
    }

    async fn an_observer_sees_the_end_of_a_connection_that_no_protocol_takes(reactor) {
        let log = Log::new();
        let to = log.clone();
        let options = ListenOptions::new().policy(move |_peer| Notes(to.clone()));
        let port = reactor.listen(Passes(options), |_peer| None::<Lines<Echo>>)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(conn.read(&mut [0]).await.unwrap_or(0), 0);
        assert_eq!(log.all(), ["connected", "closed aborted"]);
        port.stop().await?;
        assert_eq!(log.all().len(), 2);
    }

    async fn the_observers_of_a_connection_that_gets_other_policies_see_it_handed_over(reactor) {
        let (inner, outer) = (Log::new(), Log::new());
        let (to, to_outer, echo) = (inner.clone(), outer.clone(), outer.clone());
        let options = ListenOptions::new().policy(move |_peer| Notes(to.clone()));
        let own = ListenOptions::new().policy(move |_peer| Notes(to_outer.clone()));
        let port = reactor.listen((Passes(options), own), move |_| Lines::new(Echo(echo.clone())))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"a\n").await?;
        assert_eq!(conn.read_line(80).await?.unwrap(), b"a");
        assert_eq!(inner.all(), ["connected", "closed handed over"]);
        drop(conn);
        until(|| outer.has("closed done")).await;
        assert_eq!(outer.all(), [
            "connected", "received a\\n", "sent a\\r\\n",
            "lost the connection was closed cleanly", "closed done",
        ]);
        port.stop().await?;
        assert_eq!((inner.all().len(), outer.all().len()), (2, 5));
    }

    async fn an_observer_is_not_closed_that_was_never_connected(reactor) {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let to = log.clone();
        let options = ListenOptions::new()
            .policy(move |_peer| Notes(to.clone()))
            .policy(|_peer| -> Recording { panic!("no observer") });
        let port = reactor.serve((Anywhere, options), async |_conn| Ok(()))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(conn.read(&mut [0]).await.unwrap_or(0), 0);
        port.stop().await?;
        assert_eq!(log.all(), [""; 0]);
        assert!(reports.borrow().iter().any(|report| report.is_panic()));
    }

    async fn a_panic_of_an_observer_ends_its_connection_and_is_reported(reactor) {
        struct Bad;
        impl Policy for Bad {
            fn received(&mut self, bytes: &[u8]) {
                assert!(bytes != b"bad\n", "an observer panics");
            }
        }
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let to = log.clone();
        let options = ListenOptions::new().policy(|_peer| Bad);
        let port = reactor.listen((Anywhere, options), move |_| Lines::new(Echo(to.clone())))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"good\n").await?;
        assert_eq!(conn.read_line(80).await?.unwrap(), b"good");
        conn.write_all(b"bad\n").await?;
        until(|| log.all().iter().any(|note| note.starts_with("lost"))).await;
        assert_eq!(reports.borrow().len(), 1);
        assert!(reports.borrow()[0].is_panic());
        drop(conn);
        port.stop().await?;
    }
}

/// In TLS a refused client has no connection.
mod without_tls {
    use super::*;

    on_both! {
        async fn a_peer_may_have_a_limited_number_of_connections(reactor) {
            let options = ListenOptions::new().max_connections_per_peer(2);
            let log = Log::new();
            let to = log.clone();
            let port = reactor.listen((Anywhere, options), move |_| Lines::new(Echo(to.clone())))?;
            let mut first = reactor.connect_stream(port.local_addr()).await?;
            let mut second = reactor.connect_stream(port.local_addr()).await?;
            for conn in [&mut first, &mut second] {
                conn.write_all(b"hello\n").await?;
                assert_eq!(conn.read_line(80).await?.unwrap(), b"hello");
            }
            let mut third = reactor.connect_stream(port.local_addr()).await?;
            assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0);
            assert_eq!(port.connections(), 2);
            // From another address, and once there is space again.
            let elsewhere = ConnectOptions::new().bind(([127, 0, 0, 2], 0));
            let mut other = reactor.connect_stream((port.local_addr(), elsewhere)).await?;
            drop(first);
            until(|| port.connections() == 2 && log.has("lost the connection was closed cleanly")).await;
            let mut fourth = reactor.connect_stream(port.local_addr()).await?;
            for conn in [&mut other, &mut fourth] {
                conn.write_all(b"hello\n").await?;
                assert_eq!(conn.read_line(80).await?.unwrap(), b"hello");
            }
            drop((second, third, other, fourth));
            port.stop().await?;
        }
    }
}

on_both_by_hand! {
    fn an_observer_sees_the_end_when_the_reactor_stops(reactor) {
        let log = Log::new();
        let (to, echo) = (log.clone(), log.clone());
        let options = ListenOptions::new().policy(move |_peer| Notes(to.clone()));
        let port = reactor
            .listen((Anywhere, options), move |_| Lines::new(Echo(echo.clone())))
            .unwrap();
        let (stop, addr) = (reactor.clone(), port.local_addr());
        let client = reactor.spawn(async move {
            let mut conn = stop.connect_stream(addr).await?;
            conn.write_all(b"a\n").await?;
            conn.read_line(80).await?;
            let _ = stop.stop();
            std::future::pending::<Result<(), Failure>>().await
        });
        reactor.run().unwrap();
        let all = log.take();
        assert_eq!(all[..3], ["connected", "received a\\n", "sent a\\r\\n"]);
        let ends = all[3..].iter().filter(|note| note.starts_with("closed"));
        assert_eq!(ends.count(), 1, "{all:?}");
        drop((client, port, reactor));
        assert!(log.take().is_empty());
    }
}

/// A writer whose contents can be read.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn traffic_is_logged_as_text_or_in_hexadecimal_with_everything_escaped() {
    let (text, hex) = (Shared::default(), Shared::default());
    let recording = Recording::new();
    let mut wire = Wire::new(Lines::new(Echo(Log::new())));
    wire.transport().add_policy(TrafficLog::new(text.clone()));
    wire.transport().add_policy(TrafficLog::hex(hex.clone()));
    wire.transport().add_policy(recording.clone());
    wire.send(b"a\n\x1b[2J\xff\n");
    wire.send_eof();
    assert!(wire.is_closed());
    let peer = wire.transport().peer().to_string();
    let read = |log: &Shared| {
        let text = String::from_utf8(log.0.take()).unwrap();
        text.replace(&peer, "PEER")
    };
    assert_eq!(
        read(&text),
        "PEER * connected\n\
         PEER < a\\n\\x1b[2J\\xff\\n\n\
         PEER > a\\r\\n\\x1b[2J\\xff\\r\\n\n\
         PEER * the connection was closed cleanly\n"
    );
    assert_eq!(
        read(&hex),
        "PEER * connected\n\
         PEER < 610a1b5b324aff0a a..[2J..\n\
         PEER > 610d0a1b5b324aff0d0a a...[2J...\n\
         PEER * the connection was closed cleanly\n"
    );
    assert_eq!(recording.received(), b"a\n\x1b[2J\xff\n");
    assert_eq!(recording.sent(), b"a\r\n\x1b[2J\xff\r\n");
}

#[test]
fn an_observer_may_end_the_connection_and_add_another_observer() {
    struct Ends(Option<Transport>, Recording);
    impl Policy for Ends {
        fn connected(&mut self, transport: &Transport) {
            self.0 = Some(transport.clone());
        }
        fn received(&mut self, bytes: &[u8]) {
            let transport = self.0.as_ref().unwrap();
            transport.add_policy(self.1.clone());
            if bytes.contains(&b'!') {
                transport.abort_connection();
            }
        }
    }
    let recording = Recording::new();
    let mut wire = Wire::new(Lines::new(Echo(Log::new())));
    wire.transport().add_policy(Ends(None, recording.clone()));
    wire.send("one\n");
    assert_eq!(recording.sent(), b"one\r\n");
    wire.send("two\n");
    assert_eq!(recording.received(), b"two\n");
    wire.send("!\n");
    assert!(wire.is_closed());
    let reason = wire.transport().reason().unwrap();
    assert!(matches!(
        reason.downcast_ref(),
        Some(ConnectionError::Aborted)
    ));
}

/// Resets, which UNIX sockets do not have.
mod tcp {
    use super::*;
    use support::HERE;

    on_all! {
        async fn an_observer_sees_an_abort_once(reactor) {
            let log = Log::new();
            let to = log.clone();
            let options = ListenOptions::new().policy(move |_peer| Notes(to.clone()));
            let port = reactor.serve((HERE, options), async |conn| {
                let transport = conn.transport();
                transport.abort_connection();
                transport.abort_connection();
                drop(conn);
                Ok(())
            })?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            assert!(conn.read(&mut [0]).await.is_err());
            port.stop().await?;
            assert_eq!(log.all(), ["connected", "closed aborted"]);
        }
    }
}
