//! The log of a program on both sides, and what they count.

use super::program::Slot;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A callback ran, with this result.
    Called(u32, Seen),
    Canceller(u32),
    /// A future ran for the first time.
    Started(u32),
    /// The result of an awaited Deferred in a future.
    Resumed(u32, Seen),
    /// The result of a poll, if any.
    Polled(Slot, Option<Seen>),
    /// A waker was used.
    Woke(usize),
    /// An unhandled failure, and whether a canceller caused it.
    Reported(bool, Seen),
    /// The `Debug` text of a Deferred, and whether its resolver knows of a cancel.
    Looked(Slot, Option<(bool, &'static str)>, Option<bool>),
    /// Which Deferreds are settled, and the counts, at the end of a step.
    Stands(u32, Live),
    /// An event that should never happen.
    Broke(String),
}

/// A result, by the number of its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Value(u32),
    Failure(u32),
    Panic(u32),
    Cancelled,
    Abandoned,
    /// The same, after all that could have seen it were dropped: it is not reported.
    AbandonedUnwanted,
    WaitsForItself,
    ResultTaken,
}

/// The counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) values: i64,
    pub(crate) failures: i64,
    /// Callbacks and cancellers.
    pub(crate) closures: i64,
}
