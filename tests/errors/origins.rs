//! The location of the library's failures: the line of the request.

use std::cell::RefCell;
use std::panic;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use torsade::Phase;
use torsade::reactor::RemoteResolver;

use support::{HERE, Log, MS, Spy, nowhere};
use torsade::clock::TimedOut;
use torsade::defer;
use torsade::failure::Panicked;
use torsade::net::ListenError;
use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::reactor::Stopped;
use torsade::{Clock, ConnectionError, Deferred, Failure, Reactor, Signal, VirtualClock, testing};

on_both! {
    async fn asking_an_ended_protocol_fails_with_the_reason_of_its_end(reactor) {
        let server = Log::new();
        let log = server.clone();
        let port = reactor.listen(HERE, move |_| Spy::new(&log))?;
        let handle = reactor.connect(port.local_addr(), Spy::echo()).await?;
        handle.transport().unwrap().abort_connection();
        let waiting = handle.ask(|_, _| ());
        handle.closed().await?;
        for failure in [waiting.await.unwrap_err(), handle.ask(|_, _| ()).await.unwrap_err()] {
            assert!(matches!(failure.find(), Some(ConnectionError::Aborted)), "{failure:#}");
            assert_eq!(
                format!("{failure:#}"),
                "the protocol has ended: the connection was aborted"
            );
            assert_eq!(failure.location().file(), file!());
        }
        port.stop().await?;
    }

    async fn failures_of_requests_name_the_callers_file(reactor) {
        let never = || Deferred::<()>::pair();
        let mut all: Vec<(&str, Failure)> = Vec::new();
        macro_rules! each {
            ($($what:expr;)+) => {
                $(all.push((stringify!($what), $what.await.map(drop).expect_err(stringify!($what))));)+
            };
        }
        let (a, keep_a) = never();
        let (b, keep_b) = never();
        let (c, keep_c) = never();
        let to = nowhere(&reactor).await?;
        let queue = torsade::DeferredQueue::<u8>::with_limits(None, 0);
        let semaphore = torsade::DeferredSemaphore::new(1)?;
        semaphore.close();
        let watcher = torsade::locks::Watched::new(1).watch();
        let socket = reactor.bind_datagram(HERE)?;
        let stopped = VirtualClock::new();
        let sleep = stopped.sleep(MS);
        drop(stopped);
        let remote = Reactor::in_memory()?.remote();
        each! {
            a.timeout(MS, &reactor);
            b.timeout(MS, &reactor);
            async { c.timeout(MS, &reactor).await };
            sleep;
            reactor.connect(to, Spy::echo());
            reactor.connect_stream(to);
            reactor.connect_stream("no.such.name.example:1");
            reactor.resolve("a b");
            abandoned();
            Deferred::<()>::fail("no");
            defer::gather([Deferred::<()>::fail("no")]);
            defer::race([Deferred::<()>::fail("no")]);
            defer::first(Vec::<Deferred<()>>::new());
            queue.get();
            semaphore.acquire();
            watcher.changed();
            reactor.spawn_blocking(|| -> Result<(), Failure> { Err("no")? });
            async { torsade::spawn(async { abandoned().await }).await? };
            torsade::defer_later(&reactor, MS, || -> Result<(), Failure> { Err("no")? });
            async { remote.spawn(async || ())?.join() };
        }
        drop((keep_a, keep_b, keep_c));
        all.push(("listen", reactor.listen("127.0.0.1:99999", |_| Spy::echo()).unwrap_err()));
        all.push(("bind_udp", reactor.bind_datagram("localhost:1").map(drop).unwrap_err()));
        all.push(("run", reactor.run().unwrap_err()));
        let port = socket.port();
        port.stop().await?;
        let mut buf = [0; 8];
        all.push(("recv_from", socket.recv_from(&mut buf).await.map(drop).unwrap_err()));
        all.push(("recv", socket.recv(&mut buf).await.map(drop).unwrap_err()));
        all.push(("send_to", socket.send_to(b"x", HERE).await.unwrap_err()));
        all.push(("send", socket.send(b"x").await.unwrap_err()));
        all.push(("write", port.write(b"x", HERE).unwrap_err()));
        all.push(("connect", port.connect(HERE).unwrap_err()));
        all.push(("join_group", port.join_group([224, 0, 0, 1]).await.unwrap_err()));
        all.push(("set_ttl", port.set_ttl(1).unwrap_err()));
        let wrong: Vec<String> = all
            .iter()
            .filter(|(_, failure)| failure.location().file() != file!())
            .map(|(what, failure)| format!("{what}: {failure:?}"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    async fn to_accept_at_a_port_that_is_closed_names_the_line_that_does(reactor) {
        let mut listener = reactor.bind(HERE)?;
        listener.port().stop().await?;
        let line = line!() + 1;
        let failure = listener.accept().await.map(drop).unwrap_err();
        assert!(is_error!(failure, ListenError::Closed));
        assert_eq!(made_at(&failure), (file!(), line));
    }

    async fn the_end_of_a_connection_names_the_line_of_the_request(reactor) {
        for (aborts, how_it_ends) in [(false, ["done", "done"]), (true, ["aborted", "lost"])] {
            let ends = Rc::new(RefCell::new(Vec::new()));
            let (served, connected) = (ends.clone(), ends.clone());
            let server = move |_| {
                let ends = served.clone();
                Spy::new(&Log::new())
                    .on_data(move |transport, _| match aborts {
                        true => transport.abort_connection(),
                        false => transport.lose_connection(),
                    })
                    .on_lost(move |reason| ends.borrow_mut().push(("server", reason.clone())))
            };
            let client = Spy::new(&Log::new())
                .on_made(|transport| transport.write("x"))
                .on_lost(move |reason| connected.borrow_mut().push(("client", reason.clone())));
            let line = line!() + 1;
            let port = reactor.listen(HERE, server)?;
            drop(reactor.connect(port.local_addr(), client).await?);
            testing::wait_until(&reactor, MS * 5000, || ends.borrow().len() == 2).await?;
            let mut ends = ends.take();
            ends.sort_by_key(|(who, _)| *who == "client");
            for ((who, reason), (how, line)) in
                ends.iter().zip(how_it_ends.iter().zip([line, line + 1]))
            {
                let is_so = match *how {
                    "done" => matches!(reason.downcast_ref(), Some(ConnectionError::Done)),
                    "aborted" => matches!(reason.downcast_ref(), Some(ConnectionError::Aborted)),
                    _ => matches!(reason.downcast_ref(), Some(ConnectionError::Lost { .. })),
                };
                assert!(is_so, "{who}, {how}: {reason:?}");
                assert_eq!(made_at(reason), (file!(), line), "{who}, {how}: {reason:?}");
            }
            port.stop().await?;
        }
    }
}

#[cfg(unix)]
#[test]
fn failures_of_processes_locks_and_services_name_the_callers_file() {
    use torsade::locks::DeferredFilesystemLock;
    use torsade::net::activation;
    use torsade::process::{Command, ProcessProtocol};
    use torsade::services::{MultiService, TimerService};

    struct Quiet;

    impl ProcessProtocol for Quiet {}

    let mut all: Vec<(&str, Failure)> = Vec::new();
    let reactor = Reactor::new().unwrap();
    let folder = support::folder::Folder::create();
    testing::run_on(reactor, async |reactor| {
        let mut child = Command::new("true").spawn(&reactor)?;
        all.push(("take_pipe", child.take_pipe(9).map(drop).unwrap_err()));
        child.status().await?;
        let process = child.process().clone();
        all.push(("signal", process.signal_process(Signal::TERM).unwrap_err()));
        all.push((
            "write_to_child",
            process.write_to_child(9, "x").unwrap_err(),
        ));
        let loud = Command::new("echo").arg("too long").output_limit(3);
        all.push(("output", loud.output(&reactor).await.map(drop).unwrap_err()));
        let false_one = Command::new("false").output(&reactor).await?;
        all.push(("success", false_one.success().map(drop).unwrap_err()));
        let none = Command::new("/no/such/program").output(&reactor);
        all.push(("no program", none.await.map(drop).unwrap_err()));
        all.push(("take", activation::take(9).unwrap_err()));
        all.push(("take_named", activation::take_named("web").unwrap_err()));
        let process = Command::new("false").spawn_protocol(&reactor, Quiet)?;
        all.push(("closed", process.closed().await?));
        let service = || TimerService::new(&reactor, MS, || ());
        let services = MultiService::new();
        services.add_named("one", service())?;
        all.push((
            "add_named",
            services.add_named("one", service()).unwrap_err(),
        ));
        let path = folder.path("lock");
        let (first, second) = (
            DeferredFilesystemLock::new(&path, &reactor),
            DeferredFilesystemLock::new(&path, &reactor),
        );
        let held = first.defer_until_locked(None).await?;
        let waited = second.defer_until_locked(Some(MS)).await;
        all.push(("lock", waited.map(drop).unwrap_err()));
        drop(held);
        Ok(())
    });
    let remote = Reactor::in_memory().unwrap().remote();
    let gone = remote.spawn(async || ()).map(drop);
    all.push(("spawn", Failure::from(gone.unwrap_err())));
    for (what, failure) in all {
        assert_eq!(failure.location().file(), file!(), "{what}: {failure:?}");
    }
}

#[test]
fn a_limit_names_the_line_that_set_it() {
    let clock = VirtualClock::new();
    let (deferred, _resolver) = Deferred::<()>::pair();
    let line = line!() + 1;
    let limited = deferred.timeout(Duration::from_secs(1), &clock);
    clock.advance(Duration::from_secs(1));
    let failure = now(limited).unwrap_err();
    assert!(failure.is::<TimedOut>());
    assert_eq!(
        (failure.location().file(), failure.location().line()),
        (file!(), line)
    );
    assert!(
        !failure.is::<Panicked>()
            && !matches!(failure.downcast_ref(), Some(ConnectionError::Lost { .. }))
    );
}

/// Returns the file and the line where a failure was made.
fn made_at(failure: &Failure) -> (&'static str, u32) {
    (failure.location().file(), failure.location().line())
}

#[test]
fn failures_at_the_end_of_a_reactor_name_the_line_of_the_request() {
    let reactor = Reactor::in_memory().unwrap();
    let line = line!() + 1;
    let (deferred, resolver) = RemoteResolver::<()>::pair(&reactor);
    let failures = Rc::new(RefCell::new(Vec::new()));
    let log = failures.clone();
    drop(deferred.add_errback(move |failure| {
        log.borrow_mut().push(failure);
        Ok(())
    }));
    reactor.run_until(async {}).unwrap();
    drop(resolver);
    let failures = failures.take();
    assert!(failures[0].is::<Stopped>());
    assert_eq!(made_at(&failures[0]), (file!(), line));
}

#[test]
fn text_that_is_no_endpoint_names_the_line_that_read_it() {
    let line = line!() + 1;
    let server = ServerEndpoint::parse("tcp:http").unwrap_err();
    let proxied = ServerEndpoint::parse("haproxy:tcp:http").unwrap_err();
    let client = ClientEndpoint::parse("tcp:host=example.org:port=x").unwrap_err();
    for (failure, line) in [(server, line), (proxied, line + 1), (client, line + 2)] {
        assert_eq!(made_at(&failure), (file!(), line), "{failure:?}");
    }
}

#[test]
fn a_run_that_was_stopped_names_the_line_that_began_it() {
    let reactor = Reactor::in_memory().unwrap();
    let stopper = reactor.clone();
    reactor.add_system_event_trigger(Phase::After, "startup", move || stopper.stop().unwrap());
    let line = line!() + 1;
    let failure = reactor.run_until(std::future::pending::<()>()).unwrap_err();
    assert!(failure.is::<Stopped>());
    assert_eq!(made_at(&failure), (file!(), line));
}

#[test]
fn to_spawn_without_a_reactor_panics_at_the_line_that_tried() {
    let here = thread::current().id();
    let (sender, places) = mpsc::channel();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == here {
            let location = info.location().map(|at| (at.file().to_owned(), at.line()));
            sender.send(location).unwrap();
        } else {
            before(info);
        }
    }));
    let line = line!() + 1;
    let panicked = panic::catch_unwind(|| drop(torsade::spawn(async {})));
    drop(panic::take_hook());
    assert!(panicked.is_err());
    let places: Vec<_> = places.try_iter().collect();
    assert_eq!(places, [Some((file!().to_owned(), line))]);
}

fn abandoned() -> Deferred<()> {
    let (deferred, resolver) = Deferred::pair();
    drop(resolver);
    deferred
}

fn now<T: 'static>(deferred: Deferred<T>) -> Result<T, Failure> {
    let result = Rc::new(std::cell::Cell::new(None));
    let to = result.clone();
    drop(deferred.add_both(move |it| to.set(Some(it))));
    result.take().expect("it has its result")
}
