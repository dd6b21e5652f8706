//! Being asked to stop by a signal. The child is this very program, run again for one test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use rustix::process::{Pid, kill_process};
use support::{own, signals};
use torsade::{Clock, Context, Deferred, Phase, Protocol, Reactor, Signal};

/// Runs the child's role; does nothing in the parent.
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
    if let Some(way) = mode.strip_prefix("built: ") {
        return run_built(way, say);
    }
    let builder = Reactor::builder().ends_by_signal(mode == "ends by it");
    let result = builder.run(async |reactor| {
        for (phase, what) in [
            (Phase::Before, "before"),
            (Phase::During, "during"),
            (Phase::After, "after"),
        ] {
            reactor.add_system_event_trigger(phase, "shutdown", move || say(what));
        }
        if mode == "slow" || mode == "blocked" {
            let clock = reactor.clone();
            reactor.add_system_event_trigger(Phase::Before, "shutdown", async move || {
                clock.sleep(Duration::from_millis(30)).await?;
                say("slept");
                Ok(())
            });
        }
        if mode == "stuck" {
            reactor.add_system_event_trigger(Phase::Before, "shutdown", || {
                let (deferred, resolver) = Deferred::<()>::pair();
                std::mem::forget(resolver);
                deferred
            });
        }
        say("ready");
        if mode == "blocked" {
            block(Duration::from_millis(300));
        }
        if mode == "hangs" {
            block(Duration::from_secs(60));
        }
        match mode.as_str() {
            "busy" => loop {
                torsade::yield_now().await;
            },
            "sleeping" => Ok(reactor.sleep(Duration::from_secs(600)).await?),
            "ends by it" => reactor.stopped().await,
            "forgets" => {
                reactor.listen("127.0.0.1:0", |_| Quiet)?;
                Ok(())
            }
            "stops itself" => {
                reactor.listen("127.0.0.1:0", |_| Quiet)?;
                Ok(reactor.stop()?)
            }
            "was used" => {
                let port = reactor.listen("127.0.0.1:0", |_| Quiet)?;
                let mut conn = reactor.connect_stream(port.local_addr()).await?;
                conn.read(&mut [0]).await?;
                Ok(())
            }
            "waits" => reactor.stopped().await,
            _ => std::future::pending().await,
        }
    });
    assert!(result.is_ok());
    say("returned");
    #[cfg(target_os = "linux")]
    if mode == "blocked before" {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("SigBlk:"));
        let mask = u64::from_str_radix(line.unwrap()["SigBlk:".len()..].trim(), 16).unwrap();
        let both = 1 << (Signal::INT.number() - 1) | 1 << (Signal::TERM.number() - 1);
        assert_eq!(mask & both, both);
        return say("blocked again");
    }
    if mode == "ends as it was stopped" {
        // As the documentation of `stopped_by` has it.
        let reactor = Reactor::builder().stops_on_signals(true).build().unwrap();
        reactor.add_system_event_trigger(Phase::After, "startup", move || say("once more"));
        reactor.run().unwrap();
        let signal = reactor.stopped_by().unwrap();
        signal.raise().unwrap();
        std::process::exit(128 + signal.number());
    }
    // A reactor made with `Reactor::new` ignores signals, so the next one ends the process.
    let reactor = Reactor::new().unwrap();
    reactor.add_system_event_trigger(Phase::After, "startup", move || say("again"));
    reactor.call_later(Duration::from_secs(20), || std::process::exit(3));
    let _ = reactor.run();
}

/// Runs the child's role on a reactor of this builder.
fn run_built(way: &str, say: fn(&str)) {
    let builder = Reactor::builder().ends_by_signal(true);
    match way {
        "run" => {
            let ran = builder.run(async |reactor| {
                say("ready");
                reactor.stopped().await?;
                say("stopped");
                Ok(())
            });
            assert!(ran.is_ok());
        }
        "left alone" => {
            let ran = builder.stops_on_signals(false).run(async |reactor| {
                reactor.add_system_event_trigger(Phase::Before, "shutdown", move || say("before"));
                say("ready");
                std::future::pending().await
            });
            assert!(ran.is_ok());
        }
        _ => {
            let reactor = builder.stops_on_signals(true).build().unwrap();
            let main = async {
                say("ready");
                if way == "done" {
                    reactor.stopped().await.unwrap();
                    return "done";
                }
                std::future::pending().await
            };
            assert_eq!(reactor.run_until(main).unwrap(), "done");
            assert_eq!(reactor.stopped_by(), Some(Signal::INT));
        }
    }
    say("returned");
}

/// Ends each connection.
struct Quiet;

impl Protocol for Quiet {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.lose_connection();
    }
}

/// Blocks the thread.
fn block(time: Duration) {
    let until = Instant::now() + time;
    // A signal may wake the thread earlier.
    while Instant::now() < until {
        std::thread::park_timeout(until - Instant::now());
    }
}

struct Started(Child, BufReader<ChildStdout>);

impl Started {
    fn new(mode: &str) -> Self {
        Self::by(Command::new(own::program()), mode)
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
        command.arg(own::program());
        Some(Self::by(command, mode))
    }

    fn by(mut command: Command, mode: &str) -> Self {
        command
            .args(own::words("child"))
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

    /// It is not ended by a failure that it tells on standard output either.
    #[cfg(unix)]
    #[track_caller]
    fn ends_by_closing_its_output(mut self, signal: Signal) {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.1, &mut said).unwrap();
        assert_eq!(said, "");
        self.ends_by(signal);
    }

    #[track_caller]
    fn ends_by(mut self, signal: Signal) {
        let status = self.0.wait().unwrap();
        assert!(signals::is_end_by(signal, status), "{signal}: {status}");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // A child that did not end is not waited for; one that has ended is not killed.
        let _ = self.0.kill();
    }
}

#[test]
fn a_signal_stops_the_run_gracefully_and_is_restored_after_it() {
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
    let status = signals::insist(&mut child.0, Signal::TERM);
    assert!(signals::is_end_by(Signal::TERM, status), "{status}");
}

#[test]
fn stop_signals_that_come_together_stop_it_in_good_order_once() {
    // A program that ends a whole process group may send two signals; and a busy loop obeys when it
    // can.
    for mode in ["slow", "blocked"] {
        let mut child = Started::new(mode);
        for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
            child.kill(signal);
        }
        for what in ["before", "slept", "during", "after", "returned"] {
            child.expect(what);
        }
    }
}

#[test]
fn a_loop_that_hangs_is_ended_by_the_second_signal_as_well() {
    let mut child = Started::new("hangs");
    child.kill(Signal::INT);
    let status = signals::insist(&mut child.0, Signal::INT);
    assert!(signals::is_end_by(Signal::INT, status), "{status}");
}

/// Starts a program as a parent does that ignores SIGINT, and so has its children ignore it.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_blocked_by_the_parent_stops_the_program_all_the_same() {
    let blocking = || {
        let mut command = Command::new("env");
        command.args(["--block-signal=INT", "--block-signal=TERM"]);
        command
    };
    let is_possible = blocking().arg("true").stderr(Stdio::null()).status();
    if !is_possible.is_ok_and(|status| status.success()) {
        eprintln!("not tried: this `env` blocks no signals");
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = blocking();
        command.arg(own::program());
        let mut child = Started::by(command, "blocked before");
        child.kill(signal);
        for what in ["before", "after", "returned", "blocked again"] {
            child.expect(what);
        }
    }
}

/// From the console, where there is one; some know nothing of Ctrl-Break.
#[cfg(windows)]
#[test]
fn the_first_ctrl_c_stops_gracefully_and_the_second_at_once() {
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
            block(Duration::from_millis(150));
            assert!(signals::press(&child.0, signal));
            if mode == "stuck" {
                child.ends_by(signal);
            } else {
                // The system's own doing, for which not all of them have the same number; ours
                // would be 3.
                assert_ne!(child.0.wait().unwrap().code(), Some(3));
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn with_ends_by_signal_a_program_ends_by_the_signal_after_its_shutdown() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = Started::new("ends by it");
        child.kill(signal);
        for what in ["before", "during", "after"] {
            child.expect(what);
        }
        child.ends_by(signal);
    }
    let mut child = Started::new("waits");
    child.kill(Signal::INT);
    child.expect("returned");
}

#[cfg(unix)]
#[test]
fn a_builder_can_say_that_the_program_ends_by_the_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = Started::new("built: run");
        child.kill(signal);
        child.expect("stopped");
        child.ends_by_closing_its_output(signal);
    }
    // The default of `run` can be switched off.
    let mut child = Started::new("built: left alone");
    child.kill(Signal::INT);
    child.ends_by_closing_its_output(Signal::INT);
}

#[cfg(unix)]
#[test]
fn a_stopped_run_until_ends_by_the_signal_and_a_finished_one_returns() {
    let mut child = Started::new("built: waiting");
    child.kill(Signal::INT);
    child.ends_by_closing_its_output(Signal::INT);
    let mut child = Started::new("built: done");
    child.kill(Signal::INT);
    child.expect("returned");
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn a_main_that_forgets_to_wait_for_connections_gets_a_warning() {
    for (mode, warns) in [
        ("forgets", true),
        ("stops itself", false),
        ("was used", false),
    ] {
        let mut command = Command::new(own::program());
        command.stderr(Stdio::piped());
        let mut child = Started::by(command, mode);
        child.expect("again");
        child.0.kill().unwrap();
        let mut errors = String::new();
        let mut stderr = child.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut errors).unwrap();
        let warning = concat!("so the port that was opened at ", file!(), ":");
        assert_eq!(errors.contains(warning), warns, "{mode}: {errors}");
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
        let patience = Instant::now() + Duration::from_secs(20);
        let status = loop {
            // Signals that come together count as one.
            let _ = kill_process(first, rustix::process::Signal::TERM);
            block(Duration::from_millis(150));
            if let Some(status) = child.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < patience);
        };
        assert_eq!(status.code(), Some(128 + Signal::TERM.number()), "{mode}");
    }
}
