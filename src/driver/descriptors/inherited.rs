//! Descriptors that this process was started with, by their numbers.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Copies the descriptor of this number, close-on-exec; returns `None` if the number is not open.
pub(crate) fn copy_of(number: i32) -> io::Result<Option<OwnedFd>> {
    // The copy gets a number above those of standard input, output and error. SAFETY: no memory is
    // touched: a number goes in and a number comes out. The original stays with its owner.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EBADF) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the call succeeded, so this is a new descriptor that nothing else uses.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(copy) }))
}
