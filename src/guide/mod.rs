//! Two ways in: for those who come from futures, and for those who come from Twisted.
//!
//! Read the page for what you do *not* know yet; each explains it in the terms of what you do. Every program on them is
//! compiled and run with the tests.
//!
//! * [Deferreds for those who know futures](deferreds)
//! * [Futures for those who know Deferreds](futures)

pub mod deferreds;
pub mod futures;
