//! Standard input and output, and other descriptors, as connections: pipes, files, sockets.
//!
//! What needs its own standard input and output runs in a child: this very program, playing a
//! `role`.
#![cfg(target_os = "linux")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use torsade::net::Terminal;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::folder::Folder;
use support::foreign::need;
use support::program::PATIENCE;
use support::role::{self, READY, after_ready, await_text, child, end, pipe, spy};
use support::{Log, Spy, await_that, cpu_time, how, some_turns, until};
use torsade::net::{ListenError, ServerEndpoint};
use torsade::reactor::Grace;
use torsade::{Address, Clock, Connection, Failure, Handle, Reactor, Transport, testing};

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

/// Runs the child's role.
#[test]
fn role() {
    role::play(async |reactor, name| match name {
        "echo" => role::echo(reactor).await,
        "serve" => serve(reactor).await,
        "half" => half_close(reactor).await,
        "twice" => twice(reactor).await,
        "stay" => stay(reactor).await,
        "over" => over(reactor).await,
        "print" => print(reactor),
        "full" => {
            // Only now: the harness has printed before.
            let full = OpenOptions::new().write(true).open("/dev/full")?;
            rustix::stdio::dup2_stdout(full)?;
            print(reactor)
        }
        other => panic!("no role is called {other}"),
    });
}

async fn serve(reactor: &Reactor) -> Result<(), Failure> {
    let (deferred, resolver) = torsade::Deferred::pair();
    let resolver = std::cell::Cell::new(Some(resolver));
    let port = reactor.serve("stdio:", async move |mut conn| {
        conn.write_all(READY.as_bytes()).await?;
        let mut text = Vec::new();
        conn.read_to_end(&mut text).await?;
        conn.write_all(format!("{} bytes\n", text.len()).as_bytes())
            .await?;
        conn.close().await?;
        if let Some(resolver) = resolver.take() {
            resolver.callback(());
        }
        Ok(())
    })?;
    assert!(!port.is_listening());
    let failure = reactor.serve("stdio:", async |_| Ok(())).unwrap_err();
    assert!(matches!(failure.trap()?, ListenError::StdioInUse));
    deferred.await
}

async fn half_close(reactor: &Reactor) -> Result<(), Failure> {
    let mut conn = torsade::net::Stdio::new().open(reactor)?;
    conn.write_all(READY.as_bytes()).await?;
    conn.close().await?;
    println!("this goes nowhere");
    let mut text = String::new();
    futures::AsyncReadExt::read_to_string(&mut conn, &mut text).await?;
    eprint!("heard {text}");
    Ok(())
}

async fn twice(reactor: &Reactor) -> Result<(), Failure> {
    let first = torsade::net::Stdio::new().open(reactor)?;
    let failure = torsade::net::Stdio::new()
        .open(reactor)
        .map(drop)
        .unwrap_err();
    eprint!("{failure}");
    assert!(matches!(failure.trap()?, ListenError::StdioInUse));
    drop(first);
    // A dropped connection is closed in the next turn.
    loop {
        match torsade::net::Stdio::new().open(reactor) {
            Err(failure) => {
                assert!(matches!(failure.trap()?, ListenError::StdioInUse));
            }
            Ok(mut null) => {
                let nothing = null.read(&mut [0]).await?;
                eprint!("; then {nothing}");
                return Ok(());
            }
        }
        torsade::yield_now().await;
    }
}

/// Stays until it is killed.
async fn stay(reactor: &Reactor) -> Result<(), Failure> {
    torsade::net::Stdio::new().connect(reactor, spy(&Log::new()))?;
    std::future::pending().await
}

/// Ends while its input is open: nothing may wait for that.
async fn over(reactor: &Reactor) -> Result<(), Failure> {
    let handle = torsade::net::Stdio::new().connect(
        reactor,
        spy(&Log::new()).on_data(|cx, _| cx.lose_connection()),
    )?;
    handle.closed().await?;
    Ok(())
}

/// How long a peer on a network is waited for.
const GRACE: Duration = Duration::from_millis(200);

/// Prints more than a pipe takes, and returns.
fn print(reactor: &Reactor) -> Result<(), Failure> {
    reactor.set_grace(Grace {
        stalled: GRACE,
        ..Grace::default()
    });
    let conn = torsade::net::Stdio::new().open(reactor)?;
    conn.transport().write(READY);
    conn.transport().write(vec![b'x'; 1 << 20]);
    Ok(())
}

#[test]
fn a_reader_of_standard_output_may_begin_late() {
    let mut child = child("print").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    await_text(&mut output, READY);
    // Longer than any peer on a network would be waited for.
    thread::park_timeout(GRACE * 5);
    assert!(child.try_wait().unwrap().is_none());
    let mut said = Vec::new();
    output.read_to_end(&mut said).unwrap();
    assert!(said == vec![b'x'; 1 << 20]);
    assert_eq!(end(child), "");
}

#[test]
fn a_reader_of_standard_output_that_leaves_early_is_no_error() {
    let mut child = child("print").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    await_text(&mut output, READY);
    drop(output);
    assert_eq!(end(child), "");
}

#[test]
fn a_program_whose_output_cannot_be_written_fails_with_the_reason() {
    let output = child("full").stdout(Stdio::null()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{errors}");
    for part in [
        "bytes not sent to standard output",
        "No space left on device",
    ] {
        assert_eq!(
            errors.matches(part).count(),
            2,
            "once reported, once returned: {errors}"
        );
    }
}

fn a_megabyte() -> Vec<u8> {
    (0..1_048_576_u32)
        .flat_map(|n| [(n * 7 + n / 251) as u8])
        .collect()
}

#[test]
fn a_megabyte_goes_through_pipes_exactly() {
    let command = &mut child("echo");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || input.write_all(&a_megabyte()).unwrap());
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    writer.join().unwrap();
    assert!(after_ready(&said) == a_megabyte());
    assert_eq!(end(child), "done");
}

#[test]
fn a_megabyte_goes_from_file_to_file_exactly() {
    let folder = Folder::create();
    let (from, to) = (folder.path("from"), folder.path("to"));
    fs::write(&from, a_megabyte()).unwrap();
    let mut command = child("echo");
    command.stdin(File::open(&from).unwrap());
    command.stdout(File::create(&to).unwrap());
    assert_eq!(end(command.spawn().unwrap()), "done");
    // Nothing that was written was lost with the process.
    assert!(after_ready(&fs::read(&to).unwrap()) == a_megabyte());
}

#[test]
fn a_megabyte_goes_through_one_socket_exactly() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let other = theirs.try_clone().unwrap();
    let mut command = child("echo");
    command.stdin(OwnedFd::from(theirs));
    let child = command.stdout(OwnedFd::from(other)).spawn().unwrap();
    drop(command);
    let mut writer = ours.try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all(&a_megabyte()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut said = Vec::new();
    (&ours).read_to_end(&mut said).unwrap();
    writing.join().unwrap();
    let (said, all) = (after_ready(&said), a_megabyte());
    let same = said
        .iter()
        .zip(&all)
        .take_while(|(one, other)| one == other);
    let (same, rest) = (same.count(), said.len());
    assert_eq!(
        (same, rest),
        (all.len(), all.len()),
        "{}",
        said[same..].escape_ascii()
    );
    assert_eq!(end(child), "done");
}

#[test]
fn dev_null_is_the_end_at_once() {
    let mut command = child("echo");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    assert_eq!(end(command.spawn().unwrap()), "done");
}

#[test]
fn standard_input_that_is_closed_is_the_end_at_once() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" <&-", "sh"]);
    command.args(role::words()).env("TORSADE_ROLE", "echo");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(after_ready(&output.stdout), b"");
    assert_eq!(output.stderr, b"done");
}

#[test]
fn a_half_close_closes_the_output_only() {
    let mut command = child("half");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = Vec::new();
    // It ends while the child lives, and waits for what we say.
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert_eq!(after_ready(&said), b"");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"the rest").unwrap();
    drop(input);
    assert_eq!(end(child), "heard the rest");
}

#[test]
fn a_half_close_of_one_socket_is_seen_by_the_peer() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = child("half");
    command.stdin(OwnedFd::from(theirs.try_clone().unwrap()));
    let child = command.stdout(OwnedFd::from(theirs)).spawn().unwrap();
    drop(command);
    let mut said = Vec::new();
    (&ours).read_to_end(&mut said).unwrap();
    assert_eq!(after_ready(&said), b"");
    (&ours).write_all(b"the rest").unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(end(child), "heard the rest");
}

#[test]
fn shared_descriptors_are_never_changed_not_even_after_a_kill() {
    let (input, mut typing) = pipe();
    let (mut heard, output) = pipe();
    let blocks = |fd: &dyn AsFd| {
        let flags = fcntl_getfl(fd.as_fd()).unwrap();
        !flags.contains(OFlags::NONBLOCK)
    };
    let mut command = child("stay");
    command.stdin(input.try_clone().unwrap());
    command.stdout(output.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    await_text(&mut heard, READY);
    typing.write_all(b"x").unwrap();
    assert!(blocks(&input) && blocks(&output), "while it runs");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(blocks(&input) && blocks(&output), "after it was killed");
}

#[test]
fn they_are_used_once_at_a_time_and_closed_by_the_end() {
    let mut command = child("twice");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take();
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    let errors = end(child);
    drop(input);
    let text = "standard input and output are in use already";
    assert_eq!(errors, format!("{text}; then 0"));
}

#[test]
fn the_end_does_not_wait_for_input() {
    let mut command = child("over");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    await_text(&mut output, READY);
    input.write_all(b"x").unwrap();
    assert_eq!(end(child), "");
    drop(input);
}

#[test]
fn the_end_does_not_wait_for_a_thread_that_reads_another_users_file() {
    let Some(setpriv) = need("setpriv").filter(|_| rustix::process::getuid().is_root()) else {
        return support::foreign::say("skipped: only root can change its user");
    };
    let folder = Folder::create();
    let words = role::words();
    let exe = folder.path("exe");
    // Written by another program: a file that is being written cannot be executed, and children
    // that are started here meanwhile would hold it open.
    let copied = Command::new("cp").arg(&words[0]).arg(&exe).status();
    assert!(copied.unwrap().success());
    // Another user may not open our pipes again, so a thread has to block on them.
    let mut command = Command::new(setpriv);
    command.args(["--reuid=65534", "--clear-groups"]).arg(&exe);
    command.args(&words[1..]).env("TORSADE_ROLE", "over");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    await_text(&mut output, READY);
    let id = child.id().to_string();
    // A thread sets its name when it runs.
    await_that(|| has_thread(&id, "torsade-input") && has_thread(&id, "torsade-output"));
    input.write_all(b"x").unwrap();
    assert_eq!(end(child), "");
    drop(input);
}

#[test]
fn a_reader_that_leaves_is_found_out_without_writing() {
    let mut command = child("echo");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take();
    let mut output = child.stdout.take().unwrap();
    await_text(&mut output, READY);
    drop(output);
    assert_eq!(end(child), "broken BrokenPipe");
    drop(input);
}

#[test]
fn stdio_is_an_endpoint_to_serve_at() {
    let mut command = child("serve");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"seven..").unwrap();
    drop(input);
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert_eq!(after_ready(&said), b"7 bytes\n");
    assert_eq!(end(child), "");
}

#[test]
fn the_endpoint_has_no_options() {
    let endpoint = ServerEndpoint::parse("stdio:").unwrap();
    assert_eq!(endpoint.to_string(), "stdio:");
    let failure = ServerEndpoint::parse("stdio:1").unwrap_err();
    let problem = "\"stdio:1\" is not an endpoint: at byte 6: unexpected field \"1\"";
    assert_eq!(failure.to_string(), problem);
    let failure = torsade::net::ClientEndpoint::parse("stdio:").unwrap_err();
    assert!(failure.to_string().contains("to connect, use `net::Stdio`"));
}

#[test]
fn any_two_descriptors_are_a_connection() {
    run(async |reactor| {
        let (input, mut typing) = pipe();
        let (mut heard, output) = pipe();
        let log = Log::new();
        let spy = Spy::new(&log).on_data(|cx, data| cx.write(data));
        let handle = torsade::net::Stdio::of(input, output).connect(&reactor, spy)?;
        assert!(log.is_empty(), "nothing is called inside a call");
        typing.write_all(b"hello")?;
        until(|| log.has("data hello")).await;
        drop(typing);
        until(|| log.has("lost done")).await;
        assert_eq!(log.all(), ["made", "data hello", "eof", "lost done"]);
        assert!(!handle.is_connected());
        let mut said = String::new();
        heard.read_to_string(&mut said)?;
        assert_eq!(said, "hello");
        Ok(())
    });
}

#[test]
fn a_pipe_that_is_not_read_fills_the_queue_and_then_continues() {
    let bytes = a_megabyte();
    run(async |reactor| {
        let (input, _typing) = pipe();
        let (mut heard, output) = pipe();
        let mut conn = torsade::net::Stdio::of(input, output).open(&reactor)?;
        let transport = conn.transport();
        transport.write(&bytes);
        some_turns().await;
        assert!(transport.is_full() && transport.queued() > 0);
        let reader = thread::spawn(move || {
            let mut said = Vec::new();
            heard.read_to_end(&mut said).map(|_| said)
        });
        conn.flush().await?;
        drop(conn);
        let said = reactor
            .spawn_blocking(move || Ok(reader.join().expect("it does not panic")?))
            .await?;
        assert!(said == bytes);
        Ok(())
    });
}

#[test]
fn output_of_a_child_that_has_closed_its_input_is_read_to_the_end() {
    let much = a_megabyte();
    run(async |reactor| {
        for wait in [0, 20] {
            // The child closes its input before it writes what it has read.
            let mut child = Command::new("sh")
                .args(["-c", "read line; exec 0<&-; sleep 0.05; echo heard $line"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (output, input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
            let mut conn = torsade::net::Stdio::of(output, input).open(&reactor)?;
            conn.write_all(b"one\ntwo\n").await?;
            let before = cpu_time();
            reactor.sleep(support::MS * wait).await?;
            // Bytes without a reader are discarded, and delay nothing.
            conn.write_all(&much).await?;
            conn.flush().await?;
            let said = conn.read_line(80).await?;
            assert_eq!(said.as_deref(), Some(&b"heard one"[..]));
            assert!(cpu_time() - before < 30_000, "it spins");
            assert_eq!(conn.read(&mut [0; 8]).await?, 0);
            conn.write_all(b"still there?").await?;
            let error = conn.flush().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            child.wait()?;
        }
        Ok(())
    });
}

#[test]
fn one_that_is_paused_is_not_read_and_does_not_spin() {
    run(async |reactor| {
        let (input, mut typing) = pipe();
        let (_heard, output) = pipe();
        let log = Log::new();
        let spy = Spy::new(&log).on_made(Transport::pause_producing);
        let handle = torsade::net::Stdio::of(input, output).connect(&reactor, spy)?;
        until(|| log.has("made")).await;
        typing.write_all(b"hello")?;
        drop(typing);
        some_turns().await;
        assert_eq!(log.all(), ["made"]);
        let before = cpu_time();
        reactor.sleep(support::MS * 100).await?;
        assert!(cpu_time() - before < 50_000, "it spins");
        handle.transport().expect("it is there").resume_producing();
        until(|| log.has("lost done")).await;
        assert_eq!(log.all(), ["made", "data hello", "eof", "lost done"]);
        Ok(())
    });
}

#[test]
fn the_thread_of_an_unpollable_descriptor_ends_with_its_connection() {
    run(async |reactor| {
        // Of a kind that is read by a thread here, and blocks it.
        let counter = eventfd(0, EventfdFlags::empty()).map_err(io::Error::from)?;
        let raise = counter.try_clone()?;
        let (_heard, output) = pipe();
        let mut conn = torsade::net::Stdio::of(counter, output).open(&reactor)?;
        some_turns().await;
        rustix::io::write(&raise, &7_u64.to_ne_bytes()).map_err(io::Error::from)?;
        let mut number = [0; 8];
        conn.read_exact(&mut number).await?;
        assert_eq!(u64::from_ne_bytes(number), 7);
        let mut next = [0];
        let mut waiting = Box::pin(conn.read(&mut next));
        assert!(support::poll_once(&mut waiting).await.is_pending());
        some_turns().await;
        await_that(|| has_thread("self", "torsade-input"));
        drop(waiting);
        drop(conn);
        until(|| !has_thread("self", "torsade-input")).await;
        Ok(())
    });
}

/// Returns whether a process has a thread of that name.
fn has_thread(process: &str, name: &str) -> bool {
    let mut tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks.any(|task| {
        let comm = fs::read_to_string(task.unwrap().path().join("comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    })
}

#[test]
fn a_file_that_cannot_be_written_breaks_the_connection() {
    run(async |reactor| {
        let (input, _typing) = pipe();
        let full = OpenOptions::new().write(true).open("/dev/full")?;
        let log = Log::new();
        let spy = Spy::new(&log).on_made(|cx| cx.write("x"));
        torsade::net::Stdio::of(input, full).connect(&reactor, spy)?;
        until(|| log.all().len() == 2).await;
        assert_eq!(log.all(), ["made", "lost broken StorageFull"]);
        Ok(())
    });
}

#[test]
fn a_folder_cannot_be_read() {
    run(async |reactor| {
        let (_heard, output) = pipe();
        let mut conn = torsade::net::Stdio::of(File::open("/")?, output).open(&reactor)?;
        let error = conn.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        Ok(())
    });
}

#[test]
fn an_end_that_is_the_wrong_way_round_is_refused() {
    run(async |reactor| {
        let (input, output) = pipe();
        let failure = torsade::net::Stdio::of(output, input)
            .open(&reactor)
            .unwrap_err();
        assert_eq!(
            failure.to_string(),
            "the descriptor is not open for reading"
        );
        Ok(())
    });
}

#[test]
fn the_end_of_the_reactor_reaches_the_protocol() {
    let log = Log::new();
    let noted = log.clone();
    let (_heard, output) = pipe();
    let (input, _typing) = pipe();
    torsade::run(async move |reactor| {
        torsade::net::Stdio::of(input, output).connect(&reactor, Spy::new(&noted))?;
        until(|| noted.has("made")).await;
        Ok(())
    })
    .unwrap();
    assert_eq!(log.all(), ["made", "lost stopped"]);
}

/// A protocol with a user: on the machine by two pipes, in memory by what stands for standard input
/// and output.
fn used(reactor: &Reactor, protocol: Spy) -> Result<(Handle<Spy>, Connection), Failure> {
    if let Ok(stdio) = testing::Stdio::new(reactor) {
        let handle = torsade::net::Stdio::new().connect(reactor, protocol)?;
        return Ok((handle, stdio.user()?));
    }
    let (input, typing) = pipe();
    let (heard, output) = pipe();
    let handle = torsade::net::Stdio::of(input, output).connect(reactor, protocol)?;
    Ok((
        handle,
        torsade::net::Stdio::of(heard, typing).open(reactor)?,
    ))
}

/// The same where the user has something typed already, and only listens.
fn heard(reactor: &Reactor, protocol: Spy) -> Result<(Connection, Option<File>), Failure> {
    if let Ok(stdio) = testing::Stdio::new(reactor) {
        torsade::net::Stdio::new().connect(reactor, protocol)?;
        return Ok((stdio.user()?, None));
    }
    let (input, mut typing) = pipe();
    typing.write_all(b"this stays unread")?;
    let (heard, output) = pipe();
    torsade::net::Stdio::of(input, output).connect(reactor, protocol)?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    Ok((
        torsade::net::Stdio::of(heard, null).open(reactor)?,
        Some(typing),
    ))
}

on_both! {
    async fn typed_bytes_are_received_until_the_end_of_input(reactor) {
        let log = Log::new();
        let spy = Spy::new(&log).on_data(|cx, data| cx.write(data));
        let (handle, mut user) = used(&reactor, spy)?;
        assert!(log.is_empty(), "nothing is called inside a call");
        user.write_all(b"hello").await?;
        user.read_exact(&mut [0; 5]).await?;
        let transport = handle.transport().unwrap();
        assert_eq!((transport.peer(), transport.local_addr()?), (Address::Unnamed, Address::Unnamed));
        user.close().await?;
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "data hello", "eof", "lost done"]);
        assert_eq!(user.read(&mut [0]).await?, 0);
    }

    async fn the_output_may_be_closed_while_input_continues(reactor) {
        let log = Log::new();
        let spy = Spy::new(&log).on_made(|cx| {
            cx.write("the last word");
            cx.lose_write();
            cx.write("dropped");
        });
        let (handle, mut user) = used(&reactor, spy)?;
        let mut said = Vec::new();
        user.read_to_end(&mut said).await?;
        assert_eq!(said, b"the last word");
        user.write_all(b"I see").await?;
        until(|| log.has("data I see")).await;
        assert!(handle.is_connected());
        user.close().await?;
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "data I see", "eof", "lost done"]);
    }

    async fn much_is_printed_to_the_last_byte_before_the_end(reactor) {
        let bytes = a_megabyte();
        let (log, much) = (Log::new(), bytes.clone());
        let spy = Spy::new(&log).on_made(move |cx| {
            cx.write(&much);
            cx.lose_connection();
        });
        let (mut user, _typing) = heard(&reactor, spy)?;
        let mut said = Vec::new();
        user.read_to_end(&mut said).await?;
        assert!(said == bytes);
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "lost done"]);
    }

    async fn a_panic_in_a_hook_is_the_reason_of_the_end(reactor) {
        let reports = support::expect_reports(&reactor);
        for bad in ["made", "data", "eof"] {
            let log = Log::new();
            let blow = move |hook: &str| assert_ne!(hook, bad);
            let spy = Spy::new(&log)
                .on_made(move |_| blow("made"))
                .on_data(move |_, _| blow("data"))
                .on_eof(move |_| blow("eof"));
            let (_, mut user) = used(&reactor, spy)?;
            let _ = user.write_all(b"x").await;
            let _ = user.close().await;
            until(|| log.all().last().is_some_and(|last| last.starts_with("lost panicked"))).await;
            // The connected descriptors are closed.
            assert_eq!(user.read(&mut [0]).await.unwrap_or(0), 0, "{bad}");
        }
        assert_eq!(reports.borrow().len(), 3);
    }
}

#[test]
fn in_memory_a_test_plays_the_user() {
    testing::run(async |reactor| {
        let failure = torsade::net::Stdio::new()
            .connect(&reactor, Spy::echo())
            .map(drop)
            .unwrap_err();
        assert!(failure.to_string().starts_with("with the in-memory driver"));
        let stdio = testing::Stdio::new(&reactor)?;
        assert!(stdio.user().is_err(), "the program has not opened it");
        let handle = torsade::net::Stdio::new().connect(&reactor, Spy::echo())?;
        let transport = handle.transport().expect("it is there");
        assert_eq!(transport.peer(), Address::Unnamed);
        let mut user = stdio.user()?;
        user.write_all(b"hello").await?;
        user.read_exact(&mut [0; 5]).await?;
        drop(user);
        handle.closed().await?;
        Ok(())
    });
}

#[test]
fn a_pipe_is_no_terminal() {
    run(async |reactor| {
        let (input, _typing) = pipe();
        let failure = Terminal::of(&reactor, input).unwrap_err();
        let error: &io::Error = failure.trap()?;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

/// The far side of a pseudo-terminal whose controlling side is given, in the role of a shell.
fn terminal_of_ours() -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap());
    (master, slave.unwrap())
}

/// Opening such a side again makes another one, without a far side.
#[test]
fn the_controlling_side_of_a_terminal_is_itself() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (master, mut slave) = terminal_of_ours();
        let log = Log::new();
        let spy = Spy::new(&log).on_data(|cx, _| cx.write("answer\n"));
        torsade::net::Stdio::of(master.try_clone()?, master).connect(&reactor, spy)?;
        slave.write_all(b"hello")?;
        until(|| log.has("data hello")).await;
        let heard = reactor.spawn_blocking(move || {
            let mut buf = [0; 7];
            slave.read_exact(&mut buf)?;
            Ok(buf)
        });
        assert_eq!(&heard.await?, b"answer\n");
        Ok(())
    });
}

#[test]
fn a_protocol_without_connection_made_gets_no_connection_lost() {
    let log = Log::new();
    let reactor = Reactor::new().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let spy = Spy::new(&log).on_lost({
        let log = log.clone();
        move |reason| log.note(format_args!("ended {}", how(reason)))
    });
    let handle = torsade::net::Stdio::of(one, other)
        .connect(&reactor, spy)
        .unwrap();
    drop(reactor);
    assert!(!handle.is_connected());
    assert!(log.is_empty(), "{:?}", log.all());
}
