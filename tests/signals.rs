//! Being asked to stop by a signal. The child is this very program, run again for one test.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use support::signals;
use torsade::{Clock, Deferred, Phase, Reactor, Signal};

/// What the child does; does nothing in the parent.
#[test]
fn child() {
    let Ok(mode) = std::env::var("TORSADE_CHILD") else {
        return;
    };
    signals::obey();
    let say = |what: &str| {
        println!("{what}");
        std::io::stdout().flush().unwrap();
    };
    let result = torsade::run(async |reactor| {
        for (phase, what) in [
            (Phase::Before, "before"),
            (Phase::During, "during"),
            (Phase::After, "after"),
        ] {
            reactor.add_system_event_trigger(phase, "shutdown", move || say(what));
        }
        if mode == "stuck" {
            reactor.add_system_event_trigger(Phase::Before, "shutdown", || {
                let (deferred, resolver) = Deferred::<()>::pair();
                std::mem::forget(resolver);
                deferred
            });
        }
        say("ready");
        match mode.as_str() {
            "busy" => loop {
                torsade::yield_now().await;
            },
            "sleeping" => Ok(reactor.sleep(Duration::from_secs(600)).await?),
            _ => std::future::pending().await,
        }
    });
    assert!(result.is_ok());
    say("returned");
    // A reactor of one's own leaves signals alone, so the next one ends the process.
    let reactor = Reactor::new().unwrap();
    reactor.call_when_running(move || say("again"));
    reactor.call_later(Duration::from_secs(20), || std::process::exit(3));
    let _ = reactor.run();
}

struct Started(Child, BufReader<ChildStdout>);

impl Started {
    fn new(mode: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env("TORSADE_CHILD", mode)
            .stdout(Stdio::piped());
        let mut child = signals::takes_signals(&mut command).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut started = Self(child, out);
        started.expect("ready");
        started
    }

    #[track_caller]
    fn expect(&mut self, what: &str) {
        let mut line = String::new();
        while !line.trim_end().ends_with(what) {
            line.clear();
            assert_ne!(self.1.read_line(&mut line).unwrap(), 0, "waited for {what}");
        }
    }

    fn kill(&mut self, signal: Signal) {
        signals::send(&mut self.0, signal);
    }

    #[track_caller]
    fn ends_by(mut self, signal: Signal) {
        let status = self.0.wait().unwrap();
        assert!(signals::is_end_by(signal, status), "{signal}: {status}");
    }
}

#[test]
fn a_signal_stops_it_in_good_order_and_the_next_one_after_the_run_is_as_before() {
    for (mode, signal) in [
        ("idle", Signal::TERM),
        ("busy", Signal::INT),
        ("sleeping", Signal::TERM),
        #[cfg(windows)]
        ("sleeping", Signal::BREAK),
    ] {
        let mut child = Started::new(mode);
        child.kill(signal);
        for what in ["before", "during", "after", "returned", "again"] {
            child.expect(what);
        }
        child.kill(signal);
        child.ends_by(signal);
    }
}

#[test]
fn a_second_signal_ends_a_shutdown_that_hangs() {
    let mut child = Started::new("stuck");
    child.kill(Signal::TERM);
    child.expect("before");
    child.kill(Signal::TERM);
    child.ends_by(Signal::TERM);
}

/// From the console, where there is one; some know nothing of Ctrl-Break.
#[cfg(windows)]
#[test]
fn what_is_pressed_stops_it_in_good_order_and_the_second_time_at_once() {
    for signal in [Signal::INT, Signal::BREAK] {
        for mode in ["idle", "stuck"] {
            let mut child = Started::new(mode);
            if !signals::press(&child.0, signal) {
                println!("no console, or none that sends {signal}");
                child.0.kill().unwrap();
                continue;
            }
            child.expect("before");
            if mode == "idle" {
                child.expect("again");
            }
            assert!(signals::press(&child.0, signal));
            if mode == "stuck" {
                child.ends_by(signal);
            } else {
                // The system's own doing, for which not all of them have the same number; ours would be 3.
                assert_ne!(child.0.wait().unwrap().code(), Some(3));
            }
        }
    }
}
