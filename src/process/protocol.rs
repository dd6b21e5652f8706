//! The hooks of a process: [`ProcessProtocol`].

use std::process::ExitStatus;

use super::Process;
use crate::failure::Failure;
use crate::protocol::Context;

/// What to do when something happens with a process.
///
/// Every hook does nothing unless it is overridden. The order is told in [the module](crate::process). A hook that panics is
/// reported, and the pipe it was called for is lost; of the others all pipes are.
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
#[doc(alias("IProcessProtocol", "SubprocessProtocol"))]
pub trait ProcessProtocol: Sized + 'static {
    /// The program has begun.
    #[doc(alias("connectionMade", "makeConnection"))]
    fn connection_made(&mut self, cx: &mut Context<'_, Self, Process>) {
        let _ = cx;
    }

    /// It wrote to one of its descriptors, at least a byte. Unless it is overridden, what comes from 1 goes to
    /// [`out_received`](Self::out_received), from 2 to [`err_received`](Self::err_received), and from others nowhere.
    #[doc(alias = "childDataReceived")]
    fn child_data_received(&mut self, cx: &mut Context<'_, Self, Process>, fd: i32, data: &[u8]) {
        match fd {
            1 => self.out_received(cx, data),
            2 => self.err_received(cx, data),
            _ => {}
        }
    }

    /// It wrote to its standard output, or to its terminal.
    #[doc(alias = "outReceived")]
    fn out_received(&mut self, cx: &mut Context<'_, Self, Process>, data: &[u8]) {
        let _ = (cx, data);
    }

    /// It wrote to its standard error.
    #[doc(alias = "errReceived")]
    fn err_received(&mut self, cx: &mut Context<'_, Self, Process>, data: &[u8]) {
        let _ = (cx, data);
    }

    /// The queue of a pipe that was full is not full any more: go on writing to this descriptor of it.
    #[doc(alias("resumeProducing", "registerProducer"))]
    fn write_ready(&mut self, cx: &mut Context<'_, Self, Process>, fd: i32) {
        let _ = (cx, fd);
    }

    /// One of its pipes is closed, by it or by us. Unless it is overridden it goes on to the three below, by the number.
    #[doc(alias = "childConnectionLost")]
    fn child_connection_lost(&mut self, cx: &mut Context<'_, Self, Process>, fd: i32) {
        match fd {
            0 => self.in_connection_lost(cx),
            1 => self.out_connection_lost(cx),
            2 => self.err_connection_lost(cx),
            _ => {}
        }
    }

    /// Its standard input is closed.
    #[doc(alias = "inConnectionLost")]
    fn in_connection_lost(&mut self, cx: &mut Context<'_, Self, Process>) {
        let _ = cx;
    }

    /// Its standard output is closed, or its terminal.
    #[doc(alias = "outConnectionLost")]
    fn out_connection_lost(&mut self, cx: &mut Context<'_, Self, Process>) {
        let _ = cx;
    }

    /// Its standard error is closed.
    #[doc(alias = "errConnectionLost")]
    fn err_connection_lost(&mut self, cx: &mut Context<'_, Self, Process>) {
        let _ = cx;
    }

    /// It has exited. There may be more to read: see the module's order.
    ///
    /// The failure, where there is one, is [`ProcessError::StatusTaken`](super::ProcessError::StatusTaken).
    #[doc(alias = "processExited")]
    fn process_exited(
        &mut self,
        cx: &mut Context<'_, Self, Process>,
        exited: Result<ExitStatus, Failure>,
    ) {
        let _ = (cx, exited);
    }

    /// It has exited, and all its pipes are closed: there is nothing more to come, and the protocol is dropped when this
    /// returns. What it has gathered goes to whoever waits for it through a [`Resolver`](crate::Resolver), say.
    ///
    /// The failure, where there is one, is [`ProcessError::StatusTaken`](super::ProcessError::StatusTaken) or [`Stopped`](crate::reactor::Stopped).
    #[doc(alias("processEnded", "ProcessDone", "ProcessTerminated"))]
    fn process_ended(&mut self, ended: Result<ExitStatus, Failure>) {
        let _ = ended;
    }
}
