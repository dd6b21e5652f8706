//! lab
#![allow(dead_code, unreachable_pub, reason = "a stub")]
pub mod defer;
mod failure;
mod report;
mod sync;
mod task;
pub use defer::{Abandoned, Deferred, Resolver};
pub use failure::{Cancelled, ErrorSet, Failure, Panicked};
pub use task::*;
