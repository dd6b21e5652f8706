//! Sockets that somebody else has made: this program's own code, or whoever started it.

#[cfg(any(doc, feature = "systemd"))]
pub mod activation;
#[cfg(not(any(doc, feature = "systemd")))]
#[path = "activation_off.rs"]
mod activation;
pub(super) mod given;
