//! TLS that begins on a connection that is open: what was sent before, what was injected, and whose
//! protocol goes on.

use crate::certs::{pair, tls_error};
#[cfg(unix)]
use crate::peer::Peer;
use support::{HERE, Log, Spy, expect_reports, some_turns, until};
#[cfg(unix)]
use torsade::net::Stdio;
use torsade::protocols::{LineProtocol, Lines};
use torsade::tls::{ClientConfig, ServerConfig, TlsError};
use torsade::{Context, Failure};

/// A server that has the command STARTTLS, and answers each other line with it.
struct Server {
    log: Log,
    tls: ServerConfig,
}

impl LineProtocol for Server {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let is_secret = cx.tls().is_some();
        self.log
            .note(format_args!("{} {is_secret}", line.escape_ascii()));
        if line == b"STARTTLS" {
            cx.write(b"220 go ahead\r\n");
            drop(cx.start_tls_server(&self.tls));
            cx.write(b"250 in TLS\r\n");
        } else {
            cx.write([line, b"\r\n"].concat());
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        let cause = reason.find::<TlsError>().map(TlsError::to_string);
        self.log.note(cause.unwrap_or_else(|| "lost".into()));
    }
}

/// A client of it.
struct Client {
    log: Log,
    tls: ClientConfig,
}

impl LineProtocol for Client {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write(b"EHLO\r\nSTARTTLS\r\n");
    }

    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        self.log.note(format_args!(
            "{} {}",
            line.escape_ascii(),
            cx.tls().is_some()
        ));
        match line {
            b"220 go ahead" => {
                let log = self.log.clone();
                let started = cx.start_tls(&self.tls);
                drop(started.add_callback(move |()| {
                    log.note("secure");
                    Ok(())
                }));
                cx.write(b"LOGIN secret\r\n");
            }
            b"LOGIN secret" => cx.lose_connection(),
            _ => {}
        }
    }
}

on_both! {
    async fn a_line_protocol_starts_tls_and_goes_on(reactor) {
        let (server, client) = pair();
        let (log, to_server) = (Log::new(), Log::new());
        let port = reactor.listen(HERE, {
            let log = to_server.clone();
            move |_| Lines::new(Server { log: log.clone(), tls: server.clone() })
        })?;
        let protocol = Lines::new(Client { log: log.clone(), tls: client });
        let handle = reactor.connect(port.local_addr(), protocol).await?;
        handle.closed().await?;
        assert_eq!(
            log.take(),
            ["EHLO false", "220 go ahead false", "secure", "250 in TLS true", "LOGIN secret true"]
        );
        until(|| port.connections() == 0).await;
        assert_eq!(to_server.take(), ["EHLO false", "STARTTLS false", "LOGIN secret true", "lost"]);
        port.stop().await?;
    }

    async fn async_code_starts_tls_at_both_ends(reactor) {
        let (server, client) = pair();
        let port = reactor.serve(HERE, async move |mut conn| {
            assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"STARTTLS"[..]));
            conn.write_all(b"go ahead\r\n").await?;
            conn.start_tls_server(&server).await?;
            let line = conn.read_line(80).await?.unwrap();
            Ok(conn.write_all(&[&line[..], b"\r\n"].concat()).await?)
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"STARTTLS\r\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"go ahead"[..]));
        conn.start_tls(&client).await?;
        assert!(conn.transport().tls().is_some());
        conn.write_all(b"secret\r\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"secret"[..]));
        drop(conn);
        port.stop().await?;
    }

    async fn bytes_injected_behind_the_command_are_refused_at_a_server(reactor) {
        let (server, _) = pair();
        let log = Log::new();
        let port = reactor.listen(HERE, {
            let log = log.clone();
            move |_| Lines::new(Server { log: log.clone(), tls: server.clone() })
        })?;
        for injected in ["EVIL\r\n", "EV", "\r\n"] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(format!("STARTTLS\r\n{injected}").as_bytes()).await?;
            let mut got = Vec::new();
            let _ = conn.read_to_end(&mut got).await;
            assert!(!got.windows(4).any(|piece| piece == b"EVIL"), "{}", got.escape_ascii());
            until(|| port.connections() == 0).await;
            let error = TlsError::PlaintextReceived { bytes: injected.len() };
            assert_eq!(log.take(), ["STARTTLS false".to_owned(), error.to_string()]);
        }
        // What comes later, and is no TLS, is none either.
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"STARTTLS\r\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"220 go ahead"[..]));
        conn.write_all(b"EVIL\r\n").await?;
        let _ = conn.read_to_end(&mut Vec::new()).await;
        until(|| port.connections() == 0).await;
        let error = TlsError::NotTls { found: b"EVIL\r\n".to_vec() };
        assert_eq!(log.take(), ["STARTTLS false".to_owned(), error.to_string()]);
        port.stop().await?;
    }

    async fn bytes_injected_before_the_handshake_are_refused_at_a_client(reactor) {
        let (_, client) = pair();
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(b"220 ready\r\n250 EVIL\r\n").await?;
            while conn.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"220 ready"[..]));
        let failure = conn.start_tls(&client).await.unwrap_err();
        assert_eq!(*tls_error(&failure), TlsError::PlaintextReceived { bytes: 10 });
        assert!(conn.read_line(80).await.is_err());
        drop(conn);
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_handshake_that_fails_ends_the_connection_and_nothing_is_sent_in_the_clear(reactor) {
        let reports = expect_reports(&reactor);
        let (server, client) = pair();
        let log = Log::new();
        let port = reactor.listen(HERE, move |_| {
            Lines::new(Server { log: Log::new(), tls: server.clone() })
        })?;
        let tls = client.server_name("other.test");
        let protocol = Lines::new(Client { log: log.clone(), tls });
        let handle = reactor.connect(port.local_addr(), protocol).await?;
        let reason = handle.closed().await?;
        assert!(matches!(tls_error(&reason), TlsError::Certificate { .. }), "{reason:#}");
        assert_eq!(log.take(), ["EHLO false", "220 go ahead false"]);
        until(|| port.connections() == 0).await;
        port.stop().await?;
        // The program's own Deferred fails; nothing else is reported.
        some_turns().await;
        let reports = reports.borrow();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].failure().find::<TlsError>().is_some(), "{reports:?}");
    }

    async fn a_configuration_that_cannot_be_used_leaves_the_connection_as_it_was(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for config in [ClientConfig::new().roots(crate::certs::authority().roots()), pair().1.server_name("a b")] {
            let failure = conn.start_tls(&config).await.unwrap_err();
            assert!(matches!(tls_error(&failure), TlsError::Config { .. }), "{failure}");
        }
        conn.write_all(b"x").await?;
        conn.read_exact(&mut [0]).await?;
        drop(conn);
        port.stop().await?;
    }

    async fn a_second_start_during_the_handshake_is_an_error(reactor) {
        let (_, client) = pair();
        let port = reactor.listen(HERE, |_| Spy::new(&Log::new()))?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&Log::new())).await?;
        let transport = handle.transport().unwrap();
        let first = transport.start_tls(&client);
        let failure = transport.start_tls(&client).await.unwrap_err();
        assert!(failure.to_string().contains("under way already"), "{failure}");
        assert!(transport.queued() > 0, "the first message waits");
        until(|| transport.queued() == 0).await;
        transport.abort_connection();
        assert!(first.await.is_err());
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn bytes_before_it_are_queued_until_they_are_sent(reactor) {
        let (server, _) = pair();
        let queued = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = queued.clone();
        let port = reactor.listen(HERE, move |_| {
            let (server, seen) = (server.clone(), seen.clone());
            Spy::new(&Log::new()).on_made(move |conn| {
                conn.write(vec![b'x'; 20 << 20]);
                drop(conn.start_tls_server(&server));
                seen.set(conn.queued());
            })
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let mut plain = vec![0; 20 << 20];
        conn.read_exact(&mut plain).await?;
        assert!(queued.get() > 10 << 20, "{}", queued.get());
        assert!(plain.iter().all(|byte| *byte == b'x'));
        drop(conn);
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn the_transport_of_async_code_does_not_start_it(reactor) {
        let (_, client) = pair();
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(b"220 ready\r\n250 EVIL\r\n").await?;
            conn.read(&mut [0; 64]).await?;
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"220 ready"[..]));
        let failure = conn.transport().start_tls(&client).await.unwrap_err();
        assert!(failure.to_string().contains("Connection::start_tls"), "{failure}");
        // The connection goes on as it was.
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"250 EVIL"[..]));
        assert!(conn.transport().tls().is_none());
        drop(conn);
        port.stop().await?;
    }

    async fn a_half_close_waits_for_the_handshake(reactor) {
        let (server, client) = pair();
        let port = reactor.serve(HERE, async move |mut conn| {
            conn.start_tls_server(&server).await?;
            let mut got = Vec::new();
            conn.read_to_end(&mut got).await?;
            Ok(conn.write_all(b"answer").await?)
        })?;
        let log = Log::new();
        let protocol = Spy::new(&log).on_made(move |conn| {
            drop(conn.start_tls(&client));
            conn.lose_write();
        });
        let handle = reactor.connect(port.local_addr(), protocol).await?;
        handle.closed().await?;
        assert!(log.has("data answer"), "{:?}", log.all());
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_start_after_the_end_fails_with_the_reason(reactor) {
        let (_, client) = pair();
        let port = reactor.serve(HERE, async |_conn| Ok(()))?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&Log::new())).await?;
        let transport = handle.transport().unwrap();
        until(|| transport.reason().is_some()).await;
        assert!(transport.start_tls(&client).await.is_err());
        assert!(transport.tls().is_none());
        port.stop().await?;
    }
}

#[cfg(unix)]
#[test]
fn over_two_pipes_a_half_close_ends_the_pipe_that_is_written() {
    let reactor = torsade::Reactor::new().unwrap();
    torsade::testing::run_on(reactor, async |reactor| {
        let ((input, to_server), (from_server, output)) =
            (rustix::pipe::pipe()?, rustix::pipe::pipe()?);
        let mut conn = Stdio::of(input, output).open(&reactor)?;
        let far = Stdio::of(from_server, to_server).open(&reactor)?;
        let mut client = Peer::client(far, &[&rustls::version::TLS13])?;
        let server = pair().0;
        let shakes = async { conn.start_tls_server(&server).await };
        futures::future::try_join(shakes, client.shake()).await?;
        conn.write_all(b"last").await?;
        conn.close().await?;
        while client.receive().await? {}
        // The other direction is open.
        client.write(b"answer").await?;
        let mut got = [0; 6];
        conn.read_exact(&mut got).await?;
        assert_eq!(&got, b"answer");
        Ok(())
    });
}
