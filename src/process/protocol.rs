//! The hooks of a process: [`ProcessProtocol`].

use std::process::ExitStatus;

use super::Process;
use crate::failure::Failure;
use crate::protocol::Context;

/// The hooks of a child process: what a program does when something happens with it.
///
/// The default hooks do nothing, except [`child_data_received`](Self::child_data_received) and
/// [`child_connection_lost`](Self::child_connection_lost), which call other hooks. [The
/// module](crate::process) describes the order of the hooks. A hook that panics is reported, and
/// the pipe for which it was called is lost; after a panic in a hook that concerns no pipe, all
/// pipes are lost.
///
/// # Examples
///
/// ```
/// use torsade::process::{Command, ExitStatus, Process, ProcessProtocol};
/// use torsade::{Context, Failure};
///
/// #[derive(Default)]
/// struct Shout { heard: Vec<u8> }
///
/// impl ProcessProtocol for Shout {
///     fn connection_made(&mut self, cx: &mut Context<'_, Self, Process>) {
///         cx.write("hello\n");
///         cx.close_stdin();
///     }
///
///     fn out_received(&mut self, _cx: &mut Context<'_, Self, Process>, data: &[u8]) {
///         self.heard.extend_from_slice(data);
///     }
///
///     fn process_ended(&mut self, ended: Result<ExitStatus, Failure>) {
///         assert_eq!(self.heard, b"HELLO\n");
///         assert!(ended.unwrap().success());
///     }
/// }
///
/// # fn main() -> Result<(), Failure> {
/// torsade::run(async |reactor| {
///     let command = Command::new("tr").args(["a-z", "A-Z"]);
///     let shout = command.spawn_protocol(&reactor, Shout::default())?;
///     shout.closed().await?;
///     Ok(())
/// })
/// # }
/// ```
pub trait ProcessProtocol: Sized + 'static {
    /// Called when the program has been started.
    #[doc(alias("connectionMade", "makeConnection"))]
    fn connection_made(&mut self, cx: &mut Context<'_, Self, Process>) {
        let _ = cx;
    }

    /// Called when the program has written at least one byte to its descriptor `fd`. The default
    /// passes bytes from descriptor 1 to [`out_received`](Self::out_received), from descriptor 2 to
    /// [`err_received`](Self::err_received), and drops those from other descriptors.
    #[doc(alias = "childDataReceived")]
    fn child_data_received(&mut self, cx: &mut Context<'_, Self, Process>, fd: i32, data: &[u8]) {
        match fd {
            1 => self.out_received(cx, data),
            2 => self.err_received(cx, data),
            _ => {}
        }
    }

    /// Called when the program has written to its standard output, or to its terminal.
    #[doc(alias = "outReceived")]
    fn out_received(&mut self, cx: &mut Context<'_, Self, Process>, data: &[u8]) {
        let _ = (cx, data);
    }

    /// Called when the program has written to its standard error.
    #[doc(alias = "errReceived")]
    fn err_received(&mut self, cx: &mut Context<'_, Self, Process>, data: &[u8]) {
        let _ = (cx, data);
    }

    /// Called when the queue of the pipe to descriptor `fd` was full and no longer is, so that more
    /// may be written to it.
    #[doc(alias("resumeProducing", "registerProducer"))]
    fn write_ready(&mut self, cx: &mut Context<'_, Self, Process>, fd: i32) {
        let _ = (cx, fd);
    }

    /// Called when the pipe of descriptor `fd` has been closed, by the program or by this process.
    /// The default calls [`in_connection_lost`](Self::in_connection_lost) for 0,
    /// [`out_connection_lost`](Self::out_connection_lost) for 1, and
    /// [`err_connection_lost`](Self::err_connection_lost) for 2.
    #[doc(alias = "childConnectionLost")]
    fn child_connection_lost(&mut self, cx: &mut Context<'_, Self, Process>, fd: i32) {
        match fd {
            0 => self.in_connection_lost(cx),
            1 => self.out_connection_lost(cx),
            2 => self.err_connection_lost(cx),
            _ => {}
        }
    }

    /// Called when the program's standard input has been closed.
    #[doc(alias = "inConnectionLost")]
    fn in_connection_lost(&mut self, cx: &mut Context<'_, Self, Process>) {
        let _ = cx;
    }

    /// Called when the program's standard output, or its terminal, has been closed.
    #[doc(alias = "outConnectionLost")]
    fn out_connection_lost(&mut self, cx: &mut Context<'_, Self, Process>) {
        let _ = cx;
    }

    /// Called when the program's standard error has been closed.
    #[doc(alias = "errConnectionLost")]
    fn err_connection_lost(&mut self, cx: &mut Context<'_, Self, Process>) {
        let _ = cx;
    }

    /// Called when the process has exited. More data may follow: see [the order of the
    /// hooks](crate::process#order).
    ///
    /// The failure, if there is one, is
    /// [`ProcessError::StatusTaken`](super::ProcessError::StatusTaken).
    #[doc(alias = "processExited")]
    fn process_exited(
        &mut self,
        cx: &mut Context<'_, Self, Process>,
        exited: Result<ExitStatus, Failure>,
    ) {
        let _ = (cx, exited);
    }

    /// Called when the process has exited and all its pipes are closed. No other hook is called
    /// after this, and the protocol is dropped when it returns. A protocol that gathers data passes
    /// the data on here, with a [`Resolver`](crate::Resolver) for instance.
    ///
    /// The failure, if there is one, is
    /// [`ProcessError::StatusTaken`](super::ProcessError::StatusTaken) or
    /// [`Stopped`](crate::reactor::Stopped).
    #[doc(alias("processEnded", "ProcessDone", "ProcessTerminated"))]
    fn process_ended(&mut self, ended: Result<ExitStatus, Failure>) {
        let _ = ended;
    }
}
