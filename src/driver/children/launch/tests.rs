//! Children: how they are watched, signalled and waited for.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitOptions, waitpid};

use super::super::child::{Watch, can_be_watched};
use super::super::wait::{WaitMode, wait};
use super::*;
use crate::driver::{Driver, Interest};

fn launch(script: &str) -> Launch<'_> {
    Launch {
        program: OsStr::new("/bin/sh"),
        args: ["sh", "-c", script].map(OsStr::new).to_vec(),
        env: std::env::vars_os().collect(),
        directory: None,
        groups: None,
        gid: None,
        uid: None,
        fds: vec![
            (0, ChildFd::Null),
            (1, ChildFd::Null),
            (2, ChildFd::Inherit),
        ],
        pty: None,
        has_stream: false,
        leads_group: false,
    }
}

/// Waits until the driver reports a child's end.
fn await_end(child: &Child) -> ExitStatus {
    let driver = Driver::machine().unwrap();
    driver.add(child, 5, Interest::Read).unwrap();
    let mut events = Vec::new();
    while events.is_empty() {
        driver
            .wait(Some(Duration::from_secs(20)), &mut events)
            .unwrap();
    }
    assert_eq!(events[0].key, 5);
    driver.remove(child).unwrap();
    child.try_wait().unwrap().expect("it has ended")
}

#[test]
fn an_end_makes_the_descriptor_readable_however_it_is_watched() {
    let launched = launch("exit 3").start().unwrap();
    assert_eq!(await_end(&launched.child).code(), Some(3));

    let launched = launch("exit 4").start().unwrap();
    let watch = Watch::by_thread(launched.child.pid).unwrap();
    let child = Child {
        pid: launched.child.pid,
        watch,
    };
    assert_eq!(await_end(&child).code(), Some(4));
    // The child has been waited for once, and cannot be again.
    assert!(child.try_wait().is_err());
}

#[test]
fn a_child_that_a_thread_watches_is_signalled_too() {
    let launched = launch("exec sleep 1000").start().unwrap();
    let watch = Watch::by_thread(launched.child.pid).unwrap();
    let child = Child {
        pid: launched.child.pid,
        watch,
    };
    assert!(child.try_wait().unwrap().is_none());
    child.signal(libc::SIGTERM, false).unwrap();
    assert_eq!(await_end(&child).signal(), Some(libc::SIGTERM));
}

#[test]
fn a_group_is_signalled_however_its_leader_is_watched() {
    for is_by_thread in [false, true] {
        let (read_end, output) = pipe().unwrap();
        let mut launch = launch("sleep 1000 & echo up; wait");
        launch.fds = vec![(1, ChildFd::from(output)), (2, ChildFd::Inherit)];
        launch.leads_group = true;
        let mut child = launch.start().unwrap().child;
        drop(launch);
        if is_by_thread {
            child.watch = Watch::by_thread(child.pid).unwrap();
        }
        let mut read_end = File::from(read_end);
        read_end.read_exact(&mut [0; 3]).unwrap();
        child.signal(libc::SIGKILL, true).unwrap();
        assert_eq!(await_end(&child).signal(), Some(libc::SIGKILL));
        // The other child has the pipe open until its end.
        let mut fds = [PollFd::new(&read_end, PollFlags::IN)];
        let mode = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&mode)), Ok(1), "it lives");
        assert_eq!(read_end.read(&mut [0; 1]).unwrap(), 0);
    }
}

/// Returns a child that other code has waited for, and another process that has its ID since;
/// `None` where IDs cannot be chosen.
#[cfg(target_os = "linux")]
fn reaped_child_and_process_with_its_id() -> Option<(Child, Child)> {
    for _ in 0..50 {
        let mut first = launch("exit 3");
        first.leads_group = true;
        let one = first.start().unwrap().child;
        waitpid(Some(one.pid), WaitOptions::empty()).unwrap();
        let last = (one.pid.as_raw_pid() - 1).to_string();
        std::fs::write("/proc/sys/kernel/ns_last_pid", last).ok()?;
        let mut second = launch("exec sleep 20");
        second.leads_group = true;
        let other = second.start().unwrap().child;
        if other.pid == one.pid {
            return Some((one, other));
        }
        other.end();
    }
    None
}

#[cfg(target_os = "linux")]
#[test]
fn another_process_with_the_same_id_gets_no_signal() {
    let Some((one, other)) = reaped_child_and_process_with_its_id() else {
        return eprintln!("skipped: numbers cannot be chosen here");
    };
    for is_group in [false, true] {
        let error = one.signal(libc::SIGTERM, is_group).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
    assert!(one.try_wait().is_err(), "other code has waited for it");
    one.end();
    assert!(other.try_wait().unwrap().is_none(), "it lives");
    other.signal(libc::SIGUSR1, true).unwrap();
    assert_eq!(await_end(&other).signal(), Some(libc::SIGUSR1));
    assert!(other.try_wait().is_err());
}

#[test]
fn the_status_is_the_same_however_a_child_is_waited_for() {
    // The child may leave a core file there.
    let folder = std::env::temp_dir().join(format!("torsade-cores-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    for script in [
        "exit 0",
        "exit 255",
        "kill -9 $$",
        "ulimit -c unlimited; kill -6 $$",
    ] {
        let mut launch = launch(script);
        launch.directory = Some(&folder);
        let [one, other] = [true, false].map(|is_by_number| {
            let child = launch.start().unwrap().child;
            let pidfd = child.pidfd().filter(|_| !is_by_number);
            wait(child.pid, pidfd, WaitMode::Block).unwrap().unwrap()
        });
        assert_eq!(one, other, "{script}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#[test]
fn a_child_comes_with_its_pidfd() {
    let us = rustix::process::getpid();
    if rustix::process::pidfd_open(us, rustix::process::PidfdFlags::empty()).is_err() {
        return eprintln!("skipped: there are no such descriptors here");
    }
    let launch = launch("exit 5");
    let ends = launch.make_ends().unwrap();
    let forked = fork::fork(&launch.plan(&ends, Leader::Nothing).unwrap()).unwrap();
    let pidfd = forked.pidfd.as_ref().expect("it comes with one");
    let flags = rustix::io::fcntl_getfd(pidfd).unwrap();
    assert_eq!(flags, rustix::io::FdFlags::CLOEXEC);
    let about = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let about = std::fs::read_to_string(about).unwrap();
    let line = format!("Pid:\t{}", forked.pid);
    assert!(about.lines().any(|found| found == line), "{about}");
    assert_eq!(await_end(&Child::new(forked).unwrap()).code(), Some(5));
}

#[cfg(target_os = "linux")]
#[test]
fn a_pidfd_that_no_poller_can_wait_for_is_recognised() {
    let launch = launch("exec sleep 1000");
    let child = launch.start().unwrap().child;
    assert!(child.pidfd().is_none_or(can_be_watched));
    child.signal(libc::SIGKILL, false).unwrap();
    await_end(&child);
    // Like a pidfd of an old kernel, this descriptor has nothing to wait for.
    assert!(!can_be_watched(
        &File::open("/proc/self/stat").unwrap().into()
    ));
}

#[cfg(target_os = "linux")]
#[test]
fn a_watch_of_a_reaped_child_reports_the_end_at_once() {
    let watch = Watch::gone().unwrap();
    let Watch::Thread(fd) = &watch else {
        panic!("{watch:?}");
    };
    assert_eq!(rustix::io::read(fd, &mut [0; 1]), Ok(0));
}

/// Returns what a program prints in this thread about its identity: user, effective user, groups.
#[cfg(target_os = "linux")]
fn identity_of(change: impl FnOnce(&mut Launch<'_>)) -> String {
    let (read_end, output) = pipe().unwrap();
    let mut launch = launch("id -ru; id -u; id -G");
    launch.fds = vec![(1, ChildFd::from(output)), (2, ChildFd::Inherit)];
    change(&mut launch);
    let child = launch.start().unwrap().child;
    drop(launch);
    let mut text = String::new();
    File::from(read_end).read_to_string(&mut text).unwrap();
    assert!(await_end(&child).success());
    text.replace('\n', " ")
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_has_put_root_aside_starts_children_without_it() {
    if !geteuid().is_root() {
        return;
    }
    // The thread changes only its own identity, with bare system calls.
    let aside = thread::spawn(|| {
        assert!(fork::put_root_aside(65534));
        let plain = identity_of(|_| {});
        assert!(plain.starts_with("65534 65534 "), "{plain}");
        let grouped = identity_of(|launch| launch.gid = Some(65533));
        assert_eq!(grouped, "65534 65534 65533 ");
        let several = identity_of(|launch| launch.groups = Some(vec![7, 9]));
        assert_eq!(several, "65534 65534 0 7 9 ");
        let other = identity_of(|launch| {
            launch.uid = Some(65532);
            launch.gid = Some(65533);
        });
        assert_eq!(other, "65532 65532 65533 ");
    });
    aside.join().unwrap();
    assert!(geteuid().is_root(), "this process's user is unchanged");
}

#[cfg(target_os = "linux")]
#[test]
fn given_descriptors_get_their_numbers_in_any_permutation() {
    // Four descriptors of this process are handed out again in each order, under the very numbers
    // they have.
    let (folder, mut files) = (std::env::temp_dir(), Vec::new());
    let path = |n: usize| folder.join(format!("torsade-child-{}-{n}", std::process::id()));
    for n in 0..4 {
        files.push(File::create(path(n)).unwrap());
    }
    let own: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let orders = [
        [1, 0, 3, 2],
        [1, 2, 3, 0],
        [3, 0, 1, 2],
        [0, 1, 2, 3],
        [3, 2, 1, 0],
    ];
    for order in orders {
        let script = "for fd in /proc/$$/fd/*; do test -L $fd && printf \"${fd##*/} \" && readlink $fd; done";
        let found = path(9);
        let output = File::create(&found).unwrap();
        let mut launch = launch(script);
        launch.fds = vec![(1, ChildFd::from(output)), (2, ChildFd::Inherit)];
        for (at, from) in order.into_iter().enumerate() {
            let given = ChildFd::from(files[from].try_clone().unwrap());
            launch.fds.push((own[at], given));
        }
        let launched = launch.start().unwrap();
        assert!(await_end(&launched.child).success());
        let lines = std::fs::read_to_string(&found).unwrap();
        for (fd, from) in own.iter().zip(order) {
            let expected = format!("{fd} {}", path(from).display());
            assert!(
                lines.lines().any(|line| line == expected),
                "{order:?}: {lines}"
            );
        }
        assert_eq!(lines.lines().count(), 6, "{lines}");
    }
    for n in [0, 1, 2, 3, 9] {
        std::fs::remove_file(path(n)).unwrap();
    }
}
