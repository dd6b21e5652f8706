//! Child processes: started, connected through pipes or a terminal, and waited for.
//!
//! # The idea
//!
//! A [`Command`] describes the program to start. Code communicates with the running program in one
//! of these ways: [`Command::output`] and [`Command::status`] run the program to its end and return
//! its output or exit status; [`Command::spawn`] returns a [`Child`], whose pipes are
//! [`Connection`]s for async code; [`Command::spawn_protocol`] calls the hooks of a
//! [`ProcessProtocol`]; [`Command::connect`] makes the program the peer of an ordinary
//! [`Protocol`](crate::Protocol).
//!
//! Each pipe is a connection like any other, with a queue, limits and an end. The process is
//! watched through a descriptor (on Linux a pidfd): no handler for SIGCHLD is installed, and
//! children of other code in this process are not waited for.
//!
//! # Order
//!
//! ```text
//! connection_made ──▶ child_data_received* ──▶ child_connection_lost (each pipe) ─┐
//!                └──▶ process_exited                                              ├▶ process_ended
//!                     the process has exited ─────────────────────────────────────┘
//! ```
//!
//! 1. `connection_made` is called first, in the loop's next batch.
//! 2. All data of a pipe is delivered before its `child_connection_lost`, which is called once.
//! 3. `process_exited` is called once, as soon as the process has exited, before or after the hooks
//!    of its pipes: processes that it has started may hold the pipes open. (When the reactor ends
//!    first, it is not called: see 5.)
//! 4. `process_ended` is called once, last, when the process has exited and all pipes are closed.
//! 5. When the reactor ends first, the pipes are lost and `process_ended` gets
//!    [`Stopped`](crate::reactor::Stopped), without `process_exited`. The process is killed if
//!    [`Command::kill_on_drop`] was set or [`Process::terminate_within`] was called; otherwise it
//!    continues. In both cases it is still waited for, so it never becomes a zombie. No hook is
//!    called on a protocol whose reactor is dropped without having run.
//!
//! When a program closes its terminal before it exits, `child_connection_lost` is called, but the
//! terminal itself stays open until the exit: closing it would send SIGHUP to a program that is
//! about to exit.
//!
//! # Pipes and back-pressure
//!
//! Bytes that the program does not read yet wait in the queue of the pipe, within the
//! [`Limits`](crate::transport::Limits) of its [`Transport`](crate::Transport) ([`Process::pipe`]).
//! [`ProcessProtocol::write_ready`] is called when more may be written, and producers are resumed.
//! Unlike a network connection, a program is read while its input is full: a filter that waits
//! until its output is read would otherwise never finish. [`Process::pause_producing`] stops
//! reading.

mod body;
mod child;
mod command;
mod errors;
#[cfg(any(doc, feature = "testing"))]
pub(crate) mod fake;
#[cfg(not(any(doc, feature = "testing")))]
#[path = "fake_off.rs"]
mod fake;
mod handle;
mod output;
mod protocol;
mod running;

#[doc(no_inline)]
pub use std::process::ExitStatus;

#[doc(alias("Process", "Popen", "subprocess"))]
pub use self::child::Child;
#[doc(alias("spawnProcess", "create_subprocess_exec", "Popen", "subprocess"))]
pub use self::command::Command;
pub use self::errors::ProcessError;
#[doc(alias("IProcessTransport", "SubprocessTransport"))]
pub use self::handle::Process;
pub use self::output::Output;
#[doc(alias("IProcessProtocol", "SubprocessProtocol"))]
pub use self::protocol::ProcessProtocol;
#[doc(alias("childFDs", "pass_fds", "Stdio"))]
pub use crate::driver::ChildFd;
#[cfg(doc)]
use crate::{Connection, Reactor};
