//! Framing: protocols that receive messages instead of a stream of bytes.
//!
//! Each consists of a [`Decoder`], which finds the messages and does no I/O, and a protocol that
//! uses it. Other framings are made in the same way: see [`Decoder`] and
//! [`Protocol::input_received`](crate::Protocol::input_received).

mod lines;

pub use self::lines::{LineProtocol, Lines};
pub use crate::framing::{Decoded, Decoder, LineBuffer, LineDecoder, LineTooLong};
