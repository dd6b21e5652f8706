//! Stability: what is promised, and what is not.
//!
//! # Promised
//!
//! * The order of hooks, callbacks, timers and tasks that the docs state, on every driver.
//! * Exactly one `connection_lost` (or `process_ended`, `stopped`) for each connection (process,
//!   port) that was made.
//! * What could not be delivered is reported, or is the reason of an end; it never looks like
//!   success.
//! * The limits of [Limits](super::limits) exist; their defaults may change in a minor version,
//!   with a line in `CHANGELOG.md`.
//! * Error enums are `#[non_exhaustive]`: kinds may be added in a minor version. The `Display` text
//!   of an error may change.
//! * The types of other crates that signatures name are those of `futures` 0.3, and with the
//!   feature `http` those of `bytes` 1, `http` 1, `http-body` 1 and `tower-service` 0.3.
//! * Rust versions: the library builds with the version that `Cargo.toml` names; raising it is a
//!   minor version.
//!
//! Until 1.0 a minor version may break programs; the changelog says how to adapt them.
//!
//! # Not promised
//!
//! * That a seed gives the same run in another version of the crate:
//!   [`each_seed`](crate::testing::each_seed) and [`NetworkFaults`](crate::testing::NetworkFaults)
//!   replay a run in the version that recorded it.
//! * The text of [`Reactor::dump`](crate::Reactor::dump), of reports and of traces.
//! * Counts of system calls and instructions, and the size of futures.
//! * The version of `rustls` that `from_rustls` of `tls::ClientConfig` and `tls::ServerConfig`
//!   takes.
//! * The addresses and process ids that the in-memory driver gives out.
