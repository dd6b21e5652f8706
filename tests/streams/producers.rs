//! Producers: paused and resumed in step with the connection; files; and ends that wait for them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::rc::Rc;
use std::time::Duration;

use support::{Anywhere, Log, Spy, until};
use torsade::testing::Wire;
use torsade::transport::{ConnectionError, Consumer, Flow, Limits, Producer};
use torsade::{Cancelled, Connection, Context, Failure, Protocol, Reactor, Transport, yield_now};

/// Records its calls, and does what it was told to do in them.
struct Telling {
    log: Log,
    on_resume: Box<dyn FnMut(&Transport)>,
}

impl Telling {
    fn new(log: &Log, on_resume: impl FnMut(&Transport) + 'static) -> Self {
        Self {
            log: log.clone(),
            on_resume: Box::new(on_resume),
        }
    }
}

impl Producer for Telling {
    fn resume_producing(&mut self, consumer: &Transport) {
        self.log.note("resume");
        (self.on_resume)(consumer);
    }

    fn pause_producing(&mut self) {
        self.log.note("pause");
    }

    fn stop_producing(&mut self) {
        self.log.note("stop");
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.log.note("dropped");
    }
}

/// A server's transport, and the client's connection.
async fn pair(reactor: &Reactor, log: &Log) -> Result<(Transport, Connection), Failure> {
    let slot: Rc<RefCell<Option<Transport>>> = Rc::default();
    let (seen, log) = (slot.clone(), log.clone());
    let port = reactor.listen(Anywhere, move |_| {
        let seen = seen.clone();
        Spy::new(&log).on_made(move |transport| *seen.borrow_mut() = Some(transport.clone()))
    })?;
    let conn = reactor.connect_stream(port.local_addr()).await?;
    while slot.borrow().is_none() {
        yield_now().await;
    }
    port.stop().await?;
    let transport = slot.take().unwrap();
    Ok((transport, conn))
}

async fn read_all(conn: &mut Connection) -> Result<Vec<u8>, Failure> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match conn.read(&mut buf).await? {
            0 => return Ok(all),
            count => all.extend(&buf[..count]),
        }
    }
}

async fn some_turns() {
    for _ in 0..20 {
        yield_now().await;
    }
}

/// A file without a name, with these bytes, from its beginning.
fn file(bytes: &[u8]) -> File {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("producers-{}-{number}", std::process::id());
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}

/// A side of a proxy, which writes to the other what it gets.
struct Side(Option<Transport>);

impl Protocol for Side {
    fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
        if let Some(other) = &self.0 {
            other.write(data);
        }
    }
}

/// Two connections that are each other's producers.
fn joined() -> [Wire<Side>; 2] {
    let mut wires = [Wire::new(Side(None)), Wire::new(Side(None))];
    let transports = [0, 1].map(|at| wires[at].transport().clone());
    for (at, wire) in wires.iter_mut().enumerate() {
        let other = transports[1 - at].clone();
        wire.transport()
            .register_producer(other.clone(), Flow::Push)
            .unwrap();
        wire.with_protocol(|side, _| side.0 = Some(other));
        wire.flush();
    }
    wires
}

#[test]
fn the_end_of_file_ends_both_of_two_connections_that_are_each_others_producers() {
    let [mut one, mut other] = joined();
    one.send(b"last words");
    one.send_eof();
    one.advance(Duration::ZERO);
    assert!(one.is_closed());
    other.advance(Duration::ZERO);
    assert_eq!(other.take_received(), b"last words");
    assert!(other.is_closed());
}

#[test]
fn a_connection_that_is_a_producer_and_has_ended_holds_up_no_close() {
    let [mut one, mut other] = joined();
    // Its end no longer ends the other.
    other.transport().unregister_producer();
    one.transport().unregister_producer();
    other
        .transport()
        .register_producer(one.transport().clone(), Flow::Push)
        .unwrap();
    one.reset();
    assert!(one.is_closed());
    // Another producer may take its place.
    let late = Wire::new(Side(None));
    other
        .transport()
        .register_producer(late.transport().clone(), Flow::Push)
        .unwrap();
    other.transport().lose_connection();
    other.advance(Duration::ZERO);
    assert!(other.is_closed());
}

#[test]
fn closing_the_writing_side_does_not_wait_for_a_connection_that_is_the_producer() {
    let [one, mut other] = joined();
    other.transport().write(b"before");
    other.transport().lose_write();
    other.advance(Duration::ZERO);
    assert_eq!(other.take_received(), b"before");
    assert!(other.has_received_eof());
    drop(one);
}

on_transports! {
    async fn a_pull_producer_is_called_each_time_the_queue_is_empty_and_never_inside_a_call(reactor) {
        let (log, calls) = (Log::new(), Log::new());
        let (transport, mut conn) = pair(&reactor, &log).await?;
        let mut left = 3;
        let producer = Telling::new(&calls, move |consumer| {
            assert_eq!(consumer.queued(), 0);
            consumer.write(format!("{left} "));
            left -= 1;
            if left == 0 {
                consumer.unregister_producer();
            }
        });
        transport.register_producer(producer, Flow::Pull)?;
        assert!(calls.is_empty());
        transport.lose_connection();
        assert!(!transport.is_connected());
        assert_eq!(read_all(&mut conn).await?, b"3 2 1 ");
        assert_eq!(calls.take(), ["resume", "resume", "resume", "dropped"]);
        until(|| log.has("lost done")).await;
    }

    async fn a_push_producer_is_paused_when_full_and_resumed_when_drained(reactor) {
        let (log, calls) = (Log::new(), Log::new());
        let (transport, mut conn) = pair(&reactor, &log).await?;
        transport.set_limits(Limits { low: 1000, high: 5000, ..Limits::default() });
        let mut left = 3;
        let producer = Telling::new(&calls, move |consumer| {
            left -= 1;
            match left {
                0 => consumer.unregister_producer(),
                _ => consumer.write([7; 6000]),
            }
        });
        transport.register_producer(producer, Flow::Push)?;
        some_turns().await;
        assert!(calls.is_empty());
        transport.write([7; 6000]);
        assert!(calls.is_empty() && transport.is_full());
        until(|| calls.has("dropped")).await;
        assert_eq!(calls.count("pause"), 3);
        assert_eq!(calls.count("resume"), 3);
        transport.lose_connection();
        assert_eq!(read_all(&mut conn).await?.len(), 18_000);
        until(|| log.has("lost done")).await;
    }

    async fn only_one_producer_is_registered_and_the_end_waits_for_it(reactor) {
        let (log, calls) = (Log::new(), Log::new());
        let (transport, mut conn) = pair(&reactor, &log).await?;
        transport.unregister_producer();
        transport.register_producer(Telling::new(&calls, |_| {}), Flow::Push)?;
        let again = transport.register_producer(Telling::new(&calls, |_| {}), Flow::Pull);
        assert!(matches!(again, Err(ConnectionError::ProducerRegistered)));
        assert_eq!(calls.take(), ["dropped"]);
        transport.lose_write();
        transport.lose_connection();
        transport.resume_producing();
        conn.write_all(b"nobody hears").await?;
        some_turns().await;
        assert_eq!(log.all(), ["made"]);
        transport.write("the last words");
        transport.unregister_producer();
        assert_eq!(calls.take(), ["dropped"]);
        assert_eq!(read_all(&mut conn).await?, b"the last words");
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "lost done"]);
    }

    async fn stop_producing_is_called_once_also_for_a_late_producer(reactor) {
        let (log, calls) = (Log::new(), Log::new());
        let (transport, conn) = pair(&reactor, &log).await?;
        transport.register_producer(Telling::new(&calls, |_| {}), Flow::Push)?;
        transport.abort_connection();
        assert!(calls.is_empty());
        until(|| log.has("lost aborted")).await;
        assert_eq!(calls.take(), ["stop", "dropped"]);
        transport.register_producer(Telling::new(&calls, |_| {}), Flow::Pull)?;
        assert!(calls.is_empty());
        until(|| calls.has("dropped")).await;
        assert_eq!(calls.take(), ["stop", "dropped"]);
        drop(conn);
    }

    async fn a_pull_producer_that_writes_nothing_does_not_keep_the_loop_busy(reactor) {
        let (log, calls) = (Log::new(), Log::new());
        let (transport, conn) = pair(&reactor, &log).await?;
        transport.register_producer(Telling::new(&calls, |_| {}), Flow::Pull)?;
        some_turns().await;
        assert_eq!(calls.take(), ["resume"]);
        transport.write("something else");
        some_turns().await;
        assert_eq!(calls.take(), ["resume"]);
        transport.unregister_producer();
        drop(conn);
        until(|| log.has("lost done")).await;
    }

    async fn a_producer_that_panics_loses_the_connection_with_that(reactor) {
        torsade::testing::expect_panics(&reactor);
        let (log, calls) = (Log::new(), Log::new());
        let (transport, conn) = pair(&reactor, &log).await?;
        transport.register_producer(Telling::new(&calls, |_| panic!("dry")), Flow::Pull)?;
        until(|| calls.has("dropped")).await;
        assert_eq!(calls.take(), ["resume", "stop", "dropped"]);
        assert!(log.all()[1].contains("dry"), "{:?}", log.all());
        assert_eq!(torsade::testing::take_reports(&reactor).len(), 1);
        drop(conn);
    }

    async fn a_connection_is_a_producer_for_another_and_reads_no_faster(reactor) {
        let log = Log::new();
        let (from, mut source) = pair(&reactor, &log).await?;
        let (to, mut sink) = pair(&reactor, &log).await?;
        to.set_limits(Limits { low: 1000, high: 5000, ..Limits::default() });
        Consumer::register_producer(&to, from.clone(), Flow::Push)?;
        Consumer::write(&to, &[1; 6000]);
        let mut buf = vec![0; 6000];
        sink.read_exact(&mut buf).await?;
        source.write_all(b"hello").await?;
        until(|| log.has("data hello")).await;
        to.abort_connection();
        // Stopping it ends it.
        assert_eq!(read_all(&mut source).await?, b"");
        until(|| log.has("lost done")).await;
        until(|| log.has("lost aborted")).await;
    }

    async fn when_one_of_two_that_are_each_others_producers_ends_the_others_peer_sees_the_end(reactor) {
        let log = Log::new();
        let (one, mut ones_peer) = pair(&reactor, &log).await?;
        let (other, others_peer) = pair(&reactor, &log).await?;
        one.register_producer(other.clone(), Flow::Push)?;
        other.register_producer(one.clone(), Flow::Push)?;
        one.write("last words");
        drop(others_peer);
        // It is the end of file, not a reset.
        assert_eq!(read_all(&mut ones_peer).await?, b"last words");
        until(|| log.count("lost done") == 2).await;
    }

    async fn a_file_is_sent_from_its_offset_after_the_queued_bytes(reactor) {
        let log = Log::new();
        let (transport, mut conn) = pair(&reactor, &log).await?;
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut sent = file(&content);
        sent.seek(SeekFrom::Start(10)).unwrap();
        transport.write("before ");
        let sending = transport.send_file(sent);
        let refused = transport.send_file(file(b"another"));
        assert!(matches!(refused.await.unwrap_err().downcast_ref(), Some(ConnectionError::ProducerRegistered)));
        transport.lose_connection();
        let all = read_all(&mut conn).await?;
        assert!(all[..7] == *b"before " && all[7..] == content[10..]);
        assert_eq!(sending.await?, content.len() as u64 - 10);
        until(|| log.has("lost done")).await;

        let (transport, conn) = pair(&reactor, &log).await?;
        assert_eq!(transport.send_file(file(b"")).await?, 0);
        drop(conn);
        until(|| log.has("lost done")).await;
    }

    async fn sending_a_file_fails_with_the_connection_or_is_given_up(reactor) {
        let log = Log::new();
        let (transport, conn) = pair(&reactor, &log).await?;
        let content = vec![1; 30_000_000];
        let sending = transport.send_file(file(&content));
        some_turns().await;
        conn.transport().abort_connection();
        assert!(sending.await.is_err());
        let late = transport.send_file(file(b"late"));
        assert!(late.await.is_err());

        let (transport, mut conn) = pair(&reactor, &log).await?;
        let sending = transport.send_file(file(&content));
        some_turns().await;
        sending.cancel();
        assert!(sending.await.unwrap_err().is::<Cancelled>());
        transport.write("the end");
        transport.lose_connection();
        let all = read_all(&mut conn).await?;
        assert!(all.len() < content.len() && all.ends_with(b"the end"));
        until(|| log.has("lost done")).await;
    }

    async fn a_producer_may_write_when_it_is_paused_and_when_it_resumes(reactor) {
        struct Stubborn {
            log: Log,
            consumer: Transport,
            left: u32,
        }
        impl Producer for Stubborn {
            fn resume_producing(&mut self, consumer: &Transport) {
                self.log.note("resume");
                self.left -= 1;
                consumer.write([b'r'; 3000]);
                consumer.write([b'r'; 3000]);
                if self.left == 0 {
                    consumer.unregister_producer();
                }
            }
            fn pause_producing(&mut self) {
                self.log.note("pause");
                self.consumer.write([b'p'; 1000]);
            }
        }
        let (log, calls) = (Log::new(), Log::new());
        let (transport, mut conn) = pair(&reactor, &log).await?;
        transport.set_limits(Limits { low: 1000, high: 5000, ..Limits::default() });
        let producer = Stubborn { log: calls.clone(), consumer: transport.clone(), left: 3 };
        transport.register_producer(producer, Flow::Push)?;
        transport.write([b'w'; 6000]);
        transport.lose_connection();
        let all = read_all(&mut conn).await?;
        assert_eq!(calls.take(), ["pause", "resume", "pause", "resume", "pause", "resume"]);
        let count = |byte| all.iter().filter(|found| **found == byte).count();
        assert_eq!((count(b'w'), count(b'r'), count(b'p')), (6000, 18_000, 3000));
        until(|| log.has("lost done")).await;
    }

    async fn unregistering_after_the_end_changes_nothing(reactor) {
        let (log, calls) = (Log::new(), Log::new());
        let (transport, conn) = pair(&reactor, &log).await?;
        transport.register_producer(Telling::new(&calls, |_| {}), Flow::Push)?;
        transport.lose_connection();
        transport.abort_connection();
        until(|| log.has("lost aborted")).await;
        transport.unregister_producer();
        transport.unregister_producer();
        some_turns().await;
        assert_eq!((log.take().len(), calls.take()), (2, vec!["stop".into(), "dropped".into()]));
        drop(conn);
    }
}
