//! The behaviour of functions that make a Deferred of something else, or many of one. See `script`
//! for the commands.

use super::script::check;

const TABLE: &[(&str, &str, &str)] = &[
    // Making them.
    (
        "a Deferred as the value is a value like any other, and is not waited for",
        "pair a; given a; pair b; given_later b; log then; fire a 1; fire b 1",
        "Deferred Deferred then",
    ),
    (
        "execute returns the function's result at once",
        "execute 1; log then",
        "1 then",
    ),
    ("its error is a failure", "execute E", "E"),
    ("its panic is a failure", "execute panic", "panic"),
    (
        "execute leaves a Deferred that its function returns alone",
        "pair a; execute_deferred a; log then; fire a 1",
        "Deferred then",
    ),
    (
        "maybe_deferred returns the function's result at once",
        "maybe 1; log then",
        "1 then",
    ),
    ("of maybe_deferred an error is a failure", "maybe E", "E"),
    (
        "of maybe_deferred a panic is a failure",
        "maybe panic",
        "panic",
    ),
    (
        "maybe_deferred returns the Deferred that its function returns",
        "pair a; on_cancel a nothing; maybe a; log then; cancel",
        "then ~a Cancelled",
    ),
    (
        "maybe_deferred drives a future",
        "maybe_future 1; log then; turn",
        "then f… 1",
    ),
    (
        "ensure lets a Deferred pass",
        "succeed a 1; ensure a; log then",
        "1 then",
    ),
    (
        "ensure drives a future",
        "ensure_future 1; log then; turn",
        "then f… 1",
    ),
    // In Twisted it starts inside the call.
    (
        "a future that became a Deferred starts in its turn, not inside the call",
        "future a 1; watch a; log then; turn",
        "then a… 1",
    ),
    // Channels.
    (
        "a channel gets the value",
        "pair a; channel a; fire a 1; receive",
        "1",
    ),
    (
        "a channel gets the failure, which so is handled",
        "pair a; channel a; errback a E; receive",
        "E",
    ),
    (
        "a failure that a closed channel does not take is reported",
        "pair a; channel a; close; errback a E",
        "!E",
    ),
    (
        "a value that a closed channel does not take is dropped",
        "pair a; channel a; close; fire a 1; log then",
        "then",
    ),
    // In Twisted it is. Here a Deferred is a future itself, and is cancelled when an await of it is
    // given up.
    (
        "a Deferred is not cancelled when the channel that waits for it is closed",
        "pair a; on_cancel a nothing; channel a; close; log then; fire a 1",
        "then",
    ),
    (
        "a Deferred gets the value that a channel sends",
        "receiver a; watch a; turn; log then; send 1; turn",
        "then 1",
    ),
    (
        "a Deferred of a channel that is lost is abandoned",
        "receiver a; watch a; turn; unsend; turn",
        "Abandoned",
    ),
    (
        "cancelling a Deferred of a channel closes that",
        "receiver a; watch a; turn; cancel; turn; send 1",
        "Cancelled closed",
    ),
    // One fires the other.
    (
        "chain_deferred fires the other Deferred with the value",
        "pair a b; watch b; chain a b; fire a 1; log then",
        "1 then",
    ),
    (
        "chain_deferred fires the other Deferred with the failure, which counts as handled",
        "pair a b; watch b; chain a b; errback a E; log then",
        "E then",
    ),
    // In Twisted a few thousand are too many.
    (
        "twenty thousand Deferreds that fire each other use no stack",
        "pair a z; watch z; chains 20000 a z; log then; fire a 1",
        "then 1",
    ),
    (
        "a fired Deferred fires the other at once",
        "succeed a 1; pair b; watch b; chain a b; log then",
        "1 then",
    ),
    (
        "callbacks of the first Deferred run before those of the other",
        "pair a b; cb a; cb b; watch b; chain a b; fire a 1",
        "a(1) b(1) 1",
    ),
    (
        "cancelling the other does not cancel the first, whose value is dropped",
        "pair a b; on_cancel a nothing; cb a; watch b; chain a b; cancel; fire a 1",
        "Cancelled a(1)",
    ),
    (
        "cancelling the other does not cancel the first, whose failure is dropped",
        "pair a b; watch b; chain a b; cancel; errback a E; log then",
        "Cancelled then",
    ),
    // One for many. In Twisted only the first consumer that awaits it gets the result.
    (
        "each waiter gets the value, in order",
        "pair a; share a; wait b; wait c; cb b; cb c; fire a 1; log then",
        "b(1) c(1) then",
    ),
    (
        "a late waiter gets it at once",
        "pair a; share a; fire a 1; wait b; cb b; log then",
        "b(1) then",
    ),
    (
        "each waiter gets the failure",
        "pair a; share a; wait b; wait c; errback a E; watch b; watch c",
        "E E",
    ),
    (
        "each waiter answers for its own failure",
        "pair a; share a; wait b; wait c; errback a E; watch b; drop c; log then",
        "E !E then",
    ),
    (
        "a failure without waiters is reported once",
        "pair a; share a; errback a E; log then; unshare",
        "then !E",
    ),
    (
        "a failure that a waiter has had is not reported again",
        "pair a; share a; wait b; errback a E; watch b; unshare; log then",
        "E then",
    ),
    (
        "cancelling a waiter does not affect the others or the source",
        "pair a; on_cancel a nothing; share a; wait b; wait c; cb c; cancel b; fire a 1",
        "c(1)",
    ),
    (
        "while there is a handle the source is not cancelled",
        "pair a; on_cancel a nothing; share a; wait b; cancel b; log then; wait c; cb c; fire a 1",
        "then c(1)",
    ),
    (
        "while there is a waiter the source is not cancelled",
        "pair a; on_cancel a nothing; share a; wait b; cb b; unshare; log then; fire a 1",
        "then b(1)",
    ),
    (
        "when the last waiter gives up after the handle was dropped, the source is cancelled",
        "pair a; on_cancel a nothing; share a; wait b; wait c; unshare; cancel b; log then; cancel c; log end",
        "then ~a end",
    ),
    (
        "when the handle is dropped after the last waiter has given up, the source is cancelled",
        "pair a; on_cancel a nothing; share a; wait b; cancel b; log then; unshare; log end",
        "then ~a end",
    ),
    (
        "a handle without waiters cancels the source when it is dropped",
        "pair a; on_cancel a nothing; share a; unshare; log then",
        "~a then",
    ),
    (
        "a failure that such a cancel causes is reported",
        "pair a; on_cancel a E; share a; unshare",
        "~a !E",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    check(TABLE);
}
