//! What a UNIX socket knows and others do not: who is at the other end, and how to give it a descriptor.

use std::io;
use std::os::fd::OwnedFd;

use super::Transport;
use crate::driver::Socket;

/// The process at the other end of a UNIX socket, as it was when it connected, or when it began to listen.
///
/// What it tells of that moment cannot be forged, but a process may have handed its end on since.
#[doc(alias("SO_PEERCRED", "ucred", "UCred", "peer_cred"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The process's id; 0 where it cannot be seen from this process (another pid namespace).
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

impl Transport {
    /// Who is at the other end of a UNIX socket. In memory that is this process.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] for other sockets, and where the system does not tell (anywhere but on Linux);
    /// [`io::ErrorKind::NotConnected`] when the connection is over.
    #[doc(alias("SO_PEERCRED", "peer_cred"))]
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        let (pid, uid, gid) = self.on_socket(Socket::peer_credentials)?;
        Ok(Credentials { pid, uid, gid })
    }

    /// Gives the peer of a UNIX socket an open file, socket or other descriptor: it leaves with the next byte that is
    /// sent, and is closed here then.
    ///
    /// Each takes a byte of its own along, those that are queued already first; write at least one for each. To keep the
    /// original, give a copy: `file.try_clone()?`, or `borrowed.try_clone_to_owned()?`. Like a write it is dropped
    /// after [`lose_connection`](Self::lose_connection) and [`lose_write`](Self::lose_write). More than 64 that wait make
    /// the connection full, as bytes do.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] for other sockets; [`io::ErrorKind::WouldBlock`] when 1024 wait already. The
    /// descriptor is closed then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Protocol};
    /// struct Librarian;
    ///
    /// impl Protocol for Librarian {
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, _data: &[u8]) {
    ///         let given = std::fs::File::open("/dev/null").and_then(|book| cx.send_descriptor(book));
    ///         cx.write(if given.is_ok() { "+" } else { "-" });
    ///     }
    /// }
    /// ```
    #[doc(alias("sendFileDescriptor", "SCM_RIGHTS", "sendmsg"))]
    pub fn send_descriptor(&self, descriptor: impl Into<OwnedFd>) -> io::Result<()> {
        self.0.link().send_descriptor(descriptor.into())
    }

    /// Closes a descriptor that was not asked for, and says so once.
    pub(crate) fn refuse_descriptor(&self, descriptor: OwnedFd) {
        drop(descriptor);
        let _ = self.on_socket(|socket| {
            if let Some(passing) = socket.passing() {
                passing.warn("nobody wants them");
            }
            Ok(())
        });
    }
}
