//! Streams in records: bytes in order whatever the sizes, limits, pauses, producers, and the end.

use std::cell::RefCell;
use std::io::{ErrorKind, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::certs::{here, kinds, pair, tls_error, to};
use crate::peer::Peer;
use support::{HERE, Log, Spy, how, some_turns, until};
use torsade::testing::Random;
use torsade::tls::{ServerConfig, TlsError};
use torsade::transport::{Flow, Limits, Producer};
use torsade::{Clock, Connection, Context, Failure, Port, Protocol, Reactor, Transport};

/// Opens a port with this handler, and connects to it.
async fn connected(
    reactor: &Reactor,
    serve: impl AsyncFn(Connection) -> Result<(), Failure> + 'static,
) -> Result<(Port, Connection), Failure> {
    let (server, client) = pair();
    let port = reactor.serve(here().tls(server), serve)?;
    let conn = reactor.connect_stream(to(&port).tls(client)).await?;
    Ok((port, conn))
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8).collect()
}

on_both! {
    async fn bytes_come_in_order_whatever_the_sizes_of_reads_and_writes(reactor) {
        let total = 1 << 20;
        let (port, conn) = connected(&reactor, async |mut conn| {
            let mut buffer = vec![0; 30_000];
            let mut sizes = [1, 7, 100, 5_000, 30_000].into_iter().cycle();
            loop {
                let count = conn.read(&mut buffer[..sizes.next().unwrap()]).await?;
                if count == 0 { break }
                conn.write_all(&buffer[..count]).await?;
            }
            Ok(())
        }).await?;
        let (mut reading, mut writing) = conn.split();
        let bytes = pattern(total);
        let mut random = Random::new(7);
        let writes = async {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let most = [1, 40, 3_000, 100_000][random.below(4)];
                let (piece, left) = rest.split_at(rest.len().min(1 + random.below(most)));
                writing.write_all(piece).await?;
                rest = left;
            }
            writing.close().await
        };
        let reads = async {
            let mut got = Vec::new();
            reading.read_to_end(&mut got).await?;
            Ok(got)
        };
        let ((), got) = futures::future::try_join(writes, reads).await?;
        assert!(got == bytes, "{} of {total}", got.len());
        drop((reading, writing));
        port.stop().await?;
    }

    async fn a_protocol_gets_all_bytes_while_it_pauses_and_resumes(reactor) {
        let (server, client) = pair();
        let got = Rc::new(RefCell::new(Vec::new()));
        let port = reactor.listen(here().tls(server), {
            let (got, reactor) = (got.clone(), reactor.clone());
            move |_| {
                let (got, reactor) = (got.clone(), reactor.clone());
                Spy::new(&Log::new()).on_data(move |conn, data| {
                    got.borrow_mut().extend_from_slice(data);
                    conn.pause_producing();
                    let conn = conn.clone();
                    reactor.call_soon(move || conn.resume_producing());
                })
            }
        })?;
        let mut conn = reactor.connect_stream(to(&port).tls(client)).await?;
        let bytes = pattern(500_000);
        conn.write_all(&bytes).await?;
        until(|| got.borrow().len() == bytes.len()).await;
        assert!(*got.borrow() == bytes);
        drop(conn);
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn many_records_that_come_together_are_all_delivered(reactor) {
        // 1,000 records of one byte each, and nothing after them.
        let (port, mut conn) = connected(&reactor, async |mut conn| {
            for n in 0..1000 {
                conn.write_all(&[n as u8]).await?;
                conn.flush().await?;
            }
            conn.read(&mut [0]).await?;
            Ok(())
        }).await?;
        some_turns().await;
        let mut got = vec![0; 1000];
        for byte in &mut got {
            conn.read_exact(std::slice::from_mut(byte)).await?;
        }
        assert!(got.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        drop(conn);
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_peer_that_does_not_read_holds_its_writer_up(reactor) {
        let (port, mut conn) = connected(&reactor, async |mut conn| {
            let mut got = Vec::new();
            conn.read_exact(&mut [0]).await?;
            conn.read_to_end(&mut got).await?;
            assert!(got == pattern(10 << 20));
            Ok(())
        }).await?;
        let bytes = pattern(10 << 20);
        let mut written = 0;
        let limit = Limits::default().high;
        conn.write_all(b"x").await?;
        while written < bytes.len() {
            written += conn.write(&bytes[written..]).await?;
            assert!(conn.transport().queued() <= limit, "{}", conn.transport().queued());
        }
        conn.close().await?;
        assert_eq!(conn.read(&mut [0]).await?, 0);
        drop(conn);
        port.stop().await?;
    }

    async fn small_records_are_all_sent_while_nothing_else_happens(reactor) {
        for total in [4_000_000, 4_003_000, 4_007_000, 4_020_000] {
            let mut config = crate::peer::server_config();
            Arc::make_mut(&mut config).max_fragment_size = Some(1000);
            let server = ServerConfig::from_rustls(config);
            let port = reactor.serve(here().tls(server), async move |mut conn| {
                conn.write_all(&pattern(total)).await?;
                // It waits for the client before it writes or reads again.
                conn.read_exact(&mut [0]).await?;
                Ok(())
            })?;
            let mut conn = reactor.connect_stream(to(&port).tls(pair().1)).await?;
            let mut got = Vec::new();
            let mut buffer = [0; 5000];
            while got.len() < total {
                for _ in 0..20 { torsade::yield_now().await }
                let read = conn.read(&mut buffer);
                let read = reactor.timeout(Duration::from_secs(5), read).await;
                let Ok(count) = read else { panic!("stuck after {} of {total}", got.len()) };
                got.extend_from_slice(&buffer[..count?]);
            }
            assert!(got == pattern(total));
            conn.write_all(b"x").await?;
            drop(conn);
            port.stop().await?;
        }
    }

    async fn tls_in_tls_ends_in_good_order_at_both_layers(reactor) {
        let (server, client) = pair();
        let port = reactor.serve(here().tls(server.clone()), async move |mut conn| {
            conn.write_all(&pattern(300_000)).await?;
            conn.start_tls_server(&server).await?;
            conn.write_all(&pattern(500_000)).await?;
            conn.close().await?;
            conn.read(&mut [0]).await?;
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(to(&port).tls(client.clone())).await?;
        some_turns().await;
        let mut got = vec![0; 300_000];
        conn.read_exact(&mut got).await?;
        assert!(got == pattern(300_000));
        conn.start_tls(&client).await?;
        some_turns().await;
        got.clear();
        conn.read_to_end(&mut got).await?;
        assert!(got == pattern(500_000), "{}", got.len());
        drop(conn);
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_half_close_leaves_the_other_direction_open(reactor) {
        let (port, mut conn) = connected(&reactor, async |mut conn| {
            let mut got = Vec::new();
            conn.read_to_end(&mut got).await?;
            got.reverse();
            Ok(conn.write_all(&got).await?)
        }).await?;
        conn.write_all(b"drawer").await?;
        conn.close().await?;
        let mut got = Vec::new();
        conn.read_to_end(&mut got).await?;
        assert_eq!(got, b"reward");
        assert!(conn.write(b"more").await.is_err());
        drop(conn);
        port.stop().await?;
    }

    async fn an_end_in_good_order_delivers_everything_first(reactor) {
        let log = Log::new();
        let (server, client) = pair();
        let port = reactor.listen(here().tls(server), move |_| {
            Spy::new(&Log::new()).on_made(|conn| {
                conn.write(pattern(300_000));
                conn.lose_connection();
            })
        })?;
        let mut conn = reactor.connect_stream(to(&port).tls(client)).await?;
        let mut got = Vec::new();
        conn.read_to_end(&mut got).await?;
        assert!(got == pattern(300_000));
        drop((conn, log));
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_client_that_leaves_at_once_has_its_request_delivered(reactor) {
        // The server's tickets are on their way while the client closes, or cannot be sent.
        for at in kinds() {
            let (server, client) = pair();
            let log = Log::new();
            let port = reactor.listen(at.tls(server), { let log = log.clone(); move |_| Spy::new(&log) })?;
            for _ in 0..20 {
                let mut conn = reactor.connect_stream(to(&port).tls(client.clone())).await?;
                conn.write_all(b"request").await?;
                drop(conn);
            }
            until(|| log.count("lost done") == 20).await;
            assert_eq!(log.count("data request"), 20);
            port.stop().await?;
        }
    }

    async fn a_server_that_leaves_at_once_has_its_answer_delivered(reactor) {
        // It has closed when the client finishes the handshake.
        for at in kinds() {
            let port = reactor.serve(at, async |conn| {
                let mut config = crate::peer::server_config();
                Arc::make_mut(&mut config).send_half_rtt_data = true;
                let mut peer = Peer { conn, tls: rustls::ServerConnection::new(config)?.into() };
                while !peer.tls.wants_write() {
                    peer.receive().await?;
                }
                peer.tls.writer().write_all(b"answer")?;
                peer.tls.send_close_notify();
                peer.flush().await
            })?;
            let mut conn = reactor.connect_stream(to(&port).tls(pair().1)).await?;
            let mut got = Vec::new();
            conn.read_to_end(&mut got).await?;
            assert_eq!(got, b"answer");
            drop(conn);
            port.stop().await?;
        }
    }

    async fn an_abort_is_one_at_both_ends(reactor) {
        let (port, mut conn) = connected(&reactor, async |conn| {
            conn.transport().abort_connection();
            Ok(())
        }).await?;
        let error = conn.read(&mut [0]).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}");
        drop(conn);
        port.stop().await?;
    }

    async fn a_stream_without_its_end_is_no_end_in_good_order(reactor) {
        let (_, client) = pair();
        let port = reactor.serve(HERE, async |conn| {
            let mut peer = Peer::server(conn).await?;
            peer.write(b"abc").await?;
            // The connection is closed without `close_notify`.
            peer.conn.close().await?;
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(to(&port).tls(client.clone())).await?;
        let mut got = [0; 64];
        let count = conn.read(&mut got).await?;
        assert_eq!(&got[..count], b"abc");
        let error = conn.read(&mut got).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(*tls_error(&error.into()), TlsError::Truncated);
        assert_eq!(*tls_error(&conn.transport().reason().unwrap()), TlsError::Truncated);
        drop(conn);

        let lost = Rc::new(RefCell::new(None));
        let told = lost.clone();
        let spy = Spy::new(&Log::new()).on_lost(move |reason| { told.replace(Some(reason.clone())); });
        reactor.connect(to(&port).tls(client), spy).await?;
        until(|| lost.borrow().is_some()).await;
        let reason = lost.take().unwrap();
        assert_eq!(*tls_error(&reason), TlsError::Truncated);
        assert_eq!(how(&reason), "broken");
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_producer_goes_at_the_pace_of_the_connection(reactor) {
        struct Pieces(usize);
        impl Producer for Pieces {
            fn resume_producing(&mut self, consumer: &Transport) {
                match self.0.checked_sub(1) {
                    Some(left) => {
                        self.0 = left;
                        consumer.write([left as u8; 20_000]);
                    }
                    None => consumer.unregister_producer(),
                }
            }
        }
        let (server, client) = pair();
        let port = reactor.listen(here().tls(server), move |_| {
            Spy::new(&Log::new()).on_made(|conn| {
                conn.register_producer(Pieces(50), Flow::Pull).unwrap();
                conn.lose_connection();
            })
        })?;
        let mut conn = reactor.connect_stream(to(&port).tls(client)).await?;
        let mut got = Vec::new();
        conn.read_to_end(&mut got).await?;
        let expected: Vec<u8> = (0..50_u8).rev().flat_map(|n| [n; 20_000]).collect();
        assert!(got == expected, "{}", got.len());
        drop(conn);
        port.stop().await?;
    }

    async fn a_file_is_sent_in_records(reactor) {
        let dir = crate::certs::Dir::new();
        let text = "0123456789".repeat(20_000);
        dir.write("file", &text);
        let path = format!("{}/file", dir.path());
        let (port, mut conn) = connected(&reactor, async move |conn| {
            let sent = conn.transport().send_file(std::fs::File::open(&path)?).await?;
            assert_eq!(sent, 200_000);
            Ok(())
        }).await?;
        let mut got = Vec::new();
        conn.read_to_end(&mut got).await?;
        assert!(got == text.as_bytes());
        drop(conn);
        port.stop().await?;
    }

    async fn tls_may_go_through_tls(reactor) {
        let (server, client) = pair();
        let inner = server.clone();
        let port = reactor.serve(here().tls(server), async move |mut conn| {
            conn.start_tls_server(&inner).await?;
            let mut got = vec![0; 100_000];
            conn.read_exact(&mut got).await?;
            Ok(conn.write_all(&got).await?)
        })?;
        let mut conn = reactor.connect_stream(to(&port).tls(client.clone())).await?;
        conn.start_tls(&client).await?;
        let bytes = pattern(100_000);
        let transport = conn.transport();
        transport.write(&bytes);
        let mut got = vec![0; 100_000];
        conn.read_exact(&mut got).await?;
        assert!(got == bytes);
        drop(conn);
        port.stop().await?;
    }

    async fn a_connection_in_tls_goes_to_another_protocol(reactor) {
        struct First;
        impl Protocol for First {
            fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
                assert_eq!(data, b"switch");
                cx.write(b"ok");
                cx.become_protocol(Spy::echo(), b"");
            }
        }
        let (server, client) = pair();
        let port = reactor.listen(here().tls(server), |_| First)?;
        let mut conn = reactor.connect_stream(to(&port).tls(client)).await?;
        conn.write_all(b"switch").await?;
        conn.read_exact(&mut [0; 2]).await?;
        conn.write_all(b"hello").await?;
        let mut got = [0; 5];
        conn.read_exact(&mut got).await?;
        assert_eq!(&got, b"hello");
        let handle = conn.become_protocol(Spy::echo()).await?;
        let tls = handle.ask(|_, cx| cx.tls().is_some()).await?;
        assert!(tls);
        handle.transport().unwrap().lose_connection();
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }
}
