//! The errors of Deferreds themselves.

use crate::failure::errors;

/// An error of a Deferred itself, as opposed to the errors that a Deferred carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeferredError {
    /// The [`Resolver`](crate::Resolver) was dropped without firing the Deferred.
    Abandoned,
    /// The result is gone: an earlier `await` or conversion took it.
    ResultTaken,
    /// A future was to run on the reactor of this thread, and no reactor runs here.
    NoReactor,
    /// [`race`](crate::defer::race) or [`first`](crate::defer::first) was called with no Deferreds,
    /// so no result can ever come.
    Empty,
    /// A callback returned the Deferred that the callback belongs to, which would wait for itself
    /// forever.
    WaitsForItself,
}

errors! {
    enum DeferredError {
        Abandoned: "the Deferred was abandoned: its resolver was dropped without firing";
        ResultTaken: "the Deferred's result was taken before";
        NoReactor: "cannot run the future: no reactor runs on this thread";
        Empty: "there are no Deferreds to wait for";
        WaitsForItself: "a callback returned its own Deferred, which would wait for itself forever";
    }
}
