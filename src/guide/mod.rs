//! Two ways in: for those who come from futures, and for those who come from Twisted.
//!
//! Read the page for what you do *not* know yet; each explains it in the terms of what you do. Every program on them is
//! compiled and run with the tests.
//!
//! * [Deferreds for those who know futures](deferreds)
//! * [Futures for those who know Deferreds](futures)
//!
//! Pages to look things up in:
//!
//! * [Limits](limits): what is bounded, by how much, and what happens at the bound
//! * [Pollers](pollers): how a reactor waits, which way to choose, and what each costs
//! * [Paths](paths): which functions a byte, a timer, a Deferred, a thread's job and a child process pass
//! * [Examples](examples): the example programs, whole

pub mod deferreds;
pub mod examples;
pub mod futures;
pub mod limits;
pub mod paths;
pub mod pollers;
