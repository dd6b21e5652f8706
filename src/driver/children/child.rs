//! A child process: watched for its end, signalled, and waited for.
//!
//! It is watched through a descriptor that becomes readable when it ends: on Linux its *pidfd*,
//! elsewhere the end of a pipe that a thread of its own holds while it waits. No signal is caught
//! for this, and nobody else's children are waited for.
//!
//! # Invariant
//!
//! A child is waited for once: on the loop's thread, or by the reaper when the loop has abandoned
//! it. Before that its number is its own, so a signal never goes to another process. (Somebody else
//! in this program may wait for it, or the system where SIGCHLD is ignored. Where it comes with its
//! pidfd, that is never another's; elsewhere its number may be.)

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::thread;

#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(target_os = "linux")]
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::fork::{self, Forked};
use super::pipe::pipe;
use super::wait::{Patience, wait};
use crate::driver::source::{Name, Source};
use crate::sync::ThreadBody;

/// A child that has not been waited for.
#[derive(Debug)]
pub(crate) struct Child {
    pub(super) pid: Pid,
    pub(super) watch: Watch,
}

/// What tells of its end by becoming readable.
#[derive(Debug)]
pub(super) enum Watch {
    #[cfg(target_os = "linux")]
    PidFd(OwnedFd),
    /// A thread holds the other end of this pipe while it waits.
    Thread(OwnedFd),
}

impl Child {
    /// Watches a child; if it cannot be watched, there is none (a launch that fails leaves
    /// nothing).
    pub(super) fn new(forked: Forked) -> io::Result<Self> {
        let pid = forked.pid;
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = forked.pidfd.filter(can_be_watched) {
            let watch = Watch::PidFd(pidfd);
            return Ok(Self { pid, watch });
        }
        match Watch::new(pid) {
            Ok(watch) => Ok(Self { pid, watch }),
            Err(error) => {
                let _ = fork::signal(pid, libc::SIGKILL, false);
                let _ = wait(pid, None, Patience::Endless);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// How it ended, if it has; to be asked no more then. An error is of somebody else's making,
    /// who has waited for it.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        wait(self.pid, self.pidfd(), Patience::None)
    }

    /// Sends it a signal; with `group` to all of the group that it leads, and to it if it has left
    /// that.
    pub(crate) fn signal(&self, number: i32, group: bool) -> io::Result<()> {
        if group && self.has_its_number() {
            let sent = fork::signal(self.pid, number, true);
            if rustix::process::getpgid(Some(self.pid)) == Ok(self.pid) {
                return sent;
            }
        }
        self.signal_alone(number)
    }

    fn signal_alone(&self, number: i32) -> io::Result<()> {
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(pidfd) => fork::signal_by(pidfd, number),
            Watch::Thread(_) => fork::signal(self.pid, number, false),
        }
    }

    /// Is its number, and so that of its group, still its own? Whoever waited for it behind our
    /// back has set that free.
    fn has_its_number(&self) -> bool {
        let asked = self.signal_alone(0);
        !asked.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
    }

    pub(super) fn pidfd(&self) -> Option<&OwnedFd> {
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(pidfd) => Some(pidfd),
            Watch::Thread(_) => None,
        }
    }

    /// Kills it, and waits for it.
    pub(crate) fn end(self) {
        let _ = self.signal_alone(libc::SIGKILL);
        let _ = wait(self.pid, self.pidfd(), Patience::Endless);
    }
}

impl AsFd for Child {
    /// Readable when it has ended.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(fd) => fd.as_fd(),
            Watch::Thread(fd) => fd.as_fd(),
        }
    }
}

impl Source for Child {
    fn name(&self) -> Name<'_> {
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(fd) => Name::Machine(fd.as_fd()),
            Watch::Thread(fd) => Name::Machine(fd.as_fd()),
        }
    }
}

impl Watch {
    pub(super) fn new(pid: Pid) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(fd) => return Ok(Self::PidFd(fd)),
            // An older kernel, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            // It has ended, and this program has the system wait for its children.
            Err(Errno::SRCH) => return Self::gone(),
            Err(error) => return Err(error.into()),
        }
        Self::by_thread(pid)
    }

    /// Tells of an end at once.
    #[cfg(target_os = "linux")]
    pub(super) fn gone() -> io::Result<Self> {
        let (news, _) = pipe()?;
        Ok(Self::Thread(news))
    }

    /// A thread waits, and leaves the child to be waited for.
    pub(super) fn by_thread(pid: Pid) -> io::Result<Self> {
        let (news, held) = pipe()?;
        let body: ThreadBody = Box::new(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options));
            drop(held);
        });
        let named = thread::Builder::new().name("torsade-child".to_owned());
        named.stack_size(STACK).spawn(body)?;
        Ok(Self::Thread(news))
    }
}

/// Linux 5.2 gives descriptors of processes that a poller cannot wait for: these are always ready
/// to be written to.
#[cfg(target_os = "linux")]
pub(super) fn can_be_watched(pidfd: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(pidfd, PollFlags::OUT)];
    let polled = rustix::io::retry_on_intr(|| poll(&mut ready, Some(&Timespec::default())));
    polled == Ok(0) || polled == Ok(1) && !ready[0].revents().contains(PollFlags::OUT)
}

/// A thread that only waits needs little.
const STACK: usize = 64 * 1024;
