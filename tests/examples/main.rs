//! The examples do what they promise, and small programs as users would write them.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod promises;
mod proxy;
mod small_programs;
