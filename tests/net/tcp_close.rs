//! The ways in which a connection ends: normally, at once, by the peer, by a panic, with the
//! reactor.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use support::{HERE, Log, MS, Spy, expect_reports, some_turns, until};
use torsade::transport::{ConnectionError, Limits};
use torsade::{Clock, Failure, Handle, Port, Reactor, Transport, yield_now};

/// A server and a client that record their hooks, and their handles.
async fn pair(
    reactor: &Reactor,
    mut server: impl FnMut() -> Spy + 'static,
    client: Spy,
) -> Result<(Port, Transport, Handle<Spy>), Failure> {
    let accepted: Rc<RefCell<Option<Transport>>> = Rc::default();
    let slot = accepted.clone();
    let port = reactor.listen(HERE, move |_| {
        let slot = slot.clone();
        server().on_made(move |transport| {
            slot.replace(Some(transport.clone()));
        })
    })?;
    let handle = reactor.connect(port.local_addr(), client).await?;
    until(|| accepted.borrow().is_some()).await;
    let transport = accepted.take().unwrap();
    Ok((port, transport, handle))
}

on_all! {
    async fn ten_megabytes_arrive_at_a_slow_reader_after_lose_connection(reactor) {
        let log = Log::new();
        let to = log.clone();
        let port = reactor.listen(HERE, move |_| {
            Spy::new(&to).on_made(|cx| {
                cx.set_limits(Limits { hard: usize::MAX, ..Limits::default() });
                cx.write(vec![b'x'; 10 << 20]);
                cx.lose_connection();
                cx.write("never");
            })
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"something unread").await?;
        let (mut total, mut buf) = (0, vec![0; 50_000]);
        loop {
            match conn.read(&mut buf).await? {
                0 => break,
                count => {
                    assert!(buf[..count].iter().all(|byte| *byte == b'x'));
                    total += count;
                }
            }
            yield_now().await;
        }
        assert_eq!(total, 10 << 20);
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "lost done"]);
        drop(conn);
        port.stop().await?;
    }

    async fn an_abort_resets_the_peer(reactor) {
        let (server, client) = (Log::new(), Log::new());
        let log = server.clone();
        let (port, transport, _) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
        transport.write("dropped");
        transport.abort_connection();
        transport.abort_connection();
        transport.lose_connection();
        assert_eq!(server.all(), ["made"], "nothing happens inside the call");
        until(|| client.all().len() == 2).await;
        assert_eq!(server.take(), ["made", "lost aborted"]);
        assert_eq!(client.take(), ["made", "lost broken ConnectionReset"]);
        port.stop().await?;
    }

    async fn lose_connection_is_idempotent(reactor) {
        let (server, client) = (Log::new(), Log::new());
        let log = server.clone();
        let (port, transport, handle) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
        transport.lose_connection();
        transport.lose_connection();
        until(|| client.has("lost done") && server.has("lost done")).await;
        transport.lose_connection();
        transport.abort_connection();
        transport.lose_write();
        transport.write("x");
        transport.pause_producing();
        transport.resume_producing();
        transport.lose_connection_within(MS);
        some_turns().await;
        assert_eq!(server.take(), ["made", "lost done"]);
        assert_eq!(client.take(), ["made", "eof", "lost done"]);
        assert!(!handle.is_connected() && !transport.is_connected());
        port.stop().await?;
    }

    async fn nothing_is_delivered_after_lose_connection(reactor) {
        let (server, client) = (Log::new(), Log::new());
        let log = server.clone();
        let (port, transport, handle) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
        handle.transport().unwrap().write("in the air");
        transport.lose_connection();
        until(|| client.all().len() == 3).await;
        assert_eq!(server.take(), ["made", "lost done"]);
        port.stop().await?;
    }

    async fn a_connection_aborted_or_paused_by_another_hook_gets_no_data(reactor) {
        // Both have data in the same batch of events; the first to be called ends the other.
        let log = Log::new();
        let all: Rc<RefCell<Vec<Transport>>> = Rc::default();
        let (to, list) = (log.clone(), all.clone());
        let port = reactor.listen(HERE, move |_| {
            let (list, own) = (list.clone(), list.clone());
            Spy::new(&to)
                .on_made(move |cx| own.borrow_mut().push(cx.clone()))
                .on_data(move |cx, _| {
                    let list = list.borrow();
                    let other = list.iter().find(|other| !other.ptr_eq(cx)).unwrap();
                    other.lose_connection();
                })
        })?;
        let mut one = reactor.connect_stream(port.local_addr()).await?;
        let mut two = reactor.connect_stream(port.local_addr()).await?;
        until(|| all.borrow().len() == 2).await;
        log.take();
        one.write_all(b"x").await?;
        two.write_all(b"x").await?;
        until(|| log.has("lost done")).await;
        some_turns().await;
        assert_eq!(log.take(), ["data x", "lost done"]);
        all.take();
        drop((one, two));
        port.stop().await?;
    }

    async fn a_peer_that_closes_gives_connection_done(reactor) {
        let (server, client) = (Log::new(), Log::new());
        let log = server.clone();
        let (port, _, handle) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
        handle.transport().unwrap().write("bye");
        handle.transport().unwrap().lose_connection();
        until(|| server.has("lost done")).await;
        assert_eq!(server.take(), ["made", "data bye", "eof", "lost done"]);
        port.stop().await?;
    }

    async fn a_paused_connection_notices_a_reset(reactor) {
        let (server, client) = (Log::new(), Log::new());
        let log = server.clone();
        let (port, transport, handle) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
        transport.pause_producing();
        some_turns().await;
        handle.transport().unwrap().abort_connection();
        until(|| server.all().len() == 2).await;
        assert_eq!(server.take(), ["made", "lost broken ConnectionReset"]);
        assert!(transport.reason().is_some());
        port.stop().await?;
    }

    async fn a_paused_connection_sees_data_and_end_when_it_is_resumed(reactor) {
        let (server, client) = (Log::new(), Log::new());
        let log = server.clone();
        let (port, transport, handle) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
        transport.pause_producing();
        handle.transport().unwrap().write("late");
        handle.transport().unwrap().lose_connection();
        some_turns().await;
        assert_eq!(server.all(), ["made"]);
        transport.resume_producing();
        until(|| server.has("lost done")).await;
        assert_eq!(server.take(), ["made", "data late", "eof", "lost done"]);
        port.stop().await?;
    }

    async fn lose_connection_within_aborts_when_the_peer_does_not_read(reactor) {
        let reports = expect_reports(&reactor);
        let (server, client) = (Log::new(), Log::new());
        let log = server.clone();
        let (port, transport, handle) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
        handle.transport().unwrap().pause_producing();
        transport.write(vec![0; 12 << 20]);
        transport.lose_connection_within(MS * 10);
        assert_eq!(server.all(), ["made"]);
        reactor.sleep(MS * 15).await?;
        until(|| server.all().len() == 2).await;
        assert_eq!(server.take(), ["made", "lost aborted"]);
        until(|| client.all().len() == 2).await;
        let reported = reports.borrow()[0].failure().clone();
        let Some(ConnectionError::NotSent { bytes, peer, .. }) = reported.find() else {
            panic!("{reported:?}");
        };
        assert!(*bytes > 1 << 20 && *peer == transport.peer(), "{reported}");
        port.stop().await?;
    }

    async fn a_panic_in_a_hook_is_the_reason_and_other_connections_go_on(reactor) {
        for bad in ["made", "data", "eof", "ready", "lost"] {
            let reports = expect_reports(&reactor);
            let (log, to) = (Log::new(), Log::new());
            let note = log.clone();
            let mut first = true;
            let port = reactor.listen(HERE, move |_| {
                if !std::mem::replace(&mut first, false) {
                    return Spy::echo();
                }
                let blow = move |hook: &str| assert_ne!(hook, bad, "as it must");
                Spy::new(&note)
                    .on_made(move |_| blow("made"))
                    .on_data(move |cx, _| {
                        blow("data");
                        if bad == "ready" {
                            cx.set_limits(Limits { low: 1, high: 2, hard: 100 });
                            cx.write("abc");
                        }
                    })
                    .on_eof(move |cx| {
                        blow("eof");
                        cx.lose_connection();
                    })
                    .on_ready(move |_| blow("ready"))
                    .on_lost(move |_| blow("lost"))
            })?;
            let victim = reactor.connect(port.local_addr(), Spy::new(&to)).await?;
            let mut witness = reactor.connect_stream(port.local_addr()).await?;
            // It may be gone already.
            if let Some(victim) = victim.transport() {
                victim.write("x");
                some_turns().await;
                victim.lose_connection();
            }
            until(|| log.all().iter().any(|note| note.starts_with("lost"))).await;
            let all = log.take();
            let last = all.last().unwrap();
            assert_eq!(last.starts_with("lost panicked"), bad != "lost", "{bad}: {all:?}");
            assert_eq!(all.iter().filter(|note| note.starts_with("lost")).count(), 1);
            witness.write_all(b"alive").await?;
            witness.read_exact(&mut [0; 5]).await?;
            assert_eq!(reports.borrow().len(), 1, "{bad}");
            assert!(reports.borrow()[0].is_panic());
            drop(witness);
            port.stop().await?;
            until(|| to.all().iter().any(|note| note.starts_with("lost"))).await;
        }
    }

    async fn a_connection_dropped_while_writing_still_flushes(reactor) {
        let log = Log::new();
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(&vec![b'x'; 5 << 20]).await?;
            drop(conn);
            Ok(())
        })?;
        let got = Rc::new(RefCell::new(0));
        let count = got.clone();
        reactor
            .connect(
                port.local_addr(),
                Spy::new(&log).on_data(move |_, data| *count.borrow_mut() += data.len()),
            )
            .await?;
        until(|| log.has("lost done")).await;
        assert_eq!(*got.borrow(), 5 << 20);
        port.stop().await?;
    }

    async fn a_closing_socket_does_not_wait_forever_for_its_peer(reactor) {
        let port = reactor.listen(HERE, |_| {
            Spy::new(&Log::new()).on_data(|cx, _| {
                cx.write(vec![b'x'; 20_000]);
                cx.lose_connection();
            })
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        conn.read_to_end(&mut Vec::new()).await?;
        let closing = || support::alive(&reactor).contains(&"closing connection");
        assert!(closing());
        for call in reactor.delayed_calls() {
            call.reset(MS);
        }
        reactor.sleep(MS * 5).await?;
        until(|| !closing()).await;
        drop(conn);
        port.stop().await?;
    }

    async fn a_closing_socket_reads_a_flood_for_a_limited_time(reactor) {
        let port = reactor.listen(HERE, |_| {
            Spy::new(&Log::new()).on_data(|cx, _| {
                cx.write("too much");
                cx.lose_connection();
            })
        })?;
        let (mut reader, mut writer) = reactor.connect_stream(port.local_addr()).await?.split();
        let taken = Rc::new(Cell::new(0));
        let count = taken.clone();
        let flood = reactor.spawn(async move {
            let piece = vec![b'x'; 64 * 1024];
            while let Ok(more) = writer.write(&piece).await {
                count.set(count.get() + more);
            }
        });
        reactor.sleep(MS * 500).await?;
        // A mebibyte, and the system's buffers of both sides.
        assert!(taken.get() < 24 << 20, "{}", taken.get());
        // Its bytes can still be read.
        let mut observed = [0; 8];
        reader.read_exact(&mut observed).await?;
        assert_eq!(&observed, b"too much");
        drop((flood, reader));
        port.stop().await?;
        reactor.sleep(MS * 2_000).await?;
    }

    async fn the_protocol_is_dropped_with_its_connection_despite_transport_handles(reactor) {
        let alive = Rc::new(());
        let (watch, log) = (Rc::downgrade(&alive), Log::new());
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let client = Spy::new(&log).on_lost(move |_| drop(alive.clone()));
        let handle = reactor.connect(port.local_addr(), client).await?;
        let transport = handle.transport().unwrap();
        assert!(watch.upgrade().is_some());
        transport.lose_connection();
        until(|| log.has("lost done")).await;
        some_turns().await;
        assert!(watch.upgrade().is_none());
        assert_eq!(transport.peer(), port.local_addr());
        port.stop().await?;
    }

    async fn aborting_and_then_panicking_ends_with_the_panic(reactor) {
        let reports = expect_reports(&reactor);
        let (log, to) = (Log::new(), Log::new());
        let server = log.clone();
        let port = reactor.listen(HERE, move |_| {
            Spy::new(&server).on_data(|cx, _| {
                cx.abort_connection();
                panic!("after the abort");
            })
        })?;
        let client = Spy::new(&to).on_made(|cx| cx.write("x"));
        reactor.connect(port.local_addr(), client).await?;
        until(|| log.all().len() == 3).await;
        assert_eq!(log.take(), ["made", "data x", "lost panicked: after the abort"]);
        until(|| to.all().len() == 2).await;
        assert_eq!(to.take(), ["made", "lost broken ConnectionReset"]);
        assert_eq!(reports.borrow().len(), 1);
        port.stop().await?;
    }

    async fn lose_connection_never_calls_hooks_inside_the_call(reactor) {
        let (server, client) = (Log::new(), Log::new());
        let log = server.clone();
        let quiet = Spy::new(&client).on_eof(|_| {});
        let (port, transport, handle) = pair(&reactor, move || Spy::new(&log), quiet).await?;
        transport.lose_write();
        until(|| client.has("eof")).await;
        transport.lose_connection();
        assert_eq!(server.all(), ["made"]);
        until(|| server.has("lost done")).await;
        handle.transport().unwrap().lose_connection();
        assert_eq!(client.all(), ["made", "eof"]);
        until(|| client.has("lost done")).await;
        port.stop().await?;
    }
}

/// In TLS the end waits for that of the peer.
mod without_tls {
    use super::*;

    on_both! {
        async fn lose_connection_within_leaves_no_timer_behind(reactor) {
            let (server, client) = (Log::new(), Log::new());
            let log = server.clone();
            let (port, transport, _) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
            transport.lose_connection_within(MS * 60_000);
            transport.lose_connection_within(MS * 50_000);
            until(|| server.has("lost done")).await;
            assert!(reactor.delayed_calls().is_empty());
            port.stop().await?;
        }

        async fn writing_to_a_closed_peer_ends_a_paused_connection_too(reactor) {
            let (server, client) = (Log::new(), Log::new());
            let log = server.clone();
            let (port, transport, handle) = pair(&reactor, move || Spy::new(&log), Spy::new(&client)).await?;
            transport.pause_producing();
            some_turns().await;
            handle.transport().unwrap().lose_connection();
            until(|| client.has("lost done")).await;
            some_turns().await;
            assert_eq!(server.all(), ["made"]);
            // The peer answers the first write with a reset, which the second would report.
            transport.write("anybody?");
            some_turns().await;
            transport.write("really not?");
            until(|| server.all().len() == 2).await;
            let said = server.take().remove(1);
            assert!(["lost broken ConnectionReset", "lost broken BrokenPipe"].contains(&&*said), "{said}");
            port.stop().await?;
        }
    }
}

on_both_by_hand! {
    fn the_end_of_the_reactor_calls_connection_lost_even_on_paused_connections(reactor) {
        let log = Log::new();
        let (to, stop) = (log.clone(), reactor.clone());
        let result = reactor.run_until(async {
            let port = reactor.listen(HERE, move |_| {
                Spy::named(&to, "server").on_made(|cx| cx.pause_producing())
            })?;
            let one = reactor.connect(port.local_addr(), Spy::named(&log, "client")).await?;
            until(|| log.all().len() == 2).await;
            stop.stop()?;
            one.transport().unwrap().write("never read");
            std::future::pending::<Result<(), Failure>>().await
        });
        assert!(result.is_err());
        let mut log = log.take();
        log.sort();
        assert_eq!(log, ["client lost stopped", "client made", "server lost stopped", "server made"]);
    }

    fn connection_lost_is_called_when_main_returns(reactor) {
        let log = Log::new();
        reactor
            .run_until(async {
                let port = reactor.listen(HERE, |_| Spy::echo())?;
                reactor.connect(port.local_addr(), Spy::new(&log)).await?;
                Ok::<_, Failure>(())
            })
            .unwrap()
            .unwrap();
        assert_eq!(log.take(), ["made", "lost stopped"]);
    }

    fn a_panic_in_connection_lost_does_not_skip_other_connections(reactor) {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        reactor
            .run_until(async {
                let port = reactor.listen(HERE, |_| Spy::echo())?;
                for _ in 0..3 {
                    let spy = Spy::new(&log).on_lost(|_| panic!("oh"));
                    reactor.connect(port.local_addr(), spy).await?;
                }
                Ok::<_, Failure>(())
            })
            .unwrap()
            .unwrap();
        assert_eq!(log.count("lost stopped"), 3);
        assert_eq!(reports.borrow().len(), 3);
    }

    fn dropping_a_reactor_calls_connection_lost(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo()).unwrap();
        drop(reactor.connect(port.local_addr(), Spy::new(&log)));
        for _ in 0..100 {
            reactor.iterate(std::time::Duration::ZERO);
        }
        assert_eq!(log.take(), ["made"]);
        drop(reactor);
        assert_eq!(log.take(), ["lost stopped"]);
    }
}
