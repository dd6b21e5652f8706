//! Reaching a protocol from outside: posting, asking, waiting, and its timers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use torsade::Phase;
use torsade::reactor::RemoteResolver;

use support::{Anywhere, Log, MS, Spy, expect_reports, some_turns, until};
use torsade::{
    Clock, ConnectionError, Context, Deferred, Failure, Group, Handle, Port, Protocol, Reactor,
};

/// A protocol that only keeps a log.
struct Plain(Log);

impl Protocol for Plain {
    fn data_received(&mut self, _: &mut Context<'_, Self>, data: &[u8]) {
        self.0.note(data.escape_ascii());
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.note(format_args!("lost {}", support::how(&reason)));
    }
}

async fn plain(reactor: &Reactor, log: &Log) -> Result<(Handle<Plain>, Port), Failure> {
    let port = reactor.listen(Anywhere, |_| Spy::echo())?;
    let handle = reactor
        .connect(port.local_addr(), Plain(log.clone()))
        .await?;
    Ok((handle, port))
}

async fn end(handle: &Handle<Plain>, port: Port) -> Result<(), Failure> {
    if let Some(transport) = handle.transport() {
        transport.lose_connection();
    }
    until(|| !handle.is_connected()).await;
    port.stop().await
}

on_transports! {
    async fn the_reason_is_available_long_after_the_end(reactor) {
        let port = reactor.listen(Anywhere, |_| Spy::new(&Log::new()).on_made(|cx| cx.lose_connection()))?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&Log::new())).await?;
        let copy = handle.clone();
        until(|| !handle.is_connected()).await;
        some_turns().await;
        for handle in [&handle, &copy, &handle] {
            assert_failure!(handle.closed().await?, ConnectionError::Done);
        }
        port.stop().await?;
    }

    async fn a_handle_ends_its_connection_in_good_order_or_at_once(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        handle.transport().unwrap().write("last words");
        handle.lose_connection();
        assert!(handle.is_connected(), "never inside the call");
        until(|| !handle.is_connected()).await;
        assert_eq!(log.take(), ["lost done"]);
        handle.lose_connection();
        handle.abort_connection();
        port.stop().await?;
        let (handle, port) = plain(&reactor, &log).await?;
        handle.abort_connection();
        until(|| !handle.is_connected()).await;
        assert_eq!(log.take(), ["lost aborted"]);
        port.stop().await?;
    }

    async fn a_group_is_iterated_counted_and_closed(reactor) {
        let (group, ends) = (Group::new(), Log::new());
        let (room, log) = (group.clone(), ends.clone());
        let port = reactor.listen(Anywhere, move |_| {
            let (room, log) = (room.clone(), log.clone());
            Spy::new(&Log::new())
                .on_made(move |cx| room.join(cx))
                .on_lost(move |reason| log.note(support::how(reason)))
        })?;
        let mut peers = Vec::new();
        for _ in 0..3 {
            peers.push(reactor.connect_stream(port.local_addr()).await?);
            until(|| group.len() == peers.len()).await;
        }
        let there: Vec<_> = group.iter().map(|member| member.peer()).collect();
        let here: Vec<_> = peers.iter().map(|peer| peer.transport().local_addr().unwrap()).collect();
        assert_eq!(there, here, "in the order they joined");
        // Ended members leave, also during an iteration.
        for (number, member) in (&group).into_iter().enumerate() {
            assert!(group.contains(&member));
            if number == 0 {
                member.abort_connection();
                assert!(!group.contains(&member));
            }
        }
        assert_eq!(group.len(), 2);
        group.write("bye");
        group.lose_connections();
        assert!(group.is_empty());
        let mut said = Vec::new();
        peers[1].read_to_end(&mut said).await?;
        assert_eq!(said, b"bye");
        until(|| ends.all().len() == 3).await;
        assert_eq!(ends.take(), ["aborted", "done", "done"]);
        drop(peers);
        port.stop().await?;
    }

    async fn posted_closures_run_in_order_and_never_inside_the_call(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        for n in 0..10 {
            handle.post(move |me, _| me.0.note(n));
        }
        assert!(log.is_empty());
        handle.ask(|_, _| ()).await?;
        assert!(log.take().iter().map(|n| n.parse::<i32>().unwrap()).eq(0..10));
        end(&handle, port).await?;
    }

    async fn a_closure_posted_from_a_posted_closure_waits_for_the_next_batch(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        handle.post(|me, cx| {
            me.0.note("one");
            cx.handle().post(|me, _| me.0.note("three"));
        });
        handle.post(|me, _| me.0.note("two"));
        until(|| log.all().len() == 3).await;
        assert_eq!(log.take(), ["one", "two", "three"]);
        end(&handle, port).await?;
    }

    async fn asking_gives_the_answer(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        assert_eq!(handle.ask(|_, cx| cx.peer()).await?, port.local_addr());
        end(&handle, port).await?;
        let failure = handle.ask(|_, _| ()).await.unwrap_err();
        assert!(matches!(failure.find(), Some(ConnectionError::Done)), "{failure:?}");
    }

    async fn posted_closures_and_questions_are_dropped_at_the_end(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        let held = Rc::new(());
        let (one, two) = (held.clone(), held.clone());
        handle.transport().unwrap().abort_connection();
        some_turns().await;
        handle.post(move |_, _| drop(one));
        let asked = handle.ask(move |_, _| drop(two));
        assert!(asked.await.is_err());
        assert_eq!(Rc::strong_count(&held), 1);
        end(&handle, port).await?;
    }

    async fn timers_of_a_protocol_die_with_it(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        handle.post(|_, cx| {
            cx.call_later(MS, |me, cx| {
                me.0.note("timer");
                cx.lose_connection();
            });
            cx.call_later(MS * 100_000, |_, _| unreachable!());
        });
        until_slept(&reactor, || log.has("lost done")).await?;
        assert_eq!(log.take(), ["timer", "lost done"]);
        // A socket that is closed before what has arrived is read stays for a while, with a limit.
        until(|| reactor.delayed_calls().is_empty()).await;
        port.stop().await?;
    }

    async fn when_gives_the_result_with_the_protocol(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        let (deferred, resolver) = Deferred::pair();
        handle.post(move |_, cx| {
            cx.when(deferred, |me, _, result| me.0.note(result.unwrap()));
            cx.when(Deferred::succeed("ready"), |me, _, result| me.0.note(result.unwrap()));
            cx.when(Deferred::<u8>::fail(Failure::new("no")), |me, _, result| {
                me.0.note(result.unwrap_err());
            });
        });
        some_turns().await;
        assert_eq!(log.take(), ["ready", "no"]);
        resolver.callback("late");
        assert!(log.is_empty(), "it is posted");
        some_turns().await;
        assert_eq!(log.take(), ["late"]);
        end(&handle, port).await?;
    }

    async fn when_cancels_its_deferred_at_the_end(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        let (deferred, resolver) = Deferred::<()>::pair();
        let to = log.clone();
        let deferred = deferred.on_cancel(move || to.note("cancelled"));
        handle.post(move |_, cx| cx.when(deferred, |_, _, _| unreachable!()));
        some_turns().await;
        end(&handle, port).await?;
        assert_eq!(log.take(), ["lost done", "cancelled"]);
        assert!(resolver.is_cancelled());
    }

    async fn two_protocols_play_through_their_handles(reactor) {
        fn hit(to: Handle<Plain>, from: Handle<Plain>, left: u32, done: Rc<Cell<bool>>) {
            to.clone().post(move |_, _| match left {
                0 => done.set(true),
                _ => hit(from, to, left - 1, done),
            });
        }
        let log = Log::new();
        let (one, port) = plain(&reactor, &log).await?;
        let two = reactor.connect(port.local_addr(), Plain(log.clone())).await?;
        let done = Rc::new(Cell::new(false));
        hit(one.clone(), two.clone(), 10_000, done.clone());
        until(|| done.get()).await;
        two.transport().unwrap().lose_connection();
        until(|| !two.is_connected()).await;
        end(&one, port).await?;
    }

    async fn a_protocol_that_posts_to_itself_a_thousand_times_starves_no_other(reactor) {
        fn again(handle: &Handle<Plain>, left: u32, done: Rc<Cell<bool>>) {
            handle.post(move |_, cx| match left {
                0 => done.set(true),
                _ => again(&cx.handle(), left - 1, done),
            });
        }
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        let done = Rc::new(Cell::new(false));
        again(&handle, 1000, done.clone());
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for _ in 0..5 {
            conn.write_all(b"x").await?;
            conn.read_exact(&mut [0]).await?;
        }
        assert!(!done.get(), "the others were served meanwhile");
        until(|| done.get()).await;
        drop(conn);
        end(&handle, port).await?;
    }

    async fn the_writes_of_a_posted_closure_are_sent_in_that_turn(reactor) {
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        handle.post(|_, cx| cx.write("echo me"));
        until(|| log.has("echo me")).await;
        end(&handle, port).await?;
    }

    async fn a_panic_in_a_post_a_timer_or_a_when_ends_the_connection(reactor) {
        for kind in 0..3 {
            let reports = expect_reports(&reactor);
            let log = Log::new();
            let (handle, port) = plain(&reactor, &log).await?;
            handle.post(move |_, cx| match kind {
                0 => panic!("oh"),
                1 => drop(cx.call_later(Duration::ZERO, |_, _| panic!("oh"))),
                _ => cx.when(Deferred::succeed(()), |_, _, _| panic!("oh")),
            });
            until(|| !handle.is_connected()).await;
            assert_eq!(log.take(), ["lost panicked: oh"]);
            assert_eq!(reports.borrow().len(), 1);
            port.stop().await?;
        }
    }

    async fn nothing_is_called_after_a_panic_but_the_end(reactor) {
        expect_reports(&reactor);
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        handle.post(|_, _| panic!("oh"));
        handle.post(|me, _| me.0.note("after"));
        until(|| !handle.is_connected()).await;
        assert_eq!(log.take(), ["lost panicked: oh"]);
        port.stop().await?;
    }

    async fn destructors_at_the_end_may_do_anything(reactor) {
        struct Posts(Handle<Plain>, Rc<RefCell<u32>>);
        impl Drop for Posts {
            fn drop(&mut self) {
                *self.1.borrow_mut() += 1;
                self.0.post(|_, _| unreachable!());
                drop(self.0.ask(|_, _| ()).add_errback(|_| Ok(())));
            }
        }
        let log = Log::new();
        let (handle, port) = plain(&reactor, &log).await?;
        let count = Rc::new(RefCell::new(0));
        let posts = || Posts(handle.clone(), count.clone());
        let (deferred, _resolver) = Deferred::<()>::pair();
        let (one, two, three) = (posts(), posts(), posts());
        handle.post(move |_, cx| {
            cx.call_later(MS * 1000, move |_, _| drop(one));
            cx.when(deferred, move |_, _, _| drop(two));
            cx.lose_connection();
            cx.handle().post(move |_, _| drop(three));
        });
        until(|| !handle.is_connected()).await;
        some_turns().await;
        assert_eq!(*count.borrow(), 3);
        port.stop().await?;
    }
}

/// Waits for something that needs time to go by.
async fn until_slept(reactor: &Reactor, cond: impl Fn() -> bool) -> Result<(), Failure> {
    for _ in 0..1000 {
        if cond() {
            break;
        }
        reactor.sleep(MS).await?;
    }
    assert!(cond());
    Ok(())
}

/// Other threads that fire a Deferred, and stop the reactor.
mod remote {
    use std::thread;

    use torsade::Cancelled;
    use torsade::defer::DeferredError;
    use torsade::reactor::{ReactorError, Stopped};

    use super::*;

    fn join<T>(thread: thread::JoinHandle<T>) -> T {
        thread.join().expect("it does not panic")
    }

    on_both! {
        async fn a_deferred_is_fired_from_another_thread(reactor) {
            let (answer, resolver) = RemoteResolver::pair(&reactor);
            let other = thread::spawn(move || resolver.callback(String::from("there")));
            assert_eq!(answer.await?, "there");
            join(other)?;
            let (answer, resolver) = RemoteResolver::<u32>::pair(&reactor);
            let other = thread::spawn(move || resolver.errback("not there"));
            assert_eq!(answer.await.unwrap_err().to_string(), "not there");
            join(other)?;
        }

        async fn callbacks_run_on_the_reactors_thread_in_a_turn(reactor) {
            let home = thread::current().id();
            let (answer, resolver) = RemoteResolver::pair(&reactor);
            let answer = answer.map(move |there: thread::ThreadId| {
                assert!(Reactor::current().is_some());
                (there, thread::current().id())
            });
            let other = thread::spawn(move || resolver.callback(thread::current().id()));
            let (there, here) = answer.await?;
            assert!(there != home && here == home);
            join(other)?;
        }

        async fn a_resolver_that_is_dropped_there_abandons_its_deferred(reactor) {
            let (answer, resolver) = RemoteResolver::<u32>::pair(&reactor);
            let other = thread::spawn(move || drop(resolver));
            assert!(is_error!(answer.await.unwrap_err(), DeferredError::Abandoned));
            join(other);
        }

        async fn a_cancel_is_seen_on_the_other_thread_and_the_result_is_dropped_here(reactor) {
            #[derive(Debug)]
            struct Told(std::sync::mpsc::Sender<thread::ThreadId>);
            impl Drop for Told {
                fn drop(&mut self) {
                    let _ = self.0.send(thread::current().id());
                }
            }
            let (answer, resolver) = RemoteResolver::pair(&reactor);
            assert!(!resolver.is_cancelled());
            answer.cancel();
            answer.await.unwrap_err().trap::<Cancelled>()?;
            assert!(resolver.is_cancelled());
            let (sender, dropped) = std::sync::mpsc::channel();
            join(thread::spawn(move || resolver.callback(Told(sender))))?;
            let mut location = None;
            until(|| {
                location = dropped.try_recv().ok();
                location.is_some()
            })
            .await;
            assert_eq!(location, Some(thread::current().id()));
        }
    }

    on_both_by_hand! {
        fn the_end_of_the_reactor_is_an_answer(reactor) {
            let (answer, resolver) = RemoteResolver::<u32>::pair(&reactor);
            let observed = Log::new();
            let note = observed.clone();
            drop(answer.add_errback(move |failure| {
                note.note(failure.is::<Stopped>());
                Ok(0)
            }));
            reactor.run_until(async {}).unwrap();
            assert_eq!(observed.take(), ["true"]);
            assert!(matches!(resolver.callback(1), Err(ReactorError::Ended)));
            let (answer, resolver) = RemoteResolver::<u32>::pair(&reactor);
            assert!(torsade::testing::failure_of(answer).is::<Stopped>());
            assert!(matches!(resolver.callback(1), Err(ReactorError::Ended)));
        }

        fn another_thread_stops_it_before_and_while_it_runs(reactor) {
            let remote = reactor.remote();
            let other = thread::spawn(move || {
                remote.stop()?;
                remote.stop()
            });
            reactor.run().unwrap();
            // Told twice, it may have ended before the second time.
            let _ = join(other);
            assert!(matches!(reactor.remote().stop(), Err(ReactorError::Ended)));
        }

        fn a_reactor_stopped_before_it_runs_stops_as_soon_as_it_does(reactor) {
            reactor.remote().stop().unwrap();
            let started = Log::new();
            let note = started.clone();
            reactor.add_system_event_trigger(Phase::After, "startup", move || note.note("running"));
            reactor.run().unwrap();
            assert_eq!(started.take(), ["running"]);
        }
    }
}
