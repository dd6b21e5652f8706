//! The behaviour of Deferreds that are cancelled. See `deferred` for the commands.

use super::deferred::check;

const TABLE: &[(&str, &str, &str)] = &[
    (
        "without a canceller a cancel is a failure",
        "pair; eb a; cancel; log then",
        "a(Cancelled) then",
    ),
    (
        "the canceller runs, then comes the failure",
        "pair; on_cancel x; eb a; cancel",
        "x a(Cancelled)",
    ),
    (
        "a canceller may fire a value",
        "pair; on_cancel x do {fire 5}; cb a; eb b; cancel",
        "x a(5)",
    ),
    (
        "a canceller may fire another failure",
        "pair; on_cancel x do {errback E}; cb a; eb b; cancel",
        "x b(E)",
    ),
    // In Twisted the panic leaves `cancel`, and the Deferred stays unfired.
    (
        "a canceller that panics is the failure",
        "pair; on_cancel x do {panic}; eb a; cancel",
        "x a(panic)",
    ),
    (
        "a canceller may lose the resolver",
        "pair; on_cancel x do {lose}; eb a; cancel",
        "x a(Cancelled)",
    ),
    (
        "the canceller runs once",
        "pair; on_cancel x; eb a; cancel; cancel; log then",
        "x a(Cancelled) then",
    ),
    (
        "a canceller that cancels again gets no second call",
        "pair; on_cancel x do {cancel}; eb a; cancel",
        "x a(Cancelled)",
    ),
    (
        "a canceller is dropped when the Deferred fires, before any callback runs",
        "pair; held x; cb a; fire 1; log then",
        "-x a(1) then",
    ),
    (
        "a canceller is dropped after it has been called",
        "pair; held x; eb a; cancel; log then",
        "x -x a(Cancelled) then",
    ),
    (
        "the canceller set last counts",
        "pair; on_cancel x; on_cancel y; eb a; cancel",
        "y a(Cancelled)",
    ),
    (
        "cancelling a fired Deferred does nothing",
        "pair; on_cancel x; cb a; fire 1; cancel; cb b",
        "a(1) b(1)",
    ),
    (
        "cancelling a Deferred inside its own callback does nothing",
        "pair; on_cancel x; cb a do {cancel}; cb b; fire 1",
        "a(1) b(1)",
    ),
    (
        "a late value is dropped",
        "pair; both a; cancel; fire 1; cb b; log then",
        "a(Cancelled) then",
    ),
    // In Twisted this is an error of the code that fires.
    (
        "a late value is also dropped after a canceller that fired nothing",
        "pair; on_cancel x; both a -> 0; cancel; fire 1; cb b; log then",
        "x a(Cancelled) b(0) then",
    ),
    (
        "cancelling again after that does nothing",
        "pair; both a -> 0; cancel; cancel; fire 1; cb b",
        "a(Cancelled) b(0)",
    ),
    (
        "a late failure is dropped",
        "pair; both a -> 0; cancel; errback E; cb b",
        "a(Cancelled) b(0)",
    ),
    (
        "a late loss is dropped",
        "pair; both a -> 0; cancel; lose; cb b",
        "a(Cancelled) b(0)",
    ),
    (
        "cancelling a chain cancels the Deferred that it waits for",
        "pair @i; on_cancel x @i; pair; on_cancel y; cb a -> @i; eb b; fire 1; cancel",
        "a(1) x b(Cancelled)",
    ),
    (
        "a chain gets the value that the inner Deferred's canceller fires",
        "pair @i; on_cancel x do {fire 5 @i} @i; pair; cb a -> @i; cb b; fire 1; cancel",
        "a(1) x b(5)",
    ),
    (
        "a chain gets the failure that the inner Deferred's canceller fires",
        "pair @i; on_cancel x do {errback E @i} @i; pair; cb a -> @i; eb b; fire 1; cancel",
        "a(1) x b(E)",
    ),
    (
        "a cancelled chain may have to wait on",
        "pair @j; pair @i; eb e -> @j @i; pair; cb a -> @i; cb b; fire 1; cancel; log then; fire 5 @j",
        "a(1) e(Cancelled) then b(5)",
    ),
    (
        "cancelling reaches the innermost",
        "pair @c; on_cancel x @c; pair @b; cb b -> @c @b; fire 2 @b; pair; cb a -> @b; eb z; fire 1; cancel",
        "b(2) a(1) x z(Cancelled)",
    ),
    (
        "an errback of the inner Deferred may handle the cancel",
        "pair @i; eb e -> 9 @i; pair; cb a -> @i; cb b; fire 1; cancel",
        "a(1) e(Cancelled) b(9)",
    ),
    (
        "a chain that waits for a paused Deferred with a result is not cancelled",
        "pair @i; pause @i; fire 2 @i; pair; cb a -> @i; cb b; fire 1; cancel; unpause @i",
        "a(1) b(2)",
    ),
    (
        "cancelling a paused chain cancels the Deferred that it waits for",
        "pair @i; on_cancel x @i; pair; cb a -> @i; eb b; fire 1; pause; cancel; log then; unpause",
        "a(1) x then b(Cancelled)",
    ),
    (
        "cancelling again from the inner Deferred's canceller does nothing more",
        "pair @i; on_cancel x do {cancel} @i; pair; cb a -> @i; eb b; fire 1; cancel; log then",
        "a(1) x b(Cancelled) then",
    ),
    (
        "a chain may be cancelled at each wait",
        "pair @i; pair @j; pair; cb a -> @i; eb b -> @j; eb c; fire 1; cancel; log then; cancel",
        "a(1) b(Cancelled) then c(Cancelled)",
    ),
    (
        "a cancelled Deferred that is paused runs no callbacks before the pause ends",
        "pair; eb a; pause; cancel; log then; unpause",
        "then a(Cancelled)",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    check(TABLE);
}
