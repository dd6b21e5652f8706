//! Being asked to stop by a signal. The child is this very program, run again for one test.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::process::{Pid, kill_process};
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
    if mode == "ends as it was stopped" {
        // As the documentation of `stopped_by` has it.
        let reactor = Reactor::builder().stops_on_signals(true).build().unwrap();
        reactor.call_when_running(move || say("once more"));
        reactor.run().unwrap();
        let signal = reactor.stopped_by().unwrap();
        signal.raise().unwrap();
        std::process::exit(128 + signal.number());
    }
    // A reactor of one's own leaves signals alone, so the next one ends the process.
    let reactor = Reactor::new().unwrap();
    reactor.call_when_running(move || say("again"));
    reactor.call_later(Duration::from_secs(20), || std::process::exit(3));
    let _ = reactor.run();
}

struct Started(Child, BufReader<ChildStdout>);

impl Started {
    fn new(mode: &str) -> Self {
        Self::by(Command::new(std::env::current_exe().unwrap()), mode)
    }

    /// As the first process of a container; none where the system makes none for us.
    #[cfg(target_os = "linux")]
    fn first(mode: &str) -> Option<Self> {
        let container = || {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child"]);
            command
        };
        let is_possible = container().arg("true").stderr(Stdio::null()).status();
        if !is_possible.is_ok_and(|status| status.success()) {
            eprintln!("not tried: no container to be had");
            return None;
        }
        let mut command = container();
        command.arg(std::env::current_exe().unwrap());
        Some(Self::by(command, mode))
    }

    fn by(mut command: Command, mode: &str) -> Self {
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

    /// The one process that it has started.
    #[cfg(target_os = "linux")]
    fn only_child(&self) -> Pid {
        let id = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap()).unwrap()
    }

    #[track_caller]
    fn ends_by(mut self, signal: Signal) {
        let status = self.0.wait().unwrap();
        assert!(signals::is_end_by(signal, status), "{signal}: {status}");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Nobody waits for one that did not end; who has ended is not killed.
        let _ = self.0.kill();
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
        for (mode, steps) in [
            ("idle", &["before", "again"] as &[_]),
            ("stuck", &["before"]),
        ] {
            let mut child = Started::new(mode);
            if !signals::press(&child.0, signal) {
                println!("no console, or none that sends {signal}");
                child.0.kill().unwrap();
                continue;
            }
            for what in steps {
                child.expect(what);
            }
            assert!(signals::press(&child.0, signal));
            child.ends_by(signal);
        }
    }
}

#[test]
fn a_program_may_end_by_the_signal_that_stopped_it() {
    let mut child = Started::new("ends as it was stopped");
    child.kill(Signal::INT);
    child.expect("once more");
    child.kill(Signal::TERM);
    child.ends_by(Signal::TERM);
}

/// The kernel lets no default disposition end such a process.
#[cfg(target_os = "linux")]
#[test]
fn the_first_process_of_a_container_ends_by_a_second_signal_as_well() {
    for (mode, last) in [("stuck", "before"), ("ends as it was stopped", "once more")] {
        let Some(mut child) = Started::first(mode) else {
            return;
        };
        let first = child.only_child();
        kill_process(first, rustix::process::Signal::TERM).unwrap();
        child.expect(last);
        kill_process(first, rustix::process::Signal::TERM).unwrap();
        let status = child.0.wait().unwrap();
        assert_eq!(status.code(), Some(128 + Signal::TERM.number()), "{mode}");
    }
}
