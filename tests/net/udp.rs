//! Datagrams: protocols and async sockets, refusals, sizes, queues; UDP, and UNIX sockets at the
//! end.

use std::rc::Rc;
#[cfg(unix)]
use std::task::Poll;

use futures::{SinkExt, StreamExt, future};
use support::{HERE, Log, MS, expect_reports, poll_once, some_turns, until};
use torsade::net::datagram::{DatagramError, DatagramOptions};
use torsade::net::{ConnectError, ListenError};
use torsade::{Address, Clock, Context, DatagramPort, DatagramProtocol, Failure, Reactor};

type Cx<'a, P> = Context<'a, P, DatagramPort>;

/// A protocol that records its hooks, and may echo.
struct Ear {
    log: Log,
    answers: bool,
}

impl Ear {
    fn new(log: &Log) -> Self {
        let log = log.clone();
        Self {
            log,
            answers: false,
        }
    }

    fn echo(log: &Log) -> Self {
        let log = log.clone();
        Self { log, answers: true }
    }
}

impl DatagramProtocol for Ear {
    fn started(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(cx.local_addr().port() != Some(0));
        self.log.note("started");
    }

    fn datagram_received(&mut self, cx: &mut Cx<'_, Self>, data: &[u8], from: Address) {
        match data.len() {
            0..=40 => self.log.note(data.escape_ascii()),
            size => self.log.note(size),
        }
        if data == b"panic" {
            panic!("as requested");
        }
        if self.answers {
            cx.write(data, from).unwrap();
        }
    }

    fn connection_refused(&mut self, _cx: &mut Cx<'_, Self>) {
        self.log.note("refused");
    }

    fn write_ready(&mut self, _cx: &mut Cx<'_, Self>) {
        self.log.note("ready");
    }

    fn stopped(&mut self) {
        self.log.note("stopped");
    }
}

/// An address where nothing listens.
fn unused_address(reactor: &Reactor) -> Result<Address, Failure> {
    Ok(reactor.bind_datagram(HERE)?.local_addr())
}

on_both! {
    async fn a_port_starts_receives_and_stops(reactor) {
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        assert_eq!(log.take(), ["started"], "inside the call");
        let sender = reactor.bind_datagram(HERE)?;
        for word in ["one", "", "three"] {
            sender.send_to(word.as_bytes(), port.local_addr()).await?;
        }
        until(|| log.all().len() == 3).await;
        assert_eq!(log.take(), ["one", "", "three"]);
        let stopping = port.stop();
        assert!(log.is_empty(), "not inside the call");
        assert!(!port.is_listening());
        stopping.await?;
        assert_eq!(log.take(), ["stopped"]);
        port.stop().await?;
        assert!(port.local_addr().port() > Some(0));
        let late = port.write("late", sender.local_addr()).unwrap_err();
        assert!(is_error!(late, DatagramError::Closed), "{late:?}");
        assert!(!port.handle::<Ear>().unwrap().is_connected());
    }

    async fn an_answer_goes_to_the_sender(reactor) {
        let log = Log::new();
        let echo = reactor.listen_datagram(HERE, Ear::echo(&log))?;
        let askers: Vec<_> = (0..5).map(|_| reactor.bind_datagram(HERE)).collect::<Result<_, _>>()?;
        for (n, asker) in askers.iter().enumerate() {
            asker.send_to(&[n as u8; 3], echo.local_addr()).await?;
        }
        for (n, asker) in askers.iter().enumerate() {
            let mut buf = [0; 8];
            let (count, from) = asker.recv_from(&mut buf).await?;
            assert_eq!(&buf[..count], [n as u8; 3]);
            assert_eq!(from, echo.local_addr());
        }
        echo.stop().await?;
    }

    async fn every_size_up_to_the_largest_goes_both_ways(reactor) {
        let log = Log::new();
        let echo = reactor.listen_datagram(HERE, Ear::echo(&log))?;
        let socket = reactor.bind_datagram(HERE)?;
        let mut buf = vec![0; 65_507];
        for size in [0, 1, 2, 511, 1472, 1473, 8192, 8193, 32_768, 65_506, 65_507] {
            let sent: Vec<u8> = (0..size).map(|n| (n * 31 + size) as u8).collect();
            socket.send_to(&sent, echo.local_addr()).await?;
            let (count, _) = socket.recv_from(&mut buf).await?;
            assert!(buf[..count] == sent, "{size} bytes");
        }
        for size in [65_508, 65_536, 100_000] {
            let data = vec![0; size];
            let failure = socket.send_to(&data, echo.local_addr()).await.unwrap_err();
            assert!(matches!(failure.trap()?, DatagramError::TooLong { size: s } if *s == size));
            let failure = echo.write(&data, socket.local_addr()).unwrap_err();
            assert_eq!(failure.to_string(), format!("a datagram of {size} bytes is too long"));
        }
        socket.send_to(b"still there?", echo.local_addr()).await?;
        assert_eq!(socket.recv(&mut buf).await?, 12);
        echo.stop().await?;
    }

    async fn a_truncated_datagram_is_an_error(reactor) {
        let (one, other) = (reactor.bind_datagram(HERE)?, reactor.bind_datagram(HERE)?);
        one.send_to(b"abcdef", other.local_addr()).await?;
        one.send_to(b"ghi", other.local_addr()).await?;
        let mut buf = [0; 3];
        let failure = other.recv_from(&mut buf).await.unwrap_err();
        let lost = expect_error!(failure, DatagramError::Truncated { size, kept, from } => (*size, *kept, from));
        assert_eq!(lost, (6, 3, &one.local_addr()));
        assert_eq!(&buf, b"abc");
        assert_eq!(other.recv_from(&mut buf).await?, (3, one.local_addr()));
        assert_eq!(&buf, b"ghi");
    }

    async fn a_connected_port_receives_from_its_peer_only(reactor) {
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        let (friend, stranger) = (reactor.bind_datagram(HERE)?, reactor.bind_datagram(HERE)?);
        let early = port.write_connected("x").unwrap_err();
        assert!(is_error!(early, DatagramError::InvalidAddress { .. }), "{early:?}");
        port.connect(friend.local_addr())?;
        assert_eq!(port.peer(), Some(friend.local_addr()));
        let again = port.connect(stranger.local_addr()).unwrap_err();
        assert_eq!(*expect_error!(again, DatagramError::AlreadyConnected { to } => to), friend.local_addr());
        stranger.send_to(b"from a stranger", port.local_addr()).await?;
        friend.send_to(b"from a friend", port.local_addr()).await?;
        port.write_connected("hello")?;
        assert_eq!(friend.recv(&mut [0; 8]).await?, 5);
        until(|| log.has("from a friend")).await;
        some_turns().await;
        assert_eq!(log.take(), ["started", "from a friend"]);
        port.stop().await?;
    }

    async fn a_refusal_calls_the_hook_and_the_port_stays_open(reactor) {
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        let address = unused_address(&reactor)?;
        some_turns().await;
        port.connect(&address)?;
        port.write_connected("anybody there?")?;
        until(|| log.has("refused")).await;
        port.write_connected("and now?")?;
        until(|| log.count("refused") == 2).await;
        assert_eq!(log.take(), ["started", "refused", "refused"]);
        let late = reactor.bind_datagram(&address)?;
        port.write_connected("now")?;
        assert_eq!(late.recv(&mut [0; 8]).await?, 3);
        late.send_to(b"yes", port.local_addr()).await?;
        until(|| log.has("yes")).await;
        port.stop().await?;
    }

    async fn a_datagram_after_a_refusal_is_sent(reactor) {
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        port.pause_producing();
        some_turns().await;
        let address = unused_address(&reactor)?;
        some_turns().await;
        port.connect(&address)?;
        port.write_connected("lost")?;
        let late = reactor.bind_datagram(&address)?;
        port.write_connected("not lost")?;
        assert_eq!(late.recv(&mut [0; 16]).await?, 8);
        until(|| log.has("refused")).await;
        port.stop().await?;
    }

    async fn an_unconnected_port_gets_no_refusal(reactor) {
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        let address = unused_address(&reactor)?;
        some_turns().await;
        for _ in 0..20 {
            port.write("anybody?", &address)?;
        }
        some_turns().await;
        let friend = reactor.bind_datagram(HERE)?;
        friend.send_to(b"I am", port.local_addr()).await?;
        until(|| log.has("I am")).await;
        assert_eq!(log.take(), ["started", "I am"]);
        port.stop().await?;
    }

    async fn an_async_socket_fails_once_for_a_refusal(reactor) {
        let socket = reactor.bind_datagram(HERE)?;
        let address = unused_address(&reactor)?;
        some_turns().await;
        socket.connect(&address)?;
        socket.send(b"anybody?").await?;
        let failure = socket.recv(&mut [0; 8]).await.unwrap_err();
        assert_eq!(*expect_error!(failure, ConnectError::Refused { address, .. } => address), address);
        let late = reactor.bind_datagram(&address)?;
        socket.send(b"now").await?;
        assert_eq!(late.recv(&mut [0; 8]).await?, 3);
        assert!(poll_once(&mut Box::pin(socket.recv(&mut [0; 8]))).await.is_pending());
    }

    async fn a_panic_is_reported_and_the_port_stays_open(reactor) {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        let sender = reactor.bind_datagram(HERE)?;
        for word in ["panic", "after"] {
            sender.send_to(word.as_bytes(), port.local_addr()).await?;
        }
        until(|| log.has("after")).await;
        assert_eq!(reports.borrow().len(), 1);
        assert!(reports.borrow()[0].is_panic());
        port.stop().await?;
        assert_eq!(log.take(), ["started", "panic", "after", "stopped"]);
    }

    async fn stopping_fails_with_the_panic_of_the_last_hook(reactor) {
        struct Bad;
        impl DatagramProtocol for Bad {
            fn datagram_received(&mut self, _: &mut Cx<'_, Self>, _: &[u8], _: Address) {}
            fn stopped(&mut self) {
                panic!("at the end");
            }
        }
        let port = reactor.listen_datagram(HERE, Bad)?;
        let failure = port.stop().await.unwrap_err();
        assert!(failure.is_panic(), "{failure:?}");
        assert!(!port.is_listening());
        let reports = expect_reports(&reactor);
        drop(reactor.listen_datagram(HERE, Bad)?.stop());
        until(|| !reports.borrow().is_empty()).await;
        some_turns().await;
        assert_eq!(reports.borrow().len(), 1);
    }

    async fn a_hook_may_stop_its_own_port(reactor) {
        struct Once(Log);
        impl DatagramProtocol for Once {
            fn datagram_received(&mut self, cx: &mut Cx<'_, Self>, data: &[u8], _from: Address) {
                self.0.note(data.escape_ascii());
                drop(cx.stop());
            }
            fn stopped(&mut self) {
                self.0.note("stopped");
            }
        }
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Once(log.clone()))?;
        let sender = reactor.bind_datagram(HERE)?;
        for _ in 0..3 {
            sender.send_to(b"stop", port.local_addr()).await?;
        }
        until(|| log.has("stopped")).await;
        assert_eq!(log.take(), ["stop", "stopped"]);
    }

    async fn a_paused_port_delivers_when_resumed(reactor) {
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        let sender = reactor.bind_datagram(HERE)?;
        port.pause_producing();
        sender.send_to(b"kept", port.local_addr()).await?;
        some_turns().await;
        assert_eq!(log.take(), ["started"]);
        port.resume_producing();
        until(|| log.has("kept")).await;
        port.stop().await?;
    }

    async fn the_handle_reaches_the_protocol_and_its_timers_end_with_it(reactor) {
        struct Count(usize, Log);
        impl DatagramProtocol for Count {
            fn started(&mut self, cx: &mut Cx<'_, Self>) {
                cx.call_later(MS, |me, _cx| me.1.note("tick"));
                cx.call_later(MS * 3_600_000, |me, _cx| me.1.note("never"));
            }
            fn datagram_received(&mut self, _cx: &mut Cx<'_, Self>, _data: &[u8], _from: Address) {
                self.0 += 1;
            }
        }
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Count(0, log.clone()))?;
        let sender = reactor.bind_datagram(HERE)?;
        for _ in 0..7 {
            sender.send_to(b"x", port.local_addr()).await?;
        }
        reactor.sleep(MS * 5).await?;
        let handle = port.handle::<Count>().unwrap();
        assert!(port.handle::<Ear>().is_none() && sender.port().handle::<Count>().is_none());
        assert_eq!(handle.ask(|me, _cx| me.0).await?, 7);
        port.stop().await?;
        assert_eq!(log.take(), ["tick"]);
        assert!(handle.ask(|me, _cx| me.0).await.is_err());
    }

    async fn a_taken_address_cannot_be_listened_at(reactor) {
        let first = reactor.bind_datagram(HERE)?;
        let failure = reactor.listen_datagram(first.local_addr(), Ear::new(&Log::new())).unwrap_err();
        let (address, error) = expect_error!(failure, ListenError::Failed { address, error } => (address, error));
        assert_eq!(*address, first.local_addr());
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }

    async fn names_and_other_families_are_not_addresses(reactor) {
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        for name in ["localhost:80", "example.org:80", "127.0.0.1", "", "::1", "[::1]:80"] {
            let failure = port.write("x", name).unwrap_err();
            assert!(is_error!(failure, DatagramError::InvalidAddress { .. }), "{name}: {failure:?}");
        }
        assert!(is_error!(port.write("x", ("localhost", 80)).unwrap_err(), DatagramError::InvalidAddress { .. }));
        assert!(is_error!(port.write("x", "unix:/tmp/x").unwrap_err(), DatagramError::InvalidAddress { .. }));
        let failure = reactor.listen_datagram("localhost:0", Ear::new(&log)).unwrap_err();
        assert!(matches!(failure.trap()?, DatagramError::InvalidAddress { .. }));
        let failure = port.write("x", "example.org:80").unwrap_err();
        assert_eq!(failure.to_string(), r#""example.org:80" is not a literal address and a port"#);
        port.stop().await?;
    }

    async fn ipv6_works_too(reactor) {
        let log = Log::new();
        let echo = reactor.listen_datagram("[::1]:0", Ear::echo(&log))?;
        let socket = reactor.bind_datagram(("::1", 0))?;
        socket.send_to(b"six", echo.local_addr()).await?;
        assert_eq!(socket.recv_from(&mut [0; 8]).await?, (3, echo.local_addr()));
        assert!(is_error!(socket.send_to(b"four", HERE).await.unwrap_err(), DatagramError::InvalidAddress { .. }));
        echo.stop().await?;
    }

    async fn a_receive_that_is_dropped_while_it_waits_loses_nothing(reactor) {
        let (one, other) = (reactor.bind_datagram(HERE)?, reactor.bind_datagram(HERE)?);
        for n in 0..50_u8 {
            let mut buf = [0; 4];
            {
                let mut receive = Box::pin(other.recv_from(&mut buf));
                assert!(poll_once(&mut receive).await.is_pending());
                one.send_to(&[n], other.local_addr()).await?;
                for _ in 0..n % 4 {
                    torsade::yield_now().await;
                }
            }
            assert_eq!(other.recv_from(&mut buf).await?.0, 1);
            assert_eq!(buf[0], n);
        }
    }

    async fn a_full_queue_fails_and_write_ready_follows(reactor) {
        let (one, other) = (reactor.bind_datagram(HERE)?, reactor.bind_datagram(HERE)?);
        for n in 0..5_u8 {
            one.send_to(&[n], other.local_addr()).await?;
            some_turns().await;
            one.send_to(&[n], other.local_addr()).await?;
            some_turns().await;
            for _ in 0..2 {
                let mut buf = [0];
                other.recv(&mut buf).await?;
                assert_eq!(buf, [n]);
            }
        }
    }

    async fn tasks_may_share_a_socket(reactor) {
        let (one, other) = (reactor.bind_datagram(HERE)?, Rc::new(reactor.bind_datagram(HERE)?));
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let other = other.clone();
                torsade::spawn(async move {
                    let mut buf = [0];
                    other.recv(&mut buf).await.map(|_| buf[0])
                })
            })
            .collect();
        some_turns().await;
        for n in 0..10_u8 {
            one.send_to(&[n], other.local_addr()).await?;
        }
        let mut got = Vec::new();
        for task in waiting {
            got.push(task.await??);
        }
        got.sort_unstable();
        assert!(got.into_iter().eq(0..10));
    }

    async fn a_socket_is_a_stream_and_a_sink(reactor) {
        let (one, mut other) = (reactor.bind_datagram(HERE)?, reactor.bind_datagram(HERE)?);
        let to = other.local_addr();
        let mut sink = &one;
        for word in ["a", "", "ccc"] {
            sink.feed((word, &to)).await?;
        }
        SinkExt::<(&str, &Address)>::flush(&mut sink).await?;
        for word in ["a", "", "ccc"] {
            let (data, from) = other.next().await.unwrap()?;
            assert_eq!(data, word.as_bytes());
            assert_eq!(from, one.local_addr());
        }
        let port = other.port();
        let (end, stopped) = future::join(other.next(), port.stop()).await;
        stopped?;
        assert!(end.is_none());
    }

    async fn stopping_wakes_waiting_tasks(reactor) {
        let socket = reactor.bind_datagram(HERE)?;
        let port = socket.port();
        let waiting = torsade::spawn(async move { socket.recv(&mut [0; 8]).await });
        some_turns().await;
        port.stop().await?;
        assert!(is_error!(waiting.await?.unwrap_err(), DatagramError::Closed));
    }

    async fn broadcasting_needs_the_option(reactor) {
        let port = reactor.listen_datagram("0.0.0.0:0", Ear::new(&Log::new()))?;
        assert!(!port.broadcast()?);
        let to = Address::from(([255, 255, 255, 255], 9));
        let failure = port.write("x", &to).unwrap_err();
        let number = failure.find::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        // A machine without a network has no route either.
        #[cfg(unix)]
        let known = [libc::EACCES, libc::ENETUNREACH];
        #[cfg(windows)]
        let known = [10_013, 10_051];
        assert!(number.is_some_and(|number| known.contains(&number)), "{failure:?}");
        port.set_broadcast(true)?;
        assert!(port.broadcast()?);
        port.set_ttl(3)?;
        assert_eq!(port.ttl()?, 3);
        let allowed = DatagramOptions::new().broadcast(true);
        let other = reactor.bind_datagram((HERE, &allowed))?;
        assert!(other.port().broadcast()?);
        port.stop().await?;
        assert!(is_error!(port.set_ttl(3).unwrap_err(), DatagramError::Closed));
    }

    async fn a_flood_does_not_starve_other_events(reactor) {
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Ear::new(&log))?;
        let sender = reactor.bind_datagram(HERE)?;
        port.pause_producing();
        some_turns().await;
        log.take();
        for _ in 0..300 {
            sender.send_to(b"x", port.local_addr()).await?;
        }
        port.resume_producing();
        // The machine may have dropped some of them for lack of space.
        let (mut most, mut all) = (0, 0);
        for _ in 0..10_000 {
            torsade::yield_now().await;
            let count = log.take().len();
            most = most.max(count);
            all += count;
        }
        assert!(all > 100, "{all} came");
        assert!(most <= 256, "{most} in one go");
        port.stop().await?;
    }

    async fn a_connected_port_may_be_written_to_its_peer_by_name_as_well(reactor) {
        let (friend, stranger) = (reactor.bind_datagram(HERE)?, reactor.bind_datagram(HERE)?);
        let port = reactor.listen_datagram(HERE, Ear::new(&Log::new()))?;
        for name in ["example.org:80", "localhost:80", "127.0.0.1", "unix:/tmp/x"] {
            assert!(is_error!(port.connect(name).unwrap_err(), DatagramError::InvalidAddress { .. }), "{name}");
        }
        assert_eq!(port.peer(), None);
        port.connect(friend.local_addr())?;
        port.write("to the friend", friend.local_addr())?;
        assert_eq!(friend.recv(&mut [0; 20]).await?, 13);
        // The system still sends to other addresses.
        port.write("to the stranger", stranger.local_addr())?;
        assert_eq!(stranger.recv(&mut [0; 20]).await?, 15);
        port.stop().await?;
    }
}

#[cfg(unix)]
mod unix {
    use super::*;

    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn path(name: &str, reactor: &Reactor) -> PathBuf {
        let kind = format!("{reactor:p}-{}", std::process::id());
        std::env::temp_dir().join(format!("torsade-{kind}-{name}"))
    }

    on_both! {
        async fn unix_sockets_talk_by_their_names(reactor) {
            let log = Log::new();
            let (there, here) = (path("there", &reactor), path("here", &reactor));
            let echo = reactor.listen_datagram(&there, Ear::echo(&log))?;
            assert_eq!(echo.local_addr(), Address::from_path(&there));
            let socket = reactor.bind_datagram(&here)?;
            for word in ["one", "", "three"] {
                socket.send_to(word.as_bytes(), &there).await?;
                let mut buf = [0; 8];
                let (count, from) = socket.recv_from(&mut buf).await?;
                assert_eq!(&buf[..count], word.as_bytes());
                assert_eq!(from, Address::from_path(&there));
            }
            assert!(is_error!(socket.send_to(b"x", HERE).await.unwrap_err(), DatagramError::InvalidAddress { .. }));
            assert!(socket.send_to(b"x", path("nobody", &reactor)).await.is_err());
            let taken = reactor.bind_datagram(&there).unwrap_err();
            assert!(is_error!(taken, ListenError::Failed { .. }), "{taken:?}");
            echo.stop().await?;
            let again = reactor.bind_datagram(&there)?;
            drop(again);
        }

        async fn a_full_unix_socket_makes_the_sender_wait(reactor) {
            let there = path("slow", &reactor);
            let slow = reactor.bind_datagram(&there)?;
            for connected in [false, true] {
                let log = Log::new();
                let options = DatagramOptions::new().queue(10_000);
                let fast = match connected {
                    true => reactor.listen_datagram((path("fast", &reactor), options.connect(there.as_path())), Ear::new(&log))?,
                    false => reactor.listen_datagram((path("fast", &reactor), &options), Ear::new(&log))?,
                };
                let write = |n: u32| match connected {
                    true => fast.write_connected(n.to_be_bytes()),
                    false => fast.write(n.to_be_bytes(), &there),
                };
                let mut sent = 0;
                let failure = loop {
                    match write(sent) {
                        Ok(()) => sent += 1,
                        Err(failure) => break failure,
                    }
                };
                assert_eq!(*expect_error!(failure, DatagramError::QueueFull { limit, .. } => limit), 10_000);
                assert!(fast.is_full() && fast.queued() > 10_000);
                for n in 0..sent {
                    let mut buf = [0; 4];
                    assert_eq!(slow.recv(&mut buf).await?, 4);
                    assert_eq!(u32::from_be_bytes(buf), n, "in order, none lost");
                }
                until(|| fast.queued() == 0).await;
                reactor.sleep(MS * 20).await?;
                assert_eq!(log.count("ready"), 1);
                fast.stop().await?;
            }
        }

        async fn an_async_sender_waits_for_space(reactor) {
            let there = path("room", &reactor);
            let slow = reactor.bind_datagram(&there)?;
            let fast = reactor.bind_datagram(path("sender", &reactor))?;
            let mut sent = 0_u32;
            loop {
                let data = sent.to_be_bytes();
                match poll_once(&mut Box::pin(fast.send_to(&data, &there))).await {
                    Poll::Ready(result) => result?,
                    Poll::Pending => break,
                }
                sent += 1;
            }
            let data = sent.to_be_bytes();
            let sending = async { fast.send_to(&data, &there).await };
            let reading = async {
                for n in 0..=sent {
                    let mut buf = [0; 4];
                    slow.recv(&mut buf).await?;
                    assert_eq!(u32::from_be_bytes(buf), n);
                }
                Ok::<_, Failure>(())
            };
            let (sending, reading) = future::join(sending, reading).await;
            sending?;
            reading?;
        }

        async fn a_unix_datagram_may_be_larger_than_the_read_buffer(reactor) {
            let log = Log::new();
            let there = path("large", &reactor);
            let options = DatagramOptions::new();
            let port = reactor.listen_datagram(&there, Ear::new(&log))?;
            let from = path("giver", &reactor);
            let options = options.send_buffer(400_000);
            let giver = reactor.listen_datagram((from, options.connect(there.as_path())), Ear::new(&log))?;
            giver.write_connected(vec![7; 100_000])?;
            until(|| log.has("100000")).await;
            giver.stop().await?;
            port.stop().await?;
        }
    }

    #[test]
    fn the_socket_file_has_its_mode_and_is_removed_with_the_port() {
        let reactor = Reactor::new().unwrap();
        torsade::testing::run_on(reactor, async |reactor| {
            let there = path("mode", &reactor);
            let options = DatagramOptions::new().mode(0o640);
            let port = reactor.listen_datagram((&there, &options), Ear::new(&Log::new()))?;
            let mode = fs::metadata(&there)?.permissions().mode();
            assert_eq!(mode & 0o777, 0o640);
            port.stop().await?;
            assert!(!there.exists());
            Ok(())
        });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_outside_the_file_system_work() {
        torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
            let name = format!("unix:@torsade-{}", std::process::id());
            let log = Log::new();
            let port = reactor.listen_datagram(&name, Ear::echo(&log))?;
            let own = format!("{name}-own");
            let socket = reactor.bind_datagram(&own)?;
            socket.send_to(b"psst", port.local_addr()).await?;
            let (count, from) = socket.recv_from(&mut [0; 8]).await?;
            assert_eq!((count, from), (4, port.local_addr()));
            port.stop().await
        });
    }
}

/// The poller reports the error of a refusal even if the socket is not read.
#[test]
fn an_unread_refusal_does_not_spin() {
    let reactor = Reactor::new().unwrap();
    let log = Log::new();
    let port = reactor.listen_datagram(HERE, Ear::new(&log)).unwrap();
    port.pause_producing();
    let address = std::net::UdpSocket::bind(HERE)
        .unwrap()
        .local_addr()
        .unwrap();
    port.connect(address).unwrap();
    port.write_connected("anybody?").unwrap();
    torsade::testing::settle(&reactor);
    let begin = std::time::Instant::now();
    for _ in 0..5 {
        reactor.iterate(MS * 20);
    }
    assert!(begin.elapsed() > MS * 60, "{:?}", begin.elapsed());
    assert_eq!(log.take(), ["started", "refused"]);
}
