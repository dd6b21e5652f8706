//! Standard input and output as a connection, and any other two descriptors.
//!
//! # The idea
//!
//! What is typed or piped into a program is what a peer sends, what the program prints is what it is sent: so a protocol
//! or an async function serves a terminal as it serves a socket. Pipes, terminals and sockets are waited for by the
//! loop itself. Files, and what cannot be waited for, have a thread each, which never holds up an end.
//!
//! # Rules
//!
//! 1. **Nothing that is shared is changed.** The flags of standard input and output stay as they are, so whoever uses
//!    them before, meanwhile or after, this program's own `println!` among them, finds them as they were; also after a
//!    panic or a kill.
//! 2. **One at a time.** While they are in use in this process the next one gets [`StdioInUse`].
//! 3. **The end of the connection closes them**, so that who waits at the other side of a pipe sees it; what is printed
//!    after that goes nowhere. Terminals and files stay open. So does everything when the reactor ends first.
//! 4. **The end of input is the end of file**: `eof_received`, or a read of nothing. Shutting the writing side closes
//!    the output only.
//!
//! `terminal` changes what the keys do.

mod terminal;

use std::io;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::rc::Rc;

pub use self::terminal::{InBackground, NotATerminal, Terminal};
use crate::address::Address;
use crate::driver::Socket;
use crate::failure::{Failure, errors};
use crate::protocol::{Handle, Protocol, handle};
use crate::reactor::Reactor;
use crate::stream::Connection;
use crate::transport::Terms;

/// Standard input and output are a connection of this process already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StdioInUse;

impl Reactor {
    /// Connects a protocol to standard input and output. Its `connection_made` runs in the loop's next batch.
    ///
    /// What was printed before is flushed; what `std` has read ahead of standard input does not come back. The peer and the host are [`Address::Unnamed`]. In memory it is a
    /// [`testing::Stdio`](crate::testing::Stdio) that one talks to.
    ///
    /// # Errors
    ///
    /// [`StdioInUse`]; the system's, when the input is not open for reading or the output for writing.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::protocols::{LineProtocol, Lines};
    /// use torsade::{Context, testing};
    ///
    /// struct Shouter;
    ///
    /// impl LineProtocol for Shouter {
    ///     fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
    ///         cx.write(line.to_ascii_uppercase());
    ///         cx.write("\n");
    ///     }
    /// }
    ///
    /// testing::run(async |reactor| {
    ///     let stdio = testing::Stdio::new(&reactor)?;
    ///     reactor.stdio(Lines::new(Shouter))?;
    ///     let mut user = stdio.user()?;
    ///     user.write_all(b"hello\n").await?;
    ///     assert_eq!(user.read_line(80).await?.as_deref(), Some(&b"HELLO"[..]));
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias(
        "StandardIO",
        "stdin",
        "stdout",
        "PipeAddress",
        "connect_read_pipe",
        "connect_write_pipe"
    ))]
    #[track_caller]
    pub fn stdio<P: Protocol>(&self, protocol: P) -> Result<Handle<P>, Failure> {
        let place = Location::caller();
        let socket = self.open_stdio(place)?;
        Ok(handle(&self.seat_soon(
            socket,
            protocol,
            &terms(self, place),
        )?))
    }

    /// Standard input and output for async code. See [`Reactor::stdio`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use torsade::Failure;
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let mut user = reactor.stdio_stream()?;
    ///     user.write_all(b"your name? ").await?;
    ///     let name = user.read_line(80).await?.unwrap_or_default();
    ///     user.write_all(&[b"hello, ", &name[..], b"\n"].concat()).await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("StandardIO", "stdin", "stdout"))]
    #[track_caller]
    pub fn stdio_stream(&self) -> Result<Connection, Failure> {
        let place = Location::caller();
        let socket = self.open_stdio(place)?;
        self.stream_of(socket, place)
    }

    /// Connects a protocol to any two descriptors: it reads the one and writes the other. Both are closed with the
    /// connection, and their flags are not changed. See [`Reactor::stdio`].
    ///
    /// When nobody reads the output any more the connection goes on until the end of the input, and what is written goes
    /// nowhere: a child that has closed its input may still have something to say.
    ///
    /// # Errors
    ///
    /// The system's, when the input is not open for reading or the output for writing;
    /// [`io::ErrorKind::Unsupported`] in memory.
    #[doc(alias("StandardIO", "connect_read_pipe", "connect_write_pipe"))]
    #[track_caller]
    pub fn stdio_with<P: Protocol>(
        &self,
        input: impl Into<OwnedFd>,
        output: impl Into<OwnedFd>,
        protocol: P,
    ) -> Result<Handle<P>, Failure> {
        let place = Location::caller();
        let socket = self.open_pair(input.into(), output.into(), place)?;
        Ok(handle(&self.seat_soon(
            socket,
            protocol,
            &terms(self, place),
        )?))
    }

    /// Any two descriptors for async code. See [`Reactor::stdio_with`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let mut child = std::process::Command::new("cat")
    ///         .stdin(std::process::Stdio::piped())
    ///         .stdout(std::process::Stdio::piped())
    ///         .spawn()?;
    ///     let (output, input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    ///     let mut cat = reactor.stdio_stream_with(output, input)?;
    ///     cat.write_all(b"meow\n").await?;
    ///     assert_eq!(cat.read_line(80).await?.as_deref(), Some(&b"meow"[..]));
    ///     drop(cat);
    ///     reactor.spawn_blocking(move || Ok(child.wait()?)).await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("connect_read_pipe", "connect_write_pipe"))]
    #[track_caller]
    pub fn stdio_stream_with(
        &self,
        input: impl Into<OwnedFd>,
        output: impl Into<OwnedFd>,
    ) -> Result<Connection, Failure> {
        let place = Location::caller();
        let socket = self.open_pair(input.into(), output.into(), place)?;
        self.stream_of(socket, place)
    }

    /// Takes standard input and output.
    pub(in crate::net) fn open_stdio(
        &self,
        place: &'static Location<'static>,
    ) -> Result<Socket, Failure> {
        let driver = self.inner().driver();
        match driver.stdio() {
            Ok(Some(socket)) => Ok(socket),
            Ok(None) => Err(Failure::at(StdioInUse, place)),
            Err(error) if driver.is_virtual() => {
                let text =
                    format!("in memory standard input and output are a `testing::Stdio`: {error}");
                let error = io::Error::new(io::ErrorKind::Unsupported, text);
                Err(Failure::at(error, place))
            }
            Err(error) => Err(Failure::at(error, place)),
        }
    }

    fn open_pair(
        &self,
        input: OwnedFd,
        output: OwnedFd,
        place: &'static Location<'static>,
    ) -> Result<Socket, Failure> {
        let pair = self.inner().driver().pair(input, output);
        pair.map_err(|error| Failure::at(error, place))
    }

    fn stream_of(
        &self,
        socket: Socket,
        place: &'static Location<'static>,
    ) -> Result<Connection, Failure> {
        Connection::of_socket(self, socket, Address::Unnamed, &terms(self, place))
    }
}

errors! {
    StdioInUse: "standard input and output are a connection already";
}

fn terms(reactor: &Reactor, place: &'static Location<'static>) -> Rc<Terms> {
    Rc::new(Terms::of_pipes(reactor, place))
}
