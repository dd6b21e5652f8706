//! A child process: the driver watches it for its end, signals it, and waits for it.
//!
//! A child is watched through a descriptor that becomes readable when the child ends: on Linux its
//! *pidfd*, elsewhere the read end of a pipe whose write end a dedicated thread holds while it
//! waits. No signal handler is installed for this, and children started by other code are not
//! waited for.
//!
//! # Invariant
//!
//! A child is waited for once: on the loop's thread, or by the reaper when the loop has abandoned
//! the child. Until then the kernel does not reuse its process ID, so a signal never reaches
//! another process. (Other code in this program may wait for the child, or the kernel itself where
//! SIGCHLD is ignored. A pidfd never refers to another process; without a pidfd the process ID may
//! have been reused.)

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
use super::wait::{WaitMode, wait};
use crate::driver::source::{Name, Source};
use crate::sync::ThreadBody;

/// A child that has not been waited for.
#[derive(Debug)]
pub(crate) struct Child {
    pub(super) pid: Pid,
    pub(super) watch: Watch,
}

/// The descriptor that becomes readable when the child ends.
#[derive(Debug)]
pub(super) enum Watch {
    #[cfg(target_os = "linux")]
    PidFd(OwnedFd),
    /// The read end of a pipe whose write end a thread holds while it waits.
    Thread(OwnedFd),
}

impl Child {
    /// Watches a child. A child that cannot be watched is killed, so that a failed launch leaves no
    /// process behind.
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
                let _ = wait(pid, None, WaitMode::Block);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Returns how the child ended, if it has ended; not to be called after that. Fails when other
    /// code has waited for the child.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        wait(self.pid, self.pidfd(), WaitMode::Poll)
    }

    /// Sends the child a signal; with `group`, sends it to the whole process group that the child
    /// leads, and to the child itself if it has left that group.
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

    /// Returns whether the process ID, and so the ID of its group, still belongs to the child. The
    /// ID is free for reuse once other code has waited for the child.
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

    /// Kills the child and waits for it.
    pub(crate) fn end(self) {
        let _ = self.signal_alone(libc::SIGKILL);
        let _ = wait(self.pid, self.pidfd(), WaitMode::Block);
    }
}

impl AsFd for Child {
    /// Returns the descriptor that is readable when the child has ended.
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
            // The child has ended, and the kernel reaps the children of this program by itself.
            Err(Errno::SRCH) => return Self::gone(),
            Err(error) => return Err(error.into()),
        }
        Self::by_thread(pid)
    }

    /// Returns a watch that reports the end immediately.
    #[cfg(target_os = "linux")]
    pub(super) fn gone() -> io::Result<Self> {
        let (pipe_end, _) = pipe()?;
        Ok(Self::Thread(pipe_end))
    }

    /// Starts a thread that waits without reaping the child.
    pub(super) fn by_thread(pid: Pid) -> io::Result<Self> {
        let (pipe_end, held) = pipe()?;
        let body: ThreadBody = Box::new(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options));
            drop(held);
        });
        let named = thread::Builder::new().name("torsade-child".to_owned());
        named.stack_size(STACK).spawn(body)?;
        Ok(Self::Thread(pipe_end))
    }
}

/// Returns whether a poller can wait for the pidfd. Pidfds of Linux 5.2 are always writable and
/// never report the end.
#[cfg(target_os = "linux")]
pub(super) fn can_be_watched(pidfd: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(pidfd, PollFlags::OUT)];
    let polled = rustix::io::retry_on_intr(|| poll(&mut ready, Some(&Timespec::default())));
    polled == Ok(0) || polled == Ok(1) && !ready[0].revents().contains(PollFlags::OUT)
}

/// Stack size of a thread that only waits, in bytes.
const STACK: usize = 64 * 1024;
