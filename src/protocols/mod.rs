//! Framing: protocols for those who do not want to take streams of bytes apart themselves.
//!
//! Each is a [`Decoder`], a value that is asked and does no I/O, and a protocol around it. Framings of your own are made
//! alike: see [`Decoder`] and [`Protocol::input_received`](crate::Protocol::input_received).

mod lines;

pub use self::lines::{LineProtocol, Lines};
pub use crate::framing::{Decoded, Decoder, LineBuffer, LineDecoder, LineTooLong};
