//! Socket options for which no library has a safe function.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Makes the next `bind` to port 0 leave the choice of the port to `connect`, which knows the peer:
/// a port that is in use towards another peer is then acceptable.
pub(in crate::driver) fn set_bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Makes a listening socket keep a connection back until its first bytes have arrived, for about as
/// many seconds at most.
pub(in crate::driver) fn set_defer_accept(socket: &impl AsFd, seconds: i32) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

/// Sets an option whose value is an integer.
fn set(socket: &impl AsFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads `size` bytes
    // of `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
