//! Allocations, and what is freed. A separate process, because its allocator counts.

mod allocations;
#[cfg(target_os = "linux")]
mod attacks;
mod counted;
mod given_back;
#[cfg(target_os = "linux")]
mod handshakes;
#[cfg(target_os = "linux")]
mod http;
