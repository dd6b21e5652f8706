//! Framing: protocols for those who do not want to take streams of bytes apart themselves.
//!
//! Each is a decoder, a value that is fed and asked and does no I/O, and a protocol around it.

mod lines;

pub use self::lines::{LineBuffer, LineProtocol, LineTooLong, Lines};
