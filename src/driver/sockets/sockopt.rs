//! Socket options for which no library has a safe function.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Makes the next `bind` to port 0 leave the choice of the port to `connect`, which knows the peer:
/// a port that is in use towards another peer is then acceptable.
pub(in crate::driver) fn set_bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads `size` bytes
    // of `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
