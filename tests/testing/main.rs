//! The tools that tests are written with: drivers that agree, bad networks, failing system calls,
//! virtual time beside other threads.

#[macro_use]
extern crate support;

mod bad_networks;
mod clock;
mod corpus;
mod drivers_agree;
mod failing_calls;
mod tools;
