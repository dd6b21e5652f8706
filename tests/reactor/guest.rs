//! A reactor that another loop drives, which watches it as a descriptor.
#![cfg(unix)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use torsade::reactor::Interest;

use crate::pipe::Pipe;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::program::PATIENCE;
use support::{HERE, Log, MS, Spy, expect_reports, own};
use torsade::reactor::{Poller, ReactorError};
use torsade::{Clock, Deferred, Failure, Phase, Reactor, Signal};

#[test]
fn a_foreign_loop_can_drive_it_by_its_descriptor() {
    let reactor = Reactor::new().unwrap();
    let log = Log::new();
    let port = reactor.listen(HERE, |_| Spy::echo()).unwrap();
    let to = log.clone();
    let spy = Spy::new(&log)
        .on_made(|cx| cx.write("ping"))
        .on_data(move |cx, _| {
            to.note("pong");
            cx.lose_connection();
        });
    drop(reactor.connect(port.local_addr(), spy));
    let to = log.clone();
    reactor.call_later(MS * 2, move || to.note("timer"));
    let remote = reactor.remote();
    let thread = std::thread::spawn(move || {
        std::thread::park_timeout(MS * 5);
        remote.call(|| REMOTE.with(|log| log.borrow().as_ref().unwrap().note("remote")))
    });
    REMOTE.with(|slot| drop(slot.replace(Some(log.clone()))));
    let patience = Instant::now() + PATIENCE;
    let mut turns = 0;
    while !(log.has("remote") && log.has("lost done") && log.has("timer")) {
        assert!(Instant::now() < patience, "{:?}", log.all());
        wait_as_a_host(&reactor);
        turn(&reactor);
        turns += 1;
    }
    thread.join().unwrap().unwrap();
    assert!(log.has("pong"));
    assert!(turns < 100, "{turns} turns");
    REMOTE.with(|slot| drop(slot.take()));
}

/// Waits like a host loop, with a limit.
fn wait_as_a_host(reactor: &Reactor) {
    let timeout = reactor.poll_timeout().unwrap_or(MS * 1000);
    let mut fds = [PollFd::new(reactor, PollFlags::IN)];
    poll(&mut fds, Some(&timespec(timeout))).unwrap();
}

/// Does what a host loop does after a wait.
fn turn(reactor: &Reactor) {
    reactor.run_until_current();
    reactor.do_iteration(Some(Duration::ZERO));
}

/// Turns as a host loop does until a second would go by, or more.
fn turn_until_it_sleeps(reactor: &Reactor) {
    loop {
        let timeout = reactor.poll_timeout();
        if timeout.is_some_and(|timeout| timeout < MS * 1000) {
            wait_as_a_host(reactor);
        } else if !is_readable(reactor) {
            // (On poll(2) it may have been readable for a moment only, so it is not waited for
            // again.)
            return;
        }
        turn(reactor);
    }
}

/// On poll(2) a thread stands behind the descriptor, and may take a moment.
fn is_readable(reactor: &Reactor) -> bool {
    is_readable_within(reactor, moment(reactor, Duration::from_millis(100)))
}

/// As [`is_readable`], where it is to be: on a busy machine that thread may come late.
fn becomes_readable(reactor: &Reactor) -> bool {
    is_readable_within(reactor, moment(reactor, Duration::from_secs(5)))
}

fn moment(reactor: &Reactor, on_poll: Duration) -> Duration {
    match reactor.poller() {
        Some(Poller::Poll) => on_poll,
        _ => Duration::ZERO,
    }
}

fn is_readable_within(reactor: &Reactor, moment: Duration) -> bool {
    let mut fds = [PollFd::new(reactor, PollFlags::IN)];
    poll(&mut fds, Some(&timespec(moment))).unwrap() > 0
}

fn timespec(timeout: Duration) -> Timespec {
    Timespec {
        tv_sec: timeout.as_secs() as _,
        tv_nsec: timeout.subsec_nanos() as _,
    }
}

type Request = (&'static str, Box<dyn FnOnce(&Reactor)>);

/// Everything the code of a host may ask for between two turns.
fn requests(reactor: &Reactor) -> Vec<Request> {
    let port = reactor.listen(HERE, |_| Spy::echo()).unwrap();
    let addr = port.local_addr();
    let handles = Log::new();
    let spy = Spy::new(&handles);
    let connected: std::rc::Rc<RefCell<Option<_>>> = Default::default();
    let kept = connected.clone();
    drop(
        reactor
            .connect(addr.clone(), spy)
            .add_callback(move |handle| {
                kept.replace(Some(handle));
                Ok(())
            }),
    );
    let delayed = reactor.call_later(MS * 1_000_000, || ());
    let socket = reactor.bind_datagram(HERE).unwrap();
    turn_until_it_sleeps(reactor);
    let handle = connected.take().expect("it is connected");
    let (posting, closing) = (handle.clone(), handle.clone());
    let (woken, waiting) = futures::channel::oneshot::channel::<()>();
    reactor.spawn(waiting).detach();
    let cancelled = reactor.spawn(std::future::pending::<()>());
    let remote = reactor.remote();
    turn_until_it_sleeps(reactor);
    let to = socket.local_addr();
    vec![
        ("spawn", Box::new(|r| r.spawn(async {}).detach())),
        ("call_soon", Box::new(|r| r.call_soon(|| ()))),
        ("call_later", Box::new(|r| drop(r.call_later(MS, || ())))),
        (
            "a sleep that is polled by the host",
            Box::new(|r| {
                let mut sleep = Box::pin(r.sleep(MS));
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(sleep.as_mut().poll(&mut cx).is_pending());
                std::mem::forget(sleep);
            }),
        ),
        (
            "a timer that is brought forward",
            Box::new(move |r| {
                let now = r.now();
                assert!(delayed.reset_at(now + MS));
            }),
        ),
        (
            "a timeout",
            Box::new(|r| drop(Deferred::<()>::pair().0.timeout(MS, r))),
        ),
        (
            "write",
            Box::new(move |_| handle.transport().unwrap().write("x")),
        ),
        ("post", Box::new(move |_| posting.post(|_, _| ()))),
        (
            "lose_connection",
            Box::new(move |_| closing.transport().unwrap().lose_connection()),
        ),
        (
            "a datagram",
            Box::new(move |_| socket.port().write("x", to).unwrap()),
        ),
        (
            "connect",
            Box::new(move |r| drop(r.connect(addr, Spy::echo()))),
        ),
        (
            "connect by name",
            Box::new(|r| drop(r.connect("localhost:9", Spy::echo()))),
        ),
        ("a waker", Box::new(move |_| woken.send(()).unwrap())),
        (
            "cancelling a task",
            Box::new(move |_| drop(cancelled.cancel())),
        ),
        (
            "a call of another thread",
            Box::new(move |_| remote.call(|| ()).unwrap()),
        ),
        (
            "spawn, with the reactor entered",
            Box::new(|r| {
                let _guard = r.enter();
                torsade::spawn(async {}).detach();
            }),
        ),
        (
            "a waker, with the reactor entered",
            Box::new(|r| {
                let (woken, waiting) = futures::channel::oneshot::channel::<()>();
                r.spawn(waiting).detach();
                turn_until_it_sleeps(r);
                let _guard = r.enter();
                woken.send(()).unwrap();
            }),
        ),
        ("stopping a port", Box::new(move |_| drop(port.stop()))),
        ("stop", Box::new(|r| r.stop().unwrap())),
    ]
}

#[track_caller]
fn requests_wake_the_host(reactor: Reactor) {
    assert!(!is_readable(&reactor), "before anything was asked for");
    reactor.start().unwrap();
    for (name, ask) in requests(&reactor) {
        turn_until_it_sleeps(&reactor);
        assert!(!is_readable(&reactor), "before {name}");
        ask(&reactor);
        assert!(becomes_readable(&reactor), "{name} does not wake the host");
        turn(&reactor);
        turn(&reactor);
    }
    let patience = Instant::now() + PATIENCE;
    while !reactor.has_ended() {
        assert!(Instant::now() < patience);
        wait_as_a_host(&reactor);
        turn(&reactor);
    }
}

#[test]
fn requests_between_two_turns_wake_a_sleeping_host() {
    requests_wake_the_host(Reactor::new().unwrap());
}

#[test]
fn requests_of_a_watch_between_two_turns_wake_a_sleeping_host() {
    let reactor = Reactor::new().unwrap();
    let (one, _other) = UnixStream::pair().unwrap();
    let log = Log::new();
    let watch = reactor
        .watch(
            Pipe {
                end: one,
                log: log.clone(),
                then: |watch, _| {
                    watch.remove_writer();
                    Ok(())
                },
            },
            Interest::Read,
        )
        .unwrap();
    assert!(!is_readable(&reactor));
    watch.add_writer();
    assert!(becomes_readable(&reactor));
    turn_until_it_sleeps(&reactor);
    assert_eq!(log.take(), ["write"]);
}

/// In memory time stands still for a host, so only what needs none is asked for.
#[test]
fn a_reactor_in_memory_wakes_its_host_too() {
    let reactor = Reactor::in_memory().unwrap();
    assert!(!is_readable(&reactor));
    reactor.call_soon(|| ());
    assert!(becomes_readable(&reactor));
    turn(&reactor);
    assert!(!is_readable(&reactor));
    reactor.spawn(async {}).detach();
    assert!(becomes_readable(&reactor));
}

#[cfg(target_os = "linux")]
#[test]
fn an_edge_triggered_host_gets_every_event() {
    use rustix::event::{EventfdFlags, epoll, eventfd};
    const MANY: usize = 1100;

    let reactor = Reactor::new().unwrap();
    let host = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&host, &reactor, epoll::EventData::new_u64(0), edge).unwrap();
    let log = Log::new();
    let mut counters = Vec::new();
    for _ in 0..MANY {
        let counter = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        counters.push(counter.try_clone().unwrap());
        let pipe = Pipe {
            end: counter,
            log: log.clone(),
            then: |watch, _| {
                watch.remove_reader();
                Ok(())
            },
        };
        reactor.watch(pipe, Interest::Read).unwrap();
    }
    for counter in counters {
        rustix::io::write(counter, &1_u64.to_ne_bytes()).unwrap();
    }
    // One edge brings all of it; the reactor itself says when to check again.
    let nothing = epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    };
    let mut observed = [nothing; 4];
    loop {
        let timeout = reactor.poll_timeout().unwrap_or(MS * 100);
        let count = epoll::wait(&host, &mut observed, Some(&timespec(timeout))).unwrap();
        if count == 0 && reactor.poll_timeout().is_none() {
            break;
        }
        turn(&reactor);
    }
    assert_eq!(log.count("read"), MANY);

    // Bytes that are left in the kernel when a hook has had its share cause no new edge either.
    let (end, mut other) = UnixStream::pair().unwrap();
    reactor
        .watch(
            Pipe {
                end,
                log: log.clone(),
                then: |watch, end: &mut UnixStream| {
                    if end.read(&mut [0])? == 0 {
                        watch.remove_reader();
                    }
                    Ok(())
                },
            },
            Interest::Read,
        )
        .unwrap();
    other.write_all(b"xyz").unwrap();
    drop(other);
    log.take();
    loop {
        let timeout = reactor.poll_timeout().unwrap_or(MS * 100);
        let count = epoll::wait(&host, &mut observed, Some(&timespec(timeout))).unwrap();
        if count == 0 && reactor.poll_timeout().is_none() {
            break;
        }
        turn(&reactor);
    }
    assert_eq!(log.take(), ["read"; 4], "three bytes and the end");
}

/// A hosted reactor that notes its events, with a connection and a trigger that takes its time.
fn hosted(log: &Log) -> Reactor {
    let reactor = Reactor::new().unwrap();
    for (phase, name) in [
        (Phase::Before, "before"),
        (Phase::During, "during"),
        (Phase::After, "after"),
    ] {
        for event in ["startup", "shutdown"] {
            let to = log.clone();
            reactor.add_system_event_trigger(phase, event, move || {
                to.note(format_args!("{event} {name}"));
            });
        }
    }
    let (clock, to) = (reactor.clone(), log.clone());
    reactor.add_system_event_trigger(Phase::Before, "shutdown", async move || {
        clock.sleep(MS * 5).await?;
        to.note("slept");
        Ok(())
    });
    let port = reactor.listen(HERE, |_| Spy::echo()).unwrap();
    drop(reactor.connect(port.local_addr(), Spy::new(log)));
    reactor
}

const STARTED: [&str; 3] = ["startup before", "startup during", "startup after"];
const SHUT_DOWN: [&str; 5] = [
    "shutdown before",
    "slept",
    "lost stopped",
    "shutdown during",
    "shutdown after",
];

#[test]
fn a_hosted_run_starts_and_stops_like_an_ordinary_run() {
    let log = Log::new();
    let reactor = hosted(&log);
    assert!(!reactor.is_running() && matches!(reactor.stop(), Err(ReactorError::NotRunning)));
    reactor.start().unwrap();
    assert_eq!(log.take(), STARTED);
    assert!(reactor.is_running());
    assert!(matches!(
        reactor.start().unwrap_err().downcast_ref(),
        Some(ReactorError::AlreadyRunning)
    ));
    assert!(matches!(
        reactor.run().unwrap_err().downcast_ref(),
        Some(ReactorError::AlreadyRunning)
    ));
    while !log.has("made") {
        wait_as_a_host(&reactor);
        turn(&reactor);
    }
    log.take();
    reactor.stop().unwrap();
    assert!(becomes_readable(&reactor) && log.is_empty());
    while !reactor.has_ended() {
        wait_as_a_host(&reactor);
        turn(&reactor);
    }
    assert_eq!(log.take(), SHUT_DOWN);
    assert!(matches!(
        reactor.start().unwrap_err().downcast_ref(),
        Some(ReactorError::NotRestartable)
    ));
    reactor.finish().unwrap();
    turn(&reactor);
    reactor.do_iteration(None);
}

#[test]
fn a_host_that_leaves_first_finishes_the_run() {
    let log = Log::new();
    let reactor = hosted(&log);
    assert!(matches!(
        reactor.finish().unwrap_err().downcast_ref(),
        Some(ReactorError::NotRunning)
    ));
    reactor.start().unwrap();
    while !log.has("made") {
        wait_as_a_host(&reactor);
        turn(&reactor);
    }
    log.take();
    reactor.finish().unwrap();
    assert_eq!(log.take(), SHUT_DOWN);
    assert!(reactor.has_ended());
}

#[test]
fn a_run_with_a_slow_startup_is_finished_after_it() {
    let reactor = Reactor::new().unwrap();
    let log = Log::new();
    let (clock, to) = (reactor.clone(), log.clone());
    reactor.add_system_event_trigger(Phase::Before, "startup", async move || {
        clock.sleep(MS * 2).await?;
        to.note("started");
        Ok(())
    });
    reactor.start().unwrap();
    assert!(!reactor.is_running());
    assert!(matches!(
        reactor.start().unwrap_err().downcast_ref(),
        Some(ReactorError::AlreadyRunning)
    ));
    reactor.finish().unwrap();
    assert_eq!(log.take(), ["started"]);
}

#[test]
fn a_hosted_run_that_has_crashed_can_be_begun_again() {
    let log = Log::new();
    let reactor = hosted(&log);
    reactor.start().unwrap();
    reactor.crash();
    turn(&reactor);
    assert!(!reactor.is_running() && !reactor.has_ended());
    log.take();
    reactor.start().unwrap();
    assert!(reactor.is_running());
    reactor.finish().unwrap();
    assert!(log.has("shutdown after") && !log.has("startup after"));
}

#[test]
fn a_panic_that_unwinds_ends_a_hosted_run() {
    let builder = Reactor::builder().on_panic(torsade::OnPanic::Unwind);
    let reactor = builder.build().unwrap();
    reactor.start().unwrap();
    reactor.call_soon(|| std::panic::panic_any("oh"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| turn(&reactor)));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"oh"));
    assert!(reactor.has_ended());
}

#[test]
fn a_signal_stops_a_hosted_run() {
    // The signal would stop other tests as well.
    own::alone("a_signal_stops_a_hosted_run", || {
        let reactor = Reactor::builder().stops_on_signals(true).build().unwrap();
        reactor.start().unwrap();
        assert!(!is_readable(&reactor));
        Signal::TERM.raise().unwrap();
        assert!(becomes_readable(&reactor));
        while !reactor.has_ended() {
            wait_as_a_host(&reactor);
            turn(&reactor);
        }
        assert_eq!(reactor.stopped_by(), Some(Signal::TERM));
    });
}

#[test]
fn an_entered_reactor_is_the_current_one_until_the_guard_is_dropped() {
    let (one, two) = (Reactor::new().unwrap(), Reactor::in_memory().unwrap());
    let log = Log::new();
    assert!(Reactor::current().is_none());
    {
        let _one = one.enter();
        {
            let _two = two.enter();
            let to = log.clone();
            torsade::spawn(async move { to.note("two") }).detach();
        }
        let to = log.clone();
        torsade::spawn(async move { to.note("one") }).detach();
        assert!(Reactor::current().is_some() && log.is_empty());
        // It is no turn: a reactor may run meanwhile, and has the place then.
        one.run_until(async {}).unwrap();
        assert_eq!(log.take(), ["one"]);
        let reports = expect_reports(&two);
        let _two = two.enter();
        drop(Deferred::<()>::fail(Failure::new("unhandled")));
        assert_eq!(reports.borrow().len(), 1);
    }
    assert!(Reactor::current().is_none());
    torsade::testing::settle(&two);
    assert_eq!(log.take(), ["two"]);
}

thread_local! {
    static REMOTE: RefCell<Option<Log>> = const { RefCell::new(None) };
}
