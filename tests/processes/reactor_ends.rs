//! Processes whose reactor ends: their hooks, kills, and waits.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use support::noted::Noted;
use support::{Log, expect_reports, own, some_turns, until};
use torsade::process::Command;
use torsade::reactor::Stopped;
use torsade::testing::Programs;
use torsade::{Clock, Failure, Reactor, testing};

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

/// A child that does not end upon request, and continues when its reactor ends.
fn stubborn() -> Command {
    let script = "trap '' TERM; echo up; exec sleep 1000";
    Command::new("sh").args(["-c", script])
}

/// A program that only waits: on the machine, or a fake one.
fn waiter(reactor: &Reactor) -> Command {
    match Programs::new(reactor) {
        Ok(programs) => {
            programs.add("wait", async |_actor| std::future::pending().await);
            Command::new("wait")
        }
        Err(_) => Command::new("sleep").arg("1000").kill_on_drop(true),
    }
}

/// Turns a reactor by hand until something has come about, with time standing still.
#[track_caller]
fn turn_until(reactor: &Reactor, mut cond: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !cond() {
        assert!(
            Instant::now() < patience,
            "the condition did not become true"
        );
        reactor.iterate(Duration::ZERO);
    }
}

#[test]
fn a_second_request_to_end_keeps_the_shorter_time() {
    for (first, second) in [(2, 60), (60, 1)] {
        let reactor = Reactor::builder().manual_time().build().unwrap();
        let log = Log::new();
        let handle = stubborn()
            .spawn_protocol(&reactor, Noted::new(&log))
            .unwrap();
        turn_until(&reactor, || log.has("1 says up\\n"));
        let process = handle.transport().unwrap();
        process.terminate_within(SECOND * first);
        reactor.advance(SECOND);
        process.terminate_within(SECOND * second);
        for _ in 0..100 {
            reactor.iterate(Duration::ZERO);
        }
        assert!(process.is_running());
        reactor.advance(SECOND);
        turn_until(&reactor, || log.has("ended with signal 9"));
        assert_eq!(testing::leftovers(&reactor), [], "nor is a timer left");
    }
}

#[test]
fn a_process_asked_to_end_is_killed_when_the_reactor_ends_first() {
    let log = Log::new();
    let reactor = Reactor::new().unwrap();
    let pid = reactor
        .run_until(async {
            let handle = stubborn()
                .spawn_protocol(&reactor, Noted::new(&log))
                .unwrap();
            until(|| log.has("1 says up\\n")).await;
            let process = handle.transport().unwrap();
            process.terminate_within(SECOND * 1000);
            process.pid().unwrap()
        })
        .unwrap();
    run(async |_| {
        until(|| fs::metadata(format!("/proc/{pid}")).is_err()).await;
        Ok(())
    });
}

on_both_by_hand! {
    fn a_protocol_without_connection_made_gets_no_process_ended(reactor) {
        let reports = expect_reports(&reactor);
        let (log, wait) = (Log::new(), waiter(&reactor));
        let handle = wait.clone().spawn_protocol(&reactor, Noted::new(&log)).unwrap();
        let output = wait.clone().output(&reactor);
        let observed = log.clone();
        let child = wait.clone().spawn(&reactor).unwrap();
        drop(child.status().add_errback(move |failure| {
            observed.note(format_args!("child: {failure}"));
            Err(failure)
        }).add_both(|_| ()));
        drop(wait.status(&reactor));
        drop(reactor);
        assert!(!handle.is_connected());
        assert_eq!(log.take(), ["child: the reactor was stopped"]);
        // Pending results of a process are delivered.
        let observed = log.clone();
        drop(output.add_both(move |output| {
            assert!(output.unwrap_err().is::<Stopped>());
            observed.note("output");
        }));
        assert_eq!(log.take(), ["output"]);
        assert_eq!(reports.borrow().len(), 0, "{reports:?}");
    }

    fn a_dropped_wait_for_a_process_ignores_the_end_of_the_reactor(reactor) {
        let reports = expect_reports(&reactor);
        let (main, wait, log) = (reactor.clone(), waiter(&reactor), Log::new());
        let observed = log.clone();
        let result = reactor.run_until(async move {
            drop(wait.clone().output(&main));
            drop(wait.clone().status(&main));
            let child = wait.clone().spawn(&main).unwrap();
            drop(child.status());
            let heard = wait.status(&main).add_errback(move |failure| {
                observed.note(&failure);
                Ok(ExitStatusExt::from_raw(0))
            });
            drop(heard);
            some_turns().await;
            main.stop().unwrap();
            std::future::pending::<()>().await
        });
        result.unwrap_err().trap::<Stopped>().unwrap();
        assert_eq!(log.take(), ["the reactor was stopped"]);
        assert_eq!(reports.borrow().len(), 0, "{reports:?}");
    }
}

/// How long the thread that keeps orphans has been busy; none when there is none.
fn reaper_time() -> Option<Duration> {
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim_end() == "torsade-reaper" {
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
            return Some(Duration::from_nanos(nanoseconds));
        }
    }
    None
}

#[test]
fn an_orphan_that_is_traced_when_it_ends_is_waited_for_without_turning_in_circles() {
    // Others have orphans too, and the same thread keeps them.
    own::alone(
        "an_orphan_that_is_traced_when_it_ends_is_waited_for_without_turning_in_circles",
        keep_a_traced_one,
    );
}

fn keep_a_traced_one() {
    let Some(python) = support::foreign::python() else {
        return;
    };
    run(async |reactor| {
        let other = thread::spawn(|| {
            let reactor = Reactor::new().unwrap();
            let main = async {
                let command = Command::new("sleep").arg("1000");
                let child = command.spawn(&reactor).unwrap();
                child.pid().unwrap()
            };
            reactor.run_until(main).unwrap()
        });
        let pid = other.join().unwrap().to_string();
        // A tracer (PTRACE_SEIZE) that does nothing until its input ends.
        let script = "import ctypes, sys\n\
            assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0\n\
            print('up', flush=True)\n\
            sys.stdin.read()";
        let tracer = Command::new(python).args(["-c", script, &pid]);
        let mut tracer = tracer.spawn(&reactor)?;
        let up = tracer.take_stdout()?.read_line(80).await?;
        assert_eq!(up.as_deref(), Some(&b"up"[..]));
        let kill = Command::new("kill").args(["-9", &pid]);
        assert!(kill.status(&reactor).await?.success());
        let stat = format!("/proc/{pid}/stat");
        until(|| fs::read_to_string(&stat).unwrap().contains(") Z ")).await;
        let before = reaper_time().expect("the reaper runs");
        reactor.sleep(Duration::from_millis(300)).await?;
        let busy = reaper_time().expect("the reaper still runs") - before;
        assert!(busy < Duration::from_millis(20), "it spins: {busy:?}");
        drop(tracer.take_stdin()?);
        until(|| fs::metadata(&stat).is_err()).await;
        tracer.status().await?;
        Ok(())
    });
}
