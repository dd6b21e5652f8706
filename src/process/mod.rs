//! Other programs: started, spoken to through pipes or a terminal, and waited for.
//!
//! # The idea
//!
//! A [`Command`] says what to start. To speak with it there are two faces over one engine: a [`ProcessProtocol`] with hooks
//! ([`Command::spawn_protocol`]), and for async code a [`Child`] whose pipes are [`Connection`]s ([`Command::spawn`]). Who
//! only wants what comes of it takes [`Command::output`] or [`Command::status`].
//!
//! Each pipe is a connection like any other, with a queue, limits and an end of its own. The process is watched through a
//! descriptor (on Linux a pidfd): no signal is caught, and nobody else's children are waited for.
//!
//! # Order
//!
//! ```text
//!   connection_made ──▶ child_data_received*  ──▶ child_connection_lost    each pipe by itself ──┐
//!                  └──▶ process_exited                                                           ├──▶ process_ended
//!                                 the process has exited ────────────────────────────────────────┘
//! ```
//!
//! 1. `connection_made` comes first, in the loop's next batch.
//! 2. Of each pipe all data is delivered before its `child_connection_lost`, which comes once.
//! 3. `process_exited` comes once, as soon as the process has exited, whatever its pipes do: somebody it has started may
//!    hold them open. Between it and the pipes there is no order. (When the reactor ends first it does not come: see 5.)
//! 4. `process_ended` comes once, last: the process has exited and all pipes are closed.
//! 5. When the reactor ends first, the pipes are lost and `process_ended` is told [`Stopped`](crate::reactor::Stopped), without
//!    `process_exited`. The process goes on, unless it was to be killed or asked to end, and somebody still waits for it, so that
//!    it is never a zombie. A protocol whose reactor is dropped without having run is told nothing at all.
//!
//! A program that closes its terminal before it exits loses it then, but the terminal itself stays until the exit: to close it
//! would hang up on a program that is about to end well.
//!
//! # Pipes and back-pressure
//!
//! What is written to a pipe and not read waits in its queue, within the [`Limits`](crate::transport::Limits) of its
//! [`Transport`](crate::Transport) ([`Process::pipe`]); [`ProcessProtocol::write_ready`] and producers tell when to go on.
//! A pipe that is full does not keep the others from being read: a filter that is fed more than it can take back would never
//! be done. [`Process::pause_producing`] stops reading.

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
