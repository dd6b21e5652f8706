//! Ancillary data of UNIX sockets: descriptors, and the credentials of the peer.
//!
//! This file uses C's structures directly: a peer that this process cannot see (in another pid
//! namespace) has the process ID 0, which the libraries' types cannot represent.
//!
//! # Invariants
//!
//! 1. Every received descriptor is owned at once, also when it is not wanted: none leaks.
//! 2. Nothing is read beyond what the system says it has written.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) struct Message {
    pub(in crate::driver) bytes: usize,
    /// Whether ancillary data were truncated, because this process could take no more.
    pub(in crate::driver) is_cut: bool,
}

/// A buffer for ancillary data, aligned as the system's headers are.
#[repr(C, align(8))]
struct Space([u8; SPACE]);

/// Reads available bytes. Descriptors that came with them are close-on-exec, and passed to `take`.
pub(in crate::driver) fn receive(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
    mut take: impl FnMut(OwnedFd),
) -> io::Result<Message> {
    let mut piece = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let mut space = MaybeUninit::<Space>::uninit();
    // SAFETY: this is a C struct of numbers and pointers; zeros are valid numbers and null
    // pointers.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = space.as_mut_ptr().cast();
    header.msg_controllen = SPACE as _;
    // SAFETY: the header names two buffers of these sizes, which are ours until this function ends.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, CLOSED_ON_EXEC) };
    let bytes = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    each_part(&header, |kind, data| {
        // Of other ancillary data, only this kind has a descriptor in it: a process that shares the
        // socket may have requested it.
        let is_wanted = match kind {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => true,
            (libc::SOL_SOCKET, PROCESS) => false,
            _ => return,
        };
        for raw in data.chunks_exact(size_of::<RawFd>()) {
            let raw = RawFd::from_ne_bytes(raw.try_into().expect("chunks have this size"));
            if raw < 0 {
                continue;
            }
            // SAFETY: the system has just made the descriptor, and nothing else uses it (invariant
            // 1).
            let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
            #[cfg(target_vendor = "apple")]
            let _ = rustix::io::ioctl_fioclex(&descriptor);
            if is_wanted {
                take(descriptor);
            }
        }
    });
    Ok(Message {
        bytes,
        is_cut: header.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// Returns the process, user and group of the peer, as they were when it connected or listened. The
/// process is 0 where this process cannot see it.
#[cfg(target_os = "linux")]
pub(in crate::driver) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<(i32, u32, u32)> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let size = size_of::<libc::ucred>();
    let mut length = size as libc::socklen_t;
    // SAFETY: the option is written to a buffer of this length, in which any numbers are valid.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    match done {
        0 if length as usize == size => Ok((peer.pid, peer.uid, peer.gid)),
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Calls `f` with the level, type and data of each part of the ancillary data.
#[allow(
    clippy::unnecessary_cast,
    reason = "elsewhere these numbers are of other types"
)]
fn each_part(header: &libc::msghdr, mut f: impl FnMut((i32, i32), &[u8])) {
    let end = header.msg_control.addr() + header.msg_controllen as usize;
    // SAFETY: the system has filled in the header.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: the part is aligned, and lies within what the system has written: otherwise the
        // pointer would be null.
        let part = unsafe { &*next };
        // SAFETY: the call only adds to a pointer that has that much behind it.
        let data = unsafe { libc::CMSG_DATA(next) };
        let before = data.addr() - next.addr();
        // A truncated part may state the length that it had.
        let room = end.saturating_sub(data.addr());
        let length = (part.cmsg_len as usize).saturating_sub(before).min(room);
        // SAFETY: this many bytes lie there, written by the system (invariant 2).
        let data = unsafe { std::slice::from_raw_parts(data, length) };
        f((part.cmsg_level, part.cmsg_type), data);
        // SAFETY: as for the first.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

#[cfg(not(target_vendor = "apple"))]
const CLOSED_ON_EXEC: i32 = libc::MSG_CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const CLOSED_ON_EXEC: i32 = 0;

/// `SCM_PIDFD`: a descriptor of the peer's process.
#[cfg(target_os = "linux")]
const PROCESS: i32 = 4;
#[cfg(not(target_os = "linux"))]
const PROCESS: i32 = -1;

/// Linux sends at most 253 descriptors in one message. The rest is for other ancillary data.
const SPACE: usize = 2048;
