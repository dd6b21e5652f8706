//! Waits for a child.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

#[cfg(target_os = "linux")]
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
#[cfg(target_os = "linux")]
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

/// Whether a wait for a child blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitMode {
    Poll,
    Block,
}

/// Waits for a child: by its pidfd if there is one, so never for another process that has reused
/// its ID. Returns how the child ended, if it has.
pub(super) fn wait(
    pid: Pid,
    pidfd: Option<&OwnedFd>,
    mode: WaitMode,
) -> io::Result<Option<ExitStatus>> {
    #[cfg(target_os = "linux")]
    if let Some(pidfd) = pidfd {
        let options = match mode {
            WaitMode::Poll => WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            WaitMode::Block => WaitIdOptions::EXITED,
        };
        match rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), options)) {
            // A kernel that makes pidfds and cannot wait by them.
            Err(Errno::INVAL) => {}
            waited => return Ok(waited?.map(|status| to_exit_status(&status))),
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = pidfd;
    let options = match mode {
        WaitMode::Poll => WaitOptions::NOHANG,
        WaitMode::Block => WaitOptions::empty(),
    };
    let waited = rustix::io::retry_on_intr(|| waitpid(Some(pid), options))?;
    Ok(waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
}

/// Converts the status to what `waitpid` would return.
#[cfg(target_os = "linux")]
fn to_exit_status(status: &WaitIdStatus) -> ExitStatus {
    let dumped = if status.dumped() { 0x80 } else { 0 };
    ExitStatus::from_raw(match status.terminating_signal() {
        Some(signal) => signal | dumped,
        None => (status.exit_status().unwrap_or_default() & 0xff) << 8,
    })
}
