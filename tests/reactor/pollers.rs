//! Which poller a reactor waits with, and what happens where the system refuses one.
#![cfg(unix)]

use std::process::Command;

use support::own;
use torsade::Reactor;
use torsade::reactor::{Poller, ReactorError};

#[test]
fn a_reactor_names_the_poller_that_was_chosen() {
    for poller in Poller::available() {
        let reactor = Reactor::builder().poller(*poller).build().unwrap();
        assert_eq!(reactor.poller(), Some(*poller));
    }
    assert_eq!(Reactor::in_memory().unwrap().poller(), None);
}

#[test]
fn a_poller_of_another_system_is_an_error_that_lists_those_there_are() {
    let error = Reactor::builder().poller(Poller::Iocp).build().unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let text = inner.map(ReactorError::to_string).unwrap();
    assert!(text.starts_with("the poller \"iocp\" is not available here; "));
    for poller in Poller::available() {
        assert!(text.contains(poller.name()), "{text}");
    }
}

#[test]
fn the_environment_chooses_the_poller_unless_the_program_does() {
    assert_eq!(said(&mut asked("poll")), "poll");
    let text = said(&mut asked("kevent"));
    let begin =
        "the poller \"kevent\", which TORSADE_POLLER names, is not available here; available: ";
    assert!(text.starts_with(begin), "{text}");
    assert!(text.contains("poll"), "{text}");
}

/// Sandboxes are played by strace, which makes the calls fail.
#[cfg(target_os = "linux")]
#[test]
fn where_epoll_is_refused_the_reactor_uses_poll_unless_epoll_was_chosen() {
    let sandboxed = |error: &str, name: &str| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        for call in ["epoll_create1", "eventfd2", "timerfd_create", "pidfd_open"] {
            strace.args(["-e", &format!("inject={call}:error={error}")]);
        }
        strace.arg("--").arg(own::program());
        said(with(&mut strace, name))
    };
    for error in ["ENOSYS", "EPERM"] {
        assert_eq!(sandboxed(error, ""), "poll");
    }
    assert_eq!(
        sandboxed("ENOSYS", "epoll"),
        "the poller \"epoll\", which TORSADE_POLLER names, is not available here; available: poll"
    );
}

/// Runs in a separate process: prints its poller, once another thread has woken it.
#[test]
fn prints_its_poller() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let reactor = match Reactor::new() {
        Ok(reactor) => reactor,
        Err(error) => return println!("{MARK}{error}"),
    };
    let (sender, receiver) = futures::channel::oneshot::channel();
    let thread = std::thread::spawn(move || sender.send(()));
    reactor.run_until(receiver).unwrap().unwrap();
    thread.join().unwrap().unwrap();
    let poller = reactor.poller();
    println!("{MARK}{}", poller.unwrap());
}

/// This test program, to say its poller.
fn asked(name: &str) -> Command {
    let mut command = Command::new(own::program());
    with(&mut command, name);
    command
}

fn with<'a>(command: &'a mut Command, name: &str) -> &'a mut Command {
    command
        .args(own::words("prints_its_poller"))
        .env(ROLE, "1")
        .env("TORSADE_POLLER", name)
}

/// Returns its output.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().find_map(|line| line.split_once(MARK));
    found.unwrap_or_else(|| panic!("{output:?}")).1.to_owned()
}

const ROLE: &str = "TORSADE_TEST_SAYS_ITS_POLLER";
const MARK: &str = "poller: ";
