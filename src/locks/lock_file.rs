//! A lock between processes: a symbolic link whose target is the holder's process id.
//!
//! # The idea
//!
//! Creating a symbolic link either succeeds or finds a link, for all processes alike, and the link
//! names its creator. This is the lock of Twisted's `twisted.python.lockfile`, and the two exclude
//! each other. A holder that died leaves its link behind; a process that finds a link whose process
//! id is not in use removes the link and tries again.
//!
//! Removing must not hit the link of another process that was faster, and a link cannot be removed
//! on the condition that its target is unchanged. So processes that remove stale links exclude each
//! other: each locks the directory (`flock`), checks the link again, and removes it. A process that
//! does not get that lock leaves the removal to the other one. Twisted's processes do not take part
//! in this.
//!
//! # Invariants
//!
//! 1. A link is removed by its owner, or by a process that holds the directory's lock and has seen,
//!    while holding it, that the owner is dead.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::LockError;

/// The result of an attempt to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// This process has locked; `was_clean` is `false` if a stale lock was replaced.
    Ours { was_clean: bool },
    /// Another process, or this one already, holds the lock; `None` if the holder could not be
    /// determined.
    Theirs(Option<i32>),
}

/// Tries to lock, whatever handles exist. [`unlock`] releases the lock.
pub(crate) fn lock_at(path: &Path) -> io::Result<Locked> {
    let mut was_clean = true;
    for _ in 0..ATTEMPTS {
        match symlink(process::id().to_string(), path) {
            Ok(()) => return Ok(Locked::Ours { was_clean }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let Some(pid) = holder(path)? else {
            // The link was removed meanwhile.
            continue;
        };
        if is_alive(pid)? {
            return Ok(Locked::Theirs(Some(pid.as_raw_nonzero().get())));
        }
        match remove_left_behind(path)? {
            Removed::Yes => was_clean = false,
            Removed::ByAnother => return Ok(Locked::Theirs(None)),
            Removed::No => {}
        }
    }
    // The lock changes hands all the time.
    Ok(Locked::Theirs(None))
}

/// The result of an attempt to remove a stale link.
enum Removed {
    Yes,
    /// Another process is removing the link.
    ByAnother,
    /// The link is no longer stale.
    No,
}

/// Removes the link if a dead process left it (invariant 1).
fn remove_left_behind(path: &Path) -> io::Result<Removed> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder)?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Removed::ByAnother),
        Err(errno) => return Err(errno.into()),
    }
    match holder(path)? {
        Some(pid) if !is_alive(pid)? => {
            fs::remove_file(path)?;
            Ok(Removed::Yes)
        }
        _ => Ok(Removed::No),
    }
}

/// Releases the lock, if this process holds it.
pub(crate) fn unlock(path: &Path) -> io::Result<()> {
    let Some(holder) = holder(path)? else {
        return Err(ErrorKind::NotFound.into());
    };
    if !is_this(holder) {
        let holder = holder.as_raw_nonzero().get();
        return Err(LockError::NotHeld { holder }.into());
    }
    fs::remove_file(path)
}

/// Returns the process that the link names; `None` if there is no link.
pub(super) fn holder(path: &Path) -> io::Result<Option<Pid>> {
    let not_a_lock = |target| {
        let path = path.to_owned();
        Err(LockError::NotALock { path, target }.into())
    };
    let target = match fs::read_link(path) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidInput => return not_a_lock(None),
        Err(error) => return Err(error),
    };
    let text = target.to_string_lossy();
    match text.parse::<i32>() {
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => not_a_lock(Some(text.chars().take(SHOWN).collect())),
    }
}

/// Returns whether a process that is alive holds the lock.
pub(crate) fn is_locked(path: &Path) -> io::Result<bool> {
    match holder(path)? {
        Some(pid) => is_alive(pid),
        None => Ok(false),
    }
}

/// Returns whether it is this process.
pub(super) fn is_this(pid: Pid) -> bool {
    pid.as_raw_nonzero().get().unsigned_abs() == process::id()
}

fn is_alive(pid: Pid) -> io::Result<bool> {
    match test_kill_process(pid) {
        // The process belongs to another user.
        Ok(()) | Err(Errno::PERM) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The most attempts to lock while the lock changes hands.
const ATTEMPTS: usize = 100;
/// The most characters shown of the target of a link that is not a lock.
const SHOWN: usize = 60;
