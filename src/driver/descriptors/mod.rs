//! Descriptors of any kind that this process was given: two of them as one connection, and those
//! that no poller accepts.

mod blocking_io;
#[allow(unsafe_code, reason = "a descriptor is named by its number")]
#[cfg(any(doc, feature = "systemd"))]
pub(super) mod inherited;
pub(super) mod pair;
