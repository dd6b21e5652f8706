//! What both sides say of a program, and what they count.

use super::program::Slot;

/// One thing that was seen to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A callback ran, with that.
    Called(u32, Seen),
    Canceller(u32),
    /// A future ran for the first time.
    Started(u32),
    /// What a future awaited came to that.
    Resumed(u32, Seen),
    /// What a poll gave, if anything.
    Polled(Slot, Option<Seen>),
    /// A waker was used.
    Woke(usize),
    /// A failure that nobody handled, and whether a canceller has told of it.
    Reported(bool, Seen),
    /// What a Deferred says of itself, and whether its resolver knows of a cancel.
    Looked(Slot, Option<(bool, &'static str)>, Option<bool>),
    /// Which are settled, and what there is, at the end of a step.
    Stands(u32, Live),
    /// What should never happen.
    Broke(String),
}

/// A result, by the number of where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Value(u32),
    Failure(u32),
    Panic(u32),
    Cancelled,
    Abandoned,
    WaitsForItself,
    ResultTaken,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) values: i64,
    pub(crate) failures: i64,
    /// Callbacks and cancellers.
    pub(crate) closures: i64,
}
