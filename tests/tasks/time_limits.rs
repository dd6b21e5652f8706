//! A result that came in time wins over its time limit, however late the loop sees it.
//!
//! A limit races the work that it limits, and the work wins: the bytes are there before the limit
//! is over, and the loop is kept busy until after it. On the machine a callback computes; in
//! memory, where no time passes in a callback, both come at the same moment.

use std::cell::{Cell, RefCell};
#[cfg(target_os = "linux")]
use std::io::Read;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use torsade::reactor::RemoteResolver;

use support::{HERE, MS, until};
use torsade::clock::TimedOut;
use torsade::net::{ConnectOptions, NameResolver, ProxyOptions, ServerEndpoint};
#[cfg(target_os = "linux")]
use torsade::process::Command;
use torsade::scope::ScopeBuilder;
use torsade::testing::NetworkFaults;
use torsade::{
    Clock, ConnectionError, Context, Deferred, Failure, Handle, Protocol, Reactor, interval,
    testing, yield_now,
};

/// The length of every limit here.
const LIMIT: Duration = Duration::from_millis(40);

/// Keeps the thread busy until `LIMIT` is long over.
fn work() {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT * 2 {
        std::hint::spin_loop();
    }
}

/// Calls `f` soon, and keeps the loop busy right after that.
fn then_work(reactor: &Reactor, f: impl FnOnce() + 'static) {
    reactor.call_later(MS, move || {
        f();
        work();
    });
}

/// Calls `f` from a hook of a connection, and keeps the loop busy right after that. The next poll
/// of I/O sees the events of that time; timers come before it. The caller keeps the result.
async fn work_in_a_hook(
    reactor: &Reactor,
    f: impl FnOnce() + 'static,
) -> Result<(TcpStream, Handle<Busy>), Failure> {
    let listener = TcpListener::bind(HERE)?;
    let busy = Busy(Some(Box::new(f)));
    let handle = reactor.connect(listener.local_addr()?, busy).await?;
    let (mut peer, _) = listener.accept()?;
    peer.write_all(b"x")?;
    Ok((peer, handle))
}

struct Busy(Option<Box<dyn FnOnce()>>);

impl Protocol for Busy {
    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {
        if let Some(f) = self.0.take() {
            f();
            work();
        }
    }
}

/// Makes a connection to a peer that the loop does not know.
async fn pair(reactor: &Reactor) -> Result<(torsade::Connection, TcpStream), Failure> {
    let listener = TcpListener::bind(HERE)?;
    let conn = reactor.connect_stream(listener.local_addr()?).await?;
    Ok((conn, listener.accept()?.0))
}

fn is_timed_out<T>(result: &Result<T, Failure>) -> bool {
    result
        .as_ref()
        .is_err_and(|failure| failure.is::<TimedOut>())
}

#[test]
fn bytes_that_came_in_time_win_over_the_limit_of_the_read() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (mut conn, mut peer) = pair(&reactor).await?;
        let read = Deferred::from_future(async move {
            let mut buf = [0; 5];
            conn.read_exact(&mut buf).await?;
            Ok(buf)
        });
        then_work(&reactor, move || peer.write_all(b"hello").unwrap());
        assert_eq!(read.timeout(LIMIT, &reactor).await?, *b"hello");
        Ok(())
    });
}

#[test]
fn bytes_that_came_in_time_win_over_the_limit_of_a_future_that_borrows() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (mut conn, mut peer) = pair(&reactor).await?;
        let mut buf = [0; 5];
        let read = reactor.timeout(LIMIT, conn.read_exact(&mut buf));
        then_work(&reactor, move || peer.write_all(b"hello").unwrap());
        read.await??;
        assert_eq!(buf, *b"hello");
        Ok(())
    });
}

#[test]
fn an_answer_and_its_end_that_arrived_in_time_win_even_if_they_take_several_polls() {
    struct All(Vec<u8>, Option<torsade::Resolver<Vec<u8>>>);
    impl Protocol for All {
        fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
            self.0.extend_from_slice(data);
        }
        fn connection_lost(&mut self, reason: Failure) {
            assert!(matches!(reason.downcast_ref(), Some(ConnectionError::Done)));
            if let Some(resolver) = self.1.take() {
                resolver.callback(std::mem::take(&mut self.0));
            }
        }
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let listener = TcpListener::bind(HERE)?;
        let (all, resolver) = Deferred::pair();
        let mut factory = Some(All(Vec::new(), Some(resolver)));
        let _handle = reactor
            .connect(listener.local_addr()?, factory.take().expect("once"))
            .await?;
        let (mut peer, _) = listener.accept()?;
        then_work(&reactor, move || {
            peer.write_all(&[b'a'; 100_000]).unwrap();
        });
        assert_eq!(all.timeout(LIMIT, &reactor).await?.len(), 100_000);
        Ok(())
    });
}

#[test]
fn a_datagram_that_came_in_time_wins() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let socket = reactor.bind_datagram(HERE)?;
        let to: SocketAddr = socket.local_addr().to_string().parse()?;
        let read = Deferred::from_future(async move {
            let mut buf = [0; 16];
            let (count, _) = socket.recv_from(&mut buf).await?;
            Ok(buf[..count].to_vec())
        });
        let peer = UdpSocket::bind(HERE)?;
        then_work(&reactor, move || {
            peer.send_to(b"hello", to).unwrap();
        });
        assert_eq!(read.timeout(LIMIT, &reactor).await?, b"hello");
        Ok(())
    });
}

#[test]
fn a_scope_whose_work_is_done_in_time_is_not_ended_by_its_deadline() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (mut conn, mut peer) = pair(&reactor).await?;
        then_work(&reactor, move || peer.write_all(b"x").unwrap());
        let limited = ScopeBuilder::new().deadline(&reactor, LIMIT);
        let count = limited
            .run(async move |scope| {
                let child = scope.spawn(async move {
                    let mut buf = [0; 1];
                    conn.read_exact(&mut buf).await?;
                    Ok(1)
                });
                child.await
            })
            .await?;
        assert_eq!(count, 1);
        Ok(())
    });
}

#[test]
fn a_connection_that_was_made_in_time_is_not_given_up() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let listener = TcpListener::bind(HERE)?;
        let options = ConnectOptions::new().timeout(LIMIT);
        let connecting = reactor.connect_stream((listener.local_addr()?, &options));
        // The system makes the connection meanwhile; the loop sees that after the limit.
        work();
        drop(connecting.await?);
        Ok(())
    });
}

#[test]
fn a_name_that_was_found_in_time_is_not_given_up() {
    /// Sends a request to a peer over a connection.
    struct Asks(RefCell<Option<torsade::Connection>>, SocketAddr);
    impl NameResolver for Asks {
        fn resolve(&self, _: &Reactor, _: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
            let mut conn = self.0.take().expect("it is asked once");
            let found = self.1;
            Deferred::from_future(async move {
                conn.read_exact(&mut [0]).await?;
                Ok(vec![found])
            })
        }
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let listener = TcpListener::bind(HERE)?;
        let (conn, mut peer) = pair(&reactor).await?;
        reactor.set_resolver(Asks(RefCell::new(Some(conn)), listener.local_addr()?));
        then_work(&reactor, move || peer.write_all(b"x").unwrap());
        let options = ConnectOptions::new().timeout(LIMIT);
        reactor
            .connect_stream(("name.example:80", &options))
            .await?;
        Ok(())
    });
}

on_both! {
    async fn a_result_at_the_very_moment_of_the_limit_is_in_time(reactor) {
        // A sleep that is requested later and ends at the same time.
        let end = reactor.now() + MS * 3;
        let clock = reactor.clone();
        let work = Deferred::from_future(async move {
            yield_now().await;
            clock.sleep_until(end).await?;
            Ok(1)
        });
        let limit = end.saturating_duration_since(reactor.now());
        assert_eq!(work.timeout(limit, &reactor).await?, 1);
    }

    async fn a_limit_that_is_over_takes_effect(reactor) {
        let start = reactor.now();
        let (never, _resolver) = Deferred::<()>::pair();
        assert!(is_timed_out(&never.timeout(MS * 3, &reactor).await));
        assert!(reactor.now() - start >= MS * 3);
        let limited = ScopeBuilder::new().deadline(&reactor, MS * 3);
        let ended = limited.run(async |_| std::future::pending::<Result<(), _>>().await).await;
        assert!(is_timed_out(&ended));
    }

    async fn a_limit_is_not_delayed_forever_by_tasks_that_are_never_done(reactor) {
        // Tasks that are always ready, a connection that always has data, and timers that are
        // always due.
        let over = Rc::new(Cell::new(false));
        let port = reactor.serve(HERE, async |mut conn| {
            let mut buf = [0; 512];
            loop {
                match conn.read(&mut buf).await? {
                    0 => return Ok(()),
                    count => conn.write_all(&buf[..count]).await?,
                }
            }
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let ends = over.clone();
        let talk = reactor.spawn(async move {
            let mut buf = [0; 512];
            while !ends.get() {
                conn.write_all(b"ping").await?;
                conn.read(&mut buf).await?;
            }
            Ok::<_, Failure>(())
        });
        let ends = over.clone();
        let spin = reactor.spawn(async move {
            while !ends.get() {
                yield_now().await;
            }
        });
        let (ends, clock) = (over.clone(), reactor.clone());
        let ticks = reactor.spawn(async move {
            while !ends.get() {
                clock.sleep(Duration::ZERO).await?;
            }
            Ok::<_, Failure>(())
        });
        let turns = Rc::new(Cell::new(0));
        let (count, ends) = (turns.clone(), over.clone());
        let counts = reactor.spawn(async move {
            while !ends.get() {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        for _ in 0..10 {
            yield_now().await;
        }
        let before = turns.get();
        let (never, _resolver) = Deferred::<()>::pair();
        assert!(is_timed_out(&never.timeout(Duration::ZERO, &reactor).await));
        let took = turns.get() - before;
        assert!(took < 2_000, "{took} turns");
        over.set(true);
        talk.await??;
        spin.await?;
        ticks.await??;
        counts.await?;
        port.stop().await?;
    }

    async fn a_due_limit_that_is_delayed_counts_from_then(reactor) {
        // Progress is seen at the moment of the limit: the total limit is `timeout`, so it is set
        // again.
        let clock = reactor.clone();
        let steps = Rc::new(Cell::new(0));
        let count = steps.clone();
        let work = Deferred::from_future(async move {
            let mut ticks = interval(&clock, MS);
            for _ in 0..5 {
                ticks.tick().await?;
                let (step, resolver) = Deferred::pair();
                let limited = step.timeout(MS, &clock);
                clock.call_later(MS, move || resolver.callback(()));
                // Both at the same moment, repeatedly.
                if limited.timeout(MS * 5, &clock).await.is_ok() {
                    count.set(count.get() + 1);
                }
            }
            Ok(())
        });
        work.await?;
        assert!(steps.get() <= 5);
    }
}

#[test]
fn in_memory_bytes_that_arrive_at_the_moment_of_the_limit_are_in_time() {
    let faults = NetworkFaults::new(7).delay(MS * 20..=MS * 20);
    testing::run_on(
        Reactor::builder().in_memory_with(faults).build().unwrap(),
        async |reactor| {
            let port = reactor.serve(HERE, async |mut conn| {
                let mut buf = [0; 4];
                conn.read_exact(&mut buf).await?;
                conn.write_all(&buf).await?;
                Ok(())
            })?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            let start = reactor.now();
            conn.write_all(b"ping").await?;
            let answer = Deferred::from_future(async move {
                let mut buf = [0; 4];
                conn.read_exact(&mut buf).await?;
                Ok(buf)
            });
            assert_eq!(answer.timeout(MS * 40, &reactor).await?, *b"ping");
            assert_eq!(reactor.now() - start, MS * 40);
            port.stop().await
        },
    );
}

#[test]
fn with_manual_time_bytes_present_when_the_time_moves_are_in_time() -> Result<(), Failure> {
    let reactor = Reactor::builder().manual_time().build()?;
    let listener = TcpListener::bind(HERE)?;
    let connecting = reactor.connect_stream(listener.local_addr()?);
    let result = Rc::new(Cell::new(None));
    let observed = result.clone();
    let read = connecting.add_callback(|mut conn| async move {
        let mut buf = [0; 5];
        conn.read_exact(&mut buf).await?;
        Ok(buf)
    });
    drop(
        read.timeout(LIMIT, &reactor)
            .add_both(move |read| observed.set(Some(read))),
    );
    testing::settle(&reactor);
    let (mut peer, _) = listener.accept()?;
    reactor.advance(LIMIT - MS);
    let early = result.take();
    assert!(early.is_none(), "{early:?}");
    // A turn at the moment of the limit, in which the bytes come.
    let clock = reactor.clone();
    reactor.call_at(clock.now() + MS, move || peer.write_all(b"hello").unwrap());
    reactor.advance(MS);
    assert_eq!(result.take().expect("it is over")?, *b"hello");
    Ok(())
}

/// Reads one byte within the limit, prints it, and is stopped meanwhile.
#[cfg(target_os = "linux")]
const STOPPED_LIMIT: Duration = Duration::from_millis(400);

#[cfg(target_os = "linux")]
#[test]
fn role() {
    support::role::play(async |reactor, name| {
        let address: SocketAddr = name.parse()?;
        let mut conn = reactor.connect_stream(address).await?;
        let read = Deferred::from_future(async move { Ok(conn.read_exact(&mut [0]).await?) });
        let limited = read.timeout(STOPPED_LIMIT, &reactor);
        println!("{}", support::role::READY.trim_end());
        limited.await
    });
}

#[cfg(target_os = "linux")]
#[test]
fn bytes_that_came_while_the_process_was_stopped_win() -> Result<(), Failure> {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
    use std::process::Stdio;

    let listener = TcpListener::bind(HERE)?;
    let name = listener.local_addr()?.to_string();
    let mut child = support::role::child(&name).stdout(Stdio::piped()).spawn()?;
    let (mut peer, _) = listener.accept()?;
    let mut stdout = child.stdout.take().expect("it was piped");
    support::role::await_text(&mut stdout, support::role::READY);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP)?;
    waitpid(Some(pid), WaitOptions::UNTRACED)?;
    peer.write_all(b"x")?;
    // The limit passes; nothing else happens here.
    peer.set_read_timeout(Some(STOPPED_LIMIT + LIMIT))?;
    assert!(peer.read(&mut [0]).is_err());
    kill_process(pid, Signal::CONT)?;
    support::role::end(child);
    Ok(())
}

#[test]
fn a_limit_holds_while_more_tasks_are_ready_than_one_turn_runs() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let over = Rc::new(Cell::new(false));
        let busy: Vec<_> = (0..3_000)
            .map(|_| {
                let over = over.clone();
                reactor.spawn(async move {
                    while !over.get() {
                        yield_now().await;
                    }
                })
            })
            .collect();
        let start = reactor.now();
        let late = reactor.timeout(LIMIT, std::future::pending::<()>()).await;
        assert!(is_timed_out(&late));
        assert!(reactor.now() - start < LIMIT * 50);
        over.set(true);
        for task in busy {
            task.await?;
        }
        Ok(())
    });
}

#[test]
fn a_connection_that_is_closed_within_a_limit_is_not_aborted_when_its_peer_took_all_in_time() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (conn, mut peer) = pair(&reactor).await?;
        let transport = conn.transport();
        let mut written = 0;
        // Until the system accepts no more: little is left.
        while transport.queued() == 0 {
            transport.write([b'a'; 16 * 1024]);
            written += 16 * 1024;
            yield_now().await;
        }
        let (all, resolver) = RemoteResolver::pair(&reactor);
        let _busy = work_in_a_hook(&reactor, move || {
            transport.lose_connection_within(LIMIT);
            let sent = written - transport.queued();
            let (takes, taken) = mpsc::channel();
            thread::spawn(move || {
                let mut first = vec![0; sent];
                let count = peer.read_exact(&mut first).and_then(|()| {
                    takes.send(()).unwrap();
                    peer.read_to_end(&mut Vec::new())
                });
                let count = count.map(|rest| sent + rest);
                resolver.resolve(count.map_err(Failure::from)).unwrap();
            });
            taken.recv().unwrap();
        })
        .await?;
        assert_eq!(all.await?, written);
        Ok(())
    });
}

#[test]
fn a_header_that_came_in_time_has_its_connection_served() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let endpoint = ServerEndpoint::parse(HERE)?.proxied(ProxyOptions::new().timeout(LIMIT));
        let (served, resolver) = Deferred::pair();
        let resolver = RefCell::new(Some(resolver));
        let port = reactor.serve(endpoint, async move |conn| {
            let resolver = resolver.borrow_mut().take().expect("one connection");
            resolver.callback(conn.peer().to_string());
            Ok(())
        })?;
        let address: SocketAddr = port.local_addr().to_string().parse()?;
        let peer = TcpStream::connect(address)?;
        // It is accepted, and its limit counts.
        until(|| port.connections() == 1).await;
        let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 50001 80\r\n";
        let mut sender = peer.try_clone()?;
        let _busy = work_in_a_hook(&reactor, move || sender.write_all(header).unwrap()).await?;
        let served = served.timeout(LIMIT * 100, &reactor);
        assert_eq!(served.await?, "192.0.2.7:50001");
        port.stop().await
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_group_of_a_child_that_ended_in_time_is_not_killed() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        // The process that stays ignores SIGTERM, and prints when it does.
        let script = "trap 'exit 3' TERM; (trap '' TERM; echo up; exec sleep 1000) & echo $!; wait";
        let command = Command::new("sh").arg("-c").arg(script).lead_group();
        let mut child = command.spawn(&reactor)?;
        let mut out = child.take_stdout()?;
        let mut said = Vec::new();
        for _ in 0..2 {
            let line = out.read_line(80).await?.expect("two lines");
            said.push(String::from_utf8(line)?);
        }
        let stays: i32 = said
            .iter()
            .find_map(|line| line.parse().ok())
            .expect("its number");
        let process = child.process().clone();
        let _busy = work_in_a_hook(&reactor, move || process.terminate_within(LIMIT)).await?;
        assert_eq!(child.status().await?.code(), Some(3));
        reactor.sleep(LIMIT).await?;
        let stat = std::fs::read_to_string(format!("/proc/{stays}/stat"))?;
        assert!(!stat.contains(") Z "), "{stat}");
        let stays = rustix::process::Pid::from_raw(stays).expect("a number of a process");
        rustix::process::kill_process(stays, rustix::process::Signal::KILL)?;
        Ok(())
    });
}
