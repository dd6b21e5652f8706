//! Streams, frames and datagrams on bad networks in memory: slow, in pieces, breaking, lossy. Each
//! test runs for many seeds; a failing one prints how to run its seed again (`TORSADE_SEED=…`).
//!
//! A long run, with a million frames and 20,000 seeds, takes a minute or two:
//!
//! ```text
//! TORSADE_FRAMES=1000000 TORSADE_SEEDS=20000 cargo test --release --test testing bad_networks
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future;
use support::{HERE, MS, how, own};
use torsade::net::ConnectError;
use torsade::protocols::{LineProtocol, Lines};
use torsade::testing::{NetworkFaults, Random, each_seed, run_on};
use torsade::transport::ConnectionError;
use torsade::{Address, Clock, Connection, Context, Failure, Protocol, Reactor, testing};

const SECOND: Duration = Duration::from_secs(1);

/// Bytes that are nothing like each other.
fn noise(random: &mut Random, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Mostly small, now and then up to 2048: in debug builds many single bytes take their time.
fn some_size(random: &mut Random) -> usize {
    let most = random.pick(&[8, 8, 8, 8, 8, 8, 8, 12]);
    let power = random.below(most);
    random.below(1 << power)
}

/// The events at one end of a connection.
#[derive(Default)]
struct Seen {
    received: RefCell<Vec<u8>>,
    made: Cell<u32>,
    lost: RefCell<Vec<String>>,
}

/// Sends its bytes in pieces; ends the connection when all of them have come back.
struct Asker {
    sends: Vec<Vec<u8>>,
    expects: usize,
    seen: Rc<Seen>,
}

impl Protocol for Asker {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.seen.made.set(self.seen.made.get() + 1);
        for piece in &self.sends {
            cx.write(piece);
        }
        if self.expects == 0 {
            cx.lose_connection();
        }
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        assert!(self.seen.lost.borrow().is_empty(), "data after the end");
        let mut received = self.seen.received.borrow_mut();
        received.extend_from_slice(data);
        if received.len() >= self.expects {
            cx.lose_connection();
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.seen.lost.borrow_mut().push(how(&reason));
    }
}

/// Echoes.
struct Echo(Rc<Seen>);

impl Protocol for Echo {
    fn connection_made(&mut self, _cx: &mut Context<'_, Self>) {
        self.0.made.set(self.0.made.get() + 1);
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        self.0.received.borrow_mut().extend_from_slice(data);
        cx.write(data);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.lost.borrow_mut().push(how(&reason));
    }
}

async fn echo(mut conn: Connection) -> Result<(), Failure> {
    let mut buf = [0; 700];
    loop {
        match conn.read(&mut buf).await? {
            0 => return Ok(()),
            count => conn.write_all(&buf[..count]).await?,
        }
    }
}

/// Sends and reads back at the same time.
async fn ask(reactor: &Reactor, to: &Address, data: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let conn = reactor.connect_stream(to).await?;
    let (mut reader, mut writer) = conn.split();
    let sending = async {
        writer.write_all(&data).await?;
        writer.close().await
    };
    let mut received = Vec::new();
    let (sent, got) = future::join(sending, reader.read_to_end(&mut received)).await;
    sent?;
    got?;
    Ok(received)
}

#[test]
fn bytes_are_echoed_exactly_on_a_lossless_network() {
    each_seed(250, NetworkFaults::lossless, async |reactor, seed| {
        let mut random = Random::new(seed);
        let seen = Rc::new(Seen::default());
        let on_server = seen.clone();
        let port = match seed % 2 {
            0 => reactor.listen(HERE, move |_| Echo(on_server.clone()))?,
            _ => reactor.serve(HERE, echo)?,
        };
        let to = port.local_addr();
        for _ in 0..2 {
            let size = some_size(&mut random);
            let data = noise(&mut random, size);
            let asking = ask(&reactor, &to, data.clone());
            let asker = Rc::new(Seen::default());
            let size = some_size(&mut random);
            let sends = vec![noise(&mut random, size), noise(&mut random, 5)];
            let connecting = reactor.connect(
                &to,
                Asker {
                    sends: sends.clone(),
                    expects: size + 5,
                    seen: asker.clone(),
                },
            );
            let (answer, handle) = future::join(asking, connecting).await;
            assert!(answer? == data, "the stream's bytes");
            let handle = handle?;
            while handle.is_connected() {
                reactor.sleep(SECOND).await?;
            }
            assert!(*asker.received.borrow() == sends.concat(), "the protocol's");
            assert_eq!(*asker.lost.borrow(), ["done"]);
        }
        port.stop().await
    });
}

/// A queue of more than one piece, each of which the system may accept in part.
#[test]
fn a_queue_of_many_pieces_arrives_in_order_though_little_is_taken_at_a_time() {
    let faults = |seed| {
        let faults = NetworkFaults::lossless(seed).short_writes(30_000);
        faults
            .split_reads(30_000)
            .buffer_size(200_000)
            .delay(Duration::ZERO..=MS)
    };
    each_seed(20, faults, async |reactor, seed| {
        let port = reactor.serve(HERE, echo)?;
        let mut random = Random::new(seed);
        let data = noise(&mut random, 500_000);
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let transport = conn.transport();
        for piece in data.chunks(50_000) {
            transport.write(piece);
        }
        transport.lose_write();
        let mut answer = Vec::new();
        conn.read_to_end(&mut answer).await?;
        assert!(answer == data);
        drop(conn);
        port.stop().await
    });
}

#[test]
fn on_a_network_that_breaks_off_each_connection_is_lost_once_and_has_a_beginning() {
    let ends = Rc::new(RefCell::new(BTreeMap::<String, usize>::new()));
    each_seed(250, NetworkFaults::hostile, async |reactor, seed| {
        let mut random = Random::new(seed);
        let servers = Rc::new(RefCell::new(BTreeMap::<Address, Rc<Seen>>::new()));
        let map = servers.clone();
        let port = reactor.listen(HERE, move |peer| {
            let seen = Rc::new(Seen::default());
            let old = map.borrow_mut().insert(peer, seen.clone());
            assert!(old.is_none(), "two connections from one address");
            Echo(seen)
        })?;
        let mut clients = Vec::new();
        for _ in 0..4 {
            let seen = Rc::new(Seen::default());
            let size = some_size(&mut random);
            let sends = vec![noise(&mut random, 7), noise(&mut random, size)];
            let asker = Asker {
                sends: sends.clone(),
                expects: size + 7,
                seen: seen.clone(),
            };
            let whole = sends.concat();
            match reactor.connect(port.local_addr(), asker).await {
                Ok(handle) => {
                    let own = handle
                        .transport()
                        .and_then(|transport| transport.local_addr().ok());
                    clients.push((own, whole, seen, handle));
                }
                Err(failure) => {
                    assert!(
                        matches!(
                            failure.downcast_ref(),
                            Some(ConnectError::Refused { .. } | ConnectError::TimedOut { .. })
                        ),
                        "{failure:?}"
                    );
                    assert_eq!(seen.made.get(), 0);
                    assert!(seen.lost.borrow().is_empty());
                }
            }
        }
        let is_finished = |seen: &Seen| seen.lost.borrow().len() == seen.made.get() as usize;
        let patience = reactor.now() + SECOND * 3600;
        loop {
            let clients = clients.iter().all(|(_, _, seen, _)| is_finished(seen));
            let servers = servers.borrow().values().all(|seen| is_finished(seen));
            if clients && servers {
                break;
            }
            assert!(reactor.now() < patience, "somebody waits for ever");
            reactor.sleep(SECOND).await?;
        }
        for (own, whole, seen, handle) in &clients {
            assert_eq!(seen.made.get(), 1);
            assert_eq!(seen.lost.borrow().len(), 1);
            assert!(!handle.is_connected());
            let received = seen.received.borrow();
            assert!(whole.starts_with(&received), "what came back");
            let end = seen.lost.borrow()[0].clone();
            assert!(end != "done" || received.len() == whole.len(), "{end}");
            *ends.borrow_mut().entry(end).or_default() += 1;
            let Some(own) = own else { continue };
            if let Some(server) = servers.borrow().get(own) {
                assert_eq!(server.lost.borrow().len(), 1);
                let there = server.received.borrow();
                assert!(whole.starts_with(&there), "what arrived");
                assert!(there.len() >= received.len(), "an echo of nothing");
            }
        }
        port.stop().await
    });
    let ends = ends.take();
    if env::var_os("TORSADE_SEED").is_none() {
        // It has all happened.
        for end in ["done", "broken ConnectionReset", "broken TimedOut"] {
            assert!(ends.get(end).is_some_and(|count| *count > 20), "{ends:?}");
        }
    }
}

#[test]
fn async_code_sees_every_broken_connection() {
    each_seed(100, NetworkFaults::hostile, async |reactor, seed| {
        let mut random = Random::new(seed);
        let port = reactor.serve(HERE, async |conn| {
            let _ = echo(conn).await;
            Ok(())
        })?;
        for _ in 0..3 {
            let size = some_size(&mut random);
            let data = noise(&mut random, size);
            let to = port.local_addr();
            let asking = ask(&reactor, &to, data.clone());
            let limit = reactor.sleep(SECOND * 3600);
            match future::select(Box::pin(asking), limit).await {
                // A server that was cut off has ended the stream before its time.
                future::Either::Left((Ok(received), _)) => assert!(data.starts_with(&received)),
                future::Either::Left((Err(failure), _)) => drop(failure),
                future::Either::Right(_) => panic!("it hangs"),
            }
        }
        port.stop().await
    });
}

/// Records when which pieces came.
struct Tape(Reactor, Instant, Rc<RefCell<Vec<String>>>);

impl Tape {
    fn note(&self, what: &str) {
        let at = self.0.now().duration_since(self.1).as_nanos();
        self.2.borrow_mut().push(format!("{at} {what}"));
    }
}

impl Protocol for Tape {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.note("made");
        cx.write([1; 400]);
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        self.note(&data.len().to_string());
        if data.len() > 1 {
            cx.write(&data[1..]);
        } else {
            // Both ends may do so at once, each with more to write than the other will read.
            cx.lose_connection_within(SECOND * 10);
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.note(&how(&reason));
    }
}

fn tape_of(seed: u64) -> Vec<String> {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let log = notes.clone();
    let reactor = Reactor::builder()
        .in_memory_with(NetworkFaults::hostile(seed))
        .build()
        .unwrap();
    run_on(reactor, async |reactor| {
        let start = reactor.now();
        let (log, also) = (log.clone(), reactor.clone());
        let tape = move || Tape(also.clone(), start, log.clone());
        let make = tape.clone();
        let port = reactor.listen(HERE, move |_| make())?;
        for _ in 0..3 {
            if reactor.connect(port.local_addr(), tape()).await.is_err() {
                tape().note("refused");
            }
        }
        reactor.sleep(SECOND * 36_000).await?;
        drop(tape);
        port.stop().await?;
        for report in testing::take_reports(&reactor) {
            assert!(
                matches!(
                    report.failure().downcast_ref(),
                    Some(ConnectionError::NotSent { .. })
                ),
                "{report}"
            );
        }
        Ok(())
    });
    notes.take()
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let mut different = 0;
    let mut before = Vec::new();
    for seed in 1..=30 {
        let first = tape_of(seed);
        assert_eq!(first, tape_of(seed), "seed {seed}");
        different += u32::from(first != before);
        before = first;
    }
    assert!(
        different > 25,
        "{different} of 30 runs were unlike the one before"
    );
}

/// Counts lines, each of which contains its own number.
struct Counter {
    lines: Rc<Cell<usize>>,
    size: usize,
}

/// The frame with this number: its length and bytes follow from it.
fn frame(n: usize) -> Vec<u8> {
    let mut frame = n.to_string().into_bytes();
    let size = (n * 7919) % 40;
    frame.extend((0..size).map(|at| b'a' + ((n + at) % 26) as u8));
    frame
}

impl LineProtocol for Counter {
    fn line_received(&mut self, _cx: &mut Context<'_, Self>, line: &[u8]) {
        let n = self.lines.get();
        assert!(line == frame(n), "frame {n}: {}", line.escape_ascii());
        self.size += line.len();
        self.lines.set(n + 1);
    }
}

#[test]
fn frames_are_exact_whatever_pieces_they_come_in() {
    let all: usize = env::var("TORSADE_FRAMES").map_or(4_000, |text| text.parse().unwrap());
    let mut random = Random::new(3);
    let (mut sent, mut seed) = (0, 0);
    while sent < all {
        seed += 1;
        // One byte a read, one byte of buffer, and a choice by the seed.
        let (faults, most) = match seed % 4 {
            0 => (NetworkFaults::new(seed).split_reads(1), 500),
            1 => (
                NetworkFaults::new(seed).buffer_size(1 + random.below(50)),
                500,
            ),
            _ => (
                NetworkFaults::lossless(seed).delay(Duration::ZERO..=MS),
                1200,
            ),
        };
        let frames = sent..(sent + 1 + random.below(most)).min(all);
        sent = frames.end;
        let lines = Rc::new(Cell::new(frames.start));
        let counted = lines.clone();
        let mut bytes = Vec::new();
        for n in frames.clone() {
            bytes.extend(frame(n));
            bytes.extend_from_slice(random.pick(&[&b"\n"[..], b"\r\n"]));
        }
        run_on(
            Reactor::builder().in_memory_with(faults).build().unwrap(),
            async |reactor| {
                let port = reactor.listen(HERE, move |_| {
                    Lines::new(Counter {
                        lines: counted.clone(),
                        size: 0,
                    })
                })?;
                let mut conn = reactor.connect_stream(port.local_addr()).await?;
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (piece, left) = rest.split_at(rest.len().min(1 + random.below(9000)));
                    conn.write_all(piece).await?;
                    rest = left;
                }
                conn.close().await?;
                assert_eq!(conn.read(&mut [0]).await?, 0);
                drop(conn);
                port.stop().await
            },
        );
        assert_eq!(lines.get(), sent, "seed {seed}");
    }
}

#[test]
fn faults_of_probability_one_happen() {
    let refusing = NetworkFaults::new(1).refuse(1.0);
    run_on(
        Reactor::builder().in_memory_with(refusing).build().unwrap(),
        async |reactor| {
            let port = reactor.serve(HERE, echo)?;
            let failure = reactor.connect_stream(port.local_addr()).await.unwrap_err();
            assert!(
                is_error!(failure, ConnectError::Refused { .. }),
                "{failure:?}"
            );
            port.stop().await
        },
    );
    for (faults, kind, takes) in [
        (
            NetworkFaults::new(1).reset(1.0),
            ErrorKind::ConnectionReset,
            0,
        ),
        (NetworkFaults::new(1).cut(1.0), ErrorKind::TimedOut, 30),
    ] {
        run_on(
            Reactor::builder().in_memory_with(faults).build().unwrap(),
            async |reactor| {
                let port = reactor.serve(HERE, async |conn| {
                    let _ = echo(conn).await;
                    Ok(())
                })?;
                let start = reactor.now();
                let failure = ask(&reactor, &port.local_addr(), vec![0; 1 << 18])
                    .await
                    .unwrap_err();
                let error = failure.find::<std::io::Error>().unwrap();
                assert_eq!(error.kind(), kind, "{failure:?}");
                // As the machine has it.
                assert!(error.raw_os_error().is_some());
                assert_eq!(reactor.now() - start, SECOND * takes);
                port.stop().await
            },
        );
    }
}

#[test]
fn a_slow_network_takes_exactly_its_delays() {
    let faults = NetworkFaults::new(1).delay(MS * 20..=MS * 20);
    run_on(
        Reactor::builder().in_memory_with(faults).build().unwrap(),
        async |reactor| {
            let port = reactor.serve(HERE, echo)?;
            let start = reactor.now();
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            assert_eq!(reactor.now() - start, MS * 40, "there and back");
            conn.write_all(b"x").await?;
            conn.read_exact(&mut [0]).await?;
            assert_eq!(reactor.now() - start, MS * 80);
            // A timer in between is not late.
            let early = reactor.call_later(MS * 10, || {});
            conn.write_all(b"y").await?;
            reactor.sleep(MS * 10).await?;
            assert!(!early.is_pending());
            assert_eq!(reactor.now() - start, MS * 90);
            drop(conn);
            port.stop().await
        },
    );
    let reactor = Reactor::builder()
        .in_memory_with(NetworkFaults::new(1).delay(SECOND..=SECOND))
        .build()
        .unwrap();
    let here = reactor.bind_datagram(HERE).unwrap();
    let log = Rc::new(Cell::new(None));
    let (observed, clock) = (log.clone(), reactor.clone());
    let to = here.local_addr();
    let start = reactor.now();
    let _waiting = reactor.spawn(async move {
        let _ = here.recv(&mut [0]).await;
        observed.set(Some(clock.now() - start));
    });
    let other = reactor.bind_datagram(HERE).unwrap();
    other.port().write("x", to).unwrap();
    assert_eq!(reactor.poll_timeout(), Some(Duration::ZERO));
    testing::settle(&reactor);
    assert_eq!(reactor.poll_timeout(), Some(SECOND));
    reactor.advance(SECOND * 5);
    assert_eq!(
        log.get(),
        Some(SECOND),
        "seen when it came, not when the clock stopped"
    );
}

#[test]
fn datagrams_are_lost_doubled_and_late_but_never_changed() {
    let (mut lost, mut doubled, mut late) = (0, 0, 0);
    each_seed(200, NetworkFaults::hostile, async |reactor, _seed| {
        let (one, other) = (reactor.bind_datagram(HERE)?, reactor.bind_datagram(HERE)?);
        let mut came = Vec::new();
        for n in 0..100_usize {
            let size = n * 13;
            one.send_to(&vec![n as u8; size], other.local_addr())
                .await?;
            reactor.sleep(MS).await?;
        }
        let mut buf = [0; 2000];
        loop {
            let limit = reactor.sleep(SECOND * 10);
            let receiving = Box::pin(other.recv_from(&mut buf));
            let (count, from) = match future::select(receiving, limit).await {
                future::Either::Left((got, _)) => got?,
                future::Either::Right(_) => break,
            };
            assert_eq!(from, one.local_addr());
            let n = count / 13;
            assert_eq!(count % 13, 0);
            assert!(buf[..count].iter().all(|byte| usize::from(*byte) == n));
            came.push(n);
        }
        late += came.windows(2).filter(|pair| pair[0] > pair[1]).count();
        came.sort_unstable();
        let all = came.len();
        came.dedup();
        doubled += all - came.len();
        lost += 100 - came.len();
        Ok(())
    });
    if env::var_os("TORSADE_SEED").is_none() {
        assert!(
            lost > 500 && doubled > 500 && late > 500,
            "{lost} {doubled} {late}"
        );
    }
}

#[test]
fn a_failing_seed_is_named_and_can_be_run_again() {
    if env::var_os("TORSADE_FAIL_AT").is_some() {
        return;
    }
    let run = |seed: Option<&str>| {
        let mut child = own::command("fails_at_a_seed_if_asked");
        child
            .env("TORSADE_FAIL_AT", "17")
            .env_remove("TORSADE_SEED");
        if let Some(seed) = seed {
            child.env("TORSADE_SEED", seed);
        }
        let output = child.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), errors)
    };
    let (ok, errors) = run(None);
    let test = own::path_of("fails_at_a_seed_if_asked");
    let hint = format!("seed 17 failed; to run it again: TORSADE_SEED=17 cargo test {test}");
    assert!(!ok && errors.contains(&hint), "{errors}");
    assert!(run(Some("16")).0);
    assert!(!run(Some("17")).0);
}

#[test]
fn fails_at_a_seed_if_asked() {
    let Some(at) = env::var("TORSADE_FAIL_AT").ok() else {
        return;
    };
    let at: u64 = at.parse().unwrap();
    each_seed(30, NetworkFaults::new, async |_reactor, seed| {
        assert_ne!(seed, at);
        Ok(())
    });
}

#[test]
fn no_faults_are_no_faults() {
    let plain = Reactor::builder()
        .in_memory_with(NetworkFaults::new(9))
        .build()
        .unwrap();
    assert!(testing::leftovers(&plain).is_empty());
    run_on(plain, async |reactor| {
        let port = reactor.serve(HERE, echo)?;
        let start = reactor.now();
        let data = noise(&mut Random::new(1), 200_000);
        assert!(ask(&reactor, &port.local_addr(), data.clone()).await? == data);
        assert_eq!(reactor.now(), start);
        port.stop().await
    });
}
