//! Stability: what is promised, and what is not.
//!
//! # Promised
//!
//! * The order of hooks, callbacks, timers and tasks that the docs state, on every driver.
//! * Exactly one `connection_lost` (or `process_ended`, `stopped`) for each connection (process,
//!   port) that was made.
//! * Bytes and results that could not be delivered are reported, or are the reason with which a
//!   connection ends; they never look like success.
//! * Every limit on the page [Limits](super::limits) exists; its default may change in a minor
//!   version, with a line in `CHANGELOG.md`.
//! * Error enums are `#[non_exhaustive]`: variants may be added in a minor version. The `Display`
//!   text of an error may change.
//! * The types of other crates that signatures name are those of `futures` 0.3, and with the
//!   feature `http` those of `bytes` 1, `http` 1, `http-body` 1 and `tower-service` 0.3.
//! * The library builds with the Rust version that `Cargo.toml` names (`rust-version`); a minor
//!   version may raise it.
//!
//! Until 1.0 a minor version may break programs; the changelog says how to adapt them.
//!
//! # Not promised
//!
//! * The same run from the same seed in another version of the crate:
//!   [`each_seed`](crate::testing::each_seed) and [`NetworkFaults`](crate::testing::NetworkFaults)
//!   replay a run in the version that recorded it.
//! * The text of [`Reactor::dump`](crate::Reactor::dump), of reports and of traces.
//! * Counts of system calls and instructions, and the size of futures.
//! * The version of `rustls` whose types `from_rustls` of `tls::ClientConfig` and
//!   `tls::ServerConfig` accepts.
//! * The addresses and process IDs that the in-memory driver assigns.
