//! Errors: their texts, their locations, and the compiler's messages for common mistakes.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod compiler;
mod messages;
mod origins;
