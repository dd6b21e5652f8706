//! Limits: how much a connection may queue, which reads are held while it is full, and who is
//! called when it no longer is.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use futures::AsyncWrite;

use support::{Anywhere, Log, Spy, expect_reports, how, poll_once, some_turns, until};
use torsade::net::{ConnectOptions, ListenOptions};
use torsade::transport::Limits;
use torsade::{Connection, Transport, yield_now};

const SMALL: Limits = Limits {
    low: 10,
    high: 100,
    hard: 1000,
};

/// The size of writes before which other tasks run.
const HUGE: usize = 256 << 10;

/// Fills the socket, so that later writes stay queued.
async fn stuff(transport: &Transport) {
    transport.set_limits(Limits {
        low: 0,
        high: 0,
        hard: usize::MAX,
    });
    transport.write(vec![b'x'; 16 << 20]);
    let mut last = 0;
    while last != transport.queued() {
        last = transport.queued();
        some_turns().await;
    }
    assert!(last > 0);
}

on_transports! {
    async fn the_defaults_are_as_documented(reactor) {
        let port = reactor.listen(Anywhere, |_| Spy::echo())?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let limits = Limits { low: 16 << 10, high: 64 << 10, hard: 16 << 20 };
        assert_eq!((conn.transport().limits(), Limits::default()), (limits, limits));
        drop(conn);
        let options = ConnectOptions::new().limits(SMALL);
        let conn = reactor.connect_stream((port.local_addr(), &options)).await?;
        assert_eq!(conn.transport().limits(), SMALL);
        drop(conn);
        port.stop().await?;
    }

    async fn a_connection_is_full_above_the_high_mark_and_ready_at_the_low_mark(reactor) {
        let (log, to) = (Log::new(), Log::new());
        let note = log.clone();
        let port = reactor.listen((Anywhere, &ListenOptions::new().limits(SMALL)), move |_| {
            let note = note.clone();
            Spy::new(&to).on_made(move |cx| {
                cx.write([0; 100]);
                note.note(cx.is_full());
                cx.write([0; 1]);
                note.note(cx.is_full());
                note.note(cx.queued());
            })
            .on_ready(|cx| cx.lose_connection())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.read_to_end(&mut Vec::new()).await?;
        assert_eq!(log.take(), ["false", "true", "101"]);
        drop(conn);
        port.stop().await?;
    }

    async fn a_handler_that_writes_big_pieces_until_it_is_full_ends_and_all_arrives_in_order(reactor) {
        let (log, to) = (Log::new(), Log::new());
        let note = log.clone();
        let port = reactor.listen(Anywhere, move |_| {
            let note = note.clone();
            Spy::new(&to).on_made(move |cx| {
                let mut pieces = 0;
                while !cx.is_full() {
                    cx.write([pieces; 20 << 10]);
                    pieces += 1;
                }
                // As many as its budget lets go straight out, and those that are queued.
                note.note(usize::from(pieces) <= (2 << 20) / (20 << 10) + 5);
                // A piece of which the system takes little is the last one.
                note.note(cx.queued() <= (16 + 20) << 10);
                cx.write("small");
            })
            .on_ready(|cx| {
                cx.write([b'z'; 20 << 10]);
                cx.lose_connection();
            })
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let mut all = Vec::new();
        conn.read_to_end(&mut all).await?;
        assert_eq!(log.take(), ["true", "true"]);
        let runs: Vec<(u8, usize)> = all.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
        let (last, before) = runs.split_last().unwrap();
        assert_eq!(*last, (b'z', 20 << 10));
        let pieces = before.len() - 4;
        let wanted = (0..pieces).map(|n| (n as u8, 20 << 10));
        assert!(before[..pieces].iter().copied().eq(wanted));
        assert_eq!(before[pieces..], [(b's', 1), (b'm', 1), (b'a', 1), (b'l', 2)]);
        drop(conn);
        port.stop().await?;
    }

    async fn write_ready_is_called_once_for_each_crossing_of_the_low_mark(reactor) {
        let log = Log::new();
        let port = reactor.listen(Anywhere, |_| Spy::new(&Log::new()))?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&log)).await?;
        let transport = handle.transport().unwrap();
        transport.set_limits(Limits { hard: 10_000, ..SMALL });
        for n in 1..=3 {
            transport.write([0; 50]);
            some_turns().await;
            assert_eq!(log.count("ready"), n - 1);
            transport.write([0; 101]);
            transport.write([0; 101]);
            some_turns().await;
            assert_eq!(log.count("ready"), n);
        }
        transport.lose_connection();
        until(|| log.has("lost done")).await;
        port.stop().await?;
    }

    async fn new_limits_do_not_swallow_write_ready(reactor) {
        let log = Log::new();
        let kept: Rc<Cell<Option<Connection>>> = Rc::default();
        let slot = kept.clone();
        let port = reactor.serve(Anywhere, async move |conn| {
            slot.set(Some(conn));
            Ok(())
        })?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&log)).await?;
        let transport = handle.transport().unwrap();
        stuff(&transport).await;
        assert!(transport.is_full());
        transport.set_limits(Limits { low: 1 << 25, high: 1 << 26, hard: 1 << 27 });
        until(|| log.has("ready")).await;
        transport.abort_connection();
        until(|| log.has("lost aborted")).await;
        kept.take();
        port.stop().await?;
    }

    async fn a_write_above_the_hard_limit_aborts(reactor) {
        let reports = expect_reports(&reactor);
        let (log, to) = (Log::new(), Log::new());
        let port = reactor.listen(Anywhere, move |_| Spy::new(&to))?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&log)).await?;
        let transport = handle.transport().unwrap();
        transport.set_limits(SMALL);
        transport.write(vec![0; 1001]); // begins below it
        assert!(transport.is_connected());
        transport.write([0; 1]);
        assert!(!transport.is_connected());
        until(|| log.all().len() == 2).await;
        assert_eq!(log.take(), ["made", "lost overflow"]);
        let said = reports.borrow()[0].failure().to_string();
        assert_eq!(said, format!("1001 bytes not sent to {}", port.local_addr()));
        let text = transport.reason().unwrap().to_string();
        assert!(text.contains("1001") && text.contains("1000"), "{text}");
        port.stop().await?;
    }

    async fn a_full_connection_does_not_read_from_its_own_peer(reactor) {
        let got = Rc::new(Cell::new(0));
        let count = got.clone();
        let server: Rc<RefCell<Option<Transport>>> = Rc::default();
        let slot = server.clone();
        let port = reactor.listen(Anywhere, move |_| {
            let (count, slot) = (count.clone(), slot.clone());
            Spy::new(&Log::new())
                .on_made(move |cx| drop(slot.replace(Some(cx.clone()))))
                .on_data(move |cx, data| {
                    count.set(count.get() + data.len());
                    cx.write([data, data].concat());
                })
        })?;
        // It writes and never reads.
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let (mut reader, mut writer) = conn.split();
        let chunk = vec![b'x'; 32 << 10];
        let writing = torsade::spawn(async move {
            for _ in 0..300 {
                writer.write_all(&chunk).await?;
            }
            writer.close().await
        });
        let (mut last, mut turns) = (usize::MAX, 0);
        while last != got.get() || turns < 5 {
            turns += 1;
            last = got.get();
            some_turns().await;
        }
        let transport = server.take().unwrap();
        assert!(got.get() < 300 * (32 << 10), "it has not taken all");
        assert!(transport.is_full());
        // One answer above the mark: bounded.
        assert!(transport.queued() <= (64 << 10) + 2 * (64 << 10), "{}", transport.queued());
        let mut reply = Vec::new();
        reader.read_to_end(&mut reply).await?;
        assert_eq!(reply.len(), 2 * 300 * (32 << 10), "nothing is lost");
        writing.await??;
        drop(reader);
        port.stop().await?;
    }

    async fn pausing_and_resuming_loses_nothing(reactor) {
        let got = Rc::new(RefCell::new(Vec::new()));
        let sink = got.clone();
        let server: Rc<RefCell<Option<Transport>>> = Rc::default();
        let slot = server.clone();
        let port = reactor.listen(Anywhere, move |_| {
            let (sink, slot) = (sink.clone(), slot.clone());
            Spy::new(&Log::new())
                .on_made(move |cx| drop(slot.replace(Some(cx.clone()))))
                .on_data(move |cx, data| {
                    assert!(!data.is_empty());
                    sink.borrow_mut().extend_from_slice(data);
                    cx.pause_producing();
                })
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let sent: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let writing = torsade::spawn(async move {
            conn.write_all(&copy).await?;
            conn.flush().await
        });
        until(|| server.borrow().is_some()).await;
        let server = server.take().unwrap();
        while got.borrow().len() < sent.len() {
            let before = got.borrow().len();
            server.resume_producing();
            until(|| got.borrow().len() > before).await;
            let after = got.borrow().len();
            yield_now().await;
            yield_now().await;
            assert_eq!(got.borrow().len(), after, "paused is paused");
        }
        assert!(*got.borrow() == sent);
        writing.await??;
        server.resume_producing();
        port.stop().await?;
    }

    async fn async_writes_wait_for_space(reactor) {
        let kept: Rc<Cell<Option<Connection>>> = Rc::default();
        let slot = kept.clone();
        let port = reactor.serve(Anywhere, async move |conn| {
            slot.set(Some(conn));
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let transport = conn.transport();
        let mut written = 0;
        let piece = vec![7; 10_000];
        let mut idle = 0;
        while idle < 300 {
            let mut write = Box::pin(conn.write(&piece));
            match poll_once(&mut write).await {
                Poll::Ready(count) => written += count?,
                Poll::Pending => idle += 1,
            }
            drop(write);
            assert!(transport.queued() <= Limits::default().high);
            yield_now().await;
        }
        let mut server = kept.take().unwrap();
        let total = Rc::new(Cell::new(0));
        let count = total.clone();
        let reading = torsade::spawn(async move {
            let mut buf = vec![0; 64 << 10];
            loop {
                match server.read(&mut buf).await? {
                    0 => return Ok::<_, std::io::Error>(()),
                    n => count.set(count.get() + n),
                }
            }
        });
        conn.write_all(&piece).await?;
        conn.flush().await?;
        assert_eq!(transport.queued(), 0);
        drop(conn);
        reading.await??;
        assert_eq!(total.get(), written + piece.len(), "what was reported was taken, no more");
        port.stop().await?;
    }

    async fn a_flush_that_waits_ends_with_the_connection(reactor) {
        let kept: Rc<Cell<Option<Connection>>> = Rc::default();
        let slot = kept.clone();
        let port = reactor.serve(Anywhere, async move |conn| {
            slot.set(Some(conn));
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        stuff(&conn.transport()).await;
        {
            let mut flush = Box::pin(conn.flush());
            assert!(poll_once(&mut flush).await.is_pending());
            kept.take().unwrap().transport().abort_connection();
            assert!(flush.await.is_err());
        }
        assert!(conn.write(b"x").await.is_err());
        // The peer might have sent something before.
        assert!(conn.read(&mut [0]).await.is_err());
        assert!(how(&conn.transport().reason().unwrap()).starts_with("broken"));
        port.stop().await?;
    }

    async fn a_producer_whose_peer_accepts_everything_leaves_the_others_their_turn(reactor) {
        // The producer never stops; the timer must get its turn.
        let port = reactor.listen(Anywhere, |_| Spy::new(&Log::new()))?;
        let pusher = Spy::new(&Log::new())
            .on_made(|cx| {
                cx.set_limits(SMALL);
                cx.write([0; 500]);
            })
            .on_ready(|cx| cx.write([0; 500]));
        let handle = reactor.connect(port.local_addr(), pusher).await?;
        some_turns().await;
        handle.transport().unwrap().abort_connection();
        until(|| !handle.is_connected()).await;
        port.stop().await?;
    }
}

/// In TLS a big write is divided.
mod without_tls {
    use super::*;

    on_both! {
        async fn tasks_that_are_ready_run_before_a_write_of_256_kib(reactor) {
            let port = reactor.serve(Anywhere, async |mut conn| {
                conn.write_all(b"x").await?;
                conn.read_to_end(&mut Vec::new()).await?;
                Ok(())
            })?;
            let bytes = Rc::new(vec![b'x'; HUGE]);
            for (size, has_others, order) in [
                (HUGE, true, &["waits", "waits", "other", "wrote"][..]),
                (HUGE, false, &["wrote"]),
                (HUGE - 1, true, &["wrote", "other"]),
            ] {
                let mut conn = reactor.connect_stream(port.local_addr()).await?;
                // The task of the other side waits now.
                conn.read_exact(&mut [0]).await?;
                let (log, bytes) = (Log::new(), bytes.clone());
                let note = log.clone();
                let writer = reactor.spawn(poll_fn(move |cx| {
                    // A poll that was refused is refused again until the others have run.
                    for _ in 0..2 {
                        match Pin::new(&mut conn).poll_write(cx, &bytes[..size]) {
                            Poll::Pending => note.note("waits"),
                            Poll::Ready(count) => {
                                note.note("wrote");
                                return Poll::Ready(count);
                            }
                        }
                    }
                    Poll::Pending
                }));
                let note = log.clone();
                let other = has_others.then(|| reactor.spawn(async move { note.note("other") }));
                assert!(writer.await?? > 0);
                if let Some(other) = other {
                    other.await?;
                }
                assert_eq!(log.take(), order);
            }
            port.stop().await?;
        }
    }
}
