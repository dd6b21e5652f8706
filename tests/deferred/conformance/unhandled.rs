//! Failures that are not handled, and what debug mode records of them. See `script` for the
//! commands.

use super::script::check;

const TABLE: &[(&str, &str, &str)] = &[
    // Twisted logs two events; here it is one report.
    (
        "an unhandled failure is reported once, when its Deferred is dropped",
        "pair a; cb a; cb a; errback a E; log then; drop a; log after",
        "then !E after",
    ),
    (
        "a failure that comes after the drop is reported inside the firing",
        "pair a; cb a; drop a; errback a E; log after",
        "!E after",
    ),
    (
        "a failure that was there from the beginning is reported as well",
        "fail a E; log then; drop a; log after",
        "then !E after",
    ),
    (
        "a failure that an errback replaces by a value is handled",
        "pair a; eb a 0; errback a E; drop a; log then",
        "a(E) then",
    ),
    (
        "a failure that a later errback handles is handled",
        "pair a; errback a E; eb a 0; drop a; log then",
        "a(E) then",
    ),
    (
        "a failure that an errback replaces by another is reported as the other",
        "pair a; eb a F; errback a E; drop a",
        "a(E) !F",
    ),
    (
        "a panic is reported",
        "pair a; eb a panic; errback a E; log then; drop a",
        "a(E) then !panic",
    ),
    (
        "an abandoned Deferred is reported",
        "pair a; lose a; log then; drop a",
        "then !Abandoned",
    ),
    (
        "a Deferred that was dropped before its resolver is not reported",
        "pair a; drop a; lose a; log then",
        "then",
    ),
    (
        "nor is one that a dropped Deferred waits for",
        "pair a b; inner a b; fire a 1; drop a; lose b; log then",
        "then",
    ),
    (
        "a dropped Deferred with a callback that its resolver abandons is reported",
        "pair a; cb a 0; drop a; lose a; log then",
        "!Abandoned then",
    ),
    (
        "a failure that moved to the waiting Deferred is reported by that Deferred only",
        "pair a b; inner a b; fire a 1; errback b E; log then; drop a; log after",
        "then !E after",
    ),
    (
        "a failure that came before the wait moves as well",
        "fail b E; pair a; inner a b; fire a 1; log then; drop a; log after",
        "then !E after",
    ),
    (
        "a failure that moved and is handled there is handled",
        "pair a b; inner a b; eb a 0; fire a 1; errback b E; drop a; log then",
        "a(E) then",
    ),
    (
        "a failure that was polled is handled",
        "pair a; errback a E; poll a; drop a; log then",
        "=E then",
    ),
    (
        "the Cancelled of a Deferred without callbacks is reported",
        "pair a; ask a; log then; drop a",
        "then !Cancelled",
    ),
    // Unknown to Twisted.
    (
        "giving an await up is not reported",
        "pair a; poll a; drop a; log then",
        "=? then",
    ),
    (
        "a late failure after a cancel is dropped",
        "pair a; ask a; eb a 0; errback a E; drop a; log then",
        "a(Cancelled) then",
    ),
    // Debug mode.
    (
        "in debug mode a failure shows where its Deferred was made and fired",
        "debug on; pair a; errback a E; way a",
        "a(made+fired)",
    ),
    (
        "in debug mode a failure shows the callbacks that it passed through",
        "debug on; pair a; cb a; errback a E; way a",
        "a(callback,made+fired)",
    ),
    (
        "without debug mode nothing is remembered",
        "debug off; pair a; cb a; errback a E; way a",
        "a()",
    ),
    (
        "debug mode may begin and end between the making and the firing",
        "debug off; pair a; debug on; errback a E; way a; pair b; debug off; errback b E; way b; log then",
        "a(made+fired) b() then",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    check(TABLE);
}
