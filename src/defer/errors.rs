//! What can go wrong with a Deferred itself.

use crate::failure::errors;

/// The resolver of a Deferred was dropped without firing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abandoned;

/// A callback returned the very Deferred it belongs to, which so would wait for itself for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitsForItself;

/// A Deferred was used after an `await` had taken its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultTaken;

/// A future was to run by itself, and no reactor runs on this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoReactor;

errors! {
    Abandoned: "abandoned: the resolver was dropped without firing";
    WaitsForItself: "a callback returned its own Deferred, which would wait for itself for ever";
    ResultTaken: "the Deferred's result was taken before";
    NoReactor: "no reactor runs on this thread to run a future on";
}
