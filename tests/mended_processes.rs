//! Processes whose reactor is over, who are asked to end again, and who are played: what was found wrong, and is right now.
#![cfg(target_os = "linux")]

#[macro_use]
mod support;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use support::noted::Noted;
use support::{Log, Spy, expect_reports, some_turns, until};
use torsade::process::{ChildFd, Command, NotStarted};
use torsade::reactor::Stopped;
use torsade::testing::Programs;
use torsade::{Clock, Failure, Reactor, Signal, testing};

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script]).kill_on_drop(true)
}

/// One that does not end when it is asked to, and goes on when its reactor ends.
fn stubborn() -> Command {
    let script = "trap '' TERM; echo up; exec sleep 1000";
    Command::new("sh").args(["-c", script])
}

/// A program that only waits: on the machine, or played.
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
        assert!(Instant::now() < patience, "waited in vain");
        reactor.iterate(Duration::ZERO);
    }
}

#[test]
fn who_is_asked_to_end_again_has_the_shorter_time() {
    for (first, second) in [(2, 60), (60, 1)] {
        let reactor = Reactor::builder().with_manual_time().build().unwrap();
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
fn one_that_was_asked_to_end_is_killed_when_the_reactor_ends_before_its_time_is_over() {
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
    fn who_was_never_told_of_a_process_is_not_told_of_its_end(reactor) {
        let reports = expect_reports(&reactor);
        let (log, wait) = (Log::new(), waiter(&reactor));
        let handle = wait.clone().spawn_protocol(&reactor, Noted::new(&log)).unwrap();
        let output = wait.clone().output(&reactor);
        let told = log.clone();
        let child = wait.clone().spawn(&reactor).unwrap();
        drop(child.status().add_errback(move |failure| {
            told.note(format_args!("child: {failure}"));
            Err(failure)
        }).add_both(|_| ()));
        drop(wait.status(&reactor));
        drop(reactor);
        assert!(!handle.is_connected());
        assert_eq!(log.take(), ["child: the reactor was stopped"]);
        // Who asked what comes of one is answered.
        let told = log.clone();
        drop(output.add_both(move |output| {
            assert!(output.unwrap_err().is::<Stopped>());
            told.note("output");
        }));
        assert_eq!(log.take(), ["output"]);
        assert_eq!(reports.borrow().len(), 0, "{reports:?}");
    }

    fn that_the_reactor_ends_is_no_news_to_who_waits_for_no_process(reactor) {
        let reports = expect_reports(&reactor);
        let (main, wait, log) = (reactor.clone(), waiter(&reactor), Log::new());
        let told = log.clone();
        let result = reactor.run_until(async move {
            drop(wait.clone().output(&main));
            drop(wait.clone().status(&main));
            let child = wait.clone().spawn(&main).unwrap();
            drop(child.status());
            let heard = wait.status(&main).add_errback(move |failure| {
                told.note(&failure);
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
fn keeper_time() -> Option<Duration> {
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim_end() == "torsade-orphans" {
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
            return Some(Duration::from_nanos(nanoseconds));
        }
    }
    None
}

#[test]
fn an_orphan_that_is_traced_when_it_ends_is_waited_for_without_turning_in_circles() {
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
        let before = keeper_time().expect("it has one to keep");
        reactor.sleep(Duration::from_millis(300)).await?;
        let busy = keeper_time().expect("it has it still") - before;
        assert!(busy < Duration::from_millis(20), "it spins: {busy:?}");
        drop(tracer.take_stdin()?);
        until(|| fs::metadata(&stat).is_err()).await;
        tracer.status().await?;
        Ok(())
    });
}

#[test]
fn a_terminal_that_is_played_can_be_resized() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let programs = Programs::new(&reactor)?;
        programs.add("sized", async |mut actor| {
            let mut terminal = actor.take_stdout()?;
            loop {
                let resized = actor.catch(Signal::WINCH);
                let (rows, columns) = actor.window_size().expect("it has a terminal");
                terminal
                    .write_all(format!("{rows} {columns}\n").as_bytes())
                    .await?;
                resized.await?;
            }
        });
        programs.add("plain", async |actor| {
            assert_eq!(actor.window_size(), None);
            std::future::pending().await
        });
        let mut child = Command::new("sized").pty().spawn(&reactor)?;
        let mut terminal = child.take_stdout()?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"24 80");
        child.set_window_size(50, 132)?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"50 132");
        // It is told of a change, and this is none.
        child.set_window_size(50, 132)?;
        some_turns().await;
        child.set_window_size(10, 20)?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"10 20");
        let plain = Command::new("plain").spawn(&reactor)?;
        let error = plain.set_window_size(1, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        child.kill();
        plain.kill();
        plain.status().await?;
        Ok(())
    });
    Ok(())
}

#[test]
fn a_terminal_that_was_closed_is_another_thing_than_none() {
    run(async |reactor| {
        let child = sh("trap '' HUP; exec sleep 1000").pty().spawn(&reactor)?;
        child.lose_connection();
        until(|| child.pipe(1).is_none()).await;
        let error = child.set_window_size(1, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
        assert!(!error.to_string().contains("no terminal"), "{error}");
        Ok(())
    });
}

#[test]
fn a_part_has_the_number_of_no_process() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let wait = waiter(&reactor);
        let (one, other) = (wait.clone().spawn(&reactor)?, wait.spawn(&reactor)?);
        let (pid, next) = (one.pid().unwrap(), other.pid().unwrap());
        // Linux has none from here on, however it is set up.
        assert!(pid >= 1 << 22 && next > pid, "{pid}, {next}");
        one.kill();
        other.kill();
        assert_eq!(other.status().await?.signal(), Some(9));
        Ok(())
    });
    Ok(())
}

#[test]
fn what_a_part_is_made_of_was_made_where_it_was_started() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let reports = expect_reports(&reactor);
        let programs = Programs::new(&reactor)?;
        programs.add("panic", async |mut actor| {
            let _kept = actor.take_stdin()?;
            actor.catch(Signal::USR1).await?;
            panic!("the part")
        });
        let child = Command::new("panic").spawn(&reactor)?;
        some_turns().await;
        let tree = reactor.dump().to_string();
        assert!(tree.contains(file!()), "{tree}");
        assert!(!tree.contains("src/process"), "{tree}");
        child.signal_process(Signal::USR1)?;
        assert_eq!(child.status().await?.signal(), Some(6));
        let report = format!("{:?}", reports.borrow());
        assert!(!report.contains("acted.rs"), "{report}");
        Ok(())
    });
    Ok(())
}

/// It holds on to what tells it, and waits for something else.
#[test]
fn a_part_that_is_killed_is_told_of_no_signal_and_that_is_no_news() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let programs = Programs::new(&reactor)?;
        programs.add("careful", async |actor| {
            let _asked = actor.catch(Signal::TERM);
            std::future::pending().await
        });
        let child = Command::new("careful").spawn(&reactor)?;
        some_turns().await;
        child.kill();
        assert_eq!(child.status().await?.signal(), Some(9));
        Ok(())
    });
    Ok(())
}

#[test]
fn a_setting_that_would_do_nothing_is_an_error_of_the_call() {
    run(async |reactor| {
        let cat = Command::new("cat").kill_on_drop(true);
        let fed = cat.clone().input("x");
        let log = Log::new();
        let mut failures = vec![
            fed.clone()
                .spawn_protocol(&reactor, Noted::new(&log))
                .unwrap_err(),
            fed.clone().spawn(&reactor).unwrap_err(),
            fed.clone()
                .connect(&reactor, Spy::new(&log))
                .map(drop)
                .unwrap_err(),
            fed.clone().status(&reactor).await.unwrap_err(),
            fed.clone()
                .child_fd(0, ChildFd::Null)
                .output(&reactor)
                .await
                .unwrap_err(),
            fed.clone()
                .no_child_fd(0)
                .output(&reactor)
                .await
                .unwrap_err(),
        ];
        for number in [0, 1] {
            let taken = cat.clone().child_fd(number, ChildFd::Null);
            for command in [taken, cat.clone().no_child_fd(number)] {
                let failure = command.connect(&reactor, Spy::new(&log)).map(drop);
                failures.push(failure.unwrap_err());
            }
        }
        for failure in failures {
            let error = failure.trap::<NotStarted>()?.io_error();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        some_turns().await;
        assert!(log.is_empty(), "{:?}", log.all());
        // These do something.
        let errors = cat.clone().child_fd(2, ChildFd::Null);
        let (peer, _child) =
            errors.connect(&reactor, Spy::new(&log).on_made(|cx| cx.lose_write()))?;
        peer.closed().await?;
        let explicit = fed.child_fd(0, ChildFd::Write);
        assert_eq!(explicit.output(&reactor).await?.out, b"x");
        Ok(())
    });
}
