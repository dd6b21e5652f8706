//! Peers that accept nothing: limits of time, and a budget of bytes for all connections together.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use support::{Anywhere, HERE, Log, MS, Spy, expect_reports, is_of_a_stall, some_turns, until};
use torsade::net::{ConnectOptions, ListenOptions};
use torsade::protocols::{LineProtocol, Lines};
use torsade::reactor::ReactorError;
use torsade::transport::ConnectionError;
use torsade::{Clock, Context, Failure, Port, Reactor, Transport, testing};

const BUDGET: usize = 16 << 20;

/// More than the system's buffers take.
const SIZE: usize = 12 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// A server that answers with much, and closes when its peer is done; and the reason of its
/// connections' ends.
fn big_answers(reactor: &Reactor, options: &ListenOptions) -> Result<(Port, Ends), Failure> {
    let ends = Ends::default();
    let to = ends.clone();
    let port = reactor.listen((Anywhere, options), move |_| {
        let to = to.clone();
        Spy::new(&Log::new())
            .on_data(|cx, _| cx.write(vec![7; SIZE]))
            .on_lost(move |reason| to.borrow_mut().push(reason.clone()))
    })?;
    Ok((port, ends))
}

type Ends = Rc<RefCell<Vec<Failure>>>;

on_transports! {
    async fn the_send_timeout_can_be_set_on_either_side(reactor) {
        let _reports = expect_reports(&reactor);
        let kept = RefCell::new(Vec::new());
        let server = ListenOptions::new().send_timeout(MS * 50);
        let failed = Rc::new(Cell::new(None));
        let end = failed.clone();
        let port = reactor.serve((Anywhere, &server), async move |mut conn| {
            let mut order = [0];
            conn.read_exact(&mut order).await?;
            match order {
                [b'w'] => end.set(conn.write_all(&vec![7; SIZE]).await.err()),
                _ => kept.borrow_mut().push(conn),
            }
            Ok(())
        })?;
        let mut deaf = reactor.connect_stream(port.local_addr()).await?;
        deaf.write_all(b"w").await?;
        let client = ConnectOptions::new().send_timeout(MS * 50);
        let mut conn = reactor.connect_stream((port.local_addr(), &client)).await?;
        let error = conn.write_all(&vec![b'k'; SIZE]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        reactor.sleep(MS * 80).await?;
        until(|| {
            let error = failed.take();
            let is_there = error.is_some();
            failed.set(error);
            is_there
        }).await;
        assert_eq!(failed.take().unwrap().kind(), ErrorKind::TimedOut);
        drop((deaf, conn));
        port.stop().await?;
    }

    async fn while_nothing_is_stalled_there_is_no_timer(reactor) {
        let options = ListenOptions::new().send_timeout(SECOND);
        let port = reactor.listen((Anywhere, &options), |_| Spy::echo())?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for _ in 0..10 {
            conn.write_all(b"ping").await?;
            conn.read_exact(&mut [0; 4]).await?;
            assert!(reactor.delayed_calls().is_empty());
        }
        drop(conn);
        port.stop().await?;
    }

    async fn a_stall_that_is_over_leaves_no_timer(reactor) {
        let options = ListenOptions::new().send_timeout(SECOND * 20);
        let (port, _ends) = big_answers(&reactor, &options)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        until(|| reactor.delayed_calls().len() == 1).await;
        conn.read_exact(&mut vec![0; SIZE]).await?;
        assert!(reactor.delayed_calls().is_empty());
        drop(conn);
        port.stop().await?;
    }
}

#[test]
fn many_peers_that_never_read_cost_no_more_than_the_budget() {
    attack(&Reactor::builder().buffer_budget(BUDGET).build().unwrap());
}

#[test]
fn many_peers_that_never_read_cost_no_more_than_the_budget_in_memory() {
    attack(
        &Reactor::builder()
            .in_memory()
            .buffer_budget(BUDGET)
            .build()
            .unwrap(),
    );
}

/// 60 peers request 3 MiB each and read nothing; one that behaves is served all the while.
fn attack(reactor: &Reactor) {
    let reports = expect_reports(reactor);
    let inner = reactor.clone();
    let done = reactor.run_until(async {
        let ends = Ends::default();
        let to = ends.clone();
        // The system's buffers are small, so that the program has to hold most of it.
        let small = ListenOptions::new().send_buffer(4096);
        let port = inner.listen((Anywhere, &small), move |_| {
            let to = to.clone();
            Spy::new(&Log::new())
                .on_data(|cx, data| match data {
                    b"ping" => cx.write("pong"),
                    // The system takes some of it.
                    _ => cx.write(vec![7; 3 << 20]),
                })
                .on_lost(move |reason| to.borrow_mut().push(reason.clone()))
        })?;
        let small = ConnectOptions::new().receive_buffer(4096);
        let mut good = inner.connect_stream(port.local_addr()).await?;
        let mut deaf = Vec::new();
        for _ in 0..60 {
            let mut conn = inner.connect_stream((port.local_addr(), &small)).await?;
            conn.write_all(b"x").await?;
            conn.close().await?;
            deaf.push(conn);
            some_turns().await;
            assert!(inner.dump().buffered <= BUDGET, "{}", inner.dump().buffered);
            good.write_all(b"ping").await?;
            let mut pong = [0; 4];
            good.read_exact(&mut pong).await?;
        }
        until(|| !ends.borrow().is_empty()).await;
        for reason in ends.take() {
            let Some(ReactorError::OverBudget { held, used, limit }) = reason.downcast_ref() else {
                panic!("{reason:?}");
            };
            assert!(*held > 100_000 && used > limit, "{reason:?}");
            assert_eq!(*limit, BUDGET);
        }
        let reported = reports.take();
        assert!(!reported.is_empty());
        for report in reported {
            assert!(
                matches!(
                    report.failure().downcast_ref(),
                    Some(ConnectionError::NotSent { .. })
                ),
                "{report}"
            );
        }
        for conn in &deaf {
            conn.transport().abort_connection();
        }
        drop(good);
        // All that was counted has been counted off.
        until(|| inner.dump().buffered == 0).await;
        port.stop().await
    });
    done.and_then(|done| done).unwrap();
}

#[test]
fn bytes_read_and_not_used_count_for_the_budget() {
    /// Waits for the end of a line that never comes.
    struct Hoards;
    impl LineProtocol for Hoards {
        fn line_received(&mut self, _cx: &mut Context<'_, Self>, _line: &[u8]) {}
    }
    let reactor = Reactor::builder()
        .in_memory()
        .buffer_budget(1 << 20)
        .build()
        .unwrap();
    let _reports = expect_reports(&reactor);
    let inner = reactor.clone();
    let done = reactor.run_until(async {
        let port = inner.listen(Anywhere, |_| Lines::with_limit(Hoards, usize::MAX))?;
        let mut bad = inner.connect_stream(port.local_addr()).await?;
        let mut good = inner.connect_stream(port.local_addr()).await?;
        good.write_all(&[b'x'; 1000]).await?;
        let error = bad.write_all(&vec![b'x'; 4 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        some_turns().await;
        assert_eq!(inner.dump().buffered, 1000);
        good.write_all(b"x").await?;
        until(|| inner.dump().buffered == 1001).await;
        port.stop().await
    });
    done.and_then(|done| done).unwrap();
}

#[test]
fn unused_bytes_of_a_closed_connection_no_longer_count() {
    /// Answers its first line at length, and then closes.
    struct Answers(Rc<Cell<Option<Transport>>>);
    impl LineProtocol for Answers {
        fn line_received(&mut self, cx: &mut Context<'_, Self>, _line: &[u8]) {
            cx.write(vec![7; SIZE]);
            self.0.set(Some(cx.transport().clone()));
            cx.lose_connection();
        }
    }
    let reactor = Reactor::builder()
        .in_memory()
        .buffer_budget(BUDGET)
        .build()
        .unwrap();
    let inner = reactor.clone();
    let done = reactor.run_until(async {
        let slot = Rc::new(Cell::new(None));
        let to = slot.clone();
        let port = inner.listen(Anywhere, move |_| {
            Lines::with_limit(Answers(to.clone()), usize::MAX)
        })?;
        let mut conn = inner.connect_stream(port.local_addr()).await?;
        conn.write_all(&[b'x'; 1000]).await?;
        some_turns().await;
        assert_eq!(inner.dump().buffered, 1000);
        conn.write_all(b"\n").await?;
        some_turns().await;
        let transport = slot.take().unwrap();
        assert!(transport.queued() > 0);
        assert_eq!(inner.dump().buffered, transport.queued());
        transport.abort_connection();
        port.stop().await
    });
    done.and_then(|done| done).unwrap();
}

#[test]
fn unless_set_it_is_a_minute_from_the_last_byte_that_was_accepted() {
    testing::run(async |reactor| {
        let _reports = expect_reports(&reactor);
        let (port, ends) = big_answers(&reactor, &ListenOptions::new())?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        some_turns().await;
        // Nothing has been closed: it may take as long as it likes.
        reactor.sleep(SECOND * 3600).await?;
        conn.close().await?;
        some_turns().await;
        for _ in 0..10 {
            reactor.sleep(SECOND * 59).await?;
            conn.read_exact(&mut vec![0; 64 * 1024]).await?;
            some_turns().await;
        }
        reactor.sleep(SECOND * 59).await?;
        assert!(ends.borrow().is_empty());
        reactor.sleep(SECOND * 2).await?;
        assert!(matches!(
            ends.borrow()[0].downcast_ref(),
            Some(ConnectionError::SendTimedOut { .. })
        ));
        drop(conn);
        port.stop().await
    });
}

#[test]
fn a_peer_that_reads_slowly_is_not_cut_off() {
    testing::run(async |reactor| {
        let options = ListenOptions::new()
            .close_timeout(SECOND)
            .send_timeout(SECOND);
        let (port, ends) = big_answers(&reactor, &options)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        conn.close().await?;
        for _ in 0..SIZE / (64 * 1024) {
            reactor.sleep(MS * 900).await?;
            conn.read_exact(&mut vec![0; 64 * 1024]).await?;
        }
        assert_eq!(conn.read(&mut [0]).await?, 0);
        drop(conn);
        until(|| !ends.borrow().is_empty()).await;
        assert!(matches!(
            ends.borrow()[0].downcast_ref(),
            Some(ConnectionError::Done)
        ));
        port.stop().await
    });
}

/// A limit that has passed proves nothing when the loop was late: writing is tried once more.
#[test]
fn a_peer_that_made_space_before_the_loop_checked_is_not_cut_off() {
    let reactor = Reactor::builder().manual_time().build().unwrap();
    let listener = TcpListener::bind(HERE).unwrap();
    let options = ConnectOptions::new().send_timeout(SECOND * 10);
    let ends = Ends::default();
    let to = ends.clone();
    let spy = Spy::new(&Log::new())
        .on_made(|cx| cx.write(vec![7; SIZE]))
        .on_lost(move |reason| to.borrow_mut().push(reason.clone()));
    let connecting = reactor.connect((listener.local_addr().unwrap(), &options), spy);
    testing::settle(&reactor);
    let (mut peer, _) = listener.accept().unwrap();
    testing::settle(&reactor);
    drop(connecting);
    reactor.advance(SECOND * 9);
    peer.set_nonblocking(true).unwrap();
    while peer.read(&mut vec![0; 64 * 1024]).is_ok() {}
    reactor.advance(SECOND * 2);
    assert!(ends.borrow().is_empty(), "{ends:?}");
    // On a busy machine the system may report the peer's space late, and then more is written.
    for _ in 0..10 {
        reactor.advance(SECOND * 11);
        if !ends.borrow().is_empty() {
            break;
        }
    }
    assert!(matches!(
        ends.borrow()[0].downcast_ref(),
        Some(ConnectionError::SendTimedOut { .. })
    ));
}

/// Resets, which UNIX sockets do not have.
mod tcp {
    use super::*;

    on_all! {
        async fn a_peer_that_accepts_nothing_after_the_close_is_reset_and_reported(reactor) {
            let reports = expect_reports(&reactor);
            let options = ListenOptions::new().close_timeout(MS * 50);
            let (port, ends) = big_answers(&reactor, &options)?;
            // It sends the end of file, so that the answer is the last word, and never reads.
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(b"x").await?;
            conn.close().await?;
            some_turns().await;
            assert!(ends.borrow().is_empty());
            reactor.sleep(MS * 80).await?;
            until(|| !ends.borrow().is_empty()).await;
            let reason = ends.borrow()[0].clone();
            let Some(ConnectionError::SendTimedOut { queued, limit }) = reason.downcast_ref() else {
                panic!("{reason:?}");
            };
            assert!(*queued > 1 << 20 && *limit == MS * 50, "{reason:?}");
            let reported = reports.borrow()[0].failure().clone();
            let Some(ConnectionError::NotSent { bytes, peer, .. }) = reported.downcast_ref() else {
                panic!("{reported:?}");
            };
            assert_eq!(bytes, queued);
            assert_eq!(Some(peer), conn.transport().local_addr().ok().as_ref());
            assert!(is_of_a_stall(&reported));
            // Bytes that have arrived may be read; then the stream does not look complete.
            let end = conn.read_to_end(&mut Vec::new()).await;
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
            drop(conn);
            port.stop().await?;
        }
    }
}
