//! Sockets that were opened before: by the program, or by the process that started it.

#[cfg(any(doc, feature = "systemd"))]
pub mod activation;
#[cfg(not(any(doc, feature = "systemd")))]
#[path = "activation_off.rs"]
mod activation;
pub(super) mod given;
