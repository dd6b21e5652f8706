//! Peers that do what they should not: records of every size and of none, messages at the wrong
//! time, handshakes that stop at any byte.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rustls::ContentType;

use crate::certs::{here, pair, tls_error, to};
use crate::handshakes::old_client;
use crate::peer::Peer;
use support::{HERE, Log, Spy, some_turns, until};
use torsade::testing::Random;
use torsade::tls::TlsError;
use torsade::{Failure, Port, Reactor};

/// Opens a port whose protocol collects what it receives, and notes its end.
fn collecting(reactor: &Reactor, log: &Log, got: &Rc<RefCell<Vec<u8>>>) -> Result<Port, Failure> {
    let (log, got) = (log.clone(), got.clone());
    reactor.listen(here().tls(pair().0), move |_| {
        let (log, got) = (log.clone(), got.clone());
        Spy::new(&Log::new())
            .on_data(move |_, data| got.borrow_mut().extend_from_slice(data))
            .on_lost(move |reason| {
                let cause = reason.find::<TlsError>().map(TlsError::to_string);
                log.note(cause.unwrap_or_else(|| "done".into()));
            })
    })
}

/// Connects a peer, up to the end of its handshake.
async fn shaken(
    reactor: &Reactor,
    port: &Port,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<Peer, Failure> {
    let conn = reactor.connect_stream(port.local_addr()).await?;
    let mut peer = Peer::client(conn, versions)?;
    peer.shake().await?;
    Ok(peer)
}

on_both! {
    async fn records_of_all_sizes_and_of_none_are_decoded_however_they_are_cut(reactor) {
        let (log, got) = (Log::new(), Rc::default());
        let port = collecting(&reactor, &log, &got)?;
        let peer = shaken(&reactor, &port, &[&rustls::version::TLS13]).await?;
        let (mut conn, mut records) = peer.into_records();
        let mut random = Random::new(3);
        let (mut sent, mut bytes) = (Vec::new(), Vec::new());
        for round in 0..400_u32 {
            let size = match random.below(5) {
                0 => 0,
                1 => 1,
                2 => random.below(100),
                3 => 16 * 1024,
                _ => random.below(16 * 1024),
            };
            let content = vec![round as u8; size];
            bytes.extend(records.data(&content));
            sent.extend(content);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = [1, 10, 30_000, 200_000][random.below(4)];
            let (piece, left) = rest.split_at(rest.len().min(1 + random.below(most)));
            conn.write_all(piece).await?;
            if random.below(3) == 0 { some_turns().await }
            rest = left;
        }
        until(|| got.borrow().len() == sent.len()).await;
        assert!(*got.borrow() == sent);
        drop(conn);
        until(|| log.all().len() == 1).await;
        assert_eq!(log.take(), [TlsError::Truncated.to_string()]);
        port.stop().await?;
    }

    async fn empty_records_without_end_are_refused(reactor) {
        let (log, got) = (Log::new(), Rc::default());
        let port = collecting(&reactor, &log, &got)?;
        let peer = shaken(&reactor, &port, &[&rustls::version::TLS13]).await?;
        let (conn, mut records) = peer.into_records();
        let (_reading, mut writing) = conn.split();
        let flood: Vec<u8> = (0..50_000).flat_map(|_| records.data(b"")).collect();
        let flooding = async move { writing.write_all(&flood).await };
        let other = async {
            let mut peer = shaken(&reactor, &port, &[&rustls::version::TLS13]).await?;
            peer.write(b"hello").await?;
            until(|| *got.borrow() == b"hello").await;
            Ok::<_, Failure>(peer)
        };
        let (flooded, peer) = futures::future::join(flooding, other).await;
        // The rest is taken while the connection lingers, or refused.
        drop(flooded);
        assert!(log.all().concat().contains("TooManyEmptyFragments"), "{:?}", log.all());
        drop(peer?);
        until(|| log.all().len() == 2).await;
        port.stop().await?;
    }

    async fn a_hundred_thousand_records_of_one_byte_arrive(reactor) {
        let (log, got) = (Log::new(), Rc::default());
        let port = collecting(&reactor, &log, &got)?;
        let peer = shaken(&reactor, &port, &[&rustls::version::TLS13]).await?;
        let (mut conn, mut records) = peer.into_records();
        let all: Vec<u8> = (0..100_000_u32).flat_map(|n| records.data(&[n as u8])).collect();
        conn.write_all(&all).await?;
        until(|| got.borrow().len() == 100_000).await;
        assert!(got.borrow().iter().enumerate().all(|(n, byte)| *byte == n as u8));
        drop(conn);
        until(|| log.all().len() == 1).await;
        port.stop().await?;
    }

    async fn records_of_one_byte_do_not_hold_up_another_connection(reactor) {
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let protocols = reactor.listen(here().tls(pair().0), move |_| {
            let counted = counted.clone();
            Spy::new(&Log::new()).on_data(move |transport, data| match data {
                b"ping" => transport.write(b"pong"),
                data => counted.set(counted.get() + data.len()),
            })
        })?;
        let counted = count.clone();
        let streams = reactor.serve(here().tls(pair().0), async move |mut conn| {
            let mut buffer = [0; 64 * 1024];
            loop {
                // The flood ends without a word.
                let Ok(read) = conn.read(&mut buffer).await else { return Ok(()) };
                match &buffer[..read] {
                    b"" => return Ok(()),
                    b"ping" => conn.write_all(b"pong").await?,
                    data => counted.set(counted.get() + data.len()),
                }
            }
        })?;
        for port in [protocols, streams] {
            count.set(0);
            let (flood, mut records) = shaken(&reactor, &port, &[&rustls::version::TLS13]).await?.into_records();
            let mut other = reactor.connect_stream(to(&port).tls(pair().1)).await?;
            let all: Vec<u8> = (0..50_000).flat_map(|_| records.data(b"x")).collect();
            let (reading, mut flood) = flood.split();
            let flooding = reactor.spawn(async move { flood.write_all(&all).await.map(|()| flood) });
            let mut most = 0;
            while count.get() < 40_000 {
                let before = count.get();
                other.write_all(b"ping").await?;
                let mut answer = [0; 4];
                other.read_exact(&mut answer).await?;
                assert_eq!(&answer, b"pong");
                most = most.max(count.get() - before);
            }
            // A read of the handshake's size comes first; others are of half as many records.
            assert!(most < 1_000, "{most} bytes came before the answer to another");
            let flood = flooding.await??;
            until(|| count.get() == 50_000).await;
            drop((reading, flood, other));
            until(|| port.connections() == 0).await;
            port.stop().await?;
        }
    }

    async fn what_the_protocol_does_not_allow_ends_the_connection(reactor) {
        let too_long = vec![0; 16 * 1024 + 1];
        for (kind, content, named) in [
            // A renegotiation, which TLS 1.3 has no more.
            (ContentType::Handshake, &[0, 0, 0, 0][..], "violated"),
            // A second hello of the client.
            (ContentType::Handshake, &[1, 0, 0, 2, 3, 3], "violated"),
            (ContentType::Alert, &[2, 40], "handshake_failure"),
            (ContentType::Alert, &[7, 7], "ended TLS with an alert"),
            (ContentType::ApplicationData, &too_long, "violated"),
            (ContentType::Unknown(99), b"?", "violated"),
        ] {
            let (log, got) = (Log::new(), Rc::default());
            let port = collecting(&reactor, &log, &got)?;
            let peer = shaken(&reactor, &port, &[&rustls::version::TLS13]).await?;
            let (mut conn, mut records) = peer.into_records();
            conn.write_all(&records.data(b"before")).await?;
            conn.write_all(&records.make(kind, content)).await?;
            conn.write_all(&records.data(b"after")).await?;
            until(|| log.all().len() == 1).await;
            assert!(log.all()[0].contains(named), "{kind:?}: {:?}", log.all());
            assert_eq!(*got.borrow(), b"before");
            drop(conn);
            until(|| port.connections() == 0).await;
            port.stop().await?;
        }
    }

    async fn a_changed_byte_ends_the_connection(reactor) {
        let (log, got) = (Log::new(), Rc::default());
        let port = collecting(&reactor, &log, &got)?;
        let peer = shaken(&reactor, &port, &[&rustls::version::TLS13]).await?;
        let (mut conn, mut records) = peer.into_records();
        let mut record = records.data(b"pay 10");
        *record.last_mut().unwrap() ^= 1;
        conn.write_all(&record).await?;
        until(|| log.all().len() == 1).await;
        assert!(log.all()[0].contains("violated"), "{:?}", log.all());
        assert!(got.borrow().is_empty());
        drop(conn);
        port.stop().await?;
    }

    async fn a_changed_byte_after_our_end_ends_the_connection(reactor) {
        for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
            let log = Log::new();
            let noted = log.clone();
            let port = reactor.serve(here().tls(pair().0), async move |mut conn| {
                conn.transport().lose_write();
                let error = conn.read_to_end(&mut Vec::new()).await.unwrap_err();
                let failure: Failure = error.into();
                noted.note(tls_error(&failure));
                Ok(())
            })?;
            let mut peer = shaken(&reactor, &port, versions).await?;
            while peer.receive().await? {}
            std::io::Write::write_all(&mut peer.tls.writer(), b"pay 10")?;
            let mut record = peer.take_records();
            *record.last_mut().unwrap() ^= 1;
            peer.conn.write_all(&record).await?;
            until(|| log.all().len() == 1).await;
            assert!(log.all()[0].contains("violated"), "{:?}", log.all());
            drop(peer);
            port.stop().await?;
        }
    }

    async fn a_handshake_that_stops_at_any_byte_leaves_nothing_behind(reactor) {
        for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
            let (log, got) = (Log::new(), Rc::default());
            let port = collecting(&reactor, &log, &got)?;
            // Each flight of the client, cut after some of its bytes.
            for flight in 0..2 {
                for share in [0, 1, 5, 50, 99] {
                    let conn = reactor.connect_stream(port.local_addr()).await?;
                    let mut peer = Peer::client(conn, versions)?;
                    for _ in 0..flight {
                        peer.flush().await?;
                        while peer.tls.is_handshaking() && !peer.tls.wants_write() {
                            peer.receive().await?;
                        }
                    }
                    let records = peer.take_records();
                    let count = records.len() * share / 100;
                    peer.conn.write_all(&records[..count]).await?;
                    some_turns().await;
                    drop(peer);
                    until(|| port.connections() == 0).await;
                }
            }
            assert!(log.is_empty(), "no protocol was made: {:?}", log.all());
            port.stop().await?;
        }
    }

    async fn a_server_that_stops_at_any_byte_of_its_handshake_fails_the_connect(reactor) {
        let limit = Duration::from_millis(50);
        for client in [pair().1, old_client()] {
            let client = client.handshake_timeout(limit);
            for share in [0, 1, 5, 50, 99] {
                for is_silent in [true, false] {
                    let kept = Rc::new(Cell::new(None));
                    let conns = kept.clone();
                    let port = reactor.serve(HERE, async move |conn| {
                        let mut peer = Peer::server_before(conn)?;
                        while !peer.tls.wants_write() {
                            peer.receive().await?;
                        }
                        let records = peer.take_records();
                        peer.conn.write_all(&records[..records.len() * share / 100]).await?;
                        if is_silent {
                            conns.set(Some(peer));
                        }
                        Ok(())
                    })?;
                    let failure = reactor.connect_stream(to(&port).tls(client.clone())).await;
                    let failure = failure.unwrap_err();
                    let expected = match is_silent {
                        true => TlsError::HandshakeTimedOut { limit },
                        false => TlsError::HandshakeClosed,
                    };
                    assert_eq!(*tls_error(&failure), expected, "{share}");
                    drop(kept.take());
                    until(|| port.connections() == 0).await;
                    port.stop().await?;
                }
            }
        }
    }

    async fn a_first_message_without_end_is_refused_with_little_memory(reactor) {
        let (log, got) = (Log::new(), Rc::default());
        let port = collecting(&reactor, &log, &got)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        // A hello of 16 MiB, in whole records.
        let mut sent = 0;
        let mut first = vec![1, 0xff, 0xff, 0xff];
        while sent < 1 << 20 {
            first.resize(4096, 0);
            let mut record = vec![22, 3, 1, 0x10, 0];
            record.append(&mut first);
            if conn.write_all(&record).await.is_err() { break }
            sent += record.len();
            some_turns().await;
        }
        assert!(sent <= 600 << 10, "{sent} bytes were taken");
        until(|| port.connections() == 0).await;
        drop(conn);
        port.stop().await?;
    }

    async fn keys_may_be_updated_by_the_peer_at_any_time(reactor) {
        let (log, got) = (Log::new(), Rc::default());
        let port = collecting(&reactor, &log, &got)?;
        let mut peer = shaken(&reactor, &port, &[&rustls::version::TLS13]).await?;
        for round in 0..3_u8 {
            match &mut peer.tls {
                rustls::Connection::Client(tls) => tls.refresh_traffic_keys()?,
                rustls::Connection::Server(_) => unreachable!("it is a client"),
            }
            peer.write(&[round]).await?;
        }
        until(|| *got.borrow() == [0, 1, 2]).await;
        peer.tls.send_close_notify();
        peer.flush().await?;
        until(|| log.all().len() == 1).await;
        assert_eq!(log.take(), ["done"]);
        drop(peer);
        port.stop().await?;
    }
}
