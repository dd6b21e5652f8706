//! Child processes for async code: streams, outputs, exits, terminals, and leftovers.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use support::noted::Noted;
use support::{Log, Spy, children, cpu_time, expect_reports, has_zombies, role, some_turns, until};
use torsade::clock::TimedOut;
use torsade::defer::gather;
use torsade::process::{ChildFd, Command, ProcessError};
use torsade::reactor::Grace;
use torsade::transport::ConnectionError;
use torsade::{Cancelled, Clock, Failure, Reactor, Signal, testing};

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

/// Turns a reactor by hand until something has come about, with time standing still.
#[track_caller]
fn turn_until(reactor: &Reactor, mut cond: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !cond() {
        assert!(Instant::now() < patience, "waited too long");
        reactor.iterate(Duration::ZERO);
    }
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn exists(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

/// How long something may take.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the child's role.
#[test]
fn role() {
    role::play(async |reactor, name| match name {
        "leaks" => count_leaks(reactor).await,
        "ignored" => lose_status(reactor).await,
        other => panic!("no role is called {other}"),
    });
}

/// Returns a command that runs a role.
fn actor(role: &str) -> Command {
    let [program, words @ ..] = role::words();
    Command::new(program).args(words).env("TORSADE_ROLE", role)
}

#[test]
fn pipes_are_streams() {
    run(async |reactor| {
        let command = Command::new("cat").child_fd(3, ChildFd::Read);
        let mut child = command.spawn(&reactor)?;
        let (mut stdin, mut stdout) = (child.take_stdin()?, child.take_stdout()?);
        let failure = child.take_stdin().unwrap_err();
        assert_failure!(failure, ProcessError::NoSuchPipe { fd: 0 });
        assert!(child.take_pipe(4).is_err());
        // Only the child has its other end, and the child does not write.
        let mut third = child.take_pipe(3)?;
        let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let all = sent.clone();
        let writer = reactor.spawn(async move {
            stdin.write_all(&all).await?;
            stdin.close().await
        });
        let mut back = Vec::new();
        stdout.read_to_end(&mut back).await?;
        assert!(back == sent, "{} bytes", back.len());
        writer.await??;
        assert_eq!(third.read(&mut [0; 8]).await?, 0);
        assert!(child.status().await?.success());
        // It may be asked again.
        assert!(child.status().await?.success());
        assert_eq!(child.pid(), None);
        Ok(())
    });
}

#[test]
fn several_deferreds_may_wait_for_one_exit() {
    run(async |reactor| {
        let mut child = sh("read x; exit 5").spawn(&reactor)?;
        let all = gather([child.status(), child.status(), child.status()]);
        drop(child.take_stdin()?);
        let codes: Vec<_> = all.await?.iter().map(|status| status.code()).collect();
        assert_eq!(codes, [Some(5); 3]);
        Ok(())
    });
}

#[test]
fn a_dropped_child_continues_and_is_waited_for() {
    run(async |reactor| {
        let child = sh("read x; sleep 0.01; exit 5").spawn(&reactor)?;
        let (pid, process) = (child.pid().unwrap(), child.process().clone());
        // Its pipes are closed with it, so it reads the end.
        drop(child);
        until(|| !process.is_running()).await;
        assert_eq!(process.exit_status().unwrap().code(), Some(5));
        assert!(!exists(pid), "it is no zombie");
        Ok(())
    });
}

#[test]
fn a_child_with_kill_on_drop_is_killed_when_it_is_dropped() {
    run(async |reactor| {
        let command = Command::new("sleep").arg("1000").kill_on_drop(true);
        let child = command.spawn(&reactor)?;
        let process = child.process().clone();
        drop(child);
        until(|| !process.is_running()).await;
        assert_eq!(process.exit_status().unwrap().signal(), Some(9));
        Ok(())
    });
}

#[test]
fn a_process_that_ends_upon_the_request_is_not_killed() {
    let reactor = Reactor::builder().manual_time().build().unwrap();
    let log = Log::new();
    let script = "trap 'exit 3' TERM; echo up; while :; do read x; done";
    let handle = sh(script)
        .spawn_protocol(&reactor, Noted::new(&log))
        .unwrap();
    turn_until(&reactor, || log.has("1 says up\\n"));
    let process = handle.transport().unwrap();
    process.terminate_within(GRACE);
    // A shell looks at its traps between commands.
    process.write("\n");
    turn_until(&reactor, || log.has("ended with code 3"));
    assert_eq!(testing::leftovers(&reactor), [], "nor is its timer left");
}

#[test]
fn one_that_does_not_end_is_killed_when_its_time_is_over() {
    let reactor = Reactor::builder().manual_time().build().unwrap();
    let log = Log::new();
    let script = "trap '' TERM; echo up; exec sleep 1000";
    let handle = sh(script)
        .spawn_protocol(&reactor, Noted::new(&log))
        .unwrap();
    turn_until(&reactor, || log.has("1 says up\\n"));
    let process = handle.transport().unwrap();
    process.terminate_within(GRACE);
    reactor.advance(GRACE - Duration::from_millis(1));
    for _ in 0..100 {
        reactor.iterate(Duration::ZERO);
    }
    assert!(process.is_running());
    reactor.advance(Duration::from_millis(1));
    turn_until(&reactor, || log.has("ended with signal 9"));
    assert_eq!(testing::leftovers(&reactor), []);
}

#[test]
fn end_within_returns_the_exit_status() {
    run(async |reactor| {
        let child = Command::new("cat").spawn(&reactor)?;
        assert_eq!(child.end_within(GRACE).await?.signal(), Some(15));
        // It is too late now, and that is no error.
        assert_eq!(child.end_within(GRACE).await?.signal(), Some(15));
        Ok(())
    });
}

#[test]
fn a_group_is_killed_with_its_leader() {
    run(async |reactor| {
        let mut child = sh("sleep 1000 & echo $!; wait")
            .lead_group()
            .spawn(&reactor)?;
        let line = child.take_stdout()?.read_line(80).await?.unwrap();
        let grandchild: u32 = std::str::from_utf8(&line)?.parse()?;
        assert!(exists(grandchild));
        child.kill();
        assert_eq!(child.status().await?.signal(), Some(9));
        let gone = || {
            let stat = fs::read_to_string(format!("/proc/{grandchild}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        until(gone).await;
        Ok(())
    });
}

#[test]
fn output_returns_the_written_bytes_and_the_exit_status() {
    run(async |reactor| {
        let output = sh("echo out; echo bad luck >&2; exit 6")
            .output(&reactor)
            .await?;
        assert_eq!(
            (&output.out[..], &output.err[..]),
            (&b"out\n"[..], &b"bad luck\n"[..])
        );
        assert_eq!(output.status.code(), Some(6));
        let failure = output.success().unwrap_err();
        assert!(matches!(
            failure.find(),
            Some(ProcessError::Terminated { status }) if status.code() == Some(6)
        ));
        assert!(format!("{failure:#}").contains("bad luck"), "{failure:#}");

        let killed = sh("echo out; kill -9 $$").output(&reactor).await?;
        assert_eq!(
            (killed.status.signal(), &killed.out[..]),
            (Some(9), &b"out\n"[..])
        );

        let sum = Command::new("sha256sum").input(vec![b'x'; 3_000_000]);
        let sum = sum.output(&reactor).await?.success()?;
        assert!(
            sum.out.starts_with(b"e55b8bdf621ddaa8"),
            "{:?}",
            sum.out.escape_ascii().to_string()
        );
        // A child that does not read its input is not waited for.
        let deaf = Command::new("true").input(vec![b'x'; 3_000_000]);
        assert!(deaf.output(&reactor).await?.status.success());
        Ok(())
    });
}

#[test]
fn an_output_that_is_too_long_is_an_error_and_its_end() {
    run(async |reactor| {
        let exact = sh("head -c 1000 /dev/zero").output_limit(1000);
        assert_eq!(exact.output(&reactor).await?.out.len(), 1000);
        let failure = Command::new("yes")
            .output_limit(100_000)
            .output(&reactor)
            .await
            .unwrap_err();
        assert_failure!(failure, ProcessError::OutputTooLong { limit: 100_000 });
        // The process group was killed: no process of it continues.
        until(|| testing::leftovers(&reactor).is_empty()).await;
        Ok(())
    });
}

#[test]
fn an_output_that_is_cancelled_kills_the_program() {
    run(async |reactor| {
        let output = Command::new("sleep").arg("1000").output(&reactor);
        output.cancel();
        output.await.unwrap_err().trap::<Cancelled>()?;
        until(|| testing::leftovers(&reactor).is_empty()).await;
        Ok(())
    });
}

#[test]
fn an_output_that_takes_too_long_ends_and_the_program_is_killed() {
    let reactor = Reactor::builder().manual_time().build().unwrap();
    let output = Command::new("sleep").arg("1000").output(&reactor);
    let output = output.timeout(GRACE, &reactor);
    let log = Log::new();
    let noted = log.clone();
    drop(
        output
            .add_errback(move |failure| {
                failure.trap::<TimedOut>()?;
                noted.note("too long");
                Err(failure)
            })
            .add_errback(|_| Err(Failure::new(Cancelled)))
            .add_both(|_| ()),
    );
    reactor.iterate(Duration::ZERO);
    reactor.advance(GRACE);
    turn_until(&reactor, || {
        log.has("too long") && testing::leftovers(&reactor).is_empty()
    });
}

#[test]
fn many_children_give_every_byte_and_their_own_codes() {
    // 100 of 1 MB; `TORSADE_CHILDREN=1000 cargo test --release --test processes many` for a
    // thousand of 10 MB.
    let chosen = std::env::var("TORSADE_CHILDREN").ok();
    let size = if chosen.is_some() {
        10_000_000
    } else {
        1_000_000
    };
    let count: usize = chosen.map_or(100, |text| text.parse().unwrap());
    run(async |reactor| {
        let mut outputs = Vec::new();
        for number in 0..count {
            let byte = char::from(b'a' + (number % 26) as u8);
            let end = match number % 10 {
                9 => "kill -9 $$".to_owned(),
                _ => format!("exit {}", number % 100),
            };
            let script = format!("head -c {size} /dev/zero | tr '\\0' {byte}; {end}");
            // No more than this many run at once.
            if outputs.len() == 20 {
                check_output(&mut outputs, size).await?;
            }
            outputs.push((number, sh(&script).output(&reactor)));
        }
        while !outputs.is_empty() {
            check_output(&mut outputs, size).await?;
        }
        Ok(())
    });
}

type Outputs = Vec<(usize, torsade::Deferred<torsade::process::Output>)>;

async fn check_output(outputs: &mut Outputs, size: usize) -> Result<(), Failure> {
    let (number, output) = outputs.remove(0);
    let output = output.await?;
    let byte = b'a' + (number % 26) as u8;
    assert_eq!(output.out.len(), size);
    assert!(output.out.iter().all(|found| *found == byte));
    match number % 10 {
        9 => assert_eq!(output.status.signal(), Some(9)),
        _ => assert_eq!(output.status.code(), Some(number as i32 % 100)),
    }
    Ok(())
}

#[test]
fn a_program_run_for_its_status_shares_our_descriptors() {
    run(async |reactor| {
        assert_eq!(sh("exit 3").status(&reactor).await?.code(), Some(3));
        assert_eq!(sh("kill -15 $$").status(&reactor).await?.signal(), Some(15));
        let failure = Command::new("/no/such").status(&reactor).await.unwrap_err();
        assert_failure!(failure, ProcessError::NotStarted { .. });
        let ours = fs::read_link("/proc/self/fd/2").unwrap();
        let same = sh("test \"$(readlink /proc/$$/fd/2)\" = \"$OURS\"").env("OURS", &ours);
        assert!(same.status(&reactor).await?.success());
        Ok(())
    });
}

#[test]
fn a_program_on_a_pty_sees_a_terminal() {
    run(async |reactor| {
        let script = "tty; test -t 0 && test -t 1 && test -t 2 && stty size; exit 4";
        let output = sh(script).pty_of_size(30, 100).output(&reactor).await?;
        let text = String::from_utf8(output.out).unwrap();
        assert!(
            text.starts_with("/dev/pts/") && text.ends_with("\r\n30 100\r\n"),
            "{text:?}"
        );
        assert_eq!((output.status.code(), &output.err[..]), (Some(4), &b""[..]));
        let pipes = sh("test -t 0 || test -t 1 || test -t 2")
            .output(&reactor)
            .await?;
        assert_eq!(pipes.status.code(), Some(1));
        Ok(())
    });
}

#[test]
fn the_end_of_input_on_a_terminal_is_control_d() {
    run(async |reactor| {
        let cat = Command::new("cat").pty();
        for (input, observed) in [("", ""), ("x\n", "x\r\nx\r\n"), ("no end", "no endno end")] {
            let output = cat.clone().input(input).output(&reactor).await?;
            assert!(output.status.success(), "{input:?}: {output:?}");
            // The terminal may show the Control-D, and take it back.
            let text = String::from_utf8_lossy(&output.out).replace("^D\u{8}\u{8}", "");
            assert_eq!(text, observed, "{input:?}");
        }
        Ok(())
    });
}

#[test]
fn a_signal_goes_to_the_process_or_to_its_group() {
    run(async |reactor| {
        let script = "trap 'echo one' USR1; sh -c \"trap 'echo other; exit' USR1; echo up; while :; do sleep 0.01; done\"; echo over";
        let mut child = sh(script).lead_group().spawn(&reactor)?;
        let mut out = child.take_stdout()?;
        assert_eq!(out.read_line(80).await?.unwrap(), b"up");
        child.process().signal_group("USR1")?;
        let mut lines = Vec::new();
        while let Some(line) = out.read_line(80).await? {
            lines.push(String::from_utf8(line)?);
        }
        assert_eq!(lines, ["other", "one", "over"]);
        assert!(child.status().await?.success());
        assert!(child.process().signal_group("USR1").is_err());
        Ok(())
    });
}

#[test]
fn a_terminal_echoes_and_turns_keys_into_signals() {
    run(async |reactor| {
        let mut child = sh("echo up; read x; echo got $x; exec sleep 1000")
            .pty()
            .spawn(&reactor)?;
        let mut terminal = child.take_stdin()?;
        assert!(child.take_stdout().is_err(), "there is one only");
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"up");
        terminal.write_all(b"abc\n").await?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"abc");
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"got abc");
        terminal.write_all(b"\x03").await?;
        assert_eq!(child.status().await?.signal(), Some(2));
        Ok(())
    });
}

#[test]
fn a_terminal_that_is_closed_hangs_up() {
    run(async |reactor| {
        let log = Log::new();
        let handle = sh("echo up; exec sleep 1000")
            .pty()
            .spawn_protocol(&reactor, Noted::new(&log))?;
        until(|| log.has("1 says up\\r\\n")).await;
        let process = handle.transport().unwrap();
        // These are for pipes.
        process.close_stdin();
        process.close_stdout();
        process.close_stderr();
        some_turns().await;
        assert!(!log.has("1 closed"));
        process.set_window_size(10, 20)?;
        process.lose_connection();
        handle.closed().await?;
        let mut notes = log.take();
        notes.sort();
        let expected = [
            "1 closed",
            "1 says up\\r\\n",
            "ended with signal 1",
            "exited with signal 1",
            "made",
        ];
        assert_eq!(notes, expected);
        Ok(())
    });
}

#[test]
fn a_program_is_notified_of_a_new_window_size() {
    run(async |reactor| {
        let mut child = sh("trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.01; done")
            .pty()
            .spawn(&reactor)?;
        let mut terminal = child.take_stdout()?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"up");
        child.process().set_window_size(50, 132)?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"50 132");
        assert!(child.status().await?.success());
        let plain = Command::new("cat").spawn(&reactor)?;
        assert!(plain.process().set_window_size(1, 1).is_err());
        Ok(())
    });
}

#[test]
fn a_terminal_whose_program_exits_with_unread_input_is_closed() {
    run(async |reactor| {
        for is_paused in [false, true] {
            let log = Log::new();
            let noted = Noted::new(&log).quiet().on_data(move |process, _, _| {
                // More than a terminal holds.
                process.write(vec![b'x'; 100_000]);
                if is_paused {
                    process.pause_producing();
                }
                process.signal_process("USR1").unwrap();
            });
            let script =
                "stty raw -echo; trap 'exit 5' USR1; echo up; while :; do sleep 0.01; done";
            let handle = sh(script).pty().spawn_protocol(&reactor, noted)?;
            let process = handle.transport().unwrap();
            until(|| log.has("exited with code 5")).await;
            if is_paused {
                let before = cpu_time();
                reactor.sleep(Duration::from_millis(300)).await?;
                assert!(cpu_time() - before < 100_000, "it spins");
                process.resume_producing();
            }
            until(|| log.has("ended with code 5")).await;
            assert_eq!(log.count("1 closed"), 1);
        }
        Ok(())
    });
}

#[test]
fn a_terminal_is_read_whatever_descriptors_it_replaces() {
    run(async |reactor| {
        let command = sh("echo up; read x; exit 4");
        let nulls = [(0, ChildFd::Null), (1, ChildFd::Null), (2, ChildFd::Null)];
        let log = Log::new();
        let command = command.child_fds(nulls).pty();
        let noted = Noted::new(&log).on_data(|process, _, _| process.lose_connection());
        command.spawn_protocol(&reactor, noted)?.closed().await?;
        assert!(
            log.has("1 says up\\r\\n") && log.has("1 closed"),
            "{:?}",
            log.all()
        );
        Ok(())
    });
}

#[test]
fn a_peer_that_is_a_program_may_close_its_input_and_write_on() {
    run(async |reactor| {
        let log = Log::new();
        let spy = Spy::new(&log).on_made(|cx| cx.write("this stays unread"));
        let late = sh("exec 0<&-; sleep 0.05; echo late; exit 3");
        let (peer, child) = late.connect(&reactor, spy)?;
        peer.closed().await?;
        assert_eq!(log.take(), ["made", "data late\\n", "eof", "lost done"]);
        assert_eq!(child.status().await?.code(), Some(3));
        Ok(())
    });
}

#[test]
fn a_peer_that_is_a_program_may_have_other_pipes_or_a_terminal() {
    run(async |reactor| {
        let log = Log::new();
        let command = sh("echo err >&2; cat").child_fd(2, ChildFd::Read);
        let (peer, mut child) = command.connect(&reactor, Spy::new(&log))?;
        assert_eq!(child.take_stderr()?.read_line(80).await?.unwrap(), b"err");
        // The other direction stays.
        child.process().write("x");
        child.process().close_stdin();
        peer.closed().await?;
        assert_eq!(log.take(), ["made", "data x", "eof", "lost done"]);

        let (peer, child) = sh("tty >/dev/null && echo yes")
            .pty()
            .connect(&reactor, Spy::new(&log))?;
        peer.closed().await?;
        assert!(log.has("data yes\\r\\n"), "{:?}", log.all());
        assert!(child.status().await?.success());
        Ok(())
    });
}

/// Descriptors and threads of this process.
fn mine() -> (usize, usize) {
    let count = |path| fs::read_dir(path).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

async fn count_leaks(reactor: &Reactor) -> Result<(), Failure> {
    let log = Log::new();
    Command::new("true").status(reactor).await?;
    let before = mine();
    for _ in 0..30 {
        Command::new("echo").arg("x").output(reactor).await?;
        sh("echo x").pty().output(reactor).await?;
        assert!(Command::new("/no/such").output(reactor).await.is_err());
        sh("exit 3")
            .spawn_protocol(reactor, Noted::new(&log))?
            .closed()
            .await?;
        let child = Command::new("sleep")
            .arg("1000")
            .kill_on_drop(true)
            .spawn(reactor)?;
        let process = child.process().clone();
        drop(child);
        until(|| !process.is_running()).await;
        let output = Command::new("sleep").arg("1000").output(reactor);
        output.cancel();
        assert!(output.await.is_err());
    }
    until(|| testing::leftovers(reactor).is_empty()).await;
    assert_eq!(mine(), before, "descriptors and threads");
    assert_eq!(children(), [], "zombies");
    // A reactor that ends leaves its children to a thread, which ends with them.
    let script = "read x";
    std::thread::spawn(move || {
        let other = Reactor::new().unwrap();
        let main = async {
            for _ in 0..10 {
                let _ = sh(script).spawn(&other).unwrap();
            }
        };
        other.run_until(main).unwrap();
    })
    .join()
    .unwrap();
    until(|| children().is_empty() && mine() == before).await;
    assert!(!has_zombies());
    Ok(())
}

#[test]
fn nothing_is_left_of_processes_that_have_ended() {
    run(async |reactor| {
        let output = actor("leaks").output(&reactor).await?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.err)
        );
        Ok(())
    });
}

async fn lose_status(reactor: &Reactor) -> Result<(), Failure> {
    let child = sh("exit 3").spawn(reactor)?;
    assert_failure!(child.status().await.unwrap_err(), ProcessError::StatusTaken);
    assert!(child.signal_process(Signal::TERM).is_err());
    Ok(())
}

#[test]
fn where_children_are_not_waited_for_how_they_end_is_not_known() {
    run(async |reactor| {
        let [program, words @ ..] = role::words();
        let actor = Command::new("env")
            .args(["--ignore-signal=CHLD", &program])
            .args(words)
            .env("TORSADE_ROLE", "ignored");
        let output = actor.output(&reactor).await?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.err)
        );
        Ok(())
    });
}

#[test]
fn unread_input_of_a_program_is_reported_when_the_reactor_ends() {
    let reactor = Reactor::builder()
        .grace(Grace {
            stalled: Duration::from_millis(50),
            ..Grace::default()
        })
        .build()
        .unwrap();
    let reports = expect_reports(&reactor);
    let inner = reactor.clone();
    let done = reactor.run_until(async {
        let sleeper = Command::new("sleep").arg("1000").kill_on_drop(true);
        let child = sleeper.spawn_protocol(&inner, Noted::new(&Log::new()))?;
        child.transport().unwrap().write(vec![7; 1 << 20]);
        child.transport().unwrap().close_stdin();
        Ok::<_, Failure>(())
    });
    done.and_then(|done| done).unwrap();
    let reported = reports.borrow()[0].failure().clone();
    assert!(
        matches!(
            reported.downcast_ref(),
            Some(ConnectionError::NotSent {
                bytes: 900_000..,
                ..
            })
        ),
        "{reported}"
    );
    let said = reported.to_string();
    assert!(said.ends_with("not sent to a pipe of a process"), "{said}");
}

#[test]
fn a_closed_terminal_differs_from_no_terminal() {
    run(async |reactor| {
        let child = sh("trap '' HUP; exec sleep 1000")
            .pty()
            .kill_on_drop(true)
            .spawn(&reactor)?;
        child.process().lose_connection();
        until(|| child.process().pipe(1).is_none()).await;
        let error = child.process().set_window_size(1, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
        assert!(!error.to_string().contains("no terminal"), "{error}");
        Ok(())
    });
}
