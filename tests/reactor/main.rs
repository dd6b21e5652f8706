//! The loop itself: turns, watched descriptors, pollers, re-entrancy, debug mode and its watchdog.

#[macro_use]
extern crate support;

mod debug;
mod descriptors;
mod guest;
#[cfg(unix)]
mod pipe;
mod pollers;
mod reentrancy;
mod spans;
mod stop;
mod turns;
mod watchdog;
