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

/// The standard input and output of a reactor in memory, for a test that plays the user.
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
#[doc(alias("StandardIO", "stdin", "stdout"))]
pub struct Stdio {
    reactor: Reactor,
    listener: Listener,
}

impl Stdio {
    /// Makes them, for everything on this reactor that asks for them.
    ///
    /// # Errors
    ///
    /// When the reactor is not in memory, or has some already.
    pub fn new(reactor: &Reactor) -> Result<Self, Failure> {
        let driver = reactor.inner().driver();
        if !driver.is_virtual() {
            let text = "the reactor is not in memory, so it has the process's own";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text).into());
        }
        let listener = driver.listen(&Address::from_abstract(STDIO), &Bind::default())?;
        Ok(Self {
            reactor: reactor.clone(),
            listener,
        })
    }

    /// The user's side of the first use that has not been asked for: what is written to it is
    /// typed, what is read from it was printed. Dropping it is the end of input.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing has used them since.
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
