//! Other programs as children, and the standard input and output of this one.

#[macro_use]
extern crate support;

mod children;
mod hooks;
mod hostile;
mod lifecycle;
mod played;
mod reactor_ends;
mod reentrancy;
mod starts;
mod stdio;
mod terminal;
