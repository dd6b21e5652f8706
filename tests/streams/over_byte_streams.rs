//! Connections made of any two byte streams: bytes, ends and errors go through both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite};
use support::{Anywhere, HERE, Log, MS, Spy, ends, expect_reports, some_turns, until};
use torsade::net::{Incoming, ListenOptions, StreamServerEndpoint};
use torsade::reactor::{Grace, Stopped};
use torsade::transport::ConnectionError;
use torsade::{Address, Clock, Connection, Failure, Port, Reactor};

/// A cipher that a child could break, over any stream.
struct Rot13<S>(S);

fn rotate(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => b'a' + (byte - b'a' + 13) % 26,
        other => other,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rot13<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        if let Poll::Ready(Ok(count)) = read {
            buf[..count]
                .iter_mut()
                .for_each(|byte| *byte = rotate(*byte));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rot13<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let rotated: Vec<u8> = buf.iter().map(|byte| rotate(*byte)).collect();
        Pin::new(&mut self.0).poll_write(cx, &rotated)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// The same connection, enciphered.
fn enciphered(reactor: &Reactor, conn: Connection) -> Result<Connection, Failure> {
    let peer = conn.peer();
    let (reader, writer) = conn.split();
    Connection::over(reactor, peer, Rot13(reader), Rot13(writer))
}

struct Fails;

impl AsyncRead for Fails {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }
}

/// Never has anything.
struct Silent;

impl AsyncRead for Silent {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

/// Accepts this many bytes and then none, or fails.
struct Takes {
    room: usize,
    fails: bool,
}

impl AsyncWrite for Takes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = buf.len().min(self.room);
        self.room -= count;
        match count {
            0 if self.fails => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Decrypts the bytes of another endpoint's peers.
struct Cipher;

impl StreamServerEndpoint for Cipher {
    fn listen(
        &self,
        reactor: &Reactor,
        options: &ListenOptions,
        incoming: Incoming,
    ) -> Result<Port, Failure> {
        let weak = reactor.clone();
        reactor.serve((Anywhere, options), async move |conn| {
            incoming.accept(enciphered(&weak, conn)?);
            Ok(())
        })
    }
}

on_transports! {
    async fn bytes_and_ends_go_through_both_ways(reactor) {
        let (mut plain, server, port) = ends(&reactor, Anywhere).await?;
        let mut outer = enciphered(&reactor, server)?;
        assert_eq!(outer.peer(), plain.local_addr()?);
        outer.write_all(b"hello\n").await?;
        assert_eq!(plain.read_line(80).await?.as_deref(), Some(&b"uryyb"[..]));
        plain.write_all(b"uryyb\n").await?;
        assert_eq!(outer.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        // An end of one direction leaves the other.
        outer.transport().lose_write();
        assert_eq!(plain.read(&mut [0; 4]).await?, 0);
        plain.write_all(b"zber\n").await?;
        assert_eq!(outer.read_line(80).await?.as_deref(), Some(&b"more"[..]));
        drop(plain);
        assert_eq!(outer.read(&mut [0; 4]).await?, 0);
        drop(outer);
        port.stop().await?;
    }

    async fn much_goes_through_at_the_readers_pace(reactor) {
        const SIZE: usize = 16_000_000;
        let (mut plain, server, port) = ends(&reactor, Anywhere).await?;
        let mut outer = enciphered(&reactor, server)?;
        let writing = reactor.spawn(async move { outer.write_all(&vec![b'a'; SIZE]).await });
        some_turns().await;
        assert!(!writing.is_finished());
        let (mut bytes, mut buf) = (0, vec![0; 65_536]);
        loop {
            match plain.read(&mut buf).await? {
                0 => break,
                count => bytes += count,
            }
        }
        assert_eq!(bytes, SIZE);
        writing.await??;
        drop(plain);
        port.stop().await?;
    }

    async fn a_protocol_uses_such_a_connection_like_any_other(reactor) {
        let log = Log::new();
        let seen = log.clone();
        let port = reactor.listen(Cipher, move |_| Spy::named(&seen, "spy").on_data(|cx, data| cx.write(data)))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"uryyb\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"uryyb"[..]));
        assert_eq!(port.connections(), 1);
        drop(conn);
        until(|| port.connections() == 0).await;
        assert_eq!(log.take(), ["spy made", "spy data hello\\n", "spy eof", "spy lost done"]);
        port.stop().await?;
    }

    async fn aborting_drops_the_streams(reactor) {
        let (mut plain, server, port) = ends(&reactor, Anywhere).await?;
        let inner = server.transport();
        let outer = enciphered(&reactor, server)?;
        outer.transport().abort_connection();
        until(|| inner.reason().is_some()).await;
        assert!(matches!(plain.read(&mut [0; 4]).await, Ok(0) | Err(_)));
        drop((outer, plain));
        port.stop().await?;
    }

    async fn an_error_of_the_streams_is_why_it_is_lost(reactor) {
        let mut outer = Connection::over(&reactor, Address::Unnamed, Fails, futures::io::sink())?;
        let error = outer.read(&mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop(outer);
        reactor.sleep(MS).await?;
    }
}

#[test]
fn bytes_written_before_the_program_ends_arrive() {
    const SIZE: usize = 1_000_000;
    let listener = std::net::TcpListener::bind(HERE).unwrap();
    let address = listener.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut conn, mut bytes) = (listener.accept().unwrap().0, Vec::new());
        io::Read::read_to_end(&mut conn, &mut bytes).map(|_| bytes)
    });
    torsade::run(async |reactor| {
        let inner = reactor.connect_stream(address).await?;
        let mut outer = enciphered(&reactor, inner)?;
        outer.write_all(&vec![b'a'; SIZE]).await?;
        Ok(())
    })
    .unwrap();
    let bytes = reader.join().unwrap().unwrap();
    assert_eq!(bytes.len(), SIZE);
    assert!(bytes.iter().all(|byte| *byte == b'n'));
}

#[test]
fn a_writer_that_accepts_nothing_is_waited_for_like_any_peer_and_reported() {
    for is_closed in [true, false] {
        let reactor = Reactor::in_memory().unwrap();
        let reports = expect_reports(&reactor);
        let stalled = MS * 300;
        reactor.set_grace(Grace {
            stalled,
            ..Grace::default()
        });
        let begun = reactor.now();
        let mut kept = None;
        let writer = Takes {
            room: 0,
            fails: false,
        };
        reactor
            .run_until(async {
                let mut conn = Connection::over(&reactor, ([1, 2, 3, 4], 5), Silent, writer)?;
                conn.write_all(&[7; 30_000]).await?;
                kept = (!is_closed).then_some(conn);
                some_turns().await;
                Ok::<_, Failure>(())
            })
            .unwrap()
            .unwrap();
        assert_eq!(reactor.now() - begun, stalled, "closed: {is_closed}");
        let reports = reports.borrow();
        assert_eq!(reports.len(), 1, "{reports:?}");
        let Some(ConnectionError::NotSent { bytes, peer, .. }) =
            reports[0].failure().downcast_ref()
        else {
            panic!("{reports:?}");
        };
        assert_eq!(*bytes, 30_000);
        assert_eq!(peer.to_string(), "1.2.3.4:5");
        assert!(reports[0].failure().find::<Stopped>().is_some());
    }
}

#[test]
fn a_writer_that_fails_after_the_close_has_the_loss_reported() {
    torsade::testing::run(async |reactor| {
        let reports = expect_reports(&reactor);
        let writer = Takes {
            room: 0,
            fails: true,
        };
        let mut conn = Connection::over(&reactor, Address::Unnamed, Silent, writer)?;
        conn.write_all(&[7; 30_000]).await?;
        drop(conn);
        until(|| !reports.borrow().is_empty()).await;
        let reports = reports.borrow();
        let Some(ConnectionError::NotSent { bytes, .. }) = reports[0].failure().downcast_ref()
        else {
            panic!("{reports:?}");
        };
        assert_eq!(*bytes, 30_000);
        let cause = reports[0].failure().find::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::InvalidData);
        Ok(())
    });
}

#[test]
fn an_abort_of_the_connection_below_is_not_reported() {
    let reactor = Reactor::in_memory().unwrap();
    let reports = expect_reports(&reactor);
    let begun = reactor.now();
    let writer = Takes {
        room: 0,
        fails: false,
    };
    reactor
        .run_until(async {
            let mut conn = Connection::over(&reactor, Address::Unnamed, Silent, writer)?;
            conn.write_all(&[7; 30_000]).await?;
            conn.transport().abort_connection();
            some_turns().await;
            Ok::<_, Failure>(())
        })
        .unwrap()
        .unwrap();
    assert!(reactor.now() - begun < MS * 300);
    assert!(reports.borrow().is_empty(), "{reports:?}");
}
