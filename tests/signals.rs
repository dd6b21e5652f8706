//! Being asked to stop by a signal. The child is this very program, run again for one test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use torsade::{Clock, Deferred, Phase, Reactor};

/// What the child does; does nothing in the parent.
#[test]
fn child() {
    let Ok(mode) = std::env::var("TORSADE_CHILD") else {
        return;
    };
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
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env("TORSADE_CHILD", mode)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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

    fn kill(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// The signal it ended by.
    fn ended_by(mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        self.0.wait().unwrap().signal()
    }
}

#[test]
fn a_signal_stops_it_in_good_order_and_the_next_one_after_the_run_is_as_before() {
    for (mode, signal) in [
        ("idle", Signal::TERM),
        ("busy", Signal::INT),
        ("sleeping", Signal::TERM),
    ] {
        let mut child = Started::new(mode);
        child.kill(signal);
        for what in ["before", "during", "after", "returned", "again"] {
            child.expect(what);
        }
        child.kill(signal);
        assert_eq!(child.ended_by(), Some(signal.as_raw()), "{mode}");
    }
}

#[test]
fn a_second_signal_ends_a_shutdown_that_hangs() {
    let mut child = Started::new("stuck");
    child.kill(Signal::TERM);
    child.expect("before");
    child.kill(Signal::TERM);
    assert_eq!(child.ended_by(), Some(Signal::TERM.as_raw()));
}
