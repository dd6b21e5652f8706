//! Child processes: starts them with exactly the descriptors they are to have, watches them for
//! their end, and signals them.
//!
//! # Files
//!
//! `launch`: what to start · `fork`: how a process begins · `child`: a started child · `wait`:
//! waiting for a child · `reaper`: children whose reactor has ended · `pipe` and `pty`: the
//! channels to a child.

mod child;
#[allow(
    unsafe_code,
    reason = "a child makes bare system calls until it is another program"
)]
mod fork;
mod launch;
pub(super) mod pipe;
pub(super) mod pty;
mod reaper;
mod wait;

pub(crate) use child::Child;
pub use launch::ChildFd;
pub(crate) use launch::{Launch, NotLaunched, Sockets};
pub(crate) use pty::Pty;
