//! Standard input and output without a terminal: [`Stdio`].

use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::Rc;

use crate::address::Address;
use crate::driver::{Bind, Listener, STDIO};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::stream::Connection;
use crate::transport::ConnConfig;

/// The standard input and output of an in-memory reactor, for a test that acts as the user of a
/// program that opens [`net::Stdio`](crate::net::Stdio).
///
/// # Examples
///
/// ```
/// torsade::testing::run(async |reactor| {
///     let stdio = torsade::testing::Stdio::new(&reactor)?;
///     let mut program = torsade::net::Stdio::new().open(&reactor)?;
///     let mut user = stdio.user()?;
///     user.write_all(b"yes\n").await?;
///     assert_eq!(program.read_line(80).await?.as_deref(), Some(&b"yes"[..]));
///     Ok(())
/// });
/// ```
pub struct Stdio {
    reactor: Reactor,
    listener: Listener,
}

impl Stdio {
    /// Makes standard input and output for all code that opens them on this reactor.
    ///
    /// # Errors
    ///
    /// Fails when the reactor is not in memory, or has a `Stdio` already.
    pub fn new(reactor: &Reactor) -> Result<Self, Failure> {
        let driver = reactor.inner().driver();
        if !driver.is_virtual() {
            let text = "the reactor does not use the in-memory driver, so it has the standard input and output of the process";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text).into());
        }
        let listener = driver.listen(&Address::from_abstract(STDIO), &Bind::default())?;
        Ok(Self {
            reactor: reactor.clone(),
            listener,
        })
    }

    /// Returns the user's end of standard input and output, once for each time that the program
    /// opened them, in that order. Bytes written to this connection are the program's input, bytes
    /// read from it are the program's output. Dropping it ends the input.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::WouldBlock`] when the program has not opened them since the last
    /// call.
    #[track_caller]
    pub fn user(&self) -> Result<Connection, Failure> {
        let (socket, _) = self.listener.accept()?;
        let config = Rc::new(ConnConfig::new(&self.reactor, Location::caller()));
        Connection::of_socket(&self.reactor, socket, Address::Unnamed, &config)
    }
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio").finish_non_exhaustive()
    }
}
