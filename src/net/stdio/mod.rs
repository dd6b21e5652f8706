//! Standard input and output, or any two descriptors, as a connection: [`Stdio`].
//!
//! # The idea
//!
//! The bytes that are typed or piped into a program are received, and the bytes that it sends are
//! printed: so a protocol or an async function serves a terminal as it serves a socket. The loop
//! itself polls pipes, terminals and sockets. Files, and other descriptors that cannot be polled,
//! are read and written by one thread each, which never delays the end of the process.
//!
//! # Rules
//!
//! 1. **No shared state is changed.** The flags of standard input and output stay as they are, so
//!    other users of the descriptors, such as `println!` or other processes, are not affected, not
//!    even after a panic or a kill.
//! 2. **One connection at a time.** While standard input and output are in use, opening them again
//!    fails with [`ListenError::StdioInUse`].
//! 3. **Closing the connection closes the descriptors**, so that the other end of a pipe sees the
//!    end; later output is discarded. Terminals and files stay open. Everything stays open if the
//!    reactor ends first.
//! 4. **The end of input is an end of file**: `eof_received`, or a read of no bytes. Shutting down
//!    the writing side closes the output only.
//!
//! `terminal` changes the mode of a terminal.

mod terminal;

use std::io;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::rc::Rc;

pub use self::terminal::Terminal;
use crate::address::Address;
use crate::driver::Socket;
use crate::failure::Failure;
use crate::net::errors::ListenError;
use crate::protocol::{Handle, Protocol, handle};
use crate::reactor::Reactor;
use crate::stream::Connection;
use crate::transport::ConnConfig;

/// Two descriptors to open as one connection: standard input and output, or any others.
///
/// # Examples
///
/// ```
/// use torsade::net::Stdio;
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
///     Stdio::new().connect(&reactor, Lines::new(Shouter))?;
///     let mut user = stdio.user()?;
///     user.write_all(b"hello\n").await?;
///     assert_eq!(user.read_line(80).await?.as_deref(), Some(&b"HELLO"[..]));
///     Ok(())
/// });
/// ```
#[derive(Debug, Default)]
#[must_use = "nothing is opened until `connect` or `open` is called"]
pub struct Stdio(Option<(OwnedFd, OwnedFd)>);

impl Stdio {
    /// Selects standard input and output.
    ///
    /// Opening them first flushes what `std` has buffered for output. Input that `std` has buffered
    /// is lost. The connection's addresses are [`Address::Unnamed`]. On an in-memory reactor the
    /// other end is a `testing::Stdio`.
    ///
    /// Closing the connection closes pipes and sockets, so that the other process sees the end;
    /// terminals and files stay open. The flags of the descriptors are not changed, so `println!`
    /// and other processes are not affected.
    pub fn new() -> Self {
        Self(None)
    }

    /// Selects two descriptors: the connection reads `input` and writes `output`. Both are closed
    /// with the connection; their flags are not changed.
    ///
    /// When the reader of the output closes its end, the connection stays open until the end of the
    /// input, and writes are dropped: a child process that has closed its input may still send
    /// output.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// use torsade::net::Stdio;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let mut child = std::process::Command::new("cat")
    ///         .stdin(std::process::Stdio::piped())
    ///         .stdout(std::process::Stdio::piped())
    ///         .spawn()?;
    ///     let (output, input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    ///     let mut cat = Stdio::of(output, input).open(&reactor)?;
    ///     cat.write_all(b"meow\n").await?;
    ///     assert_eq!(cat.read_line(80).await?.as_deref(), Some(&b"meow"[..]));
    ///     drop(cat);
    ///     reactor.spawn_blocking(move || Ok(child.wait()?)).await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn of(input: impl Into<OwnedFd>, output: impl Into<OwnedFd>) -> Self {
        Self(Some((input.into(), output.into())))
    }

    /// Connects a protocol. The reactor calls its `connection_made` in the loop's next batch.
    ///
    /// # Errors
    ///
    /// [`ListenError::StdioInUse`]; the system's [`io::Error`] when the input is not open for
    /// reading or the output not for writing; one of kind
    /// [`Unsupported`](io::ErrorKind::Unsupported) for descriptors on an in-memory reactor.
    #[track_caller]
    pub fn connect<P: Protocol>(
        self,
        reactor: &Reactor,
        protocol: P,
    ) -> Result<Handle<P>, Failure> {
        let location = Location::caller();
        let socket = self.socket(reactor, location)?;
        let conn = reactor.attach_later(socket, protocol, &conn_config(reactor, location))?;
        Ok(handle(&conn))
    }

    /// Opens a connection for async code.
    ///
    /// # Errors
    ///
    /// As for [`Stdio::connect`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use torsade::Failure;
    /// use torsade::net::Stdio;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let mut user = Stdio::new().open(&reactor)?;
    ///     user.write_all(b"your name? ").await?;
    ///     let name = user.read_line(80).await?.unwrap_or_default();
    ///     user.write_all(&[b"hello, ", &name[..], b"\n"].concat()).await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn open(self, reactor: &Reactor) -> Result<Connection, Failure> {
        let location = Location::caller();
        let socket = self.socket(reactor, location)?;
        Connection::of_socket(
            reactor,
            socket,
            Address::Unnamed,
            &conn_config(reactor, location),
        )
    }

    fn socket(
        self,
        reactor: &Reactor,
        location: &'static Location<'static>,
    ) -> Result<Socket, Failure> {
        let Some((input, output)) = self.0 else {
            return reactor.open_stdio(location);
        };
        let pair = reactor.inner().driver().pair(input, output);
        pair.map_err(|error| Failure::at(error, location))
    }
}

impl Reactor {
    /// Opens standard input and output.
    pub(in crate::net) fn open_stdio(
        &self,
        location: &'static Location<'static>,
    ) -> Result<Socket, Failure> {
        let driver = self.inner().driver();
        match driver.stdio() {
            Ok(Some(socket)) => Ok(socket),
            Ok(None) => Err(Failure::at(ListenError::StdioInUse, location)),
            Err(error) if driver.is_virtual() => {
                let text = format!(
                    "with the in-memory driver, standard input and output are a `testing::Stdio`: {error}"
                );
                let error = io::Error::new(io::ErrorKind::Unsupported, text);
                Err(Failure::at(error, location))
            }
            Err(error) => Err(Failure::at(error, location)),
        }
    }
}

fn conn_config(reactor: &Reactor, location: &'static Location<'static>) -> Rc<ConnConfig> {
    Rc::new(ConnConfig::of_pipes(reactor, location))
}
