//! Sockets that somebody else has made: this program's own code, or whoever started it.

pub mod activation;
pub(super) mod given;
