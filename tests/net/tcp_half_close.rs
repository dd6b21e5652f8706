//! Half-closed connections: a reply to a peer that has closed its side, and a loop that does not
//! spin.

use std::cell::Cell;
use std::rc::Rc;

use support::{HERE, Log, MS, Spy, cpu_time, some_turns, until};
use torsade::protocols::{LineProtocol, Lines};
use torsade::{Clock, Context, Failure, Protocol, Reactor, Transport};

/// A protocol that writes much, and then closes its writing side.
struct Halved {
    log: Log,
    taken: Rc<Cell<usize>>,
}

impl Protocol for Halved {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write(vec![7; 12 << 20]);
        cx.lose_write();
        self.taken.set(cx.queued());
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {
        self.log.note("data");
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.log.note("eof");
        cx.lose_connection();
    }

    fn write_closed(&mut self, cx: &mut Context<'_, Self>) {
        let queued = cx.queued();
        self.log.note(format_args!("write closed, {queued} queued"));
    }

    fn connection_lost(&mut self, _reason: Failure) {
        self.log.note("lost");
    }
}

/// Returns the CPU time of the loop, in microseconds, during 20 idle milliseconds.
async fn cpu_while_idle(reactor: &Reactor) -> u128 {
    let before = cpu_time();
    reactor.sleep(MS * 20).await.unwrap();
    cpu_time() - before
}

on_all! {
    async fn a_half_closed_request_gets_its_reply_two_hundred_times(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        for n in 0..200 {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            let request = format!("request {n}").into_bytes();
            conn.write_all(&request).await?;
            conn.close().await?;
            let mut reply = Vec::new();
            conn.read_to_end(&mut reply).await?;
            assert_eq!(reply, request);
        }
        port.stop().await?;
    }

    async fn a_large_reply_to_a_half_closed_peer_arrives_whole(reactor) {
        let port = reactor.listen(HERE, |_| {
            Spy::new(&Log::new()).on_data(|cx, _| cx.write(vec![b'x'; 3 << 20]))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        conn.close().await?;
        let mut reply = Vec::new();
        assert_eq!(conn.read_to_end(&mut reply).await?, 3 << 20);
        drop(conn);
        port.stop().await?;
    }

    async fn overriding_eof_received_keeps_the_writing_side_open(reactor) {
        let log = Log::new();
        let to = log.clone();
        let port = reactor.listen(HERE, move |_| {
            Spy::new(&to).on_eof(|cx| cx.write("after the end"))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.close().await?;
        let mut buf = [0; 13];
        conn.read_exact(&mut buf).await?;
        assert_eq!(&buf, b"after the end");
        some_turns().await;
        assert_eq!(log.take(), ["made", "eof"]);
        conn.transport().abort_connection();
        until(|| !log.is_empty()).await;
        assert!(log.take()[0].starts_with("lost broken"));
        drop(conn);
        port.stop().await?;
    }

    async fn lose_write_half_closes_and_reading_continues(reactor) {
        let (log, to) = (Log::new(), Log::new());
        let server = to.clone();
        let port = reactor.listen(HERE, move |_| {
            Spy::new(&server).on_eof(|cx| {
                cx.write("reply");
                cx.lose_connection();
            })
        })?;
        let client = Spy::new(&log).on_made(|cx| {
            cx.write("request");
            cx.lose_write();
            cx.write("dropped");
            cx.lose_write();
        });
        reactor.connect(port.local_addr(), client).await?;
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "data reply", "eof", "lost done"]);
        assert_eq!(to.take(), ["made", "data request", "eof", "lost done"]);
        port.stop().await?;
    }

    async fn lose_write_and_lose_connection_after_eof_closes(reactor) {
        let log = Log::new();
        let to = log.clone();
        let port = reactor.listen(HERE, move |_| {
            Spy::new(&to).on_eof(|cx| {
                cx.write("x");
                cx.lose_write();
                cx.lose_connection();
            })
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.close().await?;
        assert_eq!(conn.read_to_end(&mut Vec::new()).await?, 1);
        until(|| log.has("lost done")).await;
        drop(conn);
        port.stop().await?;
    }

    async fn nothing_spins_over_an_end_that_is_ignored(reactor) {
        let log = Log::new();
        let to = log.clone();
        let kept: Rc<Cell<Option<Transport>>> = Rc::default();
        let slot = kept.clone();
        let port = reactor.listen(HERE, move |_| {
            let slot = slot.clone();
            Spy::new(&to)
                .on_made(move |cx| slot.set(Some(cx.clone())))
                .on_eof(|_| {})
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.close().await?;
        until(|| log.has("eof")).await;
        assert!(cpu_while_idle(&reactor).await < 5_000);
        drop(conn);
        assert_eq!(log.take(), ["made", "eof"]);
        kept.take().unwrap().lose_connection();
        until(|| log.has("lost done")).await;
        port.stop().await?;
    }

    async fn the_loop_does_not_spin_over_an_unread_stream(reactor) {
        let kept = Rc::new(Cell::new(None));
        let slot = kept.clone();
        let port = reactor.serve(HERE, async move |conn| {
            slot.set(Some(conn));
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"unread").await?;
        conn.close().await?;
        some_turns().await;
        assert!(cpu_while_idle(&reactor).await < 5_000);
        let mut server = kept.take().unwrap();
        let mut all = Vec::new();
        server.read_to_end(&mut all).await?;
        assert_eq!(all, b"unread");
        drop((conn, server));
        port.stop().await?;
    }

    async fn the_loop_does_not_spin_over_a_paused_connection_whose_peer_is_gone(reactor) {
        let log = Log::new();
        let to = log.clone();
        let kept: Rc<Cell<Option<Transport>>> = Rc::default();
        let slot = kept.clone();
        let port = reactor.listen(HERE, move |_| {
            let slot = slot.clone();
            Spy::new(&to).on_made(move |cx| {
                cx.pause_producing();
                cx.lose_write();
                slot.set(Some(cx.clone()));
            })
        })?;
        let handle = reactor.connect(port.local_addr(), Spy::echo()).await?;
        until(|| !handle.is_connected()).await;
        assert!(cpu_while_idle(&reactor).await < 5_000);
        assert_eq!(log.take(), ["made"]);
        kept.take().unwrap().resume_producing();
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["eof", "lost done"]);
        port.stop().await?;
    }

    async fn write_closed_is_called_once_when_all_is_sent(reactor) {
        let (log, taken) = (Log::new(), Rc::new(Cell::new(0)));
        let port = reactor.listen(HERE, |_| Spy::new(&Log::new()).on_made(|cx| cx.pause_producing()))?;
        let halved = Halved { log: log.clone(), taken: taken.clone() };
        let handle = reactor.connect(port.local_addr(), halved).await?;
        some_turns().await;
        // The peer does not read, so not all can be sent.
        assert!(log.is_empty() && taken.get() > 0);
        port.stop().await?;
        handle.abort_connection();
        until(|| log.has("lost")).await;
        assert_eq!(log.take(), ["lost"], "the end of the connection is reported alone");

        let port = reactor.listen(HERE, |_| {
            Spy::new(&Log::new()).on_eof(|cx| {
                cx.write("still here");
                cx.lose_connection();
            })
        })?;
        let halved = Halved { log: log.clone(), taken: taken.clone() };
        reactor.connect(port.local_addr(), halved).await?;
        until(|| log.has("lost")).await;
        assert_eq!(log.take(), ["write closed, 0 queued", "data", "eof", "lost"]);
        port.stop().await?;
    }

    async fn a_line_protocol_gets_write_closed(reactor) {
        struct Asks(Log);
        impl LineProtocol for Asks {
            fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
                cx.write("question\n");
                cx.lose_write();
            }
            fn line_received(&mut self, _cx: &mut Context<'_, Self>, line: &[u8]) {
                self.0.note(line.escape_ascii());
            }
            fn write_closed(&mut self, _cx: &mut Context<'_, Self>) {
                self.0.note("write closed");
            }
            fn connection_lost(&mut self, _reason: Failure) {
                self.0.note("lost");
            }
        }
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        reactor.connect(port.local_addr(), Lines::new(Asks(log.clone()))).await?;
        until(|| log.has("lost")).await;
        assert_eq!(log.take(), ["write closed", "question", "lost"]);
        port.stop().await?;
    }

    async fn a_half_close_after_the_peer_has_closed_is_no_error(reactor) {
        let log = Log::new();
        let to = log.clone();
        let kept: Rc<Cell<Option<Transport>>> = Rc::default();
        let slot = kept.clone();
        let port = reactor.listen(HERE, move |_| {
            let slot = slot.clone();
            Spy::new(&to).on_eof(move |cx| {
                cx.lose_write();
                cx.lose_write();
                slot.set(Some(cx.clone()));
            })
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        drop(conn);
        until(|| log.has("eof")).await;
        some_turns().await;
        // Both directions are closed; the protocol decides when to end.
        assert_eq!(log.all(), ["made", "eof"]);
        kept.take().unwrap().lose_connection();
        until(|| log.all().len() == 3).await;
        assert_eq!(log.take(), ["made", "eof", "lost done"]);
        port.stop().await?;
    }
}
