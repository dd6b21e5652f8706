//! The machine's sockets: creation, configuration, names, adoption, and ancillary data.

#[cfg(unix)]
pub(super) mod adopt;
#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "what comes beside bytes is read in C's terms, as no library's type has room for all of it"
)]
pub(super) mod ancillary;
pub(super) mod datagram;
pub(super) mod names;
#[cfg(unix)]
pub(super) mod passing;
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "an option of Linux's has no safe function in the libraries in use"
)]
mod sockopt;
pub(super) mod tcp;
#[cfg(unix)]
pub(super) mod unix;

#[cfg(unix)]
use rustix::net::SendFlags;

/// The flag by which a write to a peer that is gone raises no signal. Apple's sockets have an
/// option for that instead.
#[cfg(all(unix, not(target_vendor = "apple")))]
pub(super) const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
pub(super) const NO_SIGNAL: i32 = 0;

/// The same flag for rustix' functions.
#[cfg(unix)]
pub(super) const QUIETLY: SendFlags = SendFlags::from_bits_retain(NO_SIGNAL as _);
