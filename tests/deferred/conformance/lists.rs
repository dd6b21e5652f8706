//! The behaviour of several Deferreds at once. See `script` for the commands.

use super::script::check;

const TABLE: &[(&str, &str, &str)] = &[
    // A list.
    (
        "a list has all results in the members' order, when the last is there",
        "pair a b c; list a b c; fire c 3; errback a E; log then; fire b 2",
        "then [E,2,3]",
    ),
    (
        "a list of nothing is there at once",
        "list; log then",
        "[] then",
    ),
    (
        "a list of settled members is settled at once",
        "succeed a 1; fail b E; list a b; log then",
        "[1,E] then",
    ),
    (
        "a list waits for those that are not there",
        "succeed a 1; pair b; list a b; log then; fire b 2",
        "then [1,2]",
    ),
    (
        "a list has those that fired before it was made",
        "pair a b; fire a 1; errback b E; list a b",
        "[1,E]",
    ),
    (
        "a list never fails",
        "pair a b; list a b; lose a; errback b E",
        "[Abandoned,E]",
    ),
    (
        "the members' own callbacks run first",
        "pair a b; cb a; list a b; fire a 1; log then; fire b 2",
        "a(1) then [1,2]",
    ),
    (
        "a member that waits for another is waited for",
        "pair a b; pair c; inner a b; list a c; fire a 1; fire c 3; log then; fire b 2",
        "then [2,3]",
    ),
    (
        "a paused member is waited for",
        "pair a b; pause a; list a b; fire a 1; fire b 2; log then; unpause",
        "then [1,2]",
    ),
    // In Twisted they are not, unless requested: there the members still belong to other code.
    (
        "a failure in a list is handled",
        "pair a; list a; errback a E; drop; log then",
        "[E] then",
    ),
    (
        "a cancelled list cancels every member, and has their results",
        "pair a b; on_cancel a nothing; list a b; cancel",
        "~a [Cancelled,Cancelled]",
    ),
    (
        "a cancelled list has the value that a canceller fires",
        "pair a b; on_cancel a 5; on_cancel b E; list a b; cancel",
        "~a ~b [5,E]",
    ),
    (
        "after a canceller that panics the other cancellers are called",
        "pair a b c; on_cancel a panic; on_cancel b nothing; on_cancel c nothing; list a b c; cancel",
        "~a ~b ~c [panic,Cancelled,Cancelled]",
    ),
    (
        "a member that continues after the cancel is waited for",
        "pair a b c; eb a 7; inner a c; on_cancel b nothing; list a b; cancel; log then; fire c 1",
        "a(Cancelled) ~b then [1,Cancelled]",
    ),
    (
        "cancelling a list keeps the results that are there",
        "pair a b; on_cancel a nothing; on_cancel b nothing; list a b; fire a 1; cancel",
        "~b [1,Cancelled]",
    ),
    (
        "cancelling does nothing when the outcome is there",
        "pair a b; on_cancel a nothing; loose race a b; fire b 2; cancel; log then",
        "1:2 then",
    ),
    (
        "cancelling twice calls each canceller once",
        "pair a; on_cancel a nothing; list a; cancel; cancel",
        "~a [Cancelled]",
    ),
    (
        "a list that was polled and dropped cancels its members",
        "pair a b; on_cancel a nothing; on_cancel b nothing; list a b; poll; drop",
        "=? ~a ~b [Cancelled,Cancelled]",
    ),
    (
        "a list that was never polled runs on when it is dropped",
        "pair a; list a; drop; fire a 1",
        "[1]",
    ),
    // Gathering.
    (
        "gather has all values",
        "pair a b; gather a b; fire b 2; log then; fire a 1",
        "then [1,2]",
    ),
    (
        "gather of nothing is there at once",
        "gather; log then",
        "[] then",
    ),
    (
        "gather of settled members is settled at once",
        "succeed a 1; succeed b 2; gather a b; log then",
        "[1,2] then",
    ),
    (
        "gather fails with the first failure, and says whose it was",
        "pair a b; loose gather a b; errback b E; log then; fire a 1",
        "FirstError(1,E) then",
    ),
    (
        "gather of failed members fails at once",
        "pair a; fail b E; gather a b; log then",
        "FirstError(1,E) then",
    ),
    (
        "first errors are equal if they are the same failure of the same member",
        "twins a b E; compare a b; twins c d E; compare_second c d; fail e E; fail f E; compare e f",
        "equal different different",
    ),
    (
        "of several members that had failed before, the first in order counts, and the others are reported",
        "fail a E; fail b F; fail c G; gather a b c",
        "!F !G FirstError(0,E)",
    ),
    // Twisted lets the others run: see `loose`.
    (
        "a failed gather cancels the remaining members, before its callbacks run",
        "pair a b c; on_cancel a nothing; on_cancel c nothing; gather a b c; errback b E; log then",
        "~a ~c FirstError(1,E) then",
    ),
    (
        "a gather that has failed at once cancels the rest",
        "pair a b; fail c E; pair d; on_cancel a nothing; on_cancel b nothing; on_cancel d nothing; gather a b c d",
        "~a ~b ~d FirstError(2,E)",
    ),
    (
        "values of the remaining members are dropped",
        "pair a b; on_cancel a 5; gather a b; errback b E",
        "~a FirstError(1,E)",
    ),
    (
        "a failure of the remaining members is reported",
        "pair a b; on_cancel a F; gather a b; errback b E",
        "~a !F FirstError(1,E)",
    ),
    (
        "a panic of a remaining member's canceller is reported, and the others are cancelled",
        "pair a b c; on_cancel a panic; on_cancel b nothing; gather a b c; errback c E",
        "~a !panic ~b FirstError(2,E)",
    ),
    (
        "with the rest let run a later failure is reported",
        "pair a b; loose gather a b; errback a E; errback b F",
        "FirstError(0,E) !F",
    ),
    (
        "with the rest let run callbacks of the rest run",
        "pair a b; cb b; on_cancel b nothing; loose gather a b; errback a E; fire b 2",
        "FirstError(0,E) b(2)",
    ),
    // In Twisted it fails with the result of the first member.
    (
        "a cancelled gather cancels every member, and is cancelled",
        "pair a b; on_cancel a nothing; on_cancel b nothing; gather a b; cancel",
        "~a ~b Cancelled",
    ),
    (
        "a cancelled gather succeeds when the cancellers fire values",
        "pair a b; on_cancel a 1; on_cancel b 2; gather a b; cancel",
        "~a ~b [1,2]",
    ),
    (
        "a cancelled gather fails when a canceller fires a failure",
        "pair a b; on_cancel a E; on_cancel b nothing; gather a b; cancel",
        "~a ~b FirstError(0,E)",
    ),
    (
        "a member that other code cancelled counts as failed",
        "pair a b; gather a b; errback a Cancelled; log then",
        "FirstError(0,Cancelled) then",
    ),
    (
        "a gather that was polled and dropped says nothing of its members' end",
        "pair a b; gather_quietly a b; poll; drop; log then",
        "=? then",
    ),
    (
        "a gather that was dropped unpolled reports its failure",
        "pair a b; gather_quietly a b; drop; errback a E; log then",
        "!FirstError(0,E) then",
    ),
    // Racing.
    (
        "the first value wins the race",
        "pair a b; race a b; fire b 2; log then; fire a 1",
        "1:2 then",
    ),
    (
        "the first value wins, not the first result",
        "pair a b c; race a b c; errback a E; fire c 3",
        "2:3",
    ),
    (
        "of several settled members the first in order wins",
        "fail a E; succeed b 2; succeed c 3; race a b c",
        "1:2",
    ),
    (
        "the losers are cancelled, and not the winner",
        "pair a b c; on_cancel a nothing; on_cancel b nothing; on_cancel c nothing; race a b c; fire b 2",
        "~a ~c 1:2",
    ),
    (
        "a race that is decided at once cancels the losers",
        "pair a; succeed b 2; pair c; on_cancel a nothing; on_cancel c nothing; race a b c",
        "~a ~c 1:2",
    ),
    // As Twisted's `race`; its list that ends with the first value returns these as if it had
    // succeeded.
    (
        "when all fail the race has all failures in the members' order",
        "pair a b; race a b; errback b F; log then; errback a E",
        "then FailureGroup(E,F)",
    ),
    (
        "a race of failed members fails at once",
        "fail a E; fail b F; race a b",
        "FailureGroup(E,F)",
    ),
    // In Twisted it is never decided.
    (
        "a race without members fails at once",
        "race; log then",
        "NothingToWaitFor then",
    ),
    (
        "a loser's failure before the race is won is dropped",
        "pair a b; race a b; errback a E; fire b 2; drop; log then",
        "1:2 then",
    ),
    (
        "a later result of a cancelled member is dropped",
        "pair a b c; race a b c; fire b 2; fire a 1; errback c E; log then",
        "1:2 then",
    ),
    (
        "a loser's value after the race is dropped",
        "pair a b; loose race a b; fire b 2; fire a 1; log then",
        "1:2 then",
    ),
    // Twisted drops it.
    (
        "a loser's failure after the race is reported",
        "pair a b; loose race a b; fire b 2; errback a E",
        "1:2 !E",
    ),
    (
        "a failure that a losing member's canceller fires is reported",
        "pair a b; on_cancel a E; race a b; fire b 2",
        "~a !E 1:2",
    ),
    (
        "with let_rest_run no member is cancelled",
        "pair a b; on_cancel a nothing; cb a; loose race a b; fire b 2; fire a 1",
        "1:2 a(1)",
    ),
    (
        "with the rest let run all may fail as well",
        "pair a b; loose race a b; errback a E; errback b F",
        "FailureGroup(E,F)",
    ),
    // In Twisted it fails with the results of all members.
    (
        "a cancelled race cancels every member, and is cancelled",
        "pair a b; on_cancel a nothing; on_cancel b nothing; race a b; cancel",
        "~a ~b Cancelled",
    ),
    (
        "a cancelled race is won by a canceller that fires a value",
        "pair a b c; on_cancel b 5; on_cancel c nothing; race a b c; cancel",
        "~b ~c 1:5",
    ),
    (
        "a cancelled race is cancelled, whatever failed before",
        "pair a b; race a b; errback a E; cancel",
        "Cancelled",
    ),
    // The first of either kind.
    (
        "the first result may be a value",
        "pair a b; on_cancel a nothing; first a b; fire b 2; log then",
        "~a 1:2 then",
    ),
    (
        "the first result may be a failure",
        "pair a b; on_cancel a nothing; first a b; errback b E; log then",
        "~a 1:E then",
    ),
    (
        "the first of settled members is the first in order",
        "pair a; fail b E; succeed c 1; first a b c",
        "1:E",
    ),
    (
        "the first of nothing fails at once",
        "first; log then",
        "NothingToWaitFor then",
    ),
    (
        "with let_rest_run the other members run on",
        "pair a b; cb a; loose first a b; fire b 2; fire a 1",
        "1:2 a(1)",
    ),
    (
        "a cancelled first is cancelled",
        "pair a b; on_cancel a nothing; on_cancel b nothing; first a b; cancel",
        "~a ~b Cancelled",
    ),
    // Futures among them.
    (
        "a future is run",
        "future a 1; pair b; gather a b; log then; turn; fire b 2",
        "then a… [1,2]",
    ),
    (
        "futures run side by side",
        "future a 1; future b 2; list a b; turn",
        "a… b… [1,2]",
    ),
    (
        "a future that fails fails the gather and cancels the others",
        "future a E; pair b; on_cancel b nothing; gather a b; turn",
        "a… ~b FirstError(0,E)",
    ),
    (
        "a future that loses is dropped in its turn",
        "pair a; pending b; race a b; turn; fire a 1; turn",
        "0:1 dropped",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    check(TABLE);
}
