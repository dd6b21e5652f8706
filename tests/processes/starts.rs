//! How other programs begin: their environment, directory, user, descriptors and signals; and why
//! they do not.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{process, thread};

use support::folder::Folder;
use support::noted::Noted;
use support::{Log, Spy, children, role, some_turns};
use torsade::process::{ChildFd, Command, Output, ProcessError};
use torsade::{Failure, Reactor, testing};

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn text(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.out).unwrap().trim_end()
}

/// Has another program write a file that may be executed: one that is open for writing may not, and
/// children of other tests that begin meanwhile would have it open.
fn write_program(path: &Path, content: &[u8], mode: u32) {
    let mut writer = process::Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod \"$1\" \"$0\""])
        .arg(path)
        .arg(format!("{mode:o}"))
        .stdin(process::Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(content).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// Runs the child's role.
#[test]
fn role() {
    role::play(async |reactor, name| match name {
        "signals" => print_signals(reactor).await,
        "starved" => starve(reactor).await,
        "groups" => print_groups(reactor).await,
        "dealt" => deal(reactor).await,
        "limited" => reach_limit(reactor).await,
        "crowded" => crowd(reactor).await,
        other => panic!("no role is called {other}"),
    });
}

/// Returns a command that runs a role.
fn actor(role: &str) -> Command {
    let [program, words @ ..] = role::words();
    Command::new(program).args(words).env("TORSADE_ROLE", role)
}

#[test]
fn a_child_inherits_the_environment_unless_it_is_changed() {
    run(async |reactor| {
        let ours = std::env::var("PATH").unwrap();
        let path = Command::new("printenv").arg("PATH");
        assert_eq!(text(&path.clone().output(&reactor).await?), ours);
        let changed = path.clone().env("PATH", "/bin:/usr/bin");
        assert_eq!(text(&changed.output(&reactor).await?), "/bin:/usr/bin");
        let removed = path.clone().env_remove("PATH");
        assert_eq!(removed.output(&reactor).await?.status.code(), Some(1));

        let bare = Command::new("env").env_clear();
        assert_eq!(text(&bare.clone().output(&reactor).await?), "");
        let some = bare.envs([("B", "2"), ("A", "=1")]).env("B", "3");
        let mut lines: Vec<_> = text(&some.output(&reactor).await?)
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        assert_eq!(lines, ["A==1", "B=3"]);
        Ok(())
    });
}

#[test]
fn a_child_has_the_requested_directory_and_name() {
    run(async |reactor| {
        let folder = Folder::create();
        let path = fs::canonicalize(folder.path("")).unwrap();
        let there = Command::new("pwd").current_dir(&path);
        assert_eq!(text(&there.output(&reactor).await?), path.to_str().unwrap());
        // A path with a slash is looked for from there.
        let tool = path.join("tool");
        write_program(&tool, b"#!/bin/sh\necho it runs\n", 0o755);
        let relative = Command::new("./tool").current_dir(&path);
        assert_eq!(text(&relative.output(&reactor).await?), "it runs");

        let named = sh("echo $0").arg0("another");
        assert_eq!(text(&named.output(&reactor).await?), "another");
        Ok(())
    });
}

#[test]
fn a_program_is_looked_for_along_the_path_that_the_child_has() {
    run(async |reactor| {
        let folder = Folder::create();
        let (first, second) = (folder.path("first"), folder.path("second"));
        for (location, mode) in [(&first, 0o644), (&second, 0o755)] {
            fs::create_dir(location).unwrap();
            let tool = location.join("torsade-tool");
            let script = format!("#!/bin/sh\necho {}\n", location.display());
            write_program(&tool, script.as_bytes(), mode);
        }
        let both = format!("/nowhere:{}:{}", first.display(), second.display());
        let found = Command::new("torsade-tool").env("PATH", &both);
        // A program that may not be executed is skipped.
        let output = found.output(&reactor).await?;
        assert_eq!(text(&output), second.to_str().unwrap());
        // If there is no other, it decides the error.
        let forbidden = Command::new("torsade-tool").env("PATH", &first);
        let failure = forbidden.output(&reactor).await.unwrap_err();
        let error = start_error(&failure);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        // Without a path there is a usual one.
        let usual = Command::new("echo").arg("x").env_clear();
        assert_eq!(text(&usual.output(&reactor).await?), "x");
        Ok(())
    });
}

#[test]
fn a_child_has_the_requested_user_and_groups() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can change its user");
        return;
    }
    run(async |reactor| {
        let who = sh("id -u; id -g; id -G; umask >/dev/null");
        let nobody = who.clone().uid(65534).gid(65533);
        assert_eq!(text(&nobody.output(&reactor).await?), "65534\n65533\n65533");
        let grouped = who.uid(65534).gid(65533).groups([7, 9]);
        let output = grouped.output(&reactor).await?;
        assert_eq!(text(&output), "65534\n65533\n65533 7 9");
        // This process's identity is unchanged, and a process without root gets an error.
        assert!(rustix::process::geteuid().is_root());
        let failure = sh("exit").uid(u32::MAX).output(&reactor).await.unwrap_err();
        assert_eq!(
            start_error(&failure).kind(),
            ErrorKind::InvalidInput,
            "{failure}"
        );
        Ok(())
    });
}

async fn print_signals(reactor: &Reactor) -> Result<(), Failure> {
    // We ignore SIGPIPE, as every Rust program does, and SIGHUP, as our parent had it.
    let ours = fs::read_to_string("/proc/self/status")?;
    let ignored = ours
        .lines()
        .find(|line| line.starts_with("SigIgn"))
        .unwrap();
    eprintln!("ours {ignored}");
    let grep = Command::new("grep").args(["^Sig[BIC]", "/proc/self/status"]);
    eprint!(
        "{}",
        String::from_utf8_lossy(&grep.output(reactor).await?.out)
    );
    Ok(())
}

#[test]
fn no_signal_is_ignored_or_blocked_in_a_child() {
    run(async |reactor| {
        let [program, words @ ..] = role::words();
        // The shell ignores SIGHUP and SIGINT, and so does the program that it executes.
        let actor = sh("trap '' HUP INT; exec \"$0\" \"$@\"")
            .arg(program)
            .args(words)
            .env("TORSADE_ROLE", "signals");
        let output = actor.output(&reactor).await?;
        let observed = String::from_utf8(output.err).unwrap();
        // Where the machine is slow, a watchdog has its say between.
        let lines: Vec<Vec<&str>> = observed
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|words: &Vec<_>| words[0] == "ours" || words[0].starts_with("Sig"))
            .collect();
        let ours = &lines[0];
        // Signals 1, 2 and 13.
        assert_eq!(ours[..2], ["ours", "SigIgn:"], "{observed}");
        assert_eq!(
            u64::from_str_radix(ours[2], 16)? & 0x1003,
            0x1003,
            "{observed}"
        );
        for line in &lines[1..] {
            let some = u64::from_str_radix(line[1], 16)?;
            assert!(line[0] == "SigCgt:" || some == 0, "{observed}");
        }
        assert_eq!(lines.len(), 4, "{observed}");
        Ok(())
    });
}

/// The descriptors of a child, as it sees them, with their kinds.
async fn descriptors(
    reactor: &Reactor,
    command: Command,
) -> Result<BTreeMap<i32, String>, Failure> {
    let output = command.output(reactor).await?;
    let lines = String::from_utf8(output.success()?.out).unwrap();
    let mut found = BTreeMap::new();
    for line in lines.lines() {
        let (number, what) = line.split_once(' ').unwrap();
        // The one by which the shell looked is not there any more.
        if what != "gone" {
            found.insert(number.parse()?, what.to_owned());
        }
    }
    Ok(found)
}

/// A command that prints its descriptors, without the one by which it looks.
fn lister() -> Command {
    let script = "cd /proc/$$/fd; for fd in *; do printf \"$fd \"; readlink $fd || echo gone; done";
    sh(script)
}

#[test]
fn a_child_has_the_requested_descriptors_and_no_others() {
    run(async |reactor| {
        // Descriptors that must not leak: sockets, and files that other threads open all the time.
        let sockets: Vec<_> = (0..1000)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let openers: Vec<_> = (0..2)
            .map(|_| {
                let stop = stop.clone();
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let files: Vec<_> =
                            (0..20).map(|_| File::open("/dev/zero").unwrap()).collect();
                        drop(files);
                    }
                })
            })
            .collect();
        // Such as are not closed by `execve` by themselves.
        let leaky = sockets[0].try_clone().unwrap();
        rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty())?;

        let folder = Folder::create();
        let path = folder.path("given");
        let given = File::create(&path).unwrap();
        for round in 0..20 {
            let command = lister()
                .child_fd(3, ChildFd::Write)
                .child_fd(4, ChildFd::Read)
                .child_fd(7, ChildFd::copy_of(&given)?)
                .child_fd(200 + round, ChildFd::Null)
                .child_fd(2, ChildFd::Null);
            let found = descriptors(&reactor, command).await?;
            let numbers: Vec<i32> = found.keys().copied().collect();
            assert_eq!(numbers, [0, 1, 2, 3, 4, 7, 200 + round], "{found:?}");
            for (number, what) in &found {
                let expected = match number {
                    0 | 1 | 3 | 4 => "pipe:",
                    7 => path.to_str().unwrap(),
                    _ => "/dev/null",
                };
                assert!(what.starts_with(expected), "{found:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        for opener in openers {
            opener.join().unwrap();
        }
        Ok(())
    });
}

#[test]
fn a_child_may_have_nothing_at_all() {
    run(async |reactor| {
        let bare = Command::new("true").child_fds([]);
        assert!(bare.status(&reactor).await?.success());
        let some = sh("test ! -e /proc/$$/fd/0 -a ! -e /proc/$$/fd/2")
            .no_child_fd(0)
            .no_child_fd(2);
        assert!(some.output(&reactor).await?.status.success());
        Ok(())
    });
}

#[test]
fn descriptors_of_ours_are_given_under_any_numbers_also_swapped() {
    run(async |reactor| {
        let folder = Folder::create();
        let (a, b) = (folder.path("a"), folder.path("b"));
        for _ in 0..3 {
            let (file_a, file_b) = (File::create(&a).unwrap(), File::create(&b).unwrap());
            let (low, high): (OwnedFd, OwnedFd) = (file_a.into(), file_b.into());
            let numbers = [&low, &high].map(std::os::fd::AsRawFd::as_raw_fd);
            // Each under the number that the other one has here.
            let script = format!("printf a >&{}; printf b >&{}", numbers[1], numbers[0]);
            let command = Command::new("bash")
                .args(["-c", &script])
                .child_fd(numbers[1], low)
                .child_fd(numbers[0], high);
            let output = command.output(&reactor).await?;
            assert!(output.status.success(), "{output:?}");
            assert_eq!(fs::read(&a).unwrap(), b"a");
            assert_eq!(fs::read(&b).unwrap(), b"b");
        }
        // One of ours under several numbers, and ours stays open.
        let mut both = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .read(true)
            .open(folder.path("both"))
            .unwrap();
        let given = ChildFd::copy_of(both.as_fd())?;
        let command = sh("printf 1; printf 9 >&9; printf 2 >&2").child_fds([
            (1, given.clone()),
            (2, given.clone()),
            (9, given),
        ]);
        assert!(command.status(&reactor).await?.success());
        both.write_all(b"!").unwrap();
        both.rewind().unwrap();
        let mut all = String::new();
        both.read_to_string(&mut all).unwrap();
        assert_eq!(all, "192!");
        Ok(())
    });
}

#[test]
fn a_program_that_cannot_be_started_is_an_error_of_the_call() {
    run(async |reactor| {
        let folder = Folder::create();
        let (plain, folder_path) = (folder.path("plain"), folder.path(""));
        fs::write(&plain, "no program").unwrap();
        let garbage = folder.path("garbage");
        write_program(&garbage, &[0; 64], 0o755);
        let cases = [
            (
                Command::new("no-such-program-anywhere"),
                ErrorKind::NotFound,
            ),
            (Command::new("/no/such/program"), ErrorKind::NotFound),
            (Command::new("/etc/passwd/x"), ErrorKind::NotADirectory),
            (
                Command::new("no-such-program").env("PATH", "/etc/passwd:/bin"),
                ErrorKind::NotFound,
            ),
            (Command::new(""), ErrorKind::InvalidInput),
            (Command::new(&plain), ErrorKind::PermissionDenied),
            (Command::new(&folder_path), ErrorKind::PermissionDenied),
            (
                Command::new("true").current_dir("/no/such/place"),
                ErrorKind::NotFound,
            ),
            (
                Command::new("true").args(vec!["x".repeat(100_000); 40]),
                ErrorKind::ArgumentListTooLong,
            ),
            (Command::new("true").arg("a\0b"), ErrorKind::InvalidInput),
            (Command::new("tr\0e"), ErrorKind::InvalidInput),
            (
                Command::new("true").env("A=B", "1"),
                ErrorKind::InvalidInput,
            ),
            (Command::new("true").env("", "1"), ErrorKind::InvalidInput),
        ];
        for (command, kind) in cases {
            let program = command.program().to_owned();
            let failure = command.clone().output(&reactor).await.unwrap_err();
            assert_eq!(start_error(&failure).kind(), kind, "{failure}");
            assert!(
                failure.to_string().contains(&format!("{program:?}")),
                "{failure}"
            );
            assert!(command.spawn(&reactor).is_err());
        }
        for command in [
            (Command::new(&garbage), Some(rustix::io::Errno::NOEXEC)),
            (Command::new("true").child_fd(-1, ChildFd::Null), None),
            (Command::new("true").child_fd(i32::MAX, ChildFd::Null), None),
            (
                Command::new("true").child_fd(1_000_000_000, ChildFd::Null),
                None,
            ),
        ] {
            let failure = command.0.output(&reactor).await.unwrap_err();
            let error = start_error(&failure).raw_os_error();
            if let Some(errno) = command.1 {
                assert_eq!(error, Some(errno.raw_os_error()));
            }
        }
        let failure = Command::new("/no/such").output(&reactor).await.unwrap_err();
        assert_eq!(
            format!("{failure:#}"),
            "cannot start \"/no/such\": executing it failed: No such file or directory (os error 2)"
        );
        Ok(())
    });
}

/// Starts what it can with few descriptors left, and prints the results.
async fn starve(reactor: &Reactor) -> Result<(), Failure> {
    let limit = rustix::process::Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    let before = open_descriptors();
    let mut started = Vec::new();
    let failure = loop {
        match Command::new("cat").spawn(reactor) {
            Ok(child) => started.push(child),
            Err(failure) => break failure,
        }
    };
    let error = start_error(&failure).raw_os_error();
    assert_eq!(error, Some(rustix::io::Errno::MFILE.raw_os_error()));
    assert_eq!(
        children().len(),
        started.len(),
        "no half-made child is left"
    );
    eprintln!("{} started", started.len());
    let one_more = open_descriptors();
    assert!(Command::new("cat").spawn(reactor).is_err());
    assert_eq!(open_descriptors(), one_more);
    for mut child in started {
        child.take_stdin()?.close().await?;
        assert!(child.status().await?.success());
    }
    torsade::yield_now().await;
    torsade::yield_now().await;
    assert_eq!(open_descriptors(), before);
    assert_eq!(children(), []);
    Ok(())
}

fn open_descriptors() -> usize {
    // One is for looking.
    (0..64)
        .filter(|fd| fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok())
        .count()
}

#[test]
fn without_descriptors_nothing_is_started_and_nothing_is_left() {
    run(async |reactor| {
        let output = actor("starved").output(&reactor).await?;
        let observed = String::from_utf8_lossy(&output.err).into_owned();
        assert!(output.status.success(), "{observed}");
        assert!(observed.contains("started"), "{observed}");
        Ok(())
    });
}

#[test]
fn children_that_failed_are_not_left_behind() {
    run(async |reactor| {
        for _ in 0..50 {
            assert!(Command::new("/no/such").output(&reactor).await.is_err());
        }
        // Others may have children of theirs meanwhile, but no zombie stays.
        support::until(|| !support::has_zombies()).await;
        Ok(())
    });
}

/// Gives a child each number that may be free here. (No other code in this process opens a
/// descriptor.)
async fn deal(reactor: &Reactor) -> Result<(), Failure> {
    let folder = Folder::create();
    let paths = [folder.path("even"), folder.path("odd")];
    let files: Vec<ChildFd> = paths
        .iter()
        .map(|path| File::create(path).unwrap().into())
        .collect();
    // Where these are free here, a copy of one would take the number of another; the last is placed
    // first.
    let numbers = 3..400;
    let given = |mut command: Command| {
        for number in numbers.clone().rev() {
            command = command.child_fd(number, files[number as usize % 2].clone());
        }
        command
    };
    let command = given(lister().child_fd(2, ChildFd::Null));
    let found = descriptors(reactor, command).await?;
    assert_eq!(found.len(), 400);
    for number in numbers.clone() {
        let expected = paths[number as usize % 2].to_str().unwrap();
        assert_eq!(found[&number], expected, "{number}");
    }
    // The report of a failure is not written to one of them either.
    let failure = given(Command::new("/no/such")).output(reactor).await;
    assert!(matches!(
        failure.unwrap_err().downcast_ref(),
        Some(ProcessError::NotStarted { .. })
    ));
    assert!(
        paths
            .iter()
            .all(|path| fs::metadata(path).unwrap().len() == 0)
    );
    Ok(())
}

#[test]
fn descriptors_are_right_where_the_free_numbers_are_the_requested_ones() {
    run(async |reactor| {
        let output = actor("dealt").output(&reactor).await?;
        let observed = String::from_utf8_lossy(&output.err);
        assert!(output.status.success(), "{observed}");
        Ok(())
    });
}

/// Gives a child the highest descriptor numbers.
async fn reach_limit(reactor: &Reactor) -> Result<(), Failure> {
    let limit = rustix::process::Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    let command = lister().child_fd(2, ChildFd::Null);
    let found = descriptors(reactor, command.clone().child_fd(63, ChildFd::Null)).await?;
    assert_eq!(found[&63], "/dev/null");
    let piped = (60..64).fold(command, |command, number| {
        command.child_fd(number, ChildFd::Write)
    });
    let found = descriptors(reactor, piped).await?;
    let numbers: Vec<i32> = found.keys().copied().collect();
    assert_eq!(numbers, [0, 1, 2, 60, 61, 62, 63], "{found:?}");
    let beyond = Command::new("true").child_fd(64, ChildFd::Null);
    assert!(beyond.status(reactor).await.is_err());
    Ok(())
}

#[test]
fn a_child_may_have_the_highest_number_that_there_is() {
    run(async |reactor| {
        let output = actor("limited").output(&reactor).await?;
        let observed = String::from_utf8_lossy(&output.err);
        assert!(output.status.success(), "{observed}");
        Ok(())
    });
}

/// Runs as a user that may have no more processes.
async fn crowd(reactor: &Reactor) -> Result<(), Failure> {
    let limit = rustix::process::Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nproc, limit)?;
    let before = open_descriptors();
    for _ in 0..3 {
        let failure = Command::new("true").spawn(reactor).unwrap_err();
        let text = failure.to_string();
        assert!(text.ends_with("creating a process failed"), "{text}");
        let error = start_error(&failure).raw_os_error();
        assert_eq!(error, Some(rustix::io::Errno::AGAIN.raw_os_error()));
    }
    assert_eq!(open_descriptors(), before);
    assert_eq!(children(), []);
    Ok(())
}

#[test]
fn where_no_process_is_to_be_had_nothing_is_started_and_nothing_is_left() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can change its user");
    }
    run(async |reactor| {
        let [_, words @ ..] = role::words();
        // That user may not be allowed to reach this program by its path.
        let program = File::open("/proc/self/exe")?;
        let actor = Command::new("/proc/self/fd/9")
            .child_fd(9, program)
            .args(words)
            .env("TORSADE_ROLE", "crowded")
            .uid(65531)
            .gid(65531);
        let output = actor.output(&reactor).await?;
        let observed = String::from_utf8_lossy(&output.err);
        assert!(output.status.success(), "{observed}");
        Ok(())
    });
}

#[test]
fn our_own_signals_are_as_they_were() {
    let signals = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        // Not pending signals: other processes of this user have some as well.
        let names = ["SigBlk:", "SigIgn:", "SigCgt:"];
        let observed = |name: &str| status.lines().find(|line| line.starts_with(name));
        names.map(|name| observed(name).unwrap().to_owned())
    };
    run(async |reactor| {
        let before = signals();
        let mut child = Command::new("cat").spawn(&reactor)?;
        assert_eq!(signals(), before, "while it lives");
        let [.., caught] = &before;
        let caught = caught.split_whitespace().nth(1).unwrap();
        // SIGCHLD is 17.
        assert_eq!(u64::from_str_radix(caught, 16)? >> 16 & 1, 0, "{caught}");
        drop(child.take_stdin()?);
        child.status().await?;
        assert_eq!(signals(), before);
        assert!(Command::new("/no/such").output(&reactor).await.is_err());
        assert_eq!(signals(), before);
        Ok(())
    });
}

/// Prints this process's identity, and that of a child of another user.
async fn print_groups(reactor: &Reactor) -> Result<(), Failure> {
    let who = Command::new("sh").args(["-c", "id -u; id -g; id -G"]);
    let output = who.uid(65534).gid(65533).output(reactor).await?;
    let ours = rustix::process::getgroups()?;
    eprintln!(
        "{} with {} groups starts {}",
        rustix::process::geteuid().as_raw(),
        ours.len(),
        text(&output).replace('\n', ", ")
    );
    Ok(())
}

#[test]
fn a_child_of_another_user_does_not_keep_our_groups() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can change its user");
    }
    run(async |reactor| {
        let output = actor("groups").groups([7, 9]).output(&reactor).await?;
        let observed = String::from_utf8(output.err)?;
        assert_eq!(observed, "0 with 2 groups starts 65534, 65533, 65533\n");
        Ok(())
    });
}

#[test]
fn one_that_has_put_root_aside_starts_another_user_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can change its user");
    }
    run(async |reactor| {
        let [program, words @ ..] = role::words();
        // Our real user stays root.
        let aside = Command::new("setpriv").args(["--euid=65534", "--groups=7,9"]);
        if aside.clone().arg("true").output(&reactor).await.is_err() {
            eprintln!("skipped: there is no setpriv");
            return Ok(());
        }
        let aside = aside.arg(program).args(words);
        let output = aside.env("TORSADE_ROLE", "groups").output(&reactor).await?;
        let observed = String::from_utf8(output.err)?;
        assert_eq!(observed, "65534 with 2 groups starts 65534, 65533, 65533\n");
        Ok(())
    });
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
            let error = start_error(&failure);
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

/// Returns the system's error for which a program was not started.
fn start_error(failure: &Failure) -> &std::io::Error {
    match failure.downcast_ref() {
        Some(ProcessError::NotStarted { error, .. }) => error,
        _ => panic!("{failure:?}"),
    }
}
