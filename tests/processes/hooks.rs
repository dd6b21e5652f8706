//! The hooks of a child process: the same for the machine's programs and for fake programs in
//! memory.
#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;

use support::noted::Noted;
use support::{Log, Spy, expect_reports, some_turns, until};
use torsade::process::{Command, ProcessError};
use torsade::testing::Programs;
use torsade::{Cancelled, Clock, ConnectionError, Failure, Reactor, Signal, testing};

/// The programs that the tests need: fake ones in memory, and a shell script for each on the
/// machine.
struct Stage(Option<Programs>);

impl Stage {
    fn new(reactor: &Reactor) -> Self {
        let Ok(programs) = Programs::new(reactor) else {
            return Self(None);
        };
        programs.add("cat", async |mut actor| {
            let (mut input, mut output) = (actor.take_stdin()?, actor.take_stdout()?);
            let mut buffer = [0; 4096];
            loop {
                match input.read(&mut buffer).await? {
                    0 => return Ok(0),
                    count => output.write_all(&buffer[..count]).await?,
                }
            }
        });
        programs.add("echo", async |mut actor| {
            let mut peer = actor.take_stdin()?;
            let mut buffer = [0; 4096];
            loop {
                match peer.read(&mut buffer).await? {
                    0 => return Ok(0),
                    count => peer.write_all(&buffer[..count]).await?,
                }
            }
        });
        programs.add("say", async |mut actor| {
            actor.take_stdout()?.write_all(b"out\n").await?;
            // Its errors may go elsewhere.
            if let Ok(mut errors) = actor.take_pipe(2) {
                errors.write_all(b"err\n").await?;
            }
            Ok(6)
        });
        programs.add("flood", async |mut actor| {
            actor.take_stdout()?.write_all(&[b'x'; 1_000_000]).await?;
            Ok(0)
        });
        programs.add("yes", async |mut actor| {
            let mut output = actor.take_stdout()?;
            loop {
                output.write_all(b"y\n").await?;
            }
        });
        programs.add("deaf", async |mut actor| {
            drop(actor.take_stdin()?);
            std::future::pending().await
        });
        programs.add("wait", async |_actor| std::future::pending().await);
        programs.add("polite", async |mut actor| {
            let asked = actor.catch(Signal::TERM);
            actor.take_stdout()?.write_all(b"up\n").await?;
            asked.await?;
            Ok(3)
        });
        programs.add("env", async |mut actor| {
            let found = actor.env("A").map(|text| text.to_str().unwrap().to_owned());
            let said = format!("{} {}\n", actor.args()[1].to_str().unwrap(), found.unwrap());
            actor.take_stdout()?.write_all(said.as_bytes()).await?;
            Ok(0)
        });
        Self(Some(programs))
    }

    fn command(&self, name: &str) -> Command {
        let script = match name {
            _ if self.0.is_some() => return Command::new(name),
            "echo" => "exec cat",
            "say" => "echo out; echo err >&2; exit 6",
            "flood" => "head -c 1000000 /dev/zero",
            "deaf" => "exec 0<&-; exec sleep 1000",
            "wait" => "exec sleep 1000",
            "polite" => "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done",
            "env" => "echo $0 $A",
            other => return Command::new(other),
        };
        Command::new("sh").args(["-c", script])
    }
}

fn sorted(mut notes: Vec<String>) -> Vec<String> {
    notes.sort();
    notes
}

on_both! {
    async fn the_hooks_of_a_process_are_called_from_its_start_to_its_end(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let cat = Noted::new(&log)
            .on_made(|process| process.write("hello"))
            .on_data(|process, _, _| process.close_stdin());
        let handle = stage.command("cat").spawn_protocol(&reactor, cat)?;
        assert!(log.is_empty(), "nothing is called inside `spawn_protocol`");
        assert!(handle.transport().unwrap().pid().is_some());
        assert_failure!(handle.closed().await?, ProcessError::Done);
        let notes = log.take();
        assert_eq!(notes[..2], ["made", "1 says hello"]);
        assert_eq!(notes.last().unwrap(), "ended with code 0");
        let expected = [
            "0 closed",
            "1 closed",
            "1 says hello",
            "2 closed",
            "ended with code 0",
            "exited with code 0",
            "made",
        ];
        assert_eq!(sorted(notes), expected);
    }

    async fn output_and_errors_arrive_separately_and_the_exit_code_is_reported(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let handle = stage.command("say").spawn_protocol(&reactor, Noted::new(&log))?;
        let reason = handle.closed().await?;
        assert!(matches!(reason.downcast_ref(), Some(ProcessError::Terminated { status }) if status.code() == Some(6)));
        assert!(log.has("1 says out\\n") && log.has("2 says err\\n"));
        assert!(log.has("exited with code 6") && log.has("ended with code 6"));
        let output = stage.command("say").output(&reactor).await?;
        assert_eq!((&output.out[..], &output.err[..]), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(output.status.code(), Some(6));
    }

    async fn everything_is_read_before_a_pipe_is_lost(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let (count, seen) = (Rc::new(Cell::new(0)), log.clone());
        let (counted, at_close) = (count.clone(), count.clone());
        let noted = Noted::new(&log)
            .quiet()
            .on_data(move |_, _, data| counted.set(counted.get() + data.len()))
            .on_closed(move |_, fd| seen.note(format_args!("{fd} after {}", at_close.get())));
        stage.command("flood").spawn_protocol(&reactor, noted)?.closed().await?;
        assert!(log.has("1 after 1000000"), "{:?}", log.all());
        assert_eq!(log.all().last().unwrap(), "ended with code 0");
    }

    async fn a_closed_input_is_noticed_and_a_kill_ends_it(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let handle = stage.command("deaf").spawn_protocol(&reactor, Noted::new(&log))?;
        until(|| log.has("0 closed")).await;
        let process = handle.transport().unwrap();
        assert!(process.is_running() && process.stdin().is_none());
        process.write("nobody");
        process.kill();
        handle.closed().await?;
        assert!(log.has("exited with signal 9") && log.has("ended with signal 9"));
        let failure = process.signal_process("TERM").unwrap_err();
        assert_failure!(failure, ProcessError::AlreadyExited);
    }

    async fn closing_its_output_ends_a_program_that_keeps_writing(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let noted = Noted::new(&log).quiet().on_data(|process, _, _| process.close_stdout());
        let handle = stage.command("yes").spawn_protocol(&reactor, noted)?;
        assert!(!matches!(handle.closed().await?.downcast_ref(), Some(ProcessError::Done)));
        assert_eq!(log.count("1 closed"), 1);
    }

    async fn a_pipe_that_is_not_read_fills_and_continues(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let back = Rc::new(Cell::new(0));
        let counted = back.clone();
        let noted = Noted::new(&log)
            .quiet()
            .on_made(|process| {
                process.pause_producing();
                process.write(vec![b'x'; 1 << 20]);
            })
            .on_ready(|process, _| process.close_stdin())
            .on_data(move |_, _, data| counted.set(counted.get() + data.len()));
        let handle = stage.command("cat").spawn_protocol(&reactor, noted)?;
        let process = handle.transport().unwrap();
        until(|| log.has("made")).await;
        some_turns().await;
        assert!(process.stdin().unwrap().is_full());
        assert_eq!((back.get(), log.has("0 ready")), (0, false));
        process.resume_producing();
        handle.closed().await?;
        assert_eq!((back.get(), log.count("0 ready")), (1 << 20, 1));
    }

    async fn a_signal_may_be_caught_and_then_it_is_the_program_that_ends(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let handle = stage.command("polite").spawn_protocol(&reactor, Noted::new(&log))?;
        until(|| log.has("1 says up\\n")).await;
        handle.transport().unwrap().signal_process(Signal::TERM)?;
        handle.closed().await?;
        assert!(log.has("ended with code 3"), "{:?}", log.all());
        // A program that does not catch the signal ends by it.
        let child = stage.command("wait").spawn(&reactor)?;
        child.signal_process("HUP")?;
        assert_eq!(child.status().await?.signal(), Some(1));
    }

    async fn a_panic_in_a_hook_loses_only_that_pipe(reactor) {
        let reports = expect_reports(&reactor);
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let noted = Noted::new(&log).on_data(|_, fd, _| assert_ne!(fd, 2, "not this one"));
        stage.command("say").spawn_protocol(&reactor, noted)?.closed().await?;
        assert!(log.has("1 says out\\n") && log.has("ended with code 6"));
        assert_eq!((log.count("2 closed"), reports.borrow().len()), (1, 1));
    }

    async fn a_child_is_spoken_to_through_streams(reactor) {
        let stage = Stage::new(&reactor);
        let mut child = stage.command("cat").spawn(&reactor)?;
        let (mut input, mut output) = (child.take_stdin()?, child.take_stdout()?);
        for line in ["one\n", "two\n"] {
            input.write_all(line.as_bytes()).await?;
            let back = output.read_line(80).await?.unwrap();
            assert_eq!(back, line.trim_end().as_bytes());
        }
        drop(input);
        assert_eq!(output.read_line(80).await?, None);
        assert!(child.status().await?.success());
        assert!(child.status().await?.success());
    }

    async fn a_program_gets_its_arguments_and_its_environment(reactor) {
        let stage = Stage::new(&reactor);
        let command = stage.command("env").arg("x").env_clear().env("A", "a").env("PATH", "/bin:/usr/bin");
        let output = command.output(&reactor).await?.success()?;
        assert_eq!(output.out, b"x a\n");
    }

    async fn the_exit_status_is_available_long_after_the_end(reactor) {
        let stage = Stage::new(&reactor);
        let handle = stage.command("say").spawn_protocol(&reactor, Noted::new(&Log::new()))?;
        until(|| !handle.is_connected()).await;
        some_turns().await;
        for _ in 0..2 {
            let reason = handle.closed().await?;
            assert!(matches!(reason.downcast_ref(), Some(ProcessError::Terminated { status }) if status.code() == Some(6)));
        }
    }

    async fn a_protocol_speaks_to_a_program_as_to_a_peer(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let spy = Spy::new(&log).on_made(|cx| {
            cx.write("ping");
            cx.lose_write();
        });
        let (peer, child) = stage.command("echo").connect(&reactor, spy)?;
        assert!(log.is_empty(), "nothing is called inside `Command::connect`");
        peer.closed().await?;
        assert_eq!(log.take(), ["made", "data ping", "eof", "lost done"]);
        assert!(child.status().await?.success());
        // A program that fails by itself.
        let (peer, child) = stage.command("say").connect(&reactor, Spy::new(&log))?;
        peer.closed().await?;
        // Its unread input is closed as well; the order of the two is not defined.
        assert_eq!(log.take()[..2], ["made", "data out\\n"]);
        assert_eq!(child.status().await?.code(), Some(6));
    }

    async fn a_filter_may_be_fed_more_than_it_can_hold(reactor) {
        let (stage, count) = (Stage::new(&reactor), Rc::new(Cell::new(0)));
        let counted = count.clone();
        let spy = Spy::new(&Log::new())
            .on_made(|cx| {
                cx.write(vec![b'x'; 3 << 20]);
                cx.lose_write();
            })
            .on_data(move |_, data| counted.set(counted.get() + data.len()));
        let (peer, child) = stage.command("echo").connect(&reactor, spy)?;
        assert_failure!(peer.closed().await?, ConnectionError::Done);
        assert_eq!(count.get(), 3 << 20);
        assert!(child.status().await?.success());
    }

    async fn only_pipes_open_for_writing_are_written(reactor) {
        let (stage, log) = (Stage::new(&reactor), Log::new());
        let handle = stage.command("cat").spawn_protocol(&reactor, Noted::new(&log))?;
        let process = handle.transport().unwrap();
        for fd in [1, 2, 3] {
            let failure = process.write_to_child(fd, "x").unwrap_err();
            assert!(matches!(failure.downcast_ref(), Some(ProcessError::NoSuchPipe { fd: lost }) if *lost == fd));
        }
        // Writing there all the same does no harm, whatever the amount.
        for length in [1, 100_000] {
            process.pipe(1).unwrap().write(vec![b'x'; length]);
            some_turns().await;
        }
        process.write_to_child(0, "still")?;
        until(|| log.has("1 says still")).await;
        process.close_stdin();
        handle.closed().await?;
        assert!(log.has("ended with code 0"), "{:?}", log.all());
        assert!(process.write_to_child(0, "late").is_err());
    }

    async fn dropped_waits_for_an_exit_leave_nothing_behind(reactor) {
        let stage = Stage::new(&reactor);
        let child = stage.command("wait").spawn(&reactor)?;
        for _ in 0..100 {
            let status = child.status();
            status.cancel();
            assert!(status.await.is_err());
        }
        let status = child.status();
        child.kill();
        assert_eq!(status.await?.signal(), Some(9));
        assert!(child.signal_process("KILL").is_err());
    }

    async fn one_that_is_missing_is_an_error_of_the_call(reactor) {
        let _stage = Stage::new(&reactor);
        let failure = Command::new("no-such-program").output(&reactor).await.unwrap_err();
        assert!(matches!(
            failure.downcast_ref(),
            Some(ProcessError::NotStarted { error, .. }) if error.kind() == std::io::ErrorKind::NotFound
        ));
        let log = Log::new();
        assert!(Command::new("no-such-program").spawn_protocol(&reactor, Noted::new(&log)).is_err());
        some_turns().await;
        assert!(log.is_empty());
    }

    async fn a_program_with_too_much_output_or_a_cancelled_result_is_killed(reactor) {
        let stage = Stage::new(&reactor);
        let failure = stage.command("yes").output_limit(1000).output(&reactor).await.unwrap_err();
        assert_failure!(failure, ProcessError::OutputTooLong { limit: 1000 });
        let output = stage.command("wait").output(&reactor);
        output.cancel();
        output.await.unwrap_err().trap::<Cancelled>()?;
        let child = stage.command("wait").kill_on_drop(true).spawn(&reactor)?;
        let process = child.process().clone();
        drop(child);
        until(|| !process.is_running()).await;
        assert_eq!(process.exit_status().unwrap().signal(), Some(9));
        until(|| testing::leftovers(&reactor).is_empty()).await;
    }
}

on_both_by_hand! {
    fn a_process_left_at_once_still_gets_connection_made(reactor) {
        let log = Log::new();
        let stage = Stage::new(&reactor);
        let wait = stage.command("wait").kill_on_drop(true);
        let main = async { drop(wait.spawn_protocol(&reactor, Noted::new(&log)).unwrap()) };
        reactor.run_until(main).unwrap();
        let notes = log.take();
        assert_eq!(notes[0], "made");
        assert_eq!(notes.last().unwrap(), "ended with the reactor was stopped");
        assert_eq!(notes.len(), 5, "{notes:?}");
    }

    fn the_end_of_the_reactor_is_reported_last(reactor) {
        let log = Log::new();
        let stage = Stage::new(&reactor);
        let wait = stage.command("wait").kill_on_drop(true);
        reactor
            .run_until(async {
                wait.spawn_protocol(&reactor, Noted::new(&log)).unwrap();
                until(|| log.has("made")).await;
            })
            .unwrap();
        let notes = log.take();
        assert_eq!(notes.last().unwrap(), "ended with the reactor was stopped");
        let expected = ["0 closed", "1 closed", "2 closed", "ended with the reactor was stopped", "made"];
        assert_eq!(sorted(notes), expected);
    }
}

/// Time in memory goes by at once, to the moment.
#[test]
fn a_part_that_does_not_end_is_killed_when_its_time_is_over() -> Result<(), Failure> {
    let reactor = Reactor::in_memory()?;
    testing::run_on(reactor, async |reactor| {
        let programs = Programs::new(&reactor)?;
        let clock = reactor.clone();
        programs.add("stubborn", async move |actor| {
            actor.catch(Signal::TERM).await?;
            clock.sleep(std::time::Duration::from_secs(100)).await?;
            Ok(0)
        });
        let child = Command::new("stubborn").spawn(&reactor)?;
        some_turns().await;
        let before = reactor.now();
        let status = child.end_within(std::time::Duration::from_secs(5)).await?;
        assert_eq!(status.signal(), Some(9));
        assert_eq!(reactor.now() - before, std::time::Duration::from_secs(5));
        Ok(())
    });
    Ok(())
}

/// A dropped wait for a signal does not keep the signal from other waits.
#[test]
fn a_signal_that_is_no_longer_caught_ends_a_fake_process() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let programs = Programs::new(&reactor)?;
        programs.add("hasty", async |actor| {
            let caught = actor.catch(Signal::TERM);
            caught.cancel();
            assert!(caught.await.is_err());
            std::future::pending().await
        });
        let child = Command::new("hasty").spawn(&reactor)?;
        some_turns().await;
        child.signal_process(Signal::TERM)?;
        assert_eq!(child.status().await?.signal(), Some(15));
        Ok(())
    });
    Ok(())
}

#[test]
fn a_part_that_panics_or_fails_has_a_status() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let reports = expect_reports(&reactor);
        let programs = Programs::new(&reactor)?;
        programs.add("panic", async |_| panic!("the part"));
        programs.add("fail", async |_| Err(Failure::new("no luck")));
        let output = Command::new("panic").output(&reactor).await?;
        assert_eq!(output.status.signal(), Some(6));
        assert_eq!(reports.borrow().len(), 1);
        let output = Command::new("fail").output(&reactor).await?;
        assert_eq!(
            (output.status.code(), &output.err[..]),
            (Some(1), &b"no luck\n"[..])
        );
        assert!(Programs::new(&Reactor::new()?).is_err());
        Ok(())
    });
    Ok(())
}
