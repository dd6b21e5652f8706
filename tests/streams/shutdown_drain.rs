//! Bytes that a program writes before it returns arrive; lost bytes are reported, and the stream
//! does not look complete.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::{Anywhere, HERE, Log, MS, Spy, expect_reports, is_of_a_stall, until};
use torsade::net::{ConnectOptions, ListenOptions};
use torsade::reactor::{Grace, Stopped};
use torsade::report::{Origin, Report};
use torsade::transport::{ConnectionError, Flow, Producer};
use torsade::{Clock, Failure, Phase, Reactor, Transport};

/// More than the system's buffers take.
const SIZE: usize = 8 << 20;

#[test]
fn the_last_words_of_main_arrive_although_there_are_many() -> Result<(), Failure> {
    let (address, reader) = listen()?;
    torsade::run(async |reactor| {
        let conn = reactor.connect_stream(address).await?;
        conn.transport().write(vec![7; SIZE]);
        Ok(())
    })?;
    assert_eq!(heard(reader)?, SIZE);
    Ok(())
}

#[test]
fn a_trigger_before_shutdown_may_say_goodbye() -> Result<(), Failure> {
    let (address, reader) = listen()?;
    torsade::run(async |reactor| {
        let conn = reactor.connect_stream(address).await?;
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move || {
            conn.transport().write(vec![7; SIZE]);
            conn.transport().lose_connection();
        });
        Ok(())
    })?;
    assert_eq!(heard(reader)?, SIZE);
    Ok(())
}

#[test]
fn to_a_peer_that_does_not_listen_the_end_is_a_reset_and_the_loss_is_reported()
-> Result<(), Failure> {
    for is_closed in [true, false] {
        let listener = TcpListener::bind(HERE)?;
        let address = listener.local_addr()?;
        let reports = run_for(
            Grace {
                stalled: MS * 50,
                ..Grace::default()
            },
            async |reactor| {
                let handle = reactor.connect(address, Spy::echo()).await?;
                let transport = handle.transport().unwrap();
                transport.write(vec![7; SIZE]);
                if is_closed {
                    transport.lose_connection();
                }
                Ok(())
            },
        )?;
        let said = only(&reports, is_of_a_stall);
        assert!(
            said.ends_with(&format!("bytes not sent to {address}")),
            "{said}"
        );
        let (stream, _) = listener.accept()?;
        assert_eq!(end_of(stream), Err(ErrorKind::ConnectionReset));
    }
    Ok(())
}

#[test]
fn the_total_grace_also_ends_a_peer_that_reads_slowly() -> Result<(), Failure> {
    let listener = TcpListener::bind(HERE)?;
    let address = listener.local_addr()?;
    let (over, is_finished) = mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // It takes its time by taking little, until there is no more to come.
        let mut all = 0;
        loop {
            match stream.read(&mut [0; 100]) {
                Ok(0) => return Ok(all),
                Ok(count) => all += count,
                Err(error) => return Err(error.kind()),
            }
            let _ = is_finished.recv_timeout(MS * 10);
        }
    });
    let grace = Grace {
        stalled: MS * 60_000,
        total: MS * 50,
        ..Grace::default()
    };
    let reports = run_for(grace, async |reactor| {
        let conn = reactor.connect_stream(address).await?;
        conn.transport().write(vec![7; SIZE]);
        Ok(())
    })?;
    drop(over);
    only(&reports, |end| end.find::<Stopped>().is_some());
    assert_eq!(reader.join().unwrap(), Err(ErrorKind::ConnectionReset));
    Ok(())
}

#[test]
fn a_reactor_that_is_dropped_without_an_end_resets_what_it_could_not_send() -> Result<(), Failure> {
    let listener = TcpListener::bind(HERE)?;
    let address = listener.local_addr()?;
    let reactor = Reactor::new()?;
    let stopper = reactor.clone();
    reactor.add_system_event_trigger(Phase::After, "startup", move || {
        let spy = Spy::new(&Log::new()).on_made(|cx| cx.write(vec![7; SIZE]));
        drop(stopper.connect(address, spy));
        let clock = stopper.clone();
        clock.call_later(MS * 20, move || stopper.crash());
    });
    reactor.run()?;
    let (stream, _) = listener.accept()?;
    drop(reactor);
    assert_eq!(end_of(stream), Err(ErrorKind::ConnectionReset));
    Ok(())
}

#[test]
fn a_panic_in_a_hook_does_not_make_half_an_answer_look_complete() -> Result<(), Failure> {
    let listener = TcpListener::bind(HERE)?;
    let address = listener.local_addr()?;
    let reports = run_for(Grace::default(), async |reactor| {
        let spy = Spy::new(&Log::new()).on_made(|cx| {
            cx.write(vec![7; SIZE]);
            panic!("as it must");
        });
        let handle = reactor.connect(address, spy).await?;
        handle.closed().await?;
        Ok(())
    })?;
    // One cause, one report.
    assert_eq!(reports.len(), 1);
    assert!(reports[0].is_panic());
    let (stream, _) = listener.accept()?;
    assert_eq!(end_of(stream), Err(ErrorKind::ConnectionReset));
    Ok(())
}

#[test]
fn an_abort_is_not_reported() -> Result<(), Failure> {
    let listener = TcpListener::bind(HERE)?;
    let address = listener.local_addr()?;
    let reports = run_for(Grace::default(), async |reactor| {
        let handle = reactor.connect(address, Spy::echo()).await?;
        let transport = handle.transport().unwrap();
        transport.write(vec![7; SIZE]);
        transport.abort_connection();
        handle.closed().await?;
        Ok(())
    })?;
    assert!(reports.is_empty(), "{reports:?}");
    Ok(())
}

on_both_by_hand! {
    fn bytes_that_the_last_hooks_write_to_others_are_no_loss(reactor) {
        /// Tells all others that it has left.
        struct Member(torsade::Group);
        impl torsade::Protocol for Member {
            fn connection_made(&mut self, cx: &mut torsade::Context<'_, Self>) {
                self.0.join(cx);
            }
            fn connection_lost(&mut self, _reason: Failure) {
                self.0.write("one has left\n");
            }
        }
        let reports = expect_reports(&reactor);
        let (inside, group) = (reactor.clone(), torsade::Group::new());
        reactor.run_until(async move {
            let all = group.clone();
            let port = inside.listen(Anywhere, move |_| Member(all.clone()))?;
            let mut peers = Vec::new();
            for _ in 0..5 {
                peers.push(inside.connect_stream(port.local_addr()).await?);
            }
            until(|| group.len() == 5).await;
            Ok::<_, Failure>(peers)
        }).unwrap().unwrap();
        assert_eq!(reports.borrow().len(), 0, "{reports:?}");
    }

    fn a_peer_that_begins_to_read_late_gets_everything(reactor) {
        let got = late_reader(reactor, MS * 700, async |conn| {
            conn.transport().write(vec![7; 1 << 20]);
            conn.transport().lose_connection();
        });
        assert_eq!(got, 1 << 20);
    }

    fn bytes_written_before_the_stop_are_sent_by_open_connections_too(reactor) {
        let reports = expect_reports(&reactor);
        let got = late_reader(reactor, MS * 10, async |conn| conn.transport().write(vec![7; 4 << 20]));
        // Bytes that the system has accepted are the system's to deliver; the reader ends with the
        // reactor.
        assert!(got > 3 << 20, "{got}");
        assert!(reports.borrow().is_empty(), "{reports:?}");
    }

    fn bytes_written_before_a_half_close_are_sent_too(reactor) {
        let reports = expect_reports(&reactor);
        let got = late_reader(reactor, MS * 10, async |conn| {
            conn.transport().write(vec![7; 4 << 20]);
            conn.transport().lose_write();
        });
        assert!(got > 3 << 20, "{got}");
        assert!(reports.borrow().is_empty(), "{reports:?}");
    }

    fn a_file_that_is_being_sent_is_sent_to_its_end(reactor) {
        let got = late_reader(reactor, MS * 10, async |conn| {
            let file = File::open(std::env::current_exe().unwrap()).unwrap();
            drop(conn.transport().send_file(file));
            conn.transport().lose_connection();
        });
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(got, file_size(&file));
    }

    fn a_producer_may_finish_after_main(reactor) {
        struct Ten(u8);
        impl Producer for Ten {
            fn resume_producing(&mut self, consumer: &Transport) {
                match self.0 {
                    0 => consumer.unregister_producer(),
                    _ => consumer.write([0; 100_000]),
                }
                self.0 = self.0.saturating_sub(1);
            }
        }
        let got = late_reader(reactor, MS * 10, async |conn| {
            conn.transport().register_producer(Ten(10), Flow::Pull).unwrap();
            conn.transport().lose_connection();
        });
        assert_eq!(got, 1_000_000);
    }

    fn each_peer_that_accepts_nothing_is_cut_off_separately(reactor) {
        // Longer than a slow machine keeps the peer that reads slowly from its next read.
        reactor.set_grace(Grace { stalled: MS * 1_000, ..Grace::default() });
        let reports = expect_reports(&reactor);
        let got = Rc::new(Cell::new(0));
        let count = got.clone();
        let inner = reactor.clone();
        let done = reactor.run_until(async {
            let kept = RefCell::new(Vec::new());
            let deaf = inner.serve(Anywhere, async move |conn| {
                kept.borrow_mut().push(conn);
                Ok(())
            })?;
            let clock = inner.clone();
            let slow = inner.serve(Anywhere, async move |mut conn| {
                let mut buf = vec![0; 64 * 1024];
                loop {
                    clock.sleep(MS * 10).await?;
                    match conn.read(&mut buf).await? {
                        0 => return Ok(()),
                        more => count.set(count.get() + more),
                    }
                }
            })?;
            for port in [&deaf, &slow, &deaf] {
                let conn = inner.connect_stream(port.local_addr()).await?;
                conn.transport().write(vec![7; SIZE]);
                conn.transport().lose_connection();
            }
            Ok::<_, Failure>(())
        });
        done.and_then(|done| done).unwrap();
        assert_eq!(got.get(), SIZE);
        let reports = reports.borrow();
        assert_eq!(reports.len(), 2, "{reports:?}");
        for report in reports.iter() {
            assert!(is_of_a_stall(report.failure()), "{report}");
        }
    }
}

#[test]
fn a_wait_from_an_earlier_run_does_not_affect_waits_of_a_later_run() -> Result<(), Failure> {
    for reactor in [Reactor::in_memory()?, Reactor::new()?] {
        let count = |wakes: &Arc<CountWakes>| wakes.0.load(Ordering::Relaxed);
        let wait = |wakes: &Arc<CountWakes>| {
            let mut waits = Box::pin(reactor.stopped());
            let waker = Waker::from(wakes.clone());
            assert!(
                waits
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            waits
        };
        let (early, late) = (Arc::<CountWakes>::default(), Arc::<CountWakes>::default());
        let (dropped, mut polled) = (wait(&early), wait(&early));
        let ends = reactor.clone();
        reactor.call_soon(move || {
            ends.stop().unwrap();
            let crash = ends.clone();
            ends.call_soon(move || crash.crash()); // those who wait have been woken by then
        });
        reactor.run().unwrap();
        assert!(!reactor.has_ended());
        assert_eq!(count(&early), 2);
        let (_third, _fourth) = (wait(&late), wait(&late));
        drop(dropped);
        let waker = Waker::from(early.clone());
        assert!(
            polled
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        let stop = reactor.clone();
        reactor.call_soon(move || stop.stop().unwrap());
        reactor.run().unwrap();
        assert_eq!(count(&late), 2);
        assert_eq!(count(&early), 3);
    }
    Ok(())
}

on_transports! {
    async fn a_write_that_failed_is_the_reason_of_the_end_though_it_was_closed_later(reactor) {
        let port = reactor.serve(Anywhere, async |conn| {
            conn.transport().abort_connection();
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let transport = conn.transport();
        while conn.write_all(b"lost").await.is_ok() {
            torsade::yield_now().await;
        }
        drop(conn);
        until(|| transport.reason().is_some()).await;
        let reason = support::how(&transport.reason().unwrap());
        assert!(reason.starts_with("broken"), "{reason}");
        port.stop().await?;
    }
}

/// Runs `main` with a client of a server that waits before it reads; returns how many bytes the
/// server got.
fn late_reader(
    reactor: Reactor,
    delay: Duration,
    main: impl AsyncFnOnce(&torsade::Connection),
) -> usize {
    let got = Rc::new(Cell::new(0));
    let (count, inner) = (got.clone(), reactor.clone());
    let done = reactor.run_until(async {
        let clock = inner.clone();
        let options = ListenOptions::new().receive_buffer(8192);
        let port = inner.serve((Anywhere, &options), async move |mut conn| {
            clock.sleep(delay).await?;
            let mut buf = vec![0; 64 * 1024];
            loop {
                match conn.read(&mut buf).await? {
                    0 => return Ok(()),
                    more => count.set(count.get() + more),
                }
            }
        })?;
        let options = ConnectOptions::new().send_buffer(8192);
        let conn = inner.connect_stream((port.local_addr(), &options)).await?;
        main(&conn).await;
        // An open one stays open.
        std::mem::forget(conn);
        Ok::<_, Failure>(())
    });
    done.and_then(|done| done).unwrap();
    got.get()
}

fn file_size(file: &File) -> usize {
    file.metadata().unwrap().len() as usize
}

/// Runs `main` to its end, and what follows; returns the reports.
fn run_for(
    grace: Grace,
    main: impl AsyncFnOnce(&Reactor) -> Result<(), Failure>,
) -> Result<Vec<Report>, Failure> {
    let reactor = Reactor::builder().grace(grace).build()?;
    let reports = expect_reports(&reactor);
    reactor.run_until(main(&reactor))??;
    Ok(reports.take())
}

/// The text of the only report, which is of a loss for this cause.
#[track_caller]
fn only(reports: &[Report], is_cause: impl FnOnce(&Failure) -> bool) -> String {
    let [report] = reports else {
        panic!("{reports:?}");
    };
    assert_eq!(report.origin(), Origin::Connection);
    assert!(
        matches!(
            report.failure().downcast_ref(),
            Some(ConnectionError::NotSent { .. })
        ),
        "{report}"
    );
    assert!(is_cause(report.failure()), "{report}");
    report.failure().to_string()
}

/// The end of a stream as its reader sees it.
fn end_of(mut stream: TcpStream) -> Result<usize, ErrorKind> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map_err(|error| error.kind())
}

/// A peer in another thread that reads everything.
fn listen() -> io::Result<(SocketAddr, JoinHandle<io::Result<usize>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)
    });
    Ok((address, reader))
}

fn heard(reader: JoinHandle<io::Result<usize>>) -> Result<usize, Failure> {
    Ok(reader.join().expect("the reader does not panic")?)
}

/// Counts how often it is woken.
#[derive(Default)]
struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_end_that_a_crash_cut_short_does_not_go_on_in_the_next_run() {
    let reactor = Reactor::in_memory().unwrap();
    let lost = Rc::new(Cell::new(false));
    let kept = Rc::new(Cell::new(None));
    let (crashing, held) = (reactor.clone(), kept.clone());
    let stopped = reactor.run_until(async {
        let port = reactor.serve(Anywhere, async |mut conn| {
            conn.write_all(&[1; 10_000_000]).await?;
            Ok(())
        })?;
        held.set(Some(reactor.connect_stream(port.local_addr()).await?));
        reactor.sleep(MS).await?;
        reactor.stop()?;
        reactor.call_later(MS, move || crashing.crash());
        std::future::pending::<Result<(), Failure>>().await
    });
    assert!(stopped.is_err());
    // Longer than the end would have waited for the peer, which reads nothing.
    let observed = lost.clone();
    reactor.on_report(move |_| observed.set(true));
    let later = reactor.clone();
    let was_lost = reactor.run_until(async move {
        later.sleep(Duration::from_secs(30)).await?;
        Ok::<_, Failure>(lost.get())
    });
    drop(kept.take());
    assert!(!was_lost.unwrap().unwrap());
}

#[test]
fn a_stop_in_the_middle_of_a_write_is_a_reset() {
    let listener = TcpListener::bind(HERE).unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let reactor = Reactor::new().unwrap();
    let writes = reactor.clone();
    reactor
        .run_until(async move {
            let mut conn = writes.connect_stream(address).await?;
            let (begun, has_begun) = (Rc::new(Cell::new(false)), writes.clone());
            let note = begun.clone();
            has_begun
                .spawn(async move {
                    loop {
                        conn.write_all(&[1; 1 << 20]).await?;
                        note.set(true);
                    }
                    #[allow(unreachable_code, reason = "it gives the type")]
                    Ok::<(), Failure>(())
                })
                .detach();
            until(|| begun.get()).await;
            Ok::<_, Failure>(())
        })
        .unwrap()
        .unwrap();
    let error = peer.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn unread_bytes_of_the_peer_do_not_destroy_bytes_written_before_the_stop() {
    for is_stream in [true, false] {
        let (address, peer, has_sent) = peer_that_sends_and_then_reads(5_000);
        let log = Log::new();
        let reactor = Reactor::new().unwrap();
        let reports = expect_reports(&reactor);
        let (writes, noted) = (reactor.clone(), log.clone());
        let main = reactor.run_until(async move {
            let (transport, kept) = if is_stream {
                let conn = writes.connect_stream(address).await?;
                (conn.transport(), Some(conn))
            } else {
                let spy = Spy::new(&noted).on_made(|cx| cx.pause_producing());
                let handle = writes.connect(address, spy).await?;
                (handle.transport().unwrap(), None)
            };
            transport.write(vec![2; 200_000]);
            writes.spawn_blocking(move || Ok(has_sent.recv()?)).await?;
            until(|| transport.queued() == 0).await;
            // The system has all of it, and the peer reads only now.
            std::mem::forget(kept);
            Ok::<_, Failure>(())
        });
        main.unwrap().unwrap();
        assert_eq!(peer.join().unwrap(), Ok(200_000), "stream: {is_stream}");
        assert!(reports.borrow().is_empty(), "{reports:?}");
    }
}

/// A peer in another thread that sends this many bytes, signals when that is done, and then reads
/// slowly to the end.
#[allow(clippy::type_complexity, reason = "one use")]
fn peer_that_sends_and_then_reads(
    count: usize,
) -> (
    SocketAddr,
    JoinHandle<Result<usize, ErrorKind>>,
    mpsc::Receiver<()>,
) {
    let listener = TcpListener::bind(HERE).unwrap();
    socket2::SockRef::from(&listener)
        .set_recv_buffer_size(8192)
        .unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, observed) = mpsc::channel();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&vec![1; count]).unwrap();
        tell.send(()).unwrap();
        end_of(stream)
    });
    (address, peer, observed)
}

#[test]
fn the_total_grace_covers_sending_and_lingering_together() -> Result<(), Failure> {
    let reactor = Reactor::builder().manual_time().build()?;
    let total = Duration::from_secs(5);
    reactor.set_grace(Grace {
        stalled: total * 10,
        total,
        ..Grace::default()
    });
    let reports = expect_reports(&reactor);
    // Neither reads; one has sent something, and does not close.
    let (silent, talker) = (TcpListener::bind(HERE)?, TcpListener::bind(HERE)?);
    let addresses = (silent.local_addr()?, talker.local_addr()?);
    reactor.start()?;
    let (connects, conns) = (reactor.clone(), Rc::new(Cell::new(None)));
    let kept = conns.clone();
    let connected = reactor.spawn(async move {
        let options = ConnectOptions::new().linger(total * 10);
        let full = connects.connect_stream(addresses.0).await?;
        let lingers = connects.connect_stream((addresses.1, &options)).await?;
        full.transport().write(vec![7; SIZE]);
        kept.set(Some((full, lingers)));
        Ok::<_, Failure>(())
    });
    while !connected.is_finished() {
        reactor.iterate(MS);
    }
    connected.detach();
    let (mut peer, _) = talker.accept()?;
    peer.write_all(b"unread")?;
    torsade::testing::settle(&reactor);
    reactor.stop()?;
    torsade::testing::settle(&reactor);
    assert!(!reactor.has_ended());
    reactor.advance(total);
    assert!(reactor.has_ended());
    only(&reports.take(), |end| end.find::<Stopped>().is_some());
    drop(conns);
    Ok(())
}

/// Resets, which UNIX sockets do not have.
mod tcp {
    use super::*;

    on_all! {
        async fn the_bytes_of_a_failing_handler_are_sent_unless_reset_on_error_is_set(reactor) {
            for resets in [false, true] {
                let reports = expect_reports(&reactor);
                let options = ListenOptions::new().reset_on_error(resets);
                let port = reactor.serve((HERE, &options), async |mut conn| {
                    conn.write_all(b"half an answer").await?;
                    conn.flush().await?;
                    Err(Failure::new("as it must"))
                })?;
                let mut conn = reactor.connect_stream(port.local_addr()).await?;
                let mut got = Vec::new();
                let end = conn.read_to_end(&mut got).await;
                match resets {
                    false => assert_eq!((end.unwrap(), &got[..]), (14, &b"half an answer"[..])),
                    true => assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset),
                }
                assert_eq!(reports.borrow().len(), 1);
                drop(conn);
                port.stop().await?;
            }
        }

        async fn with_reset_on_error_a_panicking_handler_resets_and_a_successful_one_does_not(reactor) {
            let _reports = expect_reports(&reactor);
            let options = ListenOptions::new().reset_on_error(true);
            let port = reactor.serve((HERE, &options), async |mut conn| {
                let mut order = [0];
                conn.read_exact(&mut order).await?;
                conn.write_all(b"answer").await?;
                assert_ne!(order, *b"p", "as it must");
                Ok(())
            })?;
            for (order, is_whole) in [(b"p", false), (b"g", true)] {
                let mut conn = reactor.connect_stream(port.local_addr()).await?;
                conn.write_all(order).await?;
                let end = conn.read_to_end(&mut Vec::new()).await;
                assert_eq!(end.is_ok(), is_whole, "{end:?}");
            }
            port.stop().await?;
        }
    }
}
