//! Errors: their texts, their locations, and the compiler's messages for common mistakes.

#[macro_use]
extern crate support;

mod compiler;
mod messages;
mod origins;
