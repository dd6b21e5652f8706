//! Failures that are not handled, and what debug mode records of them. See `script` for the
//! commands.

use super::script::check;

const TABLE: &[(&str, &str, &str)] = &[
    // Twisted logs two events; here it is one report.
    (
        "a failure that nobody handles is reported once, when its Deferred is dropped",
        "pair a; cb a; cb a; errback a E; log then; drop a; log after",
        "then !E after",
    ),
    (
        "one that comes after the drop is reported inside the firing",
        "pair a; cb a; drop a; errback a E; log after",
        "!E after",
    ),
    (
        "one that was there from the beginning is reported as well",
        "fail a E; log then; drop a; log after",
        "then !E after",
    ),
    (
        "one that an errback makes a value of is handled",
        "pair a; eb a 0; errback a E; drop a; log then",
        "a(E) then",
    ),
    (
        "one that an errback handles later is handled",
        "pair a; errback a E; eb a 0; drop a; log then",
        "a(E) then",
    ),
    (
        "one that an errback makes another of is reported as that",
        "pair a; eb a F; errback a E; drop a",
        "a(E) !F",
    ),
    (
        "a panic is reported",
        "pair a; eb a panic; errback a E; log then; drop a",
        "a(E) then !panic",
    ),
    (
        "that nobody will ever fire it is reported",
        "pair a; lose a; log then; drop a",
        "then !Abandoned",
    ),
    (
        "one that moved to who waits for it is reported by that one only",
        "pair a b; inner a b; fire a 1; errback b E; log then; drop a; log after",
        "then !E after",
    ),
    (
        "one that had come before somebody waited for it moves as well",
        "fail b E; pair a; inner a b; fire a 1; log then; drop a; log after",
        "then !E after",
    ),
    (
        "one that moved and is handled there is handled",
        "pair a b; inner a b; eb a 0; fire a 1; errback b E; drop a; log then",
        "a(E) then",
    ),
    (
        "one that is polled is handled",
        "pair a; errback a E; poll a; drop a; log then",
        "=E then",
    ),
    (
        "a cancelled one to which nobody listens is reported",
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
        "in debug mode a failure tells where its Deferred was made and fired",
        "debug on; pair a; errback a E; way a",
        "a(made+fired)",
    ),
    (
        "and the callbacks that it went through",
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
