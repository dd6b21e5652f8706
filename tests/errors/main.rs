//! Errors: what they say, where they come from, and what the compiler says of mistakes.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod compiler;
mod messages;
mod origins;
