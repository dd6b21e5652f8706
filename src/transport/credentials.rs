//! What only UNIX sockets can do: return the peer's credentials, and send descriptors.

use std::io;
use std::os::fd::OwnedFd;

use super::Transport;
use crate::driver::Socket;

/// The credentials of the process at the other end of a UNIX socket, as they were when it
/// connected, or when it began to listen.
///
/// A process cannot forge its credentials, but it may have passed its end of the socket to another
/// process since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// Process id; 0 when it is not visible from this process (another pid namespace).
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Transport {
    /// Returns the credentials of the process at the other end of a UNIX socket; on the in-memory
    /// driver, those of this process.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::Unsupported`] for other sockets, and on systems other than
    /// Linux; and with [`io::ErrorKind::NotConnected`] when the connection has ended.
    #[doc(alias("SO_PEERCRED", "peer_cred"))]
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        let (pid, uid, gid) = self.on_socket(Socket::peer_credentials)?;
        Ok(Credentials { pid, uid, gid })
    }

    /// Sends an open file, socket or other descriptor to the peer of a UNIX socket. It is sent with
    /// the next byte, and is then closed in this process.
    ///
    /// Write at least one byte for each descriptor; bytes that are already queued count. To keep
    /// the original, send a copy: `file.try_clone()?`, or `borrowed.try_clone_to_owned()?`. Like
    /// written bytes, a descriptor is dropped after [`lose_connection`](Self::lose_connection) and
    /// [`lose_write`](Self::lose_write). More than 64 queued descriptors make the connection full,
    /// as bytes do.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::Unsupported`] for other sockets, and with
    /// [`io::ErrorKind::WouldBlock`] when 1024 descriptors are queued. The descriptor is closed
    /// then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Protocol};
    /// struct Librarian;
    ///
    /// impl Protocol for Librarian {
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, _data: &[u8]) {
    ///         let file = std::fs::File::open("/dev/null");
    ///         let given = file.and_then(|file| cx.send_descriptor(file));
    ///         cx.write(if given.is_ok() { "+" } else { "-" });
    ///     }
    /// }
    /// ```
    #[doc(alias("sendFileDescriptor", "SCM_RIGHTS", "sendmsg"))]
    pub fn send_descriptor(&self, descriptor: impl Into<OwnedFd>) -> io::Result<()> {
        self.0.link().send_descriptor(descriptor.into())
    }

    /// Closes a descriptor that the protocol does not take, and logs that once.
    pub(crate) fn refuse_descriptor(&self, descriptor: OwnedFd) {
        drop(descriptor);
        let _ = self.on_socket(|socket| {
            if let Some(passing) = socket.passing() {
                passing.warn("the protocol does not take descriptors");
            }
            Ok(())
        });
    }
}
