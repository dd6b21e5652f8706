//! Child processes: started, connected through pipes or a terminal, and waited for.
//!
//! # The idea
//!
//! A [`Command`] describes the program to start. There are two ways to communicate with it over one
//! engine: a [`ProcessProtocol`] with hooks ([`Command::spawn_protocol`]), and for async code a
//! [`Child`] whose pipes are [`Connection`]s ([`Command::spawn`]). [`Command::output`] and
//! [`Command::status`] run a program and return only its output or exit status.
//!
//! Each pipe is a connection like any other, with its own queue, limits and end. The process is
//! watched through a descriptor (on Linux a pidfd): no signal is caught, and children of other code
//! in this process are not waited for.
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
//! 3. `process_exited` is called once, as soon as the process has exited, whatever the state of its
//!    pipes: processes that it has started may hold them open. There is no order between it and the
//!    pipes. (When the reactor ends first, it is not called: see 5.)
//! 4. `process_ended` is called once, last: the process has exited and all pipes are closed.
//! 5. When the reactor ends first, the pipes are lost and `process_ended` gets
//!    [`Stopped`](crate::reactor::Stopped), without `process_exited`. The process continues, unless
//!    [`Command::kill_on_drop`] was set or it had been asked to end, and is still waited for, so it
//!    never becomes a zombie. No hook is called on a protocol whose reactor is dropped without
//!    having run.
//!
//! When a program closes its terminal before it exits, the protocol loses the pipe then, but the
//! terminal itself stays open until the exit: closing it would send SIGHUP to a program that is
//! about to exit.
//!
//! # Pipes and back-pressure
//!
//! Bytes that are written to a pipe and not read wait in its queue, within the
//! [`Limits`](crate::transport::Limits) of its [`Transport`](crate::Transport) ([`Process::pipe`]);
//! [`ProcessProtocol::write_ready`] and producers signal when to write more. A full pipe does not
//! stop the others from being read: a filter that gets more input than it can write out would
//! otherwise never finish. [`Process::pause_producing`] stops reading.

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

pub use self::child::Child;
pub use self::command::Command;
pub use self::errors::ProcessError;
pub use self::handle::Process;
pub use self::output::Output;
pub use self::protocol::ProcessProtocol;
pub use crate::driver::ChildFd;
#[cfg(doc)]
use crate::{Connection, Reactor};
