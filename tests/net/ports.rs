//! Ports besides listening: counting connections, closing them, a limit, a pause; and accepting by
//! hand.

use std::time::Duration;

use futures::StreamExt;
use support::{HERE, Log, MS, Spy, expect_reports, poll_once, some_turns, until};
use torsade::net::ListenError;
use torsade::net::ListenOptions;
use torsade::transport::ConnectionError;
use torsade::{Address, Cancelled, Clock, Connection, Context, Failure, Port, Protocol, Reactor};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

async fn connect(reactor: &Reactor, port: &Port) -> Result<Connection, Failure> {
    let connecting = reactor.connect_stream(port.local_addr());
    connecting.timeout(LONG, reactor).await
}

/// A protocol that hands its connection to an echo protocol when bytes arrive.
struct First;

impl Protocol for First {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, _data: &[u8]) {
        cx.become_protocol(Spy::echo(), &[]);
        cx.write("switched\n");
    }
}

on_both! {
    async fn connections_are_counted_until_they_have_ended(reactor) {
        let log = Log::new();
        let seen = log.clone();
        let port = reactor.listen(HERE, move |_| Spy::named(&seen, "spy"))?;
        assert_eq!(port.connections(), 0);
        let (one, two) = (connect(&reactor, &port).await?, connect(&reactor, &port).await?);
        until(|| port.connections() == 2).await;
        drop(one);
        until(|| port.connections() == 1).await;
        assert_eq!(log.count("spy lost done"), 1);
        port.stop().await?;
        assert_eq!(port.connections(), 1);
        drop(two);
        until(|| port.connections() == 0).await;
        assert_eq!(log.count("spy lost done"), 2);
    }

    async fn disconnected_waits_until_no_connection_is_left(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        port.disconnected().await?;
        let (one, two) = (connect(&reactor, &port).await?, connect(&reactor, &port).await?);
        until(|| port.connections() == 2).await;
        port.stop().await?;
        let (mut gone, given_up) = (port.disconnected(), port.disconnected());
        given_up.cancel();
        assert!(given_up.await.unwrap_err().is::<Cancelled>());
        drop(one);
        until(|| port.connections() == 1).await;
        assert!(poll_once(&mut gone).await.is_pending());
        drop(two);
        gone.timeout(LONG, &reactor).await?;
        assert_eq!(port.connections(), 0);
    }

    async fn refused_connections_do_not_count(reactor) {
        let port = reactor.listen(HERE, |_| None::<Spy>)?;
        let mut conn = connect(&reactor, &port).await?;
        assert_eq!(conn.read(&mut [0; 4]).await?, 0);
        assert_eq!(port.connections(), 0);
        port.stop().await?;
    }

    async fn a_connection_that_changes_its_protocol_counts_once(reactor) {
        let port = reactor.listen(HERE, |_| First)?;
        let mut conn = connect(&reactor, &port).await?;
        conn.write_all(b"x").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"switched"[..]));
        assert_eq!(port.connections(), 1);
        let all = port.lose_connections(LONG);
        assert_eq!(conn.read(&mut [0; 4]).await?, 0);
        drop(conn);
        assert_eq!(all.await?, 0);
        assert_eq!(port.connections(), 0);
        port.stop().await?;
    }

    async fn lose_connections_sends_queued_bytes_first(reactor) {
        const SIZE: usize = 3_000_000;
        let port = reactor.listen(HERE, |_| Spy::new(&Log::new()).on_made(|cx| cx.write(vec![7; SIZE])))?;
        let mut conns = Vec::new();
        for _ in 0..3 {
            conns.push(connect(&reactor, &port).await?);
        }
        until(|| port.connections() == 3).await;
        port.stop().await?;
        let all = port.lose_connections(LONG);
        for mut conn in conns {
            let (mut bytes, mut buf) = (0, vec![0; 65_536]);
            loop {
                match conn.read(&mut buf).await? {
                    0 => break,
                    count => bytes += count,
                }
            }
            assert_eq!(bytes, SIZE);
        }
        assert_eq!(all.await?, 0);
        // No connection is left.
        assert_eq!(port.lose_connections(LONG).await?, 0);
    }

    async fn connections_over_the_limit_are_aborted_and_later_ones_stay(reactor) {
        let log = Log::new();
        let seen = log.clone();
        let port = reactor.listen(HERE, move |_| Spy::named(&seen, "spy").on_made(|cx| {
            cx.write(vec![7; 10_000_000]);
        }))?;
        let _never_reads = connect(&reactor, &port).await?;
        until(|| port.connections() == 1).await;
        let reports = expect_reports(&reactor);
        let all = port.lose_connections(MS * 50);
        let later = connect(&reactor, &port).await?;
        until(|| port.connections() == 2).await;
        assert_eq!(all.await?, 1);
        assert_eq!(log.count("spy lost aborted"), 1);
        assert_eq!(port.connections(), 1);
        // No caller requested this abort itself.
        until(|| !reports.borrow().is_empty()).await;
        let loss = reports.borrow()[0].failure().clone();
        assert!(
            matches!(loss.downcast_ref(), Some(ConnectionError::NotSent { bytes: 1.., .. })),
            "{loss}"
        );
        later.transport().abort_connection();
        until(|| port.connections() == 0).await;
        assert_eq!(reports.borrow().len(), 1);
        port.stop().await?;
    }

    async fn cancelling_the_wait_removes_the_limit(reactor) {
        let port = reactor.listen(HERE, |_| Spy::new(&Log::new()).on_made(|cx| cx.write(vec![7; 10_000_000])))?;
        let never_reads = connect(&reactor, &port).await?;
        until(|| port.connections() == 1).await;
        let all = port.lose_connections(MS * 10);
        all.cancel();
        assert!(all.await.unwrap_err().is::<Cancelled>());
        reactor.sleep(MS * 30).await?;
        assert_eq!(port.connections(), 1);
        never_reads.transport().abort_connection();
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn max_connections_limits_accepting(reactor) {
        let options = ListenOptions::new().max_connections(2);
        let port = reactor.listen((HERE, &options), |_| Spy::echo())?;
        assert_eq!(port.max_connections(), Some(2));
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(connect(&reactor, &port).await?);
        }
        for conn in &mut all {
            conn.write_all(b"hello\n").await?;
        }
        some_turns().await;
        assert_eq!(port.connections(), 2);
        drop(all.remove(0));
        assert_eq!(all[1].read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        some_turns().await;
        assert_eq!(port.connections(), 2);
        port.set_max_connections(None);
        assert_eq!(all[2].read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        assert_eq!(port.connections(), 3);
        port.stop().await?;
    }

    async fn a_port_that_is_paused_accepts_nothing_until_it_is_resumed(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(b"hello\n").await?;
            Ok(())
        })?;
        port.pause_accepting();
        assert!(port.is_paused() && port.is_listening());
        let mut conn = connect(&reactor, &port).await?;
        some_turns().await;
        assert_eq!(port.connections(), 0);
        assert!(poll_once(&mut Box::pin(conn.read_line(80))).await.is_pending());
        port.resume_accepting();
        assert!(!port.is_paused());
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        port.pause_accepting();
        port.stop().await?;
        assert!(!port.is_paused() && !port.is_listening());
    }

    async fn by_default_a_hundred_wait_to_be_accepted(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        port.pause_accepting();
        let before = reactor.now();
        let mut all = Vec::new();
        for _ in 0..100 {
            all.push(connect(&reactor, &port).await?);
        }
        // When the queue is full, the system retries after a second.
        assert!(reactor.now() - before < Duration::from_millis(900));
        port.stop().await?;
    }

    async fn async_code_accepts_in_order_and_only_on_request(reactor) {
        let mut listener = reactor.bind(HERE)?;
        let mut clients = Vec::new();
        for name in ["one\n", "two\n"] {
            let mut client = reactor.connect_stream(listener.local_addr()).await?;
            client.write_all(name.as_bytes()).await?;
            clients.push(client);
        }
        some_turns().await;
        assert_eq!(listener.port().connections(), 0);
        let mut one = listener.accept().await?;
        assert_eq!(one.peer(), clients[0].local_addr()?);
        assert_eq!(one.read_line(80).await?.as_deref(), Some(&b"one"[..]));
        some_turns().await;
        assert_eq!(listener.port().connections(), 1);
        let mut two = listener.accept().await?;
        assert_eq!(two.read_line(80).await?.as_deref(), Some(&b"two"[..]));
        listener.port().stop().await?;
        let failure = listener.accept().await.unwrap_err();
        assert!(matches!(failure.trap()?, ListenError::Closed));
        assert!(listener.next().await.is_none());
        // The connections stay open without the listener.
        drop(listener);
        one.write_all(b"still here\n").await?;
        assert_eq!(clients[0].read_line(80).await?.as_deref(), Some(&b"still here"[..]));
    }

    async fn a_dropped_accept_accepts_nothing_and_loses_nothing(reactor) {
        let mut listener = reactor.bind(HERE)?;
        assert!(poll_once(&mut Box::pin(listener.accept())).await.is_pending());
        let mut client = reactor.connect_stream(listener.local_addr()).await?;
        some_turns().await;
        assert_eq!(listener.port().connections(), 0);
        {
            let mut asking = Box::pin(listener.accept());
            assert!(poll_once(&mut asking).await.is_pending());
            // The connection is accepted and unused.
            some_turns().await;
        }
        assert_eq!(listener.port().connections(), 1);
        let mut server = listener.accept().await?;
        server.write_all(b"hello\n").await?;
        assert_eq!(client.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
    }

    async fn closed_fires_once_the_port_is_closed_and_at_once_after_that(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let (closed, given_up) = (port.closed(), port.closed());
        drop(given_up);
        let stopped = port.stop();
        assert!(!closed.is_settled() && !stopped.is_settled());
        closed.await?;
        assert!(stopped.is_settled() && port.closed().is_settled());

        let listener = reactor.bind(HERE)?;
        let closed = listener.port().closed();
        drop(listener);
        closed.await?;
    }

    async fn a_listener_is_a_stream_that_ends_with_its_port(reactor) {
        let mut listener = reactor.bind(HERE)?;
        let (port, log) = (listener.port().clone(), Log::new());
        let seen = log.clone();
        let server = reactor.spawn(async move {
            while let Some(conn) = listener.next().await {
                let mut conn = conn?;
                seen.note("accepted");
                conn.write_all(b"hello\n").await?;
            }
            seen.note("over");
            Ok::<(), Failure>(())
        });
        for _ in 0..3 {
            let mut client = connect(&reactor, &port).await?;
            assert_eq!(client.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        }
        port.stop().await?;
        server.await??;
        assert_eq!(log.take(), ["accepted", "accepted", "accepted", "over"]);
    }

    async fn a_listener_that_is_dropped_closes_its_port(reactor) {
        let listener = reactor.bind(HERE)?;
        let port = listener.port().clone();
        let waiting = connect(&reactor, &port).await?;
        drop(listener);
        assert!(!port.is_listening());
        some_turns().await;
        assert!(reactor.connect_stream(port.local_addr()).await.is_err());
        drop(waiting);
    }

    async fn behind_a_proxy_a_silent_peer_delays_no_other(reactor) {
        let mut listener = reactor.bind("haproxy:127.0.0.1:0")?;
        let silent = reactor.connect_stream(listener.local_addr()).await?;
        let mut client = reactor.connect_stream(listener.local_addr()).await?;
        client.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 50001 80\r\nrest\n").await?;
        let mut server = listener.accept().await?;
        assert_eq!(server.peer().to_string(), "192.0.2.7:50001");
        assert_eq!(server.read_line(80).await?.as_deref(), Some(&b"rest"[..]));
        drop(silent);
    }

    async fn a_peers_reset_in_a_handler_is_not_reported(reactor) {
        let log = Log::new();
        let seen = log.clone();
        let port = reactor.serve(HERE, async move |mut conn| {
            let result = conn.read_line(80).await;
            seen.note(result.is_err());
            result?;
            Ok(())
        })?;
        let client = connect(&reactor, &port).await?;
        until(|| port.connections() == 1).await;
        client.transport().abort_connection();
        // The test fails with what is reported.
        until(|| log.has("true") && port.connections() == 0).await;
        some_turns().await;
        port.stop().await?;
    }

    async fn a_broken_pipe_in_a_handler_is_not_reported(reactor) {
        let log = Log::new();
        let seen = log.clone();
        // Over TCP, the first error of a writer is a reset.
        let name = format!("torsade-ports-{}", std::process::id());
        let here = if cfg!(target_os = "linux") { Address::from_abstract(name) } else { HERE.parse::<std::net::SocketAddr>().unwrap().into() };
        let port = reactor.serve(here, async move |mut conn| {
            loop {
                if let Err(error) = conn.write_all(&[0; 10_000]).await {
                    seen.note("over");
                    return Err(error.into());
                }
            }
        })?;
        drop(connect(&reactor, &port).await?);
        until(|| log.has("over") && port.connections() == 0).await;
        some_turns().await;
        port.stop().await?;
    }

    async fn a_reset_of_another_connection_is_reported(reactor) {
        let heard = expect_reports(&reactor);
        let port = reactor.serve(HERE, async |_conn| {
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())
        })?;
        drop(connect(&reactor, &port).await?);
        until(|| !heard.borrow().is_empty()).await;
        port.stop().await?;
    }
}
