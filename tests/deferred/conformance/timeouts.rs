//! The behaviour of time limits of Deferreds. See `deferred` for the commands.

use super::deferred::check;

const TABLE: &[(&str, &str, &str)] = &[
    (
        "when the limit is over the failure says so",
        "pair; timeout 5; eb a; advance 4; log then; advance 1; calls",
        "then a(TimedOut(5)) 0 calls",
    ),
    (
        "when the limit is over the canceller runs",
        "pair; on_cancel x; timeout 5; eb a; advance 5",
        "x a(TimedOut(5))",
    ),
    (
        "a value in time passes, and removes the timer",
        "pair; timeout 5; cb a; fire 1; calls; advance 9; log then",
        "a(1) 0 calls then",
    ),
    (
        "a failure in time passes, and removes the timer",
        "pair; timeout 5; eb a; errback E; calls",
        "a(E) 0 calls",
    ),
    (
        "another cancel passes, and removes the timer",
        "pair; timeout 5; eb a; cancel; calls",
        "a(Cancelled) 0 calls",
    ),
    (
        "a settled Deferred needs no timer",
        "succeed 1; timeout 5; calls; cb a",
        "0 calls a(1)",
    ),
    (
        "a value that the canceller fires passes unchanged",
        "pair; on_cancel x do {fire 7}; timeout 5; cb a; advance 5",
        "x a(7)",
    ),
    (
        "a failure that the canceller fires passes unchanged",
        "pair; on_cancel x do {errback E}; timeout 5; eb a; advance 5",
        "x a(E)",
    ),
    (
        "an errback before it that takes the cancel makes it succeed",
        "pair; eb a -> 3; timeout 5; cb b; advance 5",
        "a(Cancelled) b(3)",
    ),
    (
        "it covers the Deferreds that earlier callbacks wait for",
        "pair @i; on_cancel x @i; pair; cb a -> @i; timeout 5; eb b; fire 1; advance 5",
        "a(1) x b(TimedOut(5))",
    ),
    (
        "it does not cover the Deferreds that later callbacks wait for",
        "pair @i; pair; timeout 5; cb a -> @i; cb b; fire 1; advance 9; log then; fire 2 @i",
        "a(1) then b(2)",
    ),
    (
        "of two limits the shorter one counts, and both timers are removed",
        "pair; timeout 9; timeout 5; eb a; advance 5; calls",
        "a(TimedOut(5)) 0 calls",
    ),
    (
        "a chain that cannot be cancelled continues after the limit, and its result passes unchanged",
        "pair @i; pair; eb a -> @i; timeout 5; cb b; advance 5; calls; fire 3 @i",
        "a(Cancelled) 0 calls b(3)",
    ),
    (
        "later callbacks get TimedOut, and earlier callbacks get Cancelled",
        "pair; eb a; timeout 5; eb b -> 0; cb c; advance 5",
        "a(Cancelled) b(TimedOut(5)) c(0)",
    ),
    (
        "the translation gets the result of the cancel",
        "pair; timeout_with t 5; cb a; advance 5",
        "t(Cancelled,5) a(-1)",
    ),
    (
        "the translation gets even a value",
        "pair; on_cancel x do {fire 7}; timeout_with t 5; cb a; advance 5",
        "x t(7,5) a(-1)",
    ),
    (
        "of two translations only the one whose limit is over is called",
        "pair; timeout_with t 9; timeout_with u 5; cb a; advance 5; pair @x; timeout_with v 3 @x; timeout_with w 8 @x; cb b @x; advance 3; calls",
        "u(Cancelled,5) a(-1) v(Cancelled,3) b(-1) 0 calls",
    ),
    (
        "the translation is not called for a result in time",
        "pair; timeout_with t 5; cb a; fire 1; advance 9",
        "a(1)",
    ),
    (
        "the translation is not called for another cancel",
        "pair; timeout_with t 5; eb a; cancel",
        "a(Cancelled)",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    check(TABLE);
}
