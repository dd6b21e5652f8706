//! Descriptors that this process was started with, by their numbers.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A copy of the descriptor with this number, closed on exec; none if it is not open.
pub(crate) fn copy_of(number: i32) -> io::Result<Option<OwnedFd>> {
    // The numbers below are for standard input, output and errors. SAFETY: no memory is touched: a
    // number goes in and a number comes out. Whoever owns the original keeps it.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EBADF) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the call succeeded, so this is a new descriptor, and nobody else knows it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(copy) }))
}
