//! What the system hands over beside the bytes of a UNIX socket: descriptors, and who the peer is.
//!
//! It is done here, in C's terms, as a peer that this process cannot see (in another pid namespace)
//! has the process id 0, and the types of the libraries at hand have no room for that number.
//!
//! # Invariants
//!
//! 1. Every descriptor that came is owned at once, also by whoever does not want it: none is lost.
//! 2. Nothing is read beyond what the system says it has written.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) struct Message {
    pub(in crate::driver) bytes: usize,
    /// More came beside the bytes than this process could take.
    pub(in crate::driver) is_cut: bool,
}

/// A place for what comes beside the bytes, aligned as the system's headers are.
#[repr(C, align(8))]
struct Space([u8; SPACE]);

/// Reads what is there. Descriptors that came with it are closed on exec, and given to `take`.
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
    // SAFETY: this is a structure of C's, of numbers and pointers; zeros are no numbers and no
    // pointers.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = space.as_mut_ptr().cast();
    header.msg_controllen = SPACE as _;
    // SAFETY: the header names two places of these sizes, which are ours until this function ends.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, CLOSED_ON_EXEC) };
    let bytes = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    each_part(&header, |kind, data| {
        // Of what else may come, only this has a descriptor in it: somebody asked for it who shares
        // the socket.
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
            // SAFETY: the system has just made it for us, and nobody else knows it (invariant 1).
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

/// The process, user and group at the other end, as they were when it connected or listened. The
/// process is 0 where it cannot be seen from this one.
#[cfg(target_os = "linux")]
pub(in crate::driver) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<(i32, u32, u32)> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let size = size_of::<libc::ucred>();
    let mut length = size as libc::socklen_t;
    // SAFETY: the option is written to a place of this length, in which any numbers may lie.
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

/// Gives `f` the level, kind and data of each part of what came beside the bytes.
#[allow(
    clippy::unnecessary_cast,
    reason = "elsewhere these numbers are of other types"
)]
fn each_part(header: &libc::msghdr, mut f: impl FnMut((i32, i32), &[u8])) {
    let end = header.msg_control.addr() + header.msg_controllen as usize;
    // SAFETY: the header is one that the system has filled in.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: it is aligned, and all of it lies in what the system has written: else it would
        // be null.
        let part = unsafe { &*next };
        // SAFETY: it only adds to a pointer that has so much behind it.
        let data = unsafe { libc::CMSG_DATA(next) };
        let before = data.addr() - next.addr();
        // What was cut may say the length that it had.
        let room = end.saturating_sub(data.addr());
        let length = (part.cmsg_len as usize).saturating_sub(before).min(room);
        // SAFETY: so many bytes lie there, written by the system (invariant 2).
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

/// Linux sends no more than 253 descriptors in one message. The rest is for what else it may say.
const SPACE: usize = 2048;
