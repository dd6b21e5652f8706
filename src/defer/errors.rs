//! What can go wrong with a Deferred itself.

use std::error::Error;
use std::fmt;

/// The resolver of a Deferred was dropped without firing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abandoned;

/// A callback returned the very Deferred it belongs to, which so would wait for itself for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitsForItself;

/// A Deferred was used after an `await` had taken its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlreadyTaken;

/// A future was to run by itself, and no reactor runs on this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoReactor;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("abandoned: the resolver was dropped without firing")
    }
}

impl Error for Abandoned {}

impl fmt::Display for WaitsForItself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a callback returned its own Deferred, which would wait for itself for ever")
    }
}

impl Error for WaitsForItself {}

impl fmt::Display for AlreadyTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Deferred's result was taken before")
    }
}

impl Error for AlreadyTaken {}

impl fmt::Display for NoReactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no reactor runs on this thread to run a future on")
    }
}

impl Error for NoReactor {}
