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
        "a result in time passes, and takes the call away",
        "pair; timeout 5; cb a; fire 1; calls; advance 9; log then",
        "a(1) 0 calls then",
    ),
    (
        "a failure in time passes, and takes the call away",
        "pair; timeout 5; eb a; errback E; calls",
        "a(E) 0 calls",
    ),
    (
        "somebody's cancel passes, and takes the call away",
        "pair; timeout 5; eb a; cancel; calls",
        "a(Cancelled) 0 calls",
    ),
    (
        "one that has its result needs no call",
        "succeed 1; timeout 5; calls; cb a",
        "0 calls a(1)",
    ),
    (
        "a value that the canceller brings passes unchanged",
        "pair; on_cancel x do {fire 7}; timeout 5; cb a; advance 5",
        "x a(7)",
    ),
    (
        "a failure that the canceller brings passes unchanged",
        "pair; on_cancel x do {errback E}; timeout 5; eb a; advance 5",
        "x a(E)",
    ),
    (
        "an errback before it that takes the cancel makes it succeed",
        "pair; eb a -> 3; timeout 5; cb b; advance 5",
        "a(Cancelled) b(3)",
    ),
    (
        "it covers what callbacks before it wait for",
        "pair @i; on_cancel x @i; pair; cb a -> @i; timeout 5; eb b; fire 1; advance 5",
        "a(1) x b(TimedOut(5))",
    ),
    (
        "it does not cover what callbacks after it wait for",
        "pair @i; pair; timeout 5; cb a -> @i; cb b; fire 1; advance 9; log then; fire 2 @i",
        "a(1) then b(2)",
    ),
    (
        "of two the one that ends first counts, and both calls go",
        "pair; timeout 9; timeout 5; eb a; advance 5; calls",
        "a(TimedOut(5)) 0 calls",
    ),
    (
        "a chain that cannot be stopped goes on after the limit, and what it comes to passes unchanged",
        "pair @i; pair; eb a -> @i; timeout 5; cb b; advance 5; calls; fire 3 @i",
        "a(Cancelled) 0 calls b(3)",
    ),
    (
        "what was added after it sees the timeout, and what was added before it the cancel",
        "pair; eb a; timeout 5; eb b -> 0; cb c; advance 5",
        "a(Cancelled) b(TimedOut(5)) c(0)",
    ),
    (
        "who has a say gets what the cancel came to",
        "pair; timeout_with t 5; cb a; advance 5",
        "t(Cancelled,5) a(-1)",
    ),
    (
        "who has a say gets even a value",
        "pair; on_cancel x do {fire 7}; timeout_with t 5; cb a; advance 5",
        "x t(7,5) a(-1)",
    ),
    (
        "of two who have a say only the one whose limit is over is asked",
        "pair; timeout_with t 9; timeout_with u 5; cb a; advance 5; pair @x; timeout_with v 3 @x; timeout_with w 8 @x; cb b @x; advance 3; calls",
        "u(Cancelled,5) a(-1) v(Cancelled,3) b(-1) 0 calls",
    ),
    (
        "who has a say is not asked in time",
        "pair; timeout_with t 5; cb a; fire 1; advance 9",
        "a(1)",
    ),
    (
        "who has a say is not asked when somebody else cancels",
        "pair; timeout_with t 5; eb a; cancel",
        "a(Cancelled)",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    check(TABLE);
}
