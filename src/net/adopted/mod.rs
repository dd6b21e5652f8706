//! Sockets that somebody else has made: this program's own code, or whoever started it.

pub mod activation;
mod adopt;
pub(super) mod given;
