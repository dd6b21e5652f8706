//! Signals as Deferreds and streams. What could upset other tests is done by children, which are
//! this very program.
#![cfg(any(target_os = "linux", windows))]

use std::cell::RefCell;
#[cfg(target_os = "linux")]
use std::fs;
use std::future::pending;
#[cfg(unix)]
use std::process::Command;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use crate::alone;
use futures::stream::StreamExt;
#[cfg(unix)]
use rustix::process::{getpid, kill_process};
use support::signals::{self, is_caught, is_end_by, is_ignored};
use support::{Log, MS, expect_reports, poll_once, role};
use torsade::reactor::Stopped;
use torsade::signals::SignalError;
use torsade::{Cancelled, Clock, Deferred, Phase, Reactor, Signal, testing, yield_now};

/// Sends it to this process.
fn send_to_us(signal: Signal) {
    #[cfg(unix)]
    {
        let signal = rustix::process::Signal::from_named_raw(signal.number()).unwrap();
        kill_process(getpid(), signal).unwrap();
    }
    #[cfg(windows)]
    signal.raise().unwrap();
}

on_both! {
    async fn a_deferred_fires_with_its_signal_and_stops_listening(reactor) {
        let _alone = alone();
        for signal in every_day() {
            let observed = signal.wait(&reactor);
            assert!(is_caught(signal));
            signal.raise()?;
            assert!(!observed.is_settled(), "told inside the handler");
            assert_eq!(observed.await?, signal);
            assert!(!is_caught(signal), "{signal}");
        }
    }

    async fn callbacks_run_in_a_turn_and_in_the_order_in_which_they_began_to_listen(reactor) {
        let _alone = alone();
        let log = Log::new();
        for name in ["first", "second", "third"] {
            let note = log.clone();
            drop(USR2.wait(&reactor).map(move |signal| note.note(format_args!("{name} {signal}"))));
        }
        USR2.raise()?;
        assert!(log.is_empty());
        yield_now().await;
        assert_eq!(log.take(), ["first", "second", "third"].map(|name| format!("{name} {USR2}")));
        assert!(!is_caught(USR2));
    }

    async fn a_stream_gives_each_kind_once_for_each_look(reactor) {
        let _alone = alone();
        let mut signals = reactor.signals([USR2, HUP])?;
        let mut others = reactor.signals([USR2])?;
        for _ in 0..3 {
            USR2.raise()?;
            USR2.raise()?;
            HUP.raise()?;
            assert_eq!(signals.next().await, Some(HUP));
            assert_eq!(signals.next().await, Some(USR2));
            assert!(poll_once(&mut Box::pin(signals.next())).await.is_pending());
            assert_eq!(StreamExt::next(&mut others).await, Some(USR2));
        }
        drop(signals);
        assert!(is_caught(USR2) && !is_caught(HUP));
        drop(others);
        assert!(!is_caught(USR2));
    }

    async fn earlier_signals_are_not_delivered(reactor) {
        let _alone = alone();
        let _keeps = reactor.signals([USR1])?;
        USR1.raise()?;
        let mut signals = reactor.signals([USR1])?;
        for _ in 0..10 {
            assert!(poll_once(&mut Box::pin(signals.next())).await.is_pending());
            yield_now().await;
        }
    }

    async fn letting_go_ends_listening(reactor) {
        let _alone = alone();
        // Dropped while no listener is left.
        let observed = USR1.wait(&reactor);
        assert!(is_caught(USR1));
        drop(observed);
        assert!(!is_caught(USR1));
        // Awaited, and dropped.
        let mut observed = USR1.wait(&reactor);
        assert!(poll_once(&mut observed).await.is_pending());
        drop(observed);
        assert!(!is_caught(USR1));
        // Cancelled.
        let observed = USR1.wait(&reactor);
        observed.cancel();
        assert!(!is_caught(USR1));
        observed.await.unwrap_err().trap::<Cancelled>()?;
        // By a timeout.
        let observed = USR1.wait(&reactor).timeout(MS, &reactor);
        assert!(observed.await.is_err());
        assert!(!is_caught(USR1));
        assert!(testing::leftovers(&reactor).is_empty());
        // A handler that has more to do runs on.
        let (deferred, resolver) = Deferred::pair();
        drop(USR1.wait(&reactor).add_callback(|signal| resolver.callback(signal)));
        assert!(is_caught(USR1));
        USR1.raise()?;
        assert_eq!(deferred.await?, USR1);
        assert!(!is_caught(USR1));
    }

    async fn signals_that_cannot_wait_for_a_loop_are_refused(reactor) {
        let _alone = alone();
        for (signal, is_expected, text) in [
            (Signal::KILL, (|e| matches!(e, SignalError::NotCatchable { .. })) as fn(&SignalError) -> bool, "SIGKILL cannot be listened to: the kernel calls no handler for it"),
            #[cfg(unix)]
            (Signal::STOP, |e| *e == (SignalError::NotCatchable { signal: Signal::STOP }), "SIGSTOP cannot be listened to: the kernel calls no handler for it"),
            (Signal::SEGV, |e| matches!(e, SignalError::Fault { .. }), "SIGSEGV cannot be listened to: a program cannot continue to the event loop after it"),
            #[cfg(unix)]
            (Signal::BUS, |e| matches!(e, SignalError::Fault { .. }), "SIGBUS cannot be listened to: a program cannot continue to the event loop after it"),
            (Signal::FPE, |e| matches!(e, SignalError::Fault { .. }), "SIGFPE cannot be listened to: a program cannot continue to the event loop after it"),
            (Signal::ILL, |e| matches!(e, SignalError::Fault { .. }), "SIGILL cannot be listened to: a program cannot continue to the event loop after it"),
            #[cfg(unix)]
            (Signal::from_number(33)?, |e| matches!(e, SignalError::Reserved { .. }), "signal 33 cannot be listened to: the C library reserves it"),
            #[cfg(windows)]
            (Signal::from_number(3)?, |e| matches!(e, SignalError::Reserved { .. }), "signal 3 cannot be listened to: the C library reserves it"),
        ] {
            let failure = signal.wait(&reactor).await.unwrap_err();
            assert!(is_expected(failure.trap::<SignalError>()?));
            assert_eq!(failure.to_string(), text);
            assert_eq!(failure.location().file(), file!());
            let failure = reactor.signals([USR2, signal]).unwrap_err();
            assert!(is_expected(failure.trap::<SignalError>()?));
            assert_eq!(failure.location().file(), file!());
        }
        assert!(!is_caught(USR2), "one of them was listened to all the same");
        assert!(testing::leftovers(&reactor).is_empty());
    }

    async fn a_panic_of_one_listener_does_not_affect_the_others(reactor) {
        let _alone = alone();
        let reports = expect_reports(&reactor);
        drop(USR1.wait(&reactor).map(|_| panic!("oh")));
        let observed = USR1.wait(&reactor);
        USR1.raise()?;
        assert_eq!(observed.await?, USR1);
        assert!(reports.take()[0].is_panic());
    }

    async fn a_listener_may_begin_and_end_other_listeners(reactor) {
        let _alone = alone();
        let log = Log::new();
        let third = Rc::new(RefCell::new(None));
        let (note, loop_, ends) = (log.clone(), reactor.clone(), third.clone());
        drop(USR1.wait(&reactor).map(move |_| {
            let third = ends.take();
            drop(third);
            drop(USR1.wait(&loop_).map(move |_| note.note("began later")));
        }));
        let note = log.clone();
        drop(USR1.wait(&reactor).map(move |_| note.note("second")));
        third.replace(Some(USR1.wait(&reactor)));
        USR1.raise()?;
        yield_now().await;
        assert_eq!(log.take(), ["second"]);
        USR1.raise()?;
        yield_now().await;
        assert_eq!(log.take(), ["began later"]);
    }

    async fn a_dump_names_the_listeners(reactor) {
        let _alone = alone();
        let signals = reactor.signals([HUP, Signal::TERM])?;
        let kinds: Vec<_> = testing::leftovers(&reactor).iter().map(|left| left.kind).collect();
        assert_eq!(kinds, ["signal listener"]);
        let dump = reactor.dump().to_string();
        assert!(dump.contains(&format!("{HUP}, SIGTERM")), "{dump}");
        drop(signals);
    }

    async fn one_sent_to_the_process_from_elsewhere_ends_a_wait(reactor) {
        let _alone = alone();
        let mut signals = reactor.signals([USR2])?;
        for _ in 0..20 {
            let sender = thread::spawn(|| send_to_us(USR2));
            assert_eq!(signals.next().await, Some(USR2));
            sender.join().unwrap();
        }
    }
}

on_both_by_hand! {
    fn the_end_of_the_reactor_is_reported_and_ends_listening(reactor) {
        let _alone = alone();
        let reports = expect_reports(&reactor);
        let observed = Rc::new(RefCell::new(Vec::new()));
        let log = observed.clone();
        drop(USR1.wait(&reactor).add_both(move |result| log.borrow_mut().push(result.unwrap_err())));
        let mut signals = reactor.signals([USR2]).unwrap();
        let one_more = HUP.wait(&reactor);
        reactor.run_until(async {}).unwrap();
        assert!(observed.borrow()[0].is::<Stopped>());
        assert_eq!(torsade::task::block_on(signals.next()), None);
        assert_eq!(torsade::task::block_on(signals.next()), None);
        assert!(torsade::task::block_on(one_more).unwrap_err().is::<Stopped>());
        for signal in [USR1, USR2, HUP] {
            assert!(!is_caught(signal), "{signal}");
        }
        assert!(reactor.signals([USR1]).is_err());
        assert!(torsade::task::block_on(USR1.wait(&reactor)).is_err());
        assert!(!is_caught(USR1));
        assert!(reports.borrow().is_empty(), "{reports:?}");
    }

    fn a_dropped_reactor_restores_the_earlier_dispositions(reactor) {
        let _alone = alone();
        let mut signals = reactor.signals([USR2]).unwrap();
        drop(USR1.wait(&reactor).add_both(|result| assert!(result.is_err())));
        assert!(is_caught(USR1) && is_caught(USR2));
        drop(reactor);
        assert!(!is_caught(USR1) && !is_caught(USR2));
        assert_eq!(torsade::task::block_on(signals.next()), None);
    }

    fn a_signal_delivered_by_a_test_reaches_only_that_reactor(reactor) {
        let _alone = alone();
        let other = Reactor::in_memory().unwrap();
        let log = Log::new();
        for (name, reactor) in [("this", &reactor), ("that", &other)] {
            let note = log.clone();
            let observed = Signal::TERM.wait(reactor);
            drop(observed.add_both(move |result| note.note(format_args!("{name} {}", result.is_ok()))));
        }
        assert!(testing::deliver_signal(&reactor, Signal::TERM));
        assert!(!testing::deliver_signal(&reactor, Signal::INT));
        testing::settle(&reactor);
        testing::settle(&other);
        assert_eq!(log.take(), ["this true"]);
        drop(other);
        assert_eq!(log.take(), ["that false"]);
    }

    fn a_listener_that_leaves_with_a_pending_signal_leaves_nothing_behind(reactor) {
        let _alone = alone();
        let signals = reactor.signals([USR1]).unwrap();
        assert!(testing::deliver_signal(&reactor, USR1));
        assert_eq!(reactor.poll_timeout(), Some(std::time::Duration::ZERO));
        drop(signals);
        assert_eq!(reactor.poll_timeout(), None);
        let signals = reactor.signals([USR1]).unwrap();
        assert!(testing::deliver_signal(&reactor, USR1));
        // A new listener finds earlier signals recorded for the earlier listeners only.
        let others = reactor.signals([USR2]).unwrap();
        drop((signals, others));
        assert_eq!(reactor.poll_timeout(), None);
        testing::settle(&reactor);
    }

    fn a_loop_that_is_turned_by_hand_delivers_signals(reactor) {
        let _alone = alone();
        let log = Log::new();
        let note = log.clone();
        drop(USR1.wait(&reactor).map(move |_| note.note("told")));
        reactor.iterate(std::time::Duration::ZERO);
        USR1.raise().unwrap();
        assert!(log.is_empty());
        reactor.run_until_current();
        assert_eq!(log.take(), ["told"]);
    }

    fn listening_continues_across_a_crash(reactor) {
        let _alone = alone();
        let mut signals = reactor.signals([USR1]).unwrap();
        let crash = reactor.clone();
        reactor.add_system_event_trigger(Phase::After, "startup", move || crash.crash());
        reactor.run().unwrap();
        USR1.raise().unwrap();
        assert_eq!(reactor.run_until(signals.next()).unwrap(), Some(USR1));
    }

    fn a_test_may_have_a_reactor_stopped(reactor) {
        let _alone = alone();
        let reactor = support::builder_like(&reactor).stops_on_signals(true).build().unwrap();
        let stop = reactor.clone();
        reactor.add_system_event_trigger(Phase::After, "startup", move || {
            assert!(testing::deliver_signal(&stop, Signal::TERM));
            assert!(testing::deliver_signal(&stop, Signal::INT));
        });
        assert_eq!(reactor.stopped_by(), None);
        reactor.run().unwrap();
        assert_eq!(reactor.stopped_by(), Some(Signal::TERM));
        assert!(!testing::deliver_signal(&reactor, Signal::TERM));
    }

    fn a_signal_that_finds_the_reactor_stopping_has_not_stopped_it(reactor) {
        let _alone = alone();
        let reactor = support::builder_like(&reactor).stops_on_signals(true).build().unwrap();
        let stop = reactor.clone();
        reactor.add_system_event_trigger(Phase::After, "startup", move || {
            stop.stop().unwrap();
            assert!(testing::deliver_signal(&stop, Signal::TERM));
        });
        reactor.run().unwrap();
        assert_eq!(reactor.stopped_by(), None);
    }

    fn a_stop_signal_before_the_start_is_over_stops_it_then(reactor) {
        let _alone = alone();
        let reactor = support::builder_like(&reactor).stops_on_signals(true).build().unwrap();
        let log = Log::new();
        let (waits, resolver) = Deferred::<()>::pair();
        reactor.add_system_event_trigger(Phase::Before, "startup", move || waits);
        let stop = reactor.clone();
        reactor.call_later(MS, move || assert!(testing::deliver_signal(&stop, Signal::TERM)));
        let note = log.clone();
        reactor.call_later(MS * 3, move || {
            note.note("may start");
            resolver.callback(());
        });
        for event in ["startup", "shutdown"] {
            let note = log.clone();
            reactor.add_system_event_trigger(Phase::After, event, move || note.note(event));
        }
        reactor.run().unwrap();
        assert_eq!(log.take(), ["may start", "startup", "shutdown"]);
        assert_eq!(reactor.stopped_by(), Some(Signal::TERM));
    }
}

#[test]
fn when_one_of_two_reactors_ends_the_other_still_gets_signals() {
    let _alone = alone();
    let signal = every_day()[2];
    let (sender, heard) = mpsc::channel();
    let listen = |rounds: usize| {
        let sender = sender.clone();
        let name = rounds;
        thread::spawn(move || {
            testing::run_on(Reactor::new().unwrap(), async move |reactor| {
                let mut signals = reactor.signals([signal])?;
                sender.send((name, 0))?;
                for round in 1..=rounds {
                    assert_eq!(signals.next().await, Some(signal));
                    sender.send((name, round))?;
                }
                Ok(())
            });
        })
    };
    let (short, long) = (listen(2), listen(4));
    let next = |count: usize| {
        let mut said: Vec<_> = (0..count).map(|_| heard.recv().unwrap()).collect();
        said.sort_unstable();
        said
    };
    assert_eq!(next(2), [(2, 0), (4, 0)]);
    signal.raise().unwrap();
    assert_eq!(next(2), [(2, 1), (4, 1)]);
    signal.raise().unwrap();
    assert_eq!(next(2), [(2, 2), (4, 2)]);
    short.join().unwrap();
    assert!(is_caught(signal));
    for round in 3..=4 {
        signal.raise().unwrap();
        assert_eq!(next(1), [(4, round)]);
    }
    long.join().unwrap();
    assert!(!is_caught(signal));
}

/// Runs the child's role.
#[test]
fn role() {
    #[cfg(windows)]
    if std::env::var("TORSADE_ROLE").as_deref() == Ok("ignored") {
        signals::ignore(HUP);
    }
    role::play(async |reactor, name| {
        signals::obey();
        let say = |what: &str| eprintln!("{what}");
        for phase in [Phase::Before, Phase::After] {
            reactor.add_system_event_trigger(phase, "shutdown", move || {
                say(match phase {
                    Phase::Before => "before",
                    _ => "after",
                })
            });
        }
        match name {
            // Ignored before, as by nohup.
            "ignored" => {
                assert!(is_ignored(HUP));
                let observed = HUP.wait(reactor);
                let mut stream = reactor.signals([HUP])?;
                assert!(!is_ignored(HUP));
                HUP.raise()?;
                observed.await?;
                stream.next().await;
                assert!(is_caught(HUP));
                drop(stream);
                assert!(is_ignored(HUP));
                HUP.raise()?;
                say("ignored again");
                Ok(())
            }
            // The first is the program's, the second stops it in good order.
            "once" => {
                let observed = Signal::TERM.wait(reactor);
                say("ready");
                say(&observed.await?.to_string());
                pending().await
            }
            // All are the program's until it stops; then two end it.
            "always" => {
                reactor.add_system_event_trigger(Phase::Before, "shutdown", || {
                    let (deferred, resolver) = Deferred::<()>::pair();
                    std::mem::forget(resolver);
                    deferred
                });
                let mut signals = reactor.signals([Signal::TERM])?;
                say("ready");
                for _ in 0..3 {
                    say(&signals.next().await.unwrap().to_string());
                }
                let stop = reactor.clone();
                reactor.call_soon(move || stop.stop().unwrap());
                loop {
                    say(&signals.next().await.unwrap().to_string());
                }
            }
            #[cfg(unix)]
            // Each SIGUSR1 is delivered, and makes the reactor dump while it runs.
            "dumps" => {
                let other = thread::spawn(move || {
                    let reactor = Reactor::builder().dumps_on_signal(true).build().unwrap();
                    let mut signals = reactor.signals([USR1]).unwrap();
                    // Before the run there is none.
                    USR1.raise().unwrap();
                    reactor.run_until_current();
                    let heard = reactor.run_until(async {
                        assert_eq!(signals.next().await, Some(USR1));
                        USR1.raise().unwrap();
                        signals.next().await
                    });
                    assert_eq!(heard.unwrap(), Some(USR1));
                    say("the run is over");
                    assert!(!is_caught(USR1));
                });
                other.join().unwrap();
                Ok(())
            }
            #[cfg(target_os = "linux")]
            // Descriptors come back.
            "descriptors" => {
                let count = || fs::read_dir("/proc/self/fd").unwrap().count();
                let before = count();
                for _ in 0..100 {
                    let mut signals = reactor.signals(Signal::all().filter(|s| reactor_may(*s)))?;
                    let others = [(); 10].map(|()| USR1.wait(reactor));
                    USR1.raise()?;
                    for other in others {
                        other.await?;
                    }
                    signals.next().await;
                }
                for made in [Reactor::new, Reactor::in_memory] {
                    for _ in 0..100 {
                        let other = made()?;
                        let signals = other.signals([USR1])?;
                        drop((other, signals));
                    }
                }
                assert_eq!(count(), before);
                Ok(())
            }
            other => panic!("{other}"),
        }
    });
}

/// Returns whether a listener to the signal does no harm.
#[cfg(target_os = "linux")]
fn reactor_may(signal: Signal) -> bool {
    ![
        Signal::KILL,
        Signal::STOP,
        Signal::SEGV,
        Signal::BUS,
        Signal::FPE,
        Signal::ILL,
    ]
    .contains(&signal)
}

/// A child in a role.
fn start(role: &str) -> Child {
    let mut child = role::child(role);
    let child = signals::takes_signals(child.stdout(Stdio::null()));
    child.spawn().unwrap()
}

#[test]
fn a_signal_that_was_ignored_is_ignored_again() {
    #[cfg(unix)]
    let child = {
        let child = role::child("ignored");
        let mut ignoring = Command::new("sh");
        ignoring.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
        ignoring.arg(child.get_program()).args(child.get_args());
        ignoring.env("TORSADE_ROLE", "ignored");
        ignoring.stdout(Stdio::null()).stderr(Stdio::piped());
        ignoring.spawn().unwrap()
    };
    #[cfg(windows)]
    let child = start("ignored");
    assert!(role::end(child).contains("ignored again\n"));
}

#[test]
fn the_first_stop_signal_fires_the_deferred_and_the_second_stops_gracefully() {
    let mut child = start("once");
    let mut errors = child.stderr.take().unwrap();
    role::await_text(&mut errors, "ready\n");
    signals::send(&mut child, Signal::TERM);
    role::await_text(&mut errors, "SIGTERM\n");
    signals::send(&mut child, Signal::TERM);
    role::await_text(&mut errors, "before\nafter\n");
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_listener_to_stop_signals_does_not_prevent_a_second_signal_from_ending_a_hanging_shutdown() {
    let mut child = start("always");
    let mut errors = child.stderr.take().unwrap();
    role::await_text(&mut errors, "ready\n");
    for _ in 0..3 {
        signals::send(&mut child, Signal::TERM);
        role::await_text(&mut errors, "SIGTERM\n");
    }
    role::await_text(&mut errors, "before\n");
    // The first one since then is delivered and recorded; the second ends the process.
    signals::send(&mut child, Signal::TERM);
    role::await_text(&mut errors, "SIGTERM\n");
    let status = signals::insist(&mut child, Signal::INT);
    assert!(is_end_by(Signal::INT, status), "{status}");
}

#[cfg(unix)]
#[test]
fn a_listener_to_the_dump_signal_gets_the_signal_and_the_dump() {
    let errors = role::end(start("dumps"));
    let (dump, _) = errors.split_once("the run is over\n").unwrap();
    assert_eq!(
        dump.matches("everything that is alive").count(),
        1,
        "{errors}"
    );
    assert!(dump.contains("signal listener"), "{errors}");
}

#[cfg(target_os = "linux")]
#[test]
fn listening_leaves_no_descriptor_behind() {
    role::end(start("descriptors"));
}

/// Some signals of each kind that do not stop a reactor made with `Reactor::new`.
fn every_day() -> [Signal; 4] {
    #[cfg(unix)]
    return [USR1, HUP, Signal::real_time(3).unwrap(), Signal::CHLD];
    #[cfg(windows)]
    return [USR1, HUP, Signal::ABRT, Signal::TERM];
}

// On Windows only these and SIGABRT can be listened to; by number they come in the same order.
#[cfg(unix)]
const HUP: Signal = Signal::HUP;
#[cfg(unix)]
const USR1: Signal = Signal::USR1;
#[cfg(unix)]
const USR2: Signal = Signal::USR2;
#[cfg(windows)]
const HUP: Signal = Signal::INT;
#[cfg(windows)]
const USR1: Signal = Signal::TERM;
#[cfg(windows)]
const USR2: Signal = Signal::BREAK;
