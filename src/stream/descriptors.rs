//! Descriptors beside the bytes of a UNIX connection, for async code.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;

use super::{Connection, ReadHalf, WriteHalf};

macro_rules! receives {
    ($name:ident) => {
        impl $name {
            /// Receives the next descriptor that the peer of a UNIX socket sends. Returns `None` at
            /// the end of file.
            ///
            /// While no descriptor has arrived, received bytes are kept for the next read, up to 8
            /// KiB.
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost when the future is dropped while it waits.
            ///
            /// # Errors
            ///
            /// Fails with the reason for which the connection broke, and with
            /// [`io::ErrorKind::InvalidData`] when 8 KiB arrive without a descriptor.
            ///
            /// # Examples
            ///
            /// ```
            /// # use std::io::{Read, Write};
            /// # use std::os::unix::net::UnixStream;
            /// # use torsade::{Failure, net::ClientEndpoint};
            /// # fn main() -> Result<(), Failure> {
            /// torsade::run(async |reactor| {
            ///     let (one, other) = UnixStream::pair()?;
            ///     let mut one = reactor.connect_stream(ClientEndpoint::adopt(one)).await?;
            ///     let mut other = reactor.connect_stream(ClientEndpoint::adopt(other)).await?;
            ///     let (mut kept, given) = UnixStream::pair()?;
            ///     one.send_descriptor(given)?;
            ///     one.write_all(b"a socket").await?;
            ///     let socket = other.recv_descriptor().await?.expect("one was sent");
            ///     UnixStream::from(socket).write_all(b"hello")?;
            ///     let mut heard = String::new();
            ///     kept.read_to_string(&mut heard)?;
            ///     assert_eq!(heard, "hello");
            ///     let mut text = [0; 8];
            ///     other.read_exact(&mut text).await?;
            ///     assert_eq!(&text, b"a socket");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            #[doc(alias("fileDescriptorReceived", "SCM_RIGHTS", "recvmsg"))]
            pub async fn recv_descriptor(&mut self) -> io::Result<Option<OwnedFd>> {
                poll_fn(|cx| self.reader.poll_descriptor(cx)).await
            }

            /// Takes the next descriptor that arrived with the bytes read so far. Returns `None` if
            /// there is none; does not wait.
            ///
            /// So that no peer can fill this process with descriptors, a connection keeps only four
            /// of them until this method or [`recv_descriptor`](Self::recv_descriptor) has been
            /// called once; from then on it keeps all descriptors of one message, or 64 of several
            /// messages. The others are closed. A program that expects more than four descriptors
            /// calls this method before the first read.
            pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
                let link = self.reader.conn().link();
                link.set_descriptors_wanted(true);
                link.take_descriptor()
            }
        }
    };
}

macro_rules! sends {
    ($name:ident) => {
        impl $name {
            /// Sends an open descriptor to the peer of a UNIX socket, with the next byte that is
            /// written. See [`Transport::send_descriptor`](crate::Transport::send_descriptor).
            ///
            /// # Errors
            ///
            /// Fails as [`Transport::send_descriptor`](crate::Transport::send_descriptor) does.
            #[doc(alias("sendFileDescriptor", "SCM_RIGHTS", "sendmsg"))]
            pub fn send_descriptor(&mut self, descriptor: impl Into<OwnedFd>) -> io::Result<()> {
                self.transport().send_descriptor(descriptor)
            }
        }
    };
}

receives!(Connection);
receives!(ReadHalf);
sends!(Connection);
sends!(WriteHalf);
