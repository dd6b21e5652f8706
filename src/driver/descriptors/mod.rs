//! Descriptors of any kind that this process was given: two as one connection, and what no poller
//! takes.

mod blocking_io;
#[allow(unsafe_code, reason = "a descriptor is named by its number")]
#[cfg(any(doc, feature = "systemd"))]
pub(super) mod inherited;
pub(super) mod pair;
