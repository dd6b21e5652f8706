//! Descriptors beside the bytes of a UNIX connection, for async code.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;

use super::{Connection, ReadHalf, WriteHalf};

macro_rules! receives {
    ($name:ident) => {
        impl $name {
            /// The next descriptor that the peer of a UNIX socket gives; none at the end of file.
            ///
            /// When none has come yet, it reads ahead: the bytes wait for the next read. It is an
            /// error when 8 KiB come and none with them.
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost when the future is dropped while it waits.
            ///
            /// # Errors
            ///
            /// Why the connection broke; [`io::ErrorKind::InvalidData`] when only bytes come.
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

            /// The next descriptor of those that came with what has been read.
            ///
            /// So that no peer fills this process with what nobody wants, only four are kept for a
            /// connection whose descriptors were never asked for, by this or by
            /// [`recv_descriptor`](Self::recv_descriptor); after that, all of one message, or 64 of
            /// several. Whoever expects more asks once before the first read.
            pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
                let link = self.reader.conn().link();
                link.set_descriptors_asked(true);
                link.take_descriptor()
            }
        }
    };
}

macro_rules! sends {
    ($name:ident) => {
        impl $name {
            /// Sends the peer of a UNIX socket an open descriptor, which leaves with the next byte
            /// that is written. See
            /// [`Transport::send_descriptor`](crate::Transport::send_descriptor).
            ///
            /// # Errors
            ///
            /// As there.
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
