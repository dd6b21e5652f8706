//! Other programs: their hooks, their pipes, their ends.
#![cfg(target_os = "linux")]

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;

use support::noted::{Noted, describe_exit};
use support::{Log, expect_reports, some_turns, until};
use torsade::process::{ChildFd, Command, ProcessError};
use torsade::reactor::Stopped;
use torsade::signals::SignalError;
use torsade::transport::Limits;
use torsade::{Clock, Deferred, Failure, Reactor, Signal, testing};

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// Records the hooks of a process; its pipes and its exit may come in any order, so they are
/// sorted.
async fn life(reactor: &Reactor, command: Command) -> Result<Vec<String>, Failure> {
    let log = Log::new();
    let closes = Noted::new(&log).on_made(|process| process.close_stdin());
    command.spawn_protocol(reactor, closes)?.closed().await?;
    let mut notes = log.take();
    assert_eq!(notes.remove(0), "made");
    assert!(notes.last().unwrap().starts_with("ended"), "{notes:?}");
    notes.sort();
    Ok(notes)
}

#[test]
fn every_hook_is_called_once_and_process_ended_last() {
    run(async |reactor| {
        let log = Log::new();
        let cat = Noted::new(&log)
            .on_made(|process| process.write("hello"))
            .on_data(|process, _, _| process.close_stdin());
        let handle = Command::new("cat").spawn_protocol(&reactor, cat)?;
        assert!(log.is_empty(), "nothing is called inside `spawn_protocol`");
        let reason = handle.closed().await?;
        assert_failure!(reason, ProcessError::Done);
        let mut notes = log.take();
        assert_eq!(notes[..2], ["made", "1 says hello"]);
        assert_eq!(notes.last().unwrap(), "ended with code 0");
        notes.sort();
        let rest = ["0 closed", "1 closed", "1 says hello", "2 closed"];
        assert_eq!(notes[..4], rest);
        assert_eq!(
            notes[4..],
            ["ended with code 0", "exited with code 0", "made"]
        );
        assert!(!handle.is_connected());
        Ok(())
    });
}

#[test]
fn output_and_errors_come_each_by_its_number() {
    run(async |reactor| {
        let notes = life(&reactor, sh("echo out; echo err >&2")).await?;
        assert!(notes.contains(&"1 says out\\n".to_owned()), "{notes:?}");
        assert!(notes.contains(&"2 says err\\n".to_owned()), "{notes:?}");
        Ok(())
    });
}

#[test]
fn a_child_may_have_pipes_under_any_numbers() {
    run(async |reactor| {
        let log = Log::new();
        let noted = Noted::new(&log).on_made(|process| {
            process.write_to_child(3, "down").unwrap();
            process.close_child_fd(3);
            let failure = process.write_to_child(5, "nobody").unwrap_err();
            assert_failure!(failure, ProcessError::NoSuchPipe { fd: 5 });
            process.close_child_fd(5);
            assert!(process.stdin().is_none());
        });
        // Not every shell knows such numbers.
        let command = Command::new("bash")
            .args(["-c", "cat <&3 >&2000"])
            .child_fds([(3, ChildFd::Write), (2000, ChildFd::Read)]);
        command.spawn_protocol(&reactor, noted)?.closed().await?;
        let mut notes = log.take();
        notes.sort();
        let expected = [
            "2000 closed",
            "2000 says down",
            "3 closed",
            "ended with code 0",
            "exited with code 0",
            "made",
        ];
        assert_eq!(notes, expected);
        Ok(())
    });
}

#[test]
fn all_that_was_written_is_read_before_the_pipe_is_lost() {
    run(async |reactor| {
        let (log, count) = (Log::new(), Rc::new(Cell::new(0)));
        let (counted, at_close) = (count.clone(), count.clone());
        let seen = log.clone();
        let noted = Noted::new(&log)
            .quiet()
            .on_data(move |_, _, data| counted.set(counted.get() + data.len()))
            .on_closed(move |_, fd| {
                if fd == 1 {
                    seen.note(format_args!("after {}", at_close.get()));
                }
            });
        // It exits at once, with the pipe full.
        let command = sh("head -c 3000000 /dev/zero");
        command.spawn_protocol(&reactor, noted)?.closed().await?;
        assert!(log.has("after 3000000"), "{:?}", log.all());
        assert_eq!(log.count("1 closed"), 1);
        Ok(())
    });
}

#[test]
fn an_exit_is_reported_while_another_process_holds_the_pipes() {
    run(async |reactor| {
        let log = Log::new();
        let grandchild = Rc::new(RefCell::new(String::new()));
        let heard = grandchild.clone();
        let noted = Noted::new(&log).quiet().on_data(move |_, _, data| {
            heard
                .borrow_mut()
                .push_str(std::str::from_utf8(data).unwrap());
        });
        let command = sh("sleep 1000 & echo $!; exit 7");
        let handle = command.spawn_protocol(&reactor, noted)?;
        let closed = handle.closed();
        until(|| log.has("exited with code 7") && grandchild.borrow().ends_with('\n')).await;
        some_turns().await;
        // Its input is closed: a background process of a shell has none.
        let mut notes = log.all();
        notes.retain(|note| note != "0 closed");
        assert_eq!(notes, ["made", "exited with code 7"]);
        let process = handle.transport().unwrap();
        assert_eq!((process.pid(), process.is_running()), (None, false));
        assert_eq!(process.exit_status().unwrap().code(), Some(7));
        let kill = Command::new("kill").arg(grandchild.borrow().trim_end());
        assert!(kill.status(&reactor).await?.success());
        let reason = closed.await?;
        assert!(
            matches!(reason.downcast_ref(), Some(ProcessError::Terminated { status }) if status.code() == Some(7))
        );
        assert_eq!(log.all().last().unwrap(), "ended with code 7");
        Ok(())
    });
}

#[test]
fn output_after_the_exit_is_delivered_after_process_exited() {
    run(async |reactor| {
        let (log, gate) = (Log::new(), support::folder::Folder::create());
        let go = gate.path("go");
        let script =
            "(for n in $(seq 2000); do test -e $GO && break; sleep 0.01; done; echo late) & exit 0";
        let handle = sh(script)
            .env("GO", &go)
            .spawn_protocol(&reactor, Noted::new(&log))?;
        until(|| log.has("exited with code 0")).await;
        some_turns().await;
        fs::write(go, "")?;
        handle.closed().await?;
        let notes = log.all();
        let at = |note: &str| notes.iter().position(|other| other == note).unwrap();
        assert!(at("exited with code 0") < at("1 says late\\n"), "{notes:?}");
        assert!(at("1 says late\\n") < at("1 closed"), "{notes:?}");
        assert_eq!(notes.last().unwrap(), "ended with code 0");
        Ok(())
    });
}

#[test]
fn the_exit_status_is_exact() {
    run(async |reactor| {
        for code in [0, 1, 42, 255] {
            let notes = life(&reactor, sh(&format!("exit {code}"))).await?;
            assert!(notes.contains(&format!("exited with code {code}")));
            assert!(notes.contains(&format!("ended with code {code}")));
        }
        for signal in [Signal::HUP, Signal::KILL, Signal::TERM, Signal::USR1] {
            let number = signal.number();
            let notes = life(&reactor, sh(&format!("kill -{number} $$; sleep 1000"))).await?;
            assert!(notes.contains(&format!("exited with signal {number}")));
            assert!(notes.contains(&format!("ended with signal {number}")));
        }
        let reason = sh("kill -9 $$")
            .spawn_protocol(&reactor, Noted::new(&Log::new()))?
            .closed()
            .await?;
        assert_eq!(
            reason.to_string(),
            "the process ended with signal: 9 (SIGKILL)"
        );
        Ok(())
    });
}

#[test]
fn a_child_that_closes_its_input_is_noticed_before_anything_is_written() {
    run(async |reactor| {
        let log = Log::new();
        let seen = log.clone();
        let noted = Noted::new(&log).on_closed(move |process, fd| {
            if fd == 0 && process.is_running() {
                seen.note("alive");
                process.write("into the void");
                process.kill();
            }
        });
        let closed = sh("exec 0<&-; exec sleep 1000")
            .spawn_protocol(&reactor, noted)?
            .closed();
        until(|| log.has("alive")).await;
        closed.await?;
        assert!(log.has("ended with signal 9"));
        Ok(())
    });
}

#[test]
fn closing_its_output_ends_a_child_by_sigpipe() {
    run(async |reactor| {
        let log = Log::new();
        let noted = Noted::new(&log).quiet().on_data(|process, fd, _| {
            assert_eq!(fd, 1);
            process.close_stdout();
        });
        Command::new("yes")
            .spawn_protocol(&reactor, noted)?
            .closed()
            .await?;
        assert!(log.has("exited with signal 13"), "{:?}", log.all());
        assert_eq!(log.count("1 closed"), 1);
        Ok(())
    });
}

#[test]
fn closing_its_errors_leaves_its_output() {
    run(async |reactor| {
        let log = Log::new();
        let noted = Noted::new(&log).on_data(|process, fd, data| match fd {
            2 => process.close_stderr(),
            _ => assert_eq!(data, b"still\n"),
        });
        // A child that continues after the signal by which the other one ends.
        let command = sh("echo err >&2; yes >&2; echo still; exit 5");
        command
            .spawn_protocol(&reactor, noted.quiet())?
            .closed()
            .await?;
        let notes = log.all();
        let at = |note: &str| notes.iter().position(|other| other == note);
        assert!(at("2 closed") < at("1 closed"), "{notes:?}");
        assert!(log.has("exited with code 5"), "{notes:?}");
        let noted = Noted::new(&log)
            .quiet()
            .on_data(|process, _, _| process.close_stderr());
        sh("exec yes >&2")
            .spawn_protocol(&reactor, noted)?
            .closed()
            .await?;
        assert!(log.has("exited with signal 13"), "{:?}", log.all());
        Ok(())
    });
}

#[test]
fn losing_the_connection_closes_all_pipes() {
    run(async |reactor| {
        let log = Log::new();
        let noted = Noted::new(&log).on_made(|process| {
            process.write("last words\n");
            process.lose_connection();
        });
        // It reads to the end of its input, and cannot say so any more.
        let command = sh("read line; test \"$line\" = 'last words' && exit 5");
        command.spawn_protocol(&reactor, noted)?.closed().await?;
        let mut notes = log.take();
        notes.sort();
        let expected = [
            "0 closed",
            "1 closed",
            "2 closed",
            "ended with code 5",
            "exited with code 5",
            "made",
        ];
        assert_eq!(notes, expected);
        Ok(())
    });
}

#[test]
fn write_ready_is_called_when_a_full_pipe_has_space_again() {
    run(async |reactor| {
        let (log, back) = (Log::new(), Rc::new(Cell::new(0)));
        let counted = back.clone();
        let noted = Noted::new(&log)
            .quiet()
            .on_made(|process| {
                // `cat` stops when neither pipe takes more.
                process.pause_producing();
                process.write(vec![b'x'; 1 << 20]);
            })
            .on_ready(|process, fd| {
                assert_eq!(fd, 0);
                assert!(!process.stdin().unwrap().is_full());
                process.close_stdin();
            })
            .on_data(move |_, _, data| counted.set(counted.get() + data.len()));
        let handle = Command::new("cat").spawn_protocol(&reactor, noted)?;
        let process = handle.transport().unwrap();
        until(|| log.has("made")).await;
        some_turns().await;
        let stdin = process.stdin().unwrap();
        assert!(stdin.is_full() && stdin.queued() > 500_000);
        assert_eq!((back.get(), log.has("0 ready")), (0, false));
        process.resume_producing();
        handle.closed().await?;
        assert_eq!((back.get(), log.count("0 ready")), (1 << 20, 1));
        Ok(())
    });
}

#[test]
fn write_ready_names_the_pipe_that_was_full() {
    run(async |reactor| {
        let log = Log::new();
        let noted = Noted::new(&log)
            .on_made(|process| {
                process.write("little");
                process.write_to_child(3, vec![b'x'; 1 << 20]).unwrap();
            })
            .on_ready(|process, fd| process.close_child_fd(fd));
        let command = sh("sleep 0.1; cat <&3 >/dev/null").child_fd(3, ChildFd::Write);
        command.spawn_protocol(&reactor, noted)?.closed().await?;
        assert_eq!((log.count("3 ready"), log.count("0 ready")), (1, 0));
        assert!(log.has("ended with code 0"), "{:?}", log.all());
        Ok(())
    });
}

#[test]
fn a_child_that_never_reads_costs_no_more_than_the_limit() {
    run(async |reactor| {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let noted = Noted::new(&log).on_made(|process| {
            let limits = Limits {
                hard: 1 << 20,
                ..Limits::default()
            };
            process.stdin().unwrap().set_limits(limits);
            for _ in 0..40 {
                process.write(vec![0; 100_000]);
            }
        });
        let handle = Command::new("sleep")
            .arg("1000")
            .spawn_protocol(&reactor, noted)?;
        until(|| log.has("0 closed")).await;
        let process = handle.transport().unwrap();
        assert!(process.is_running() && process.stdin().is_none());
        let said = reports.borrow()[0].failure().to_string();
        assert!(
            said.ends_with("bytes not sent to a pipe of a process"),
            "{said}"
        );
        process.kill();
        handle.closed().await?;
        Ok(())
    });
}

#[test]
fn a_hook_that_panics_loses_the_pipe_it_was_called_for() {
    run(async |reactor| {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let noted = Noted::new(&log).on_data(|_, fd, _| assert_ne!(fd, 2, "not this one"));
        let command = sh("echo err >&2; read go; echo still; exit 3");
        let handle = command.spawn_protocol(&reactor, noted)?;
        until(|| log.has("2 closed")).await;
        assert!(!log.has("1 closed"));
        handle.transport().unwrap().write("go\n");
        handle.closed().await?;
        assert!(log.has("1 says still\\n") && log.has("ended with code 3"));
        assert_eq!(reports.borrow().len(), 1);
        assert!(reports.borrow()[0].to_string().contains("not this one"));
        Ok(())
    });
}

#[test]
fn a_hook_of_no_pipe_that_panics_loses_all() {
    run(async |reactor| {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let noted = Noted::new(&log).on_made(|_| panic!("no beginning"));
        Command::new("cat")
            .spawn_protocol(&reactor, noted)?
            .closed()
            .await?;
        assert_eq!(log.count("ended with code 0"), 1, "{:?}", log.all());
        let noted = Noted::new(&log).on_exited(|_| panic!("no end"));
        sh("exit 4")
            .spawn_protocol(&reactor, noted)?
            .closed()
            .await?;
        assert_eq!(log.count("ended with code 4"), 1);
        assert_eq!(reports.borrow().len(), 2);
        Ok(())
    });
}

#[test]
fn signals_are_sent_by_name_or_number_and_never_after_the_exit() {
    run(async |reactor| {
        let log = Log::new();
        let script = "trap 'echo hup' HUP; trap 'echo usr; exit 9' USR1; echo up; while :; do read line; done";
        let handle = sh(script).spawn_protocol(&reactor, Noted::new(&log))?;
        let process = handle.transport().unwrap();
        until(|| log.has("1 says up\\n")).await;
        process.signal_process("HUP")?;
        process.write("\n");
        until(|| log.has("1 says hup\\n")).await;
        let failure = process.signal_process("SIGNIFICANT").unwrap_err();
        assert!(failure.is::<SignalError>(), "{failure}");
        assert!(
            process
                .signal_process(4096)
                .unwrap_err()
                .is::<SignalError>()
        );
        process.signal_process(Signal::USR1.number())?;
        process.write("\n");
        handle.closed().await?;
        assert!(log.has("ended with code 9"), "{:?}", log.all());
        for failure in [
            process.signal_process(Signal::TERM).unwrap_err(),
            process.signal_process("KILL").unwrap_err(),
        ] {
            assert_failure!(failure, ProcessError::AlreadyExited);
        }
        process.kill();
        process.write("nobody");
        process.lose_connection();
        Ok(())
    });
}

#[test]
fn a_stopped_child_continues_upon_sigcont() {
    run(async |reactor| {
        let log = Log::new();
        let handle = Command::new("cat").spawn_protocol(&reactor, Noted::new(&log))?;
        let process = handle.transport().unwrap();
        process.signal_process(Signal::STOP)?;
        let stat = format!("/proc/{}/stat", process.pid().unwrap());
        until(|| fs::read_to_string(&stat).unwrap().contains(") T ")).await;
        process.write("x");
        some_turns().await;
        assert!(!log.has("1 says x"));
        process.signal_process("SIGCONT")?;
        until(|| log.has("1 says x")).await;
        process.close_stdin();
        handle.closed().await?;
        Ok(())
    });
}

#[test]
fn posted_closures_and_questions_reach_the_protocol() {
    run(async |reactor| {
        let log = Log::new();
        let handle = Command::new("cat").spawn_protocol(&reactor, Noted::new(&log))?;
        handle.post(|_, cx| cx.write("posted"));
        until(|| log.has("1 says posted")).await;
        let pid = handle.ask(|_, cx| cx.pid()).await?;
        assert_eq!(pid, handle.transport().unwrap().pid());
        let fired = log.clone();
        handle.post(move |_, cx| {
            let (deferred, resolver) = Deferred::pair();
            cx.when(deferred, move |_, cx, result: Result<u8, Failure>| {
                fired.note(format_args!("when {}", result.unwrap()));
                cx.close_stdin();
            });
            resolver.callback(3);
        });
        handle.closed().await?;
        assert!(log.has("when 3"));
        Ok(())
    });
}

#[test]
fn children_of_other_code_are_not_waited_for() {
    run(async |reactor| {
        let mut other = std::process::Command::new("sh")
            .args(["-c", "exit 11"])
            .spawn()
            .unwrap();
        let mut ours = Vec::new();
        for _ in 0..5 {
            ours.push(Command::new("true").status(&reactor).await);
        }
        assert_eq!(other.wait().unwrap().code(), Some(11));
        assert!(ours.iter().all(|status| status.as_ref().unwrap().success()));
        Ok(())
    });
}

#[test]
fn a_child_that_other_code_has_waited_for_ends_all_the_same() {
    run(async |reactor| {
        let log = Log::new();
        let handle = Command::new("cat").spawn_protocol(&reactor, Noted::new(&log))?;
        let process = handle.transport().unwrap();
        until(|| log.has("made")).await;
        let pid = process.pid().unwrap();
        let stat = format!("/proc/{pid}/stat");
        process.kill();
        // The loop waits until another process has it.
        while !fs::read_to_string(&stat)?.contains(") Z ") {
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_raw(pid as i32);
        let options = rustix::process::WaitOptions::empty();
        rustix::process::waitpid(pid, options)?.expect("it has ended");
        assert_failure!(handle.closed().await?, ProcessError::StatusTaken);
        let taken = describe_exit(&Err(Failure::new(ProcessError::StatusTaken)));
        assert!(log.has(&format!("exited with {taken}")), "{:?}", log.all());
        assert!(log.has(&format!("ended with {taken}")));
        assert_eq!(process.exit_status(), None);
        Ok(())
    });
}

#[test]
fn one_that_is_traced_when_it_ends_is_waited_for_without_turning_in_circles() {
    let Some(python) = support::foreign::python() else {
        return;
    };
    run(async |reactor| {
        let child = Command::new("sleep").arg("1000").spawn(&reactor)?;
        // A tracer (PTRACE_SEIZE) that does nothing until its input ends.
        let script = "import ctypes, sys\n\
            assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0\n\
            print('up', flush=True)\n\
            sys.stdin.read()";
        let pid = child.pid().unwrap().to_string();
        let tracer = Command::new(python).args(["-c", script, &pid]);
        let mut tracer = tracer.spawn(&reactor)?;
        assert_eq!(
            tracer.take_stdout()?.read_line(80).await?.as_deref(),
            Some(&b"up"[..])
        );
        // The child ends; but its tracer, which has to see that first, sleeps.
        child.kill();
        let stat = format!("/proc/{pid}/stat");
        until(|| fs::read_to_string(&stat).unwrap().contains(") Z ")).await;
        let before = support::cpu_time();
        reactor.sleep(std::time::Duration::from_millis(300)).await?;
        let busy = support::cpu_time() - before;
        assert!(busy < 100_000, "it spins");
        assert!(child.process().is_running(), "as far as is known");
        drop(tracer.take_stdin()?);
        assert_eq!(child.status().await?.signal(), Some(9));
        tracer.status().await?;
        Ok(())
    });
}

#[test]
fn a_reactor_that_ends_first_reports_it_and_leaves_no_zombie() {
    let log = Log::new();
    let reactor = Reactor::new().unwrap();
    let handle = reactor
        .run_until(async {
            let command = sh("read x; exit 3");
            let handle = command.spawn_protocol(&reactor, Noted::new(&log)).unwrap();
            until(|| log.has("made")).await;
            handle
        })
        .unwrap();
    let mut notes = log.take();
    assert_eq!(notes.pop().unwrap(), "ended with the reactor was stopped");
    notes.sort();
    assert_eq!(notes, ["0 closed", "1 closed", "2 closed", "made"]);
    assert!(!handle.is_connected());
    // Its input is closed, so it ends by itself; and other code has waited for it.
    run(async |reactor| {
        let _ = reactor;
        until(|| support::children().is_empty() || !support::has_zombies()).await;
        Ok(())
    });
}

#[test]
fn one_that_is_to_be_killed_goes_with_its_reactor() {
    let log = Log::new();
    let reactor = Reactor::new().unwrap();
    let pid = reactor
        .run_until(async {
            let command = Command::new("sleep").arg("1000").kill_on_drop(true);
            let handle = command.spawn_protocol(&reactor, Noted::new(&log)).unwrap();
            until(|| log.has("made")).await;
            handle.transport().unwrap().pid().unwrap()
        })
        .unwrap();
    run(async |_| {
        until(|| fs::metadata(format!("/proc/{pid}")).is_err()).await;
        Ok(())
    });
    let taken = describe_exit(&Err(Failure::new(Stopped)));
    assert!(log.has(&format!("ended with {taken}")));
}

#[test]
fn a_thousand_children_at_once_are_told_apart() {
    run(async |reactor| {
        let mut all = Vec::new();
        for number in 0..1000 {
            let command = sh(&format!("exit {}", number % 200)).child_fds([]);
            all.push(command.status(&reactor));
        }
        for (number, status) in all.into_iter().enumerate() {
            assert_eq!(status.await?.code(), Some(number as i32 % 200));
        }
        Ok(())
    });
}

#[test]
fn the_dump_shows_a_process_and_its_pipes() {
    run(async |reactor| {
        let handle = Command::new("cat").spawn_protocol(&reactor, Noted::new(&Log::new()))?;
        let process = handle.transport().unwrap();
        let tree = reactor.dump().to_string();
        let line = format!("\"cat\", process {}", process.pid().unwrap());
        assert!(tree.contains(&line), "{tree}");
        assert!(tree.contains("pipe of a process"), "{tree}");
        process.close_stdin();
        handle.closed().await?;
        Ok(())
    });
}
