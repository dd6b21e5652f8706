//! Child processes: started with just the descriptors they are to have, watched for their end,
//! signalled.
//!
//! # Files
//!
//! `launch` what is to be started · `fork` how a process begins · `child` one that was started ·
//! `wait` how it is waited for · `reaper` those whose reactor has ended · `pipe` and `pty` what
//! they talk through.

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
