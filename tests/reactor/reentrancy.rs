//! Every public method from every hook: nothing panics or hangs except where documented, and the
//! loop continues.
//!
//! A cell of the matrix is a hook and an action. Each has its own reactor, on which one scenario
//! runs that reaches all the hooks; the action is done in one of them.

use std::cell::{Cell, RefCell};
use std::future::pending;
#[cfg(unix)]
use std::os::{fd::AsFd, unix::net::UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use torsade::net::ClientEndpoint;
use torsade::reactor::Interest;

#[cfg(unix)]
use support::watched::{Pipe, pipe};
use support::{HERE, MS};
use torsade::reactor::Stopped;
use torsade::transport::Limits;
use torsade::{
    Address, Clock, Connection, Context, Deferred, DelayedCall, Factory, Failure, Group, Handle,
    Phase, Port, Protocol, Reactor, Resolver, Task, Transport, spawn, testing, yield_now,
};

/// The objects that an action finds. Some do not exist yet, or no longer.
struct World {
    reactor: Reactor,
    hook: &'static str,
    action: Do,
    ran: Cell<bool>,
    port: RefCell<Option<Port>>,
    /// The server's end of the connection, whose hooks are in the matrix.
    own: RefCell<Option<Transport>>,
    handle: RefCell<Option<Handle<Probe>>>,
    other: RefCell<Option<Transport>>,
    conn: RefCell<Option<Connection>>,
    call: DelayedCall,
    group: Group,
    deferred: Cell<Option<Deferred<()>>>,
    resolver: Cell<Option<Resolver<()>>>,
    task: Cell<Option<Task<()>>>,
    #[cfg(unix)]
    watch: RefCell<Option<torsade::Watch<Pipe>>>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

fn world() -> Option<Rc<World>> {
    WORLD
        .try_with(|world| world.borrow().clone())
        .ok()
        .flatten()
}

/// Said by each hook.
fn go(hook: &str) {
    let Some(world) = world() else { return };
    if let Do::Anywhere(action) = world.action {
        if world.hook == hook && !world.ran.replace(true) {
            action(&world);
        }
    }
}

/// Said by each hook that is lent a context.
fn go_with(hook: &str, cx: &mut Context<'_, Probe>) {
    go(hook);
    let Some(world) = world() else { return };
    if let Do::WithContext(action) = world.action {
        if world.hook == hook && !world.ran.replace(true) {
            action(cx);
        }
    }
}

struct Probe;

impl Protocol for Probe {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        let world = world().unwrap();
        world.own.replace(Some(cx.transport().clone()));
        world.handle.replace(Some(cx.handle()));
        world.group.join(cx);
        cx.call_later(Duration::ZERO, |_, cx| go_with("own timer", cx));
        go_with("connection_made", cx);
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, _: &[u8]) {
        cx.set_limits(Limits {
            low: 1,
            high: 10,
            hard: 1 << 20,
        });
        cx.write([0; 20]);
        cx.when(Deferred::succeed(()), |_, cx, _| go_with("when", cx));
        go_with("data_received", cx);
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        go_with("eof_received", cx);
        cx.lose_connection();
    }

    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        go_with("write_ready", cx);
    }

    fn connection_lost(&mut self, _: Failure) {
        go("connection_lost");
    }
}

struct Make;

impl Factory for Make {
    type Protocol = Probe;

    fn build_protocol(&mut self, _: Address) -> Option<Probe> {
        go("build");
        Some(Probe)
    }

    fn started(&mut self) {
        go("started");
    }

    fn stopped(&mut self) {
        go("stopped");
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

#[cfg(unix)]
fn descriptor_ready() {
    go("descriptor");
}

struct Drops;

impl Drop for Drops {
    fn drop(&mut self) {
        go("destructor");
    }
}

/// Where the scenario comes by.
const HOOKS: &[&str] = &[
    "started",
    "build",
    "connection_made",
    "data_received",
    "write_ready",
    "eof_received",
    "connection_lost",
    "stopped",
    "own timer",
    "when",
    "post",
    "timer",
    "call_soon",
    "callback",
    "canceller",
    "task",
    "future's destructor",
    "destructor",
    "thread",
    "report",
    "trigger",
    "before startup",
    #[cfg(unix)]
    "descriptor",
];

/// Uses an object that may not exist.
fn with<T>(location: &RefCell<Option<T>>, f: impl FnOnce(&T))
where
    T: Clone,
{
    let thing = location.borrow().clone();
    if let Some(thing) = thing {
        f(&thing);
    }
}

/// Ignores the result of a method.
fn ignore<T>(_: T) {}

fn panics(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

type Action = (&'static str, fn(&World));
type ContextAction = (&'static str, fn(&mut Context<'_, Probe>));

/// The action of a cell.
#[derive(Clone, Copy)]
enum Do {
    Anywhere(fn(&World)),
    WithContext(fn(&mut Context<'_, Probe>)),
}

/// The hooks that are lent a context.
const CONTEXT_HOOKS: &[&str] = &[
    "connection_made",
    "data_received",
    "write_ready",
    "eof_received",
    "own timer",
    "when",
    "post",
];

const CONTEXT_ACTIONS: &[ContextAction] = &[
    ("Context::call_later", |cx| {
        cx.call_later(Duration::ZERO, |_, cx| cx.write("later"));
        cx.call_later(MS, |_, _| {}).cancel();
    }),
    ("Context::when, settled", |cx| {
        cx.when(Deferred::succeed(1), |_, cx, _| cx.write("when"));
        cx.when(Deferred::<()>::fail(Failure::new("no")), |_, _, _| {});
    }),
    ("Context::when, fired at once", |cx| {
        let (deferred, resolver) = Deferred::pair();
        cx.when(deferred, |_, cx, _| cx.lose_connection());
        resolver.callback(());
    }),
    ("Context::when, never", |cx| {
        let (deferred, resolver) = Deferred::<()>::pair();
        cx.when(deferred, |_, _, _| {});
        std::mem::forget(resolver);
    }),
    ("Context::handle", |cx| {
        let handle = cx.handle();
        handle.post(|_, cx| cx.write("posted"));
        drop(handle.ask(|_, _| ()).add_both(|_| {}));
        assert!(handle.is_connected() && handle.transport().is_some());
    }),
    ("Context::transport", |cx| {
        let transport = cx.transport().clone();
        transport.write("x");
        transport.pause_producing();
        transport.resume_producing();
        assert!(format!("{cx:?}").contains("Context"));
    }),
    ("Context::reactor", |cx| {
        cx.reactor().call_soon(|| {});
        spawn(async { yield_now().await }).detach();
    }),
    ("Context, lose_connection", |cx| {
        cx.lose_connection();
        cx.call_later(MS, |_, _| {});
    }),
    ("Context, abort_connection", |cx| {
        cx.abort_connection();
        cx.when(Deferred::succeed(()), |_, _, _| {});
        cx.handle().post(|_, _| {});
    }),
];

const ACTIONS: &[Action] = &[
    ("Reactor::run", |w| assert!(w.reactor.run().is_err())),
    ("Reactor::run_until", |w| {
        assert!(w.reactor.run_until(async {}).is_err())
    }),
    ("Reactor::start", |w| assert!(w.reactor.start().is_err())),
    ("Reactor::finish", |w| assert!(w.reactor.finish().is_err())),
    ("Reactor::enter", |w| {
        let _guard = w.reactor.enter();
        drop(spawn(async { yield_now().await }));
    }),
    ("Reactor::run_until_current", |w| {
        panics(|| w.reactor.run_until_current())
    }),
    ("Reactor::do_iteration", |w| {
        panics(|| w.reactor.do_iteration(None))
    }),
    ("Reactor::iterate", |w| {
        panics(|| w.reactor.iterate(Duration::ZERO))
    }),
    ("Reactor::settle", |w| {
        panics(|| testing::settle(&w.reactor))
    }),
    ("Reactor::advance", |w| panics(|| w.reactor.advance(MS))),
    ("Reactor::stop", |w| ignore(w.reactor.stop())),
    ("Reactor::stop twice", |w| {
        let _ = w.reactor.stop();
        assert!(w.reactor.stop().is_err());
    }),
    ("Reactor::crash", |w| w.reactor.crash()),
    ("Reactor::is_running", |w| {
        assert!(!w.reactor.has_ended() || !w.reactor.is_running())
    }),
    ("Reactor::spawn", |w| {
        w.reactor.spawn(async { yield_now().await }).detach()
    }),
    ("Reactor::spawn, cancelled", |w| {
        drop(w.reactor.spawn(pending::<()>()).cancel())
    }),
    ("spawn", |_| drop(spawn(async { yield_now().await }))),
    ("Reactor::call_soon", |w| w.reactor.call_soon(|| {})),
    ("Reactor::call_soon, at the startup", |w| {
        w.reactor
            .add_system_event_trigger(Phase::After, "startup", || {});
    }),
    ("Remote::call", |w| ignore(w.reactor.remote().call(|| {}))),
    ("Reactor::on_report", |w| w.reactor.on_report(|_| {})),
    ("Reactor::poll_timeout", |w| {
        ignore(w.reactor.poll_timeout())
    }),
    #[cfg(unix)]
    ("Reactor::as_fd", |w| {
        drop(w.reactor.as_fd().try_clone_to_owned())
    }),
    ("Reactor::current", |w| {
        assert!(Reactor::current().is_some());
        let _ = format!("{:?}", w.reactor);
    }),
    ("testing::leftovers", |w| {
        drop(format!("{:?}", testing::leftovers(&w.reactor)))
    }),
    ("Reactor::listen", |w| {
        drop(w.reactor.listen(HERE, |_| Echo))
    }),
    ("Reactor::listen, stopped", |w| {
        if let Ok(port) = w.reactor.listen(HERE, |_| Echo) {
            drop(port.stop());
        }
    }),
    ("Reactor::listen_factory", |w| {
        drop(w.reactor.listen_factory(HERE, Make))
    }),
    ("Reactor::serve", |w| {
        drop(w.reactor.serve(HERE, async |_| Ok(())))
    }),
    ("Reactor::connect", |w| {
        with(&w.port, |port| {
            drop(w.reactor.connect(port.local_addr(), Echo).add_both(|_| {}));
        })
    }),
    ("Reactor::connect, cancelled", |w| {
        with(&w.port, |port| {
            let connecting = w.reactor.connect(port.local_addr(), Echo).add_both(|_| {});
            connecting.cancel();
        })
    }),
    ("Reactor::connect_stream", |w| {
        with(&w.port, |port| {
            drop(w.reactor.connect_stream(port.local_addr()).add_both(|_| {}));
        })
    }),
    #[cfg(unix)]
    ("Reactor::add_writer", |w| {
        drop(w.reactor.watch(pipe(descriptor_ready), Interest::Write))
    }),
    #[cfg(unix)]
    ("Reactor::add_reader, removed", |w| {
        if let Ok(watch) = w.reactor.watch(pipe(descriptor_ready), Interest::Read) {
            watch.add_writer();
            assert!(watch.remove().is_some());
        }
    }),
    #[cfg(unix)]
    ("Watch::remove", |w| {
        with(&w.watch, |watch| drop(watch.remove()))
    }),
    #[cfg(unix)]
    ("Watch::add_reader", |w| {
        with(&w.watch, |watch| {
            watch.add_reader();
            watch.remove_reader();
            watch.add_writer();
            watch.is_watched();
        })
    }),
    ("Reactor::add_system_event_trigger", |w| {
        w.reactor
            .add_system_event_trigger(Phase::Before, "shutdown", || {});
    }),
    ("Reactor::remove_system_event_trigger", |w| {
        let id = w
            .reactor
            .add_system_event_trigger(Phase::After, "shutdown", || {});
        id.remove();
    }),
    ("Reactor::fire_system_event", |w| {
        w.reactor.fire_system_event("own")
    }),
    ("Clock::call_later", |w| {
        drop(w.reactor.call_later(Duration::ZERO, || {}))
    }),
    ("Clock::call_at", |w| {
        drop(w.reactor.call_at(w.reactor.now(), || {}))
    }),
    ("Clock::sleep", |w| drop(w.reactor.sleep(MS))),
    ("Clock::timeout", |w| {
        let (deferred, _resolver) = Deferred::<()>::pair();
        drop(deferred.timeout(MS, &w.reactor).add_both(|_| {}));
    }),
    ("Clock::delayed_calls", |w| {
        for call in w.reactor.delayed_calls() {
            let _ = format!("{call:?}");
        }
    }),
    ("DelayedCall::cancel", |w| ignore(w.call.cancel())),
    ("DelayedCall::reset", |w| ignore(w.call.reset(MS))),
    ("DelayedCall::reset_at", |w| {
        ignore(w.call.reset_at(w.reactor.now()))
    }),
    ("DelayedCall::delay", |w| ignore(w.call.delay(MS))),
    ("DelayedCall::deadline", |w| {
        ignore((w.call.is_pending(), w.call.deadline(), w.call.location()))
    }),
    ("Transport::write", |w| with(&w.own, |own| own.write("x"))),
    ("Transport::write, much", |w| {
        with(&w.own, |own| own.write(vec![0; 100_000]))
    }),
    ("Transport::write, too much", |w| {
        with(&w.own, |own| {
            own.set_limits(Limits {
                low: 0,
                high: 0,
                hard: 0,
            });
            own.write("x");
            own.write("x");
        })
    }),
    ("Transport::write_sequence", |w| {
        with(&w.own, |own| own.write_sequence(["a", "b"]))
    }),
    ("Transport::lose_connection", |w| {
        with(&w.own, |own| {
            own.lose_connection();
            own.write("x");
        })
    }),
    ("Transport::lose_connection_within", |w| {
        with(&w.own, |own| own.lose_connection_within(MS))
    }),
    ("Transport::abort_connection", |w| {
        with(&w.own, |own| {
            own.abort_connection();
            own.write("x");
        })
    }),
    ("Transport::lose_write", |w| {
        with(&w.own, Transport::lose_write)
    }),
    ("Transport::pause_producing", |w| {
        with(&w.own, |own| {
            own.pause_producing();
            own.resume_producing();
        })
    }),
    ("Transport::set_limits", |w| {
        with(&w.own, |own| own.set_limits(Limits::default()))
    }),
    ("Transport, asked", |w| {
        with(&w.own, |own| {
            let _ = (
                own.limits(),
                own.is_full(),
                own.queued(),
                own.peer(),
                own.local_addr().is_ok(),
            );
            let _ = (
                own.is_connected(),
                own.reason(),
                own.ptr_eq(own),
                format!("{own:?}"),
            );
        })
    }),
    ("Transport, options", |w| {
        with(&w.own, |own| {
            let _ = (own.set_nodelay(true), own.nodelay());
            let _ = (own.set_keepalive(true), own.keepalive());
        })
    }),
    #[cfg(unix)]
    ("Transport::send_descriptor", |w| {
        with(&w.own, |own| {
            let null = std::fs::File::open("/dev/null").unwrap();
            ignore((own.send_descriptor(null), own.peer_credentials()));
        })
    }),
    #[cfg(unix)]
    ("Reactor::adopt_connection", |w| {
        let (one, other) = UnixStream::pair().unwrap();
        drop(w.reactor.connect(ClientEndpoint::adopt(one), Probe));
        ignore(w.reactor.connect_stream(ClientEndpoint::adopt(other)));
    }),
    ("Transport, the peer's: abort", |w| {
        with(&w.other, Transport::abort_connection)
    }),
    ("Transport, the peer's: lose", |w| {
        with(&w.other, Transport::lose_connection)
    }),
    ("Transport, the peer's: write", |w| {
        with(&w.other, |other| other.write("y"))
    }),
    ("Connection, dropped", |w| drop(w.conn.take())),
    ("Connection, split and dropped", |w| {
        if let Some(conn) = w.conn.take() {
            let (reader, writer) = conn.split();
            drop(writer);
            drop(reader);
        }
    }),
    ("Handle::post", |w| {
        with(&w.handle, |handle| handle.post(|_, cx| cx.write("p")))
    }),
    ("Handle::ask", |w| {
        with(&w.handle, |handle| {
            drop(handle.ask(|_, _| ()).add_both(|_| {}));
        })
    }),
    ("Handle, asked", |w| {
        with(&w.handle, |handle| {
            let _ = (
                handle.is_connected(),
                handle.transport().is_some(),
                format!("{handle:?}"),
            );
        })
    }),
    ("Context::call_later and when, posted", |w| {
        with(&w.handle, |handle| {
            handle.post(|_, cx| {
                cx.call_later(MS, |_, _| {}).cancel();
                let (deferred, resolver) = Deferred::<()>::pair();
                cx.when(deferred, |_, cx, _| cx.write("w"));
                resolver.callback(());
            });
        })
    }),
    ("Port::stop", |w| {
        with(&w.port, |port| {
            drop(port.stop());
            drop(port.stop());
            let _ = (port.local_addr(), port.is_listening());
        })
    }),
    ("Group", |w| {
        w.group.write("g");
        w.group.len();
        with(&w.own, |own| {
            w.group.write_others(own, "o");
            w.group.leave(own);
            w.group.join(own);
        });
        let _ = format!("{:?}", w.group);
    }),
    ("Deferred::cancel", |w| {
        if let Some(deferred) = w.deferred.take() {
            deferred.cancel();
            drop(deferred.add_both(|_| {}));
        }
    }),
    ("Deferred::add_callback", |w| {
        if let Some(deferred) = w.deferred.take() {
            w.deferred
                .set(Some(deferred.add_callback(|()| Ok(())).add_both(|_| {})));
        }
    }),
    ("Deferred::pause", |w| {
        if let Some(mut deferred) = w.deferred.take() {
            let pause = deferred.pause();
            w.deferred.set(Some(deferred));
            pause.unpause();
        }
    }),
    ("Deferred, dropped", |w| drop(w.deferred.take())),
    ("Resolver::callback", |w| {
        if let Some(resolver) = w.resolver.take() {
            resolver.callback(());
        }
    }),
    ("Resolver, dropped", |w| drop(w.resolver.take())),
    ("Deferred::from_future", |_| {
        drop(
            Deferred::from_future(async {
                yield_now().await;
                Ok(())
            })
            .add_both(|_| {}),
        );
    }),
    ("Task::cancel", |w| {
        if let Some(task) = w.task.take() {
            drop(task.cancel());
        }
    }),
    ("Task::detach", |w| {
        if let Some(task) = w.task.take() {
            task.is_finished();
            task.detach();
        }
    }),
];

/// Runs the consequences to their end.
async fn a_while(reactor: &Reactor) {
    for _ in 0..2 {
        let _ = reactor.sleep(Duration::from_micros(90)).await;
        yield_now().await;
    }
}

/// Comes by all the hooks. Nothing in it counts on anything, for an action may have ended it.
async fn scenario(reactor: &Reactor, world: &World) {
    if let Ok(port) = reactor.listen_factory(HERE, Make) {
        world.port.replace(Some(port.clone()));
        let conn = reactor.connect_stream(port.local_addr());
        if let Ok(conn) = conn.await {
            world.other.replace(Some(conn.transport()));
            world.conn.replace(Some(conn));
        }
    }
    a_while(reactor).await;
    with(&world.other, |other| other.write("data"));
    a_while(reactor).await;
    with(&world.handle, |handle| {
        handle.post(|_, cx| go_with("post", cx))
    });
    reactor.call_later(Duration::ZERO, || go("timer"));
    reactor.call_soon(|| go("call_soon"));
    let task = reactor.spawn(async {
        struct Last;
        impl Drop for Last {
            fn drop(&mut self) {
                go("future's destructor");
            }
        }
        let _last = Last;
        go("task");
    });
    task.detach();
    let drops = Drops;
    reactor.call_soon(move || drop(drops));
    let _ = reactor.remote().call(|| go("thread"));
    reactor
        .spawn(async { Err::<(), _>(Failure::new("reported")) })
        .detach();
    #[cfg(unix)]
    {
        let watch = reactor.watch(pipe(descriptor_ready), Interest::Write);
        world.watch.replace(watch.ok());
    }
    a_while(reactor).await;

    let (deferred, resolver) = Deferred::<()>::pair();
    let deferred = deferred.add_callback(|()| {
        go("callback");
        Ok(())
    });
    resolver.callback(());
    drop(deferred);
    let (deferred, resolver) = Deferred::<()>::pair();
    let deferred = deferred.on_cancel(|| go("canceller"));
    deferred.cancel();
    drop(deferred.add_both(|_| {}));
    drop(resolver);
    reactor.add_system_event_trigger(Phase::During, "own", || go("trigger"));
    reactor.fire_system_event("own");
    a_while(reactor).await;

    with(&world.other, Transport::lose_write);
    a_while(reactor).await;
    with(&world.other, Transport::abort_connection);
    with(&world.port, |port| drop(port.stop()));
    a_while(reactor).await;
}

/// The connection of another client is still served.
async fn goes_on(reactor: &Reactor) -> Result<(), Failure> {
    let port = reactor.listen(HERE, |_| Echo)?;
    let mut conn = reactor.connect_stream(port.local_addr()).await?;
    conn.write_all(b"alive").await?;
    conn.read_exact(&mut [0; 5]).await?;
    drop(conn);
    port.stop().await
}

fn cell(reactor: Reactor, hook: &'static str, name: &str, action: Do) {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let log = reports.clone();
    reactor.on_report(move |report| {
        if report.is_panic() {
            log.borrow_mut().push(format!("{report}"));
        }
        go("report");
    });
    let (deferred, resolver) = Deferred::pair();
    let world = Rc::new(World {
        call: reactor.call_later(Duration::from_secs(3600), || {}),
        task: Cell::new(Some(reactor.spawn(pending()))),
        reactor: reactor.clone(),
        hook,
        action,
        ran: Cell::new(false),
        port: RefCell::default(),
        own: RefCell::default(),
        handle: RefCell::default(),
        other: RefCell::default(),
        conn: RefCell::default(),
        group: Group::new(),
        deferred: Cell::new(Some(deferred)),
        resolver: Cell::new(Some(resolver)),
        #[cfg(unix)]
        watch: RefCell::default(),
    });
    WORLD.with(|location| drop(location.replace(Some(world.clone()))));
    reactor.add_system_event_trigger(Phase::Before, "startup", || go("before startup"));
    let result = reactor.run_until(async {
        scenario(&reactor, &world).await;
        goes_on(&reactor).await
    });
    assert!(world.ran.get(), "{hook} was not come by for {name}");
    match result {
        Ok(Ok(())) => {}
        Err(failure) if failure.is::<Stopped>() => {
            assert!(
                name.contains("stop") || name.contains("crash"),
                "{name} in {hook}"
            );
        }
        other => panic!("{name} in {hook}: {other:?}"),
    }
    assert!(
        reports.borrow().is_empty(),
        "{name} in {hook}: {:?}",
        reports.borrow()
    );
    if let Some(deferred) = world.deferred.take() {
        drop(deferred.add_both(|_| {}));
    }
    // The world's values are dropped while nothing is looked up in it any more.
    WORLD.with(|location| drop(location.take()));
    reactor.on_report(|_| {});
}

fn matrix(name: &str, make: fn() -> Reactor, without: &[&str]) {
    let mut cells = Vec::new();
    for hook in HOOKS.iter().filter(|hook| !without.contains(hook)) {
        let anywhere = |(name, action): &Action| (*hook, *name, Do::Anywhere(*action));
        cells.extend(ACTIONS.iter().map(anywhere));
    }
    for hook in CONTEXT_HOOKS {
        let lent = |(name, action): &ContextAction| (*hook, *name, Do::WithContext(*action));
        cells.extend(CONTEXT_ACTIONS.iter().map(lent));
    }
    // Each waits most of its time.
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((hook, name, action)) =
                    cells.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    cell(make(), hook, name, *action);
                }
            });
        }
    });
    println!(
        "{name}: {} cells, {} actions",
        cells.len(),
        ACTIONS.len() + CONTEXT_ACTIONS.len()
    );
}

#[test]
fn on_the_machine_every_method_may_be_called_from_every_hook() {
    matrix("machine", || Reactor::new().unwrap(), &[]);
}

#[test]
fn in_memory_every_method_may_be_called_from_every_hook() {
    matrix("memory", || Reactor::in_memory().unwrap(), &["descriptor"]);
}
